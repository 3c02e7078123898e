"""LAS and LAZ, as laspy writes them, and what a child process keeps from us."""

import re
import struct

import laspy
import numpy as np
import pytest
from files import LABEL, RGB, XYZ, refused

from msm3d.errors import FileError
from msm3d.io import read


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
