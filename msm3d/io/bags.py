"""ROS bags, of ROS 1 and 2, through rosbags (the extra `ros`): the sweeps PointCloud2 of one topic, put together."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._util.stages import hidden, stage
from .._util.words import count, cut, option, warn
from ..errors import FileError, InputError, quoted
from ..scan.cloud import PointCloud
from ..scan.options import ReadOptions
from . import limits, stations
from .pointcloud2 import fields_of
from .registry import Kind

SUFFIXES = (".bag", ".mcap", ".db3")
TITLE = "ROS bags"
NOTE = "PointCloud2 of ROS 1 and 2, also a folder with metadata.yaml; see [ROS bags](#ros-bags)"
EXTRA = "ros"
NEEDS = {"rosbags": "ROS bags"}
TOPICS = True
KIND = Kind(suffixes=(), title=TITLE, note=NOTE, extra=EXTRA, needs=NEEDS, topics=TOPICS, home=__name__)  # of a folder

_MESSAGE = "sensor_msgs/msg/PointCloud2"
_ROW = 80  # bytes of a point, on its way

Transforms = np.ndarray | Callable[[int], Any] | None


def is_bag(folder: Path) -> bool:
    """Whether a folder is a bag of ROS 2."""
    file = folder / "metadata.yaml"
    return file.is_file() and file.stat().st_size < 1 << 24 and b"rosbag2_bagfile_information" in file.read_bytes()


def read_bag(
    path: str | os.PathLike[str],
    topic: str | None = None,
    *,
    first: int = 0,
    last: int | None = None,
    every: int = 1,
    transforms: Transforms = None,
    up: str | None = None,
    progress: bool | None = None,
) -> PointCloud:
    """Read sweeps of a ROS bag and put them together; each point's `station` says which sweep it is of.

    Args:
        path: a .bag of ROS 1; a .mcap or .db3 of ROS 2, or its folder with metadata.yaml.
        topic: of messages PointCloud2; it may be left out where there is one only.
        first: the number of the first sweep that is taken, from 0.
        last: the number of the last one; to the end by default.
        every: take each n-th sweep only.
        transforms: from the sensor's axes to the scene's: one matrix (4, 4) for all sweeps, (sweeps, 4, 4) for those
            that are taken, or a function of a sweep's time in nanoseconds. None leaves all as they were measured.
        up: the axis that points up: "z", "y" or "-y"; z by default.
        progress: True shows a bar, None shows it in a terminal only.

    Returns:
        The cloud, with the sensor's places as `viewpoint`.

    Raises:
        FileError: there is no such bag, topic or sweep, or something in it cannot be used.
        DependencyError: rosbags is not installed.

    Source: sensor_msgs/PointCloud2 and PointField of ROS.
    """
    from .reading import converted, named, needing

    for name, value, least in (("first", first, 0), ("last", last, 0), ("every", every, 1)):
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not good and not (name == "last" and value is None):
            raise InputError(f"{name} is {quoted(value)}; give a whole number from {least} on.")
    file, options = Path(path), ReadOptions(up=up)
    asked = _Asked(topic, first, last, every, transforms, progress)
    with named(file), needing(KIND, "reading"):
        fields = _together(file, asked)
    return converted(file, fields, options, {})


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the arrays by field name of all sweeps of the only topic, or of the one that is asked for."""
    return _together(file, _Asked(options.topic))


@dataclass(frozen=True)
class _Asked:
    topic: str | None = None
    first: int = 0
    last: int | None = None
    every: int = 1
    transforms: Transforms = None
    progress: bool | None = None


def _together(file: Path, asked: _Asked) -> dict[str, Any]:
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore
    from tqdm import tqdm

    parts, pending, taken = list[stations.Part](), 0, 0
    with AnyReader([file], default_typestore=get_typestore(Stores.LATEST)) as reader:
        connections = _connections(reader, asked.topic)
        stage("sweeps")
        messages = tqdm(reader.messages(connections), "sweeps", disable=hidden(asked.progress), delay=1, leave=False)
        for number, (connection, time, raw) in enumerate(messages):
            if asked.last is not None and number > asked.last:
                break
            if number < asked.first or (number - asked.first) % asked.every:
                continue
            found = fields_of(reader.deserialize(raw, connection.msgtype))
            pose = _pose(asked.transforms, taken, time)
            coord = found["coord"].astype(np.float64)
            parts.append(stations.Part(coord @ pose[:3, :3].T + pose[:3, 3], found.get("color"), pose[:3, 3]))
            taken, pending = taken + 1, pending + len(coord)
            limits.fits(pending * _ROW, "holds sweeps")
    if not parts:
        raise FileError(f"has no sweep from number {asked.first} on; give a smaller first=.")
    if isinstance(asked.transforms, np.ndarray) and asked.transforms.ndim == 3 and taken != len(asked.transforms):
        raise InputError(
            f"there are {count(taken, 'sweep')} and {len(asked.transforms)} transforms; give one for each."
        )
    if taken > 1 and asked.transforms is None:
        warn(
            f"{file}: {taken} sweeps are put together as they were measured; if the sensor moved, pass transforms= to "
            "msm3d.io.read_bag, or one sweep by first= and last=."
        )
    return {**stations.joined(parts), "units": "m"}


def _connections(reader: Any, topic: str | None) -> list[Any]:
    """Return the connections of a topic with PointCloud2, the only one by default."""
    clouds = [one for one in reader.connections if one.msgtype == _MESSAGE and one.msgcount]
    names = sorted({one.topic for one in clouds})
    if not names:
        others = cut(", ".join(sorted({one.topic for one in reader.connections})) or "nothing", 200)
        raise FileError(f"has no messages PointCloud2 but {others}; give a bag with some.")
    if topic is None and len(names) > 1:
        listed = cut(", ".join(names), 200)
        raise FileError(f"has PointCloud2 under {listed}; choose one with {option('topic', names[0])}.")
    if topic is not None and topic not in names:
        raise FileError(f"has no PointCloud2 under {quoted(topic)}; choose one of {cut(', '.join(names), 200)}.")
    return [one for one in clouds if one.topic == (topic or names[0])]


def _pose(transforms: Transforms, number: int, time: int) -> np.ndarray:
    """Return the matrix (4, 4) of a sweep."""
    if transforms is None:
        return np.eye(4)
    given = transforms(time) if callable(transforms) else np.asarray(transforms)
    if not callable(transforms) and given.ndim == 3:
        if number >= len(given):
            raise InputError(f"there are more sweeps than {len(given)} transforms; give one for each.")
        given = given[number]
    pose = np.asarray(given, np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all() or pose[3].tolist() != [0, 0, 0, 1]:
        raise InputError(f"a transform has shape {pose.shape}; give (4, 4) finite numbers whose last row is 0 0 0 1.")
    return pose
