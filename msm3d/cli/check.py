"""`msm3d check`: what this machine has, in a form to paste into an issue."""

import argparse
from typing import Any

from .. import __version__
from ..errors import Msm3dError
from .display import Display
from .parser import declared


def add(verbs: Any) -> None:
    """Declare the verb."""
    declared(verbs, "check", run, "what this machine has; paste it into an issue")


def run(options: argparse.Namespace, display: Display) -> None:
    """Show the report."""
    display.line(report())


def report() -> str:
    """Return versions, devices, kinds of files that other packages brought, backends and models, a line each.

    >>> "reference" in report()
    True
    """
    import platform

    import torch

    from .. import weights
    from ..io import READERS, WRITERS
    from ..ops import BACKENDS

    kinds = [*READERS, *WRITERS]
    optional = {
        package: f"{what}: pip install '{f'msm3d[{kind.extra}]' if kind.extra else package}'"
        for kind in kinds
        for package, what in kind.needs.items()
    }
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    lines = [
        f"msm3d           {__version__}",
        f"python          {platform.python_version()} on {platform.platform()}",
        f"torch           {torch.__version__}, {torch.get_num_threads()} threads",
        f"processor       {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        f"threads         {_threads()}",
        f"devices         {', '.join(['cpu', *(torch.cuda.get_device_name(gpu) for gpu in gpus)])}",
    ]
    packages = ("numpy", "safetensors", "huggingface_hub", "plyfile", *optional, *(["triton"] if gpus else []))
    lines += [f"{name:15} {_version(name, optional)}" for name in packages]
    brought = [kind for kind in kinds if kind.source]
    lines += [f"{'plug-in':15} {kind.source}: {kind.title} ({', '.join(kind.suffixes)})" for kind in brought]
    for name, ops in BACKENDS.items():
        states = [f"{device}: {_state(ops, device)}" for device in ("cpu", *gpus)]
        lines.append(f"{'backend':15} {name}: {'; '.join(states)}")
    for name in weights.list_models():
        model = weights.info(name)
        lines.append(f"{'model':15} {name}: {model.status}{f' in {model.path}' if model.path else ''}")
    return "\n".join(lines)


def _threads() -> str:
    """Return whose threads the native backend uses."""
    from ..ops import library

    try:
        return library.runtime() or "one: there is no OpenMP runtime in this process"
    except (OSError, Msm3dError):
        return "torch's"  # the library is missing: its line says so


def _state(ops: Any, device: str) -> str:
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the report says it
            return ops.why_not(torch.device(device)) or "ready"
    except Msm3dError as e:
        return str(e)


def _version(package: str, optional: dict[str, str]) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return f"not installed ({optional.get(package, 'needed')})"
