"""A building of 50 million points, end to end in bounded memory: `python benchmarks/bench_building.py -o FOLDER`.

Rooms stand side by side, and points come room by room, as from a scanner. The descriptors of the coarsest level are
written to a memory-mapped .npy as they come. `--points` makes it smaller, `--model rooms` takes the bundled weights
instead of the published network.
"""

import argparse
import resource
from pathlib import Path
from time import perf_counter

import numpy as np
from machine import json_option, keep, machine, network
from room import room

import msm3d
from msm3d.io import results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--points", type=int, default=50_000_000)
    parser.add_argument("--max-memory", default="6GB")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--model", help="name of weights; by default the published network with random ones")
    json_option(parser)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    print(machine())
    precision = options.precision
    model = msm3d.load(options.model, precision=precision) if options.model else network(precision=precision)
    print(model)
    clock = perf_counter()
    scan = msm3d.PointCloud.of(room(options.points, copies=max(round(options.points / 527_020), 1)))
    print(f"{len(scan):,} points over {np.ptp(scan.coord, axis=0).round(1)} m, made in {perf_counter() - clock:.0f} s")

    kept = {"levels": -1, "dtype": "float16", "max_memory": options.max_memory, "progress": True}
    path, clock = options.output / "building.npy", perf_counter()
    with results.writing(path, scan, model.channels(-1), "float16") as feat:
        model.extract(scan, out=feat, **kept)
    seconds = perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    feat = np.load(path, mmap_mode="r")
    assert feat.shape == (options.points, model.channels(-1))
    assert all(np.isfinite(feat[i : i + 100_000]).all() for i in range(0, len(feat), 5_000_000))
    size = path.stat().st_size / 1e9
    print(
        f"{seconds:.0f} s, {options.points / seconds:,.0f} points/s, {size:.1f} GB written, process peak {peak:.1f} GB"
    )
    figures = {"network": options.model or "published", "points": options.points, "seconds": round(seconds)}
    figures |= {"points_per_second": round(options.points / seconds), "written_gb": size, "peak_gb": peak}
    keep(options.json, [figures])


if __name__ == "__main__":
    main()
