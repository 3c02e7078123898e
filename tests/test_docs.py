"""The documentation site: code runs, commands and extras exist, it builds without a warning and loads nothing."""

import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
import torch

import msm3d
from msm3d import cli, rooms

ROOT = Path(msm3d.__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    """Return the code of a page, but for what is included from a file."""
    found = re.findall(rf"^( *)```{language}\b[^\n]*\n(.*?)^\1```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(code) for _, code in found if "{include" not in code]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with scans and labelled rooms, and a small network as the bundled one."""
    torch.manual_seed(0)
    shape = dict(channels=(8, 8, 16, 16), decoder_channels=(8, 8, 16, 16), conv_blocks=(1,) * 4, window=64)
    config = msm3d.BackboneConfig(**shape, attention_blocks=(0, 0, 1, 1), heads=(0, 0, 2, 2), voxel_size=0.05)
    msm3d.Model(config, meta={"name": "rooms"}).save_pretrained(tmp_path / "bundled" / "rooms")
    monkeypatch.setattr("msm3d.weights._BUNDLED", tmp_path / "bundled")
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rooms.write("rooms", 2, first_seed=7, points=2000, workers=1)
    (scan,) = rooms.write("scans", 1, first_seed=900_001, layout="ply", split="train", points=2000, workers=1)
    Path("scan.ply").write_bytes(scan.read_bytes())
    Path("scan_in_mm.ply").write_bytes(scan.read_bytes())
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_blocks_run_one_after_another(page, place, capsys):
    names: dict = {}
    for block in blocks(page, "python"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", msm3d.Msm3dWarning)
            exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")], ids=lambda page: page.stem)
def test_commands_are_understood(page):
    lines = [line.split("#")[0].split() for block in blocks(page, "sh") for line in block.splitlines()]
    commands = [words for words in lines if words and words[0] == "msm3d"]
    assert commands
    for _, *arguments in commands:
        assert cli.parsed(arguments).verb == arguments[0]


def test_extras_that_are_named_exist():
    section = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = re.findall(r"^(\w+) = ", section, re.MULTILINE)
    named = {name for page in PAGES for name in re.findall(r"msm3d\[(\w+)\]", page.read_text())}
    assert len(named) >= 4
    assert named <= set(extras)


def test_every_example_is_a_recipe():
    recipes = (ROOT / "docs" / "recipes.md").read_text()
    examples = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
    assert sorted(re.findall(r"{include examples/(\w+\.py)}", recipes)) == examples


def test_the_network_is_drawn_as_it_is(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import figures

    assert figures.network(msm3d.BackboneConfig()) == (ROOT / "docs/figures/network-scannet.svg").read_text()
    assert figures.network(figures.ROOMS.backbone) == (ROOT / "docs/figures/network-rooms.svg").read_text()


def test_site_builds_without_a_warning_and_asks_for_nothing(tmp_path):
    pytest.importorskip("mkdocs")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES)  # and the one for addresses that do not exist
    loads = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=["']?(?:https?:)?//""")
    assert [page.name for page in pages if loads.search(page.read_text(encoding="utf-8"))] == []
    styles = [path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.css")]
    assert not any(re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style) for style in styles)
