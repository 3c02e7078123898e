"""Kinds of files declare themselves: ours, and a reader and a writer from outside, each one file."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import msm3d
from msm3d import batch, cli
from msm3d.cli.check import report
from msm3d.errors import DependencyError, FileError, InputError
from msm3d.io import READERS, WRITERS, read, register, registry, results, unregister
from msm3d.scan.options import ReadOptions
from tests.conftest import make_scene

ROOT = Path(msm3d.__file__).parents[1]
TOY = """
SUFFIXES, TITLE, NEEDS = (".toy",), "TOY", {"toy-parser": "toys"}

def content(file, options):
    import numpy as np
    table = np.loadtxt(file, delimiter="|", ndmin=2)
    return {"coord": table[:, :3], "color": table[:, 3:6], "units": "mm"}
"""
"""A reader, all of it."""
TSV = """
from contextlib import contextmanager
import numpy as np

SUFFIXES, TITLE, HOLDS = (".tsv",), "TSV", "nothing"

@contextmanager
def create(path, fields, shape, dtype, meta):
    feat = np.empty(shape, dtype)
    yield feat
    np.savetxt(path, feat, delimiter="\\t")
"""
"""A writer, which is never read back."""


def toy(path: Path, n: int = 100) -> Path:
    scene = make_scene(0, n)
    np.savetxt(path, np.hstack([scene["coord"] * 1000, scene["color"]]), delimiter="|")
    return path


@pytest.fixture
def fresh(monkeypatch):
    """Registries that have not looked around yet, and forget what they find."""
    for one in (READERS, WRITERS):
        monkeypatch.setattr(one, "_known", [])


@pytest.fixture
def installed(tmp_path, monkeypatch, fresh):
    """Install packages by their modules' sources and entry points, as pip does; the modules go with the test."""
    before = set(sys.modules)

    def install(name, source, group, value=None):
        site = tmp_path / "site"
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value or name}\n")
        (site / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        return site

    yield install
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


def test_what_is_read_without_importing_is_what_the_modules_say():
    for one in (READERS, WRITERS):
        for kind in one:
            declared = {key: getattr(kind.module, key) for key in registry._DECLARED if hasattr(kind.module, key)}
            assert declared == {key: getattr(kind, registry._DECLARED[key]) for key in declared}
            assert callable(getattr(kind.module, one.does))
    assert READERS.find("A.PLY").splats


def test_kinds_are_listed_without_numpy():
    code = "import sys, msm3d.io as io; io.KINDS, io.WRITERS.titles(); print({'numpy', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "set()\n"


def test_a_frozen_program_without_sources_imports_them(monkeypatch):
    monkeypatch.setattr(registry, "__file__", "/nowhere/registry.pyc")
    assert registry._constants("las")["NEEDS"] == {"laspy": "LAS and LAZ files"}


def test_the_readme_and_the_extras_are_those_of_the_readers():
    assert f"Files ({READERS.titles()};" in (ROOT / "README.md").read_text().replace("\n", " ")
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for kind in READERS:
        assert bool(kind.needs) == (kind.extra in extras), kind
        assert {package.split("[")[0] for package in kind.needs} <= set(re.findall(r'"(\w+)', _extra(kind.extra)))
    page = (ROOT / "docs/inputs.md").read_text()
    assert "\n{readers}\n" in page
    assert "\n{writers}\n" in page


def _extra(name):
    found = re.search(rf"^{name} = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return "" if name is None or found is None else found[1]


def test_a_reader_of_an_installed_package_is_known_everywhere(installed, tmp_path, model, capsys, monkeypatch):
    installed("my_toys", TOY, "msm3d.readers")
    folder = tmp_path / "scans" / "below"
    folder.mkdir(parents=True)
    cloud = msm3d.read(toy(folder / "a.toy"))
    assert np.allclose(cloud.coord, make_scene(0, 100)["coord"])
    assert ".toy" in msm3d.io.KINDS
    with pytest.raises(SystemExit):
        cli.main(["extract", "--help"])
    assert "OFF, TOY file" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(FileError, match=r"give one of \.ply, .*, \.off, \.toy\.$"):
        msm3d.io.check(ROOT / "README.md")
    assert "plug-in         my_toys: TOY (.toy)" in report()
    assert "toy-parser      not installed (toys: pip install 'toy-parser')" in report()
    weights = str(model.save_pretrained(tmp_path / "weights"))
    assert cli.main(["extract", str(tmp_path / "scans"), "-o", str(tmp_path / "out"), "--model", weights]) == 0
    assert results.features(tmp_path / "out/below/a.npz").shape == (300, 76)


def test_one_process_reads_a_kind_that_it_registers(fresh, tmp_path):
    bars = SimpleNamespace(SUFFIXES=[".bars"], TITLE="BARS", content=lambda file, options: {"coord": np.eye(3)})
    (tmp_path / "a.BARS").write_text("-")
    register(bars)
    assert len(read(tmp_path / "a.BARS")) == 3
    assert [path.name for path in batch.found(tmp_path)] == ["a.BARS"]
    with pytest.raises(FileError, match=r"a\.BARS: has no opacity; leave min_opacity= out\."):
        read(tmp_path / "a.BARS", min_opacity=0.5)
    other = SimpleNamespace(SUFFIXES=(".ply",), TITLE="my PLY", content=lambda file, options: {"coord": np.eye(3)[:2]})
    (tmp_path / "a.ply").write_text("-")
    register(other)
    assert len(read(tmp_path / "a.ply")) == 2
    unregister(other)
    with pytest.raises(FileError, match=r"a\.ply: does not start with 'ply'"):
        read(tmp_path / "a.ply")
    unregister(bars)
    assert msm3d.io.KINDS[-1] == ".off"


def test_what_a_plug_in_needs_is_named(fresh, tmp_path):
    def content(file, options):
        import toy_parser_that_nobody_has  # noqa: F401

    register(SimpleNamespace(SUFFIXES=(".toy",), TITLE="TOY", content=content))
    with pytest.raises(DependencyError) as caught:
        read(toy(tmp_path / "a.toy"))
    assert str(caught.value) == (
        'reading TOY needs toy_parser_that_nobody_has; type: pip install "toy_parser_that_nobody_has".'
    )


def test_a_writer_of_an_installed_package_is_known_everywhere(installed, tmp_path, model, capsys):
    installed("my_tables", TSV, "msm3d.writers")
    scan, weights = tmp_path / "scan.npz", str(model.save_pretrained(tmp_path / "weights"))
    np.savez(scan, **make_scene(0, 100))
    with pytest.raises(SystemExit):
        cli.main(["extract", "--help"])
    assert ".npz, .npy, .safetensors, .ply, .las, .laz, .parquet or .tsv file" in " ".join(
        capsys.readouterr().out.split()
    )
    assert cli.main(["extract", str(scan), "-o", str(tmp_path / "a.tsv"), "--model", weights]) == 0
    arguments = ["extract", str(scan), "-o", f"{tmp_path}/out/", "--format", "tsv", "--model", weights]
    assert [cli.main(arguments), cli.main(arguments)] == [0, 0]  # made again: it says nothing of itself
    wanted = model.extract(make_scene(0, 100))
    for path in (tmp_path / "a.tsv", tmp_path / "out/scan.tsv"):
        assert np.allclose(np.loadtxt(path), wanted, atol=1e-4)
    with pytest.raises(FileError, match=r"a\.tsv: is TSV, of which msm3d does not read the features back; give anoth"):
        results.features(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nothing_of_the_kind", r"No module named 'nothing_of_the_kind'"),
        ("SUFFIXES, TITLE, content = 'abc', 'ABC', print", r"SUFFIXES is 'abc'; give lower-case endings with their "),
        ("SUFFIXES, TITLE, content = ('.abc',), '', print", r"TITLE is ''; give the name of the format, such as 'ABC'"),
        ("SUFFIXES, TITLE = ('.abc',), 'ABC'", r"there is no function 'content', which every reader has"),
        ("SUFFIXES, TITLE, content = ('.ply',), 'ABC', print", r"there is a reader of \.ply already"),
    ],
)
def test_a_broken_plug_in_is_said_once_and_breaks_nothing_else(installed, tmp_path, source, reason):
    installed("my_broken", source, "msm3d.readers")
    scan = tmp_path / "a.xyz"
    np.savetxt(scan, np.eye(3))
    with pytest.warns(msm3d.Msm3dWarning) as warned:
        assert len(read(scan)) == len(read(scan)) == 3
    said = [str(one.message) for one in warned if "my_broken" in str(one.message)]
    assert len(said) == 1
    assert re.match(r"the reader 'my_broken' of the package my_broken cannot be used \(" + reason, said[0])
    assert said[0].endswith("; update the package, or remove it: pip uninstall my_broken")
    assert msm3d.io.KINDS[-1] == ".off"


def test_a_broken_plug_in_is_one_line_of_the_command_line(installed):
    site = installed("my_broken", "1/0", "msm3d.readers")
    environment = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "msm3d", "extract", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: msm3d extract SCAN... ")
    assert done.stderr == (
        "warning: the reader 'my_broken' of the package my_broken cannot be used (division by zero); update the "
        "package, or remove it: pip uninstall my_broken\n"
    )


def test_what_is_neither_reader_nor_writer_is_refused():
    with pytest.raises(
        InputError, match=r"^3 needs content\(file, options\), as a reader has it, or create\(…\), as a w"
    ):
        register(3)
    with pytest.raises(
        InputError, match=r"^SUFFIXES is \('PLY',\); give lower-case endings with their point: \('\.abc"
    ):
        register(SimpleNamespace(SUFFIXES=("PLY",), TITLE="PLY", content=print))


def test_options_reach_a_reader(fresh, tmp_path):
    seen = []

    def content(file, options):
        seen.append((file, options))
        return {"coord": np.eye(3), "up": "y"}

    register(SimpleNamespace(SUFFIXES=(".toy",), TITLE="TOY", content=content, SPLATS=True))
    path = toy(tmp_path / "a.toy")
    assert read(path, min_opacity=0.25, units="cm").coord[1].tolist() == [0, 0, 0.01]
    assert seen == [(path, ReadOptions(min_opacity=0.25, units="cm"))]
