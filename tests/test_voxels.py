from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d import PointCloud
from msm3d.errors import InputError
from msm3d.ops import curves, reference
from msm3d.sparse.inputs import Attribute, Inputs
from msm3d.sparse.voxels import voxelize
from tests.conftest import make_scene


def cloud(coord, color=None, normal=None):
    n = len(coord)
    grey, up = np.full((n, 3), 127.5, np.float32), np.tile(np.float32([0, 0, 1]), (n, 1))
    return PointCloud(
        coord=np.asarray(coord, np.float64),
        color=grey if color is None else np.asarray(color, np.float32),
        normal=up if normal is None else np.asarray(normal, np.float32),
    )


def scene(seed, n=300):
    parts = make_scene(seed, n)
    return cloud(parts["coord"], parts["color"], parts["normal"])


def test_cells_are_those_of_the_published_preprocessing(ops):
    given = scene(0)
    voxels = voxelize([given], Inputs(voxel_size=0.05), ops)
    low, high = given.coord.min(0), given.coord.max(0)
    shifted = given.coord - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
    cells = np.floor(shifted / 0.05).astype(int)
    cells -= cells.min(0)
    assert np.array_equal(curves.cells(voxels.keys)[voxels.owner, 1:], cells)
    assert len(voxels.keys) == len(np.unique(cells, axis=0))


def test_a_voxel_takes_its_point_nearest_to_the_centre(ops):
    given = scene(1)
    voxels = voxelize([given], Inputs(voxel_size=0.2), ops)
    low, high = given.coord.min(0), given.coord.max(0)
    grid = (given.coord - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]) / 0.2
    distance = ((grid - np.floor(grid) - 0.5) ** 2).sum(1)
    for voxel in range(len(voxels.keys)):
        members = np.flatnonzero(voxels.owner.numpy() == voxel)
        best = members[distance[members].argmin()]
        expected = np.concatenate([given.color[best] / 127.5 - 1, given.normal[best]])
        assert np.allclose(voxels.features[voxel], expected, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.01, 0.05, 0.25]))
def test_the_order_of_the_points_changes_nothing(seed, step):
    """On a raster of `step` points tie for the centre, and twins differ in colour alone."""
    rng = np.random.default_rng(seed)
    coord = rng.integers(0, 12, (200, 3)) * step
    color, order = rng.integers(0, 3, (200, 3)), rng.permutation(200)
    one = voxelize([cloud(coord, color)], Inputs(voxel_size=0.1), reference)
    two = voxelize([cloud(coord[order], color[order])], Inputs(voxel_size=0.1), reference)
    assert torch.equal(one.keys, two.keys)
    assert torch.equal(one.features, two.features)
    assert torch.equal(one.owner[torch.from_numpy(order)], two.owner)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(-(2**20), 2**20)] * 3))
def test_moving_by_whole_cells_changes_nothing(cells):
    given = scene(2)  # a cell of 1/16 m and whole steps of it are exact in binary
    coord = np.round(given.coord * 2**20) / 2**20
    moved = voxelize(
        [cloud(coord + np.array(cells) / 16, given.color, given.normal)], Inputs(voxel_size=1 / 16), reference
    )
    still = voxelize([cloud(coord, given.color, given.normal)], Inputs(voxel_size=1 / 16), reference)
    assert torch.equal(moved.keys, still.keys)
    assert torch.equal(moved.features, still.features)


def test_map_coordinates_keep_their_millimetres():
    given = scene(3)
    far = voxelize(
        [cloud(given.coord + [682244.65, 3444317.77, 85.3], given.color, given.normal)],
        Inputs(voxel_size=0.02),
        reference,
    )
    near = voxelize([cloud(given.coord, given.color, given.normal)], Inputs(voxel_size=0.02), reference)
    assert abs(len(far.keys) - len(near.keys)) <= 2  # float64 leaves a tenth of a micrometre at the cells' borders
    same = np.isin(far.keys.numpy(), near.keys.numpy()).mean()
    assert same > 0.99


def test_two_kilometres_fit():
    given = scene(4)
    voxels = voxelize(
        [cloud(np.concatenate([given.coord, given.coord + [2000, 2000, 300]]))], Inputs(voxel_size=0.02), reference
    )
    cells = curves.cells(voxels.keys)
    assert cells.min() == 0
    assert cells[:, 1:].max() >= 100_000
    assert len(voxels.keys) == pytest.approx(2 * len(voxelize([given], Inputs(voxel_size=0.02), reference).keys), abs=4)


def test_a_batch_is_its_scenes_one_after_another(ops):
    clouds = [scene(5), scene(6, 50), scene(7, 10)]
    batch = voxelize(clouds, Inputs(voxel_size=0.1), ops)
    alone = [voxelize([c], Inputs(voxel_size=0.1), ops) for c in clouds]
    first = np.cumsum([0, *(len(voxels.keys) for voxels in alone)])
    for i, voxels in enumerate(alone):
        mine = slice(first[i], first[i + 1])
        assert torch.equal(batch.keys[mine], voxels.keys + (i << 57))
        assert torch.equal(batch.features[mine], voxels.features)
    assert torch.equal(batch.owner, torch.cat([v.owner + f for v, f in zip(alone, first[:-1], strict=True)]))


@pytest.mark.parametrize("coord", [[[1.0, 2, 3]], [[5.0, 5, 5]] * 4])
def test_one_place_is_one_voxel(ops, coord):
    voxels = voxelize([cloud(coord)], Inputs(voxel_size=0.02), ops)
    assert voxels.keys.tolist() == [0]
    assert voxels.owner.tolist() == [0] * len(coord)


def test_an_outlier_is_named_with_its_axis():
    with pytest.raises(InputError) as caught:
        voxelize([cloud([[0, 0, 0], [0, 1e9, 0]])], Inputs(voxel_size=0.02), reference)
    assert str(caught.value) == (
        "the points span 1e+09 m along y, and at 0.02 m per voxel at most 10485.8 m can be indexed; "
        "drop outliers, or pass units= if these are not metres."
    )


def test_too_many_scenes_are_refused():
    with pytest.raises(InputError, match=r"^a batch holds at most 64 scenes, 65 were given; split the list\.$"):
        voxelize([cloud([[0, 0, 0]])] * 65, Inputs(voxel_size=0.02), reference)


# --- features ---

SONATA = (Attribute("coord"), Attribute("color", 255), Attribute("normal"))


@pytest.mark.parametrize("move", [(0, 0, 0), (500_000.125, -4_600_000.5, 85.25)])
def test_features_are_what_the_inputs_list_in_their_order(ops, move):
    """The recipe of Sonata: place from the middle of the ground, colour within [0, 1], normal."""
    clouds = [scene(1), scene(2, 100)]
    moved = [cloud(c.coord + move, c.color, c.normal) for c in clouds]
    voxels = voxelize(moved, Inputs(attributes=SONATA, voxel_size=0.2), ops)
    plain = voxelize(moved, Inputs(voxel_size=0.2), ops)
    assert torch.equal(voxels.keys, plain.keys)
    assert torch.allclose(voxels.features[:, 3:6] * 2 - 1, plain.features[:, :3], atol=1e-6)
    assert torch.equal(voxels.features[:, 6:], plain.features[:, 3:])
    for number, one in enumerate(clouds):
        low, high = one.coord.min(0), one.coord.max(0)
        shifted = one.coord - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
        for voxel in (curves.cells(voxels.keys)[:, 0] == number).nonzero()[:, 0][::5]:
            members = (voxels.owner[:900] if number == 0 else voxels.owner[900:]) == voxel
            distance = np.abs(shifted[members.numpy()] - voxels.features[voxel, :3].numpy()).max(1)
            assert distance.min() < 1e-6


def test_scales_and_anchored_places_are_followed(ops):
    given = scene(3)
    inputs = Inputs(attributes=(Attribute("coord", 2.0), Attribute("normal", 0.5, 1.0)), voxel_size=0.1)
    for recipe in (inputs, replace(inputs, origin="anchored")):
        voxels, moved = (
            voxelize([cloud(given.coord + move, given.color, given.normal)], recipe, ops)
            for move in ([0, 0, 0], [12.5, -3.25, 0.125])
        )
        assert torch.equal(voxels.features, moved.features)
        assert torch.equal(voxels.features[:, 3:], voxels.features[:, 3:].clamp(-1, 3))
        cells = curves.cells(voxels.keys)[:, 1:]
        off = voxels.features[:, :3].double() * 2 / 0.1 - cells  # in cells, up to where the count begins
        assert (off - off.round().mean(0).round() > -1).all()
        assert off.amax(0).sub(off.amin(0)).max() < 1 + 1e-4


def test_the_first_point_may_stand_for_its_voxel(ops):
    coord = np.array([[0.09, 0, 0], [0.05, 0, 0], [0.51, 0, 0], [0.55, 0, 0]])
    color = np.array([[1.0, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]])
    inputs = Inputs(attributes=(Attribute("color"),), voxel_size=0.1, point="first")
    assert voxelize([cloud(coord, color)], inputs, ops).features[:, 0].sort().values.tolist() == [1, 3]
    nearest = voxelize([cloud(coord, color)], replace(inputs, point="nearest"), ops).features[:, 0]
    assert nearest.sort().values.tolist() == [2, 4]


def test_an_attribute_that_there_is_not_is_named():
    with pytest.raises(InputError, match=r"^attribute is 'colour'; it must be one of coord, color, normal\.$"):
        Attribute("colour")


# --- anchored grids ---


def anchored(coord, color, normal, ops=reference, size=0.05):
    return voxelize([cloud(coord, color, normal)], Inputs(voxel_size=size, origin="anchored"), ops)


@pytest.mark.parametrize("origin", ["published", "anchored"])
@pytest.mark.parametrize("move", [(500_000, 4_600_000, 100), (7, -3, 1), (0.001, -4.567, 0.013)])
def test_whole_millimetres_fall_into_the_same_cells_anywhere(ops, origin, move):
    parts = make_scene(9, 700)
    whole, move = np.rint(parts["coord"] * 1000), np.rint(np.array(move) * 1000)
    still, moved = (
        voxelize([cloud(coord / 1000, parts["color"], parts["normal"])], Inputs(voxel_size=0.05, origin=origin), ops)
        for coord in (whole, whole + move)
    )
    assert torch.equal(still.keys, moved.keys)
    assert torch.equal(still.owner, moved.owner)
    assert torch.equal(still.features, moved.features)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([-1, 1]), st.integers(0, 2), st.floats(0.15, 2.0))
def test_a_stray_changes_no_other_voxel(seed, side, axis, distance):
    given = scene(seed, 1000)
    low, high = given.coord.min(0), given.coord.max(0)
    stray = np.random.default_rng(seed).uniform(low + 0.1, high)
    stray[axis] = low[axis] - distance if side < 0 else high[axis] + distance
    before = anchored(given.coord, given.color, given.normal)
    after = anchored(
        np.vstack([given.coord, stray]), np.vstack([given.color, [[9, 9, 9]]]), np.vstack([given.normal, [[0, 0, 1]]])
    )
    others = torch.arange(len(after.keys)) != after.owner[-1]
    assert torch.equal(after.keys[others], before.keys)
    assert torch.equal(after.features[others], before.features)
    assert torch.equal(others.cumsum(0)[after.owner[:-1]] - 1, before.owner)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_the_order_of_the_points_changes_nothing_anchored(seed):
    given, order = scene(seed), np.random.default_rng(seed).permutation(900)
    one = anchored(given.coord, given.color, given.normal)
    two = anchored(given.coord[order], given.color[order], given.normal[order])
    assert torch.equal(one.keys, two.keys)
    assert torch.equal(one.features, two.features)
    assert torch.equal(one.owner[torch.from_numpy(order)], two.owner)


def test_an_anchored_batch_is_its_scenes_strays_and_all(ops):
    clouds = [scene(5), cloud(np.vstack([scene(6, 800).coord, [[9, 9, 9]]])), scene(7, 10)]
    batch = voxelize(clouds, Inputs(voxel_size=0.1, origin="anchored"), ops)
    alone = [voxelize([c], Inputs(voxel_size=0.1, origin="anchored"), ops) for c in clouds]
    first = np.cumsum([0, *(len(voxels.keys) for voxels in alone)])
    assert torch.equal(batch.keys, torch.cat([v.keys + (i << 57) for i, v in enumerate(alone)]))
    assert torch.equal(batch.features, torch.cat([v.features for v in alone]))
    assert torch.equal(batch.owner, torch.cat([v.owner + f for v, f in zip(alone, first[:-1], strict=True)]))


def test_a_voxel_alone_is_a_stray_and_where_all_are_alone_none_is():
    rng = np.random.default_rng(0)
    floor = np.stack(np.meshgrid(np.arange(20), np.arange(20), [0.0]), -1).reshape(-1, 3) * 0.05
    with_one = voxelize(
        [cloud(np.vstack([floor, [[0.5, 0.5, 0.12]]]))], Inputs(voxel_size=0.05, origin="anchored"), reference
    )
    assert (curves.cells(with_one.keys)[:, 1] >= curves.STRAY).tolist() == [False] * 400 + [True]
    touching = voxelize(
        [cloud(np.vstack([floor, [[0.5, 0.5, 0.05]]]))], Inputs(voxel_size=0.05, origin="anchored"), reference
    )
    sparse = voxelize([cloud(rng.uniform(0, 20, (300, 3)))], Inputs(voxel_size=0.05, origin="anchored"), reference)
    for voxels in (touching, sparse):
        assert curves.cells(voxels.keys)[:, 1].max() < curves.STRAY


def test_an_anchored_scene_may_reach_far_on_either_side():
    given = scene(4)
    for far in ([-9000.0, -9000, -9000], [9000.0, 9000, 9000]):
        voxels = voxelize([cloud(np.vstack([given.coord, far]))], Inputs(voxel_size=0.02, origin="anchored"), reference)
        assert curves.cells(voxels.keys)[:, 0].max() == 0
        assert (
            len(voxels.keys) == len(voxelize([given], Inputs(voxel_size=0.02, origin="anchored"), reference).keys) + 1
        )
    with pytest.raises(
        InputError, match=r"^the points span 10480 m along y, and at 0.02 m per voxel at most 10475.5 m"
    ):
        voxelize([cloud([[0, 0, 0], [0, 10480, 0]])], Inputs(voxel_size=0.02, origin="anchored"), reference)
