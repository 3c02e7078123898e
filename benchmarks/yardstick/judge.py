"""Label one scan of a real place, find the labels in another scan of it: what features are worth to a user.

    python benchmarks/yardstick/judge.py --scans SCANS --half choose -o choose.json a=runs/a/student b=runs/b/student

SCANS is the folder with the scans that the files of `labels/` name. Models are as for probe_rooms.py of
benchmarks/pretraining; the bare input and an untrained network come with them. Of each place every scan is learned
from, and every other one of the place is judged, over the classes that both have. `HALVES` says which places choose
between weights and which are reported; nothing may be chosen by the latter.

Linear: softmax regression on standardised descriptors. kNN: cosine, k = 5. With 20 labels a class the mean of draws.
Height: how much of the variance of all channels a cubic spline of z with 12 knots explains, the mean over the scans.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from itertools import permutations
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from labels import CLASSES, LABELS, Labelled, labelled

from msm3d.datasets import Scene
from msm3d.evaluate import KNNProbe, LinearProbe, ModelFeatures, RawFeatures
from msm3d.evaluate.report import check_path, machine
from msm3d.pretrain import adapt
from msm3d.scan.normals import completed

sys.path.insert(0, str(Path(__file__).parents[1] / "pretraining"))
from probe_rooms import counts, models

HALVES = {
    "choose": ("furnished room", "room 470", "flat", "desk"),
    "report": ("gallery", "lobby", "room 808", "office"),
}
"""Places by what they are for."""
LEAST = 300
"""Points of a class that a scan needs for it to count."""
FEW, MOST, JUDGED, KNOTS = 20, 20_000, 20_000, 12
METHODS = {"linear": LinearProbe, "kNN": partial(KNNProbe, k=5, temperature=None)}


def places(half: str) -> dict[str, list[str]]:
    """Return the names of the scans of each place of a half, or of all places."""
    wanted = [place for name, group in HALVES.items() if half in (name, "all") for place in group]
    found: dict[str, list[str]] = {place: [] for place in wanted}
    for path in sorted(LABELS.glob("*.json")):
        place = json.loads(path.read_text())["place"]
        if place in found:
            found[place].append(path.stem)
    return found


def drawn(labels: np.ndarray, classes: list[int], most: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows of at most `most` points of each class."""
    rows = [np.flatnonzero(labels == one) for one in classes]
    return np.concatenate([rng.permutation(part)[:most] for part in rows])


def miou(truth: np.ndarray, found: np.ndarray, classes: list[int]) -> float:
    """Return the mean over classes of intersection over union."""
    return mean(float(((truth == c) & (found == c)).sum() / ((truth == c) | (found == c)).sum()) for c in classes)


def judged(
    features: dict[str, np.ndarray], pair: tuple[Labelled, Labelled], blocks: list[slice], draws: int
) -> Iterator:
    """Yield (method, labels, draw, mIoU) of what is learned on the first scan and judged on the second."""
    first, second = pair
    count = [np.bincount(one.labels[one.labels >= 0], minlength=len(CLASSES)) for one in pair]
    classes = np.flatnonzero((count[0] >= LEAST) & (count[1] >= LEAST)).tolist()
    if len(classes) < 2:
        return
    rng = np.random.default_rng(0)
    asked = np.flatnonzero(np.isin(second.labels, classes))
    asked = rng.permutation(asked)[:JUDGED]
    for few, number in ((True, draws), (False, 1)):
        for draw in range(number):
            rows = drawn(first.labels, classes, FEW if few else MOST // len(classes), np.random.default_rng(draw))
            for method, make in METHODS.items():
                head = make(blocks=blocks) if method == "kNN" else make(steps=1000)
                head.fit(features[first.name][rows].astype(np.float32), first.labels[rows])
                found = head.predict(features[second.name][asked].astype(np.float32))
                yield method, "20 a class" if few else "all", draw, miou(second.labels[asked], found, classes)


def height_share(features: np.ndarray, z: np.ndarray) -> float:
    """Return the share of the variance of all channels that a natural choice of knots in z explains."""
    rows = np.random.default_rng(0).permutation(len(z))[:15_000]
    X, z = features[rows].astype(np.float64), z[rows]
    knots = np.quantile(z, np.linspace(0, 1, KNOTS + 2)[1:-1])
    terms = np.stack([z**k for k in range(4)] + [np.clip(z - knot, 0, None) ** 3 for knot in knots], 1)
    X = (X - X.mean(0)) / (X.std(0) + 1e-6)
    terms = (terms - terms.mean(0)) / (terms.std(0) + 1e-9)
    fit = terms @ np.linalg.lstsq(terms, X, rcond=1e-8)[0]
    return float((fit**2).sum() / (X**2).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="[NAME=]PATH")
    parser.add_argument("-o", "--output", required=True, help=".json")
    parser.add_argument("--scans", type=Path, required=True, help="folder with all scans")
    parser.add_argument("--half", choices=[*HALVES, "all"], default="choose")
    parser.add_argument("--draws", type=int, default=5, help="of 20 labels a class (default 5)")
    parser.add_argument("--random", type=counts, default=[0], help="seeds of untrained networks (default 0)")
    parser.add_argument(
        "--adapt",
        action="store_true",
        help="adapt networks to the scans of a place, as `msm3d adapt` does without labels",
    )
    parser.add_argument("--threads", type=int)
    parser.add_argument("--backend")
    options = parser.parse_args()
    output = check_path(options.output)
    if options.threads:
        torch.set_num_threads(options.threads)
    nets = models(options.models, options.random, options.backend)
    sources = {"bare input": RawFeatures()} | {name: ModelFeatures(net, name) for name, net in nets.items()}
    groups = places(options.half)
    scans = {name: labelled(name, options.scans) for names in groups.values() for name in names}
    rows, heights = [], {}
    for source_name, source in sources.items():
        shares = []
        for place, names in groups.items():
            here, features = source, {}
            if options.adapt and source_name in nets:
                found = adapt(nets[source_name], [Scene(name, lambda name=name: scans[name].cloud) for name in names])
                print(f"{source_name}, {place}: gained {found.gained}, {found.before} -> {found.after}", flush=True)
                here = ModelFeatures(found.model, source_name)
            for name in names:
                values, owner = here(completed(scans[name].cloud))
                features[name] = values[owner]
                shares.append(height_share(features[name], scans[name].cloud.coord[:, 2]))
            for one, other in permutations(names, 2):
                told = judged(features, (scans[one], scans[other]), list(source.blocks.values()), options.draws)
                for method, limit, draw, value in told:
                    told_of = {"model": source_name, "place": place, "learned": one, "judged": other}
                    rows.append(told_of | {"method": method, "labels": limit, "draw": draw, "miou": value})
        heights[source_name] = mean(shares)
        print(table(rows, {source_name: heights[source_name]}).splitlines()[-1], flush=True)
    told = {name: source.describe() for name, source in sources.items()}
    data = {"machine": machine(), "models": told, "height": heights, "rows": rows}
    output.write_text(json.dumps(data, indent=1) + "\n")
    print("\n" + table(rows, heights))


def score(rows: list[dict], model: str, method: str, labels: str, place: str | None = None) -> tuple[float, float]:
    """Return the mean over places of the mean over their pairs, and its deviation over draws."""
    mine = [r for r in rows if r["model"] == model and r["method"] == method and r["labels"] == labels]
    mine = [r for r in mine if place in (None, r["place"])]
    by_draw = []
    for draw in sorted({r["draw"] for r in mine}):
        here = [r for r in mine if r["draw"] == draw]
        by_draw.append(mean(mean(r["miou"] for r in here if r["place"] == p) for p in {r["place"] for r in here}))
    return 100 * mean(by_draw), 100 * stdev(by_draw) if len(by_draw) > 1 else 0.0


def table(rows: list[dict], heights: dict[str, float]) -> str:
    """Return Markdown: the means, then 20 labels a class place by place, linear / kNN."""
    groups = list(dict.fromkeys(r["place"] for r in rows))
    lines = [f"| features | 20 labels a class: linear / kNN | all: linear / kNN | height | {' | '.join(groups)} |"]
    lines.append("|---" * (4 + len(groups)) + "|")
    for model in heights:
        few = " / ".join("{:.1f} ± {:.1f}".format(*score(rows, model, m, "20 a class")) for m in METHODS)
        whole = " / ".join(f"{score(rows, model, m, 'all')[0]:.1f}" for m in METHODS)
        each = [" / ".join(f"{score(rows, model, m, '20 a class', p)[0]:.0f}" for m in METHODS) for p in groups]
        lines.append(f"| {model} | {few} | {whole} | {heights[model]:.2f} | {' | '.join(each)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
