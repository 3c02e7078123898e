"""Make a bundled release of a pre-training run: `python weights/export.py RUN NAME [--which student]`.

Writes the network in half precision to `msm3d/weights/bundled/NAME`, which the wheel carries, and to `weights/NAME` an
input with what the network says of it, which the tests compare on every backend. What is then measured of `rooms` goes
into `weights/rooms/scores.json`, from which `make tables` writes it wherever it is told.
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

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("run", type=Path, help="folder of `msm3d pretrain`")
parser.add_argument("name", help="of the release, such as rooms")
parser.add_argument("--which", default="student", choices=["student", "teacher"])
options = parser.parse_args()
bundle, check = ROOT / "msm3d/weights/bundled" / options.name, ROOT / "weights" / options.name / "check.safetensors"

trained = msm3d.load(options.run / options.which, device="cpu")
run = json.loads((options.run / "config.json").read_text())
labels = "with" if run["pretrain"].get("labels") or run["pretrain"].get("instances") else "without"
meta = {
    "name": options.name,
    "licence": "MIT",
    "data": f"{len(set(run['scenes']))} rooms made by msm3d.rooms, {labels} labels",
    "source": f"msm3d, pre-trained with msm3d.pretrain: the {options.which} after {trained.meta['steps']:,} steps",
    "scores": {},
    "scores_source": "",
}
half = {name: tensor.half() for name, tensor in trained.backbone.state_dict().items()}
store.write(bundle, trained.config, half, meta)
(bundle / store.CARD).unlink()  # the card is weights/NAME/MODEL_CARD.md

model = msm3d.load(bundle, device="cpu", backend="reference")
scan = rooms.make(7_000_000, kind="office", points=4000)
rows = model.extract(scan)
check.parent.mkdir(parents=True, exist_ok=True)
given = {"coord": scan.coord, "color": scan.color, "normal": scan.normal}
save_file({**given, "rows": np.arange(0, 4000, 20), "descriptors": rows[::20].copy()}, check)
size = (bundle / store.MODEL).stat().st_size / 1e6
print(f"{bundle}: {size:.1f} MB, sha256 {store.sha256(bundle / store.MODEL)}, torch {torch.__version__}")
