"""The documentation site: code runs, commands and extras exist, it builds without a warning and loads nothing."""

import ast
import inspect
import operator
import re
import shlex
import subprocess
import sys
import textwrap
import types
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
    for name in ("rooms", "rooms-labelled"):
        msm3d.Model(config, meta={"name": name}).save_pretrained(tmp_path / "bundled" / name)
    monkeypatch.setattr("msm3d.weights._BUNDLED", tmp_path / "bundled")
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("msm3d.backbones.FAMILIES", dict(msm3d.backbones.FAMILIES))  # pages register things
    monkeypatch.setattr("msm3d.ops.BACKENDS", dict(msm3d.ops.BACKENDS))
    for registry in (msm3d.tasks.TASKS, msm3d.tasks.heads.HEADS):
        monkeypatch.setattr(registry, "known", dict(registry.known))
    monkeypatch.setattr(msm3d.io.READERS, "_known", list(msm3d.io.READERS))
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
    lines = [shlex.split(line, comments=True) for block in blocks(page, "sh") for line in block.splitlines()]
    commands = [words for words in lines if words and words[0] == "msm3d"]
    assert commands
    for _, *arguments in commands:
        assert cli.parsed(arguments).verb == arguments[0]


def test_extras_that_are_named_exist():
    section = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = re.findall(r"^(\w+) = ", section, re.MULTILINE)
    named = {name for page in PAGES for name in re.findall(r"msm3d\[(\w+)\]", page.read_text())}
    assert len(named) >= 3
    assert named <= set(extras)


def public() -> dict[str, types.FunctionType]:
    """Return the functions that the reference lists, and the methods of its classes."""
    found = {}
    for name in re.findall(r"^::: msm3d\.([\w.]+)$", (ROOT / "docs/reference.md").read_text(), re.MULTILINE):
        thing = operator.attrgetter(name)(msm3d)
        members = vars(thing) if inspect.isclass(thing) else {"": thing}
        for member, value in members.items():
            value = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else value
            if inspect.isfunction(getattr(value, "__func__", value)) and not member.startswith("_"):
                found[f"{name}.{member}"] = getattr(value, "__func__", value)
    return found


def raises(function: types.FunctionType) -> bool:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def test_what_the_reference_lists_says_what_it_raises():
    found = public()
    assert sum(map(raises, found.values())) >= 10
    silent = [n for n, f in found.items() if raises(f) and not re.search("raises?", f.__doc__ or "", re.IGNORECASE)]
    assert silent == []


def test_every_example_is_a_recipe():
    recipes = (ROOT / "docs" / "recipes.md").read_text()
    examples = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
    assert sorted(re.findall(r"{include examples/(\w+\.py)}", recipes)) == examples


def test_drawings_are_as_their_programs_make_them(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import figures

    assert figures.network(msm3d.BackboneConfig()) == (ROOT / "docs/figures/network-scannet.svg").read_text()
    import floors

    for name, (title, columns) in floors.PICTURES.items():
        assert floors.drawn(title, columns) == (ROOT / f"docs/figures/floor-{name}.svg").read_text()
    assert figures.network(figures.ROOMS.backbone) == (ROOT / "docs/figures/network-rooms.svg").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("docs") / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(build, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


def test_site_builds_without_a_warning_and_asks_for_nothing(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # and the one for addresses that do not exist
    loads = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=["']?(?:https?:)?//""")
    assert [page.name for page in pages if loads.search(page.read_text(encoding="utf-8"))] == []
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert not any(re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style) for style in styles)


def test_the_front_page_shows_features_scores_and_a_version(site):
    front = (site / "index.html").read_text()
    assert '<img alt="A generated scan, its features as colours' in front
    assert '<iframe class="live" src="room.html"' in front
    assert "untrained network" in front
    assert f"This is version {msm3d.__version__}." in front
    assert f"msm3d {msm3d.__version__}, MIT licence" in (site / "faq.html").read_text()
    live = (site / "room.html").read_text()
    assert len(live) < 1_600_000
    assert '"mode": "pca"' in live


def test_notebooks_are_pages_with_what_they_draw_and_say(site):
    for path in sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")):
        page = (site / f"{path.stem}.html").read_text(encoding="utf-8")
        assert f"examples/notebooks/{path.name}" in page
        assert page.count("<h1") == 1
        assert ".ipynb)" not in page
        pictures = re.findall(rf'src="(figures/{path.stem}-\d+\.png)"', page)
        assert len(pictures) == path.read_text(encoding="utf-8").count('"image/png"')
        assert all((site / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
        assert pictures or "<svg xmlns" in page


def test_search_looks_into_inputs_first_and_not_into_code(site):
    import json

    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    assert {entry.get("boost") for entry in entries if entry["location"].startswith("inputs.html")} == {3}
    code = [entry["text"] for entry in entries if entry["location"].startswith("recipes.html")]
    assert code
    assert not any("import msm3d" in text for text in code)


def test_search_works_in_a_site_that_is_opened_from_its_folder(site):
    sync_playwright = pytest.importorskip("playwright.sync_api", reason="no playwright").sync_playwright
    from tests.test_viewer import FLAGS, program

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(playwright), headless=True, args=FLAGS)
        page, asked = browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "faq.html").as_uri())
        page.locator(".md-search__input").click()
        page.locator(".md-search__input").press_sequentially("normals", delay=20)
        page.wait_for_selector(".md-search-result__item", timeout=20_000)
        first = page.locator(".md-search-result__item").first.inner_text()
        browser.close()
    assert first.startswith("What goes in")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []
