"""What the figures of a benchmark belong to, and the network they are taken with."""

import platform
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import msm3d


def machine() -> str:
    """Name the processor, the threads and the commit."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    features = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {features}, {torch.get_num_threads()} threads, torch {torch.__version__}, commit {commit or '?'}"


def reset_peak() -> None:
    """Let `peak` begin again at what is in use now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the most bytes of memory that this process has held since `reset_peak`."""
    words = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(words["VmHWM"].split()[0]) * 1024


def network(backend: str | None = None, precision: str = "fp32") -> msm3d.Model:
    """Return the published network with random weights from a fixed seed."""
    torch.manual_seed(0)
    model = msm3d.Model(msm3d.BackboneConfig(sampling="published")).eval()
    with TemporaryDirectory() as folder:
        directory = model.save_pretrained(Path(folder) / "model")
        return msm3d.load(directory, device="cpu", backend=backend, precision=precision)
