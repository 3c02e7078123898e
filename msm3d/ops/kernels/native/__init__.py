"""The operations in C++ for CPUs, forward and backward: `msm3d/csrc`, called through `library.py`.

Every call takes its number of threads from `torch.get_num_threads()`, releases the interpreter and may run beside
others. The same input gives the same bits, whatever the number of threads. The instruction set is the best that the
processor has and that agrees with the plainest one on a small example; the environment variable MSM3D_ISA, or `isa=`
on each operation, forces one. Products are computed in float32, or from bfloat16 with float32 sums. Dropout draws other
numbers than `reference` does from the same seed.
"""

import functools
import os

import torch

from ...._util.words import warn
from ....errors import BackendError
from ... import library
from . import instructions
from .attention import attend as attend
from .blending import blend as blend
from .entropy import cross_entropy as cross_entropy
from .epilogue import normalize as normalize
from .geometry import corners as corners
from .geometry import group as group
from .geometry import lookup as lookup
from .geometry import octree as octree
from .nearest import nearest as nearest
from .products import conv as conv
from .products import linear as linear

DTYPES = (torch.float32, torch.bfloat16)


def why_not(device: torch.device) -> str | None:
    """Return None if the library is there and `device` is a CPU, else a sentence for the user.

    There is a warning, once, where the library cannot be used: that is the slow path.

    Raises:
        BackendError: MSM3D_ISA names an instruction set that is not there.
    """
    if device.type != "cpu":
        return f"the native backend runs on CPUs, not on {device.type}."
    try:
        library.load()
    except OSError as e:
        return _unusable(
            f"{e}. Plain PyTorch computes instead, and takes two to four times as long; for the library, "
            f"install a C++ compiler and type {library.BUILD}."
        )
    except BackendError as e:
        return _unusable(str(e))
    if os.environ.get("MSM3D_ISA"):
        instructions.chosen(None)
    return None


@functools.cache
def _unusable(reason: str) -> str:
    warn(f"the native backend is not used: {reason}")
    return reason
