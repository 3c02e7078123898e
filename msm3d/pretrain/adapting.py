"""A network adapted to somebody's own scans, without labels: what another look at a place changes counts less."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from .._util.stages import hidden
from .._util.words import count as count_of
from .._util.words import warn
from ..datasets import Scan
from ..errors import InputError, Msm3dError, require
from ..model import Model
from ..scan.augment import Augmentation, around, augmented
from ..scan.cloud import PointCloud
from ..scan.normals import completed, estimated
from ..training.readout import evening, with_readout, without_readout

PIECE, PIECES = 200_000, 24  # points that are looked at together, and how many times so many at most
LEAST = 1000  # points that a piece needs
JUDGED = 6  # pieces by which a model is judged
ROWS = 5000  # points of a piece that are compared
HELD = 0.1  # share of a scan, at one end, that nothing is learned from
LOOKS, WHOLE = 8, 4  # at a piece, the first of them at all of it
NEAR = 0.25  # metres within which a place is found again
CLUSTERS = 20
MARGIN = 0.01  # by which more places are to be found again: less may be chance
ADAPTED = ", adapted"  # at the end of a model's name
PLAIN = Augmentation(scale=0, jitter=0, brightness=0, tint=0, shade=0, noise=0)  # turned and mirrored, no more


@dataclass(frozen=True)
class Figures:
    """What a model is worth on the parts of scans that nothing was learned from; shares from 0 to 1."""

    found: float
    """Points whose most similar point, in another look at the scan, is within 25 cm of them."""
    stays: float
    """Points that are in the same of 20 clusters in another look."""
    height: float
    """Share of the features' variance, each level of length 1, that height above the floor explains; less is better."""


class Adapted(NamedTuple):
    """What came of adapting a model."""

    model: Model
    """The adapted one, or the given one where that is better on what was held out."""
    gained: bool
    """Whether it is the adapted one: a hundredth more of the places are found again, and no fewer points stay in their
    cluster."""
    before: Figures
    after: Figures
    scans: int
    """How many scans were looked at."""


def adapt(
    model: Model,
    scans: Sequence[Scan],
    *,
    shrink: float = 0.03,
    power: float = 0.25,
    seed: int = 0,
    progress: bool | None = False,
) -> Adapted:
    """Return a model that is adapted to scans without labels, if that is better on what is held out of them.

    Each piece of a scan is looked at several times: turned, mirrored, cut to a part, thinned, without colour, with
    normals estimated anew. What differs between two looks at a point says nothing about it. A linear layer after each
    level, fitted in closed form, makes such differences more alike in all directions; what stays then weighs more. The
    network itself is not changed. A tenth of each scan, at one end, is held out, by which the model before and after is
    judged. What cannot be read, or has fewer than 1,000 points, is left out, with a warning if there are other scans.

    >>> import msm3d
    >>> from msm3d.datasets import Scene
    >>> from msm3d.rooms import make
    >>> mine = adapt(msm3d.load(), [Scene("room", lambda: make(1, points=8000))])
    >>> mine.after.found > mine.before.found
    True

    Args:
        model: a sparse U-Net; layers of an earlier adaptation are replaced.
        scans: each with a `name`, and a `read` that returns its cloud; of more than 24 some, evenly spaced.
        shrink: share of the differences' covariance that is taken as even, 0 to 1; more changes less.
        power: 0.5 makes the differences alike in all directions, less changes less.
        seed: of what the looks are.
        progress: show a bar; None shows it in a terminal only.

    Raises:
        InputError: the model's family has no layers to be read through, an argument is out of range, or no scan has
            points enough.
    """
    for name, value in (("shrink", shrink), ("power", power)):
        require(name, value, isinstance(value, (int, float)) and 0 <= value <= 1, "a number within 0 to 1")
    require("seed", seed, type(seed) is int and 0 <= seed < 1 << 63, "a whole number from 0 on")
    model.config.with_readout(True)  # which says so of a family that cannot
    bare = without_readout(model)
    looked_at, pieces = _pieces(scans, seed)
    covariances, count = [np.zeros((width, width)) for width in bare.config.widths], 0
    ends = [piece for piece in pieces if piece.held.any()]
    if not ends:
        raise InputError(f"there is no scan of {LEAST:,} points or more to adapt to; give larger ones.")
    for piece in tqdm(pieces, "looks at scans", disable=hidden(progress), delay=1, leave=False):
        looks = [features[~piece.held] for features in piece.looks(bare)]
        for a, b in _pairs(len(looks)):
            apart = looks[a] - looks[b]
            apart = apart[np.isfinite(apart[:, 0])].astype(np.float64)
            count += 2 * len(apart)
            for info, covariance in zip(bare.feature_info, covariances, strict=True):
                covariance += apart[:, info.slice].T @ apart[:, info.slice]
    layers = [evening(covariance / count, shrink=shrink, power=power) for covariance in covariances]
    changed = with_readout(bare, layers)
    some = [ends[i] for i in np.unique(np.linspace(0, len(ends) - 1, JUDGED).astype(int))]
    before, after = judged(model, some), judged(changed, some)
    gained = after.found >= before.found + MARGIN and after.stays >= before.stays
    found = {"scans": looked_at, "before": asdict(before), "after": asdict(after)}
    name = f"{str(model.meta.get('name') or 'untrained').removesuffix(ADAPTED)}{ADAPTED}"
    source = f"{model.meta.get('source') or 'unknown'}; adapted to {count_of(looked_at, 'scan')} without labels"
    kept = {name: value for name, value in model.meta.items() if name not in ("scores", "scores_source", "sha256")}
    changed.meta = kept | {"name": name, "source": source, "adapted": found}
    return Adapted(changed if gained else model, gained, before, after, looked_at)


def judged(model: Model, pieces: "Sequence[Piece]") -> Figures:
    """Return what a model is worth on what is held out of some pieces: the mean over pairs of looks, and pieces."""
    from ..visualize.height import Height
    from ..visualize.kinds import Kinds

    found, stays, height = list[float](), list[float](), list[float]()
    levels = [info.slice for info in model.feature_info]
    for piece in pieces:
        looks, coord = list(piece.looks(model)), piece.cloud.coord[piece.rows]
        height.append(Height.fit([_unit(looks[0], levels)], [coord]).share)
        kinds = Kinds.fit([looks[0]], min(CLUSTERS, len(coord)), levels=levels)
        for a, b in _pairs(len(looks)):
            there = np.isfinite(looks[a][:, 0]) & np.isfinite(looks[b][:, 0])
            asked = np.flatnonzero(there & piece.held)
            if not len(asked):
                continue
            near = _unit(looks[a][asked], levels) @ _unit(looks[b][there], levels).T
            away = np.linalg.norm(coord[there][near.argmax(1)] - coord[asked], axis=1)
            found.append(float((away <= NEAR).mean()))
            stays.append(float((kinds(looks[a][asked]) == kinds(looks[b][asked])).mean()))
    return Figures(*(float(np.mean(values)) if values else 0.0 for values in (found, stays, height)))


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a scan, the points of it that are compared, and which of these nothing is learned from."""

    cloud: PointCloud
    rows: np.ndarray  # (k,) of the cloud
    held: np.ndarray  # (k,) booleans
    seed: tuple[int, int]

    @classmethod
    def of(cls, cloud: PointCloud, held: np.ndarray, seed: tuple[int, int]) -> "Piece":
        """Return a piece of a cloud with colour and normal, of which the points `held` (n,) are held out."""
        rows = np.random.default_rng(seed).permutation(len(cloud))[:ROWS]
        return cls(cloud, rows, held[rows], seed)

    def looks(self, model: Model) -> Iterator[np.ndarray]:
        """Yield the features (k, c) float32 of each look at the piece, NaN where a point is not in it: always the same
        looks."""
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence(self.seed).generate_state(1)[0]))
        for look in range(LOOKS):
            place, cloud = np.arange(len(self.cloud)), self.cloud
            if look >= WHOLE:
                place = self._part(generator)
                cloud = cloud.take(place)
                if look % 2:
                    cloud = replace(cloud, normal=estimated(cloud.coord, viewpoint=cloud.viewpoint))
            strength = replace(PLAIN, no_color=0.3 if look >= WHOLE else 0.0)
            values, owner = model.extract(augmented(cloud, generator, strength), at="voxels")
            where = np.full(len(self.cloud), -1)
            where[place] = owner
            features = np.full((len(self.rows), values.shape[1]), np.nan, np.float32)
            there = where[self.rows] >= 0
            features[there] = values[where[self.rows[there]]]
            yield features

    def _part(self, generator: torch.Generator) -> np.ndarray:
        """Return rows: six tenths of the points around a random one, of which a quarter to all are kept."""
        middle, share = torch.rand(2, generator=generator).tolist()
        centre = self.cloud.coord[int(middle * len(self.cloud)), :2]
        away = np.square(self.cloud.coord[:, :2] - centre).sum(1)
        kept = torch.rand(len(away), generator=generator).numpy() < 0.25**share
        return np.flatnonzero((away <= np.quantile(away, 0.6)) & kept)


def _pieces(scans: Sequence[Scan], seed: int) -> tuple[int, list[Piece]]:
    """Return how many scans there are points enough of, and pieces of them, of large ones several; of very many scans
    some are looked at. The first piece of a scan has what is held out of it."""
    chosen = np.unique(np.linspace(0, len(scans) - 1, min(len(scans), PIECES)).astype(int))
    looked_at, pieces = 0, list[Piece]()
    for number, i in enumerate(chosen):
        try:
            cloud = replace(completed(scans[i].read()), total=None)  # points without a position get no rows
            if len(cloud) < LEAST:
                raise InputError(f"it has {count_of(len(cloud), 'point')}, and {LEAST:,} are needed; give larger ones.")
        except Msm3dError as error:
            if len(chosen) == 1:
                raise
            warn(f"{scans[i].name} is left out: {error}")
            continue
        looked_at += 1
        along = cloud.coord[:, int(np.ptp(cloud.coord[:, :2], axis=0).argmax())]
        held, chance = along > np.quantile(along, 1 - HELD), np.random.default_rng((seed, number))
        for part in range(min(ceil(len(cloud) / PIECE), PIECES // len(chosen))):
            middle = chance.choice(np.flatnonzero(held)) if part == 0 and held.any() else chance.integers(len(cloud))
            near = around(cloud, int(middle), PIECE)
            pieces.append(Piece.of(cloud.take(near), held[near], (seed, number * PIECES + part)))
    return looked_at, pieces


def _pairs(looks: int) -> list[tuple[int, int]]:
    """Return which looks are compared: each with the next, and each whole one with a part.

    >>> _pairs(8)
    [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (0, 4), (1, 5), (2, 6), (3, 7)]
    """
    return [(i, i + 1) for i in range(looks - 1)] + [(i, i + WHOLE) for i in range(looks - WHOLE)]


def _unit(features: np.ndarray, levels: Sequence[slice]) -> np.ndarray:
    """Return features of which each level has length 1."""
    from ..visualize.colors import unit

    return np.concatenate([unit(features[:, level]) for level in levels], 1)
