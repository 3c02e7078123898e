"""Instances on frozen features: what was planted is found, noise scores nothing, and heads keep to their network."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from msm3d import cli, read
from msm3d.errors import InputError, WeightsError
from msm3d.evaluate import (
    ClassList,
    Dataset,
    LeakageError,
    LinearProbe,
    Protocol,
    Report,
    Scene,
    fit,
    probe,
    random_network,
)
from msm3d.evaluate import protocols as protocols_of
from msm3d.io import ply
from msm3d.scan.cloud import PointCloud
from msm3d.tasks import heads, task
from msm3d.tasks.heads import PointGroup
from msm3d.tasks.heads.pointgroup import offset_loss
from msm3d.tasks.instances import Instances, InstanceSegmentation

CLASSES = ClassList("things", ("floor", "chair", "table"), stuff=("floor",))
QUICK = {"steps": 100, "batch": 512, "lr": 0.03}


def made(seed: int, bare: bool = False) -> PointCloud:
    """A floor, and two balls of each of two classes; colours tell the class, normals the way to the middle."""
    rng = np.random.default_rng(seed)
    places = [(x, y) for x in (0.5, 1.5) for y in (0.5, 1.5)]
    coord, color, normal = [np.c_[rng.uniform(0, 2, (600, 2)), np.zeros(600)]], [np.full((600, 3), 90)], [[0, 0, 1.0]]
    normal = [np.tile(normal, (600, 1))]
    for number, place in enumerate(places):
        way = rng.normal(size=(150, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        coord.append([*place, 0.5] + 0.3 * way)
        color.append(np.tile([[250, 20, 20], [20, 20, 250]][number % 2], (150, 1)))
        normal.append(way)
    segment = np.repeat([0, 1, 2, 1, 2], [600, 150, 150, 150, 150])
    parts = {"coord": coord, "color": color, "normal": normal}
    fields = {name: np.concatenate(part) for name, part in parts.items()} | {"segment": segment}
    things = {} if bare else {"instance": np.repeat([7, 0, 1, 2, 3], [600, 150, 150, 150, 150])}
    return PointCloud.of(fields | things)


def split(name, seeds, classes=CLASSES) -> Dataset:
    return Dataset("made", name, classes, tuple(Scene(f"{name}-{seed}", lambda s=seed: made(s)) for seed in seeds))


class Inputs:
    """The colours and normals of points, which are all that the planted things need; or noise."""

    levels = False

    def __init__(self, name="planted", noise=False):
        self.name, self.noise, self.hash = name, noise, f"{noise:x}abc"
        self.blocks = {"input": slice(0, 6)}

    def __call__(self, cloud):
        rows = np.concatenate([cloud.color / 255, cloud.normal], 1)
        if self.noise:
            rows = np.random.default_rng(len(cloud)).normal(size=rows.shape)
        return rows.astype(np.float16), np.arange(len(cloud))

    def describe(self):
        return {"name": self.name}


@pytest.fixture
def quick(monkeypatch):
    known = protocols_of.PROTOCOLS
    for name in ("pointgroup", "pointgroup-linear"):
        monkeypatch.setitem(known, name, replace(known[name], settings={**known[name].settings, **QUICK}))


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 6)).astype(np.float32), rng.integers(0, 3, 400)
    offset = X[:, :3] * 0.2
    offset[y == 0] = np.nan
    return X + np.eye(3, 6)[y] * 4, np.column_stack([y, offset]).astype(np.float32)


def test_planted_things_are_found_and_noise_scores_nothing(quick):
    features = {"planted": Inputs(), "noise": Inputs("noise", noise=True)}
    report = probe(split("train", range(4)), split("test", (8, 9)), features, task="instances", baselines=[])
    for head in ("pointgroup", "pointgroup-linear"):
        assert report.score("planted", head, "ap50") > 0.9
        assert report.score("planted", head, "box_ap50") > 0.9
        assert report.score("planted", head, "ap50/chair") > 0.9
        assert report.score("noise", head, "ap25") < 0.1
    assert report.main_metric == "map"
    assert report.data["test"]["class_points"] == [1200, 600, 600]
    assert {row["metric"] for row in report.rows if "/" not in row["metric"]} == {
        "map", "ap50", "ap25", "box_ap50", "box_ap25"
    }  # fmt: skip
    text = report.to_markdown()
    assert "| model | method | mAP | AP50 | AP25 | box AP50 | box AP25 |" in text
    assert "## Classes, AP50" in text


def test_without_offsets_things_that_touch_are_one():
    """The second half of what is learned matters: two balls that touch are told apart by it alone."""
    way = np.random.default_rng(0).normal(size=(2000, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    coord = way * 0.3 + np.repeat([[0.0, 0, 0], [0.6, 0, 0]], 1000, 0)
    chances, owner = np.tile([[0.2, 0.8]], (2000, 1)), np.arange(2000)
    assert len(Instances.of(coord, chances, owner, (), 0.08, 100)) == 1
    found = Instances.of(coord - 0.3 * way, chances, owner, (), 0.08, 100)
    assert found.sizes.tolist() == [1000, 1000]
    assert found.scores.tolist() == pytest.approx([0.8, 0.8])


def test_things_are_groups_of_enough_points_whose_class_is_no_stuff():
    coord = np.repeat([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]], [120, 99, 130, 200], 0)
    chances = np.repeat([[0.0, 0.6, 0.4], [0.0, 1, 0], [0.0, 0.1, 0.9], [1.0, 0, 0]], [120, 99, 130, 200], 0)
    found = Instances.of(coord, chances, np.arange(len(coord)), (0,), 0.08, 100)
    assert found.classes.tolist() == [2, 1]  # the surest first
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    assert found.sizes.tolist() == [130, 120]
    assert (found.instance == np.repeat([1, -1, 0, -1], [120, 99, 130, 200])).all()
    assert found.masks.sum(1).tolist() == [130, 120]
    assert len(Instances.of(coord[:1], chances[:1], np.zeros(1, int), (), 0.08, 2)) == 0


def test_the_task_knows_what_is_stuff_from_the_classes_unless_it_is_told():
    assert InstanceSegmentation().of(CLASSES).stuff == [0]
    assert InstanceSegmentation(stuff=()).of(CLASSES).stuff == []
    assert task("instances").of(CLASSES).names == ["floor", "chair", "table"]
    for wrong, message in (
        ({"radius": 0}, "radius is 0; give a number above 0."),
        ({"least": -1}, "least is -1; give a number above 0."),
    ):
        with pytest.raises(InputError) as error:
            InstanceSegmentation(**wrong)
        assert str(error.value) == message
    with pytest.raises(InputError, match="mean over classes; give their list"):
        InstanceSegmentation().tally()


def test_offsets_lead_to_the_mean_of_a_things_points():
    scan = made(0)
    targets = InstanceSegmentation().targets(scan)
    for number in range(4):
        mine = scan.instance == number
        assert np.allclose(scan.coord[mine] + targets[mine, 1:], scan.coord[mine].mean(0), atol=1e-6)
    lost = replace(scan, instance=np.where(scan.instance == 2, -1, scan.instance))
    assert np.isnan(InstanceSegmentation().targets(lost)[scan.instance == 2, 1:]).all()


def test_scenes_without_instances_are_refused():
    bare = Dataset("made", "train", CLASSES, (Scene("bare", lambda: made(0, bare=True)),))
    with pytest.raises(InputError) as error:
        probe(bare, split("test", [9]), Inputs(), task="instances", baselines=[])
    assert str(error.value) == "bare has no instance; give scenes with instance."


def test_no_test_scene_is_learned_from(quick):
    again = Dataset("made", "test", CLASSES, (Scene("other", lambda: made(1)),))
    with pytest.raises(LeakageError, match="other has the points and labels of train-1"):
        probe(split("train", [0, 1]), again, Inputs(), task="instances", protocol="pointgroup-linear", baselines=[])


def test_a_head_that_tells_classes_alone_is_refused():
    with pytest.raises(InputError) as error:
        probe(split("train", [0]), split("test", [9]), Inputs(), task="instances", protocol="linear", baselines=[])
    assert str(error.value) == "a head 'linear' tells classes alone; give pointgroup-linear or pointgroup."


def test_other_instances_are_other_examples(tmp_path, quick):
    """Targets that are cached are of the instances as they are."""
    scenes = split("train", range(2))
    joined = tuple(
        Scene(one.name, lambda s=one: replace(s.read(), instance=np.zeros(1200, int))) for one in scenes.scenes
    )
    test, counts = split("test", [9]), []
    for train in (scenes, replace(scenes, scenes=joined)):
        probe(train, test, Inputs(), task="instances", protocol="pointgroup-linear", baselines=[], cache=tmp_path)
        counts.append(len(list(tmp_path.glob("*.npy"))))
    assert counts == [4, 8]


@pytest.mark.parametrize("hidden", [None, 16])
def test_a_head_learns_saves_and_loads(hidden, examples, tmp_path):
    X, y = examples
    head = PointGroup(hidden=hidden, stuff=[0], names=["floor", "chair", "table"], **QUICK).fit(X, y)
    values = head.predict(X)
    assert values.shape == (400, 6)
    assert np.allclose(values[:, :3].sum(1), 1, atol=1e-5)
    things = y[:, 0] > 0
    assert (values[:, :3].argmax(1) == y[:, 0]).mean() > 0.9
    error = np.abs(values[things, 3:] - y[things, 1:]).mean()
    assert error < 0.6 * np.abs(y[things, 1:]).mean()
    again = PointGroup(**head.get_params()).fit(X, y)
    assert (again.predict(X) == values).all()
    assert again.losses_ == head.losses_
    for loaded in (heads.load(head.save(tmp_path / "head")), PointGroup.load(tmp_path / "head")):
        assert (loaded.predict(X) == values).all()
        assert loaded.get_params() == head.get_params()
        assert loaded.losses_ == head.losses_
        assert loaded.predict(X[:0]).shape == (0, 6)
    with pytest.raises(WeightsError, match="holds a head 'pointgroup'; read it by"):
        LinearProbe.load(tmp_path / "head")


def test_classes_of_a_head_are_those_of_a_linear_probe(examples):
    X, y = examples
    head = PointGroup(**QUICK).fit(X, y)
    own = LinearProbe(**QUICK).fit(X, y[:, 0].astype(int))
    assert np.allclose(head.predict(X)[:, :3], own.predict_proba(X), atol=1e-6)
    assert (head.semantic_.coef_ == own.coef_).all()


def test_a_head_learns_from_some_columns_and_leaves_stuff_out(examples):
    X, y = examples
    wild = y.copy()
    wild[y[:, 0] == 0, 1:] = 50  # of stuff, which counts for nothing
    kept = PointGroup(stuff=[0], blocks=[slice(0, 4)], **QUICK).fit(X, wild)
    assert (kept.predict(X) == PointGroup(stuff=[0], blocks=[slice(0, 4)], **QUICK).fit(X, y).predict(X)).all()
    other = X.copy()
    other[:, 4:] = 9
    assert (kept.predict(X) == kept.predict(other)).all()


def test_labels_that_were_not_met_have_no_chance(examples):
    X, y = examples
    far = y.copy()
    far[:, 0] = np.where(y[:, 0] == 2, 5, y[:, 0])
    values = PointGroup(**QUICK).fit(X, far).predict(X)
    assert values.shape == (400, 9)
    assert (values[:, 2:5] == 0).all()


def test_what_a_head_cannot_learn_from_is_one_sentence(examples):
    X, y = examples
    for wrong, message in (
        (y[:, :3], "the targets have shape (400, 3); give (n, 4): class, and offset in metres."),
        (np.where(np.arange(4) > 0, np.nan, y), "no two points belong to things whose class counts; give scenes with"),
    ):
        with pytest.raises(InputError) as error:
            PointGroup(**QUICK).fit(X, wrong)
        assert str(error.value).startswith(message)
    with pytest.raises(InputError, match="hidden is 0; it must be at least 1, or None"):
        PointGroup(hidden=0).fit(X, y)
    with pytest.raises(InputError, match="batch is 1; it must be at least 2"):
        PointGroup(batch=1).fit(X, y)


def test_the_loss_of_offsets_is_the_published_one():
    predicted, true = torch.tensor([[1.0, 2, 0], [0, 0, 3]]), torch.tensor([[1.0, 0, 0], [0, 0, -1]])
    length, direction = (2 + 4) / 2, -(1 / 5**0.5 - 1) / 2
    assert float(offset_loss(predicted, true)) == pytest.approx(length + direction)


@pytest.fixture
def kept(model, tmp_path, monkeypatch):
    """A model on the disk, a head for it, and a scan."""
    few = Protocol("pointgroup-linear", 1, {**QUICK, "hidden": None}, head="pointgroup")
    monkeypatch.setitem(protocols_of.PROTOCOLS, "pointgroup-linear", few)
    model.save_pretrained(tmp_path / "model")
    head = fit(split("train", range(2)), model, "instances", sample=400)
    scan = made(5)
    np.savez(tmp_path / "scan.npz", coord=scan.coord, color=scan.color, normal=scan.normal)
    return model, head, head.save(tmp_path / "head"), scan, tmp_path


def test_a_head_is_fitted_for_a_model_and_refuses_others(kept, config):
    model, head, _, scan, _ = kept
    judge = InstanceSegmentation(stuff=head.stuff, least=20)
    assert (head.names, head.stuff) == (["floor", "chair", "table"], [0])
    found = judge.found(model, head, scan)
    assert len(found.instance) == len(scan)
    assert (judge.found(model, head, scan).instance == found.instance).all()
    with pytest.raises(InputError, match="but this head was fitted on those of"):
        judge.found(random_network(config, 3), head, scan)
    with pytest.raises(InputError, match=r"protocol is 'knn,linear'; give one"):
        fit(split("train", [0]), model, protocol="knn,linear")
    with pytest.raises(InputError, match="has no scenes; give at least one to learn from"):
        fit(split("train", []), model)
    assert fit(split("train", [0]), model, protocol="knn").fingerprint_ == head.fingerprint_


def test_the_command_line_writes_masks_boxes_and_a_picture(kept, capsys):
    model, head, folder, scan, where = kept
    out, arguments = where / "found.ply", ["--head", str(folder), "--model", str(where / "model"), "--device", "cpu"]
    given = ["instances", str(where / "scan.npz"), "-o", str(out), "--least", "20", "--picture", *arguments]
    assert cli.main(given) == 0, capsys.readouterr().err
    assert f"{out}: " in capsys.readouterr().out
    again = read(out, mesh="vertices")
    values = json.loads((where / "found.json").read_text())
    things = values["instances"]
    assert (values["format"], values["version"], values["points"]) == ("msm3d-instances", 1, len(scan))
    assert len(again) == len(scan)
    assert np.abs(again.coord - scan.coord).max() < 1e-9
    assert (again.color == scan.color).all()
    assert [thing["points"] for thing in things] == [int((again.instance == i).sum()) for i in range(len(things))]
    with out.open("rb") as file:
        _, [(_, _, properties)], comments = ply.header(file)
    assert [one.name for one in properties][-3:] == ["label", "instance", "score"]
    assert "label 1 chair" in comments
    found = InstanceSegmentation(stuff=[0], least=20).found(model, head, scan)
    assert (again.instance == found.instance).all()
    for number, thing in enumerate(things):
        mine = scan.coord[found.instance == number]
        assert thing["class"] == CLASSES.names[thing["label"]]
        assert np.allclose(thing["box"]["size"], np.ptp(mine, 0), atol=1e-3)
        assert 0 <= thing["oriented_box"]["heading"] < 1.5708
    assert (where / "found.png").read_bytes()[:4] == b"\x89PNG"


def test_what_cannot_be_is_one_sentence_and_nothing_is_written(kept, capsys, examples):
    _, _, folder, _, where = kept
    other = LinearProbe(steps=2).fit(examples[0], examples[1][:, 0].astype(int)).save(where / "linear")
    scan, model = str(where / "scan.npz"), str(where / "model")
    for out, head, network, message in (
        ("a.npz", folder, model, "a.npz cannot hold instances; end it with .ply."),
        ("a.ply", where / "no", model, "does not exist; check the path."),
        ("a.ply", other, model, "holds a head 'linear'; give one of: msm3d fit DATA --task instances."),
        ("a.ply", folder, "rooms", "but this head was fitted on"),
    ):
        given = ["instances", scan, "-o", str(where / out), "--head", str(head), "--model", network, "--device", "cpu"]
        assert cli.main(given) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        cli.main(["instances", scan, "-o", "a.ply", "--head", str(folder), "--radius", "-1"])
    assert end.value.code == 2
    assert "'-1' is not a number above 0, such as 0.08" in capsys.readouterr().err
    assert not list(where.glob("a.*"))


def test_of_several_scans_one_that_fails_stops_no_other(kept, capsys):
    _, _, folder, _, where = kept
    scans = where / "scans"
    scans.mkdir()
    (where / "scan.npz").rename(scans / "good.npz")
    (scans / "bad.ply").write_text("ply\n")
    given = ["instances", str(scans), "-o", str(where / "out"), "--head", str(folder), "--model", str(where / "model")]
    assert cli.main([*given, "--device", "cpu"]) == 1
    assert sorted(path.name for path in (where / "out").iterdir()) == ["good.json", "good.ply"]
    assert "msm3d instances: 1 of 2 scans failed:\n" in capsys.readouterr().err


def test_the_command_line_fits_and_probes(kept, capsys, monkeypatch):
    where = kept[-1]
    monkeypatch.setattr("msm3d.datasets.synthetic._room", lambda seed: made(seed % 97))
    model = ["--model", str(where / "model"), "--device", "cpu", "--sample", "400"]
    monkeypatch.setattr("msm3d.rooms.CLASSES", CLASSES.names)
    assert cli.main(["fit", "rooms:2", "--task", "instances", "-o", str(where / "things"), *model]) == 0
    assert f"{where / 'things'}: pointgroup, learned from 2 scenes of rooms (train)" in capsys.readouterr().out
    assert heads.load(where / "things").names == ["floor", "chair", "table"]
    given = [
        "probe",
        "rooms:2/1",
        "--task",
        "instances",
        "--protocol",
        "pointgroup-linear",
        "-o",
        str(where / "r.json"),
    ]
    assert cli.main([*given, *model]) == 0
    report = Report.read(where / "r.json")
    assert {row["task"] for row in report.rows} == {"instances"}
    assert 0 <= report.score(str(where / "model"), "pointgroup-linear") <= 1
