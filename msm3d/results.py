"""Descriptors to files: whole files or nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .errors import InputError

FORMATS = (".npz", ".npy", ".safetensors", ".ply")
"""What `write` can write, by ending."""


def check_format(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or fail before any work is done if its ending or its folder is not good.

    >>> check_format("features.xyz")
    Traceback (most recent call last):
    msm3d.errors.InputError: features.xyz cannot hold features; end it with one of .npz, .npy, .safetensors, .ply.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path} cannot hold features; end it with one of {', '.join(FORMATS)}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}; make it first: mkdir -p {path.parent}")
    return path


def write(path: str | os.PathLike[str], coord: np.ndarray, feat: np.ndarray, rows: np.ndarray | None = None) -> Path:
    """Write one scan's descriptors, to a temporary name first.

    Args:
        path: .npz with `coord` and `feat` (and `rows`), .safetensors with the same names, .npy with `feat` alone, or
            .ply with x, y, z and feat_0, feat_1, …
        coord: (n, 3) float64 metres, z up.
        feat: (n, c).
        rows: (n,) row of the file that each point came from, where rows of it were dropped.
    """
    path = check_format(path)
    arrays = {"coord": coord, "feat": feat} | ({} if rows is None else {"rows": rows})
    with replacing(path) as partial:
        if path.suffix.lower() == ".npz":
            with partial.open("wb") as file:
                np.savez(file, **arrays)
        elif path.suffix.lower() == ".npy":
            with partial.open("wb") as file:
                np.save(file, feat)
        elif path.suffix.lower() == ".safetensors":
            from safetensors.numpy import save_file

            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, partial)
        else:
            _write_ply(partial, coord, feat)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to; it becomes `path` at the end, or goes if anything fails."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_ply(path: Path, coord: np.ndarray, feat: np.ndarray) -> None:
    feat = feat.astype(np.float32, copy=False)  # PLY has no half precision
    names = [(f"feat_{i}", "<f4") for i in range(feat.shape[1])]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(feat)}"]
    header += [f"property double {axis}" for axis in "xyz"] + [f"property float {name}" for name, _ in names]
    with path.open("wb") as file:
        file.write("\n".join([*header, "end_header\n"]).encode())
        for start in range(0, len(feat), 1 << 14):
            part = slice(start, start + (1 << 14))
            rows = np.empty(len(feat[part]), [("xyz", "<f8", 3), ("feat", "<f4", feat.shape[1])])
            rows["xyz"], rows["feat"] = coord[part], feat[part]
            file.write(rows.tobytes())
