"""The tables of docs/encoders.md: what is known of each release, and what was measured of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Grid = Callable[[Any, dict[str, str]], str]


def known(releases: Mapping[str, Mapping[str, Any]], grid: Grid) -> str:
    """Return licence, size, data and published scores of every release, and whose scores these are."""
    rows, sources = [], list(dict.fromkeys(row["scores_source"] for row in releases.values() if row["scores"]))
    for name, row in releases.items():
        about = {"name": name, "size": row["parameters"] / 1e6, "centimetres": 100 * row["voxel_size"]}
        licence = row["licence"].split(":")[0].split(";")[0]
        about |= {"all": sum(row["dims"]), "of": licence.removesuffix(" for the weights")}
        for key, value in row["scores"].items():
            data, _, head = key.partition(" mIoU, ")
            if head == "linear probe":
                about |= {data.replace(" ", "_"): value, "by": sources.index(row["scores_source"]) + 1}
        rows.append({**row, **about})
    columns = {"name": "`{name}`", "licence of the weights": "{of}", "parameters": "{size:.1f} M"}
    columns |= {"channels": "{all:,}", "voxel": "{centimetres:g} cm", "trained on": "{data}"}
    scores = {"synthetic rooms": "{synthetic_rooms}", "ScanNet": "{ScanNet}", "ScanNet200": "{ScanNet200}"}
    notes = [f"{number}. {source}" for number, source in enumerate(sources, 1)]
    table = grid(rows, columns | scores | {"S3DIS": "{S3DIS}", "source": "{by}"})
    return "\n".join([table, "", "mIoU in percent of a linear probe; the sources are", "", *notes])


def costs(runs: Sequence[Mapping[str, Any]], grid: Grid) -> str:
    """Return what `benchmarks/encoders/encoders.py` measured."""
    rows = [dict(row) for run in runs for row in run["figures"]]
    for row in rows:
        row["most"] = max(row["parts"], key=row["parts"].get)
        row["share_most"] = row["parts"][row["most"]] / row["network"]
    columns = {"encoder": "`{name}`", "points": "{points:,}", "voxels": "{voxels:,}", "GFLOP": "{gflop:.0f}"}
    columns |= {"network, s": "{network:.1f}", "whole, s": "{seconds:.1f}", "us per voxel": "{us_per_voxel:.0f}"}
    columns |= {"of a dense product": "{share:.0%}", "memory beside the result": "{beside_gb:.2f} GB"}
    columns |= {"most of it in": "{most} {share_most:.0%}", "reference / native": "{over_reference:.1f}"}
    return grid(rows, columns)
