"""`probe`: the whole of an evaluation, from two splits and some models to a report."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import partial
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from .._util.chosen import chosen_levels
from .._util.stages import hidden
from .._util.words import choices
from ..datasets import Dataset, Scene
from ..errors import InputError
from ..model import Model
from ..tasks import Tally, Task
from ..tasks import task as by_name
from ..tasks.fingerprint import joined_hash, scene_hash
from ..tasks.heads.base import Head
from . import protocols
from .cache import FeatureCache
from .features import Features, ModelFeatures, RawFeatures, of_scene, random_network
from .few import Lists, lists_of, scenes_of
from .report import FORMAT, FORMAT_VERSION, Report, described, machine, rows_of

BASELINES = ("raw", "random")


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """What `probe` judges, and how."""

    task: str | Task = "segmentation"
    """One of `msm3d.tasks.TASKS`, or a task of your own."""
    protocol: str | Sequence[str] | None = None
    """Names of `PROTOCOLS` or of heads, a list or with commas; by default the task's, of a segmentation linear,knn."""
    levels: bool | str | Sequence[str] = False
    """Which levels to judge beside `all`: "last", the one that a network computes last, which is the finest of a
    decoder and the coarsest of an encoder [paper, Figure 2]; "each" alone and all but each, or True [Table 11]; or a
    number. Several are a list or text with commas, such as "all,last"."""
    scenes: float | Sequence[float] = 1.0
    """Share of the scenes to learn from [Table 4]. Of several, such as [1, 0.2, 0.1, 0.05, 0.01], the first is the main
    one, and levels are reported for it alone."""
    points: int | Sequence[int | None] | None = None
    """Labelled points per scene to learn from [Table 5]; None for the whole sample. Of several, such as [None, 200,
    100, 50, 20], the first is the main one and goes with every share of scenes, the others go with the first share."""
    seed: int | Sequence[int] = 0
    """Of the choice of scenes and points and of the heads; several give means and deviations."""
    sample: int = 2000
    """Points per scene that are kept in the cache, uniform among the labelled ones, the same for all seeds."""
    lists: str | os.PathLike[str] | None = None
    """Folder of ScanNet's lists of few scenes and few points, see `few.Lists`, instead of draws by the seed."""
    test_sample: int | None = None
    """Judge as many labelled points of each scene instead of all: quicker, and a second time much quicker, at the price
    of a sampling error. All models and seeds are judged on the same points."""
    baselines: Sequence[str] = BASELINES
    """"raw" for colour, normal and height, "random" for an untrained network of the first model's shape."""

    @property
    def seeds(self) -> list[int]:
        """The seeds as a list."""
        return [self.seed] if isinstance(self.seed, int) else list(self.seed)

    @property
    def limits(self) -> list[protocols.Limit]:
        """Shares of scenes and points of each, the main ones first."""
        return protocols.limits(self.scenes, self.points)

    @property
    def listed(self) -> Lists | None:
        """The lists, if there are some."""
        return lists_of(self.lists)

    def checked(self) -> "ProbeSettings":
        """Return the settings with the task itself and the names of its protocols, or raise InputError."""
        task = by_name(self.task)
        names = task.heads if self.protocol is None else self.protocol
        protocols.chosen_protocols(names)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"seed is {self.seed!r}; give one or several different integers.")
        for _, few in self.limits:
            if few is not None and not 1 <= few <= self.sample:
                raise InputError(
                    f"points is {few} and sample {self.sample}; give 1 to sample points per scene, or more sample."
                )
        if task.whole_scenes and self.test_sample is not None:
            raise InputError(f"test_sample is {self.test_sample}, but {task.name} judges whole scenes; leave it out.")
        return replace(self, task=task, protocol=names, levels=chosen_levels(self.levels))


def probe(
    train: Dataset,
    test: Dataset,
    models: Model | Features | Mapping[str, Model | Features] | Sequence[Model | Features],
    settings: ProbeSettings | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: bool | None = False,
    **changes: Any,
) -> Report:
    """Judge features by simple heads on them, next to what the bare input and an untrained network reach.

    Features are computed once per scene, in evaluation mode, and kept in half precision. Heads learn from sampled
    points of each scene, and are tested on every labelled point of every scene, one scene in memory at a time.

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
        models: a model in evaluation mode, features, or several: a list, or a mapping by the names they have in the
            report. All learn from and are judged on the same points.
        settings: what to judge, and how.
        cache: folder of features to go on with; by default one that is gone afterwards.
        progress: show bars on standard error; None shows them in a terminal only.
        **changes: settings by name, such as `levels=True`, see `ProbeSettings`.

    Raises:
        InputError: an argument is not good, a scene lacks what the task needs, or a model is in training mode.
        LeakageError: a scene is in both splits, by its name or by its content.
    """
    known = [each.name for each in fields(ProbeSettings)]
    for name in changes.keys() - set(known):
        raise InputError(f"unknown setting {name!r}; {choices(name, known)}")
    start = perf_counter()
    settings = replace(settings or ProbeSettings(), **changes).checked()
    if train.classes != test.classes:
        raise InputError(f"train has the classes {train.classes.name}, test {test.classes.name}; give two of one set.")
    settings = replace(settings, task=by_name(settings.task).of(train.classes))
    if not len(test):
        raise InputError(f"{test.name} {test.split} has no scenes; give at least one to test on.")
    protocols.require_disjoint([scene.name for scene in train.scenes], [scene.name for scene in test.scenes])
    sources = _sources(models, settings.baselines, settings.seeds[0])
    _require_levels(sources, chosen_levels(settings.levels))
    with TemporaryDirectory() if cache is None else nullcontext(cache) as folder:
        run = Comparison(settings, sources, folder, progress)
        facts = {"train": run.learn(train), "test": run.judge(test)}
    return run.report(train, facts, perf_counter() - start)


@dataclass(frozen=True, eq=False)
class Fitted:
    """Heads of one protocol that have learned from the same points, and what was counted of their predictions."""

    model: str
    protocol: protocols.Protocol
    limit: protocols.Limit
    seed: int
    choices: dict[str, list[slice]]
    heads: dict[str, Head]
    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)


class Comparison:
    """Some features, judged by one task: heads learn from a split, then are scored on another."""

    def __init__(
        self, settings: ProbeSettings, sources: Mapping[str, Features], folder: Any, progress: bool | None
    ) -> None:
        self.settings, self.sources, self.folder, self.progress = settings, sources, folder, progress
        self.task: Task = by_name(settings.task)
        self.protocols = protocols.chosen_protocols(settings.protocol or ())
        self.fitted: list[Fitted] = []
        self.learned_from: dict[str, str] = {}  # content hash to name

    def learn(self, train: Dataset) -> list[dict[str, Any]]:
        """Fit every head, and return what was learned from."""
        limits, seeds, lists = self.settings.limits, self.settings.seeds, self.settings.listed
        splits = {(seed, limit): scenes_of(train, limit[0], seed, lists) for seed in seeds for limit in limits}
        needed = {scene.name for split in splits.values() for scene in split.scenes}
        caches, samples, hashes = self._caches(self.settings.sample), {}, {}
        listed = {points: lists.points(points) for _, points in limits if lists and points}
        for scene in self._shown([scene for scene in train.scenes if scene.name in needed], "scenes to learn from"):
            cloud = scene.read()
            self.task.require(scene.name, cloud)
            hashes[scene.name] = scene_hash(cloud)
            for label, cache in caches.items():
                for points in {points if lists else None for _, points in limits}:
                    shown = cloud if points is None else listed[points](scene.name, cloud)
                    samples[label, scene.name, points] = cache.sample(scene.name, shown)
        self.learned_from = {content: name for name, content in hashes.items()}
        learned = []
        for (seed, limit), split in splits.items():
            names, which = [scene.name for scene in split.scenes], limit[1] if lists else None
            rows = {
                label: [
                    protocols.few_points(samples[label, name, which], limit[1], seed, hashes[name]) for name in names
                ]
                for label in self.sources
            }
            count = sum(len(targets) for _, targets in next(iter(rows.values())))
            self._fit(rows, limit, seed, count)
            facts = {"seed": seed, "share": limit[0], "split": train.split, "scenes": len(names), "of": len(train)}
            facts |= {"points": count, "points_per_scene": limit[1] or self.settings.sample}
            learned.append(facts | {"sha256": joined_hash([hashes[name] for name in names]), "names": names})
        return learned

    def _fit(self, rows: Mapping[str, Any], limit: protocols.Limit, seed: int, count: int) -> None:
        """Fit the heads of every protocol on the rows of every source."""
        levels = self.settings.levels if limit == self.settings.limits[0] else False
        bar = self._shown([(label, protocol) for label in self.sources for protocol in self.protocols], "probes")
        for label, protocol in bar:
            bar.set_description(f"{protocol.name} probe on {label}, seed {seed}, {count} points")
            source = self.sources[label]
            device = str(source.model.device) if isinstance(source, ModelFeatures) else "cpu"
            wanted, last = levels if source.levels else False, getattr(source, "last", None)
            sets = protocols.level_sets(source.blocks, wanted, last)
            heads = protocol.probes(rows[label], sets, seed, device, self.task.fit)
            self.fitted.append(Fitted(label, protocol, limit, seed, sets, heads))

    def judge(self, test: Dataset) -> dict[str, Any]:
        """Count every prediction on every scene, and return what was tested on."""
        sample, class_points, points, hashes = self.settings.test_sample, [], 0, []
        caches = self._caches(sample) if sample else {}
        for scene in self._shown(test.scenes, "scenes to test on"):
            cloud, truth = scene.read(), None
            self.task.require(scene.name, cloud)
            hashes.append(scene_hash(cloud))
            protocols.require_unseen(scene.name, hashes[-1], self.learned_from)
            for label, source in self.sources.items():
                if sample:
                    few = caches[label].sample(scene.name, cloud)
                    truth, features, owner = few.targets, few.features, np.arange(len(few.targets))
                else:
                    truth, (features, owner) = self.task.truth(cloud), of_scene(source, scene.name, cloud)
                rows = self.task.inputs(features, owner, cloud)
                for one in (fitted for fitted in self.fitted if fitted.model == label):
                    for levels, method, values in one.protocol.predictions(one.heads, one.choices, rows):
                        tally = one.tallies.setdefault((levels, method), self.task.tally(test.classes))
                        tally.update(truth, self.task.prediction(values, owner, cloud))
            assert truth is not None, "there is at least one source"
            class_points.append(self.task.class_points(truth, test.classes))
            points += len(truth) if sample else len(self.task.labelled(cloud))
        facts = {"split": test.split, "scenes": len(test), "points": points, "points_per_scene": sample}
        facts["class_points"] = np.sum(class_points, 0, dtype=np.int64).tolist()
        return facts | {"sha256": joined_hash(hashes), "names": [scene.name for scene in test.scenes]}

    def report(self, train: Dataset, facts: Mapping[str, Any], seconds: float) -> Report:
        """Return all that was found; `facts` say what was learned from and tested on."""
        share, points = self.settings.limits[0]
        data = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "task": described(self.task),
            "protocols": {p.name: {"version": p.version, "settings": dict(p.settings)} for p in self.protocols},
            "dataset": {"name": train.name, "classes": train.classes.name, "class_names": [*train.classes.names]},
            **facts,
            **{"sample": self.settings.sample, "share_of_scenes": share, "points_per_scene": points},
            "models": {label: source.describe() for label, source in self.sources.items()},
            "rows": list(self._rows()),
        }
        return Report(data | {"machine": machine(), "seconds": round(seconds, 1)})

    def _rows(self) -> Iterator[dict[str, Any]]:
        for one in self.fitted:
            limit = {"scenes": one.limit[0], "points": one.limit[1]}
            named = {"model": one.model, "task": self.task.name, "limit": limit, "seed": one.seed}
            for (levels, method), tally in one.tallies.items():
                yield from rows_of(named | {"head": method, "levels": levels}, tally.metrics())

    def _caches(self, points: int) -> dict[str, FeatureCache]:
        options: dict[str, Any] = {"points": points, "task": self.task}
        return {label: FeatureCache(self.folder, source, **options) for label, source in self.sources.items()}

    def _shown(self, items: Sequence[Any], what: str) -> Any:
        from tqdm import tqdm

        return tqdm(items, desc=what, delay=1, leave=False, dynamic_ncols=True, disable=hidden(self.progress))


def judge(train: Dataset, test: Dataset, *, sample: int = 500) -> Callable[[Model], dict[str, float]]:
    """Return a function from a model to the mIoU, in percent, of its nearest-neighbour probe.

    Scenes are read, or made, once and held, so few of them are best; they are for watching a run, and what chooses by
    them must be reported on others. Of those of `train`, `sample` points each are learned from.
    """

    def held(split: Dataset) -> Dataset:
        clouds = dict(split)
        return replace(
            split, scenes=tuple(Scene(one.name, partial(clouds.__getitem__, one.name)) for one in split.scenes)
        )

    splits = held(train), held(test)

    def judged(model: Model) -> dict[str, float]:
        report = probe(*splits, {"model": model}, protocol="knn", baselines=[], sample=sample)
        return {"knn miou": round(100 * report.miou("model", "knn k=20"), 2)}

    return judged


def _require_levels(sources: Mapping[str, Features], choices: Iterable[str]) -> None:
    """Raise InputError where a level is asked for by a number that a network does not have."""
    for label, source in sources.items():
        for word in choices:
            if source.levels and word.isdecimal() and f"level {word}" not in source.blocks:
                raise InputError(
                    f"levels has {word}, but {label} has levels 0 to {len(source.blocks) - 1}; give one that all have."
                )


def _sources(
    models: Model | Features | Mapping[str, Model | Features] | Sequence[Model | Features],
    baselines: Iterable[str],
    seed: int,
) -> dict[str, Features]:
    """Return features by label: the models, then the baselines."""
    if not isinstance(models, Mapping):
        listed = models if isinstance(models, Sequence) else [models]
        named = [ModelFeatures(model) if isinstance(model, Model) else model for model in listed]
        models = {source.name: source for source in named}
        if len(models) < len(named):
            names = ", ".join(source.name for source in named)
            raise InputError(f"the models are called {names}; give a mapping with a name for each.")
    sources: dict[str, Features] = {
        label: ModelFeatures(model, label) if isinstance(model, Model) else model for label, model in models.items()
    }
    first = next((source.model for source in sources.values() if isinstance(source, ModelFeatures)), None)
    for name in baselines:
        if name not in BASELINES:
            raise InputError(f"unknown baseline {name!r}; choose among {', '.join(BASELINES)}.")
        if name == "raw":
            sources.setdefault(RawFeatures.name, RawFeatures())
        elif first is not None:
            network = ModelFeatures(random_network(first.config, seed, like=first))
            sources.setdefault(network.name, network)
    if not sources:
        raise InputError("there is nothing to judge; give a model, or a baseline.")
    return sources
