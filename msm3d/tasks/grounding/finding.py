"""`find`: the thing in a scan that a sentence means, and what came next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError
from ...model import Model
from ...scan.cloud import PointCloud
from ..instances import Instances
from .asked import Asked
from .match import Match, as_objects
from .phrases import words

FORMAT, FORMAT_VERSION = "msm3d-find", 1


@dataclass(frozen=True, eq=False)
class Found:
    """The things of a scan of n points, by how well they fit a sentence, the best first."""

    instance: np.ndarray
    """(n,) int64, the thing of each point by its row in the others; -1 for none."""
    classes: np.ndarray
    """(k,) int64 labels."""
    scores: np.ndarray
    """(k,) how likely each is meant, all adding up to 1."""
    boxes: np.ndarray
    """(k, 7) along the axes, see `msm3d.tasks.instances.boxes`."""

    def __len__(self) -> int:
        """Return the number of things."""
        return len(self.classes)

    def described(self, number: int, names: Sequence[str]) -> dict[str, Any]:
        """Return plain values of one thing."""
        label, box = int(self.classes[number]), self.boxes[number].round(4).tolist()
        name = names[label] if label < len(names) else f"label {label}"
        facts = {"class": name, "label": label, "score": round(float(self.scores[number]), 4)}
        points = int(np.count_nonzero(self.instance == number))
        return facts | {"points": points, "box": {"centre": box[:3], "size": box[3:6]}}


def find(model: Model, head: Match, scan: PointCloud, text: str, *, max_memory: int | str | None = None) -> Found:
    """Return the things of a scan by how well they fit a sentence.

    Args:
        model: whose descriptors the head was fitted on.
        head: of `fit(DATA, model, "grounding")`.
        scan: any; it needs no labels.
        text: such as "the chair closest to the door".
        max_memory: as for `Model.extract`.

    Raises:
        InputError: the head is for another model, the text has no word that the head knows, or nothing is found at all.
    """
    if {*words(text)} <= {*head.unknown(text)}:
        raise InputError(f"no word of {text!r} is known; say it as in 'the chair closest to the door'.")
    head.require_matching(model)
    how: dict[str, Any] = {"at": "voxels", "dtype": "float16"}  # as in the cache that heads learn from
    rows, owner = model.extract(scan, **how, max_memory=max_memory)
    things = head.found(rows, owner, scan)
    if not len(things):
        raise InputError("there is nothing in the scan that is a thing; give a larger scan, or another head.")
    asked = Asked.of(as_objects(things, scan), rows, owner, [text])
    return ordered(things, head.scores(asked)[0], scan)


def ordered(things: Instances, fits: np.ndarray, scan: PointCloud) -> Found:
    """Return things by how well they fit, logits (k,), the best first."""
    likely = np.exp(fits.astype(np.float64) - fits.max())
    order = np.argsort(-likely, kind="stable")
    number = np.full(len(things) + 1, -1)  # the last is for -1
    number[order] = np.arange(len(things))
    boxes = things.boxes(scan.coord)[order]
    return Found(number[things.instance], things.classes[order], (likely / likely.sum())[order], boxes)
