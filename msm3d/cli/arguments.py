"""Arguments that several verbs share, and the checks that need neither numpy nor torch."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .._util.devices import checked
from .._util.memory import size
from .._util.words import choices
from ..errors import InputError
from ..tasks import TASKS
from .display import Display
from .parser import Parser

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..model import Model
    from ..scan.options import ReadOptions

T = TypeVar("T")
SCAN = "{scans} file"  # in a help text; `Parser.format_help` says which these are


def typed(read: Callable[[str], T], needed: str = "") -> Callable[[str], T]:
    """Return a type of argument: what `read` makes of it, or a sentence about what is needed where that fails."""

    def value(text: str) -> T:
        try:
            return read(text)
        except InputError as error:  # which says it already
            raise argparse.ArgumentTypeError(str(error)) from None
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {needed}") from None

    return value


def one_of(*good: str) -> Callable[[str], str]:
    """Return a type of argument that is one of some words."""

    def chosen(text: str) -> str:
        if text not in good:
            raise argparse.ArgumentTypeError(f"unknown {text!r}; {choices(text, good)}")
        return text

    return chosen


def written(text: str) -> str:
    """Return the ending, without its point, of a kind of file that features are written to."""
    from ..io import WRITERS

    return one_of(*(suffix[1:] for suffix in WRITERS.suffixes()))(text)


def whole(least: int) -> Callable[[str], int]:
    """Return a type of argument that is a whole number from `least`."""

    def number(text: str) -> int:
        value = int(text.replace("_", ""))
        if value < least:
            raise ValueError
        return value

    return typed(number, f"a whole number from {least} on")


def several(read: Callable[[str], T], named: str) -> Callable[[str], list[T]]:
    """Return a type of argument that is a list with commas; `named` says in a message of what."""
    return typed(lambda text: [read(part) for part in text.split(",")], f"a list of {named}")


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def above(needed: str) -> Callable[[str], float]:
    """Return a type of argument that is a number above 0; `needed` says in a message what is to be given."""

    def number(text: str) -> float:
        value = float(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    return typed(number, needed)


NUMBERS = several(int, "numbers such as 3,4")


def add_model(verb: Parser, default: str = "rooms-labelled by default", *, several: bool = False) -> None:
    """Add what says which network computes, and how; `several` may be given one after another."""
    about = f"a name of `msm3d models`, a directory or a Hub repository; {default}"
    verb.option("--model", about + "; give it again to compare" * several, action="append" if several else "store")
    add_device(verb)
    verb.option("--precision", "fp32 (default) or bf16", one_of("fp32", "bf16"), default="fp32")


def add_device(verb: Parser) -> None:
    """Add what says where to compute."""
    verb.option("--device", "such as cpu or cuda:1; a GPU if there is one, by default", typed(checked))
    about = "of the operations: spconv, triton, native or reference; the best for the device by default"
    verb.option("--backend", about, one_of("spconv", "triton", "native", "reference"))


def add_threads(verb: Parser) -> None:
    """Add what says with how many threads; `use_threads` does it."""
    verb.option("--threads", "number of CPU threads; all by default", whole(1))


def use_threads(options: argparse.Namespace) -> None:
    """Compute with as many threads as were asked for."""
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)


def add_start(verb: Parser) -> None:
    """Add what says which weights to begin with."""
    about = "pretrained weights: release, directory or Hub repository; rooms-labelled by default"
    verb.option("--from", about, dest="start", metavar="NAME")


def as_model(folder: Path) -> str:
    """Return a folder as --model takes it, which would look for a release of its bare name.

    >>> as_model(Path("mine"))
    './mine'
    """
    return str(folder) if folder.is_absolute() else f"./{folder}"


def add_data(verb: Parser) -> None:
    """Add what says which labelled scans."""
    about = "folder of ScanNet, S3DIS, Pointcept's layout or synthetic rooms; or rooms:60"
    verb.option("dataset", about, metavar="DATA")


def add_labels(verb: Parser) -> None:
    """Add what says what their labels mean, and what is to be learned from."""
    verb.option("--classes", "scannet20, scannet200, s3dis or rooms instead of what the files suggest")
    verb.option("--splits", "folder with ScanNet's lists of scenes")
    verb.option("--area", "of S3DIS, to test on (default 5)", int, default=5)


def add_lists(verb: Parser) -> None:
    """Add what says which few labels there are."""
    about = "folder of ScanNet's lists of few labels, scenes/1.txt and points/points20; drawn by the seed otherwise"
    verb.option("--lists", about, metavar="FOLDER")


def data(options: argparse.Namespace) -> tuple["Dataset", "Dataset"]:
    """Return the split to learn from and the split to test on."""
    from ..datasets import open_dataset

    return open_dataset(options.dataset, classes=options.classes, splits=options.splits, area=options.area)


def add_task(verb: Parser, what: str) -> None:
    """Add the name of a task."""
    kind = typed(lambda name: TASKS[name].name)
    about = f"{what}: %(choices)s (default segmentation)"
    verb.option("--task", about, kind, default="segmentation", choices=TASKS, metavar="TASK")


def add_reading(verb: Parser) -> None:
    """Add what says how scans are to be understood, and how large the parts of one are that is computed on."""
    about = "such as 4GB: a larger scan is cut into tiles; half of what is free by default"
    verb.option("--max-memory", about, typed(size))
    add_understanding(verb)


def add_understanding(verb: Parser, *, rows: bool = True) -> None:
    """Add what says how scans are to be understood; `rows` where the result has one for each point."""
    verb.option("--up", "axis that points up: z, y or -y; what the format says, else z", one_of("z", "y", "-y"))
    about = "of the scan: m, cm, mm, ft or in; what the format says, else m"
    verb.option("--units", about, one_of("m", "cm", "mm", "ft", "in"))
    if rows:
        about = "points without a position: drop (default), or nan for such rows"
        verb.option("--invalid", about, one_of("drop", "nan"), default="drop")
    else:
        verb.set_defaults(invalid="nan")  # which needs no word about points without a position
    about = "of a file with faces: vertices or surface; what is dense enough by default"
    verb.option("--mesh", about, one_of("vertices", "surface"))
    about = "of Gaussian splats: leave out those that are less opaque"
    verb.option("--min-opacity", about, typed(share, "a number from 0 to 1, such as 0.1"))
    about = "two corners in metres with z up: leave out points outside; of COPC and EPT no more than needed is read"
    verb.option("--bounds", about, typed(_corners, "six numbers, such as 0,0,0,4,5,2.5"), metavar="X,Y,Z,X,Y,Z")
    about = "of COPC and EPT: read levels down to points this many metres apart; all by default"
    verb.option("--resolution", about, above("metres above 0, such as 0.05"), metavar="METRES")
    verb.option("--topic", "of a ROS bag: which PointCloud2; the only one by default")


def _corners(text: str) -> tuple[list[float], list[float]]:
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) != 6:
        raise ValueError
    return numbers[:3], numbers[3:]


def reading(options: argparse.Namespace) -> "ReadOptions":
    """Return how scans are to be understood."""
    from ..scan.options import ReadOptions

    names = ("up", "units", "invalid", "mesh", "min_opacity", "bounds", "resolution", "topic")
    return ReadOptions(**{name: getattr(options, name) for name in names})


def load(options: argparse.Namespace, display: Display, *name: str | None) -> "Model":
    """Return the model that was asked for, or one of several by its name."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # the client's own lines on each try; ours says it once
    display.stage("model")
    from ..model import load

    [source] = name or [options.model]
    model = load(source, device=options.device, backend=options.backend, precision=options.precision)
    display.note(repr(model))
    return model
