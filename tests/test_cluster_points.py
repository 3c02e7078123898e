"""Groups of points: those of a search through all neighbours, whatever the points, their order and their number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm3d.errors import InputError
from msm3d.tasks.instances import grouped


def searched(coord, labels, radius):
    """Breadth first from each point that is in no group yet, through all points, as the published code does it."""
    groups, number = np.full(len(coord), -1), 0
    for start in range(len(coord)):
        if groups[start] >= 0 or labels[start] < 0:
            continue
        groups[start], waiting = number, [start]
        while waiting:
            one = waiting.pop(0)
            x, y, z = (coord - coord[one]).T
            near = (x * x + y * y + z * z < radius * radius) & (labels == labels[one]) & (groups < 0)
            groups[near] = number
            waiting += np.flatnonzero(near).tolist()
        number += 1
    return groups


def on_a_grid(rng, n):  # with ties at exactly the radius
    return rng.integers(0, 6, (n, 3)) * 0.25


KINDS = {
    "spread": lambda rng, n: rng.uniform(0, 1.5, (n, 3)),
    "grid": on_a_grid,
    "far": lambda rng, n: on_a_grid(rng, n) + [5e5, 4e6, -300.0],
    "repeated": lambda rng, n: rng.uniform(0, 1, (n, 3))[rng.integers(0, n, n)],
    "flat": lambda rng, n: rng.uniform(0, 2, (n, 3)) * [1, 1, 0],
    "dense": lambda rng, n: rng.normal(0, 0.1, (n, 3)) + rng.integers(0, 2, (n, 1)) * 0.7,
    "two places": lambda rng, n: rng.integers(0, 2, (n, 1)) * [0.25, 0.0, 0.0],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", [0.1, 0.25, 0.6])
def test_groups_are_those_of_a_search_through_all_neighbours(kind, radius):
    rng = np.random.default_rng(len(kind))
    for n in (1, 2, 37, 160):
        coord, labels = KINDS[kind](rng, n), rng.integers(-1, 3, n)
        expected = searched(coord, labels, radius)
        assert grouped(coord, labels, radius).tolist() == expected.tolist()
        order = rng.permutation(n)
        shuffled = grouped(coord[order], labels[order], radius)
        assert shuffled.tolist() == searched(coord[order], labels[order], radius).tolist()


@given(
    st.lists(st.tuples(*[st.integers(0, 5)] * 3, st.integers(-1, 1)), max_size=24),
    st.sampled_from([1.0, 2**0.5, 1.5, 3**0.5, 2.0]),
)
def test_whole_steps_and_radii_that_are_their_lengths(points, radius):
    values = np.array(points, np.int64).reshape(-1, 4)
    coord, labels = values[:, :3].astype(float), values[:, 3]
    assert grouped(coord, labels, radius).tolist() == searched(coord, labels, radius).tolist()


def test_exactly_the_radius_is_too_far():
    coord, labels = np.array([[0.0, 0, 0], [0.5, 0, 0], [0.75, 0, 0]]), np.zeros(3, int)
    assert grouped(coord, labels, 0.5).tolist() == [0, 1, 1]
    assert grouped(coord, labels, np.nextafter(0.5, 1)).tolist() == [0, 0, 0]


def test_nothing_and_labels_below_zero_are_in_no_group():
    assert grouped(np.zeros((0, 3)), np.zeros(0, int), 0.1).tolist() == []
    assert grouped(np.zeros((3, 3)), np.array([-1, -1, -1]), 0.1).tolist() == [-1, -1, -1]


def test_a_chain_is_one_group_and_a_gap_two():
    coord = np.arange(400)[:, None] * np.array([0.1, 0.0, 0.0])
    labels = np.zeros(400, int)
    assert grouped(coord, labels, 0.11).max() == 0
    coord[200:, 0] += 0.02
    assert grouped(coord, labels, 0.11).tolist() == [0] * 200 + [1] * 200


@pytest.mark.parametrize("beyond", [False, True])
def test_many_points_on_two_plates_as_far_apart_as_the_radius(beyond):
    """The worst for any cells: all pairs of points are near the radius, and few decide."""
    rng = np.random.default_rng(0)
    coord = rng.uniform(0, 0.02, (20_000, 3)) * [1, 1, 0]
    coord[::2, 2] = 0.05
    if not beyond:
        coord[1] = [*coord[0, :2], np.nextafter(0.0, 1) + 1e-12]
    assert grouped(coord, np.zeros(20_000, int), 0.05).max() == beyond


def test_very_many_points_take_seconds():
    """A building's worth, in blobs as offsets leave them: a list of all pairs within the radius would not fit."""
    rng = np.random.default_rng(0)
    middles = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), -1).reshape(-1, 3)
    owner = rng.integers(0, len(middles), 100_000)
    coord = middles[owner] + rng.uniform(-0.1, 0.1, (100_000, 3))
    groups = grouped(coord, owner % 3, 0.08)
    assert groups.max() == len(middles) - 1
    assert len(set(zip(groups.tolist(), owner.tolist(), strict=True))) == len(middles)


@pytest.mark.parametrize(
    ("coord", "labels", "radius", "message"),
    [
        (
            np.zeros((3, 2)),
            np.zeros(3, int),
            1,
            "coord has shape (3, 2) and labels (3,) of int64; give (n, 3)",
        ),
        (
            np.zeros((3, 3)),
            np.zeros(2, int),
            1,
            "coord has shape (3, 3) and labels (2,) of int64; give (n, 3)",
        ),
        (np.zeros((3, 3)), np.zeros(3), 1, "coord has shape (3, 3) and labels (3,) of float64; give (n, 3)"),
        (np.zeros((3, 3)), np.zeros(3, int), 0, "radius is 0; give metres above 0, such as 0.05."),
        (np.zeros((3, 3)), np.zeros(3, int), np.nan, "radius is nan; give metres above 0, such as 0.05."),
        (np.full((3, 3), np.nan), np.zeros(3, int), 1, "the coordinates are not finite, or too far apart for a radius"),
        (
            np.eye(3) * 1e12,
            np.zeros(3, int),
            0.1,
            "the coordinates are not finite, or too far apart for a radius",
        ),
    ],
)
def test_what_cannot_be_grouped_is_one_sentence(coord, labels, radius, message):
    with pytest.raises(InputError) as error:
        grouped(coord, labels, radius)
    assert str(error.value).startswith(message)
