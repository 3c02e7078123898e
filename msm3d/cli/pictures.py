"""`msm3d pca` and `msm3d view`: what features look like."""

import argparse
import os
from contextlib import nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .._util import stages
from . import arguments
from .arguments import SCAN
from .display import Display

if TYPE_CHECKING:
    from ..visualize.source import Source


def add(verbs: Any) -> None:
    """Declare the verbs."""
    _add_pca(verbs)
    _add_view(verbs)


def _add_pca(verbs: Any) -> None:
    verb = verbs.add_parser(
        "pca",
        help="scans to colours: features as red, green and blue",
        description="Colour scans by the principal components of their features. All scans of one call share a basis.",
        epilog="example: msm3d pca scan.ply -o scan.png, or msm3d pca scans -o pictures",
    )
    verb.add_argument("scans", nargs="+", metavar="SCAN", help=f"a {SCAN}, or a folder of such files")
    verb.add_argument(
        "-o", "--output", required=True, metavar="OUT", help=".png, .ply or .html file; or a folder for several scans"
    )
    arguments.add_model(verb)
    verb.add_argument(
        "--levels",
        type=arguments.numbers,
        help="such as 2,3 or -1: levels to colour by, 0 is the finest; all by default",
    )
    verb.add_argument(
        "--format",
        dest="form",
        default="png",
        type=arguments.one_of("png", "ply", "html"),
        help="of the files in a folder: png (default), ply or html",
    )
    verb.add_argument("--size", default="1280x960", help="of a picture, in pixels (default 1280x960)")
    verb.add_argument("--background", default="white", help="of a picture: white (default), light, dark or black")
    verb.add_argument("--basis", help=".npz file of --save-basis: colours that mean the same as in an earlier call")
    verb.add_argument("--save-basis", help=".npz file to write the basis of the colours to")
    verb.add_argument(
        "--mode",
        default="components",
        type=arguments.one_of("components", "clusters", "no-height"),
        help="components (default), clusters, or no-height: less what height explains",
    )
    verb.add_argument("--features", nargs="+", help="file of `msm3d extract` for each scan, instead of a model")
    arguments.add_reading(verb)
    arguments.add_quiet(verb)
    verb.set_defaults(run=_pca)


def _add_view(verbs: Any) -> None:
    verb = verbs.add_parser(
        "view",
        help="a scan to a page: click a point to see what is similar",
        description="Write one HTML file that needs neither a server nor a network, to look at and to send.",
        epilog="example: msm3d view scan.ply -o scan.html",
    )
    verb.add_argument("scan", metavar="SCAN", help=f"a {SCAN}")
    verb.add_argument("-o", "--output", required=True, metavar="OUT", help=".html file")
    arguments.add_model(verb)
    verb.add_argument("--features", help="file of `msm3d extract` for this scan, instead of a model")
    verb.add_argument(
        "--names",
        help="of labels: rooms, scannet20, s3dis, a file, or wall,floor,chair; by default those in the scan's file",
    )
    verb.add_argument(
        "--points",
        dest="most",
        type=arguments.whole(1),
        default=1_000_000,
        help="to keep at most (default 1000000)",
    )
    arguments.add_reading(verb)
    arguments.add_quiet(verb)
    verb.set_defaults(run=_view)


def _source(options: argparse.Namespace, display: Display, files: list[str] | None) -> "Source":
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
    arguments.check_there([*options.scans, *(options.features or [])])
    from ..batch import found
    from ..visualize.verbs import Look, pca

    look = Look(**{field.name: getattr(options, field.name) for field in fields(Look)})
    source = _source(options, display, options.features)
    scans = [os.fspath(scan) for path in options.scans for scan in found(path)]
    with stages.of(scans[0]) if len(scans) == 1 else nullcontext():
        for line in pca(scans, options.output, source, look):
            display.line(line)


def _view(options: argparse.Namespace, display: Display) -> None:
    arguments.check_there([options.scan, *([options.features] if options.features else [])])
    from ..visualize.verbs import view

    source = _source(options, display, [options.features] if options.features else None)
    with stages.of(options.scan):
        for line in view(options.scan, options.output, source, names=options.names, most=options.most):
            display.line(line)
