"""The tables of a GPU in benchmarks/README.md: what `bench_gpu.py` measured, and where the time of a pass goes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Grid = Callable[[Any, dict[str, str]], str]
PRECISIONS = "fp32", "tf32x3", "tf32", "fp16", "bf16"


def convolutions(run: Mapping[str, Any], grid: Grid) -> str:
    """Return TFLOP/s of each shape and precision, beside spconv's where it has the products."""
    rows: dict[str, dict[str, Any]] = {}
    for row in run["figures"]:
        if not row["table"].startswith("Convolutions"):
            continue
        cells = rows.setdefault(row["channels @ voxels"], {"shape": row["channels @ voxels"], "row": {}})
        times = row["triton over spconv"].replace("x", " x spconv")
        cells["row"][row["precision"]] = row["triton"].split()[0] + ("" if times == "-" else f" ({times})")
    columns = {"channels @ voxels": "{shape}"} | {name: f"{{row[{name}]}}" for name in PRECISIONS}
    whole = [row | {"row": {name: row["row"].get(name, "") for name in PRECISIONS}} for row in rows.values()]
    return grid(whole, columns)


def where(run: Mapping[str, Any], grid: Grid) -> str:
    """Return how long the parts of one pass take."""
    rows: Sequence[dict[str, Any]] = [{"launches": "", **row} for row in run["figures"]]
    return grid(rows, {"what": "{what}", "ms": "{ms:.1f}", "launches": "{launches}"})
