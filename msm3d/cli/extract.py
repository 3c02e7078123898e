"""`msm3d extract`: scans to descriptors."""

import argparse
import os
from typing import Any

from .._util.output_path import require_there
from .._util.words import megabytes
from . import arguments
from .arguments import NUMBERS, SCAN, one_of
from .display import Display
from .outcomes import failures, summary
from .parser import declared

LARGE = 500_000_000  # bytes of a result from which a smaller one is hinted at


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = (
        "Write one descriptor per point: row i of the result belongs to point i of the scan. Of a folder every scan is "
        "described, what is done already is left as it is, and a scan that fails stops no other."
    )
    example = "msm3d extract scan.ply -o features.npz, or msm3d extract scans -o features"
    verb = declared(verbs, "extract", run, "scans to descriptors", about, example)
    verb.option("scans", f"a {SCAN}, or a folder of such files", nargs="+", metavar="SCAN")
    verb.option("-o --output", "{outputs} file; a folder for several scans", required=True, metavar="OUT")
    arguments.add_model(verb)
    verb.option("--levels", "such as 2,3 or -1: levels to keep, 0 is the finest; all by default", NUMBERS)
    about = "centered, published or parent; the weights' own by default"
    verb.option("--sampling", about, one_of("centered", "published", "parent"))
    about = "of the result: float32 (default) or float16"
    verb.option("--dtype", about, one_of("float32", "float16"), default="float32")
    arguments.add_reading(verb)
    verb.option("--format", "of the files in a folder: {outputs}; npz by default", arguments.written, default="npz")
    verb.flag("--again", "compute once more what is in the folder already")
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> int:
    """Describe every scan; 1 if some of several failed."""
    require_there(options.scans)
    from .. import batch

    plan = batch.plan(options.scans, options.output, options.format)
    reading = arguments.reading(options)
    model = arguments.load(options, display)
    kept = {name: getattr(options, name) for name in ("levels", "sampling", "dtype", "max_memory", "again")}
    outcomes, hinted = [], False
    try:
        for outcome in batch.extract(model, plan.jobs, options=reading, progress=None, **kept):
            if outcome.error is not None and (plan.alone or os.environ.get("MSM3D_TRACEBACK")):
                raise outcome.error
            outcomes.append(outcome)
            at = "" if len(plan.jobs) == 1 else f"{len(outcomes)}/{len(plan.jobs)} "
            display.line(f"{at}{outcome}")
            if outcome.bytes > LARGE and not hinted:
                display.note(_hint(model, outcome, options))
                hinted = True
        if len(plan.jobs) > 1:
            display.line(summary(outcomes, plan.others, f" x {model.channels(options.levels)} channels"))
    finally:  # also where a full disk, or Ctrl-C, ends it
        failed = failures(outcomes, "extract", display)
    return 1 if failed else 0


def _hint(model: Any, outcome: Any, options: argparse.Namespace) -> str:
    """Return how a large result becomes a smaller one."""
    kept = options.levels or list(range(model.config.levels))[-2:]
    flags = "" if options.levels else f" --levels {','.join(map(str, kept))}"
    flags += "" if options.dtype == "float16" else " --dtype float16"
    if not flags:
        return f"hint: {megabytes(outcome.bytes)}; fewer --levels make it smaller."
    size = outcome.points * model.channels(kept) * 2
    return f"hint: the file has {megabytes(outcome.bytes)}; with{flags} it would have about {megabytes(size)}."
