"""How much memory there is, and how much a part of the work takes."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, quoted
from .words import either

if TYPE_CHECKING:
    import torch

_LEAST = 10**6  # bytes below which a size has lost its unit: no scan could be computed in them
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def size(amount: int | float | str, name: str = "") -> int:
    """Return a number of bytes; `name` is of the argument that gives it, `max_memory` by default.

    >>> size("4GB"), size("1.5 GiB"), size(10**7)
    (4000000000, 1610612736, 10000000)
    >>> size("plenty")
    Traceback (most recent call last):
    msm3d.errors.InputError: max_memory is 'plenty'; give a number of bytes, or a size such as '4GB' or '512MiB'.
    """
    name, text = name or either("max_memory", "--max-memory"), str(amount).strip().upper().removesuffix("B")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)", text)
    if isinstance(amount, bool) or not match or match[2] not in _UNITS or not float(match[1]):
        raise InputError(f"{name} is {quoted(amount)}; give a number of bytes, or a size such as '4GB' or '512MiB'.")
    found = float(match[1]) * _UNITS[match[2]]
    if isinstance(amount, str) and not match[2] and found < _LEAST:
        raise InputError(f"{name} is {text}, which is {found:,.0f} bytes; did you mean '{match[1]}GB'?")
    return int(found)


def available(device: "torch.device | None" = None) -> int:
    """Return the free memory in bytes: of the GPU, or of the machine or the container."""
    if device is not None and device.type == "cuda":
        import torch

        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps it for later
        return torch.cuda.mem_get_info(device)[0] + unused
    free = [_of_machine()]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # no such file, or "max"
            free.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(min(free), 0)


def budget(amount: int | float | str | None, device: "torch.device") -> int:
    """Return the bytes that work on a device may take: `amount`, see `size`, or half of what is free."""
    return available(device) // 2 if amount is None else size(amount)


def _of_machine() -> int:
    with suppress(OSError, KeyError, ValueError):
        words = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(words["MemAvailable"].split()[0]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return 4 * 10**9
