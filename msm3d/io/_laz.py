"""The child process that decompresses LAZ for `guard`: run as a script, imports nothing of msm3d.

Reads a request as JSON from its input. Answers with lines of JSON: the types of the columns; a number of points, behind
which follow the bytes of each column; that this was all; or an error.
"""

import json
import sys
from typing import Any, BinaryIO


def bound(memory: int) -> None:
    """Allow this process no more than `memory` bytes beyond what it has, where the system can, and no core dump."""
    try:
        import resource
    except ImportError:  # Windows
        return
    try:
        with open("/proc/self/statm") as file:
            there = int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        there = 1 << 30
    for what, most in ((resource.RLIMIT_AS, there + memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(what)[1]
        try:
            resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
        except (OSError, ValueError):  # a system that does not know this limit
            continue


def send(file: str, names: list[str], out: BinaryIO) -> None:
    """Write the columns `names` of a file's points."""
    import laspy
    import numpy as np

    with laspy.open(file, laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False) as reader:
        size = max(reader.header.point_format.size, 1)
        for i, chunk in enumerate(reader.chunk_iterator(max(1, min(1_000_000, (1 << 26) // size)))):  # 64 MB
            columns = [np.ascontiguousarray(chunk[name]) for name in names]
            if not i:
                say(out, types=[column.dtype.str for column in columns])
            say(out, points=len(columns[0]))
            for column in columns:
                out.write(column.data)
    say(out, end=True)


def say(out: BinaryIO, **message: Any) -> None:
    """Write a line."""
    out.write(json.dumps(message).encode() + b"\n")


def main() -> None:
    """Answer one request."""
    request: dict[str, Any] = json.load(sys.stdin)
    sys.path[:] = request["path"]
    out = sys.stdout.buffer
    import laspy  # noqa: F401  # before the memory is bounded
    import lazrs  # noqa: F401
    import numpy  # noqa: F401

    bound(request["memory"])
    try:
        send(request["file"], request["names"], out)
    except BaseException as error:  # a panic of the decompressor, written in Rust, is no Exception
        say(out, error=str(error)[:1000], kind=type(error).__name__)
    out.flush()


if __name__ == "__main__":
    main()
