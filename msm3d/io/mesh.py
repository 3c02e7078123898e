"""OBJ, GLB, GLTF, STL and OFF: the vertices of a mesh, or points on its surface."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError
from ..scan.options import ReadOptions
from . import gltf, obj, off, stl, surface

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
        places = mesh.coord[np.isfinite(mesh.coord).all(1)]
        if len(places) > 1 and (places == places[0]).all():
            raise FileError(f"has all of its {len(mesh.coord)} points at one place; export it again.")
        return {**surface.points(file, mesh, options, own.get("units")), **own}
