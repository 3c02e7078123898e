"""The shape of the network. Knows no file format."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

from ...errors import InputError, require
from ...sparse.inputs import ORIGINS
from ...sparse.interpolate import SAMPLINGS
from ..base import Cost, Inputs, Regularisation, Shape
from ..fields import is_int, is_number, require_known, typed

NORMS = ("rmsnorm", "layernorm")
MLPS = ("geglu", "gelu")
HALO = 6
"""Coarsest cells around a tile: 1.9 m with the published network."""
CURVES = ("xyz-z", "yxz-z", "xyz-hilbert", "yxz-hilbert")


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneConfig(Shape):
    """Shape of the U-Net; the defaults are the published 67.6 M network. Every tuple runs fine to coarse.

    >>> BackboneConfig().descriptor_channels
    928
    >>> BackboneConfig(heads=(0, 8, 8))
    Traceback (most recent call last):
    msm3d.errors.InputError: channels has 5 levels but heads has 3; give one entry per level.
    """

    architecture: ClassVar[str] = "hunet"
    channels: tuple[int, ...] = (32, 64, 128, 256, 384)
    """Encoder width per level [paper, Table 12]."""
    decoder_channels: tuple[int, ...] = (64, 96, 128, 256, 384)
    """Decoder width per level, which is also the level's share of a descriptor [Table 12]."""
    conv_blocks: tuple[int, ...] = (2, 2, 2, 2, 2)
    """Residual convolution blocks per level, in the encoder and again in the decoder [Table 12]."""
    attention_blocks: tuple[int, ...] = (0, 0, 0, 2, 2)
    """Attention blocks per level, in the encoder and again in the decoder [Table 12]."""
    heads: tuple[int, ...] = (0, 0, 0, 32, 48)
    """Attention heads per level; read only where there are attention blocks [Table 12]."""
    window: int = 1024
    """A voxel attends to the `window // 2` voxels before it on the curve and as many after [Table 12]."""
    curves: tuple[str, ...] = CURVES
    """Block i of a stage attends along curve i, cyclically [Table 12]; evaluation never shuffles them."""
    in_channels: int = 6
    """Colour in [-1, 1] and unit normal; the coordinates are not a feature."""
    voxel_size: float = 0.02
    """Edge of a finest voxel in metres [Table 12]; it doubles with every level."""
    norm: str = "rmsnorm"
    """`rmsnorm` [Table 12] or `layernorm`."""
    mlp: str = "geglu"
    """Feed-forward of an attention block: `geglu` [Table 12] or `gelu`."""
    mlp_ratio: int = 4
    """Hidden width of the feed-forward, in units of the level's width [Table 12]."""
    bias: bool = False
    """Biases inside the blocks; stem, down, up and skip layers always have one [Table 12]."""

    readout: bool = False
    """Whether a linear layer follows each level of the decoder [ours]; files older than this field have none."""

    # --- recommended to whoever trains it, see `regularisation`; no part of the shape, but in every file ---
    layer_scale: float = 0.1
    """Initial weight of each residual branch [released code]."""
    drop_path: float = 0.2
    """Largest stochastic depth in training [released code; Table 12 says 0.4]."""
    attention_dropout: float = 0.1
    """Dropout on attention weights in training [Table 12]."""

    # --- how it is read, and what it reads ---
    sampling: str = "centered"
    """How levels are read at a point: `centered`, `published` as the authors' code does it, or the `parent`'s row."""
    origin: str = "published"
    """Where a scene's cells begin, see `voxels.voxelize`: where the authors' code lets them, which one stray point
    changes, or `anchored`, which it does not. Files older than this field are `published`."""

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, typed(field.name, getattr(self, field.name), field.type))
        n = len(self.channels)
        if n == 0:
            raise InputError("channels is empty; give one width per level, fine to coarse.")
        for name in ("decoder_channels", "conv_blocks", "attention_blocks", "heads"):
            if (m := len(getattr(self, name))) != n:
                raise InputError(f"channels has {n} levels but {name} has {m}; give one entry per level.")
        for names, kind, good in _RANGES:
            for name in names.split():
                value = getattr(self, name)
                require(name, value, good(value), kind)
        for name in ("bias", "readout"):
            require(name, getattr(self, name), isinstance(getattr(self, name), bool), "true or false")
        for name, good in (("norm", NORMS), ("mlp", MLPS), ("sampling", SAMPLINGS), ("origin", ORIGINS)):
            require(name, getattr(self, name), getattr(self, name) in good, "one of " + ", ".join(good))
        known = bool(self.curves) and all(curve in CURVES for curve in self.curves)
        require("curves", self.curves, known, "some of " + ", ".join(CURVES))
        if self.channels[-1] != self.decoder_channels[-1]:
            raise InputError(
                f"the coarsest width is {self.channels[-1]} in channels and {self.decoder_channels[-1]} in "
                "decoder_channels; the decoder starts where the encoder ends, so give the same."
            )
        for level, heads in enumerate(self.heads):
            for name in ("channels", "decoder_channels"):
                width = getattr(self, name)[level]
                if self.attention_blocks[level] and (heads == 0 or width % heads):
                    raise InputError(
                        f"{name}[{level}] is {width} and heads[{level}] is {heads}; "
                        "a level with attention needs a number of heads that divides its width."
                    )
        for field in fields(self):
            if field.type is float:  # last: a wrong value is said as it was given
                object.__setattr__(self, field.name, float(getattr(self, field.name)))

    def with_readout(self, readout: bool) -> "BackboneConfig":
        """Return the shape with layers through which the levels are read, or without."""
        return replace(self, readout=readout)

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each level in a descriptor: the decoder's."""
        return self.decoder_channels

    @property
    def inputs(self) -> Inputs:
        """Colour and normal of the point nearest to the centre of a voxel."""
        return Inputs(voxel_size=self.voxel_size, origin=self.origin)

    @property
    def regularisation(self) -> Regularisation:
        """What the fields recommend; curves are shuffled in training [released code]."""
        return Regularisation(
            drop_path=self.drop_path, attention_dropout=self.attention_dropout, layer_scale=self.layer_scale
        )

    @property
    def cost(self) -> Cost:
        """Measured by `benchmarks/bench_scaling.py`; the bytes are an upper estimate.

        >>> round(BackboneConfig().cost.reach, 2)
        6.2
        """
        cells = sum((4 * blocks + 2) * 2**level for level, blocks in enumerate(self.conv_blocks))
        widest = max(self.channels[0], self.decoder_channels[0])
        return Cost(bytes_per_voxel=1800 + 24 * widest, reach=cells * self.voxel_size, halo=HALO)

    def least(self) -> list[tuple[int, str, str]]:
        """Return how many tensors or values its weights have at least."""
        widest = max(*self.channels, *self.decoder_channels)
        hidden = self.mlp_ratio * widest if any(self.attention_blocks) else 0
        return [
            (self.levels, "levels", "tensors"),
            (sum(self.conv_blocks) + sum(self.attention_blocks), "blocks", "tensors"),
            (max(widest, hidden, self.in_channels), "channels", "values"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON: those of a network without a readout as before there was one."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return values if self.readout else {name: value for name, value in values.items() if name != "readout"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BackboneConfig":
        """Build from `to_dict`'s values; a name that is not a field is an error, never dropped.

        >>> BackboneConfig.from_dict({"chanels": [32]})
        Traceback (most recent call last):
        msm3d.errors.InputError: unknown configuration field 'chanels'; did you mean 'channels'?

        Raises:
            InputError: a field is unknown, of the wrong kind, out of range, or does not go with the others.
        """
        require_known(values, [field.name for field in fields(cls)])
        return cls(**values)


_RANGES = (
    ("channels decoder_channels", "positive integers", lambda values: all(is_int(v, 1) for v in values)),
    ("conv_blocks attention_blocks heads", "integers >= 0", lambda values: all(is_int(v, 0) for v in values)),
    ("in_channels mlp_ratio window", "a positive integer", lambda value: is_int(value, 1)),
    ("voxel_size layer_scale", "a positive number", lambda value: is_number(value) and value > 0),
    ("drop_path attention_dropout", "a number in [0, 1)", lambda value: is_number(value) and 0 <= value < 1),
)
"""Fields → what they must be, and whether a value is that."""
