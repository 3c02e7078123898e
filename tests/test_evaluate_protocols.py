"""The whole of a probe on small made scenes: what is chosen, what is guarded, what is reported."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from msm3d import Model, PointCloud
from msm3d.backbones.ptv3 import EncoderConfig
from msm3d.errors import InputError
from msm3d.evaluate import (
    PROTOCOLS,
    ClassList,
    Confusion,
    Dataset,
    KNNProbe,
    LeakageError,
    LinearProbe,
    ModelFeatures,
    Protocol,
    RawFeatures,
    Scene,
    probe,
)
from msm3d.evaluate.cache import Examples
from msm3d.evaluate.protocols import few_points, few_scenes, level_sets
from tests.conftest import make_scene

CLASSES = ClassList("parts", ("floor", "wall", "ball", "never"))


def made(seed: int) -> PointCloud:
    scene = make_scene(seed, 150)
    segment = np.repeat([0, 1, 2], 150)
    segment[::11] = -1
    return PointCloud.of(scene | {"segment": segment})


def split(name: str, seeds, classes: ClassList = CLASSES) -> Dataset:
    return Dataset("made", name, classes, tuple(Scene(f"{name}-{seed}", lambda s=seed: made(s)) for seed in seeds))


@pytest.fixture
def quick(monkeypatch):
    """The protocols with few steps and a small bank."""
    settings = {**PROTOCOLS["linear"].settings, "steps": 60, "batch": 256}
    monkeypatch.setitem(PROTOCOLS, "linear", Protocol("linear", 1, settings))
    monkeypatch.setitem(PROTOCOLS, "knn", replace(PROTOCOLS["knn"], settings={"k": 20, "bank": 300}))


def scores(report):
    return [{key: row[key] for key in row if key != "seconds"} for row in report.results]


def test_a_report_of_everything(quick, model, tmp_path):
    report = probe(split("train", range(4)), split("test", range(10, 12)), {"mine": model}, levels=True, cache=tmp_path)
    methods = {"linear", "knn k=1", "knn k=20"}
    levels = {"all", *(f"{but}level {i}" for but in ("", "all but ") for i in range(3))}
    assert {(r["method"], r["levels"]) for r in report.results if r["model"] == "mine"} == {
        (method, level) for method in methods for level in levels
    }
    assert {r["levels"] for r in report.results if r["model"] == "raw input"} == {"all"}
    assert [*report.data["models"]] == ["mine", "raw input", "random network"]
    assert report.miou("mine") > 0.5  # a random network knows normals
    row = next(r for r in report.results if r["levels"] == "all")
    truth = np.concatenate([made(seed).segment for seed in (10, 11)])
    assert row["points"] == np.bincount(truth[truth >= 0], minlength=4).tolist() == report.data["test"]["class_points"]
    assert row["iou"][3] is None
    assert row["train_points"] == sum((made(seed).segment >= 0).sum() for seed in range(4))
    assert report.data["protocols"]["linear"] == {"version": 1, "settings": dict(PROTOCOLS["linear"].settings)}
    assert report.data["models"]["mine"]["weights_sha256"] == ModelFeatures(model).weights


def test_a_report_is_written_as_json_and_markdown(quick, tmp_path):
    report = probe(split("train", range(3)), split("test", [9]), RawFeatures(), seed=[0, 1])
    one, two = report.write(tmp_path / "report.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]
    assert json.loads(one.read_text()) == report.data
    text = two.read_text()
    assert "# Probes on made" in text
    assert "| raw input | linear | " in text
    assert " ± " in text
    assert "| never |" not in text
    assert "\n\nWithout a point to test on: never.\n\n" in text
    assert "**1 test scene: not a result.** So few say" in text
    assert "linear, version 1: steps 60" in text
    assert report.data["train"][1]["sha256"][:12] in text


def test_enough_scenes_need_no_caution_and_hashes_are_named(quick, model, tmp_path):
    model.save_pretrained(tmp_path / "net")
    from msm3d import load

    saved = load(tmp_path / "net", backend="reference")
    report = probe(split("train", range(2)), split("test", range(10, 15)), saved, protocol="knn", baselines=())
    text = report.to_markdown()
    assert "not a result" not in text
    (facts,) = report.data["models"].values()
    assert facts["file_sha256"] == saved.meta["sha256"] != facts["weights_sha256"]
    assert "- file_sha256 is of the file model.safetensors, as `msm3d info` shows it; weights_sha256 is of the" in text
    few = probe(split("train", range(2)), split("test", range(10, 14)), saved, protocol="knn", baselines=())
    assert "**4 test scenes: not a result.**" in few.to_markdown()


def test_every_labelled_point_is_tested_with_its_own_voxels_features(quick, model):
    """The harness counts what a probe of its own, on descriptors of every point, would."""
    train, test = split("train", range(3)), split("test", [9])
    report = probe(train, test, model, protocol="linear", baselines=())
    cloud = made(9)
    pairs = []
    for _, scene in train:
        known = scene.segment >= 0
        pairs.append((model.extract(scene, dtype="float16")[known], scene.segment[known]))
    own = LinearProbe(**PROTOCOLS["linear"].settings).fit(pairs)
    predicted = own.predict(model.extract(cloud, dtype="float16"))
    theirs = Confusion(4).update(cloud.segment, predicted).scores()
    # the rows are learned in another order, so that the layers are not the same to the bit
    assert report.results[0]["allacc"] == pytest.approx(theirs.allacc, abs=0.03)
    assert report.results[0]["points"] == list(theirs.points)


def small_encoder():
    torch.manual_seed(0)
    shape = EncoderConfig(channels=(8, 12, 16), blocks=(1, 1, 1), heads=(1, 1, 2), patch=32, voxel_size=0.06)
    return Model(shape, backend="reference", meta={"name": "encoder"}).eval().requires_grad_(False)


def test_several_encoders_and_choices_of_levels_in_one_report(quick, model):
    """As in the paper's pilot study: what a network computes last, or all of its levels side by side."""
    train, test = split("train", range(4)), split("test", range(10, 12))
    report = probe(train, test, [model, small_encoder()], levels="all,last", sample=200, baselines=["raw"])
    assert [*report.data["models"]] == ["untrained", "encoder", "raw input"]
    assert {(r["model"], r["levels"]) for r in report.results} == {
        *((name, levels) for name in ("untrained", "encoder") for levels in ("all", "last")),
        ("raw input", "all"),
    }
    assert len({r["train_points"] for r in report.results}) == 1
    for name, level in (("untrained", "level 0"), ("encoder", "level 2")):  # where a decoder ends, and an encoder
        alone = probe(train, test, {"untrained": model, "encoder": small_encoder()}, levels=level[-1], sample=200)
        assert report.data["models"][name]["last"] == level
        for head in ("linear", "knn k=20"):
            assert report.miou(name, head, "last") == alone.miou(name, head, level)
    text = report.to_markdown()
    assert "## Encoders and their levels, mIoU" in text
    assert re.search(r"\| encoder \| last \(level 2\) \| +[\d.]+ \| +[\d.]+ \| +[\d.]+ \|\n", text)
    assert "all but this" not in text


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ("fine", "levels has 'fine'; give all, last, each or a level's number, or several."),
        ([-1], "levels has '-1'; give all, last, each or a level's number, or several."),
        ([0, 3], "levels has 3, but untrained has levels 0 to 2; give one that all have."),
    ],
)
def test_levels_that_there_are_not_are_said_before_any_work(model, levels, sentence):
    with pytest.raises(InputError) as caught:
        probe(split("train", []), split("test", [1]), model, levels=levels, baselines=[])
    assert str(caught.value) == sentence


def test_two_models_of_one_name_need_names(model):
    with pytest.raises(InputError, match="the models are called untrained, untrained; give a mapping with a name"):
        probe(split("train", [0]), split("test", [1]), [model, model])


def test_every_number_of_neighbours_votes_from_one_bank():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 500)
    X = (np.eye(6)[y] + 0.8 * rng.normal(size=(500, 6))).astype(np.float16)
    protocol = PROTOCOLS["knn"]
    levels = {"level 0": slice(0, 3), "level 1": slice(3, 6)}
    for choices in (level_sets(levels, False), level_sets(levels, True)):
        learned = protocol.probes([(X[:300], y[:300])], choices, 0, "cpu")
        assert len(learned) == 1
        found = {(name, method): labels for name, method, labels in protocol.predictions(learned, choices, X[300:])}
        assert list(found) == [(name, f"knn k={k}") for name in choices for k in (1, 20)]
        for name, method in found:
            settings = {**protocol.settings, "k": int(method[6:]), "blocks": choices[name]}
            alone = KNNProbe(**settings).fit(X[:300], y[:300]).predict(X[300:])
            assert (found[name, method] == alone).mean() > 0.99  # not all: sums in another order
    assert (found["all", "knn k=1"] != found["all", "knn k=20"]).any()


def test_fewer_scenes_and_points_beside_the_main_ones(quick, model):
    train, test = split("train", range(4)), split("test", [9])
    report = probe(train, test, model, scenes=[1, 0.5, 0.25], points=[None, 20], levels=True, baselines=["raw"])
    limits = [(1, None), (0.5, None), (0.25, None), (1, 20)]
    rows = {name: [r for r in report.results if r["model"] == name] for name in ("untrained", "raw input")}
    assert [
        (r["share_of_scenes"], r["points_per_scene"]) for r in rows["raw input"] if r["method"] == "linear"
    ] == limits
    assert {r["levels"] for r in rows["untrained"] if r["share_of_scenes"] != 1 or r["points_per_scene"]} == {"all"}
    assert [(t["share"], t["scenes"], t["points_per_scene"]) for t in report.data["train"]] == [
        (1, 4, 2000), (0.5, 2, 2000), (0.25, 1, 2000), (1, 4, 20)
    ]  # fmt: skip
    for share, points in limits:  # all at once is what each alone would be
        alone = probe(train, test, RawFeatures(), protocol="linear", scenes=share, points=points)
        assert report.miou("raw input", limit=(share, points)) == alone.miou("raw input")
        assert report.data["share_of_scenes"] == 1
    assert report.miou("raw input") == report.miou("raw input", limit=(1, None))
    text = report.to_markdown()
    assert "| 100 % of scenes, all points | 50 % of scenes, all points | 25 % of scenes, all points | 100 % of" in text


def test_a_sample_to_test_on(quick, tmp_path):
    train, test = split("train", range(3)), split("test", [8, 9])
    arguments = dict(protocol="linear", baselines=(), cache=tmp_path)
    whole = probe(train, test, RawFeatures(), **arguments)
    few = probe(train, test, RawFeatures(), **arguments, test_sample=300)
    assert few.data["test"]["points"] == 600 < whole.data["test"]["points"]
    assert few.data["test"]["sha256"] == whole.data["test"]["sha256"]
    assert few.miou("raw input") == pytest.approx(whole.miou("raw input"), abs=0.05)
    assert "a sample of 600 labelled points" in few.to_markdown()
    assert scores(probe(train, test, RawFeatures(), **arguments, test_sample=300)) == scores(few)


def test_results_repeat_and_follow_the_seed(quick, tmp_path):
    arguments = split("train", range(4)), split("test", [9]), RawFeatures()
    first = probe(*arguments, points=20, cache=tmp_path)
    again = probe(*arguments, points=20)
    other = probe(*arguments, points=20, seed=1)
    assert scores(first) == scores(again)
    assert scores(first) != [row | {"seed": 0} for row in scores(other)]
    both = probe(*arguments, points=20, seed=[0, 1])
    assert scores(both) == scores(first) + scores(other)
    assert both.miou("raw input") == pytest.approx((first.miou("raw input") + other.miou("raw input")) / 2)


def test_a_run_goes_on_with_cached_features(quick, tmp_path):
    class Counted(RawFeatures):
        calls = 0

        def __call__(self, cloud):
            Counted.calls += 1
            return super().__call__(cloud)

    arguments = split("train", range(4)), split("test", [9]), Counted()
    first = probe(*arguments, cache=tmp_path, baselines=())
    assert Counted.calls == 5
    second = probe(*arguments, cache=tmp_path, baselines=(), scenes=0.5)
    assert Counted.calls == 6
    assert second.data["train"][0]["scenes"] == 2
    assert first.data["test"] == second.data["test"]


@pytest.mark.parametrize(("share", "count"), [(0.01, 12), (0.05, 60), (0.1, 120), (0.2, 240), (1, 1201), (1e-9, 1)])
def test_few_scenes_of_scannet(share, count):
    """The numbers of ScanNet's own lists of few scenes."""
    train = split("train", range(1201))
    few = few_scenes(train, share, seed=0)
    assert len(few) == count
    assert [s.name for s in few.scenes] == [s.name for s in few_scenes(train, share, seed=0).scenes]


def test_few_scenes_are_nested_and_follow_the_seed():
    train = split("train", range(100))
    names = [{s.name for s in few_scenes(train, share, seed=3).scenes} for share in (0.01, 0.05, 0.1, 0.2, 1)]
    assert all(a < b for a, b in zip(names, names[1:], strict=False))
    assert names[2] != {s.name for s in few_scenes(train, 0.1, seed=4).scenes}


def test_few_points_are_nested_and_follow_the_seed():
    sample = Examples(np.arange(500, dtype=np.float16)[:, None], np.arange(500))
    chosen = [set(few_points(sample, n, 0, "abc")[1].tolist()) for n in (20, 50, 100, 200)]
    assert [len(rows) for rows in chosen] == [20, 50, 100, 200]
    assert all(a < b for a, b in zip(chosen, chosen[1:], strict=False))
    features, labels = few_points(sample, 20, 0, "abc")
    assert (features[:, 0] == labels).all()
    assert set(few_points(sample, 20, 1, "abc")[1].tolist()) != chosen[0]
    assert set(few_points(sample, 20, 0, "abd")[1].tolist()) != chosen[0]
    assert few_points(sample, None, 0, "abc")[0] is sample.features


def test_leaks_are_found(quick):
    train = split("train", range(4))
    twin = Dataset("made", "test", CLASSES, (Scene("innocent", lambda: made(2)),))
    with pytest.raises(LeakageError) as error:
        probe(train, twin, RawFeatures())
    assert str(error.value) == (
        "innocent has the points and labels of train-2, which is in the split to learn from; "
        "use splits that share none."
    )
    with pytest.raises(LeakageError) as error:
        probe(train, split("train", [9, 3]), RawFeatures())
    assert str(error.value) == "train-3 is also in the split to learn from; use splits that share none."
    place = [Dataset("made", "s", CLASSES, (Scene(n, lambda: made(1)),)) for n in ("scene0000_00", "scene0000_01")]
    with pytest.raises(LeakageError) as error:
        probe(*place, RawFeatures())
    assert str(error.value) == (
        "scene0000_01 shows the place of scene0000_00, which is in the split to learn from; use splits that share none."
    )


def test_repainting_a_scene_does_not_hide_it(quick):
    painted = replace(made(2), color=made(2).color * np.float32(0.5))
    with pytest.raises(LeakageError):
        probe(split("train", [2]), Dataset("made", "t", CLASSES, (Scene("x", lambda: painted),)), RawFeatures())


def test_what_a_probe_refuses(quick, model, tmp_path):
    train, test = split("train", range(2)), split("test", [9])
    bare = Dataset("made", "test", CLASSES, (Scene("bare", lambda: replace(made(9), segment=None)),))
    cases = [
        (dict(protocol="lineal"),
         "unknown protocol 'lineal'; choose among linear, linear-plain, knn, knn-uniform, pointgroup, "
         "pointgroup-linear, match, match-minilm, match-geometry, match-text, logistic, mlp."),
        (dict(scenes=0), "scenes is 0; give a share of the scenes above 0 and at most 1, such as 0.05."),
        (dict(points=3000),
         "points is 3000 and sample 2000; give 1 to sample points per scene, or more sample."),
        (dict(scenes=[1, 0.1], points=[]),
         "scenes or points is empty; give at least one share of the scenes, and one number of points."),
        (dict(scenes=[1, 2]), "scenes is 2; give a share of the scenes above 0 and at most 1, such as 0.05."),
        (dict(seed=[1, 1]), "seed is [1, 1]; give one or several different integers."),
        (dict(baselines=["rand"]), "unknown baseline 'rand'; choose among raw, random."),
        (dict(models={}, baselines=()), "there is nothing to judge; give a model, or a baseline."),
        (dict(models=model.train()),
         "untrained: it is in training mode, where features are random; call model.eval()."),
        (dict(test=bare), "bare has no labels; give scenes with segment."),
        (dict(test=split("test", [9], ClassList("two", ("a", "b")))),
         "train has the classes parts, test two; give two of one set."),
    ]  # fmt: skip
    for change, message in cases:
        arguments = {"train": train, "test": test, "models": RawFeatures()} | change
        with pytest.raises(InputError) as error:
            probe(**arguments)
        assert str(error.value) == message


def test_where_a_report_cannot_go(quick, tmp_path):
    report = probe(split("train", [0]), split("test", [9]), RawFeatures(), protocol="knn")
    cases = [
        ("report.txt", "DATA/report.txt cannot hold a report; end it with .json, the Markdown goes beside it."),
        ("no/report.json", "there is no folder DATA/no; make it first: mkdir -p DATA/no"),
    ]
    for name, message in cases:
        with pytest.raises(InputError) as error:
            report.write(tmp_path / name)
        assert str(error.value).replace(str(tmp_path), "DATA") == message
    with pytest.raises(InputError) as error:
        report.miou("raw input", "linear")
    assert str(error.value) == (
        "there is no result of raw input/linear/all; choose among raw input/knn k=1/all, raw input/knn k=20/all."
    )
