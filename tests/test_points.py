"""What users pass, and what they are told when it cannot be used."""

import re
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d.errors import InputError, Msm3dWarning
from msm3d.scan.augment import Augmentation, augmented, cropped
from msm3d.scan.cloud import PointCloud
from msm3d.scan.objects import scenes_of
from msm3d.scan.rescan import Rescan, rescanned

RNG = np.random.default_rng(0)
XYZ = RNG.random((5, 3))
RGB = RNG.integers(2, 256, (5, 3)).astype(np.uint8)
NORMAL = np.tile([0.0, 0.6, 0.8], (5, 1))
OBJECTS = (
    "points is a {}; give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal as an array or tensor, a dictionary with "
    "'coord', a PointCloud, an object of Open3D, trimesh, laspy or pyvista, or the path of a file."
)
SCANS = Path(__file__).parents[2] / "shared" / "scans"


def refused(message):
    return pytest.raises(InputError, match="^" + re.escape(message) + "$")


def same(cloud, coord=XYZ, color=RGB, normal=NORMAL):
    assert cloud.coord.dtype == np.float64
    np.testing.assert_array_equal(cloud.coord, coord)
    for ours, exact in ((cloud.color, color), (cloud.normal, normal)):
        if exact is None:
            assert ours is None
        else:
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, exact, rtol=1e-6)


def test_arrays_of_three_six_and_nine_columns():
    same(PointCloud.of(XYZ), color=None, normal=None)
    same(PointCloud.of(np.hstack([XYZ, RGB])), normal=None)
    same(PointCloud.of(np.hstack([XYZ, RGB, 7 * NORMAL])))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int32])
def test_tensors(dtype):
    points = torch.from_numpy(10 * XYZ).to(dtype)
    points.requires_grad_(dtype.is_floating_point)
    same(PointCloud.of(points), coord=points.detach().double().numpy(), color=None, normal=None)


def test_dictionaries():
    same(PointCloud.of({"coord": XYZ, "color": RGB, "normal": NORMAL, "name": "scene0000_00", "strength": None}))
    cloud = PointCloud.of({"xyz": XYZ, "rgb": RGB, "segment20": np.arange(5)[:, None], "instance": np.arange(5.0)})
    assert cloud.segment.tolist() == cloud.instance.tolist() == [0, 1, 2, 3, 4]
    with refused(
        "the points have 'pose', 'colour'; give 'coord' (n, 3), and 'color' and 'normal' where you have them."
    ):
        PointCloud.of({"pose": XYZ, "colour": RGB})


def test_four_columns_are_three_and_an_intensity():
    said_once = "the points have four columns: the last is taken as intensity, which is not used."
    for points in (np.hstack([XYZ, XYZ[:, :1]]), torch.from_numpy(np.hstack([XYZ, XYZ[:, :1]]))):
        with pytest.warns(Msm3dWarning, match=re.escape(said_once)) as caught:
            same(PointCloud.of(points), color=None, normal=None)
        assert len(caught) == 1


def test_lazily_negated_and_zero_tensors():
    points = torch.from_numpy(XYZ.copy())
    negated = torch._neg_view(points)
    assert negated.is_neg()
    same(PointCloud.of(negated), coord=-XYZ, color=None, normal=None)
    same(PointCloud.of({"coord": torch._neg_view(-points)}, normal=torch._neg_view(-torch.tensor(NORMAL))), color=None)
    assert not PointCloud.of(torch._efficientzerotensor((4, 3))).coord.any()


def test_records_are_read_by_their_names():
    kinds = {"names": ["x", "y", "z", "rgb", "ring"], "formats": ["f8", "f8", "f8", "f4", "u2"], "itemsize": 48}
    records = np.zeros(5, np.dtype(kinds))
    for axis, values in zip("xyz", XYZ.T, strict=True):
        records[axis] = values
    packed = RGB.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32) | 0xFF000000
    records["rgb"] = packed.view(np.float32)
    same(PointCloud.of(records), normal=None)
    same(PointCloud.of(records.reshape(5, 1)), normal=None)
    named = np.zeros(5, [("coord", "f8", 3), ("color", "u1", 3), ("normal", "f8", 3)])
    named["coord"], named["color"], named["normal"] = XYZ, RGB, NORMAL
    same(PointCloud.of(named))


def test_laspy_objects():
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=2)
    header.scales = [0.001] * 3
    scan = laspy.LasData(header)
    scan.x, scan.y, scan.z = XYZ.T
    scan.red, scan.green, scan.blue = RGB.T.astype(np.uint16) * 257
    scan.classification = np.arange(5, dtype=np.uint8)
    for points in (scan, scan.points):
        cloud = PointCloud.of(points)
        np.testing.assert_allclose(cloud.coord, XYZ, atol=0.001)
        np.testing.assert_allclose(cloud.color, RGB, rtol=1e-6)
        assert cloud.segment.tolist() == [0, 1, 2, 3, 4]


class Tensor:
    """What Open3D's tensors have in common with torch's."""

    def __init__(self, values):
        self.values = values

    def cpu(self):
        return self

    def numpy(self):
        return self.values


@pytest.mark.parametrize("name", ["point", "vertex"])
def test_tensor_geometry_of_open3d(name):
    held = {"positions": Tensor(XYZ), "colors": Tensor(RGB), "normals": Tensor(NORMAL)}
    same(PointCloud.of(SimpleNamespace(**{name: held})))
    held["colors"] = Tensor((RGB / 255).astype(np.float32))
    same(PointCloud.of(SimpleNamespace(**{name: held})))
    same(PointCloud.of(SimpleNamespace(**{name: {"positions": Tensor(XYZ)}})), color=None, normal=None)


@pytest.mark.parametrize("name", ["RGB", "RGBA", "colors"])
def test_pyvista_objects(name):
    paint = np.hstack([RGB, np.full((5, 1), 255, np.uint8)]) if name == "RGBA" else RGB
    same(
        PointCloud.of(SimpleNamespace(points=XYZ, point_data={"Elevation": XYZ[:, 2], name: paint, "Normals": NORMAL}))
    )
    same(PointCloud.of(SimpleNamespace(points=XYZ, point_data={})), color=None, normal=None)


def test_open3d_objects_by_their_attributes():
    cloud = SimpleNamespace(points=XYZ, colors=RGB / 255, normals=np.empty((0, 3)))
    same(PointCloud.of(cloud), normal=None)
    mesh = SimpleNamespace(
        vertices=XYZ, vertex_colors=np.empty((0, 3)), vertex_normals=NORMAL, triangles=np.array([[0, 1, 2]])
    )
    same(PointCloud.of(mesh), color=None)


def test_trimesh_objects():
    same(PointCloud.of(trimesh.PointCloud(XYZ, colors=RGB)), normal=None)
    same(PointCloud.of(trimesh.PointCloud(XYZ)), color=None, normal=None)
    box = trimesh.creation.box()
    assert PointCloud.of(box).color is None
    np.testing.assert_allclose(PointCloud.of(box).normal, box.vertex_normals, atol=1e-6)
    box.visual.vertex_colors = np.tile([10, 20, 30, 255], (8, 1)).astype(np.uint8)
    assert PointCloud.of(box).color.tolist() == [[10, 20, 30]] * 8
    assert len(PointCloud.of(trimesh.Scene([box, box.copy()]))) == 16


def test_trimesh_materials_of_one_colour_and_colours_beside_a_material():
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    box = trimesh.creation.box()
    box.visual = TextureVisuals(np.zeros((8, 2)), PBRMaterial(baseColorFactor=[200, 100, 50, 255]))
    assert PointCloud.of(box).color.tolist() == [[200, 100, 50]] * 8
    box.vertex_attributes["color"] = np.tile([1, 2, 3], (8, 1)).astype(np.uint8)
    assert PointCloud.of(box).color.tolist() == [[1, 2, 3]] * 8


def test_color_and_normal_replace_those_of_the_points():
    points = np.hstack([XYZ, np.ones((5, 3)), -NORMAL])
    same(PointCloud.of(points, color=RGB, normal=NORMAL))
    same(PointCloud.of(PointCloud.of(points), color=RGB, normal=NORMAL))
    same(PointCloud.of({"coord": XYZ, "color": "unusable"}, color=np.hstack([RGB, RGB[:, :1]]), normal=NORMAL))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.array([[0, 1, 1]], dtype=np.uint8), [0, 1, 1]),
        (np.array([[0, 1, 1]], dtype=np.int64), [0, 1, 1]),
        (np.array([[0, 0.5, 1]]), [0, 127.5, 255]),
        (np.array([[0, 0.5, 2.5]]), [0, 0.5, 2.5]),
        (np.array([[0, 1.0, 2.0]]), [0, 1, 2]),
        (np.array([[0, 255, 7]], dtype=np.uint16), [0, 255, 7]),
        (np.array([[0, 65535, 257]], dtype=np.uint16), [0, 255, 1]),
        (torch.tensor([[0, 0.5, 1]], dtype=torch.float16), [0, 127.5, 255]),
        ([[0.0, 0.0, 1.0]], [0, 0, 255]),
    ],
)
def test_colour_scales(given, expected):
    np.testing.assert_allclose(PointCloud.of(np.zeros((1, 3)), color=given).color, [expected], rtol=1e-6)


def test_dark_colours_of_a_cloud_are_not_scaled_again():
    cloud = PointCloud.of(XYZ, color=np.ones((5, 3), dtype=np.uint8))
    assert PointCloud.of(cloud).color.max() == 1


def test_normals_become_unit_and_unknown_ones_zero():
    given = np.array([[0, 0, 2], [0, 0, 0], [np.nan, 1, 0], [np.inf, 0, 0], [3, 0, 4]])
    expected = np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0.6, 0, 0.8]])
    np.testing.assert_allclose(PointCloud.of(XYZ, normal=given).normal, expected, rtol=1e-6)


@pytest.mark.parametrize(("up", "expected"), [("z", [1, 2, 3]), ("y", [1, -3, 2]), ("-y", [1, 3, -2])])
def test_up_turns_points_and_normals_without_mirroring(up, expected):
    cloud = PointCloud.of(np.array([[1.0, 2.0, 3.0]]), normal=[[1.0, 2.0, 3.0]], up=up)
    assert cloud.coord.tolist() == [expected]
    np.testing.assert_allclose(cloud.normal * 14**0.5, [expected], rtol=1e-6)
    assert np.linalg.det(PointCloud.of(np.eye(3), up=up).coord) == pytest.approx(1)


@pytest.mark.parametrize(
    ("units", "metre"), [("m", 1), ("cm", 100), ("mm", 1000), ("ft", 3.280839895), ("in", 39.37007874)]
)
def test_units(units, metre):
    np.testing.assert_allclose(PointCloud.of(XYZ * metre, units=units).coord, XYZ, rtol=1e-9)


def test_large_coordinates_keep_their_millimetres():
    utm = XYZ + np.array([682244.65, 3444317.77, 31.0])
    same(PointCloud.of(utm), coord=utm, color=None, normal=None)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((0, 3)), "there are no points (coord has 0 rows); give at least one."),
        (
            np.zeros((5, 5)),
            "points has shape (5, 5); give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal.",
        ),
        (
            np.zeros((3, 50)),
            "points has shape (3, 50); give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal. "
            "Did you mean points.T?",
        ),
        (np.zeros(3), "points has shape (3,); give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal."),
        (
            np.array([["a", "b", "c"]]),
            "coord has dtype <U1; give integers or floats, for example coord.astype(np.float64).",
        ),
        (
            np.zeros((1, 3), dtype=complex),
            "coord has dtype complex128; give integers or floats, for example coord.astype(np.float64).",
        ),
        (
            np.zeros((1, 3), dtype=bool),
            "coord has dtype bool; give integers or floats, for example coord.astype(np.float64).",
        ),
        (
            np.zeros((1, 3), dtype=object),
            "coord has dtype object; give integers or floats, for example coord.astype(np.float64).",
        ),
        (
            np.array([[0, np.nan, 0], [0, 0, -np.inf]]),
            "none of the 2 points has a position (all are NaN); check how they were made.",
        ),
        (
            np.zeros((100, 3)),
            "none of the 100 points has a position (all are exactly 0, 0, 0); check how they were made.",
        ),
        (
            np.zeros((4, 8, 3)),
            "points has shape (4, 8, 3); give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal. "
            "Did you mean points.reshape(-1, 3)?",
        ),
        (np.float64(3), OBJECTS.format("float64")),
        ([[0, 0, 0]], OBJECTS.format("list; wrap it in np.array")),
        (
            np.ma.masked_invalid([[0, 0, np.nan]]),
            "points is a masked array; give points.astype(float).filled(np.nan), and rows are left out.",
        ),
        (torch.zeros(2, 3).to_sparse(), "points is a sparse tensor; give points.to_dense()."),
        (
            torch.zeros(2, 3, device="meta"),
            "points is a float32 tensor on meta without plain numbers; give floats on a CPU or GPU.",
        ),
        (
            np.zeros(3, [("a", "f4"), ("b", "f4")]),
            "points has the columns a, b; x, y and z are needed.",
        ),
    ],
)
def test_points_that_are_refused(points, message):
    with refused(message):
        PointCloud.of(points)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"up": "x"}, "up is 'x'; choose one of z, y, -y."),
        ({"units": "km"}, "units is 'km'; choose one of m, cm, mm, ft, in."),
        ({"units": 3}, "units is 3; choose one of m, cm, mm, ft, in."),
        ({"color": RGB[:4]}, "color has 4 rows, coord has 5; give one row per point."),
        ({"normal": NORMAL[:1]}, "normal has 1 rows, coord has 5; give one row per point."),
        ({"color": RGB[:, :2]}, "color has shape (5, 2); give (n, 3), one row per point."),
        ({"normal": [1, 0, 0]}, "normal has shape (3,); give (n, 3), one row per point."),
        (
            {"color": [[0, 0, 0], [0, 0]]},
            "color has dtype object; give integers or floats, for example color.astype(np.float64).",
        ),
        (
            {"color": np.array([[0, 0, 0], [9, -3, 0], [9, 7, 0], [0, 0, 1], [1e9, 1e9, 0]])},
            "color has 1 row outside 0 to 65535 (first: row 4, 1e+09, 1e+09, 0); "
            "give 0-255, or floats within 0-1, for example 255 * color / color.max().",
        ),
        (
            {"color": np.array([[0.5, -0.5, 0]] + [[1.0, 1.0, 1.0]] * 4)},
            "color has 1 row outside 0 to 1 (first: row 0, 0.5, -0.5, 0); "
            "give 0-255, or floats within 0-1, for example (color + 1) * 127.5.",
        ),
        (
            {"color": np.array([[-56, 50, 9]] + [[1, 1, 1]] * 4, np.int8)},
            "color has 1 row outside 0 to 255 (first: row 0, -56, 50, 9); "
            "give 0-255, or floats within 0-1, for example color.view(np.uint8).",
        ),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    with refused(message):
        PointCloud.of(XYZ, **arguments)


def test_labels_are_never_needed():
    def labels(values):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cloud = PointCloud.of({"coord": XYZ, "segment": values})
        found = None if cloud.segment is None else cloud.segment.tolist()
        return found, [str(warning.message) for warning in caught]

    assert labels(np.array([[0.0], [1], [2], [3], [4]])) == ([0, 1, 2, 3, 4], [])
    assert labels(np.array([0, 1, 2, np.inf, np.nan])) == (
        [0, 1, 2, -1, -1],
        ["2 of 5 points have no segment (NaN or infinite), which becomes -1."],
    )
    left = "segment has values that are no whole numbers, such as {}: it is left out."
    assert labels(np.array([0, 0.25, 1, np.nan, 1])) == (None, [left.format("0.25")])
    assert labels(np.full(5, np.nan)) == (None, [left.format("NaN")])
    assert labels(np.full(5, 1e300)) == (None, [left.format("1e+300")])
    assert labels(np.array(list("chair"))) == (None, ["segment is <U1, no numbers: it is left out."])
    with refused("segment has 4 rows, coord has 5; give one row per point."):
        PointCloud.of({"coord": XYZ, "segment": np.arange(4)})


def test_the_constructor_checks_too():
    with refused("color has dtype uint8; build the cloud with PointCloud.of."):
        PointCloud(coord=XYZ, color=RGB)
    with refused("normal has NaN or infinity; build the cloud with PointCloud.of, which zeroes them."):
        PointCloud(coord=XYZ, normal=np.full((5, 3), np.nan, dtype=np.float32))
    with refused("coord has shape (5, 2); give (n, 3), one row per point."):
        PointCloud(coord=XYZ[:, :2])
    with refused(
        "coord has 1 row with NaN or infinity (first: row 0); "
        "build the cloud with PointCloud.of, which leaves them out."
    ):
        PointCloud(coord=np.array([[np.nan, 0, 0]]))
    with refused(
        "color has 1 row outside 0 to 255 (first: row 0, 1e+06, 0, 0); "
        "build the cloud with PointCloud.of, which knows other scales."
    ):
        PointCloud(coord=XYZ[:1], color=np.array([[1e6, 0, 0]], dtype=np.float32))
    with refused("rows are 3 to 7, total is 7; give rows from 0 to total - 1."):
        PointCloud(coord=XYZ, rows=np.arange(3, 8), total=7)


@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(np.float64).max, reason="a long double is a float64 here.")
@pytest.mark.parametrize("n", [1, 2])
def test_what_a_long_double_holds_and_no_float64_is_refused(n):
    far = np.full((n, 3), np.longdouble("1e400"))
    with np.errstate(over="ignore"), pytest.raises(InputError, match=r"^coord has . rows? with NaN or infinity"):
        PointCloud.of(far)


def test_arrays_are_taken_where_torch_may_not_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert len(PointCloud.of(XYZ)) == len(XYZ)


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 300),
    seed=st.integers(0, 2**32),
    up=st.sampled_from(["z", "y", "-y"]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
)
def test_callers_arrays_are_neither_changed_nor_shared(n, seed, up, dtype):
    rng = np.random.default_rng(seed)
    given = {
        "coord": rng.random((n, 3)),
        "color": rng.integers(0, 2, (n, 3)).astype(dtype) | 1 if dtype != "float32" else rng.random((n, 3), "f4"),
        "normal": rng.normal(size=(n, 3)),
    }
    before = {name: value.copy() for name, value in given.items()}
    cloud = PointCloud.of(given, up=up, units="ft")
    for name, value in given.items():
        np.testing.assert_array_equal(value, before[name])
        assert not np.shares_memory(value, getattr(cloud, name))
    again = PointCloud.of(cloud)
    for name in given:
        np.testing.assert_allclose(getattr(again, name), getattr(cloud, name), rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_permuted_points_give_permuted_clouds(n, seed):
    rng = np.random.default_rng(seed)
    points = np.hstack([rng.random((n, 3)), rng.integers(0, 256, (n, 3)), rng.normal(size=(n, 3))])
    order = rng.permutation(n)
    ours, other = PointCloud.of(points), PointCloud.of(points[order])
    for name in ("coord", "color", "normal"):
        np.testing.assert_array_equal(getattr(ours, name)[order], getattr(other, name))


# What looks wrong is said, and what looks right is not.


def room(rng, size, n=20_000):
    """A room of `size` metres with a table, z up."""
    points = rng.random((n, 3)) * size
    area = np.array([size[1] * size[2], size[0] * size[2], size[0] * size[1]])
    axis = rng.choice(3, n, p=area / area.sum())
    points[np.arange(n), axis] = rng.integers(0, 2, n) * np.array(size)[axis]
    points[: n // 8] = rng.random((n // 8, 3)) * [1.5, 0.8, 0] + [0.5, 0.5, 0.75]
    return points


def said(points, **arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PointCloud.of(points, **arguments)
    assert all(warning.category is Msm3dWarning for warning in caught)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    "size", [(5, 4, 2.5), (8, 6, 3), (12, 1.8, 2.5), (2, 3, 2.4), (20, 15, 6), (3, 3, 2.8), (40, 30, 3)]
)
@pytest.mark.parametrize("turn", [0, 30])
def test_rooms_with_z_up_are_plausible(size, turn):
    points = room(np.random.default_rng(5), size)
    x, y = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    assert said(points @ np.array([[x, y, 0], [-y, x, 0], [0, 0, 1]]) - [1, 2, 0.5]) == []


def test_flat_floors_and_small_clouds_are_plausible():
    rng = np.random.default_rng(6)
    assert said(rng.random((20_000, 3)) * [4, 4, 0.01]) == []
    assert said(rng.random((20_000, 3))) == []
    assert said(np.zeros((1, 3))) == said(np.ones((700, 3))) == []


def test_other_upward_axes_are_noticed():
    points = room(np.random.default_rng(7), (8, 6, 2.5))
    assert said(points[:, [0, 2, 1]] * [1, 1, -1]) == ["the points look as if y were up, not z; if so, pass up='y'."]
    assert said(points[:, [0, 2, 1]] * [1, -1, 1]) == ["the points look as if -y were up, not z; if so, pass up='-y'."]
    assert said(points, up="y") == ["the points look as if z were up, not y; if so, pass up='z'."]
    assert said(points[:, [2, 0, 1]]) == [
        "the points look as if x were up, not z; if so, turn the coordinates so that x becomes z."
    ]
    assert said(points[:, [0, 2, 1]] * [1, 1, -1], up="y") == []


def test_camera_frames_are_noticed():
    rng = np.random.default_rng(8)
    depth = rng.uniform(1, 4, 20_000)
    points = np.column_stack([depth * rng.uniform(-0.6, 0.6, 20_000), depth * rng.uniform(-0.45, 0.45, 20_000), depth])
    assert said(points) == ["the points look as if -y were up, not z; if so, pass up='-y'."]
    assert said(points * [1, -1, -1]) == ["the points look as if y were up, not z; if so, pass up='y'."]


@pytest.mark.parametrize(
    ("scale", "arguments", "message"),
    [
        (1000, {}, "the points span 8000 m with units='m'; if these are millimetres, pass units='mm'."),
        (100, {}, "the points span 800 m with units='m'; if these are centimetres, pass units='cm'."),
        (1, {"units": "mm"}, "the points span 0.008 m with units='mm'; if these are metres, pass units='m'."),
        (1e9, {}, "the points span 8e+09 m with units='m'; pass units=, or scale the coordinates."),
    ],
)
def test_other_units_are_noticed(scale, arguments, message):
    assert said(room(np.random.default_rng(9), (8, 6, 2.5)) * scale, **arguments) == [message]


def test_one_far_point_is_no_unit():
    points = room(np.random.default_rng(9), (8, 6, 2.5))
    points[17] = 1e9
    assert said(points) == []


# What is there but empty is missing, and no single value decides.

MANY = RNG.random((4000, 3)) * [5, 4, 2.5]
PAINT = RNG.integers(20, 230, (4000, 3)).astype(np.uint8)


def made(points, **arguments):
    """The cloud, and what was said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cloud = PointCloud.of(points, **arguments)
    return cloud, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_black_colours_are_missing(dtype):
    cloud, said = made(MANY, color=np.zeros((4000, 3), dtype))
    assert cloud.color is None
    assert said == ["the colours are there but empty, all of them black or NaN: they count as missing."]
    dark = np.minimum(PAINT, 28).astype(dtype)
    cloud, said = made(MANY, color=dark)
    assert said == []
    assert np.array_equal(cloud.color, dark)


def test_infinite_normals_are_missing_without_a_word_of_numpy():
    cloud, said = made(MANY, normal=np.full(MANY.shape, np.inf))
    assert cloud.normal is None
    assert said == ["the normals are there but empty, all of them 0 or NaN: they count as missing."]


def test_empty_normals_are_missing():
    for empty in (0, np.nan):
        cloud, said = made(MANY, normal=np.full((4000, 3), empty))
        assert cloud.normal is None
        assert said == ["the normals are there but empty, all of them 0 or NaN: they count as missing."]


def test_single_colours_without_a_value_are_grey():
    paint = PAINT / 255
    paint[[3, 5]] = np.nan
    paint[7, 1] = np.inf
    cloud, said = made(MANY, color=paint)
    assert said == ["3 of 4,000 points have no colour (NaN or infinite), neutral grey is used there."]
    assert (cloud.color[[3, 5, 7]] == 127.5).all()
    np.testing.assert_allclose(cloud.color[8:], PAINT[8:], rtol=1e-5)
    assert made(MANY, color=np.full((4000, 3), np.nan))[0].color is None


@pytest.mark.parametrize(("value", "clipped"), [(1.02, 255), (1e6, 255), (-0.01, 0), (-40.0, 0)])
def test_one_colour_outside_does_not_decide(value, clipped):
    paint = PAINT / 255
    paint[0, 0] = value
    cloud, said = made(MANY, color=paint)
    assert said == ["1 of 4,000 colours lies outside 0 to 1, which is clipped."]
    assert cloud.color[0, 0] == clipped
    np.testing.assert_allclose(cloud.color[1:], PAINT[1:], rtol=1e-5)
    paint = PAINT.astype(np.int32)
    paint[:, 0] = 256  # white, rounded up
    assert made(MANY, color=paint)[0].color[0, 0] == 255
    paint = PAINT.astype(np.int32)
    paint[0, 0] = 300
    assert made(MANY, color=paint)[1] == ["1 of 4,000 colours lies outside 0 to 255, which is clipped."]
    assert made(MANY, color=PAINT / 255 * (1 + 1e-6))[1] == []


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.float64])
def test_colours_of_sixteen_bits_in_any_type(dtype):
    cloud, said = made(MANY, color=PAINT.astype(dtype) * 257)
    np.testing.assert_allclose(cloud.color, PAINT, rtol=1e-5)
    guess = (
        "the colours reach 58853, so they are taken as 16 bits and divided by 257; if not so, pass color= within 0-255."
    )
    assert said == ([] if dtype == np.uint16 else [guess])
    few = np.zeros((4000, 3), np.uint16)
    few[:20] = PAINT[:20].astype(np.uint16) * 257
    np.testing.assert_allclose(made(MANY, color=few)[0].color[:20], PAINT[:20], rtol=1e-5)


def test_colours_of_twelve_bits_are_nearly_black():
    said = made(MANY, color=PAINT.astype(np.uint16) * 16)[1]
    assert said == [
        "the colours reach 3664 of 65535, which is nearly black; if they are of fewer bits, pass color= within 0-255."
    ]
    assert made(MANY, color=PAINT.astype(np.uint16) // 8 * 257)[1] == []  # a dark room


def test_colours_divided_by_255_twice():
    cloud, said = made(MANY, color=PAINT / 255 / 255)
    assert said == [
        "the colours are at most 0.0035, as if divided by 255 twice; if so, pass color= times 255.",
    ]
    assert cloud.color.max() < 1


# Points without a position.

LEFT = "1,600 of 4,000 points have no position ({}) and are dropped, which leaves 2,400 in their order. "
KEEP = "To keep a row for every point, pass invalid='nan'."


@pytest.mark.parametrize(("empty", "why"), [(np.nan, "NaN"), (-np.inf, "NaN"), (0, "exactly 0, 0, 0")])
def test_points_without_a_position_are_left_out(empty, why):
    points, label = MANY.copy(), np.arange(4000.0)
    gone = np.random.default_rng(4).permutation(4000)[:1600]
    kept = np.setdiff1d(np.arange(4000), gone)
    points[gone], label[gone] = empty, np.nan
    for scan in (points, {"coord": points.tolist(), "segment": label}, torch.from_numpy(points)):
        cloud, said = made(scan, color=PAINT, normal=np.tile([0, 0, 1.0], (4000, 1)))
        assert said == [LEFT.format(why) + KEEP]
        np.testing.assert_allclose(cloud.coord, MANY[kept])
        assert np.array_equal(cloud.color, PAINT[kept])
        assert np.array_equal(cloud.rows, kept)
        assert cloud.total is None
        assert len(cloud.normal) == 2400
    assert np.array_equal(made({"coord": points, "segment": label})[0].segment, kept)


def test_rows_of_nan_are_asked_for():
    points = MANY.copy()
    points[::2] = np.nan
    cloud, said = made(points, invalid="nan")
    assert said == []
    assert cloud.total == 4000
    assert cloud.rows.tolist() == list(range(1, 4000, 2))
    assert made(cloud, color=PAINT)[0].color.tolist() == PAINT[1::2].tolist()
    with refused("the PointCloud has left points out already; make it with invalid='nan', too."):
        PointCloud.of(made(points)[0], invalid="nan")
    points[::2] = 0
    assert made(points, invalid="nan")[1] == [
        "2,000 of 4,000 points have no position (exactly 0, 0, 0) and get rows of NaN, "
        "which leaves 2,000 in their order."
    ]


def test_one_point_at_the_origin_is_a_point():
    points = np.vstack([MANY, [[0, 0, 0]]])
    cloud, said = made(points)
    assert said == []
    assert len(cloud) == 4001
    assert cloud.rows is None
    assert made(np.zeros((2, 3)))[1] == []


# Several scenes in one.


def test_several_scenes_are_no_cloud():
    for name, value in (("offset", [3, 5]), ("batch", torch.tensor([0, 1, 0, 1, 1]))):
        with refused(
            f"the points are 2 scenes by their {name}, where one is needed; "
            "give extract the arrays as a dictionary, or as a list."
        ):
            PointCloud.of({"coord": XYZ, name: value})
    same(PointCloud.of({"coord": XYZ, "offset": [5], "batch": np.zeros(5, int)}), color=None, normal=None)
    for offset in ([3, 4], [4, 3, 5], [1.5, 2.5, 9.0], []):
        with refused(f"offset is {offset}, which are not the rows where scenes end, up to 5; leave it out."):
            PointCloud.of({"coord": XYZ, "offset": offset})
    with refused("batch is int64 (4,); give the scene of each point, (5,) integers."):
        PointCloud.of({"coord": XYZ, "batch": np.arange(4)})


# Numbers that cannot be right.


def test_single_precision_too_far_out():
    far = MANY + [682244.65, 3444317.77, 12]
    message = (
        "the coordinates are stored in float32: at 3444320 m their step is 0.25 m, more than a voxel of 0.05 m; "
        "export them as doubles, or subtract an offset before saving."
    )
    coarse = far.astype(np.float32)
    for points in (coarse, coarse.astype(np.float64)):
        said = made(points, spacing=0.05)[1]
        assert [re.sub(r"at \d+", "at 3444320", text) for text in said] == [message]
    assert made(far, spacing=0.05)[1] == made(coarse, spacing=0.5)[1] == []
    assert made((MANY * 1000).astype(np.float32), units="mm")[1] == []
    said = made((MANY + 1000).astype(np.float16))[1]
    assert [text[:75] for text in said] == [
        "the coordinates are stored in float16: at 1002 m their step is 0.5 m, more "
    ]
    assert made(MANY.astype(np.float16))[1] == []
    assert made(np.rint(far * 1000), units="mm")[1] == []


def test_feet():
    feet = room(np.random.default_rng(3), (14, 12, 8.5))
    message = "the scan is about 8 m high and 14 m wide, which would be usual in feet: "
    message += "if these are feet, pass units='ft'."
    assert made(feet)[1] == [message]
    assert made(feet, units="ft")[1] == made(feet * [3, 3, 1])[1] == made(feet * [1, 1, 0.8])[1] == []


def test_coordinates_within_a_unit_box_or_ball():
    scan = room(np.random.default_rng(3), (6, 5, 2.5))
    low, span = scan.min(0), np.ptp(scan, axis=0).max()
    said = "the coordinates {}, as if normalised: features hang on size in metres, scale them back."
    unit = (scan - low) / span
    assert made(unit)[1] == [said.format("run from 0 to 1")]
    assert made((2 * unit - np.ptp(unit, axis=0)).astype(np.float32))[1] == [said.format("run from -1 to 1")]
    ball = scan - scan.mean(0)
    assert made(ball / np.linalg.norm(ball, axis=1).max())[1] == [said.format("fill a ball of radius 1")]
    assert made(scan / 6.01)[1] == []


def test_repr_is_short():
    cloud = PointCloud.of(np.tile(np.array([[1, 0, 0], [8.41, 2.13, 5.88]]), (1500, 1)))
    assert repr(cloud) == "PointCloud: 3,000 points, no colour, no normals, 7.4 x 2.1 x 5.9 m"
    full = PointCloud.of({"coord": XYZ[:1], "color": RGB[:1], "normal": NORMAL[:1], "segment": [3]})
    assert repr(full) == "PointCloud: 1 point, colour, normals, labels, 0.0 x 0.0 x 0.0 m"


@pytest.mark.skipif(not SCANS.is_dir(), reason="the real scans are not here")
@pytest.mark.parametrize(("name", "up"), [("chair_lidar.ply", "y"), ("desk_rgbd.ply", "z"), ("workshop.ply", "z")])
def test_real_scans_raise_no_doubt(name, up):
    from msm3d.io import read

    assert len(read(SCANS / name, up=up, spacing=0.05)) > 200_000


def test_points_that_span_more_than_anything_are_refused():
    for points, span in (([[0, 0, 0], [0, 2e12, 0]], "2e+12"), ([[0, -1e308, 0], [0, 1e308, 0]], "1e+308")):
        words = f"the points span {span} m along y; drop outliers, or pass units="
        with pytest.raises(InputError, match="^" + re.escape(words)):
            PointCloud.of(np.array(points, float))
    assert len(PointCloud.of(np.array([[0, 0, 0], [0, 2e12, 0.0]]), units="mm")) == 2


def test_a_nan_that_signals_is_a_nan():
    bits = np.full((200, 3), 0x7F800001, np.uint32)
    bits[100:] = np.array([0, 0, 1], np.float32).view(np.uint32)
    cloud, said = made(np.random.default_rng(0).random((200, 3)) * 3, normal=bits.view(np.float32))
    assert cloud.normal[[0, 150]].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert said == []


def test_a_viewpoint_is_a_place_among_the_points():
    given = {"coord": XYZ, "viewpoint": [100, 200, 300]}
    for cloud in (PointCloud.of(given, up="y", units="cm"), PointCloud.of(PointCloud.of(given), up="y", units="cm")):
        assert cloud.viewpoint.tolist() == [[1, -3, 2]]
        assert cloud.viewpoint.dtype == np.float64
    assert PointCloud.of({**given, "viewpoint": torch.ones(1, 3)}).viewpoint.tolist() == [[1, 1, 1]]
    assert PointCloud.of(XYZ).viewpoint is None


def test_stations_go_with_the_points():
    coord, station = XYZ.copy(), np.array([0, 1, 0, 1, -1])
    coord[1] = np.nan
    cloud = PointCloud.of({"coord": coord, "viewpoint": XYZ[:2], "station": station}, invalid="nan")
    assert cloud.station.tolist() == [0, 0, 1, -1]
    some = cloud.take(np.array([3, 0]))
    assert (some.station.tolist(), some.rows.tolist(), some.total) == ([-1, 0], [4, 0], 5)
    assert np.array_equal(some.viewpoint, XYZ[:2])
    pieces = scenes_of({"coord": XYZ[:2], "viewpoint": XYZ[:2], "station": [1, 0], "batch": [0, 1]})
    assert [(one["viewpoint"].shape, one["station"].tolist()) for one, _ in pieces] == [((2, 3), [1]), ((2, 3), [0])]


def test_training_changes_a_viewpoint_as_it_changes_the_points():
    xyz = np.random.default_rng(1).random((9_000, 3)) * 4
    cloud = PointCloud(
        coord=xyz,
        color=np.full(xyz.shape, 99, np.float32),
        normal=np.tile(np.float32([0, 0, 1]), (9_000, 1)),
        viewpoint=xyz[:2],
        station=np.arange(9_000) % 2,
    )
    changed = augmented(cloud, torch.Generator().manual_seed(0), Augmentation(jitter=0.0))
    assert np.allclose(changed.viewpoint, changed.coord[:2])
    assert not np.allclose(changed.viewpoint, cloud.viewpoint)
    for less in (
        cropped(cloud, 5_000, torch.Generator().manual_seed(0)),
        rescanned(cloud, Rescan(holes=1, thin=1), torch.Generator().manual_seed(0)),
        rescanned(cloud, Rescan(mesh=1), torch.Generator().manual_seed(0)),
    ):
        assert len(less.station) == len(less) < len(cloud)
        assert np.array_equal(less.viewpoint, cloud.viewpoint)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"viewpoint": [1, 2]}, "viewpoint has shape (1, 2); give (k, 3), a row for each place."),
        ({"viewpoint": [1, 2, np.nan]}, "viewpoint is empty, or has NaN or infinity; give metres, or leave it out."),
        (
            {"viewpoint": np.zeros((2, 3))},
            "viewpoint has 2 rows; give station (n,), the row that each point was seen from.",
        ),
        (
            {"viewpoint": np.zeros((2, 3)), "station": [0, 1, 2, 0, 1]},
            "station are 0 to 2, viewpoint has 2 rows; give each point its row from 0 on, or -1 where unknown.",
        ),
        ({"station": [0, 1]}, "station has 2 rows, coord has 5; give one row per point."),
    ],
)
def test_viewpoints_that_do_not_fit(fields, message):
    with refused(message):
        PointCloud.of({"coord": XYZ, **fields})
