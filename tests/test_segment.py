"""Scans to the class of each point: what stands in files, what is refused, folders that go on, heads of releases."""

import io as memory
import json
import warnings

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

import msm3d
from msm3d import cli, io, weights
from msm3d.datasets.classes import SCANNET20
from msm3d.errors import InputError, WeightsError
from msm3d.evaluate import random_network
from msm3d.io import labelled
from msm3d.scan.options import ReadOptions
from msm3d.tasks import Fingerprint, heads, segment
from msm3d.tasks.given import Given
from msm3d.tasks.heads import About, LinearProbe
from msm3d.tasks.heads.authors import names, released
from tests.conftest import make_scene
from tests.test_hub import client as client
from tests.test_hub import hub as hub
from tests.test_ptv3 import TINY
from tests.test_releases import LICENCE, checkpoint
from tests.test_releases import release as release

CLASSES = (2, 5, 9)


@pytest.fixture
def head(model):
    """A head of three classes on random descriptors, with names."""
    rng = np.random.default_rng(0)
    made = LinearProbe(steps=30).fit(rng.normal(size=(60, 76)), np.array(CLASSES)[np.arange(60) % 3], of=model)
    made.about_ = About(names=("floor", "wall", "Stühle"), colors=((1, 2, 3), (4, 5, 6), (7, 8, 9)), licence="MIT")
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(folder, model, head, capsys):
    """Run the verb with the head; return its exit code and what is shown."""
    given = [
        "--model",
        str(model.save_pretrained(folder / "weights")),
        "--head",
        str(head.save("head")),
        "--device",
        "cpu",
    ]

    def called(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["segment", *arguments, *given])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return called


def write_ply(path: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Write a scan in millimetres with a property that msm3d does not know and labels that it does."""
    scan = make_scene(seed, 60)
    kinds = [(axis, "f8") for axis in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    kinds += [(name, "f4") for name in ("nx", "ny", "nz")] + [("intensity", "u2"), ("label", "u1")]
    data = np.zeros(180, kinds)
    for group, array in (
        ("x y z", scan["coord"] * 1000),
        ("red green blue", scan["color"]),
        ("nx ny nz", scan["normal"]),
    ):
        for axis, name in enumerate(group.split()):
            data[name] = array[:, axis]
    data["intensity"], data["label"] = np.arange(180), 7
    PlyData([PlyElement.describe(data, "vertex")], byte_order="<").write(path)
    return {name: data[name] for name in data.dtype.names}


def test_every_point_has_the_class_that_the_head_says(model, head):
    scan = make_scene(0, 100)
    found = segment(model, head, scan)
    rows = model.extract(scan)
    assert np.array_equal(found.labels, head.predict(rows))
    assert np.array_equal(found.confidence, head.predict_proba(rows).max(1))
    assert found.classes == {2: "floor", 5: "wall", 9: "Stühle"}
    assert sum(points for _, points, _ in found.counts()) == 300
    assert found.colors()[found.labels == 5].tolist()[:1] in ([], [[4, 5, 6]])
    unsure = segment(model, head, scan, threshold=0.6)
    assert np.array_equal(unsure.labels == -1, found.confidence < np.float32(0.6))
    assert 0 < (unsure.labels == -1).sum() < 300
    assert repr(unsure).endswith(" unsure")
    assert unsure.table().splitlines()[-1].startswith("unsure")
    assert unsure.colors()[unsure.labels == -1][0].tolist() == [70, 70, 74]


def test_labels_do_not_depend_on_memory(model, head, monkeypatch):
    scan = make_scene(0, 100)
    found = segment(model, head, scan)
    monkeypatch.setattr("msm3d.tasks.described.SHARE", 1 << 60)
    on_disk = segment(model, head, scan)
    assert np.array_equal(found.labels, on_disk.labels)
    assert np.array_equal(found.confidence, on_disk.confidence)


def test_a_ply_keeps_all_that_the_scan_has(call, folder):
    data = write_ply("scan.ply")
    code, shown, _ = call("scan.ply", "-o", "out.ply", "--units", "mm", "--paint")
    assert code == 0
    assert shown.splitlines()[0].startswith("out.ply: 180 points in ")
    assert shown.splitlines()[1].split() == ["class", "points", "share", "confidence"]
    out = PlyData.read("out.ply")
    vertex = out["vertex"].data
    for name in ("x", "y", "z", "nx", "ny", "nz", "intensity"):
        assert np.array_equal(vertex[name], data[name])
        assert vertex[name].dtype == data[name].dtype
    assert np.array_equal(vertex["given_label"], data["label"])
    assert set(vertex["label"].tolist()) <= set(CLASSES)
    assert (vertex["confidence"] > 1 / 3 - 1e-6).all()
    first = {2: (1, 2, 3), 5: (4, 5, 6), 9: (7, 8, 9)}[int(vertex["label"][0])]
    assert tuple(vertex[name][0] for name in ("red", "green", "blue")) == first
    assert "label 2 floor" in out.comments
    meta = labelled.metadata("out.ply")
    assert meta["classes"] == {"2": "floor", "5": "wall", "9": "Stühle"}
    assert (meta["head"], meta["head_licence"], meta["source"]) == ("linear", "MIT", "scan.ply")
    assert "units" not in meta
    assert np.array_equal(io.read("out.ply", units="mm").segment, vertex["label"])
    named = Given.of("out.ply", None, options=ReadOptions(units="mm")).names
    assert set(named.values()) <= {"floor", "wall", "Stühle"}
    before = (folder / "out.ply").read_bytes()
    assert call("scan.ply", "-o", "out.ply", "--units", "mm", "--paint", "--again")[0] == 0
    assert (folder / "out.ply").read_bytes() == before


@pytest.mark.parametrize("ending", ["npz", "npy", "las", "laz", "ply"])
def test_every_kind_of_file_holds_the_same_labels(folder, model, head, ending):
    if ending in ("las", "laz"):
        pytest.importorskip("laspy")
    scan = make_scene(0, 60)
    np.savez("scan.npz", **scan, segment=np.full(180, 3))
    found = segment(model, head, "scan.npz", threshold=0.5)
    path = found.save(f"out.{ending}")
    before = path.read_bytes()
    found.save(f"out.{ending}")
    assert path.read_bytes() == before
    assert labelled.metadata(path)["classes"]["9"] == "Stühle"
    if ending == "npy":
        assert np.array_equal(np.load(path), found.labels)
        return
    again = io.read(path)
    assert np.allclose(again.coord, scan["coord"], atol=1e-4)
    assert np.array_equal(again.color, scan["color"])
    assert np.array_equal(again.segment, found.labels)
    assert not labelled.only_classified(path)


@pytest.mark.filterwarnings("ignore:the points have no normals")
def test_las_keeps_its_dimensions_and_gets_a_classification(folder, model, head):
    laspy = pytest.importorskip("laspy")
    scan = make_scene(0, 60)
    data = laspy.create(point_format=2, file_version="1.2")
    data.header.scales = np.full(3, 1e-3)
    data.xyz, data.intensity, data.classification = scan["coord"], np.arange(180), np.full(180, 6, np.uint8)
    for axis, name in enumerate(("red", "green", "blue")):
        data[name] = scan["color"][:, axis].astype(np.uint16) * 257
    data.write("scan.las")
    found = segment(model, head, "scan.las", threshold=0.5)
    out = laspy.read(found.save("out.laz"))
    assert np.array_equal(np.array(out.intensity), np.arange(180))
    assert np.array_equal(out.xyz, data.xyz)
    assert np.array_equal(out.label, found.labels)
    assert np.array_equal(np.array(out.classification), np.where(found.labels < 0, 255, found.labels))
    assert np.array_equal(out.red, data.red)
    painted = laspy.read(found.save("painted.las", paint=True))
    assert np.array_equal(painted.red[:5], found.colors()[:5, 0].astype(np.uint16) * 257)
    kept = PlyData.read(found.save("out.ply"))["vertex"].data
    assert np.array_equal(kept["intensity"], np.arange(180))
    assert np.array_equal(kept["given_classification"], np.full(180, 6))
    second = laspy.read(segment(model, head, "out.laz").save("second.laz"))  # what was labelled is labelled anew
    assert list(second.point_format.extra_dimension_names) == ["label", "confidence"]


def test_rows_without_a_position_are_unsure_or_left_out(folder, model, head):
    scan = make_scene(0, 60)
    scan["coord"][4] = np.nan
    np.savez("scan.npz", **scan)
    whole = segment(model, head, "scan.npz", options=ReadOptions(invalid="nan"))
    labels = np.load(whole.save("whole.npy"))
    assert (len(labels), labels[4]) == (180, -1)
    with pytest.warns(msm3d.Msm3dWarning, match="1 of 180 points has no position"):
        part = segment(model, head, "scan.npz")
    assert np.array_equal(np.load(part.save("part.npy")), np.delete(labels, 4))
    with np.load(part.save("part.npz")) as file:
        assert np.array_equal(file["rows"], np.delete(np.arange(180), 4))


def test_a_folder_goes_on_where_it_was_interrupted(call, folder, head):
    (folder / "scans").mkdir()
    for seed in range(2):
        write_ply(f"scans/{'ab'[seed]}.ply", seed)
    (folder / "scans/broken.ply").write_text("no header\n")
    code, shown, failed = call("scans", "-o", "out", "--units", "mm")
    assert code == 1
    assert shown.splitlines()[0].startswith("1/3 out/a.ply: 180 points in ")
    assert "msm3d segment: 1 of 3 scans failed:\n  scans/broken.ply: does not start with 'ply'" in failed
    (folder / "scans/broken.ply").unlink()
    kept = (folder / "out/a.ply").stat().st_mtime_ns
    (folder / "out/b.ply").write_bytes((folder / "out/b.ply").read_bytes()[:300])
    code, shown, _ = call("scans", "-o", "out", "--units", "mm")
    assert code == 0
    assert shown.splitlines()[0] == "1/2 out/a.ply: is there"
    assert shown.splitlines()[1].startswith("2/2 out/b.ply: 180 points in ")
    assert "; 1 there already" in shown
    assert (folder / "out/a.ply").stat().st_mtime_ns == kept
    for change in (["--threshold", "0.5"], ["--paint"]):
        assert "is there" not in call("scans", "-o", "out", "--units", "mm", *change)[1]
    assert call("scans", "-o", "out", "--units", "mm", "--paint")[1].count("is there") == 2
    head._learned["bias"][0] += 1  # another head of the same kind and classes
    head.save("head")
    assert "is there" not in call("scans", "-o", "out", "--units", "mm", "--paint")[1]
    again = call("scans", "-o", "scans/labels", "--units", "mm")  # results among the scans are no scans
    assert again[0] == 0
    assert "1/2 " in call("scans", "-o", "third", "--units", "mm")[1]


def test_a_picture_and_a_page_are_of_one_scan(call, folder, monkeypatch):
    np.savez("scan.npz", **make_scene(0, 60))
    calls, extract = [], msm3d.Model.extract
    monkeypatch.setattr(msm3d.Model, "extract", lambda *args, **given: calls.append(1) or extract(*args, **given))
    code, shown, _ = call("scan.npz", "-o", "out.npy", "--picture", "out.png", "--page", "out.html")
    assert code == 0
    assert "written: out.png\nwritten: out.html, " in shown
    assert len(calls) == 1  # the page shows the descriptors that the labels are from
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "Stühle" in (folder / "out.html").read_text() or "St\\u00fchle" in (folder / "out.html").read_text()


def test_mistakes_are_one_sentence_and_leave_nothing(call, folder, model, head, config):
    np.savez("scan.npz", **make_scene(0, 20))
    before = sorted(folder.rglob("*"))
    for given, sentence in (
        (["scan.npz", "-o", "out.obj"], "out.obj cannot hold labels; end it with one of .ply, .las, .laz, .npz, .npy."),
        (["scan.npz", "-o", "out/", "--picture", "a.jpg"], "a.jpg cannot hold a picture; end it with .png."),
        (["scan.npz", "-o", "out.ply", "--page", "scan.npz"], "scan.npz cannot hold a page; end it with .html."),
        (["scan.npz", "-o", "scan.npz"], "scan.npz is an input and would be replaced by the output; give the output"),
        (["scan.npz", "scan.npz", "-o", "out"], "two scans would both become out/scan.ply, scan.npz and scan.npz;"),
    ):
        code, _, error = call(*given)
        assert (code, error.splitlines()[-1].startswith(f"msm3d segment: {sentence}")) == (2, True), error
        assert sorted(folder.rglob("*")) == before
    other = random_network(config, 5)
    with pytest.raises(InputError, match=r"the head was fitted on descriptors of untrained .*, but the model's are of"):
        segment(other, head, make_scene(0, 20))
    with pytest.raises(InputError, match=r"threshold is 2; give a probability from 0 to 1"):
        segment(model, head, make_scene(0, 20), threshold=2)
    told = LinearProbe(steps=5).fit(np.random.default_rng(0).normal(size=(9, 76)), np.arange(9) % 2)
    with pytest.raises(InputError, match=r"this head was not told which network its features are of"):
        segment(model, told, make_scene(0, 20))


def test_the_network_is_the_one_that_the_head_names(folder, head, capsys):
    np.savez("scan.npz", **make_scene(0, 20))
    assert cli.main(["segment", "scan.npz", "-o", "out.ply"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "msm3d segment: nothing says which classes there are; give --head, a folder that msm3d teach"
    )
    assert "concerto-large, sonata, utonia" in said
    assert cli.main(["segment", "scan.npz", "-o", "out.ply", "--head", str(head.save("head"))]) == 2
    assert capsys.readouterr().err == (
        "msm3d segment: the network of the head head is called 'untrained', which does not load by name; give --model, "
        "the folder of its weights.\n"
    )


@pytest.mark.parametrize(
    "about",
    [
        {"names": ["a", "a", "b"]},
        {"names": ["a", "b"]},
        {"names": ["a", "b", "c\n"]},
        {"names": 3},
        {"colors": [[0, 0, 256]] * 3},
        {"colors": [[0, 0]] * 3},
        {"scores": {"logistic": "much"}},
        {"licence": 3},
        {"licence": "x" * 5000},
        {"other": 1},
        [],
    ],
)
def test_what_a_head_says_about_itself_is_checked(head, tmp_path, about):
    path = head.save(tmp_path / "head") / "head.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"about": about}))
    with pytest.raises(
        WeightsError, match=r"does not hold a head \(what it says about itself, .* cannot be used\); save"
    ):
        heads.load(tmp_path / "head")


# --- heads of releases ---


def linear(channels: int, **changed) -> bytes:
    """Return a head in the authors' layout, which finds the class of the largest of the first columns."""
    state = {"seg_head.weight": torch.eye(20, channels), "seg_head.bias": torch.arange(20) / 100} | changed
    file = memory.BytesIO()
    config = {"backbone_out_channels": channels, "num_classes": 20}
    torch.save({"config": config, "state_dict": {k: v for k, v in state.items() if v is not None}}, file)
    return file.getvalue()


HEAD = {"checkpoint": "tiny_head.pth", "classes": "scannet20"}


@pytest.mark.filterwarnings("ignore:the weights of")
def test_the_head_of_a_release_is_fetched_once_and_labels_scannets_classes(hub, release, folder, capsys):
    release({"tiny.pth": checkpoint(), "tiny_head.pth": linear(sum(TINY.channels))}, "tiny.pth", head=HEAD)
    model = msm3d.load("tiny", device="cpu")
    with pytest.warns(msm3d.Msm3dWarning, match=f"the head of 'tiny' is {LICENCE}"):
        head = released(model)
    assert head.about_.names == SCANNET20.names
    assert head.about_.colors == SCANNET20.colors
    assert head.fingerprint_ == Fingerprint.of(model)
    scan = make_scene(0, 100)
    rows = model.extract(scan)
    found = segment(model, head, scan)
    assert np.array_equal(found.labels, (rows[:, :20] + np.arange(20, dtype=np.float32) / 100).argmax(1))
    assert found.meta["head_licence"] == found.meta["licence"] == LICENCE
    asked = len(hub.log)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = released(model)
    assert len(hub.log) == asked
    assert np.array_equal(again.predict_proba(rows), head.predict_proba(rows))
    kept = heads.load(weights.installed("tiny") / "head")
    assert np.array_equal(kept.coef_, np.eye(20, sum(TINY.channels)))
    half = msm3d.load("tiny", device="cpu", precision="bf16")
    assert len(segment(half, released(half), scan).labels) == 300
    np.savez("scan.npz", **scan)
    assert cli.main(["segment", "scan.npz", "-o", "out.ply", "--model", "tiny", "--device", "cpu"]) == 0
    assert "bookshelf" in capsys.readouterr().out
    assert np.array_equal(io.read("out.ply").segment, found.labels)


@pytest.mark.filterwarnings("ignore:the (weights|head) of")
def test_another_file_than_the_head_is_refused_and_nothing_is_kept(hub, release):
    width = sum(TINY.channels)
    bad = {
        "wrong shape: seg_head.weight is (20, 9) instead of (20, 184)": linear(9),
        "missing: seg_head.bias": linear(width, **{"seg_head.bias": None}),
        "unexpected: more": linear(width, more=torch.zeros(1)),
        "has NaN or infinity": linear(width, **{"seg_head.bias": torch.full((20,), torch.nan)}),
        "has no plain tensor under seg_head.bias": linear(width, **{"seg_head.bias": 3}),
        "is damaged or holds Python objects": b"<html>",
    }
    release({"tiny.pth": checkpoint()}, "tiny.pth")
    model = msm3d.load("tiny", device="cpu")
    with pytest.raises(WeightsError, match=r"the weights of 'tiny' have no head; fit one with teach, or choose one of"):
        released(model)
    for sentence, content in bad.items():
        release({"tiny.pth": checkpoint(), "tiny_head.pth": content}, "tiny.pth", head=HEAD)
        with pytest.raises((WeightsError, InputError)) as error:
            released(model)
        assert sentence in str(error.value)
        assert not (weights.installed("tiny") / "head").exists()
    release({"tiny.pth": checkpoint()}, "tiny.pth", head=HEAD)
    with pytest.raises(WeightsError, match=r"has no tiny_head\.pth"):
        released(model)


def test_the_released_heads_are_pinned_to_releases():
    assert names() == ["concerto-large", "sonata", "utonia"]
    for name in names():
        entry = weights.releases()[name]
        assert entry["head"]["checkpoint"].endswith("_linear_prob_head_sc.pth")
        assert len(bytes.fromhex(entry["revision"])) == 20
