"""Scores against matrices made by hand and against scikit-learn; the class lists against their own laws."""

import numpy as np
import pytest

from msm3d.errors import InputError
from msm3d.evaluate import S3DIS, SCANNET20, SCANNET200, Confusion, class_list, class_table


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 6, 5000)
    predicted = np.where(rng.random(5000) < 0.6, truth, rng.integers(0, 6, 5000))
    return truth, np.maximum(predicted, 0)


def test_scores_of_a_matrix_made_by_hand():
    confusion = Confusion(3)
    confusion.matrix[:] = [[6, 2, 0], [1, 3, 0], [0, 4, 4]]
    scores = confusion.scores()
    assert scores.iou == (6 / 9, 3 / 10, 4 / 8)
    assert scores.accuracy == (6 / 8, 3 / 4, 4 / 8)
    assert scores.miou == pytest.approx((6 / 9 + 3 / 10 + 4 / 8) / 3)
    assert scores.macc == pytest.approx((6 / 8 + 3 / 4 + 4 / 8) / 3)
    assert scores.allacc == 13 / 20
    assert scores.points == (8, 4, 8)


def test_a_class_only_predicted_lowers_miou_but_not_macc():
    scores = Confusion(3).update([0, 0, 0, 0], [0, 0, 0, 1]).scores()
    assert scores.iou == (3 / 4, 0.0, None)
    assert scores.accuracy == (3 / 4, None, None)
    assert (scores.miou, scores.macc) == (3 / 8, 3 / 4)


def test_absent_classes_are_zeros_in_the_mean_over_all():
    scores = Confusion(4).update([0, 1], [0, 1]).scores(average="all")
    assert (scores.miou, scores.macc, scores.allacc) == (0.5, 0.5, 1.0)


def test_nothing_to_judge_scores_zero():
    scores = Confusion(2).update([-1, -1], [0, 1]).scores()
    assert (scores.miou, scores.macc, scores.allacc, scores.iou) == (0.0, 0.0, 0.0, (None, None))


def test_scores_equal_scikit_learn(labels):
    metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = labels
    known = truth >= 0
    ours = Confusion(6).update(truth, predicted)
    assert (ours.matrix == metrics.confusion_matrix(truth[known], predicted[known], labels=range(6))).all()
    jaccard = metrics.jaccard_score(truth[known], predicted[known], average=None)
    assert ours.scores().iou == pytest.approx(tuple(jaccard), abs=1e-12)
    assert ours.scores().macc == pytest.approx(metrics.balanced_accuracy_score(truth[known], predicted[known]))
    assert ours.scores().allacc == pytest.approx(metrics.accuracy_score(truth[known], predicted[known]))


def test_streaming_equals_all_at_once(labels):
    truth, predicted = labels
    whole = Confusion(6).update(truth, predicted)
    parts = Confusion(6)
    for start in range(0, 5000, 700):
        parts.update(truth[start : start + 700], predicted[start : start + 700])
    assert (parts.matrix == whole.matrix).all()
    assert ((parts + whole).matrix == 2 * whole.matrix).all()


def test_another_label_may_be_the_ignored_one():
    assert Confusion(2, ignore=255).update([255, 1], [0, 1]).matrix.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([0, 1], [0], "truth has shape (2,) and predicted (1,); give one label per point in each."),
        ([0, 3], [0, 0], "truth has the label 3; give 0 to 2, or -1 to ignore."),
        ([0, -7], [0, 0], "truth has the label -7; give 0 to 2, or -1 to ignore."),
        ([0, 1], [0, 5], "predicted has the label 5; give 0 to 2."),
    ],
)
def test_labels_that_cannot_be_counted(truth, predicted, message):
    with pytest.raises(InputError) as error:
        Confusion(3).update(truth, predicted)
    assert str(error.value) == message


def test_an_unknown_average_is_refused():
    with pytest.raises(InputError) as error:
        Confusion(3).scores(average="some")
    assert str(error.value) == "average is 'some'; choose one of present, all."


@pytest.mark.parametrize(("classes", "count"), [(SCANNET20, 20), (SCANNET200, 200), (S3DIS, 13)])
def test_class_lists_are_complete(classes, count):
    assert len(classes) == len(set(classes.names)) == count
    assert len(set(classes.raw)) == len(classes.raw) in (0, count)
    assert list(classes.raw) == sorted(classes.raw)
    assert class_list(classes.name) is classes


def test_landmarks_of_the_class_lists():
    known = dict(zip(SCANNET200.raw, SCANNET200.names, strict=True))
    assert [known[i] for i in (1, 13, 80, 208, 417, 1163, 1191)] == [
        "wall", "pillow", "person", "toilet seat cover dispenser", "shower floor", "object", "mattress"
    ]  # fmt: skip
    assert dict(zip(SCANNET20.raw, SCANNET20.names, strict=True))[28] == "shower curtain"
    assert class_list("rooms").names == SCANNET20.names


def test_raw_ids_become_labels():
    assert SCANNET20.from_raw(np.array([1, 13, 14, 40, 0, -100])).tolist() == [0, -1, 12, -1, -1, -1]
    assert SCANNET200.from_raw(np.array([1191, 12, 5000])).tolist() == [199, -1, -1]


def test_the_class_table_names_every_class():
    table = class_table(Confusion(13).update([0, 12], [0, 0]).scores(), S3DIS.names)
    assert len(table.splitlines()) == 15
    assert "| ceiling | 50.0 | 100.0 | 1 |" in table
    assert "| clutter | 0.0 | 0.0 | 1 |" in table
