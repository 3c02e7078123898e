"""What `msm3d pca` and `msm3d view` do; each yields the lines that are shown."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .._util.atomic import apart
from .._util.output_path import output_path
from .._util.words import require_one_of
from ..errors import InputError
from ..io.ply import names_with
from ..scan.cloud import PointCloud
from ..tasks.labels import Labels
from .colors import ColorBasis, label_colors
from .extras import MOST_CLUSTERS, Extras, confidence_of
from .height import Height
from .kinds import Kinds
from .page import MOST_POINTS, Page, check_page, level_bases, write_page
from .picture import colored_ply, ground_of, render, save_picture
from .recording import library, save_recording
from .source import Described, Source

PCA_FORMATS = (".png", ".ply", ".html", ".rrd")
PAGE_MODES = {"components": "pca", "clusters": "cluster", "no-height": "rest"}  # of `pca`, and of its pages
MODES = tuple(PAGE_MODES)
CLUSTERS = 8


@dataclass(frozen=True, kw_only=True)
class Look:
    """How `pca` shows features: the options of the command line."""

    form: str = "png"
    size: str = "1280x960"
    background: str = "white"
    basis: str | None = None
    save_basis: str | None = None
    mode: str = "components"
    clusters: int | None = None  # how many, which goes without saying the mode

    def __post_init__(self) -> None:
        require_one_of("mode", self.mode, MODES)
        if self.clusters is not None:
            if self.mode == "no-height":
                raise InputError("clusters are another mode than no-height; leave out one of the two.")
            object.__setattr__(self, "mode", "clusters")
            check_clusters(self.clusters)

    def checked(self) -> tuple[dict[str, Any], ColorBasis | None]:
        """Return the settings of a picture and the basis that is given, if they go together."""
        if self.mode != "components" and (self.basis is not None or self.save_basis is not None):
            raise InputError(f"a basis is of components, not of {self.mode}; leave out one of the two.")
        ground_of(self.background)  # which checks it
        known = None if self.basis is None else ColorBasis.load(self.basis)
        return {"size": _size(self.size), "background": self.background}, known


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What `view` shows beside features: the options of the command line."""

    names: str | None = None  # of the labels, as `label_names` knows them; those in the scan's file by default
    labels: str | None = None  # a file of labels that were given in a page
    clusters: int | None = None
    no_height: bool = False
    most: int = MOST_POINTS

    def __post_init__(self) -> None:
        if self.most < 1:
            raise InputError(f"points is {self.most}; give at least 1.")
        if self.clusters is not None:
            check_clusters(self.clusters)


def check_clusters(count: int) -> None:
    """Raise InputError unless there can be so many clusters."""
    if not 1 <= count <= MOST_CLUSTERS:
        raise InputError(f"clusters is {count}; give a number from 1 to {MOST_CLUSTERS}.")


def pca(scans: Sequence[str], output: str, source: Source, look: Look) -> Iterator[str]:
    """Colour scans by their features, all on one basis: a file of each, or a picture of all."""
    targets = _targets(scans, output, look.form)
    suffix = targets[0].suffix.lower()
    given = [path for path in (*scans, *(source.files or []), look.basis) if path]
    picture, known = look.checked()
    apart([path for path in (*targets, look.save_basis) if path], given)
    folder, start = targets[0].parent, perf_counter()
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    with (_counted(source) if suffix == ".html" else source).opened(scans, existing) as found:
        folder.mkdir(parents=True, exist_ok=True)
        points, channels = sum(map(len, found.clouds)), found.features[0].shape[1]
        yield f"{points:,} points x {channels} channels in {perf_counter() - start:.1f} s"
        extras, bases = [Extras(source=read) for read in found.read], []
        if look.mode == "clusters":
            extras, colors = _clustered(extras, found, look.clusters or CLUSTERS)
        elif look.mode == "no-height":
            extras, colors = _flattened(extras, found)
        else:
            share = 100 * Height.fit(found.features, [cloud.coord for cloud in found.clouds]).share
            others = " or ".join(MODES[1:])
            yield f"height alone explains {share:.0f} % of the features' variance; see also --mode {others}"
            bases = level_bases(found.features, [info.slice for info in found.levels] if suffix == ".html" else [])
            bases[0] = known or bases[0]
            if look.save_basis is not None:
                bases[0].save(look.save_basis)
            colors = [bases[0](rows) for rows in found.features]
        if suffix == ".html":
            bases = bases or level_bases(found.features, [info.slice for info in found.levels])
            settings = {"levels": found.levels, "model": found.maker, "bases": bases, "mode": PAGE_MODES[look.mode]}
            each = zip(targets, scans, found.clouds, found.features, extras, strict=True)
            for target, scan, cloud, rows, more in each:
                start, told = perf_counter(), {"names": names_with(scan), "title": Path(scan).name, "extras": more}
                yield _said(write_page(target, cloud, rows, **settings, **told), start)
        else:
            yield from _drawn(targets, found.clouds, colors, picture)


def _drawn(
    targets: Sequence[Path], clouds: Sequence[PointCloud], colors: Sequence[np.ndarray], picture: dict[str, Any]
) -> Iterator[str]:
    """Write pictures, PLY files or recordings of coloured scans, and say so."""
    shown = list(zip(clouds, colors, strict=True))
    for target, parts in zip(targets, [shown] if len(targets) == 1 else [[part] for part in shown], strict=True):
        start = perf_counter()
        if target.suffix.lower() == ".ply":
            colored_ply(target, parts[0][0].coord, parts[0][1])
        elif target.suffix.lower() == ".rrd":
            [(cloud, color)] = parts
            seen = {} if cloud.color is None else {"color": cloud.color}
            save_recording(target, cloud.coord, {"features": color, **seen}, target.stem)
        else:
            drawn = [render(cloud.coord, color, normals=cloud.normal, **picture) for cloud, color in parts]
            save_picture(target, _side_by_side(drawn))
        yield f"{target}: {target.stat().st_size / 1e6:.1f} MB in {perf_counter() - start:.1f} s"


def view(scan: str, output: str, source: Source, sight: Sight) -> Iterator[str]:
    """Write the page of a scan: with features, labels and names, and what else is asked for."""
    target, named = check_page(output), None if sight.names is None else label_names(sight.names)
    labels = None if sight.labels is None else Labels.read(sight.labels)
    apart([target], [path for path in (scan, sight.labels, *(source.files or [])) if path])
    start = perf_counter()
    with _counted(source).opened([scan], target.parent) as found:
        [cloud], [rows], [read] = found.clouds, found.features, found.read
        if labels is not None:
            labels.require(read, scan)
        yield f"{len(cloud):,} points x {rows.shape[1]} channels in {perf_counter() - start:.1f} s"
        start, named = perf_counter(), names_with(scan) if named is None else named
        confidence = confidence_of(scan, cloud)
        extras = [Extras(confidence=confidence, labels=labels, source=read)]
        if sight.clusters is not None:
            extras, _ = _clustered(extras, found, sight.clusters)
        if sight.no_height:
            extras, _ = _flattened(extras, found)
        mode = "name" if labels is not None else "color" if confidence is None else "label"
        settings = {"title": Path(scan).name, "model": found.maker, "levels": found.levels, "names": named}
        settings |= {"most": sight.most, "mode": mode, "extras": extras[0]}
        yield _said(write_page(target, cloud, rows, **settings), start)


def _counted(source: Source) -> Source:
    """Return a source that knows of each scan how many points its file has: labels name them by their rows."""
    return replace(source, options=replace(source.options, invalid="nan"))


Coloured = tuple[list[Extras], list[np.ndarray]]


def _clustered(extras: Sequence[Extras], found: Described, count: int) -> Coloured:
    """Return extras with clusters, which all scans share, and their colours."""
    kinds = Kinds.fit(found.features, count, levels=[info.slice for info in found.levels])
    clusters = [kinds(rows) for rows in found.features]
    pairs = zip(extras, clusters, strict=True)
    return [replace(one, clusters=of) for one, of in pairs], [label_colors(of) for of in clusters]


def _flattened(extras: Sequence[Extras], found: Described) -> Coloured:
    """Return extras with colours of what height does not explain, on a basis that all scans share, and these."""
    coords = [cloud.coord for cloud in found.clouds]
    colors = Height.fit(found.features, coords).colors(found.features, coords)
    return [replace(one, rest=rest) for one, rest in zip(extras, colors, strict=True)], colors


def _targets(scans: Sequence[str], output: str, form: str) -> list[Path]:
    """Return the file for each scan, or one picture for all; checked before any work is done."""
    path = Path(output)
    folder = path.is_dir() or output.endswith("/") or not path.suffix
    suffix = f".{form.removeprefix('.')}" if folder else path.suffix.lower()
    if suffix not in PCA_FORMATS:
        raise InputError(
            f"{path if not folder else form} is not a kind of picture; end it with {', '.join(PCA_FORMATS)}."
        )
    if suffix == ".rrd":
        library()
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
