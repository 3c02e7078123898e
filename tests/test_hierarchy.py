import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msm3d.ops import curves, reference
from msm3d.sparse.hierarchy import Hierarchy
from tests.conftest import voxel_keys

STEPS = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]


def brute_force(cells: list[tuple[int, ...]]) -> list[list[int]]:
    row = {cell: i for i, cell in enumerate(cells)}
    return [[row.get((s, x + dx, y + dy, z + dz), -1) for dx, dy, dz in STEPS] for s, x, y, z in cells]


@pytest.mark.parametrize(("n", "extent", "scenes"), [(1, 1, 1), (40, 5, 1), (300, 9, 3), (60, 300, 2)])
def test_tables_equal_brute_force(ops, rng, n, extent, scenes):
    hierarchy = Hierarchy.of(voxel_keys(rng, n, extent, scenes), 4, ops, scenes)
    for grid in hierarchy.grids:
        cells = [tuple(cell) for cell in grid.cells.tolist()]
        assert grid.neighbours.tolist() == brute_force(cells)
        assert grid.keys.tolist() == sorted(grid.keys.tolist())
        if grid.parents is not None and grid.level + 1 < len(hierarchy.grids):
            above = hierarchy.grids[grid.level + 1]
            for row, (cell, parent) in enumerate(zip(cells, grid.parents.tolist(), strict=True)):
                assert above.cells[parent].tolist() == [cell[0], *(c >> 1 for c in cell[1:])]
                octant = (cell[1] & 1) * 4 + (cell[2] & 1) * 2 + (cell[3] & 1)
                assert above.children is not None
                assert above.children[parent, octant] == row
                assert grid.above[row].tolist() == [parent if slot == octant else -1 for slot in range(8)]
            assert (above.children >= 0).sum() == len(grid)


def test_brute_force_can_tell():
    assert brute_force([(0, 0, 0, 0), (0, 1, 0, 0)]) != brute_force([(0, 0, 0, 0), (0, 0, 1, 0)])


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 200), st.integers(1, 3), st.floats(0, 1))
def test_a_subset_is_what_building_it_anew_gives(seed, n, scenes, share):
    generator = torch.Generator().manual_seed(seed)
    whole = Hierarchy.of(voxel_keys(generator, n, 12, scenes), 3, reference, scenes)
    keep = torch.rand(len(whole.grids[0]), generator=generator) <= share
    keep[0] = True
    part, rows = whole.subset(keep)
    anew = Hierarchy.of(whole.grids[0].keys[keep], 3, reference, scenes)
    for level, (a, b) in enumerate(zip(part.grids, anew.grids, strict=True)):
        assert torch.equal(a.keys, b.keys)
        assert torch.equal(a.neighbours, b.neighbours)
        assert torch.equal(whole.grids[level].keys[rows[level]], a.keys)
        assert a.offsets == b.offsets
        for x, y in ((a.parents, b.parents), (a.children, b.children)):
            assert (x is None and y is None) or torch.equal(x, y)


def test_a_subset_may_be_empty(rng):
    whole = Hierarchy.of(voxel_keys(rng, 20), 2, reference)
    part, rows = whole.subset(torch.zeros(len(whole.grids[0]), dtype=torch.bool))
    assert [len(grid) for grid in part.grids] == [0, 0]
    assert [len(r) for r in rows] == [0, 0]


@pytest.mark.parametrize("curve", ["xyz-z", "yxz-z", "xyz-hilbert", "yxz-hilbert"])
def test_orders_go_along_the_curve_within_each_scene(rng, curve):
    grid = Hierarchy.of(voxel_keys(rng, 200, 10, 3), 2, reference, 3).grids[1]
    order, place = grid.order(curve)
    assert torch.equal(order[place], torch.arange(len(grid)))
    for start, stop in zip(grid.offsets, grid.offsets[1:], strict=False):
        assert set(order[start:stop].tolist()) == set(range(start, stop))
        keys = curves.curve_keys(grid.cells[order[start:stop]], curve)
        assert (keys.diff() > 0).all()


def test_ancestors_contain_their_voxels(rng):
    hierarchy = Hierarchy.of(voxel_keys(rng, 100), 3, reference)
    for level, rows in enumerate(hierarchy.ancestors()):
        assert torch.equal(hierarchy.grids[level].cells[rows, 1:], hierarchy.grids[0].cells[:, 1:] >> level)
