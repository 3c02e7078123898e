"""What users pass, and what they are told when it cannot be used."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d.errors import InputError, Msm3dWarning
from msm3d.points import PointCloud

RNG = np.random.default_rng(0)
XYZ = RNG.random((5, 3))
RGB = RNG.integers(2, 256, (5, 3)).astype(np.uint8)
NORMAL = np.tile([0.0, 0.6, 0.8], (5, 1))


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


def test_color_and_normal_replace_those_of_the_points():
    points = np.hstack([XYZ, np.zeros((5, 3)), -NORMAL])
    same(PointCloud.of(points, color=RGB, normal=NORMAL))
    same(PointCloud.of(PointCloud.of(points), color=RGB, normal=NORMAL))
    same(PointCloud.of({"coord": XYZ, "color": "unusable"}, color=np.hstack([RGB, RGB[:, :1]]), normal=NORMAL))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.array([[0, 1, 1]], dtype=np.uint8), [0, 1, 1]),
        (np.array([[0, 1, 1]], dtype=np.int64), [0, 1, 1]),
        (np.array([[0, 0.5, 1]]), [0, 127.5, 255]),
        (np.array([[0, 0.5, 1.5]]), [0, 0.5, 1.5]),
        (np.array([[0, 255, 7]], dtype=np.uint16), [0, 255, 7]),
        (np.array([[0, 65535, 257]], dtype=np.uint16), [0, 255, 1]),
        (torch.tensor([[0, 0.5, 1]], dtype=torch.float16), [0, 127.5, 255]),
        ([[0.0, 0.0, 0.0]], [0, 0, 0]),
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
            np.zeros((5, 4)),
            "points has shape (5, 4); give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal.",
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
            np.array([[0, 0, 0], [0, np.nan, 0], [0, 0, -np.inf]]),
            "coord has 2 rows with NaN or infinity (first: row 1); drop them with coord[np.isfinite(coord).all(1)], "
            "and the same rows of color and normal.",
        ),
        (
            [[0, 0, 0]],
            "points is a list; give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal as an array or tensor, "
            "a dictionary with 'coord', a PointCloud, an Open3D or trimesh object, or the path of a file.",
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
            {"color": np.array([[0, 0, 0], [9, -3, 0], [9, np.nan, 0], [0, 0, 1], [256, 1e300, 0]])},
            "color has 3 rows outside 0 to 255 (first: row 1, 9, -3, 0); "
            "give 0-255, or floats within 0-1, for example np.clip(np.nan_to_num(color), 0, 255).",
        ),
        (
            {"color": np.array([[0.5, -0.5, 0]] + [[1.0, 1.0, 1.0]] * 4)},
            "color has 1 row outside 0 to 255 (first: row 0, 0.5, -0.5, 0); "
            "give 0-255, or floats within 0-1, for example np.clip(np.nan_to_num(color), 0, 255).",
        ),
    ],
)
def test_arguments_that_are_refused(arguments, message):
    with refused(message):
        PointCloud.of(XYZ, **arguments)


def test_labels_are_integers():
    with refused("segment has values that are not integers; give one integer per point."):
        PointCloud.of({"coord": XYZ, "segment": np.array([0, 1, 2, 3, np.nan])})
    with refused("segment has 4 rows, coord has 5; give one row per point."):
        PointCloud.of({"coord": XYZ, "segment": np.arange(4)})


def test_the_constructor_checks_too():
    with refused("color has dtype uint8; build the cloud with PointCloud.of."):
        PointCloud(coord=XYZ, color=RGB)
    with refused("normal has NaN or infinity; build the cloud with PointCloud.of, which zeroes them."):
        PointCloud(coord=XYZ, normal=np.full((5, 3), np.nan, dtype=np.float32))
    with refused("coord has shape (5, 2); give (n, 3), one row per point."):
        PointCloud(coord=XYZ[:, :2])


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
        "color": rng.integers(0, 2, (n, 3)).astype(dtype),
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
