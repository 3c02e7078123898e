"""Instruction sets: which the processor has, which is the best that computes rightly, and which one is forced."""

import functools
import os
from ctypes import c_int64

import torch

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
    *others, last = [isa for isa in available() if not library.load().msm3d_slow(c_int64(ISAS.index(isa)))]
    while others and (wrong := disagreement(last)):
        warn(f"{last} computes {wrong} wrongly on this processor; msm3d uses {others[-1]} instead. Please report it.")
        last = others.pop()
    return ISAS.index(last)


def disagreement(isa: str) -> str | None:
    """Return the first operation whose numbers differ from the portable set's, in a millisecond or two."""
    from ... import native as ops

    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(40, 48, generator=random), torch.randn(3, 48, 80, generator=random)
    table = torch.randint(-1, 40, (40, 3), generator=random, dtype=torch.int32)
    weights = torch.rand(40, 3, generator=random)
    narrow = x.bfloat16(), weight.bfloat16()
    examples = {
        "convolutions": lambda isa: ops.conv(x, weight, table, activation="gelu", isa=isa),
        "bfloat16 convolutions": lambda isa: ops.conv(*narrow, table, isa=isa).float(),
        "attention": lambda isa: ops.attend(x.view(40, 3, 2, 8), (0, 25, 40), 9, isa=isa),
        "norms": lambda isa: ops.normalize(x, ("layernorm", weight[0, 0, :48], weight[0, 1, :48]), isa=isa),
        "nearest rows": lambda isa: ops.nearest(x, x, 3, [20, 48], [[0, 1], [1]], isa=isa)[1].float(),
        "descriptors": lambda isa: ops.blend([x], [table], [weights], dtype=torch.float16, isa=isa).float(),
    }
    with torch.no_grad():
        for name, run in examples.items():
            if not torch.allclose(run(isa), run("portable"), rtol=1e-2 if "bfloat16" in name else 2e-3, atol=2e-3):
                return name
    return None
