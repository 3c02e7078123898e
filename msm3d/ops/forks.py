"""Forked children: OpenMP's threads stay with the parent, and whoever waits for them waits for ever."""

import functools
import os
from collections.abc import Callable

import torch

_ANEW: list[Callable[[], None]] = []


def anew(function: Callable[[], None]) -> None:
    """Call `function` in every forked child from now on."""
    _ANEW.append(function)


@functools.cache
def expected() -> None:
    """Let children that are forked from now on compute with one thread, as those of a DataLoader do.

    Called when the first model asks for its backend: children forked before any work are free to use all threads.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    torch.set_num_threads(1)
    for function in _ANEW:
        function()
