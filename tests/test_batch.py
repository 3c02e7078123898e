"""Folders of scans: what is walked, what is skipped, what is left after a failure."""

import os

import numpy as np
import pytest

import msm3d
from msm3d import batch, cli, io
from msm3d.errors import FileError, InputError
from msm3d.scan.options import ReadOptions
from tests.conftest import make_scene


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """A folder with four scans, one of them broken and one in Pointcept's layout, and other things."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "scans"
    for seed, name in enumerate(("a.npz", "below/b.NPZ")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with (root / name).open("wb") as file:
            np.savez(file, **make_scene(seed, 100))
    (root / "rooms/room.7").mkdir(parents=True)
    for name, array in make_scene(2, 50).items():
        np.save(root / f"rooms/room.7/{name}.npy", array)
    (root / "broken.ply").write_text("no header\n")
    (root / "notes.md").touch()
    (root / ".a.npz.77.partial").touch()
    (root / ".git").mkdir()
    (root / ".git/c.ply").touch()
    return root


@pytest.fixture
def call(model, tmp_path):
    weights = str(model.save_pretrained(tmp_path / "weights"))
    return lambda *given: cli.main(["extract", *map(str, given), "--model", weights, "--device", "cpu"])


def test_a_folder_keeps_its_order_and_a_bad_scan_stops_nothing(scans, call, capsys):
    assert call("scans", "-o", "out") == 1
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].startswith("1/4 out/a.npz: 300 points x 76 channels (float32) in ")
    assert lines[1].startswith("2/4 out/below/b.npz: 300 points")
    assert lines[2] == "3/4 scans/broken.ply: failed"
    assert lines[3].startswith("4/4 out/rooms/room.7.npz: 150 points")
    assert lines[4].startswith("3 scans: 750 points x 76 channels in ")
    assert lines[4].endswith(" MB; 1 failed; 1 file of other kinds left out")
    heading, row = shown.err.splitlines()[-2:]
    assert heading == "msm3d extract: 1 of 4 scans failed:"
    assert row.startswith("  scans/broken.ply: does not start with 'ply'")
    with np.load("out/rooms/room.7.npz") as file:
        assert np.array_equal(file["coord"], make_scene(2, 50)["coord"])


def test_what_is_done_is_left_and_what_changed_is_done_again(scans, call, capsys):
    (scans / "broken.ply").unlink()
    assert call("scans", "-o", "out", "--format", "npy") == 0
    before = {path: path.stat().st_mtime_ns for path in (scans.parent / "out").rglob("*.npy")}
    assert len(before) == 3
    capsys.readouterr()
    assert call("scans", "-o", "out", "--format", "npy") == 0
    assert "\n3 scans there already; " in capsys.readouterr().out
    later = (scans / "a.npz").stat().st_mtime + 10
    os.utime(scans / "a.npz", (later, later))
    (scans.parent / "out/below/b.npy").unlink()
    capsys.readouterr()
    assert call("scans", "-o", "out", "--format", "npy") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "3/3 out/rooms/room.7.npy: is there"
    assert lines[3].startswith("2 scans: 600 points")
    assert "; 1 there already" in lines[3]
    assert call("scans", "-o", "out", "--format", "npy", "--again") == 0
    assert "is there" not in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["npz", "npy", "safetensors", "ply", "las", "laz", "parquet"])
def test_every_format_is_known_again_and_another_width_or_type_is_not(scans, model, ending, monkeypatch):
    model = msm3d.load(model.save_pretrained("weights"), device="cpu")  # what is of no file is never known again
    jobs = batch.plan(["scans/a.npz"], "out/", ending).jobs
    assert [outcome.was_there for outcome in batch.extract(model, jobs)] == [False]

    def wrong(*_, **__):
        raise InputError("it is done again")

    monkeypatch.setattr("msm3d.model.Model.extract", wrong)
    assert [outcome.was_there for outcome in batch.extract(model, jobs)] == [True]
    assert [outcome.was_there for outcome in batch.extract(model, jobs, levels=[-1])] == [False]
    assert [outcome.was_there for outcome in batch.extract(model, jobs, dtype="float16")] == [False]
    assert [outcome.was_there for outcome in batch.extract(model, jobs, options=ReadOptions(up="y"))] == [False]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(model.meta, "sha256", "0" * 64)  # other weights of the same shape
        assert [outcome.was_there for outcome in batch.extract(model, jobs)] == [False]
    assert [outcome.was_there for outcome in batch.extract(model, jobs, again=True)] == [False]
    jobs[0].target.write_bytes(b"cut")
    assert [outcome.was_there for outcome in batch.extract(model, jobs)] == [False]


def test_one_named_scan_fails_as_the_whole_call_and_leaves_no_folder(scans, call, capsys):
    assert call("scans/broken.ply", "-o", "new/deep/") == 2
    assert "msm3d extract: scans/broken.ply: does not start with 'ply'" in capsys.readouterr().err
    assert not (scans.parent / "new").exists()
    assert call("scans/broken.ply", "scans/a.npz", "-o", "new") == 1
    assert [path.name for path in (scans.parent / "new").iterdir()] == ["a.npz"]


def test_results_among_the_scans_are_not_taken_for_scans(scans, call):
    assert call("scans", "-o", "scans/features") == 1
    assert call("scans", "-o", "scans/features") == 1
    found = sorted(path.relative_to(scans).as_posix() for path in (scans / "features").rglob("*.npz"))
    assert found == ["features/a.npz", "features/below/b.npz", "features/rooms/room.7.npz"]


def test_links_are_followed_once(scans):
    (scans / "below/up").symlink_to(scans)
    (scans / "linked").symlink_to(scans / "below")
    found, others = batch.walk(scans)
    assert [path.name for path in found] == ["a.npz", "b.NPZ", "broken.ply", "room.7"]
    assert others == 1


def test_warnings_name_the_scan_each_time(scans, call, capsys):
    for name in ("a.npz", "below/b.NPZ"):
        with (scans / name).open("wb") as file:
            np.savez(file, coord=make_scene(0, 100)["coord"])
    call("scans", "-o", "out", "--quiet")
    shown = capsys.readouterr()
    assert shown.out == ""
    for name in ("a.npz", "below/b.NPZ"):
        said = [
            line for line in shown.err.splitlines() if line.startswith(f"warning: scans/{name}: the points have no")
        ]
        assert len(said) == 2


def test_a_full_disk_stops_all_and_a_fault_of_ours_only_its_scan(scans, model, monkeypatch):
    jobs = batch.plan(["scans"], "out").jobs

    def wrong(*_, **__):
        raise error

    monkeypatch.setattr("msm3d.model.Model.extract", wrong)
    error: Exception = KeyError("x")
    assert [type(outcome.error) for outcome in batch.extract(model, jobs)] == [KeyError, KeyError, FileError, KeyError]
    error = InputError("cannot be written")
    error.__cause__ = OSError(28, "No space left on device")
    with pytest.raises(InputError, match="cannot be written"):
        list(batch.extract(model, jobs))
    assert not (scans.parent / "out").exists()


def test_a_scan_is_checked_without_reading_it(scans):
    assert io.check("scans/broken.ply").name == "broken.ply"
    (scans / "empty.ply").touch()
    for name, sentence in (
        ("gone.ply", "gone.ply: does not exist; check the path."),
        ("scans/notes.md", "scans/notes.md: is of a kind that msm3d does not read; give one of .ply, "),
        ("scans/empty.ply", "scans/empty.ply: is empty (0 bytes); export it again."),
        ("scans", "scans: is a directory; give one file: .ply, "),
    ):
        with pytest.raises(FileError) as raised:
            io.check(name)
        assert str(raised.value).startswith(sentence)


def test_two_scans_of_one_stem_are_told_apart_before_any_work(scans):
    (scans / "a.ply").touch()
    with pytest.raises(
        InputError, match=r"two scans would both become out/a\.npz, scans/a\.npz and scans/a\.ply; rename"
    ):
        batch.plan(["scans"], "out")


def test_a_scan_replaced_by_an_older_file_is_done_again(scans, call, capsys):
    (scans / "broken.ply").unlink()
    assert call("scans", "-o", "out") == 0
    with (scans / "new.npz").open("wb") as file:
        np.savez(file, **make_scene(5, 100))
    os.utime(scans / "new.npz", (1e9, 1e9))  # as rsync and unzip leave it
    (scans / "new.npz").replace(scans / "a.npz")
    color = scans / "rooms/room.7/color.npy"
    np.save(color, 255 - np.load(color))  # in its place: the folder's own time stays
    capsys.readouterr()
    assert call("scans", "-o", "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith(": is there") for line in lines[:3]] == [False, True, False]


def test_results_of_an_earlier_call_are_scans_only_where_nothing_else_is(scans, call):
    (scans / "broken.ply").unlink()
    for ending in ("npz", "ply"):
        assert call("scans", "-o", f"scans/{ending}", "--format", ending) == 0
    found = batch.plan(["scans"], "scans/third")
    assert [job.scan.name for job in found.jobs] == ["a.npz", "b.NPZ", "room.7"]
    assert found.others == 7
    assert len(batch.plan(["scans/npz"], "again").jobs) == 3


def test_a_folder_with_a_point_in_its_name_is_asked_for_with_a_stroke(scans):
    with pytest.raises(InputError, match=r"file out\.v2; give -o a folder, out\.v2/ with a stroke\."):
        batch.plan(["scans"], "out.v2")
    assert batch.plan(["scans"], "out.v2/").jobs[0].target.parent.name == "out.v2"


def test_weights_among_scans_are_no_scans(scans, tmp_path):
    import safetensors.torch
    import torch

    layers = {"stem.weight": torch.zeros(2, 2), "stem.bias": torch.zeros(2)}
    named = ["model.safetensors", "last.pt", "old.pth", "pytorch_model.bin"]
    safetensors.torch.save_file(layers, scans / named[0])
    torch.save(layers, scans / named[1])
    torch.save({"state_dict": layers, "epoch": 3}, scans / named[2], _use_new_zipfile_serialization=False)
    torch.save(layers, scans / named[3])
    coord = torch.from_numpy(make_scene(3, 50)["coord"])
    safetensors.torch.save_file({"coord": coord, "point.weight": coord[:, 0].contiguous()}, scans / "room.safetensors")
    torch.save({"coord": coord, "point.weight": coord[:, 0]}, scans / "room.pth")
    coord.numpy().astype("<f4").repeat(4, axis=0).reshape(-1, 4).tofile(scans / "sweep.bin")
    whole, left = "4 files of weights left out, which are not scans: ", ", ".join(sorted(named))
    with pytest.warns(msm3d.Msm3dWarning, match=whole + left):
        found, others = batch.walk(scans)
    assert {path.name for path in found} >= {"room.safetensors", "room.pth", "sweep.bin", "a.npz"}
    assert not {path.name for path in found} & set(named)
    assert others == 5
    alone = tmp_path / "alone"
    alone.mkdir()
    torch.save(layers, alone / "last.pt")
    with pytest.raises(InputError, match="alone: holds no scan"):
        batch.walk(alone)
