"""Frozen, fine-tuned and from scratch on few labels: `python benchmarks/tasks/few_labels.py probe -o few.json`.

The rooms are those of evidence.py. Every limit of the paper [Tables 4 and 5] by default; networks take the same number
of steps at each. `--work` keeps features and checkpoints: an interrupted run goes on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from evidence import with_heads

import msm3d
from msm3d.evaluate import FinetuneSettings, ProbeSettings, compare, open_dataset
from msm3d.evaluate.report import check_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with train and val")
    parser.add_argument("-o", "--output", required=True, help=".json; the Markdown goes beside it")
    parser.add_argument("--work", type=Path, default=Path("few-labels"), help="folder to go on with")
    parser.add_argument("--model", default="rooms", help="what is fine-tuned (default rooms)")
    parser.add_argument("--train", type=int, help="rooms to learn from, the first ones; all by default")
    parser.add_argument("--test", type=int, help="rooms to test on; all by default")
    parser.add_argument("--scenes", default="1,0.2,0.1,0.05,0.01", help="shares (default 1,0.2,0.1,0.05,0.01)")
    parser.add_argument("--points", default="all,200,100,50,20", help="of each room (default all,200,100,50,20)")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--sample", type=int, default=1000, help="points of a room that heads learn from")
    parser.add_argument("--steps", type=int, default=800, help="of a network (default 800)")
    parser.add_argument("--crop", type=int, default=30_000, help="points of a room and step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--head-steps", type=int, default=2000, help="of heads (default 2000, as of msm3d probe)")
    parser.add_argument("--head-batch", type=int, default=4096, help="rows of such a step (default 4096)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    check_path(options.output)
    torch.set_num_threads(options.threads)
    with_heads(options.head_steps, options.head_batch)
    train, test = (
        replace(split, scenes=split.scenes[:number])
        for split, number in zip(open_dataset(options.data), (options.train, options.test), strict=True)
    )
    settings = ProbeSettings(
        protocol="linear",
        scenes=[float(share) for share in options.scenes.split(",")],
        points=[None if count == "all" else int(count) for count in options.points.split(",")],
        seed=[int(seed) for seed in options.seeds.split(",")],
        sample=options.sample,
    )
    kept = {name: getattr(options, name) for name in ("steps", "crop", "lr", "sample")}
    models = {options.model: msm3d.load(options.model, device="cpu")}
    report = compare(train, test, models, settings, FinetuneSettings(**kept), folder=options.work, progress=None)
    report.write(options.output)
    print(report.to_markdown())


if __name__ == "__main__":
    main()
