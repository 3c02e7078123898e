"""The floors of the house: a package imports only from those above it, and the outer ones only inside functions."""

import ast
import subprocess
import sys
from dataclasses import fields
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import torch

import msm3d

ROOT = Path(msm3d.__file__).parent
FLOORS = """errors _util scan ops sparse backbones weights describe model io batch tiling lifting engine rooms datasets
            training tasks evaluate pretrain visualize cli __init__ __main__""".split()
OUTER = set(FLOORS[FLOORS.index("io") :]) - {"__init__", "__main__"}
MODULES = sorted(ROOT.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


NAMES = {module_of(path) for path in MODULES}


def imports(source: str, package: list[str]) -> list[tuple[str, bool]]:
    """Return the modules of msm3d that a source imports, each with whether it is at the top of the file."""
    found = []
    tree = ast.parse(source)
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                found.append((inner if inner in NAMES else ".".join(base) or "__init__", id(node) in top))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]:
                assert name.split(".")[0] != "msm3d", f"import msm3d by its place in the package, not as {name}"
    return found


def offences(name: str, source: str, package: list[str]) -> list[str]:
    wrong = []
    for imported, at_top in imports(source, package):
        other = imported.split(".")[0]
        if other in (name, "__init__"):  # of the package itself only its version
            continue
        if FLOORS.index(other) > FLOORS.index(name) and at_top:
            wrong.append(f"{name} imports {other}, which is below it")
        if other in OUTER and name not in OUTER | {"__init__", "__main__"} and at_top:
            wrong.append(f"{name} imports {other} of the outer floors at its top")
        if name == "ops" and other not in ("errors", "_util"):
            wrong.append(f"ops imports {other}")
        if other == "cli" and name != "__main__":
            wrong.append(f"{name} imports cli")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_up_the_floors(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    assert parts[0] in FLOORS, f"{parts[0]} has no floor"
    assert not offences(parts[0], path.read_text(), list(parts[:-1]))


def test_no_modules_import_each_other_in_a_circle():
    graph = {}
    for path in MODULES:
        package = list(path.relative_to(ROOT).parts[:-1])
        known = [(other, at_top) for other, at_top in imports(path.read_text(), package) if other != "__init__"]
        graph[module_of(path)] = {other for other, at_top in known if at_top and other != module_of(path)}
    list(TopologicalSorter(graph).static_order())


def test_a_wrong_import_is_found():
    assert offences("scan", "from ..sparse.voxels import Voxels", ["scan"]) == [
        "scan imports sparse, which is below it"
    ]
    assert offences("ops", "from ..scan.cloud import PointCloud", ["ops"]) == ["ops imports scan"]
    assert offences("sparse", "from .. import model", ["sparse"]) == ["sparse imports model, which is below it"]
    assert not offences("model", "def f():\n    from .io import read", [])


# --- families of networks ---

SAY_SO = {"__init__.py", "pretrain/config.py"}
"""Modules that name a family: the public name of its shape, and the shapes that are trained by name."""
HOLDERS = {"backbone", "network", "unet", "config", "shape"}
"""What a network or a shape is called."""


def names_of_families() -> set[str]:
    """Return the fields and layers of our families that no other family need have."""
    from msm3d.backbones import FAMILIES, Inputs, LevelInfo, Regularisation, Shape, build, family

    common = {
        *dir(Shape),
        *Shape.__annotations__,
        *(field.name for kind in (Inputs, LevelInfo, Regularisation) for field in fields(kind)),
    }
    found = set()
    for name in FAMILIES:
        shape = family(name).Config
        found |= {field.name for field in fields(shape)} | {child for child, _ in build(shape()).named_children()}
    return found - common


def intimacies(source: str, names: set[str]) -> list[str]:
    """Return where a source knows a network's layers, or fields of a shape, of one family."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in names:
            holder = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            found += [f"{holder}.{node.attr}"] if holder in HOLDERS else []
        if isinstance(node, ast.ImportFrom) and node.level and "backbones." in (node.module or ""):
            found += [f"import of {node.module}"] if node.module != "backbones.base" else []
    return found


def test_no_family_is_known_outside_of_its_folder():
    with torch.device("meta"):
        names = names_of_families()
    assert {"decoder_channels", "stem", "bottleneck", "window"} <= names
    for path in MODULES:
        place = path.relative_to(ROOT).as_posix()
        if place not in SAY_SO and not place.startswith("backbones/"):
            assert not intimacies(path.read_text(), names), place
    assert intimacies("model.backbone.stem.linear", names) == ["backbone.stem"]
    assert intimacies("from ..backbones.hunet.config import BackboneConfig", names) == [
        "import of backbones.hunet.config"
    ]
    assert intimacies("path.stem + model.config.inputs.voxel_size", names) == []


def test_the_package_shows_its_good_names_and_they_all_work_after_one_import():
    code = "import sys, msm3d; print('torch' in sys.modules, 'numpy' in sys.modules, *dir(msm3d))\n"
    code += "print(*[type(getattr(msm3d, name)).__name__ for name in dir(msm3d)])\n"
    code += "msm3d.rooms.make, msm3d.evaluate.probe, msm3d.pretrain.pretrain, msm3d.visualize.render, msm3d.io.read\n"
    code += "msm3d.io.results.writing, msm3d.io.KINDS, msm3d.tasks.heads.LinearProbe, msm3d.scan.normals.estimated\n"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert done.stderr == ""
    names, kinds = done.stdout.splitlines()
    assert names == (
        "False False BackboneConfig Model Msm3dError Msm3dWarning PointCloud __version__ backbones datasets errors "
        "evaluate info io lift lifting list_models load ops pretrain read rooms tasks training visualize"
    )
    assert kinds == (
        "ABCMeta type type type type str module module module module function module function module function function "
        "module module function module module module module"
    )


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'msm3d' has no attribute 'extrakt'$"):
        msm3d.extrakt  # noqa: B018


def test_import_prints_nothing_and_loads_no_optional_package():
    optional = "laspy trimesh spconv triton huggingface_hub"
    code = f"import sys, msm3d; print([m for m in {optional!r}.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_import_loads_few_modules_and_none_that_is_large():
    """What an import takes, counted and not timed: the machine may be busy."""
    code = "import sys; before = set(sys.modules); import msm3d, msm3d.cli; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True)
    loaded = done.stdout.split()
    large = {
        "torch",
        "numpy",
        "tqdm",
        "safetensors",
        "plyfile",
        "asyncio",
        "email",
        "http",
        "multiprocessing",
        "unittest",
    }
    assert {name for name in loaded if name.startswith("msm3d.")} > {"msm3d.errors", "msm3d.cli.parser"}
    assert large & {name.split(".")[0] for name in loaded} == set()
    assert len(loaded) < 120, loaded
