"""A quick look at features while they are still being learned."""

from collections.abc import Callable
from dataclasses import replace

from ..datasets import Dataset, Scene
from ..model import Model
from .probing import probe


def judge(train: Dataset, test: Dataset, *, sample: int = 500) -> Callable[[Model], dict[str, float]]:
    """Return a function from a model to the mIoU, in percent, of its nearest-neighbour probe.

    Scenes are read, or made, once and held, so few of them are best; they are for watching a run, and what chooses by
    them must be reported on others. Of those of `train`, `sample` points each are learned from.
    """
    held = _held(train), _held(test)

    def judged(model: Model) -> dict[str, float]:
        report = probe(*held, {"model": model}, protocol="knn", baselines=[], sample=sample)
        return {"knn miou": round(100 * report.miou("model", "knn k=20"), 2)}

    return judged


def _held(split: Dataset) -> Dataset:
    clouds = dict(split)
    scenes = (Scene(scene.name, lambda name=scene.name: clouds[name]) for scene in split.scenes)
    return replace(split, scenes=tuple(scenes))
