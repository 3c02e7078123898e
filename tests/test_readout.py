"""Layers through which a network is read: what they even out, and that nothing else changes."""

import numpy as np
import pytest
import torch

import msm3d
from msm3d.datasets import Scene
from msm3d.errors import InputError
from msm3d.model import Model
from msm3d.rooms import make
from msm3d.scan.cloud import PointCloud
from msm3d.training import fit_readout, without_readout
from tests.conftest import make_scene

ROOMS = [Scene(f"room {seed}", lambda seed=seed: make(seed, points=4000)) for seed in (1, 2, 3)]


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return Model(config).eval().requires_grad_(False)


def objects(model, rows=500):
    """Yield the descriptors of each object of the rooms, less their mean."""
    for scene in ROOMS:
        cloud = scene.read()
        values, owner = model.extract(cloud, at="voxels")
        ids = np.full(len(values), -1)
        ids[owner] = cloud.instance
        for one in np.unique(ids[ids >= 0]):
            yield values[ids == one] - values[ids == one].mean(0)


def test_differences_within_objects_become_alike_in_all_directions(model):
    fitted = fit_readout(model, ROOMS, shrink=0, rows=10**6)
    for info in fitted.feature_info:
        apart = np.concatenate([part[:, info.slice] for part in objects(fitted)])
        covariance = np.cov(apart.T)
        bare = np.cov(np.concatenate([part[:, info.slice] for part in objects(model)]).T)
        assert np.linalg.eigvalsh(bare)[-1] > 5 * np.linalg.eigvalsh(bare)[0]
        np.testing.assert_allclose(covariance, np.eye(info.channels), atol=0.1)


def test_it_is_a_linear_map_that_can_be_taken_away(model):
    scan, fitted = make_scene(0, 800), fit_readout(model, ROOMS)
    before, after = model.extract(scan), fitted.extract(scan)
    for info in model.feature_info:
        expected = before[:, info.slice] @ fitted.backbone.readout[info.level].weight.numpy().T
        np.testing.assert_allclose(after[:, info.slice], expected, rtol=1e-3, atol=1e-3)
    assert np.array_equal(without_readout(fitted).extract(scan), before)
    assert without_readout(model) is model
    again = fit_readout(fitted, ROOMS)
    assert np.array_equal(again.extract(scan), after)


def test_backends_batches_files_and_heads_know_it(model, ops, tmp_path):
    scans, fitted = [make_scene(seed, 500) for seed in (0, 1)], fit_readout(model, ROOMS)
    loaded = msm3d.load(fitted.save_pretrained(tmp_path / "model"), backend=ops.NAME)
    assert loaded.config == fitted.config
    for scan, rows in zip(scans, loaded.extract(scans), strict=True):
        np.testing.assert_allclose(rows, fitted.extract(scan), rtol=1e-3, atol=2e-3)
    assert "readout" not in model.config.to_dict()
    groups = fitted.backbone.by_depth()
    assert sorted(map(id, fitted.backbone.parameters())) == sorted(id(one) for group in groups for one in group)
    fitted.requires_grad_(True)
    fitted(scans[0]).square().mean().backward()
    assert all(layer.weight.grad.abs().sum() > 0 for layer in fitted.backbone.readout)


def test_pretraining_starts_from_the_network_before_it(model, config, tmp_path):
    from msm3d.pretrain import PretrainConfig
    from msm3d.pretrain.trainer import Pretraining

    fitted = fit_readout(model, ROOMS)
    run = Pretraining(ROOMS, PretrainConfig(backbone=config), "rooms", torch.device("cpu"), None, fitted)
    begun = run.model("student")
    assert np.array_equal(begun.extract(make_scene(0, 300)), model.extract(make_scene(0, 300)))


def test_what_it_cannot_be_fitted_to_is_said(model):
    bare = [Scene("no objects", lambda: PointCloud.of(make_scene(0, 200)))]
    with pytest.raises(InputError, match=r"no scene has objects with several voxels; give scans with instances"):
        fit_readout(model, bare)
    with pytest.raises(InputError, match=r"the family 'ptv3' has no readout; give a sparse U-Net"):
        fit_readout(Model(msm3d.backbones.family("ptv3").Config()), ROOMS)
