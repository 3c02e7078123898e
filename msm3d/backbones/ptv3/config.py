"""The shape of an encoder. Knows no file format."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from ...errors import InputError, require
from ...sparse.inputs import ATTRIBUTES, MISSING
from ...sparse.interpolate import SAMPLINGS
from ..base import Attribute, Cost, Inputs, Regularisation, Shape
from ..fields import is_int, is_number, require_known, typed

HALO = 6
"""Coarsest cells around a tile: 1.9 m with voxels of 2 cm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig(Shape):
    """Shape of the encoder; the defaults are Sonata's, 108.5 M parameters. Every tuple runs fine to coarse.

    >>> EncoderConfig().descriptor_channels
    1232
    >>> EncoderConfig(heads=(3, 6, 12, 24, 30))
    Traceback (most recent call last):
    msm3d.errors.InputError: channels[4] is 512 and heads[4] is 30; give a number of heads that divides the width.
    """

    architecture: ClassVar[str] = "ptv3"
    channels: tuple[int, ...] = (48, 96, 192, 384, 512)
    """Width per level, which is also the level's share of a descriptor."""
    blocks: tuple[int, ...] = (3, 3, 3, 12, 3)
    """Blocks per level."""
    heads: tuple[int, ...] = (3, 6, 12, 24, 32)
    """Attention heads per level."""
    patch: int = 1024
    """How many voxels along a curve attend to each other; see `patches`."""
    mlp_ratio: int = 4
    """Hidden width of the feed-forward, in units of the level's width."""
    rope_base: float = 0.0
    """Base of the rotary positions in attention, 10 in Utonia; 0 for none, as in Sonata and Concerto."""
    voxel_size: float = 0.02
    """Edge of a finest voxel in metres, before any scaling; it doubles with every level."""

    # --- what it reads, and how it is read ---
    attributes: tuple[str, ...] = ATTRIBUTES
    """What a voxel's point gives, in this order."""
    divisors: tuple[float, ...] = (1.0, 255.0, 1.0)
    """What each attribute is divided by: coordinates by 2 in Utonia, whose authors halve indoor scenes."""
    missing: str = "estimated"
    """What stands for colours and normals that a scan lacks, see `Inputs`; Concerto and Utonia know `zeros`."""
    sampling: str = "parent"
    """How levels are read at a point: the `parent`'s row as the authors do it, or `centered`."""

    # --- recommended to whoever trains it, see `regularisation`; no part of the shape, but in every file ---
    drop_path: float = 0.3
    """Largest stochastic depth in training [all released configurations]."""

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, typed(field.name, getattr(self, field.name), field.type))
        for names, kind, good in _RANGES:
            for name in names.split():
                require(name, getattr(self, name), good(getattr(self, name)), kind)
        for name, good in (("missing", MISSING), ("sampling", SAMPLINGS)):
            require(name, getattr(self, name), getattr(self, name) in good, "one of " + ", ".join(good))
        for name, other in (("channels", "blocks"), ("channels", "heads"), ("attributes", "divisors")):
            if (n := len(getattr(self, name))) != (m := len(getattr(self, other))):
                raise InputError(f"{name} has {n} entries but {other} has {m}; give as many.")
        self._check_heads()
        for field in fields(self):
            if field.type is float:  # last: a wrong value is said as it was given
                object.__setattr__(self, field.name, float(getattr(self, field.name)))
        object.__setattr__(self, "divisors", tuple(map(float, self.divisors)))

    def _check_heads(self) -> None:
        for level, (width, heads) in enumerate(zip(self.channels, self.heads, strict=True)):
            if width % heads:
                raise InputError(
                    f"channels[{level}] is {width} and heads[{level}] is {heads}; "
                    "give a number of heads that divides the width."
                )
            if self.rope_base and width // heads % 6:
                raise InputError(
                    f"channels[{level}] / heads[{level}] is {width // heads}; "
                    "with rotary positions a head needs a multiple of 6 channels, pairs along three axes."
                )
        if self.rope_base and self.attributes[0] != "coord":
            raise InputError(f"attributes begins with {self.attributes[0]}; rotary positions need coord there.")

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each level in a descriptor."""
        return self.channels

    @property
    def last(self) -> int:
        """The coarsest level, where an encoder ends."""
        return len(self.channels) - 1

    @property
    def inputs(self) -> Inputs:
        """The attributes of the point nearest to the centre of a voxel."""
        attributes = tuple(map(Attribute, self.attributes, self.divisors))
        return Inputs(attributes=attributes, voxel_size=self.voxel_size, missing=self.missing)

    @property
    def regularisation(self) -> Regularisation:
        """What the fields recommend; curves are shuffled in training, as the authors do."""
        return Regularisation(drop_path=self.drop_path)

    @property
    def cost(self) -> Cost:
        """The bytes are those measured on a room of 40,000 voxels, rounded up.

        >>> round(EncoderConfig().cost.reach, 2)
        3.92
        """
        cells = sum((blocks + 1) * 2**level for level, blocks in enumerate(self.blocks))
        return Cost(bytes_per_voxel=2000 + 50 * self.channels[0], reach=cells * self.voxel_size, halo=HALO)

    def least(self) -> list[tuple[int, str, str]]:
        """Return how many tensors or values its weights have at least."""
        return [
            (len(self.channels), "levels", "tensors"),
            (sum(self.blocks), "blocks", "tensors"),
            (max(self.channels) * self.mlp_ratio, "channels", "values"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EncoderConfig":
        """Build from `to_dict`'s values; a name that is not a field is an error, never dropped.

        Raises:
            InputError: a field is unknown, of the wrong kind, out of range, or does not go with the others.
        """
        require_known(values, [field.name for field in fields(cls)])
        return cls(**values)


def _positive(value: object) -> bool:
    return is_number(value) and value > 0  # pyright: ignore[reportOperatorIssue]


_RANGES = (
    (
        "channels blocks heads",
        "positive integers",
        lambda values: len(values) > 0 and all(is_int(v, 1) for v in values),
    ),
    ("patch mlp_ratio", "a positive integer", lambda value: is_int(value, 1)),
    ("voxel_size", "a positive number", _positive),
    ("divisors", "positive numbers", lambda values: all(map(_positive, values))),
    ("rope_base", "0 or a number above 1", lambda value: is_number(value) and (value == 0 or value > 1)),
    ("drop_path", "a number in [0, 1)", lambda value: is_number(value) and 0 <= value < 1),
    ("attributes", "some of " + ", ".join(ATTRIBUTES) + ", each once", lambda values: _some(values)),
)
"""Fields → what they must be, and whether a value is that."""


def _some(values: tuple[object, ...]) -> bool:
    return 0 < len(values) == len({*values}) and all(value in ATTRIBUTES for value in values)
