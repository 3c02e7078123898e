"""Ladders at an equal, small budget: what each part of the objective is worth, and what carries over to real scans.

    python benchmarks/pretraining/ladder.py ROOMS -o runs/ladder [--steps 600] [--seeds 0 1 2]
    python benchmarks/pretraining/probe_rooms.py --main --data PROBE -o ladder.json full=runs/ladder/full-0/student …

ROOMS is a folder of rooms to learn from, as of `msm3d rooms --split train`. Every variant is `--config rooms` on a
network of a third of the parameters, with the changes below and nothing else; a run that was interrupted goes on.
Without `--ladder` it is that of the paper's Table 10. `--ladder real` asks what helps on real scans:

    python benchmarks/pretraining/ladder.py CAMERA --ladder real --mixed MIXED --real REAL -o runs/real --seeds 0 1
    python benchmarks/yardstick/judge.py --scans SCANS -o real.json camera=runs/real/camera-0/student …

CAMERA has rooms as cameras see them, MIXED rooms of `msm3d rooms --way mixed`, REAL real scans without labels.
"""

import argparse
from pathlib import Path
from time import perf_counter

import torch

from msm3d.pretrain import named, pretrain
from msm3d.pretrain.sources import several

SMALL = [
    "backbone.channels=24,48,72,96",
    "backbone.decoder_channels=32,48,72,96",
    "backbone.attention_blocks=0,0,1,1",
    "backbone.heads=0,0,6,8",
    "view=40000",
    "crop_voxels=4000",
]
WAYS = [
    "rescan.mesh=0.25",
    "rescan.station=0.1",
    "rescan.frame=0.15",
    "rescan.thin=0.3",
    "rescan.holes=0.3",
    "rescan.estimate=0.3",
    "augmentation.contrast=0.3",
    "augmentation.gamma=0.3",
    "augmentation.no_color=0.15",
]
PAPER = ["ramp=0,0", "visible=0", "prototypes=0"]  # its objective without what we added
LABELS, OBJECTS = ["labels=1"], ["labels=1", "instances=1"]
LADDERS = {
    "paper": {
        "full": [],
        "no mask": ["masking=none"],
        "last level": ["levels=finest"],
        "top-down": ["masking=top-down"],
        "convolutions only": ["backbone.attention_blocks=0,0,0,0"],
    },
    "apart": {  # not in the paper's table: what we added to its objective, all and one by one
        "plain": PAPER,
        "plain, no mask": ["masking=none", *PAPER[1:]],
        "no prototypes": ["prototypes=0"],
        "layer scale 0.1": ["backbone.layer_scale=0.1"],
    },
    "real": {
        "camera": [],
        "ways": WAYS,
        "ways, paper's objective": [*WAYS, *PAPER],
        "ways, real scans": WAYS,
        "ways, placeless": [*WAYS, "placeless=true"],
        "ways, labels": [*WAYS, *LABELS],
        "ways, labels and objects": [*WAYS, *OBJECTS],
        "everything": [*WAYS, "placeless=true", *OBJECTS],
    },
}
WITH_REAL = ("ways, real scans", "everything")
SHARE = 0.1  # of the steps, on real scans


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", help="folder of rooms to learn from")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--ladder", choices=list(LADDERS), default="paper")
    parser.add_argument("--mixed", help="folder of rooms scanned in all ways, for `--ladder real`")
    parser.add_argument("--real", help="folder of real scans, for `--ladder real`")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="some of the ladder; all by default")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.ladder == "real" and not (options.mixed and options.real):
        parser.error("--ladder real needs --mixed and --real.")
    ladder = LADDERS[options.ladder]
    chosen = options.variants or list(ladder)
    if unknown := sorted(set(chosen) - set(ladder)):
        parser.error(f"--variants has {', '.join(unknown)}; give some of {', '.join(ladder)}.")
    torch.set_num_threads(options.threads)
    for seed in options.seeds:
        for name in chosen:
            data = [options.mixed if name.startswith(("ways", "everything")) else options.rooms]
            if name in WITH_REAL:
                data.append(f"{options.real}={SHARE}")
            changes = [*SMALL, f"steps={options.steps}", f"seed={seed}", *ladder[name]]
            config = named("rooms", changes)
            scans = several(data, options.output / "rooms", labels=config.labels > 0)
            folder = options.output / f"{name.replace(',', '').replace(' ', '-')}-{seed}"
            start = perf_counter()
            pretrain(scans, config, folder, data=" and ".join(data), resume=True, every=200)
            print(f"{folder}: {perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
