"""The operations in plain PyTorch: any device, no compiler. They define the numbers of every other backend."""

import torch

from .attention import attend as attend
from .blending import blend as blend
from .entropy import cross_entropy as cross_entropy
from .geometry import corners as corners
from .geometry import group as group
from .geometry import lookup as lookup
from .geometry import octree as octree
from .nearest import nearest as nearest
from .products import conv as conv
from .products import linear as linear
from .products import normalize as normalize


def why_not(device: torch.device) -> str | None:
    """Return None: PyTorch runs wherever PyTorch runs."""
    return None
