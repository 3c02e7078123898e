"""The weights that come with the package: they load offline, and say of a scan what they said when they were made."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import msm3d
from msm3d import rooms, weights
from msm3d.backbones.hunet.config import BackboneConfig
from msm3d.weights.store import MODEL

CHECKS = Path(__file__).parents[1] / "weights"
NAMES = ("rooms", "rooms-labelled")


def test_load_without_a_name_gives_them():
    model = msm3d.load(device="cpu")
    assert repr(model).startswith("Model(rooms-labelled: 400 channels in 4 levels, 0.05 m voxels, cpu, backend ")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_they_say_what_they_said_when_they_were_made(ops, name):
    check = load_file(CHECKS / name / "check.safetensors")
    model = msm3d.load(name, device="cpu", backend=ops.NAME)
    rows = model.extract({name: check[name] for name in ("coord", "color", "normal")})[check["rows"]]
    assert np.linalg.norm(rows - check["descriptors"]) < 1e-4 * np.linalg.norm(check["descriptors"])


@pytest.mark.parametrize("name", NAMES)
def test_they_are_small_half_precision_and_of_company_friendly_licence(name):
    info = weights.info(name)
    assert (info.licence, info.status) == ("MIT", "bundled")
    assert info.sha256 == weights.sha256(info.path / MODEL)
    assert (info.path / MODEL).stat().st_size <= 16e6
    assert {tensor.dtype for tensor in weights.read(info.path)[1].values()} == {torch.float16}
    release = weights.releases()[name]
    assert info.dims == tuple(release["dims"])
    assert (info.parameters, info.voxel_size) == (release["parameters"], 0.05)
    assert (info.scores, info.data, info.source) == (release["scores"], release["data"], release["source"])


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


def _cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_their_grid_is_anchored_and_a_file_without_the_field_is_published():
    config = msm3d.load(device="cpu").config
    assert config.origin == "anchored"
    older = {name: value for name, value in config.to_dict().items() if name != "origin"}
    assert BackboneConfig.from_dict(older).origin == "published"


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("distance", [0.05, 0.0731, 0.3, 1.3, 2.0])
@pytest.mark.filterwarnings("ignore::msm3d.errors.Msm3dWarning")
def test_one_stray_point_leaves_the_other_rows_as_they_are(axis, side, distance):
    scan = rooms.make(7_000_002, kind="bedroom", points=15_000)
    model, low, high = msm3d.load(device="cpu"), scan.coord.min(0), scan.coord.max(0)
    stray = np.random.default_rng(axis).uniform(low, high)
    stray[axis] = low[axis] - distance if side < 0 else high[axis] + distance
    still = model.extract({"coord": scan.coord, "color": scan.color})
    more = {"coord": np.vstack([scan.coord, stray]), "color": np.vstack([scan.color, scan.color[:1]])}
    cosine = _cosines(model.extract(more)[:-1], still)
    assert cosine.mean() >= 0.999
    assert np.quantile(cosine, 0.05) >= 0.99


@pytest.mark.parametrize("move", [(500_000, 4_600_000, 100), (7, -3, 1), (0.123, -4.567, 0.008)])
@pytest.mark.filterwarnings("ignore::msm3d.errors.Msm3dWarning")
def test_whole_millimetres_have_the_same_bits_anywhere(move):
    scan, model = rooms.make(7_000_003, kind="office", points=4000), msm3d.load(device="cpu")
    whole, move = np.rint(scan.coord * 1000), np.rint(np.array(move) * 1000)
    still, moved = (model.extract({"coord": c / 1000, "color": scan.color}) for c in (whole, whole + move))
    assert np.array_equal(still, moved)


def test_their_grid_can_be_read_as_the_published_one():
    """A stray's cells are far away, which reading at a part of the extent has to bear."""
    scan = rooms.make(7_000_003, kind="office", points=4000)
    more = {name: np.vstack([getattr(scan, name)] + [getattr(scan, name)[:1]]) for name in ("coord", "color", "normal")}
    more["coord"][-1] = scan.coord.max(0) + 1
    rows = msm3d.load(device="cpu").extract(more, sampling="published")
    assert np.isfinite(rows).all()
    assert np.linalg.norm(rows, axis=1).min() > 0
