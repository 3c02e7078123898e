"""A thousand scans of varied size in one process: memory, open files and threads do not grow.

python benchmarks/robustness/growth.py --extracts 1000

Linux only.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import guard  # a home of its own, one thread
import numpy as np
import torch

import msm3d

SLACK = 16e6  # bytes: what the allocator may keep more of at the end than after the first quarter


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def count(what: str) -> int:
    return len(os.listdir(f"/proc/self/{what}"))


def points(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return a wall and a floor (n, 9) with colours and normals."""
    xyz = np.c_[rng.uniform(0, 5, (n, 2)), rng.normal(0, 0.01, n)]
    xyz[: n // 2] = xyz[: n // 2, [0, 2, 1]]  # a wall
    normal = np.where(np.arange(n)[:, None] < n // 2, [0.0, 1, 0], [0.0, 0, 1])
    return np.c_[xyz, rng.uniform(0, 1, (n, 3)), normal].astype(np.float32)


def ways() -> list[Callable[[np.ndarray], object]]:
    """Return the ways in which a small model takes a scan, each of its own code path."""
    config = msm3d.BackboneConfig(
        channels=(16, 16),
        decoder_channels=(16, 16),
        conv_blocks=(1, 1),
        attention_blocks=(0, 1),
        heads=(0, 2),
        voxel_size=0.1,
    )
    torch.manual_seed(0)
    model = msm3d.Model(config).eval().requires_grad_(False)
    per_point = config.cost.bytes_per_voxel // 5  # some tiles
    folder = guard.HOME / "scans"
    folder.mkdir()
    path = folder / "scan.ply"

    def from_file(scan: np.ndarray) -> None:
        head = "".join(f"property float {name}\n" for name in "x y z red green blue nx ny nz".split())
        header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(scan)}\n{head}end_header\n"
        path.write_bytes(header.encode() + scan.tobytes())
        model.extract(path)

    return [
        model.extract,
        from_file,
        lambda scan: model.extract(torch.from_numpy(scan), levels=-1),
        lambda scan: model.extract([scan, scan[::2]]),
        lambda scan: model.extract(scan, max_memory=len(scan) * per_point),
        lambda scan: model.extract(scan, at="voxels", dtype="float16"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extracts", type=int, default=1000)
    parser.add_argument("--largest", type=int, default=10_000, help="points of the largest scan (default 10000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng, extracts = np.random.default_rng(options.seed), ways()
    measures: dict[str, list[int]] = {"memory": [], "files": [], "threads": []}
    start = perf_counter()
    for i in range(options.extracts):
        largest = i < len(extracts)  # at once, so that what is kept for reuse is there
        n = options.largest if largest else int(np.exp(rng.uniform(np.log(100), np.log(options.largest))))
        extracts[i % len(extracts)](points(rng, n))
        measures["memory"].append(resident())
        measures["files"].append(count("fd"))
        measures["threads"].append(count("task"))
    quarter = options.extracts // 4
    grown = 0
    print(f"{options.extracts:,} extracts in {perf_counter() - start:.0f} s")
    for name, values in measures.items():
        first, last = median(values[quarter : 2 * quarter]), median(values[-quarter:])
        scale, unit = (1e6, " MB") if name == "memory" else (1, "")
        print(f"{name}: median {first / scale:.0f}{unit} in the second quarter, {last / scale:.0f}{unit} in the last")
        grown += last - first > (SLACK if name == "memory" else 0)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
