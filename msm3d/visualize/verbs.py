"""What `msm3d pca` and `msm3d view` do; each yields the lines that are shown."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from .. import memory
from ..atomic import scratch
from ..errors import FileError, InputError
from ..io import read_with
from ..layouts import mapped
from ..model import LevelInfo, Model
from ..normals import completed
from ..points import PointCloud
from ..reading import ReadOptions
from .colors import ColorBasis
from .page import MOST_POINTS, Page, check_page, level_bases, write_page
from .picture import colored_ply, render, save_picture

PCA_FORMATS = (".png", ".ply", ".html")


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
    max_memory: str | None = None,
    options: ReadOptions | None = None,
) -> Iterator[str]:
    """Colour scans by principal components on one basis; a picture, a PLY file or a page for each.

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
        max_memory: as for `Model.extract`.
        options: how the files are to be understood.
    """
    targets = _targets(scans, output, form)
    pixels, known = _size(size), None if basis is None else ColorBasis.load(basis)
    model = load()
    start = perf_counter()
    infos = _infos(model, levels)
    with _described(model, scans, levels, targets[0].parent, max_memory, options) as (clouds, features):
        yield f"{sum(map(len, clouds)):,} points x {features[0].shape[1]} channels in {perf_counter() - start:.1f} s"
        if targets[0].suffix.lower() == ".html":
            bases = level_bases(features, [info.slice for info in infos])
            bases = bases if known is None else [known, *bases[1:]]
        else:
            bases = [ColorBasis.fit(features) if known is None else known]
        if save_basis is not None:
            bases[0].save(save_basis)
        if len(targets) == 1 and targets[0].suffix.lower() == ".png":
            start = perf_counter()
            colors = [bases[0](feature) for feature in features]
            settings = {"size": pixels, "background": background}
            shown = [
                render(c.coord, color, normals=c.normal, **settings) for c, color in zip(clouds, colors, strict=True)
            ]
            save_picture(targets[0], _side_by_side(shown))
            yield f"{targets[0]}: {_file(targets[0])} in {perf_counter() - start:.1f} s"
            return
        for scan, target, cloud, feature in zip(scans, targets, clouds, features, strict=True):
            start = perf_counter()
            if target.suffix.lower() == ".html":
                settings = {"levels": infos, "bases": bases, "mode": "pca"}
                page = write_page(target, cloud, feature, title=Path(scan).name, model=_name(model), **settings)
                yield f"{_page(page)} in {perf_counter() - start:.1f} s"
                continue
            colors = bases[0](feature)
            if target.suffix.lower() == ".ply":
                colored_ply(target, cloud.coord, colors)
            else:
                settings = {"size": pixels, "background": background, "normals": cloud.normal}
                save_picture(target, render(cloud.coord, colors, **settings))
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
        names: of the labels: scannet20, scannet200, s3dis, rooms, a file with one name a line, or wall,floor,chair.
        most: points to keep in the page.
        max_memory: as for `Model.extract`.
        options: how the files are to be understood.
    """
    target, named = check_page(output), () if names is None else _names(names)
    if most < 1:
        raise InputError(f"points is {most}; give at least 1.")
    settings = {"title": Path(scan).name, "names": named, "most": most}
    if features is not None:
        start = perf_counter()
        cloud, rows = read_with(scan, options or ReadOptions()), _features(features)
        if len(rows) != len(cloud):
            raise InputError(
                f"{features} has {len(rows):,} rows, {scan} has {len(cloud):,} points; give the features of this scan."
            )
        page = write_page(target, completed(cloud), rows, model=Path(features).name, **settings)
        yield f"{_page(page)} in {perf_counter() - start:.1f} s"
        return
    model = load()
    start = perf_counter()
    with _described(model, [scan], None, target.parent, max_memory, options) as ([cloud], [rows]):
        yield f"{len(cloud):,} points x {rows.shape[1]} channels in {perf_counter() - start:.1f} s"
        start = perf_counter()
        page = write_page(target, cloud, rows, levels=_infos(model, None), model=_name(model), **settings)
        yield f"{_page(page)} in {perf_counter() - start:.1f} s"


# --- features -------------------------------------------------------------------------------------------------------


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
    with ExitStack() as stack:
        for i, scan in enumerate(scans):
            cloud = completed(read_with(scan, options or ReadOptions()))
            shape = len(cloud), width
            if shape[0] * shape[1] * 2 < memory.available() // 4:
                out = np.empty(shape, np.float16)
            else:
                out = mapped(stack.enter_context(scratch(folder)) / f"{i}.bin", np.float16, shape)
            kept = {"levels": levels, "dtype": "float16", "max_memory": max_memory}
            features.append(model.extract(cloud, out=out, progress=True, **kept))
            clouds.append(cloud)
        yield clouds, features


def _features(path: str) -> np.ndarray:
    """Return the features (n, c) in a file of `msm3d extract`."""
    file = Path(path)
    try:
        if file.suffix == ".npy":
            return np.load(file, mmap_mode="r")
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                return arrays["feat"]
        if file.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(file)["feat"]
    except FileNotFoundError as error:
        raise FileError(f"{file}: does not exist; check the path.") from error
    except Exception as error:  # files are hostile, and so are the ways in which they fail
        raise FileError(f"{file}: holds no array 'feat'; write it with msm3d extract.") from error
    raise FileError(f"{file}: is of a kind that holds no features; give .npz, .npy or .safetensors.")


def _infos(model: Model, levels: Sequence[int] | None) -> list[LevelInfo]:
    """Return the levels with their columns in a descriptor of these levels alone."""
    known, found, start = model.feature_info, [], 0
    for level in range(len(known)) if levels is None else levels:
        info = known[level]
        found.append(replace(info, slice=slice(start, start + info.channels)))
        start += info.channels
    return found


def _names(text: str) -> tuple[str, ...]:
    from ..evaluate.classes import class_list

    if "," in text:
        return tuple(part.strip() for part in text.split(","))
    if os.path.isfile(text):
        return tuple(line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines())
    return (*class_list(text).names, *(["other"] if text == "rooms" else []))


# --- files ----------------------------------------------------------------------------------------------------------


def _targets(scans: Sequence[str], output: str, form: str) -> list[Path]:
    """Return the file for each scan, or one picture for all; checked before any work is done."""
    path = Path(output)
    folder = path.is_dir() or output.endswith("/") or not path.suffix
    suffix = f".{form.removeprefix('.')}" if folder else path.suffix.lower()
    if suffix not in PCA_FORMATS:
        raise InputError(f"{path if not folder else form} is no kind of picture; end it with {', '.join(PCA_FORMATS)}.")
    if not folder:
        if len(scans) > 1 and suffix != ".png":
            raise InputError(f"{len(scans)} scans do not fit into the file {path}; give -o a folder, or a .png file.")
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}; make it first: mkdir -p {path.parent}")
        return [path]
    targets = [path / f"{Path(scan).stem}{suffix}" for scan in scans]
    if len(set(targets)) < len(targets):
        raise InputError(f"two scans would become the same file in {path}; colour them one by one with -o FILE.")
    path.mkdir(parents=True, exist_ok=True)
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


def _name(model: Model) -> str:
    return f"{model.meta.get('name') or 'untrained'}, {model.config.descriptor_channels} channels"


def _file(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _page(page: Page) -> str:
    mean, most = page.loss
    return (
        f"{page.path}: {page.bytes / 1e6:.1f} MB, {page.points:,} points, features for {page.cells:,} cells of "
        f"{page.edge * 100:.1f} cm, similarities off by {mean:.3f} on average and {most:.3f} in 95 of 100 cases,"
    )
