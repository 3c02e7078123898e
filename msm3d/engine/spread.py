"""Scans over the machines of a Ray cluster, the largest first, each worker with one at a time.

Ray starts the workers, brings them their scans and tells when one dies. Here it is kept which scan is where: that of a
worker that died goes to another one, so a death costs one scan's work and no more.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from tqdm import tqdm

from .._util import stages
from .._util.atomic import sweep
from .._util.words import count, cut, option, warn
from ..batch import Job, Outcome, largest_first, size
from ..errors import FileError, InputError
from .cluster import Needs, connected
from .setup import Place, Report, Setup
from .worker import Worker

TRIES = 3  # workers that may die over a scan before it counts as failed, or as they start before a machine is left out
LOOK = 2.0  # seconds after which to look for machines that came or went


@dataclass(frozen=True, kw_only=True)
class Spread(Outcome):
    """What became of a scan, and where."""

    worker: str = ""  # its machine and process; empty where none lived to tell


def extract(
    jobs: Sequence[Job],
    setup: Setup,
    *,
    address: str | None = None,
    progress: bool | None = False,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Spread]:
    """Write the descriptors of each scan as `batch.extract` does, on all workers of a Ray cluster, as they come.

    Args:
        jobs: of a `batch.plan`; every machine must see the scans, and the folder of the results or their storage.
        setup: what is to be computed.
        address: of a cluster, such as ray://host:10001 or host:6379; by default that in RAY_ADDRESS, or else one of
            this machine alone, which is started.
        progress: show a bar; None shows it in a terminal only.
        tell: called with a sentence about the workers once one is there.

    Raises:
        DependencyError: Ray is not installed.
        InputError: there is no such cluster, or no machine of it can do the work; its disk is full, for example.
    """
    places = [path for job in jobs for path in (job.scan, job.target) if isinstance(path, Path)]
    places += [Path(setup.model)] if setup.model is not None and os.path.isdir(setup.model) else []
    if not all(path.is_absolute() for path in places):
        setup = replace(setup, folder=os.getcwd())
    with connected(address) as ray:
        yield from _Crew(ray, setup, tell or (lambda _: None)).run(jobs, progress)


@dataclass(eq=False)
class _Task:
    """A scan that is to be done."""

    job: Job
    size: int  # bytes
    deaths: int = 0  # of workers over it


@dataclass(eq=False)
class _Member:
    """A worker, and what it is at; at nothing yet where it starts."""

    handle: Any
    node: str
    task: _Task | None = None


class _Crew:
    """The workers of a call."""

    def __init__(self, ray: Any, setup: Setup, tell: Callable[[str], None]) -> None:
        self.ray, self.setup, self.tell = ray, setup, tell
        self.needs = Needs.of(ray, setup)
        self.room: dict[str, tuple[str, int]] = {}
        self.members: list[_Member] = []
        self.idle: list[_Member] = []
        self.under_way: dict[Any, _Member] = {}  # by what Ray calls a result that is to come
        self.out: dict[str, Exception] = {}  # machines that cannot work, and why
        self.starts, self.looked, self.said = Counter[str](), -LOOK, set[str]()

    def run(self, jobs: Sequence[Job], progress: bool | None) -> Iterator[Spread]:
        """Do the jobs."""
        tasks = deque(_Task(job, size(job.scan)) for job in largest_first(jobs))
        shown = {"unit": "B", "unit_scale": True, "leave": False, "disable": stages.hidden(progress)}
        with tqdm(total=sum(task.size for task in tasks), desc=count(len(tasks), "scan"), **shown) as bar:
            try:
                while tasks or any(member.task for member in self.members):
                    self._recruit(len(tasks))
                    while tasks and self.idle:
                        member = self.idle.pop()
                        member.task = tasks.popleft()
                        self.under_way[member.handle.do.remote(member.task.job)] = member
                    for ref in self._ready():
                        member = self.under_way.pop(ref)
                        task, member.task = member.task, None
                        for done in self._heard(ref, member, task, tasks):
                            bar.update(task.size if task else 0)
                            yield done
            finally:
                self._dismiss()

    def _ready(self) -> list[Any]:
        """Wait a little for results; return those that came."""
        if not self.under_way:
            sleep(LOOK / 4)
            return []
        return self.ray.wait(list(self.under_way), timeout=LOOK)[0]

    def _recruit(self, wanted: int) -> None:
        """Start workers where there is room, as many as there are scans for; fail where nobody can work."""
        if monotonic() - self.looked < LOOK:
            return
        self.room, self.looked = self.needs.room(self.ray), monotonic()
        usable = {node: fit for node, (_, fit) in self.room.items() if node not in self.out}
        lost = [member for member in self.members if member.node not in usable]
        if not usable and len(lost) == len(self.members):
            self._nobody()
        elif self.out:
            self._say(
                {f"{self.room[node][0]} is left out: {why}" for node, why in self.out.items() if node in self.room}
            )
        wanted -= sum(member.task is None for member in self.members)  # those that start, or are idle
        for node, fit in usable.items():
            fit -= sum(member.node == node for member in self.members)
            for _ in range(min(fit, wanted)):
                wanted -= 1
                self._start(node)

    def _nobody(self) -> None:
        """Fail where no machine can do the work, or say that one is waited for."""
        if self.out:
            raise next(reversed(self.out.values()))
        if not self.said and not self.starts:
            raise InputError(
                f"no machine of the cluster has room for a worker ({self.needs}); give less {option('threads')} or "
                f"{option('max_memory')}, or add a machine."
            )
        self._say({"no machine of the cluster is left; the work goes on when there is one, or stop it with Ctrl-C."})

    def _start(self, node: str) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False), "max_restarts": 0}
        handle = self.ray.remote(Worker).options(**there, **self.needs.resources()).remote(self.setup)
        member, device = _Member(handle, node), "cuda" if self.needs.gpu else "cpu"
        place = Place(device=device, threads=self.needs.threads, beside=self.room[node][1])
        self.members.append(member)
        self.under_way[handle.start.remote(place)] = member

    def _heard(self, ref: Any, member: _Member, task: _Task | None, tasks: deque[_Task]) -> Iterator[Spread]:
        """Take what became of a worker's start, or of its scan; yield it where the scan is done with."""
        try:
            report: Report = self.ray.get(ref)
        except self.ray.exceptions.RayError as death:
            yield from self._died(member, task, tasks, cut(str(death).strip().splitlines()[0], 200))
            return
        if report.error is not None:  # it cannot work: on this machine nobody can
            report.error.__cause__ = _Elsewhere(report.trace)
            self.out.setdefault(member.node, report.error)
            self._leave(member)
            tasks.extendleft([task] if task else [])
            return
        self.idle.append(member)
        if task is None:
            self.starts[member.node] = 0
            self._introduce(report)
        else:
            yield _told(report, task.job)

    def _died(self, member: _Member, task: _Task | None, tasks: deque[_Task], why: str) -> Iterator[Spread]:
        self._leave(member)
        if task is None:
            self.starts[member.node] += 1
            if self.starts[member.node] == TRIES:
                name = self.room.get(member.node, (member.node, 0))[0]
                sentence = (
                    f"workers on {name} die as they start ({why}); check that msm3d is installed there, and its memory."
                )
                self.out[member.node] = InputError(sentence)
            return
        task.deaths += 1
        if task.deaths < TRIES:
            tasks.appendleft(task)
            return
        cure = f"give less {option('max_memory')}, or describe it alone to see why."
        error = FileError(f"{task.job.scan}: {TRIES} workers died over it ({why}); {cure}")
        yield Spread(job=task.job, error=error)

    def _leave(self, member: _Member) -> None:
        self.members.remove(member)
        self.ray.kill(member.handle)
        self.looked = -LOOK  # look for another one at once

    def _introduce(self, report: Report) -> None:
        """Say who works, once."""
        workers, machines = sum(fit for _, fit in self.room.values()), len(self.room)
        words = f"{count(workers, 'worker')} on {count(machines, 'machine')}, each with {self.needs}"
        if "" not in self.said:
            self.said.add("")
            self.tell(f"{words}: {report.model}")

    def _say(self, sentences: set[str]) -> None:
        for sentence in sorted(sentences - self.said):
            warn(sentence)
        self.said |= sentences

    def _dismiss(self) -> None:
        """Let the workers go; what they were at, if anything, leaves nothing behind on this machine."""
        for member in self.members:
            self.ray.kill(member.handle)
        if cut_short := [member.task.job for member in self.members if member.task]:
            sleep(0.5)  # their locks go with them
            for folder in {job.target.parent for job in cut_short if isinstance(job.target, Path)}:
                sweep(folder)


class _Elsewhere(Exception):
    """Where an error came from, on another machine."""


def _told(report: Report, job: Job) -> Spread:
    """Return what became of a job, and give its warnings once more."""
    assert report.outcome is not None
    with stages.of(job.scan):
        for category, text in report.said:
            warn(text, category)
    if report.outcome.error is not None:
        report.outcome.error.__cause__ = _Elsewhere(report.trace)
    return Spread(**{**vars(report.outcome), "job": job}, worker=report.worker)
