"""Coloured points as a recording of rerun, whose viewer shows and hides each kind of colours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._util.atomic import replacing
from .._util.output_path import output_path
from ..errors import DependencyError
from .colors import bytes_of

FAR = 10_000.0  # metres from zero beyond which the viewer's float32 coordinates lose millimetres


def save_recording(path: str | Path, coord: np.ndarray, colors: Mapping[str, np.ndarray], name: str = "scan") -> Path:
    """Write points as an .rrd file, once with each kind of colours, under NAME/KIND; z is up.

    Coordinates far from zero, such as UTM, are stored less whole metres, which are NAME's value `origin`: a viewer has
    float32 only. Colours are stored as bytes, since the library takes floats for parts of 1.

    Args:
        path: ends with .rrd.
        coord: (n, 3), in metres.
        colors: (n, 3) each, from 0 to 255, by what they show.
        name: of the scan.

    Raises:
        InputError: the path does not end with .rrd, or there is no such folder.
        DependencyError: rerun is not installed.
    """
    path, rerun = output_path(path, [".rrd"], "a recording"), library()
    origin = np.floor(coord.min(0)) if np.abs(coord).max() > FAR else np.zeros(3)
    with replacing(path) as partial, rerun.RecordingStream("msm3d") as recording:
        recording.save(str(partial))
        recording.log("/", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        recording.log([name], rerun.AnyValues(origin=origin), static=True)
        for kind, values in colors.items():
            points = rerun.Points3D((coord - origin).astype(np.float32), colors=bytes_of(values))
            recording.log([name, kind], points, static=True)
        recording.disconnect()  # the file is whole from here on
    return path


def library() -> Any:
    """Return rerun, or fail where it is not installed."""
    try:
        import rerun
    except ImportError as error:
        raise DependencyError('an .rrd file needs rerun; type: pip install "msm3d[rerun]".') from error
    return rerun
