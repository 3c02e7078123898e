"""`msm3d pca` and `msm3d view`: what features look like."""

import argparse
import os
from contextlib import nullcontext
from dataclasses import fields
from typing import Any

from .._util import stages
from .._util.output_path import require_there
from . import arguments
from .arguments import NUMBERS, SCAN, one_of, whole
from .display import Display
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verbs."""
    _add_pca(verbs)
    _add_view(verbs)


def _add_pca(verbs: Any) -> None:
    about = "Colour scans by the principal components of their features. All scans of one call share a basis."
    example = "msm3d pca scan.ply -o scan.png, or msm3d pca scans -o pictures"
    verb = declared(verbs, "pca", _pca, "scans to colours: features as red, green and blue", about, example)
    verb.option("scans", f"a {SCAN}, or a folder of such files", nargs="+", metavar="SCAN")
    verb.option(
        "-o --output",
        ".png, .ply, .html or .rrd (rerun) file; or a folder for several scans",
        required=True,
        metavar="OUT",
    )
    arguments.add_model(verb)
    verb.option("--levels", "such as 2,3 or -1: levels to colour by, 0 is the finest; all by default", NUMBERS)
    about = "of the files in a folder: png (default), ply, html or rrd"
    verb.option("--format", about, one_of("png", "ply", "html", "rrd"), dest="form", default="png")
    verb.option("--size", "of a picture, in pixels (default 1280x960)", default="1280x960")
    verb.option("--background", "of a picture: white (default), light, dark or black", default="white")
    verb.option("--basis", ".npz file of --save-basis: colours that mean the same as in an earlier call")
    verb.option("--save-basis", ".npz file to write the basis of the colours to")
    about = "components (default), clusters, or no-height: less what height explains"
    verb.option("--mode", about, one_of("components", "clusters", "no-height"), default="components")
    verb.option("--clusters", "how many, which is --mode clusters (default 8)", whole(1), metavar="K")
    verb.option("--features", "file of `msm3d extract` for each scan, instead of a model", nargs="+")
    arguments.add_reading(verb)
    verb.quiet()


def _add_view(verbs: Any) -> None:
    about = "Write one HTML file that needs neither a server nor a network, to look at and to send."
    example = "msm3d view scan.ply -o scan.html"
    verb = declared(
        verbs, "view", _view, "a scan to a page: click to see what is similar, or to name it", about, example
    )
    verb.option("scan", f"a {SCAN}", metavar="SCAN")
    verb.option("-o --output", ".html file", required=True, metavar="OUT")
    arguments.add_model(verb)
    verb.option("--features", "file of `msm3d extract` for this scan, instead of a model")
    about = "of labels in the scan: rooms, scannet20, s3dis, a file, or wall,floor,chair; by default what its file says"
    verb.option("--names", about)
    verb.option("--labels", ".json file of labels that were given in a page of this scan, to go on with")
    verb.option("--clusters", "show K clusters of the features, too", whole(1), metavar="K")
    verb.flag("--no-height", "show components of what height does not explain, too")
    verb.option("--points", "to keep at most (default 1000000)", whole(1), dest="most", default=1_000_000)
    arguments.add_reading(verb)
    verb.quiet()


def _source(options: argparse.Namespace, display: Display, files: list[str] | None) -> Any:
    """Return where features come from: the files that are given, or else the model."""
    from ..visualize.source import Source

    return Source(
        load=lambda: arguments.load(options, display),
        files=files,
        levels=getattr(options, "levels", None),
        max_memory=options.max_memory,
        options=arguments.reading(options),
    )


def _pca(options: argparse.Namespace, display: Display) -> None:
    require_there([*options.scans, *(options.features or [])])
    from ..batch import found
    from ..visualize.verbs import Look, pca

    look = Look(**{field.name: getattr(options, field.name) for field in fields(Look)})
    source = _source(options, display, options.features)
    scans = [os.fspath(scan) for path in options.scans for scan in found(path)]
    with stages.of(scans[0]) if len(scans) == 1 else nullcontext():
        for line in pca(scans, options.output, source, look):
            display.line(line)


def _view(options: argparse.Namespace, display: Display) -> None:
    require_there([path for path in (options.scan, options.features, options.labels) if path])
    from ..visualize.verbs import Sight, view

    sight = Sight(**{field.name: getattr(options, field.name) for field in fields(Sight)})
    source = _source(options, display, [options.features] if options.features else None)
    with stages.of(options.scan):
        for line in view(options.scan, options.output, source, sight):
            display.line(line)
