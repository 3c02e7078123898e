"""Zarr: what `extract` writes is what zarr-python reads, and what others write is a scan."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

import msm3d
from msm3d import batch, cli
from msm3d.errors import DependencyError, FileError, InputError
from msm3d.io import read, results
from msm3d.scan.cloud import PointCloud
from tests.conftest import make_scene
from tests.files import LABEL, NORMAL, RGB, XYZ, refused

FEAT = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
META = {"model": "rööms", "sha256": "ab" * 32, "levels": [0, 1], "channels": [2, 3], "up": "z", "units": "m"}
WHOLE = {"coord": XYZ + 500.0, "color": RGB, "normal": NORMAL, "segment": LABEL, "viewpoint": [[501.0, 500, 501]]}


def write(path, feat=FEAT, meta=META, cloud=WHOLE):
    with results.writing(path, PointCloud.of(cloud), feat.shape[1], feat.dtype.name, meta) as target:
        target[:] = feat
    return path


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_what_is_written_is_what_others_read(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("msm3d.io.layouts.zarr_store._ROWS", 7)
    feat = FEAT.astype(kind)
    feat[:14] = 0  # pieces of nothing but zeros
    out = write(tmp_path / "out.zarr", feat)
    group = zarr.open_group(out, mode="r")
    assert sorted(group) == ["color", "coord", "feat", "normal", "segment", "viewpoint"]
    assert np.array_equal(group["feat"][...], feat)
    assert group["feat"].dtype == kind
    assert group["feat"].metadata.dimension_names == ("point", "channel")
    assert group["viewpoint"].metadata.dimension_names == ("place", "axis")
    assert group["feat"].chunks == (7, 5)
    assert np.array_equal(group["coord"][...], WHOLE["coord"].astype(np.float64))
    assert group.attrs["msm3d"]["model"] == "rööms"
    assert np.array_equal(results.features(out), feat)
    assert np.array_equal(results.coord(out), group["coord"][...])
    assert results.metadata(out)["columns"] == ["coord", "color", "normal", "segment"]
    assert results.is_done(out, {**META, "dtype": kind}, rows=40)
    assert not results.is_done(out, {**META, "dtype": kind, "sha256": "c" * 64})
    back = read(out)
    for name in ("coord", "color", "segment", "viewpoint"):
        assert np.array_equal(getattr(back, name), np.asarray(WHOLE[name], np.float64)), name
    assert results.size(out) > sum(len(path.read_bytes()) for path in (out / "feat").rglob("*") if path.is_file())
    shutil.rmtree(out / "feat" / "c" / "2")
    with refused(out, "is damaged: pieces of its arrays are missing; extract it again."):
        results.features(out)
    assert not results.is_done(out, {**META, "dtype": kind})


def test_a_store_is_replaced_whole_and_nothing_else_is(tmp_path):
    out = write(tmp_path / "out.zarr")
    (out / "extra").touch()
    write(out, FEAT[:, :2], {**META, "channels": [1, 1]})
    assert (results.features(out).shape, (out / "extra").exists()) == ((40, 2), False)
    with pytest.raises(RuntimeError), results.writing(out, PointCloud.of(WHOLE), 3):
        raise RuntimeError
    assert results.features(out).shape == (40, 2)
    assert sorted(os.listdir(tmp_path)) == ["out.zarr"]
    folder, file = tmp_path / "photos.zarr", tmp_path / "file.zarr"
    folder.mkdir()
    file.touch()
    for path in (folder, file):
        with pytest.raises(InputError, match=r" is there and not Zarr, so it is not replaced; give another name\.$"):
            results.check_format(path)
    with pytest.raises(InputError, match=r"^there is no folder .*none; make it first"):
        results.check_format(tmp_path / "none" / "out.zarr")


def test_stores_of_others_are_scans(tmp_path):
    group = zarr.open_group(tmp_path / "v2.zarr", mode="w", zarr_format=2)
    for name, array in {"xyz": XYZ, "rgb": RGB, "labels": LABEL, "names": LABEL.astype("U3")}.items():
        if name != "names":
            group.create_array(name, data=array)
    cloud = read(tmp_path / "v2.zarr")
    assert np.array_equal(cloud.coord, XYZ)
    assert np.array_equal(cloud.segment, LABEL)
    zarr.create_array(tmp_path / "bare.zarr", data=np.hstack([XYZ, RGB]))
    assert np.array_equal(read(tmp_path / "bare.zarr").color, RGB)
    zarr.open_group(tmp_path / "empty.zarr", mode="w")
    with refused(tmp_path / "empty.zarr", "holds nothing; an array named 'coord' is needed."):
        read(tmp_path / "empty.zarr")
    (tmp_path / "photos.zarr").mkdir()
    with refused(
        tmp_path / "photos.zarr",
        "is not a Zarr store: it has no zarr.json, .zgroup or .zarray; give one that has.",
    ):
        read(tmp_path / "photos.zarr")
    (tmp_path / "file.zarr").write_text("x")
    with refused(tmp_path / "file.zarr", "is a file, where a folder is needed; export it again."):
        read(tmp_path / "file.zarr")
    huge = zarr.open_group(tmp_path / "huge.zarr", mode="w")
    huge.create_array("coord", shape=(10**13, 3), chunks=(10**6, 3), dtype="f8")
    with pytest.raises(FileError, match=r"declares arrays of 2\.4e\+05 GB, more than half"):
        read(tmp_path / "huge.zarr")
    (tmp_path / "v2.zarr" / ".zgroup").write_text("{")
    with pytest.raises(FileError, match=r"v2\.zarr: is not a readable ZARR file"):
        read(tmp_path / "v2.zarr")


def test_the_command_line_writes_one_and_walks_over_them(tmp_path, monkeypatch, model, capsys):
    monkeypatch.chdir(tmp_path)
    weights = str(model.save_pretrained(tmp_path / "weights"))
    np.savez("scan.npz", **make_scene(0, 100))
    again = ["--model", weights, "--device", "cpu"]
    assert cli.main(["extract", "scan.npz", "-o", "out.zarr", *again]) == 0
    rows = msm3d.load(weights, device="cpu").extract("scan.npz")
    assert np.array_equal(results.features("out.zarr"), rows)
    assert cli.main(["extract", "out.zarr", "-o", "out.zarr", *again]) == 2
    assert "out.zarr is an input and would be replaced by the output" in capsys.readouterr().err
    Path("scans").mkdir()
    zarr.open_group("scans/room.zarr", mode="w").create_array("coord", data=make_scene(1, 100)["coord"])
    assert cli.main(["extract", "scans", "-o", "made", "--format", "zarr", "--levels", "0", *again]) == 0
    assert results.features("made/room.zarr").shape == (300, 20)
    capsys.readouterr()
    assert cli.main(["extract", "scans", "-o", "made", "--format", "zarr", "--levels", "0", *again]) == 0
    assert "is there" in capsys.readouterr().out
    assert [job.scan.name for job in batch.plan(["scans"], "b").jobs] == ["room.zarr"]
    assert cli.main(["read", "made/room.zarr"]) == 0
    assert "(Zarr)" in capsys.readouterr().out


def test_without_zarr_it_says_what_to_install(tmp_path, monkeypatch):
    out = write(tmp_path / "out.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    said = r'ing Zarr needs zarr; type: pip install "msm3d\[zarr\]"\.$'
    for call in (lambda: read(out), lambda: write(tmp_path / "b.zarr")):
        with pytest.raises(DependencyError, match=said):
            call()
    assert results.is_store(out)
    assert os.listdir(tmp_path) == ["out.zarr"]
