"""LAZ through a child process: a damaged file can crash its decompressor, or have it take memory without end."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._util.words import cut
from ..errors import FileError
from . import limits

MEMORY = 1 << 30
"""Bytes that the child may take: points pass through it in pieces."""
SECONDS = 30.0
"""For any file."""
PACE = 200_000
"""Bytes of the file that a second is given for, a tenth of what a slow machine does."""
_SCRIPT = Path(__file__).with_name("_laz.py")


def command() -> list[str] | None:
    """Return how to start the child; None where this process is no Python that could be started again."""
    name = Path(sys.executable or "").name.lower()
    if getattr(sys, "frozen", False) or not name.startswith(("python", "pypy")):
        return None
    return [sys.executable, "-I", "-W", "ignore", str(_SCRIPT)]


def decompressed(file: Path, names: Sequence[str], count: int, command: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the columns `names` of the `count` points of a LAZ file.

    Args:
        file: it exists.
        names: as laspy calls them.
        count: as the header declares.
        command: what starts the child.

    Raises:
        FileError: the child crashed, took too much memory or time, or found the file damaged.
    """
    limits.fits(count * 8 * len(names), f"declares {count} points")
    seconds = SECONDS + file.stat().st_size / PACE
    request = {"path": sys.path, "file": str(file), "names": list(names), "memory": MEMORY}
    single = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")}
    late = threading.Event()
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | single,  # threads would reserve memory each
    ) as child:
        timer = threading.Timer(seconds, lambda: (late.set(), child.kill()))
        timer.daemon = True
        timer.start()
        try:
            found, reason = _answer(child, request, names, count)
        finally:
            timer.cancel()
            child.kill()
    if found is not None:
        return found
    if late.is_set():
        raise FileError(
            f"was not decompressed within {seconds:.0f} s; it is damaged, or save it as LAS where there is more time."
        )
    if reason is None:
        reason = f"its decompressor {_ended(child.returncode)}"
    raise FileError(f"cannot be decompressed: {cut(reason, 200).rstrip('.')}; it is damaged, export it again.")


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"crashed or ran out of its {MEMORY / 1e9:.1f} GB of memory ({name})"


def _answer(
    child: Any, request: dict[str, Any], names: Sequence[str], count: int
) -> tuple[dict[str, np.ndarray] | None, str | None]:
    """Return the columns, or None and what is wrong; None for that, too, where the child ended without a word."""
    try:
        child.stdin.write(json.dumps(request).encode())
        child.stdin.close()
    except OSError:  # it ended before it read; its code tells how
        pass
    columns: dict[str, np.ndarray] = {}
    done = 0
    while line := child.stdout.readline(1 << 16):
        match json.loads(line):
            case {"types": kinds}:
                columns = {name: np.empty(count, dtype=kind) for name, kind in zip(names, kinds, strict=True)}
            case {"points": size} if size <= count - done:
                for column in columns.values():
                    if not _filled(child.stdout, column[done : done + size].data.cast("B")):
                        break
                done += size
            case {"end": _} if done == count:
                return columns, None
            case {"kind": "MemoryError"}:
                return None, f"more than {MEMORY / 1e9:.1f} GB of memory were asked for"
            case {"error": error}:
                return None, str(error)
            case _:
                return None, f"it declares {count} points but holds {'more' if done == count else done}"
    child.wait()
    return None, None


def _filled(stream: BinaryIO, part: memoryview) -> bool:
    """Fill a piece of memory; tell whether there was enough."""
    while part.nbytes:
        got = stream.readinto(part)  # type: ignore[attr-defined]
        if not got:
            return False
        part = part[got:]
    return True
