"""Files to point clouds, and what is said where that fails.

No file is ever unpickled, and a size that a header declares is compared with the file before memory is taken.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.stages import stage
from .._util.words import cut, option
from ..errors import DependencyError, FileError, InputError
from ..scan.cloud import PointCloud
from ..scan.objects import parts
from ..scan.options import ReadOptions
from . import bags, ept, frames
from .recordings import layout
from .registry import READERS, Kind

SHARED = ("invalid", "spacing", "bounds")  # what `PointCloud.of` and `ReadOptions` call the same
# What a format says beside arrays: `taken` is a sentence, `own` whether nobody else has the arrays.
_SAID = ("units", "up", "rows", "total", "taken", "own")
_ONLY = (  # options of some kinds of files, what such a kind declares, and why others do not know them
    ("min_opacity", "splats", "has no opacity"),
    ("resolution", "octree", "is not an octree of points (COPC, EPT)"),
    ("topic", "topics", "is not a ROS bag"),
)
FOLDER = ("coord", "color", "normal")  # arrays of a folder in Pointcept's layout, of which the first must be there
_SPLATS = "export it as PLY in the program that trained the splats, or convert it with SuperSplat"
_ADVICE = {  # what files are that msm3d does not read, and what to do with each
    ".spz": ("a compressed Gaussian splat (SPZ)", _SPLATS),
    ".splat": ("a Gaussian splat (SPLAT)", _SPLATS),
    ".ksplat": ("a compressed Gaussian splat (KSPLAT)", _SPLATS),
    ".gz": ("compressed with gzip", "unpack it first: gunzip {}"),
    ".zip": ("a ZIP archive", "unpack it first: unzip {}"),
    **{
        suffix: (f"of the kind {suffix[1:].upper()}", "export it as GLB, OBJ or PLY")
        for suffix in (".fbx", ".dae", ".3ds", ".blend", ".usd", ".usdz", ".ifc", ".rvt", ".skp", ".x3d", ".wrl")
    },
    **{
        suffix: (f"a project of a scanner's program ({suffix[1:].upper()})", "export it there as PLY, PTS or LAZ")
        for suffix in (".rcp", ".rcs", ".fls", ".zfs", ".lgs")
    },
}


def read(
    path: str | os.PathLike[str],
    *,
    up: str | None = None,
    units: str | None = None,
    invalid: str = "drop",
    mesh: str | None = None,
    min_opacity: float | None = None,
    spacing: float = 0.02,
    bounds: Any = None,
    resolution: float | None = None,
    topic: str | None = None,
) -> PointCloud:
    r"""Read a scan. Row i of the cloud is point i of the file, less the points without a position.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "scan.xyz")
    ...     size = file.write_text("0 0 0 255 0 0\n1 2 3 0 255 0\n")
    ...     read(file).color.tolist()
    [[255.0, 0.0, 0.0], [0.0, 255.0, 0.0]]

    Args:
        path: a file of one of `msm3d.io.KINDS`, or a folder of RGB-D frames as `msm3d.io.read_frames` takes it, with
            voxels of 1 cm. Of a mesh the vertices are read, or its surface; of an NPY an
            (n, 3 | 6 | 9) array; of an NPZ or a scene saved with torch the arrays of `msm3d.scan.objects.NAMES`.
        up: the axis of the file that points up: "z", "y" or "-y"; what the format says, or else z, by default.
        units: of the file's coordinates: "m", "cm", "mm", "ft" or "in"; what the format says, or else m, by default.
        invalid: of points without a position, which are left out: "drop" warns, "nan" has `extract` give them NaN.
        mesh: of a file with faces, "vertices" or "surface"; by default the vertices where they are dense enough.
        min_opacity: of 3D Gaussian splats, leave out those that are less opaque, within 0 to 1.
        spacing: metres between the points of a sampled surface.
        bounds: two corners (2, 3), metres and z up, the lower one first: points outside are left out. Of an octree
            (COPC, EPT) only the nodes that reach into these are read.
        resolution: metres; of an octree, read only the levels down to the one whose points are so far apart.
        topic: of a ROS bag, which messages PointCloud2 to read; it may be left out where there is one only.

    Returns:
        The cloud in metres with z up. Its `rows` say which points of the file it holds, where some were left out: those
        without a position, and what `bounds`, `resolution` and `min_opacity` say.

    Raises:
        FileError: the file is missing, empty, truncated or of an unknown kind, or its content cannot be used.
        DependencyError: a package that this kind needs is not installed.

    Warns:
        Msm3dWarning: as `PointCloud.of`.
    """
    given: dict[str, Any] = {"up": up, "units": units, "invalid": invalid, "mesh": mesh, "min_opacity": min_opacity}
    how = ReadOptions(**given, spacing=spacing, bounds=bounds, resolution=resolution, topic=topic)
    return as_cloud(Path(path), options=how)


def as_cloud(points: Any, *, color: Any = None, normal: Any = None, options: ReadOptions | None = None) -> PointCloud:
    """Return the cloud of whatever `PointCloud.of` takes, or of the file at a path as `read` does; raises as both.

    `color` and `normal` (n, 3), in the file's own axes, replace what there is.

    >>> len(as_cloud({"coord": [[0, 0, 0], [1, 2, 3]]}))
    2
    """
    options = options or ReadOptions()
    given: dict[str, Any] = {"color": color, "normal": normal}
    given |= {name: getattr(options, name) for name in SHARED}
    if not isinstance(points, (str, os.PathLike)):
        return PointCloud.of(points, **given, units=options.units or "m", up=options.up or "z")
    file = Path(points)
    stage("reading")
    return converted(file, opened(file, options), options, given)


def converted(file: Path, fields: Mapping[str, Any], options: ReadOptions, given: Mapping[str, Any]) -> PointCloud:
    """Return the cloud of what `opened` found in a file; `given` are arguments of `PointCloud.of`. Raises as `read`."""
    units, up, rows, total = (fields.get(name) for name in _SAID[:4])
    how = ReadOptions(
        units=options.units or units, up=options.up or up, **{name: given[name] for name in SHARED if name in given}
    )
    try:
        arrays = parts({name: value for name, value in fields.items() if name not in _SAID})
        arrays |= {name: given[name] for name in ("color", "normal") if given.get(name) is not None}
        cloud = PointCloud._converted(arrays, how, own=fields.get("own", False))
    except InputError as error:
        raise FileError(f"{file}: {error}") from error
    if rows is None:
        return cloud
    rows = rows if cloud.rows is None else rows[cloud.rows]
    return replace(cloud, rows=rows, total=total if options.invalid == "nan" else None)


def check(path: str | os.PathLike[str]) -> Path:
    """Return the path of a scan; FileError, before any work is done, where no file of a kind that is read is there."""
    file = Path(path)
    with named(file):
        kind_of(file)
    return file


def read_folder(
    folder: str | os.PathLike[str], options: ReadOptions | None = None, *, more: Sequence[str] = ()
) -> PointCloud:
    """Return the scan in a folder of Pointcept's layout: an NPY file for each of `FOLDER` and of `more` that is there.

    Raises:
        FileError: there is no coord.npy, or an array cannot be used.
    """
    stage("reading")
    folder = Path(folder)
    names = [name for name in (*FOLDER, *more) if (folder / f"{name}.npy").is_file()]
    try:
        return as_cloud({n: np.load(folder / f"{n}.npy", allow_pickle=False) for n in names}, options=options)
    except (InputError, ValueError, OSError, EOFError) as error:
        raise FileError(f"{folder}: cannot be used ({str(error).rstrip('.')}); make the scene again.") from error


def opened(file: Path, options: ReadOptions) -> dict[str, Any]:
    """Return the arrays in `file` and what its format says; whatever goes wrong is a FileError that names it."""
    with named(file):
        reader = kind_of(file)
        for name, known, why in _ONLY:
            if getattr(options, name) is not None and not getattr(reader, known):
                raise FileError(f"{why}; leave {option(name)} out.")
        with needing(reader, "reading"):
            return dict(reader.module.content(file, options))


@contextmanager
def needing(kind: Kind, doing: str) -> Iterator[None]:
    """Say which package of a kind of file is missing, and what to type."""
    try:
        yield
    except DependencyError:
        raise
    except ImportError as error:
        needed, package = error.name, f"msm3d[{kind.extra}]" if kind.extra else error.name
        raise DependencyError(f'{doing} {kind.title} needs {needed}; type: pip install "{package}".') from error


def kind_of(file: Path) -> Kind:
    """Return the kind of a file, or of a folder of RGB-D frames; raises where it is of none."""
    reader = READERS.find(file)
    if file.is_dir() and layout(file) is not None:
        return frames.KIND
    if file.is_dir() and bags.is_bag(file):
        return bags.KIND
    if ept.is_ept(file):
        return ept.KIND
    if file.is_dir() and reader is not None and reader.folder:
        return reader
    if file.is_dir():
        raise FileError(f"is a directory; give one file: {', '.join(READERS.suffixes())}.")
    known = _ADVICE.get(file.suffix.lower())
    if reader is None and known:
        raise FileError(f"is {known[0]}; {known[1].format(file.name)}.")
    if reader is None:
        raise FileError(f"is of a kind that msm3d does not read; give one of {', '.join(READERS.suffixes())}.")
    if file.stat().st_size == 0:
        raise FileError("is empty (0 bytes); export it again.")
    if reader.folder:
        raise FileError("is a file, where a folder is needed; export it again.")
    return reader


@contextmanager
def named(file: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a file into a FileError that names it."""
    try:
        yield
    except InputError as error:
        raise FileError(f"{file}: {error}") from error
    except (DependencyError, Warning):  # a warning, where users make errors of them
        raise
    except FileNotFoundError as error:
        raise FileError(f"{file}: does not exist; check the path.") from error
    except OSError as error:
        raise FileError(f"{file}: cannot be read ({error.strerror or error}); check it and its permissions.") from error
    except Exception as error:  # files are hostile, and so are the ways in which they fail
        kind = file.suffix[1:].upper()
        reason = cut(error).rstrip(".") or type(error).__name__
        raise FileError(f"{file}: is not a readable {kind} file ({reason}); export it again.") from error
