"""Rules that files share with arrays: points without a position, several scenes, records, axes."""

import numpy as np
import pytest
import torch

from msm3d.errors import FileError, Msm3dWarning
from msm3d.io import arrays, as_cloud, read

RNG = np.random.default_rng(0)
XYZ = RNG.random((40, 3)).astype(np.float32)
RGB = RNG.integers(1, 256, (40, 3)).astype(np.uint8)
NORMAL = np.tile(np.array([0, 0.6, 0.8], dtype=np.float32), (40, 1))


def test_rows_that_are_left_out_of_a_file_are_left_out_of_what_is_passed(tmp_path):
    file = tmp_path / "scan.npz"
    coord = XYZ.copy()
    coord[::2] = np.nan
    np.savez(file, coord=coord)
    with pytest.warns(Msm3dWarning, match="20 of 40 points have no position"):
        cloud = as_cloud(file, color=RGB, normal=NORMAL)
    assert np.array_equal(cloud.color, RGB[1::2])
    assert (cloud.total, cloud.rows.tolist()) == (None, list(range(1, 40, 2)))
    whole = read(file, invalid="nan")
    assert (whole.total, whole.rows.tolist()) == (40, cloud.rows.tolist())
    assert np.array_equal(as_cloud(whole, color=RGB).color, cloud.color)


def test_normals_that_are_passed_are_in_the_files_own_axes(tmp_path, monkeypatch):
    file = tmp_path / "scan.npz"
    file.write_bytes(b"anything")
    monkeypatch.setattr(arrays, "content", lambda path, options: {"coord": XYZ, "up": "y", "units": "cm"})
    cloud = as_cloud(file, normal=NORMAL)
    np.testing.assert_allclose(cloud.coord * 100, XYZ[:, [0, 2, 1]] * [1, -1, 1], rtol=1e-6)
    np.testing.assert_allclose(cloud.normal, NORMAL[:, [0, 2, 1]] * [1, -1, 1], rtol=1e-6)


def test_several_scenes_in_a_file_are_refused(tmp_path):
    np.savez(tmp_path / "two.npz", coord=XYZ, offset=[20, 40])
    torch.save({"coord": torch.from_numpy(XYZ), "batch": torch.arange(40) // 20}, tmp_path / "two.pth")
    for name, key in (("two.npz", "offset"), ("two.pth", "batch")):
        cure = "give extract the arrays as a dictionary, or as a list"
        with pytest.raises(FileError, match=f"the points are 2 scenes by their {key}, where one is needed; {cure}"):
            read(tmp_path / name)
    np.savez(tmp_path / "one.npz", coord=XYZ, offset=[40])
    assert len(read(tmp_path / "one.npz")) == 40


def test_records_and_four_columns_are_one_rule_for_arrays_and_files(tmp_path):
    kinds = [
        (name, "u1" if name in ("red", "green", "blue") else "f4") for name in ("x", "y", "z", "red", "green", "blue")
    ]
    records = np.zeros(40, kinds)
    for (name, _), values in zip(kinds, np.hstack([XYZ, RGB]).T, strict=True):
        records[name] = values
    np.save(tmp_path / "records.npy", records)
    for points in (tmp_path / "records.npy", records):
        assert np.array_equal(as_cloud(points).coord, XYZ)
        assert np.array_equal(as_cloud(points).color, RGB)
    four = np.hstack([XYZ, XYZ[:, :1]])
    np.save(tmp_path / "four.npy", four)
    for points in (tmp_path / "four.npy", four):
        with pytest.warns(Msm3dWarning, match="the last is taken as intensity, which is not used"):
            assert np.array_equal(as_cloud(points).coord, XYZ)
