"""Folders of RGB-D frames with poses: which pictures belong together, and where the camera was."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._util.words import cut
from ..errors import FileError

_CLOSE = 0.02  # seconds between what was taken at the same time [TUM RGB-D, associate.py]
_PICTURES = (".png", ".jpg", ".jpeg")
_KINECTS = {  # cameras of the recordings of TUM [TUM RGB-D, File formats]
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment."""

    depth: Path
    color: Path
    pose: np.ndarray  # (4, 4), from the camera, whose z looks ahead and whose y looks down, to the scene


@dataclass(frozen=True, eq=False)
class Recording:
    """All moments of a folder."""

    frames: list[Frame]
    camera: tuple[float, ...] | None  # fx, fy, cx, cy of the depth; None where the folder does not say
    scale: float  # of the numbers of the depth pictures, how many are a metre
    color: tuple[float, ...] | None = None  # of the colours; None: they lie on the depth


def layout(folder: Path) -> Callable[[Path], Recording] | None:
    """Return what reads the lists and poses of a folder, or None where it is no recording."""
    for needed, read in _LAYOUTS.items():
        if all((folder / name).exists() for name in needed.split()):
            return read
    return None


def _tum(folder: Path) -> Recording:
    """Read the layout of TUM: lists of times and files, and of times and poses."""
    depth, color = (_listed(folder / f"{name}.txt") for name in ("depth", "rgb"))
    table = _numbers(folder / "groundtruth.txt", 8)
    order = np.argsort(table[:, 0], kind="stable")
    poses = table[order]
    times = np.array(sorted(color))
    frames = []
    for time, name in sorted(depth.items()):
        near, place = _nearest(times, time), _nearest(poses[:, 0], time)
        if near is not None and place is not None:
            frames.append(Frame(folder / name, folder / color[times[near]], _matrix(poses[place, 1:])))
    camera = next((values for name, values in _KINECTS.items() if name in folder.resolve().name.lower()), None)
    return Recording(frames, camera, 5000.0)


def _scannet(folder: Path) -> Recording:
    """Read the layout of ScanNet: color, depth and pose by number, and intrinsic."""
    color, depth = ({file.stem: file for file in _pictures(folder / name)} for name in ("color", "depth"))
    frames = []
    for stem in sorted(depth.keys() & color.keys(), key=lambda stem: (len(stem), stem)):
        file = folder / "pose" / f"{stem}.txt"
        if file.is_file():
            frames.append(Frame(depth[stem], color[stem], _numbers(file, 4, 4)))
    cameras = []
    for name in ("depth", "color"):
        matrix = _numbers(folder / "intrinsic" / f"intrinsic_{name}.txt", 4, 4)
        cameras.append(tuple(float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2))))
    return Recording(frames, cameras[0], 1000.0, cameras[1])


def _open3d(folder: Path) -> Recording:
    """Read the layout of Open3D: pictures in their order, trajectory.log and the JSON of a camera."""
    color = next((found for name in ("image", "color", "rgb") if (found := _pictures(folder / name))), [])
    depth, table = _pictures(folder / "depth"), (folder / "trajectory.log").read_text("latin-1").split()
    try:
        poses = np.array(table, dtype=np.float64).reshape(-1, 19)[:, 3:].reshape(-1, 4, 4)
    except ValueError as error:
        raise FileError("has a trajectory.log that is not blocks of 3 and 4 x 4 numbers; export it again.") from error
    if not len(color) == len(depth) == len(poses):
        raise FileError(
            f"has {len(color)} colour and {len(depth)} depth pictures but {len(poses)} poses; give one of each a frame."
        )
    frames = [Frame(*one) for one in zip(depth, color, poses, strict=True)]
    for file in sorted(folder.glob("*.json")):
        try:
            matrix = json.loads(file.read_text("utf-8"))["intrinsic_matrix"]  # column by column
            fx, fy, cx, cy = (float(matrix[at]) for at in (0, 4, 6, 7))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            continue
        return Recording(frames, (fx, fy, cx, cy), 1000.0)
    raise FileError("has no JSON file with an 'intrinsic_matrix'; add the camera's, such as camera_primesense.json.")


_LAYOUTS = {
    "rgb.txt depth.txt groundtruth.txt": _tum,
    "color depth pose intrinsic": _scannet,
    "depth trajectory.log": _open3d,
}


def _pictures(folder: Path) -> list[Path]:
    """Return the pictures in a folder, in the order of their numbers."""
    if not folder.is_dir():
        return []
    return sorted(
        (file for file in folder.iterdir() if file.suffix.lower() in _PICTURES and not file.name.startswith(".")),
        key=lambda file: (len(file.stem), file.stem),
    )


def _listed(file: Path) -> dict[float, str]:
    """Return the names in a list of TUM by their times."""
    found = {}
    for line in file.read_text("latin-1").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            time, name = float(words[0]), words[1]
        except (ValueError, IndexError) as error:
            raise FileError(f"has in {file.name} the line {cut(line)!r}; give a time and a file.") from error
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise FileError(f"has in {file.name} a file outside of the folder, {cut(name)!r}; give one in it.")
        found[time] = name
    return found


def _numbers(file: Path, width: int, count: int | None = None) -> np.ndarray:
    """Return the rows of numbers in a file of text."""
    try:
        lines = [line.split() for line in file.read_text("latin-1").splitlines()]
        table = np.array([line for line in lines if line and not line[0].startswith("#")], dtype=np.float64)
        table = table.reshape(-1, width) if table.size == 0 else table
    except FileNotFoundError as error:
        raise FileError(f"has no {file.parent.name}/{file.name}; export it again.") from error
    except ValueError as error:
        raise FileError(f"has in {file.name} lines that are not {width} numbers; export it again.") from error
    if table.ndim != 2 or table.shape[1] != width or (count is not None and len(table) != count):
        raise FileError(f"has in {file.name} lines that are not {width} numbers; export it again.")
    return table


def _nearest(times: np.ndarray, time: float) -> int | None:
    """Return where in ascending times the nearest one is, if it is close.

    >>> _nearest(np.array([1.0, 2.0, 3.0]), 2.01), _nearest(np.array([1.0, 2.0]), 1.5)
    (1, None)
    """
    if not len(times):
        return None
    after = int(np.searchsorted(times, time).clip(1, max(len(times) - 1, 1)))
    found = min((after - 1, min(after, len(times) - 1)), key=lambda at: abs(times[at] - time))
    return found if abs(times[found] - time) <= _CLOSE else None


def _matrix(pose: np.ndarray) -> np.ndarray:
    """Return the matrix (4, 4) of a place and a quaternion x, y, z, w."""
    found = np.eye(4)
    length = np.linalg.norm(pose[3:])
    with np.errstate(all="ignore"):  # of no length: no pose, which is not finite
        x, y, z, w = pose[3:] / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    found[:3, :3] += 2 * (w * cross + cross @ cross)
    found[:3, 3] = pose[:3]
    return found
