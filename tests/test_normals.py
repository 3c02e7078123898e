"""Normals against surfaces whose normals are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d.errors import InputError, Msm3dWarning
from msm3d.scan.cloud import PointCloud
from msm3d.scan.normals import GREY, completed, estimated

NOISE = 0.003  # metres


def degrees(ours, exact):
    """The angle between two normals, whatever their sides."""
    return np.degrees(np.arccos(np.clip(np.abs((ours * exact).sum(1)), 0, 1)))


def sphere(rng, n, radius):
    exact = rng.normal(size=(n, 3))
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    return exact * radius + rng.normal(size=(n, 3)) * NOISE + [3.0, -4.0, 1.0], exact


def plane(rng, n, normal):
    axes = np.linalg.qr(np.column_stack([normal, rng.normal(size=(3, 2))]))[0]
    flat = rng.uniform(-1.5, 1.5, (n, 2)) @ axes[:, 1:].T
    return flat + rng.normal(size=(n, 1)) * NOISE * axes[:, 0], np.tile(axes[:, 0], (n, 1))


def room(rng, n):
    """Floor, ceiling and four walls of 5 x 4 x 2.5 m, and the normals that look inside."""
    size = np.array([5.0, 4.0, 2.5])
    points, inside = rng.random((n, 3)) * size, np.zeros((n, 3))
    axis, side = rng.integers(0, 3, n), rng.integers(0, 2, n)
    points[np.arange(n), axis] = side * size[axis]
    inside[np.arange(n), axis] = 1 - 2 * side
    return points + rng.normal(size=(n, 3)) * NOISE, inside


@pytest.mark.parametrize("n", [5_000, 20_000, 100_000])
@pytest.mark.parametrize("radius", [0.25, 0.5])
def test_normals_of_a_noisy_sphere(n, radius):
    points, exact = sphere(np.random.default_rng(0), n, radius)
    ours = estimated(points)
    assert np.median(degrees(ours, exact)) < 4
    side = (ours * exact).sum(1) > 0
    assert max(side.mean(), 1 - side.mean()) > 0.999


@pytest.mark.parametrize("n", [5_000, 100_000])
@pytest.mark.parametrize("normal", [(0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 1), (0.3, -0.2, 0.9)])
def test_normals_of_a_noisy_plane(n, normal):
    points, exact = plane(np.random.default_rng(1), n, normal)
    ours = estimated(points)
    assert np.median(degrees(ours, exact)) < 3
    side = (ours * exact).sum(1) > 0
    assert max(side.mean(), 1 - side.mean()) > 0.99


def test_the_measure_can_fail():
    points, exact = sphere(np.random.default_rng(0), 5_000, 0.5)
    assert np.median(degrees(np.roll(estimated(points), 1, axis=0), exact)) > 30


@pytest.mark.parametrize("n", [6_000, 200_000])
def test_normals_of_a_room_look_inside(n):
    points, inside = room(np.random.default_rng(2), n)
    ours = estimated(points + np.array([682244.65, 3444317.77, 12.0]))  # UTM
    assert np.median(degrees(ours, inside)) < 3
    assert ((ours * inside).sum(1) > 0).mean() > 0.99


def test_a_table_in_an_open_scene_points_up():
    rng = np.random.default_rng(3)
    floor = np.column_stack([rng.uniform(-2, 2, (20_000, 2)), rng.normal(size=20_000) * NOISE])
    table = np.column_stack([rng.uniform(-0.6, 0.6, (8_000, 2)), 0.75 + rng.normal(size=8_000) * NOISE])
    assert (estimated(np.concatenate([floor, table]))[:, 2] > 0.9).mean() > 0.99


def test_normals_point_to_the_viewpoint():
    points, _ = sphere(np.random.default_rng(4), 20_000, 0.5)
    viewpoint = np.array([0.0, 0.0, 5.0])
    assert (((viewpoint - points) * estimated(points, viewpoint=viewpoint)).sum(1) >= 0).all()


def test_unknown_viewpoint_is_refused():
    with pytest.raises(
        InputError, match=r"viewpoint is \(1, 2\); give three numbers, metres: where the scanner stood\."
    ):
        estimated(np.zeros((4, 3)), viewpoint=(1, 2))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 3_000), scale=st.sampled_from([0.01, 0.3, 5.0, 300.0]))
def test_another_order_gives_the_same_bits(seed, n, scale):
    rng = np.random.default_rng(seed)
    points = np.round(rng.random((n, 3)) * [scale, scale, 0.1 * scale], 3)  # rounded: there are equal points
    order = rng.permutation(n)
    before = points.copy()
    assert np.array_equal(estimated(points[order]), estimated(points)[order])
    assert np.array_equal(points, before)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 200), kind=st.sampled_from(["point", "line", "box", "far"]))
def test_normals_are_always_of_unit_length(seed, n, kind):
    rng = np.random.default_rng(seed)
    points = rng.random((n, 3))
    if kind == "point":
        points[:] = points[0]
    elif kind == "line":
        points[:] = points[:, :1]
    elif kind == "far":
        points[0] = 1e9
    ours = estimated(points)
    assert ours.shape == (n, 3)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
    if kind in ("point", "line"):
        assert (ours == [0, 0, 1]).all()


def test_three_points_are_a_plane():
    np.testing.assert_allclose(
        np.abs(estimated(np.array([[0.0, 0, 0], [0, 1, 0], [0, 0, 1]]))), [[1, 0, 0]] * 3, atol=1e-6
    )


def test_completed_says_what_it_fills_in():
    cloud = PointCloud.of(np.random.default_rng(0).random((50, 3)) * [1, 1, 0])
    with pytest.warns(Msm3dWarning) as said:
        full = completed(cloud)
    assert [str(warning.message) for warning in said] == [
        "the points have no colour, neutral grey is used; if you have colours, pass color= (n, 3).",
        "the points have no normals, they are estimated; if you have normals, pass normal= (n, 3).",
    ]
    assert (full.color == GREY).all()
    assert np.allclose(full.normal, [0, 0, 1], rtol=0, atol=1e-12)
    assert completed(full) is full
    assert cloud.color is None


def two_stations():
    """A slab (n, 3) seen from above and from below, the two places, and the place of each point, some unknown."""
    rng = np.random.default_rng(5)
    slab = np.column_stack([rng.uniform(0, 4, (9_000, 2)), rng.normal(size=9_000) * NOISE])
    return slab, np.array([[2.0, 1.5, 3.0], [2.0, 1.5, -3.0]]), rng.integers(-1, 2, 9_000)


def test_each_point_looks_at_its_own_station():
    slab, places, station = two_stations()
    color = np.full(slab.shape, 99.0)
    cloud = PointCloud.of({"coord": slab, "color": color, "viewpoint": places, "station": station})
    with pytest.warns(Msm3dWarning, match="normals"):
        normal = completed(cloud).normal
    assert (normal[station == 0, 2] > 0.9).mean() > 0.99
    assert (normal[station == 1, 2] < -0.9).mean() > 0.99
    plain = estimated(slab)
    assert np.array_equal(normal[station == -1], plain[station == -1])
    assert np.array_equal(np.abs(normal), np.abs(plain))
    with pytest.warns(Msm3dWarning, match="normals"):
        one = completed(PointCloud.of({"coord": slab, "color": color, "viewpoint": places[1]})).normal
    assert np.array_equal(one, estimated(slab, viewpoint=places[1]))


@pytest.mark.parametrize("station", [None, np.zeros(3, int), np.full(4, 2), np.full(4, -2)])
def test_several_viewpoints_need_a_station_for_each_point(station):
    with pytest.raises(InputError, match=r"^viewpoint has 2 rows; give station \(4,\), the row of it for each "):
        estimated(np.zeros((4, 3)), viewpoint=np.zeros((2, 3)), station=station)
