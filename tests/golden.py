"""Weights as a function of their name and shape, so that a test can make any checkpoint of the authors' layout."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[2] / "shared"

CONFIGS = {
    "official": None,
    "tiny_rms_glu": {"heads": [0, 0, 0, 6, 8], "window": 64, "voxel_size": 0.04},
    "tiny_layernorm_gelu": {"heads": [0, 0, 0, 6, 8], "window": 64, "voxel_size": 0.04},
}
"""Golden network → what `convert` needs to be told of it."""


def golden_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return the authors' tensor names and shapes of a golden network."""
    shapes = json.loads((DATA / f"{name}.shapes.json").read_text())
    return {key: tuple(shape) for key, shape in shapes.items()}


def golden_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the weight that the golden rule gives to the authors' `name` (without the prefix)."""
    x = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    if name.endswith("gamma"):
        x = 0.5 + 0.1 * x
    elif len(shape) == 1:
        x = 0.1 * x if name.endswith(("bias", "offset")) else 1 + 0.1 * x
    else:
        slots = {3: 3, 2: 8}[shape[1]] if len(shape) == 5 else 1
        x = x / math.sqrt(math.prod(shape[1:]) / slots)
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def golden_state(name: str, prefix: str = "") -> dict[str, Tensor]:
    """Return every weight of a golden network in the authors' naming."""
    return {prefix + key: golden_tensor(key, shape) for key, shape in golden_shapes(name).items()}


def golden_checkpoint(path: Path, name: str, prefix: str = "module.student.") -> Path:
    """Save a golden network as the authors save theirs."""
    torch.save({"epoch": 1, "state_dict": golden_state(name, prefix)}, path)
    return path
