"""Make the pictures of docs/how.md from one synthetic room, by the package's own code: `python docs/figures.py`.

Blocks on a transparent ground, so that they are readable on a light page and on a dark one.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from msm3d.backbones.hunet.config import BackboneConfig
from msm3d.ops import reference
from msm3d.pretrain.config import ROOMS
from msm3d.pretrain.objective import prepare
from msm3d.pretrain.views import View
from msm3d.rooms import OTHER, make
from msm3d.scan.cloud import PointCloud
from msm3d.sparse.hierarchy import Hierarchy
from msm3d.sparse.inputs import Inputs
from msm3d.sparse.voxels import voxelize
from msm3d.visualize.camera import ceiling, outside

FOLDER = Path(__file__).with_name("figures")
SIZE = 720, 560  # of a picture; a page shows it at half of that
FINE = 3  # pixels drawn for one of the picture, along each side
HIDDEN, TARGET, FADED = (124, 92, 222), (240, 132, 48), (150, 154, 162)
FACES = (  # of a cube that are seen: where a cube would cover it, its corners, its brightness
    ((0, 0, 1), ((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)), 1.0),
    ((1, 0, 0), ((1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1)), 0.72),
    ((0, 1, 0), ((0, 1, 0), (1, 1, 0), (1, 1, 1), (0, 1, 1)), 0.86),
)
CAMERA = np.array([1, 1, 0.82])  # towards the eye; cells further along it are in front
ROOM, DRAWS = 900_016, 6


def main() -> None:
    """Write every picture."""
    FOLDER.mkdir(exist_ok=True)
    room = upright(make(ROOM, kind="living room", points=100_000))
    levels(room)
    objective(room)
    for name, config in (("rooms", ROOMS.backbone), ("scannet", BackboneConfig())):
        (FOLDER / f"network-{name}.svg").write_text(network(config), encoding="utf-8")


# --- the room at the four resolutions of the bundled network ---


def levels(room: PointCloud) -> None:
    """Voxels of each level, in the mean colour of their points."""
    room = part(room, ~behind(room.coord, room.normal))
    voxels = voxelize([room], Inputs(voxel_size=ROOMS.backbone.voxel_size), reference)
    hierarchy = Hierarchy.of(voxels.keys, 4, reference)
    frame = Frame(hierarchy)
    for grid, above in zip(hierarchy.grids, hierarchy.ancestors(), strict=True):
        owner = above[voxels.owner].numpy()
        count = np.bincount(owner)
        color = np.stack([np.bincount(owner, channel) / count for channel in room.color.T], 1)
        frame.blocks(grid.cells[:, 1:].numpy() * 2**grid.level, color, 2**grid.level)
        frame.write(f"level{grid.level}")


# --- one step of pre-training ---


def objective(room: PointCloud) -> None:
    """Two views, what the student sees of one of them, and where its targets are in the other."""
    config = replace(ROOMS, view=None, crop_voxels=None, crop=0.5, apart=1.0)
    generator = torch.Generator().manual_seed(DRAWS)
    sample = prepare(room, config, config.mask, reference, torch.device("cpu"), generator)
    (one, two), (masked, _) = sample.views, sample.masked
    frames = Frame(one.hierarchy), Frame(two.hierarchy)
    for view, frame, name in ((one, frames[0], "view1"), (two, frames[1], "view2")):
        frame.blocks(cells(view)[front := shown(view)], colors(view)[front])
        frame.write(name)

    crop = masked.rows[0].numpy()
    visible = crop[masked.seen[0].numpy()]
    for rows, name in ((crop, "crop"), (visible, "visible")):
        outline = np.setdiff1d(np.arange(len(cells(one))), rows) if name == "crop" else np.empty(0, int)
        draw(frames[0], one, rows, outline)
        frames[0].write(name)

    seen = visible[shown(one)[visible]]
    size = 2 ** (config.backbone.levels - 1)
    tokens = masked.crop.grids[-1].cells[:, 1:].numpy()[masked.hidden(config.backbone.levels - 1).numpy()] * size
    frames[0].blocks(
        np.concatenate([cells(one)[seen], tokens]),
        np.concatenate([colors(one)[seen], np.broadcast_to(HIDDEN, (len(tokens), 3))]),
        np.repeat([1, size], [len(seen), len(tokens)]),
        np.repeat([255, 120], [len(seen), len(tokens)]),
    )
    frames[0].write("tokens")

    hidden = np.zeros(len(cells(one)), bool)
    hidden[crop[masked.hidden(0).numpy()]] = True
    wanted = np.unique(two.owner.numpy()[hidden[one.owner.numpy()]])  # where the hidden points are in the other view
    draw(frames[1], two, wanted, np.setdiff1d(np.arange(len(cells(two))), wanted), TARGET)
    frames[1].write("targets")


def draw(frame: "Frame", view: View, rows: np.ndarray, rest: np.ndarray, tint: tuple | None = None) -> None:
    """Draw some voxels of a view in their colours, or towards `tint`, and the rest as a shadow."""
    front = shown(view)
    rows, rest = rows[front[rows]], rest[front[rest]]
    color = colors(view)[rows] if tint is None else 0.35 * colors(view)[rows] + 0.65 * np.array(tint)
    both = np.concatenate([rows, rest])
    color = np.concatenate([color, np.broadcast_to(FADED, (len(rest), 3))])
    frame.blocks(cells(view)[both], color, alpha=np.repeat([255, 44], [len(rows), len(rest)]))


def cells(view: View) -> np.ndarray:
    """(m, 3) of the finest voxels."""
    return view.hierarchy.grids[0].cells[:, 1:].numpy()


def colors(view: View) -> np.ndarray:
    """(m, 3) of 0 to 255."""
    return (view.features[:, :3].numpy() + 1) * 127.5


def shown(view: View) -> np.ndarray:
    """(m,) all but the walls in front."""
    return ~behind(cells(view) * 0.05, view.features[:, 3:].numpy())


# --- rooms ---


def upright(room: PointCloud) -> PointCloud:
    """Turn a room so that its walls follow the axes, and leave out its ceiling."""

    def turned(vectors: np.ndarray, angle: float) -> np.ndarray:
        c, s = np.cos(angle), np.sin(angle)
        return vectors @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])

    angles = np.deg2rad(np.arange(0, 90))
    areas = [np.prod(np.ptp(np.percentile(turned(room.coord, a)[:, :2], [2, 98], axis=0), axis=0)) for a in angles]
    angle = angles[int(np.argmin(areas))] + np.pi  # the sofa to the back
    room = replace(room, coord=turned(room.coord, angle), normal=turned(room.normal, angle).astype(np.float32))
    top = ceiling(room.coord) or np.inf
    low = (room.normal[:, 2] > -0.5) | (room.segment != OTHER)  # lamps stay, the ceiling's underside goes
    return part(room, (room.coord[:, 2] < top) & low)


def part(room: PointCloud, keep: np.ndarray) -> PointCloud:
    """Some points of a room."""
    named = {name: getattr(room, name) for name in ("coord", "color", "normal", "segment", "instance")}
    return replace(room, **{name: value[keep] for name, value in named.items()})


def behind(coord: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(n,) whether a point is on an outer wall that hides the room from the camera."""
    return outside(coord, normal) & (normal @ CAMERA < 0.1)


# --- blocks ---


class Frame:
    """A canvas that every picture of one view shares, so that they can be laid over each other."""

    def __init__(self, whole: Hierarchy) -> None:
        coarsest, edge = whole.grids[-1].cells[:, 1:].numpy(), 2 ** (len(whole.grids) - 1)
        corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), -1).reshape(-1, 3)
        x, y = self._flat((coarsest[:, None] + corners) * edge, 1.0, np.zeros(2))
        width, height = (side * FINE for side in SIZE)
        self.scale = 0.96 * min(width / np.ptp(x), height / np.ptp(y))
        self.shift = np.array([width - self.scale * (x.min() + x.max()), height - self.scale * (y.min() + y.max())]) / 2
        self._clear()

    def _clear(self) -> None:
        self.image = Image.new("RGBA", (SIZE[0] * FINE, SIZE[1] * FINE))

    def _flat(self, at: np.ndarray, scale: float, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y, z = np.moveaxis(np.asarray(at, float), -1, 0)
        return (x - y) * 0.866 * scale + shift[0], ((x + y) * 0.5 - z * 0.98) * scale + shift[1]

    def blocks(self, at, color, edge=1, alpha=255) -> None:
        """Draw cubes from back to front: of each the three faces that are seen, unless one of its kind covers them.

        Args:
            at: (k, 3) lower corners, in finest cells.
            color: (k, 3) or (3,) of 0 to 255.
            edge: of a cube, in finest cells; one for all or (k,).
            alpha: 255 is opaque; one for all or (k,).
        """
        k = len(at)
        color, edge, alpha = np.broadcast_to(color, (k, 3)), np.broadcast_to(edge, k), np.broadcast_to(alpha, k)
        kinds = np.stack([edge, alpha], 1).tolist()
        there = {(*cell, *kind) for cell, kind in zip(at.tolist(), kinds, strict=True)}
        layer = ImageDraw.Draw(self.image, "RGBA")
        faces = []
        for step, corners, shade in FACES:
            x, y = self._flat(at[:, None] + np.array(corners) * edge[:, None, None], self.scale, self.shift)
            beside = (at + edge[:, None] * step).tolist()
            hidden = [(*cell, *kind) in there for cell, kind in zip(beside, kinds, strict=True)]
            faces.append((np.stack([x, y], 2), hidden, np.clip(color * shade, 0, 255).astype(int)))
        for i in np.argsort((at + edge[:, None] / 2).sum(1), kind="stable"):
            for corners, hidden, tint in faces:
                if not hidden[i]:
                    rim = (*(tint[i] * 0.75).astype(int), int(alpha[i])) if edge[i] * self.scale > 9 * FINE else None
                    layer.polygon([tuple(c) for c in corners[i]], fill=(*tint[i], int(alpha[i])), outline=rim, width=2)

    def write(self, name: str) -> None:
        """Write the picture, and begin a new one."""
        small = self.image.resize(SIZE, Image.Resampling.LANCZOS)
        small.quantize(255, method=Image.Quantize.FASTOCTREE).save(FOLDER / f"{name}.png", optimize=True)
        self._clear()


# --- the network ---


def network(config: BackboneConfig) -> str:
    """The U of encoder and decoder as SVG, in the colours of the page that it is put into."""
    n, step, left, right, wide, high = config.levels, 84, 132, 372, 176, 48
    tall = n * step + 46
    parts = [f'<svg viewBox="0 0 760 {tall}" class="network" role="img" xmlns="http://www.w3.org/2000/svg">']
    parts.append(f"<title>The network: {n} levels, {config.descriptor_channels} channels</title>")
    parts.append(ARROW)
    for x, title in ((left, "encoder"), (right, "decoder")):
        parts.append(f'<text x="{x + wide / 2}" y="24" text-anchor="middle" class="head">{title}</text>')
    parts.append('<text x="672" y="24" text-anchor="middle" class="head">descriptor</text>')
    for level in range(n):
        y, middle = 40 + level * step, 40 + level * step + high / 2
        size = 100 * config.voxel_size * 2**level
        parts.append(f'<text x="112" y="{middle + 5}" text-anchor="end">{size:g} cm</text>')
        for x, width in ((left, config.channels[level]), (right, config.decoder_channels[level])):
            inside = f"{config.conv_blocks[level]} conv"
            if config.attention_blocks[level]:
                inside += f" + {config.attention_blocks[level]} attention"
            parts.append(f'<rect x="{x}" y="{y}" width="{wide}" height="{high}" rx="6" class="stage"/>')
            parts.append(f'<text x="{x + wide / 2}" y="{y + 20}" text-anchor="middle">{width} channels</text>')
            parts.append(f'<text x="{x + wide / 2}" y="{y + 38}" text-anchor="middle" class="small">{inside}</text>')
        parts.append(_line(left + wide, middle, right, middle, "skip"))
        parts.append(_line(right + wide, middle, 604, middle, "read"))
        share = config.decoder_channels[level]
        parts.append(f'<rect x="608" y="{y}" width="128" height="{high}" rx="6" class="share"/>')
        parts.append(f'<text x="672" y="{middle + 5}" text-anchor="middle">{share}</text>')
        if level < n - 1:
            parts.append(_line(left + wide / 2, y + high, left + wide / 2, y + step, "flow"))
            parts.append(_line(right + wide / 2, y + step, right + wide / 2, y + high, "flow"))
    total = f"{config.descriptor_channels} per point"
    parts.append(f'<text x="672" y="{40 + n * step - 12}" text-anchor="middle" class="head">= {total}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


ARROW = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
)


def _line(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" class="{kind}" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    main()
