"""Make a release of a pre-training run: `python weights/export_rooms.py RUN [--which student]`.

Writes the network in half precision to `msm3d/weights/bundled/rooms`, which the wheel carries, and to `weights/rooms`
an input with what the network says of it, which the tests compare on every backend. What is then measured goes into
`weights/rooms/scores.json`, from which `make tables` writes it wherever it is told.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

import msm3d
from msm3d import rooms
from msm3d.weights import store

ROOT = Path(__file__).parents[1]
BUNDLE, CHECK = ROOT / "msm3d" / "weights" / "bundled" / "rooms", ROOT / "weights" / "rooms" / "check.safetensors"

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("run", type=Path, help="folder of `msm3d pretrain`")
parser.add_argument("--which", default="student", choices=["student", "teacher"])
options = parser.parse_args()

trained = msm3d.load(options.run / options.which, device="cpu")
scenes = json.loads((options.run / "config.json").read_text())["scenes"]
meta = {
    "name": "rooms",
    "licence": "MIT",
    "data": f"{len(scenes)} rooms made by msm3d.rooms, without labels",
    "source": f"msm3d, pre-trained with msm3d.pretrain: the {options.which} after {trained.meta['steps']:,} steps",
    "scores": {},
    "scores_source": "",
}
half = {name: tensor.half() for name, tensor in trained.backbone.state_dict().items()}
store.write(BUNDLE, trained.config, half, meta)
(BUNDLE / store.CARD).unlink()  # the card is weights/rooms/MODEL_CARD.md

model = msm3d.load(BUNDLE, device="cpu", backend="reference")
scan = rooms.make(7_000_000, kind="office", points=4000)
rows = model.extract(scan)
CHECK.parent.mkdir(parents=True, exist_ok=True)
given = {"coord": scan.coord, "color": scan.color, "normal": scan.normal}
save_file({**given, "rows": np.arange(0, 4000, 20), "descriptors": rows[::20].copy()}, CHECK)
size = (BUNDLE / store.MODEL).stat().st_size / 1e6
print(f"{BUNDLE}: {size:.1f} MB, sha256 {store.sha256(BUNDLE / store.MODEL)}, torch {torch.__version__}")
