"""A training step, forward and backward through the whole network: `python benchmarks/bench_step.py [--small]`.

The published network, or with `--small` one of the size that the bundled weights are pre-trained with, on the voxels of
the room. The loss is the mean square of every level's features. Gradients of all parameters are compared with those of
the reference. Every figure is the best of its rounds; a step counts as three forward passes in the share of what the
processor's multiply-adds in fp32 reach in the same run.
"""

import argparse
from time import perf_counter

import torch
from machine import json_option, keep, machine, most_multiply_adds, network_gflop
from room import room

import msm3d
from msm3d.ops import BACKENDS, backend
from msm3d.scan.normals import completed
from msm3d.sparse.hierarchy import Hierarchy
from msm3d.sparse.inputs import Inputs
from msm3d.sparse.voxels import voxelize

SMALL = msm3d.BackboneConfig(
    channels=(32, 64, 128, 192),
    decoder_channels=(32, 64, 128, 192),
    conv_blocks=(1, 1, 1, 1),
    attention_blocks=(0, 0, 0, 1),
    heads=(0, 0, 0, 24),
)


def step(unet: torch.nn.Module, features: torch.Tensor, hierarchy: Hierarchy, ops) -> tuple[float, float]:
    """Return the seconds of a forward and of a backward pass; the gradients are left in the parameters."""
    unet.zero_grad()
    clock = perf_counter()
    loss = torch.stack([level.float().square().mean() for level in unet(features, hierarchy, ops)]).sum()
    forward = perf_counter() - clock
    loss.backward()
    return forward, perf_counter() - clock - forward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the small network")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--without-reference", action="store_true", help="time the native backend alone")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    voxels = voxelize([completed(msm3d.PointCloud.of(room(options.points)))], Inputs(voxel_size=0.02), backend("cpu"))
    torch.manual_seed(0)
    unet = msm3d.Model(SMALL if options.small else msm3d.BackboneConfig()).eval().backbone
    hierarchy = Hierarchy.of(voxels.keys, unet.config.levels, backend("cpu"))
    print(machine(), f"voxels {[len(grid) for grid in hierarchy.grids]}\n", sep=", ")
    gflop = 3 * network_gflop(unet, voxels.features, hierarchy)
    columns = "backend", "precision", "forward (ms)", "backward (ms)", "step (ms)", "over reference", "share", "error"
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    exact: list[torch.Tensor] = []
    figures = []
    slowest = 0.0
    for name in ("reference", "native"):
        if name not in BACKENDS or (name == "reference" and options.without_reference):
            continue
        for precision in ("fp32", "bf16"):
            if (name, precision) == ("reference", "bf16"):
                continue
            if precision == "bf16":
                for parameter in unet.parameters():
                    if parameter.dim() > 1:
                        parameter.data = parameter.data.bfloat16()
                        parameter.grad = None
            times, fastest = [], 0.0
            for _ in range(options.rounds):
                times.append(step(unet, voxels.features, hierarchy, backend("cpu", name)))
                fastest = max(fastest, most_multiply_adds())
            forward, backward = min(times, key=sum)
            grads = [p.grad.float().clone() for p in unet.parameters() if p.grad is not None]
            exact, slowest = exact or grads, slowest or forward + backward
            error = sum(float((a - b).square().sum()) for a, b in zip(grads, exact, strict=True))
            error = (error / sum(float(b.square().sum()) for b in exact)) ** 0.5
            assert error < (1e-3 if precision == "fp32" else 5e-2), f"{name} {precision}: gradients are off by {error}"
            whole = forward + backward
            cells = [f"{seconds * 1e3:.0f}" for seconds in (forward, backward, whole)]
            cells += [f"{slowest / whole:.1f}x", f"{gflop / whole / fastest:.0%}", f"{error:.1e}"]
            print(f"| {name} | {precision} | {' | '.join(cells)} |")
            figures.append(
                {"network": "small" if options.small else "published", "backend": name, "precision": precision}
            )
            figures[-1] |= {"forward_ms": forward * 1e3, "backward_ms": backward * 1e3, "step_ms": whole * 1e3}
            figures[-1] |= {"over_reference": slowest / whole, "share": gflop / whole / fastest, "error": error}
    keep(options.json, figures)


if __name__ == "__main__":
    main()
