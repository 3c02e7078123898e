"""Views: one picture of a scene with its camera and depth, checked; and the views of whatever people have."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, quoted
from ..io import frames as recordings
from ..io.reading import named, needing

_RIGID = 1e-3  # how far a pose may be from a turn and a shift: files round to four digits
_OFF = (0.3, 0.7)  # where the middle of a picture lies, as a share of its width and height


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One picture of a scene, and where it was taken from.

    Pixels are counted by their centres, as OpenCV does: the first one is 0 and covers -0.5 to 0.5. A map of another
    size than the picture covers the same area, so pixel u of a picture w wide is (u + 0.5) w' / w - 0.5 in a map w'
    wide.

    >>> View(pose=np.eye(4), camera=(500, 500, 319.5, 239.5), depth=np.ones((480, 640))).size
    (480, 640)
    >>> View(pose=np.eye(4), camera=(500, 500, 319.5, 239.5), depth=np.ones((240, 320)))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    msm3d.errors.InputError: camera has its middle at 319.5, 239.5, which is not in the middle of 320 x 240 pixels; ...

    Raises:
        InputError: the pose is no turn and shift; the camera is of another resolution; depth is negative, not finite
            or not in metres; or there is nothing of which the size is known.
    """

    pose: np.ndarray
    """(4, 4) from the camera, whose x looks right, y down and z ahead (OpenCV), to the scene; metres."""
    camera: Sequence[float]
    """fx, fy, cx, cy in pixels of the depth, or without depth of the picture."""
    depth: np.ndarray | None = None
    """(h, w) metres along the camera's z, 0 where nothing was measured."""
    image: np.ndarray | None = None
    """(h', w', 3) uint8; it shows what the depth shows, unless it has a camera of its own."""
    features: Any = None
    """(h'', w'', c) numbers, array or tensor: a map of what the image shows; None where one is made of the image."""
    image_camera: Sequence[float] | None = None
    """fx, fy, cx, cy of the image, in its pixels, where its camera is not that of the depth; the pose is the same."""
    size: tuple[int, int] | None = None
    """Height and width that `camera` is of; that of depth, image or features, by default."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "pose", _pose(self.pose))
        set_(self, "depth", None if self.depth is None else _depth(self.depth))
        if self.image is not None:
            set_(self, "image", _image(self.image))
        held = [value for value in (self.depth, self.image, self.features) if value is not None]
        if self.size is None and not held:
            raise InputError("the view has neither depth, image nor features; give size=(height, width).")
        size: Any = np.shape(plain(held[0]))[:2] if self.size is None else self.size
        if np.shape(size) != (2,) or not all(isinstance(one, (int, np.integer)) and one > 0 for one in size):
            raise InputError(f"size is {quoted(self.size)}; give height and width in pixels.")
        if self.depth is not None and self.depth.shape != tuple(size):
            raise InputError(f"size is {quoted(self.size)}, but depth has {self.depth.shape}; leave size out.")
        set_(self, "size", (int(size[0]), int(size[1])))
        set_(self, "camera", _camera("camera", self.camera, size))
        if self.image_camera is not None:
            if self.image is None:
                raise InputError("image_camera is given without an image; give both, or leave it out.")
            set_(self, "image_camera", _camera("image_camera", self.image_camera, self.image.shape[:2]))


def views(frames: Any, *, every: int = 1, camera: Sequence[float] | None = None) -> "Recorded | Iterator[View]":
    """Return the views of a recording, or of anything that yields them, one at a time.

    Args:
        frames: a folder of RGB-D frames with poses, in one of the layouts of `msm3d.io.read_frames`; or an iterable of
            `View`, or of dictionaries of its fields.
        every: take each n-th frame only.
        camera: of a folder, fx, fy, cx, cy of its depth where those of the folder are wrong or missing.

    Raises:
        InputError: `every` is no whole number from 1 on; when its turn comes, a frame that is no view.
        FileError: the folder is no recording, or something in it cannot be used.
        DependencyError: Pillow is not installed.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InputError(f"every is {quoted(every)}; give a whole number from 1 on.")
    if isinstance(frames, (str, os.PathLike)):
        return Recorded(Path(frames), every, camera)
    if isinstance(frames, (View, Mapping)) or not isinstance(frames, Iterable):
        raise InputError(f"frames is {quoted(frames)}; give a folder, or an iterable of msm3d.lifting.View.")
    return _each(frames, every)


class Recorded:
    """The views in a folder of RGB-D frames; each is read when its turn comes, as often as they are gone through."""

    def __init__(self, folder: Path, every: int, camera: Sequence[float] | None) -> None:
        self.folder = folder
        with named(folder), needing(recordings.KIND, "reading"):
            self._recording = recordings.recorded(folder, camera)
        self._frames = self._recording.frames[::every]

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[View]:
        for frame in self._frames:
            with named(self.folder), needing(recordings.KIND, "reading"), of_frame(frame.depth.name):
                found = recordings.taken(self._recording, frame)
                view = View(
                    pose=frame.pose,
                    camera=found.camera,
                    depth=found.depth,
                    image=found.color,
                    image_camera=found.color_camera,
                )
            yield view


def _each(frames: Iterable[Any], every: int) -> Iterator[View]:
    for number, frame in enumerate(frames):
        if number % every:
            continue
        with of_frame(number):
            if isinstance(frame, Mapping):
                unknown = [name for name in frame if name not in View.__dataclass_fields__]
                if unknown:
                    good = ", ".join(View.__dataclass_fields__)
                    raise InputError(f"has {quoted(unknown[0])}, which is nothing of a view; give {good}.")
                if missing := [name for name in ("pose", "camera") if name not in frame]:
                    raise InputError(f"has no {missing[0]}; give pose (4, 4) and camera (fx, fy, cx, cy).")
                frame = View(**frame)
            if not isinstance(frame, View):
                raise InputError(f"is {quoted(frame)}; give a msm3d.lifting.View, or a dictionary of its fields.")
        yield frame


@contextmanager
def of_frame(number: int | str) -> Iterator[None]:
    """Say of which frame a mistake is."""
    try:
        yield
    except InputError as error:
        if type(error) is not InputError:  # a file's, which names it
            raise
        raise InputError(f"frame {number}: {error}") from error


def _pose(given: Any) -> np.ndarray:
    pose = _numbers(given)
    if pose is None or pose.shape != (4, 4):
        raise InputError(f"pose has shape {np.shape(given)}; give (4, 4), from the camera to the scene.")
    if not np.isfinite(pose).all():
        raise InputError("pose has NaN or infinity; leave out frames whose place is not known.")
    turn = pose[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > _RIGID or np.abs(pose[3] - [0, 0, 0, 1]).max() > _RIGID:
        raise InputError(
            "pose is not a turn and a shift (its axes are not of length 1 and upright on each other, or its last row "
            "is not 0, 0, 0, 1); give the matrix from the camera to the scene, without any scale."
        )
    if np.linalg.det(turn) < 0:
        raise InputError("pose mirrors the scene; give one whose x looks right, y down and z ahead.")
    return pose


def _depth(given: Any) -> np.ndarray:
    depth = _numbers(given)
    if depth is None or depth.ndim != 2 or not depth.size:
        raise InputError(f"depth has shape {np.shape(given)}; give (h, w), metres along the camera's z.")
    if (kind := np.asarray(plain(given)).dtype).kind in "iub":
        raise InputError(f"depth has whole numbers ({kind}); give metres, such as depth / 1000.0.")
    if bad := int((~np.isfinite(depth)).sum()):
        raise InputError(f"depth has NaN or infinity in {bad:,} pixels; give 0 where nothing was measured.")
    if (depth < 0).any():
        raise InputError(f"depth has {depth.min():g}; give metres ahead of the camera, 0 where nothing was measured.")
    return depth


def _image(given: Any) -> np.ndarray:
    image = np.asarray(plain(given))
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(f"image has shape {image.shape} and dtype {image.dtype}; give (h, w, 3) uint8.")
    return image


def _camera(name: str, given: Any, size: tuple[int, ...]) -> tuple[float, float, float, float]:
    camera = _numbers(given)
    if camera is None or camera.shape != (4,) or not np.isfinite(camera).all() or camera[:2].min() <= 0:
        raise InputError(f"{name} is {quoted(given)}; give fx, fy, cx, cy in pixels.")
    share = (camera[2:] + 0.5) / (size[1], size[0])
    if (share < 0).any() or (share > 1).any() or (share < _OFF[0]).all() or (share > _OFF[1]).all():
        raise InputError(
            f"{name} has its middle at {camera[2]:g}, {camera[3]:g}, which is not in the middle of {size[1]} x "
            f"{size[0]} pixels; give fx, fy, cx, cy at that resolution."
        )
    fx, fy, cx, cy = camera.tolist()
    return fx, fy, cx, cy


def _numbers(given: Any) -> np.ndarray | None:
    """Return an array or tensor as float64, None where it is not one of numbers."""
    try:
        return np.asarray(plain(given), dtype=np.float64)
    except (TypeError, ValueError):
        return None


def plain(given: Any) -> Any:
    """Return a tensor as an array, wherever it is and whether or not it has gradients; anything else as it is."""
    return given.detach().cpu().numpy() if hasattr(given, "detach") else given
