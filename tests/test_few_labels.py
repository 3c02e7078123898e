"""Few scenes and few points, drawn or listed: the same for heads and for networks that learn, and side by side."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from msm3d.errors import FileError, InputError
from msm3d.evaluate import (
    FeatureCache,
    FinetuneSettings,
    LeakageError,
    Lists,
    ProbeSettings,
    RawFeatures,
    Report,
    compare,
    limited,
    probe,
)
from msm3d.evaluate.protocols import few_points, few_scenes
from msm3d.tasks.fingerprint import scene_hash
from tests.test_evaluate_protocols import made, split
from tests.test_evaluate_protocols import quick as quick
from tests.test_finetune import call, start
from tests.test_finetune import place as place

TRAIN, TEST = split("train", range(4)), split("test", range(20, 22))
LISTED = {f"train-{seed}": np.arange(3 * seed, 3 * seed + 60)[::3] for seed in range(4)}


@pytest.fixture
def lists(tmp_path):
    """The benchmark's lists of these scenes: half of them, and 20 points of each."""
    (tmp_path / "lists/scenes").mkdir(parents=True)
    (tmp_path / "lists/points").mkdir()
    (tmp_path / "lists/scenes/50.txt").write_text("train-3\ntrain-0\n")
    torch.save(LISTED, tmp_path / "lists/points/points20")
    return tmp_path / "lists"


def known(cloud) -> set[int]:
    return set(np.flatnonzero(cloud.segment != -1).tolist())


# --- which labels ---


@pytest.mark.parametrize("points", [None, 7, 90, 1000])
def test_a_network_learns_from_the_points_that_a_head_learns_from(tmp_path, points):
    few = limited(TRAIN, (0.5, points), 3, sample=90)
    assert few.scenes[0].name == few_scenes(TRAIN, 0.5, 3).scenes[0].name
    cache = FeatureCache(tmp_path, RawFeatures(), points=90)
    for scene in few_scenes(TRAIN, 0.5, 3).scenes:
        cloud = scene.read()
        rows, labels = few_points(cache.sample(scene.name, cloud), points, 3, scene_hash(cloud))
        (left,) = (one.read() for one in few.scenes if one.name == scene.name)
        if points is None:
            assert left.segment.tolist() == cloud.segment.tolist()
            continue
        assert len(known(left)) == len(labels) == min(points, 90)
        assert known(left) <= known(cloud)
        features, owner = RawFeatures()(cloud)
        mine = features[owner[sorted(known(left))]]
        assert sorted(map(tuple, mine.tolist())) == sorted(map(tuple, np.asarray(rows).tolist()))


def test_of_one_seed_the_fewer_are_among_the_more():
    def of(points, seed=0):
        return [known(cloud) for _, cloud in limited(TRAIN, (1.0, points), seed)]

    assert all(a < b for a, b in zip(of(20), of(50), strict=True))
    assert of(20) != of(20, seed=1)


def test_lists_are_taken_as_they_are(lists):
    found = Lists(lists)
    few = limited(TRAIN, (0.5, 20), 0, lists=found)
    assert [scene.name for scene in few.scenes] == ["train-0", "train-3"]
    for name, cloud in few:
        whole = made(int(name[-1])).segment
        assert known(cloud) == {row for row in LISTED[name].tolist() if whole[row] != -1}
    assert few.split == "train, 20 listed points a scene"
    assert len(limited(TRAIN, (1.0, None), 0, lists=found)) == 4
    flat = lists / "points"
    (flat / "50.txt").write_text("train-1\n")
    assert [scene.name for scene in limited(TRAIN, (0.5, 20), 0, lists=Lists(flat)).scenes] == ["train-1"]


def test_points_may_be_lists_tensors_and_arrays(lists):
    for kind in (list, torch.tensor, lambda rows: np.array(rows, np.int32)):
        torch.save({name: kind(rows.tolist()) for name, rows in LISTED.items()}, lists / "points/points20")
        assert len(known(limited(TRAIN, (1.0, 20), 0, lists=Lists(lists)).scenes[1].read())) in range(15, 21)


def test_frozen_heads_learn_from_the_listed_points_too(quick, lists):
    settings = {"protocol": "linear", "scenes": [1.0, 0.5], "points": [20], "baselines": []}
    report = probe(TRAIN, TEST, RawFeatures(), lists=lists, **settings)
    counts = [len([row for row in LISTED[name] if made(int(name[-1])).segment[row] != -1]) for name in LISTED]
    one, two = report.data["train"]
    assert (one["points"], two["points"]) == (sum(counts), counts[0] + counts[3])
    assert two["names"] == ["train-0", "train-3"]
    few = limited(TRAIN, (1.0, 20), 0, lists=Lists(lists))
    same = probe(few, TEST, RawFeatures(), protocol="linear", baselines=[])
    assert report.miou("raw input", limit=(1.0, 20)) == pytest.approx(same.miou("raw input"), abs=0.02)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("scenes/50.txt", None, "/scenes/50.txt: does not exist; give lists= the folder of such lists, or leave"),
        ("scenes/50.txt", b"", ": names no scene; give one name a line."),
        ("scenes/50.txt", b"train-0 other", "made train has no scene 'other'; give names as 'train-0'."),
        ("scenes/50.txt", b"\xff\xfe\x00", ": is not a list of scenes ("),
        ("points/points20", None, "/points/points20: does not exist; give lists= the folder of such lists"),
        ("points/points20", b"not a file of torch", ": is not a list of points (is not a dictionary of plain arrays"),
        ("points/points20", [1, 2], ": is not a list of points ("),
        ("points/points20", {"train-0": np.arange(3)}, ": has no scene 'train-3'; give the list that was made for"),
        ("points/points20", {**LISTED, "train-3": np.array([450])}, ": has the vertex 450 of train-3, which has 450; "),
        ("points/points20", {**LISTED, "train-3": np.array([-1])}, ": has other things than vertices for train-3; "),
        ("points/points20", {**LISTED, "train-3": np.array([0.5])}, ": has other things than vertices for train-3; "),
        ("points/points20", {**LISTED, "train-3": []}, ": has other things than vertices for train-3; "),
    ],
)
def test_a_wrong_list_is_one_sentence(lists, name, content, sentence):
    path = lists / name
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError) as error:
        dict(limited(TRAIN, (0.5, 20), 0, lists=Lists(lists)))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil"),))


def test_nothing_in_a_list_is_executed(lists, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.save({"train-0": Evil()}, lists / "points/points20")
    with pytest.raises(FileError, match="is not a list of points"):
        limited(TRAIN, (1.0, 20), 0, lists=Lists(lists))
    assert not Path("evil").exists()


# --- side by side ---

QUICK = FinetuneSettings(steps=2, crop=200, sample=60)


def test_frozen_finetuned_and_from_scratch_are_side_by_side(quick, tmp_path):
    settings = ProbeSettings(protocol="linear", scenes=[1.0, 0.5], points=[None, 20], seed=[0, 1], sample=60)
    report = compare(TRAIN, TEST, {"mine": start()}, settings, QUICK, folder=tmp_path)
    models = ["mine", "raw input", "random network", "mine, fine-tuned", "from scratch"]
    assert [*report.data["models"]] == models
    limits = [(1.0, None), (0.5, None), (1.0, 20)]
    for model in models:
        for limit in limits:
            assert len(report.values(model, "linear", "miou", limit=limit)) == 2
    text = report.to_markdown()
    assert "## Less to learn from, mIoU" in text
    assert "| mine, fine-tuned | linear | " in text
    assert Report(report.data).results[-1]["model"] == "from scratch"
    assert report.data["models"]["from scratch"]["layer_decay"] == 1.0
    plain = probe(TRAIN, TEST, {"mine": start()}, settings)
    assert [row for row in report.rows if row["model"] in models[:3]] == plain.rows
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/checkpoint.pt")}
    assert len(before) == 12
    again = compare(TRAIN, TEST, {"mine": start()}, settings, QUICK, folder=tmp_path)
    assert again.rows == report.rows
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_networks_are_judged_on_every_labelled_point_of_the_other_split(quick):
    report = compare(TRAIN, TEST, {"mine": start()}, ProbeSettings(baselines=[], sample=60), QUICK, ways=["scratch"])
    assert [*report.data["models"]] == ["mine", "from scratch"]
    sampled = ProbeSettings(baselines=[], sample=60, test_sample=20)
    few = compare(TRAIN, TEST, {"mine": start()}, sampled, QUICK, ways=["scratch"])
    assert few.data["test"]["points_per_scene"] == 20
    assert few.miou("from scratch") != report.miou("from scratch")


def test_what_cannot_be_compared_is_refused(quick):
    with pytest.raises(InputError) as error:
        compare(TRAIN, TEST, {"mine": start()}, ways=["finetune"])
    assert str(error.value) == "unknown way to learn 'finetune'; did you mean 'finetuned'?"
    with pytest.raises(InputError) as error:
        compare(TRAIN, TEST, {"mine": start()}, ProbeSettings(task="instances"))
    said = "whole networks learn segmentation alone, and the task is 'instances'; call probe for it."
    assert str(error.value) == said
    with pytest.raises(LeakageError, match="train-1 is also in the split to learn from"):
        compare(TRAIN, split("train", [1]), {"mine": start()})
    copied = replace(TEST, scenes=(replace(TRAIN.scenes[0], name="new"),))
    with pytest.raises(LeakageError, match="new has the points and labels of train-0"):
        compare(TRAIN, copied, {"mine": start()}, ProbeSettings(sample=20), QUICK)


def test_the_verb_compares(place, capsys):
    arguments = ["probe", "data", "-o", "out.json", "--model", "./weights", "--device", "cpu", "--protocol", "linear"]
    arguments += ["--learn", "finetuned,scratch", "--steps", "2", "--crop", "200", "--points", "all,20"]
    assert call(*arguments) == 0
    assert [*Report.read("out.json").data["models"]][-2:] == ["./weights, fine-tuned", "from scratch"]
    assert "from scratch" in capsys.readouterr().out
    assert call(*arguments[:-4], "--learn", "tuned") == 2
    assert "argument --learn: unknown 'tuned'" in capsys.readouterr().err
    assert call(*arguments[:-2], "--lists", "none") == 2
    assert "none: is not a folder; give the one with ScanNet's lists of few labels." in capsys.readouterr().err
