import numpy as np
import pytest
from plyfile import PlyData
from safetensors.numpy import load_file

from msm3d import results
from msm3d.errors import InputError


def write(path, coord, feat, rows=None):
    with results.writing(path, coord, feat.shape[1], feat.dtype.name, rows) as target:
        target[:] = feat
    return path


COORD = np.random.default_rng(0).normal((682244.65, 0, 0), size=(50, 3))
FEAT = np.random.default_rng(1).normal(size=(50, 5)).astype(np.float32)


def test_npz_has_coord_feat_and_rows(tmp_path):
    path = write(tmp_path / "a.npz", COORD, FEAT, np.arange(50))
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file.files) == ["coord", "feat", "rows"]
        assert np.array_equal(file["coord"], COORD)
        assert np.array_equal(file["feat"], FEAT)


def test_npy_is_the_features_alone(tmp_path):
    half = FEAT.astype(np.float16)
    assert np.array_equal(np.load(write(tmp_path / "a.npy", COORD, half)), half)


def test_safetensors(tmp_path):
    arrays = load_file(write(tmp_path / "a.safetensors", COORD, FEAT))
    assert sorted(arrays) == ["coord", "feat"]
    assert np.array_equal(arrays["feat"], FEAT)


def test_ply_opens_elsewhere(tmp_path):
    vertex = PlyData.read(write(tmp_path / "a.ply", COORD, FEAT))["vertex"]
    assert np.array_equal(np.stack([vertex[axis] for axis in "xyz"], 1), COORD)
    assert np.array_equal(vertex["feat_4"], FEAT[:, 4])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.xyz", "{} cannot hold features; end it with one of .npz, .npy, .safetensors, .ply."),
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


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.safetensors", "a.ply"])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, name):
    path = write(tmp_path / name, COORD, FEAT)
    before = path.read_bytes()

    def interrupted():
        with results.writing(path, COORD, 5) as feat:
            feat[:10] = 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_format_cannot_hold_is_said(tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match=r"PLY has no float16; write \.npy, \.npz or \.safetensors, or leave out --dtype\."
    ):
        write(tmp_path / "a.ply", COORD, FEAT.astype(np.float16))
    monkeypatch.setattr("msm3d.memory.available", lambda *_: 100)
    with pytest.raises(
        InputError, match=r"would hold 0\.0 GB, more than memory; write \.npy or \.safetensors instead\."
    ):
        write(tmp_path / "a.npz", COORD, FEAT)
    write(tmp_path / "a.npy", COORD, FEAT)
