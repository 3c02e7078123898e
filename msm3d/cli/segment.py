"""`msm3d segment`: scans to the class of each point."""

import argparse
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._util.output_path import require_there
from ..errors import InputError
from . import arguments, looks
from .arguments import SCAN, one_of, share, typed
from .display import Display
from .outcomes import failures, summary
from .parser import declared

if TYPE_CHECKING:
    from ..model import Model
    from ..tasks.described import Described
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
    verb.option("--head", "folder that `msm3d teach` wrote; by default the one that belongs to --model")
    arguments.add_model(verb, "what --head was taught on by default")
    about = "0 to 1: where the class is less likely, the label is -1, unsure (default 0)"
    verb.option("--threshold", about, typed(share, "a number from 0 to 1, such as 0.5"), default=0.0)
    looks.add(verb, "classes")
    arguments.add_reading(verb)
    verb.option("--format", f"of the files in a folder: {', '.join(FORMATS)} (default ply)", one_of(*FORMATS))
    verb.flag("--again", "compute once more what is in the folder already")
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> int:
    """Label every scan; 1 if some of several failed."""
    require_there([*options.scans, *([options.head] if options.head else [])])
    from .. import batch

    plan = batch.plan(options.scans, options.output, options.format or "ply", batch.LABELS)
    looks.check(options, plan)
    model, head = _loaded(options, display)
    from ..tasks.labelling import Wanted, label_each
    from ..tasks.segmenting import fingerprint_of

    kept = {name: getattr(options, name) for name in ("threshold", "paint", "again", "max_memory")}
    maker, seen = looks.Maker(model, fingerprint_of(model, head), f"{head.name} head"), list[str]()

    def look(found: "Segmented", described: "Described") -> None:
        seen.extend(looks.made(options, found, maker, *described))

    wanted = Wanted(progress=None, **kept)
    if options.picture or options.page:  # which need labels, also of a file that is there
        wanted = replace(wanted, again=True, look=look)
    outcomes, total = [], Counter[int]()
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
                    for line in (result.table(), *seen):
                        display.line(line)
        if len(plan.jobs) > 1:
            display.line(summary(outcomes, plan.others))
            if total:
                display.line(_shares(total, head))
    finally:  # also where a full disk, or Ctrl-C, ends it
        failed = failures(outcomes, "segment", display)
    return 1 if failed else 0


def _loaded(options: argparse.Namespace, display: Display) -> tuple["Model", "Classifier"]:
    """Return the network and the head that were asked for; the head names its network where nobody else does."""
    if options.head is None and os.path.dirname(options.model or ""):  # a path, not a name
        own = Path(options.model) / "head"
        options.head = str(own) if (own / "head.json").is_file() else None  # as `msm3d finetune` leaves it
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
    if Path(folder).absolute().parent.joinpath("model.safetensors").is_file():
        return str(Path(folder).absolute().parent)
    called = f"is called {name!r}, which does not load by name" if name else "is not stated"
    raise InputError(f"the network of the head {folder} {called}; give --model, the folder of its weights.")


def _shares(total: Counter[int], head: "Classifier") -> str:
    """Return the points of each class in all scans, in one line."""
    names = dict(zip(head.classes_.tolist(), head.about_.called(head.classes_), strict=True)) | {-1: "unsure"}
    points = sum(total.values())
    return ", ".join(f"{names[label]} {100 * n / points:.1f} %" for label, n in total.most_common() if n)
