"""Data flows down the page: a module imports only from those above it, and the rim only inside functions."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import msm3d

ROOT = Path(msm3d.__file__).parent
PAGE = """errors words stages devices atomic memory layouts config plausible reading attributes objects points origin
          curves ops voxels hierarchy normals augment rescan training blocks progress unet interpolate tiles copies
          describe places usual hub store weights model results convert check io batch rooms evaluate pretrain
          visualize cli __init__ __main__""".split()
RIM = {"results", "convert", "check", "io", "batch", "rooms", "evaluate", "pretrain", "visualize", "cli"}


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
        if name == "ops" and other not in ("errors", "words", "curves"):
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


def test_the_package_shows_its_good_names_and_they_all_work_after_one_import():
    code = "import sys, msm3d; print('torch' in sys.modules, 'numpy' in sys.modules, *dir(msm3d))\n"
    code += "print(*[type(getattr(msm3d, name)).__name__ for name in dir(msm3d)])\n"
    code += "msm3d.rooms.make, msm3d.evaluate.probe, msm3d.pretrain.pretrain, msm3d.visualize.render, msm3d.io.read\n"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert done.stderr == ""
    names, kinds = done.stdout.splitlines()
    assert names == (
        "False False BackboneConfig Model Msm3dError Msm3dWarning PointCloud __version__ errors evaluate info "
        "list_models load pretrain read rooms visualize"
    )
    assert kinds == (
        "type type type type type str module module function function function module function module module"
    )


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'msm3d' has no attribute 'extrakt'$"):
        msm3d.extrakt  # noqa: B018
    assert set(msm3d._HOMES) < set(msm3d.__all__)


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
