"""One scan as many jobs: tiles on a disk, which any process computes, and whose rows become one file at the end.

They lie in a folder of their own, `NNNNN.tile`, each with the voxels of a region and the rows of the result that come
of it. What comes of a tile is `NNNNN.npy`, whole or not at all, so the tiles that lack one are what is left to do.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from safetensors.torch import load_file, save_file

from ._util import memory, words
from ._util.atomic import made, replacing, scratch
from .batch import TILE, Job, Outcome, meta_of, read
from .describe import regions
from .describe.request import Reading
from .errors import FileError, InputError
from .io import storage
from .model import Model
from .scan.options import ReadOptions
from .scan.places import spread

_PLAN = "plan.json"
_BLOCK = 1 << 16  # rows moved at a time


def cut(
    model: Model, job: Job, options: ReadOptions | None = None, *, max_memory: Any = None, **asked: Any
) -> list[Job]:
    """Return one scan as jobs for `batch.extract`, here or on other machines, one for each of its tiles.

    The tiles lie in a hidden folder beside the target, which every machine must see, until `join` makes the target of
    them. Where there are some, these are taken, whatever the memory: work that broke off goes on.

    Args:
        model: what will describe them.
        job: the scan, and the file that it is to become.
        options: how the scan is to be understood.
        max_memory: what the work on one tile may take, as for `Model.extract`; it says how large the tiles are.
        asked: `levels`, `sampling` and `dtype`, as for `Model.extract`.

    Raises:
        InputError: the scan cannot be used, the target is in object storage, or the weights are of no file.
        FileError: the scan cannot be read, or the tiles cannot be written.
    """
    options, meta = _asked(model, job, options, **asked)
    into = _folder(job, meta)
    if not into.is_dir():
        voxels, limit = model._voxels(read(job.scan, options)), memory.budget(max_memory, model.device)
        parts = regions.Regions(voxels, model.config, torch.device("cpu"), limit, per_point=True)
        with made(into.parent), scratch(into.parent) as stage:
            for number, region in enumerate(parts):
                held = {name: value.contiguous() for name, value in vars(region).items() if value is not None}
                save_file(held, stage / f"{number:05}{TILE}")
            (stage / _PLAN).write_bytes(_text(meta))
            with suppress(OSError):  # another call was first, and its tiles are as good
                os.rename(stage, into)
    return [Job(tile, tile.with_suffix(".npy")) for tile in sorted(into.glob(f"*{TILE}"))]


def is_done(model: Model, job: Job, options: ReadOptions | None = None, **asked: Any) -> bool:
    """Whether the file of a scan is there and whole, so that no tile is needed; the arguments are those of `cut`."""
    return storage.is_done(job.target, _asked(model, job, options, **asked)[1])


def left(tiles: Sequence[Job]) -> list[Job]:
    """Return the tiles that nobody has computed yet."""
    return [job for job in tiles if not Path(job.target).is_file()]


def compute(model: Model, outcome: Outcome) -> Outcome:
    """Write the rows of a tile, and return what became of it.

    Raises:
        InputError: it was cut for other weights.
        FileError: it is gone or damaged, or its rows cannot be written.
    """
    tile, rows, start = outcome.job.scan, Path(outcome.job.target), perf_counter()
    plan, region = _plan(tile), _region(tile)
    if plan["sha256"] != model.meta.get("sha256"):
        raise InputError(f"{tile} was cut for other weights (sha256 {plan['sha256']}); use those, or cut it again.")
    reading = Reading.of(model.config, plan["levels"], plan["sampling"], "points", plan["dtype"])
    assert region.owner is not None
    shape, kind = (len(region.owner), model.channels(reading.levels)), np.dtype(plan["dtype"])
    done = replace(outcome, points=shape[0], channels=shape[1], dtype=kind.name)
    if rows.is_file():
        return replace(done, was_there=True)
    region = replace(region, places=None).to(model.device)
    with torch.no_grad(), replacing(rows, settled=False) as partial, partial.open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": kind.str, "fortran_order": False, "shape": shape})
        hierarchy = region.hierarchy(model.config.levels, model.ops)
        features = model.backbone(region.features, hierarchy, model.ops)
        for part in regions.read(features, hierarchy, region, reading, model.ops, _BLOCK):
            file.write(part.read().cpu().numpy().data)
    return replace(done, seconds=perf_counter() - start, bytes=rows.stat().st_size)


def join(model: Model, job: Job, options: ReadOptions | None = None, **asked: Any) -> Outcome:
    """Write the file of a scan, of the rows of its tiles, which then go; see `cut`. All of them must be computed.

    Raises:
        FileError: rows are missing or damaged, or the file cannot be written.
    """
    start, (options, meta) = perf_counter(), _asked(model, job, options, **asked)
    into, done = _folder(job, meta), Outcome(job=job, channels=sum(meta["channels"]), dtype=meta["dtype"])
    tiles, source = sorted(into.glob(f"*{TILE}")), None if job.scan.is_dir() else job.scan
    if not tiles and storage.is_done(job.target, meta):
        return replace(done, was_there=True)
    if not tiles:
        raise FileError(f"{into}: holds no tiles; call cut, and give the tiles to extract.")
    cloud = read(job.scan, options)
    try:
        with storage.writing(job.target, cloud, done.channels, done.dtype, meta, source) as out:
            for tile in tiles:
                _place(tile, out)
            if cloud.total is not None and cloud.rows is not None:
                spread(out, cloud.rows)
    except FileError:
        if storage.is_done(job.target, meta):  # another call found all tiles, too, and was faster
            return replace(done, was_there=True)
        raise
    shutil.rmtree(into, ignore_errors=True)
    written, points = storage.size(job.target), cloud.total or len(cloud)
    return replace(done, points=points, bytes=written, seconds=perf_counter() - start)


def _asked(
    model: Model,
    job: Job,
    options: ReadOptions | None,
    levels: Any = None,
    sampling: str | None = None,
    dtype: str = "float32",
) -> tuple[ReadOptions, dict[str, Any]]:
    """Return how the scan is read, and what its file will say of its features."""
    options = replace(options or ReadOptions(), spacing=model.config.inputs.voxel_size)
    meta = meta_of(model, job.scan, options, levels, sampling, dtype)
    if meta["sha256"] is None:
        raise InputError(f"{job.scan} is cut into tiles for weights of a file only; save the model and load it.")
    return options, meta


def _folder(job: Job, meta: Mapping[str, Any]) -> Path:
    """Return where the tiles of a scan lie; other weights, levels or points give another name."""
    if not isinstance(job.target, Path):
        raise InputError(f"{job.target} is in object storage, and the tiles of one scan need a folder; give -o a file.")
    return job.target.with_name(f".{job.target.name}.{sha256(_text(meta)).hexdigest()[:8]}.tiles")


def _place(tile: Path, out: np.ndarray) -> None:
    """Write the rows of a tile to where they belong."""
    region, file = _region(tile), tile.with_suffix(".npy")
    places, points = region.places, 0 if region.owner is None else len(region.owner)
    try:
        rows = np.load(file, mmap_mode="r")
        if rows.shape != (points, out.shape[1]):
            raise ValueError(f"rows of shape {rows.shape}")
    except (OSError, ValueError) as error:
        raise FileError(f"{file} cannot be read ({words.cut(error)}); remove it, and it is computed again.") from error
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(rows)))
        out[part if places is None else places[part].numpy()] = rows[part]


def _region(tile: Path) -> regions.Region:
    try:
        held: dict[str, Any] = {field.name: None for field in fields(regions.Region)} | load_file(tile)
        return regions.Region(**held)
    except Exception as error:  # what is gone or damaged fails in many ways
        raise _lost(tile, error) from error


def _plan(tile: Path) -> dict[str, Any]:
    try:
        return json.loads((tile.parent / _PLAN).read_bytes())
    except (OSError, ValueError) as error:
        raise _lost(tile, error) from error


def _lost(tile: Path, error: Exception) -> FileError:
    return FileError(f"{tile} cannot be read ({words.cut(error)}); remove {tile.parent}, and the scan is cut again.")


def _text(meta: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(meta), sort_keys=True, indent=1).encode()
