"""Every choice of a pre-training run, with where it comes from; what the paper leaves open says so."""

from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from math import pi
from typing import Any

from ..backbones.hunet.config import BackboneConfig
from ..errors import InputError, require
from ..scan.augment import Augmentation
from ..scan.rescan import Rescan


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """A run of Masked Scene Modeling; the defaults are the paper's, or the plainest choice where it is silent.

    >>> PretrainConfig(mask=0.6).mask
    0.6
    >>> PretrainConfig(masking="random")
    Traceback (most recent call last):
    msm3d.errors.InputError: masking is 'random'; it must be one of bottom-up, top-down, none.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """Shape of the network to train."""

    # --- what the student sees ---
    view: int | None = 240_000
    """Largest number of points of a view, which the teacher sees whole; None for no limit ["crop size", Table 14; of
    what, the paper does not say]."""
    crop: float = 0.6
    """Share of a view's voxels that the student sees, above 0 to 1 [open; MSC's rate]."""
    crop_voxels: int | None = None
    """Largest number of finest voxels in a crop, which limits the cost of a step; None for no limit."""
    apart: float = 1.0
    """Largest distance between the crop centres, in metres: the crops differ and overlap [Figure 4; size open]."""
    mask: float = 0.4
    """Share of the crop's patches that are hidden, 0 to 1 [Table 14]."""
    masking: str = "bottom-up"
    """What is hidden: `bottom-up` hides coarsest cells with all that is in them, so that the masks of all levels agree;
    `top-down` hides finest voxels, which leaves coarse cells half visible; `none` hides nothing [Table 10]."""
    ramp: tuple[float, float] = (0.0, 0.0)
    """The hidden share rises from 0 to `mask` between these two shares of the steps [open; ours: a random teacher has
    little to say about what is hidden]."""
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(lean=pi / 64))
    """How the two views differ [Figure 4 shows mirrors; the rest is MSC's]."""
    rescan: Rescan = field(default_factory=Rescan)
    """How often a scene is changed before its views are made, as if it had been scanned in another way [ours]."""

    # --- what it learns from ---
    levels: str = "all"
    """Which levels have a loss: `all`, or the `finest` alone [Table 10]."""
    cross_view: bool = True
    """Whether the targets are the features of the other view [Figure 4]; with False they are those of the student's own
    view, seen whole."""
    target: str = "layernorm"
    """How the teacher's features become targets [open]: `layernorm` normalises those of each voxel; `centred` before
    that standardises each channel by its running mean and deviation, which removes what all voxels share."""
    predictor: int = 2
    """Hidden width of the student's head, as a multiple of the level's channels [Figure 4; the shape is open]."""
    placeless: bool = False
    """Whether to subtract from the targets of the regression, per view and level, what a polynomial of a voxel's place
    explains of them, quadratic and in height cubic: features then say less about where a point is, and more about what
    it is [ours]."""
    labels: float = 0.0
    """Weight of the loss of a cosine classifier per level on scenes that have labels, added to the objective [ours]; 0
    is the paper's objective, which looks at no label."""
    classes: int = 20
    """Number of classes of the labels; it counts only if `labels` is above 0."""
    instances: float = 0.0
    """Weight of telling apart the objects of scenes that have instances: per level a voxel's projection is compared
    with the mean of each object in the crop [ours; supervised contrast as in arXiv 2004.11362]."""
    visible: float = 0.0
    """Weight of the same loss on visible voxels; the paper has it on hidden voxels alone [ours]."""
    prototypes: int = 0
    """Number of clusters per level to which hidden voxels are assigned, by Sinkhorn's algorithm, in place of the
    regression of features [ours; as in SwAV and DINOv2]; 0 keeps the regression."""
    prototype_weight: float = 0.3
    """Weight of the clusters' loss beside the one on visible voxels."""
    temperatures: tuple[float, float] = (0.1, 0.05)
    """Temperatures of the softmax over clusters: the student's and the teacher's."""

    # --- how long and how fast ---
    steps: int = 180_000
    """Number of batches: 1,800 epochs of 1,201 scenes in batches of 12 [Table 14]."""
    batch: int = 12
    """Number of scenes in a step, over all processes [Table 14]."""
    lr: float = 1.5e-3
    """Largest learning rate [Table 14], after `warmup` of the steps, then a cosine down to 0."""
    warmup: float = 1 / 30
    """Share of the steps in which the learning rate rises [Table 14: 60 of 1,800 epochs]."""
    weight_decay: float = 0.05
    """Weight decay of matrices [Table 14]; scales, biases and tokens have none."""
    clip: float = 3.0
    """Largest norm of the gradient; a larger one is scaled down to it [open; Sonata's]."""
    momentum: tuple[float, float] = (0.996, 1.0)
    """Momentum of the teacher at the first and the last step, along a cosine [Table 14; the curve is open]."""
    precision: str = "fp32"
    """Number format in which weights are multiplied, `fp32` or `bf16`; sums, features and updates are float32."""
    seed: int = 0
    """Random seed."""

    def __post_init__(self) -> None:
        for name in ("ramp", "temperatures", "momentum"):  # JSON has lists where we have tuples
            object.__setattr__(self, name, tuple(getattr(self, name)))
            values = getattr(self, name)
            require(name, values, len(values) == 2 and all(0 <= value <= 1 for value in values), "two within 0 to 1")
        if self.ramp[0] > self.ramp[1]:
            raise InputError(f"ramp is {self.ramp}; give (start, end) with start <= end.")
        for name in ("steps", "batch", "predictor", "classes"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("view", "crop_voxels"):
            require(name, getattr(self, name), getattr(self, name) is None or getattr(self, name) >= 1, "at least 1")
        for name in ("lr", "clip"):
            require(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        for name in (
            "apart",
            "visible",
            "prototypes",
            "prototype_weight",
            "weight_decay",
            "seed",
            "labels",
            "instances",
        ):
            require(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")
        require("crop", self.crop, 0 < self.crop <= 1, "above 0, and at most 1")
        for name in ("mask", "warmup"):
            require(name, getattr(self, name), 0 <= getattr(self, name) < 1, "within 0 to 1, below 1")
        choices = {"masking": ("bottom-up", "top-down", "none"), "target": ("layernorm", "centred")}
        choices |= {"levels": ("all", "finest"), "precision": ("fp32", "bf16")}
        for name, good in choices.items():
            require(name, getattr(self, name), getattr(self, name) in good, "one of " + ", ".join(good))

    def hidden_share(self, step: int) -> float:
        """Return the share of the patches that are hidden at `step`, counted from 0."""
        if self.masking == "none":
            return 0.0
        first, last = (share * self.steps for share in self.ramp)
        return self.mask * (1.0 if step >= last else max(step - first, 0.0) / (last - first))

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return values | {"backbone": self.backbone.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PretrainConfig":
        """Build from `to_dict`'s values; a name that is not a field is an error."""
        made: dict[str, Any] = {"backbone": BackboneConfig.from_dict(values.get("backbone", {}))}
        for name, kind in (("augmentation", Augmentation), ("rescan", Rescan)):
            made[name] = kind(**values.get(name, {}))
        return cls(**values | made)


ROOMS = PretrainConfig(
    # 7.4 M parameters; four levels as in the paper's ablations [Table 13], with widths and voxels for a CPU.
    backbone=BackboneConfig(
        channels=(32, 64, 128, 160),
        decoder_channels=(48, 64, 128, 160),
        conv_blocks=(1, 1, 1, 1),
        attention_blocks=(0, 0, 2, 2),
        heads=(0, 0, 8, 10),
        window=256,
        mlp_ratio=2,
        voxel_size=0.05,
        layer_scale=1.0,  # with the paper's 0.1 a random teacher says little about context
        drop_path=0.0,
        attention_dropout=0.0,
        origin="anchored",
    ),
    view=40_000,
    crop=0.6,
    crop_voxels=6000,
    ramp=(0.2, 0.4),
    target="centred",
    visible=1.0,
    prototypes=256,
    steps=5000,
    batch=1,
    lr=2e-3,
    warmup=0.03,
    momentum=(0.99, 1.0),
    precision="bf16",
    augmentation=Augmentation(
        lean=0.05, brightness=0.3, tint=0.1, shade=25.0, grey=0.2, swap=0.1, no_color=0.1, no_normal=0.1, tremble=0.05
    ),
)
"""For synthetic rooms on a CPU: one scene of two views per step."""

CONFIGS = {"rooms": ROOMS, "scannet": PretrainConfig()}
"""Named configurations: the one of the bundled weights, and the paper's own for ScanNet."""


def named(name: str, changes: list[str] | None = None) -> PretrainConfig:
    """Return a configuration of `CONFIGS` with changes as on the command line.

    >>> named("rooms", ["steps=100", "backbone.window=512", "masking=none", "crop_voxels=none"]).backbone.window
    512

    Args:
        name: one of `CONFIGS`.
        changes: NAME=VALUE of a field; fields of the network are called backbone.NAME, those of the views
            augmentation.NAME, and those of the ways of scanning rescan.NAME; the values of a list have commas between.

    Raises:
        InputError: a name is unknown, or a value cannot be read or is out of range.
    """
    if name not in CONFIGS:
        raise InputError(f"unknown configuration {name!r}; choose one of {', '.join(CONFIGS)}.")
    config = CONFIGS[name]
    nests = ("backbone", "augmentation", "rescan")
    parts = {"": config} | {name: getattr(config, name) for name in nests}
    changed: dict[str, dict[str, Any]] = {part: {} for part in parts}  # together: one may need another
    for change in changes or []:
        path, equals, text = change.partition("=")
        part, _, key = path.rpartition(".")
        names = [f.name for f in fields(parts.get(part, config))]
        if not equals:
            raise InputError(f"{change!r} has no value; give NAME=VALUE, such as mask=0.6.")
        if part not in parts or key not in names:
            near = get_close_matches(key, names, n=1) if part in parts else []
            meant = f"did you mean {path.removesuffix(key) + near[0]!r}? Settings" if near else "settings"
            raise InputError(f"unknown setting {path!r}; {meant}: {', '.join(names)}.")
        changed[part][key] = _parsed(change, text, getattr(parts[part], key))
    nested = {part: replace(parts[part], **changed[part]) for part in nests}
    return replace(config, **nested, **changed[""])


def _parsed(change: str, text: str, like: Any) -> Any:
    """Return the value that `text` stands for, of the kind that the field has now."""
    if text.lower() == "none" and not isinstance(like, str):
        return None
    try:
        if isinstance(like, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(like, tuple):
            return tuple(_parsed(change, part, like[0]) for part in text.split(","))
        return int(text) if like is None else type(like)(text)
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{change!r} cannot be read; give a value such as {like!r}.") from None
