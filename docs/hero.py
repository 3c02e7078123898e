"""Make docs/hero.png: a generated scan, its features as colours, and what is similar to one of its chairs.

python docs/hero.py                # with the bundled weights
python docs/hero.py --model run/student --kind office --seed 3
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import msm3d
from msm3d.rooms import CLASSES, KINDS, make
from msm3d.visualize import automatic_view, pca_colors, render, similarity, similarity_colors

SIZE = 540, 450

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", help="the bundled weights by default")
parser.add_argument("--kind", choices=KINDS, default="meeting room")
parser.add_argument("--seed", type=int, default=70_002, help="far from those of the training rooms")
parser.add_argument("--like", choices=CLASSES, default="chair", help="the class of the point to compare with")
parser.add_argument("--points", type=int, default=500_000)
parser.add_argument("--out", type=Path, default=Path(__file__).with_name("hero.png"))
given = parser.parse_args()

cloud = make(given.seed, kind=given.kind, points=given.points)
features = msm3d.load(given.model).extract(cloud, dtype="float16", progress=True)
chair = np.flatnonzero(cloud.segment == CLASSES.index(given.like))
middle = cloud.coord[chair][:, 2].mean()
point = chair[np.abs(cloud.coord[chair][:, 2] - middle).argmin()]
similar = similarity(features, int(point))
heat = similarity_colors(similar, float(np.quantile(similar, 0.9)))
grey = cloud.color @ [0.3, 0.59, 0.11]
faded = np.repeat(150 + 0.3 * grey[:, None], 3, axis=1)
panels = {
    "a scan": cloud.color,
    "its features: three principal components": pca_colors(features)[0],
    f"similar to one point on a {given.like}": np.where((similar > np.quantile(similar, 0.9))[:, None], heat, faded),
}
view = automatic_view(cloud.coord, SIZE)
image = Image.new("RGB", (SIZE[0] * 3, SIZE[1] + 30), "white")
draw = ImageDraw.Draw(image)
for i, (title, colors) in enumerate(panels.items()):
    picture = render(cloud.coord, colors, size=SIZE, view=view, normals=cloud.normal)
    image.paste(Image.fromarray(picture), (i * SIZE[0], 30))
    draw.text((i * SIZE[0] + 18, 8), title, fill=(40, 40, 46), font_size=18)
image.quantize(200).save(given.out, optimize=True)
