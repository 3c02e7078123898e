"""What the figures of a benchmark belong to, and the network they are taken with."""

import ctypes
import platform
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

import msm3d
from msm3d.ops import Backend, Table, library, native
from msm3d.ops.kernels.native import instructions
from msm3d.sparse.hierarchy import Hierarchy


def machine() -> str:
    """Name the processor, the threads and the commit."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    features = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {features}, {torch.get_num_threads()} threads, torch {torch.__version__}, commit {commit or '?'}"


def reset_peak() -> None:
    """Let `peak` begin again at what is in use now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the most bytes of memory that this process has held since `reset_peak`."""
    words = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(words["VmHWM"].split()[0]) * 1024


def network(backend: str | None = None, precision: str = "fp32") -> msm3d.Model:
    """Return the published network with random weights from a fixed seed."""
    torch.manual_seed(0)
    model = msm3d.Model(msm3d.BackboneConfig(sampling="published")).eval()
    with TemporaryDirectory() as folder:
        directory = model.save_pretrained(Path(folder) / "model")
        return msm3d.load(directory, device="cpu", backend=backend, precision=precision)


def most_multiply_adds(clock: Callable[[], float] = perf_counter) -> float:
    """Return the GFLOP/s of multiply-adds on registers alone, over some hundredths of a second."""
    entry = library.load().msm3d_multiply_add
    entry.restype = ctypes.c_double
    start = clock()
    done = entry(
        ctypes.c_int64(instructions.best()), ctypes.c_int64(torch.get_num_threads()), ctypes.c_int64(3_000_000)
    )
    return done / (clock() - start) / 1e9


def network_gflop(unet: torch.nn.Module, features: Tensor, hierarchy: Hierarchy) -> float:
    """Return the 1e9 floating-point operations of a forward pass, a multiply-add counting as two.

    Products of pairs that exist and of attention's rows and keys within its window; what is left out (norms, GELU,
    softmax) counts as time lost.
    """
    counting = _Counting(native)
    with torch.no_grad():
        unet(features, hierarchy, counting)
    return counting.operations / 1e9


class _Counting:
    """A backend that counts."""

    def __init__(self, ops: Backend) -> None:
        self._ops, self.operations = ops, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ops, name)

    def conv(self, x: Tensor, weight: Tensor, table: Table | Tensor, *rest: Any, **named: Any) -> Tensor:
        self.operations += 2 * int((Table.of(table).rows >= 0).sum()) * weight.shape[1] * weight.shape[2]
        return self._ops.conv(x, weight, table, *rest, **named)

    def linear(self, x: Tensor, weight: Tensor, *rest: Any, **named: Any) -> Tensor:
        self.operations += 2 * len(x) * weight.numel()
        return self._ops.linear(x, weight, *rest, **named)

    def attend(self, qkv: Tensor, offsets: list[int], window: int) -> Tensor:
        keys = 0
        for start, stop in pairwise(offsets):
            row = torch.arange(stop - start)
            keys += int((row.clamp(max=window) + row.flip(0).clamp(max=window) + 1).sum())
        self.operations += 4 * keys * qkv.shape[2] * qkv.shape[3]
        return self._ops.attend(qkv, offsets, window)
