"""MiniLM: word pieces, the encoder against torch's own, what is fetched, and a head that reads by it."""

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from msm3d import cli
from msm3d.errors import InputError, WeightsError
from msm3d.evaluate import PROTOCOLS, fit
from msm3d.tasks import heads
from msm3d.tasks.grounding import Match, minilm
from msm3d.tasks.grounding.asked import Asked
from msm3d.tasks.grounding.minilm import MODEL, PIECES, MiniLM
from tests.hub import Hub, Repo, scrambled
from tests.test_grounding import CLASSES, QUICK, Inputs, examples, made, split, task
from tests.test_hub import client, hub  # noqa: F401

LETTERS = [*"abcdefghijklmnopqrstuvwxyz"]
TINY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "chair", "seat", "##s", "##ing", "fac", "face", *LETTERS]
TINY += [f"##{letter}" for letter in LETTERS if letter not in "sz"]
WIDTH, HEADS, LAYERS, WIDE, PLACES = 12, 3, 2, 20, 100


def tensors() -> dict[str, torch.Tensor]:
    """A random network of the shape of BERT, by its names."""
    chance = torch.Generator().manual_seed(0)
    shapes = {"word": len(TINY), "position": PLACES, "token_type": 2}
    found = {f"embeddings.{name}_embeddings.weight": (size, WIDTH) for name, size in shapes.items()}
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
        linear = {f"attention.self.{name}": (WIDTH, WIDTH) for name in ("query", "key", "value")}
        linear |= {"attention.output.dense": (WIDTH, WIDTH), "intermediate.dense": (WIDE, WIDTH)}
        for name, shape in (linear | {"output.dense": (WIDTH, WIDE)}).items():
            found |= {f"{at}.{name}.weight": shape, f"{at}.{name}.bias": shape[:1]}
    found |= {f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")}
    values = {name: torch.randn(shape, generator=chance) for name, shape in found.items()}
    return {name: 1 + value / 4 if "Norm.weight" in name else value / 2 for name, value in values.items()}


def oracle(tensors: dict[str, torch.Tensor], numbers: list[int]) -> torch.Tensor:
    """What torch's own encoder says of one sentence."""
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, WIDE, dropout=0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    network = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).eval()
    names = {"attention.output.dense": "self_attn.out_proj", "intermediate.dense": "linear1", "output.dense": "linear2",
             "attention.output.LayerNorm": "norm1", "output.LayerNorm": "norm2"}  # fmt: skip
    state = {}
    for i in range(LAYERS):
        for part in ("weight", "bias"):
            self = [tensors[f"encoder.layer.{i}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            state[f"layers.{i}.self_attn.in_proj_{part}"] = torch.cat(self)
            state |= {f"layers.{i}.{b}.{part}": tensors[f"encoder.layer.{i}.{a}.{part}"] for a, b in names.items()}
    network.load_state_dict(state)
    word, place, kind = (tensors[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type"))
    norm = [tensors[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")]
    x = nn.functional.layer_norm(word[numbers] + place[: len(numbers)] + kind[0], (WIDTH,), *norm, eps=1e-12)
    with torch.no_grad():
        return network(x[None])[0]


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    """Let the tiny network be what is asked for, in a folder that the environment names."""
    folder = tmp_path / "minilm"
    folder.mkdir()
    save_file(tensors(), folder / MODEL)
    (folder / PIECES).write_text("\n".join(TINY) + "\n")
    hashes = {path.name: sha256(path.read_bytes()).hexdigest() for path in (folder / PIECES, folder / MODEL)}
    for name, value in {"FILES": hashes, "WIDTH": WIDTH, "HEADS": HEADS, "LAYERS": LAYERS}.items():
        monkeypatch.setattr(minilm, name, value)
    monkeypatch.setenv(minilm.FOLDER, str(folder))
    minilm._opened.cache_clear()
    yield folder
    minilm._opened.cache_clear()


def test_words_are_cut_into_the_longest_pieces_there_are():
    known = MiniLM({}, TINY)
    for word, pieces in (
        ("chair", "chair"), ("chairs", "chair ##s"), ("seating", "seat ##ing"), ("facing", "fac ##ing"),
        ("faces", "face ##s"), ("ab", "a ##b"), ("buzz", "[UNK]"), ("a" * 101, "[UNK]"),
        ("a" * 100, "a" + " ##a" * (minilm._MOST - 1)),
    ):  # fmt: skip
        assert [TINY[number] for number in known.cut(word)] == pieces.split(), word


def test_the_encoder_is_torchs_and_a_word_is_the_mean_of_its_pieces():
    read = minilm.opened()
    assert read is minilm.opened()
    numbers = [2, 4, 6, 9, 3]
    states = read.states([numbers])[0]
    assert torch.allclose(states, oracle(tensors(), numbers), atol=1e-5)
    assert not torch.allclose(states, oracle(tensors(), [2, 6, 4, 9, 3]), atol=1e-2)
    [found] = read.meanings([("chairs", "face")])
    assert found.dtype == torch.float16
    assert torch.allclose(found.float(), torch.stack([states[1:3].mean(0), states[3]]), atol=2e-3)


def test_sentences_are_read_once_by_length_and_come_in_their_order(monkeypatch):
    read, asked = minilm.opened(), []
    sentences = [("chair",), ("chairs", "face"), ("a", "b", "c"), ("chair",)]
    alone = [read.meanings([words])[0] for words in sentences]
    states = read.states
    monkeypatch.setattr(read, "states", lambda numbers: asked.append(len(numbers)) or states(numbers))
    monkeypatch.setattr(minilm, "_AT_ONCE", 2)
    together = read.meanings([*sentences, ("c", "b", "a"), ("b", "b", "b")])
    assert asked == [1, 2, 2]
    assert [len(one) for one in together] == [1, 2, 3, 1, 3, 3]
    for one, other in zip(alone, together, strict=False):
        assert torch.allclose(one.float(), other.float(), atol=2e-3)
    assert read.meanings([]) == []


# --- a head ---


def test_a_head_that_reads_by_minilm_knows_every_word_learns_twice_alike_and_is_kept_without_it(tmp_path, tiny):
    options = dict(**QUICK | {"steps": 20}, things=0, text="minilm")
    head, scan = Match(**options).fit(examples()), made(50)
    asked = task("grounding").of(CLASSES).inputs(*Inputs()(scan), scan).asked
    asked = Asked(asked.pooled, asked.geometry, ("the chair closest to the door", "the seat by the entrance"))
    scores = head.scores(asked)
    assert scores.shape == (2, 7)
    assert np.ptp(scores[1]) > 0
    assert head.unknown("the seat by the entrance") == []
    again = Match(**options).fit(examples())
    assert again.losses_ == head.losses_
    folder = head.save(tmp_path / "head")
    assert (folder / "head.safetensors").stat().st_size < 300_000
    for one in (again, heads.load(folder)):
        assert (one.scores(asked) == scores).all()
        assert one.text == "minilm"
    assert head.losses_[-1] < head.losses_[0]
    loaded = heads.load(folder)
    (tiny / MODEL).unlink()
    minilm._opened.cache_clear()
    with pytest.raises(WeightsError, match=r"where there is no model.safetensors; set it to a folder with"):
        loaded.scores(asked)
    with pytest.raises(InputError, match="text is 'bert'; it must be one of learned, minilm"):
        Match(text="bert").fit(examples([0]))


def test_its_protocol_finds_things_by_words_that_nobody_said_before(model, tmp_path, monkeypatch, capsys):
    known = PROTOCOLS["match-minilm"]
    assert known.settings == {**PROTOCOLS["match"].settings, "text": "minilm"}
    few = {**known.settings, **QUICK, "steps": 20, "things": 60}
    monkeypatch.setitem(PROTOCOLS, known.name, replace(known, settings=few))
    fit(split("train", range(4)), model, "grounding", protocol="match-minilm", sample=400).save(tmp_path / "head")
    scan, options = made(50), ["--model", str(model.save_pretrained(tmp_path / "model")), "--device", "cpu"]
    np.savez(tmp_path / "scan.npz", coord=scan.coord, color=scan.color, normal=scan.normal)
    said = [str(tmp_path / "scan.npz"), "der Stuhl", "--head", str(tmp_path / "head")]
    assert cli.main(["find", *said, *options]) == 0
    assert "warning" not in capsys.readouterr().err


def test_words_that_are_hidden_while_learning_mean_nothing():
    head = Match(**QUICK | {"steps": 1}, things=0, text="minilm").fit(examples([0]))
    [heard] = head._heard([["the chair", "the chair by the door"]])
    assert heard.meanings.shape == (2, 5, WIDTH)
    assert (heard.meanings[0, 2:] == 0).all()
    hidden = heard.numbers == heard.numbers[0, 1]
    less = heard.without(hidden)
    assert (less.numbers[hidden] == 1).all()
    assert (less.meanings[hidden] == 0).all()
    assert (less.meanings[~hidden] == heard.meanings[~hidden]).all()


# --- what is fetched ---


@pytest.fixture
def repo(hub: Hub, client, tiny, monkeypatch):  # noqa: F811
    monkeypatch.delenv(minilm.FOLDER)
    found = hub.repos[minilm.REPO] = Repo({name: (tiny / name).read_bytes() for name in minilm.FILES})
    monkeypatch.setattr(minilm, "REVISION", found.branches["main"])
    return found


def test_it_is_downloaded_once(hub: Hub, repo):  # noqa: F811
    first = minilm.opened().meanings([("chair",)])[0]
    asked = len(hub.log)
    assert asked
    minilm._opened.cache_clear()
    assert minilm.opened().meanings([("chair",)])[0].equal(first)
    assert len(hub.log) == asked


def test_a_damaged_download_is_made_again_once(hub: Hub, repo):  # noqa: F811
    hub.faults["GET", MODEL] = [scrambled]
    assert minilm.opened().meanings([("chair",)])[0].shape == (1, WIDTH)


def test_a_download_that_stays_damaged_is_said(hub: Hub, repo):  # noqa: F811
    hub.faults["GET", MODEL] = [scrambled, scrambled]
    assert f"{MODEL} of {minilm.REPO} was damaged, so it was deleted: its sha256 is " in fails()


CURE = "ask once while online, or set MSM3D_MINILM to a folder with vocab.txt and model.safetensors of huggingface.co/"
CURE += "sentence-transformers/all-MiniLM-L6-v2."


def fails() -> str:
    with pytest.raises(WeightsError) as caught:
        minilm.opened()
    return str(caught.value)


def test_what_is_said_where_it_cannot_be_had(hub: Hub, client, repo, tiny, monkeypatch):  # noqa: F811
    at = f"{minilm.REPO} at revision {minilm.REVISION!r}"
    monkeypatch.setattr(client, "HF_HUB_OFFLINE", True)
    assert fails() == f"vocab.txt of {at} is not in the cache and HF_HUB_OFFLINE is set; {CURE}"
    monkeypatch.setattr(client, "HF_HUB_OFFLINE", False)
    del repo.commits[minilm.REVISION][PIECES]
    assert fails() == f"{at} has no vocab.txt; {CURE}"
    hub.server.shutdown()
    hub.server.server_close()
    assert fails() == f"vocab.txt of {at} is not in the cache and {hub.url} cannot be reached; {CURE}"
    monkeypatch.setenv(minilm.FOLDER, str(tiny))
    save_file({"a": torch.ones(3)}, tiny / MODEL)
    assert f"{MODEL} is another file: its sha256 is " in fails()
    assert fails().endswith(f"; put {CURE.split(' with ')[1].removesuffix('.')} there.")
    (tiny / PIECES).unlink()
    assert fails() == f"MSM3D_MINILM is {str(tiny)!r}, where there is no vocab.txt; set it {CURE.split('MINILM ')[1]}"
