"""Scans over a cluster of three node processes on this machine: what it costs, and what deaths do to it.

python benchmarks/bench_engine.py --scans 120

1 and 2 workers of one core each, as a ratio; the overhead of a scan; then the same scans again while a worker, a
machine and the driver are killed with SIGKILL and the disk of a machine is full. Each run must leave the bytes that one
process without an engine leaves. Linux only; the last part needs a superuser, who may mount a small disk.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
from machine import json_option, keep, machine

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
GIVEN = ["--device", "cpu", "--levels", "3", "--dtype", "float16", "--format", "npy", "--max-memory", "500MB"]


def make(folder: Path, n: int) -> int:
    """Write scans of 500 to 20,000 points, every twelfth not good; return how many are good."""
    rng, good = np.random.default_rng(0), 0
    for i in range(n):
        path = folder / f"{i % 7}/{i:04d}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        points = int(500 * 40 ** rng.random())
        coord = np.c_[rng.uniform(0, 5, (points, 2)), rng.normal(0, 0.01, points)]
        scan = {
            "coord": coord,
            "color": rng.integers(1, 255, (points, 3)).astype("u1"),
            "normal": coord * 0 + (0, 0, 1),
        }
        np.savez(path, **scan)
        if i % 12 == 5:  # empty, cut or of another kind
            path.write_bytes((b"", path.read_bytes()[:999], b"no archive")[i // 12 % 3])
        good += i % 12 != 5
    return good


def call(output: Path | str, *more: str) -> subprocess.Popen[str]:
    """Start the command line."""
    words = [sys.executable, "-m", "msm3d", "extract", "scans", "-o", str(output), *GIVEN, *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    shown, _ = process.communicate(timeout=900)
    return process.returncode, shown


class Machines:
    """A head without cores, and machines of one core each; every one is a process with its workers below it."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.store = {"object_store_memory": 100_000_000, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **self.store})
        self.there: list[Any] = []

    def add(self, **more: Any) -> None:
        self.there.append(self.cluster.add_node(num_cpus=1, **self.store, **more))

    def kill(self) -> None:
        """Kill the last machine with SIGKILL, as when its power goes."""
        self.cluster.remove_node(self.there.pop(), allow_graceful=False)

    @property
    def flags(self) -> tuple[str, ...]:
        return "--engine", "ray", "--threads", "1", "--address", self.cluster.address


@contextmanager
def machines(n: int) -> Iterator[Machines]:
    found = Machines()
    try:
        for _ in range(n):
            found.add()
        yield found
    finally:
        found.cluster.shutdown()


def workers() -> list[int]:
    """Return the processes that describe scans: Ray names them after the method that they run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::Worker"):
                found.append(int(path.parent.name))
        except OSError:  # it ended meanwhile
            pass
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def watched(folder: Path) -> Iterator[Counter[str]]:
    """Count the files that each name has had."""
    seen, counts, over = set(), Counter[str](), Event()

    def watch() -> None:
        while not over.wait(0.02):
            for path in folder.rglob("[!.]*.npy"):
                try:
                    mark = path.name, path.stat().st_ino, path.stat().st_mtime_ns
                except OSError:
                    continue
                counts[path.name] += mark not in seen
                seen.add(mark)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


def waited(until: Callable[[], bool], limit: float = 300) -> None:
    start = time.monotonic()
    while not until():
        if time.monotonic() - start > limit:
            raise SystemExit("it does not go on")
        time.sleep(0.05)


def throughput(good: int, number: int) -> dict[str, Any]:
    """Measure on so many machines, first everything and then what is done already."""
    from msm3d import batch, engine, load

    figures: dict[str, Any] = {"workers": number}
    begun: list[float] = []
    asked = {"levels": [3], "dtype": "float16", "max_memory": "500MB"}
    setup = engine.Setup(device="cpu", threads=1, asked=asked, sha256=load(device="cpu").meta["sha256"])
    with machines(number) as cluster:
        for what in ("done", "there already"):
            jobs = batch.plan(["scans"], f"many-{number}", "npy").jobs
            given = {"address": cluster.cluster.address, "tell": lambda _: begun.append(time.perf_counter())}
            outcomes = list(engine.extract(jobs, setup, **given))
            seconds, busy = time.perf_counter() - begun[-1], sum(outcome.seconds for outcome in outcomes)
            assert sum(outcome.error is None for outcome in outcomes) == good
            figures |= {f"scans a second, {what}": len(jobs) / seconds}
            if what == "done":
                figures |= {"overhead of a scan, ms": 1000 * (seconds * number - busy) / len(jobs)}
    return figures


def disturbed(whole: dict[str, bytes], n: int) -> dict[str, Any]:
    """Kill a worker, a machine and the driver on the way, start again, and look."""
    out = Path("disturbed")

    def share(part: float) -> Callable[[], bool]:
        return lambda: len(list(out.rglob("[!.]*.npy"))) >= part * len(whole)

    with machines(2) as cluster, watched(out) as counts:
        driver = call(out, *cluster.flags)
        waited(share(0.1))
        os.kill(workers()[0], signal.SIGKILL)
        waited(share(0.25))
        cluster.kill()
        waited(share(0.4))
        cluster.add()
        waited(share(0.6))
        driver.kill()
        driver.communicate()
        waited(lambda: not workers())  # Ray ends those of a driver that died
        before = len(list(out.rglob("[!.]*.npy")))
        code, shown = ended(call(out, *cluster.flags))
    assert code == 1, shown[-2000:]
    assert files(out) == whole
    assert f"{before:,} there already" in shown, shown[-2000:]
    assert f"of {n:,} scans failed" in shown, shown[-2000:]
    return {"scans": n, "files": len(whole), "files written twice": sum(number > 1 for number in counts.values())}


def full_disk(whole: dict[str, bytes]) -> None:
    """Let a machine have no room for what is on its way to the storage."""
    disk, out = Path("disk").resolve(), Path("stored").resolve()
    disk.mkdir()
    out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        with machines(1) as cluster:
            cluster.add(env_vars={"TMPDIR": str(disk)})
            code, shown = ended(call(f"file://{out}", *cluster.flags))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert code == 1, shown[-2000:]
    assert "is left out: " in shown, shown
    assert {name: data for name, data in files(out).items() if name.endswith(".npy")} == whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=120)
    json_option(parser)
    options = parser.parse_args()
    base, before = Path(tempfile.mkdtemp(prefix="msm3d-engine-")), Path.cwd()
    print(machine(), flush=True)
    try:
        os.chdir(base)
        good = make(Path("scans"), options.scans)
        start = time.perf_counter()
        code, shown = ended(call("one"))
        assert code == 1, shown[-2000:]
        whole = files(Path("one"))
        assert len(whole) == good
        print(f"one process: {time.perf_counter() - start:.1f} s\n{shown.splitlines()[-1]}", flush=True)
        figures = [throughput(good, number) for number in (1, 2)]
        for number in (1, 2):
            assert files(Path(f"many-{number}")) == whole
        figures[1]["ratio"] = figures[1]["scans a second, done"] / figures[0]["scans a second, done"]
        print(*figures, sep="\n", flush=True)
        figures.append(disturbed(whole, options.scans))
        print(figures[-1], flush=True)
        if os.geteuid() == 0:
            full_disk(whole)
            print("a full disk on one machine of two: all is there, and one machine was left out")
    finally:
        os.chdir(before)
        shutil.rmtree(base, ignore_errors=True)
    keep(options.json, figures)


if __name__ == "__main__":
    main()
