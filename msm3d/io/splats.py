"""3D Gaussian splats: which of them are there to see."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._util.words import option
from ..errors import FileError
from ..scan.options import ReadOptions


def opaque(found: Mapping[str, np.ndarray], fields: dict[str, Any], options: ReadOptions) -> dict[str, Any]:
    """Return the fields of the splats that are opaque enough, and as `rows` which of the `total` they are.

    Opacity is written before its sigmoid [gaussian-splatting, save_ply].

    Args:
        found: the file's columns, with "opacity".
        fields: (n, …) arrays.
        options: `min_opacity`; None keeps all.

    Raises:
        FileError: there is no opacity, or no splat is left.
    """
    least = options.min_opacity
    if least is None:
        return fields
    if "opacity" not in found:
        raise FileError(f"has no opacity; leave {option('min_opacity')} out.")
    with np.errstate(all="ignore"):
        rows = np.flatnonzero(1 / (1 + np.exp(-found["opacity"].astype(np.float64))) >= least)
    if not len(rows):
        raise FileError(f"has no splat as opaque as {least:g}; pass a smaller {option('min_opacity')}.")
    if len(rows) == len(found["opacity"]):
        return fields
    return {name: value[rows] for name, value in fields.items()} | {"rows": rows, "total": len(found["opacity"])}
