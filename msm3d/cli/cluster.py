"""`msm3d cluster`: scans to clusters of what is alike, without any label."""

import argparse
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .._util import stages
from .._util.output_path import require_there
from . import arguments, looks
from .arguments import NUMBERS, SCAN, above, one_of, whole
from .display import Display
from .outcomes import failures, summary
from .parser import declared
from .segment import FORMATS

if TYPE_CHECKING:
    from ..batch import Outcome
    from ..tasks.clustering import Seen, Work
    from ..tasks.segmenting import Segmented


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = (
        "Put every point of scans into a cluster of points that are alike, without any label: k-means or HDBSCAN on "
        "the descriptors of voxels. All scans of one call share their clusters. Row i of the result belongs to point i "
        "of the scan, whose other properties are kept."
    )
    example = "msm3d cluster scan.ply -o clusters.ply --levels 2,3 --clusters 12 --picture clusters.png"
    verb = declared(verbs, "cluster", run, "scans to clusters of what is alike", about, example)
    verb.option("scans", f"a {SCAN}, or a folder of such files", nargs="+", metavar="SCAN")
    verb.option(
        "-o --output", ".ply, .las, .laz, .npz or .npy file; a folder for several scans", required=True, metavar="OUT"
    )
    about = "kmeans (default); or hdbscan: as many clusters as there are dense places, -1 between them"
    verb.option("--method", about, one_of("kmeans", "hdbscan"), default="kmeans")
    verb.option("--clusters", "how many, of kmeans (default 8)", whole(1), metavar="K")
    about = "metres: pieces of a cluster that lie so far apart become clusters of their own, such as 0.15"
    verb.option("--apart", about, above("metres above 0, such as 0.15"))
    about = "voxels in the smallest cluster of hdbscan, or in the smallest piece (default 100); smaller ones are -1"
    verb.option("--smallest", about, whole(1), default=100)
    verb.option("--levels", "such as 2,3 or -1: levels to cluster by, 0 is the finest; all by default", NUMBERS)
    verb.flag("--no-height", "cluster by what height does not explain, which otherwise divides walls into bands")
    looks.add(verb, "clusters")
    arguments.add_model(verb)
    arguments.add_reading(verb)
    verb.option("--format", f"of the files in a folder: {', '.join(FORMATS)} (default ply)", one_of(*FORMATS))
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> int:
    """Cluster every scan; 1 if some of several failed."""
    require_there(options.scans)
    from .. import batch
    from ..tasks.clustering import Clustering, Work

    how = Clustering(**{name: getattr(options, name) for name in [field.name for field in fields(Clustering)]})
    plan = batch.plan(options.scans, options.output, options.format or "ply", batch.LABELS)
    looks.check(options, plan)
    model = arguments.load(options, display)
    asked = {"max_memory": options.max_memory, "progress": None}
    work = Work(model, how, options.levels, arguments.reading(options), asked)
    outcomes: list[Outcome] = []
    try:
        with ExitStack() as stack:
            seen: dict[int, Seen] = {}

            def describe(outcome: "Outcome") -> "Outcome":
                start = perf_counter()
                seen[len(outcomes)] = work.described(outcome.job.scan, stack)
                return replace(outcome, seconds=perf_counter() - start)

            for outcome in batch.each((batch.Outcome(job=job) for job in plan.jobs), describe):
                if outcome.error is not None and plan.alone:
                    raise outcome.error
                outcomes.append(outcome)
            if seen:
                _write(options, display, work, outcomes, seen)
        if len(plan.jobs) > 1:
            display.line(summary(outcomes, plan.others))
    finally:  # also where a full disk, or Ctrl-C, ends it
        failed = failures(outcomes, "cluster", display)
    return 1 if failed else 0


def _write(
    options: argparse.Namespace, display: Display, work: "Work", outcomes: list["Outcome"], seen: dict[int, "Seen"]
) -> None:
    """Cluster what was described, write it, and put into `outcomes` what became of it."""
    from .. import batch
    from .._util.atomic import made
    from .._util.words import count, megabytes

    found = dict(zip(seen, work.clustered(list(seen.values())), strict=True))
    for number, result in found.items():

        def write(outcome: "Outcome", result: "Segmented" = result) -> "Outcome":
            start, target = perf_counter(), Path(outcome.job.target)
            with made(target.parent):
                result.save(target, paint=options.paint)
            size, points = target.stat().st_size, len(result.labels)
            return replace(outcome, points=points, bytes=size, seconds=outcome.seconds + perf_counter() - start)

        [outcome] = batch.each([outcomes[number]], write)
        if outcome.error is not None and len(outcomes) == 1:
            raise outcome.error
        outcomes[number] = outcome
        said = f"{count(outcome.points, 'point')}, {count(len(result.classes), 'cluster')}, {megabytes(outcome.bytes)}"
        at = "" if len(outcomes) == 1 else f"{number + 1}/{len(outcomes)} "
        display.line(f"{at}{outcome.job.target}: {said}" if outcome.error is None else f"{at}{outcome}")
    if len(outcomes) == 1:
        display.line(found[0].table())
        with stages.of(outcomes[0].job.scan):
            maker = looks.Maker(work.model, work.of, work.how.method)
            for line in looks.made(options, found[0], maker, seen[0].rows, seen[0].owner):
                display.line(line)
