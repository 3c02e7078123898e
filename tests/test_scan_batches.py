"""Scans in training loops: items, batches, workers, and what extract makes of them."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from msm3d.datasets import Scans, collate
from msm3d.errors import FileError, InputError
from msm3d.scan.options import ReadOptions
from tests.conftest import make_scene


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        scene = make_scene(i, 50 + i)
        np.savez(tmp_path / f"{i}.npz", **scene, segment=np.arange(len(scene["coord"])) % 4)
    return tmp_path


def test_items_are_what_the_files_hold(folder):
    scans = Scans(folder)
    item, scene = scans[1], make_scene(1, 51)
    assert (len(scans), item["name"]) == (3, "1.npz")
    assert np.array_equal(item["coord"].numpy(), scene["coord"])
    assert np.array_equal(item["color"].numpy(), scene["color"])
    assert [item[name].dtype for name in ("coord", "color", "normal", "segment")] == [
        torch.float64,
        torch.float32,
        torch.float32,
        torch.int64,
    ]
    assert "instance" not in item
    np.savez(folder / "0.npz", coord=scene["coord"] * 100)
    mixed = Scans([folder / "0.npz", {"coord": scene["coord"] * 100}], ReadOptions(units="cm"))
    np.testing.assert_allclose(mixed[1]["coord"].numpy(), scene["coord"], atol=1e-9)
    assert [mixed[i]["name"] for i in (0, 1, -1)] == ["0.npz", "1", "1"]
    with pytest.raises(IndexError):
        scans[3]


def test_a_batch_is_taken_apart_by_its_offset_and_extract_takes_it(folder, model):
    scans = Scans(folder)
    [batch] = DataLoader(scans, batch_size=3, collate_fn=collate)
    assert batch["offset"].tolist() == [150, 303, 459]
    assert torch.bincount(batch["batch"]).tolist() == [150, 153, 156]
    assert batch["name"] == ["0.npz", "1.npz", "2.npz"]
    rows = model.extract({name: batch[name] for name in ("coord", "color", "normal", "offset")})
    for i, part in enumerate(torch.tensor_split(rows, batch["offset"][:-1])):
        alone = model.extract({name: scans[i][name] for name in ("coord", "color", "normal")})
        assert torch.equal(part, alone)
    other = model.extract({name: batch[name] for name in ("coord", "color", "normal", "batch")})
    assert torch.equal(rows, other)


def test_fields_that_some_lack_are_left_out():
    one, two = Scans([{"coord": np.eye(3), "color": np.eye(3)}, {"coord": np.eye(3) + 1}])
    assert sorted(collate([one, two])) == ["batch", "coord", "name", "offset"]
    assert "color" in collate([one])


def test_what_cannot_be_put_together_is_said(folder):
    with pytest.raises(InputError, match=r"^there are no scans to put together; give at least one\.$"):
        collate([])
    with pytest.raises(InputError, match=r"^there are no scans; give at least one\.$"):
        Scans([])
    items = [{"coord": torch.zeros(n, 3), "segment": torch.zeros(k)} for n, k in [(1, 1), (2, 3)]]
    with pytest.raises(InputError, match=r"^item 1 has fields of lengths \{'coord': 2, 'segment': 3\}; give coord"):
        collate(items)
    with pytest.raises(InputError, match=r"^item 0 has fields of lengths \{\}; give coord"):
        collate([{"name": "a"}])
    (folder / "3.ply").write_text("ply\n")
    with pytest.raises(FileError, match=r"3\.ply"):
        Scans(folder)[3]
