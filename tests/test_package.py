"""What is handed out: one version, the contents of a wheel and of a source distribution, workflows that are pinned."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import msm3d

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def test_the_version_has_one_source_and_its_copies_agree():
    assert 'dynamic = ["version"]' in PYPROJECT
    assert not re.search(r"^version = ", PYPROJECT, re.MULTILINE)
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == msm3d.__version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == msm3d.__version__
    recipe = (ROOT / "conda/recipe.yaml").read_text()
    assert re.search(r"^  version: (.*)$", recipe, re.MULTILINE)[1] == msm3d.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", msm3d.__version__)


def test_the_oldest_versions_that_are_tested_are_those_that_are_promised():
    promised = re.search(r"^dependencies = \[(.*?)\]", PYPROJECT, re.MULTILINE | re.DOTALL)[1]
    floors = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', promised))
    lines = (ROOT / ".github/oldest.txt").read_text().splitlines()
    tested = dict(line.removesuffix(".*").split("==") for line in lines if not line.startswith("#"))
    assert tested == floors
    recipe = (ROOT / "conda/recipe.yaml").read_text().partition("  run:\n")[2].partition("tests:")[0]
    in_conda = dict(re.findall(r"- (\w+) >=([\d.]+)", recipe))
    assert in_conda.pop("python") == re.search(r'requires-python = ">=([\d.]+)"', PYPROJECT)[1]
    assert in_conda.pop("pytorch") == floors.pop("torch")
    assert in_conda == floors
    oldest = re.search(r'requires-python = ">=([\d.]+)"', PYPROJECT)[1]
    assert f'python: "{oldest}", versions: oldest' in (ROOT / ".github/workflows/tests.yml").read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_pinned_and_may_only_read(path):
    """An action that is named by a tag can become another one overnight."""
    yaml = pytest.importorskip("yaml", reason="no PyYAML, which mkdocs brings")
    flow = yaml.safe_load(path.read_text())
    assert flow["permissions"] == {"contents": "read"}
    steps = [step for job in flow["jobs"].values() for step in job["steps"]]
    actions = [step["uses"] for step in steps if "uses" in step]
    assert actions
    assert [action for action in actions if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []
    named = re.findall(r"uses: \S+@[0-9a-f]{40}( # v[\d.]+)?$", path.read_text(), re.MULTILINE)
    assert all(named), "say after each commit which version it is"
    assert len(named) == len(actions)
    for step in steps:
        for file in re.findall(r"\.github/\w+\.\w+", step.get("run", "")):
            assert (ROOT / file).is_file(), file
        for target in re.findall(r"^make (\w+)", step.get("run", ""), re.MULTILINE):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_a_commit_is_checked_as_ci_checks_it():
    assert "entry: make lint\n" in (ROOT / ".pre-commit-config.yaml").read_text()
    assert "run: make lint\n" in (ROOT / ".github/workflows/tests.yml").read_text()


def test_a_release_is_of_the_version_that_its_tag_and_the_changelog_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / ".github")
    import release_check

    assert list(release_check.wrong_with_the_version(None)) == []
    monkeypatch.setattr(release_check, "ROOT", tmp_path)
    (tmp_path / "msm3d").mkdir()
    (tmp_path / "msm3d/__init__.py").write_text('__version__ = "1.2.0"\n')
    for heading, tag, said in [
        ("1.2.0 (2026-12-01)", "v1.2.0", []),
        ("1.2.0 (unreleased)", None, []),
        ("1.2.0 (unreleased)", "v1.2.0", ["CHANGELOG.md says 'unreleased' of 1.2.0; give the day of the release."]),
        ("1.2.0 (2026-12-01)", "v1.3.0", ["the tag is v1.3.0, and msm3d/__init__.py has 1.2.0."]),
        ("1.1.0 (2026-12-01)", None, ["CHANGELOG.md begins with 1.1.0, and msm3d/__init__.py has 1.2.0."]),
    ]:
        (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n\n- Something.\n")
        assert list(release_check.wrong_with_the_version(tag)) == said


def built(kind: str, folder: Path) -> Path:
    """Return a wheel or a source distribution of this checkout."""
    pytest.importorskip("scikit_build_core", reason="no scikit-build-core to build with")
    lacking = "from scikit_build_core import build; print(*build.get_requires_for_build_wheel())"
    asked = subprocess.run([sys.executable, "-c", lacking], capture_output=True, text=True, cwd=ROOT, check=True)
    if asked.stdout.strip():
        pytest.skip(f"building needs {asked.stdout.strip()}, which pip would fetch")
    code = f"from scikit_build_core import build; build.build_{kind}({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    [file] = folder.iterdir()
    return file


@pytest.mark.slow
def test_a_wheel_holds_what_runs_and_nothing_else(tmp_path):
    from msm3d.ops.library import SUFFIX

    wheel = built("wheel", tmp_path)
    assert re.fullmatch(rf"msm3d-{re.escape(msm3d.__version__)}-py3-none-\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        size = sum(info.compress_size for info in file.infolist())
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "msm3d").rglob("*.py")}
    assert package <= names
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "msm3d/visualize/page").iterdir()}
    bundled = {path.relative_to(ROOT).as_posix() for path in (ROOT / "msm3d/weights/bundled").glob("*/*")}
    assert len(page) > 8
    assert page | bundled | {"msm3d/py.typed", "msm3d/weights/releases.json", f"msm3d/_native{SUFFIX}"} <= names
    roots = {name.split("/")[0] for name in names}
    assert roots == {"msm3d", f"msm3d-{msm3d.__version__}.dist-info"}
    assert [name for name in names if "/csrc/" in name or "__pycache__" in name or name.endswith((".cpp", ".h"))] == []
    assert size < 36e6  # two sets of weights of at most 16 MB each, and 4 MB of everything else


@pytest.mark.slow
def test_a_source_distribution_can_be_built_and_tested_from(tmp_path):
    import tarfile

    with tarfile.open(built("sdist", tmp_path)) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    needed = {"pyproject.toml", "CMakeLists.txt", "cmake/native.cmake", "msm3d/csrc/conv.cpp", "LICENSE", "README.md"}
    assert (
        needed | {"tests/test_package.py", "conftest.py", "msm3d/py.typed", "weights/rooms/check.safetensors"} <= names
    )
    assert [name for name in names if name.endswith((".so", ".pyc")) or name.startswith(("build/", ".venv/"))] == []
