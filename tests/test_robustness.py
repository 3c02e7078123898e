"""Bounded runs of the drivers under `benchmarks/robustness`; whole ones are for a release."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import msm3d

DRIVERS = Path(__file__).parents[1] / "benchmarks" / "robustness"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the drivers need Linux"),
]


@pytest.mark.parametrize(
    "line",
    [
        "fuzz_files.py --inputs 300",
        "fuzz_weights.py --inputs 300",
        "fuzz_arguments.py --inputs 300",
        "kills.py --kills 4 --terms 2 --only extract,",
        "kills.py --kills 8 --terms 2 --only convert",
        "growth.py --extracts 60 --largest 3000",
    ],
)
def test_a_bounded_run_finds_nothing(line):
    environment = os.environ | {"PYTHONPATH": str(Path(msm3d.__file__).parents[1])}
    command = [sys.executable, *line.split()]
    done = subprocess.run(command, cwd=DRIVERS, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_a_fault_is_found(tmp_path):
    """The guard can fail: exceptions, signals, hangs, memory, warnings and words are each seen."""
    (tmp_path / "broken.py").write_text(BROKEN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(msm3d.__file__).parents[1]), str(DRIVERS)])}
    command = [sys.executable, str(tmp_path / "broken.py"), "--workers", "2", "--limit", "5"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    for outcome in (
        "exception KeyError; inputs 2",
        "signal SIGSEGV; inputs 3",
        "hang beyond 5 s; inputs 4",
        "memory; inputs 5",
        "warning RuntimeWarning; inputs 6",
        "words on the terminal; inputs 7",
        "long sentence; inputs 8",
    ):
        assert outcome in done.stdout, done.stdout
    assert "| case | 1 | 1 | 7 |" in done.stdout


BROKEN = """
import os, signal, sys, time, warnings
import guard
import numpy as np
from msm3d.errors import InputError

def refuse(words):
    raise InputError(words)

guard.MOST_MEMORY = 0.5e9
CALLS = [
    lambda: None,
    lambda: refuse("no"),
    lambda: {}["x"],
    lambda: os.kill(os.getpid(), signal.SIGSEGV),
    lambda: time.sleep(60),
    lambda: np.ones(400_000_000, "u1"),
    lambda: warnings.warn("x", RuntimeWarning),
    lambda: print("words", file=sys.stderr),
    lambda: refuse("x" * 500),
]
sys.exit(guard.main(lambda seed: lambda number, folder: ("case", CALLS[number]), "broken", inputs=len(CALLS)))
"""
