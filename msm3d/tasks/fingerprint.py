"""What descriptors and results were made with: the network and its levels, a scene, its labels."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from ..backbones import record
from ..errors import InputError, quoted
from ..model import Model
from ..scan.cloud import PointCloud


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What makes descriptors: columns of two arrays mean the same where their fingerprints are equal."""

    name: str = field(compare=False)
    """Of the network, for sentences."""
    weights: str
    """64 hexadecimal digits of its shape and numbers, see `model_hash`."""
    levels: tuple[int, ...]
    """Which levels are side by side, 0 the finest."""
    widths: tuple[int, ...]
    """Columns of each of them."""
    reading: str
    """How levels are read at a point, see `sparse.interpolate.corners`."""

    @classmethod
    def of(
        cls, source: "Model | Fingerprint", levels: int | Sequence[int] | None = None, sampling: str | None = None
    ) -> "Fingerprint":
        """Return the fingerprint of what `model.extract(..., levels=levels, sampling=sampling)` returns.

        It reads every weight of `source`, make it once where many calls need it; a fingerprint stays what it is.

        >>> from msm3d import BackboneConfig
        >>> Fingerprint.of(Model(BackboneConfig()), levels=[0, -1]).widths
        (64, 384)
        """
        if isinstance(source, Fingerprint):
            return source
        source.channels(levels)  # says what is wrong with them
        known = source.feature_info
        infos = known if levels is None else [known[level] for level in np.atleast_1d(levels)]
        return cls(
            name=str(source.meta.get("name") or "untrained"),
            weights=model_hash(source),
            levels=tuple(info.level for info in infos),
            widths=tuple(info.channels for info in infos),
            reading=sampling or source.config.sampling,
        )

    @property
    def channels(self) -> int:
        """Width of a descriptor."""
        return sum(self.widths)

    @property
    def asked(self) -> dict[str, Any]:
        """What `Model.extract` takes to return such descriptors."""
        return {"levels": list(self.levels), "sampling": self.reading}

    def __str__(self) -> str:
        """Name network, levels and reading."""
        levels = ", ".join(map(str, self.levels))
        return f"{self.name} (weights {self.weights[:8]}, levels {levels}, read {self.reading})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return asdict(self) | {"levels": list(self.levels), "widths": list(self.widths)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Fingerprint":
        """Build from `to_dict`'s values, or raise InputError."""
        try:
            fields: dict[str, Any] = {key: str(values[key]) for key in ("name", "weights", "reading")}
            made = cls(**fields, levels=tuple(map(int, values["levels"])), widths=tuple(map(int, values["widths"])))
        except (TypeError, ValueError, KeyError):
            made = None
        if made is None or made.to_dict() != values:
            raise InputError(f"{quoted(values)} does not name descriptors; save the head again.")
        return made


def model_hash(model: Model) -> str:
    """Return 64 hexadecimal digits of a model's shape and weights."""
    return state_hash(record(model.config), model.backbone.state_dict())


def state_hash(values: Any, state: Mapping[str, torch.Tensor]) -> str:
    """Return 64 hexadecimal digits of plain values and of tensors by name."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def scene_hash(cloud: PointCloud) -> str:
    """Return 64 hexadecimal digits of positions and labels: two scenes with the same ones are the same scene.

    >>> cloud = PointCloud.of({"coord": np.zeros((1, 3)), "segment": np.array([4])})
    >>> scene_hash(cloud)[:8]
    '09ba4ca9'
    """
    return _digest(cloud, ("coord", "segment"))


def input_hash(cloud: PointCloud, more: Iterable[str] = ()) -> str:
    """Return 64 hexadecimal digits of all that features and their labels come from, and of `more` fields."""
    return _digest(cloud, tuple(dict.fromkeys(("coord", "color", "normal", "segment", *more))))


def joined_hash(hashes: list[str]) -> str:
    """Return one hash of several, whatever their order."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def _digest(cloud: PointCloud, fields: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in fields:
        values = getattr(cloud, name)
        digest.update(f"{name} {None if values is None else values.shape} ".encode())
        if values is not None:
            values = values.astype(np.int64) if name in ("segment", "instance") else values
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
