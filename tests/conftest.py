"""What several tests share: every backend that can run here, seeded randomness, a small scene and a small network."""

import os
import shutil
import subprocess
from importlib.util import find_spec

import hypothesis
import numpy as np
import pytest
import torch

import msm3d
from msm3d.ops import BACKENDS, reference

hypothesis.settings.register_profile("msm3d", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("msm3d")
torch.set_num_threads(1)  # tests run side by side, and some compare bits with those of a process of one thread
if not torch.cuda.is_available():  # without a GPU, Triton's kernels can still be interpreted
    os.environ.setdefault("TRITON_INTERPRET", "1")


def interpreted() -> str | None:
    """Return None if Triton's interpreter is there to stand in for a GPU, else a sentence."""
    if find_spec("triton") is None:
        return "triton is not installed, in whose interpreter the kernels would be tested."
    return None if os.environ.get("TRITON_INTERPRET") == "1" else "TRITON_INTERPRET is not 1."


@pytest.fixture(
    params=["native", "reference", *([] if interpreted() else [pytest.param("triton", marks=pytest.mark.slow)])]
)
def ops(request):
    """Each backend that can run on this machine's CPU, and Triton's kernels interpreted where it is installed."""
    module = BACKENDS[request.param]
    reason = interpreted() if request.param == "triton" else module.why_not(torch.device("cpu"))
    if reason:
        pytest.skip(reason)
    return module


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def config():
    """A network with everything the published one has, in small."""
    return msm3d.BackboneConfig(
        channels=(16, 24, 32),
        decoder_channels=(20, 24, 32),
        conv_blocks=(1, 1, 2),
        attention_blocks=(0, 2, 2),
        heads=(0, 4, 4),
        window=32,
        voxel_size=0.05,
    )


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return msm3d.Model(config, backend="reference").eval().requires_grad_(False)


@pytest.fixture
def scene():
    """A floor, a wall and a ball: 3,000 points as a dictionary with colour and normals."""
    return make_scene(0)


def make_scene(seed: int, n: int = 1000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    floor = np.stack([rng.uniform(0, 2, n), rng.uniform(0, 1.5, n), rng.normal(0, 0.002, n)], 1)
    wall = np.stack([rng.normal(0, 0.002, n), rng.uniform(0, 1.5, n), rng.uniform(0, 1.2, n)], 1)
    way = rng.normal(size=(n, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    coord = np.concatenate([floor, wall, [1, 0.7, 0.3] + 0.3 * way])
    normal = np.concatenate([np.tile([0, 0, 1.0], (n, 1)), np.tile([1.0, 0, 0], (n, 1)), way])
    return {"coord": coord, "color": rng.integers(0, 256, (3 * n, 3), dtype=np.uint8), "normal": normal}


def voxel_keys(rng: torch.Generator, n: int, extent: int = 9, scenes: int = 1) -> torch.Tensor:
    """Ascending Morton keys of about n random cells."""
    cells = torch.randint(0, extent, (n, 4), generator=rng)
    cells[:, 0] %= scenes
    return torch.unique(msm3d.ops.curves.morton(cells))


def neighbours(keys: torch.Tensor) -> torch.Tensor:
    return reference.octree(keys, 1)[0][3]


@pytest.fixture
def full_disk(tmp_path):
    """A disk of three megabytes, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only the superuser may mount a small disk.")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
