"""Training with labels lowers the loss, goes on to the bit after a break, and gives a model like any other."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_evaluate_protocols import made, split

from msm3d.errors import InputError
from msm3d.evaluate import Dataset, Scene, SupervisedSettings, probe, train_supervised
from msm3d.evaluate.augment import JITTER, SCALE, augmented

SETTINGS = SupervisedSettings(steps=6, batch=2, crop=250)


@pytest.fixture
def small(config):
    """The smallest network with convolutions, attention, noise and two levels."""
    return replace(
        config, channels=(8, 16), decoder_channels=(8, 16), conv_blocks=(1, 1), attention_blocks=(0, 1), heads=(0, 2)
    )


def weights(model):
    return torch.cat([p.flatten() for p in model.parameters()])


@pytest.mark.parametrize("head", ["all", "finest"])
def test_the_loss_falls_and_the_features_beat_random_ones(small, head):
    losses = []
    settings = SupervisedSettings(steps=20, crop=None, head=head, lr=1e-2)
    small = replace(small, layer_scale=1.0, drop_path=0.0)
    train = split("train", range(3))
    model = train_supervised(train, small, settings, backend="reference", log=lambda step, loss: losses.append(loss))
    assert len(losses) == 20
    assert np.mean(losses[-4:]) < 0.6 * np.mean(losses[:4])
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    report = probe(train, split("test", range(20, 22)), model, protocol="knn", baselines=["random"])
    assert report.miou("supervised", "knn k=20") > report.miou("random network", "knn k=20")


def test_a_broken_run_goes_on_to_the_bit(small, tmp_path):
    train = split("train", range(3))
    whole, losses, later = [], [], []
    expected = train_supervised(train, small, SETTINGS, backend="reference", log=lambda *entry: whole.append(entry))

    def stop(step, loss):
        losses.append((step, loss))
        if step == 4:
            raise KeyboardInterrupt

    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train_supervised(train, small, SETTINGS, backend="reference", checkpoint=path, every=2, log=stop)
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    arguments = dict(backend="reference", checkpoint=path, every=2)
    model = train_supervised(train, small, SETTINGS, **arguments, log=lambda *entry: later.append(entry))
    assert [step for step, _ in later] == [4, 5]
    assert losses[:4] + later == whole
    assert torch.equal(weights(model), weights(expected))
    done = train_supervised(train, small, SETTINGS, **arguments, log=lambda *entry: pytest.fail("nothing is left"))
    assert torch.equal(weights(done), weights(expected))


def test_the_seed_decides(small):
    train = split("train", range(2))
    one, two = (
        train_supervised(train, small, replace(SETTINGS, steps=1, seed=seed), backend="reference") for seed in (0, 1)
    )
    assert not torch.equal(weights(one), weights(two))


def test_checkpoints_of_other_runs_are_refused(small, tmp_path):
    train, path = split("train", range(2)), tmp_path / "run.pt"
    settings = replace(SETTINGS, steps=1)
    train_supervised(train, small, settings, backend="reference", checkpoint=path)
    for change, what in ((dict(settings=replace(settings, lr=0.1)), "lr"), (dict(train=split("t", [0])), "scenes")):
        with pytest.raises(InputError) as error:
            train_supervised(**{"train": train, "config": small, "settings": settings} | change, checkpoint=path)
        assert str(error.value) == f"{path} is of another run, {what} differs; give another name, or delete it."
    path.write_bytes(b"no checkpoint")
    with pytest.raises(InputError) as error:
        train_supervised(train, small, settings, checkpoint=path)
    assert str(error.value) == f"{path} is not a checkpoint of this version; give another name, or delete it."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(steps=0), "steps is 0; it must be at least 1."),
        (dict(lr=0.0), "lr is 0.0; it must be above 0."),
        (dict(head="last"), "head is 'last'; it must be one of finest, all."),
        (dict(crop=0), "crop is 0; it must be at least 1, or None."),
    ],
)
def test_settings_out_of_range(change, message):
    with pytest.raises(InputError) as error:
        SupervisedSettings(**change)
    assert str(error.value) == message


def test_scenes_without_labels_are_refused(small):
    bare = Dataset("made", "t", split("t", []).classes, (Scene("bare", lambda: replace(made(0), segment=None)),))
    with pytest.raises(InputError) as error:
        train_supervised(bare, small, SETTINGS)
    assert str(error.value) == "bare has no labels; give scenes with segment."


def test_augmentation_keeps_the_scene_a_scene():
    cloud = made(0)
    before = cloud.coord.copy()
    generator = torch.Generator().manual_seed(0)
    changed = augmented(cloud, generator)
    assert (cloud.coord == before).all()
    assert (changed.segment == cloud.segment).all()
    assert np.abs(np.linalg.norm(changed.normal, axis=1) - 1).max() < 1e-5
    pairs = [np.linalg.norm(c.coord[:100, None] - c.coord[None, 100:200], axis=2) for c in (cloud, changed)]
    scale = np.median(pairs[1] / pairs[0])
    assert abs(scale - 1) <= SCALE
    assert np.abs(pairs[1] - scale * pairs[0]).max() < 8 * JITTER
    up = cloud.normal[:, 2] > 0.99
    np.testing.assert_allclose(changed.normal[up, 2], cloud.normal[up, 2], atol=1e-6)
    assert 0 <= changed.color.min() <= changed.color.max() <= 255
    turns = [augmented(cloud, generator).coord[0] for _ in range(4)]
    assert all(np.abs(a - b).max() > 0.01 for a, b in itertools.pairwise(turns))


def test_mirrors_and_normals_go_together():
    """The angle between the normals of two points and the way between them stays, for every draw."""
    cloud = made(0)
    way = cloud.coord[1] - cloud.coord[400]
    angle = cloud.normal[400] @ way / np.linalg.norm(way)
    handed = set()
    for seed in range(12):
        changed = augmented(cloud, torch.Generator().manual_seed(seed))
        way = changed.coord[1] - changed.coord[400]
        assert changed.normal[400] @ way / np.linalg.norm(way) == pytest.approx(angle, abs=0.05)
        handed.add(np.sign(np.linalg.det(changed.coord[[1, 100, 300]] - changed.coord[400])))
    assert handed == {-1.0, 1.0}


def test_a_crop_is_what_is_near_its_middle():
    cloud = made(0)
    generator = torch.Generator().manual_seed(3)
    cropped = augmented(cloud, generator, crop=60)
    assert len(cropped) == len(cropped.segment) == 60
    assert np.ptp(cropped.coord[:, :2], axis=0).max() < np.ptp(cloud.coord[:, :2], axis=0).max()
    assert len(augmented(cloud, generator, crop=10_000)) == len(cloud)
