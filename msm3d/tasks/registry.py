"""Things by name: those that the package has, those that were registered here, and those of installed packages."""

from collections.abc import Iterator
from pkgutil import resolve_name
from typing import Any

from .._util.plugins import installed
from .._util.words import choices
from ..errors import InputError


class Registry:
    """Names to classes, which are imported when they are asked for: listing the names loads nothing.

    >>> heads = Registry("head", "msm3d.heads", {"linear": "msm3d.tasks.heads.linear:LinearProbe"})
    >>> list(heads), heads["linear"].__name__
    (['linear'], 'LinearProbe')
    >>> heads["lineal"]
    Traceback (most recent call last):
    msm3d.errors.InputError: unknown head 'lineal'; did you mean 'linear'?
    """

    def __init__(self, what: str, group: str, known: dict[str, Any]) -> None:
        """Begin with `known`, name to class or to MODULE:NAME; installed packages add theirs by entry points."""
        self.what, self.group, self.known = what, group, known

    def register(self, kind: Any) -> Any:
        """Make a class known by its `name`; usable as a decorator."""
        self.known[kind.name] = kind
        return kind

    def __iter__(self) -> Iterator[str]:
        """Yield every name, the package's own first."""
        yield from dict.fromkeys([*self.known, *(entry.name for entry in installed(self.group))])

    def __getitem__(self, name: str) -> Any:
        """Return the class of a name, or raise InputError where there is none."""
        found = self.known.get(name) or next((entry.load() for entry in installed(self.group, name=name)), None)
        if found is None:
            raise InputError(f"unknown {self.what} {name!r}; {choices(name, list(self))}")
        self.known[name] = resolve_name(found) if isinstance(found, str) else found
        return self.known[name]
