"""`lift`: features of pictures become features of points, one view in memory at a time."""

from typing import Any, NamedTuple

import numpy as np

from .._util.stages import hidden, stage
from .._util.words import require_one_of
from ..errors import InputError
from ..io.reading import as_cloud
from ..scan.cloud import PointCloud
from ..scan.normals import completed
from .maps import maps, read
from .nearest import nearest
from .seeing import Rules, Seen, seen, spacing
from .view import views

WEIGHTS = ("even", "angle", "distance", "both")
UNSEEN = ("nearest", "zeros")
_FLAT = 0.05  # the least weight of a surface seen from its edge: its only view still counts
_PART = 1 << 14  # points that are read from a map at a time


class Lifted(NamedTuple):
    """Features of points, lifted from pictures."""

    features: np.ndarray
    """(n, c): the mean over the views that see each point; of the others what `unseen` asked for."""
    seen: np.ndarray
    """(n,) bool: whether a view sees the point."""
    counts: np.ndarray
    """(n,) int32: how many do."""


def lift(
    points: Any,
    frames: Any,
    features: Any = None,
    *,
    rules: str | Rules = "usual",
    weights: str = "even",
    unseen: str = "nearest",
    dtype: str = "float32",
    progress: bool | None = False,
) -> Lifted:
    """Bring features of pictures to the points of a scan: each point's is the mean over the views that see it.

    A view sees a point that lies ahead, in the picture, and at the measured depth give or take 2 cm or 2 %. Without a
    depth, the points hide each other. Maps are read bilinearly. Permuted points give permuted rows.

    >>> from msm3d.lifting import View
    >>> ramp = np.tile(np.arange(64.0)[None, :, None], (48, 1, 1))  # the feature of a pixel is its column
    >>> view = View(pose=np.eye(4), camera=(50, 50, 31.5, 23.5), depth=np.full((48, 64), 2.0), features=ramp)
    >>> features, seen, counts = lift(np.array([[0.0, 0, 2], [0.1, 0, 2], [0, 0, 3]]), [view])
    >>> features.round(3).ravel().tolist(), seen.tolist(), counts.tolist()
    ([31.5, 34.0, 31.5], [True, True, False], [1, 1, 0])

    Args:
        points: the scan, as `Model.extract` takes it: a file, an array (n, 3), a `PointCloud` and so on; metres, in the
            scene's axes.
        frames: a folder of RGB-D frames with poses, as `msm3d.io.read_frames` reads it, or an iterable of
            `msm3d.lifting.View`, or dictionaries of its fields. They are gone through once, one in memory at a time;
            `msm3d.lifting.views` takes each n-th of a folder, or another camera.
        features: a function of an image (h, w, 3) uint8 that returns its map (h', w', c), array or tensor, of any size;
            an iterable of such maps, one for each frame; None where the views have their own.
        rules: "usual", "published" (rounded pixel, border of 10 pixels, a quarter of the depth), or
            `msm3d.lifting.Rules`.
        weights: "even"; "angle", the cosine between normal and ray, at least 0.05; "distance", 1 / z^2; or "both".
        unseen: "nearest" gives a point that nobody sees the features of the nearest one that is seen, "zeros" gives 0.
        dtype: of the means, "float32" or "float64".
        progress: show a bar; None shows it in a terminal only.

    Returns:
        features (n, c), seen (n,) and counts (n,); row i belongs to point i, less those without a position.

    Raises:
        InputError: a view, a map or an argument is not good, there is no frame, or no view sees any point.
        FileError: a file or folder cannot be used.

    Source: OpenScene, arXiv 2211.15654, and Lexicon3D, arXiv 2409.03757, lift features so; the means are theirs.
    """
    for name, value, good in (("weights", weights, WEIGHTS), ("unseen", unseen, UNSEEN), ("dtype", dtype, _DTYPES)):
        require_one_of(name, value, good)
    rules, cloud = Rules.of(rules), as_cloud(points)
    if weights in ("angle", "both"):
        cloud = completed(cloud, ("normal",))
    found = _means(cloud, _shown(views(frames), progress), features, rules, weights, dtype)
    lost = ~found.seen
    if not lost.any():
        return found
    if not found.seen.any():
        raise InputError(
            f"no frame sees any of the {len(cloud):,} points; check that poses lead from the camera to the scene, that "
            "x looks right, y down and z ahead, and that points, poses and depths are in metres."
        )
    if unseen == "nearest":
        rows = np.flatnonzero(found.seen)
        found.features[lost] = found.features[rows[nearest(cloud.coord[lost], cloud.coord[rows])]]
    return found


_DTYPES = ("float32", "float64")


def _means(cloud: PointCloud, frames: Any, features: Any, rules: Rules, weights: str, dtype: str) -> Lifted:
    """Return the running means; what no view sees is 0."""
    mean, total = None, np.zeros(len(cloud))
    count, apart, gone = np.zeros(len(cloud), np.int32), None, 0
    for view, made in maps(frames, features):
        gone += 1
        if view.depth is None and rules.buffer and apart is None:
            apart = spacing(cloud.coord)
        found = seen(view, cloud.coord, rules, apart or 0.0)
        if not len(found.row):
            continue
        values = made()
        if mean is None:
            mean = np.zeros((len(cloud), values.shape[2]), dtype)
        weight = _weights(found, view.pose, cloud, weights)
        total[found.row] += weight
        count[found.row] += 1
        share = weight / total[found.row]
        for start in range(0, len(found.row), _PART):
            part = slice(start, start + _PART)
            row = found.row[part]
            mean[row] += (read(values, found.place[part], rules.rounded) - mean[row]) * share[part, None].astype(dtype)
    if not gone:
        raise InputError("frames has no frame; give at least one.")
    return Lifted(np.zeros((len(cloud), 0), dtype) if mean is None else mean, count > 0, count)


def _weights(found: Seen, pose: np.ndarray, cloud: PointCloud, weights: str) -> np.ndarray:
    """Return how much each point's view counts (k,)."""
    weight = np.ones(len(found.row))
    if weights in ("angle", "both"):
        assert cloud.normal is not None
        ray = found.ahead @ pose[:3, :3].T
        cosine = np.abs((ray * cloud.normal[found.row]).sum(1)) / np.linalg.norm(ray, axis=1)
        weight *= np.maximum(cosine, _FLAT)
    return weight / found.ahead[:, 2] ** 2 if weights in ("distance", "both") else weight


def _shown(frames: Any, progress: bool | None) -> Any:
    from tqdm import tqdm

    stage("frames")
    return tqdm(frames, "frames", disable=hidden(progress), delay=1, leave=False)
