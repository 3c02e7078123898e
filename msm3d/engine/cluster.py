"""A Ray cluster: how to reach it, what its machines have, and how many workers fit on each."""

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .._util import memory
from .._util.words import count, cut, megabytes, option
from ..errors import DependencyError, InputError
from .setup import Setup

STORE = 100_000_000  # bytes of shared memory of a cluster of our own; no array travels through it
MOST = 4  # cores of a worker by default: more of them wait for each other while a scan is read and written


@contextmanager
def connected(address: str | None = None) -> Iterator[Any]:
    """Yield Ray, connected to a cluster: the caller's, that at `address` or RAY_ADDRESS, or one of this machine alone.

    Raises:
        DependencyError: Ray is not installed.
        InputError: there is no cluster at that address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent home
    try:
        import ray
    except ImportError as error:
        raise DependencyError('spreading scans needs Ray; type: pip install "msm3d[ray]".') from error
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        settings |= {"include_dashboard": False, "object_store_memory": STORE}
    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it says of a port that does not answer, the error says again
            ray.init(address, **settings)
    except Exception as error:  # of many kinds, none of them its own
        if address == "local":
            raise InputError(
                f"Ray cannot start here ({cut(error)}); start it with ray start --head, and give "
                f"{option('address', 'auto')}."
            ) from error
        raise InputError(
            f"there is no Ray cluster at {address} ({cut(error)}); start one with ray start --head, or leave "
            f"{option('address')} out."
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():  # Ray takes the signals for itself
            for kind, handler in handlers.items():
                signal.signal(kind, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Needs:
    """What every worker has of its machine for itself."""

    threads: int
    gpu: bool
    memory: int | None  # bytes, where the user limits them

    @classmethod
    def of(cls, ray: Any, setup: Setup) -> "Needs":
        """Return the needs on a cluster; without a word of the user's its GPUs are used, where it has some."""
        if setup.device not in (None, "cpu", "cuda"):
            raise InputError(
                f"{option('device')} {setup.device} is not for a cluster, where each worker gets a GPU of its own; "
                "choose cpu or cuda."
            )
        there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpu = setup.device == "cuda" or (setup.device is None and any(has.get("GPU", 0) >= 1 for has in there))
        cores = [int(has.get("CPU", 0) / (has["GPU"] if gpu else 1)) for has in there if not gpu or has.get("GPU")]
        least = min([number for number in cores if number], default=1)
        most = setup.asked.get("max_memory")
        return cls(setup.threads or min(MOST, least), gpu, None if most is None else memory.size(most))

    def __str__(self) -> str:
        """Say them."""
        words = [count(self.threads, "core"), *(["a GPU"] if self.gpu else [])]
        return ", ".join(words + ([megabytes(self.memory)] if self.memory else []))

    def resources(self) -> dict[str, float]:
        """Return them as Ray calls them."""
        gpu = {"num_gpus": 1} if self.gpu else {}
        return {"num_cpus": self.threads, **gpu, **({"memory": self.memory} if self.memory else {})}

    def room(self, ray: Any) -> dict[str, tuple[str, int]]:
        """Return the name of each machine and how many workers fit on it, by Ray's number of it."""
        parts = {"CPU": self.threads, "GPU": int(self.gpu), "memory": self.memory}
        found = {}
        for node in ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            if fit := int(min(has.get(name, 0) // part for name, part in parts.items() if part)):
                found[node["NodeID"]] = node["NodeManagerHostname"], fit
        return found
