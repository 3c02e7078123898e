"""An augmented scene is still the same scene: rows, shape, angles and handedness go together."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from msm3d.errors import InputError
from msm3d.scan.augment import Augmentation, augmented, cropped
from msm3d.scan.cloud import PointCloud
from msm3d.scan.normals import GREY
from tests.conftest import make_scene

NOTHING = Augmentation(scale=0, jitter=0, brightness=0, tint=0, shade=0, noise=0)


@pytest.fixture
def cloud():
    scene = make_scene(0, n=300)
    return PointCloud.of({**scene, "segment": np.repeat([0, 1, 2], 300)})


def test_the_scene_stays_a_scene(cloud):
    before, strength = cloud.coord.copy(), Augmentation()
    generator = torch.Generator().manual_seed(0)
    changed = augmented(cloud, generator)
    assert (cloud.coord == before).all()
    assert (changed.segment == cloud.segment).all()
    assert np.abs(np.linalg.norm(changed.normal, axis=1) - 1).max() < 1e-5
    pairs = [np.linalg.norm(c.coord[:100, None] - c.coord[None, 300:400], axis=2) for c in (cloud, changed)]
    scale = np.median(pairs[1] / pairs[0])
    assert abs(scale - 1) <= strength.scale
    assert np.abs(pairs[1] - scale * pairs[0]).max() < 8 * strength.jitter
    np.testing.assert_allclose(changed.normal[:, 2], cloud.normal[:, 2], atol=1e-6)
    assert 0 <= changed.color.min() <= changed.color.max() <= 255
    turns = [augmented(cloud, generator).coord[0] for _ in range(4)]
    assert all(np.abs(a - b).max() > 0.01 for a, b in itertools.pairwise(turns))


def test_mirrors_and_normals_go_together(cloud):
    """The angle between the normals of two points and the way between them stays, for every draw."""
    way = cloud.coord[1] - cloud.coord[400]
    angle = cloud.normal[400] @ way / np.linalg.norm(way)
    handed = set()
    for seed in range(12):
        changed = augmented(cloud, torch.Generator().manual_seed(seed))
        way = changed.coord[1] - changed.coord[400]
        assert changed.normal[400] @ way / np.linalg.norm(way) == pytest.approx(angle, abs=0.05)
        handed.add(np.sign(np.linalg.det(changed.coord[[1, 100, 700]] - changed.coord[400])))
    assert handed == {-1.0, 1.0}


def test_what_is_not_asked_for_does_not_change(cloud):
    changed = augmented(cloud, torch.Generator().manual_seed(1), NOTHING)
    np.testing.assert_array_equal(changed.color, cloud.color)
    np.testing.assert_allclose(changed.coord[:, 2], cloud.coord[:, 2], atol=1e-12)


def test_leaning_tips_the_floor_by_no_more_than_was_said(cloud):
    strength = Augmentation(lean=0.1)
    tipped = [augmented(cloud, torch.Generator().manual_seed(seed), strength).normal[:300, 2] for seed in range(8)]
    angles = [np.arccos(z.min().clip(-1, 1)) for z in tipped]
    assert 0.01 < max(angles) <= 0.1 * 2**0.5


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("grey", lambda before, after: np.ptp(after.color, axis=1).max() == 0),
        ("no_color", lambda before, after: (after.color == GREY).all()),
        ("no_normal", lambda before, after: not after.normal.any()),
        ("swap", lambda before, after: np.array_equal(np.sort(after.color), np.sort(before.color))),
        ("tremble", lambda before, after: np.allclose(np.linalg.norm(after.normal, axis=1), 1, atol=1e-5)),
    ],
)
def test_each_cue_can_be_taken_away(cloud, name, check):
    changed = augmented(cloud, torch.Generator().manual_seed(4), replace(NOTHING, **{name: 1.0}))
    assert check(cloud, changed)
    assert not np.array_equal(changed.color, cloud.color) or not np.allclose(
        np.abs(changed.normal), np.abs(cloud.normal)
    )


def test_a_crop_is_what_is_near_its_middle(cloud):
    part = cropped(cloud, 60, torch.Generator().manual_seed(3))
    assert len(part) == len(part.segment) == 60
    assert np.ptp(part.coord[:, :2], axis=0).max() < np.ptp(cloud.coord[:, :2], axis=0).max()
    assert cropped(cloud, 10_000, torch.Generator().manual_seed(3)) is cloud


def test_strengths_have_ranges():
    with pytest.raises(InputError, match=r"^scale is 1\.5; it must be within 0 to 1\.$"):
        Augmentation(scale=1.5)


def test_cameras_differ_in_contrast_and_gamma(cloud):
    """Colours keep their order of brightness; their spread changes by no more than was asked for."""
    plain = augmented(cloud, torch.Generator().manual_seed(3), NOTHING).color
    for name, value in (("contrast", 0.4), ("gamma", 0.5)):
        strength = replace(NOTHING, **{name: value})
        spreads = []
        for seed in range(6):
            color = augmented(cloud, torch.Generator().manual_seed(seed), strength).color
            assert np.corrcoef(color.mean(1), plain.mean(1))[0, 1] > 0.95
            spreads.append(color.std() / plain.std())
        assert max(spreads) - min(spreads) > 0.1
        assert 0.35 < min(spreads)
        assert max(spreads) < 2
