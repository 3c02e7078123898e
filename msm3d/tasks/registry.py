"""Things by name: those that the package has, those that were registered here, and those of installed packages."""

from collections.abc import Iterator
from importlib import import_module
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

    Args:
        what: what a thing is called in a sentence.
        group: of the entry points by which installed packages add theirs.
        known: name to class, or to where it is, as MODULE:NAME.
    """

    def __init__(self, what: str, group: str, known: dict[str, Any]) -> None:
        self.what, self.group, self.known = what, group, known

    def register(self, kind: Any) -> Any:
        """Make a class known by its `name`; usable as a decorator."""
        self.known[kind.name] = kind
        return kind

    def __iter__(self) -> Iterator[str]:
        """Yield every name, the package's own first."""
        yield from dict.fromkeys([*self.known, *self._installed()])

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a thing."""
        return name in self.known or name in self._installed()

    def __getitem__(self, name: str) -> Any:
        """Return the class of a name.

        Raises:
            InputError: there is no such thing here.
        """
        found = self.known.get(name)
        if found is None:
            others = self._installed()
            if name not in others:
                raise InputError(f"unknown {self.what} {name!r}; {choices(name, list(self))}")
            found = self.known[name] = others[name].load()
        if isinstance(found, str):
            module, _, attribute = found.partition(":")
            found = self.known[name] = getattr(import_module(module), attribute)
        return found

    def _installed(self) -> dict[str, Any]:
        return {entry.name: entry for entry in installed(self.group)}
