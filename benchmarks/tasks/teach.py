"""How far twenty clicks of each class go: `python benchmarks/tasks/teach.py workshop.ply -o teach.json`.

The scan and its strips are those of benchmarks/pretraining/transfer.py: heads are taught on two of four strips across
the room, half a metre off the others, and judged on 30,000 labelled points of the others; and the other way round. Once
every labelled point of the strips is given, and for each seed twenty of each class, drawn at random.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, stdev
from time import process_time

import numpy as np
import torch

import msm3d
from msm3d.evaluate import IGNORE, Confusion
from msm3d.evaluate.report import check_path, machine
from msm3d.tasks import teach
from msm3d.tasks.teaching import KINDS

sys.path.insert(0, str(Path(__file__).parents[1] / "pretraining"))
from transfer import WORKSHOP, folds, scan

CLICKS, JUDGED = 20, 30_000


def clicks(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return labels of which twenty of each class are left."""
    kept, draw = np.full_like(labels, IGNORE), np.random.default_rng(seed)
    for label in np.unique(labels[labels != IGNORE]):
        rows = draw.permutation(np.flatnonzero(labels == label))[:CLICKS]
        kept[rows] = label
    return kept


def judged(model: msm3d.Model, cloud: msm3d.PointCloud, labels: np.ndarray, truth: np.ndarray, kinds: list) -> dict:
    """Teach a head and return how good it is elsewhere, and what it took."""
    start = process_time()
    head = teach(model, [(cloud, labels)], names=WORKSHOP.names, kinds=kinds)
    taught = process_time()
    rows, owner = model.extract(cloud)
    some = np.flatnonzero(truth != IGNORE)
    some = np.sort(np.random.default_rng(0).permutation(some)[:JUDGED])
    scores = Confusion(len(WORKSHOP)).update(truth[some], head.predict(rows[owner[some]])).scores()
    seconds = {"teach_s": taught - start, "label_s": process_time() - taught, "rows": len(some)}
    return {"miou": scores.miou, "head": head.name, "compared": dict(head.about_.scores), **seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", help="workshop.ply")
    parser.add_argument("-o", "--output", required=True, help=".json; the Markdown goes beside it")
    parser.add_argument("--models", nargs="+", default=["rooms-labelled", "rooms"])
    parser.add_argument("--seeds", type=int, default=5, help="draws of the clicks (default 5)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of heads to compare (default all)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    output, kinds = check_path(options.output), options.kinds.split(",")
    torch.set_num_threads(options.threads)
    cloud = scan(options.scan)
    data: dict = {"machine": machine(), "clicks": CLICKS, "kinds": kinds, "models": {}}
    lines = ["| weights | all labels | twenty clicks | share | heads |", "|---|---:|---:|---:|---|"]
    for name in options.models:
        model = msm3d.load(name, device="cpu")
        described = model.extract(cloud, at="voxels")
        model.extract = lambda *_, described=described, **__: described  # one scan and one network: always the same
        found = {"all": [], "clicks": []}
        for train, test in folds(cloud):
            labels, truth = (part.scenes[0].read().segment for part in (train, test))
            found["all"].append(judged(model, cloud, labels, truth, kinds))
            for seed in range(options.seeds):
                found["clicks"].append(judged(model, cloud, clicks(labels, seed), truth, kinds))
                print(name, found["all"][-1], found["clicks"][-1], flush=True)
        data["models"][name] = found
        whole, few = (mean(one["miou"] for one in found[kind]) for kind in ("all", "clicks"))
        spread = stdev(one["miou"] for one in found["clicks"])
        heads = [one["head"] for one in found["clicks"]]
        counts = ", ".join(f"{head} {heads.count(head)}" for head in sorted(set(heads)))
        lines.append(
            f"| {name} | {100 * whole:.1f} | {100 * few:.1f} ± {100 * spread:.1f} | {few / whole:.2f} | {counts} |"
        )
    text = (
        "# The workshop, taught\n\nmIoU in percent on other strips, mean of both folds.\n\n" + "\n".join(lines) + "\n"
    )
    output.write_text(json.dumps(data, indent=1) + "\n")
    output.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
