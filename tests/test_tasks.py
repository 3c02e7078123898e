"""Tasks from the registry: segmentation as it always was, and one that comes from outside, in one file."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import msm3d
from msm3d import cli
from msm3d.errors import FileError, InputError
from msm3d.evaluate import ClassList, Dataset, ProbeSettings, RawFeatures, Report, Scene, probe
from msm3d.evaluate.report import COLUMNS
from msm3d.tasks import TASKS, Confusion, register, task
from msm3d.tasks.heads import HEADS
from msm3d.tasks.heads import register as register_head
from tests.test_evaluate_protocols import CLASSES, made, split
from tests.toy_task import Height, LeastSquares

COUNTS = dict(protocol="knn", sample=200)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(TASKS, "known", dict(TASKS.known))
    monkeypatch.setattr(HEADS, "known", dict(HEADS.known))
    register(Height)
    register_head(LeastSquares)


def test_a_task_from_outside_is_probed_like_any_other(toy, model, tmp_path):
    train, test = split("train", range(3)), split("test", [8, 9])
    arguments = dict(task="height", levels=True, points=[None, 20], seed=[0, 1], cache=tmp_path / "cache")
    report = probe(train, test, {"mine": model}, **arguments)
    assert list(TASKS) == ["segmentation", "instances", "grounding", "height"]
    assert {row["task"] for row in report.rows} == {"height"}
    assert {row["head"] for row in report.rows} == {"least-squares"}
    assert {row["metric"] for row in report.rows} == {"mae", "close"}
    assert all(tuple(row) == COLUMNS for row in report.rows)
    assert report.score("raw input", "least-squares") < 0.01  # height is among its columns
    assert report.score("raw input", "least-squares", "close") == 1
    truth = np.concatenate([made(seed).coord[:, 2] - made(seed).coord[:, 2].min() for seed in (8, 9)])
    assert report.score("mine", "least-squares") < np.abs(truth - truth.mean()).mean()
    assert report.data["test"]["points"] == len(truth)
    assert report.data["test"]["class_points"] == []
    assert {name.rsplit(".", 2)[-2] for name in map(str, (tmp_path / "cache").glob("*.npy"))} == {"height", "labels"}
    text = report.to_markdown()
    assert "# Probes on made: height\n" in text
    assert "| model | method | error in m | within 10 cm |" in text
    assert "| raw input | least-squares | 0.0" in text
    assert "## Levels, error in m" in text
    assert "## Classes" not in text
    assert "- least-squares, version 1: its own settings" in text
    assert Report.read(report.write(tmp_path / "report.json")[0]).rows == report.rows
    assert report.results[0].keys() >= {"mae", "close", "method", "train_points"}
    with pytest.raises(InputError) as error:
        report.miou("mine", "least-squares")
    assert str(error.value) == "there is no 'miou' of mine/least-squares/all; choose among mae, close, …."


def test_a_sample_of_points_may_be_judged_too(toy):
    train, test = split("train", range(3)), split("test", [8])
    few = probe(train, test, RawFeatures(), task=Height(), test_sample=50)
    assert few.data["test"]["points"] == 50
    assert few.score("raw input", "least-squares") < 0.01

    class Whole(Height):
        whole_scenes = True

    with pytest.raises(InputError) as error:
        probe(train, test, RawFeatures(), task=Whole(), test_sample=50)
    assert str(error.value) == "test_sample is 50, but height judges whole scenes; leave it out."


def test_a_scan_without_what_a_task_needs_is_named(toy):
    bare = Dataset("made", "test", CLASSES, (Scene("bare", lambda: replace(made(9), normal=None)),))
    with pytest.raises(InputError) as error:
        probe(split("train", [0]), bare, RawFeatures(), task="height")
    assert str(error.value) == "bare has no normal; give scenes with normal."


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The toy as an installed package of its own, with entry points and nothing else."""
    site = tmp_path / "site"
    info = site / "toys-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[msm3d.tasks]\nheight = tests.toy_task:Height\n[msm3d.heads]\nleast-squares = tests.toy_task:LeastSquares\n"
    )
    monkeypatch.setattr(TASKS, "known", dict(TASKS.known))
    monkeypatch.setattr(HEADS, "known", dict(HEADS.known))
    monkeypatch.syspath_prepend(str(site))
    return site


def test_an_installed_package_brings_a_task_and_the_command_line_lists_it(installed, model, tmp_path, capsys):
    assert list(TASKS) == ["segmentation", "instances", "grounding", "height"]
    assert type(task("height")) is Height
    with pytest.raises(SystemExit):
        cli.main(["probe", "--help"])
    assert "segmentation, instances, grounding, height" in " ".join(capsys.readouterr().out.split())
    model.save_pretrained(tmp_path / "net")
    data = tmp_path / "rooms"
    for name, seed in (("train/a", 1), ("train/b", 2), ("val/c", 3)):
        (data / name).mkdir(parents=True)
        cloud = made(seed)
        for field in ("coord", "color", "normal", "segment"):
            np.save(data / name / f"{field}.npy", getattr(cloud, field))
    output = tmp_path / "report.json"
    common = ["probe", str(data), "-o", str(output), "--model", str(tmp_path / "net"), "--backend", "reference"]
    assert cli.main([*common, "--device", "cpu", "--task", "height", "--sample", "100", "--classes", "scannet20"]) == 0
    assert "| raw input | least-squares |" in capsys.readouterr().out
    rows = json.loads(output.read_text())["rows"]
    assert {row["task"] for row in rows} == {"height"}
    assert {row["metric"] for row in rows} == {"mae", "close"}


def test_an_unknown_task_is_one_sentence(installed, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["probe", "rooms:2", "-o", "r.json", "--task", "heigth"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "msm3d probe: argument --task: unknown task 'heigth'; did you mean 'height'? See msm3d probe --help.\n"
    )
    with pytest.raises(InputError) as error:
        probe(split("train", [0]), split("test", [9]), RawFeatures(), task="tracking")
    assert str(error.value) == "unknown task 'tracking'; choose one of segmentation, instances, grounding, height."


def test_tasks_are_listed_without_numpy():
    code = "import sys, msm3d.tasks, msm3d.tasks.heads; print(*msm3d.tasks.TASKS, *msm3d.tasks.heads.HEADS)\n"
    code += "print({'numpy', 'torch'} & set(sys.modules))"
    root = Path(msm3d.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout == "segmentation instances grounding linear nearest pointgroup logistic mlp match\nset()\n", (
        done.stderr
    )


def test_the_score_of_a_segmentation_is_its_confusion_matrix():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(-1, 4, 500), rng.integers(0, 4, 500)
    classes = ClassList("five", tuple("abcde"))
    scores, theirs = (
        task("segmentation").score(predicted, truth, classes),
        Confusion(5).update(truth, predicted).scores(),
    )
    assert scores["miou"] == theirs.miou
    assert scores["iou/b"] == theirs.iou[1]
    assert "iou/e" not in scores
    assert task("segmentation").score(predicted, truth)["miou"] == theirs.miou


def old_form(report: Report) -> dict:
    """The data as version 1 of the format had them."""
    kept = {name: value for name, value in report.data.items() if name not in ("rows", "task")}
    return kept | {"format_version": 1, "results": report.results}


def test_reports_of_version_1_are_read(tmp_path):
    train, test = split("train", range(3)), split("test", [8, 9])
    report = probe(train, test, RawFeatures(), points=[None, 20], seed=[0, 1], **COUNTS)
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old_form(report)))
    old = Report.read(path)
    assert old.data == report.data
    assert old.results == report.results
    assert old.to_markdown() == report.to_markdown()
    assert Report(old_form(report)).rows == report.rows
    row = old.results[0]
    assert list(row) == [
        "model", "method", "levels", "seed", "share_of_scenes", "points_per_scene", "train_points", "miou", "macc",
        "allacc", "iou", "accuracy", "points",
    ]  # fmt: skip
    assert row["iou"][3] is None
    assert row["points"] == report.data["test"]["class_points"]


def test_a_report_that_the_version_before_wrote_has_its_own_numbers_and_tables():
    data = Path(__file__).parent / "data"
    written, read = json.loads((data / "report-1.json").read_text()), Report.read(data / "report-1.json")
    assert read.data["format_version"] == 2
    assert read.results == written["results"]
    assert read.miou("raw input", "knn k=20") == 0.7381507381507382
    assert read.score("raw input", "knn k=20", "iou/wall") == pytest.approx(
        (0.7777777777777778 + 0.6363636363636364) / 2
    )
    assert read.to_markdown() == (data / "report-1.md").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "FILE: cannot be read as a report (Expecting property name"),
        ("[]", "FILE: is not a report; give a file that `msm3d probe` wrote."),
        ('{"format": "msm3d-probe", "format_version": 3}', "FILE: was made by a newer msm3d (format 3); run pip"),
    ],
)
def test_what_is_not_a_report_is_one_sentence(content, message, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(FileError) as error:
        Report.read(path)
    assert str(error.value).replace(str(path), "FILE").startswith(message)


def test_settings_are_a_value_or_keywords():
    train, test = split("train", range(2)), split("test", [9])
    by_value = probe(train, test, RawFeatures(), ProbeSettings(**COUNTS))
    by_name = probe(train, test, RawFeatures(), **COUNTS)
    assert by_value.rows == by_name.rows
    assert probe(train, test, RawFeatures(), ProbeSettings(**COUNTS), seed=1).rows[0]["seed"] == 1
    with pytest.raises(InputError) as error:
        probe(train, test, RawFeatures(), sead=3)
    assert str(error.value) == "unknown setting 'sead'; did you mean 'seed'?"
