"""What the figures of a benchmark belong to, and the network they are taken with."""

import argparse
import ctypes
import json
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor

import msm3d
from msm3d.ops import Backend, Table, library, native
from msm3d.ops.kernels.native import instructions
from msm3d.sparse.hierarchy import Hierarchy

OPERATIONS = ("normalize", "conv", "linear", "attend", "blend")
FOLDER = Path(__file__).resolve().parent


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


def json_option(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark keep what it measures."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="of this machine, such as results/mine.json")


def keep(file: Path | None, figures: list[dict[str, Any]]) -> None:
    """Put the rows of this run into a machine's file of results, where there is one; a run of the same command goes.

    The file is made if it is not there; what `machine` and `processor` say may be put into better words.
    """
    if file is None:
        return
    words = sys.argv[1:]
    if str(file) in words:
        words = [word for i, word in enumerate(words) if word != "--json" and words[max(i - 1, 0)] != "--json"]
    command = " ".join(
        [
            "python",
            f"benchmarks/{Path(sys.argv[0]).resolve().relative_to(FOLDER)}",
            *(w for w in words if w[:7] != "--json="),
        ]
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    run = {"command": command, "date": f"{datetime.now(timezone.utc):%Y-%m-%d}", "commit": commit or "?"}
    rounded = [{k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()} for row in figures]
    run |= {"torch": str(torch.__version__), "threads": torch.get_num_threads(), "figures": rounded}
    data = {"machine": platform.node(), "processor": machine().split(", torch")[0], "runs": []}
    if file.exists():
        data = json.loads(file.read_text(encoding="utf-8"))
    runs = [other for other in data.pop("runs") if other["command"] != command]
    file.write_text(_as_json(data, [*runs, run]), encoding="utf-8")


def _as_json(head: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """Return a file of results with one row of figures a line, so that a change is one line of a diff."""
    parts = []
    for run in runs:
        about = json.dumps({key: value for key, value in run.items() if key != "figures"}, ensure_ascii=False)
        rows = ",\n".join(f"      {json.dumps(row, ensure_ascii=False)}" for row in run["figures"])
        parts.append(f'    {about[:-1]}, "figures": [\n{rows}\n    ]}}')
    start = json.dumps(head, ensure_ascii=False, indent=2)[:-2]
    return f'{start},\n  "runs": [\n' + ",\n".join(parts) + "\n  ]\n}\n"


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
    counting = Counting(native)
    with torch.no_grad():
        unet(features, hierarchy, counting)
    return counting.operations / 1e9


class Counting:
    """A backend that counts; `counting` are the processor seconds that it takes itself."""

    def __init__(self, ops: Backend) -> None:
        self._ops, self.operations, self.counting = ops, 0, 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ops, name)
        return partial(self.done, name) if name in OPERATIONS else found

    def done(self, name: str, *given: Any, **named: Any) -> Any:
        """Run an operation of the backend."""
        return getattr(self._ops, name)(*given, **named)

    def conv(self, x: Tensor, weight: Tensor, table: Table | Tensor, *rest: Any, **named: Any) -> Tensor:
        start = process_time()
        self.operations += 2 * int((Table.of(table).rows >= 0).sum()) * weight.shape[1] * weight.shape[2]
        self.counting += process_time() - start
        return self.done("conv", x, weight, table, *rest, **named)

    def linear(self, x: Tensor, weight: Tensor, *rest: Any, **named: Any) -> Tensor:
        self.operations += 2 * len(x) * weight.numel()
        return self.done("linear", x, weight, *rest, **named)

    def attend(self, qkv: Tensor, offsets: list[int], window: int) -> Tensor:
        start, keys = process_time(), 0
        for size, count in Counter(stop - start for start, stop in pairwise(offsets)).items():
            row = torch.arange(size)
            keys += count * int((row.clamp(max=window) + row.flip(0).clamp(max=window) + 1).sum())
        self.operations += 4 * keys * qkv.shape[2] * qkv.shape[3]
        self.counting += process_time() - start
        return self.done("attend", qkv, offsets, window)
