"""The layers through which a network is read, and what of them a set of differences asks for."""

from collections.abc import Sequence

import numpy as np
import torch

from ..model import Model


def with_readout(model: Model, layers: Sequence[np.ndarray]) -> Model:
    """Return a copy of a model that reads each level through a layer of its own, (c, c) float; they replace others.

    Raises:
        InputError: the model's family has no readout.
    """
    state = {name: value for name, value in model.backbone.state_dict().items() if not name.startswith("readout.")}
    state |= {f"readout.{level}.weight": torch.from_numpy(layer).float() for level, layer in enumerate(layers)}
    shape = model.config.with_readout(bool(layers))
    with torch.random.fork_rng(devices=[]):
        copy = Model(shape, backend=model.backend, meta=model.meta)
    copy.backbone.load_state_dict(state)
    copy.backbone.multiply_in(model.backbone.weight.dtype)
    return copy.to(model.device).eval().requires_grad_(False)


def without_readout(model: Model) -> Model:
    """Return a model as it is without such layers; the same one, if it has none."""
    return with_readout(model, []) if model.config.readout else model


def evening(differences: np.ndarray, *, shrink: float, power: float) -> np.ndarray:
    """Return the layer (c, c) that makes differences of such a covariance more alike in all directions.

    >>> layer = evening(np.diag([4.0, 1.0]), shrink=0.0, power=0.5)
    >>> (layer @ np.diag([4.0, 1.0]) @ layer).round(3).tolist()
    [[1.0, 0.0], [0.0, 1.0]]

    Args:
        differences: (c, c) covariance.
        shrink: share of it that is replaced by an even one, 0 to 1; more changes less.
        power: 0 changes nothing but the scale, 0.5 makes them alike.

    Source: within-class covariance normalisation [Hatch et al., Interspeech 2006] where power is 0.5.
    """
    even = np.trace(differences) / len(differences) * np.eye(len(differences))
    values, axes = np.linalg.eigh((1 - shrink) * differences + shrink * even)
    return (axes * np.maximum(values, 1e-12) ** -power) @ axes.T
