"""What `msm3d pca` and `msm3d view` do; each yields the lines that are shown."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from .._util import memory, stages
from .._util.atomic import apart, scratch
from .._util.output_path import output_path
from .._util.words import choices, count, option, warn
from ..errors import InputError
from ..io import read_with, results
from ..io.layouts import mapped
from ..model import LevelInfo, Model
from ..scan.cloud import PointCloud
from ..scan.normals import completed, estimated
from ..scan.options import ReadOptions
from .colors import ColorBasis, label_colors
from .height import Height
from .kinds import Kinds
from .names import label_names, names_with
from .page import MOST_POINTS, Page, check_page, level_bases, write_page
from .picture import colored_ply, ground_of, render, save_picture
from .saved import as_made, placed, rows_of, saved

PCA_FORMATS = (".png", ".ply", ".html")
MODES = ("components", "clusters", "no-height")
"""What colours of `pca` are: principal components, a colour for each of eight kinds of features, or components of what
height does not explain."""


def pca(
    scans: Sequence[str],
    output: str,
    load: Callable[[], Model],
    *,
    levels: Sequence[int] | None = None,
    form: str = "png",
    size: str = "1280x960",
    background: str = "white",
    basis: str | None = None,
    save_basis: str | None = None,
    mode: str = "components",
    features: Sequence[str] | None = None,
    max_memory: str | None = None,
    options: ReadOptions | None = None,
) -> Iterator[str]:
    """Colour scans by their features, all on one basis; a picture, a PLY file or a page for each.

    Args:
        scans: files.
        output: a .png, .ply or .html file; or a folder, for several scans. Several scans fit into one .png.
        load: gives the model, once everything else has been checked.
        levels: of the descriptor; all by default.
        form: of the files in a folder: png, ply or html.
        size: of a picture, such as 1280x960.
        background: of a picture.
        basis: a file of `ColorBasis.save` to use.
        save_basis: where to write the basis.
        mode: one of `MODES`.
        features: a file of `msm3d extract` for each scan, in their order, instead of a model.
        max_memory: as for `Model.extract`.
        options: how the files are to be understood.
    """
    targets = _targets(scans, output, form)
    _check_mode(mode, targets[0].suffix.lower(), [basis, save_basis])
    given = [path for path in (*scans, *(features or []), basis) if path]
    apart([path for path in (*targets, save_basis) if path], given)
    pixels, known = _size(size), None if basis is None else ColorBasis.load(basis)
    ground_of(background)  # which checks it
    place, start = _existing(targets[0].parent), perf_counter()
    with _source(scans, features, load, levels, place, max_memory, options) as (clouds, found, infos, name):
        targets[0].parent.mkdir(parents=True, exist_ok=True)
        yield f"{sum(map(len, clouds)):,} points x {found[0].shape[1]} channels in {perf_counter() - start:.1f} s"
        height = Height.fit(found, [cloud.coord for cloud in clouds])
        if mode == "components":
            others = " or ".join(MODES[1:])
            share = 100 * height.share
            yield f"height alone explains {share:.0f} % of the features' variance; see also --mode {others}"
        bases = []
        if mode == "components":
            parts = [info.slice for info in infos] if targets[0].suffix.lower() == ".html" else []
            bases = level_bases(found, parts)
            bases = bases if known is None else [known, *bases[1:]]
        if save_basis is not None:
            bases[0].save(save_basis)
        colors = _colors(mode, clouds, found, infos, height, bases)
        if len(targets) == 1 and targets[0].suffix.lower() == ".png":
            start = perf_counter()
            settings = {"size": pixels, "background": background}
            shown = [
                render(c.coord, color, normals=c.normal, **settings) for c, color in zip(clouds, colors, strict=True)
            ]
            save_picture(targets[0], _side_by_side(shown))
            yield f"{targets[0]}: {_file(targets[0])} in {perf_counter() - start:.1f} s"
            return
        for scan, target, cloud, feature, color in zip(scans, targets, clouds, found, colors, strict=True):
            start = perf_counter()
            if target.suffix.lower() == ".html":
                settings = {"levels": infos, "bases": bases, "mode": "pca", "names": names_with(scan)}
                page = write_page(target, cloud, feature, title=Path(scan).name, model=name, **settings)
                yield f"{_page(page)} in {perf_counter() - start:.1f} s"
                continue
            if target.suffix.lower() == ".ply":
                colored_ply(target, cloud.coord, color)
            else:
                settings = {"size": pixels, "background": background, "normals": cloud.normal}
                save_picture(target, render(cloud.coord, color, **settings))
            yield f"{target}: {_file(target)} in {perf_counter() - start:.1f} s"


def view(
    scan: str,
    output: str,
    load: Callable[[], Model],
    *,
    features: str | None = None,
    names: str | None = None,
    most: int = MOST_POINTS,
    max_memory: str | None = None,
    options: ReadOptions | None = None,
) -> Iterator[str]:
    """Write the page of a scan, with features of a model or of a file.

    Args:
        scan: file.
        output: .html file.
        load: gives the model, where it is needed.
        features: .npz, .npy or .safetensors file as from `msm3d extract`, instead of a model.
        names: of the labels: scannet20, scannet200, s3dis, rooms, a file with one name a line, or wall,floor,chair; by
            default those in the scan's own file.
        most: points to keep in the page.
        max_memory: as for `Model.extract`.
        options: how the files are to be understood.
    """
    target, named = check_page(output), None if names is None else label_names(names)
    apart([target], [path for path in (scan, features) if path])
    if most < 1:
        raise InputError(f"points is {most}; give at least 1.")
    files, place, start = None if features is None else [features], target.parent, perf_counter()
    with _source([scan], files, load, None, place, max_memory, options) as ([cloud], [rows], infos, name):
        yield f"{len(cloud):,} points x {rows.shape[1]} channels in {perf_counter() - start:.1f} s"
        start, named = perf_counter(), names_with(scan) if named is None else named
        settings = {"title": Path(scan).name, "model": name, "levels": infos, "names": named, "most": most}
        yield f"{_page(write_page(target, cloud, rows, **settings))} in {perf_counter() - start:.1f} s"


# --- features -------------------------------------------------------------------------------------------------------


@contextmanager
def _source(
    scans: Sequence[str],
    files: Sequence[str] | None,
    load: Callable[[], Model],
    levels: Sequence[int] | None,
    folder: Path,
    max_memory: str | None,
    options: ReadOptions | None,
) -> Iterator[tuple[list[PointCloud], list[np.ndarray], list[LevelInfo], str]]:
    """Yield scans, their features, the levels of these and a name for what made them: a model, or who wrote a file."""
    if files is None:
        model = load()
        with _described(model, scans, levels, folder, max_memory, options) as (clouds, features):
            yield clouds, features, _infos(model, levels), _name(model)
        return
    if len(files) != len(scans):
        raise InputError(
            f"there are {len(files)} files of features for {count(len(scans), 'scan')}; give one for each scan."
        )
    kept = [saved(file, levels) for file in files]
    if len({tuple(info.channels for info in infos) for _, infos, _ in kept}) > 1:
        raise InputError(f"{files[0]} and the others hold other levels; extract all scans alike.")
    clouds, features = [], []
    for scan, file, (rows, _, _) in zip(scans, files, kept, strict=True):
        cloud = read_with(scan, as_made(file, scan, options or ReadOptions()))
        features.append(rows_of(cloud, scan, rows, file))
        # normals are for light and for hiding walls alone, so that nobody need be told that they are estimated
        normal = estimated(cloud.coord) if cloud.normal is None else cloud.normal
        clouds.append(replace(cloud, normal=normal, total=None))
    yield clouds, features, kept[0][1], kept[0][2]


@contextmanager
def _described(
    model: Model,
    scans: Sequence[str],
    levels: Sequence[int] | None,
    folder: Path,
    max_memory: str | None,
    options: ReadOptions | None,
) -> Iterator[tuple[list[PointCloud], list[np.ndarray]]]:
    """Yield the scans and their descriptors in float16, which lie in a file beside the output where they are large."""
    clouds, features, width = [], [], model.channels(levels)
    options = replace(options or ReadOptions(), spacing=model.config.inputs.voxel_size)
    with ExitStack() as stack:
        for i, scan in enumerate(scans):
            with stages.of(scan):
                _tell_of_features(scan)
                cloud = replace(completed(read_with(scan, options)), total=None)  # only what is there can be shown
                shape = len(cloud), width
                if shape[0] * shape[1] * 2 < memory.available() // 4:
                    out = np.empty(shape, np.float16)
                else:
                    out = mapped(stack.enter_context(scratch(folder)) / f"{i}.bin", np.float16, shape)
                kept = {"levels": levels, "dtype": "float16", "max_memory": max_memory}
                features.append(model.extract(cloud, out=out, progress=True, **kept))
            clouds.append(cloud)
        yield clouds, features


def _tell_of_features(scan: str) -> None:
    """Warn where a scan's file holds features, which are about to be computed once more."""
    try:
        meta = results.metadata(scan)
    except InputError:  # it is of a kind that holds none, or reading it says what is wrong
        return
    if meta is not None and meta.get("sha256"):
        warn(
            f"the file holds features of {meta.get('model')} already, which are computed again; to use them, pass "
            f"{option('features', scan)}."
        )


def _infos(model: Model, levels: Sequence[int] | None) -> list[LevelInfo]:
    """Return the levels with their columns in a descriptor of these levels alone."""
    known = model.feature_info
    return placed([known[level] for level in (range(len(known)) if levels is None else levels)])


# --- colours --------------------------------------------------------------------------------------------------------


def _check_mode(mode: str, suffix: str, bases: Sequence[str | None]) -> None:
    """Fail before any work where a mode is not known or does not go with the rest."""
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}; {choices(mode, MODES)}")
    if mode != "components" and suffix == ".html":
        raise InputError(f"a page has no colours of {mode}; leave out {option('mode')}, or write .png or .ply.")
    if mode != "components" and any(basis is not None for basis in bases):
        raise InputError(f"a basis is of components, not of {mode}; leave out one of the two.")


def _colors(
    mode: str,
    clouds: Sequence[PointCloud],
    features: Sequence[np.ndarray],
    infos: Sequence[LevelInfo],
    height: Height,
    bases: Sequence[ColorBasis],
) -> list[np.ndarray]:
    """Return the colours (n, 3) uint8 of each scan."""
    if mode == "clusters":
        kinds = Kinds.fit(list(features), levels=[info.slice for info in infos])
        return [label_colors(kinds(feature)) for feature in features]
    if mode == "no-height":
        return height.colors(features, [cloud.coord for cloud in clouds])
    return [bases[0](feature) for feature in features]


# --- files ----------------------------------------------------------------------------------------------------------


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


def _existing(folder: Path) -> Path:
    """Return a folder, or where it is not there yet the nearest one above it."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


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


def _name(model: Model) -> str:
    return f"{model.meta.get('name') or 'untrained'}, {model.config.descriptor_channels} channels"


def _file(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _page(page: Page) -> str:
    mean, most = page.loss
    return (
        f"{page.path}: {page.bytes / 1e6:.1f} MB, {page.points:,} points, features for {page.cells:,} cells of "
        f"{page.edge * 100:.1f} cm, similarities off by {mean:.3f} on average and by less than {most:.3f} in 95 "
        "of 100 cases,"
    )
