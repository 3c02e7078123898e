"""Runs inputs in forked workers with limits on memory and time, and counts what came out of each.

An input is a number. `task(number, folder)` returns its kind and a call without arguments; only the call is judged:

- "read": it returned; "refused": it raised an Msm3dError. Both are right.
- an exception of another kind, a signal, a hang, too much memory, a warning that is not an Msm3dWarning, words on the
  terminal, a sentence longer than a screen. All of these are faults.

Linux only.
"""

import argparse
import atexit
import multiprocessing as mp
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

# The home of whoever runs this stays as it is, and no input may use the network; both before msm3d is imported.
HOME = Path(tempfile.mkdtemp(prefix="msm3d-robust-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ |= {"HOME": str(HOME), "HF_HOME": str(HOME / "hf"), "HF_HUB_OFFLINE": "1"}

import torch  # noqa: E402

from msm3d.errors import Msm3dError, Msm3dWarning  # noqa: E402

torch.set_num_threads(1)  # forked children of a process with more threads would hang

ADDRESS_SPACE = 4 << 30  # bytes that a worker may map
MOST_MEMORY = 1.5e9  # bytes that an input may need, with what the process has before
SENTENCE, WORD = 4000, 400  # characters; whoever quotes a file shortens what it says
UNSEEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # not shown by default
RIGHT = ("read", "refused")

Task = Callable[[int, Path], tuple[str, Callable[[], Any]]]


@dataclass(frozen=True)
class Result:
    """What one input came to."""

    number: int
    kind: str
    outcome: str
    where: str = ""
    peak: int = 0
    seconds: float = 0.0


def judged(number: int, kind: str, call: Callable[[], Any], screen: Any) -> Result:
    """Run one input in this process."""
    said = screen.tell()
    where, start = "", time.perf_counter()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    Path("/proc/self/clear_refs").write_text("5")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
            outcome = "read"
        except Msm3dError as error:
            outcome = "long sentence" if _long(str(error)) else "refused"
            where = str(error)
        except Exception as error:
            outcome = f"exception {type(error).__name__}"
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "msm3d" in frame.filename]
            last = frames[-1] if frames else None
            where = f"{Path(last.filename).name}:{last.lineno} {last.name}: {error}" if last else str(error)
    seconds = time.perf_counter() - start
    peak = _status("VmHWM")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if spent > children:  # children that ran for this input
        peak += spent * 1024
    foreign = [w for w in caught if not issubclass(w.category, (Msm3dWarning, *UNSEEN))]
    if outcome in RIGHT:
        sys.stdout.flush()
        if peak > MOST_MEMORY:
            outcome = "memory"
        elif foreign:
            outcome = f"warning {foreign[0].category.__name__}"
            where = f"{Path(foreign[0].filename).name}:{foreign[0].lineno}: {foreign[0].message}"
        elif any(_long(str(w.message)) for w in caught):
            outcome = "long sentence"
        elif os.fstat(screen.fileno()).st_size > said:
            screen.seek(said)
            outcome, where = "words on the terminal", screen.read().strip()
            screen.seek(0, os.SEEK_END)
    return Result(number, kind, outcome, where[:300], peak, seconds)


def _long(sentence: str) -> bool:
    return len(sentence) > SENTENCE or max(map(len, sentence.split()), default=0) > WORD


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _worker(task: Task, pipe: Connection, folder: Path) -> None:
    """Answer each number with its result until there is none."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    screen = (folder / "screen.txt").open("w+", encoding="utf-8", errors="replace")
    inputs = folder / "inputs"
    for stream in (1, 2):
        os.dup2(screen.fileno(), stream)
    while True:
        number = pipe.recv()
        if number is None:
            os._exit(0)
        inputs.mkdir()
        try:
            kind, call = task(number, inputs)
            pipe.send(kind)
            result = judged(number, kind, call, screen)
        except Exception:
            result = Result(number, "-", "fault of the driver", traceback.format_exc()[-300:])
        shutil.rmtree(inputs)
        screen.truncate(0)
        screen.seek(0)
        pipe.send(result)


class _Crew:
    """One worker, started again when it dies, hangs or has done its share."""

    def __init__(self, task: Task, folder: Path, context: Any) -> None:
        self.task, self.folder, self.context = task, folder, context
        self.number, self.since, self.done, self.kind = -1, 0.0, 0, "-"
        self.start()

    def start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.pipe, other = self.context.Pipe()
        self.process = self.context.Process(target=_worker, args=(self.task, other, self.folder), daemon=True)
        self.process.start()
        other.close()
        self.done = 0

    def give(self, number: int | None) -> None:
        if number is not None and self.done >= 1000:  # what leaks must not add up over inputs
            self.stop()
            self.start()
        self.number, self.since, self.kind = -1 if number is None else number, time.monotonic(), "-"
        self.done += 1
        self.pipe.send(number)

    def stop(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self.process.kill()
        self.process.join()
        self.pipe.close()

    def ended(self) -> str:
        """Return the outcome of the input during which the process ended."""
        self.process.join(10)
        code = self.process.exitcode
        return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit {code}"


def run(task: Task, numbers: Iterable[int], workers: int, limit: float) -> list[Result]:
    """Run all inputs and return what they came to."""
    context = mp.get_context("fork")
    base = Path(tempfile.mkdtemp(prefix="msm3d-inputs-"))
    crews = [_Crew(task, base / str(i), context) for i in range(workers)]
    queue, results = iter(numbers), []
    busy = {}
    try:
        for crew in crews:
            if (number := next(queue, None)) is not None:
                crew.give(number)
                busy[crew.pipe] = crew
        while busy:
            ready = wait(list(busy), timeout=0.2)
            late = [c for c in busy.values() if c.pipe not in ready and time.monotonic() - c.since > limit]
            for crew in [busy[pipe] for pipe in ready] + late:
                alive = crew not in late
                try:
                    answer = crew.pipe.recv() if alive else Result(crew.number, crew.kind, f"hang beyond {limit:g} s")
                except (EOFError, ConnectionResetError):
                    answer, alive = Result(crew.number, crew.kind, crew.ended()), False
                if isinstance(answer, str):
                    crew.kind = answer
                    continue
                del busy[crew.pipe]
                results.append(answer)
                if not alive:
                    crew.stop()
                    crew.start()
                if (number := next(queue, None)) is not None:
                    crew.give(number)
                    busy[crew.pipe] = crew
    finally:
        for crew in crews:
            crew.stop()
        shutil.rmtree(base, ignore_errors=True)
    return sorted(results, key=lambda result: result.number)


def report(results: list[Result], seconds: float) -> int:
    """Print a table of outcomes, the faults with their inputs, and return how many faults there are."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        table[result.kind][result.outcome if result.outcome in RIGHT else "fault"] += 1
    print(f"\n| kind | {' | '.join(RIGHT)} | faults |\n|---|---|---|---|")
    for kind in sorted(table):
        print(f"| {kind} | {table[kind]['read']} | {table[kind]['refused']} | {table[kind]['fault']} |")
    faults: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for result in results:
        if result.outcome not in RIGHT:
            place = "" if result.outcome == "long sentence" else result.where.split(":")[0]
            faults[result.kind, result.outcome, place].append(result)
    peak = max(results, key=lambda result: result.peak)
    slow = max(results, key=lambda result: result.seconds)
    print(
        f"\n{len(results):,} inputs in {seconds:.0f} s ({len(results) / seconds:.0f} a second); most memory "
        f"{peak.peak / 1e9:.2f} GB (input {peak.number}); longest {slow.seconds:.1f} s (input {slow.number})"
    )
    for (kind, outcome, _), found in sorted(faults.items(), key=lambda item: -len(item[1])):
        numbers = ", ".join(str(result.number) for result in found[:5])
        print(f"{len(found):5} x {kind}: {outcome}; inputs {numbers}; {' '.join(found[0].where.split())[:200]}")
    return sum(map(len, faults.values()))


def main(task_of: Callable[[int], Task], description: str | None, inputs: int, limit: float = 20) -> int:
    """Read the command line, run the inputs and return the exit code.

    Args:
        task_of: seed → task.
        description: of the driver.
        inputs: how many by default.
        limit: seconds that one input may take.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--inputs", type=int, default=inputs, help=f"how many (default {inputs})")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs; an input is the same in every run")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=limit, help=f"seconds for an input (default {limit:g})")
    parser.add_argument("--show", type=int, metavar="INPUT", help="run one input in this process, with its traceback")
    options = parser.parse_args()
    task = task_of(options.seed)
    if options.show is not None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        kind, call = task(options.show, HOME)
        print(kind, *sorted(HOME.iterdir()))
        print(call())
        return 0
    start = time.perf_counter()
    results = run(task, range(options.first, options.first + options.inputs), options.workers, options.limit)
    return 1 if report(results, time.perf_counter() - start) else 0
