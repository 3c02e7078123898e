"""The picture and the page of a labelled scan, for verbs that label points."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._util.atomic import apart
from .._util.output_path import output_path
from .._util.words import count
from ..errors import InputError
from .parser import Parser

if TYPE_CHECKING:
    import numpy as np

    from ..batch import Plan
    from ..model import Model
    from ..tasks.fingerprint import Fingerprint
    from ..tasks.segmenting import Segmented

MOST = 255  # labels that a page can tell apart, and one for what has none


def add(verb: Parser, what: str) -> None:
    """Add what says which looks are wanted."""
    verb.flag("--paint", f"replace the scan's colours with those of the {what}")
    verb.option("--picture", f".png file to draw the {what} to, of one scan")
    verb.option("--page", f".html file to see the {what} in, of one scan")


def check(options: argparse.Namespace, plan: "Plan") -> None:
    """Fail before any work where a picture or a page cannot be made."""
    looks = [path for path in (options.picture, options.page) if path]
    if looks and len(plan.jobs) > 1:
        raise InputError(f"{looks[0]} shows one scan, and there are {len(plan.jobs)}; draw them one by one.")
    if options.picture:
        output_path(options.picture, [".png"], "a picture")
    if options.page:
        output_path(options.page, [".html", ".htm"], "a page", ".html")
    apart(looks, [job.scan for job in plan.jobs])


@dataclass(frozen=True, eq=False)
class Maker:
    """What labelled."""

    model: "Model"
    of: "Fingerprint"  # of the descriptors
    words: str  # such as "kmeans"

    def said(self) -> dict[str, Any]:
        """Return what a page says of it."""
        from ..visualize.source import placed

        levels = placed([self.model.feature_info[level] for level in self.of.levels])
        return {"model": f"{self.of.name}, {self.words}", "levels": levels}


def made(
    options: argparse.Namespace, result: "Segmented", maker: Maker, rows: "np.ndarray", owner: "np.ndarray"
) -> list[str]:
    """Draw the picture and write the page that were asked for, and return what is said about them.

    The descriptors `rows` (m, c), of which each point owns one, are for a page only.
    """
    if not (options.picture or options.page):
        return []
    from ..scan.normals import estimated

    normal = result.cloud.normal if result.cloud.normal is not None else estimated(result.cloud.coord)
    cloud, lines = replace(result.cloud, normal=normal, segment=result.labels, total=None), []
    if options.picture:
        from ..visualize import render, save_picture

        save_picture(options.picture, render(cloud.coord, result.colors(), normals=normal))
        lines.append(f"written: {options.picture}")
    if options.page:
        from ..visualize import write_page
        from ..visualize.extras import Extras
        from ..visualize.rows import Copies

        last = min(max(result.classes, default=-1), 1 << 16)
        names = [result.classes.get(label, f"label {label}") for label in range(last + 1)]
        extras = Extras(confidence=result.confidence, source=result.cloud)
        said: dict[str, Any] = {"mode": "label", "names": names, "extras": extras, **maker.said()}
        shown = _frequent(result.labels)
        cloud = replace(cloud, segment=shown)
        page = write_page(options.page, cloud, Copies(rows, owner), title=Path(options.scans[0]).name, **said)
        left = len(set(result.labels.tolist())) - len(set(shown.tolist()))
        kept = f"; of {left + MOST} labels the {MOST} most frequent" if left > 0 else ""
        lines.append(f"written: {page.path}, {count(page.points, 'point')}{kept}")
    return lines


def _frequent(labels: "np.ndarray") -> "np.ndarray":
    """Return labels (n,) of which no more than a page can tell apart are left, the most frequent; others are -1."""
    import numpy as np

    values, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(values) <= MOST:
        return labels
    kept = np.zeros(len(values), bool)
    kept[np.argsort(-counts, kind="stable")[:MOST]] = True
    return np.where(kept[place], labels, -1)
