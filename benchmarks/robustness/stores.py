"""Valid scans that are folders, and files of robots and of octrees: what `fuzz_files` damages beside plain files."""

import json
import multiprocessing as mp
import shutil
import sys
from pathlib import Path
from typing import Any

import mutate
import numpy as np
import pyarrow
import pyarrow.parquet
import safetensors.numpy
import zarr

sys.path.append(str(Path(__file__).parents[2]))  # for what the tests write with
from tests import octrees
from tests.test_io_robots import StoragePlugin, bag1, bag2

Store = dict[str, bytes]  # the files of a folder, by their places in it


def valid(points: dict[str, np.ndarray], folder: Path) -> tuple[dict[str, bytes], dict[str, Store]]:
    """Return valid files and valid folders by name, made in a process of their own.

    zarr and pyarrow have threads, without which their forked children would wait for ever.
    """
    made = mp.get_context("fork").Process(target=_make, args=(points, folder))
    made.start()
    made.join()
    assert made.exitcode == 0
    paths = sorted(folder.iterdir())
    return {one.name: one.read_bytes() for one in paths if one.is_file()}, {
        one.name: _read(one) for one in paths if one.is_dir()
    }


def _make(points: dict[str, np.ndarray], folder: Path) -> None:
    folder.mkdir()
    _files(points, folder)
    _stores(points, folder)


def _files(points: dict[str, np.ndarray], folder: Path) -> None:
    octrees.copc(folder / "scan.copc.laz", _records(points), pages=2)
    bag1(folder / "drive.bag", sweeps=2)
    for name, storage in (("mcap", StoragePlugin.MCAP), ("db3", StoragePlugin.SQLITE3)):
        bag2(folder / name, 2, storage)
        next((folder / name).glob(f"*.{name}")).rename(folder / f"drive.{name}")
        shutil.rmtree(folder / name)
    sweep = np.column_stack([points["coord"], points["color"][:, :1]]).astype("<f4")
    sweep.tofile(folder / "sweep.bin")
    np.c_[sweep, sweep[:, 3]].tofile(folder / "sweep.pcd.bin")
    safetensors.numpy.save_file(points, folder / "scan.safetensors")
    columns = dict(zip("xyz", points["coord"].T, strict=True)) | {"label": points["segment"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "scan.parquet")


def _stores(points: dict[str, np.ndarray], folder: Path) -> None:
    for version in (2, 3):
        group = zarr.open_group(folder / f"{version}.zarr", mode="w", zarr_format=version)
        for name, array in points.items():
            group.create_array(name, data=array, chunks=(32, *array.shape[1:]))
    octrees.ept(folder / "ept", _records(points), apart=True)
    bag2(folder / "bag", 2)


def damaged(rng: np.random.Generator, store: Store) -> Store:
    """Return a folder of which one file is changed, exchanged for another, or missing."""
    store, name = dict(store), mutate.pick(rng, list(store))
    plain = [one for one in store if one.endswith((".json", ".yaml", ".zarray", ".zgroup", ".zattrs"))]
    if rng.random() < 0.6 and plain:  # most of what matters
        name = mutate.pick(rng, plain)
    kind = rng.random()
    if kind < 0.1:
        del store[name]
    elif kind < 0.2:
        store[name] = store[mutate.pick(rng, list(store))]
    elif kind < 0.7 and store[name][:1] == b"{":
        store[name] = mutate.text(rng, mutate.changed(rng, json.loads(store[name])))
    else:
        store[name] = mutate.scrambled(rng, store[name], list(store.values()))
    return store


def write(store: Store, folder: Path) -> Path:
    """Write a folder."""
    for name, data in store.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def _read(folder: Path) -> Store:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _records(points: dict[str, np.ndarray]) -> Any:
    return octrees.records(points["coord"].astype(np.float64), points["color"], points["segment"])
