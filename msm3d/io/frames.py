"""RGB-D frames with poses, fused: one point for each voxel that frames saw, with the place it was seen from."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.stages import hidden, stage
from .._util.words import cut, warn
from ..errors import FileError, InputError, quoted
from ..scan.cloud import PointCloud
from ..scan.options import ReadOptions
from . import limits
from .recordings import Frame, Recording, layout
from .registry import Kind

KIND = Kind(
    suffixes=(),
    title="RGB-D frames",
    note="colour, depth and poses as TUM, ScanNet and Open3D lay them out",
    extra="mesh",
    needs={"pillow": "frames"},
    home=f"{__name__}",
)
VOXEL, FAR = 0.01, 4.0  # metres
_USUAL = (525.0, 525.0, 319.5, 239.5)  # of a camera of 640 x 480 that nobody has calibrated
_PENDING = 2_000_000  # voxels of frames that are put together at a time
_HALF = 1 << 20  # voxels on each side of the origin
_ROW = 96  # bytes of a voxel


def read_frames(
    folder: str | os.PathLike[str],
    voxel: float = VOXEL,
    every: int = 1,
    *,
    far: float = FAR,
    camera: Sequence[float] | None = None,
    up: str | None = None,
    progress: bool | None = None,
) -> PointCloud:
    """Read a folder of colour and depth pictures with poses, and fuse them into one cloud.

    The layouts are those of TUM (rgb.txt, depth.txt, groundtruth.txt), of ScanNet (color, depth, pose, intrinsic) and
    of Open3D (image, depth, trajectory.log and the JSON of a camera). A point is the mean of what fell into a voxel.

    Args:
        folder: of one recording.
        voxel: metres, the edge of the voxels that become points.
        every: take each n-th frame only.
        far: metres from the camera from which on depth is not believed.
        camera: fx, fy, cx, cy of the depth pictures, where those of the folder are wrong or missing.
        up: the axis that points up: "z", "y" or "-y"; z by default.
        progress: True shows a bar, None shows it in a terminal only.

    Returns:
        The cloud, with the cameras' places as `viewpoint` and the nearest frame of each point as `station`.

    Raises:
        FileError: the folder is no such recording, or something in it cannot be used.
        DependencyError: Pillow is not installed.

    Source: depth factors and association by time of the TUM RGB-D benchmark; intrinsics of ScanNet's SensReader.
    """
    from .reading import converted, named, needing

    for name, value, good in (("voxel", voxel, 1e-4), ("far", far, 1e-3)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not good <= value <= 1000:
            raise InputError(f"{name} is {quoted(value)}; give metres, such as {VOXEL if name == 'voxel' else FAR:g}.")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InputError(f"every is {quoted(every)}; give a whole number from 1 on.")
    if camera is not None and (len(camera) != 4 or not np.isfinite(camera).all() or min(camera[:2]) <= 0):
        raise InputError(f"camera is {quoted(camera)}; give fx, fy, cx, cy in pixels.")
    path, options = Path(folder), ReadOptions(up=up)
    with named(path), needing(KIND, "reading"):
        fields = _fused(path, _Asked(voxel, every, far, progress), camera)
    return converted(path, fields, options, {})


def content(folder: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the fused points' arrays by field name."""
    return _fused(folder, _Asked(), None)


@dataclass(frozen=True)
class _Asked:
    voxel: float = VOXEL
    every: int = 1
    far: float = FAR
    progress: bool | None = None


def _fused(folder: Path, asked: _Asked, camera: Sequence[float] | None) -> dict[str, Any]:
    from tqdm import tqdm

    recording = recorded(folder, camera)
    frames = recording.frames[:: asked.every]
    stage("frames")
    parts, pending = list[_Voxels](), 0
    for number, frame in enumerate(tqdm(frames, "frames", disable=hidden(asked.progress), delay=1, leave=False)):
        for part in _seen(recording, frame, number, asked):
            parts.append(part)
            pending += len(part.key)
        if pending > max(_PENDING, len(parts[0].key) if parts else 0):
            parts, pending = [_together(parts)], 0
    found = _together(parts) if parts else None
    if found is None or not len(found.key):
        raise FileError(f"has no depth nearer than {asked.far:g} m in any frame; check the unit of its depth pictures.")
    used, station = np.unique(found.station, return_inverse=True)
    places = np.stack([frames[number].pose[:3, 3] for number in used])
    color = np.rint(found.color / found.count[:, None]).astype(np.uint8)
    fields = {"coord": found.coord / found.count[:, None], "color": color, "viewpoint": places}
    return {**fields, **({"station": station} if len(used) > 1 else {}), "units": "m"}


def recorded(folder: Path, camera: Sequence[float] | None) -> Recording:
    """Return the frames of a recording that have a pose, and its camera, or the one that is given; raises FileError."""
    if not folder.exists():
        raise FileError("does not exist; check the path.")
    read = layout(folder)
    if read is None:
        raise FileError(
            "is not a recording of RGB-D frames; give a folder with rgb.txt, depth.txt and groundtruth.txt (TUM), with "
            "color, depth, pose and intrinsic (ScanNet), or with image, depth and trajectory.log (Open3D)."
        )
    found = read(folder)
    frames = [frame for frame in found.frames if np.isfinite(frame.pose).all()]
    if not frames:
        raise FileError("has no frame with colour, depth and a pose; give one of each.")
    if lost := len(found.frames) - len(frames):
        warn(f"{folder}: {lost} of {len(found.frames)} frames have no pose (not finite) and are left out.")
    if camera is None and found.camera is None:
        warn(
            f"{folder}: its layout has no camera; fx, fy, cx, cy = {', '.join(f'{value:g}' for value in _USUAL)} are "
            "assumed; if you know better, pass camera= to msm3d.io.read_frames."
        )
    return replace(found, frames=frames, camera=tuple(found.camera or _USUAL if camera is None else camera))


@dataclass(frozen=True, eq=False)
class Pictures:
    """What the camera took at one moment."""

    depth: np.ndarray  # (h, w) float64 metres, 0 where nothing came back
    color: np.ndarray  # (h', w', 3) uint8
    camera: tuple[float, ...]  # fx, fy, cx, cy of the depth, in its pixels
    color_camera: tuple[float, ...] | None  # likewise of the colours; None: they lie on the depth


def taken(recording: Recording, frame: Frame) -> Pictures:
    """Return the pictures of a frame of a `recorded` folder, with cameras for the sizes that they have."""
    depth, color = _depth(frame.depth).astype(np.float64) / recording.scale, _picture(frame.color)
    camera = _fitting(recording.camera or _USUAL, depth.shape[1])
    own = None if recording.color is None else _fitting(recording.color, color.shape[1])
    return Pictures(depth, color, camera, own)


@dataclass(frozen=True, eq=False)
class _Voxels:
    """Sums over what fell into voxels, by ascending key."""

    key: np.ndarray  # (m,)
    coord: np.ndarray  # (m, 3)
    color: np.ndarray  # (m, 3)
    count: np.ndarray  # (m,)
    reach: np.ndarray  # (m,), metres from the nearest camera
    station: np.ndarray  # (m,), which that is


def _together(parts: Sequence[_Voxels]) -> _Voxels:
    """Return voxels that are in several parts as one each."""
    limits.fits(sum(len(part.key) for part in parts) * _ROW * 3, "needs voxels")
    names = ("key", "coord", "color", "count", "reach", "station")
    key, coord, color, count, reach, station = (np.concatenate([getattr(one, name) for one in parts]) for name in names)
    order = np.lexsort((reach, key))
    key = key[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.zeros(0, np.int64)
    if len(key):
        coord, color, count = (np.add.reduceat(values[order], starts) for values in (coord, color, count))
    first = order[starts]
    return _Voxels(key[starts], coord, color, count, reach[first], station[first])


def _seen(recording: Recording, frame: Frame, number: int, asked: _Asked) -> Iterator[_Voxels]:
    """Yield the voxels that one frame saw, if it saw any."""
    pictures = taken(recording, frame)
    depth, picture = pictures.depth, pictures.color
    row, column = np.nonzero((depth > 0) & (depth < asked.far))
    if not len(row):
        return
    z = depth[row, column]
    fx, fy, cx, cy = pictures.camera
    ahead = np.stack([(column - cx) / fx * z, (row - cy) / fy * z, z], axis=1)
    if pictures.color_camera is None:
        across, down = column * (picture.shape[1] / depth.shape[1]), row * (picture.shape[0] / depth.shape[0])
    else:
        fx, fy, cx, cy = pictures.color_camera
        across, down = ahead[:, 0] / z * fx + cx, ahead[:, 1] / z * fy + cy
    at = np.rint(across).astype(np.int64), np.rint(down).astype(np.int64)
    inside = (at[0] >= 0) & (at[0] < picture.shape[1]) & (at[1] >= 0) & (at[1] < picture.shape[0])
    coord = ahead[inside] @ frame.pose[:3, :3].T + frame.pose[:3, 3]
    cell = np.floor(coord / asked.voxel)
    if len(cell) and np.abs(cell).max() >= _HALF:
        raise FileError(f"has a pose more than {_HALF * asked.voxel:g} m from the origin; give larger voxels.")
    key = ((cell.astype(np.int64) + _HALF) * [1 << 42, 1 << 21, 1]).sum(1)
    ones, color = np.ones(len(key)), picture[at[1][inside], at[0][inside]].astype(np.float64)
    yield _together([_Voxels(key, coord, color, ones, z[inside], np.full(len(key), number))])


def _fitting(camera: Sequence[float], width: int) -> tuple[float, ...]:
    """Return a camera for pictures of a width: its middle tells whether they were made smaller after it was measured.

    >>> _fitting((1170.0, 1170.0, 648.0, 484.0), 640)[2]
    320.0
    """
    scale = width / (2 * camera[2]) if camera[2] > 0 else 1.0
    return tuple(camera) if 0.8 < scale < 1.25 else tuple(value * scale for value in camera)


def _picture(file: Path) -> np.ndarray:
    """Return the colours (h, w, 3)."""
    return _opened(file, "RGB")


def _depth(file: Path) -> np.ndarray:
    """Return the numbers (h, w) of a depth picture, of 16 bits as a rule."""
    found = _opened(file, None)
    if found.ndim != 2 or found.dtype.kind not in "iuf" or found.dtype.itemsize < 2:
        raise FileError(
            f"has the depth picture {file.name} of {found.dtype} {found.shape}; 16 bits of grey are needed."
        )
    return np.where(np.isfinite(found), found, 0)


def _opened(file: Path, mode: str | None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file) as image:
            limits.fits(image.width * image.height * 64, f"has the picture {cut(file.name)!r}")
            return np.asarray(image if mode is None else image.convert(mode))
    except FileNotFoundError as error:
        raise FileError(
            f"has no {cut(file.parent.name)}/{cut(file.name)}; add it, or take it out of the list."
        ) from error
    except FileError:
        raise
    except Exception as error:
        raise FileError(f"has the picture {cut(file.name)!r}, which cannot be read ({cut(error)}).") from error
