"""The hand-held camera: a walk through the free floor of the rooms, and what each view along it sees."""

from typing import NamedTuple

import numpy as np

from .noise import Noise
from .room import Room
from .sampling import Samples, areas
from .shapes import Cells

WIDTH, HEIGHT = 176, 136
"""Pixels of a view's depth buffer; both can be halved `LEVELS - 1` times."""
LEVELS = 4
VIEW = np.tan(np.radians(66.0) / 2)
"""Half of the picture's width at a distance of 1 m: a horizontal field of view of 66 degrees."""
PIXEL = 2 * VIEW / WIDTH
"""Size of a pixel at a distance of 1 m, metres."""
NEAR, FAR = 0.35, 5.5
"""Metres between which the sensor measures."""


BLOCK = 128
"""Samples that are looked at, or not, together."""


class Sight(NamedTuple):
    """What one view measured."""

    point: np.ndarray
    """(k,) rows of the samples."""
    depth: np.ndarray
    """(k,) metres along the optical axis."""
    facing: np.ndarray
    """(k,) cosine between the surface's normal and the ray."""


class Front(NamedTuple):
    """Samples before a camera, whether or not others hide them."""

    point: np.ndarray
    """(k,) rows of the samples."""
    z: np.ndarray
    """(k,) float32 metres along the optical axis."""
    pixel: np.ndarray
    """(k,) counted row by row."""
    cell: np.ndarray
    """(k,) that each is of."""
    facing: np.ndarray
    """(k,) cosine between the surface's normal and the ray."""


def waypoints(room: Room, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 2) places of free floor where someone can stand, in the order of a walk."""
    ground = room.origin + rng.uniform(0.25, np.maximum(room.size - 0.25, 0.3), (40 * count, 2))
    solid = [p.footprint for p in room.placed if p.footprint is not None] + ([room.pillar] if room.pillar else [])
    free = ~np.any([block.holds(ground, 0.15) for block in solid], axis=0) if solid else np.ones(len(ground), bool)
    spots = ground[free] if free.sum() >= 2 else ground
    chosen = [spots[rng.integers(len(spots))]]
    gap = np.linalg.norm(spots - chosen[0], axis=1)
    for _ in range(count - 1):  # spread out, but not strictly to the farthest
        chosen.append(spots[np.argmax(gap * rng.uniform(0.5, 1.0, len(gap)))])
        gap = np.minimum(gap, np.linalg.norm(spots - chosen[-1], axis=1) + 0.02)
    rest, walk = chosen[1:], [chosen[0]]
    while rest:
        walk.append(rest.pop(int(np.argmin([np.linalg.norm(p - walk[-1]) for p in rest]))))
    return np.array(walk)


def directed(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3): columns are right, down and forward of a level camera at `eye` that looks at `target`.

    It does not look up or down by more than 75 degrees.
    """
    way = target - eye
    flat = max(float(np.hypot(way[0], way[1])), 1e-3)
    pitch = np.clip(np.arctan2(way[2], flat), np.radians(-75), np.radians(40))
    forward = np.array([way[0] / flat * np.cos(pitch), way[1] / flat * np.cos(pitch), np.sin(pitch)])
    right = np.array([way[1], -way[0], 0.0]) / flat
    return np.stack([right, np.cross(forward, right), forward], 1)


class Sensor:
    """Sees samples from a pose by a depth buffer; a hole opens where a surface is dark, shiny or seen too flat.

    Args:
        samples: dense points on all surfaces.
        cells: the surfaces.
        shine: (m,) for each cell, 0..1, the chance of no depth.
        thing: (m,) for each cell, what it belongs to.
        far: metres to which it measures.
    """

    def __init__(
        self,
        samples: Samples,
        cells: Cells,
        shine: np.ndarray,
        thing: np.ndarray,
        rng: np.random.Generator,
        far: float = FAR,
    ):
        self.far = far
        self.cell, self.rng = samples.cell, rng
        self.both, self.shine, self.thing = cells.both, shine.astype(np.float32), thing
        p = cells.corners
        normal = np.cross(p[:, 2] - p[:, 0], p[:, 3] - p[:, 1])
        self.normal = (normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12)).astype(np.float32)
        self.middle = p.mean(1).astype(np.float32)
        # samples in blocks of neighbours, so that most of what a view cannot see costs nothing
        self.coord = samples.coord
        spare = -len(samples.coord) % BLOCK
        self.blocks = np.concatenate([samples.coord, np.repeat(samples.coord[-1:], spare, 0)]).reshape(-1, BLOCK, 3)
        low, high = self.blocks.min(1), self.blocks.max(1)
        self.centre, self.reach = (low + high) / 2, np.linalg.norm(high - low, axis=1) / 2
        self.spacing = float(np.sqrt(areas(cells).sum() / max(len(samples.cell), 1)))
        self.blotches = blotches(Noise(rng))

    def front(self, eye: np.ndarray, frame: np.ndarray, wide: int = WIDTH, high: int = HEIGHT) -> Front:
        """What lies before `eye` with the axes of `directed` and shows its front, in a picture of some pixels."""
        eye, frame = eye.astype(np.float32), frame.astype(np.float32)
        ahead = (self.centre - eye) @ frame
        z, edge = np.maximum(ahead[:, 2], 0), self.reach * 1.6
        shown = (
            (ahead[:, 2] > -self.reach)
            & (ahead[:, 2] < self.far + self.reach)
            & (np.abs(ahead[:, 0]) < z * VIEW + edge)
        )
        block = np.flatnonzero(shown & (np.abs(ahead[:, 1]) < z * (VIEW * high / wide) + edge))
        point = (block[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        ray = self.blocks[block].reshape(-1, 3) - eye
        seen = ray @ frame
        z = seen[:, 2]
        scale = np.float32(wide / (2 * VIEW)) / np.maximum(z, 1e-3)
        px, py = seen[:, 0] * scale + wide / 2, seen[:, 1] * scale + high / 2
        inside = np.flatnonzero((point < len(self.cell)) & (z > 0.05) & (px > 0) & (px < wide) & (py > 0) & (py < high))
        point, ray, z = point[inside], ray[inside], z[inside]
        pixel = py[inside].astype(np.int32) * wide + px[inside].astype(np.int32)
        cell = self.cell[point]
        facing = -np.einsum("ij,ij->i", ray, self.normal[cell]) / np.sqrt(np.einsum("ij,ij->i", ray, ray))
        front = np.flatnonzero(self.both[cell] | (facing > 0))
        return Front(point[front], z[front], pixel[front], cell[front], np.abs(facing[front]))

    def look(self, eye: np.ndarray, frame: np.ndarray) -> Sight:
        """What is measured from `eye` with the axes of `directed`."""
        eye = eye.astype(np.float32)
        point, z, pixel, cell, facing = self.front(eye, frame)
        # depth above, owner below: the least key is the nearest sample's (bits of positive floats sort like them)
        key = np.full(WIDTH * HEIGHT, np.iinfo(np.int64).max)
        np.minimum.at(key, pixel, (z.view(np.int32).astype(np.int64) << 32) | cell)
        image = key.reshape(HEIGHT, WIDTH)
        blocker = nearest(image).ravel()[pixel]
        # within the window of 3 x 3 pixels an inclined surface differs by its slope
        slope = np.sqrt(1 - np.minimum(facing, 1) ** 2) / np.maximum(facing, 0.05)
        clear = z < depth_of(blocker) + np.minimum(0.012 + z * (0.004 + 1.6 * PIXEL * slope), 0.2)
        # a thing in front, however thin, hides what is behind its plane; nearer ones, whose samples lie many pixels
        # apart, are looked for in wider windows
        row, column = pixel // WIDTH, pixel % WIDTH
        for level in range(LEVELS):
            if level:
                image = np.minimum(image[::2], image[1::2])
                image = np.minimum(image[:, ::2], image[:, 1::2])
            window = nearest(image)
            limit = 2 * self.spacing / (3 * PIXEL) / 2 ** (level - 1) if level else np.inf
            place = (row >> level) * window.shape[1] + (column >> level)
            other = np.flatnonzero(clear & (depth_of(window) < limit).ravel()[place])
            blocker = window.ravel()[place[other]]
            owner = blocker & 0xFFFFFFFF
            behind = (z[other] > depth_of(blocker)) & (self.thing[cell[other]] != self.thing[owner])
            other, owner = other[behind], owner[behind]
            normal, middle = self.normal[owner], self.middle[owner]
            height = np.einsum("ij,ij->i", self.coord[point[other]] - middle, normal)
            eye_height = np.einsum("ij,ij->i", eye - middle, normal)
            clear[other[np.where(eye_height > 0, height, -height) < -0.002]] = False
        x, y = self.rng.integers(0, 512 - WIDTH), self.rng.integers(0, 512 - HEIGHT)
        blotch = self.blotches[y : y + HEIGHT, x : x + WIDTH].ravel()[pixel]
        chance = self.shine[cell] + np.clip(0.22 - facing, 0, 1) * 3
        clear &= (z > NEAR) & (z < self.far * (0.75 + 0.4 * blotch)) & (blotch > chance)
        return Sight(point[clear], z[clear], facing[clear])


def depth_of(key: np.ndarray) -> np.ndarray:
    """The depth in the upper half of a key."""
    return (key >> 32).astype(np.int32).view(np.float32)


def blotches(noise: Noise) -> np.ndarray:
    """(512, 512) field in 0..1: where depth is lost, it is lost in patches."""
    y, x = np.mgrid[0:512, 0:512]
    at = np.stack([x.ravel() / 9, y.ravel() / 9], 1)
    field = 0.65 * noise.at(at) + 0.35 * noise.at(at * 3.1, 5)
    return np.clip((field - 0.5) * 1.5 + 0.5, 0, 1).reshape(512, 512)


def nearest(image: np.ndarray) -> np.ndarray:
    """(h, w) the least value of each pixel's 3 x 3 window.

    >>> nearest(np.array([[3, 3, 3, 1]])).tolist()
    [[3, 3, 1, 1]]
    """
    image = image.copy()
    for axis in (0, 1):
        rows = np.moveaxis(image, axis, 0)
        old = rows.copy()
        np.minimum(rows[1:], old[:-1], out=rows[1:])
        np.minimum(rows[:-1], old[1:], out=rows[:-1])
    return image
