"""Tables of measured figures, from the files that hold them to the texts that show them: `python docs/tables.py`.

Scores are in weights/rooms/scores.json, figures of benchmarks in benchmarks/results. A table stands in a text between
`<!-- table: NAME -->` and `<!-- end of table -->`; nothing else of the text is touched. The scores that come with the
weights are written too. With `--check` nothing is written; what is not fresh is named, with exit code 1.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import encoder_tables
import gpu_tables

ROOT = Path(__file__).parents[1]
CARDS = ("weights/rooms/MODEL_CARD.md", "weights/scannet/MODEL_CARD.md")
TEXTS = ("README.md", "benchmarks/README.md", "docs/encoders.md", *CARDS)
PLACE = re.compile(r"(<!-- table: ([\w -]+) -->\n\n).*?(\n\n<!-- end of table -->)", re.DOTALL)
Row = Mapping[str, Any]
TABLES: dict[str, Callable[[], str]] = {}


def table(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Make a function the source of a table."""
    return lambda function: TABLES.setdefault(name, function)


def grid(rows: Iterable[Row], columns: dict[str, str], right: bool = False) -> str:
    """Return a table in Markdown; a cell is its column's format of the row, or empty where the row lacks a figure.

    Columns with the same title differ in the spaces after it. With `right` all but the first stand to the right.
    """
    lines = [list(map(str.strip, columns)), ["---"] + ["---:" if right else "---"] * (len(columns) - 1)]
    lines += [[_cell(form, row) for form in columns.values()] for row in rows]
    return "\n".join(f"|{'|'.join(line)}|" if i == 1 else _line(line) for i, line in enumerate(lines))


def _line(cells: list[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def _cell(form: str, row: Row) -> str:
    try:
        return form.format_map(row)
    except (KeyError, TypeError):  # there is no such figure, or it is null
        return ""


# --- scores of the bundled weights ----------------------------------------------------------------------------------


@cache
def scores() -> dict[str, Any]:
    """Return what was measured of the bundled weights."""
    return json.loads((ROOT / "weights/rooms/scores.json").read_text(encoding="utf-8"))


NAMES = {
    "bare": "bare input: colour, normal, height",
    "untrained": "untrained network",
    "rooms": "**rooms**",
    "other_seed": "the same pre-training from another seed",
    "no_mask": "the same without a mask, seed and length of `rooms`",
    "supervised": "supervised, same backbone",
}


def _probes(names: dict[str, str]) -> list[Row]:
    return [{**row, "name": names[row["features"]]} for row in scores()["probes"] if row["features"] in names]


def _bold(rows: Iterable[Row], columns: dict[str, str], which: dict[str, set[str] | None]) -> str:
    """Return a table in which some rows are bold, in all of their figures or in those of some columns."""
    marked = []
    for row in rows:
        bold = which.get(row["features"], set())
        cells = {str(i): _cell(form, row) for i, form in enumerate(columns.values())}
        strong = {str(i) for i, title in enumerate(columns) if i and (bold is None or title in bold)}
        marked.append({key: f"**{cell}**" if key in strong and cell else cell for key, cell in cells.items()})
    formats = {title: f"{{row[{i}]}}" for i, title in enumerate(columns)}
    return grid([{"row": list(cells.values())} for cells in marked], formats, right=True)


@table("scores")
def _() -> str:
    form = "{{{0}[0]:.1f}} ± {{{0}[1]:.1f}}"
    titles = {"linear probe": "linear", "nearest neighbour, k = 20": "knn20", "k = 1": "knn1"}
    columns = {"features": "{name}"} | {title: form.format(key) for title, key in titles.items()}
    return _bold(_probes(NAMES), columns, {"rooms": None})


@table("scores in short")
def _() -> str:
    names = {key: NAMES[key] for key in ("bare", "untrained")}
    names |= {"rooms": "**`rooms`, no label seen**", "supervised": "the same network, supervised on the 60 rooms"}
    columns = {"features": "{name}", "linear probe": "{linear[0]:.1f}", "nearest neighbour": "{knn20[0]:.1f}"}
    return _bold(_probes(names), columns, {"rooms": None})


@table("levels")
def _() -> str:
    rows = [{**row, "name": row["level"]} for row in scores()["levels"]]
    for row in rows:
        if row["level"] != "all":
            row["name"] = f"{row['level']}, {5 * 2 ** row['level']} cm"
    return grid(rows, {"level": "{name}", "alone": "{alone:.1f}", "all but this": "{without:.1f}"}, right=True)


@table("few labels")
def _() -> str:
    columns = {"rooms": "rooms", "untrained": "untrained", "bare input": "bare", "trained on these": "trained"}
    formats = {title: f"{{{key}:.1f}}" for title, key in columns.items()}
    return grid(scores()["labels"], {"labels": "{labels}", **formats}, right=True)


@table("missing attributes")
def _() -> str:
    names = {**NAMES, "bare": "bare input"}
    rows = [{**row, "name": names[row["features"]]} for row in scores()["missing"]]
    columns = {"with both": "both", "without colour": "no_color", "without normals": "no_normal"}
    formats = {title: f"{{{key}[0]:.1f}} / {{{key}[1]:.1f}}" for title, key in columns.items()}
    return _bold(rows, {"features": "{name}", **formats}, {"rooms": None})


@table("ladder")
def _() -> str:
    form = "{{{0}[0]:.1f}} ({{{0}[1]:.1f}}, {{{0}[2]:.1f}})"
    columns = {"linear: mean (each)": form.format("linear"), "nearest neighbour: mean (each)": form.format("knn")}
    return grid(
        scores()["ladder"], {"variant": "{variant}", **columns, "paper, ScanNet, linear": "{paper:.1f}"}, right=True
    )


@table("transfer")
def _() -> str:
    names = {**NAMES, "bare": "bare input", "supervised": "supervised on 60 synthetic rooms"}
    rows = [{**row, "name": names[row["features"]]} for row in scores()["transfer"]]
    copy = "same place found in a turned, painted, thinned copy, within 10 cm"
    own, made = (
        "its own 9 classes, learned on other strips of it: linear",
        "5 classes learned on synthetic rooms alone: linear",
    )
    columns = {"features": "{name}", own: "{own_linear:.1f}", "k = 20": "{own_knn:.1f}", made: "{learned_linear:.1f}"}
    columns |= {"k = 20 ": "{learned_knn:.1f}", copy: "{near:.1f} %", "within 50 cm": "{far:.1f} %"}
    return _bold(rows, columns, {"untrained": {made}, "rooms": {own, "k = 20", copy, "within 50 cm"}})


@table("scores of the paper")
def _() -> str:
    told, data = releases()["scannet"]["scores"], ("ScanNet", "ScanNet200", "S3DIS")
    rows = [
        {"of": probe, **{d: told[f"{d} mIoU, {probe}"] for d in data}}
        for probe in ("linear probe", "nearest neighbour")
    ]
    supervised = dict(zip(data, (77.0, 35.4, 71.3), strict=True))  # Table 1 as well, but of other weights
    return grid(
        [{"row": r} for r in (*rows, {"of": "the same network, supervised", **supervised})],
        {"": "{row[of]}"} | {d: f"{{row[{d}]}}" for d in data},
    )


@cache
def releases() -> dict[str, Any]:
    """Return the table of releases."""
    return json.loads((ROOT / "msm3d/weights/releases.json").read_text(encoding="utf-8"))


def released(text: str) -> str:
    """Return a file of the package in JSON with the scores of the bundled weights in it."""
    of = {row["features"]: [row[kind][0] for kind in ("linear", "knn20")] for row in scores()["probes"]}
    names = ("linear probe", "nearest neighbour")
    numbers = {f"synthetic rooms mIoU, {name}": value for name, value in zip(names, of["rooms"], strict=True)}
    source = (
        "msm3d: 60 rooms to learn from and 60 to test on, never seen in pre-training; untrained "
        "{:.1f} and {:.1f}, supervised on the same rooms {:.1f} and {:.1f}; see the model card"
    ).format(*of["untrained"], *of["supervised"])
    start = text.index('"rooms"')
    head, rest = text[:start], text[start:]
    [indent] = re.findall(r'^( *)"scores": {', rest, re.MULTILINE)[:1]
    block = json.dumps(numbers, indent=2).replace("\n", f"\n{indent}")
    rest = re.sub(r'"scores": {[^}]*}', lambda _: f'"scores": {block}', rest, count=1)
    return head + re.sub(r'"scores_source": "[^"]*"', lambda _: f'"scores_source": {json.dumps(source)}', rest, count=1)


RELEASED = ("msm3d/weights/releases.json", "msm3d/weights/bundled/rooms/config.json")


# --- figures of benchmarks ------------------------------------------------------------------------------------------


@cache
def machine(name: str) -> dict[str, Any]:
    """Return what was measured on a machine."""
    return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text(encoding="utf-8"))


def figures(name: str, command: str) -> list[dict[str, Any]]:
    """Return the rows that a command measured on a machine."""
    found = [run["figures"] for run in machine(name)["runs"] if run["command"] == command]
    assert len(found) == 1, f"results/{name}.json has {len(found)} runs of {command!r}"
    return found[0]


EXTRACT = "python benchmarks/bench_extract.py"
ROOM = {
    "Xeon, fp32": ("xeon", EXTRACT),
    "Xeon, reference": ("xeon", f"{EXTRACT} --backend reference"),
    "Xeon, AMX, bf16": ("xeon-amx", f"{EXTRACT} --precision bf16"),
    "Xeon, AMX, fp32": ("xeon-amx", EXTRACT),
    "Zen 3, fp32": ("zen3", EXTRACT),
    "Zen 3, reference": ("zen3", f"{EXTRACT} --backend reference"),
}
"""The runs of the room, by their titles."""


def _run(title: str) -> dict[str, Any]:
    """Return the figures of a run of the room: of several, those whose result went into memory that was there."""
    rows = figures(*ROOM[title])
    return next((row for row in rows if row["memory"] == "into the same memory"), rows[0])


@table("extract")
def _() -> str:
    stages = {name.replace(" ", "_"): name for name in ("points", "voxels", "encoder", "decoder", "reading at points")}
    stages |= {"hierarchy": "hierarchy, all levels", "total": "**total**", "first_call": "first call in a process"}
    stages["peak_gb"] = "peak memory of the process, GB (output 1.96)"
    order = "points voxels hierarchy encoder decoder reading_at_points total first_call peak_gb".split()
    runs = [_run(title) for title in ROOM]
    strong = {key: "**" if key == "total" else "" for key in order}
    rows = [
        {"name": stages[key], "row": [f"{strong[key]}{run[key]:.2f}{strong[key]}" for run in runs]} for key in order
    ]
    return grid(rows, {"stage": "{name}"} | {title: f"{{row[{i}]}}" for i, title in enumerate(ROOM)})


@table("speed in short")
def _() -> str:
    native = "native (C++, built at install where there is a compiler)"
    shown = [
        (f'{native}, `precision="bf16"`', "Intel Xeon with AMX", "Xeon, AMX, bf16"),
        ("native, fp32", "Intel Xeon, AVX-512", "Xeon, fp32"),
        ("native, fp32", "AMD EPYC, Zen 3, AVX2", "Zen 3, fp32"),
        ("reference (plain PyTorch, any device)", "Intel Xeon, AVX-512", "Xeon, reference"),
        ("reference", "AMD EPYC, Zen 3, AVX2", "Zen 3, reference"),
    ]
    rows = []
    for backend, processor, title in shown:
        run = _run(title)
        beside = run["peak_gb"] - run["points_in"] * run["channels"] * 4 / 1e9
        rows.append({"backend": backend, "processor": processor, "seconds": run["total"], "beside": beside})
    titles = {"backend": "{backend}", "processor": "{processor}", "seconds": "{seconds:.1f}"}
    return grid(rows, titles | {"memory beside the output": "{beside:.1f} GB"})


@table("conv")
def _() -> str:
    columns = {
        "channels @ voxels": "{channels} @ {voxels:,}",
        "multiply-adds": "{multiply_adds:.0f}",
        "torch.mm": "{torch_mm:.0f}",
        "native fp32": "{native:.0f} ({native_ms:.1f} ms)",
        "share": "{share:.0%}",
        "spconv": "{spconv:.0f} ({spconv_ms:.1f} ms)",
        "native over spconv": "{over_spconv:.1f}x",
        "spconv's wrong rows of 2,000": "{wrong_rows}",
    }
    return grid(figures("xeon", "python benchmarks/bench_conv.py --threads 2 --rounds 3"), columns)


@table("step")
def _() -> str:
    runs = [("xeon", ""), ("xeon", " --small"), ("xeon-amx", "")]
    rows = []
    for name, options in runs:
        for i, row in enumerate(figures(name, f"python benchmarks/bench_step.py{options}")):
            first = {"network": row["network"], "machine": machine(name)["machine"]}
            rows.append({**row, **(first if i == 0 else {"network": "", "machine": ""})})
    columns = {"network": "{network}", "machine": "{machine}", "backend": "{backend}", "precision": "{precision}"}
    columns |= {f"{part} (ms)": f"{{{part}_ms:.0f}}" for part in ("forward", "backward", "step")}
    columns |= {"over reference": "{over_reference:.1f}x", "share of multiply-adds": "{share:.0%}"}
    return grid(rows, {**columns, "error": "{error:.1e}"})


def _beside(command: str, names: tuple[str, str], form: str, kinds: dict[str, str], first: dict[str, str]) -> str:
    """Return a table of one command on two machines side by side."""
    rows = [
        a | {f"second_{key}": value for key, value in b.items()}
        for a, b in zip(*(figures(n, command) for n in names), strict=True)
    ]
    columns = first | {title: f"{{{kind}_ms:{form}}}" for title, kind in kinds.items()}
    other = {f"{'Zen 3: ' if i == 0 else ''}{kind} ": kind for i, kind in enumerate(kinds.values())}
    return grid(rows, columns | {title: f"{{second_{kind}_ms:{form}}}" for title, kind in other.items()})


@table("attend")
def _() -> str:
    kinds = {"Xeon: native (ms)": "native", "reference": "reference", "torch": "torch"}
    first = {"rows x heads": "{rows:,} x {heads}", "pass": "{pass}"}
    return _beside("python benchmarks/bench_attend.py", ("xeon", "zen3"), ".0f", kinds, first)


@table("geometry")
def _() -> str:
    kinds = {"native (ms)": "native", "reference (ms)": "reference"}
    return _beside("python benchmarks/bench_geometry.py", ("xeon-amx", "zen3"), ".1f", kinds, {"": "{what}"})


@table("scaling")
def _() -> str:
    columns = {"points": "{points:,}", "voxels": "{voxels:,}", "threads": "{threads}", "seconds": "{seconds:.2f}"}
    columns |= {"us per point": "{us_per_point:.1f}", "peak bytes per voxel": "{bytes_per_voxel:,.0f}"}
    return grid(figures("xeon", "python benchmarks/bench_scaling.py"), columns)


def _tiles(network: str) -> str:
    columns = {"level": "{level}", "relative error": "{error:.1e}", "rows with the same bits": "{same_bits:.1%}"}
    rows = [row for row in figures("zen3", "python benchmarks/bench_tiles.py") if row["network"] == network]
    return grid(rows, {**columns, "largest row error": "{largest_row_error:.1e}"})


TABLES["encoders"] = lambda: encoder_tables.known(releases(), grid)
TABLES["convolutions on a GPU"] = lambda: gpu_tables.convolutions(machine("h100")["runs"][0], grid)
TABLES["a pass on a GPU"] = lambda: gpu_tables.where(machine("h100")["runs"][1], grid)
TABLES["encoder costs"] = lambda: encoder_tables.costs(machine("encoders")["runs"], grid)
TABLES["nearest"] = lambda: grid(
    machine("epyc")["runs"][0]["figures"], {"way": "{way}", "rows per second": "{rows_per_second:,.0f}"}
)
TABLES["tiles with attention"] = lambda: _tiles("with attention")
TABLES["tiles of convolutions"] = lambda: _tiles("convolutions only")


@table("building")
def _() -> str:
    columns = {"network": "{network}", "points": "{points:,}", "seconds": "{seconds}"}
    columns |= {"points/s": "{points_per_second:,}", "written": "{written_gb:.1f} GB"}
    columns["process peak, with the mapped file's pages"] = "{peak_gb:.1f} GB"
    runs = [run for run in machine("xeon")["runs"] if "bench_building" in run["command"]]
    return grid([row for run in runs for row in run["figures"]], columns)


@table("scans")
def _() -> str:
    rows = []
    for row in figures("zen3", "msm3d extract SCAN -o features.npz --model scannet"):
        points, seconds = f"{row['points']:,}", f"{row['seconds']:.1f}"
        points += f" of {row['of_points']:,}" if "of_points" in row else ""
        if "descriptors_seconds" in row:
            seconds += f" ({row['descriptors_seconds']:.1f} of them the descriptors, most of the rest the disk)"
        rows.append({**row, "points": points, "seconds": seconds})
    columns = {"scan": "{scan}", "points": "{points}", "voxels": "{voxels:,}", "seconds": "{seconds}"}
    return grid(rows, {**columns, "process peak": "{peak_gb:.1f} GB"})


@table("compiled")
def _() -> str:
    found = figures("compiled", "python benchmarks/compile_triton.py --capability 90 80")
    products = list(dict.fromkeys(row["products"] for row in found))
    rows = []
    for kernel in dict.fromkeys(row["kernel"] for row in found):
        cells = {}
        for product in products:
            both = [row for row in found if (row["kernel"], row["products"]) == (kernel, product)]
            parts = [" / ".join(f"{row[key]:,}" for row in both) for key in ("registers", "shared_bytes")]
            cells[product] = ", ".join(parts) if both else "in float32"
        rows.append({"kernel": kernel, "row": [cells[product] for product in products]})
    return grid(rows, {"kernel": "{kernel}"} | {product: f"{{row[{i}]}}" for i, product in enumerate(products)})


@table("reading")
def _() -> str:
    rows = []
    for row in (row for run in machine("reading")["runs"] for row in run["figures"]):
        rows.append({**row, "name": row["format"].upper(), **{f"x_{k}": v for k, v in row.get("ours", {}).items()}})
    rows.sort(key=lambda row: (row["points"], "PLY LAS LAZ PCD E57".split().index(row["name"])))
    columns = {"format": "{name}", "points": "{points:,}", "reader": "{reader}", "processor s": "{seconds:.3f}"}
    columns |= {"wall s": "{wall:.3f}", "first call, processor s": "{first:.2f}", "memory, GB": "{gb:.3f}"}
    parts = {"seconds": "ours over it: processor", "wall": "wall", "first": "first call", "gb": "memory"}
    return grid(rows, columns | {title: f"{{x_{key}:.2f}}" for key, title in parts.items()})


# --- texts ----------------------------------------------------------------------------------------------------------


def filled(text: str) -> str:
    """Return a text with its tables made anew."""
    return PLACE.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], text)


def texts() -> Iterator[tuple[Path, str, str]]:
    """Yield each file that holds generated parts, what is in it and what should be."""
    for name in (*TEXTS, *RELEASED):
        text = (ROOT / name).read_text(encoding="utf-8")
        yield ROOT / name, text, released(text) if name in RELEASED else filled(text)


def main() -> int:
    """Write what is not fresh, or name it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a table is not fresh")
    check, stale = parser.parse_args().check, 0
    for path, text, fresh in texts():
        if text != fresh:
            stale += 1
            print(f"{path.relative_to(ROOT)}: {'not fresh; run `make tables`' if check else 'written'}")
            if not check:
                path.write_text(fresh, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
