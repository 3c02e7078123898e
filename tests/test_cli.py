"""The command line in this process, and twice as a program: exit codes, one-sentence errors, files that are whole."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from msm3d import cli
from tests.conftest import make_scene


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.npz"
    np.savez(path, **make_scene(0, 300))
    return path


@pytest.fixture
def weights(model, tmp_path):
    return str(model.save_pretrained(tmp_path / "weights"))


def test_extract_writes_what_extract_returns(scan, weights, model, tmp_path, capsys):
    out = tmp_path / "out.npz"
    assert cli.main(["extract", str(scan), "-o", str(out), "--model", weights, "--device", "cpu"]) == 0
    with np.load(out) as file:
        assert np.allclose(file["feat"], model.extract(make_scene(0, 300)), atol=1e-4)
        assert np.array_equal(file["coord"], make_scene(0, 300)["coord"])
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{out}: 900 points x 76 channels (float32), 0.3 MB in ")
    assert shown.err.startswith("Model(")


def test_extract_takes_several_scans_into_a_folder(scan, weights, tmp_path):
    other = tmp_path / "other.npz"
    np.savez(other, **make_scene(1, 100))
    arguments = ["--model", weights, "--device", "cpu", "--levels=-1", "--dtype", "float16", "--format", "npy"]
    assert cli.main(["extract", str(scan), str(other), "-o", str(tmp_path / "feats"), *arguments]) == 0
    shapes = {path.name: np.load(path).shape for path in (tmp_path / "feats").iterdir()}
    assert shapes == {"scan.npy": (900, 32), "other.npy": (300, 32)}


def test_a_warning_is_one_line(weights, tmp_path, capsys):
    path = tmp_path / "bare.npy"
    np.save(path, make_scene(0, 100)["coord"])
    out = str(tmp_path / "out.npy")
    assert cli.main(["extract", str(path), "-o", out, "--model", weights, "--device", "cpu"]) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 2
    assert any("colour" in line for line in warned)
    assert any("normals" in line for line in warned)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["extract"],
            "msm3d extract: the following arguments are required: SCAN, -o/--output; see msm3d extract --help",
        ),
        (["explode"], "msm3d: argument VERB: invalid choice: 'explode' (choose from"),
        (["extract", "a.ply", "-o", "b.doc"], "msm3d extract: b.doc cannot hold features; end it with one of .npz,"),
        (["extract", "a.ply", "-o", "b.npz", "--model", "./gone"], "msm3d extract: "),
        (
            ["extract", "a.ply", "c.ply", "-o", "b.npz"],
            "msm3d extract: 2 scans do not fit into the file b.npz; give -o a folder.",
        ),
        (
            ["extract", "a.ply", "-o", "b.npz", "--levels", "fine"],
            "msm3d extract: argument --levels: 'fine' is no list of numbers such as 3,4; see msm3d extract --help",
        ),
        (
            ["probe", "rooms:2", "-o", "b.json", "--scenes", "few"],
            "msm3d probe: argument --scenes: 'few' is no list of shares such as 1,0.05; see msm3d probe --help",
        ),
        (
            ["probe", "rooms:2", "-o", "b.json", "--points", "20,many"],
            "msm3d probe: argument --points: '20,many' is no list of numbers such as all,20; see msm3d probe --help",
        ),
        (["extract", "a.ply", "-o", "b.npz", "--model", "scannet"], "msm3d extract: The weights of 'scannet' have no"),
        (["info", "scanet"], "msm3d info: "),
        (["convert", "gone.pth"], "msm3d convert: "),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    shown = capsys.readouterr()
    assert code == 2
    assert shown.err.startswith(sentence)
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_interrupted_it_leaves_nothing(scan, weights, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("msm3d.results.np.savez", interrupt)
    before = sorted(tmp_path.iterdir())
    assert (
        cli.main(["extract", str(scan), "-o", str(tmp_path / "out.npz"), "--model", weights, "--device", "cpu"]) == 130
    )
    assert sorted(tmp_path.iterdir()) == before
    assert capsys.readouterr().err.endswith("msm3d extract: interrupted; nothing half-written was left.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["out.npz", "out.npy", "out.ply"])
def test_sigterm_leaves_nothing_and_the_next_run_sweeps_what_a_kill_left(scan, weights, tmp_path, name):
    held = (
        "import sys, time; from msm3d import cli, model; "
        "model.Model.extract = lambda *_, **__: (print('at work', flush=True), time.sleep(60)); sys.exit(cli.main())"
    )
    target = tmp_path / name
    arguments = ["extract", str(scan), "-o", str(target), "--model", weights, "--device", "cpu"]
    before = sorted(path.name for path in tmp_path.iterdir())
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        with subprocess.Popen([sys.executable, "-c", held, *arguments], stdout=-1, stderr=-1, text=True) as run:
            assert run.stdout.readline() == "at work\n"
            run.send_signal(number)
            assert run.wait(60) == code
            said = run.stderr.read()
        left = [path.name for path in tmp_path.iterdir() if path.name not in before]
        assert len(left) == (number == signal.SIGKILL), left
    assert said.endswith("\nmsm3d extract: asked to end; nothing half-written was left.\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.safetensors", "a.ply", "rooms"])
def test_a_full_disk_is_one_sentence_and_exit_code_2(weights, full_disk, tmp_path, name, capsys):
    """It ended with a signal, and left a file as large as the result."""
    if name == "rooms":
        arguments = ["rooms", "-n", "1", "-o", str(full_disk / name), "--points", "120000", "--workers", "1"]
    else:
        np.savez(tmp_path / "scan.npz", **make_scene(0, 4000))
        arguments = ["extract", str(tmp_path / "scan.npz"), "-o", str(full_disk / name), "--model", weights]
        arguments += ["--device", "cpu"]
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be written (" in said
    assert said.endswith("); make room, or give another folder.")
    assert [path for path in full_disk.rglob("*") if path.is_file() and path.name != "rooms.json"] == []


def test_no_rooms_are_no_folder(tmp_path, capsys):
    assert cli.main(["rooms", "-n", "0", "-o", str(tmp_path / "rooms")]) == 2
    assert "the least values are 1, 0 and 1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_two_scans_of_one_name_are_not_written_over_each_other(tmp_path, capsys):
    assert cli.main(["extract", "a/scan.ply", "b/scan.ply", "-o", str(tmp_path)]) == 2
    assert "two scans would both become" in capsys.readouterr().err


def test_check_models_and_info_report(capsys):
    for verb, words in (
        ("check", ("msm3d", "torch", "reference: cpu: ready")),
        ("models", ("scannet", "928 channels")),
    ):
        assert cli.main([verb]) == 0
        shown = capsys.readouterr().out
        assert all(word in shown for word in words)
    assert cli.main(["info", "scannet"]) == 0
    assert "licence" in capsys.readouterr().out


def test_every_verb_explains_itself(capsys):
    for verb in ("extract", "pca", "view", "convert", "models", "info", "download", "rooms", "probe", "check"):
        with pytest.raises(SystemExit) as stopped:
            cli.main([verb, "--help"])
        assert stopped.value.code == 0
        assert f"usage: msm3d {verb}" in capsys.readouterr().out


def test_it_runs_as_a_module_and_reports_its_version():
    done = subprocess.run([sys.executable, "-m", "msm3d", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("msm3d 0.")
    done = subprocess.run([sys.executable, "-m", "msm3d", "extract"], capture_output=True, text=True)
    assert done.returncode == 2


def test_rooms_and_probe_work_together(weights, tmp_path, capsys):
    rooms, report = tmp_path / "rooms", tmp_path / "report.json"
    arguments = ["-n", "2", "-o", str(rooms), "--first-seed", "7", "--points", "2000", "--workers", "1"]
    assert cli.main(["rooms", *arguments]) == 0
    assert capsys.readouterr().out == f"{rooms}: 2 rooms of 2,000 points\n"
    arguments = ["--model", weights, "--device", "cpu", "--protocol", "knn", "--sample", "100", "-o", str(report)]
    arguments += ["--points", "all,20", "--test-sample", "200"]
    assert cli.main(["probe", str(rooms), *arguments]) == 0
    shown = capsys.readouterr().out
    assert "mIoU" in shown
    assert "100 % of scenes, 20 points" in shown
    assert "a sample of 200 labelled points" in shown
    assert report.exists()
    assert report.with_suffix(".md").exists()
    assert cli.main(["probe", str(tmp_path / "gone"), "-o", str(report)]) == 2
    assert "gone: is no folder; give a data set's folder, or rooms:60 for made rooms." in capsys.readouterr().err
