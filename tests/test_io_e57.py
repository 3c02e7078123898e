"""E57 as pye57 and the library below it write it: poses, invalid points, limits of colours, angles, and damage."""

import re
import sys

import numpy as np
import pytest

from msm3d.errors import DependencyError, FileError, Msm3dWarning
from msm3d.io import guard, read
from tests.files import RGB, XYZ, refused

pye57 = pytest.importorskip("pye57")
libe57 = pye57.libe57
TURN = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]  # x becomes y
TURNED = XYZ[:, [1, 0, 2]] * [-1, 1, 1]
PLACE = np.array([682244.651, 3444317.772, 31.5])


def plain(coord=XYZ, rgb=RGB, **more):
    """What pye57 writes of points."""
    fields = dict(zip(["cartesianX", "cartesianY", "cartesianZ"], coord.astype(np.float64).T, strict=True))
    if rgb is not None:
        fields |= dict(zip(["colorRed", "colorGreen", "colorBlue"], rgb.T, strict=True))
    return {**fields, **more}


def written(file, *scans):
    """Write scans, each of fields and pose, as pye57 does."""
    with pye57.E57(str(file), mode="w") as out:
        for fields, pose in scans:
            out.write_scan_raw(fields, **pose)
    return file


def node(out, value, kind, low=None, high=None, scale=None):
    """A field of a prototype."""
    if kind == "int":
        return libe57.IntegerNode(out, 0, int(low), int(high))
    if kind == "scaled":
        return libe57.ScaledIntegerNode(out, 0, -(2**40), 2**40, scale, 0.0)
    return libe57.FloatNode(out, float(np.min(value)), libe57.E57_DOUBLE, float(np.min(value)), float(np.max(value)))


def raw(file, fields, kinds, limits=None, pose=None):
    """Write one scan with what pye57 has no words for: doubles, scaled integers, colours of other depths."""
    with pye57.E57(str(file), mode="w") as made:
        out = made.image_file
        scan = libe57.StructureNode(out)
        scan.set("guid", libe57.StringNode(out, "{a}"))
        if limits is not None:
            box = libe57.StructureNode(out)
            for name in ("colorRed", "colorGreen", "colorBlue"):
                for end, value in zip(("Minimum", "Maximum"), limits, strict=True):
                    box.set(name + end, libe57.FloatNode(out, float(value)))
            scan.set("colorLimits", box)
        if pose is not None:
            part, translation = libe57.StructureNode(out), libe57.StructureNode(out)
            scan.set("pose", part)
            for axis, value in zip("xyz", pose, strict=True):
                translation.set(axis, libe57.FloatNode(out, float(value)))
            part.set("translation", translation)
        prototype = libe57.StructureNode(out)
        for name, values in fields.items():
            prototype.set(name, node(out, values, *kinds.get(name[:5], ("double",))))
        points = libe57.CompressedVectorNode(out, prototype, libe57.VectorNode(out, True))
        scan.set("points", points)
        made.data3d.append(scan)
        buffers, arrays = libe57.VectorSourceDestBuffer(), [np.array(one, dtype=float) for one in fields.values()]
        for name, array in zip(fields, arrays, strict=True):
            buffers.append(libe57.SourceDestBuffer(out, name, array, len(array), True, True))
        writer = points.writer(buffers)
        writer.write(len(arrays[0]))
        writer.close()
    return file


def test_all_scans_are_where_their_poses_put_them(tmp_path):
    state = np.zeros(40, np.int8)
    state[[3, 20]] = [1, 2]
    first = (plain(cartesianInvalidState=state), {"rotation": np.array(TURN), "translation": PLACE})
    file = written(tmp_path / "a.e57", first, (plain(XYZ + 1), {"translation": PLACE + 5}))
    with pytest.warns(Msm3dWarning, match=r"^2 of 80 points have no position \(NaN\) and are dropped"):
        cloud = read(file)
    there = np.setdiff1d(np.arange(40), [3, 20])
    np.testing.assert_allclose(cloud.coord[:38] - PLACE, TURNED[there], atol=1e-6)
    np.testing.assert_allclose(cloud.coord[38:] - PLACE - 5, XYZ + 1, atol=1e-6)
    assert np.array_equal(cloud.color, np.concatenate([RGB[there], RGB]))
    assert cloud.viewpoint.tolist() == [PLACE.tolist(), (PLACE + 5).tolist()]
    assert cloud.station.tolist() == [0] * 38 + [1] * 40
    assert cloud.rows.tolist() == [*there, *range(40, 80)]


def test_a_pose_that_moves_nothing_is_no_viewpoint_unless_the_scan_is_a_grid(tmp_path):
    assert read(written(tmp_path / "a.e57", (plain(), {}))).viewpoint is None
    grid = {"rowIndex": np.arange(40) % 8, "columnIndex": np.arange(40) // 8}
    assert read(written(tmp_path / "b.e57", (plain(**grid), {}))).viewpoint.tolist() == [[0, 0, 0]]
    both = read(written(tmp_path / "c.e57", (plain(), {}), (plain(), {"translation": PLACE})))
    assert both.station.tolist() == [-1] * 40 + [0] * 40


def test_scans_with_and_without_colour(tmp_path):
    assert read(written(tmp_path / "a.e57", (plain(rgb=None), {}))).color is None
    file = written(tmp_path / "b.e57", (plain(), {}), (plain(rgb=None), {}))
    with pytest.warns(Msm3dWarning, match="40 of 80 points have no colour"):
        cloud = read(file)
    assert np.array_equal(cloud.color[:40], RGB)
    assert (cloud.color[40:] == 127.5).all()


@pytest.mark.parametrize("kind", ["double", "scaled"])
def test_positions_keep_their_precision(tmp_path, kind):
    coord = XYZ + PLACE
    kinds = {"carte": (kind,) if kind == "double" else (kind, None, None, 1e-4)}
    cloud = read(raw(tmp_path / "a.e57", plain(coord, None), kinds))
    assert cloud.coord.dtype == np.float64
    np.testing.assert_allclose(cloud.coord, coord, rtol=0, atol=0 if kind == "double" else 5.1e-5)


@pytest.mark.parametrize(
    ("factor", "kind", "limits"),
    [
        (257, ("int", 0, 65535), (0, 65535)),
        (257, ("int", 0, 65535), None),  # the numbers' own range stands for the sensor's
        (4, ("int", 0, 1023), (0, 1020)),
        (1 / 255, ("double",), (0, 1)),
        (1, ("int", 0, 255), (0, 1)),  # limits that nearly all colours exceed are wrong
        (1, ("double",), None),
    ],
)
def test_colours_have_the_limits_of_the_file(tmp_path, factor, kind, limits):
    cloud = read(raw(tmp_path / "a.e57", plain(rgb=RGB.astype(np.float64) * factor), {"color": kind}, limits))
    np.testing.assert_allclose(cloud.color, RGB, atol=1e-4)
    dark = read(raw(tmp_path / "b.e57", plain(rgb=(RGB > 250) * factor), {"color": kind}, limits or (0, 255 * factor)))
    assert limits == (0, 1) or np.abs(dark.color - (RGB > 250)).max() < 1e-4


def test_points_without_a_colour_and_angles(tmp_path):
    reach = np.linalg.norm(XYZ, axis=1)
    angles = {"sphericalRange": reach, "sphericalAzimuth": np.arctan2(XYZ[:, 1], XYZ[:, 0])}
    angles["sphericalElevation"] = np.arcsin(XYZ[:, 2] / reach)
    state = (np.arange(40) < 4).astype(float)
    given = {**angles, "isColorInvalid": state, **plain()}
    fields = {name: value for name, value in given.items() if not name.startswith("cartesian")}
    file = raw(tmp_path / "a.e57", fields, {"color": ("int", 0, 255), "isCol": ("int", 0, 1)}, pose=PLACE)
    with pytest.warns(Msm3dWarning, match="4 of 40 points have no colour"):
        cloud = read(file)
    np.testing.assert_allclose(cloud.coord - PLACE, XYZ, atol=1e-6)
    assert np.array_equal(cloud.color[4:], RGB[4:])
    assert cloud.viewpoint.tolist() == [PLACE.tolist()]


def test_files_that_cannot_be_used(tmp_path, monkeypatch):
    file = written(tmp_path / "empty.e57")
    with refused(file, "holds no scan with points; there is nothing to read."):
        read(file)
    bare = raw(tmp_path / "bare.e57", {"intensity": np.arange(4.0)}, {})
    message = "cannot be decoded: a scan has the fields intensity, which are not positions; it is damaged, export it "
    with refused(bare, message + "again."):
        read(bare)
    good = written(tmp_path / "a.e57", (plain(), {}))
    data = good.read_bytes()
    good.write_bytes(data[: len(data) // 2])
    with pytest.raises(FileError, match=r"a\.e57: cannot be decoded: .*; it is damaged, export it again\.$"):
        read(good)
    good.write_bytes(b"no scan at all")
    with pytest.raises(FileError, match=r"a\.e57: cannot be decoded: .*; it is damaged, export it again\.$"):
        read(good)
    assert good.read_bytes() == b"no scan at all"  # a reader that fails removes nothing
    monkeypatch.setattr(guard, "command", lambda: [sys.executable, "-I", "-c", "import os; os.abort()"])
    with pytest.raises(FileError, match=re.escape("cannot be decoded: its decoder crashed or ran out of its 1.1 GB")):
        read(good)
    monkeypatch.setitem(sys.modules, "pye57", None)
    with pytest.raises(DependencyError, match=r'reading E57 needs pye57; type: pip install "msm3d\[e57\]"\.$'):
        read(good)


def test_without_a_python_to_start_it_is_read_here(tmp_path, monkeypatch):
    file = written(tmp_path / "a.e57", (plain(), {"translation": PLACE}), (plain(), {}))
    there = read(file)
    monkeypatch.setattr(guard, "command", lambda: None)
    monkeypatch.setattr("msm3d.io._child._CHUNK", 7)
    assert np.array_equal(read(file).coord, there.coord)
