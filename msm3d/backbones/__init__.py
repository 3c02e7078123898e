"""The networks: each family in a folder of its own, and the table of them.

A family is a package whose `BACKBONE` is a subclass of `base.Backbone`. Others add theirs by `register`, or, so that it
is found in every process, by an entry point of the group `msm3d.backbones` that names the class.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .._util.words import choices
from ..errors import InputError
from .base import Backbone as Backbone
from .base import Cost as Cost
from .base import Inputs as Inputs
from .base import LevelInfo as LevelInfo
from .base import Shape as Shape

FAMILIES: dict[str, str | type[Backbone]] = {"hunet": "msm3d.backbones.hunet"}
"""Architecture to its package, or to its class where it was registered."""
DEFAULT = "hunet"
"""The architecture of files that name none: they are older than the field."""


def register(backbone: type[Backbone]) -> type[Backbone]:
    """Make a family known by the `architecture` of its shapes; usable as a decorator."""
    FAMILIES[backbone.Config.architecture] = backbone
    return backbone


def family(architecture: str) -> type[Backbone]:
    """Return the class of a family.

    >>> family("hunet").__name__
    'UNet'
    >>> family("hunnet")
    Traceback (most recent call last):
    msm3d.errors.InputError: unknown architecture 'hunnet'; did you mean 'hunet'?

    Raises:
        InputError: there is no such family here.
    """
    found = FAMILIES.get(architecture)
    if found is None:
        others = {entry.name: entry for entry in entry_points(group="msm3d.backbones")}
        if architecture not in others:
            raise InputError(f"unknown architecture {architecture!r}; {choices(architecture, [*FAMILIES, *others])}")
        found = register(others[architecture].load())
    return import_module(found).BACKBONE if isinstance(found, str) else found


def build(config: Shape) -> Backbone:
    """Return the network of a shape, its weights drawn from torch's generator."""
    return family(config.architecture)(config)


def shape_of(values: Mapping[str, Any], architecture: str = DEFAULT) -> Shape:
    """Return the shape that the fields of a config.json describe.

    Raises:
        InputError: the architecture or a field is unknown, of the wrong kind or out of range.
    """
    return family(architecture).Config.from_dict(values)
