"""Pictures of synthetic rooms: colours beside labels, seen from above a corner without the ceiling.

python benchmarks/rooms/contact_sheet.py                     # one sheet for each kind, into this folder
python benchmarks/rooms/contact_sheet.py --kind office --seeds 4 5 --points 200000 --out sheets
python benchmarks/rooms/contact_sheet.py --ways              # the same rooms as every kind of scanner sees them
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from msm3d.rooms import CLASSES, KINDS, WAYS, make
from msm3d.scan.cloud import PointCloud

COLORS = np.array(
    [
        (200, 200, 210),
        (170, 150, 120),
        (30, 110, 180),
        (250, 170, 90),
        (150, 215, 60),
        (130, 60, 30),
        (250, 140, 150),
        (220, 40, 40),
        (190, 170, 230),
        (60, 160, 140),
        (255, 225, 60),
        (120, 220, 235),
        (240, 110, 40),
        (150, 80, 190),
        (60, 60, 200),
        (0, 130, 60),
        (230, 60, 180),
        (90, 200, 160),
        (100, 140, 250),
        (90, 90, 60),
        (60, 60, 60),
    ],
    np.uint8,
)


def view(cloud: PointCloud, width: int, height: int, around: float, down: float = 0.75) -> list[np.ndarray]:
    """Pictures of a cloud's colours (h, w, 3) and of its labels (h, w), an id for each of three shades."""
    away = np.array([np.cos(around) * np.cos(down), np.sin(around) * np.cos(down), -np.sin(down)])
    ceiling = np.percentile(cloud.coord[:, 2], 99.5) - 0.12
    low, high = np.percentile(cloud.coord, 0.3, axis=0), np.percentile(cloud.coord, 99.7, axis=0)
    middle = (low + high) / 2
    eye = middle - away * 2.2 * np.linalg.norm(high[:2] - low[:2])
    kept = (cloud.coord[:, 2] < ceiling) & (((cloud.coord - eye) * cloud.normal).sum(1) < 0)
    coord, normal = cloud.coord[kept], cloud.normal[kept]
    right = np.cross(away, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    seen = (coord - eye) @ np.stack([right, np.cross(away, right), away], 1)
    flat = seen[:, :2] / seen[:, 2:]
    low, high = np.percentile(flat, 0.2, axis=0), np.percentile(flat, 99.8, axis=0)
    scale = 0.96 * min(width / (high[0] - low[0]), height / (high[1] - low[1]))
    x, y = ((flat - (low + high) / 2) * scale + [width / 2, height / 2]).T
    shade = np.where(np.abs(normal[:, 2]) > 0.7, 2, np.where(np.abs(normal @ right) > 0.6, 0, 1))
    values = np.clip(cloud.color[kept], 0, 255).astype(np.uint8), (cloud.segment[kept] * 3 + shade).astype(np.uint8)
    pictures = [np.full((height * width, 3), 255, np.uint8), np.full(height * width, 255, np.uint8)]
    offsets = [(i, j) for i in (0, 1, -1) for j in (0, 1, -1)]
    nearest = np.full(height * width, np.inf)
    for draw in (False, True):
        for i, j in offsets:
            px, py = (x + i).astype(int), (y + j).astype(int)
            ok = np.flatnonzero((px >= 0) & (px < width) & (py >= 0) & (py < height))
            pixel, depth = py[ok] * width + px[ok], seen[ok, 2] + 0.03 * (abs(i) + abs(j))
            if not draw:
                np.minimum.at(nearest, pixel, depth)
                continue
            won = depth <= nearest[pixel]
            for picture, value in zip(pictures, values, strict=True):
                picture[pixel[won]] = value[ok[won]]
    return [p.reshape(height, width, *p.shape[1:]) for p in pictures]


def legend(width: int) -> np.ndarray:
    """A strip (44, width) with the name of each class on its colour, as ids."""
    image = Image.new("L", (width, 44), 255)
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"
    each = width // 11
    for k, name in enumerate((*CLASSES, "other")):
        x, y = (k % 11) * each, (k // 11) * 22
        draw.rectangle((x + 2, y + 4, x + 14, y + 16), fill=3 * k + 2)
        draw.text((x + 18, y + 4), name, fill=63)
    return np.asarray(image)


def sheet(kind: str, seeds: list[int], points: int, size: int) -> Image.Image:
    """One row for each seed, colours beside labels, in a palette of 256."""
    rows = [
        view(make(seed, kind=kind, points=points), size, int(size * 0.75), 0.9 + 1.3 * k)
        for k, seed in enumerate(seeds)
    ]
    photo = Image.fromarray(np.concatenate([row[0] for row in rows])).quantize(180, dither=Image.Dither.NONE)
    labels = np.concatenate([row[1] for row in rows])
    strip = legend(2 * size)
    picture = np.concatenate([np.concatenate([np.asarray(photo) + 64, labels], 1), strip])
    table = np.full((256, 3), 255, np.uint8)
    table[:63] = (COLORS[:, None] * np.array([0.7, 0.85, 1.0])[:, None]).reshape(-1, 3)
    table[63] = 0
    used = np.array(photo.getpalette(), np.uint8).reshape(-1, 3)[:180]
    table[64 : 64 + len(used)] = used
    image = Image.fromarray(picture.astype(np.uint8), "P")
    image.putpalette(table.ravel().tolist())
    return image


def ways_sheet(seeds: list[int], points: int, size: int) -> Image.Image:
    """One row for each seed, a column for each way of scanning."""
    rows = []
    for seed in seeds:
        clouds = [make(seed, points=points, way=way) for way in WAYS]
        pictures = [Image.fromarray(view(cloud, size, int(size * 0.75), 0.9)[0]) for cloud in clouds]
        for way, cloud, picture in zip(WAYS, clouds, pictures, strict=True):
            ImageDraw.Draw(picture).text((6, 4), f"{way}, {len(cloud):,} points", fill=(0, 0, 0))
        rows.append(np.concatenate([np.asarray(picture) for picture in pictures], 1))
    return Image.fromarray(np.concatenate(rows)).quantize(200, dither=Image.Dither.NONE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, nargs="*", default=KINDS)
    parser.add_argument("--ways", action="store_true", help="ways of scanning instead of kinds")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--points", type=int, default=160_000)
    parser.add_argument("--size", type=int, default=560, help="width of one picture, pixels")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    sheets = {"ways": partial(ways_sheet, given.seeds, given.points, given.size * 3 // 5)}
    if not given.ways:
        sheets = {kind: partial(sheet, kind, given.seeds, given.points, given.size) for kind in given.kind}
    for name, draw in sheets.items():
        path = given.out / f"{name.replace(' ', '_')}.png"
        draw().save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
