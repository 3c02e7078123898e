"""Sparse convolutions of the room, shape by shape: `python benchmarks/bench_conv.py [--threads 1 2] [--reference]`.

GFLOP/s count the pairs that exist, 2 c d each. Beside them, in the same rounds: what the processor's multiply-adds
reach at most, torch's own product of dense matrices, and spconv on the CPU if it is installed, without a bias, which
its CPU path rejects. Every result is compared with float64; "wrong rows" are spconv's that differ by more than 1e-3,
which happens with two threads: it adds to the same row from both. Every figure is the best of its rounds. On a machine
that others use too, `--threads 1 --cpu-time` counts the seconds on the processor and not those in the queue.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from machine import json_option, keep, machine, most_multiply_adds
from room import room
from torch import Tensor

from msm3d.ops import Table, curves, native, reference
from msm3d.ops.kernels.native import instructions

SHAPES = [(32, 0), (64, 0), (64, 1), (96, 1), (128, 2), (256, 3), (384, 4)]
"""Channels and level of the published network's submanifold convolutions."""


def room_keys(points: int) -> Tensor:
    """Return the ascending keys of the room's 2 cm voxels."""
    coord = room(points)["coord"]
    cells = np.floor((coord - coord.min(0)) / 0.02).astype(np.int64)
    return torch.unique(curves.morton(torch.nn.functional.pad(torch.from_numpy(cells), (1, 0))))


def spconv_layer(cells: Tensor, weight: Tensor, x: Tensor) -> Callable[[], Tensor]:
    """Return spconv's convolution of the same voxels, its index built beforehand."""
    import spconv.pytorch as spconv

    layer = spconv.SubMConv3d(weight.shape[1], weight.shape[2], 3, bias=False, indice_key="cells")
    layer.weight.data = weight.permute(2, 0, 1).reshape(weight.shape[2], 3, 3, 3, weight.shape[1]).contiguous()
    grid = spconv.SparseConvTensor(x, cells, (cells[:, 1:].max(0).values + 1).tolist(), 1)
    layer(grid)  # builds the index
    return lambda: layer(grid).features


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Print the table's rows for the threads of this process, and yield their figures."""
    threads, clock = torch.get_num_threads(), process_time if options.cpu_time else perf_counter
    levels = native.octree(room_keys(options.points), 5)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    torch.manual_seed(0)
    for channels, level in SHAPES:
        keys, _, _, table = levels[level]
        x, weight = torch.randn(len(table), channels), torch.randn(27, channels, channels) * (27 * channels) ** -0.5
        pairs, kept = int((table >= 0).sum()), Table(table)
        work = {
            "native fp32": partial(native.conv, x, weight, kept),
            "native bf16": partial(native.conv, x, weight.bfloat16(), kept),
        }
        if options.reference:
            work["reference"] = partial(reference.conv, x, weight, table)
        if find_spec("spconv"):
            work["spconv"] = spconv_layer(curves.cells(keys, level), weight, x)
        sample = torch.randperm(len(table))[:2000]
        used = table[sample]
        exact = torch.zeros(len(sample), channels, dtype=torch.float64)
        for slot in range(27):
            there = used[:, slot] >= 0
            exact[there] += x[used[there, slot].long()].double() @ weight[slot].double()
        best, dense, peak = dict.fromkeys(work, np.inf), np.inf, 0.0
        wrong = 0
        for _ in range(options.rounds):
            peak = max(peak, most_multiply_adds(clock))
            start = clock()
            _ = a @ b
            dense = min(dense, clock() - start)
            for name, run in work.items():
                start = clock()
                out = run()
                best[name] = min(best[name], clock() - start)
                error = (out[sample] - exact).abs().amax(1)
                if name == "spconv":
                    wrong = max(wrong, int((error > 1e-3).sum()))
                else:
                    assert error.max() < (5e-2 if "bf16" in name else 1e-4), f"{name} is wrong"
        rate = {name: 2 * pairs * channels**2 / seconds / 1e9 for name, seconds in best.items()}
        cells = [f"{rate[name]:.0f} ({best[name] * 1e3:.1f} ms)" if name in rate else "-" for name in COLUMNS]
        share = f"{rate['native fp32'] / peak:.0%}"
        times = f"{rate['native fp32'] / rate['spconv']:.1f}x, {wrong} of 2000" if "spconv" in rate else "-"
        dense_rate = 2 * 2048**3 / dense / 1e9
        row = [f"{channels} @ {len(table):,}", str(threads), f"{peak:.0f}", f"{dense_rate:.0f}", *cells, share, times]
        print("| " + " | ".join(row) + " |", flush=True)
        figures = {"channels": channels, "voxels": len(table), "threads": threads, "multiply_adds": peak}
        figures |= {"torch_mm": dense_rate, "share": rate["native fp32"] / peak}
        for name in work:
            key = name.removesuffix(" fp32").replace(" ", "_")
            figures |= {key: rate[name], f"{key}_ms": best[name] * 1e3}
        if "spconv" in rate:
            figures |= {"over_spconv": rate["native fp32"] / rate["spconv"], "wrong_rows": wrong}
        yield figures


COLUMNS = ("native fp32", "native bf16", "reference", "spconv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--points", type=int, default=527_020)
    parser.add_argument("--reference", action="store_true", help="measure the reference too, which takes a while")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of processor time; for one thread")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    json_option(parser)
    options = parser.parse_args()
    if options.child:
        torch.set_grad_enabled(False)
        options.child.write_text(json.dumps(list(measure(options))))
        return
    print(machine(), f"{instructions.ISAS[instructions.best()]}, room of {options.points:,} points\n", sep=", ")
    head = ["channels @ voxels", "threads", "multiply-adds", "torch.mm", *COLUMNS, "share", "over spconv, wrong rows"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head), flush=True)
    figures = []
    with TemporaryDirectory() as folder:
        for threads in options.threads:  # spconv reads its number of threads once, from the environment
            rows = Path(folder, "rows.json")
            arguments = [sys.executable, __file__, *sys.argv[1:], "--child", str(rows)]
            subprocess.run(arguments, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, check=True)
            figures += json.loads(rows.read_text())
    keep(options.json, figures)


if __name__ == "__main__":
    main()
