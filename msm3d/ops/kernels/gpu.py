"""What the backends for GPUs share: whether there is one, and the comparison with `reference` that it has to pass."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..._util.words import warn

if TYPE_CHECKING:
    from .. import Backend

Example = tuple[Callable[..., Tensor], list[Tensor], dict[str, Any], float]
"""What runs on a backend, its leaves, the options of the compared one alone, and the tolerance."""


def on(tensor: Tensor) -> AbstractContextManager:
    """Return a context in which kernels start on the device of `tensor`, whichever GPU is the current one."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def missing(name: str, device: torch.device) -> str | None:
    """Return None if `device` is a GPU and there is one, else a sentence for the user."""
    if device.type != "cuda":
        return f"the {name} backend runs on NVIDIA GPUs, not on {device.type}."
    if not torch.cuda.is_available():
        return f"there is no CUDA device, or torch {torch.__version__} was built without CUDA; see pytorch.org."
    return None


def unusable(who: str, index: int, wrong: Callable[[], str | None], cure: str) -> str | None:
    """Return None if nothing is `wrong` on a GPU, else a sentence for the user, who is warned."""
    name = torch.cuda.get_device_name(index)
    try:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the first call in a process is made under
            what = wrong()
        if what is None:
            return None
        reason = f"{who} computes {what} wrongly on {name}."
    except Exception as e:  # whatever a compiler, a driver or assertions may raise
        reason = f"{who} cannot run on {name}: {type(e).__name__}: {(str(e).splitlines() or [''])[0]}"
    warn(f"{reason} {cure}")
    return reason


def disagreement(ops: "Backend", examples: dict[str, Example], random: torch.Generator) -> str | None:
    """Return the first example whose numbers or gradients by `ops` differ from the reference's."""
    from .. import reference

    for name, (run, leaves, how, tolerance) in examples.items():
        theirs, ours = run(reference), run(ops, **how)
        way = torch.randn(theirs.shape, generator=random).to(theirs.device)
        pairs = [(ours, theirs), *zip(*(torch.autograd.grad(y, leaves, way) for y in (ours, theirs)), strict=True)]
        with torch.no_grad():
            pairs.append((run(ops, **how), theirs))  # without gradients all is done in one pass
        for a, b in ((a.detach(), b.detach()) for a, b in pairs):
            if not (a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max())):
                return name
    return None
