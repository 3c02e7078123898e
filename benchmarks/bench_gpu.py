"""The network on a GPU, part by part and as a whole: `python benchmarks/bench_gpu.py [--precision bf16] [--tune]`.

In one run: what the card copies and multiplies at most; each convolution of the room with triton,
spconv's own layers (if an spconv is installed: float32 and float16) and the reference; attention, descriptors and
tables; the whole network on one room and on a batch of rooms, from voxels on the card to descriptors on the card;
`extract` from arrays to arrays; and a training step. TFLOP/s count the pairs that exist, 2 c d each. Every figure is
the median of its rounds after a warm-up in which kernels are compiled; results are compared with the reference's.
`--tune` times other block sizes of each convolution instead.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

import torch
from machine import json_option, keep, machine, network
from room import room
from torch import Tensor

import msm3d
from msm3d.ops import Table, curves, reference, spconv, triton
from msm3d.sparse.hierarchy import Hierarchy
from msm3d.sparse.inputs import Inputs
from msm3d.sparse.interpolate import descriptors
from msm3d.sparse.voxels import Voxels, voxelize

SHAPES = [(32, 0), (64, 0), (64, 1), (96, 1), (128, 2), (256, 3), (384, 4)]
"""Channels and level of the published network's submanifold convolutions."""
PRECISIONS = {
    "fp32": (torch.float32, "ieee"),
    "tf32x3": (torch.float32, "tf32x3"),
    "tf32": (torch.float32, "tf32"),
    "fp16": (torch.float16, None),
    "bf16": (torch.bfloat16, None),
}
"""Dtype of the weights, and how float32 is multiplied."""
OPS = {"triton": triton, "spconv": spconv, "reference": reference}


def seconds(run: Callable[[], object], rounds: int) -> float:
    """Return the median seconds that `run` takes on the card."""
    for _ in range(3):
        run()
    times = []
    for _ in range(rounds):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / 1e3)
    return statistics.median(times)


def ceilings(rounds: int, names: list[str]) -> tuple[float, dict[str, float]]:
    """Return the bytes per second of a copy on the card, read and written, and the products' FLOP/s per precision."""
    a, b = torch.empty(2, 1 << 28, dtype=torch.float32, device="cuda").unbind()
    copied = 2 * a.nbytes / seconds(lambda: b.copy_(a), rounds)
    rates = {}
    matmul = torch.backends.cuda.matmul
    told = matmul.allow_tf32
    for name in names:
        dtype, how = PRECISIONS[name]
        x = torch.randn(8192, 8192, device="cuda", dtype=dtype)
        matmul.allow_tf32 = how in ("tf32", "tf32x3")
        rates[name] = 2 * 8192**3 / seconds(partial(torch.mm, x, x), rounds) / (3 if how == "tf32x3" else 1)
    matmul.allow_tf32 = told
    return copied, rates


FIGURES: list[dict[str, Any]] = []
"""The rows of all tables: each cell by its column, and the table's title."""
TABLE: dict[str, tuple[str, ...]] = {}
FILE: list[Path] = []
"""Where the rows go, if anywhere: after each one, so that a run that is cut off leaves what it has measured."""


def printed(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def row(*cells: object) -> None:
    printed(*cells)
    [(title, columns)] = TABLE.items()
    plain = [cell if isinstance(cell, (int, float)) else str(cell) for cell in cells]
    FIGURES.append({"table": title, **dict(zip(columns, plain, strict=True))})
    for file in FILE:
        keep(file, FIGURES)


def head(title: str, *cells: str) -> None:
    print(f"\n## {title}\n", flush=True)
    TABLE.clear()
    TABLE[title] = cells
    printed(*cells)
    printed(*["---"] * len(cells))


def rooms(points: int, copies: int, size: float = 0.02) -> Voxels:
    """Return the voxels of `copies` rooms, each with other points."""
    clouds = [msm3d.PointCloud.of(room(points, seed)) for seed in range(copies)]
    return voxelize(clouds, Inputs(voxel_size=size), triton)


# --- parts ----------------------------------------------------------------------------------------------------------


def spconv_layer(cells: Tensor, weight: Tensor, x: Tensor) -> Callable[[], Tensor]:
    """Return spconv's own layer over the same voxels, with its own choice of algorithm, its index built beforehand."""
    import spconv.pytorch as library

    layer = library.SubMConv3d(weight.shape[1], weight.shape[2], 3, bias=False, indice_key="cells").to(x)
    layer.weight.data = weight.permute(2, 0, 1).reshape(weight.shape[2], 3, 3, 3, weight.shape[1]).contiguous()
    grid = library.SparseConvTensor(x, cells, (cells[:, 1:].max(0).values + 1).tolist(), 1)
    layer(grid)
    return lambda: layer(grid).features


def convolutions(options: argparse.Namespace, levels: list, rates: dict[str, float]) -> None:
    backends = [name for name in options.backend if name != "spconv"]
    spconv_too = "spconv" in options.backend and spconv.why_not(torch.device("cuda")) is None
    columns = [*backends, *(["spconv"] if spconv_too else [])]
    head(
        "Convolutions, TFLOP/s on pairs (ms)",
        *("channels @ voxels", "precision", *columns, "triton's share of matmul", "triton over spconv"),
    )
    for (channels, level), name in itertools.product(SHAPES, options.precision):
        dtype, how = PRECISIONS[name]
        keys, _, _, table = levels[level]
        x = torch.randn(len(keys), channels, device="cuda")
        weight = (torch.randn(27, channels, channels, device="cuda") * (27 * channels) ** -0.5).to(dtype)
        work, kept = 2 * int((table >= 0).sum()) * channels**2, Table(table)
        runs: dict[str, Callable[[], Tensor]] = {}
        if "triton" in columns:
            runs["triton"] = partial(triton.conv, x, weight, kept, precision=how)
        if "reference" in columns:
            runs["reference"] = partial(reference.conv, x, weight, table)
        if spconv_too and name in ("fp32", "fp16"):
            runs["spconv"] = spconv_layer(curves.cells(keys, level), weight, x.to(dtype))
        exact = reference.conv(x, weight.float(), table)
        taken = {}
        for column, run in runs.items():
            error = float((run() - exact).norm() / exact.norm())
            assert error < {"fp32": 1e-5, "tf32x3": 1e-4}.get(name, 2e-2), f"{column} is wrong by {error}"
            taken[column] = seconds(run, options.rounds)
        cells = [f"{work / taken[c] / 1e12:.1f} ({taken[c] * 1e3:.2f})" if c in taken else "-" for c in columns]
        share = f"{work / taken['triton'] / rates[name]:.0%}" if "triton" in taken else "-"
        times = f"{taken['spconv'] / taken['triton']:.2f}x" if {"spconv", "triton"} <= taken.keys() else "-"
        row(f"{channels} @ {len(keys):,}", name, *cells, share, times)


def tune(options: argparse.Namespace, levels: list) -> None:
    """Time other block sizes of each convolution; the best belong into products.block_sizes."""
    from msm3d.ops.kernels.triton import products

    head("Block sizes of convolutions, best five", "channels @ voxels", "precision", "ms", "sizes")
    for (channels, level), name in itertools.product(SHAPES, options.precision):
        dtype, how = PRECISIONS[name]
        table = levels[level][3]
        kept = Table(table)
        x = torch.randn(len(table), channels, device="cuda")
        weight = torch.randn(27, channels, channels, device="cuda").to(dtype)
        chosen = products.block_sizes(len(table), channels, channels, dtype, how or "ieee")
        found = []
        choices = itertools.product((32, 64, 128), (16, 32, 64), (32, 64, 128), (4, 8), (2, 3, 4, 5))
        for values in choices:
            sizes = dict(zip(chosen, values, strict=True))
            if sizes["COLS"] > max(32, 2 * channels) or sizes["CHANNELS"] > max(16, channels):
                continue
            with mock.patch.object(products, "block_sizes", lambda *_, sizes=sizes: sizes):
                try:
                    taken = seconds(partial(triton.conv, x, weight, kept, precision=how), options.rounds)
                except Exception as e:  # too much shared memory
                    print(f"{sizes}: {type(e).__name__}", file=sys.stderr)
                    continue
            found.append((taken, sizes))
        for taken, sizes in sorted(found, key=lambda entry: entry[0])[:5]:
            mark = " (now)" if sizes == chosen else ""
            row(f"{channels} @ {len(table):,}", name, f"{taken * 1e3:.3f}", f"{sizes}{mark}")


def the_rest(options: argparse.Namespace, voxels: Voxels, levels: list, copied: float) -> None:
    head("Everything else, ms", "operation", *options.backend, "triton's share of the copy rate")
    usable = {name: OPS[name] for name in options.backend}
    owner, keys = voxels.owner.cuda(), voxels.keys.cuda()

    def line(name: str, run: Callable, moved: int = 0) -> None:
        taken = {backend: seconds(partial(run, ops), options.rounds) for backend, ops in usable.items()}
        share = f"{moved / taken['triton'] / copied:.0%}" if moved and "triton" in taken else "-"
        row(name, *(f"{taken[backend] * 1e3:.2f}" for backend in usable), share)

    line("tables of five levels", lambda ops: ops.octree(keys, 5))
    for level, heads in ((3, 32), (4, 48)):
        qkv = torch.randn(len(levels[level][0]), 3, heads, 8, device="cuda")
        line(f"attention, {len(qkv):,} rows x {heads} heads", lambda ops, q=qkv: ops.attend(q, (0, len(q)), 512))
    x = torch.randn(len(keys), 64, device="cuda")
    norm = "rmsnorm", torch.ones(64, device="cuda"), None
    line("norm, 64 channels", lambda ops: ops.normalize(x, norm), 2 * x.nbytes)
    widths = msm3d.BackboneConfig().decoder_channels
    hierarchy = Hierarchy.of(keys, 5, triton)
    features = [
        torch.randn(len(grid), width, device="cuda") for grid, width in zip(hierarchy.grids, widths, strict=True)
    ]
    line(
        f"descriptors of {len(owner):,} points",
        lambda ops: descriptors(features, hierarchy, range(5), "published", ops, owner),
        4 * len(owner) * sum(widths),
    )


# --- the whole ------------------------------------------------------------------------------------------------------


def models(options: argparse.Namespace) -> Iterator[tuple[str, str, msm3d.Model]]:
    """Yield backend, precision and the published network with random weights; TF32 is torch's own setting."""
    for backend, name in itertools.product(options.backend, options.precision):
        dtype, how = PRECISIONS[name]
        if OPS[backend].why_not(torch.device("cuda")) or how == "tf32x3" or (backend == "spconv" and name == "bf16"):
            continue
        model = network("reference").to("cuda")
        model.backend = backend
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data = parameter.data.to(dtype)
        matmul = torch.backends.cuda.matmul
        told, matmul.allow_tf32 = matmul.allow_tf32, how == "tf32"
        yield backend, name, model
        matmul.allow_tf32 = told


def whole(options: argparse.Namespace, batches: dict[int, Voxels]) -> None:
    head(
        f"Whole network, {options.points:,} points a room, 928 channels, float32 out",
        *("backend", "precision", "rooms", "ms per room, voxels to descriptors", "rooms/s", "peak GB", "of it result"),
    )
    for backend, name, model in models(options):
        for copies, voxels in batches.items():
            keys, features, owner = (t.cuda() for t in (voxels.keys, voxels.features, voxels.owner))

            def run(model=model, keys=keys, features=features, owner=owner, copies=copies) -> Tensor:
                hierarchy = Hierarchy.of(keys, model.config.levels, model.ops, copies)
                levels = model.backbone(features, hierarchy, model.ops)
                return descriptors(levels, hierarchy, range(5), "published", model.ops, owner)

            try:
                torch.cuda.reset_peak_memory_stats()
                result = run()
                size = result.nbytes
                assert bool(torch.isfinite(result).all())
                del result
                taken = seconds(run, options.rounds) / copies
            except torch.cuda.OutOfMemoryError:
                row(backend, name, copies, "does not fit", "-", "-", "-")
                continue
            peak = torch.cuda.max_memory_allocated() / 1e9
            row(backend, name, copies, f"{taken * 1e3:.1f}", f"{1 / taken:.1f}", f"{peak:.1f}", f"{size / 1e9:.1f}")

    head(
        "extract, arrays to arrays, one room", "backend", "precision", "first call, s", "next, s", "next to float16, s"
    )
    scan = room(options.points)
    for backend, name, model in models(options):
        times = []
        for dtype in ("float32", "float32", "float16"):
            start = perf_counter()
            model.extract(scan, dtype=dtype)
            times.append(perf_counter() - start)
        row(backend, name, *(f"{t:.2f}" for t in times))

    head("Training step, one room", "backend", "precision", "ms forward and backward", "peak GB")
    for backend, name, model in models(options):
        voxels = batches[1]
        keys, features = voxels.keys.cuda(), voxels.features.cuda()
        hierarchy = Hierarchy.of(keys, model.config.levels, model.ops)
        model.requires_grad_()

        def step(model=model, features=features, hierarchy=hierarchy) -> None:
            model.zero_grad(set_to_none=True)
            sum(level.square().mean() for level in model.backbone(features, hierarchy, model.ops)).backward()

        torch.cuda.reset_peak_memory_stats()
        try:
            with torch.enable_grad():
                taken = seconds(step, options.rounds)
        except torch.cuda.OutOfMemoryError:
            row(backend, name, "does not fit", "-")
            continue
        row(backend, name, f"{taken * 1e3:.1f}", f"{torch.cuda.max_memory_allocated() / 1e9:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--backend", nargs="+", default=list(OPS), choices=OPS)
    parser.add_argument("--batch", type=int, default=8, help="rooms in a batch, beside one alone")
    parser.add_argument("--points", type=int, default=527_020, help="of a room")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--parts", action="store_true", help="operations only, not the whole network")
    parser.add_argument("--tune", action="store_true", help="time other block sizes of the convolutions, nothing else")
    json_option(parser)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(
            f"bench_gpu.py needs a CUDA device, and torch {torch.__version__} sees none; run it where there is one."
        )
    options.backend = [name for name in options.backend if OPS[name].why_not(torch.device("cuda")) is None]
    FILE.extend([] if options.json is None else [options.json])
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    properties = torch.cuda.get_device_properties(0)
    print(f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}; {machine()}")
    batches = {1: rooms(options.points, 1)}
    levels = triton.octree(batches[1].keys.cuda(), 5)
    if options.tune:
        return tune(options, levels)
    copied, rates = ceilings(options.rounds, options.precision)
    said = ", ".join(f"{name} {rate / 1e12:.0f} TFLOP/s" for name, rate in rates.items())
    print(f"copies {copied / 1e9:.0f} GB/s; multiplies {said}")
    if not options.parts:
        if options.batch > 1:
            batches[options.batch] = rooms(options.points, options.batch)
        whole(options, batches)
    convolutions(options, levels, rates)
    the_rest(options, batches[1], levels, copied)
    return None


if __name__ == "__main__":
    main()
