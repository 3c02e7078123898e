"""A network adapted to scans without labels: what its layers even out, and that nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import msm3d
from msm3d.cli import main
from msm3d.datasets import Scene
from msm3d.errors import InputError
from msm3d.model import Model
from msm3d.pretrain import adapt
from msm3d.pretrain.adapting import LOOKS, _pieces, judged
from msm3d.rooms import make
from msm3d.scan.cloud import PointCloud
from msm3d.training import without_readout
from msm3d.training.readout import evening, with_readout
from tests.conftest import make_scene

ROOMS = [Scene(f"room {seed}", lambda seed=seed: make(seed, points=5000)) for seed in (1, 2)]


@pytest.fixture(scope="module")
def model():
    return msm3d.load("rooms-labelled", device="cpu")


@pytest.fixture(scope="module")
def adapted(model):
    return adapt(model, ROOMS)


def test_places_are_found_again_more_often_and_the_given_model_stays_as_it_was(model, adapted):
    before = dict(model.meta)
    assert adapted.gained
    assert adapted.after.found > adapted.before.found + 0.02
    assert model.meta == before
    assert not model.config.readout
    assert adapted.model.config.readout
    assert adapted.scans == adapted.model.meta["adapted"]["scans"] == 2
    assert adapted.model.meta["name"] == "rooms-labelled, adapted"
    assert adapted.model.meta["source"].endswith("; adapted to 2 scans without labels")
    assert "scores" not in adapted.model.meta  # they were another model's


def test_the_same_scans_give_the_same_bits_and_the_layers_can_be_taken_away(model, adapted):
    scan = make_scene(0, 800)
    again = adapt(adapted.model, ROOMS)  # layers of before are replaced
    assert np.array_equal(again.model.extract(scan), adapted.model.extract(scan))
    assert np.array_equal(without_readout(adapted.model).extract(scan), model.extract(scan))
    assert without_readout(model) is model
    before, after = model.extract(scan), adapted.model.extract(scan)
    for info in model.feature_info:
        expected = before[:, info.slice] @ adapted.model.backbone.readout[info.level].weight.numpy().T
        np.testing.assert_allclose(after[:, info.slice], expected, rtol=1e-3, atol=1e-3)


def test_a_model_that_gains_nothing_is_given_back(model):
    found = adapt(model, ROOMS, power=0)  # which scales every level, and no more
    assert found.model is model
    assert not found.gained
    assert abs(found.after.found - found.before.found) < 0.01


def test_differences_between_looks_become_alike_in_all_directions():
    rng = np.random.default_rng(0)
    apart = rng.normal(size=(5000, 6)) @ rng.normal(size=(6, 6))
    covariance = np.cov(apart.T)
    even = np.cov((apart @ evening(covariance, shrink=0, power=0.5)).T)
    np.testing.assert_allclose(even, np.eye(6), atol=1e-6)
    half = np.linalg.eigvalsh(np.cov((apart @ evening(covariance, shrink=0, power=0.25)).T))
    np.testing.assert_allclose(half, np.sqrt(np.linalg.eigvalsh(covariance)), rtol=1e-6)


def test_looks_are_at_the_same_points_and_those_held_out_lie_at_an_end(model):
    found, (piece,) = _pieces(ROOMS[:1], 0)
    assert found == 1
    looks = list(piece.looks(model))
    assert len(looks) == LOOKS
    assert all(look.shape == (5000, 400) for look in looks)
    assert [bool(np.isfinite(look).all()) for look in looks] == [True] * 4 + [False] * 4
    coord = piece.cloud.coord[piece.rows]
    along = coord[:, np.ptp(coord[:, :2], axis=0).argmax()]
    assert piece.held.mean() == pytest.approx(0.1, abs=0.005)
    assert along[piece.held].min() >= along[~piece.held].max()


def test_no_piece_of_a_large_scan_learns_from_what_is_held_out_of_it(monkeypatch):
    monkeypatch.setattr("msm3d.pretrain.adapting.PIECE", 1500)
    looked_at, pieces = _pieces(ROOMS[:1], 0)
    assert (looked_at, len(pieces)) == (1, 4)
    assert {len(piece.cloud) for piece in pieces} == {1500}
    coord = ROOMS[0].read().coord
    axis = int(np.ptp(coord[:, :2], axis=0).argmax())
    limit = np.quantile(coord[:, axis], 0.9)
    assert pieces[0].held.any()
    for piece in pieces:
        np.testing.assert_array_equal(piece.held, piece.cloud.coord[piece.rows][:, axis] > limit)


def test_what_says_how_good_a_model_is_does_not_depend_on_the_scale_of_a_level(model):
    _, pieces = _pieces(ROOMS[:1], 0)
    scaled = with_readout(model, [np.eye(width) * (0.2 if width == 160 else 1) for width in model.config.widths])
    before, after = judged(model, pieces), judged(scaled, pieces)
    assert (after.found, after.stays) == pytest.approx((before.found, before.stays), abs=0.01)
    assert after.height == pytest.approx(before.height, abs=1e-3)


def test_a_copy_keeps_its_precision():
    rough = msm3d.load(device="cpu", precision="bf16")
    read = with_readout(rough, [np.eye(width) for width in rough.config.widths])
    assert {p.dtype for p in read.parameters() if p.dim() > 1} == {torch.bfloat16}
    scan = make_scene(0, 500)
    np.testing.assert_array_equal(read.extract(scan), rough.extract(scan))


def test_backends_batches_files_and_heads_know_the_layers(ops, config, tmp_path):
    torch.manual_seed(0)
    plain = Model(config).eval().requires_grad_(False)
    rng = np.random.default_rng(0)
    read = with_readout(plain, [rng.normal(size=(width, width)) for width in config.widths])
    loaded = msm3d.load(read.save_pretrained(tmp_path / "model"), backend=ops.NAME)
    assert loaded.config == read.config == replace(config, readout=True)
    scans = [make_scene(seed, 500) for seed in (0, 1)]
    for scan, rows in zip(scans, loaded.extract(scans), strict=True):
        np.testing.assert_allclose(rows, read.extract(scan), rtol=1e-3, atol=2e-3)
    assert "readout" not in config.to_dict()
    groups = read.backbone.by_depth()
    assert sorted(map(id, read.backbone.parameters())) == sorted(id(one) for group in groups for one in group)
    read.requires_grad_(True)
    read(scans[0]).square().mean().backward()
    assert all(layer.weight.grad.abs().sum() > 0 for layer in read.backbone.readout)


def test_pretraining_starts_from_the_network_without_the_layers(model, adapted):
    from msm3d.pretrain import PretrainConfig
    from msm3d.pretrain.trainer import Pretraining

    run = Pretraining(ROOMS, PretrainConfig(backbone=model.config), "rooms", torch.device("cpu"), None, adapted.model)
    scan = make_scene(0, 300)
    np.testing.assert_array_equal(run.model("student").extract(scan), model.extract(scan))


def test_points_without_a_position_and_tiny_scans_are_left_out(model):
    cloud = make(1, points=3000)
    coord = cloud.coord.copy()
    coord[::50] = np.nan
    holes = Scene("holes", lambda: PointCloud.of({"coord": coord, "color": cloud.color}, invalid="nan"))
    tiny = Scene("tiny", lambda: PointCloud.of(make_scene(0, 100)))
    kept = Scene("kept", lambda: cloud.take(np.flatnonzero(np.isfinite(coord[:, 0]))))
    bare = Scene("bare", lambda: replace(kept.read(), normal=None))
    with pytest.warns(msm3d.Msm3dWarning) as told:
        found, other = adapt(model, [holes, tiny]), adapt(model, [bare])
    assert found.after == other.after
    assert found.scans == 1
    said = [str(one.message) for one in told]
    assert sum("tiny is left out: it has 300 points, and 1,000 are needed" in one for one in said) == 1


def test_what_cannot_be_adapted_is_said(model, config):
    few = [Scene("few", lambda: PointCloud.of(make_scene(0, 100)))]
    with pytest.raises(InputError, match=r"it has 300 points, and 1,000 are needed; give larger ones\."):
        adapt(model, few)
    with pytest.raises(InputError, match=r"the family 'ptv3' has no readout; give a sparse U-Net"):
        adapt(Model(msm3d.backbones.family("ptv3").Config()), ROOMS)
    with (
        pytest.warns(msm3d.Msm3dWarning, match="few is left out"),
        pytest.raises(InputError, match="there is no scan of"),
    ):
        adapt(model, few * 2)
    for name, value in (("shrink", 2), ("power", "a"), ("seed", -1), ("seed", 1.5), ("seed", 1 << 70)):
        with pytest.raises(InputError, match=rf"^{name} is .*; it must be a "):
            adapt(model, ROOMS, **{name: value})


def test_the_command_says_what_was_gained_and_writes_a_model(tmp_path, capsys, monkeypatch):
    scan = make(3, points=4000)
    np.savez(tmp_path / "room.npz", coord=scan.coord, color=scan.color, normal=scan.normal)
    mine = tmp_path / "mine"
    assert main(["adapt", str(tmp_path / "room.npz"), "-o", str(mine), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "held-out part of 1 scan" in shown
    assert "places found again in another look, within 25 cm" in shown
    assert f"{mine}: now:  msm3d extract SCAN -o features.npy --model {mine}" in shown
    assert msm3d.load(mine, device="cpu").extract(scan).shape == (4000, 400)
    assert main(["adapt", str(tmp_path / "room.npz"), "-o", str(mine)]) == 2
    assert "has a model already, config.json; give another folder" in capsys.readouterr().err
    (tmp_path / "file").touch()
    monkeypatch.setattr("msm3d.pretrain.adapt", None)  # what follows is said before any work
    assert main(["adapt", str(tmp_path / "room.npz"), "-o", str(tmp_path / "file")]) == 2
    assert f"{tmp_path / 'file'} is a file; give the name of a folder." in capsys.readouterr().err
    assert main(["adapt", str(tmp_path / "room.npz"), "-o", "/proc/none/mine", "--device", "cpu"]) == 2
    assert main(["adapt", str(tmp_path / "none.ply"), "-o", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()


def test_the_command_writes_nothing_where_nothing_is_gained(tmp_path, capsys, monkeypatch):
    from msm3d.pretrain.adapting import Adapted, Figures

    worse = Adapted(msm3d.load(device="cpu"), False, Figures(0.5, 0.5, 0.5), Figures(0.4, 0.5, 0.5), 1)
    monkeypatch.setattr("msm3d.pretrain.adapt", lambda *given, **named: worse)
    np.savez(tmp_path / "room.npz", **make_scene(0, 1000))
    assert main(["adapt", str(tmp_path / "room.npz"), "-o", str(tmp_path / "mine"), "--device", "cpu"]) == 0
    assert "nothing was gained, so nothing was written: the weights are best as they are." in capsys.readouterr().out
    assert not (tmp_path / "mine").exists()
