"""Instruction sets: which the processor has, which is the best that computes rightly, and which one is forced."""

import functools
import os
from ctypes import c_int64

from ...._util.words import warn
from ....errors import BackendError
from ... import library
from ...library import ISAS


def available() -> list[str]:
    """Return the instruction sets that this processor can run, the best last."""
    return [isa for index, isa in enumerate(ISAS) if library.load().msm3d_has(c_int64(index))]


def chosen(name: str | None) -> int:
    """Return the place in `ISAS` of the one named, of the environment's MSM3D_ISA, or of the best.

    Raises:
        BackendError: there is none of this name, or the processor lacks it.
    """
    given, name = ("", name) if name else ("MSM3D_ISA: ", os.environ.get("MSM3D_ISA"))
    if not name:
        return best()
    if name not in ISAS:
        raise BackendError(f"{given}unknown instruction set {name!r}; choose one of {', '.join(ISAS)}.")
    if name not in available():
        raise BackendError(f"{given}this processor cannot run {name!r}; it can run {', '.join(available())}.")
    return ISAS.index(name)


@functools.cache
def best() -> int:
    """Return the best instruction set that agrees with the portable one; it may be one that we could not try."""
    from . import agreement  # which runs the operations

    *others, last = [isa for isa in available() if not library.load().msm3d_slow(c_int64(ISAS.index(isa)))]
    while others and (wrong := agreement.disagreement(last)):
        warn(f"{last} computes {wrong} wrongly on this processor; msm3d uses {others[-1]} instead. Please report it.")
        last = others.pop()
    return ISAS.index(last)
