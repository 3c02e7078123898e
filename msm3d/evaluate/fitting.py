"""A head to keep: fitted on a labelled data set as a probe's are, and told which descriptors it is for."""

import os
from contextlib import nullcontext
from functools import partial
from tempfile import TemporaryDirectory

from .._util.stages import hidden
from ..datasets import Dataset
from ..errors import InputError
from ..model import Model
from ..tasks import Task
from ..tasks import task as by_name
from ..tasks.fingerprint import Fingerprint
from ..tasks.heads.base import Head
from .cache import FeatureCache
from .features import ModelFeatures
from .protocols import chosen_protocols, level_sets


def fit(
    train: Dataset,
    model: Model,
    task: str | Task = "segmentation",
    *,
    protocol: str | None = None,
    sample: int = 2000,
    seed: int = 0,
    cache: str | os.PathLike[str] | None = None,
    progress: bool | None = False,
) -> Head:
    """Return a head for a task, fitted on frozen descriptors of some scenes.

    Its predictions for a scan are `task.found(model, head, scan)`; `head.save(DIRECTORY)` keeps it.

    Args:
        train: labelled scenes, one in memory at a time.
        model: in evaluation mode.
        task: one of `msm3d.tasks.TASKS`, or a task of your own.
        protocol: a name of `PROTOCOLS` or of a head; by default the task's first.
        sample: labelled points of each scene to learn from.
        seed: of everything random in the head.
        cache: folder of features to go on with; by default one that is gone afterwards.
        progress: show a bar on standard error; None shows it in a terminal only.

    Raises:
        InputError: an argument is not good, there are no scenes, or a scene lacks what the task needs.
    """
    from tqdm import tqdm

    judged = by_name(task).of(train.classes)
    chosen, *others = chosen_protocols(protocol or judged.heads[0])
    if others:
        raise InputError(f"protocol is {protocol!r}; give one, a head is fitted by it alone.")
    if not len(train):
        raise InputError(f"{train.name} {train.split} has no scenes; give at least one to learn from.")
    source = ModelFeatures(model)
    with TemporaryDirectory() if cache is None else nullcontext(cache) as folder:
        features = FeatureCache(folder, source, points=sample, task=judged)
        bar = tqdm(train, desc="scenes to learn from", total=len(train), leave=False, disable=hidden(progress))
        examples = [features.sample(name, cloud) for name, cloud in bar]
        rows = [(one.features, one.targets) for one in examples]
        learn = partial(judged.fit, of=Fingerprint.of(model))
        heads = chosen.probes(rows, level_sets(source.blocks, False), seed, str(model.device), learn)
    return heads["all"]
