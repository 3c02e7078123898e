"""Geometry of the room: `python benchmarks/bench_geometry.py [--threads N]`.

Grouping points by cell, five levels with all their tables, and lookup, natively and in the reference, which must agree
exactly. Every figure is the best of its rounds.
"""

import argparse
from functools import partial
from time import perf_counter, process_time

import numpy as np
import torch
from machine import json_option, keep, machine
from room import room

from msm3d.ops import curves, native, reference


def flat(value) -> list[torch.Tensor]:
    """Return the tensors of a result, one after another."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for part in value if part is not None for tensor in flat(part)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--points", type=int, default=527_020)
    parser.add_argument("--cpu-time", action="store_true", help="seconds of processor time; for one thread")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = process_time if options.cpu_time else perf_counter

    grid = torch.from_numpy((room(options.points)["coord"] + 1) / 0.02)
    cells = grid.floor()
    keys = curves.morton(torch.nn.functional.pad(cells.long() - cells.long().amin(0), (1, 0)))
    columns = [(grid - cells - 0.5).square().sum(1), *grid.unbind(1)]
    unique = torch.unique(keys)
    queries = unique[:, None] + torch.arange(8)
    counts = [len(level[0]) for level in native.octree(unique, 5)]
    print(machine(), f"{len(keys):,} points, voxels {counts}\n", sep=", ")
    print("| | native (ms) | reference (ms) |\n|---|---|---|")
    figures = []
    for name, call in {
        "group points by cell": lambda ops: ops.group(keys, columns),
        "five levels with their tables": lambda ops: ops.octree(unique, 5),
        "look up eight keys per voxel": lambda ops: ops.lookup(unique, queries),
    }.items():
        best = dict.fromkeys(("native", "reference"), np.inf)
        results = {}
        for _ in range(options.rounds):
            for ops in (native, reference):
                run = partial(call, ops)
                start = clock()
                results[ops.NAME] = run()
                best[ops.NAME] = min(best[ops.NAME], clock() - start)
        for ours, theirs in zip(flat(results["native"]), flat(results["reference"]), strict=True):
            assert torch.equal(ours, theirs), f"{name}: the backends differ"
        print(f"| {name} | {best['native'] * 1e3:.1f} | {best['reference'] * 1e3:.1f} |")
        figures.append({"what": name, **{f"{kind}_ms": seconds * 1e3 for kind, seconds in best.items()}})
    keep(options.json, figures)


if __name__ == "__main__":
    main()
