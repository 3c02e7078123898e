"""Entwine Point Tiles on this machine: an octree whose nodes are LAZ files, described by ept.json."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from .._util.words import cut
from ..errors import FileError
from ..scan.options import ReadOptions
from . import las
from .octree import Octree
from .registry import Kind

TITLE = "EPT"
KIND = Kind(
    suffixes=(),
    title=TITLE,
    note="a folder with ept.json whose tiles are LAZ; see [Parts of large scans](#parts-of-large-scans)",
    extra="las",
    needs=las.NEEDS,
    octree=True,
    home=__name__,
)

_NAME, _ROOT = "ept.json", "0-0-0-0"
_KEY = re.compile(r"\d{1,2}(-\d{1,10}){3}")
_LARGEST = 1 << 26  # bytes of a JSON file
_MOST = 1 << 48  # points


def is_ept(path: Path) -> bool:
    """Whether a path is a folder of Entwine Point Tiles, or the file that describes one."""
    return (path.name == _NAME and path.is_file()) or (path / _NAME).is_file()


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the points' arrays by field name, in the order of the nodes: by level, x, y and z."""
    folder = file if file.is_dir() else file.parent
    about = _json(folder, _NAME)
    if (kind := about.get("dataType")) != "laszip":
        raise FileError(f"has tiles of the type {cut(kind)!r}, where 'laszip' is needed; make it again as LAZ.")
    counts = _hierarchy(folder)
    names = sorted(counts, key=_key)
    try:
        cube, span = np.array(about["bounds"], np.float64), float(about["span"])
        steps = [float(one.get("scale", 0)) for one in about["schema"] if one["name"] in ("X", "Y", "Z")]
        low, high = cube.reshape(2, 3)
        width = float((high - low).max())
        spacing, step = width / span, max(steps)
        numbers = np.array([counts[name] for name in names], np.int64)
        if sum(counts.values()) > _MOST:
            raise ValueError
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError, OverflowError) as error:
        raise FileError(
            f"has an {_NAME} without usable bounds, span or schema, or has too many points; make it again."
        ) from error
    tree = Octree(low, width, spacing, step, np.array([_key(name) for name in names]), numbers)
    wanted = tree.wanted(options)
    tiles = [folder / "ept-data" / f"{name}.laz" for name, good in zip(names, wanted, strict=True) if good]
    missing = [tile.name for tile in tiles if not tile.is_file()]
    if missing:
        raise FileError(f"lacks {len(missing)} of its tiles, such as ept-data/{missing[0]}; copy all of it.")
    found = las.fields([las.Part(str(tile), int(n)) for tile, n in zip(tiles, numbers[wanted], strict=True)])
    return {**found, "rows": tree.rows(wanted), "total": int(numbers.sum()), "taken": tree.said(wanted, options)}


def _hierarchy(folder: Path) -> dict[str, int]:
    """Return the number of points of each node that has some; what is in a file of its own is looked up there."""
    found, left, seen = dict[str, int](), [_ROOT], set[str]()
    while left:
        seen.add(name := left.pop())
        for key, number in _json(folder / "ept-hierarchy", f"{name}.json").items():
            later = number == -1
            if not _KEY.fullmatch(key) or type(number) is not int or number < -1 or (later and key in seen):
                entry = f"{cut(key)!r}: {cut(number)}"
                raise FileError(f"has in ept-hierarchy/{name}.json {entry}; it is damaged, copy it again.")
            if later:
                left.append(key)
            elif number:
                found[key] = number
    if not found:
        raise FileError("has no points in its hierarchy; there is nothing to read.")
    return found


def _json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise FileError(f"has no usable {path.parent.name}/{name}; copy all of it.")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"has a {path.parent.name}/{name} that is not JSON; copy it again.") from error
    if not isinstance(found, dict):
        raise FileError(f"has a {path.parent.name}/{name} without names and values; copy it again.")
    return found


def _key(name: str) -> list[int]:
    """Return the level and the place of a node.

    >>> _key("2-3-0-1")
    [2, 3, 0, 1]
    """
    return [int(part) for part in name.split("-")]
