"""The head of grounding: which thing of a scan a sentence means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...datasets.classes import IGNORE
from ...errors import InputError
from ...scan.cloud import PointCloud
from ...training.descent import Descent
from ..heads.base import ABOVE_0, AT_LEAST_1, SHARE, Constraint, Head, Of
from ..heads.pointgroup import PointGroup
from ..heads.rows import LabelledRows, columns_of
from ..instances import Instances
from ..instances.task import RADIUS
from . import minilm
from .asked import Answers, Asked, Described, read
from .network import LONGEST, PAD, ROLES, UNKNOWN, Batch, MatchModule
from .objects import LEAST, Objects
from .phrases import words
from .relations import SHAPE, shape

SEES = ("all", "geometry", "text")
TEXTS = ("learned", "minilm")
_AT_ONCE = 64  # sentences
_CLIP = 1.0  # of the gradient
_FORGOTTEN = 0.05  # share of the words that are hidden while learning, so that there is something for unknown ones
_KINDS = Constraint(f"one of {', '.join(SEES)}", lambda value: value in SEES)
_TEXTS = Constraint(f"one of {', '.join(TEXTS)}", lambda value: value in TEXTS)
_WIDTH = Constraint("an even number", lambda value: value >= 2 and value % 2 == 0)


@dataclass(kw_only=True, eq=False, repr=False)
class Match(Head):
    """The match module on pooled descriptors and boxes of things, and `PointGroup`'s heads to find these.

    It learns from the rows of `msm3d.tasks.grounding.asked.rows`, one pair of arrays for each scan, and predicts from
    a scan's `Described`. After `fit`: `vocabulary_`, the words that it has met, `things_`, the `PointGroup` that finds
    things, unless `things` is 0, and `losses_`, the mean loss of each tenth of the steps: of picking the right thing,
    of telling the classes of things, and with half the weight of telling that of each role in a sentence.

    Source: see `msm3d.tasks.grounding.network`.
    """

    name = "match"
    constraints: ClassVar = {
        "steps": AT_LEAST_1, "scenes": AT_LEAST_1, "sentences": AT_LEAST_1, "lr": ABOVE_0, "warmup": SHARE,
        "width": _WIDTH, "dropout": SHARE, "sees": _KINDS, "text": _TEXTS,
        "things": Constraint("at least 0", lambda value: value >= 0),
    }  # fmt: skip

    steps: int = 600
    """Mini-batches to learn from."""
    scenes: int = 8
    """Scans of a mini-batch."""
    sentences: int = 16
    """Sentences about each of them."""
    lr: float = 3e-3
    """Largest learning rate, reached after `warmup` of the steps, then falling to 0 as a cosine."""
    weight_decay: float = 0.01
    """Of AdamW on the weights, not the biases."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises."""
    width: int = 64
    """Channels of things and words."""
    dropout: float = 0.1
    """Share of what is left out while learning."""
    sees: str = "all"
    """What the head is shown of things: all, their boxes and colours without descriptors, or nothing but the text."""
    text: str = "learned"
    """What words mean: learned from the sentences, or as MiniLM says, which is downloaded then, see `minilm`."""
    things: int = 1000
    """Steps of the heads that find things; 0 for none, then they must be given."""
    stuff: Any = ()
    """Labels without things."""
    names: Any = ()
    """Names of the labels from 0."""

    vocabulary_: list[str] = field(init=False)
    """The words met in `fit`, sorted."""
    things_: PointGroup | None = field(init=False)
    """What finds things; None where `things` is 0."""
    classes_: np.ndarray = field(init=False)
    """(k,) the labels that it tells, where there is one."""

    def _gathered(self, X: Any, y: Any) -> LabelledRows:
        pairs = list(X) if y is None else [(X, y)]
        data = LabelledRows(pairs, ignore=None)
        scans = [read(*pair) for pair in pairs]
        self._scans = [asked for asked, _ in scans if asked.texts]
        if not self._scans:
            raise InputError("there is no sentence to learn from; give scenes with things that can be told apart.")
        if self.text == "minilm":
            minilm.opened(self.device)  # where it cannot be had, that is said before anything is learned
        self.things_ = None
        if self.things:
            self.things_ = self._finder().fit([points for _, points in scans])
            self.classes_ = self.things_.classes_
        return data

    def _finder(self) -> PointGroup:
        """Return the heads that find things, not fitted."""
        same = ("blocks", "random_state", "device", "stuff", "names")
        return PointGroup(steps=self.things, hidden=None, **{name: getattr(self, name) for name in same})

    def _learn(self, data: LabelledRows) -> None:
        scans = self._scans
        del self._scans
        self.vocabulary_ = sorted({word for scan in scans for text in scan.texts for word in words(text)})
        inputs = [self._inputs(scan) for scan in scans]
        every = torch.cat([one.things for one in inputs])
        scale = every.std(0, correction=0)
        self._mean, self._scale = every.mean(0), torch.where(scale > 1e-6, scale, 1.0)
        heard = self._heard([scan.texts for scan in scans])
        scenes = [_Scene.of(*parts) for parts in zip(scans, inputs, heard, strict=True)]
        self._kinds = int(max(scene.labels.max() for scene in scenes)) + 1
        chance = torch.Generator().manual_seed(self.random_state)
        losses = torch.zeros(self.steps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            self._network = self._module().to(self._device)
            settings = {name: getattr(self, name) for name in ("steps", "lr", "weight_decay", "warmup")}
            descent = Descent(self._network.parameters(), clip=_CLIP, **settings)
            for step in range(self.steps):
                descent.begin(step)
                loss = self._loss(scenes, chance)
                loss.backward()
                descent.end()
                losses[step] = loss.detach()
        self._network.eval().requires_grad_(False)
        self.losses_ = [float(part.mean()) for part in losses.tensor_split(10) if len(part)]

    def _loss(self, scenes: "list[_Scene]", chance: torch.Generator) -> Tensor:
        """Return the loss of a mini-batch that `chance` draws."""
        chosen = [scenes[i] for i in torch.randint(len(scenes), (self.scenes,), generator=chance).tolist()]
        said = [torch.randint(len(one.heard), (self.sentences,), generator=chance) for one in chosen]
        pairs = list(zip(chosen, said, strict=True))
        heard = _Heard.beside([one.heard[some] for one, some in pairs])
        hidden = (torch.rand(heard.numbers.shape, generator=chance) < _FORGOTTEN) & (heard.numbers != PAD)
        batch = self._batch([one.inputs for one in chosen], heard.without(hidden))
        true, roles, kinds = (
            part.to(self._device)
            for part in (
                torch.cat([one.meant[some, 0] for one, some in pairs]),
                torch.cat([one.roles[some] for one, some in pairs]),
                torch.cat([one.labels for one in chosen]),
            )
        )
        judged = self._network(batch)
        loss = F.cross_entropy(judged.fits.flatten(0, 1), true) + F.nll_loss(judged.kinds[batch.there], kinds)
        for role in range(ROLES):  # each by itself: few sentences say where somebody stands
            if bool((roles[:, role] != IGNORE).any()):
                told = judged.said[:, :, role].flatten(0, 1)
                loss = loss + F.nll_loss(told, roles[:, role], ignore_index=IGNORE) / 2
        return loss

    def _module(self) -> MatchModule:
        channels = 2 * self._width + SHAPE
        sizes = {"width": self.width, "meanings": minilm.WIDTH if self.text == "minilm" else 0}
        return MatchModule(channels, self.vocabulary_, self._kinds, dropout=self.dropout, **sizes)

    def _inputs(self, asked: Asked) -> "_Inputs":
        columns = columns_of(self.blocks, asked.pooled.shape[2])
        pooled = asked.pooled if columns is None else asked.pooled[:, :, columns]
        geometry = torch.from_numpy(asked.geometry.astype(np.float32))
        things = torch.cat([torch.from_numpy(np.concatenate([*pooled], 1)).float(), shape(geometry)], 1)
        return _Inputs(things, geometry)

    def _batch(self, inputs: "list[_Inputs]", heard: "_Heard") -> Batch:
        """Return scans side by side; what the head is not to see is zero."""
        geometry = _padded([one.geometry for one in inputs])
        there = _padded([torch.ones(len(one.geometry), dtype=torch.bool) for one in inputs])
        things = (_padded([one.things for one in inputs]) - self._mean) / self._scale
        if self.sees != "all":
            things[:, :, : -SHAPE if self.sees == "geometry" else None] = 0
        if self.sees == "text":
            geometry = torch.zeros_like(geometry)
        parts = (things, geometry, there, heard.numbers, heard.meanings.float())
        return Batch(*(part.to(self._device) for part in parts))

    def _heard(self, texts: Sequence[Sequence[str]]) -> "list[_Heard]":
        """Return what is heard of the sentences about each of some scans."""
        known = {word: number for number, word in enumerate(self.vocabulary_, UNKNOWN + 1)}
        spoken = [[words(text)[:LONGEST] for text in some] for some in texts]
        numbers = [
            _padded([torch.tensor([known.get(word, UNKNOWN) for word in one]) for one in some]) for some in spoken
        ]
        if self.text == "learned":
            return [_Heard(some, torch.zeros(*some.shape, 0)) for some in numbers]
        meanings = iter(minilm.opened(self.device).meanings([one for some in spoken for one in some]))
        return [_Heard(some, _padded([*islice(meanings, len(some))])) for some in numbers]

    def unknown(self, text: str) -> list[str]:
        """Return the words of a sentence whose meaning is not known; with MiniLM there are none."""
        self.require_fitted()
        if self.text == "minilm":
            return []
        return [word for word in dict.fromkeys(words(text)) if word not in self.vocabulary_]

    def scores(self, asked: Asked, *, of: Of = None) -> np.ndarray:
        """Return logits (s, k): how well each thing fits each sentence; `of` as for `predict`.

        Raises:
            InputError: the descriptors are of another width or network, or a sentence has no word.
        """
        self.require_fitted()
        self.require_same(asked.pooled.reshape(-1, asked.pooled.shape[2]), of)
        for text in asked.texts:
            if not words(text):
                raise InputError(f"{text!r} has no word; say what is looked for, such as 'the chair next to the door'.")
        if not len(asked.geometry) or not asked.texts:
            return np.zeros((len(asked.texts), len(asked.geometry)), np.float32)
        inputs, [heard] = [self._inputs(asked)], self._heard([asked.texts])
        with torch.no_grad():
            some = [heard[start : start + _AT_ONCE] for start in range(0, len(heard), _AT_ONCE)]
            parts = [self._network(self._batch(inputs, _Heard.beside([one]))).fits[0].cpu() for one in some]
        return torch.cat(parts).numpy()

    def found(self, features: np.ndarray, owner: np.ndarray, scan: PointCloud, *, of: Of = None) -> Instances:
        """Return the things of a scan, by the head's own `things_`; arguments as of `Described`.

        Raises:
            InputError: the head finds no things, or the descriptors are of another network.
        """
        self.require_fitted()
        if self.things_ is None:
            raise InputError("this head finds no things, its `things` is 0; give them, or fit it again with things.")
        self.require_matching(of)
        values = self.things_.predict(features)
        moved = scan.coord + values[owner, -3:]
        return Instances.of(moved, values[:, :-3], owner, self.things_.stuff or (), RADIUS, LEAST)

    def predict(self, X: Any, *, of: Of = None) -> Any:
        """Return `Answers` to what is asked about a `Described` scan: of the things that are given and, unless `things`
        is 0, of those that are found; `of` is the model that made the descriptors, or their `Fingerprint`.

        Raises:
            InputError: `X` is no `Described`, or of another network.
        """
        if not isinstance(X, Described):
            raise InputError(f"this head answers for whole scans, not for {type(X).__name__}; give a `Described`.")
        given = self.scores(X.asked, of=of)
        if self.things_ is None:
            return Answers(given)
        things = as_objects(self.found(X.features, X.owner, X.scan, of=of), X.scan)
        asked = Asked.of(things, X.features, X.owner, X.asked.texts)
        return Answers(given, self.scores(asked), things.boxes)

    def _values(self, X: Tensor) -> Tensor:
        raise NotImplementedError  # rows are not predicted one by one, see `predict`

    def _state(self) -> dict[str, Tensor]:
        text = torch.from_numpy(np.frombuffer("\n".join(self.vocabulary_).encode(), np.uint8).copy())
        state = {"mean": self._mean, "scale": self._scale, "vocabulary": text}
        state |= {f"network.{name}": value.cpu() for name, value in self._network.state_dict().items()}
        if self.things_ is not None:
            state |= {f"things.{name}": value for name, value in self.things_._state().items()}
        return state | {"losses": torch.tensor(self.losses_, dtype=torch.float64)}

    def _shapes(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        text = tensors["vocabulary"]
        self.vocabulary_ = bytes(text.to(torch.uint8).tolist()).decode().split("\n")
        self._kinds = tensors["network.say.bias"].numel()
        width = 2 * self._width + SHAPE
        shapes: dict[str, tuple[int, ...]] = {"mean": (width,), "scale": (width,), "vocabulary": (text.numel(),)}
        with torch.device("meta"):
            network = self._module().state_dict()
        shapes |= {f"network.{name}": tuple(value.shape) for name, value in network.items()}
        self.things_ = None
        if self.things:
            self.things_ = self._finder()
            self.things_.n_features_in_, self.things_.classes_ = self.n_features_in_, self.classes_
            theirs = self.things_._shapes(_part(tensors, "things."))
            shapes |= {f"things.{name}": shape for name, shape in theirs.items()}
        return shapes | {"losses": (min(10, self.steps),)}

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._mean, self._scale, self.losses_ = tensors["mean"], tensors["scale"], tensors["losses"].tolist()
        self._network = self._module()
        self._network.load_state_dict(_part(tensors, "network."))
        self._network.to(self._device).eval().requires_grad_(False)
        if self.things_ is not None:
            self.things_._restore(_part(tensors, "things."))
            self.things_.fingerprint_ = self.fingerprint_


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What is known of k things: of each, and where it is."""

    things: Tensor  # (k, c): mean and maximum of the columns that are learned from, and `shape`
    geometry: Tensor  # (k, GEOMETRY)


@dataclass(frozen=True, eq=False)
class _Heard:
    """What is heard of s sentences of at most l words; or, side by side, of those about each of b scans."""

    numbers: Tensor  # (s, l) of words, PAD after the last
    meanings: Tensor  # (s, l, m) float16 by MiniLM; m is 0 where words are learned

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, some: slice | Tensor) -> "_Heard":
        return _Heard(self.numbers[some], self.meanings[some])

    @classmethod
    def beside(cls, parts: "list[_Heard]") -> "_Heard":
        return cls(_padded([part.numbers for part in parts]), _padded([part.meanings for part in parts]))

    def without(self, hidden: Tensor) -> "_Heard":
        """Return the same where some words were not understood."""
        return _Heard(self.numbers.masked_fill(hidden, UNKNOWN), self.meanings.masked_fill(hidden[..., None], 0))


@dataclass(frozen=True, eq=False)
class _Scene:
    """A scan to learn from: k things and s sentences."""

    inputs: _Inputs
    heard: _Heard
    meant: Tensor  # (s, ROLES) of things
    labels: Tensor  # (k,)
    roles: Tensor  # (s, ROLES) labels of what is meant

    @classmethod
    def of(cls, asked: Asked, inputs: _Inputs, heard: _Heard) -> "_Scene":
        assert asked.labels is not None
        assert asked.meant is not None
        labels, meant = torch.from_numpy(asked.labels), torch.from_numpy(asked.meant)
        return cls(inputs, heard, meant, labels, labels[meant.clamp(min=0)].masked_fill(meant < 0, IGNORE))


def as_objects(found: Instances, scan: PointCloud) -> Objects:
    """Return things that were found as things that are asked about."""
    order = np.argsort(found.instance, kind="stable")
    edges = np.searchsorted(found.instance[order], np.arange(len(found) + 1))
    return Objects.of(scan, [order[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)], found.classes)


def _part(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def _padded(parts: list[Tensor]) -> Tensor:
    """Return tensors side by side (b, longest, …), zeros after their last rows and columns."""
    shape = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
    whole = parts[0].new_zeros((len(parts), *shape))
    for row, part in zip(whole, parts, strict=True):
        row[tuple(slice(size) for size in part.shape)] = part
    return whole
