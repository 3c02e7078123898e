"""What each encoder costs: `python benchmarks/encoders/encoders.py [--points N | --scan FILE] [--names sonata,rooms]`.

Encoders that are not on this machine are of their released shape with random weights: time and memory are the same.
Each runs in a process of its own. Printed, and kept with `--json`, are processor seconds of the network and of the
whole extraction, 1e9 floating-point operations (a multiply-add is two; norms, softmax and GELU count as time lost),
their rate as a share of a dense product's in the same run, where the time goes, and the most memory. With `--check N`
the network also runs on N points by the reference backend, which must agree to 1e-4.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import Counting, json_option, keep, machine, peak, reset_peak
from room import room

import msm3d
from msm3d import weights
from msm3d.backbones.ptv3 import EncoderConfig
from msm3d.ops import reference
from msm3d.scan.normals import completed
from msm3d.sparse.hierarchy import Hierarchy
from msm3d.sparse.voxels import voxelize

BLOCKS = ((3, 3, 3, 12, 3), (2, 2, 2, 6, 2), (1, 1, 1, 3, 1))  # of the released sizes
NAMES = "rooms,concerto-tiny,utonia-tiny,sonata-small,utonia-small,sonata,utonia,concerto-large"
DENSE = 2048  # rows and columns of the dense product


def shape(name: str) -> EncoderConfig:
    """Return the shape of a release: the one of the released depths that has as many parameters."""
    release = weights.releases()[name]
    for blocks in BLOCKS:
        config = EncoderConfig(channels=release["dims"], blocks=blocks, **release["backbone"])
        with torch.device("meta"):
            if sum(p.numel() for p in msm3d.Model(config).parameters()) == release["parameters"]:
                return config
    raise ValueError(f"no depth of {BLOCKS} gives {name} its {release['parameters']:,} parameters.")


def model(name: str) -> msm3d.Model:
    """Return a release where it is on this machine, else random weights in its shape."""
    if weights.info(name).path is not None:
        return msm3d.load(name, device="cpu")
    torch.manual_seed(0)
    return msm3d.Model(shape(name)).eval().requires_grad_(False)


class Watch(Counting):
    """A backend that counts operations and sums up processor seconds by kind."""

    def __init__(self, ops: Any) -> None:
        super().__init__(ops)
        self.seconds: dict[str, float] = defaultdict(float)

    def done(self, name: str, *given: Any, **named: Any) -> Any:
        start = process_time()
        try:
            return super().done(name, *given, **named)
        finally:
            self.seconds[name] += process_time() - start


def dense() -> float:
    """Return the GFLOP of a dense product per processor second, the best of three."""
    a, b = torch.rand(2, DENSE, DENSE)
    best = 0.0
    for _ in range(3):
        start = process_time()
        torch.mm(a, b)
        best = max(best, 2 * DENSE**3 / (process_time() - start) / 1e9)
    return best


def measured(name: str, scan: Any, check: int) -> dict[str, Any]:
    """Return the figures of one encoder."""
    net = model(name)
    cloud = completed(msm3d.PointCloud.of(scan), missing=net.config.inputs.missing)
    reset_peak()
    held = peak()
    wall, start = perf_counter(), process_time()
    result = net.extract(cloud)
    whole, wall = process_time() - start, perf_counter() - wall
    beside = peak() - held - result.nbytes
    size = result.nbytes
    del result
    voxels = voxelize([cloud], net.config.inputs, net.ops)
    hierarchy = Hierarchy.of(voxels.keys, net.config.levels, net.ops)
    ops = Watch(net.ops)
    with torch.no_grad():
        start = process_time()
        net.backbone(voxels.features, hierarchy, ops)
        seconds = process_time() - start - ops.counting
    fast = dense()
    parts = {kind: round(part, 3) for kind, part in sorted(ops.seconds.items())}
    parts["other"] = round(seconds - sum(parts.values()), 3)
    figures = {
        "name": name,
        "points": len(cloud),
        "voxels": len(voxels.keys),
        "channels": net.config.descriptor_channels,
    }
    figures |= {"parameters": sum(p.numel() for p in net.parameters()), "backend": net.ops.NAME}
    figures |= {"seconds": whole, "wall": wall, "network": seconds, "gflop": ops.operations / 1e9, "parts": parts}
    figures |= {"us_per_voxel": 1e6 * seconds / len(voxels.keys), "dense": fast}
    figures |= {"share": ops.operations / 1e9 / seconds / fast, "result_gb": size / 1e9, "beside_gb": beside / 1e9}
    return figures | (compared(net, check) if check else {})


def compared(net: msm3d.Model, points: int) -> dict[str, Any]:
    """Return processor seconds of the network by its own backend and by the reference, which must agree."""
    cloud = completed(msm3d.PointCloud.of(room(points)), missing=net.config.inputs.missing)
    found, seconds = {}, {}
    for ops in (net.ops, reference):
        voxels = voxelize([cloud], net.config.inputs, ops)
        hierarchy = Hierarchy.of(voxels.keys, net.config.levels, ops)
        with torch.no_grad():
            start = process_time()
            found[ops.NAME] = net.backbone(voxels.features, hierarchy, ops)
            seconds[ops.NAME] = process_time() - start
    mine, theirs = found[net.ops.NAME], found["reference"]
    error = max(float((a - b).norm() / b.norm()) for a, b in zip(mine, theirs, strict=True))
    assert error < 1e-4, f"native and reference differ by {error:.1e}"
    return {"over_reference": seconds["reference"] / seconds[net.ops.NAME], "error": error}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    titles = ("encoder", "voxels", "GFLOP", "network, s", "whole, s", "us/voxel", "share of dense", "beside result, GB")
    lines = [f"| {' | '.join(titles)} | where the time goes |", "|---|" + "---:|" * (len(titles) - 1) + "---|"]
    for row in rows:
        parts = sorted(row["parts"].items(), key=lambda part: -part[1])
        where = ", ".join(f"{kind} {part / row['network']:.0%}" for kind, part in parts)
        lines.append(
            f"| {row['name']} | {row['voxels']:,} | {row['gflop']:.0f} | {row['network']:.2f} | {row['seconds']:.2f} | "
            f"{row['us_per_voxel']:.1f} | {row['share']:.0%} | {row['beside_gb']:.2f} | {where} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", default=NAMES, help="of releases, with commas")
    parser.add_argument("--points", type=int, default=527_020, help="of the room that is made")
    parser.add_argument("--scan", help="a file instead of the room")
    parser.add_argument("--check", type=int, default=0, metavar="N", help="points to compare with the reference on")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # in this process, as JSON
    json_option(parser)
    options = parser.parse_args()
    if options.one:
        scan = options.scan or room(options.points)
        print(json.dumps(measured(options.names, msm3d.read(scan) if options.scan else scan, options.check)))
        return
    print(machine())
    rows = []
    for name in options.names.split(","):
        given = ["--points", str(options.points), "--check", str(options.check)]
        given += ["--scan", options.scan] if options.scan else []
        call = [sys.executable, __file__, "--one", "--names", name, *given]
        rows.append(
            json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        )
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(rows))
    keep(options.json, rows)


if __name__ == "__main__":
    main()
