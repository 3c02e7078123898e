"""LAZ and E57 through a child process: a damaged file can crash what decodes it, or have it take memory without end."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import cut
from ..errors import FileError
from . import _child, limits

MEMORY = 1 << 30  # bytes that the child may take: points pass through it in pieces
SECONDS = 30.0  # for any file
PACE = 200_000  # bytes of the file that a second is given for, a tenth of what a slow machine does
_PIPE = 1 << 20  # bytes that wait between the two processes
_THREADS = 4  # that decompress, at most
_WORDS = {  # what is done to a file, who does it, and what helps where that takes too long
    "laz": ("decompressed", "decompressor", "LAS"),
    "e57": ("decoded", "decoder", "PTX"),
}

Table = _child.Table


def command() -> list[str] | None:
    """Return how to start the child; None where this process is no Python that could be started again."""
    name = Path(sys.executable or "").name.lower()
    if getattr(sys, "frozen", False) or not name.startswith(("python", "pypy")):
        return None
    return [sys.executable, "-I", "-S", "-W", "ignore", str(Path(__file__).with_name("_child.py"))]


def tables(request: dict[str, Any], size: int) -> Iterator[Table]:
    """Yield each table that the child finds in files of `size` bytes; where none can be started, they are read here.

    `request` says the `kind` of files and what else that needs, see `_child`. The pieces of a table are as many rows as
    it declares, each piece overwrites the one before it, and they are all taken before the next table.
    """
    start = command()
    yield from _tables_here(request) if start is None else _tables_of(request, size, start)


def _tables_here(request: dict[str, Any]) -> Iterator[Table]:
    for about, types, count, pieces in _child.KINDS[request["kind"]](request):
        yield about, types, count, _whole(pieces, types, count)


def _whole(pieces: Iterable[list[Any]], types: Mapping[str, str], count: int) -> Iterator[list[Any]]:
    done = 0
    for piece in pieces:
        found = [np.frombuffer(column, kind) for column, kind in zip(piece, types.values(), strict=True)]
        done += len(found[0])
        limits.whole(done <= count, f"{count} points", "more")
        yield found
    limits.whole(done == count, f"{count} points", str(done))


def _tables_of(request: dict[str, Any], size: int, command: Sequence[str]) -> Iterator[Table]:
    seconds = SECONDS + size / PACE
    request = {**request, "path": sys.path, "memory": MEMORY}
    single = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}  # threads would reserve memory each
    single |= {"RAYON_NUM_THREADS": str(min(os.cpu_count() or 1, _THREADS)), "MALLOC_ARENA_MAX": "1"}
    late = threading.Event()
    pipe, environment = subprocess.PIPE, os.environ | single
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment) as child:
        _widen(child.stdout)
        timer = threading.Timer(seconds, lambda: (late.set(), child.kill()))
        timer.daemon = True
        timer.start()

        def failed(reason: str | None) -> FileError:
            done, who, cure = _WORDS[request["kind"]]
            if reason is None:
                child.wait()
            if late.is_set():
                return FileError(
                    f"was not {done} within {seconds:.0f} s; it is damaged, or save it as {cure} where there is more "
                    "time."
                )
            reason = reason or f"its {who} {_ended(child.returncode)}"
            return FileError(f"cannot be {done}: {cut(reason, 200).rstrip('.')}; it is damaged, export it again.")

        try:
            yield from _answers(child, request, failed)
        finally:
            timer.cancel()
            child.kill()


def _widen(pipe: Any) -> None:
    """Let more bytes wait in a pipe, so that its ends take turns less often, where the system can and may."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"crashed or ran out of its {MEMORY / 1e9:.1f} GB of memory ({name})"


def _answers(child: Any, request: dict[str, Any], failed: Callable[[str | None], FileError]) -> Iterator[Table]:
    """Yield tables, or raise what `failed` makes of what is wrong: None where the child ended without a word."""
    try:
        child.stdin.write(json.dumps(request).encode())
        child.stdin.close()
    except OSError:  # it ended before it read; its code tells how
        pass
    count, done = request.get("count", 0), 0

    def message(started: bool) -> dict[str, Any]:
        line = child.stdout.readline(1 << 16)
        if not line:
            raise failed(None)
        match json.loads(line):
            case {"types": _} as found if not started or done == count:
                return found
            case {"points": size} as found if started and size <= count - done:
                return found
            case {"end": _} as found if done == count:
                return found
            case {"kind": "MemoryError"}:
                raise failed(f"more than {MEMORY / 1e9:.1f} GB of memory were asked for")
            case {"error": error}:
                raise failed(str(error))
        raise failed(f"it declares {count} points but holds {'more' if done == count else done}")

    def pieces(types: Mapping[str, str]) -> Iterator[list[Any]]:
        nonlocal done
        rooms = [np.empty(0, kind) for kind in types.values()]
        while done < count:
            size = message(True)["points"]
            if size > len(rooms[0]):
                rooms = [np.empty(size, kind) for kind in types.values()]
            found = [room[:size] for room in rooms]
            for column in found:
                if child.stdout.readinto(column.view(np.uint8).data) < column.nbytes:
                    raise failed(None)
            done += size
            yield found

    started = False
    while "types" in (found := message(started)):
        types = dict(zip(found.get("names", request.get("names", [])), found["types"], strict=False))
        started, count, done = True, found.get("count", count), 0
        yield found.get("about", {}), types, count, pieces(types)
