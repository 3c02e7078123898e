"""`msm3d teach`: a head from some labelled points."""

import argparse
import os
from pathlib import Path
from typing import Any

from .._util.atomic import apart
from .._util.output_path import require_there
from ..errors import InputError
from . import arguments
from .arguments import NUMBERS, several, whole
from .display import Display
from .parser import declared

KINDS = ("logistic", "nearest", "mlp")


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = (
        "Fit a head on the frozen descriptors of labelled points; twenty of each class are enough. Logistic, "
        "nearest-neighbour and small-network heads are compared on places that they have not learned from; logistic "
        "is taken unless another is surely better."
    )
    example = "msm3d teach scan.ply labels.json -o head, then msm3d segment scans -o labels --head head"
    verb = declared(verbs, "teach", run, "labels of some points to a head", about, example)
    about = (
        "pairs SCAN LABELS: labels are a .json file of rows by name, or a file with a label for each point (.ply, "
        ".las, .laz, .npz, .npy); or a folder of scans that have labels inside, or one such scan"
    )
    verb.option("given", about, nargs="+", metavar="SCAN LABELS")
    verb.option("-o --output", "folder of the head; one that is there is replaced", required=True, metavar="HEAD")
    arguments.add_model(verb)
    verb.option("--levels", "such as 2,3 or -1: levels to learn from, 0 is the finest; all by default", NUMBERS)
    about = (
        "of whole-number labels: rooms, scannet20, s3dis, a file, or wall,floor,chair; by default those in the files"
    )
    verb.option("--names", about)
    about = "heads to compare, of logistic,nearest,mlp (default all)"
    verb.option("--heads", about, several(arguments.one_of(*KINDS), "heads"), default=list(KINDS))
    verb.option("--seed", "of everything random (default 0)", whole(0), default=0)
    arguments.add_reading(verb)
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> None:
    """Fit a head."""
    require_there(options.given)
    examples, output = _pairs(options.given), Path(options.output)
    from ..tasks.heads.saved import CONFIG, TENSORS

    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; give -o a folder.")
    apart([output / CONFIG, output / TENSORS], [path for pair in examples for path in pair if path])
    names = ()
    if options.names:
        from ..visualize.verbs import label_names

        names = label_names(options.names)
    model = arguments.load(options, display)
    from ..tasks.teaching import teach

    kept = {name: getattr(options, name) for name in ("levels", "seed", "max_memory")}
    reading = arguments.reading(options)
    head = teach(model, examples, names=names, kinds=options.heads, options=reading, **kept)
    head.save(output)
    about = head.about_
    display.line(f"mIoU in percent, by {about.judged}:" if about.scores else about.judged)
    for kind, score in about.scores.items():
        display.line(f"  {kind:<8} {100 * score:5.1f}{'  chosen' if kind == head.name else ''}")
    display.line(f"{output}: {head.name} head of {len(head.classes_)} classes, {', '.join(about.names)}")


def _pairs(given: list[str]) -> list[tuple[str, str | None]]:
    """Return scans with the files of their labels, None where these are inside.

    >>> _pairs(["a.ply", "a.json", "b.ply"])
    [('a.ply', 'a.json'), ('b.ply', None)]
    """
    from ..batch import found

    pairs, waiting = list[tuple[str, str | None]](), None
    for path in given:
        if os.path.isdir(path):
            if waiting is not None:
                pairs.append((waiting, None))
                waiting = None
            pairs += [(os.fspath(scan), None) for scan in found(path)]
        elif waiting is not None:
            pairs.append((waiting, path))
            waiting = None
        elif path.lower().endswith(".json"):
            raise InputError(f"{path} holds labels, and no scan stands before it; give SCAN LABELS.")
        else:
            waiting = path
    return pairs if waiting is None else [*pairs, (waiting, None)]
