"""Fine-tuning finds what is planted and nothing in noise, goes on to the bit after a kill, and learns from no other
scene than it was given."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import msm3d
from msm3d import cli
from msm3d.backbones import Shape
from msm3d.errors import InputError
from msm3d.evaluate import Dataset, FinetuneSettings, LeakageError, Scene, finetune, probe
from msm3d.evaluate.finetuning import curve_said
from msm3d.tasks import heads, segment
from tests.test_evaluate_protocols import made, split
from tests.test_evaluate_protocols import quick as quick
from tests.test_families import SMALL

SETTINGS = FinetuneSettings(steps=6, batch=2, crop=300, sample=100)
TRAIN, OTHER = split("train", range(3)), split("val", range(20, 22))


HUNET = replace(
    SMALL["hunet"],
    channels=(8, 12),
    decoder_channels=(8, 12),
    conv_blocks=(1, 1),
    attention_blocks=(0, 1),
    heads=(0, 2),
    voxel_size=0.1,
)
PTV3 = replace(SMALL["ptv3"], channels=(12, 24), blocks=(1, 1), heads=(1, 2), voxel_size=0.1)


def start(shape: Shape = HUNET):
    """Return an untrained network as if it had been loaded."""
    torch.manual_seed(0)
    return msm3d.Model(shape).eval().requires_grad_(False)


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def relabelled(data: Dataset, change) -> Dataset:
    """Return the scenes with other labels, made by `change` of a cloud."""
    scenes = [Scene(one.name, lambda one=one: replace(one.read(), segment=change(one.read()))) for one in data.scenes]
    return replace(data, scenes=tuple(scenes))


# --- what is learned ---


@pytest.mark.parametrize("shape", [HUNET, PTV3], ids=["hunet", "ptv3"])
def test_planted_structure_is_found_by_both_families(quick, shape):
    settings = replace(SETTINGS, steps=25, crop=None, lr=8e-3, drop_path=0.0, layer_decay=0.9)
    model, head, curve = finetune(TRAIN, start(shape), settings=settings, validation=OTHER, every=25)
    assert [steps for steps, _ in curve] == [0, 25]
    (_, before), (_, after) = curve
    assert after > max(0.8, before)
    cloud = made(30)
    known = cloud.segment >= 0
    found = segment(model, head, cloud).labels
    assert (found == cloud.segment)[known].mean() > 0.85


def test_noise_is_found_at_chance(quick):
    draw = np.random.default_rng(0)
    labels = {scene.name: draw.integers(0, 2, 450) for scene in (*TRAIN.scenes, *OTHER.scenes)}

    def noisy(data):
        scenes = [Scene(one.name, lambda one=one: replace(one.read(), segment=labels[one.name])) for one in data.scenes]
        return replace(data, scenes=tuple(scenes))

    settings = replace(SETTINGS, steps=30, crop=None, lr=5e-3)
    _, _, curve = finetune(noisy(TRAIN), start(), settings=settings, validation=noisy(OTHER), every=30)
    assert all(0.2 < score < 0.42 for _, score in curve)  # two classes by chance: a third


def test_the_curve_begins_where_the_frozen_probe_is(quick):
    model = start()
    report = probe(TRAIN, OTHER, {"frozen": model}, protocol="linear", sample=100, baselines=[])
    _, _, curve = finetune(TRAIN, model, settings=SETTINGS, validation=OTHER)
    assert curve[0][1] == pytest.approx(report.miou("frozen"), abs=1e-6)


def test_a_class_that_the_probe_has_not_met_can_be_learned(quick):
    few = relabelled(TRAIN, lambda cloud: np.where(cloud.segment == 2, -1, cloud.segment))
    model, head, _ = finetune(few, start(), settings=replace(SETTINGS, steps=1, lr=1e-6))
    assert head.classes_.tolist() == [0, 1, 2, 3]
    assert set(segment(model, head, made(9)).labels.tolist()) <= {0, 1}


def test_the_start_stays_as_it_is_and_the_result_is_frozen(quick):
    model = start()
    before = weights(model)
    tuned, head, curve = finetune(TRAIN, model, settings=SETTINGS)
    assert torch.equal(weights(model), before)
    assert not any(module.training for module in (*model.modules(), *tuned.modules()))
    assert not any(parameter.requires_grad for parameter in tuned.parameters())
    assert not torch.equal(weights(tuned), before)
    assert curve == []
    assert head.predict(tuned.extract(made(9)), of=tuned).shape == (450,)
    with pytest.raises(InputError, match="but this head was fitted on those of"):
        head.predict(model.extract(made(9)), of=model)


# --- how it is learned ---


def test_stages_near_the_input_move_least(quick):
    model = start()
    settings = replace(SETTINGS, steps=1, warmup=0.0, lr=1e-3, weight_decay=0.0, layer_decay=0.5, sample=0)
    tuned, _, _ = finetune(TRAIN, model, settings=settings)
    before, after = model.backbone.by_depth(), tuned.backbone.by_depth()
    moved = [
        max(float((b - a).abs().max()) for a, b in zip(*parts, strict=True))
        for parts in zip(before, after, strict=True)
    ]
    assert moved == pytest.approx([1e-3 * 0.5 ** (len(moved) - i) for i in range(len(moved))], rel=0.02)
    even, _, _ = finetune(TRAIN, model.config, settings=settings)  # from scratch there is one rate
    drawn, _, _ = finetune(TRAIN, model.config, settings=replace(settings, lr=1e-12))
    step = [float((a - b).abs().max()) for a, b in zip(even.parameters(), drawn.parameters(), strict=True)]
    assert max(step) == pytest.approx(1e-3, rel=0.02)
    assert np.median(step) == pytest.approx(1e-3, rel=0.02)


def test_drop_path_is_the_networks_own_or_what_is_said(quick):
    own = start().config.drop_path
    found = {
        rate: weights(finetune(TRAIN, start(), settings=replace(SETTINGS, drop_path=rate)).model)
        for rate in (None, own, 0.0, 0.6)
    }
    assert torch.equal(found[None], found[own])
    assert not torch.equal(found[0.0], found[0.6])


def test_from_scratch_nothing_of_a_model_is_there(quick):
    model, _, _ = finetune(TRAIN, HUNET, settings=SETTINGS)
    assert model.meta["name"] == "trained from scratch on made"
    other, _, _ = finetune(TRAIN, HUNET, settings=replace(SETTINGS, seed=1))
    assert not torch.equal(weights(model), weights(other))


# --- breaks ---


def test_a_broken_run_goes_on_to_the_bit(quick, tmp_path, monkeypatch):
    expected = finetune(TRAIN, start(), tmp_path / "whole", SETTINGS, validation=OTHER, every=2)
    from msm3d.evaluate.supervised import Supervision

    step = Supervision.step

    def broken(self, number, batch):
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number, batch)

    monkeypatch.setattr(Supervision, "step", broken)
    with pytest.raises(KeyboardInterrupt):
        finetune(TRAIN, start(), tmp_path / "run", SETTINGS, validation=OTHER, every=2)
    monkeypatch.setattr(Supervision, "step", step)
    with pytest.raises(InputError) as error:
        finetune(TRAIN, start(), tmp_path / "run", SETTINGS, validation=OTHER, every=2)
    said = f"{tmp_path / 'run'} has a run already; go on with resume=True, or give another folder."
    assert str(error.value) == said
    found = finetune(TRAIN, start(), tmp_path / "run", SETTINGS, validation=OTHER, every=2, resume=True)
    assert same(tmp_path / "run", tmp_path / "whole")
    assert found.curve == expected.curve
    assert torch.equal(weights(found.model), weights(expected.model))
    for path in (tmp_path / "run").rglob("*.safetensors"):
        path.unlink()  # as if the break had come between the checkpoint and the models
    again = finetune(TRAIN, start(), tmp_path / "run", SETTINGS, validation=OTHER, every=2, resume=True)
    assert same(tmp_path / "run", tmp_path / "whole")
    assert again.curve == expected.curve


def same(one: Path, two: Path) -> bool:
    """Whether two runs have left the same models, heads and curves, to the byte, and the same lines but for speed."""
    names = [f"{place}{name}" for place in ("", "last/") for name in ("model.safetensors", "head/head.safetensors")]
    lines = [
        [
            {k: v for k, v in json.loads(line).items() if k != "steps_per_second"}
            for line in file.read_text().splitlines()
        ]
        for file in (one / "log.jsonl", two / "log.jsonl")
    ]
    files = [*names, "config.json", "last/config.json", "finetune.json", "head/head.json"]
    return lines[0] == lines[1] and all((one / name).read_bytes() == (two / name).read_bytes() for name in files)


KILLED = """
import os, signal, sys
from msm3d.evaluate import finetune
from msm3d.training import trainer
from tests.test_finetune import OTHER, SETTINGS, TRAIN, start
save, calls = trainer.save, []

def kill(*given):
    save(*given)
    calls.append(given)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

trainer.save = kill
finetune(TRAIN, start(), sys.argv[1], SETTINGS, validation=OTHER, every=2)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_bit(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "run")], cwd=Path(__file__).parents[1], capture_output=True
    )
    assert done.returncode == -signal.SIGKILL
    finetune(TRAIN, start(), tmp_path / "run", SETTINGS, validation=OTHER, every=2, resume=True)
    finetune(TRAIN, start(), tmp_path / "whole", SETTINGS, validation=OTHER, every=2)
    assert same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (dict(settings=replace(SETTINGS, steps=1, lr=0.1)), "lr"),
        (dict(train=split("train", range(2))), "scenes"),
        (dict(start=HUNET), "start"),
        (dict(validation=None), "validation"),
    ],
)
def test_checkpoints_of_other_runs_are_refused(quick, tmp_path, change, what):
    kept = {"train": TRAIN, "start": start(), "settings": replace(SETTINGS, steps=1), "validation": OTHER}
    finetune(folder=tmp_path / "run", **kept)
    with pytest.raises(InputError) as error:
        finetune(folder=tmp_path / "run", resume=True, **(kept | change))
    path = tmp_path / "run" / "checkpoint.pt"
    assert str(error.value) == f"{path} is of another run, {what} differs; give another name, or delete it."


def test_the_best_is_kept_beside_the_last(quick, tmp_path):
    settings = replace(SETTINGS, steps=4, lr=3.0, warmup=0.0)  # which destroys what the probe can do
    found = finetune(TRAIN, start(), tmp_path, settings, validation=OTHER, every=2)
    assert found.curve[0][1] > found.curve[-1][1]
    best, last = (msm3d.load(tmp_path / name, device="cpu") for name in ("", "last"))
    assert torch.equal(weights(best), weights(start()))
    assert not torch.equal(weights(best), weights(last))
    assert torch.equal(weights(best), weights(found.model))
    head = heads.load(tmp_path / "head")
    assert np.array_equal(
        head.predict(best.extract(made(9)), of=best), segment(found.model, found.head, made(9)).labels
    )
    assert heads.load(tmp_path / "last/head").predict(last.extract(made(9)), of=last).shape == (450,)


# --- what is never learned from ---


def test_scenes_to_look_at_change_nothing_that_is_learned(quick, tmp_path):
    one = finetune(TRAIN, start(), tmp_path / "one", SETTINGS, validation=OTHER, every=2)
    finetune(TRAIN, start(), tmp_path / "two", SETTINGS, every=2)
    assert len(one.curve) == 4
    for name in ("model.safetensors", "head/head.safetensors"):
        assert (tmp_path / "one/last" / name).read_bytes() == (tmp_path / "two/last" / name).read_bytes()


def test_a_scene_to_look_at_that_is_learned_from_is_refused(quick, tmp_path):
    with pytest.raises(LeakageError, match=r"^train-1 is also in the split to learn from; use splits"):
        finetune(TRAIN, start(), tmp_path / "a", SETTINGS, validation=split("train", [1, 9]))
    renamed = replace(OTHER, scenes=(*OTHER.scenes, Scene("new", lambda: made(2))))
    with pytest.raises(LeakageError, match=r"^new has the points and labels of train-2, which is in"):
        finetune(TRAIN, start(), tmp_path / "b", SETTINGS, validation=renamed)


# --- bad input ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(layer_decay=0.0), "layer_decay is 0.0; it must be above 0 and at most 1."),
        (dict(layer_decay=1.5), "layer_decay is 1.5; it must be above 0 and at most 1."),
        (dict(drop_path=1.0), "drop_path is 1.0; it must be within 0 to 1, or None."),
        (dict(sample=-1), "sample is -1; it must be at least 0."),
        (dict(steps=0), "steps is 0; it must be at least 1."),
    ],
)
def test_settings_out_of_range(change, message):
    with pytest.raises(InputError) as error:
        FinetuneSettings(**change)
    assert str(error.value) == message


def test_what_cannot_be_learned_from_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^made train has no scenes; give at least one to learn from\.$"):
        finetune(split("train", []), start())
    with pytest.raises(InputError, match=r"^every is 0; give at least 1 step between checkpoints\.$"):
        finetune(TRAIN, start(), every=0)
    bare = replace(TRAIN, scenes=(Scene("bare", lambda: replace(made(0), segment=None)),))
    with pytest.raises(InputError, match=r"^bare has no labels; give scenes with segment\.$"):
        finetune(bare, start(), settings=SETTINGS)
    with pytest.raises(InputError, match="is in training mode"):
        finetune(TRAIN, start().train(), settings=SETTINGS)
    start().save_pretrained(tmp_path)
    with pytest.raises(InputError) as error:
        finetune(TRAIN, start(), tmp_path, SETTINGS)
    assert str(error.value) == f"{tmp_path} has a model already, config.json; give another folder."


def test_a_curve_in_words():
    assert curve_said([(0, 0.5)]) == "mIoU 50.0 before, best 50.0 after 0 steps, last 50.0"


# --- the command line ---


@pytest.fixture
def place(tmp_path, monkeypatch, quick):
    """A folder with labelled rooms, a scan and the weights of a small network."""
    monkeypatch.chdir(tmp_path)
    start().save_pretrained("weights")
    for seed in range(4):
        folder = Path("data") / ("val" if seed == 3 else "train") / f"room_{seed}"
        folder.mkdir(parents=True)
        cloud = made(seed)
        for name in ("coord", "color", "normal", "segment"):
            np.save(folder / f"{name}.npy", getattr(cloud, name))
    np.save("scan.npy", np.concatenate([made(9).coord, made(9).color, made(9).normal], 1))
    return tmp_path


def call(*arguments: str) -> int:
    try:
        return cli.main(list(arguments))
    except SystemExit as stopped:
        return stopped.code


WEIGHTS = ("--from", "./weights", "--device", "cpu")
FINETUNE = ("finetune", "data", *WEIGHTS, "-o", "tuned", "--steps", "4", "--every", "2", "--crop", "300")


def test_a_folder_that_load_extract_and_segment_take(place, capsys):
    assert call(*FINETUNE) == 0
    shown = capsys.readouterr()
    first, last = shown.out.splitlines()
    assert first.startswith("data (val): mIoU ")
    assert last == "tuned: 4 steps; now:  msm3d segment SCAN -o labels.ply --model ./tuned"
    assert "tuned: 4 steps of 1 scene from 3 scenes of data; look at tuned/log.jsonl" in shown.err
    assert {path.name for path in Path("tuned").iterdir()} >= {
        *("config.json", "model.safetensors", "head", "last", "checkpoint.pt", "log.jsonl", "finetune.json"),
    }
    assert call("extract", "scan.npy", "-o", "features.npz", "--model", "./tuned", "--device", "cpu") == 0
    assert call("segment", "scan.npy", "-o", "one.npy", "--model", "./tuned", "--device", "cpu") == 0
    assert call("segment", "scan.npy", "-o", "two.npy", "--head", "tuned/head", "--device", "cpu") == 0
    assert np.array_equal(np.load("one.npy"), np.load("two.npy"))
    model = msm3d.load("./tuned", device="cpu")
    assert np.array_equal(np.load("one.npy"), heads.load("tuned/head").predict(model.extract("scan.npy"), of=model))
    assert model.meta["name"].endswith("fine-tuned on data")
    assert call(*FINETUNE) == 2
    assert "tuned has a run already; go on with --resume, or give another folder." in capsys.readouterr().err
    assert call(*FINETUNE, "--resume") == 0


def test_few_labels_and_no_look_at_the_other_split(place, capsys):
    assert call(*FINETUNE, "--scenes", "0.67", "--points", "20", "--no-validation") == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1
    assert "from 2 scenes of data" in shown.err
    assert json.loads(Path("tuned/finetune.json").read_text())["validation"] == []


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--lr", "0"), "lr is 0.0; it must be above 0."),
        (("--lr", "much"), "argument --lr: 'much' is not a number"),
        (("--layer-decay", "2"), "layer_decay is 2.0; it must be above 0 and at most 1."),
        (("--steps", "0"), "argument --steps: '0' is not a whole number from 1 on"),
        (("--scenes", "0"), "scenes is 0.0; give a share of the scenes above 0 and at most 1, such as 0.05."),
        (("--lists", "nowhere"), "nowhere: is not a folder; give the one with ScanNet's lists of few labels."),
        (("--from", "nothing"), "unknown weights 'nothing'"),
        (("-o", "weights"), "weights has a model already, config.json; give another folder."),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(place, capsys, more, sentence):
    assert call(*FINETUNE, *more) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert not Path("tuned").exists()
