"""Average precision of masks: the published evaluator's numbers, its traps, and laws that any order keeps."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import msm3d
from msm3d.errors import InputError
from msm3d.evaluate import SCANNET20, ClassList
from msm3d.tasks import average_precision

DATA = Path(__file__).parent / "data"
FIELDS = ("segment", "instance", "masks", "classes", "scores")
NAMES = [f"class{label}" for label in range(8)]


@pytest.fixture(scope="module")
def golden():
    arrays = load_file(DATA / "instance_ap.safetensors")
    return [{name: arrays[f"scene{k}.{name}"] for name in FIELDS} for k in range(4)]


def judged(scenes):
    return average_precision(scenes, classes=NAMES, ignore=(-1, 0, 1))


@pytest.mark.parametrize(("which", "scenes"), [("all", slice(None)), ("first_scene_only", slice(1))])
def test_numbers_are_those_of_the_published_evaluator(golden, which, scenes):
    found, expected = judged(golden[scenes]), json.loads((DATA / "instance_ap.json").read_text())[which]
    for mine, theirs in (("map", "all_ap"), ("ap50", "all_ap_50%"), ("ap25", "all_ap_25%")):
        assert found[mine] == pytest.approx(expected[theirs], abs=1e-12, rel=0)
    for name, values in expected["classes"].items():
        for mine, theirs in (("map", "ap"), ("ap50", "ap50%"), ("ap25", "ap25%")):
            value = values[theirs]
            assert found.get(f"{mine}/{name}") == (None if value is None else pytest.approx(value, abs=1e-12, rel=0))
    assert list(found)[:3] == ["map", "ap50", "ap25"]


def scene(sizes, overlaps, scores=None, classes=None, void=0):
    """Instances of class 1 of some points each, and predictions: (instance, points of it, other points, void points).

    Between the instances lie points of class 2 without an instance, and void ones at the end.
    """
    free = 2000
    segment = np.repeat([1, 2, 0], [sum(sizes), free, void])
    instance = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.full(free + void, -1)])
    starts, masks, used, used_void = np.cumsum([0, *sizes]), [], sum(sizes), sum(sizes) + free
    for number, inside, outside, of_void in overlaps:
        mask = np.zeros(len(segment), bool)
        mask[starts[number] : starts[number] + inside] = True
        mask[used : used + outside] = True
        mask[used_void : used_void + of_void] = True
        used, used_void = used + outside, used_void + of_void
        masks.append(mask)
    k = len(masks)
    said = {"classes": np.ones(k, int) if classes is None else np.array(classes), "scores": scores or [0.5] * k}
    return {"segment": segment, "instance": instance, "masks": np.array(masks, bool).reshape(k, len(segment)), **said}


def ap50(*scenes):
    return average_precision(scenes, classes=3, ignore=(0,))["ap50/1"]


ALL, HALF = (0, 200, 0, 0), (0, 100, 0, 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (dict(overlaps=[(i, 200, 0, 0) for i in range(3)], scores=[0.9, 0.8, 0.7]), 1.0),
        (dict(overlaps=[(i, 200, 0, 0) for i in range(3)], scores=[0.5, 0.5, 0.5]), 1.0),
        (dict(overlaps=[ALL, (1, 200, 0, 0), (2, 0, 150, 0)], scores=[0.9, 0.8, 0.1]), 2 / 3),
        (dict(overlaps=[ALL, (1, 200, 0, 0), (2, 0, 150, 0)], scores=[0.8, 0.7, 0.9]), 0.2778),
        (dict(overlaps=[(2, 0, 150, 0)]), 0.0),
        (dict(overlaps=[]), 0.0),
    ],
)
def test_curves_by_hand(given, expected):
    assert ap50(scene([200, 200, 200], **given)) == pytest.approx(expected, abs=1e-4)


def test_an_overlap_of_exactly_the_threshold_is_too_little():
    assert ap50(scene([200], [HALF])) == 0
    assert ap50(scene([200], [(0, 101, 0, 0)])) == 1
    assert average_precision([scene([400], [HALF])], classes=3)["ap25/1"] == 0


def test_nine_overlaps_end_at_0_90():
    """A mask with 0.92 of an instance is right at all of them: there is no 0.95."""
    found = average_precision([scene([200], [(0, 184, 0, 0)])], classes=3, ignore=(0,))
    assert found["map/1"] == 1
    assert average_precision([scene([200], [(0, 180, 0, 0)])], classes=3)["map/1"] == pytest.approx(8 / 9)


def test_predictions_are_matched_in_their_order_and_keep_the_higher_score():
    """Two masks of one thing: whichever comes first takes it, and the lower score is the wrong one."""
    both, wrong = [ALL, (0, 180, 0, 0)], (1, 0, 150, 0)
    for scores in ([0.9, 0.3], [0.3, 0.9]):
        assert ap50(scene([200], both, scores)) == ap50(scene([200], both, scores[::-1]))
    assert ap50(scene([200, 200], [*both, wrong], [0.3, 0.9, 0.6])) == ap50(
        scene([200, 200], [*both, wrong], [0.9, 0.3, 0.6])
    )


def test_a_further_mask_may_still_be_anothers():
    """At 0.25 a mask may overlap two things: the second takes it though it was wrong of the first."""
    two = scene([200, 200], [ALL])
    two["masks"] = np.concatenate([two["masks"], [two["instance"] >= 0]])
    two |= {"classes": [1, 1], "scores": [0.9, 0.8]}
    found = average_precision([two], classes=3)
    # right at .9 and .8, wrong at .8: precision 2/3 at recall 1, then 1 at recall 1/2, and 1 at recall 0
    assert found["ap25/1"] == pytest.approx(2 / 3 * 0.25 + 1 * 0.5 + 1 * 0.25)


def test_what_lies_mostly_in_the_void_is_excused():
    """At 0.5 a wrong mask counts if at most half of it is void."""
    thing = ALL
    assert ap50(scene([200], [thing, (0, 0, 75, 75)], [0.5, 0.9], void=200)) < 1
    assert ap50(scene([200], [thing, (0, 0, 74, 76)], [0.5, 0.9], void=200)) == 1


def test_small_instances_excuse_and_do_not_count():
    assert ap50(scene([200, 99], [ALL])) == 1
    assert ap50(scene([200, 99], [ALL, (1, 99, 10, 0)], [0.5, 0.9])) == 1
    assert ap50(scene([200, 99], [ALL, (1, 60, 45, 0)], [0.5, 0.9])) == 1  # matches it: 60 of 144, excused 60 of 105
    assert ap50(scene([200, 99], [ALL, (1, 60, 61, 0)], [0.5, 0.9])) < 1
    assert "ap50/1" not in average_precision([scene([99], [(0, 99, 10, 0)])], classes=3)


def test_small_predictions_do_not_count():
    assert ap50(scene([200, 200], [ALL, (1, 0, 99, 0)], [0.5, 0.9])) == ap50(scene([200, 200], [ALL]))
    assert ap50(scene([200, 200], [ALL, (1, 0, 100, 0)], [0.5, 0.9])) < ap50(scene([200, 200], [ALL]))


def test_if_all_predictions_are_excused_the_class_scores_0():
    """Where ScanNet's own script fails."""
    assert ap50(scene([200], [(0, 0, 10, 140)], void=200)) == 0


def test_predictions_of_another_class_or_of_an_ignored_one_take_nothing():
    assert ap50(scene([200], [ALL], classes=[2])) == 0
    assert ap50(scene([200], [ALL, ALL], [0.5, 0.9], classes=[1, 0])) == 1
    assert ap50(scene([200], [ALL, ALL], [0.5, 0.9], classes=[1, -1])) == 1


def test_an_instances_class_is_that_of_its_first_point():
    mixed = scene([200], [ALL])
    mixed["segment"] = mixed["segment"].copy()
    mixed["segment"][150:200] = 2
    assert ap50(mixed) == 1
    mixed["segment"][0] = 2
    assert "ap50/1" not in average_precision([mixed], classes=3)


def test_no_class_with_instances_has_no_numbers():
    assert average_precision([], classes=3) == {}
    assert average_precision([scene([50], [])], classes=SCANNET20) == {}


# --- laws ---


def renamed(one, names):
    ids = np.unique(one["instance"])
    names = np.where(ids < 0, -1, names[: len(ids)])
    return one | {"instance": names[np.searchsorted(ids, one["instance"])]}


def test_the_order_of_scenes_and_the_names_of_instances_do_not_matter(golden):
    rng, expected = np.random.default_rng(0), judged(golden)
    assert judged(golden[::-1]) == pytest.approx(expected, abs=1e-14)
    assert judged(golden[2:] + golden[:2]) == pytest.approx(expected, abs=1e-14)
    ascending = np.sort(rng.permutation(10_000)[:100])
    assert judged([renamed(one, ascending) for one in golden]) == expected
    several = scene([200, 150, 300], [ALL, (1, 90, 10, 0), (2, 160, 40, 0)], [0.5, 0.9, 0.7])
    for _ in range(5):  # of masks that share no point names may be in any order
        assert ap50(renamed(several, rng.permutation(100)[:10])) == ap50(several)


def test_the_order_of_points_does_not_matter(golden):
    rng, other = np.random.default_rng(1), []
    for one in golden:
        _, first = np.unique(one["instance"], return_index=True)
        rest = np.setdiff1d(np.arange(len(one["segment"])), first)
        order = np.concatenate([first, rng.permutation(rest)])  # an instance's first point says its class
        rows = {name: one[name][order] for name in ("segment", "instance")}
        other.append(one | rows | {"masks": one["masks"][:, order]})
    assert judged(other) == judged(golden)


def test_more_overlap_is_never_worse():
    values = [average_precision([scene([200], [(0, n, 0, 0)])], classes=3)["map/1"] for n in range(100, 201, 4)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0, 1)


def test_monotone_scores_do_not_matter_and_a_surer_mistake_is_worse(golden):
    expected = judged(golden)
    assert judged([one | {"scores": one["scores"] ** 3} for one in golden]) == pytest.approx(expected, abs=1e-14)
    mistakes = [
        ap50(scene([200, 200], [ALL, (1, 200, 0, 0), (0, 0, 150, 0)], [0.8, 0.6, score])) for score in (0.9, 0.7, 0.5)
    ]
    assert mistakes == sorted(mistakes)
    assert len({*mistakes}) == 3


def test_the_truth_as_a_prediction_scores_1(golden):
    perfect = []
    for one in golden:
        ids, first = np.unique(one["instance"], return_index=True)
        ids, first = ids[ids >= 0], first[ids >= 0]
        masks = one["instance"] == ids[:, None]
        perfect.append(one | {"masks": masks, "classes": one["segment"][first], "scores": np.ones(len(ids))})
    assert {*judged(perfect).values()} == {1.0}


# --- arguments ---


def test_classes_are_a_number_names_or_a_list():
    one = scene([200], [ALL])
    assert average_precision([one], classes=3)["map/1"] == 1
    assert average_precision([one], classes=["a", "b", "c"])["map/b"] == 1
    assert average_precision(iter([one]), classes=ClassList("abc", ("a", "b", "c")))["map/b"] == 1
    assert msm3d.tasks.average_precision is average_precision


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"masks": np.ones((1, 7))},
            "masks have shape (1, 7), for 2200 labels, 2200 instances, 1 classes",
        ),
        (
            {"scores": [0.1, 0.2]},
            "masks have shape (1, 2200), for 2200 labels, 2200 instances, 1",
        ),
        ({"scores": [np.nan]}, "scores hold NaN or infinity; give a number for each mask, more being surer."),
        ({"classes": [3]}, "classes has the label 3; give 0 to 2, or -1."),
        ({"classes": [0.5]}, "classes has shape (1,) of float64; give a row of integers."),
        ({"segment": np.full(2200, 20)}, "segment has the label 20; give 0 to 2, or -1."),
        ({"instance": np.zeros((2200, 1))}, "instance has shape (2200, 1) of float64; give a row of integers."),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(change, message):
    with pytest.raises(InputError) as error:
        average_precision([scene([200], [ALL]) | change], classes=3)
    assert str(error.value).startswith(message)


def test_a_scene_that_lacks_an_array_is_named():
    with pytest.raises(InputError) as error:
        average_precision([scene([200], [ALL]), {"segment": []}], classes=3)
    assert str(error.value) == "scene 1 has no 'instance'; give all five arrays."
