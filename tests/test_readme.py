"""Every block of the README runs as it stands, on a small scan, with the bundled weights."""

import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest

import msm3d
from msm3d import cli
from tests.conftest import make_scene

ROOT = Path(msm3d.__file__).parents[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with scan.ply."""
    monkeypatch.chdir(tmp_path)
    scene = make_scene(0, 200)
    columns = np.concatenate([scene["coord"], scene["color"], scene["normal"]], 1)
    names = ["x", "y", "z", "red", "green", "blue", "nx", "ny", "nz"]
    header = [f"property float {name}" for name in names]
    lines = ["ply", "format ascii 1.0", f"element vertex {len(columns)}", *header, "end_header"]
    Path("scan.ply").write_text("\n".join([*lines, *(" ".join(f"{v:.6f}" for v in row) for row in columns)]) + "\n")
    return tmp_path


@pytest.mark.slow
def test_python_blocks_run_one_after_another(place, capsys):
    from msm3d.rooms import write

    write("rooms", 2, first_seed=7, points=2000, workers=1)
    names: dict = {}
    found = blocks("python")
    assert len(found) >= 3
    for block in found:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", msm3d.Msm3dWarning)
            exec(compile(block, "README.md", "exec"), names)
    assert capsys.readouterr().out.startswith("(600, 400)\n")
    assert names["coarse"].shape == (600, 288)
    assert names["small"].dtype == np.float16


@pytest.mark.slow
def test_shell_commands_run(place, capsys):
    commands = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) >= 5
    Path("scans/below").mkdir(parents=True)
    Path("scans/below/scan.ply").write_bytes(Path("scan.ply").read_bytes())
    clicks = {name: range(200 * i, 200 * (i + 1), 10) for i, name in enumerate(("floor", "wall", "ball"))}
    labels = {name: list(rows) for name, rows in clicks.items()}
    msm3d.tasks.Labels.for_scan(msm3d.read("scan.ply"), labels, "scan.ply").write("labels.json")
    for program, *arguments in commands:
        assert program == "msm3d"
        assert cli.main(arguments) == 0, arguments
    with np.load("features.npz") as file:
        assert file["feat"].shape == (600, 400)
    assert Path("features/below/scan.npz").is_file()
    assert np.load("coarse.npy").shape == (600, 288)
    assert msm3d.read("labels/below/scan.ply").segment.max() <= 2


def test_every_file_that_the_readme_links_to_exists():
    links = re.findall(r"\]\(([^):#]+)\)", (ROOT / "README.md").read_text())
    assert len(links) >= 3
    assert [link for link in links if not (ROOT / link).exists()] == []
