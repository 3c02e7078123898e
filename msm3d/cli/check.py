"""What this machine has, in a form to paste into an issue."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from .. import __version__, weights
from ..errors import Msm3dError
from ..ops import BACKENDS, Backend

EXTRAS = {
    "laspy": "LAS and LAZ files: pip install 'msm3d[las]'",
    "pillow": "textures of meshes: pip install 'msm3d[mesh]'",
}
"""Optional packages, and what they are for."""


def report() -> str:
    """Return versions, devices, backends and models, a line each.

    >>> "reference" in report()
    True
    """
    lines = [
        f"msm3d           {__version__}",
        f"python          {platform.python_version()} on {platform.platform()}",
        f"torch           {torch.__version__}, {torch.get_num_threads()} threads",
        f"processor       {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        f"devices         {', '.join(_devices())}",
    ]
    for name in ("numpy", "safetensors", "huggingface_hub", "plyfile", *EXTRAS, *(["triton"] if _gpus() else [])):
        lines.append(f"{name:15} {_version(name)}")
    for name, ops in BACKENDS.items():
        states = [f"{device}: {_state(ops, device)}" for device in ("cpu", *_gpus())]
        lines.append(f"{'backend':15} {name}: {'; '.join(states)}")
    for name in weights.list_models():
        model = weights.info(name)
        lines.append(f"{'model':15} {name}: {model.status}{f' in {model.path}' if model.path else ''}")
    return "\n".join(lines)


def _state(ops: Backend, device: str) -> str:
    try:
        return ops.why_not(torch.device(device)) or "ready"
    except Msm3dError as e:
        return str(e)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return f"not installed ({EXTRAS.get(package, 'needed')})"


def _gpus() -> list[str]:
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def _devices() -> list[str]:
    return ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))]
