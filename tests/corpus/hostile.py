"""Input that means harm, or might: each is refused in one sentence, within a bound of time and memory."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import msm3d
from msm3d import weights
from msm3d.backbones.hunet import released
from msm3d.weights import convert as conversion
from msm3d.weights import store
from tests.corpus import NORMAL, RGB, XYZ, Case, Law, Place, Refused, contains, environment, heard, refusal
from tests.corpus.files import npz, raw

GUARDED = """
import resource, sys, torch
torch.set_num_threads(1)
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from msm3d.errors import Msm3dError
try:
    {}
except Msm3dError as error:
    print("refused:", error)
else:
    print("done")
"""


def guarded(source: str, *arguments: str, limit: float = 30) -> str:
    """Run a line in a process of its own, within bounds, and return what it said."""
    command = [sys.executable, "-c", GUARDED.format(source), *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=limit)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-1500:]}"
    return done.stdout


def edited(directory: Path, **values: Any) -> Path:
    meta = json.loads((directory / store.CONFIG).read_text())
    (directory / store.CONFIG).write_text(json.dumps(meta | values))
    return directory


def huge_networks(place: Place) -> None:
    """A network that the file cannot hold is refused before anything of its size is made."""
    backbone = json.loads((place.weights / store.CONFIG).read_text())["backbone"]
    wide = {"channels": [10**6] * 2, "decoder_channels": [10**6] * 2}
    changes = ({"attention_blocks": [0, 10**30]}, wide, {"mlp_ratio": 10**18}, {"in_channels": 10**10})
    folders = []
    for i, change in enumerate(changes):
        folders.append(shutil.copytree(place.weights, place.folder / str(i)))
        edited(folders[-1], backbone=backbone | change)
    said = guarded(
        """import msm3d
    for folder in sys.argv[1:]:
        try: msm3d.load(folder, device="cpu")
        except Msm3dError: print("refused")""",
        *map(str, folders),
    )
    assert said.split() == ["refused"] * len(changes) + ["done"]


def scores(place: Place) -> None:
    """What a foreign config.json says of scores is checked before it is used."""
    for value in (5, [1], "x", [[1, 2, 3]]):
        edited(place.weights, scores=value)
        contains(refusal(lambda: weights.info(place.weights)), ("scores",))


def told(place: Place) -> None:
    """`convert --config` refuses hostile JSON in a sentence."""
    path, config = place.folder / "model.pth", place.folder / "told.json"
    shape = msm3d.BackboneConfig(
        channels=(4, 8), decoder_channels=(4, 8), conv_blocks=(1, 1), attention_blocks=(0, 1), heads=(0, 2)
    )
    state = {"student." + theirs: torch.rand(size) for theirs, (_, size) in released.table(shape).items()}
    good = '{"heads": [0, 2], "window": 16, "voxel_size": 0.05}'
    torch.save({"state_dict": state}, path)
    for text in (
        '{"a":' * 5000 + "1" + "}" * 5000,
        good.replace("[0, 2]", "NaN"),
        good.replace("[0, 2]", "5"),
        good.replace("16", "1e400"),
        good.replace("}", ', "mlp_ratio": 1000000000000000000}'),
        good.replace("}", ', "in_channels": 10000000000}'),
        "[]",
    ):
        config.write_text(text)
        refusal(lambda: conversion.convert(path, place.folder / "out", config=config))
    config.write_text(good)
    name = next(name for name, value in state.items() if value.dim() == 2)
    for odd in (state[name].to_sparse(), state[name].to("meta"), state[name].to(torch.complex64)):
        torch.save({"state_dict": state | {name: odd}}, path)
        contains(refusal(lambda: conversion.convert(path, place.folder / "out", config=config)), (r"model\.pth",))
    assert not (place.folder / "out").exists()


def cache(place: Place, inside: Callable[[Path], Path]) -> tuple[Path, Path]:
    """Make a Hub cache whose model.safetensors is a link to `inside(cache)`, with other bytes than config.json says."""
    root = place.folder / "cache"
    snapshot = root / "models--ana--x" / "snapshots" / ("a" * 40)
    (root / "models--ana--x" / "refs").mkdir(parents=True)
    (root / "models--ana--x" / "refs" / "main").write_text("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / store.CONFIG).write_bytes((place.weights / store.CONFIG).read_bytes())
    target = inside(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"other bytes")
    os.symlink(target, snapshot / store.MODEL)
    return root, target


def outside_the_cache(place: Place) -> None:
    """A file outside of the cache is never deleted, whatever a link says; nor is it believed."""
    root, target = cache(place, lambda _: place.folder / "precious" / "model.safetensors")
    for local in (True, False):
        refusal(lambda local=local: weights.resolve("ana/x", cache_dir=root, local_files_only=local))
        assert target.read_bytes() == b"other bytes"
    right = (place.weights / store.MODEL).read_bytes()
    target.write_bytes(right)
    contains(refusal(lambda: weights.resolve("ana/x", cache_dir=root, local_files_only=True)), ("outside|cache",))


def offline_nothing_is_deleted(place: Place) -> None:
    """A damaged model of the cache stays where no download can follow."""
    root, target = cache(place, lambda root: root / "models--ana--x" / "blobs" / "b1")
    sentence = refusal(lambda: weights.resolve("ana/x", cache_dir=root, local_files_only=True))
    contains(sentence, ("damaged", "sha256"))
    assert target.read_bytes() == b"other bytes"


FORK = """
import multiprocessing as mp, sys, numpy as np, msm3d
model = msm3d.load(sys.argv[1], device="cpu")
points = np.random.default_rng(0).random((3000, 9)).astype("f4")
if __name__ == "__main__":
    here = model.extract(points)
    with mp.get_context("fork").Pool(2) as pool:
        there = pool.map(model.extract, [points, points])
    assert all(np.array_equal(here, rows) for rows in there)
"""


def forked(place: Place) -> None:
    """Forked children of a process that has extracted give its bits, and do not hang."""
    (place.folder / "fork.py").write_text(FORK)
    more = {"OMP_NUM_THREADS": "2"}
    command = [sys.executable, str(place.folder / "fork.py"), str(place.weights)]
    process = subprocess.Popen(
        command, env=environment() | more, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        _, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()
    assert process.returncode == 0, err


def zero_tensor(place: Place) -> None:
    """A zero tensor without memory, as forward-mode AD makes, is a bias of zeros or refused; it is no crash."""
    source = "from msm3d.ops import native; x, w = torch.ones(5, 8), torch.ones(24, 8)\n    "
    source += "assert torch.allclose(native.linear(x, w, torch._efficientzerotensor(24)), x @ w.T)"
    guarded(source)


def odd_levels(place: Place) -> None:
    """numpy's and torch's integers are levels; a boolean or a fraction is not."""
    scan = {"coord": XYZ, "color": RGB, "normal": NORMAL}
    right = place.model.extract(scan, levels=1)
    for level in (np.int64(1), torch.tensor(1), np.array([1]), [np.int32(1)], range(1, 2)):
        assert np.array_equal(place.model.extract(scan, levels=level), right)
    for level in (True, 1.5, [True], "1", [[1]], object()):
        contains(refusal(lambda level=level: place.model.extract(scan, levels=level)), ("levels is",))


def odd_places(place: Place) -> None:
    """A result is written rightly to any place that is accepted; the others are refused."""
    scan = {"coord": XYZ, "color": RGB, "normal": NORMAL}
    right = place.model.extract(scan)
    for make in (
        lambda: np.zeros_like(right),
        lambda: np.zeros_like(right)[::-1],
        lambda: np.zeros(right.shape, ">f4"),
        lambda: np.zeros(right.shape, order="F"),
        lambda: np.zeros((2 * len(right), right.shape[1]), "f4")[::2],
        lambda: np.broadcast_to(np.zeros(right.shape[1], "f4"), right.shape),
    ):
        out = make()
        try:
            place.model.extract(scan, out=out)
        except msm3d.errors.Msm3dError as error:
            contains(str(error), ("out ",))
        else:
            assert np.allclose(out, right, atol=1e-5)


def small_networks(place: Place) -> None:
    """Whole numbers are numbers, and a network in another precision can say what it is."""
    config = msm3d.BackboneConfig(
        channels=(8,),
        decoder_channels=(8,),
        conv_blocks=(1,),
        attention_blocks=(0,),
        heads=(0,),
        layer_scale=1,
        voxel_size=1,
    )
    model = msm3d.Model(config).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", msm3d.Msm3dWarning)  # of so few voxels
        rows = model.extract({"coord": XYZ, "color": RGB, "normal": NORMAL})
    assert np.isfinite(rows).all()
    for other in (model.half(), model.double()):
        assert "Model(" in repr(other)


HEADER = b"\x93NUMPY\x01\x00" + (4080).to_bytes(2, "little") + b"{'descr': " + b"x" * 4069 + b"\n"

CASES: list[Case] = [
    Law("1.10 and 2.15 fork after extract", forked),
    Law("2.03b and 2.04 links out of the cache", outside_the_cache),
    Law("2.04 offline nothing is deleted", offline_nothing_is_deleted),
    Law("2.06 networks that no file can hold", huge_networks),
    Law("2.10 a zero tensor without memory", zero_tensor),
    Law("2.12 whole numbers and other precisions", small_networks),
    Law("2.13 hostile JSON and tensors for convert", told),
    Law("2.13 scores that are no table", scores),
    Law("2.14 levels of other kinds", odd_levels),
    Law("2.14 places for the result", odd_places),
    Refused("2.16 an NPY header of 4,000 letters", raw("scan.npy", HEADER), ("NPY",)),
    Refused("2.16 coordinates that no float32 holds", npz(coord=XYZ * 1e300), ("span|coord",)),
    Law("2.16 a colour that no float32 holds", lambda place: no_leak(place)),
]


def no_leak(place: Place) -> None:
    color = RGB.astype(np.float64)
    color[5] = 1e300
    path = npz(coord=XYZ, color=color)(place.folder)

    def either() -> None:
        try:
            msm3d.io.read(path)
        except msm3d.errors.Msm3dError:
            pass

    heard(either)
