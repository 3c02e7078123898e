"""LAS and LAZ, as laspy writes them, and what a child process keeps from us."""

import re
import struct
import sys

import laspy
import numpy as np
import pytest

from msm3d.errors import FileError
from msm3d.io import guard, limits, read
from tests.files import LABEL, RGB, XYZ, refused


@pytest.mark.parametrize("kind", ["las", "laz"])
@pytest.mark.parametrize("factor", [1, 257])
def test_las_keeps_large_coordinates_and_both_colour_scales(tmp_path, kind, factor):
    origin = np.array([682244.65, 3444317.77, 31.0])
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.offsets, header.scales = origin, [0.0001] * 3
    las = laspy.LasData(header)
    las.x, las.y, las.z = (XYZ + origin).T
    las.red, las.green, las.blue = RGB.T.astype(np.uint16) * factor
    las.classification = LABEL
    file = tmp_path / f"scan.{kind}"
    las.write(file)
    cloud = read(file)
    np.testing.assert_allclose(cloud.coord - origin, XYZ, atol=0.0001)
    np.testing.assert_allclose(cloud.color, RGB, rtol=1e-6)
    assert cloud.segment.tolist() == LABEL.tolist()
    data = bytearray(file.read_bytes())
    data[107:111] = struct.pack("<I", 2**31)
    file.write_bytes(data)
    if kind == "las":
        message = f"declares {2**31} points of 34 bytes but holds 1360 bytes of them; it is truncated, export it again."
        with refused(file, message):
            read(file)
    else:
        with pytest.raises(FileError, match=re.escape(str(file))):
            read(file)


def test_las_without_colour_and_las_that_is_none(tmp_path):
    las = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    las.x, las.y, las.z = XYZ.T
    las.write(tmp_path / "scan.las")
    assert read(tmp_path / "scan.las").color is None
    file = tmp_path / "other.las"
    file.write_bytes(b"no point cloud at all")
    with refused(file, "does not start with 'LASF' and a header; it is not a LAS file."):
        read(file)
    data = bytearray((tmp_path / "scan.las").read_bytes())
    data[100:104] = struct.pack("<I", 2**31)  # records before the points
    file.write_bytes(data)
    with refused(file, "has a header that declares more than the file holds; it is truncated, export it again."):
        read(file)


def laz(file, n=40, **extra):
    las = laspy.LasData(laspy.LasHeader(point_format=8, version="1.4"))
    las.header.scales = [0.001] * 3
    for name, values in extra.items():
        las.add_extra_dim(laspy.ExtraBytesParams(name, values.dtype))
        las[name] = values
    las.x, las.y, las.z = XYZ[:n].T
    las.red, las.green, las.blue = RGB[:n].T.astype(np.uint16) * 257
    las.write(file)
    return file


def test_las_and_laz_are_the_same_with_other_dimensions(tmp_path):
    extra = {"height": XYZ[:, 0].astype(np.float32), "instance": np.arange(40, dtype=np.int32)}
    one, two = (read(laz(tmp_path / f"scan.{kind}", **extra)) for kind in ("las", "laz"))
    assert np.array_equal(one.coord, two.coord)
    np.testing.assert_allclose(two.color, RGB, rtol=1e-6)
    assert two.instance.tolist() == list(range(40))


def child(monkeypatch, code):
    """Put a few lines in the place of the decompressor."""
    monkeypatch.setattr(guard, "command", lambda: [sys.executable, "-I", "-c", code])


TAKE = "import json, sys; request = json.load(sys.stdin); sys.path[:] = request['path']\n"
CRASH = (
    r"cannot be decompressed: its decompressor crashed or ran out of its 1\.1 GB of memory \(SIGABRT\); it is damaged"
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.abort()", CRASH),
        (TAKE + "import os; print(json.dumps({'types': ['<f8'] * 7}), flush=True); os.abort()", CRASH),
        ("raise SystemExit(3)", "cannot be decompressed: its decompressor ended with code 3; it is damaged"),
        (TAKE + 'print(\'{"error": "no chunk"}\')', "cannot be decompressed: no chunk; it is damaged, export it again"),
        (
            TAKE + "print('{\"points\": 41}')",
            "cannot be decompressed: it declares 40 points but holds 0; it is damaged",
        ),
        (TAKE + "print('{\"end\": 1}')", "cannot be decompressed: it declares 40 points but holds 0; it is damaged"),
        ("print('no JSON')", "is not a readable LAZ file"),
    ],
)
def test_a_decompressor_that_fails_is_a_sentence(tmp_path, monkeypatch, code, message):
    file = laz(tmp_path / "scan.laz")
    child(monkeypatch, code)
    with pytest.raises(FileError, match="^" + re.escape(f"{file}: ") + message):
        read(file)


def test_a_decompressor_that_does_not_end_is_ended(tmp_path, monkeypatch):
    file = laz(tmp_path / "scan.laz")
    monkeypatch.setattr(guard, "SECONDS", 0.2)
    child(monkeypatch, "import time; time.sleep(60)")
    message = "was not decompressed within 0 s; it is damaged, or save it as LAS where there is more time."
    with refused(file, message):
        read(file)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process within its memory")
def test_a_decompressor_gets_no_more_than_its_memory(tmp_path, monkeypatch):
    script = guard.command()[-1]
    take = (
        f"import runpy, sys; their = runpy.run_path({script!r}); from types import FunctionType\n"
        "their['main'].__globals__['send'] = lambda *_: bytearray(1 << 28)\n"
        "their['main']()"
    )
    file = laz(tmp_path / "scan.laz")
    monkeypatch.setattr(guard, "MEMORY", 1 << 27)
    child(monkeypatch, take)
    message = "cannot be decompressed: more than 0.1 GB of memory were asked for; it is damaged, export it again."
    with refused(file, message):
        read(file)


def test_without_a_python_to_start_laz_is_read_here(tmp_path, monkeypatch):
    file = laz(tmp_path / "scan.laz")
    there = read(file)
    monkeypatch.setattr(sys, "executable", "/usr/bin/qgis")
    assert guard.command() is None
    assert np.array_equal(read(file).coord, there.coord)


def test_large_chunks_are_read_point_by_point(tmp_path, monkeypatch):
    file = laz(tmp_path / "scan.laz")
    there = read(file)
    monkeypatch.setattr(guard, "command", lambda: None)
    monkeypatch.setattr("msm3d.io._child._LARGE", 0)
    monkeypatch.delattr("lazrs.ParLasZipDecompressor")
    assert np.array_equal(read(file).coord, there.coord)


def test_laz_that_declares_more_than_there_is_memory_for(tmp_path, monkeypatch):
    file = laz(tmp_path / "scan.laz")
    monkeypatch.setattr(limits, "available", lambda: 1000)
    message = (
        "declares 40 points of 2.24e-06 GB, more than half of the 1e-06 GB that are free; "
        "split it, or read it where there is more memory."
    )
    with refused(file, message):
        read(file)
