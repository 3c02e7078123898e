"""The layers through which a trained network is read: what varies within an object counts less in its descriptors."""

from collections.abc import Sequence

import numpy as np
import torch

from ..backbones import Shape
from ..datasets import Scan
from ..errors import InputError
from ..model import Model
from ..scan.normals import completed


def fit_readout(model: Model, scenes: Sequence[Scan], *, shrink: float = 0.1, rows: int = 500) -> Model:
    """Return a copy of a model that reads each level through a linear layer, fitted to the objects of some scenes.

    Points of one object differ by where they lie on it, how they were scanned and what is near. The layer of a level is
    the inverse square root of the covariance of such differences, which makes them alike in all directions: what tells
    objects apart then weighs more in distances and in heads with few labels. It is within-class covariance
    normalisation [Hatch et al., Interspeech 2006], with objects for classes. It can be undone, so nothing is lost.

    >>> import msm3d
    >>> from msm3d.datasets import Scene
    >>> from msm3d.rooms import make
    >>> rooms = [Scene(f"room {seed}", lambda seed=seed: make(seed, points=3000)) for seed in (1, 2)]
    >>> fitted = fit_readout(msm3d.load("rooms"), rooms)
    >>> fitted.config.readout, fitted.extract(make(3, points=500)).shape
    (True, (500, 400))

    Args:
        model: a sparse U-Net; a readout that it has already is replaced.
        scenes: scans with `instance`, and what else the model needs.
        shrink: share of the covariance that is replaced by an even one, 0 to 1; more changes less.
        rows: voxels drawn of each scene.

    Raises:
        InputError: the model's family has no readout, or no scene has objects.
    """
    shape = model.config.with_readout(True)
    bare, rng = without_readout(model), np.random.default_rng(0)
    sums, count = [np.zeros((width, width)) for width in model.config.widths], 0
    for scene in scenes:
        cloud = completed(scene.read())
        if cloud.instance is None or not len(cloud):
            continue
        values, owner = bare.extract(cloud, at="voxels")
        point = np.empty(len(values), np.int64)
        point[owner] = np.arange(len(owner))  # a point of each voxel
        chosen = rng.permutation(len(values))[:rows]
        objects = cloud.instance[point[chosen]]
        chosen, objects = chosen[objects >= 0], objects[objects >= 0]
        if not len(chosen):
            continue
        kinds, which, number = np.unique(objects, return_inverse=True, return_counts=True)
        for info in bare.feature_info:
            x = values[chosen, info.slice].astype(np.float64)
            middle = np.zeros((len(kinds), x.shape[1]))
            np.add.at(middle, which, x)
            apart = x - (middle / number[:, None])[which]
            sums[info.level] += apart.T @ apart
        count += len(chosen) - len(kinds)
    if count <= 0:
        raise InputError("no scene has objects with several voxels; give scans with instances, such as rooms:40.")
    state = dict(bare.backbone.state_dict())
    for level, total in enumerate(sums):
        even = np.trace(total) / len(total) * np.eye(len(total))
        values, axes = np.linalg.eigh(((1 - shrink) * total + shrink * even) / count)
        layer = (axes * np.maximum(values, 1e-12) ** -0.5) @ axes.T
        state[f"readout.{level}.weight"] = torch.from_numpy(layer).float()
    return _with(model, shape, state)


def without_readout(model: Model) -> Model:
    """Return a model as it was before `fit_readout`; the same one, if it has no readout."""
    if not model.config.readout:
        return model
    state = {name: value for name, value in model.backbone.state_dict().items() if not name.startswith("readout.")}
    return _with(model, model.config.with_readout(False), state)


def _with(model: Model, shape: Shape, state: dict[str, torch.Tensor]) -> Model:
    """Return a model of another shape and with other weights, and else the same."""
    with torch.random.fork_rng(devices=[]):
        copy = Model(shape, backend=model.backend, meta=model.meta)
    copy.backbone.load_state_dict(state)
    return copy.to(model.device).eval().requires_grad_(False)
