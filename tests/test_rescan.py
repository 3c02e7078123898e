"""Each way of scanning takes away what such a scanner would not have seen, and labels stay with their points."""

import numpy as np
import pytest
import torch

from msm3d.errors import InputError
from msm3d.scan import rescan
from msm3d.scan.cloud import PointCloud
from msm3d.scan.rescan import Rescan, fused, in_balls, rescanned, seen
from tests.conftest import make_scene

BALL = [1, 0.7, 0.3]


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def cloud():
    """A floor, a wall and a ball of 4,000 points each, labelled 0, 1 and 2."""
    return PointCloud.of({**make_scene(0, 4000), "segment": np.repeat([0, 1, 2], 4000)})


def test_nothing_is_changed_and_nothing_drawn_by_default(cloud):
    generator = draw()
    assert rescanned(cloud, Rescan(), generator) is cloud
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=draw()))


def test_a_fused_mesh_has_one_point_per_cell_between_its_points(cloud):
    mesh = fused(cloud, 0.03, draw())
    assert 3000 < len(mesh) < len(cloud)
    gap = np.sort(np.linalg.norm(mesh.coord[:300, None] - mesh.coord[None], axis=2), 1)[:, 1]
    assert np.median(gap) > 0.015
    ball = np.linalg.norm(mesh.coord[mesh.segment == 2] - BALL, axis=1)
    assert ball.min() > 0.25, "a mean of points of a surface lies near it"
    assert ball.max() < 0.31
    assert np.abs(np.linalg.norm(mesh.normal, axis=1) - 1).max() < 1e-5


def test_what_is_behind_something_is_in_its_shadow():
    """A wall in front of another one: from the near side the far one is not seen, and more of what is near is."""
    rng = np.random.default_rng(0)
    y, z = rng.uniform(-2, 2, 20_000), rng.uniform(0, 2.5, 20_000)
    near, far = np.c_[np.full(20_000, 0.0), y, z], np.c_[np.full(20_000, 1.0), y, z]
    floor = np.c_[rng.uniform(-6, 0, 20_000), rng.uniform(-2, 2, 20_000), np.zeros(20_000)]
    coord = np.concatenate([near, far, floor])
    up = np.tile([0.0, 0, 1], (len(coord), 1))
    kept = seen(PointCloud.of({"coord": coord, "color": up, "normal": up}), 1, draw(1))
    assert kept[:20_000].mean() > 0.3
    assert kept[20_000:40_000].mean() < 0.03
    assert kept.mean() < 0.9


def test_a_frame_sees_less_than_a_turning_laser(cloud):
    for seed in range(5):
        around, ahead = seen(cloud, 1, draw(seed)), seen(cloud, 1, draw(seed), rescan.CAMERA)
        assert ahead.sum() < around.sum()


def test_holes_are_balls(cloud):
    inside = in_balls(cloud, draw(2))
    assert 0 < inside.sum() < len(cloud)
    assert inside[np.linalg.norm(cloud.coord - cloud.coord[inside][0], axis=1) < 0.001].all()


@pytest.mark.parametrize("name", ["mesh", "station", "thin", "holes", "estimate"])
def test_labels_go_with_their_points(cloud, name):
    for seed in range(3):
        changed = rescanned(cloud, Rescan(**{name: 1.0}), draw(seed))
        assert len(changed) >= rescan.LEAST
        ball = np.linalg.norm(changed.coord - BALL, axis=1) < 0.31
        assert (changed.segment[ball & (changed.coord[:, 2] > 0.1)] == 2).all()
        again = rescanned(cloud, Rescan(**{name: 1.0}), draw(seed))
        assert np.array_equal(again.coord, changed.coord)


def test_too_little_is_not_taken(monkeypatch, cloud):
    monkeypatch.setattr(rescan, "LEAST", len(cloud) + 1)
    assert rescanned(cloud, Rescan(mesh=1, thin=1, holes=1), draw()) is cloud


def test_a_chance_is_within_0_to_1():
    with pytest.raises(InputError, match=r"^mesh is 1\.5; it must be within 0 to 1\.$"):
        Rescan(mesh=1.5)
