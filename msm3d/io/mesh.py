"""OBJ, GLB, GLTF and STL, through trimesh (the extra `mesh`): the vertices are the points."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DependencyError, FileError
from ..points import parts
from ..reading import ReadOptions


def content(file: Path, options: ReadOptions) -> dict[str, np.ndarray]:
    """Return the vertices' arrays by field name, in the order of the file; STL repeats a vertex per face: merged."""
    try:
        import trimesh
    except ImportError as error:
        raise DependencyError('reading OBJ, GLB and STL needs trimesh; type: pip install "msm3d[mesh]".') from error
    loaded: Any = trimesh.load(file, process=False, maintain_order=True)
    if isinstance(loaded, trimesh.Scene):
        pieces = []
        for node in loaded.graph.nodes_geometry:
            transform, name = loaded.graph[node]
            pieces.append(loaded.geometry[name].copy().apply_transform(transform))
    else:
        pieces = [loaded]
    if file.suffix.lower() == ".stl":
        for piece in pieces:
            piece.merge_vertices()
    found = [parts(piece) for piece in pieces if hasattr(piece, "vertices") and len(piece.vertices)]
    if not found:
        raise FileError("holds no vertices; there is nothing to read.")
    shared = set.intersection(*(set(piece) for piece in found))
    return {name: np.concatenate([piece[name][:, :3] for piece in found]) for name in found[0] if name in shared}
