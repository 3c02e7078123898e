"""Features in object storage: the bytes of files, known again, and one sentence where it cannot be reached."""

import json
import os

import numpy as np
import pytest

from msm3d import batch, cli
from msm3d.batch import LABELS
from msm3d.errors import DependencyError, FileError, InputError
from msm3d.io import storage
from msm3d.io.storage import Remote
from tests.conftest import make_scene

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def bucket():
    """Storage in memory, of this process."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    return memory


@pytest.fixture
def call(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = str(model.save_pretrained(tmp_path / "weights"))
    for seed, name in enumerate(("a", "below/b")):
        path = tmp_path / f"scans/{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **make_scene(seed, 100))
    return lambda *given: cli.main(["extract", *map(str, given), "--model", weights, "--device", "cpu"])


@pytest.mark.parametrize("ending", ["npz", "npy", "safetensors", "ply"])
def test_objects_have_the_bytes_of_files_and_are_known_again(call, bucket, capsys, tmp_path, ending):
    assert call("scans", "-o", "out", "--format", ending) == 0
    assert call("scans", "-o", "memory://shelf/out", "--format", ending) == 0
    shown = capsys.readouterr().out
    assert f"memory://shelf/out/below/b.{ending}: 300 points x 76 channels" in shown
    for name in ("a", "below/b"):
        assert bucket.cat(f"/shelf/out/{name}.{ending}") == (tmp_path / f"out/{name}.{ending}").read_bytes()
    assert call("scans", "-o", "memory://shelf/out", "--format", ending) == 0
    assert "\n2 scans there already" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "scans").rglob("*") if path.suffix != ".npz"] == ["below"]
    assert list((tmp_path / "scans").rglob(".msm3d*")) == []


def test_what_changed_or_was_cut_is_done_again(call, bucket, capsys):
    assert call("scans", "-o", "memory://shelf") == 0
    bucket.pipe("/shelf/a.npz", b"cut")
    later = os.stat("scans/below/b.npz").st_mtime + 10
    os.utime("scans/below/b.npz", (later, later))
    capsys.readouterr()
    assert call("scans", "-o", "memory://shelf") == 0
    assert "already" not in capsys.readouterr().out
    for damage in (b"{", b"[]", b"\xff", b"{}", b'{"bytes": "many"}'):
        bucket.pipe("/shelf/a.npz.json", damage)
        assert call("scans", "-o", "memory://shelf") == 0
        assert "; 1 there already" in capsys.readouterr().out


def test_what_an_object_is_goes_before_it_is_replaced(call, bucket, monkeypatch):
    """A writer that dies between the two leaves nothing that looks whole and is not."""
    assert call("scans", "-o", "memory://shelf") == 0
    said = json.loads(bucket.cat("/shelf/a.npz.json"))
    assert said["bytes"] == bucket.size("/shelf/a.npz")
    assert said["source"] == "a.npz"

    def broken(*_, **__):
        raise OSError("the line is dead")

    monkeypatch.setattr(type(bucket), "put_file", broken)
    assert call("scans", "-o", "memory://shelf", "--again") == 1
    assert not bucket.exists("/shelf/a.npz.json")


def test_a_storage_that_fails_is_one_sentence_for_each_scan(call, bucket, capsys, monkeypatch):
    def broken(*_, **__):
        raise PermissionError("Access\nDenied")

    monkeypatch.setattr(type(bucket), "put_file", broken)
    assert call("scans", "-o", "memory://shelf") == 1
    rows = capsys.readouterr().err.splitlines()[-2:]
    assert rows[0] == (
        "  scans/a.npz: memory://shelf/a.npz cannot be written (Access Denied); check the address, your credentials "
        "and the network."
    )
    assert call("scans/a.npz", "-o", "memory://shelf/a.npz") == 2


@pytest.mark.parametrize(
    ("output", "kind", "sentence"),
    [
        ("memory://shelf/a.txt", InputError, "memory://shelf/a.txt cannot hold features; end it with one of .npz, "),
        ("memory://shelf", InputError, "memory://shelf cannot hold features; end it with one of .npz, "),
        ("nosuch://shelf/", FileError, "nosuch://shelf/ cannot be reached (Protocol not known: nosuch); check the"),
        (
            "gs://shelf/",
            DependencyError,
            "gs:// needs a client (Please install gcsfs to access Google Storage); type: ",
        ),
    ],
)
def test_a_place_that_is_not_good_is_said_before_any_work(call, output, kind, sentence):
    with pytest.raises(kind) as raised:
        batch.plan(["scans/a.npz"], output)
    assert str(raised.value).startswith(sentence)


def test_a_bucket_that_is_not_there_is_said(call, bucket, monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(type(bucket), "info", absent)
    with pytest.raises(InputError, match=r"memory://shelf cannot be reached: there is no bucket '.*'; make it"):
        batch.plan(["scans"], "memory://shelf")


def test_labels_do_not_go_there(call):
    with pytest.raises(InputError, match=r"memory://shelf is in object storage, to which only features are written"):
        batch.plan(["scans"], "memory://shelf", "ply", LABELS)


def test_one_scan_goes_to_one_object_and_two_not_to_the_same(call, bucket):
    assert call("scans/a.npz", "-o", "memory://shelf/one.npy") == 0
    assert call("scans/a.npz", "-o", "memory://shelf/deep/") == 0
    assert sorted(bucket.find("/shelf")) == [
        f"/shelf/{name}{end}" for name in ("deep/a.npz", "one.npy") for end in ("", ".json")
    ]
    with pytest.raises(InputError, match=r"the scans in scans do not fit into the file memory://shelf/one\.npy"):
        batch.plan(["scans"], "memory://shelf/one.npy")
    np.save("scans/a.npy", make_scene(0, 10)["coord"])
    with pytest.raises(InputError, match=r"two scans would both become memory://shelf/a\.npz"):
        batch.plan(["scans"], "memory://shelf")


def test_a_storage_of_folders_gets_those_that_are_missing(call, bucket, tmp_path):
    address = (tmp_path / "stored").as_uri()
    assert call("scans", "-o", address) == 0
    assert call("scans", "-o", "features") == 0
    there = {path.relative_to(tmp_path / "stored"): path.read_bytes() for path in (tmp_path / "stored").rglob("*.npz")}
    features = storage.Path("features")
    assert there == {path.relative_to(features): path.read_bytes() for path in features.rglob("*.npz")}
    assert there


def test_places_are_told_apart():
    assert isinstance(storage.place("s3://a/b"), Remote)
    assert storage.place("C:/a") == storage.Path("C:/a")
    assert storage.size(Remote("file://" + __file__)) == os.path.getsize(__file__)
    with pytest.raises(FileError, match="cannot be read"):
        storage.size(Remote("file:///nowhere/at/all"))
