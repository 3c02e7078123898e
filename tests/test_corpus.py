"""Walks the corpus: every fault that people met, as an input with what is right. See `tests/corpus`."""

import pytest
import torch

import msm3d
from tests.corpus import Case, Place, hostile, meshes, scans, verbs

CASES: list[Case] = [*scans.CASES, *meshes.CASES, *verbs.CASES, *hostile.CASES]
SMALL = msm3d.BackboneConfig(
    channels=(8, 16),
    decoder_channels=(8, 16),
    conv_blocks=(1, 1),
    attention_blocks=(0, 1),
    heads=(0, 2),
    voxel_size=0.05,
)


@pytest.fixture
def place(tmp_path, capsys):
    torch.manual_seed(0)
    model = msm3d.Model(SMALL, meta={"name": "small"}).eval().requires_grad_(False)
    (tmp_path / "folder").mkdir()
    return Place(tmp_path / "folder", model, model.save_pretrained(tmp_path / "weights"), capsys)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(case, place):
    case.check(place)


def test_no_two_cases_share_a_name():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
