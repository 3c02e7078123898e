"""Reading levels at points against `grid_sample` on a dense grid, which is what the released code uses."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from msm3d.sparse.hierarchy import Hierarchy
from msm3d.sparse.interpolate import corners, descriptors
from tests.conftest import voxel_keys


def dense_reading(features, grid, fine, scene, align_corners):
    """`grid_sample` of one scene's dense grid at the centres of its finest voxels."""
    cells = grid.cells[grid.cells[:, 0] == scene, 1:].long()
    extent = cells.amax(0) + 1
    volume = features.new_zeros(*extent, features.shape[1])
    volume[tuple(cells.T)] = features[grid.cells[:, 0] == scene]
    at = (fine.cells[fine.cells[:, 0] == scene, 1:] + 0.5) / 2**grid.level / extent * 2 - 1
    at = at.flip(1).to(features.dtype).view(1, -1, 1, 1, 3)
    read = F.grid_sample(volume.permute(3, 0, 1, 2)[None], at, align_corners=align_corners)
    return read[0, :, :, 0, 0].T


@pytest.mark.parametrize(("sampling", "align_corners"), [("centered", False), ("published", True)])
@pytest.mark.parametrize("scenes", [1, 3])
def test_both_samplings_equal_dense_grid_sample(ops, rng, sampling, align_corners, scenes):
    hierarchy = Hierarchy.of(voxel_keys(rng, 400, 21, scenes), 4, ops, scenes)
    features = [torch.randn(len(grid), 3, generator=rng) for grid in hierarchy.grids]
    ours = descriptors(features, hierarchy, range(4), sampling, ops)
    fine = hierarchy.grids[0]
    for scene in range(scenes):
        theirs = [
            dense_reading(f, grid, fine, scene, align_corners)
            for f, grid in zip(features, hierarchy.grids, strict=True)
        ]
        assert_close(ours[fine.cells[:, 0] == scene], torch.cat(theirs, 1), rtol=1e-4, atol=1e-4)


def test_the_two_samplings_differ(ops, rng):
    hierarchy = Hierarchy.of(voxel_keys(rng, 400, 21), 4, ops)
    features = [torch.randn(len(grid), 3, generator=rng) for grid in hierarchy.grids]
    one, two = (descriptors(features, hierarchy, [3], sampling, ops) for sampling in ("centered", "published"))
    assert (one - two).abs().max() > 0.1


def test_the_finest_level_is_read_as_it_is_when_centered(ops, rng):
    hierarchy = Hierarchy.of(voxel_keys(rng, 100), 2, ops)
    features = [torch.randn(len(grid), 5, generator=rng) for grid in hierarchy.grids]
    assert torch.equal(descriptors(features, hierarchy, [0], "centered", ops), features[0])
    assert corners(hierarchy, 0, "centered", ops)[0].shape[1] == 1


def test_a_point_takes_its_voxels_row(ops, rng):
    hierarchy = Hierarchy.of(voxel_keys(rng, 100), 2, ops)
    features = [torch.randn(len(grid), 5, generator=rng) for grid in hierarchy.grids]
    owner = torch.randint(0, len(hierarchy.grids[0]), (300,), generator=rng)
    whole = descriptors(features, hierarchy, [0, 1], "centered", ops)
    assert torch.equal(descriptors(features, hierarchy, [0, 1], "centered", ops, owner), whole[owner])


def test_the_parent_is_read_as_it_is(ops, rng):
    hierarchy = Hierarchy.of(voxel_keys(rng, 200, scenes=2), 3, ops, 2)
    features = [torch.randn(len(grid), 4, generator=rng) for grid in hierarchy.grids]
    copied = torch.cat([f[rows] for f, rows in zip(features, hierarchy.ancestors(), strict=True)], 1)
    assert torch.equal(descriptors(features, hierarchy, range(3), "parent", ops), copied)
    some = torch.tensor([5, 0, 17])
    assert torch.equal(descriptors(features, hierarchy, [2], "parent", ops, rows=some), copied[some, 8:])
