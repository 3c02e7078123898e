"""What is asked of `Model.extract`, checked before any work is done."""

import operator
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._util.atomic import apart
from .._util.output_path import output_path
from .._util.words import require_one_of
from ..backbones import Shape
from ..errors import InputError, quoted
from ..scan.cloud import PointCloud
from ..scan.objects import files, plain, scenes_of
from ..scan.options import ReadOptions
from ..sparse.interpolate import SAMPLINGS

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
_ONE_SCAN = "color=, normal= and out= go with one scan; for a list give each scan as a dictionary."
_NO_BFLOAT16 = "numpy has no bfloat16; pass dtype='float16', or the points as a torch tensor."


@dataclass(frozen=True, kw_only=True, eq=False)
class Scans:
    """The scans of a call, and how they are to be understood."""

    given: Sequence[Any]  # one scan, or the entries of a list
    several: bool  # whether it was a list, for which a list is returned
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """`color` and `normal` that were given beside a single scan."""
    options: ReadOptions

    @classmethod
    def of(cls, points: Any, options: ReadOptions, **attributes: Any) -> "Scans":
        """Return the scans in `points`, with those of `attributes` that are not None."""
        attributes = {name: value for name, value in attributes.items() if value is not None}
        if not isinstance(points, (list, tuple)):
            return cls(given=[plain(points)], several=False, attributes=attributes, options=options)
        if attributes:
            raise InputError(_ONE_SCAN)
        for i, scan in enumerate(points):
            if isinstance(scan, (list, tuple)) or (np.isscalar(scan) and not isinstance(scan, str)):
                raise InputError(
                    f"entry {i} of the list is a {type(scan).__name__}; a list holds scans: wrap one scan in np.array."
                )
        return cls(given=[plain(scan) for scan in points], several=True, options=options)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What of the network's output is wanted."""

    levels: list[int]  # in the order of the columns
    sampling: str  # see `interpolate.corners`
    per_point: bool  # one row per point, or one per voxel
    dtype: torch.dtype  # of the rows

    @classmethod
    def of(
        cls, shape: Shape, levels: Any = None, sampling: Any = None, at: Any = "points", dtype: Any = None
    ) -> "Reading":
        """Return what the arguments of `Model.extract` mean for a network."""
        if not isinstance(at, str) or at not in ("points", "voxels"):
            given = repr(at) if isinstance(at, str) else f"a {type(at).__name__}"
            raise InputError(
                f"at is {given}; choose 'points' or 'voxels'. For rows at other places, extract the scan and take "
                "those of the points nearest to them."
            )
        return cls(
            levels=levels_of(levels, shape.levels),
            sampling=sampling_of(sampling, shape),
            per_point=at == "points",
            dtype=_dtype_of(dtype),
        )


def destination(out: Any, scans: Scans, reading: Reading) -> Path | None:
    """Return the .npy file that the rows are to become, if they are; fail where they cannot go where they are to."""
    if reading.dtype == torch.bfloat16 and not all(tensor_in(scan) is not None for scan in scans.given):
        raise InputError(_NO_BFLOAT16)
    if out is None:
        return None
    if scans.several:
        raise InputError(_ONE_SCAN)
    if len(scenes_of(scans.given[0])) > 1:
        raise InputError("out= goes with one scene; leave it out, or give the scenes one by one.")
    if not isinstance(out, (str, os.PathLike)):
        return None
    path = Path(out)
    if path.suffix.lower() != ".npy":
        raise InputError(f"out is {str(path)!r}; end it with .npy, or let `msm3d extract` write other kinds.")
    if not reading.per_point:
        raise InputError("out= as a path goes with at='points'; leave one of them out.")
    if reading.dtype == torch.bfloat16:
        raise InputError(_NO_BFLOAT16)
    apart([output_path(path)], [file for given in (*scans.given, *scans.attributes.values()) for file in files(given)])
    return path


def cloud_of(points: Any, options: ReadOptions, **attributes: Any) -> PointCloud:
    """Return the cloud of one scan, whatever it is given as."""
    from ..io import as_cloud

    return as_cloud(points, options=options, **attributes)


def tensor_in(points: Any) -> Tensor | None:
    """Return a tensor of the input, if it has one: then tensors are returned, and where it is."""
    values = points.values() if isinstance(points, Mapping) else [points]
    return next((value for value in values if isinstance(value, Tensor)), None)


def levels_of(levels: Any, n: int) -> list[int]:
    """Return which of `n` levels are asked for: a whole number of any kind or several, negative ones from the end.

    >>> levels_of(None, 3), levels_of(-1, 3), levels_of(np.array([2, 0]), 3)
    ([0, 1, 2], [2], [2, 0])
    """
    asked = list(range(n)) if levels is None else _whole_numbers(levels)
    if not asked or any(not -n <= level < n for level in asked):
        raise InputError(f"levels is {levels!r}; give some of 0 (finest) to {n - 1}, or negative ones from the end.")
    return [level % n for level in asked]


def sampling_of(sampling: Any, shape: Shape) -> str:
    """Return how levels are read: as asked, or as the network's shape says."""
    sampling = shape.sampling if sampling is None else sampling
    require_one_of("sampling", sampling, list(SAMPLINGS))
    return sampling


def _whole_numbers(values: Any) -> list[int]:
    """Return one whole number, or several, as a list, which is empty where they are something else."""
    with suppress(TypeError):  # several, perhaps
        return [_whole(values)]
    with suppress(TypeError):
        return [_whole(value) for value in values]
    return []


def _whole(value: Any) -> int:
    """Return a whole number of any kind; a boolean is none, alone in an array or tensor neither."""
    if "bool" in str(getattr(value, "dtype", type(value))):
        raise TypeError
    return operator.index(value)


def _dtype_of(dtype: Any) -> torch.dtype:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype or torch.float32
    try:
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    except Exception:  # numpy tries whatever it is given as a type, and fails in many ways
        name = ""
    if name not in _DTYPES:
        raise InputError(f"dtype is {quoted(dtype)}; choose one of {', '.join(_DTYPES)}.")
    return _DTYPES[name]
