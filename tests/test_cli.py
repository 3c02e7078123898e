"""The command line in this process, and twice as a program: exit codes, one-sentence errors, files that are whole."""

import io
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

import msm3d
from msm3d import cli
from msm3d._util import stages
from msm3d.cli.display import Display
from tests.conftest import make_scene


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.npz"
    np.savez(path, **make_scene(0, 300))
    return path


def called(arguments):
    try:
        return cli.main(arguments)
    except SystemExit as stopped:
        return stopped.code


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
    assert shown.out.startswith(f"{out}: 900 points x 76 channels (float32) in ")
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
    assert all(line.startswith(f"warning: {path}: ") for line in warned)
    assert any("colour" in line for line in warned)
    assert any("normals" in line for line in warned)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["extract", "a.ply"],
            "msm3d extract: the following arguments are required: -o/--output; see msm3d extract --help",
        ),
        (["explode"], "msm3d: unknown verb 'explode'; choose one of read, extract, pca, view, "),
        (["extrct", "a.ply"], "msm3d: unknown verb 'extrct'; did you mean 'extract'? See msm3d --help."),
        (
            ["extract", "a.ply", "--modle", "scannet"],
            "msm3d extract: unknown option '--modle'; did you mean '--model'? See msm3d extract --help.",
        ),
        (["extract", "a.ply", "-o", "b.npz", "--frob"], "msm3d extract: unknown option '--frob'; see msm3d extract"),
        (["extract", "a.ply", "-o", "b.npz", "--model", "scannt"], "msm3d extract: unknown weights 'scannt'; did you"),
        (
            ["extract", "a.ply", "c.ply", "-o", "b", "--format", "npx"],
            "msm3d extract: argument --format: unknown 'npx'; ",
        ),
        (
            ["extract", "a.ply", "-o", "b.npz", "--dtype", "float61"],
            "msm3d extract: argument --dtype: unknown 'float61'",
        ),
        (
            ["extract", "a.ply", "-o", "b.npz", "--precision", "bf61"],
            "msm3d extract: argument --precision: unknown 'bf",
        ),
        (["extract", "a.ply", "-o", "b.npz", "--sampling", "x"], "msm3d extract: argument --sampling: unknown 'x'; "),
        (["extract", "a.ply", "-o", "b.npz", "--backend", "x"], "msm3d extract: argument --backend: unknown 'x'; "),
        (
            ["extract", "a.ply", "-o", "b.npz", "--up", "x"],
            "msm3d extract: argument --up: unknown 'x'; choose one of z,",
        ),
        (
            ["extract", "a.ply", "-o", "b.npz", "--max-memory", "lots"],
            "msm3d extract: --max-memory is 'lots'; give a number of bytes, or a size such as '4GB' or '512MiB'. See",
        ),
        (
            ["extract", "a.ply", "-o", "b.npz", "--device", "gpu"],
            "msm3d extract: --device is 'gpu'; choose one of cpu,",
        ),
        (
            ["extract", "a.ply", "-o", "b.npz", "--max-memory", "4"],
            "msm3d extract: --max-memory is 4, which is 4 bytes; did you mean '4GB'? See msm3d extract --help.",
        ),
        (
            ["view", "a.ply", "c.ply", "-o", "b.html"],
            "msm3d view: 'c.ply' is one word too many; the call is: msm3d view",
        ),
        (["a.ply"], "msm3d: 'a.ply' is not a verb; type one before it, as in: msm3d extract a.ply -o features.npz."),
        (["extract", "gone.ply", "-o", "b.npz"], "msm3d extract: gone.ply: does not exist; check the path."),
        (
            ["extract", "a.doc", "-o", "b.npz"],
            "msm3d extract: a.doc: is of a kind that msm3d does not read; give one of",
        ),
        (["extract", "a.ply", "gone.ply", "-o", "b"], "msm3d extract: gone.ply: does not exist; check the path."),
        (
            ["extract", "a.ply", "a.ply", "-o", "b"],
            "msm3d extract: two scans would both become b/a.npz, a.ply and a.ply;",
        ),
        (
            ["extract", "scans", "-o", "b.npz"],
            "msm3d extract: the scans in scans do not fit into the file b.npz; give -o",
        ),
        (
            ["extract", "scans", "-o", "a.ply"],
            "msm3d extract: the scans in scans do not fit into the file a.ply; give -o",
        ),
        (["extract", "scans", "-o", "scans"], "msm3d extract: the results would lie among the scans in scans; give -o"),
        (["extract", "none", "-o", "b"], "msm3d extract: none: holds no scan; give a folder with some of .ply, "),
        (["pca", "gone.ply", "-o", "b.png"], "msm3d pca: gone.ply: does not exist; check the path."),
        (["view", "gone.ply", "-o", "b.html"], "msm3d view: gone.ply: does not exist; check the path."),
        (
            ["rooms", "-n", "0", "-o", "b"],
            "msm3d rooms: argument -n/--number: '0' is not a whole number",
        ),
        (["extract", "a.ply", "-o", "b.doc"], "msm3d extract: b.doc cannot hold features; end it with one of .npz,"),
        (["extract", "a.ply", "-o", "b.npz", "--model", "./gone"], "msm3d extract: "),
        (
            ["extract", "a.ply", "c.ply", "-o", "b.npz"],
            "msm3d extract: 2 scans do not fit into the file b.npz; give -o a folder.",
        ),
        (
            ["extract", "a.ply", "-o", "b.npz", "--levels", "fine"],
            "msm3d extract: argument --levels: 'fine' is not a list of numbers such as 3,4; see msm3d extract --help",
        ),
        (
            ["probe", "rooms:2", "-o", "b.json", "--scenes", "few"],
            "msm3d probe: argument --scenes: 'few' is not a list of shares such as 1,0.05; see msm3d probe --help",
        ),
        (
            ["probe", "rooms:2", "-o", "b.json", "--points", "20,many"],
            "msm3d probe: argument --points: '20,many' is not a list of numbers such as all,20; see msm3d probe --help",
        ),
        (
            ["extract", "a.ply", "-o", "b.npz", "--model", "scannet"],
            "msm3d extract: The weights of 'scannet' are the paper's authors' and have no",
        ),
        (["info", "scanet"], "msm3d info: "),
        (["convert", "gone.pth"], "msm3d convert: "),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.ply", "c.ply", "a.doc", "scans/a.ply", "none/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("ply\n")
    before = sorted(tmp_path.rglob("*"))
    code = called(arguments)
    shown = capsys.readouterr()
    assert code == 2
    assert shown.err.startswith(sentence)
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_interrupted_it_leaves_nothing(scan, weights, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("msm3d.io.results.np.savez", interrupt)
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
    with pytest.raises(SystemExit, match="2"):
        cli.main(["rooms", "-n", "0", "-o", str(tmp_path / "rooms")])
    assert "'0' is not a whole number from 1 on" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_two_scans_of_one_name_are_not_written_over_each_other(tmp_path, capsys):
    scans = [tmp_path / folder / "scan.ply" for folder in "ab"]
    for path in scans:
        path.parent.mkdir()
        path.write_text("ply\n")
    assert cli.main(["extract", *map(str, scans), "-o", str(tmp_path)]) == 2
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
    shown = capsys.readouterr().out
    assert "\nlicence        not stated" in shown
    assert "\ndims           928 channels in 5 levels: 64 + 96 + 128 + 256 + 384\n" in shown
    assert "\nscores         ScanNet mIoU, linear probe: 68.7; " in shown
    assert "None" not in shown
    assert "run `msm3d download scannet` once" in shown


VERBS = cli._parsers()[1]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_all_of_its_options(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([verb, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: {VERBS[verb].needed()}\n")
    for action in VERBS[verb].actions:
        assert action.help, f"{verb} does not say what {action.option_strings or action.dest} is"
        assert all(option in shown for option in action.option_strings)


def test_the_page_of_all_verbs_names_each(capsys):
    with pytest.raises(SystemExit):
        cli.main([])
    shown = capsys.readouterr().out
    assert [verb for verb in VERBS if not re.search(rf"^ +{verb} +\w", shown, re.MULTILINE)] == []
    assert len(VERBS) >= 11


@pytest.mark.parametrize(("words", "usage"), [(["help"], "msm3d VERB"), (["help", "pca"], "msm3d pca SCAN")])
def test_help_is_understood_as_a_word(words, usage, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 0
    assert f"usage: {usage}" in capsys.readouterr().out


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
    assert cli.main(["rooms", *arguments]) == 0
    assert capsys.readouterr().out == f"{rooms}: 2 rooms of 2,000 points, 2 of them there already\n"
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
    assert (
        "gone: is not a folder; give a data set's folder, or rooms:60 for synthetic rooms." in capsys.readouterr().err
    )


def test_no_arguments_at_all_show_help_and_a_verb_alone_what_it_needs(capsys):
    assert called([]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: msm3d VERB [options]\n")
    assert shown.err == ""
    assert called(["extract"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "usage: msm3d extract SCAN... -o OUT [options]"
    assert second.startswith("example: msm3d extract scan.ply -o features.npz")


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["extract", "--help"], ["extrct"], ["extract", "gone.ply", "-o", "b.npz"]]
)
def test_help_and_mistakes_need_neither_numpy_nor_torch(arguments):
    code = "import sys, msm3d.cli\ntry:\n    msm3d.cli.main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
    code += "print(sorted({'numpy', 'torch', 'tqdm', 'huggingface_hub'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("given", [["--up", "-y"], ["--up=-y"], ["--up", "y"]])
@pytest.mark.parametrize("verb", ["extract", "pca", "view"])
def test_the_upward_axis_is_typed_as_the_warning_says_it(verb, given):
    options = cli.parsed([verb, "a.ply", *given, "-o", "b.npz"])
    assert options.up == given[-1].removeprefix("--up=")


@pytest.mark.parametrize(
    ("given", "levels"), [(["--levels", "-1"], [-1]), (["--levels", "-2,-1"], [-2, -1]), (["--lev", "-1"], [-1])]
)
def test_levels_may_be_counted_from_the_end(given, levels):
    assert cli.parsed(["extract", "a.ply", *given, "-o", "b.npz"]).levels == levels


@pytest.mark.parametrize(
    ("given", "levels"),
    [
        (["rooms:2"], False),
        (["rooms:2", "--levels"], ("all", "each")),
        (["--levels", "rooms:2"], ("all", "each")),
        (["rooms:2", "--levels", "all,last"], ("all", "last")),
        (["--levels=0,2", "rooms:2"], ("all", "0", "2")),
    ],
)
def test_choices_of_levels_to_judge_may_be_left_out(given, levels):
    options = cli.parsed(["probe", *given, "-o", "r.json", "--model", "rooms", "--model", "./mine"])
    assert (options.dataset, options.levels, options.model) == ("rooms:2", levels, ["rooms", "./mine"])


def test_wrong_choices_and_the_same_model_twice_are_said(tmp_path, capsys):
    arguments = ["probe", "rooms:2", "-o", str(tmp_path / "r.json")]
    assert called([*arguments, "--levels", "fine"]) == 2
    assert "levels has 'fine'; give all, last, each or a level's number, or several." in capsys.readouterr().err
    assert cli.main([*arguments, "--model", "rooms", "--model", "rooms"]) == 2
    assert "--model rooms is there twice; leave one out." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_value_is_no_value_of_another_option(capsys):
    assert called(["extract", "a.ply", "--up", "-o", "b.npz"]) == 2
    assert capsys.readouterr().err == "msm3d extract: argument --up: expected one argument; see msm3d extract --help\n"


def test_words_that_the_command_line_knows_are_those_of_the_package():
    from msm3d import model, ops
    from msm3d._util import devices
    from msm3d.backbones.hunet import config
    from msm3d.io import WRITERS
    from msm3d.rooms import files
    from msm3d.scan import options as reading
    from msm3d.scan import plausible
    from msm3d.visualize import verbs

    def good(verb, option, value):
        required = {"rooms": ["-n", "1"], "probe": ["rooms:2"]}.get(verb, ["a.ply"])
        return cli.parsed([verb, *required, "-o", "b", f"--{option}={value}"])

    known = [
        ("extract", "up", plausible.UPS),
        ("extract", "units", plausible.UNITS),
        ("extract", "invalid", reading.INVALID),
        ("extract", "mesh", reading.MESHES),
        ("extract", "precision", model.PRECISIONS),
        ("extract", "sampling", config.SAMPLINGS),
        ("extract", "backend", ops.BACKENDS),
        ("extract", "device", devices.KINDS),
        ("extract", "format", [ending[1:] for ending in WRITERS.suffixes()]),
        ("pca", "format", [ending[1:] for ending in verbs.PCA_FORMATS]),
        ("rooms", "layout", files.LAYOUTS),
        ("rooms", "split", files.SPLITS),
    ]
    for verb, option, values in known:
        for value in values:
            good(verb, option, value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_one_sentence(scan, capsys, tmp_path):
    assert cli.main(["extract", str(scan), "-o", str(tmp_path / "out.npz"), "--device", "cuda"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("msm3d extract: --device is 'cuda', but ")
    assert "leave --device out" in shown
    assert shown.count("\n") == 1
    with pytest.raises(msm3d.errors.InputError, match=r"^device is 'cuda:9', but .*leave device out"):
        msm3d.load(device="cuda:9")
    for wrong in ("gpu", "cuda:x", True):
        with pytest.raises(msm3d.errors.InputError, match=r"^device is "):
            msm3d.load(device=wrong)


def test_a_level_that_is_not_there_is_said_before_any_scan_is_read(scan, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("msm3d.io.registry.import_module", lambda name: pytest.fail(f"{name} was imported"))
    arguments = ["extract", str(scan), "-o", str(tmp_path / "out.npz"), "--model", weights, "--levels", "9"]
    assert cli.main(arguments) == 2
    assert "levels is [9]; give some of 0 (finest) to 2" in capsys.readouterr().err


def test_what_nobody_foresaw_is_a_fault_of_ours(scan, weights, tmp_path, capsys, monkeypatch):
    def wrong(*_, **__):
        raise KeyError("normals")

    monkeypatch.setattr("msm3d.model.Model.extract", wrong)
    monkeypatch.delenv("MSM3D_TRACEBACK", raising=False)
    arguments = ["extract", str(scan), "-o", str(tmp_path / "new" / "out.npz"), "--model", weights]
    (tmp_path / "new").mkdir()
    assert cli.main(arguments) == 70
    assert capsys.readouterr().err.splitlines()[-1] == (
        "msm3d extract: KeyError: 'normals'; this is a fault of msm3d: run it again with MSM3D_TRACEBACK=1 and report "
        "what is shown."
    )
    assert list((tmp_path / "new").iterdir()) == []
    monkeypatch.setenv("MSM3D_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.main(arguments)


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "msm3d", "models"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_quiet_shows_warnings_only(weights, tmp_path, capsys):
    path = tmp_path / "bare.npy"
    np.save(path, make_scene(0, 100)["coord"])
    assert cli.main(["extract", str(path), "-o", str(tmp_path / "o.npy"), "--model", weights, "--quiet"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 2
    assert all(line.startswith("warning: ") for line in shown.err.splitlines())


def test_one_point_is_singular_and_a_file_has_its_size(weights, tmp_path, capsys):
    path, out = tmp_path / "one.npz", tmp_path / "out.npy"
    np.savez(path, coord=np.zeros((1, 3)), color=np.zeros((1, 3)) + 9.0, normal=[[0, 0, 1.0]])
    assert cli.main(["extract", str(path), "-o", str(out), "--model", weights]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 1 point x 76 channels (float32) in ")


def test_a_large_result_comes_with_a_hint(scan, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("msm3d.cli.extract.LARGE", 1000)
    out = str(tmp_path / "out.npz")
    assert cli.main(["extract", str(scan), "-o", out, "--model", weights]) == 0
    shown = capsys.readouterr()
    assert shown.out.rstrip().endswith(" MB")
    hint = "hint: the file has 0.3 MB; with --levels 1,2 --dtype float16 it would have about 0.1 MB."
    assert shown.err.splitlines()[-1] == hint


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_each_stage_and_a_log_none(scan, weights, tmp_path, monkeypatch):
    arguments = ["extract", str(scan), "-o", str(tmp_path / "out.npz"), "--model", weights, "--device", "cpu"]
    np.savez(scan, **{name: value for name, value in make_scene(0, 300).items() if name != "normal"})
    for kind in (Terminal, io.StringIO):
        stream = kind()
        monkeypatch.setattr(sys, "stderr", stream)
        assert cli.main(arguments) == 0
        shown = stream.getvalue()
        assert ("\r" in shown) == (kind is Terminal)
        names = ["starting", "model", "reading", "normals", "voxels", "network", "writing"]
        places = [shown.find(f"{name} …") for name in names]
        assert places == (sorted(places) if kind is Terminal else [-1] * 7)
        assert min(places) >= 0 or kind is not Terminal


def test_a_warning_is_shown_once_for_each_scan(capsys):
    display = Display()
    with display.showing():
        from msm3d._util.words import warn

        for name in ("a.ply", "b.ply"):
            with stages.of(name):
                warn("the points have no colour.")
                warn("the points have no colour.")
                warn(f"{name}: 3 points have no position.")
        for _ in range(2):
            warn("something else.")
    assert capsys.readouterr().err.splitlines() == [
        "warning: a.ply: the points have no colour.",
        "warning: a.ply: 3 points have no position.",
        "warning: b.ply: the points have no colour.",
        "warning: b.ply: 3 points have no position.",
        "warning: something else.",
    ]


def test_sentences_name_options(tmp_path, weights, capsys):
    scan = tmp_path / "lying.npy"
    coord = make_scene(0, 2000)["coord"] * [3, 2, 2]
    np.save(scan, coord[:, [0, 2, 1]] * [1, 1, -1])  # y is up
    assert cli.main(["extract", str(scan), "-o", str(tmp_path / "o.npy"), "--model", weights]) == 0
    shown = capsys.readouterr().err
    assert "if you have colours, put red, green and blue into the file." in shown
    assert "if so, pass --up y." in shown
    assert "up=" not in shown


def test_a_closed_standard_output_is_no_fault(scan, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["extract", str(scan), "-o", str(tmp_path / "a.npy"), "--model", weights, "--device", "cpu"]) == 0
    assert cli.main(["models"]) == 0


@pytest.mark.parametrize("name", ["rooms.json", "README.json"])
def test_a_report_replaces_nothing_of_the_data(tmp_path, name, capsys):
    (tmp_path / "rooms.json").write_text("{}")
    (tmp_path / "README.md").write_text("mine")
    assert cli.main(["probe", str(tmp_path), "-o", str(tmp_path / name), "--model", "./none"]) == 2
    assert "is an input and would be replaced by the output; give the output another name." in capsys.readouterr().err
    (tmp_path / "README.json").write_text('{"format": "msm3d-probe"}')  # a report of ours may be written again
    assert cli.main(["probe", str(tmp_path), "-o", str(tmp_path / "README.json"), "--model", "./none"]) == 2
    assert "is an input" not in capsys.readouterr().err


@pytest.mark.parametrize(("given", "expected"), [({}, "10000"), ({"OMP_WAIT_POLICY": "active"}, None)])
def test_threads_of_the_command_line_give_their_core_away_soon(given, expected):
    code = "import os; from msm3d.cli import main; main(['models']); print(os.environ.get('GOMP_SPINCOUNT'))"
    rest = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=rest | given)
    assert done.stdout.splitlines()[-1] == str(expected)


def test_a_program_that_has_torch_already_keeps_its_environment(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    assert torch.__name__ in sys.modules
    cli.main(["models"])
    assert "GOMP_SPINCOUNT" not in os.environ
