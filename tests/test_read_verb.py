"""`msm3d read`: one line for each thing that is understood, and no network."""

from pathlib import Path

import numpy as np
import plyfile
import pytest

from msm3d import cli
from msm3d.cli.read import report
from msm3d.scan.options import ReadOptions
from tests.conftest import make_scene
from tests.files import NAMES, columns


def said(path, **options):
    return dict(report(Path(path), ReadOptions(**options)))


def test_what_is_there_is_said_and_what_is_missing(tmp_path, capsys):
    scene, file = make_scene(0, 300), tmp_path / "scan.npz"
    np.savez(file, coord=scene["coord"] + [10, 20, 0], viewpoint=[[11, 20, 1.5]])
    assert cli.main(["read", str(file), "--units", "cm"]) == 0
    shown = capsys.readouterr()
    lines = dict(line.split(maxsplit=1) for line in shown.out.splitlines())
    assert lines["scan"].startswith(f"{file} (NPZ, NPY, PTH, PT, 0.0 MB)")
    assert lines["points"] == "900"
    assert lines["units"] == "cm (as asked for)"
    assert lines["up"] == "z (assumed; else give --up)"
    assert lines["from"] == "x 0.10, y 0.20, z -0.00 m"
    assert lines["colours"] == "none; neutral grey will be used"
    assert lines["normals"] == "none; they will be estimated and point to where each point was seen from"
    assert lines["viewpoints"] == "1"
    assert lines["next"] == f"msm3d extract {file} -o features.npz"
    assert "network" not in shown.err


def test_what_is_there_has_its_figures(tmp_path):
    table = np.tile(columns(NAMES), 5)
    for axis in "xyz":
        table[axis] += np.repeat(np.arange(5), 40)
    table["nx"][:3] = table["ny"][:3] = table["nz"][:3] = 0
    table["x"][7] = np.nan
    file = tmp_path / "scan.ply"
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")]).write(file)
    with pytest.warns(UserWarning, match="1 of 200 points has no position"):
        lines = said(file, up="y")
    assert lines["points"] == "199 of 200; the others have no position or were left out"
    assert lines["up"] == "y (as asked for)"
    assert lines["normals"] == "there, but for 3 points"
    assert lines["colours"].startswith("mean 1")
    assert lines["classes"] == f"{len(set(table['label'].tolist()))} (labels 0 to {table['label'].max()})"
    assert lines["viewpoints"] == "not known"


def test_formats_and_folders_that_say_more(tmp_path):
    for name, values in make_scene(0, 50).items():
        np.save(tmp_path / f"{name}.npy", values)
    assert said(tmp_path)["scan"] == f"{tmp_path} (folder of arrays)"
    (tmp_path / "a.obj").write_text("".join(f"v {i} {i * i} {i % 3}\n" for i in range(9)))
    assert said(tmp_path / "a.obj")["points"] == "9"


def test_mistakes_are_a_sentence(tmp_path, capsys):
    assert cli.main(["read", str(tmp_path)]) == 2
    assert "is a directory; give one file: .ply, " in capsys.readouterr().err
    assert cli.main(["read", str(tmp_path / "none.ply")]) == 2
    assert "none.ply" in capsys.readouterr().err


def test_spacing_is_about_right(tmp_path):
    grid = np.stack(np.meshgrid(np.arange(100), np.arange(100)), -1).reshape(-1, 2) * 0.02
    np.savez(tmp_path / "a.npz", coord=np.column_stack([grid, np.zeros(10_000)]))
    length, unit = said(tmp_path / "a.npz")["spacing"].removeprefix("about ").split()[:2]
    assert (unit, float(length)) == ("mm", pytest.approx(20, rel=0.2))


def test_no_model_is_loaded(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", coord=make_scene(0, 50)["coord"])
    monkeypatch.setattr("msm3d.model.load", None)
    monkeypatch.setattr("msm3d.model.Model.__init__", None)
    assert cli.main(["read", str(tmp_path / "a.npz")]) == 0
