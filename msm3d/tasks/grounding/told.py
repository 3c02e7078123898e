"""Sentences that people said about scans: ScanRefer's JSON, and the CSV of ReferIt3D's Nr3D and Sr3D."""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.scenes import Dataset
from ...errors import InputError
from ..fingerprint import scene_hash
from .objects import Objects
from .saying import Sentence


@dataclass(frozen=True)
class Told:
    """A sentence about a thing of a scene; things have the numbers of the scene's instances."""

    scene: str
    text: str
    target: int
    kind: str
    """What it counts for: Sr3D's type of relation, such as "closest", else "told"."""
    anchors: tuple[int, ...] = ()
    """The other things that it speaks of, if the file says them, two at most."""


def read_told(path: str | os.PathLike[str]) -> list[Told]:
    """Return the sentences of a file of ScanRefer (`ScanRefer_filtered_train.json`) or of ReferIt3D (`nr3d.csv`,
    `sr3d.csv`); of Nr3D those that name the class of what they mean.

    Raises:
        InputError: there is no such file, or it holds something else.

    Source: the columns are those of ScanRefer's benchmark and of ReferIt3D's `create_sr3d.py`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text; check the path.") from error
    try:
        rows = json.loads(text) if path.suffix.lower() == ".json" else list(csv.DictReader(text.splitlines()))
        return [*map(_of_row, filter(_names_its_class, rows))]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(
            f"{path} holds no sentences about scans; give JSON with scene_id, object_id and description, or CSV with "
            "scan_id, target_id and utterance."
        ) from error


def by_scene(dataset: Dataset, sentences: list[Told]) -> dict[str, list[Told]]:
    """Return sentences by the hash of the scene that they are about, for `Grounding(told=...)`; every scene is read.

    Raises:
        InputError: none is about a scene of the data set.
    """
    about: dict[str, list[Told]] = {}
    for one in sentences:
        about.setdefault(one.scene, []).append(one)
    known = {scene_hash(scene.read()): about[scene.name] for scene in dataset.scenes if scene.name in about}
    if not known:
        raise InputError(f"no sentence is about a scene of {dataset.name} {dataset.split}; give those of its scenes.")
    return known


def about(things: Objects, sentences: list[Told]) -> Iterator[Sentence]:
    """Yield the sentences that mean one of some things."""
    number = {name: i for i, name in enumerate(things.ids.tolist())}
    for one in sentences:
        if one.target in number:
            target = number[one.target]
            same = int((things.labels == things.labels[target]).sum()) - 1
            first, second = (*(number.get(name, -1) for name in one.anchors[:2]), -1, -1)[:2]
            yield Sentence(one.text, target, one.kind, same, (first, second, -1, -1))


def _names_its_class(row: Mapping[str, Any]) -> bool:
    return str(row.get("mentions_target_class", True)).lower() == "true"


def _of_row(row: Mapping[str, Any]) -> Told:
    if "scene_id" in row:
        return Told(str(row["scene_id"]), str(row["description"]), int(row["object_id"]), "told")
    anchors = json.loads(row.get("anchor_ids") or "[]")
    kind = row.get("reference_type") or "told"
    return Told(row["scan_id"], row["utterance"], int(row["target_id"]), kind, tuple(map(int, anchors)))
