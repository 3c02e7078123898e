"""Where a grid begins: no single point decides, and decimals stay whole wherever they are on a map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d.io import read
from msm3d.scan.origin import anchor, ticks
from tests.conftest import make_scene
from tests.files import SCANS

REACH = 0.0125


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(-(10**10), 10**10))
def test_whole_millimetres_stay_whole_anywhere(seed, move):
    rng = np.random.default_rng(seed)
    whole = rng.integers(-50_000, 50_000, (50, 3))
    near = ticks(whole / 1000, whole[0] / 1000)
    assert np.array_equal(near, (whole - whole[0]) * 1e5)
    assert np.array_equal(near, ticks((whole + move) / 1000, (whole[0] + move) / 1000))


def test_ticks_are_ten_nanometres():
    coord = np.random.default_rng(0).uniform(-20, 20, (1000, 3))
    assert np.abs(ticks(coord, coord[0]) * 1e-8 - (coord - coord[0])).max() <= 5.1e-9


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.45, 20), st.sampled_from([-1, 1]), st.integers(0, 2))
def test_a_point_far_along_an_axis_changes_nothing_there(seed, distance, side, axis):
    """Further than the wide slab, 38 cm, for certain; nearer, hardly ever."""
    coord = make_scene(seed, 1000)["coord"]
    stray = coord[0].copy()
    stray[axis] = (coord.min(0) if side < 0 else coord.max(0))[axis] + side * distance
    assert anchor(np.vstack([coord, stray]), REACH)[axis] == anchor(coord, REACH)[axis]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 200))
def test_the_anchor_is_a_whole_millimetre_at_a_point_whatever_their_order(seed, n):
    rng = np.random.default_rng(seed)
    coord = rng.normal(size=(n, 3)) * rng.choice([0.001, 1, 30])
    found = anchor(coord, REACH)
    assert np.array_equal(found, np.rint(found * 1000) / 1000)
    assert (np.abs(coord - found).min(0) < 0.001).all()
    assert np.array_equal(found, anchor(rng.permutation(coord), REACH))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(-(10**10), 10**10))
def test_the_anchor_moves_by_whole_millimetres(seed, move):
    whole = np.random.default_rng(seed).integers(-3000, 3000, (500, 3))
    still, moved = anchor(whole / 1000, REACH), anchor((whole + move) / 1000, REACH)
    assert np.array_equal(np.rint(moved * 1000), np.rint(still * 1000) + move)


def test_a_thin_edge_does_not_hang_on_one_point():
    """A slab of 15 points at the edge of 15,000 moved the grid by 9 cm when a 16th came."""
    rng = np.random.default_rng(0)
    edge = np.concatenate([rng.uniform(0, 0.01, n) + place for place, n in ((0, 12), (0.1, 13), (0.2, 14), (0.3, 15))])
    column = np.concatenate([edge, rng.uniform(0.5, 4, 14_000), rng.normal(0.55, 0.003, 1000)])
    coord = np.repeat(column[:, None], 3, axis=1)
    still = anchor(coord, REACH)
    assert np.abs(still - 0.545).max() < 0.005
    for stray in np.arange(-2, 6, 0.011):
        if not 0.53 < stray < 0.57:
            assert np.array_equal(anchor(np.vstack([coord, [[stray] * 3]]), REACH), still)


def test_beyond_what_is_counted_in_millimetres_there_is_an_anchor():
    coord = np.repeat(np.array([0.0, 0.01, 0.02, 1e12])[:, None], 3, axis=1)
    assert np.abs(anchor(coord, REACH)).max() <= 1e12


@pytest.mark.skipif(not SCANS.exists(), reason="the real scans are not beside this checkout")
@pytest.mark.filterwarnings("ignore::msm3d.errors.Msm3dWarning")
@pytest.mark.parametrize(
    ("name", "up", "stray", "reach"),
    [
        ("desk_rgbd.ply", None, [-2.3054242342, -3.1801555157, 1.3807001721], REACH),
        ("office_kinect.pcd", "-y", [-1.5572123234, 1.8658051267, -3.1358079672], 0.005),
    ],
)
def test_strays_that_once_moved_the_anchor(name, up, stray, reach):
    """By 90 mm where voxels begin, and by 7 mm where the cells of normals do."""
    coord = read(SCANS / name, up=up).coord
    coord = coord[np.sort(np.random.default_rng(0).permutation(len(coord))[:15_000])]
    assert np.array_equal(anchor(np.vstack([coord, stray]), reach), anchor(coord, reach))
