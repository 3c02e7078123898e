"""Make docs/levels.png: a generated scan, and the voxels that the levels of a descriptor are read from."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from msm3d.ops import reference
from msm3d.rooms import make
from msm3d.sparse.hierarchy import Hierarchy
from msm3d.sparse.inputs import Inputs
from msm3d.sparse.voxels import voxelize

sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "rooms"))
from contact_sheet import view

SIZE = 440, 330
LEVELS = (2, 4)
CHANNELS = (64, 96, 128, 256, 384)

cloud = make(int(sys.argv[1]) if len(sys.argv) > 1 else 12, kind="living room", points=300_000)
voxels = voxelize([cloud], Inputs(voxel_size=0.02), reference)
hierarchy = Hierarchy.of(voxels.keys, 5, reference)
panels = [("the scan", cloud)]
for level in LEVELS:
    cell = hierarchy.ancestors()[level][voxels.owner].numpy()
    count = np.bincount(cell)[:, None]
    mean = np.stack([np.bincount(cell, cloud.color[:, c]) for c in range(3)], 1) / count
    checker = 1 + 0.12 * (hierarchy.grids[level].cells[:, 1:].sum(1) % 2 * 2 - 1)
    color = (mean * checker.numpy()[:, None]).clip(0, 255).astype(np.float32)
    panels.append((f"{2 * 2**level} cm voxels: {CHANNELS[level]} channels", replace(cloud, color=color[cell])))

image = Image.new("RGB", (SIZE[0] * 3, SIZE[1] + 26), "white")
draw = ImageDraw.Draw(image)
for i, (title, panel) in enumerate(panels):
    x = i * SIZE[0]
    image.paste(Image.fromarray(view(panel, *SIZE, around=0.9)[0]), (x, 26))
    draw.text((x + 14, 8), title, fill=(30, 30, 30), font_size=15)
image.quantize(128).save(Path(__file__).with_name("levels.png"), optimize=True)
