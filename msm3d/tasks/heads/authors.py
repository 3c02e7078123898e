"""The linear heads that authors of encoders give away: fetched at the release's commit, converted once, and kept.

A file holds `state_dict` with `seg_head.weight` (classes, channels) and `seg_head.bias` (classes,), on the levels of a
descriptor side by side, fine to coarse; its `config` says both numbers [Sonata, demo/2_sem_seg.py].
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import weights
from ..._util.words import either, warn
from ...datasets.classes import class_list
from ...errors import WeightsError
from ...model import Model
from ...weights import hub
from ...weights.convert import checkpoint, plain
from ...weights.store import disagreements, listed
from ..fingerprint import Fingerprint
from .about import About
from .base import Classifier
from .linear import LinearProbe
from .saved import CONFIG

FOLDER = "head"  # beside the weights
_WEIGHT, _BIAS = "seg_head.weight", "seg_head.bias"


def names() -> list[str]:
    """Return the releases that have a head of their own.

    >>> names()
    ['concerto-large', 'sonata', 'utonia']
    """
    return sorted(name for name, entry in weights.releases().items() if "head" in entry)


def released(model: Model, *, device: str = "cpu", **options: Any) -> Classifier:
    """Return the head that the authors of a release give away with it, of its classes by name.

    Args:
        model: the release, as `load` returns it: in whatever precision it is, the head is for it.
        device: where the head is to work.
        options: `local_files_only`, `cache_dir` and `token`, as for any client of the Hub.

    Raises:
        WeightsError: there is no such head, it cannot be downloaded, or its file is not what it should be.
    """
    name = str(model.meta.get("name") or "untrained")
    entry = weights.releases().get(name, {})
    if "head" not in entry:
        good = ", ".join(names())
        cure = either("fit one with teach", "fit one with msm3d teach and give it by --head")
        raise WeightsError(f"the weights of {name!r} have no head; {cure}, or choose one of {good}.")
    directory, of = weights.installed(name) / FOLDER, Fingerprint.of(model)
    if not (directory / CONFIG).is_file():
        path = hub.file(entry["repo"], entry["head"]["checkpoint"], entry["revision"], **options)
        warn(f"the head of {name!r} is {entry['licence']}")
        _converted(path, entry, of).save(directory)
    head = LinearProbe.load(directory, device=device)
    head.described_by(of, head.n_features_in_)  # in whatever precision the network is now
    return head


def _converted(path: Path, entry: Mapping[str, Any], of: Fingerprint) -> LinearProbe:
    """Return the head in a file, whose tensors must be exactly those of a linear layer on the descriptors."""
    classes = class_list(entry["head"]["classes"])
    state, _ = plain(checkpoint(path)[0], "", path)
    needed = {_WEIGHT: (len(classes), of.channels), _BIAS: (len(classes),)}
    if complaints := disagreements(needed, {name: tuple(tensor.shape) for name, tensor in state.items()}):
        raise WeightsError(f"{path} is not the head that was expected: {listed(complaints)}; get the authors' file.")
    weight, bias = (state[name].float().contiguous() for name in (_WEIGHT, _BIAS))
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise WeightsError(f"{path} has NaN or infinity; get the authors' file again.")
    head = LinearProbe.of_layer(weight, bias, of=of)
    source = f"{entry['source']}: {entry['head']['checkpoint']}"
    head.about_ = About(names=classes.names, colors=classes.colors, licence=entry["licence"], source=source)
    return head
