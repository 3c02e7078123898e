"""Arguments that several verbs share, and the checks that need neither numpy nor torch."""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .._util.words import choices
from ..errors import FileError, InputError
from .display import Display

if TYPE_CHECKING:
    from ..model import Model
    from ..scan.options import ReadOptions

Verbs = "argparse._SubParsersAction[argparse.ArgumentParser]"
READING = ("up", "units", "invalid", "mesh", "min_opacity")
SCAN = "{scans} file"
"""In a help text; `Parser.format_help` says which these are."""


def add_model(verb: argparse.ArgumentParser) -> None:
    """Add what says which network computes, and how."""
    verb.add_argument("--model", help="a name of `msm3d models`, a directory or a Hub repository; rooms by default")
    add_device(verb)
    verb.add_argument("--precision", default="fp32", type=one_of("fp32", "bf16"), help="fp32 (default) or bf16")


def add_device(verb: argparse.ArgumentParser) -> None:
    """Add what says where to compute."""
    verb.add_argument("--device", type=_device, help="such as cpu or cuda:1; a GPU if there is one, by default")
    verb.add_argument(
        "--backend",
        type=one_of("spconv", "triton", "native", "reference"),
        help="of the operations: spconv, triton, native or reference; the best for the device by default",
    )


def add_reading(verb: argparse.ArgumentParser) -> None:
    """Add what says how scans are to be understood."""
    verb.add_argument(
        "--max-memory",
        type=_memory,
        help="such as 4GB: a larger scan is cut into tiles; half of what is free by default",
    )
    verb.add_argument(
        "--up", type=one_of("z", "y", "-y"), help="axis that points up: z, y or -y; what the format says, else z"
    )
    verb.add_argument(
        "--units",
        type=one_of("m", "cm", "mm", "ft", "in"),
        help="of the scan: m, cm, mm, ft or in; what the format says, else m",
    )
    verb.add_argument(
        "--invalid",
        default="drop",
        type=one_of("drop", "nan"),
        help="points without a position: drop (default), or nan for such rows",
    )
    verb.add_argument(
        "--mesh",
        type=one_of("vertices", "surface"),
        help="of a file with faces: vertices or surface; what is dense enough by default",
    )
    verb.add_argument("--min-opacity", type=_share, help="of Gaussian splats: leave out those that are less opaque")


def add_quiet(verb: argparse.ArgumentParser) -> None:
    """Add what silences all but warnings and errors."""
    verb.add_argument("-q", "--quiet", action="store_true", help="show warnings and errors only")


# --- what the arguments become --------------------------------------------------------------------------------------


def reading(options: argparse.Namespace) -> "ReadOptions":
    """Return how scans are to be understood."""
    from ..scan.options import ReadOptions

    return ReadOptions(**{name: getattr(options, name) for name in READING})


def load(options: argparse.Namespace, display: Display) -> "Model":
    """Return the model that was asked for; the device is checked first."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # the client's own lines on each try; ours says it once
    display.stage("model")
    from .._util.devices import device_of
    from ..model import load

    device = device_of(options.device)
    model = load(options.model, device=device, backend=options.backend, precision=options.precision)
    display.note(repr(model))
    return model


def check_there(paths: Sequence[str]) -> None:
    """Raise FileError for the first path that does not exist, before anything heavy is imported."""
    for path in paths:
        if not os.path.exists(path):
            raise FileError(f"{path}: does not exist; check the path.")


# --- types of values ------------------------------------------------------------------------------------------------


def one_of(*good: str) -> Callable[[str], str]:
    """Return a type of argument that is one of some words."""

    def chosen(text: str) -> str:
        if text not in good:
            raise argparse.ArgumentTypeError(f"unknown {text!r}; {choices(text, good)}")
        return text

    return chosen


def written(text: str) -> str:
    """Return the ending, without its point, of a kind of file that features are written to."""
    from ..io import WRITERS

    return one_of(*(suffix[1:] for suffix in WRITERS.suffixes()))(text)


def whole(least: int) -> Callable[[str], int]:
    """Return a type of argument that is a whole number from `least`."""

    def number(text: str) -> int:
        try:
            value = int(text.replace("_", ""))
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return value

    return number


def numbers(text: str) -> list[int]:
    """Return the whole numbers in a list such as 3,4."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 3,4") from None


def shares(text: str) -> list[float]:
    """Return the numbers in a list such as 1,0.05."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of shares such as 1,0.05") from None


def counts(text: str) -> list[int | None]:
    """Return the whole numbers in a list such as all,20, with None for all."""
    try:
        return [None if part == "all" else int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as all,20") from None


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1, such as 0.1")
    return value


def _memory(text: str) -> str:
    from .._util.memory import size

    try:
        size(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _device(text: str) -> str:
    from .._util.devices import checked

    try:
        return checked(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
