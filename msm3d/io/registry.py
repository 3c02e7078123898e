"""The kinds of files: each reader and writer declares what it is for, see `register`, and what lists kinds asks here.

Ours are listed at the end; those of other packages are entry points of the groups `msm3d.readers` and `msm3d.writers`,
or are registered. What our modules declare is read from their sources: help lists the kinds before numpy is there.
"""

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from .._util.plugins import installed, package_of, tell_unusable
from ..errors import InputError, quoted


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a reader or a writer declares; each field is the attribute of that name in capitals."""

    suffixes: tuple[str, ...]
    """Of its files, in lower case, each with its point."""
    title: str
    """The names of its formats, such as "LAS, LAZ"."""
    note: str = ""
    """What else there is to know, in Markdown, for the documentation."""
    extra: str | None = None
    """The extra of msm3d that installs what it needs."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """The packages that it needs beside those of msm3d, and what for."""
    splats: bool = False
    """Of a reader: it may find Gaussian splats, so `min_opacity` makes sense."""
    octree: bool = False
    """Of a reader: it may find an octree of points, so `resolution` makes sense."""
    topics: bool = False
    """Of a reader: its files hold messages under several names, so `topic` makes sense."""
    holds: str = ""
    """Of a writer: what a file holds beside the features, in Markdown."""
    metadata: str = ""
    """Of a writer: where a file holds the metadata, in Markdown."""
    dtypes: tuple[str, ...] = ("float32", "float16")
    """Of a writer: the types that the features may have."""
    keeps: bool = False
    """Of a writer: `create` has an argument `source`, the file of the scan, of which it keeps what else it holds."""
    mapped: bool = False
    """Of a writer: the features are filled in on the disk, so they may be larger than memory."""
    folder: bool = False
    """Its files are folders, such as stores of Zarr."""
    source: str = ""
    """Who brought it: a distribution, or "register"; empty for our own. It is not declared but known."""
    home: Any = None
    """The module or object, or the module's name. It is not declared but known."""

    @property
    def module(self) -> Any:
        """The reader or writer itself, imported when it is first asked for."""
        return import_module(self.home) if isinstance(self.home, str) else self.home


_DECLARED = {one.name.upper(): one.name for one in fields(Kind) if one.name not in ("source", "home")}


class Registry:
    """Kinds of files by their suffixes: ours, those of installed packages, and those that were registered.

    >>> READERS.find("SCAN.LAZ").title, "npz" in READERS.titles().lower(), READERS.find("notes.md")
    ('LAS, LAZ', True, None)
    """

    def __init__(self, what: str, does: str, ours: Sequence[str]) -> None:
        self.what, self.does, self._ours = what, does, ours  # in words; its function; modules below this package
        self._known: list[Kind] = []

    def __iter__(self) -> Iterator[Kind]:
        """Yield the kinds; the installed packages are looked through the first time."""
        if not self._known:
            self._known = [self._kind(f"{__package__}.{name}", "", _constants(name)) for name in self._ours]
            for entry in installed(f"msm3d.{self.what}s"):
                try:
                    kind = self._kind(entry.load(), package_of(entry))
                    taken = [suffix for suffix in kind.suffixes if self.find(f"a{suffix}")]
                    if taken:
                        raise InputError(f"there is a {self.what} of {taken[0]} already")
                    self._known.append(kind)
                except Exception as error:  # anything may happen in others' code; it is said and nothing else suffers
                    tell_unusable(self.what, entry, error)
        return iter(self._known)

    def suffixes(self) -> tuple[str, ...]:
        """Return the suffixes of all kinds."""
        return tuple(dict.fromkeys(suffix for kind in self for suffix in kind.suffixes))

    def titles(self) -> str:
        """Return the names of all formats, for a sentence."""
        return ", ".join(kind.title for kind in self)

    def find(self, path: str | os.PathLike[str]) -> Kind | None:
        """Return the kind of a file by its name: what was registered last wins."""
        suffix = Path(path).suffix.lower()
        return next((kind for kind in reversed(list(self)) if suffix in kind.suffixes), None)

    def register(self, home: Any) -> None:
        """Add a kind for this process; its suffixes are its own from now on, also where they were another's."""
        kind = self._kind(home, "register")
        list(self)  # ours come first
        self._known.append(kind)

    def unregister(self, home: Any) -> None:
        """Take out what was registered; of anything else nothing happens."""
        self._known = [kind for kind in self._known if kind.source != "register" or kind.home is not home]

    def _kind(self, home: Any, source: str, declared: Mapping[str, Any] | None = None) -> Kind:
        declared = declared or {key: getattr(home, key) for key in _DECLARED if hasattr(home, key)}
        suffixes, title = declared.get("SUFFIXES"), declared.get("TITLE")
        listed = suffixes if isinstance(suffixes, (tuple, list)) else ()
        if not listed or not all(isinstance(one, str) and re.fullmatch(r"\.[^\sA-Z./\\]+", one) for one in listed):
            raise InputError(f"SUFFIXES is {quoted(suffixes)}; give lower-case endings with their point: ('.abc',)")
        if not isinstance(title, str) or not title:
            raise InputError(f"TITLE is {quoted(title)}; give the name of the format, such as 'ABC'")
        if not isinstance(home, str) and not callable(getattr(home, self.does, None)):
            raise InputError(f"there is no function {self.does!r}, which every {self.what} has")
        values = {name: declared[key] for key, name in _DECLARED.items() if key in declared}
        return Kind(**{**values, "suffixes": tuple(listed)}, source=source, home=home)


def _constants(name: str) -> dict[str, Any]:
    """Return what one of our modules declares before its first function; without a source, as when frozen, by import.

    >>> _constants("las")["SUFFIXES"]
    ('.las', '.laz')
    """
    file = Path(__file__).parent.joinpath(*name.split(".")).with_suffix(".py")
    if not file.is_file():
        return vars(import_module(f"{__package__}.{name}"))
    source = file.read_text(encoding="utf-8")
    head, *_ = re.split(r"^(?:async def |def |class |@)", source, maxsplit=1, flags=re.MULTILINE)
    lines = [line for line in ast.parse(head).body if isinstance(line, ast.Assign)]
    named = {line.targets[0].id: line.value for line in lines if isinstance(line.targets[0], ast.Name)}
    return {key: ast.literal_eval(named[key]) for key in _DECLARED if key in named}


def register(kind: Any) -> None:
    """Let this process read, or write, files of another kind: `msm3d.read`, `extract` and the command line know it.

    >>> class Points:
    ...     SUFFIXES, TITLE = (".points",), "three numbers a line"
    ...
    ...     @staticmethod
    ...     def content(file, options):
    ...         import numpy as np
    ...
    ...         return {"coord": np.loadtxt(file, ndmin=2)}
    >>> register(Points)
    >>> READERS.find("scan.points").title
    'three numbers a line'
    >>> unregister(Points)

    Args:
        kind: a module or an object that is a reader, a writer, or both. A reader has `content(file, options)`, which
            returns arrays named as in `msm3d.scan.objects.NAMES` from a `pathlib.Path` and
            `msm3d.scan.options.ReadOptions`; beside them `up` and `units` where the format says them, `rows` and
            `total` where it leaves points out. A writer has `create(path, fields, shape, dtype, meta)`, a context
            manager that yields the array of features to fill and leaves a whole file; and may have `features(path)`,
            `metadata(path)` and `coord(path)`, which read it back. Both have `SUFFIXES` and `TITLE`, and may have what
            else `Kind` lists, in capitals.

    Raises:
        InputError: it is neither, or does not declare what is needed.
    """
    found = [registry for registry in (READERS, WRITERS) if callable(getattr(kind, registry.does, None))]
    if not found:
        raise InputError(f"{quoted(kind)} needs content(file, options), as a reader has it, or create(…), as a writer.")
    for registry in found:
        registry.register(kind)


def unregister(kind: Any) -> None:
    """Undo `register`."""
    for registry in (READERS, WRITERS):
        registry.unregister(kind)


_LAYOUTS = [f"layouts.{name}" for name in ("npz", "npy", "safetensors", "ply", "las", "laz", "parquet", "zarr_store")]
READERS = Registry(
    "reader",
    "content",
    ("ply", "pcd", "las", "e57", "ptx", "arrays", "parquet", "zarr_store", "kitti", "bags", "text", "mesh"),
)
"""What scans are read from."""
WRITERS = Registry("writer", "create", _LAYOUTS)
"""What descriptors are written to."""
