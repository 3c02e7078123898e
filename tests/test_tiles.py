"""Tiles: every voxel once, halos as wide as said, and rows that equal the untiled ones as far as the network sees."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import msm3d
from msm3d._util import memory
from msm3d.errors import InputError
from msm3d.ops import curves
from msm3d.sparse.tiles import tiles
from tests.conftest import make_scene, voxel_keys


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 400), st.integers(1, 60), st.integers(0, 3))
def test_cores_are_all_voxels_once_and_halos_all_around(seed, n, most, halo):
    generator = torch.Generator().manual_seed(seed)
    keys = voxel_keys(generator, n, 40)
    cells = curves.cells(keys)[:, 1:] >> 2
    seen = torch.zeros(len(keys), dtype=torch.int64)
    for tile in tiles(keys, 3, most, halo):
        assert (tile.rows.diff() > 0).all()
        core = tile.rows[tile.core]
        seen[core] += 1
        low, high = cells[core].amin(0) - halo, cells[core].amax(0) + halo
        assert torch.equal(tile.rows, ((cells >= low) & (cells <= high)).all(1).nonzero()[:, 0])
        assert len(tile.rows) <= most or (cells[core] == cells[core[0]]).all()
    assert (seen == 1).all()


@pytest.fixture
def long_scene():
    """A corridor of 12 m."""
    parts = [make_scene(seed, 400) for seed in range(6)]
    for i, part in enumerate(parts):
        part["coord"][:, 0] += 2 * i
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def convolutions_only(config):
    torch.manual_seed(0)
    config = msm3d.BackboneConfig.from_dict(config.to_dict() | {"attention_blocks": [0, 0, 0], "sampling": "published"})
    return msm3d.Model(config).eval()


def few_voxels(model, n):
    return n * model.config.cost.bytes_per_voxel


def test_without_attention_a_halo_beyond_its_reach_gives_the_same_rows(config, long_scene, monkeypatch):
    model = convolutions_only(config)
    coarsest = model.config.voxel_size * 2 ** (model.config.levels - 1)
    halo = int(np.ceil(model.config.cost.reach / coarsest))
    monkeypatch.setattr("msm3d.describe.regions.tiles", lambda keys, levels, most, _: tiles(keys, levels, most, halo))
    whole = model.extract(long_scene)
    tiled = model.extract(long_scene, max_memory=few_voxels(model, 3000))
    assert np.array_equal(tiled, whole) if model.ops.NAME == "native" else np.allclose(tiled, whole, atol=1e-5)


def test_with_a_narrow_halo_only_rows_near_seams_differ(config, long_scene, monkeypatch):
    model = convolutions_only(config)
    monkeypatch.setattr("msm3d.describe.regions.tiles", lambda keys, levels, most, _: tiles(keys, levels, most, 1))
    whole = model.extract(long_scene)
    tiled = model.extract(long_scene, max_memory=few_voxels(model, 4000))
    differ = np.abs(tiled - whole).max(1) > 1e-5
    assert 0 < differ.mean() < 1


def test_tiling_covers_voxels_dtypes_and_out(model, long_scene, tmp_path):
    few = few_voxels(model, 2000)
    rows, owner = model.extract(long_scene, at="voxels", max_memory=few)
    points = model.extract(long_scene, max_memory=few, levels=(0, 2), dtype="float16")
    assert points.dtype == np.float16
    assert np.allclose(points, np.concatenate([rows[:, :20], rows[:, 44:]], 1)[owner], atol=2e-2)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float16, points.shape)
    assert model.extract(long_scene, max_memory=few, levels=(0, 2), dtype="float16", out=out) is out
    out.flush()
    assert np.array_equal(np.load(tmp_path / "out.npy"), points)
    whole = model.extract(long_scene, levels=(0, 2), dtype="float16", out=out)
    assert np.array_equal(whole, model.extract(long_scene, levels=(0, 2), dtype="float16"))


def test_attention_near_seams_changes_little(model, long_scene):
    whole = model.extract(long_scene)
    tiled = model.extract(long_scene, max_memory=few_voxels(model, 4000))
    assert np.linalg.norm(tiled - whole) / np.linalg.norm(whole) < 0.05


def test_a_bar_is_shown_on_request_only(model, long_scene, capsys):
    model.extract(long_scene, max_memory=few_voxels(model, 2000))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_memory": "lots"}, "max_memory is 'lots'; give a number of bytes, or a size such as '4GB' or '512MiB'."),
        ({"max_memory": 0}, "max_memory is 0; give a number of bytes, or a size such as '4GB' or '512MiB'."),
        (
            {"out": np.zeros((3, 4), np.float32)},
            "out is (3, 4) float32; it must be a writable numpy array (7200, 76) float32.",
        ),
        ({"out": [0]}, "out is list; it must be a writable numpy array (7200, 76) float32."),
    ],
)
def test_what_does_not_fit_is_said(model, long_scene, options, message):
    with pytest.raises(InputError) as caught:
        model.extract(long_scene, **options)
    assert str(caught.value) == message


def test_a_result_that_does_not_fit_is_refused_before_the_work(model, long_scene, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda *_: 1_000_000)
    with pytest.raises(InputError) as caught:
        model.extract(long_scene)
    assert str(caught.value) == (
        "7,200 rows of 76 channels take 0.0 GB, more than is free; "
        "pass out= a memory map, or fewer levels=, or dtype='float16', or at='voxels'."
    )


def test_what_is_free_is_some_of_the_machine():
    assert 10**7 < memory.available() < 10**14
