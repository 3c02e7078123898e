"""`msm3d instances`: the things in scans, with their boxes."""

import argparse
from typing import Any

from .._util import stages
from .._util.output_path import require_there
from .._util.words import count
from . import arguments
from .arguments import SCAN, typed, whole
from .display import Display
from .parser import declared

PALE = 204  # of red, green and blue: points in no thing, in a picture


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = (
        "Find the things in scans, by a head of `msm3d fit DATA --task instances`. The PLY file has label, instance "
        "and score of each point, the JSON beside it class, score, size and boxes of each thing."
    )
    example = "msm3d instances scan.ply --head things -o found.ply"
    verb = declared(verbs, "instances", run, "scans to things: masks, boxes, classes, scores", about, example)
    verb.option("scans", f"a {SCAN}, or a folder of such files", nargs="+", metavar="SCAN")
    verb.option(
        "-o --output", ".ply file, JSON goes beside it; a folder for several scans", required=True, metavar="OUT"
    )
    verb.option("--head", "folder of `msm3d fit`", required=True)
    verb.flag("--picture", "a .png of the things in colours beside it, too")
    above = typed(_above_0, "a number above 0, such as 0.08")
    verb.option("--radius", "metres between moved points of a thing (default 0.08)", above, default=0.08)
    verb.option("--least", "points of the smallest thing (default 100)", whole(1), default=100)
    arguments.add_model(verb)
    arguments.add_reading(verb)
    verb.quiet()


def _above_0(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise ValueError
    return float(text)


def run(options: argparse.Namespace, display: Display) -> int:
    """Find the things of every scan; 1 if some of several failed."""
    require_there([*options.scans, options.head])
    from .. import batch
    from ..errors import InputError
    from ..tasks import heads
    from ..tasks.instances import InstanceSegmentation
    from ..weights import list_models
    from .outcomes import failures

    plan = batch.plan(options.scans, options.output, "ply")
    if (target := plan.jobs[0].target).suffix.lower() != ".ply":
        raise InputError(f"{target} cannot hold instances; end it with .ply.")
    head = heads.load(options.head)
    if not isinstance(head, heads.PointGroup):
        raise InputError(f"{options.head} holds a head {head.name!r}; give one of: msm3d fit DATA --task instances.")
    made_for = head.fingerprint_.name if head.fingerprint_ else None
    options.model = options.model or (made_for if made_for in list_models() else None)
    model = arguments.load(options, display)
    head.require_matching(model)
    head.set_params(device=str(model.device))
    task = InstanceSegmentation(stuff=head.stuff, radius=options.radius, least=options.least)
    outcomes = []

    def work(outcome: Any) -> Any:
        display.line(_done(outcome.job, task, (model, head), options))
        return outcome

    try:
        for outcome in batch.each((batch.Outcome(job=job) for job in plan.jobs), work):
            if outcome.error is not None and plan.alone:
                raise outcome.error
            outcomes.append(outcome)
    finally:  # also where a full disk, or Ctrl-C, ends it
        failed = failures(outcomes, "instances", display)
    return 1 if failed else 0


def _done(job: Any, task: Any, found_by: tuple[Any, Any], options: argparse.Namespace) -> str:
    """Write the things of one scan, and return one line about them."""
    from .._util.atomic import apart, made
    from ..batch import read
    from ..tasks.instances.files import named, write

    model, head = found_by
    picture = job.target.with_suffix(".png")
    apart([job.target.with_suffix(".json"), *([picture] if options.picture else [])], [job.scan])
    cloud = read(job.scan, arguments.reading(options))
    found = task.found(model, head, cloud, max_memory=options.max_memory)
    stages.stage("writing")
    meta = {"scan": job.scan.name, "model": model.meta.get("name"), "radius": task.radius, "least": task.least}
    with made(job.target.parent):
        write(job.target, cloud, found, head.names, meta)
        if options.picture:
            from ..visualize import label_colors, render, save_picture

            colors = label_colors(found.instance)
            colors[found.instance < 0] = PALE
            save_picture(picture, render(cloud.coord, colors, normals=cloud.normal))
    each = [named(label, head.names) for label in found.classes]
    kinds = ", ".join(f"{each.count(name)} {name}" for name in dict.fromkeys(each))
    return f"{job.target}: {count(len(found), 'thing')} in {count(len(cloud), 'point')}" + (
        f": {kinds}" if kinds else ""
    )
