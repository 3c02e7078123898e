"""Instances to files: a PLY that every viewer opens, and JSON beside it for programs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._util.atomic import replacing
from ...datasets.classes import IGNORE
from ...io.layouts.ply import write as write_ply
from ...scan.cloud import PointCloud
from .found import Instances

FORMAT, FORMAT_VERSION = "msm3d-instances", 1


def described(found: Instances, coord: np.ndarray, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return plain values of each thing, the surest first: class, score, points and boxes, in metres and radians.

    >>> found = Instances(np.zeros(2, int), np.array([1]), np.array([0.5]))
    >>> one = described(found, np.eye(3)[:2], ["wall", "chair"])[0]
    >>> one["class"], one["points"], one["box"]
    ('chair', 2, {'centre': [0.5, 0.5, 0.0], 'size': [1.0, 1.0, 0.0]})
    """
    values = zip(found.classes, found.scores, found.sizes, strict=True)
    boxes = zip(found.boxes(coord), found.boxes(coord, oriented=True), strict=True)
    return [
        {
            "instance": number,
            "class": named(int(label), names),
            "label": int(label),
            "score": round(float(score), 4),
            "points": int(size),
            "box": {"centre": _rounded(box[:3]), "size": _rounded(box[3:6])},
            "oriented_box": {"centre": _rounded(turned[:3]), "size": _rounded(turned[3:6])}
            | {"heading": round(float(turned[6]), 4)},
        }
        for number, ((label, score, size), (box, turned)) in enumerate(zip(values, boxes, strict=True))
    ]


def named(label: int, names: Sequence[str]) -> str:
    """Return the name of a label, or what stands for it where it has none."""
    return names[label] if label < len(names) else f"label {label}"


def write(
    path: Path, cloud: PointCloud, found: Instances, names: Sequence[str] = (), meta: Mapping[str, Any] | None = None
) -> tuple[Path, Path]:
    """Write a PLY file and JSON beside it, whole files or nothing, and return both.

    The points have x, y, z, their colours, and `label`, `instance` and `score`, which are -1, -1 and 0 where a point is
    in no thing; `row` where some rows of the scan's file have no position. Lines `comment label NUMBER NAME` hold the
    names. The JSON has `format`, `version`, `points`, what `meta` says, and `instances` as of `described`.
    """
    inside, beside = found.instance >= 0, path.with_suffix(".json")
    label, score = np.full(len(cloud), IGNORE, "<i4"), np.zeros(len(cloud), "<f4")
    label[inside], score[inside] = found.classes[found.instance[inside]], found.scores[found.instance[inside]]
    columns = {"x y z": cloud.coord}
    if cloud.color is not None:
        columns["red green blue"] = np.rint(cloud.color).astype(np.uint8)
    columns |= {"label": label, "instance": found.instance.astype("<i4"), "score": score}
    if cloud.rows is not None:
        columns["row"] = cloud.rows.astype("<i4")
    facts = {"format": FORMAT, "version": FORMAT_VERSION, "points": len(cloud), "units": "m", "up": "z", **(meta or {})}
    facts |= {"instances": described(found, cloud.coord, names)}
    with replacing(path) as one, replacing(beside) as two:
        write_ply(one, columns, [f"label {number} {name}" for number, name in enumerate(names)])
        two.write_text(_json(facts), encoding="utf-8")
    return path, beside


def _json(facts: Mapping[str, Any]) -> str:
    """Return JSON with a thing in a line."""
    lines = ",\n  ".join(json.dumps(thing, ensure_ascii=False) for thing in facts["instances"])
    text = json.dumps({**facts, "instances": []}, indent=1, ensure_ascii=False)
    return text.replace('\n "instances": []', f'\n "instances": [\n  {lines}\n ]', 1) + "\n"


def _rounded(values: np.ndarray) -> list[float]:
    return np.round(values, 4).tolist()
