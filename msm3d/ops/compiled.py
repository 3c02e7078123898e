"""torch.compile leaves our operations as they are: nothing that it could look into is in them."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Returned = TypeVar("Returned")


def uncompiled(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Return `function` as it runs in code that is compiled: uncompiled, like all that it calls.

    `torch.compiler.disable` at once would import the compiler, which takes longer than all else.
    """

    @functools.wraps(function)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> Returned:
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return run
