"""`msm3d extract`: scans to descriptors."""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .._util.output_path import require_there
from .._util.words import count, megabytes
from ..errors import InputError
from . import arguments
from .arguments import NUMBERS, SCAN, one_of, whole
from .display import Display
from .outcomes import failures, summary
from .parser import declared

if TYPE_CHECKING:
    from ..batch import Outcome, Plan
    from ..model import Model

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
    about = "{outputs} file; a folder, or s3://bucket/folder, for several scans"
    verb.option("-o --output", about, required=True, metavar="OUT")
    arguments.add_model(verb)
    verb.option("--levels", "such as 2,3 or -1: levels to keep, 0 is the finest; all by default", NUMBERS)
    about = "centered, published or parent; the weights' own by default"
    verb.option("--sampling", about, one_of("centered", "published", "parent"))
    about = "of the result: float32 (default) or float16"
    verb.option("--dtype", about, one_of("float32", "float16"), default="float32")
    about = "write the K principal components of the descriptors instead, on a basis that is kept as .json; see --basis"
    verb.option("--pca", about, whole(1), metavar="K")
    about = (
        "of --pca: a basis that is there is used, so components mean the same in all calls; else the scans' own is "
        "written to it (default: OUT.basis.json, in a folder basis.json)"
    )
    verb.option("--basis", about, metavar="FILE")
    arguments.add_reading(verb)
    verb.option("--format", "of the files in a folder: {outputs}; npz by default", arguments.written, default="npz")
    verb.flag("--again", "compute once more what is in the folder already")
    about = "such as 3/20: do this part of the scans, or of the tiles of one, as one of so many calls"
    verb.option("--shard", about, arguments.typed(_part, "I/N with I from 1 to N, such as 3/20"), metavar="I/N")
    verb.option(
        "--engine", "ray: spread the scans, or one's tiles, over a cluster or this machine's cores", one_of("ray")
    )
    verb.option("--address", "of Ray's cluster, such as ray://host:10001; one of this machine alone by default")
    about = "cores of each worker of an engine; 4, or what a machine has, by default"
    verb.option("--threads", about, arguments.whole(1))
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> int:
    """Describe every scan; 1 if some of several failed."""
    require_there(options.scans)
    from .. import batch
    from . import components

    _check_engine(options)
    plan = batch.plan(options.scans, options.output, options.format)
    reading, basis = arguments.reading(options), components.path_of(options, plan)
    model = _model(options, display)
    asked = {name: getattr(options, name) for name in ("levels", "sampling", "dtype", "max_memory", "again")}
    if plan.alone and basis is None and (options.engine or options.shard):
        return _in_tiles(options, display, plan, model, reading, asked)
    if options.shard:
        plan = replace(plan, jobs=batch.shard(plan.jobs, *options.shard))
    if basis is not None:
        asked["basis"] = components.basis(model, plan, reading, basis, options, display)
    outcomes, hinted, start = list["Outcome"](), False, perf_counter()
    try:
        for outcome in _outcomes(options, display, plan, model, reading, asked):
            if outcome.error is not None and (plan.alone or os.environ.get("MSM3D_TRACEBACK")):
                raise outcome.error
            outcomes.append(outcome)
            at = "" if len(plan.jobs) == 1 else f"{len(outcomes)}/{len(plan.jobs)} "
            display.line(f"{at}{outcome}")
            if outcome.bytes > LARGE and basis is None and not hinted:
                display.note(_hint(model, outcome, options))
                hinted = True
        if len(plan.jobs) > 1:
            width = model.channels(options.levels) if basis is None else len(asked["basis"])
            display.line(summary(outcomes, plan.others, f" x {width} channels"))
            if options.engine:
                display.line(_rate(outcomes, perf_counter() - start))
    finally:  # also where a full disk, or Ctrl-C, ends it
        failed = failures(outcomes, "extract", display)
    return 1 if failed else 0


def _in_tiles(
    options: argparse.Namespace, display: Display, plan: "Plan", model: "Model", reading: Any, asked: dict[str, Any]
) -> int:
    """Describe one scan as tiles, by an engine or in parts; the call that finds all of them done writes the file."""
    from .. import batch, tiling

    [job], wanted = plan.jobs, {name: asked[name] for name in ("levels", "sampling", "dtype")}
    if not options.again and tiling.is_done(model, job, reading, **wanted):
        display.line(f"{job.target}: is there")
        return 0
    tiles = tiling.cut(model, job, reading, max_memory=options.max_memory, **wanted)
    mine = batch.shard(tiles, *options.shard) if options.shard else tiles
    todo = tiling.left(mine)
    if len(tiles) > len(todo):
        display.note(f"{len(tiles)} tiles, of which {len(todo)} are to be computed here")
    for number, outcome in enumerate(_outcomes(options, display, replace(plan, jobs=todo), model, reading, asked), 1):
        if outcome.error is not None:
            raise outcome.error
        display.line(f"{number}/{len(todo)} tile {outcome.job.scan.stem}: {count(outcome.points, 'point')}")
    rest = tiling.left(tiles)
    if rest and not tiling.is_done(model, job, reading, **wanted):
        display.line(
            f"{len(rest)} of {len(tiles)} tiles are left to the other parts; the last one writes {job.target}."
        )
        return 0
    display.line(str(tiling.join(model, job, reading, **wanted)))
    return 0


def _part(text: str) -> tuple[int, int]:
    part, parts = map(int, text.split("/"))
    if not 1 <= part <= parts:
        raise ValueError
    return part, parts


def _check_engine(options: argparse.Namespace) -> None:
    """Fail where an option needs an engine, and none was asked for."""
    for name in ("address", "threads"):
        if getattr(options, name) is not None and not options.engine:
            raise InputError(f"--{name} is for an engine; add --engine ray, or leave it out.")


def _model(options: argparse.Namespace, display: Display) -> "Model":
    """Return the model; with an engine, which has its own on every worker, one to compare them with."""
    if not options.engine:
        return arguments.load(options, display)
    quiet = Display(quiet=True)
    return arguments.load(argparse.Namespace(**{**vars(options), "device": "cpu", "backend": None}), quiet)


def _outcomes(
    options: argparse.Namespace, display: Display, plan: "Plan", model: "Model", reading: Any, asked: dict[str, Any]
) -> Iterator["Outcome"]:
    """Describe the scans, here or on the workers of an engine."""
    from .. import batch

    if not options.engine:
        yield from batch.extract(model, plan.jobs, options=reading, progress=None, **asked)
        return
    from .. import engine

    given = {name: getattr(options, name) for name in ("model", "device", "backend", "precision", "threads")}
    setup = engine.Setup(**given, asked=asked, options=reading, sha256=model.meta.get("sha256"))
    display.stage("workers")
    yield from engine.extract(plan.jobs, setup, address=options.address, progress=None, tell=display.note)


def _rate(outcomes: "list[Outcome]", seconds: float) -> str:
    """Return how fast all workers were together, in one line."""
    workers = {getattr(outcome, "worker", "") for outcome in outcomes} - {""}
    points = sum(outcome.points for outcome in outcomes)
    rate = f"{len(outcomes) / seconds:.2f} scans and {points / seconds:,.0f} points a second"
    return f"{count(len(workers), 'worker')} in {seconds:.1f} s, with their start: {rate}"


def _hint(model: Any, outcome: Any, options: argparse.Namespace) -> str:
    """Return how a large result becomes a smaller one."""
    kept = options.levels or list(range(model.config.levels))[-2:]
    flags = "" if options.levels else f" --levels {','.join(map(str, kept))}"
    flags += "" if options.dtype == "float16" else " --dtype float16"
    if not flags:
        return f"hint: {megabytes(outcome.bytes)}; fewer --levels make it smaller."
    size = outcome.points * model.channels(kept) * 2
    return f"hint: the file has {megabytes(outcome.bytes)}; with{flags} it would have about {megabytes(size)}."
