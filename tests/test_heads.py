"""Heads: parameters checked in one place, whole files or nothing, and never on another network's descriptors."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from msm3d.errors import InputError, WeightsError
from msm3d.evaluate import KNNProbe, LinearProbe, NotFittedError, random_network
from msm3d.tasks import Fingerprint, heads
from msm3d.tasks.heads import HEADS, LogisticHead, MLPHead
from msm3d.tasks.heads.base import Head
from tests.hub import Hub
from tests.test_hub import client, hub  # noqa: F401

BLOCKS = [slice(0, 3), slice(4, 9)]
CASES = {
    "linear": LinearProbe(steps=20, batch=64),
    "linear, bare, of some columns": LinearProbe(steps=15, batch=64, standardize=False, blocks=BLOCKS),
    "logistic": LogisticHead(iterations=5),
    "logistic, normalised, of some columns": LogisticHead(iterations=5, blocks=BLOCKS, normalize=True),
    "mlp": MLPHead(steps=15, batch=64, hidden=8),
    "mlp, normalised, of some columns": MLPHead(steps=15, batch=64, hidden=8, blocks=BLOCKS, normalize=True),
    "nearest": KNNProbe(k=3, bank=100),
    "nearest, of some columns": KNNProbe(k=3, bank=100, temperature=None, blocks=BLOCKS),
}


def rows(seed: int = 0, columns: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 200)
    return (rng.normal(size=(200, columns)) + np.eye(3, columns)[y]).astype(np.float32), np.array([4, 7, 9])[y]


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def fitted(request):
    head = request.param
    return type(head)(**head.get_params()).fit(*rows())


@pytest.fixture
def saved(tmp_path):
    return LinearProbe(steps=20).fit(*rows()).save(tmp_path / "head")


@pytest.fixture
def described(model):
    """A head that knows its descriptors, and some of these."""
    X = np.random.default_rng(0).normal(size=(50, model.channels()))
    return KNNProbe(k=1).fit(X, np.arange(50) % 2, of=model), X


def changed(directory, **values):
    path = directory / "head.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(directory, **options) -> str:
    with pytest.raises(WeightsError) as error:
        heads.load(directory, **options)
    return str(error.value).replace(str(directory), "DIR")


def test_a_loaded_head_is_the_saved_one_to_the_bit(fitted, tmp_path):
    directory = fitted.save(tmp_path / "head")
    assert sorted(path.name for path in directory.iterdir()) == ["README.md", "head.json", "head.safetensors"]
    X, y = rows(1)
    for loaded in (heads.load(directory), type(fitted).load(directory), type(fitted).from_pretrained(directory)):
        assert loaded.get_params() == fitted.get_params()
        assert (loaded.predict_proba(X) == fitted.predict_proba(X)).all()
        assert loaded.predict(X).tolist() == fitted.predict(X).tolist()
        assert loaded.score(X, y) == fitted.score(X, y)
    again = loaded.save(tmp_path / "again")
    assert (again / "head.json").read_bytes() == (directory / "head.json").read_bytes()
    if isinstance(fitted, LinearProbe):
        assert (loaded.coef_ == fitted.coef_).all()
        assert loaded.losses_ == fitted.losses_


def test_another_kind_of_head_is_refused(saved):
    with pytest.raises(WeightsError) as error:
        KNNProbe.load(saved)
    assert str(error.value) == f"{saved} holds a head 'linear'; read it by msm3d.tasks.heads.load."


def test_what_is_not_fitted_cannot_be_saved(tmp_path):
    with pytest.raises(NotFittedError):
        KNNProbe().save(tmp_path / "head")
    assert list(tmp_path.iterdir()) == []


def test_descriptors_of_another_network_are_refused(model, config, described):
    head, X = described
    assert head.predict(X, of=model).tolist() == head.predict(X).tolist()
    other = random_network(config, 5)
    with pytest.raises(InputError) as error:
        head.predict(X, of=other)
    mine, theirs = Fingerprint.of(model), Fingerprint.of(other)
    levels = f"levels 0, 1, 2, read {mine.reading}"
    assert str(error.value) == (
        f"the features are of random network (weights {theirs.weights[:8]}, {levels}), but this head was fitted on "
        f"those of untrained (weights {mine.weights[:8]}, {levels}); extract them with that model, or fit the head "
        "again."
    )
    with pytest.raises(InputError, match=r"levels 2, 1, 0, read"):
        head.predict_proba(X, of=Fingerprint.of(model, levels=[-1, 1, 0]))
    with pytest.raises(InputError, match=r"read other\), but"):
        head.predict(X, of=replace(mine, reading="other"))
    with torch.no_grad():
        model.backbone.weight[0, 0] += 1
    with pytest.raises(InputError, match="the features are of untrained"):
        head.predict(X, of=model)


def test_the_width_is_always_refused_and_a_head_that_was_not_told_says_so(model, described):
    head, X = described
    with pytest.raises(InputError) as error:
        head.predict(X[:, 1:])
    assert (
        str(error.value)
        == f"the features have {X.shape[1] - 1} columns, {X.shape[1]} are needed; use the same model for all."
    )
    with pytest.raises(InputError, match=r"columns, 76 are needed"):
        KNNProbe().fit(X[:, 1:], np.arange(50) % 2, of=model)
    untold = KNNProbe(k=1).fit(X, np.arange(50) % 2)
    with pytest.raises(InputError) as error:
        untold.predict(X, of=model)
    assert str(error.value) == ("this head was not told which network its features are of; fit it again with of=model.")


def test_the_fingerprint_is_saved_beside_the_head(model, described, tmp_path):
    head, X = described
    loaded = heads.load(head.save(tmp_path / "head"))
    assert loaded.fingerprint_ == head.fingerprint_ == Fingerprint.of(model)
    assert loaded.predict(X, of=model).tolist() == head.predict(X).tolist()
    assert "76 columns, untrained (weights " in (tmp_path / "head" / "README.md").read_text()
    values = json.loads((tmp_path / "head" / "head.json").read_text())
    assert values["fingerprint"]["widths"] == [info.channels for info in model.feature_info]


def test_a_fingerprint_is_of_the_levels_that_were_asked_for(model):
    whole, some = Fingerprint.of(model), Fingerprint.of(model, levels=-1, sampling="centered")
    assert some.levels == (2,)
    assert some.channels == model.channels(-1)
    assert some.weights == whole.weights
    assert Fingerprint.of(some) is some
    with pytest.raises(InputError, match="levels is 3; give some of 0"):
        Fingerprint.of(model, levels=3)


def test_damaged_and_foreign_files_are_one_sentence(saved):
    good, tensors = (saved / "head.json").read_text(), (saved / "head.safetensors").read_bytes()
    values = json.loads(good)
    cases = [
        ({"format": "msm3d"}, 'DIR/head.json is not a head of msm3d (it has no "format": "msm3d-head"); give one'),
        ({"format_version": 2}, "DIR/head.json was made by a newer msm3d (format 2); run pip install -U msm3d."),
        ({"extra": 1}, "DIR/head.json lacks, or should not have: extra; save or download it again."),
        ({"sha256": "0" * 64}, "DIR/head.safetensors is damaged or of another head: its sha256 is "),
        ({"head": "lineal"}, "DIR does not hold a head (unknown head 'lineal'; did you mean 'linear'?); save or"),
        ({"parameters": {"step": 3}}, "DIR does not hold a head (LinearProbe has no parameter 'step'; choose"),
        ({"parameters": values["parameters"] | {"steps": 0}}, "DIR does not hold a head (steps is 0; it must be at"),
        ({"features": 9}, "DIR does not hold a head (wrong shape: mean is (10,) instead of (9,); wrong"),
        ({"features": True}, "DIR does not hold a head (it has True features); save or download it again."),
        ({"classes": [4, 7]}, "DIR does not hold a head (wrong shape: bias is (3,) instead of (2,); wrong"),
        ({"classes": [4, 9, 7]}, "DIR does not hold a head (its classes are [4, 9, 7], not ascending labels); save"),
        ({"fingerprint": {"name": "x"}}, "DIR does not hold a head ({'name': 'x'} does not name descriptors; save"),
    ]
    for change, message in cases:
        changed(saved, **change)
        assert refused(saved).startswith(message)
        (saved / "head.json").write_text(good)
    (saved / "head.safetensors").write_bytes(tensors[:-8])
    assert refused(saved).startswith("DIR/head.safetensors is damaged")
    (saved / "head.safetensors").unlink()
    assert refused(saved) == "DIR has no head.safetensors; a head needs head.json and head.safetensors."
    (saved / "head.json").write_text("{")
    assert refused(saved).startswith("DIR/head.json is not JSON (")
    (saved / "head.json").unlink()
    assert refused(saved).startswith("DIR has no head.json of msm3d; a head needs")
    assert refused(saved.parent / "gone").startswith("there is no directory 'DIR'; give one that holds head.json")


def test_tensors_are_those_of_the_head_and_no_others(saved):
    from msm3d.weights.store import sha256

    path = saved / "head.safetensors"
    save_file(load_file(path) | {"more": torch.zeros(1)}, path)
    changed(saved, sha256=sha256(path))
    assert refused(saved) == "DIR does not hold a head (unexpected: more); save or download it again."


def test_an_interrupted_save_leaves_the_old_head(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        LinearProbe(steps=5).fit(*rows(3)).save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own
def test_a_head_goes_to_the_hub_and_back(hub: Hub, client, described, model):  # noqa: F811
    head, X = described
    url = head.push_to_hub("ana/head", token="t")
    assert url.startswith(f"{hub.url}/ana/head/commit/")
    assert hub.log[-1] == "commit README.md head.json head.safetensors"
    loaded = KNNProbe.from_pretrained("ana/head")
    assert loaded.predict(X, of=model).tolist() == head.predict(X).tolist()
    asked = len(hub.log)
    KNNProbe.from_pretrained("ana/head", local_files_only=True)
    assert len(hub.log) == asked
    with pytest.raises(WeightsError, match=r"the Hugging Face Hub has no repository 'ana/gone'"):
        KNNProbe.from_pretrained("ana/gone")
    with pytest.raises(InputError) as error:
        head.push_to_hub("head")
    assert str(error.value) == "'head' cannot name a repository of the Hugging Face Hub; give owner/name."


def test_a_parameter_of_the_wrong_kind_is_refused_like_one_out_of_range():
    with pytest.raises(InputError) as error:
        LinearProbe(steps="many").fit(*rows())
    assert str(error.value) == "steps is 'many'; it must be at least 1."


def test_parameters_of_the_head_itself_come_first():
    assert LinearProbe.parameters()[0] == "steps"
    assert KNNProbe.parameters() == [
        "k", "temperature", "bank", "balanced", "ignore", "blocks", "random_state", "device"
    ]  # fmt: skip
    assert repr(KNNProbe(k=3)).startswith("KNNProbe(k=3, temperature=0.07, ")


def test_a_head_of_ones_own_is_saved_and_loaded_by_its_name(monkeypatch, tmp_path):
    @dataclass(kw_only=True, eq=False, repr=False)
    class Mean(Head):
        """The mean of all targets, whatever the features."""

        name = "mean"
        scale: float = 1.0

        def _learn(self, data):
            self.mean_ = torch.from_numpy(data.labels).double().mean(0, keepdim=True)

        def _values(self, X):
            return (self.scale * self.mean_).expand(len(X))

        def _state(self):
            return {"mean": self.mean_}

        def _shapes(self, tensors):
            return {"mean": (1,)}

        def _restore(self, tensors):
            self.mean_ = tensors["mean"]

    monkeypatch.setattr(HEADS, "known", dict(HEADS.known))
    heads.register(Mean)
    assert list(HEADS)[-1] == "mean"
    head = Mean(scale=2.0).fit(np.zeros((4, 2)), np.array([0.0, 1.0, 2.0, 3.0]))
    assert heads.load(head.save(tmp_path / "mean")).predict(np.zeros((2, 2))).tolist() == [3.0, 3.0]


def test_no_rows_have_no_predictions():
    X, y = np.random.default_rng(0).normal(size=(60, 6)), np.arange(60) % 3
    nothing = np.zeros((0, 6), np.float32)
    for head in (LinearProbe(steps=5).fit(X, y), KNNProbe(k=3).fit(X, y)):
        assert head.predict(nothing).shape == (0,)
        assert head.predict_proba(nothing).shape == (0, 3)
    assert [part.shape for part in head.neighbours(nothing)] == [(0, 3), (0, 3)]


# --- how frequent classes are ---


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8])
def test_classes_are_expected_as_often_as_they_are(share):
    rng = np.random.default_rng(0)
    labels = rng.random(4000) < share
    X, taught = rng.normal(size=(4000, 1)) + 2 * labels[:, None], rng.normal(size=(400, 1))
    taught[200:] += 2
    head = LogisticHead(penalty=1e-4).fit(taught, np.repeat([0, 1], 200))
    before, bias = (head.predict(X) == labels).mean(), head.predict_proba(np.ones((1, 1)))
    head.expect(X[:0])
    assert np.allclose(head.predict_proba(np.ones((1, 1))), bias)  # of no rows nothing is known
    head.expect(X, 1.0)
    assert (head.predict(X) == labels).mean() >= before - 0.01
    assert abs(head.predict_proba(X)[:, 1].mean() - share) < 0.05
