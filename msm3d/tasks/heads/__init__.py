"""Heads: estimators that are fitted on descriptors, in the way of scikit-learn, and saved beside what made these."""

from typing import TYPE_CHECKING, Any

from ..registry import Registry

if TYPE_CHECKING:
    from .base import Classifier as Classifier
    from .base import Head as Head
    from .base import NotFittedError as NotFittedError
    from .linear import LinearProbe as LinearProbe
    from .nearest import KNNProbe as KNNProbe
    from .saved import load as load

HEADS = Registry(
    "head",
    "msm3d.heads",
    {"linear": "msm3d.tasks.heads.linear:LinearProbe", "nearest": "msm3d.tasks.heads.nearest:KNNProbe"},
)
"""Every head's class by its name."""
register = HEADS.register
_HOMES = {
    "Classifier": "base",
    "Head": "base",
    "KNNProbe": "nearest",
    "LinearProbe": "linear",
    "NotFittedError": "base",
    "load": "saved",
}


def __getattr__(name: str) -> Any:
    """Return a public name, whose module is imported when it is first used."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
