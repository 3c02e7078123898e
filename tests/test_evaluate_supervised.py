"""Training with labels lowers the loss, goes on to the bit after a break, and gives a model like any other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from msm3d.errors import InputError
from msm3d.evaluate import Dataset, Scene, SupervisedSettings, probe, supervised_model, train_supervised
from tests.test_evaluate_protocols import made, split

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
    assert torch.equal(weights(supervised_model(path)), weights(expected))
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
    with pytest.raises(InputError) as error:
        supervised_model(path)
    assert str(error.value) == f"{path} is not a checkpoint of train_supervised; give the file it wrote."


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
