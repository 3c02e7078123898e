"""Data flows down the page: a module imports only from those above it, and the rim only inside functions."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import msm3d

ROOT = Path(msm3d.__file__).parent
PAGE = """errors words atomic memory config plausible reading points curves ops voxels hierarchy normals
          augment rescan training blocks progress unet interpolate tiles copies describe hub store weights model
          results convert check io rooms evaluate pretrain visualize cli __init__ __main__""".split()
RIM = {"results", "convert", "check", "io", "rooms", "evaluate", "pretrain", "visualize", "cli"}


def imports(source: str, package: list[str]) -> list[tuple[str, bool]]:
    """Return the msm3d modules that a source imports, each with whether it is at the top of the file."""
    found = []
    tree = ast.parse(source)
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            for name in names:
                found.append((base[1] if len(base) > 1 else name, id(node) in top))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]:
                assert name.split(".")[0] != "msm3d", f"import msm3d by its place in the package, not as {name}"
    return found


def offences(name: str, source: str, package: list[str]) -> list[str]:
    wrong = []
    for other, at_top in imports(source, package):
        if other == name or other not in PAGE:
            continue
        if PAGE.index(other) > PAGE.index(name) and at_top:
            wrong.append(f"{name} imports {other}, which is below it")
        if other in RIM and name not in RIM | {"__init__", "__main__"} and at_top:
            wrong.append(f"{name} imports {other} of the rim at its top")
        if name in ("pretrain", "evaluate") and other in ("pretrain", "evaluate"):
            wrong.append(f"{name} imports {other}")
        if name == "ops" and other not in ("errors", "curves"):
            wrong.append(f"ops imports {other}")
        if other == "cli" and name != "__main__":
            wrong.append(f"{name} imports cli")
    return wrong


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_up_the_page(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    assert parts[0] in PAGE, f"{parts[0]} has no place on the page"
    assert not offences(parts[0], path.read_text(), ["msm3d", *parts[:-1]])


def test_a_wrong_import_is_found():
    assert offences("errors", "from .voxels import Voxels", ["msm3d"]) == ["errors imports voxels, which is below it"]
    assert offences("ops", "from ..config import BackboneConfig", ["msm3d", "ops"]) == ["ops imports config"]
    assert not offences("model", "def f():\n    from .io import read", ["msm3d"])


def test_import_prints_nothing_and_loads_no_optional_package():
    optional = "laspy trimesh spconv triton huggingface_hub"
    code = f"import sys, msm3d; print([m for m in {optional!r}.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.slow
def test_import_takes_no_more_than_a_fifth_of_a_second_over_torch():
    code = "import time, torch; start = time.perf_counter(); import msm3d; print(time.perf_counter() - start)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent) for _ in "123"
    ]
    assert min(float(run.stdout) for run in runs) < 0.2
