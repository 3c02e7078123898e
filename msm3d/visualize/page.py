"""A scene as one file of HTML that needs neither a server nor a network: points, packed features, the viewer."""

import base64
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from .._util.atomic import replacing
from .._util.output_path import output_path
from .._util.words import require_one_of
from ..errors import InputError
from ..scan.cloud import PointCloud
from .camera import automatic_view, outside
from .colors import ColorBasis
from .extras import Extras, legend
from .packing import CHANNELS, FINEST, MOST_CELLS, Cells, Packed, loss, pack
from .picture import spacing
from .rows import Copies, spaced

HERE = Path(__file__).parent / "page"
SCRIPTS = ("decode.js", "similarity.js", "camera.js", "scene.js", "panel.js")
SCRIPTS += ("labels.js", "preview.js", "naming.js", "main.js")
MODES = ("color", "pca", "rest", "similarity", "cluster", "label", "unsure", "name")
MOST_POINTS = 1_000_000  # in a page; of larger scans some are left out, evenly
_GREY = (150, 152, 158)


@dataclass(frozen=True)
class Page:
    """What was written."""

    path: Path  # the file
    points: int  # points in the page
    cells: int  # cells that have features
    edge: float  # of a cell, metres
    loss: tuple[float, float]
    """How much a similarity in the page differs from the descriptors': on average, and for 95 of 100 pairs at most."""
    bytes: int  # size of the file


def write_page(
    path: str | os.PathLike[str],
    cloud: PointCloud,
    features: Any,
    *,
    levels: Sequence[Any] = (),
    bases: Sequence[ColorBasis] | None = None,
    mode: str = "color",
    title: str = "scan",
    model: str = "",
    names: Sequence[str] = (),
    most: int = MOST_POINTS,
    channels: int = CHANNELS,
    cells: int = MOST_CELLS,
    extras: Extras | None = None,
) -> Page:
    """Write a page in which a click on a point shows what is similar to it, or names it; return what is in it.

    Args:
        path: ends with .html.
        cloud: the scan; with `normal`, walls in front of the camera can be hidden; with `segment`, labels are shown.
        features: (n, c), row i of point i, which may be a memory map; or `rows.Copies`.
        levels: `Model.feature_info`, so that one level alone can be shown; without it there is only the whole.
        bases: of the colours of whole descriptors, then of each level; fitted here by default.
        mode: what the page shows first: color, pca, rest, similarity, cluster, label, unsure or name; of a scan
            without colours pca, not color.
        title: of the page.
        model: what made the features, in words.
        names: of the labels from 0.
        most: points to keep.
        channels: numbers that a descriptor is packed into.
        cells: cells to keep features for.
        extras: clusters, confidence, labels given earlier and the like.

    Raises:
        InputError: the path, the mode, the features or the extras are not good.
    """
    path, features, extras = check_page(path), Copies.of(features), extras or Extras()
    colored = cloud.color is not None and bool(np.ptp(cloud.color, axis=0).any())
    mode = "pca" if mode == "color" and not colored else mode
    require_one_of("mode", mode, MODES)
    extras.require(cloud, mode)
    if len(features) != len(cloud):
        raise InputError(f"there are {len(features)} features for {len(cloud)} points; give one row per point.")
    slices = [level.slice for level in levels] if len(levels) > 1 else [slice(0, features.shape[1])]
    bases = level_bases([features], slices) if bases is None else bases
    grid = _grid(cloud.coord, cells, levels[0].voxel_size / 2 if len(levels) else FINEST, most)
    packed = pack(features, grid, slices, bases, channels)
    lost = loss(features, grid, packed, slices)
    points, labels = _points(cloud, grid, names)
    meta = {"title": title, "model": model, "mode": mode, "total": len(cloud), "channels": features.shape[1]}
    meta |= {"loss": lost, "labels": labels, **_described(cloud.coord, grid, packed, levels)}
    meta |= {"colored": colored, **extras.described(cloud, grid)}
    arrays = _features(packed) | extras.cells(grid)
    blocks = {"POINTS": _block(points | extras.points(grid), 6, zlib.Z_RLE)}  # smaller, in a sixth of the time
    blocks["FEATURES"] = _block(arrays, 1)  # 2 % larger, in two fifths
    html = _html(meta, blocks)
    with replacing(path) as partial:
        partial.write_text(html, encoding="utf-8")
    return Page(path, len(grid.rows), len(grid.cells), grid.edge, lost[0], path.stat().st_size)


def check_page(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or fail before any work is done if a page cannot be written there."""
    return output_path(path, [".html", ".htm"], "a page", ".html")


def level_bases(scenes: Sequence[Any], levels: Sequence[slice]) -> list[ColorBasis]:
    """Return one basis of colours for whole descriptors and, where there are several levels, one for each."""
    return ColorBasis.of_each(scenes, [slice(None), *(levels if len(levels) > 1 else [])])


def _grid(coord: np.ndarray, cells: int, finest: float, most: int) -> Cells:
    """Return the cells of at most `most` of the points, evenly spaced, none finer than `finest`."""
    grid = Cells.of(coord, cells, finest)
    if len(coord) <= most:
        return grid
    kept = np.sort(grid.rows[spaced(len(coord), most)])
    grid = Cells.of(coord[kept], cells, finest)
    return replace(grid, rows=kept[grid.rows])


def _described(coord: np.ndarray, grid: Cells, packed: Packed, levels: Sequence[Any]) -> dict[str, Any]:
    """Return what the viewer has to know of points, cells, packed features and levels."""
    view = automatic_view(coord)
    several = levels if len(levels) > 1 else []
    return {
        "points": len(grid.rows),
        "cells": len(grid.cells),
        "edge": grid.edge,
        "corner": grid.corner.tolist(),
        "size": float(np.median(spacing(coord[grid.rows]))),
        "view": {"eye": view.eye, "target": view.target, "fov": view.fov, "below": view.below},
        "kept": list(packed.channels),
        "scales": packed.scales.tolist(),
        "levels": [{"level": info.level, "size": info.voxel_size, "channels": info.channels} for info in several],
    }


def _points(cloud: PointCloud, grid: Cells, names: Sequence[str]) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Return the arrays of the points in the order of the cells, and what the labels are."""
    coord, cell = cloud.coord[grid.rows], grid.cell_of_point
    place = (coord - grid.corner) / grid.edge - grid.cells[cell]
    offset = np.clip(np.floor(place * 256), 0, 255).astype(np.uint8)
    color = np.tile(np.array(_GREY, np.uint8), (len(cell), 1)) if cloud.color is None else cloud.color[grid.rows]
    color = np.rint(color).astype(np.uint8)
    rows = grid.rows if cloud.rows is None else cloud.rows[grid.rows]  # of the scan's file
    arrays = {"count": _integers(grid.counts), "row": _integers(np.diff(rows, prepend=0))}
    for axis, name in enumerate("xyz"):
        arrays[f"cell.{name}"] = _integers(np.diff(grid.cells[:, axis], prepend=0))
        arrays[f"offset.{name}"] = offset[:, axis].tobytes()
    for axis, name in enumerate("rgb"):
        arrays[f"color.{name}"] = np.diff(color[:, axis], prepend=np.uint8(0)).tobytes()
    if cloud.normal is not None:
        normal = cloud.normal * outside(cloud.coord, cloud.normal)[:, None]
        starts = np.cumsum(grid.counts) - grid.counts
        mean = np.add.reduceat(normal[grid.rows], starts)
        length = np.linalg.norm(mean, axis=1, keepdims=True)
        mean = np.where(length > 0.5 * grid.counts[:, None], mean / np.maximum(length, 1e-9), 0)
        for axis, name in enumerate("xyz"):
            arrays[f"outer.{name}"] = np.rint(mean[:, axis] * 127).astype(np.int8).tobytes()
    if cloud.segment is None:
        return arrays, []
    values, label, counts = np.unique(cloud.segment[grid.rows], return_inverse=True, return_counts=True)
    if len(values) > 256:  # no classes but something else, such as one number for each object
        return arrays, []
    arrays["label"] = label.astype(np.uint8).tobytes()
    called = [
        names[int(v)] if 0 <= v < len(names) else "not labelled" if v < 0 or v == 255 else f"label {v}"
        for v in values.tolist()
    ]
    return arrays, legend(values, called, counts)


def _features(packed: Packed) -> dict[str, bytes]:
    arrays = {f"value.{k}": column.tobytes() for k, column in enumerate(packed.values.T.copy())}
    arrays |= {f"weight.{k}": column.tobytes() for k, column in enumerate(packed.weights.T.copy())}
    for k in range(packed.colors.shape[1]):
        for axis, name in enumerate("rgb"):
            arrays[f"pca.{k}.{name}"] = np.diff(packed.colors[:, k, axis], prepend=np.uint8(0)).tobytes()
    return arrays


def _integers(values: np.ndarray) -> bytes:
    """Return whole numbers as four planes of bytes, small ones of either sign with empty upper planes."""
    folded = np.where(values < 0, -2 * values - 1, 2 * values).astype("<u4")
    return folded.view(np.uint8).reshape(-1, 4).T.tobytes()


def _block(arrays: dict[str, bytes], level: int, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> str:
    """Return arrays as text: eight bytes of length, JSON of the arrays' lengths, their bytes; deflated, base64."""
    head = json.dumps({name: len(data) for name, data in arrays.items()}).encode()
    head += b" " * (-len(head) % 8)
    packed = zlib.compressobj(level, strategy=strategy)
    parts = [packed.compress(part) for part in (len(head).to_bytes(8, "little"), head, *arrays.values())]
    return base64.b64encode(b"".join(parts) + packed.flush()).decode("ascii")


def _html(meta: dict[str, Any], blocks: dict[str, str]) -> str:
    names = ("style.css", "three.LICENSE", "three.min.js", "template.html", *SCRIPTS)
    style, licence, three, template, *scripts = ((HERE / name).read_text(encoding="utf-8") for name in names)
    parts = {"TITLE": escape(meta["title"]), "STYLE": style, "LICENSE": licence.strip(), "THREE": three.strip()}
    parts["VIEWER"] = '(() => {\n"use strict";\n' + "\n".join(scripts) + "\n})();"
    parts |= {"META": json.dumps(meta).replace("<", "\\u003c"), **blocks}
    pieces = template.split("%%")
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))
