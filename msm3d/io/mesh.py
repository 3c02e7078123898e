"""OBJ, GLB, GLTF, STL and OFF: the vertices of a mesh, or points on its surface."""

from pathlib import Path
from typing import Any

import numpy as np

from ..scan.options import ReadOptions
from . import gltf, limits, obj, off, stl, surface

SUFFIXES = (".obj", ".glb", ".gltf", ".stl", ".off")
TITLE = "OBJ, GLB, glTF, STL, OFF"
NOTE = "see [Meshes](#meshes)"
EXTRA = "mesh"
NEEDS = {"pillow": "textures of meshes"}

_KINDS = {".obj": obj, ".glb": gltf, ".gltf": gltf, ".stl": stl, ".off": off}


def content(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the points' arrays by field name, and for glTF its own axis and unit."""
    kind = _KINDS[file.suffix.lower()]
    own = {"up": "y", "units": "m"} if kind is gltf else {}
    with np.errstate(all="ignore"):  # what is not finite is looked for where it matters
        mesh = kind.mesh(file)
        limits.not_at_one_place(mesh.coord[np.isfinite(mesh.coord).all(1)], len(mesh.coord))
        return {**surface.points(file, mesh, options, own.get("units")), **own}
