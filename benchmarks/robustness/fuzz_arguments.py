"""Wrong, odd and extreme arguments of `load` and `extract`: types, shapes, dtypes, strides, values, objects.

python benchmarks/robustness/fuzz_arguments.py --inputs 5000
"""

import sys
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import guard
import mutate
import numpy as np
import torch

import msm3d

pick = mutate.pick


class Points(np.ndarray):
    """A subclass of numpy's array, as units and masked arrays are."""


class Raising:
    """An object whose every attribute fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def dtypes(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """Return the array in another dtype, foreign byte orders, objects and dates included."""
    names = ("f2", "f4", ">f4", "f8", ">f8", "g", "i1", "u1", "i4", ">i2", "u8", "?", "c8", "O", "U8", "S8", "M8[s]")
    with np.errstate(all="ignore"):
        return array.astype(pick(rng, names))


def strides(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """Return the same shape in another layout of memory."""
    views: tuple[Callable[[], np.ndarray], ...] = (
        lambda: array[::-1],
        lambda: array[:, ::-1],
        lambda: np.asfortranarray(array),
        lambda: np.repeat(array, 2, 0)[::2],
        lambda: np.broadcast_to(array[:1], array.shape),
        lambda: np.ma.masked_less(array, 0.5),
        lambda: array.view(Points),
        lambda: np.asmatrix(array),
        lambda: (
            np.frombuffer(b"\0" + array.tobytes(), array.dtype, array.size, 0).reshape(array.shape)
            if array.nbytes
            else array
        ),
    )
    return pick(rng, views)()


def tensors(rng: np.random.Generator, array: np.ndarray) -> Any:
    """Return a tensor of a kind that is rarely thought of."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: tensor,
        lambda: tensor.to(pick(rng, (torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.bool))),
        lambda: tensor.to(torch.complex64),
        lambda: torch._neg_view(tensor),
        lambda: tensor.to_sparse(),
        lambda: tensor.clone().requires_grad_(),
        lambda: tensor.T.contiguous().T,
        lambda: tensor.to("meta"),
        lambda: torch._efficientzerotensor(tensor.shape),
        lambda: torch.nn.Parameter(tensor),
        lambda: tensor.expand(2, *tensor.shape),
        lambda: torch.nested.nested_tensor([tensor, tensor]),
        lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.quint8),
    )
    return pick(rng, kinds)()


def array(rng: np.random.Generator, widths: tuple[int, ...] = (3, 6, 9)) -> np.ndarray:
    """Return points, now and then with hostile values."""
    n = int(pick(rng, (0, 1, 2, 50, 300)))
    made = rng.uniform(0, 2, (n, int(pick(rng, widths)))).astype(np.float32 if rng.random() < 0.5 else np.float64)
    if made.size and rng.random() < 0.4:
        for _ in range(int(pick(rng, (1, 1, 5)))):
            with np.errstate(over="ignore"):
                made[int(rng.integers(n)), int(rng.integers(made.shape[1]))] = pick(rng, mutate.FLOATS)
    if rng.random() < 0.1:
        with np.errstate(over="ignore", invalid="ignore"):
            made *= pick(rng, (1e-30, 1e3, 1e6, 1e12, 1e30))
    return made


def anything(rng: np.random.Generator) -> Any:
    """Return any value at all."""
    shapes = ((), (0,), (3,), (5, 2), (2, 3, 3), (3, 5), (1, 1), (0, 3))
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: mutate.value(rng),
        lambda: pick(rng, (None, True, 1, 1.0, -1, "x", b"x", 10**30, 1e300, float("nan"), Fraction(1, 3), 1j, ...)),
        lambda: np.zeros(pick(rng, shapes)),
        lambda: torch.zeros(pick(rng, shapes)),
        lambda: pick(rng, (np.int64(1), np.float32(0.5), np.bool_(True), np.str_("z"), torch.tensor(1), range(2))),
        lambda: pick(rng, (object(), Raising(), SimpleNamespace(points=1), SimpleNamespace(vertices=[[0, 0]]), print)),
        lambda: pick(rng, (Path("."), Path("nowhere.ply"), "a\0b.ply", "/dev/null", "x" * 300, "", "~", "*.ply")),
        lambda: [anything(rng) for _ in range(2)],
        lambda: {"coord": anything(rng)},
        lambda: iter([[0, 0, 0]]),
    )
    return pick(rng, kinds)()


def points(rng: np.random.Generator) -> Any:
    """Return a scan, as an array, a tensor, a dictionary or an object, most of them nearly right."""
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: array(rng),
        lambda: array(rng, (1, 2, 3, 4, 5, 7, 10)),
        lambda: dtypes(rng, array(rng)),
        lambda: strides(rng, array(rng)),
        lambda: tensors(rng, array(rng)),
        lambda: dictionary(rng),
        lambda: OrderedDict(dictionary(rng)),
        lambda: array(rng).tolist(),
        lambda: SimpleNamespace(points=array(rng), colors=pick(rng, ([], None, array(rng, (3,)))), normals=[]),
        lambda: [array(rng), dictionary(rng)],
        lambda: anything(rng),
    )
    return pick(rng, kinds)()


def dictionary(rng: np.random.Generator) -> dict[Any, Any]:
    coord = array(rng, (3,))
    n = len(coord)
    made: dict[Any, Any] = {pick(rng, ("coord", "xyz", "points", "pos")): coord}
    extras: dict[str, Callable[[], Any]] = {
        "color": lambda: rng.integers(0, 256, (n, 3)).astype(pick(rng, ("u1", "u2", "i8", "f4", "f8"))),
        "normal": lambda: rng.normal(size=(n, 3)),
        "segment": lambda: rng.integers(0, 20, n).astype(pick(rng, ("i8", "f4", "u1"))),
        "offset": lambda: pick(rng, ([n], [n // 2, n], torch.tensor([n]), n, [0], "x")),
        "batch": lambda: np.arange(n) % 2,
        "instance": lambda: anything(rng),
        "opacity": lambda: np.ones(n),
    }
    for name, make in extras.items():
        if rng.random() < 0.3:
            made[name] = make() if rng.random() < 0.7 else anything(rng)
    if rng.random() < 0.05:
        made[pick(rng, (1, None, ("a",), b"coord"))] = coord
    return made


def extract_options(rng: np.random.Generator) -> dict[str, Any]:
    """Return arguments of `extract`; each is right, nearly right or anything."""
    good: dict[str, tuple[Any, ...]] = {
        "levels": (0, 1, -1, [0, 1], (1,), np.int64(1), torch.tensor(1), True, 1.0, [], 5, [[0]], "0", np.array([0])),
        "at": ("points", "voxels", "voxel", None, 1),
        "dtype": ("float16", "float32", "float64", torch.float16, np.float32, "f4", "int8", int, "bfloat16", "x", 3),
        "max_memory": ("4GB", "1 MB", 10**9, 0, -1, "lots", "1e400GB", "", True, np.int64(10**9), 1.5e9, "½GB"),
        "sampling": ("centered", "published", "center", 1, np.str_("centered")),
        "up": ("z", "y", "-y", "x", 1, np.str_("y")),
        "units": ("m", "mm", "ft", "M", 1),
        "invalid": ("drop", "nan", None, True),
        "mesh": ("vertices", "surface", "x", 1),
        "min_opacity": (0, 0.5, 1, 2, -1, "x", True, np.float32(0.5)),
        "progress": (True, False, None, "x"),
    }
    chosen = {}
    for name, values in good.items():
        if rng.random() < 0.15:
            chosen[name] = pick(rng, values) if rng.random() < 0.8 else anything(rng)
    return chosen


def out(rng: np.random.Generator, n: int, channels: int) -> Any:
    """Return a place for the result, right or nearly."""
    whole = np.zeros((n, channels), np.float32)
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: whole,
        lambda: whole[::-1],
        lambda: whole.astype(">f4"),
        lambda: whole.astype(pick(rng, ("f2", "f8", "i4", "O"))),
        lambda: np.asfortranarray(whole),
        lambda: np.zeros((n + 1, channels), np.float32),
        lambda: np.broadcast_to(whole[:1], whole.shape),
        lambda: torch.zeros(n, channels),
        lambda: np.ma.masked_array(whole),
        lambda: whole.view(Points),
        lambda: anything(rng),
    )
    return pick(rng, kinds)()


def load_options(rng: np.random.Generator, directory: Path) -> tuple[Any, dict[str, Any]]:
    """Return arguments of `load`."""
    source = pick(
        rng, (directory, str(directory), None, "rooms", "scannet", "ana/x", "../..", "a/../../b", "~nobody/x")
    )
    good: dict[str, tuple[Any, ...]] = {
        "device": ("cpu", torch.device("cpu"), "cuda", "cuda:7", "cpu:3", "tpu", "meta", "mps", 0, "", "cpu\0"),
        "backend": ("native", "reference", "triton", "spconv", "spcnov", 1),
        "precision": ("fp32", "bf16", "fp16", torch.float32),
        "revision": ("main", "../x", "", 1, "a" * 300),
        "local_files_only": (True, False, None, "x"),
    }
    chosen = {}
    for name, values in good.items():
        if rng.random() < 0.3:
            chosen[name] = pick(rng, values) if rng.random() < 0.8 else anything(rng)
    return source if rng.random() < 0.8 else anything(rng), chosen


def task_of(seed: int) -> guard.Task:
    torch.manual_seed(0)
    config = msm3d.BackboneConfig(
        channels=(8, 8),
        decoder_channels=(8, 8),
        conv_blocks=(1, 1),
        attention_blocks=(0, 1),
        heads=(0, 2),
        voxel_size=0.1,
    )
    model = msm3d.Model(config).eval().requires_grad_(False)
    directory = model.save_pretrained(guard.HOME / "model")

    def task(number: int, folder: Path) -> tuple[str, Callable[[], Any]]:
        rng = np.random.default_rng([seed, number])
        if number % 5 == 0:
            source, options = load_options(rng, directory)
            return "load", lambda: msm3d.load(source, **options)
        scan, options = points(rng), extract_options(rng)
        for name in ("color", "normal"):
            if rng.random() < 0.15:
                options[name] = array(rng, (3, 3, 4)) if rng.random() < 0.7 else anything(rng)
        if rng.random() < 0.1:
            options["out"] = out(rng, len(scan) if isinstance(scan, np.ndarray) and scan.ndim else 50, 16)
        options.setdefault("max_memory", "300MB")

        def call() -> None:
            rows = model.extract(scan, **options)
            if isinstance(scan, np.ndarray) and options.get("at", "points") == "points" and "out" not in options:
                most = len(scan)
                assert len(rows) <= most, "more rows than points"
                assert options.get("invalid") != "nan" or len(rows) == most, (
                    "rows of points without a position are gone"
                )

        return "extract", call

    return task


if __name__ == "__main__":
    sys.exit(guard.main(task_of, __doc__, inputs=5000))
