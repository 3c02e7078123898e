"""OBJ: point i is the i-th `v` line, whatever materials, groups and seams say."""

import re
from pathlib import Path

import numpy as np

from .._util.words import cut
from ..errors import FileError
from . import pictures
from .surface import Mesh, Paint, fans
from .text import rows


def mesh(file: Path) -> Mesh:
    """Return what an OBJ file holds."""
    data = file.read_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\\\n", b" ")
    lines = _lines(data, b"v")
    if not lines:
        raise FileError("has no 'v' line; there are no points to read.")
    table = _table(lines, "v")
    width = table.shape[1]
    if width < 3:
        raise FileError(f"has 'v' lines of {width} numbers; x, y and z are needed.")
    weighted = width == 4 or (width == 7 and not (table[:, 6] == 1).all() and (table[:, 3] == 1).all())
    color = table[:, 4 if weighted else 3 :][:, :3] if width >= 6 else None
    corners, faces, line = _faces(data)
    vertices = _indexed(corners[:, 0], len(table), "vertices")
    normal = _normals(data, vertices, corners[:, 2], len(table))
    paint = None if color is not None or not len(faces) else _paint(file, data, corners[:, 1], faces, line)
    return Mesh(coord=table[:, :3], faces=vertices[faces], color=color, normal=normal, paint=paint)


def _lines(data: bytes, keyword: bytes) -> list[bytes]:
    return re.findall(rb"^[ \t]*" + keyword + rb"[ \t]+([^\n#]*)", data, re.MULTILINE)


def _starts(data: bytes, keyword: bytes) -> np.ndarray:
    found = re.finditer(rb"^[ \t]*" + keyword + rb"[ \t]", data, re.MULTILINE)
    return np.fromiter((match.start() for match in found), np.int64)


def _table(lines: list[bytes], keyword: str) -> np.ndarray:
    """Return the numbers of the lines; where lines have fewer than others, NaN follows."""
    try:
        table = rows(lines)
        if len(table) == len(lines):  # else some were empty
            return table
    except ValueError:
        pass
    words = [line.split() for line in lines]
    width = max(map(len, words))
    if width > 8:
        raise FileError(f"has a {keyword!r} line of {width} numbers; export it again.")
    try:
        return np.array([[*map(float, row), *[np.nan] * (width - len(row))] for row in words])
    except ValueError as error:
        raise FileError(f"has a {keyword!r} line that is not numbers ({cut(error)}); export it again.") from error


def _faces(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the corners (k, 3) as indices from 0 of vertex, texture and normal, -1 for none; the triangles (m, 3) of
    corners; and the line of each triangle (m,), counting lines of faces.
    """
    lines = _lines(data, b"f")
    if not lines:
        return np.zeros((0, 3), dtype=np.int64), np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64)
    text = b"\n".join(lines)
    parts = (lines[0].split() or [b""])[0].count(b"/") + 1
    plain = text.replace(b"//", b" 0 ").replace(b"/", b" ").split(b"\n")
    try:  # all of one kind: nearly every file
        table = rows(plain, dtype=np.int64)
    except ValueError:
        table = np.zeros((0, 0), dtype=np.int64)
    whole = len(table) == len(lines) and parts <= 3 and not table.size % parts
    if whole and text.count(b"/") * parts == table.size * (parts - 1):
        sizes = np.full(len(lines), table.shape[1] // parts)
        corners = np.full((table.size // parts, 3), -1, dtype=np.int64)
        corners[:, :parts] = table.reshape(-1, parts) - 1
    else:
        sizes = np.array([len(line.split()) for line in lines], dtype=np.int64)
        corners = np.full((int(sizes.sum()), 3), -1, dtype=np.int64)
        for i, word in enumerate(text.split()):
            for j, part in enumerate(word.split(b"/")[:3]):
                corners[i, j] = int(part or 0) - 1
    if (corners < -1).any():  # counted back from the lines read so far
        at = np.repeat(_starts(data, b"f"), sizes)
        for j, keyword in enumerate((b"v", b"vt", b"vn")):
            before = np.searchsorted(_starts(data, keyword), at)
            corners[:, j] = np.where(corners[:, j] < -1, corners[:, j] + 1 + before, corners[:, j])
    faces, polygon = fans(sizes)
    return corners, faces, polygon


def _indexed(indices: np.ndarray, count: int, what: str) -> np.ndarray:
    if len(indices) and (indices.min() < 0 or indices.max() >= count):
        raise FileError(f"has faces with {what} that are none of its {count}; export it again.")
    return indices


def _normals(data: bytes, vertices: np.ndarray, indices: np.ndarray, count: int) -> np.ndarray | None:
    """Return for each vertex the mean of the normals at its corners; without faces, those of as many `vn` lines."""
    has = indices >= 0
    if len(indices) and not has.any():
        return None
    lines = _lines(data, b"vn")
    if not len(indices):
        return _table(lines, "vn")[:, :3] if len(lines) == count else None
    table = _table(lines or [b"0 0 0"], "vn")[:, :3]
    with np.errstate(all="ignore"):
        table = np.nan_to_num(table / np.linalg.norm(table, axis=1, keepdims=True), posinf=0, neginf=0)
    table = table[_indexed(indices[has], len(table), "normals")]
    return np.stack([np.bincount(vertices[has], table[:, i], minlength=count) for i in range(3)], axis=1)


def _paint(file: Path, data: bytes, places: np.ndarray, faces: np.ndarray, line: np.ndarray) -> Paint | None:
    """Return what the materials of the faces say: a picture where there are texture coordinates, else one colour."""
    names = _lines(data, b"usemtl")
    known = _materials(file, data)
    if not known or not names:
        return None
    chosen = (np.searchsorted(_starts(data, b"usemtl"), _starts(data, b"f")) - 1)[line]  # the use before each face
    plain = np.full((len(names) + 1, 3), np.nan)  # the last stands for no use
    picture = np.full(len(names) + 1, -1)
    shown: dict[str, int] = {}
    images: list[np.ndarray] = []
    for i, use in enumerate(names):
        color, name = known.get(use.strip().decode("utf-8", "replace"), (None, None))
        if color is not None:
            plain[i] = color
        if name is not None and (places >= 0).any():
            if name not in shown:
                shown[name] = -1
                if path := pictures.beside(file, name):
                    shown[name] = len(images)
                    images.append(pictures.picture(path.read_bytes(), name))
            picture[i] = shown[name]
    pictures.missing(file, [name for name, image in shown.items() if image < 0])
    if not images:
        return None if np.isnan(plain[chosen]).all() else Paint(plain=plain[chosen])
    table = _table(_lines(data, b"vt") or [b"0 0"], "vt")
    table = np.column_stack([table, np.zeros(len(table))])[:, :2] * [1, -1] + [0, 1]  # v counts from below
    corner = places[faces]
    _indexed(corner[corner >= 0], len(table), "texture coordinates")
    which = np.where((corner >= 0).all(1), picture[chosen], -1)
    return Paint(plain=plain[chosen], pictures=images, picture=which, place=table[corner.clip(0)])


def _materials(file: Path, data: bytes) -> dict[str, tuple[np.ndarray | None, str | None]]:
    """Return the colour, 0-255, and the name of the picture of each material."""
    known: dict[str, tuple[np.ndarray | None, str | None]] = {}
    for line in _lines(data, b"mtllib"):
        name = line.strip().decode("utf-8", "replace")
        path = pictures.beside(file, name)
        if path is None:
            pictures.missing(file, [name])
            continue
        current = ""
        for text in path.read_bytes().decode("utf-8", "replace").splitlines():
            match text.split("#")[0].split(maxsplit=1):
                case ["newmtl", current]:
                    current = current.strip()
                    known[current] = None, None
                case ["Kd", numbers] if current:
                    known[current] = _color(numbers), known[current][1]
                case ["map_Kd", words] if current:  # the name follows options; without them it may hold spaces
                    known[current] = known[current][0], words.split()[-1] if words.startswith("-") else words.strip()
    return known


def _color(words: str) -> np.ndarray | None:
    try:
        color = np.array([float(word) for word in words.split()[:3]])
    except ValueError:
        return None
    return color.clip(0, 1) * 255 if len(color) == 3 and np.isfinite(color).all() else None
