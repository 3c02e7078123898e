"""Names of a package that are imported when they are first used: help and typos need neither numpy nor torch."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazily(package: str, **modules: str) -> Callable[[str], Any]:
    """Return a package's `__getattr__`: it imports the module of a name, or a module of the package by its own name.

    `modules` are places below the package, with `__` for a point, and the names in each, in one text.
    """
    homes = {name: module.replace("__", ".") for module, names in modules.items() for name in names.split()}

    def found(name: str) -> Any:
        if name in homes:
            value = getattr(import_module(f"{package}.{homes[name]}"), name)
            setattr(sys.modules[package], name, value)
            return value
        if not name.startswith("_"):
            try:
                return import_module(f"{package}.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"{package}.{name}":
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return found
