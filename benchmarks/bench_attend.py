"""Banded attention of the two coarsest levels of the room: `python benchmarks/bench_attend.py [--threads N]`.

Beside the native backend, in the same rounds: `reference`, torch's scaled_dot_product_attention over blocks of rows
with the keys around them, and, with `--flex`, torch's compiled flex_attention, forward alone, since it has no gradient
on a CPU. Each result is compared with the reference. Every figure is the best of its rounds.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time

import numpy as np
import torch
import torch.nn.functional as F
from machine import json_option, keep, machine
from torch import Tensor

from msm3d.ops import native, reference
from msm3d.ops.kernels.native import instructions

SHAPES = [(5507, 32), (1197, 48)]
"""Rows and heads of eight channels, as in the published network on the room."""
WINDOW = 512


def banded(qkv: Tensor, block: int = 256) -> Tensor:
    """Attend with torch's own kernel, block by block."""
    n = len(qkv)
    q, k, v = (part.transpose(0, 1)[None] for part in qkv.unbind(1))
    rows, out = torch.arange(n), []
    for first in range(0, n, block):
        low, high = max(first - WINDOW, 0), min(first + block + WINDOW, n)
        mask = (rows[first : first + block, None] - rows[low:high]).abs() <= WINDOW
        out.append(
            F.scaled_dot_product_attention(q[:, :, first : first + block], k[:, :, low:high], v[:, :, low:high], mask)
        )
    return torch.cat(out, 2)[0].transpose(0, 1)


def flexible(n: int) -> Callable[[Tensor], Tensor]:
    """Return flex_attention compiled for `n` rows, its mask of blocks built beforehand."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    mask = create_block_mask(lambda b, h, q, k: (q - k).abs() <= WINDOW, None, None, n, n, device="cpu")
    attend = torch.compile(flex_attention, dynamic=False)

    def run(qkv: Tensor) -> Tensor:
        q, k, v = (part.transpose(0, 1)[None].contiguous() for part in qkv.unbind(1))
        return attend(q, k, v, block_mask=mask)[0].transpose(0, 1)

    return run


def with_gradient(run, qkv: Tensor) -> Tensor:
    qkv = qkv.detach().requires_grad_()
    return torch.autograd.grad(run(qkv).square().sum(), qkv)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flex", action="store_true", help="compile and measure flex_attention too")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of processor time; for one thread")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = process_time if options.cpu_time else perf_counter
    print(machine(), instructions.ISAS[instructions.best()], f"window {WINDOW}\n", sep=", ")
    figures = []
    names = ["native", "reference", "torch"] + ["flex"] * options.flex
    print(
        "| rows x heads | pass | "
        + " | ".join(f"{name} (ms)" for name in names)
        + " |\n"
        + "|---" * (2 + len(names))
        + "|"
    )
    for n, heads in SHAPES:
        qkv = torch.randn(n, 3, heads, 8)
        forward = {
            "native": partial(native.attend, offsets=(0, n), window=WINDOW),
            "reference": partial(reference.attend, offsets=(0, n), window=WINDOW),
            "torch": banded,
        }
        if options.flex:
            forward["flex"] = flexible(n)
            start = perf_counter()
            with torch.no_grad():
                forward["flex"](qkv)
            print(f"flex_attention compiled in {perf_counter() - start:.0f} s", file=sys.stderr)
        both = {name: partial(with_gradient, run) for name, run in forward.items() if name != "flex"}
        for passes, work in (("forward", forward), ("forward and backward", both)):
            best = dict.fromkeys(work, np.inf)
            expected = work["reference"](qkv)
            for _ in range(options.rounds):
                for name, run in work.items():
                    start = clock()
                    with torch.set_grad_enabled(work is both):
                        out = run(qkv)
                    best[name] = min(best[name], clock() - start)
                    assert (out - expected).abs().max() < 1e-3, f"{name} is wrong"
            print(
                f"| {n:,} x {heads} | {passes} | "
                + " | ".join(f"{best[name] * 1e3:.0f}" if name in best else "-" for name in names)
                + " |"
            )
            times = {f"{name}_ms": seconds * 1e3 for name, seconds in best.items()}
            figures.append({"rows": n, "heads": heads, "pass": passes, **times})
    keep(options.json, figures)


if __name__ == "__main__":
    main()
