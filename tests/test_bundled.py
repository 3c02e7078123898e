"""The weights that come with the package: they load offline, and say of a scan what they said when they were made."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import msm3d
from msm3d import rooms, weights
from msm3d.store import MODEL

CHECK = Path(__file__).parents[1] / "weights" / "rooms" / "check.safetensors"


def test_load_without_a_name_gives_them():
    model = msm3d.load(device="cpu")
    assert repr(model).startswith("Model(rooms: 400 channels in 4 levels, 0.05 m voxels, cpu, backend ")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_they_say_what_they_said_when_they_were_made(ops):
    check = load_file(CHECK)
    model = msm3d.load("rooms", device="cpu", backend=ops.NAME)
    rows = model.extract({name: check[name] for name in ("coord", "color", "normal")})[check["rows"]]
    assert np.linalg.norm(rows - check["descriptors"]) < 1e-4 * np.linalg.norm(check["descriptors"])


def test_they_are_small_half_precision_and_of_company_friendly_licence():
    info = weights.info("rooms")
    assert (info.licence, info.status) == ("MIT", "bundled")
    assert info.sha256 == weights.sha256(info.path / MODEL)
    assert (info.path / MODEL).stat().st_size <= 16e6
    assert {tensor.dtype for tensor in weights.read(info.path)[1].values()} == {torch.float16}
    assert info.dims == tuple(weights.releases()["rooms"]["dims"])
    assert (info.parameters, info.voxel_size) == (weights.releases()["rooms"]["parameters"], 0.05)


@pytest.mark.parametrize("missing", ["color", "normal"])
def test_colour_and_normals_may_be_missing(missing):
    """Features of most points stay nearer to their own than to those of the other points."""
    scan = rooms.make(7_000_001, kind="bedroom", points=6000)
    whole = {"coord": scan.coord, "color": scan.color, "normal": scan.normal}
    model = msm3d.load(device="cpu")
    with pytest.warns(msm3d.errors.Msm3dWarning, match="no colour" if missing == "color" else "no normals"):
        less = model.extract({name: value for name, value in whole.items() if name != missing}, levels=(2, 3))
    full = model.extract(whole, levels=(2, 3))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (less, full)]
    own, others = (unit[0] * unit[1]).sum(1), (unit[0] * np.roll(unit[1], 3000, axis=0)).sum(1)
    assert (own > others).mean() > 0.9
