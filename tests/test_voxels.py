import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d import PointCloud, curves
from msm3d.errors import InputError
from msm3d.ops import reference
from msm3d.voxels import voxelize
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
    voxels = voxelize([given], 0.05, ops)
    low, high = given.coord.min(0), given.coord.max(0)
    shifted = given.coord - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
    cells = np.floor(shifted / 0.05).astype(int)
    cells -= cells.min(0)
    assert np.array_equal(curves.cells(voxels.keys)[voxels.owner, 1:], cells)
    assert len(voxels.keys) == len(np.unique(cells, axis=0))


def test_a_voxel_takes_its_point_nearest_to_the_centre(ops):
    given = scene(1)
    voxels = voxelize([given], 0.2, ops)
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
    one = voxelize([cloud(coord, color)], 0.1, reference)
    two = voxelize([cloud(coord[order], color[order])], 0.1, reference)
    assert torch.equal(one.keys, two.keys)
    assert torch.equal(one.features, two.features)
    assert torch.equal(one.owner[torch.from_numpy(order)], two.owner)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(-(2**20), 2**20)] * 3))
def test_moving_by_whole_cells_changes_nothing(cells):
    given = scene(2)  # a cell of 1/16 m and whole steps of it are exact in binary
    coord = np.round(given.coord * 2**20) / 2**20
    moved = voxelize([cloud(coord + np.array(cells) / 16, given.color, given.normal)], 1 / 16, reference)
    still = voxelize([cloud(coord, given.color, given.normal)], 1 / 16, reference)
    assert torch.equal(moved.keys, still.keys)
    assert torch.equal(moved.features, still.features)


def test_map_coordinates_keep_their_millimetres():
    given = scene(3)
    far = voxelize([cloud(given.coord + [682244.65, 3444317.77, 85.3], given.color, given.normal)], 0.02, reference)
    near = voxelize([cloud(given.coord, given.color, given.normal)], 0.02, reference)
    assert abs(len(far.keys) - len(near.keys)) <= 2  # float64 leaves a tenth of a micrometre at the cells' borders
    same = np.isin(far.keys.numpy(), near.keys.numpy()).mean()
    assert same > 0.99


def test_two_kilometres_fit():
    given = scene(4)
    voxels = voxelize([cloud(np.concatenate([given.coord, given.coord + [2000, 2000, 300]]))], 0.02, reference)
    cells = curves.cells(voxels.keys)
    assert cells.min() == 0
    assert cells[:, 1:].max() >= 100_000
    assert len(voxels.keys) == pytest.approx(2 * len(voxelize([given], 0.02, reference).keys), abs=4)


def test_a_batch_is_its_scenes_one_after_another(ops):
    clouds = [scene(5), scene(6, 50), scene(7, 10)]
    batch = voxelize(clouds, 0.1, ops)
    alone = [voxelize([c], 0.1, ops) for c in clouds]
    first = np.cumsum([0, *(len(voxels.keys) for voxels in alone)])
    for i, voxels in enumerate(alone):
        mine = slice(first[i], first[i + 1])
        assert torch.equal(batch.keys[mine], voxels.keys + (i << 57))
        assert torch.equal(batch.features[mine], voxels.features)
    assert torch.equal(batch.owner, torch.cat([v.owner + f for v, f in zip(alone, first[:-1], strict=True)]))


@pytest.mark.parametrize("coord", [[[1.0, 2, 3]], [[5.0, 5, 5]] * 4])
def test_one_place_is_one_voxel(ops, coord):
    voxels = voxelize([cloud(coord)], 0.02, ops)
    assert voxels.keys.tolist() == [0]
    assert voxels.owner.tolist() == [0] * len(coord)


def test_an_outlier_is_named_with_its_axis():
    with pytest.raises(InputError) as caught:
        voxelize([cloud([[0, 0, 0], [0, 1e9, 0]])], 0.02, reference)
    assert str(caught.value) == (
        "the points span 1e+09 m along y, and at 0.02 m per voxel at most 10485.8 m can be indexed; "
        "drop outliers, or pass units= if these are not metres."
    )


def test_too_many_scenes_are_refused():
    with pytest.raises(InputError, match=r"^a batch holds at most 64 scenes, 65 were given; split the list\.$"):
        voxelize([cloud([[0, 0, 0]])] * 65, 0.02, reference)
