"""What computes: a device by its name, checked before any work is done."""

import re
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .words import choices, cut, either, option

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda", "mps", "xpu")  # what a device's name begins with; the command line knows these without torch


def checked(name: str) -> str:
    """Return the name of a device, or fail if it can name none, whatever this machine has.

    >>> checked("cuda:1")
    'cuda:1'
    >>> checked("gpu")
    Traceback (most recent call last):
    msm3d.errors.InputError: device is 'gpu'; choose one of cpu, cuda, mps, xpu.
    """
    if not re.fullmatch(rf"({'|'.join(KINDS)})(:\d+)?", name):
        raise InputError(f"{either('device', '--device')} is {name!r}; {choices(name.split(':')[0], KINDS)}")
    return name


def device_of(device: Any = None) -> "torch.device":
    """Return the device to compute on, by its name or a number of a GPU; a GPU if there is one, where none is given.

    >>> device_of("cpu")
    device(type='cpu')
    """
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(device, int) and not isinstance(device, bool):
        device = f"cuda:{device}"
    if not isinstance(device, (str, torch.device)):
        raise InputError(f"device is {device!r}; give a name such as 'cpu' or 'cuda:1', or a torch.device.")
    found = torch.device(checked(device) if isinstance(device, str) else device)
    if (reason := _why_not(found)) is not None:
        raise InputError(f"{either('device', '--device')} is {str(found)!r}, but {reason}")
    return found


def _why_not(device: "torch.device") -> str | None:
    """Return None if torch can compute on `device`, or the rest of a sentence."""
    import torch

    out = f"leave {option('device').rstrip('=')} out"
    if device.type == "cuda":
        if not torch.backends.cuda.is_built():
            return f"this torch has no CUDA; {out}, or install one that has: https://pytorch.org/get-started/locally."
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or not count:
            return f"torch finds no GPU here; {out}, or check the driver with nvidia-smi."
        if device.index is not None and device.index >= count:
            there = "is one GPU, cuda:0" if count == 1 else f"are {count} GPUs, cuda:0 to cuda:{count - 1}"
            return f"there {there}; give one that is there, or {out}."
        return None
    try:
        torch.empty(1, device=device)
    except Exception as error:  # each kind of device has errors of its own
        reason = cut((str(error).strip().splitlines() or [type(error).__name__])[0]).rstrip(".")
        return f"this torch cannot compute there ({reason}); {out}."
    return None


def moved(value: Any, device: "torch.device") -> Any:
    """Return `value` with every tensor in it on `device`: in lists, tuples, and the fields of dataclasses.

    What is there already stays the same object, with what it has worked out and kept.

    >>> import torch
    >>> moved([torch.ones(2), "cpu"], torch.device("meta"))
    [tensor(..., device='meta', size=(2,)), 'cpu']
    """
    import torch

    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, (list, tuple)):
        parts = [moved(part, device) for part in value]
        return value if all(a is b for a, b in zip(parts, value, strict=True)) else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        given = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        there = {name: moved(part, device) for name, part in given.items()}
        return value if all(there[name] is part for name, part in given.items()) else replace(value, **there)
    return value
