"""The checkpoints of Sonata, Concerto and Utonia: their names and layouts, and which network a checkpoint is of."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import WeightsError, quoted
from ..base import Released, Row
from .config import EncoderConfig

_FIRST = "embedding.stem.linear.weight"
_ORDER = ["z", "z-trans", "hilbert", "hilbert-trans"]
_LAYERS = {
    "cpe.1": "around.linear",
    "cpe.2": "around.norm",
    "norm1.0": "norm",
    "attn.qkv": "qkv",
    "attn.proj": "proj",
    "norm2.0": "mlp_norm",
    "mlp.0.fc1": "mlp_in",
    "mlp.0.fc2": "mlp_out",
}
"""The authors' name of a layer of a block → ours."""


def table(config: EncoderConfig) -> dict[str, Row]:
    """Return the authors' name → (our name, the authors' shape) of every tensor of a network.

    >>> table(EncoderConfig())["enc.enc1.block0.cpe.0.weight"]
    ('stages.1.blocks.0.conv', (96, 3, 3, 3, 96))
    """
    first = config.channels[0]
    rows = _layer("embedding.stem.linear", "stem.linear", (first, config.inputs.channels))
    rows |= _layer("embedding.stem.norm", "stem.norm", (first,))
    for level, width in enumerate(config.channels):
        theirs, ours = f"enc.enc{level}", f"stages.{level}"
        if level:
            rows |= _layer(f"{theirs}.down.proj", f"{ours}.down.linear", (width, config.channels[level - 1]))
            rows |= _layer(f"{theirs}.down.norm.0", f"{ours}.down.norm", (width,))
        hidden = width * config.mlp_ratio
        wide = {"attn.qkv": (3 * width, width), "mlp.0.fc1": (hidden, width), "mlp.0.fc2": (width, hidden)}
        for index in range(config.blocks[level]):
            block, name = f"{theirs}.block{index}", f"{ours}.blocks.{index}"
            rows[f"{block}.cpe.0.weight"] = f"{name}.conv", (width, 3, 3, 3, width)
            rows[f"{block}.cpe.0.bias"] = f"{name}.conv_bias", (width,)
            for layer, our in _LAYERS.items():
                shape = (width,) if our.endswith("norm") else wide.get(layer, (width, width))
                rows |= _layer(f"{block}.{layer}", f"{name}.{our}", shape)
    return rows


def _layer(theirs: str, ours: str, shape: tuple[int, ...]) -> dict[str, Row]:
    return {f"{theirs}.weight": (f"{ours}.weight", shape), f"{theirs}.bias": (f"{ours}.bias", shape[:1])}


def ours(_name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of the authors' as we store it: of a convolution (slot, in, out) with slot = x, y, z."""
    if tensor.dim() == 5:  # (out, kx, ky, kz, in)
        return tensor.permute(1, 2, 3, 4, 0).reshape(-1, tensor.shape[4], tensor.shape[0]).contiguous()
    return tensor


def inferred(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the fields of a configuration that the shapes of the authors' tensors determine."""
    blocks: list[int] = []
    while count := sum(f"enc.enc{len(blocks)}.block{i}.norm1.0.weight" in shapes for i in range(len(shapes))):
        blocks.append(count)
    widths = [shapes[f"enc.enc{level}.block0.norm1.0.weight"][0] for level in range(len(blocks))]
    columns = shapes[_FIRST][1]
    fields: dict[str, Any] = {
        "channels": widths,
        "blocks": blocks,
        "mlp_ratio": shapes["enc.enc0.block0.mlp.0.fc1.weight"][0] // widths[0],
    }
    if columns != 9:  # whoever trained on fewer attributes left out normals first, then colours
        kept = columns // 3
        fields |= {"attributes": PUBLISHED.attributes[:kept], "divisors": PUBLISHED.divisors[:kept]}
    return fields


def told(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that the values of the tensors and the authors' own configuration tell, where there is one.

    That says nothing of voxels and scales: all released networks were trained on indoor voxels of 2 cm, those with
    rotary positions on coordinates that were halved, and on scans without colours and normals, too.

    Raises:
        WeightsError: there is a decoder, or the authors' configuration is of a network that we do not have.
    """
    if any(name.startswith("dec.") for name in tensors):
        raise WeightsError(
            "the checkpoint has a decoder, and msm3d has encoders alone; save the tensors whose names begin with "
            "embedding. and enc. without the others."
        )
    fields: dict[str, Any] = {}
    if (speed := tensors.get("enc.enc0.block0.attn.rope.inv_freq")) is not None:
        halved = (2.0, 255.0, 1.0)[: tensors[_FIRST].shape[1] // 3]
        base = float(speed[1].double()) ** -len(speed) if len(speed) > 1 else 10  # of one frequency, 1, any is right
        fields = {"rope_base": round(base, 3), "divisors": halved, "missing": "zeros"}
    if not config:
        return fields
    _require("order", config, _ORDER)
    _require("stride", config, [2] * len(config.get("stride", ())))
    for name in ("pre_norm", "qkv_bias"):
        _require(name, config, True)
    _require("enable_rpe", config, False)
    patches = config.get("enc_patch_size", ())
    _require("enc_patch_size", config, [*patches[:1]] * len(patches))
    fields |= {"patch": patches[0]} if patches else {}
    fields |= {"heads": config["enc_num_head"]} if "enc_num_head" in config else {}
    return fields | {"voxel_size": PUBLISHED.voxel_size}


def _require(name: str, config: Mapping[str, Any], wanted: Any) -> None:
    """Raise a WeightsError if the authors' configuration has another value than the only one that we have."""
    given = config.get(name, wanted)
    if (list(given) if isinstance(given, list | tuple) else given) != wanted:
        raise WeightsError(
            f"the checkpoint's {name} is {quoted(given)}, and msm3d has only {wanted}; give another checkpoint."
        )


PUBLISHED = EncoderConfig()
"""Sonata's released network."""

RELEASED = Released(
    name="sonata",
    published=PUBLISHED,
    first=_FIRST,
    student="student.backbone.",
    unseen=("heads", "patch", "voxel_size"),
    table=table,
    inferred=inferred,
    ours=ours,
    unused=("embedding.mask_token", ".attn.rope.inv_freq"),
    told=told,
)
