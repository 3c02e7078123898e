"""The processes of a run, as torchrun starts them: each takes its share of a step, and gradients are summed."""

import atexit
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from ..errors import InputError

S = TypeVar("S")


@dataclass(frozen=True)
class Group:
    """Which process this is, and how many there are."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """How many processes there are."""

    @classmethod
    def join(cls, device: torch.device, batch: int) -> tuple["Group", torch.device]:
        """Return the processes that torchrun has started, and the device of this one: the GPU of its LOCAL_RANK.

        Processes share GPUs where there are fewer: a small network leaves a GPU idle while Python is between kernels.

        Raises:
            InputError: `batch`, the number of scenes of a step, cannot be shared evenly among them.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return ALONE, torch.device("cuda", device.index or 0) if device.type == "cuda" else device
        if not dist.is_initialized():
            alone = device.type == "cuda" and int(os.environ["LOCAL_WORLD_SIZE"]) <= torch.cuda.device_count()
            store, rank, size = next(iter(rendezvous("env://")))
            backend = "nccl" if alone else "gloo"  # nccl refuses to share a GPU
            dist.init_process_group(backend, store=fresh(store, rank, size), rank=rank, world_size=size)
            atexit.register(dist.destroy_process_group)
        group = cls(dist.get_rank(), dist.get_world_size())
        if batch % group.size:
            raise InputError(
                f"a batch of {batch} scenes cannot be shared by {group.size} processes; "
                f"give batch a multiple of {group.size}."
            )
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        return group, device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Add up tensors over all processes, in place and in one message."""
        if self.size > 1:
            device = tensors[0].device if dist.get_backend() == "nccl" else torch.device("cpu")
            flat = torch.cat([tensor.flatten().to(device) for tensor in tensors])
            dist.all_reduce(flat)
            for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            dist.barrier()


def fresh(store: dist.Store, rank: int, size: int) -> dist.Store:
    """Return a part of a store that is shared by the processes of this start, and that no earlier start has written to.

    torchrun keeps one store over its restarts. In it a process that starts again could read the address of one that is
    gone, and wait for that one for half an hour [pytorch/pytorch issue 135712]. So the first process gives its part of
    the store a new name, and tells each of the others, which ask under a name of their own.
    """
    name, end = uuid4().hex, time.monotonic() + store.timeout.total_seconds()
    if rank > 0:
        store.set(f"asks {rank}", name)
        name = store.get(f"answer to {name}").decode()  # waits for it
        store.set(f"{name} has {rank}", "")
        return dist.PrefixStore(name, store)
    missing = set(range(1, size))
    while missing:  # until all have answered: the first question that is found may be of a process that is gone
        for other in missing:
            if store.check([f"asks {other}"]):
                store.set("answer to " + store.get(f"asks {other}").decode(), name)
        missing = {other for other in missing if not store.check([f"{name} has {other}"])}
        if time.monotonic() > end:
            raise TimeoutError(f"{len(missing)} of {size} processes have not started; see what torchrun says of them.")
        time.sleep(0.01)
    return dist.PrefixStore(name, store)


ALONE = Group()
"""A run of one process."""


def scene_at(turn: int, scenes: int, seed: int) -> int:
    """Return which of `scenes` comes at `turn`: pass after pass over all, each in an order of its own.

    >>> sorted(scene_at(turn, 3, seed=0) for turn in range(6, 9))
    [0, 1, 2]
    """
    order = torch.Generator().manual_seed((seed << 32) + (1 << 31) + turn // scenes)
    return int(torch.randperm(scenes, generator=order)[turn % scenes])


def turns(step: int, batch: int, scenes: Sequence[S], seed: int, group: Group = ALONE) -> Iterator[tuple[int, S]]:
    """Yield this process's share of the scenes of a step, each with its turn: its number in the whole run from 0.

    >>> [turn for turn, _ in turns(3, 2, "abc", seed=0)]
    [6, 7]
    """
    for turn in range(step * batch + group.rank, (step + 1) * batch, group.size):
        yield turn, scenes[scene_at(turn, len(scenes), seed)]
