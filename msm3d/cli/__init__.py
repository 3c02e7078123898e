"""The command line: `msm3d VERB`.

Exit codes: 0 done; 1 some of several scans failed; 2 a mistake that one sentence explains; 70 a fault of msm3d;
130 interrupted; 141 nobody reads what is printed any more; 143 ended by SIGTERM.

Nothing is imported here that needs numpy or torch before a verb has work to do: help and typos answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from .._util.atomic import Terminated, on_termination
from .._util.words import of_the_command_line
from ..errors import Msm3dError
from . import (
    adapt,
    check,
    cluster,
    convert,
    download,
    extract,
    find,
    finetune,
    fit,
    info,
    instances,
    lift,
    models,
    pictures,
    pretrain,
    probe,
    read,
    rooms,
    segment,
    teach,
)
from .display import Display
from .parser import Parser, said_of

WAITING = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"  # the variables that say how threads wait for each other
TRACEBACK = "MSM3D_TRACEBACK"  # the variable of the environment that shows where an error comes from


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    _yielding()
    with of_the_command_line():
        with Display().showing():
            options = parsed(given)
        display = Display(getattr(options, "quiet", False))
        with display.showing():
            return _run(options, display)


def _yielding() -> None:
    """Let threads that wait for each other give their core away soon, unless the user says how they wait.

    GNU's OpenMP otherwise lets them turn thirty times as long, and where other programs want the cores, that is what
    these are busy with. It looks at its variables once, when torch is imported.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = "10000"


def parsed(given: Sequence[str]) -> argparse.Namespace:
    """Return the arguments by name; help and mistakes exit, the latter with one sentence and 2."""
    parser, verbs = _parsers()
    if not given:
        parser.print_help()
        raise SystemExit(0)
    verb, *rest = given
    if verb == "help":
        given = [word for word in rest if word in verbs] + ["--help"]
        verb, *rest = given
    if verb in verbs:
        if not rest and any(action.required for action in verbs[verb].actions):
            verbs[verb].remind()
        rest = verbs[verb].understood(rest)
    elif not verb.startswith("-"):
        parser.error(said_of(verb, verbs))
    options, more = parser.parse_known_args([verb, *rest])
    if more:
        verbs.get(verb, parser).error(f"{more[0]!r} is one word too many; the call is: {verbs[verb].needed()}")
    return options


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of everything, and those of the verbs."""
    from .. import __version__

    about = "One meaningful vector per point of a 3D scan."
    more = f"With {TRACEBACK}=1 in the environment an error shows where it comes from."
    parser = Parser(prog="msm3d", usage="msm3d VERB [options]", description=about)
    parser.epilog = f"`msm3d VERB --help` explains a verb. {more}"
    parser.add_argument("-V", "--version", action="version", version=f"msm3d {__version__}")
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB", prog="msm3d")
    for module in (
        *(read, extract, pictures, teach, segment, cluster, instances, find, lift, convert, models, info, download),
        *(check, probe, adapt, fit, finetune, rooms, pretrain),
    ):
        module.add(verbs)
    for verb in verbs.choices.values():
        verb.usage = verb.needed()
    return parser, dict(verbs.choices)


def _run(options: argparse.Namespace, display: Display) -> int:
    """Run a verb; whatever goes wrong is one sentence and an exit code."""
    if hasattr(options, "quiet"):  # what may take long
        display.stage("starting")
    try:
        with on_termination():
            code = options.run(options, display)
        print(end="", flush=True)  # which bears a standard output that is closed
        return code or 0
    except KeyboardInterrupt as end:
        display.error(f"\nmsm3d {options.verb}: interrupted; {str(end) or 'nothing half-written was left.'}")
        return 130
    except Terminated as end:
        display.error(f"\nmsm3d {options.verb}: asked to end; nothing half-written was left.")
        return int(str(end.code))
    except BrokenPipeError:  # as of `msm3d models | head -1`: nobody is left to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        code, sentence = told(error)
        display.error(f"msm3d {options.verb}: {sentence}")
        return code


def told(error: Exception) -> tuple[int, str]:
    """Return the exit code of an error, and one sentence.

    >>> told(KeyError("normals"))
    (70, "KeyError: 'normals'; this is a fault of msm3d: run it again with MSM3D_TRACEBACK=1 and report what is shown.")
    """
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Msm3dError):
        return 2, str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # a GPU's, of torch
        return 2, "memory does not suffice; give a smaller --max-memory, such as --max-memory 1GB, or --dtype float16."
    if isinstance(error, OSError) and (error.filename is not None or error.errno is not None):
        what = words if error.filename is None else f"{error.filename}: {error.strerror or words}"
        return 2, f"{what}; check the path, its permissions and the disk."
    fault = f"this is a fault of msm3d: run it again with {TRACEBACK}=1 and report what is shown."
    return 70, f"{type(error).__name__}: {words.rstrip('.')}; {fault}"
