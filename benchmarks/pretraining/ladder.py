"""The ladder of the paper's Table 10 at an equal, small budget: what each part of the objective is worth.

    python benchmarks/pretraining/ladder.py ROOMS -o runs/ladder [--steps 600] [--seeds 0 1 2]
    python benchmarks/pretraining/probe_rooms.py --main --data PROBE -o ladder.json full=runs/ladder/full-0/student …

ROOMS is a folder of rooms to learn from, as of `msm3d rooms --split train`. Every variant is `--config rooms` on a
network of a third of the parameters, with the changes below and nothing else; a run that was interrupted goes on.
"""

import argparse
from pathlib import Path
from time import perf_counter

import torch

from msm3d.pretrain import named, pretrain
from msm3d.pretrain.sources import scenes

SMALL = [
    "backbone.channels=24,48,72,96",
    "backbone.decoder_channels=32,48,72,96",
    "backbone.attention_blocks=0,0,1,1",
    "backbone.heads=0,0,6,8",
    "view=40000",
    "crop_voxels=4000",
]
VARIANTS = {
    "full": [],
    "no mask": ["masking=none"],
    "last level": ["levels=finest"],
    "top-down": ["masking=top-down"],
    "convolutions only": ["backbone.attention_blocks=0,0,0,0"],
    # Not in the paper's table: its objective without what we added, and the two things apart.
    "plain": ["ramp=0,0", "visible=0", "prototypes=0"],
    "plain, no mask": ["masking=none", "visible=0", "prototypes=0"],
    "no prototypes": ["prototypes=0"],
    "layer scale 0.1": ["backbone.layer_scale=0.1"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", help="folder of rooms to learn from")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS)[:5], choices=list(VARIANTS), metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rooms = scenes(options.rooms, options.output / "rooms")
    for seed in options.seeds:
        for name in options.variants:
            changes = [*SMALL, f"steps={options.steps}", f"seed={seed}", *VARIANTS[name]]
            folder = options.output / f"{name.replace(',', '').replace(' ', '-')}-{seed}"
            start = perf_counter()
            pretrain(rooms, named("rooms", changes), folder, data="synthetic rooms", resume=True, every=200)
            print(f"{folder}: {perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
