"""Files of features: what each kind holds, that it reads back, and that nothing is half-written."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from plyfile import PlyData
from safetensors import safe_open
from safetensors.numpy import load_file

from msm3d.errors import FileError, InputError
from msm3d.io import read, results
from msm3d.scan.cloud import PointCloud

NAMES = ["a.npz", "a.npy", "a.safetensors", "a.ply", "a.las", "a.laz", "a.parquet"]
RNG = np.random.default_rng(0)
COORD = RNG.normal((682244.65, 0, 0), size=(50, 3))
CLOUD = PointCloud.of(
    {
        "coord": COORD,
        "color": RNG.integers(0, 256, (50, 3), dtype=np.uint8),
        "normal": RNG.normal(size=(50, 3)),
        "segment": RNG.integers(-1, 20, 50),
        "instance": RNG.integers(0, 70_000, 50),
    }
)
PLAIN = PointCloud(coord=COORD)
FEAT = np.random.default_rng(1).normal(size=(50, 5)).astype(np.float32)
META = {"msm3d": "0.1.0", "model": "rööms", "sha256": "ab" * 32, "levels": [0, 1], "channels": [2, 3]}
META |= {"voxel_size": 0.05, "sampling": "centered", "units": "m", "up": "z", "licence": "MIT", "source": "scan 1.ply"}


def write(path, cloud, feat, meta=None):
    with results.writing(path, cloud, feat.shape[1], feat.dtype.name, meta) as target:
        target[:] = feat
    return path


def test_npz_has_all_of_the_scan_beside_the_features(tmp_path):
    some = PointCloud(coord=COORD, rows=np.arange(50))
    with np.load(write(tmp_path / "a.npz", some, FEAT), allow_pickle=False) as file:
        assert sorted(file.files) == ["coord", "feat", "rows"]
        assert np.array_equal(file["coord"], COORD)
        assert np.array_equal(file["feat"], FEAT)
    with np.load(write(tmp_path / "b.npz", CLOUD, FEAT, META), allow_pickle=False) as file:
        assert sorted(file.files) == ["color", "coord", "feat", "instance", "meta", "normal", "segment"]
        kinds = {name: file[name].dtype.name for name in ("color", "normal", "segment", "instance")}
        assert kinds == {"color": "uint8", "normal": "float32", "segment": "int16", "instance": "int32"}
        assert json.loads(str(file["meta"]))["model"] == "rööms"


def test_npy_is_the_features_alone_for_every_reader(tmp_path):
    half = FEAT.astype(np.float16)
    path = write(tmp_path / "a.npy", PLAIN, half, META)
    assert np.array_equal(np.load(path), half)
    assert np.array_equal(np.load(path, mmap_mode="r"), half)
    rest = np.fromfile(path, np.float16, offset=128)  # whoever does not count the rows
    assert np.array_equal(rest[: half.size].reshape(half.shape), half)
    assert write(tmp_path / "b.npy", PLAIN, half).stat().st_size == 128 + half.nbytes


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_safetensors(tmp_path, dtype):
    path = write(tmp_path / "a.safetensors", CLOUD, FEAT.astype(dtype), META)
    arrays = load_file(path)
    assert sorted(arrays) == ["color", "coord", "feat", "instance", "normal", "segment"]
    assert np.array_equal(arrays["feat"], FEAT.astype(dtype))
    assert np.array_equal(arrays["segment"], CLOUD.segment)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["msm3d"])["levels"] == [0, 1]
        assert file.get_tensor("coord").numpy().tolist() == COORD.tolist()
    assert sorted(load_file(write(tmp_path / "b.safetensors", PLAIN, FEAT))) == ["coord", "feat"]


def test_ply_opens_elsewhere_with_its_colours_normals_and_labels(tmp_path):
    file = PlyData.read(write(tmp_path / "a.ply", CLOUD, FEAT, META))
    vertex = file["vertex"]
    assert np.array_equal(np.stack([vertex[axis] for axis in "xyz"], 1), COORD)
    assert vertex["red"].dtype == np.uint8
    assert np.array_equal(np.stack([vertex[name] for name in ("red", "green", "blue")], 1), CLOUD.color)
    assert np.array_equal(np.stack([vertex[name] for name in ("nx", "ny", "nz")], 1), CLOUD.normal)
    assert np.array_equal(vertex["label"], CLOUD.segment)
    assert np.array_equal(vertex["instance"], CLOUD.instance)
    assert np.array_equal(vertex["feat_4"], FEAT[:, 4])
    assert 'msm3d source "scan 1.ply"' in file.comments
    names = [p.name for p in PlyData.read(write(tmp_path / "b.ply", PLAIN, FEAT))["vertex"].properties]
    assert names == ["x", "y", "z", *(f"feat_{i}" for i in range(5))]


@pytest.mark.parametrize("name", ["a.npz", "a.ply"])
def test_the_scan_reads_back_as_it_was(tmp_path, name):
    cloud = read(write(tmp_path / name, CLOUD, FEAT, META))
    assert np.array_equal(cloud.coord, COORD)
    assert np.array_equal(cloud.color, CLOUD.color)
    assert np.allclose(cloud.normal, CLOUD.normal, atol=1e-6)
    assert np.array_equal(cloud.segment, CLOUD.segment)
    assert np.array_equal(cloud.instance, CLOUD.instance)


def test_viewpoints_and_stations_are_kept(tmp_path):
    station = np.arange(50) % 3 - 1
    given = PointCloud.of({"coord": COORD, "viewpoint": COORD[:2], "station": station})
    for name in ("a.npz", "a.safetensors"):
        path = write(tmp_path / name, given, FEAT)
        arrays = np.load(path) if name.endswith("npz") else load_file(path)
        assert np.array_equal(arrays["viewpoint"], COORD[:2])
        assert np.array_equal(arrays["station"], station)
        assert np.array_equal(results.coord(path), COORD)
    cloud = read(tmp_path / "a.npz")
    assert np.array_equal(cloud.viewpoint, COORD[:2])
    assert np.array_equal(cloud.station, station)
    missing = COORD.copy()
    missing[3] = np.nan
    hole = PointCloud.of({"coord": missing, "viewpoint": COORD[:2], "station": station}, invalid="nan")
    kept = np.load(write(tmp_path / "b.npz", hole, FEAT))
    assert kept["station"].tolist() == [*station[:3], -1, *station[4:]]
    assert kept["viewpoint"].shape == (2, 3)
    assert results.coord(write(tmp_path / "a.npy", given, FEAT)) is None
    assert write(tmp_path / "a.ply", given, FEAT).read_bytes().count(b"station") == 0


@pytest.mark.parametrize("low", [0.0, 100.0])
def test_colours_between_whole_numbers_and_dark_ones_keep_their_scale(tmp_path, low):
    color = np.linspace(low, low + 0.9, 150, dtype=np.float32).reshape(50, 3)
    cloud = read(write(tmp_path / "a.npz", PointCloud(coord=COORD, color=color + np.float32(0.01)), FEAT))
    assert np.abs(cloud.color - color).max() < 0.6


def test_labels_too_large_for_a_ply_integer_are_whole_doubles(tmp_path):
    cloud = PointCloud(coord=COORD, instance=np.arange(50) + (1 << 40))
    assert np.array_equal(read(write(tmp_path / "a.ply", cloud, FEAT)).instance, cloud.instance)


@pytest.mark.parametrize("name", NAMES)
def test_features_and_metadata_read_back(tmp_path, name):
    path = write(tmp_path / name, CLOUD, FEAT, META)
    columns = ["coord", "color", "normal", "segment", "instance"]
    assert results.metadata(path) == {**META, "dtype": "float32", "columns": columns}
    assert np.array_equal(results.features(path), FEAT)
    assert not [entry for entry in os.listdir(tmp_path) if entry != name]
    plain = write(tmp_path / f"plain{path.suffix}", PLAIN, FEAT)
    assert results.metadata(plain) is None
    assert np.array_equal(results.features(plain), FEAT)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_done_is_known_by_its_metadata_and_shape(tmp_path, name):
    path = write(tmp_path / name, CLOUD, FEAT, META)
    assert results.is_done(path, META, 50)
    assert results.is_done(path, {**META, "msm3d": "9", "model": "other name", "dtype": "float32"})
    assert not results.is_done(path, META, 51)
    for change in ({"sha256": "cd" * 32}, {"levels": [1]}, {"sampling": "published"}, {"dtype": "float16"}):
        assert not results.is_done(path, {**META, **change}), change
    assert not results.is_done(path, {**META, "sha256": None})
    assert not results.is_done(tmp_path / f"gone{path.suffix}", META)
    plain = write(tmp_path / f"plain{path.suffix}", CLOUD, FEAT)
    assert not results.is_done(plain, META)
    whole = path.read_bytes()
    for cut in (3, 20, 200, len(whole) // 2):
        path.write_bytes(whole[:-cut])
        assert not results.is_done(path, META), cut


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"", b"ply\n", b"\x93NUMPY\x01\x00v\x00{", b"PK\x03\x04", b"\xff" * 64, bytes(64)])
def test_a_file_without_features_is_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    for function in (results.features, results.metadata):
        with pytest.raises(FileError, match=r"^\S+a\.\w+: .+\.$") as caught:
            function(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileError, match=r"does not exist; check the path\."):
        results.features(tmp_path / f"gone{path.suffix}")


def test_a_kind_that_holds_no_features_is_named(tmp_path):
    with pytest.raises(FileError, match=r"is of a kind that holds no features; give one of \.npz, "):
        results.features(tmp_path / "a.txt")


def test_provenance_says_which_model_and_how(model):
    model.meta |= {"name": "mine", "sha256": "0" * 64, "licence": "MIT"}
    said = results.provenance(model, levels=[-1], source="/data/scan.ply", dtype="float16")
    assert json.loads(json.dumps(said)) == said
    assert said["channels"] == [32]
    assert said["levels"] == [2]
    wanted = {"model": "mine", "sha256": "0" * 64, "licence": "MIT", "source": "scan.ply", "precision": "fp32"}
    wanted |= {"voxel_size": 0.05, "sampling": "centered", "dtype": "float16", "units": "m", "up": "z"}
    assert wanted.items() <= said.items()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "a.xyz",
            "{} cannot hold features; end it with one of .npz, .npy, .safetensors, .ply, .las, .laz, .parquet, .zarr.",
        ),
        ("no/a.npz", "there is no folder {parent}; make it first: mkdir -p {parent}"),
        ("folder.npz", "{} is a folder; give the name of a file."),
    ],
)
def test_a_bad_target_is_refused_before_any_work(tmp_path, name, message):
    (tmp_path / "folder.npz").mkdir()
    path = tmp_path / name
    with pytest.raises(InputError) as caught:
        results.check_format(path)
    assert str(caught.value) == message.format(path, parent=path.parent)


@pytest.mark.parametrize("name", NAMES)
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, name):
    path = write(tmp_path / name, CLOUD, FEAT)
    before = path.read_bytes()

    def interrupted():
        with results.writing(path, CLOUD, 5) as feat:
            feat[:10] = 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", NAMES)
def test_two_writers_at_once_do_not_mix(tmp_path, name):
    """As two containers with one process number did, or two threads."""
    path = tmp_path / name
    with results.writing(path, CLOUD, 5) as outer:
        with results.writing(path, CLOUD, 5) as inner:
            inner[:] = FEAT
            outer[:25] = -1
        assert np.array_equal(results.features(path), FEAT)
        outer[:] = 2 * FEAT
    assert np.array_equal(results.features(path), 2 * FEAT)
    assert list(tmp_path.iterdir()) == [path]


LIMITED = """
import resource, sys
import numpy as np
from msm3d.io import results
from msm3d.scan.cloud import PointCloud
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
cloud = PointCloud(coord=np.zeros((5000, 3)))
try:
    with results.writing(sys.argv[1], cloud, 100) as feat:
        feat[:] = np.random.default_rng(0).normal(size=feat.shape)  # which nothing makes smaller
except results.FileError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size")
@pytest.mark.parametrize("name", NAMES)
def test_no_room_is_one_sentence_and_the_old_file_stays(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path} cannot be written (File too large")
    assert done.stdout.endswith("); give another folder, or raise the limit (ulimit -f).\n")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_one_sentence(full_disk, name):
    """A store to a mapped file on a full disk once ended the process with SIGBUS."""
    cloud = PointCloud(coord=np.zeros((5000, 3)))
    with pytest.raises(FileError) as caught:
        write(full_disk / name, cloud, np.random.default_rng(0).normal(size=(5000, 340)).astype(np.float32))
    assert str(caught.value).startswith(f"{full_disk / name} cannot be written (No space left on device")
    assert str(caught.value).endswith("); make room, or give another folder.")
    assert os.listdir(full_disk) == []


def test_what_a_format_cannot_hold_is_said(tmp_path, monkeypatch):
    with pytest.raises(
        InputError,
        match=r"PLY has no float16; write \.npz, \.npy, \.safetensors, \.parquet or \.zarr, or leave out dtype=\.",
    ):
        write(tmp_path / "a.ply", PLAIN, FEAT.astype(np.float16))
    with pytest.raises(InputError, match=r"dtype is 'int8'; choose one of float32, float16\."):
        write(tmp_path / "a.npy", PLAIN, FEAT.astype(np.int8))
    monkeypatch.setattr("msm3d._util.memory.available", lambda *_: 100)
    with pytest.raises(
        InputError, match=r"would hold 0\.0 GB, more than memory; write \.npy, \.safetensors or \.ply instead\."
    ):
        write(tmp_path / "a.npz", PLAIN, FEAT)
    path = write(tmp_path / "a.npy", PLAIN, FEAT)
    assert np.array_equal(results.features(path), FEAT)
