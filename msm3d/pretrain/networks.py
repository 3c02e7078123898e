"""The networks of the objective: a backbone that reads masked scenes, and the heads that only the student has."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones import DEFAULT, Maskable, Shape, build
from ..errors import InputError
from ..ops import Backend
from .views import Masked


def maskable(config: Shape) -> Maskable:
    """Return a new network whose encoder and decoder may be given different voxels; other families are refused."""
    network = build(config)
    if not isinstance(network, Maskable):
        raise InputError(
            f"a network of the family {config.architecture!r} cannot be pre-trained by Masked Scene Modeling, which "
            f"needs an encoder and a decoder; give a configuration of {DEFAULT!r}, or make the family a Maskable."
        )
    return network


class MaskedBackbone(nn.Module):
    """The network, and per level a token that stands in what the decoder is given where a voxel is hidden.

    What the paper draws as one [Masked] token is one per level here: the decoder needs one of each width. The network
    is called `unet` in every checkpoint, whatever its family.
    """

    def __init__(self, config: Shape) -> None:
        super().__init__()
        self.unet = maskable(config)
        self.tokens = nn.ParameterList(torch.randn(channels) * 0.02 for channels in self.unet.skip_widths)

    def forward(self, x: Tensor, masked: Masked, ops: Backend, generator: torch.Generator) -> list[Tensor]:
        """Return per level the decoder's features (m_l, c_l) of the whole crop; `x` (m, c) is of visible voxels."""
        encoded = self.unet.encode(x, masked.visible, ops, generator)
        skips = [
            token.expand(len(grid), -1).index_copy(0, seen, visible)
            for token, grid, seen, visible in zip(self.tokens, masked.crop.grids, masked.seen, encoded, strict=True)
        ]
        return self.unet.decode(skips, masked.crop, ops, generator)


def heads(widths: Sequence[int], hidden: int, out: Sequence[int]) -> nn.ModuleList:
    """Return one small network per level: linear, norm, GELU, linear."""
    return nn.ModuleList(
        nn.Sequential(nn.Linear(c, hidden * c), nn.LayerNorm(hidden * c), nn.GELU(), nn.Linear(hidden * c, d))
        for c, d in zip(widths, out, strict=True)
    )


class Clusters(nn.Module):
    """Prototypes per level, and the projections that are compared with them."""

    WIDTH = 64

    def __init__(self, widths: Sequence[int], prototypes: int) -> None:
        super().__init__()
        self.heads = heads(widths, 2, [self.WIDTH] * len(widths))
        self.prototypes = nn.ParameterList(F.normalize(torch.randn(prototypes, self.WIDTH), dim=1) for _ in widths)

    def scores(self, level: int, projected: Tensor) -> Tensor:
        """Return the cosine (m, prototypes) of projections (m, WIDTH) with each prototype."""
        return F.normalize(projected, dim=1) @ F.normalize(self.prototypes[level], dim=1).T


class Classifiers(nn.ParameterList):
    """One direction per class and level: features of a class are to point that way."""

    SHARPNESS = 12.0  # what cosines are multiplied with before the softmax

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__(torch.randn(classes, width) * width**-0.5 for width in widths)

    def scores(self, level: int, features: Tensor, mix: Tensor) -> Tensor:
        """Return the scaled cosine (m, classes) of features (m, c) with each class, whatever their own `mix` is."""
        return self.SHARPNESS * F.normalize(features, dim=1) @ F.normalize(self[level], dim=1).T


class Objects(nn.Module):
    """Per level, a projection in which the voxels of an object lie together, apart from those of others."""

    WIDTH = 32
    SHARPNESS = 10.0  # as of `Classifiers`

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.heads = heads(widths, 1, [self.WIDTH] * len(widths))

    def scores(self, level: int, features: Tensor, mix: Tensor) -> Tensor:
        """Return the scaled cosine (m, k) of features (m, c) with the mean of each object, of which they hold `mix`."""
        projected = F.normalize(self.heads[level](features), dim=1)
        return self.SHARPNESS * projected @ F.normalize(mix.T @ projected, dim=1).T


class Student(nn.Module):
    """All that is trained: the backbone, a predictor, and what else the configuration asks for."""

    def __init__(self, config: Shape, predictor: int, prototypes: int, classes: int = 0, objects: bool = False) -> None:
        super().__init__()
        self.backbone = MaskedBackbone(config)
        self.predictor = heads(config.widths, predictor, config.widths)
        self.clusters = Clusters(config.widths, prototypes) if prototypes else None
        self.classifiers = Classifiers(config.widths, classes) if classes else None
        self.objects = Objects(config.widths) if objects else None


class Teacher(nn.Module):
    """A slow average of the student's backbone, without tokens and predictor: it sees whole views."""

    def __init__(self, student: Student, config: Shape, prototypes: int) -> None:
        super().__init__()
        self.unet = maskable(config)
        self.clusters = Clusters(config.widths, prototypes) if prototypes else None
        self.follow(student, 0.0)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def follow(self, student: Student, momentum: float) -> None:
        """Move every weight to momentum * own + (1 - momentum) * student's."""
        pairs = [(self.unet, student.backbone.unet)]
        if self.clusters is not None and student.clusters is not None:
            pairs.append((self.clusters, student.clusters))
        for mine, its in pairs:
            torch._foreach_lerp_(list(mine.parameters()), list(its.parameters()), 1 - momentum)
