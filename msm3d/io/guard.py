"""LAZ and E57 through a child process: a damaged file can crash what decodes it, or have it take memory without end."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import cut
from ..errors import FileError
from . import _child, limits

MEMORY = 1 << 30  # bytes that the child may take: points pass through it in pieces
SECONDS = 30.0  # for any file
PACE = 200_000  # bytes of the file that a second is given for, a tenth of what a slow machine does
_WORDS = {  # what is done to a file, who does it, and what helps where that takes too long
    "laz": ("decompressed", "decompressor", "LAS"),
    "e57": ("decoded", "decoder", "PTX"),
}

Table = tuple[dict[str, Any], dict[str, np.ndarray]]  # what it is, and its columns by name


def command() -> list[str] | None:
    """Return how to start the child; None where this process is no Python that could be started again."""
    name = Path(sys.executable or "").name.lower()
    if getattr(sys, "frozen", False) or not name.startswith(("python", "pypy")):
        return None
    return [sys.executable, "-I", "-W", "ignore", str(Path(__file__).with_name("_child.py"))]


def tables(request: dict[str, Any], size: int) -> Iterator[Table]:
    """Yield each table that the child finds in files of `size` bytes; where none can be started, they are read here.

    `request` says the `kind` of files and what else that needs, see `_child`.
    """
    start = command()
    yield from _tables_here(request) if start is None else _tables_of(request, size, start)


def _tables_here(request: dict[str, Any]) -> Iterator[Table]:
    for about, types, count, pieces in _child.KINDS[request["kind"]](request):
        limits.fits(count * 8 * len(types), f"declares {count} points")
        columns, done = {name: np.empty(count, kind) for name, kind in types.items()}, 0
        for piece in pieces:
            size = len(piece[0])
            limits.whole(done + size <= count, f"{count} points", "more")
            for column, values in zip(columns.values(), piece, strict=True):
                column[done : done + size] = values
            done += size
        limits.whole(done == count, f"{count} points", str(done))
        yield about, columns


def _tables_of(request: dict[str, Any], size: int, command: Sequence[str]) -> Iterator[Table]:
    seconds = SECONDS + size / PACE
    request = {**request, "path": sys.path, "memory": MEMORY}
    single = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")}
    late = threading.Event()
    pipe, environment = subprocess.PIPE, os.environ | single  # threads would reserve memory each
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment) as child:
        timer = threading.Timer(seconds, lambda: (late.set(), child.kill()))
        timer.daemon = True
        timer.start()
        try:
            reason = yield from _answers(child, request)
        finally:
            timer.cancel()
            child.kill()
    if reason == "":
        return
    done, who, cure = _WORDS[request["kind"]]
    if late.is_set():
        raise FileError(
            f"was not {done} within {seconds:.0f} s; it is damaged, or save it as {cure} where there is more time."
        )
    reason = reason or f"its {who} {_ended(child.returncode)}"
    raise FileError(f"cannot be {done}: {cut(reason, 200).rstrip('.')}; it is damaged, export it again.")


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"crashed or ran out of its {MEMORY / 1e9:.1f} GB of memory ({name})"


def _answers(child: Any, request: dict[str, Any]) -> Generator[Table, None, str | None]:
    """Yield tables, and return what is wrong: nothing, or None where the child ended without a word."""
    try:
        child.stdin.write(json.dumps(request).encode())
        child.stdin.close()
    except OSError:  # it ended before it read; its code tells how
        pass
    names, count, done = request.get("names", []), request.get("count", 0), 0
    about, columns = dict[str, Any](), dict[str, np.ndarray]()
    while line := child.stdout.readline(1 << 16):
        match json.loads(line):
            case {"types": kinds, **rest} if not columns or done == count:
                if columns:
                    yield about, columns
                names, count, about = (rest.get(*one) for one in (("names", names), ("count", count), ("about", {})))
                limits.fits(count * 8 * len(names), f"declares {count} points")
                columns, done = {name: np.empty(count, kind) for name, kind in zip(names, kinds, strict=True)}, 0
            case {"points": size} if size <= count - done:
                for column in columns.values():
                    child.stdout.readinto(column[done : done + size].data.cast("B"))
                done += size
            case {"end": _} if done == count:
                if columns:
                    yield about, columns
                return ""
            case {"kind": "MemoryError"}:
                return f"more than {MEMORY / 1e9:.1f} GB of memory were asked for"
            case {"error": error}:
                return str(error)
            case _:
                return f"it declares {count} points but holds {'more' if done == count else done}"
    child.wait()
    return None
