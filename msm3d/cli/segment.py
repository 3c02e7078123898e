"""`msm3d segment`: scans to the class of each point."""

import argparse
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._util.atomic import apart
from .._util.output_path import output_path, require_there
from .._util.words import count
from ..errors import InputError
from . import arguments
from .arguments import SCAN, one_of, share, typed
from .display import Display
from .outcomes import failures, summary
from .parser import declared

if TYPE_CHECKING:
    from ..batch import Plan
    from ..model import Model
    from ..tasks.heads.base import Classifier
    from ..tasks.segmenting import Segmented

FORMATS = ("ply", "las", "laz", "npz", "npy")


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = (
        "Label every point of scans with a head that `msm3d teach` made, or with the one that belongs to a release. "
        "Row i of the result belongs to point i of the scan, whose other properties are kept. Of a folder every scan "
        "is labelled, what is done already is left as it is, and a scan that fails stops no other."
    )
    example = "msm3d segment scan.ply -o labels.ply --head head, or msm3d segment scans -o labels --model sonata"
    verb = declared(verbs, "segment", run, "scans to the class of each point", about, example)
    verb.option("scans", f"a {SCAN}, or a folder of such files", nargs="+", metavar="SCAN")
    verb.option(
        "-o --output", ".ply, .las, .laz, .npz or .npy file; a folder for several scans", required=True, metavar="OUT"
    )
    verb.option("--head", "folder that `msm3d teach` wrote; by default the head that belongs to --model")
    arguments.add_model(verb, "what --head was taught on by default")
    about = "0 to 1: where the class is less likely, the label is -1, unsure (default 0)"
    verb.option("--threshold", about, typed(share, "a number from 0 to 1, such as 0.5"), default=0.0)
    verb.flag("--paint", "replace the scan's colours with those of the classes")
    verb.option("--picture", ".png file to draw the classes to, of one scan")
    verb.option("--page", ".html file to see the classes in, of one scan")
    arguments.add_reading(verb)
    verb.option("--format", f"of the files in a folder: {', '.join(FORMATS)} (default ply)", one_of(*FORMATS))
    verb.flag("--again", "compute once more what is in the folder already")
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> int:
    """Label every scan; 1 if some of several failed."""
    require_there([*options.scans, *([options.head] if options.head else [])])
    from .. import batch

    plan = batch.plan(options.scans, options.output, options.format or "ply", batch.LABELS)
    _check_looks(options, plan)
    model, head = _loaded(options, display)
    from ..tasks.labelling import Wanted, label_each

    kept = {name: getattr(options, name) for name in ("threshold", "paint", "again", "max_memory")}
    # a picture needs labels, also of a file that is there
    wanted = replace(Wanted(progress=None, **kept), again=options.again or bool(options.picture or options.page))
    outcomes, total, result = [], Counter[int](), None
    try:
        for outcome in label_each(model, head, plan.jobs, wanted, arguments.reading(options)):
            if outcome.error is not None and (plan.alone or os.environ.get("MSM3D_TRACEBACK")):
                raise outcome.error
            result, outcome = outcome.result, replace(outcome, result=None)
            outcomes.append(outcome)
            display.line(f"{'' if len(plan.jobs) == 1 else f'{len(outcomes)}/{len(plan.jobs)} '}{outcome}")
            if result is not None:
                total.update({label: points for label, points, _ in result.counts()})
                if len(plan.jobs) == 1:
                    display.line(result.table())
        if len(plan.jobs) > 1:
            display.line(summary(outcomes, plan.others))
            if total:
                display.line(_shares(total, head))
        for line in _looks(options, model, head, result) if result is not None else []:
            display.line(line)
    finally:  # also where a full disk, or Ctrl-C, ends it
        failed = failures(outcomes, "segment", display)
    return 1 if failed else 0


def _check_looks(options: argparse.Namespace, plan: "Plan") -> None:
    """Fail before any work where a picture or a page cannot be made."""
    looks = [path for path in (options.picture, options.page) if path]
    if looks and len(plan.jobs) > 1:
        raise InputError(f"{looks[0]} shows one scan, and there are {len(plan.jobs)}; draw them one by one.")
    if options.picture:
        output_path(options.picture, [".png"], "a picture")
    if options.page:
        output_path(options.page, [".html", ".htm"], "a page", ".html")
    apart(looks, [job.scan for job in plan.jobs])


def _loaded(options: argparse.Namespace, display: Display) -> tuple["Model", "Classifier"]:
    """Return the network and the head that were asked for; the head names its network where nobody else does."""
    if options.head is None and options.model is None:
        from ..tasks.heads.authors import names

        raise InputError(
            f"nothing says which classes there are; give --head, a folder that msm3d teach wrote, or --model with one "
            f"of {', '.join(names())}, which have heads."
        )
    if options.head is None:
        from ..tasks.heads.authors import released

        model = arguments.load(options, display)
        display.stage("head")
        return model, released(model)
    from ..tasks import heads
    from ..tasks.segmenting import fingerprint_of

    head = heads.Classifier.load(options.head)
    options.model = options.model or _named(head, options.head)
    model = arguments.load(options, display)
    fingerprint_of(model, head)  # which refuses another network before any scan is read
    return model, head


def _named(head: "Classifier", folder: str) -> str:
    """Return the name of the network that a head was fitted on."""
    from ..weights import hub, list_models

    name = "" if head.fingerprint_ is None else head.fingerprint_.name
    if name in list_models() or hub.names_repository(name):
        return name
    called = f"is called {name!r}, which does not load by name" if name else "is not stated"
    raise InputError(f"the network of the head {folder} {called}; give --model, the folder of its weights.")


def _shares(total: Counter[int], head: "Classifier") -> str:
    """Return the points of each class in all scans, in one line."""
    names = dict(zip(head.classes_.tolist(), head.about_.called(head.classes_), strict=True)) | {-1: "unsure"}
    points = sum(total.values())
    return ", ".join(f"{names[label]} {100 * n / points:.1f} %" for label, n in total.most_common() if n)


def _looks(options: argparse.Namespace, model: "Model", head: "Classifier", result: "Segmented") -> list[str]:
    """Draw the picture and write the page that were asked for, and return what is said about them."""
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
        from ..tasks.described import described
        from ..tasks.segmenting import fingerprint_of
        from ..visualize import write_page
        from ..visualize.extras import Extras

        last = min(max(result.classes), 1 << 16)
        names = [result.classes.get(label, f"label {label}") for label in range(last + 1)]
        of, title = fingerprint_of(model, head), Path(options.scans[0]).name
        said: dict[str, Any] = {
            "title": title,
            "mode": "label",
            "names": names,
            "model": f"{of.name}, {head.name} head",
            "extras": Extras(confidence=result.confidence, source=result.cloud),
        }
        with described(model, cloud, of, max_memory=options.max_memory) as (rows, owner):
            page = write_page(options.page, cloud, rows[owner], **said)
        lines.append(f"written: {page.path}, {count(page.points, 'point')}")
    return lines
