"""The networks: each family in a folder of its own, and the table of them.

A family is a package whose `BACKBONE` is a subclass of `base.Backbone`. Others add theirs by `register`, or, so that it
is found in every process, by an entry point of the group `msm3d.backbones` that names the class.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .._util.plugins import installed
from .._util.words import choices, cut, quoted
from ..errors import InputError
from .base import Attribute as Attribute
from .base import Backbone as Backbone
from .base import Cost as Cost
from .base import Inputs as Inputs
from .base import LevelInfo as LevelInfo
from .base import Maskable as Maskable
from .base import Regularisation as Regularisation
from .base import Released as Released
from .base import Shape as Shape

FAMILIES: dict[str, str | type[Backbone]] = {"hunet": "msm3d.backbones.hunet", "ptv3": "msm3d.backbones.ptv3"}
"""Architecture to its package, or to its class where it was registered."""
DEFAULT = "hunet"  # the architecture of files that name none: they are older than the field
GROUP = "msm3d.backbones"  # the entry points of packages that add a family: its architecture and its class


def register(backbone: type[Backbone]) -> type[Backbone]:
    """Make a family known by the `architecture` of its shapes; usable as a decorator.

    Raises:
        InputError: msm3d itself has a family of this name.
    """
    name = backbone.Config.architecture
    if isinstance(FAMILIES.get(name), str):
        raise InputError(f"{name!r} is a family of msm3d itself; give yours another architecture.")
    FAMILIES[name] = backbone
    return backbone


def families() -> list[str]:
    """Return the architectures that can be built here, those of installed packages last.

    >>> families()[0]
    'hunet'
    """
    return list(dict.fromkeys([*FAMILIES, *(entry.name for entry in installed(GROUP))]))


def family(architecture: str) -> type[Backbone]:
    """Return the class of a family.

    >>> family("hunet").__name__
    'UNet'
    >>> family("hunnet")
    Traceback (most recent call last):
    msm3d.errors.InputError: unknown architecture 'hunnet'; did you mean 'hunet'?

    Raises:
        InputError: there is no such family here, or its package cannot be imported.
    """
    if architecture not in FAMILIES:
        for entry in installed(GROUP, name=architecture):
            try:
                if register(entry.load()).Config.architecture != entry.name:
                    raise InputError("its class has another architecture")
            except Exception as error:  # a stranger's package may raise anything
                raise InputError(
                    f"the package that adds the architecture {quoted(entry.name)} fails ({cut(error)}); reinstall it."
                ) from error
    found = FAMILIES.get(architecture)
    if found is None:
        hint = choices(architecture, families())
        if not hint.endswith("?"):
            hint = f"run pip install -U msm3d, or install the package that adds it; here are {', '.join(families())}."
        raise InputError(f"unknown architecture {quoted(architecture)}; {hint}")
    return import_module(found).BACKBONE if isinstance(found, str) else found


def build(config: Shape, regularisation: Regularisation | None = None) -> Backbone:
    """Return the network of a shape, its weights drawn from torch's generator; see `Backbone`."""
    return family(config.architecture)(config, regularisation)


def record(config: Shape) -> dict[str, Any]:
    """Return the fields of a shape for `shape_of`, with its `architecture`; that of the default family is left out.

    So what is computed from the record, such as a hash, is as it was before there was a second family.

    >>> from .hunet import BackboneConfig
    >>> shape_of(record(BackboneConfig(window=8))).window
    8
    """
    named = {} if config.architecture == DEFAULT else {"architecture": config.architecture}
    return named | config.to_dict()


def shape_of(values: Mapping[str, Any]) -> Any:
    """Return the shape that a record describes: the fields, and `architecture` where it is not the default one.

    Raises:
        InputError: the architecture or a field is unknown, of the wrong kind or out of range.
    """
    fields = dict(values)
    return family(fields.pop("architecture", DEFAULT)).Config.from_dict(fields)
