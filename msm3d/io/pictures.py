"""The pictures on a mesh, through Pillow."""

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path, PurePath, PureWindowsPath

import numpy as np

from .._util.words import cut, warn
from ..errors import DependencyError, FileError
from . import limits


def picture(data: bytes, name: str) -> np.ndarray:
    """Return the picture in an image file's bytes as (h, w, 3), 0-255, the first row on top."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError('reading textures needs Pillow; type: pip install "msm3d[mesh]".') from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, which we look at ourselves
            with Image.open(BytesIO(data)) as image:
                limits.fits(image.width * image.height * 8, f"has the texture {cut(name)!r}")
                return np.asarray(image.convert("RGB"))
    except FileError:
        raise
    except Exception as error:
        raise FileError(f"has the texture {cut(name)!r}, which is not a readable picture ({cut(error)}).") from error


def beside(file: Path, name: str) -> Path | None:
    """Return the file that `file` names, from its own folder or, where that is another computer's path, beside it."""
    for place in (PurePath(name.replace("\\", "/")), PurePath(PureWindowsPath(name).name)):
        try:
            if place.name and (found := file.parent / place).is_file():
                return found
        except (OSError, ValueError):  # too long, or with a null character
            continue
    return None


def missing(file: Path, names: Sequence[str]) -> None:
    """Warn of the files that `file` names, and which would give it colours, where they are not there."""
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        warn(f"{file}: names {cut(names[0])!r}{more} for its colours, not found beside it; put it there.")
