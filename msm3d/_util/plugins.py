"""What installed packages add to msm3d, by entry points."""

from typing import Any

from .words import cut, warn


def installed(group: str, **named: str) -> Any:
    """Return the entry points of a group; nothing of the packages is imported, and `importlib.metadata` only here."""
    from importlib.metadata import entry_points

    return entry_points(group=group, **named)  # pyright: ignore[reportCallIssue, reportArgumentType]


def package_of(entry: Any) -> str:
    """Return the name of the package that an entry point is of."""
    return entry.dist.name if entry.dist is not None else entry.value.partition(":")[0]


def tell_unusable(what: str, entry: Any, reason: object) -> None:
    """Warn that `what` an installed package offers cannot be used, and why; nothing else suffers from it."""
    package = package_of(entry)
    warn(
        f"the {what} {cut(entry.name)!r} of the package {package} cannot be used ({cut(reason, 200).rstrip('.')}); "
        f"update the package, or remove it: pip uninstall {package}"
    )
