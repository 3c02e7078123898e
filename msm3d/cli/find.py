"""`msm3d find`: the thing in a scan that a sentence means."""

import argparse
from pathlib import Path
from typing import Any

from .._util import stages
from .._util.output_path import output_path, require_there
from .._util.words import count
from . import arguments
from .arguments import SCAN
from .display import Display
from .parser import declared

ENDINGS = (".png", ".json")
_FOUND, _NEXT = (216, 64, 52), (240, 180, 60)  # colours of the thing that fits best and of the next


def add(verbs: Any) -> None:
    """Declare the verb."""
    about = (
        "Find the thing in a scan that a sentence means, by a head of `msm3d fit DATA --task grounding`. "
        "Shown are its box, class and score, and what fits second best."
    )
    example = 'msm3d find scan.ply "the chair closest to the door" --head words -o found.png'
    verb = declared(verbs, "find", run, "a sentence to the thing in a scan that it means", about, example)
    verb.option("scan", f"a {SCAN}", metavar="SCAN")
    verb.option("text", 'such as "the chair closest to the door"', metavar="TEXT")
    verb.option("--head", "folder of `msm3d fit --task grounding`", required=True)
    verb.option("-o --output", ".png: picture, its box red, the next yellow; .json: every thing with its score")
    arguments.add_model(verb)
    arguments.add_reading(verb)
    verb.quiet()


def run(options: argparse.Namespace, display: Display) -> None:
    """Find one thing."""
    require_there([options.scan, options.head])
    from .._util.atomic import apart
    from ..errors import InputError
    from ..io import as_cloud, read_folder
    from ..tasks import heads
    from ..tasks.grounding import Match
    from ..tasks.grounding.finding import find
    from ..weights import list_models

    target = None
    if options.output is not None:
        target = output_path(options.output, ENDINGS, "what was found")
        apart([target], [options.scan])
    head = heads.load(options.head)
    if not isinstance(head, Match):
        raise InputError(f"{options.head} holds a head {head.name!r}; give one of: msm3d fit DATA --task grounding.")
    made_for = head.fingerprint_.name if head.fingerprint_ else None
    options.model = options.model or (made_for if made_for in list_models() else None)
    model = arguments.load(options, display)
    with stages.of(options.scan):
        scan = Path(options.scan)
        cloud = (read_folder if scan.is_dir() else as_cloud)(scan, options=arguments.reading(options))
        found = find(model, head, cloud, options.text, max_memory=options.max_memory)
        if unknown := head.unknown(options.text):
            known = ", ".join(map(repr, unknown))
            display.error(f"warning: never seen while learning: {known}; say it in other words if the answer is wrong.")
        for number in range(min(2, len(found))):
            display.line(_line(found.described(number, head.names), ("", "next: ")[number]))
        if target is not None:
            stages.stage("writing")
            _write(target, cloud, found, head.names, options)
            display.line(f"{target}: {count(len(found), 'thing')}")


def _line(one: dict[str, Any], start: str) -> str:
    """Return what is said of one thing."""
    centre, size = (" ".join(f"{value:.2f}" for value in one["box"][part]) for part in ("centre", "size"))
    return f"{start}{one['class']}, score {one['score']:.2f}, centre {centre}, size {size} m, {one['points']} points"


def _write(target: Path, cloud: Any, found: Any, names: Any, options: argparse.Namespace) -> None:
    """Write a picture, or every thing as JSON."""
    if target.suffix.lower() == ".png":
        return _draw(target, cloud, found)
    import json

    from .._util.atomic import replacing
    from ..tasks.grounding.finding import FORMAT, FORMAT_VERSION

    facts = {"format": FORMAT, "version": FORMAT_VERSION, "scan": Path(options.scan).name, "text": options.text}
    facts |= {"units": "m", "things": [found.described(number, names) for number in range(len(found))]}
    with replacing(target) as path:
        path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return None


def _draw(target: Path, cloud: Any, found: Any) -> None:
    """Draw the scan in pale colours, the thing that fits best in red, its box and that of the next."""
    import numpy as np

    from ..tasks.instances import oriented_box
    from ..visualize import automatic_view, render, save_picture

    color = np.full((len(cloud), 3), 150.0) if cloud.color is None else cloud.color.astype(np.float64)
    color = 0.45 * color + 0.55 * np.mean(color, 1, keepdims=True) * 0.5 + 70
    color[found.instance == 0] = 0.35 * color[found.instance == 0] + 0.65 * np.array(_FOUND)
    normal = np.zeros((len(cloud), 3), np.float32) if cloud.normal is None else cloud.normal
    parts, tints, ways = [cloud.coord], [color.clip(0, 255)], [normal]
    for number, tint in ((1, _NEXT), (0, _FOUND)):
        if number < len(found):
            lines = edges(oriented_box(cloud.coord[found.instance == number]))
            parts.append(lines)
            tints.append(np.tile(np.array(tint, float), (len(lines), 1)))
            ways.append(np.zeros((len(lines), 3), np.float32))
    view = automatic_view(cloud.coord)
    normals = None if cloud.normal is None else np.concatenate(ways)
    save_picture(target, render(np.concatenate(parts), np.concatenate(tints), view=view, normals=normals))


def edges(box: Any, step: float = 0.004) -> Any:
    """Return points (n, 3) along the edges of a box (7,), see `oriented_box`, `step` metres apart.

    >>> edges([0, 0, 0, 2, 2, 2, 0], step=1.0).shape
    (36, 3)
    """
    from itertools import product

    import numpy as np

    box = np.asarray(box, float)
    corners = np.array([*product((-0.5, 0.5), repeat=3)]) * box[3:6]
    ends = [(corners[i], corners[i | bit]) for i in range(8) for bit in (1, 2, 4) if not i & bit]
    lines = [np.linspace(a, b, max(2, int(np.ceil(np.linalg.norm(b - a) / step)) + 1)) for a, b in ends]
    cosine, sine = np.cos(box[6]), np.sin(box[6])
    return np.concatenate(lines) @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]]) + box[:3]
