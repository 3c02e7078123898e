"""`msm3d read`: what is understood of a scan, before anything is computed."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._util.output_path import require_there
from .._util.words import count, megabytes
from . import arguments
from .arguments import SCAN
from .display import Display
from .parser import declared

if TYPE_CHECKING:
    from ..scan.cloud import PointCloud
    from ..scan.options import ReadOptions


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = (
        "Read a scan and say what was understood: points, units, up, extent, spacing, colours, normals, labels and "
        "viewpoints; what is missing, and what `msm3d extract` will put in its place. No network is loaded."
    )
    verb = declared(verbs, "read", run, "what is understood of a scan", about, "msm3d read scan.ply")
    verb.option("scan", f"a {SCAN}, or a folder of RGB-D frames with poses", metavar="SCAN")
    arguments.add_understanding(verb)


def run(options: argparse.Namespace, display: Display) -> None:
    """Show what was understood."""
    require_there([options.scan])
    display.stage("reading")
    for name, text in report(Path(options.scan), arguments.reading(options)):
        display.line(f"{name:12} {text}")


def report(scan: Path, options: "ReadOptions") -> Iterator[tuple[str, str]]:
    """Yield what is understood of a file, or of a folder with coord.npy and the like, each part with its name."""
    import numpy as np

    from ..io import read_folder, reading
    from ..visualize.picture import spacing

    said: dict[str, Any] = {}
    if (scan / "coord.npy").is_file():
        cloud, rows, what = read_folder(scan, options), 0, "folder of arrays"
    else:
        said = reading.opened(reading.check(scan), options)
        given = {name: getattr(options, name) for name in reading.SHARED}
        cloud = reading.converted(scan, said, options, given)
        rows = said.get("total") or len(said["coord"])
        size = "" if scan.is_dir() else f", {megabytes(scan.stat().st_size)}"
        what = f"{reading.kind_of(scan).title}{size}"
    yield "scan", f"{scan} ({what})"
    left = f" of {rows:,}; the others have no position or were left out" if len(cloud) < rows else ""
    yield "points", f"{len(cloud):,}{left}"
    if "taken" in said:
        yield "octree", said["taken"]
    low, high = cloud.coord.min(0), cloud.coord.max(0)
    yield "extent", f"{' x '.join(f'{span:.2f}' for span in high - low)} m"
    yield "from", f"x {low[0]:.2f}, y {low[1]:.2f}, z {low[2]:.2f} m"
    for name, default in (("units", "m"), ("up", "z")):
        given = getattr(options, name)
        why = "as asked for" if given else "as the format says" if name in said else f"assumed; else give --{name}"
        yield name, f"{given or said.get(name, default)} ({why})"
    yield "spacing", f"about {_length(float(np.median(spacing(cloud.coord))))} between neighbours"
    yield from _attributes(cloud)
    yield "next", f"msm3d extract {scan} -o features.npz"


def _attributes(cloud: "PointCloud") -> Iterator[tuple[str, str]]:
    if cloud.color is None:
        yield "colours", "none; neutral grey will be used"
    else:
        yield "colours", f"mean {', '.join(f'{value:.0f}' for value in cloud.color.mean(0))} of 255"
    if cloud.normal is None:
        to = "to the middle of the scene" if cloud.viewpoint is None else "to where each point was seen from"
        yield "normals", f"none; they will be estimated and point {to}"
    else:
        unknown = int((cloud.normal == 0).all(1).sum())
        yield "normals", "there" + (f", but for {count(unknown, 'point')}" if unknown else "")
    for name, values in (("classes", cloud.segment), ("objects", cloud.instance)):
        if values is not None:
            yield name, f"{len(set(values[values >= 0].tolist()))} (labels {values.min()} to {values.max()})"
    if cloud.viewpoint is None:
        yield "viewpoints", "not known"
    else:
        unknown = 0 if cloud.station is None else int((cloud.station < 0).sum())
        yield "viewpoints", f"{len(cloud.viewpoint):,}" + (f", not of {count(unknown, 'point')}" if unknown else "")


def _length(metres: float) -> str:
    """Return a length as people say it.

    >>> _length(0.00432), _length(0.25)
    ('4.3 mm', '0.25 m')
    """
    return f"{metres * 1000:.2g} mm" if metres < 0.1 else f"{metres:.2g} m"
