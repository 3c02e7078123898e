"""What every worker is told, and what it tells; no engine is known here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import __version__
from .._util.words import either
from ..batch import Outcome
from ..scan.options import ReadOptions


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is to be computed, and with what: the same on every worker."""

    model: str | os.PathLike[str] | None = None
    """As for `msm3d.load`; a directory must be seen from every machine."""
    device: str | None = None
    """cpu or cuda; by default GPUs where the cluster has some, of which every worker gets one."""
    backend: str | None = None
    precision: str = "fp32"
    asked: Mapping[str, Any] = field(default_factory=dict)
    """`levels`, `sampling`, `dtype`, `max_memory` (of each worker) and `again`, as for `batch.extract`."""
    options: ReadOptions = field(default_factory=ReadOptions)
    threads: int | None = None
    """Cores of each worker; 4, or what the smallest machine has, by default."""
    sha256: str | None = None
    """Of the weights, where every worker must have the same ones."""
    folder: str | None = None
    """Where relative paths begin, where there are some."""
    version: str = __version__
    typed: bool = field(default_factory=lambda: bool(either("", "typed")))
    """Whether messages speak of options."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a worker has of its machine."""

    device: str
    threads: int
    beside: int  # how many workers share the memory, this one included


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a worker tells: of its start, or of a scan."""

    worker: str
    outcome: Outcome | None = None
    said: tuple[tuple[type[Warning], str], ...] = ()  # the warnings
    error: Exception | None = None  # for which it cannot work, or cannot go on, as its disk is full
    trace: str = ""  # where the error, this one or the outcome's, comes from
    model: str = ""  # in words
