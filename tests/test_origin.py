"""Where a grid begins: no single point decides, and decimals stay whole wherever they are on a map."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d.origin import anchor, ticks
from tests.conftest import make_scene

REACH = 0.0125


@settings(max_examples=50)
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


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(-1000, 1000), st.integers(0, 2))
def test_one_more_point_changes_the_anchor_only_in_the_slab_below_it(seed, place, axis):
    coord = make_scene(seed, 300)["coord"]
    before = anchor(coord, REACH)
    stray = np.array([1.0, 0.7, 0.8])
    stray[axis] = place
    after = anchor(np.vstack([coord, stray]), REACH)
    apart = (stray < before - 2 * REACH) | (stray > before)
    assert (after[apart] == before[apart]).all()
    assert (np.abs(after - before) <= 2 * REACH).all()


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 40))
def test_the_anchor_is_one_of_the_coordinates_whatever_their_order(seed, n):
    rng = np.random.default_rng(seed)
    coord = rng.normal(size=(n, 3)) * rng.choice([0.001, 1, 1000])
    found = anchor(coord, REACH)
    assert all(found[axis] in coord[:, axis] for axis in range(3))
    assert np.array_equal(found, anchor(rng.permutation(coord), REACH))


def test_the_first_values_are_enough():
    """What is found among the lowest values alone is what is found among all of them."""
    rng = np.random.default_rng(1)
    coord = np.sort(rng.uniform(0, 3, (20_000, 3)), axis=0)
    company = 20
    plain = [next(x for i, x in enumerate(c) if i + 1 >= company and x - c[i + 1 - company] <= 0.01) for c in coord.T]
    assert anchor(coord, 0.01).tolist() == plain
