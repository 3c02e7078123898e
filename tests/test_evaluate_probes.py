"""Probes find what was planted and nothing where there is nothing; streaming changes no bit."""

import numpy as np
import pytest
import torch

from msm3d.errors import InputError
from msm3d.evaluate import KNNProbe, LinearProbe, NotFittedError

PROBES = [LinearProbe(steps=30, batch=64), KNNProbe(k=3, bank=100)]


def planted(n: int, seed: int, classes: int = 5, channels: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Labels that a linear layer of the features decides, with channels of very different scale and offset."""
    layer = np.random.default_rng(99).normal(size=(channels, classes))
    X = np.random.default_rng(seed).normal(size=(n, channels))
    return (X * np.logspace(-3, 2, channels) + 7).astype(np.float32), (X @ layer).argmax(1)


def pieces(X, y, cuts):
    return [(X[a:b], y[a:b]) for a, b in zip([0, *cuts], [*cuts, len(X)], strict=True)]


def test_linear_recovers_a_planted_layer():
    probe = LinearProbe(steps=600, batch=256).fit(*planted(4000, 0))
    scores = probe.scores(*planted(2000, 1))
    assert scores.allacc > 0.95
    assert probe.losses_[-1] < 0.25 * probe.losses_[0]


def test_without_standardization_scales_matter():
    X, y = planted(4000, 0)
    plain = LinearProbe(steps=600, batch=256, standardize=False).fit(X, y).score(*planted(2000, 1))
    assert plain < LinearProbe(steps=600, batch=256).fit(X, y).score(*planted(2000, 1)) - 0.1


def test_linear_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = planted(3000, 0)
    test, truth = planted(2000, 1)
    theirs = linear_model.LogisticRegression(max_iter=500).fit((X - X.mean(0)) / X.std(0), y)
    expected = theirs.score((test - X.mean(0)) / X.std(0), truth)
    assert LinearProbe(steps=600, batch=256).fit(X, y).scores(test, truth).allacc == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "knn"])
def test_noise_scores_chance(probe):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4000, 8)), rng.integers(0, 4, 4000)
    probe = type(probe)(**probe.get_params() | {"bank": 2000} if isinstance(probe, KNNProbe) else {"steps": 200})
    probe.fit(X[:2000], y[:2000])
    assert probe.scores(X[2000:], y[2000:]).allacc == pytest.approx(0.25, abs=0.04)
    assert probe.score(X[2000:], y[2000:]) < 0.2


def test_the_folded_layer_is_what_predicts():
    X, y = planted(500, 0)
    probe = LinearProbe(steps=50, blocks=[slice(1, 3), slice(5, 9)]).fit(X, y)
    logits = X @ probe.coef_.T + probe.intercept_
    np.testing.assert_allclose(probe.decision_function(X), logits, rtol=1e-4, atol=1e-4)
    assert (probe.coef_[:, [0, 3, 4, 9, 10, 11]] == 0).all()
    assert probe.coef_[:, [1, 2, 5, 6, 7, 8]].all()
    np.testing.assert_allclose(probe.predict_proba(X).sum(1), 1, rtol=1e-5)
    assert (probe.predict(X) == probe.classes_[logits.argmax(1)]).mean() > 0.99


def brute_force(train, y, test, k, temperature):
    train, test = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (train, test))
    out = []
    for row in test @ train.T:
        best = np.argsort(-row)[:k]
        votes = np.zeros(y.max() + 1)
        for i in best:
            votes[y[i]] += 1 if temperature is None else np.exp(row[i] / temperature)
        out.append(votes.argmax())
    return np.array(out)


@pytest.mark.parametrize(("k", "temperature"), [(1, None), (1, 0.07), (20, 0.07), (5, None)])
def test_knn_equals_brute_force(k, temperature):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 300)
    X = rng.normal(size=(300, 6)) + np.eye(6)[y]
    test = rng.normal(size=(200, 6)) + np.eye(6)[rng.integers(0, 4, 200)]
    probe = KNNProbe(k=k, temperature=temperature, bank=None).fit(X, y)
    assert (probe.predict(test) == brute_force(X, y, test, k, temperature)).all()
    assert (probe.vote(*probe.neighbours(test)) == probe.predict(test)).all()
    np.testing.assert_allclose(probe.predict_proba(test).sum(1), 1, rtol=1e-5)


def test_knn_gives_every_block_the_same_say():
    """A wide, large block of noise drowns a small good one, unless each block is scaled to length 1."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 1200)
    good, noise = 0.01 * (np.eye(3)[y] + 0.1 * rng.normal(size=(1200, 3))), 10 * rng.normal(size=(1200, 30))
    X = np.concatenate([good, noise], 1)
    blocks = [slice(0, 3), slice(3, 33)]
    drowned = KNNProbe(bank=None).fit(X[:800], y[:800]).scores(X[800:], y[800:]).allacc
    scaled = KNNProbe(bank=None, blocks=blocks).fit(X[:800], y[:800])
    alone = KNNProbe(bank=None, blocks=blocks[:1]).fit(X[:800], y[:800])
    assert drowned < 0.5
    assert scaled.scores(X[800:], y[800:]).allacc > 0.9
    assert alone.scores(X[800:], y[800:]).allacc > 0.95
    a, b = (X[:800, block] / np.linalg.norm(X[:800, block], axis=1, keepdims=True) for block in blocks)
    expected = (a[:1] @ a.T + b[:1] @ b.T) / 2  # the mean of the two cosines
    assert float(scaled.neighbours(X[:1], 2)[0][0, 1]) == pytest.approx(np.sort(expected[0])[-2], abs=1e-5)


def test_one_comparison_serves_every_choice_of_slices():
    X, y = np.random.default_rng(0).normal(size=(900, 12)), np.arange(900) % 4
    blocks = [slice(0, 3), slice(3, 8), slice(8, 12)]
    choices = [blocks, blocks[:1], blocks[1:], [blocks[2]], [blocks[0], blocks[2]]]
    shared = KNNProbe(k=5, bank=300, blocks=blocks).fit(X[:600], y[:600]).neighbours_by(X[600:], choices)
    for choice, (similarity, rows) in zip(choices, shared, strict=True):
        alone = KNNProbe(k=5, bank=300, blocks=choice).fit(X[:600], y[:600])
        expected, theirs = alone.neighbours(X[600:])
        assert (rows == theirs).float().mean() > 0.999
        torch.testing.assert_close(similarity, expected, rtol=0, atol=1e-5)


def test_a_linear_probe_is_the_same_whether_its_rows_are_held_or_read_again(monkeypatch):
    X, y = planted(600, 0)
    held = LinearProbe(steps=50, batch=100).fit(X, y)
    monkeypatch.setattr("msm3d.tasks.heads.softmax.HELD", 0)
    again = LinearProbe(steps=50, batch=100).fit(X, y)
    assert (held.coef_ == again.coef_).all()
    assert held.losses_ == again.losses_


def test_the_bank_is_balanced_or_uniform():
    y = np.repeat([0, 1, 2], [9000, 900, 10])
    X = np.random.default_rng(0).normal(size=(len(y), 2))
    assert np.bincount(KNNProbe(bank=310).fit(X, y).bank_labels_).tolist() == [150, 150, 10]
    uniform = np.bincount(KNNProbe(bank=991, balanced=False).fit(X, y).bank_labels_, minlength=3)
    assert uniform.sum() == 991
    assert 850 < uniform[0] < 950


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "knn"])
def test_streaming_equals_in_memory(probe, tmp_path):
    X, y = planted(700, 0)
    X, y = X.astype(np.float16), np.where(np.arange(700) % 7 == 0, -1, y)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    whole = type(probe)(**probe.get_params()).fit(X, y)
    streamed = type(probe)(**probe.get_params()).fit(iter(pieces(mapped, y, [10, 10, 400])))
    test, truth = planted(300, 1)
    assert (streamed.predict_proba(test) == whole.predict_proba(test)).all()
    assert streamed.scores(pieces(test, truth, [1, 250])) == whole.scores(test, truth)


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "knn"])
def test_one_random_state_gives_one_probe(probe):
    X, y = planted(700, 0)
    first, again, other = (type(probe)(**probe.get_params() | {"random_state": s}).fit(X, y) for s in (4, 4, 5))
    assert (first.predict_proba(X) == again.predict_proba(X)).all()
    assert (first.predict_proba(X) != other.predict_proba(X)).any()


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "knn"])
def test_ignored_rows_teach_nothing_and_tensors_will_do(probe):
    X, y = planted(400, 0)
    dirty, labels = np.concatenate([X, np.full((50, 12), 1e4, np.float32)]), np.concatenate([y, np.full(50, 255)])
    clean = type(probe)(**probe.get_params()).fit(X, y)
    other = type(probe)(**probe.get_params() | {"ignore": 255}).fit(torch.from_numpy(dirty), torch.from_numpy(labels))
    assert (other.predict_proba(X) == clean.predict_proba(X)).all()
    assert sum(other.scores(dirty, labels).points) == 400
    assert len(other.scores(dirty, labels).iou) == 5


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "knn"])
def test_labels_may_be_any_integers(probe):
    X, y = planted(400, 0, classes=3)
    names = np.array([17, 2, 40])
    renamed = type(probe)(**probe.get_params()).fit(X, names[y])
    assert renamed.classes_.tolist() == [2, 17, 40]
    assert set(renamed.predict(X)) <= {2, 17, 40}
    assert len(renamed.predict(X[:0])) == 0
    assert len(renamed.scores(X, names[y]).iou) == 41


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "knn"])
def test_probes_are_cloned_by_scikit_learn(probe):
    base = pytest.importorskip("sklearn.base")
    probe = type(probe)(**probe.get_params() | {"blocks": [slice(0, 4), slice(4, 12)]})
    probe.fit(*planted(200, 0))
    copy = base.clone(probe)
    assert copy.get_params() == probe.get_params()
    assert not hasattr(copy, "classes_")
    assert copy.set_params(random_state=9) is copy
    assert "random_state=9" in repr(copy)


def test_what_cannot_be_done_is_one_sentence():
    X, y = planted(20, 0)
    cases = [
        (lambda: LinearProbe().set_params(step=3), "LinearProbe has no parameter 'step'; choose among steps, batch,"),
        (lambda: LinearProbe(steps=0).fit(X, y), "steps is 0; it must be at least 1."),
        (lambda: KNNProbe(k=0).fit(X, y), "k is 0; it must be at least 1."),
        (lambda: KNNProbe(temperature=0.0).fit(X, y), "temperature is 0.0; it must be above 0, or None."),
        (lambda: LinearProbe().fit(X, y[:3]), "there are 20 rows of features and 3 labels; give one label per row."),
        (lambda: LinearProbe().fit(X, y * 0 - 1), "every label is -1, which is ignored; give at least one point with"),
        (lambda: LinearProbe().fit([]), "there are no features; give at least one array."),
        (lambda: LinearProbe().fit(X[0], y), "the features have shape (12,); give an array (n, c), one row per point."),
        (lambda: KNNProbe().fit(X, y / 2), "the labels have shape (20,) and dtype float64; give (n,) integers."),
        (lambda: KNNProbe(blocks=[slice(12, 14)]).fit(X, y), "blocks is [slice(12, 14, None)]; give slices that each"),
        (lambda: KNNProbe().fit(X, y).predict(X[:, :5]), "the features have 5 columns, 12 are needed; use the same"),
    ]
    for call, message in cases:
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value).startswith(message)
    with pytest.raises(NotFittedError) as error:
        LinearProbe().predict(X)
    assert str(error.value) == "this LinearProbe is not fitted; call fit(features, labels) first."
