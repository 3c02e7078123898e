import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from msm3d.ops import curves

CUBE = torch.cartesian_prod(torch.arange(1), *[torch.arange(8)] * 3)


@given(st.lists(st.tuples(st.integers(0, 63), *[st.integers(0, 2**16 - 1)] * 3), min_size=1), st.integers(0, 3))
def test_cells_come_back_from_their_keys(cells, level):
    cells = torch.tensor(cells)
    keys = curves.morton(cells, level)
    assert (keys >= 0).all()
    assert torch.equal(curves.cells(keys, level).long(), cells)


@given(st.tuples(*[st.integers(0, 2**19 - 1)] * 3), st.integers(0, 63))
def test_one_level_coarser_is_three_bits_fewer(cell, scene):
    key = curves.morton(torch.tensor([[scene, *cell]]))
    assert curves.cells(key >> 3, 1).tolist() == [[scene, *(c >> 1 for c in cell)]]


def test_the_last_cell_of_the_last_scene_fits():
    cell = torch.tensor([[63, *[2**19 - 1] * 3]])
    assert curves.morton(cell).item() == 2**63 - 1
    assert torch.equal(curves.cells(curves.morton(cell)).long(), cell)


@pytest.mark.parametrize("curve", ["xyz-z", "yxz-z", "xyz-hilbert", "yxz-hilbert"])
def test_a_curve_visits_every_cell_once_and_scene_by_scene(curve):
    cells = torch.cat([CUBE, CUBE + torch.tensor([1, 0, 0, 0])])
    keys = curves.curve_keys(cells, curve)
    assert len(keys.unique()) == len(cells)
    assert keys[: len(CUBE)].max() < keys[len(CUBE) :].min()


def test_hilbert_takes_single_steps_and_z_order_does_not():
    steps = {}
    for curve in curves_of("xyz"):
        along = CUBE[curves.curve_keys(CUBE, curve).argsort()]
        steps[curve] = along.diff(dim=0).abs().sum(1).max().item()
    assert steps["xyz-hilbert"] == 1
    assert steps["xyz-z"] > 1


def test_yxz_exchanges_x_and_y():
    swapped = CUBE[:, [0, 2, 1, 3]]
    for kind in ("z", "hilbert"):
        assert torch.equal(curves.curve_keys(CUBE, f"yxz-{kind}"), curves.curve_keys(swapped, f"xyz-{kind}"))


def test_z_order_interleaves_bits():
    key = curves.morton(torch.tensor([[0, 0b101, 0b011, 0b110]])).item()
    assert key == 0b101_011_110


def test_19_bits_order_as_the_published_16():
    """Independent scalar Hilbert key after Skilling's article, at a depth of 16 bits."""
    generator = torch.Generator().manual_seed(3)
    cells = torch.randint(0, 2**16, (200, 3), generator=generator)
    ours = curves.curve_keys(torch.nn.functional.pad(cells, (1, 0)), "xyz-hilbert").argsort()
    theirs = torch.tensor([hilbert_16(*cell) for cell in cells.tolist()]).argsort()
    assert torch.equal(ours, theirs)


def hilbert_16(*axes: int) -> int:
    x = list(axes)
    q = 1 << 15
    while q:
        for i in range(3):
            if x[i] & q:
                x[0] ^= q - 1
            else:
                t = (x[0] ^ x[i]) & (q - 1)
                x[0] ^= t
                x[i] ^= t
        q >>= 1
    key, bit = 0, 0
    for b in range(15, -1, -1):
        for value in x:
            bit ^= value >> b & 1
            key = key << 1 | bit
    return key


def curves_of(axes: str) -> list[str]:
    return [f"{axes}-{kind}" for kind in ("z", "hilbert")]
