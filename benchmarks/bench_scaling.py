"""Time and memory per point from 10,000 to 5,000,000 points, on 1 and 2 threads, without tiles.

Each size runs in a process of its own, so that its peak is its own. The last column is what
`Shape.cost` promises to be an upper estimate of.
"""

import argparse
import json
import subprocess
import sys
from time import perf_counter

import torch
from machine import json_option, keep, machine, network, peak, reset_peak
from room import room

import msm3d

SIZES = 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 5_000_000


def one(points: int, threads: int) -> dict[str, float]:
    """Extract one scene of rooms side by side, as dense as the room of half a million points."""
    torch.set_num_threads(threads)
    copies = max(round(points / 527_020), 1)
    scan = msm3d.PointCloud.of(room(points, copies=copies))
    model = network()
    reset_peak()
    before = peak()
    clock = perf_counter()
    out, owner = model.extract(scan, levels=-1, dtype="float16", at="voxels", max_memory="1TB")
    seconds = perf_counter() - clock
    assert len(owner) == points
    return {"points": points, "voxels": len(out), "seconds": seconds, "peak": peak() - before - out.nbytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--most", type=int, default=SIZES[-1])
    json_option(parser)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one)))
        return
    print(machine())
    print("\n| points | voxels | threads | seconds | us per point | peak bytes per voxel |\n|---|---|---|---|---|---|")
    figures = []
    for points in (size for size in SIZES if size <= options.most):
        for threads in (1, 2):
            run = [sys.executable, __file__, "--one", str(points), str(threads)]
            got = json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
            each = got["peak"] / got["voxels"]
            micro = got["seconds"] / points * 1e6
            print(f"| {points:,} | {got['voxels']:,} | {threads} | {got['seconds']:.2f} | {micro:.1f} | {each:,.0f} |")
            figures.append({"points": points, "voxels": got["voxels"], "threads": threads, "seconds": got["seconds"]})
            figures[-1] |= {"us_per_point": micro, "bytes_per_voxel": each}
            if points >= 300_000:  # below that, what any run takes outweighs the voxels
                assert each < msm3d.BackboneConfig().cost.bytes_per_voxel, "bytes_per_voxel is too low"
    keep(options.json, figures)


if __name__ == "__main__":
    main()
