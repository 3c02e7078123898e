"""`probe`: the whole of an evaluation, from two splits and some models to a report."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from .._util.stages import hidden
from ..datasets import Dataset
from ..errors import InputError
from ..model import Model
from .cache import FeatureCache, Sample
from .estimator import Probe
from .features import Features, ModelFeatures, RawFeatures, random_network
from .hashes import joined_hash, scene_hash
from .metrics import Confusion
from .protocols import (
    LeakageError,
    Protocol,
    chosen_protocols,
    few_points,
    few_scenes,
    level_sets,
    limits,
    require_disjoint,
)
from .report import FORMAT, FORMAT_VERSION, Report, machine

BASELINES = ("raw", "random")


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Probes of one protocol that have learned from the same points, and what was counted of them."""

    model: str
    protocol: Protocol
    limit: tuple[float, int | None]
    seed: int
    points: int
    choices: dict[str, list[slice]]
    probes: dict[str, Probe]
    counts: dict[tuple[str, str], Confusion]


def probe(
    train: Dataset,
    test: Dataset,
    models: Model | Features | Mapping[str, Model | Features],
    *,
    protocol: str | Sequence[str] = ("linear", "knn"),
    levels: bool = False,
    scenes: float | Sequence[float] = 1.0,
    points: int | Sequence[int | None] | None = None,
    seed: int | Sequence[int] = 0,
    sample: int = 2000,
    test_sample: int | None = None,
    baselines: Sequence[str] = BASELINES,
    cache: str | os.PathLike[str] | None = None,
    progress: bool | None = False,
) -> Report:
    """Judge features by simple classifiers on them, next to what the bare input and an untrained network reach.

    Features are computed once per scene, in evaluation mode, and kept in half precision. Probes learn from sampled
    points of each scene, and are tested on every labelled point of every scene, one scene in memory at a time. All that
    is asked for shares one computation of the features.

    >>> from msm3d import PointCloud
    >>> from msm3d.evaluate import S3DIS, Scene
    >>> def scene(seed):
    ...     coord, color = np.random.default_rng(seed).uniform(0, 3, (2, 200, 3))
    ...     return PointCloud.of({"coord": coord, "color": color, "normal": coord, "segment": (coord[:, 2] > 1) * 1})
    >>> train, test = (Dataset("made", split, S3DIS, (Scene(split, lambda seed=seed: scene(seed)),))
    ...                for seed, split in enumerate(("train", "test")))
    >>> report = probe(train, test, RawFeatures(), protocol="knn")
    >>> report.miou("raw input", "knn k=20") > 0.6
    True

    Args:
        train: to learn from.
        test: to judge on; shares no scene with `train`.
        models: a model in evaluation mode, features, or several by name.
        protocol: names of `PROTOCOLS`, as a list or with commas.
        levels: also judge each level alone and all levels but each [paper, Table 11].
        scenes: share of the scenes to learn from [Table 4]: 0.01, 0.05, 0.1, 0.2 or 1. Of several, such as
            [1, 0.2, 0.1], the first is the main one, and levels are reported for it alone.
        points: labelled points per scene to learn from [Table 5]: 20, 50, 100 or 200; None for the whole sample. Of
            several, such as [None, 200, 20], the first is the main one; it goes with every share of scenes, and the
            others go with the first share.
        seed: of the choice of scenes and points and of the probes; several give means and deviations.
        sample: points per scene that are kept in the cache, uniform among the labelled ones, the same for all seeds.
        test_sample: judge as many labelled points of each scene instead of all: quicker, and a second time much
            quicker, at the price of a sampling error. All models and seeds are judged on the same points.
        baselines: "raw" for colour, normal and height, "random" for an untrained network of the first model's shape.
        cache: folder of features to go on with; by default one that is gone afterwards.
        progress: show bars on standard error; None shows them in a terminal only.

    Returns:
        A report, see `Report.data`, `Report.write`.

    Raises:
        InputError: an argument is not good, a scene has no labels, or a model is in training mode.
        LeakageError: a scene is in both splits, by its name or by its content.
    """
    start = perf_counter()
    seeds = [seed] if isinstance(seed, int) else list(seed)
    chosen, settings = chosen_protocols(protocol), limits(scenes, points)
    if not seeds or len(set(seeds)) != len(seeds):
        raise InputError(f"seed is {seed!r}; give one or several different integers.")
    for _, few in settings:
        if few is not None and not 1 <= few <= sample:
            raise InputError(f"points is {few} and sample {sample}; give 1 to sample points per scene, or more sample.")
    if train.classes != test.classes:
        raise InputError(f"train has the classes {train.classes.name}, test {test.classes.name}; give two of one set.")
    require_disjoint([scene.name for scene in train.scenes], [scene.name for scene in test.scenes])
    sources = _sources(models, baselines, seeds[0])
    splits = {(one, limit): few_scenes(train, limit[0], one) for one in seeds for limit in settings}
    with ExitStack() as stack:
        folder = Path(cache) if cache is not None else Path(stack.enter_context(TemporaryDirectory()))
        samples, hashes = _samples(train, splits.values(), sources, folder, sample, progress)
        fitted, learned = [], []
        for (one, limit), split in splits.items():
            names = [scene.name for scene in split.scenes]
            rows = {
                label: [few_points(samples[label, name], limit[1], one, hashes[name]) for name in names]
                for label in sources
            }
            count = sum(len(labels) for _, labels in next(iter(rows.values())))
            learned.append(
                {
                    "seed": one,
                    "share": limit[0],
                    "split": train.split,
                    "scenes": len(names),
                    "of": len(train),
                    "points": count,
                    "points_per_scene": limit[1] or sample,
                    "sha256": joined_hash([hashes[name] for name in names]),
                    "names": names,
                }
            )
            fitted += _fit(sources, rows, chosen, levels and limit == settings[0], one, limit, count, progress)
        tested = _test(test, sources, fitted, hashes, folder, test_sample, progress)
    data = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "protocols": {p.name: {"version": p.version, "settings": dict(p.settings)} for p in chosen},
        "dataset": {"name": train.name, "classes": train.classes.name, "class_names": list(train.classes.names)},
        "train": learned,
        "test": tested,
        "sample": sample,
        "share_of_scenes": settings[0][0],
        "points_per_scene": settings[0][1],
        "models": {label: source.describe() for label, source in sources.items()},
        "results": [row for one in fitted for row in _results(one)],
        "machine": machine(),
        "seconds": round(perf_counter() - start, 1),
    }
    return Report(data)


def _sources(
    models: Model | Features | Mapping[str, Model | Features], baselines: Iterable[str], seed: int
) -> dict[str, Features]:
    """Return features by label: the models, then the baselines."""
    if not isinstance(models, Mapping):
        source = ModelFeatures(models) if isinstance(models, Model) else models
        models = {source.name: source}
    sources: dict[str, Features] = {
        label: ModelFeatures(model, label) if isinstance(model, Model) else model for label, model in models.items()
    }
    first = next((source.model for source in sources.values() if isinstance(source, ModelFeatures)), None)
    for name in baselines:
        if name not in BASELINES:
            raise InputError(f"unknown baseline {name!r}; choose among {', '.join(BASELINES)}.")
        if name == "raw":
            raw = RawFeatures()
            sources.setdefault(raw.name, raw)
        elif first is not None:
            network = ModelFeatures(random_network(first.config, seed, like=first))
            sources.setdefault(network.name, network)
    if not sources:
        raise InputError("there is nothing to judge; give a model, or a baseline.")
    return sources


def _samples(
    train: Dataset,
    splits: Iterable[Dataset],
    sources: Mapping[str, Features],
    folder: Path,
    points: int,
    progress: bool | None,
) -> tuple[dict[tuple[str, str], Sample], dict[str, str]]:
    """Return the sample of each source and scene that some seed learns from, and each such scene's hash."""
    caches = {label: FeatureCache(folder, source, points=points) for label, source in sources.items()}
    needed = {scene.name for split in splits for scene in split.scenes}
    samples, hashes = {}, {}
    for scene in _shown([scene for scene in train.scenes if scene.name in needed], "scenes to learn from", progress):
        cloud = scene.read()
        hashes[scene.name] = scene_hash(cloud)
        for label, cache in caches.items():
            samples[label, scene.name] = cache.sample(scene.name, cloud)
    return samples, hashes


def _fit(
    sources: Mapping[str, Features],
    rows: Mapping[str, list[tuple[np.ndarray, np.ndarray]]],
    protocols: Sequence[Protocol],
    levels: bool,
    seed: int,
    limit: tuple[float, int | None],
    points: int,
    progress: bool | None,
) -> list[_Fitted]:
    tasks = [(label, source, protocol) for label, source in sources.items() for protocol in protocols]
    fitted = []
    bar: Any = _shown(tasks, "probes", progress)
    for label, source, protocol in bar:
        bar.set_description(f"{protocol.name} probe on {label}, seed {seed}, {points} points")
        device = str(source.model.device) if isinstance(source, ModelFeatures) else "cpu"
        choices = level_sets(source.blocks, levels and source.levels)
        probes = protocol.probes(rows[label], choices, seed, device)
        fitted.append(_Fitted(label, protocol, limit, seed, points, choices, probes, {}))
    return fitted


def _test(
    test: Dataset,
    sources: Mapping[str, Features],
    fitted: Sequence[_Fitted],
    train: Mapping[str, str],
    folder: Path,
    sample: int | None,
    progress: bool | None,
) -> dict[str, Any]:
    """Count every prediction on every scene, and return what was tested on."""
    known = {content: name for name, content in train.items()}
    caches = {label: FeatureCache(folder, source, points=sample) for label, source in sources.items() if sample}
    hashes, truth = [], np.zeros(len(test.classes), dtype=np.int64)
    for scene in _shown(test.scenes, "scenes to test on", progress):
        cloud = scene.read()
        if cloud.segment is None:
            raise InputError(f"{scene.name} has no labels; give scenes with segment.")
        hashes.append(scene_hash(cloud))
        if hashes[-1] in known:
            raise LeakageError(
                f"{scene.name} has the points and labels of {known[hashes[-1]]}, which is in the split to learn from; "
                "use splits that share none."
            )
        labels = cloud.segment
        for label, source in sources.items():
            if sample is None:
                rows, owner = source(cloud)
            else:
                few = caches[label].sample(scene.name, cloud)
                rows, owner, labels = few.features, np.arange(len(few.labels)), few.labels
            for one in (one for one in fitted if one.model == label):
                for levels, method, predicted in one.protocol.predictions(one.probes, one.choices, rows):
                    counts = one.counts.setdefault((levels, method), Confusion(len(test.classes)))
                    counts.update(labels, predicted[owner])
        truth += np.bincount(labels[labels >= 0], minlength=len(truth))
    return {
        "split": test.split,
        "scenes": len(test),
        "points": int(truth.sum()),
        "points_per_scene": sample,
        "class_points": truth.tolist(),
        "sha256": joined_hash(hashes),
        "names": [scene.name for scene in test.scenes],
    }


def _results(one: _Fitted) -> Iterable[dict[str, Any]]:
    for (levels, method), counts in one.counts.items():
        named = {"model": one.model, "method": method, "levels": levels, "seed": one.seed}
        limit = {"share_of_scenes": one.limit[0], "points_per_scene": one.limit[1]}
        yield named | limit | {"train_points": one.points} | counts.scores().to_dict()


def _shown(items: Sequence[Any], what: str, progress: bool | None) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(items, desc=what, delay=1, leave=False, dynamic_ncols=True, disable=hidden(progress))
