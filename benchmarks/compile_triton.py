"""Compile the Triton kernels for real GPUs, without one: `python benchmarks/compile_triton.py`.

The operations are called on small tensors of the network's widths, and each launch is compiled for `--capability`
instead of being run, with the block sizes that the network's number of rows would choose. Printed: registers per
thread, bytes spilled from them, shared memory per block, by Triton's own ptxas. Nothing is executed, no GPU is needed.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

os.environ["TRITON_INTERPRET"] = "0"

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from msm3d.ops import reference
from msm3d.ops import triton as ops
from msm3d.ops.contract import Epilogue, Norm
from msm3d.ops.kernels.triton import products

TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
CONVS = [
    (32, 32, 27, 306_112),
    (64, 64, 27, 306_112),
    (96, 96, 27, 82_897),
    (128, 128, 27, 20_377),
    (256, 256, 27, 4_866),
    (384, 384, 27, 1_091),
    (32, 64, 8, 82_897),
    (64, 128, 8, 20_377),
    (384, 256, 8, 4_866),
    (96, 64, 8, 306_112),
]
"""Channels in and out, slots and output rows of the published network's convolutions: all of 27 slots, some of 8."""


def compiled(kernel, arguments: tuple, options: dict, capability: int) -> dict[str, int | str]:
    """Compile one launch as Triton would: integers that 16 divides and those that are 1 are known to the compiler."""
    names = [p.name for p in kernel.params]
    values = dict(zip(names, arguments, strict=False)) | {k: v for k, v in options.items() if k in names}
    signature, constants, attributes = {}, {}, {}
    for i, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if isinstance(value, torch.Tensor):
            signature[parameter.name] = TYPES[value.dtype]
            attributes[(i,)] = [["tt.divisibility", 16]]
        elif parameter.is_constexpr or value is None or (value == 1 and _known(parameter, value)):
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = value
        elif isinstance(value, int):
            signature[parameter.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if value % 16 == 0 and _known(parameter, value):
                attributes[(i,)] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "fp32"
    settings = {k: v for k, v in options.items() if k not in names}
    source = ASTSource(kernel, signature, constants, attributes)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=settings)
    return resources(made.asm["ptx"], capability) | {"shared": made.metadata.shared, "warps": made.metadata.num_warps}


def _known(parameter, value: object) -> bool:
    """Return whether Triton compiles for the value of an integer."""
    return type(value) is int and not parameter.do_not_specialize


def resources(ptx: str, capability: int) -> dict[str, int]:
    """Ask ptxas for the registers and the spilled bytes of one kernel."""
    ptxas = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
    architecture = re.search(r"\.target (sm_\w+)", ptx)
    assert architecture is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        command = [ptxas, "-v", f"--gpu-name={architecture[1]}", path, "-o", Path(folder) / "kernel.cubin"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = re.search(r"Used (\d+) registers", said), re.search(r"(\d+) bytes spill stores", said)
    assert registers is not None, said
    return {"registers": int(registers[1]), "spilled": int(spilled[1]) if spilled else 0}


def launches(dtype: torch.dtype, precision: str, quick: bool) -> Iterator[tuple[str, object]]:
    """Yield each case's name, and a function that launches its kernels, forward and backward."""
    torch.manual_seed(0)
    keys = torch.arange(64)

    def conv(c: int, d: int, k: int, m: int) -> None:
        x, weight = torch.randn(64, c), torch.randn(k, c, d, dtype=dtype)
        table = reference.octree(keys, 1)[0][3][:, :k].contiguous()
        norm, gamma = ("rmsnorm", torch.ones(d), None), torch.ones(d)
        sizes = products.block_sizes
        with mock.patch.object(products, "block_sizes", lambda _, *rest: sizes(m, *rest)):
            with torch.no_grad():
                ops.conv(x, weight, table, activation="gelu", precision=precision)
                ops.conv(x, weight, table, norm=norm, gamma=gamma, residual=torch.ones(64, d), precision=precision)
            x.requires_grad_()
            weight.requires_grad_()
            ops.conv(x, weight, table, activation="gelu", precision=precision).sum().backward()

    for c, d, k, m in CONVS[1:2] if quick else CONVS:
        yield f"{c} to {d}, {k} slots, {m:,} rows", lambda c=c, d=d, k=k, m=m: conv(c, d, k, m)
    if dtype != torch.float32:
        return

    def attend(heads: int) -> None:
        qkv = torch.randn(64, 3, heads, 8).requires_grad_()
        ops.attend(qkv, (0, 64), 32, precision=precision).sum().backward()
        ops.attend(qkv, (0, 64), 32, 0.1, 1 << 40, precision=precision).sum().backward()

    yield "heads of 8", lambda: attend(32)
    if precision != "ieee":
        return

    def finish(activation: str | None, e: int, norm: bool) -> None:
        d = 2 * e if activation == "geglu" else e
        x, weight = torch.randn(64, d).requires_grad_(), torch.ones(e).requires_grad_()
        epilogue = Epilogue(
            torch.ones(d), activation, Norm("rmsnorm", weight) if norm else None, weight, torch.ones(64, e)
        )
        ops.kernels._finished(x, x.dtype, epilogue).sum().backward()

    for activation, e, norm in ((None, 64, True), (None, 384, True), ("geglu", 1536, False), ("gelu", 1536, True)):
        yield f"{activation}, {e} channels{', norm' if norm else ''}", lambda a=(activation, e, norm): finish(*a)

    def blend() -> None:
        f = torch.randn(64, 384).requires_grad_()
        rows, owner = torch.zeros(64, 8, dtype=torch.int32), torch.zeros(100, dtype=torch.int64)
        ops.blend([f], [rows], [torch.ones(64, 8)], owner).sum().backward()
        ops.octree(keys, 3)

    yield "384 channels, 8 corners", blend


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capability", type=int, nargs="+", default=[80, 90])
    parser.add_argument("--quick", action="store_true", help="one convolution only, beside all else")
    options = parser.parse_args()
    print(f"triton {triton.__version__}\n\n| sm | kernel | products | what | registers | spilled | shared | warps |")
    print("|" + "---|" * 8, flush=True)
    for capability in options.capability:
        seen = set()
        for dtype, precision in (
            (torch.float32, "ieee"),
            (torch.float32, "tf32"),
            (torch.float32, "tf32x3"),
            (torch.float16, "ieee"),
            (torch.bfloat16, "ieee"),
        ):
            kind = precision if dtype == torch.float32 else str(dtype).removeprefix("torch.")
            for name, launch in launches(dtype, precision, options.quick):

                def run(
                    kernel, *arguments, grid, warmup, name=name, kind=kind, capability=capability, seen=seen, **options
                ):
                    figures = compiled(kernel, arguments, options, capability)
                    row = (capability, kernel.__name__, kind, name, *figures.values())
                    if row not in seen:
                        seen.add(row)
                        print("| " + " | ".join(map(str, row)) + " |", flush=True)

                with mock.patch.object(triton.JITFunction, "run", run):
                    launch()


if __name__ == "__main__":
    main()
