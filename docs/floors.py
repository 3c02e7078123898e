"""Draw the pictures of docs/architecture.md, columns of boxes that feed the next column: `python docs/floors.py`."""

from pathlib import Path

from figures import ARROW

FOLDER = Path(__file__).with_name("figures")
WIDE, HIGH, GAP, STEP, TOP = 160, 52, 36, 66, 8
ACROSS = 5 * (WIDE + GAP) - GAP + 2  # of every picture, so that their letters are alike

Box = tuple[str, str]
PICTURES: dict[str, tuple[str, list[list[Box]]]] = {
    "chain": (
        "From a scan to descriptors",
        [
            [("scan", "msm3d.io, scan")],
            [("voxels", "sparse.voxels")],
            [("hierarchy", "sparse.hierarchy")],
            [("backbone", "backbones")],
            [("descriptors", "sparse.interpolate")],
        ],
    ),
    "scan": (
        "A scan in memory",
        [
            [("file", "a reader of io"), ("array, object", "scan.objects")],
            [("PointCloud.of", "units, axes, checks")],
            [("completed", "colours, normals")],
            [("PointCloud", "metres, z up")],
        ],
    ),
    "sparse": (
        "Voxels and the hierarchy over them",
        [
            [("PointCloud", "one scene")],
            [("Voxels", "keys, owner, features")],
            [("Hierarchy", "grids of all levels")],
            [("neighbours", "27 slots"), ("parents, children", "8 slots"), ("orders", "along curves")],
        ],
    ),
    "ops": (
        "An operation and what computes it",
        [
            [("ops.conv(…)", "what a network calls")],
            [("contract", "checks, once")],
            [("native", "C++, CPUs"), ("triton", "NVIDIA GPUs"), ("reference", "defines the numbers")],
        ],
    ),
    "backbones": (
        "A family of networks",
        [
            [("config.json", "architecture: NAME")],
            [("family(NAME)", "table of families")],
            [("Shape", "levels, inputs, cost"), ("Backbone", "forward, steps")],
            [("features", "of every level")],
        ],
    ),
    "describe": (
        "Voxels to rows",
        [
            [("voxels", "of one scan")],
            [("regions", "the whole, or tiles")],
            [("network", "and reading")],
            [("rows", "in blocks")],
            [("sink", "memory, file, GPU")],
        ],
    ),
    "tasks": (
        "Judging features",
        [
            [("data set", "labelled scans")],
            [("features", "frozen, cached")],
            [("head", "fit, predict")],
            [("task", "score")],
            [("report", "rows of metrics")],
        ],
    ),
    "pretrain": (
        "A step of pre-training",
        [
            [("scan", "no labels")],
            [("two views", "augmented"), ("crop, mask", "what is hidden")],
            [("student", "predicts"), ("teacher", "gives targets")],
            [("loss", "at every level")],
        ],
    ),
}


def drawn(title: str, columns: list[list[Box]]) -> str:
    """Return columns of boxes with arrows between them as SVG, in the colours of the page that it is put into."""
    tall = max(map(len, columns)) * STEP - (STEP - HIGH) + 2 * TOP
    left = (ACROSS - len(columns) * (WIDE + GAP) + GAP) // 2
    parts = [f'<svg viewBox="0 0 {ACROSS} {tall}" class="network" role="img" xmlns="http://www.w3.org/2000/svg">']
    parts += [f"<title>{title}</title>", ARROW]
    places = [
        [(left + i * (WIDE + GAP), _top(len(boxes), j, tall)) for j in range(len(boxes))]
        for i, boxes in enumerate(columns)
    ]
    for here, there in zip(places, places[1:], strict=False):
        for x, y in here:
            for to_x, to_y in there:
                ends = f'x1="{x + WIDE}" y1="{y + HIGH / 2:g}" x2="{to_x}" y2="{to_y + HIGH / 2:g}"'
                parts.append(f'<line {ends} class="flow" marker-end="url(#tip)"/>')
    for boxes, spots in zip(columns, places, strict=True):
        for (name, note), (x, y) in zip(boxes, spots, strict=True):
            middle = x + WIDE / 2
            parts.append(f'<rect x="{x}" y="{y:g}" width="{WIDE}" height="{HIGH}" rx="6" class="stage"/>')
            parts.append(f'<text x="{middle:g}" y="{y + 22:g}" text-anchor="middle">{name}</text>')
            parts.append(f'<text x="{middle:g}" y="{y + 40:g}" text-anchor="middle" class="small">{note}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _top(boxes: int, row: int, tall: int) -> float:
    return (tall - boxes * STEP + STEP - HIGH) / 2 + row * STEP


def main() -> None:
    """Write every picture."""
    for name, (title, columns) in PICTURES.items():
        (FOLDER / f"floor-{name}.svg").write_text(drawn(title, columns), encoding="utf-8")


if __name__ == "__main__":
    main()
