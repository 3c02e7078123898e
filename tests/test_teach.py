"""Heads from a few labelled points: places that folds never share, figures that tell, labels that are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from msm3d import cli, io
from msm3d.errors import FileError, InputError, Msm3dWarning
from msm3d.io import labelled
from msm3d.tasks import Fingerprint, Labels, heads, teach
from msm3d.tasks.given import Given, numbered
from msm3d.tasks.places import FOLDS, Places
from msm3d.tasks.teaching import Comparison, Lessons, candidate, compared
from tests.conftest import make_scene

OF = Fingerprint(name="x", weights="0" * 64, levels=(0, 1), widths=(6, 10), reading="centered")
NAMES = ("floor", "wall", "ball")


def lessons(seed: int = 0, planted: float = 6.0, classes: int = 3, places: int = 8, each: int = 5) -> Lessons:
    """Rows of some places of each class, metres apart; those of a class are alike where something is planted."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), places * each)
    place = np.tile(np.repeat(np.arange(places), each), classes)
    rows = rng.normal(size=(len(labels), 16)) + planted * np.eye(classes, 16)[labels]
    rows += rng.normal(size=(classes * places, 16))[
        labels * places + place
    ]  # what the points of a place have in common
    coord = np.stack([4.0 * place, 10.0 * labels, rng.uniform(0, 0.2, len(labels))], 1)
    return Lessons(rows.astype(np.float32), labels, coord, np.zeros(len(labels), np.int64))


@pytest.fixture
def room():
    """A scan of three things, and the rows of each by name."""
    scan = make_scene(0, 120)
    return scan, {name: np.arange(120 * i, 120 * (i + 1), 6) for i, name in enumerate(NAMES)}


@pytest.fixture
def files(room, tmp_path, monkeypatch):
    """The same as files, in the folder that the test works in."""
    monkeypatch.chdir(tmp_path)
    np.savez("scan.npz", **room[0])
    Labels.for_scan(io.read("scan.npz"), room[1], "scan.npz").write("labels.json")
    return tmp_path


def written(**values) -> str:
    """Change labels.json, and return its name."""
    path = Path("labels.json")
    good = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in good.items() if value is not ...}))
    return "labels.json"


# --- places ---


@pytest.mark.parametrize("seed", range(3))
def test_folds_never_share_a_place_and_judge_each_once(seed):
    rng = np.random.default_rng(seed)
    coord, labels = rng.uniform(0, 12, (400, 3)) * [1, 1, 0.2], rng.integers(0, 4, 400)
    places = Places.of(coord, labels, np.zeros(400, int))
    folds = places.folds()
    assert 2 <= len(folds) <= FOLDS
    assert np.array_equal(np.sort(np.concatenate([fold.judge for fold in folds])), np.arange(400))
    for fold in folds:
        assert not set(places.place[fold.learn]) & set(places.place[fold.judge])
        apart = np.linalg.norm(coord[fold.learn][:, None] - coord[fold.judge][None], axis=2)
        alike = labels[fold.learn][:, None] == labels[fold.judge][None]
        assert apart[alike].min() > 0.4  # nothing right beside what is judged


def test_a_place_is_one_thing_in_touching_cells_and_ends_somewhere():
    line = np.stack([np.arange(0, 10, 0.3), np.zeros(34), np.zeros(34)], 1)
    coord = np.concatenate([line, line[:3] + [0, 3, 0], line[:3]])
    labels = np.repeat([0, 0, 1], [34, 3, 3])
    place = Places.of(coord, labels, np.zeros(40, int)).place
    assert len(set(place[:34])) == 4  # ten metres of one wall
    assert len({place[34], place[37], place[0]}) == 3  # another one, and what is of another class at the same spot
    assert len(set(place[34:37])) == len(set(place[37:])) == 1
    scans = np.array([0] * 37 + [1] * 3)
    assert np.array_equal(Places.of(coord, labels, scans).place, place)


def test_many_scans_are_places():
    rng = np.random.default_rng(0)
    scans, labels = np.repeat([0, 1, 2, 3], 30), np.tile([0, 1, 2], 40)
    places = Places.of(rng.uniform(0, 9, (120, 3)), labels, scans)
    for fold in places.folds():
        assert not set(scans[fold.learn]) & set(scans[fold.judge])
    assert places.judged == [0, 1, 2]


# --- the comparison ---


def test_planted_structure_is_found_and_noise_is_chance():
    found = compared(lessons(), OF, NAMES)
    assert list(found.scores) == ["logistic", "nearest", "mlp"]
    assert min(found.scores.values()) > 0.7
    assert found.why == "cross-validation over 24 places in 5 turns"
    noise = compared(lessons(planted=0), OF, NAMES)
    assert max(noise.scores.values()) < 0.35  # of three classes guessing has an mIoU of 0.2
    assert noise.best == "logistic"
    assert compared(lessons(), OF, NAMES) == found  # to the bit


def test_heads_that_know_a_place_by_heart_are_found_out():
    """Of noise that the points of a place share, a split by points would think that everything can be told."""
    data = lessons(planted=0, places=2, each=30)
    assert max(compared(data, OF, NAMES).scores.values()) < 0.4
    head = heads.KNNProbe(k=1).fit(data.rows[::2], data.labels[::2])
    assert head.score(data.rows[1::2], data.labels[1::2]) > 0.5


def test_too_few_places_are_said():
    alone = lessons(places=1)
    why = "too few places to compare heads: floor, wall, ball lie in one place each, so it is logistic"
    assert compared(alone, OF, NAMES) == Comparison("logistic", {}, why)
    assert compared(lessons(), OF, NAMES, ["mlp"]) == Comparison("mlp", {}, "no other kind of head was asked for")


# --- teach ---


def test_a_head_is_taught_saved_and_the_same_again(room, model, tmp_path):
    scan, clicks = room
    head = teach(model, [(scan, clicks)])
    assert head.about_.names == NAMES
    assert head.fingerprint_ == Fingerprint.of(model)
    found = head.predict(model.extract(scan), of=model)
    assert (found == np.repeat([0, 1, 2], 120)).mean() > 0.8
    loaded = heads.load(head.save(tmp_path / "head"))
    assert loaded.about_ == head.about_
    assert "| classes | floor, wall, ball |" in (tmp_path / "head/README.md").read_text()
    again = teach(model, [(scan, clicks)]).save(tmp_path / "again")
    for name in ("head.json", "head.safetensors"):
        assert (again / name).read_bytes() == (tmp_path / "head" / name).read_bytes()


def test_few_labels_are_held_in_check_and_many_are_not():
    penalties = [candidate("logistic", OF, 0, rows).get_params()["penalty"] for rows in (20, 200, 5000)]
    assert penalties == [0.1, 0.08, 0.01]


def test_frequent_classes_are_likelier_though_as_many_points_of_each_are_labelled(room, model):
    scan, clicks = room
    rows = model.extract(scan)
    head = teach(model, [(scan, clicks)], kinds=["logistic"])
    mostly = {name: np.concatenate([values[:240], *[values[240:]] * 10]) for name, values in scan.items()}
    other = teach(model, [(mostly, clicks)], kinds=["logistic"])  # of the same points, the third thing ten times
    gained = other.predict_proba(rows).mean(0) - head.predict_proba(rows).mean(0)
    assert gained[2] > 0 > gained[:2].max()


def test_labels_come_in_every_form(room, files, model):
    scan, clicks = room
    dense = Labels.of(360, clicks).segment({name: i for i, name in enumerate(NAMES)})
    np.save("dense.npy", dense)
    np.savez("inside.npz", **scan, label=np.where(dense < 0, 255, dense))
    forms = [clicks, Labels.of(360, clicks), "labels.json", dense, "dense.npy", "inside.npz"]
    for form in forms:
        given = Given.of("scan.npz", form, NAMES)
        assert numbered([given])[0] == dict(enumerate(NAMES))
        assert np.array_equal(numbered([given])[1][0], dense)
    assert np.array_equal(Given.of("inside.npz", None).labels, dense)
    assert Given.of("inside.npz", None).names == {0: "label 0", 1: "label 1", 2: "label 2"}
    np.savez("moved.npz", coord=scan["coord"] + 1, label=dense)
    np.savez("short.npz", coord=scan["coord"][:90], label=dense[:90])
    Path("bad.npy").write_bytes(b"no array")
    for labels, sentence in (
        ("moved.npz", r"moved.npz has points that are not those of scan.npz, but up to 1 m from them; give the labels"),
        ("short.npz", r"short.npz has labels of 90 points, scan.npz has 360; give the labels of this scan"),
        ("bad.npy", r"bad.npy: is not a readable NPY file \("),
        ("scan.npz", r"scan.npz has no labels inside; give a file that has some"),
    ):
        with pytest.raises(InputError, match=sentence):
            Given.of("scan.npz", labels)
    with pytest.raises(InputError, match=r"scan.npz has no labels inside; give rows by name beside it"):
        Given.of("scan.npz", None)


def test_names_have_one_number_for_all_scans(room):
    scan, _ = room
    own = Given.of(scan, np.r_[[3] * 180, [0] * 180], ("door", "x", "y", "wall"))
    named = Given.of(scan, {"chair": [0], "wall": [5]})
    called, labels = numbered([named, own])
    assert called == {0: "door", 1: "chair", 3: "wall"}
    assert (labels[0][[0, 5]].tolist(), labels[1][0]) == ([1, 3], 3)
    other = Given.of(scan, np.r_[[0] * 180, [1] * 180], ("wall", "z"))
    with pytest.raises(InputError, match=r"'wall' is 3 in one scan and 0 in the scan; give both the same numbers, or"):
        numbered([own, other])
    third = Given.of(scan, np.r_[[3] * 180, [1] * 180], ("a", "b", "c", "d"))
    with pytest.raises(InputError, match=r"the label 3 is 'wall' in one scan and 'd' in the scan; give both"):
        numbered([own, third])


def test_too_few_points_or_classes_are_one_sentence(room, model):
    scan, clicks = room
    for labels, sentence in (
        ({"floor": [0, 1], "chair": [5]}, "the class 'chair' has 1 labelled point; label at least 2, better 20, or"),
        ({"floor": [0, 1]}, "the labels have only 'floor'; give points of at least two classes."),
        (np.full(360, 1 << 40), "labels has the label 1099511627776; give numbers of classes below 2147483648."),
        (np.full(360, -1), "labels has no labelled point, all are -1; label some, or leave the scan out."),
        (np.zeros(7, int), "there are 7 labels for the scan, which has 360 points; give one for each."),
        (np.zeros((360, 2)), "labels has shape (360, 2) and dtype float64; give (n,) integers, one per point."),
    ):
        with pytest.raises(InputError) as error:
            teach(model, [(scan, labels)])
        assert str(error.value).startswith(sentence)
    with pytest.raises(InputError, match=r"kinds has 'logistik'; did you mean 'logistic'\?"):
        teach(model, [(scan, clicks)], kinds=["logistik"])
    with pytest.raises(InputError, match=r"there are no examples; give at least one scan"):
        teach(model, [])


# --- files of labels ---


def test_a_file_of_labels_comes_back(files, room):
    found = Labels.read("labels.json")
    assert (found.points, found.scan, list(found.rows)) == (360, "scan.npz", list(NAMES))
    assert all(np.array_equal(found.rows[name], room[1][name]) for name in NAMES)
    again = found.write("again.json").read_bytes()
    assert again == Path("labels.json").read_bytes()
    with pytest.warns(Msm3dWarning, match=r"labels.json: author is not known here and is left out"):
        assert Labels.read(written(author="me")).points == 360


def test_hostile_files_of_labels_are_one_sentence(files):
    for values, sentence in (
        ({"labels": {"a": [0, 360]}}, "'a' has the row 360, but rows are 0 to 359; give the right scan."),
        ({"labels": {"a": [-1]}}, "'a' has the row -1, but rows are 0 to 359; give the right scan."),
        ({"labels": {"a": [10**300]}}, "'a' has the row 10000"),
        ({"labels": {"a": [1, 1]}}, "'a' has the row 1 twice; leave it in once."),
        ({"labels": {"a": [1], "b": [2, 1]}}, "row 1 is both 'a' and 'b'; leave it with one of them."),
        ({"labels": {"a": [1.5]}}, "the rows of 'a' are [1.5]; give whole numbers from 0 on."),
        ({"labels": {"a": [True]}}, "the rows of 'a' are [True]; give whole numbers from 0 on."),
        ({"labels": {"a": "0"}}, "the rows of 'a' are '0'; give whole numbers from 0 on."),
        ({"labels": {"a": [0], "a ": [1]}}, "'a' is there twice; put its rows together."),
        ({"points": 10**30}, "points is 1000000"),
        ({"labels": {" ": [0]}}, "a class is called ' '; give it a name in letters, such as 'chair'."),
        ({"labels": {"a\nb": [0]}}, "a class is called 'a\\nb'; give it a name in letters"),
        ({"labels": []}, "labels is []; give rows by name, such as {'chair': [0, 2]}."),
        ({"labels": ...}, "labels is None; give rows by name"),
        ({"points": "many"}, "points is 'many'; it must be the number of the scan's points."),
        ({"points": 10**12}, "the labels are of a scan of 1,000,000,000,000 points"),
        ({"version": 2}, "is of version 2, where 1 is known here; run pip install -U msm3d."),
        ({"version": "1"}, "is of version '1', where 1 is known here; save it again."),
        ({"format": "labels"}, 'has no "format": "msm3d-labels"; give a file of labels of msm3d.'),
        ({"scan": 3}, "scan is 3; it must be text."),
    ):
        good = Path("labels.json").read_text()
        with pytest.raises(FileError) as error:
            Given.of("scan.npz", written(**values))
        assert str(error.value).startswith(f"labels.json: {sentence}")
        Path("labels.json").write_text(good)
    for text, sentence in (
        ("{", "is not JSON ("),
        ("[" * 100_000, "is not JSON ("),
        ("[]", "holds []; give a file of labels of msm3d."),
        ('{"labels": {"a": [1], "a": [2]}}', "'a' is there twice; put its rows together."),
    ):
        Path("bad.json").write_text(text)
        with pytest.raises(FileError) as error:
            Labels.read("bad.json")
        assert str(error.value).startswith(f"bad.json: {sentence}")
    with pytest.raises(FileError, match=r"gone.json: does not exist; check the path"):
        Labels.read("gone.json")


def test_labels_of_another_scan_are_refused_and_of_a_changed_one_warned_of(files):
    np.savez("other.npz", **make_scene(1, 120))
    with pytest.raises(FileError, match=r"labels.json: the labels are of scan.npz, not of other.npz; give the labels"):
        Given.of("other.npz", "labels.json")
    np.savez("small.npz", **make_scene(1, 100))
    with pytest.raises(FileError, match=r"the labels are of a scan of 360 points, small.npz has 300; give the labels"):
        Given.of("small.npz", "labels.json")
    scan = make_scene(0, 120)
    np.savez("copy.npz", **scan)
    assert Given.of("copy.npz", "labels.json").name == "copy.npz"
    np.savez("scan.npz", **{**scan, "color": 255 - scan["color"]})
    with pytest.warns(Msm3dWarning, match=r"scan.npz is not, or was not read, as when it was labelled"):
        Given.of("scan.npz", "labels.json")


def test_rows_are_those_of_the_file_where_points_have_no_position(files, room):
    scan, clicks = room
    scan["coord"][[0, 359]] = np.nan
    np.savez("scan.npz", **scan)
    given = Given.of("scan.npz", clicks | {"floor": np.arange(1, 120, 6)})
    assert len(given.labels) == 358
    assert given.labels[120 - 1] == 1  # row 120 of the file
    assert given.labels[0] == 0  # row 1


def test_labels_of_las_are_those_that_mean_something(files, room):
    laspy = pytest.importorskip("laspy")
    data = laspy.create(point_format=6, file_version="1.4")
    data.header.scales = np.full(3, 1e-4)
    data.xyz = room[0]["coord"]
    data.classification = np.repeat([0, 1, 2, 6], 90).astype(np.uint8)
    data.write("scan.las")
    assert labelled.only_classified("scan.las")
    assert np.unique(Given.of("scan.las", None).labels).tolist() == [-1, 2, 6]


# --- on the command line ---


def test_teach_on_the_command_line(files, model, capsys):
    weights = str(model.save_pretrained(files / "weights"))
    assert cli.main(["teach", "scan.npz", "labels.json", "-o", "head", "--model", weights, "--device", "cpu"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1].startswith("head: ")
    assert shown[-1].endswith(" head of 3 classes, floor, wall, ball")
    assert {"head.json", "head.safetensors"} < {path.name for path in (files / "head").iterdir()}
    assert load_file("head/head.safetensors")
    for given, sentence in (
        (["labels.json", "-o", "h"], "labels.json holds labels, and no scan stands before it; give SCAN LABELS."),
        (["scan.npz", "-o", "h"], "scan.npz has no labels inside; give rows by name beside it, such as labels.json."),
        (["gone.npz", "-o", "h"], "gone.npz: does not exist; check the path."),
        (["scan.npz", "labels.json", "-o", "scan.npz"], "scan.npz is a file; give -o a folder."),
    ):
        assert cli.main(["teach", *given, "--model", weights, "--device", "cpu"]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"msm3d teach: {sentence}"
        assert not (files / "h").exists()
