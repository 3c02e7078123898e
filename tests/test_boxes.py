"""Boxes around points, what two of them share, and their average precision."""

import numpy as np
import pytest

from msm3d.errors import InputError
from msm3d.tasks.instances import aligned_box, box_average_precision, box_iou, oriented_box
from msm3d.tasks.instances.boxes import hull
from msm3d.tasks.instances.detection import voc


def corners_of(box):
    c, s = np.cos(box[6]), np.sin(box[6])
    signs = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    return signs * box[3:6] @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + box[:3]


@pytest.mark.parametrize("heading", [0.0, 0.3, 1.2, 1.5])
def test_the_smallest_box_of_a_box_is_itself(heading):
    box = np.array([3.0, -2, 1, 2.0, 0.7, 1.4, heading])
    inside = np.random.default_rng(0).uniform(-0.5, 0.5, (500, 3)) * 0.9
    c, s = np.cos(heading), np.sin(heading)
    inside = inside * box[3:6] @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + box[:3]
    found = oriented_box(np.concatenate([corners_of(box), inside]))
    assert np.allclose(found, box, atol=1e-9)
    far = oriented_box(corners_of(box) + [5e5, 4e6, 0])
    assert np.allclose(far - box, [5e5, 4e6, 0, 0, 0, 0, 0], atol=1e-6)


def test_no_turned_box_is_smaller():
    points = np.random.default_rng(1).normal(size=(300, 3)) * [2, 1, 1]
    best = np.prod(oriented_box(points)[3:5])
    for angle in np.linspace(0, np.pi, 181):
        turned = points[:, :2] @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        assert np.prod(np.ptp(turned, 0)) >= best - 1e-9
    assert best < np.prod(aligned_box(points)[3:5])


def test_boxes_hold_their_points_and_little_points_have_boxes():
    rng = np.random.default_rng(2)
    for n in (1, 2, 3, 4, 50, 3000):
        points = rng.normal(size=(n, 3))
        box = oriented_box(points)
        c, s = np.cos(box[6]), np.sin(box[6])
        local = (points - box[:3]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        assert (np.abs(local) <= box[3:6] / 2 + 1e-9).all()
        assert 0 <= box[6] < np.pi / 2
        assert (np.abs(points - aligned_box(points)[:3]) <= aligned_box(points)[3:6] / 2 + 1e-12).all()
    line = np.arange(5)[:, None] * np.array([1.0, 1, 0])
    assert np.allclose(oriented_box(line), [2, 2, 0, np.sqrt(32), 0, 0, np.pi / 4])
    assert np.allclose(oriented_box(np.ones((4, 3))), [1, 1, 1, 0, 0, 0, 0])


def test_the_order_of_points_does_not_matter():
    points = np.random.default_rng(3).integers(0, 9, (200, 3)).astype(float)
    assert np.allclose(oriented_box(points), oriented_box(points[::-1]), atol=1e-12)


def test_a_hull_has_all_points_on_its_left():
    rng = np.random.default_rng(4)
    for points in (rng.normal(size=(400, 2)), rng.integers(0, 5, (100, 2)).astype(float), rng.normal(size=(2, 2))):
        corners = hull(points)
        for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
            turn = (b[0] - a[0]) * (points[:, 1] - a[1]) - (b[1] - a[1]) * (points[:, 0] - a[0])
            assert (turn >= -1e-9).all()


def sampled_iou(one, other, n=200_000):
    """By counting points: what the exact numbers must be close to."""
    rng = np.random.default_rng(0)
    low = np.minimum(corners_of(one).min(0), corners_of(other).min(0))
    high = np.maximum(corners_of(one).max(0), corners_of(other).max(0))
    points, inside = rng.uniform(low, high, (n, 3)), []
    for box in (one, other):
        c, s = np.cos(box[6]), np.sin(box[6])
        local = (points - box[:3]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        inside.append((np.abs(local) <= box[3:6] / 2).all(1))
    return (inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()


def test_shares_of_turned_boxes_are_those_that_are_counted():
    rng = np.random.default_rng(5)
    for _ in range(5):
        one, other = (
            np.array([*rng.uniform(-0.3, 0.3, 3), *rng.uniform(0.5, 2, 3), rng.uniform(0, np.pi)]) for _ in range(2)
        )
        assert box_iou([one], [other])[0, 0] == pytest.approx(sampled_iou(one, other), abs=0.01)
        assert box_iou([one], [other])[0, 0] == pytest.approx(box_iou([other], [one])[0, 0], abs=1e-12)


def test_shares_by_hand():
    box = np.array([0, 0, 0, 2.0, 2, 2, 0])
    beside, above, apart, within = (
        box + [*shift, 0, 0, 0, 0] for shift in ([1, 0, 0], [0, 0, 1.5], [2, 0, 0], [0] * 3)
    )
    within[3:6] = 1
    assert box_iou([box], [box, beside, above, apart, within])[0].tolist() == pytest.approx([1, 1 / 3, 1 / 7, 0, 1 / 8])
    turned = box + [0, 0, 0, 0, 0, 0, np.pi / 4]
    octagon = 8 * (np.sqrt(2) - 1)
    assert box_iou([box], [turned])[0, 0] == pytest.approx(octagon / (8 - octagon))
    same = [box + [0, 0, 0, 0, 0, 0, heading] for heading in (np.pi / 2, np.pi, 1e-12)]
    assert box_iou([box], same)[0].tolist() == pytest.approx([1, 1, 1])
    assert box_iou([box * 0], [box * 0])[0, 0] == 0  # flat boxes share nothing
    assert box_iou(np.zeros((0, 7)), [box]).shape == (0, 1)


def test_both_ways_to_compute_agree():
    rng = np.random.default_rng(6)
    boxes = np.concatenate([rng.uniform(-1, 1, (12, 3)), rng.uniform(0.2, 2, (12, 3)), np.zeros((12, 1))], 1)
    turned = boxes + [0, 0, 0, 0, 0, 0, np.pi]
    assert np.allclose(box_iou(boxes, boxes), box_iou(boxes, turned), atol=1e-12)


@pytest.mark.parametrize("boxes", [np.ones((2, 6)), [[0, 0, 0, 1, -1, 1, 0]], [[0, 0, 0, 1, 1, 1, np.nan]]])
def test_what_is_no_box_is_one_sentence(boxes):
    with pytest.raises(InputError, match=r"^boxes have shape .*; give \(m, 7\): centre, size from 0 on, heading"):
        box_iou(boxes, boxes)


def test_no_points_have_no_box():
    for box in (aligned_box, oriented_box):
        with pytest.raises(InputError, match=r"^the points of a box have shape \(0, 3\); give \(n, 3\)"):
            box(np.zeros((0, 3)))


# --- average precision ---


def at(x, width=1.0):
    return [x, 0, 0, width, 1, 1, 0]


def judged(boxes, scores, true=(0.0, 5.0), classes=None):
    k = len(boxes)
    scene = {"true_boxes": [at(x) for x in true], "true_classes": [1] * len(true), "boxes": boxes}
    return box_average_precision([scene | {"classes": classes or [1] * k, "scores": scores}], classes=2)


def test_curves_of_boxes_by_hand():
    assert judged([at(0), at(5)], [0.9, 0.8])["box_ap50"] == 1
    assert judged([at(0)], [0.9])["box_ap50"] == 0.5
    assert judged([at(0), at(9), at(5)], [0.9, 0.8, 0.7])["box_ap50"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert judged([at(9), at(0)], [0.9, 0.8])["box_ap50"] == pytest.approx(0.25)
    assert judged([], [])["box_ap50"] == 0
    assert judged([at(0)], [0.9], classes=[0])["box_ap50"] == 0
    assert voc(np.array([False, True, True]), 2) == pytest.approx(2 / 3)  # the envelope, not each precision


def test_a_box_is_held_against_the_true_one_that_it_overlaps_most_and_each_is_found_once():
    twice = judged([at(0), at(0), at(5)], [0.9, 0.8, 0.7])
    assert twice["box_ap50"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    lower = judged([at(0), at(0.2), at(5)], [0.8, 0.9, 0.7])  # the surer one takes it, though it fits worse
    assert lower == judged([at(0.2), at(0), at(5)], [0.9, 0.8, 0.7])
    near = judged([at(0), at(0.1)], [0.9, 0.8], true=(0.0, 0.6))
    assert near["box_ap25"] == 0.5  # the second prefers the one that is taken


def test_overlap_must_be_more_than_the_threshold():
    assert judged([at(0, 0.5)], [0.9], true=(0.0,))["box_ap50"] == 0
    assert judged([at(0, 0.51)], [0.9], true=(0.0,))["box_ap50"] == 1
    assert judged([at(0, 0.5)], [0.9], true=(0.0,))["box_ap25"] == 1


def test_scenes_count_together_and_in_any_order():
    rng, scenes = np.random.default_rng(7), []
    for _ in range(4):
        true = [[*rng.uniform(0, 4, 3), 1, 1, 1, 0] for _ in range(5)]
        boxes = [[*(np.array(one[:3]) + rng.normal(0, 0.15, 3)), 1, 1, 1, 0] for one in true]
        scores, classes = rng.permutation(100)[:5] / 100, rng.integers(0, 3, 5)
        scenes.append(
            {"true_boxes": true, "true_classes": classes, "boxes": boxes, "classes": classes, "scores": scores}
        )
    found = box_average_precision(scenes, classes=["a", "b", "c"], ignore=(0,))
    assert 0 < found["box_ap50"] < 1
    assert found == box_average_precision(scenes[::-1], classes=["a", "b", "c"], ignore=(0,))
    assert "box_ap50/a" not in found
    assert box_average_precision([], classes=2) == {}
    with pytest.raises(InputError, match="there are 5 true boxes of 5 classes, 5 boxes, 4 classes and 5 scores"):
        box_average_precision([scenes[0] | {"classes": [1] * 4}], classes=3)
    with pytest.raises(InputError, match=r"a box has the class 7; give 0 to 2\."):
        box_average_precision([scenes[0] | {"classes": [7] * 5}], classes=3)
