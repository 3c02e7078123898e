"""`msm3d probe`: how good features are."""

import argparse
import os
from pathlib import Path
from typing import Any

from .._util.atomic import apart
from .._util.words import choices
from ..tasks import TASKS
from . import arguments
from .display import Display


def add(verbs: Any) -> None:
    """Declare the verb."""
    verb = verbs.add_parser(
        "probe",
        help="judge features on labelled scans",
        description="Fit simple classifiers on frozen features of one split and score them on every point of another.",
        epilog="example: msm3d probe rooms:60 --model scannet -o report.json",
    )
    verb.add_argument(
        "dataset", metavar="DATA", help="folder of ScanNet, S3DIS, Pointcept's layout or synthetic rooms; or rooms:60"
    )
    verb.add_argument("-o", "--output", required=True, metavar="OUT", help=".json file; the Markdown goes beside it")
    arguments.add_model(verb)
    verb.add_argument(
        "--task",
        default="segmentation",
        type=_task,
        choices=TASKS,
        metavar="TASK",
        help="what is judged: %(choices)s (default segmentation)",
    )
    verb.add_argument("--protocol", help="heads to learn with, such as linear,knn; the task's own by default")
    verb.add_argument("--levels", action="store_true", help="also each level alone, and all but each")
    verb.add_argument(
        "--scenes", type=arguments.shares, default=[1.0], help="share to learn from, or several: 1,0.1,0.05"
    )
    verb.add_argument(
        "--points", type=arguments.counts, default=[None], help="labelled ones per scene, or several: all,200,20"
    )
    verb.add_argument(
        "--seed", type=arguments.numbers, default=[0], help="such as 0,1,2: several give means and deviations"
    )
    verb.add_argument("--sample", type=arguments.whole(1), default=2000, help="points kept per scene (default 2000)")
    verb.add_argument(
        "--test-sample", type=arguments.whole(1), help="labelled points of each scene to test on; all by default"
    )
    verb.add_argument("--cache", help="folder of features to go on with; a temporary one by default")
    verb.add_argument("--classes", help="scannet20, scannet200, s3dis or rooms instead of what the files suggest")
    verb.add_argument("--splits", help="folder with ScanNet's lists of scenes")
    verb.add_argument("--area", type=int, default=5, help="of S3DIS, to test on (default 5)")
    arguments.add_quiet(verb)
    verb.set_defaults(run=_probe)


def _task(name: str) -> str:
    if name not in TASKS:
        raise argparse.ArgumentTypeError(f"unknown task {name!r}; {choices(name, list(TASKS))}")
    return name


def _spare_data(output: Path, dataset: str) -> None:
    """Fail where the report would replace a file of the data set, such as the rooms.json of synthetic rooms."""
    here = [path for path in (output, output.with_suffix(".md")) if path.is_file()]
    within = os.path.isdir(dataset) and output.resolve().is_relative_to(Path(dataset).resolve())
    if within and not (output.is_file() and b'"msm3d-probe"' in output.read_bytes()[:1000]):
        apart(here, here)


def _probe(options: argparse.Namespace, display: Display) -> None:
    from ..evaluate import open_dataset, probe
    from ..evaluate.report import check_path

    _spare_data(check_path(options.output), options.dataset)
    train, test = open_dataset(options.dataset, classes=options.classes, splits=options.splits, area=options.area)
    model = arguments.load(options, display)
    kept = ("task", "protocol", "levels", "scenes", "points", "seed", "sample", "test_sample", "cache")
    settings = {name: getattr(options, name) for name in kept}
    name = options.model or model.meta.get("name") or "bundled"
    report = probe(train, test, {name: model}, **settings, progress=None)
    paths = report.write(options.output)
    display.line(report.to_markdown())
    display.line("written: " + ", ".join(map(str, paths)))
