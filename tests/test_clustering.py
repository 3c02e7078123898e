"""Clusters of what is alike: of points and scans, in pieces of space, by two methods, and as files, pictures, pages."""

import json
import sys
from pathlib import Path

import laspy
import numpy as np
import pytest
from plyfile import PlyData

from msm3d import cli, io, tasks
from msm3d.cli import looks
from msm3d.errors import DependencyError, InputError, Msm3dWarning
from msm3d.io import labelled
from msm3d.tasks import Clustering, cluster
from msm3d.tasks.clustering import Seen
from msm3d.tasks.density import dense
from msm3d.visualize import Kinds
from tests.conftest import make_scene
from tests.files import RGB, XYZ


def scene(shift=0.0, n=150):
    """Points whose colours are of three kinds, by thirds."""
    found = make_scene(0, n)
    found["color"] = np.repeat(np.array([[250, 5, 5], [5, 250, 5], [5, 5, 250]], np.uint8), n, 0)
    return {**found, "coord": found["coord"] + shift}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(folder, model, capsys):
    weights = str(model.save_pretrained(folder / "weights"))

    def called(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["cluster", *arguments, "--model", weights, "--device", "cpu"])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return called


def save(path, scan):
    path = Path(path)
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **scan)
    return path


def test_each_voxel_counts_once_and_the_same_input_gives_the_same_clusters(model):
    found = cluster(model, scene(), Clustering(clusters=3))
    assert found.labels.shape == (450,)
    assert sorted(set(found.labels.tolist())) == [0, 1, 2]
    assert found.classes == {0: "cluster 1", 1: "cluster 2", 2: "cluster 3"}
    assert (found.confidence > 0).all()
    assert (found.confidence <= 1).all()
    again = cluster(model, scene(), Clustering(clusters=3))
    assert np.array_equal(found.labels, again.labels)
    rows, owner = model.extract(scene(), at="voxels")
    kinds = Kinds.fit(rows, 3, levels=[info.slice for info in model.feature_info])
    assert np.array_equal(found.labels, kinds(rows)[owner])
    twice = {name: np.concatenate([values, values[:50], values[:50]]) for name, values in scene().items()}
    assert np.array_equal(cluster(model, twice, Clustering(clusters=3)).labels[:450], found.labels)
    with pytest.warns(Msm3dWarning, match="1 point in 1 voxel"):
        one = cluster(model, {"coord": XYZ[:1], "color": RGB[:1], "normal": XYZ[:1]}, Clustering(clusters=4))
    assert one.labels.tolist() == [0]


def test_scans_of_one_call_share_their_clusters(model):
    one, other = cluster(model, [scene(), scene(10.0)], Clustering(clusters=3), levels=0)
    assert (one.labels == other.labels).mean() > 0.95  # the same room elsewhere; voxels are cut elsewhere, too
    assert one.meta["levels"] == [0]
    assert one.meta["clustering"]["clusters"] == 3
    with pytest.raises(InputError, match=r"^there are no scans; give at least one\.$"):
        cluster(model, [])


def test_it_does_not_depend_on_memory(model, monkeypatch):
    found = cluster(model, scene(), Clustering(clusters=3, apart=0.3, smallest=5))
    monkeypatch.setattr("msm3d.tasks.described.SHARE", 1 << 60)
    assert (cluster(model, scene(), Clustering(clusters=3)).labels >= 0).all()
    assert (found.labels >= -1).all()


@pytest.mark.filterwarnings("ignore:the scan has 121 points")
def test_pieces_that_lie_apart_are_clusters_of_their_own(model):
    coord = np.concatenate([XYZ * 0.2 + shift for shift in ([0, 0, 0], [2, 0, 0], [4, 0, 0])])
    coord = np.concatenate([coord, [[9.0, 0, 0]]])
    scan = {"coord": coord, "color": np.full((121, 3), 128, np.uint8), "normal": np.tile([0, 0, 1.0], (121, 1))}
    whole = cluster(model, scan, Clustering(clusters=1))
    assert set(whole.labels.tolist()) == {0}
    split = cluster(model, scan, Clustering(clusters=1, apart=0.5, smallest=2))
    assert [len(set(split.labels[i : i + 40])) for i in (0, 40, 80)] == [1, 1, 1]
    assert sorted(set(split.labels[:120].tolist())) == [0, 1, 2]
    assert (split.labels[120], split.confidence[120]) == (-1, 0)
    counts = np.bincount(split.labels[:120])
    assert (np.diff(counts) <= 0).all() or len(set(counts)) == 1


def test_height_can_be_left_out(model):
    with_it, without = (cluster(model, scene(), Clustering(clusters=4, no_height=flat)) for flat in (False, True))
    assert not np.array_equal(with_it.labels, without.labels)
    seen = Seen(io.as_cloud(scene()), np.zeros((2, 3)), np.array([0] * 400 + [1] * 50), None)
    np.testing.assert_allclose(seen.middles(), [scene()["coord"][:400].mean(0), scene()["coord"][400:].mean(0)])


def test_dense_places_are_found_and_what_is_between_them_is_in_none():
    rng = np.random.default_rng(0)
    middle = np.eye(10)[:3] * 5
    rows = [middle[i] + rng.normal(0, 0.05, (n, 10)) for i, n in enumerate((60, 200, 90))]
    between = (middle[rng.integers(0, 3, (2, 30))] * rng.random((2, 30, 1))).sum(0)
    rows = np.concatenate([*rows, between + rng.normal(0, 3, (30, 10))]).astype(np.float32)
    [(labels, sure)] = dense([rows], 20, [slice(None)])
    assert [set(labels[part].tolist()) for part in (slice(60), slice(60, 260), slice(260, 350))] == [{2}, {0}, {1}]
    assert (labels[350:] == -1).mean() > 0.3
    assert (sure[labels == -1] == 0).all()
    halves = dense([rows[::2], rows[1::2]], 20, [slice(None)])
    assert (halves[0][0] == labels[::2]).mean() > 0.9
    [(few, sure)] = dense([rows[:1]], 20, [slice(None)])
    assert (few.tolist(), sure.tolist()) == ([0], [1.0])


def test_what_cannot_be_asked_for_is_said_before_any_work(monkeypatch, model):
    for values, said in (
        ({"method": "kmean"}, "method is 'kmean'; did you mean 'kmeans'?"),
        ({"clusters": 256}, "clusters is 256; it must be a whole number from 1 to 255."),
        ({"clusters": True}, "clusters is True; it must be a whole number from 1 to 255."),
        ({"smallest": 0}, "smallest is 0; it must be a whole number from 1 on."),
        ({"apart": float("nan")}, "apart is nan; give metres above 0, such as 0.15."),
        ({"method": "hdbscan", "clusters": 3}, "HDBSCAN finds how many clusters there are; leave out clusters=."),
    ):
        with pytest.raises(InputError) as error:
            Clustering(**values)
        assert str(error.value) == said
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(DependencyError, match=r'^HDBSCAN needs scikit-learn; type: pip install "msm3d\[cluster\]"\.$'):
        cluster(model, "missing.ply", Clustering(method="hdbscan"))
    assert tasks.Clustering is Clustering


@pytest.mark.parametrize("ending", ["ply", "las", "laz", "npz", "npy"])
def test_every_kind_of_file_holds_the_same_clusters(call, folder, model, ending):
    scan, out = save("scan.npz", scene()), f"out.{ending}"
    code, shown, _ = call(str(scan), "-o", out, "--clusters", "3", "--levels", "0,1")
    assert code == 0
    assert shown.splitlines()[0].startswith(f"{out}: 450 points, 3 clusters, ")
    assert shown.splitlines()[1].split() == ["class", "points", "share", "confidence"]
    labels = cluster(model, scene(), Clustering(clusters=3), levels=(0, 1)).labels
    found = np.load(out) if ending == "npy" else io.read(out).segment
    assert np.array_equal(found, labels)
    meta = labelled.metadata(out)
    assert meta["classes"] == {"0": "cluster 1", "1": "cluster 2", "2": "cluster 3"}
    assert meta["clustering"]["method"] == "kmeans"
    assert (meta["levels"], meta["source"]) == ([0, 1], "scan.npz")
    if ending == "ply":
        assert "label 2 cluster 3" in PlyData.read(out).comments
    if ending in ("las", "laz"):
        assert np.array_equal(laspy.read(out)["label"], labels)


def test_a_folder_shares_clusters_and_a_scan_that_fails_stops_no_other(call, folder):
    for i, name in enumerate(("a", "b")):
        save(f"scans/{name}.npz", scene(i * 10.0))
    Path("scans/broken.ply").write_text("ply\n")
    code, shown, told = call("scans", "-o", "out", "--clusters", "3", "--levels", "0", "--paint", "--format", "npz")
    assert code == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.npz", "b.npz"]
    assert "1/3 out/a.npz: 450 points, 3 clusters" in shown
    assert "broken.ply" in told
    one, other = (np.load(f"out/{name}.npz") for name in "ab")
    assert (one["label"] == other["label"]).mean() > 0.95
    palette = json.loads(str(one["meta"]))["palette"]
    assert one["color"][0].tolist() == palette[one["label"][0]]


def test_a_picture_and_a_page_are_of_one_scan(call, folder):
    save("scan.npz", scene())
    out = ["-o", "out.ply", "--apart", "0.3", "--smallest", "3"]
    code, shown, _ = call("scan.npz", *out, "--picture", "a.png", "--page", "a.html", "--method", "hdbscan")
    assert code == 0
    assert shown.splitlines()[-2:] == ["written: a.png", "written: a.html, 450 points"]
    assert "cluster 1" in Path("a.html").read_text(encoding="utf-8")
    assert Path("a.png").read_bytes()[:4] == b"\x89PNG"
    save("scans/a.npz", scene())
    save("scans/b.npz", scene())
    code, _, told = call("scans", "-o", "out", "--page", "a.html")
    assert code == 2
    assert told == "msm3d cluster: a.html shows one scan, and there are 2; draw them one by one.\n"


def test_a_page_shows_as_many_labels_as_it_can_tell_apart():
    labels = np.concatenate([np.arange(300), np.arange(250)])
    shown = looks._frequent(labels)
    assert set(shown.tolist()) == {*range(250), *range(250, 255), -1}
    assert looks._frequent(labels[:200]) is not None
    assert np.array_equal(looks._frequent(labels[:200]), labels[:200])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scan.npz", "-o", "out.obj"], "out.obj cannot hold labels; end it with one of .ply, .las, .laz, .npz, .npy."),
        (["scan.npz", "-o", "scan.npz"], "scan.npz is an input and would be replaced by the output"),
        (["none.ply", "-o", "out.ply"], "none.ply: does not exist; check the path."),
        (["scan.npz", "-o", "out.ply", "--method", "hdbscan", "--clusters", "2"], "leave out --clusters."),
        (["scan.npz", "-o", "out.ply", "--clusters", "300"], "clusters is 300; it must be a whole number from 1"),
        (["scan.npz", "-o", "out.ply", "--levels", "7"], "levels is [7]; give some of 0 (finest) to 2"),
        (["scan.npz", "-o", "out.ply", "--page", "a.png"], "a.png cannot hold a page; end it with .html."),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(call, folder, arguments, said):
    save("scan.npz", scene())
    before = sorted(path.name for path in folder.iterdir())
    code, _, told = call(*arguments)
    assert code == 2
    assert said in told.splitlines()[-1]
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "far"])
def test_a_distance_is_above_0(call, capsys, value):
    with pytest.raises(SystemExit, match="2"):
        call("scan.npz", "-o", "out.ply", "--apart", value)
    assert f"{value!r} is not metres above 0, such as 0.15" in capsys.readouterr().err
