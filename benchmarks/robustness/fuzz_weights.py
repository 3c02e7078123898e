"""Damaged models for `load` and `info`, damaged checkpoints and --config files for `convert`.

python benchmarks/robustness/fuzz_weights.py --inputs 6000
"""

import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import guard
import mutate
import numpy as np
import torch
from torch import Tensor

import msm3d
from msm3d import weights
from msm3d.backbones.hunet import released
from msm3d.weights import convert as conversion
from msm3d.weights import store

CONFIG = msm3d.BackboneConfig(
    channels=(4, 8), decoder_channels=(4, 8), conv_blocks=(1, 1), attention_blocks=(0, 1), heads=(0, 2), window=16
)
TOLD = {"heads": [0, 2], "window": 16, "voxel_size": 0.05}
META = {
    "name": "small",
    "licence": "MIT",
    "data": "none",
    "source": "here",
    "scores": {"x": 1.5},
    "scores_source": "me",
}
POINTS = np.random.default_rng(0).uniform(0, 2, (200, 9)).astype(np.float32)


def model(rng: np.random.Generator, files: dict[str, bytes], folder: Path) -> Path:
    """Write a model's directory with one of its files damaged, its hash right nine times in ten."""
    meta, tensors = json.loads(files[store.CONFIG]), files[store.MODEL]
    kind = rng.random()
    if kind < 0.4:
        meta["backbone"] = mutate.changed(rng, meta["backbone"])
    elif kind < 0.7:
        meta = mutate.changed(rng, meta)
    elif kind < 0.9:
        tensors = mutate.reheaded(rng, tensors)
    else:
        tensors = mutate.scrambled(rng, tensors)
    if isinstance(meta, dict) and "sha256" in meta and rng.random() < 0.9:
        meta["sha256"] = hashlib.sha256(tensors).hexdigest()
    (folder / store.MODEL).write_bytes(tensors)
    (folder / store.CONFIG).write_bytes(mutate.text(rng, meta))
    return folder


def _tensor(rng: np.random.Generator, tensor: Tensor) -> Any:
    """Return something else than what a checkpoint should hold."""
    if tensor.numel() > 10**6 or tensor.is_sparse or tensor.is_meta or tensor.is_quantized:  # changed before
        return tensor
    other = int(rng.integers(1, 5000))
    odd: tuple[Callable[[], Any], ...] = (
        lambda: tensor.to(mutate.pick(rng, (torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.complex64))),
        lambda: tensor.reshape(-1),
        lambda: tensor[..., None],
        lambda: tensor[:0],
        lambda: torch.full(tensor.shape, float(mutate.pick(rng, mutate.FLOATS)), dtype=torch.float64),
        lambda: tensor.to_sparse(),
        lambda: torch.zeros(other),
        lambda: torch.zeros(1).expand(other * 10**6),
        lambda: torch.tensor(1.0),
        lambda: torch._neg_view(tensor),
        lambda: torch.nn.Parameter(tensor),
        lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.quint8),
        lambda: tensor.to("meta"),
        lambda: mutate.value(rng),
        lambda: "text",
        lambda: {"weight": tensor},
    )
    return mutate.pick(rng, odd)()


def checkpoint(rng: np.random.Generator, state: dict[str, Tensor], files: list[bytes]) -> bytes:
    """Return a .pth file: damaged bytes, or what the authors' code would never save."""
    kind = rng.random()
    if kind < 0.25:
        return mutate.rezipped(rng, files[0])
    if kind < 0.4:
        return mutate.scrambled(rng, mutate.pick(rng, files), files)
    state = dict(state)
    for _ in range(int(rng.integers(0, 4))):
        name = mutate.pick(rng, list(state))
        step = int(rng.integers(6))
        if step == 0:
            del state[name]
        elif step == 1:
            state[mutate.worded(rng, name.encode()).decode(errors="replace")] = state[name]
        elif step == 2:
            state[mutate.pick(rng, (1, None, "", "teacher." + str(name), "student.x", ("a", 1)))] = state[name]
        elif isinstance(state[name], Tensor):
            state[name] = _tensor(rng, state[name])
        if not state:
            break
    holders: tuple[Any, ...] = (state, {"state_dict": state}, {"state_dict": state, "epoch": mutate.value(rng)})
    holders += ([state], {"state_dict": list(state.items())}, {"state_dict": {"state_dict": state}}, state.get("x"))
    stream = io.BytesIO()
    content = mutate.pick(rng, holders[:3]) if rng.random() < 0.9 else mutate.pick(rng, holders)
    torch.save(content, stream, _use_new_zipfile_serialization=bool(rng.random() < 0.8))
    return stream.getvalue()


def task_of(seed: int) -> guard.Task:
    torch.manual_seed(seed)
    base = guard.HOME / "model"
    saved = msm3d.Model(CONFIG, meta=META).save_pretrained(base)
    files = {name: (saved / name).read_bytes() for name in (store.CONFIG, store.MODEL)}
    state = {"module.student." + theirs: torch.rand(shape) for theirs, (_, shape) in released.table(CONFIG).items()}
    checkpoints = []
    for new in (True, False):
        stream = io.BytesIO()
        torch.save({"epoch": 1, "state_dict": state}, stream, _use_new_zipfile_serialization=new)
        checkpoints.append(stream.getvalue())

    def task(number: int, folder: Path) -> tuple[str, Callable[[], Any]]:
        rng = np.random.default_rng([seed, number])
        if number % 3 < 2:
            directory = model(rng, files, folder)
            if number % 3 == 0:
                return "info", lambda: weights.info(directory)
            return "load", lambda: msm3d.load(directory, device="cpu").extract(POINTS, max_memory="300MB")
        path, told = folder / "model.pth", folder / "told.json"
        path.write_bytes(checkpoint(rng, state, checkpoints))
        config: Any = told
        if rng.random() < 0.5:
            told.write_bytes(
                mutate.text(rng, TOLD if rng.random() < 0.3 else mutate.changed(rng, TOLD | CONFIG.to_dict()))
            )
            path.write_bytes(checkpoints[0])
        else:
            told.write_text(json.dumps(TOLD))
            config = mutate.pick(rng, (told, told, told, None, TOLD, CONFIG))
        return "convert", lambda: conversion.convert(path, folder / "out", config=config, install=False)

    return task


if __name__ == "__main__":
    sys.exit(guard.main(task_of, __doc__, inputs=6000))
