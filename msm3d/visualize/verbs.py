"""What `msm3d pca` and `msm3d view` do; each yields the lines that are shown."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .._util.atomic import apart
from .._util.output_path import output_path
from .._util.words import option, require_one_of
from ..errors import InputError
from .colors import ColorBasis, label_colors
from .height import Height
from .kinds import Kinds
from .page import MOST_POINTS, Page, check_page, level_bases, write_page
from .picture import colored_ply, ground_of, render, save_picture
from .source import Source

_COMMENT = re.compile(rb"^comment label (\d{1,4}) (\S.*?)\s*$", re.MULTILINE)
PCA_FORMATS = (".png", ".ply", ".html")
MODES = ("components", "clusters", "no-height")  # what colours of `pca` are


@dataclass(frozen=True, kw_only=True)
class Look:
    """How `pca` shows features: the options of the command line."""

    form: str = "png"
    size: str = "1280x960"
    background: str = "white"
    basis: str | None = None
    save_basis: str | None = None
    mode: str = "components"

    def checked(self, suffix: str) -> tuple[dict[str, Any], ColorBasis | None]:
        """Return the settings of a picture and the basis that is given, if they go together and with the `suffix`."""
        require_one_of("mode", self.mode, MODES)
        if self.mode != "components" and suffix == ".html":
            raise InputError(
                f"a page has no colours of {self.mode}; leave out {option('mode')}, or write .png or .ply."
            )
        if self.mode != "components" and (self.basis is not None or self.save_basis is not None):
            raise InputError(f"a basis is of components, not of {self.mode}; leave out one of the two.")
        ground_of(self.background)  # which checks it
        known = None if self.basis is None else ColorBasis.load(self.basis)
        return {"size": _size(self.size), "background": self.background}, known


def pca(scans: Sequence[str], output: str, source: Source, look: Look) -> Iterator[str]:
    """Colour scans by their features, all on one basis: a picture, PLY file or page of each, or a picture of all."""
    targets = _targets(scans, output, look.form)
    suffix = targets[0].suffix.lower()
    given = [path for path in (*scans, *(source.files or []), look.basis) if path]
    picture, known = look.checked(suffix)
    apart([path for path in (*targets, look.save_basis) if path], given)
    folder, start = targets[0].parent, perf_counter()
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    with source.opened(scans, existing) as found:
        folder.mkdir(parents=True, exist_ok=True)
        points, channels = sum(map(len, found.clouds)), found.features[0].shape[1]
        yield f"{points:,} points x {channels} channels in {perf_counter() - start:.1f} s"
        coords, levels, bases = [cloud.coord for cloud in found.clouds], [info.slice for info in found.levels], []
        if look.mode == "clusters":
            kinds = Kinds.fit(found.features, levels=levels)
            colors = [label_colors(kinds(rows)) for rows in found.features]
        elif look.mode == "no-height":
            colors = Height.fit(found.features, coords).colors(found.features, coords)
        else:
            share, others = 100 * Height.fit(found.features, coords).share, " or ".join(MODES[1:])
            yield f"height alone explains {share:.0f} % of the features' variance; see also --mode {others}"
            bases = level_bases(found.features, levels if suffix == ".html" else [])
            bases[0] = known or bases[0]
            if look.save_basis is not None:
                bases[0].save(look.save_basis)
            colors = [bases[0](rows) for rows in found.features]
        shown = list(zip(scans, found.clouds, found.features, colors, strict=True))
        for target, parts in zip(targets, [shown] if len(targets) == 1 else [[part] for part in shown], strict=True):
            start, (scan, cloud, rows, color) = perf_counter(), parts[0]
            if suffix == ".html":
                settings = {"levels": found.levels, "bases": bases, "mode": "pca", "names": names_with(scan)}
                page = write_page(target, cloud, rows, title=Path(scan).name, model=found.maker, **settings)
                yield _said(page, start)
                continue
            if suffix == ".ply":
                colored_ply(target, cloud.coord, color)
            else:
                drawn = [render(one.coord, color, normals=one.normal, **picture) for _, one, _, color in parts]
                save_picture(target, _side_by_side(drawn))
            yield f"{target}: {target.stat().st_size / 1e6:.1f} MB in {perf_counter() - start:.1f} s"


def view(scan: str, output: str, source: Source, *, names: str | None = None, most: int = MOST_POINTS) -> Iterator[str]:
    """Write the page of a scan, with the names of its labels as `label_names` knows them or those in its own file."""
    target, named = check_page(output), None if names is None else label_names(names)
    apart([target], [scan, *(source.files or [])])
    if most < 1:
        raise InputError(f"points is {most}; give at least 1.")
    start = perf_counter()
    with source.opened([scan], target.parent) as ([cloud], [rows], levels, maker):
        yield f"{len(cloud):,} points x {rows.shape[1]} channels in {perf_counter() - start:.1f} s"
        start, named = perf_counter(), names_with(scan) if named is None else named
        settings = {"title": Path(scan).name, "model": maker, "levels": levels, "names": named, "most": most}
        yield _said(write_page(target, cloud, rows, **settings), start)


def _targets(scans: Sequence[str], output: str, form: str) -> list[Path]:
    """Return the file for each scan, or one picture for all; checked before any work is done."""
    path = Path(output)
    folder = path.is_dir() or output.endswith("/") or not path.suffix
    suffix = f".{form.removeprefix('.')}" if folder else path.suffix.lower()
    if suffix not in PCA_FORMATS:
        raise InputError(
            f"{path if not folder else form} is not a kind of picture; end it with {', '.join(PCA_FORMATS)}."
        )
    if not folder:
        if len(scans) > 1 and suffix != ".png":
            raise InputError(f"{len(scans)} scans do not fit into the file {path}; give -o a folder, or a .png file.")
        return [output_path(path)]
    targets = [path / f"{Path(scan).stem}{suffix}" for scan in scans]
    if len(set(targets)) < len(targets):
        raise InputError(f"two scans would become the same file in {path}; colour them one by one with -o FILE.")
    return targets


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 1 <= int(part) <= 8192 for part in parts):
        raise InputError(f"size is {text!r}; give width x height in pixels, such as 1280x960.")
    return int(parts[0]), int(parts[1])


def _side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return pictures of one size as rows of up to three."""
    columns = min(len(pictures), 3)
    rows = [list(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    empty = np.broadcast_to(pictures[0][0, 0], pictures[0].shape)
    rows[-1] += [empty] * (columns - len(rows[-1]))
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _said(page: Page, start: float) -> str:
    mean, most = page.loss
    return (
        f"{page.path}: {page.bytes / 1e6:.1f} MB, {page.points:,} points, features for {page.cells:,} cells of "
        f"{page.edge * 100:.1f} cm, similarities off by {mean:.3f} on average and by less than {most:.3f} in 95 "
        f"of 100 cases, in {perf_counter() - start:.1f} s"
    )


def label_names(text: str) -> tuple[str, ...]:
    """Return the names that somebody asked for: a benchmark's, those in a file, or a list with commas.

    >>> label_names("wall, floor, chair")
    ('wall', 'floor', 'chair')
    """
    from ..datasets.classes import class_list

    if "," in text:
        return tuple(part.strip() for part in text.split(","))
    if os.path.isfile(text):
        return tuple(line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines())
    return (*class_list(text).names, *(["other"] if text == "rooms" else []))


def names_with(scan: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names in the header of a PLY file, from lines such as `comment label 4 chair`; none in other files."""
    if Path(scan).suffix.lower() != ".ply":
        return ()
    with open(scan, "rb") as file:
        head = file.read(1 << 20).partition(b"\nend_header")[0]
    found = {int(number): name.decode("utf-8", "replace") for number, name in _COMMENT.findall(head)}
    return tuple(found.get(i, f"label {i}") for i in range(max(found, default=-1) + 1))
