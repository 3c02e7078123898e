"""What the tests of the readers write, and what they look for."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from msm3d.errors import FileError

SCANS = Path(__file__).parents[2] / "shared" / "scans"
RNG = np.random.default_rng(0)
XYZ = RNG.random((40, 3)).astype(np.float32)
RGB = RNG.integers(0, 256, (40, 3)).astype(np.uint8)
NORMAL = np.tile(np.array([0, 0.6, 0.8], dtype=np.float32), (40, 1))
LABEL = RNG.integers(0, 20, 40).astype(np.uint8)
HUGE = 10**15


def refused(file, message):
    return pytest.raises(FileError, match="^" + re.escape(f"{file}: {message}") + "$")


def same(cloud, color=RGB, normal=NORMAL, segment=LABEL, atol=0.0):
    np.testing.assert_allclose(cloud.coord, XYZ, rtol=0, atol=atol)
    for ours, exact in ((cloud.color, color), (cloud.normal, normal), (cloud.segment, segment)):
        if exact is None:
            assert ours is None
        else:
            np.testing.assert_allclose(ours, exact, rtol=1e-6)
    assert cloud.rows is None


def columns(names):
    """The points as one record each, with these names for x y z, rgb, normal and label."""
    names = names.split()
    kinds = ["f4"] * 3 + ["u1"] * 3 + ["f4"] * 3 + ["u1"]
    table = np.empty(40, dtype=list(zip(names, kinds, strict=True)))
    for i, name in enumerate(names):
        table[name] = np.column_stack([XYZ, RGB, NORMAL, LABEL])[:, i]
    return table


NAMES = "x y z red green blue nx ny nz label"


def literal(data):
    """The LZF of `data`, without any compression."""
    return b"".join(bytes([len(data[i : i + 32]) - 1]) + data[i : i + 32] for i in range(0, len(data), 32))


def pcd(file, encoding, packed="F", count=None, compress=literal):
    """Write the points with packed colours, a label and padding."""
    bits = (RGB.astype(np.uint32) << np.array([16, 8, 0], dtype=np.uint32)).sum(1).astype(np.uint32)
    fields = [*XYZ.T, bits.view(np.float32) if packed == "F" else bits, *NORMAL.T, LABEL, np.zeros(40, dtype="u1")]
    header = (
        "# made here\nVERSION 0.7\nFIELDS x y z rgb normal_x normal_y normal_z label _\nSIZE 4 4 4 4 4 4 4 1 1\n"
        f"TYPE F F F {packed} F F F U U\nCOUNT 1 1 1 1 1 1 1 1 1\nWIDTH 40\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
        f"POINTS {count or 40}\nDATA {encoding}\n"
    ).encode()
    if encoding == "ascii":
        lines = [" ".join(repr(field[i].item()) for field in fields) for i in range(40)]
        body = ("\n".join(lines) + "\n").encode()
    elif encoding == "binary":
        record = np.dtype([(f"{i}", field.dtype) for i, field in enumerate(fields)])
        table = np.empty(40, dtype=record)
        for i, field in enumerate(fields):
            table[f"{i}"] = field
        body = table.tobytes()
    else:
        plain = b"".join(field.tobytes() for field in fields)
        body = struct.pack("<II", len(compress(plain)), len(plain)) + compress(plain)
    file.write_bytes(header + body)
    return file
