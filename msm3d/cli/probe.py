"""`msm3d probe`: how good features are."""

import argparse
import os
from pathlib import Path
from typing import Any

from .._util.atomic import apart
from .._util.chosen import chosen_levels
from ..errors import InputError
from . import arguments
from .arguments import NUMBERS, one_of, several, typed, whole
from .display import Display
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = "Fit simple classifiers on frozen features of one split and score them on every point of another."
    example = "msm3d probe rooms:60 --model scannet -o report.json"
    verb = declared(verbs, "probe", run, "judge features on labelled scans", about, example)
    arguments.add_data(verb)
    verb.option("-o --output", ".json file; the Markdown goes beside it", required=True, metavar="OUT")
    arguments.add_model(verb, several=True)
    about = "folder with features of each scene, as lift and extract write them: judged alone and beside each model"
    verb.option("--features", about, metavar="FOLDER")
    verb.flag("--seen-only", "of --features that were lifted: learn from and judge only points that frames saw")
    arguments.add_task(verb, "what is judged")
    verb.option("--protocol", "heads to learn with, such as linear,knn; the task's own by default")
    about = "all, last (which a network computes last), each (alone, and all but each) or numbers, such as all,last"
    once = {"nargs": "?", "const": "each", "default": False}
    verb.option("--levels", f"which to judge: {about}; each, if none is named", typed(chosen_levels), **once)
    about = "share to learn from, or several: 1,0.1,0.05"
    verb.option("--scenes", about, several(float, "shares such as 1,0.05"), default=[1.0])
    counts = several(lambda word: None if word == "all" else int(word), "numbers such as all,20")
    verb.option("--points", "labelled ones per scene, or several: all,200,20", counts, default=[None])
    verb.option("--seed", "such as 0,1,2: several give means and deviations", NUMBERS, default=[0])
    verb.option("--sample", "points kept per scene (default 2000)", whole(1), default=2000)
    verb.option("--test-sample", "labelled points of each scene to test on; all by default", whole(1))
    arguments.add_lists(verb)
    about = "judge also networks that learn from the same labels: finetuned, scratch or finetuned,scratch"
    verb.option("--learn", about, several(one_of("finetuned", "scratch"), "ways to learn"), default=[])
    verb.option("--steps", "of networks that learn (default 1000)", whole(1), default=1000)
    verb.option("--crop", "most points of a scene in such a step (default 120000)", whole(1), default=120_000)
    verb.option("--cache", "folder of features, and networks, to go on with; a temporary one by default")
    arguments.add_labels(verb)
    verb.quiet()


def _spare_data(output: Path, dataset: str) -> None:
    """Fail where the report would replace a file of the data set, such as the rooms.json of synthetic rooms."""
    here = [path for path in (output, output.with_suffix(".md")) if path.is_file()]
    within = os.path.isdir(dataset) and output.resolve().is_relative_to(Path(dataset).resolve())
    if within and not (output.is_file() and b'"msm3d-probe"' in output.read_bytes()[:1000]):
        apart(here, here)


def run(options: argparse.Namespace, display: Display) -> None:
    """Judge features."""
    from ..evaluate import (
        FinetuneSettings,
        JoinedFeatures,
        ModelFeatures,
        ProbeSettings,
        StoredFeatures,
        compare,
        probe,
    )
    from ..evaluate.report import check_path

    _spare_data(check_path(options.output), options.dataset)
    if options.seen_only and not options.features:
        raise InputError("--seen-only says which points to judge of --features; add it, or leave --seen-only out.")
    if options.learn and options.features:
        raise InputError("networks that learn have no --features beside them; leave out --learn or --features.")
    train, test = arguments.data(options)
    models = {}
    for name in options.model or [None]:
        if name in models:
            raise InputError(f"--model {name} is there twice; leave one out.")
        model = arguments.load(options, display, name)
        models[name or model.meta.get("name") or "bundled"] = model
    sources: dict[str, Any] = dict(models)
    if options.features:
        stored = StoredFeatures(options.features)
        for name, model in models.items():
            sources[f"{name} + {stored.name}"] = JoinedFeatures([ModelFeatures(model, name), stored])
        sources[stored.name] = stored
        if options.seen_only:
            train, test = stored.seen(train), stored.seen(test)
    kept = ("task", "protocol", "levels", "scenes", "points", "seed", "sample", "test_sample", "lists")
    settings = ProbeSettings(**{name: getattr(options, name) for name in kept})
    if options.learn:
        learning = FinetuneSettings(steps=options.steps, crop=options.crop)
        how: dict[str, Any] = {"ways": options.learn, "folder": options.cache}
        report = compare(train, test, models, settings, learning, **how, progress=None)
    else:
        report = probe(train, test, sources, settings, cache=options.cache, progress=None)
    paths = report.write(options.output)
    display.line(report.to_markdown())
    display.line("written: " + ", ".join(map(str, paths)))
