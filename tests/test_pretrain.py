"""A run as a whole: it learns, goes on to the bit after any break, and computes the same on two processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import HashStore

import msm3d
from msm3d import cli
from msm3d._util.words import of_the_command_line, option
from msm3d.errors import FileError, InputError
from msm3d.io import read, storage
from msm3d.io.cached import Cache
from msm3d.pretrain import CollapseError, PretrainConfig, pretrain
from msm3d.pretrain.sources import scenes as sources
from msm3d.pretrain.sources import several
from msm3d.scan.augment import Augmentation
from msm3d.scan.cloud import PointCloud
from msm3d.training.processes import fresh
from msm3d.training.trainer import ahead
from tests.conftest import make_scene


@dataclass(frozen=True)
class Made:
    name: str
    read: object


def made(seed):
    return PointCloud.of(make_scene(seed, 300))


SCENES = [Made(f"scene {seed}", partial(made, seed)) for seed in range(3)]


@pytest.fixture
def small(config):
    backbone = replace(
        config,
        channels=(8, 16),
        decoder_channels=(8, 16),
        conv_blocks=(1, 1),
        attention_blocks=(0, 1),
        heads=(0, 2),
        voxel_size=0.1,
        layer_scale=1.0,
    )
    return PretrainConfig(
        backbone=backbone, steps=6, batch=2, prototypes=4, visible=1.0, target="centred", ramp=(0.0, 0.5), lr=5e-3
    )


def run(config, folder, **options):
    return pretrain(SCENES, config, folder, backend="reference", look_every=1, **options)


def weights(model):
    return torch.cat([p.flatten() for p in model.parameters()])


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def without_rate(logged):
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in logged]


def test_a_run_leaves_what_it_says(small, tmp_path):
    judged = []
    model = run(small, tmp_path, data="three scenes", judge=lambda m: judged.append(m) or {"score": 1.0}, judge_every=4)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "checkpoint.pt", "log.jsonl", "tensorboard", "student", "teacher"}
    assert len(judged) == 2
    assert not judged[0].training
    logged = lines(tmp_path)
    assert [line["step"] for line in logged if "loss" in line] == list(range(6))
    assert [line["judged"] for line in logged if "judged" in line] == [{"score": 1.0}] * 2
    assert len(logged[0]["per_level"]) == len(logged[0]["rank"]) == 2
    student, teacher = (msm3d.load(tmp_path / name) for name in ("student", "teacher"))
    assert torch.equal(weights(student), weights(model))
    assert not torch.equal(weights(student), weights(teacher))
    assert (student.meta["data"], student.meta["steps"]) == ("three scenes", 6)
    assert not any(p.requires_grad for p in model.parameters())
    assert PretrainConfig.from_dict(json.loads((tmp_path / "config.json").read_text())["pretrain"]) == small


def test_the_loss_falls(small, tmp_path):
    still = Augmentation(scale=0, jitter=0.001, brightness=0, tint=0, shade=0, noise=0)
    run(replace(small, steps=30, prototypes=0, augmentation=still, momentum=(0.9, 1.0)), tmp_path)
    losses = [line["loss"] for line in lines(tmp_path)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[1:6])


def test_a_broken_run_goes_on_to_the_bit(small, tmp_path):
    expected = run(small, tmp_path / "whole", every=2)

    def stop(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small, tmp_path / "broken", every=2, judge=stop, judge_every=5)
    assert [line["step"] for line in lines(tmp_path / "broken")] == [0, 1, 2, 3, 4]
    model = run(small, tmp_path / "broken", every=2, resume=True)
    assert torch.equal(weights(model), weights(expected))
    assert without_rate(lines(tmp_path / "broken")) == without_rate(lines(tmp_path / "whole"))
    again = run(small, tmp_path / "broken", resume=True)
    assert torch.equal(weights(again), weights(expected)), "a run that is done stays as it is"


def test_the_first_line_of_the_log_comes_early(small, tmp_path):
    pretrain(SCENES, replace(small, steps=12), tmp_path, backend="reference")
    assert [line["step"] for line in lines(tmp_path)] == [9, 11]


def test_a_run_is_not_overwritten_nor_mixed(small, tmp_path):
    run(replace(small, steps=1), tmp_path)
    with pytest.raises(InputError, match=r"has a run already; go on with resume=True, or give another folder\.$"):
        run(replace(small, steps=1), tmp_path)
    with pytest.raises(InputError, match=r"is of another run, pretrain differs; give another name, or delete it\.$"):
        run(replace(small, steps=1, lr=0.1), tmp_path, resume=True)
    with pytest.raises(
        InputError, match=r"^there are no scenes to learn from; give a folder with some, or rooms:100\.$"
    ):
        pretrain([], small, tmp_path / "other")


def test_the_seed_decides(small, tmp_path):
    one = [weights(run(replace(small, steps=1, seed=seed), tmp_path / f"{seed}")) for seed in (0, 1)]
    assert not torch.equal(*one)


def test_a_collapsed_run_stops(small, tmp_path, monkeypatch):
    monkeypatch.setattr("msm3d.pretrain.monitor.LEAST_RANK", 100.0)
    with pytest.raises(CollapseError, match="have collapsed at step 2"):
        run(small, tmp_path)


def test_steps_are_made_ready_in_order():
    assert list(ahead(lambda step: [step], 3, 7)) == [(step, [step]) for step in range(3, 7)]
    assert list(ahead(lambda step: [step], 7, 7)) == []
    with of_the_command_line():
        assert [words for _, (words,) in ahead(lambda step: [option("up", "y")], 0, 2)] == ["--up y"] * 2
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda step: [1 // (5 - step)], 3, 7))


# --- as programs ---

PROGRAM = """
    import sys, torch
    sys.path.insert(0, {tests!r})
    from test_pretrain import SCENES
    {more}
    from msm3d.pretrain import PretrainConfig, pretrain
    import json
    torch.set_num_threads(1)
    config = PretrainConfig.from_dict(json.load(open({config!r})))
    pretrain(SCENES, config, {folder!r}, backend="reference", look_every=1, every=3, resume=True)
"""


def program(tmp_path, config, folder, more=""):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    script = tmp_path / f"{folder.name}.py"
    more = more.format(folder=str(folder))
    text = PROGRAM.format(tests=os.path.dirname(__file__), config=str(path), folder=str(folder), more=more)
    script.write_text(textwrap.dedent(text))
    return str(script)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_bit(small, tmp_path):
    config = replace(small, steps=40)
    expected = run(config, tmp_path / "whole")
    script = program(tmp_path, config, tmp_path / "killed")
    killed = 0
    while not (done := (tmp_path / "killed" / "checkpoint.pt")).exists() or _step(done) < config.steps:
        process = subprocess.Popen([sys.executable, script])
        before = _step(done)
        while process.poll() is None and (killed >= 3 or _step(done) < before + 9):
            time.sleep(0.2)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        assert process.wait() in (0, -signal.SIGKILL)
    assert killed == 3
    model = msm3d.load(tmp_path / "killed" / "student")
    assert torch.equal(weights(model), weights(expected))
    assert without_rate(lines(tmp_path / "killed")) == without_rate(lines(tmp_path / "whole"))


def _step(checkpoint):
    return torch.load(checkpoint, weights_only=True)["step"] if checkpoint.exists() else 0


@pytest.mark.slow
def test_two_processes_compute_what_one_does(small, tmp_path):
    config = replace(small, steps=4)
    expected = run(config, tmp_path / "one")
    script = program(tmp_path, config, tmp_path / "two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    model = msm3d.load(tmp_path / "two" / "student")
    torch.testing.assert_close(weights(model), weights(expected), rtol=1e-3, atol=1e-4)
    for one, two in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
    odd = program(tmp_path, replace(config, batch=3), tmp_path / "odd")
    done = subprocess.run([*command[:-1], odd], capture_output=True, text=True, timeout=120, env=environment)
    assert "a batch of 3 scenes cannot be shared by 2 processes; give batch a multiple of 2." in done.stderr


def test_a_process_that_starts_again_does_not_meet_those_of_before():
    """The store of torchrun outlives a start; of that one it holds a question here, and where its processes were."""
    store = HashStore()
    store.set("asks 1", "process that is gone")
    store.set("where 0 is", "where nobody is")
    found = list[Any]()
    threads = [Thread(target=lambda rank=rank: found.append(fresh(store, rank, 3))) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 3
    assert not any(one.check(["where 0 is"]) for one in found)
    found[0].set("where 0 is", "here")
    assert [one.get("where 0 is") for one in found] == [b"here"] * 3


def test_processes_that_never_start_are_missed():
    store = HashStore()
    store.set_timeout(timedelta(seconds=0.2))
    with pytest.raises(TimeoutError, match="1 of 2 processes have not started"):
        fresh(store, 0, 2)


def agent(script, port, restarts):
    """Start what torchrun calls an agent: one of two, each with a process, that find each other at a port."""
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", str(restarts), "--rdzv-backend", "c10d"]
    words += ["--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "run", "--local-addr", "127.0.0.1", script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


DEADLY = """
    class Deadly(list):
        def __getitem__(self, place):
            deaths = sorted(pathlib.Path({folder!r}).parent.glob("death*"))
            self.asked = getattr(self, "asked", 0) + 1
            if os.environ["RANK"] == "1" and self.asked == 5 and len(deaths) < 2:
                pathlib.Path({folder!r}).with_name(f"death{{len(deaths)}}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(place)

    import os, pathlib, signal
    SCENES = Deadly(SCENES)
"""


@pytest.mark.slow
def test_a_process_killed_on_one_of_two_machines_costs_no_bit(small, tmp_path):
    """It is killed on its fifth scene, and what follows it again; the run is saved after every third step."""
    config, folders = replace(small, steps=10), (tmp_path / "whole", tmp_path / "killed")
    for folder, more in zip(folders, ("", DEADLY), strict=True):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        script = program(tmp_path, config, folder, more)
        agents = [agent(script, port, 5) for _ in range(2)]
        try:
            told = [one.communicate(timeout=400)[1] for one in agents]
        finally:
            for one in agents:
                with suppress(ProcessLookupError):
                    os.killpg(one.pid, signal.SIGKILL)
                one.communicate()
        assert [one.returncode for one in agents] == [0, 0], told
    assert len(list(tmp_path.glob("death*"))) == 2
    models = [weights(msm3d.load(folder / "student")) for folder in folders]
    assert torch.equal(*models)
    whole, killed = (without_rate(lines(folder)) for folder in folders)
    assert whole == killed


TINY = "channels=8,16 decoder_channels=8,16 conv_blocks=1,1 attention_blocks=0,1 heads=0,2 voxel_size=0.1".split()


def pretrain_tiny(*arguments):
    sets = [f"backbone.{change}" for change in TINY] + ["steps=2", "batch=1", "view=2000"]
    return cli.main(["pretrain", *arguments, *(part for change in sets for part in ("--set", change))])


def test_the_paper_s_settings_run_on_folders_of_scannet(tmp_path, capsys):
    """In Pointcept's layout, as preprocessing scripts write it; validation scenes and labels are left alone."""
    for split, number in (("train", 0), ("train", 1), ("val", 2)):
        folder = tmp_path / "scannet" / split / f"scene000{number}_00"
        folder.mkdir(parents=True)
        for name, values in make_scene(number, 200).items():
            np.save(folder / f"{name}.npy", values.astype(np.float32))
        (folder / "segment20.npy").write_bytes(b"is not read")
    arguments = ["--data", str(tmp_path / "scannet"), "--config", "scannet", "-o", str(tmp_path / "run")]
    assert pretrain_tiny(*arguments, "--probe", "none", "--device", "cpu") == 0
    shown = capsys.readouterr()
    assert shown.out.endswith(f'2 steps; now:  msm3d.load("{tmp_path / "run" / "student"}")\n')
    start = (
        f"{tmp_path / 'run'}: 2 steps of 1 scene from 2 scans of {tmp_path / 'scannet'}; 2 levels of 8, 16 channels, "
    )
    assert shown.err.startswith(f"{start}0.1 m voxels, on cpu; look at {tmp_path / 'run' / 'log.jsonl'}, or: ")
    assert "step/s" not in shown.err
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert settings["scenes"] == ["scene0000_00", "scene0001_00"]
    assert settings["pretrain"]["lr"] == 1.5e-3
    assert pretrain_tiny(*arguments, "--probe", "none") == 2
    assert "has a run already" in capsys.readouterr().err


@pytest.mark.slow
def test_rooms_are_made_learned_from_and_watched(tmp_path, monkeypatch):
    monkeypatch.setattr("msm3d.pretrain.sources.ROOMS", 2)
    arguments = ["--data", "rooms", "-o", str(tmp_path / "run"), "--probe", "rooms:1/1", "--probe-every", "1"]
    assert pretrain_tiny(*arguments) == 0
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert len(settings["scenes"]) == 2
    judged = [line["judged"]["knn miou"] for line in lines(tmp_path / "run") if "judged" in line]
    assert len(judged) == 2
    assert all(0 < score < 100 for score in judged)


# --- where scans come from ---


@pytest.fixture
def shelf(tmp_path):
    """Object storage in this process's memory, with three scans of about the same size."""
    fsspec = pytest.importorskip("fsspec")
    storage = fsspec.filesystem("memory")
    for k in range(3):
        np.savez(tmp_path / f"{k}.npz", **make_scene(k, 200))
        storage.pipe_file(f"/shelf/scans/below/{k}.npz", (tmp_path / f"{k}.npz").read_bytes())
    storage.pipe_file("/shelf/scans/notes.md", b"no scan")
    yield storage
    storage.rm("/shelf", recursive=True)


def test_scans_in_object_storage_are_fetched_and_few_are_kept(shelf, tmp_path, monkeypatch):
    size, opened = (tmp_path / "0.npz").stat().st_size, Counter()
    cache = Cache(tmp_path / "fetched", round(2.5 * size))
    found = several(["memory://shelf/scans"], tmp_path / "rooms", cache=cache)
    assert [scan.name for scan in found] == [f"below/{k}.npz" for k in range(3)]
    fetch = storage.fetch
    monkeypatch.setattr("msm3d.io.cached.fetch", lambda place, path: (opened.update([place.name]), fetch(place, path)))
    for k in (0, 1, 0, 2, 0, 1):
        np.testing.assert_array_equal(found[k].read().coord, read(tmp_path / f"{k}.npz").coord)
        assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= cache.limit
    assert opened == {"0.npz": 1, "1.npz": 2, "2.npz": 1}  # what was used longest ago made room
    shelf.pipe_file("/shelf/scans/below/0.npz", (tmp_path / "2.npz").read_bytes() + b"more")
    changed = several(["memory://shelf/scans"], tmp_path / "rooms", cache=cache)[0]
    np.testing.assert_array_equal(changed.read().coord, read(tmp_path / "2.npz").coord)


def test_files_used_within_one_tick_of_the_kernels_clock_keep_their_order(shelf, tmp_path):
    cache = Cache(tmp_path / "fetched", 10**9)
    places = storage.listed(storage.place("memory://shelf/scans"), [".npz"])
    stamps = [cache.read(place, lambda path: path.stat().st_mtime_ns) for place in places * 20]
    assert stamps == sorted(set(stamps))


def test_what_object_storage_cannot_give_is_one_sentence(shelf, tmp_path):
    few = Cache(tmp_path / "fetched", 1000)
    found = several(["memory://shelf/scans"], tmp_path / "rooms", cache=few)
    with pytest.raises(InputError, match=r"0\.npz has 0\.0 MB, more than all files kept may have, 0\.0 MB; give more"):
        found[0].read()
    assert list(few.folder.iterdir()) == []
    shelf.pipe_file("/shelf/scans/below/bad.npz", b"no archive")
    *_, bad = several(["memory://shelf/scans"], tmp_path / "rooms")
    with pytest.raises(FileError, match=r"^memory://shelf/scans/below/bad\.npz: "):
        bad.read()
    with pytest.raises(FileError, match=r"^memory://shelf/empty: holds no scans; give an address of "):
        several(["memory://shelf/empty"], tmp_path / "rooms")
    shelf.pipe_file("/shelf/scans/hall/coord.npy", b"")
    with pytest.raises(FileError, match=r"holds scenes of several files each; write each of them as one \.npz file"):
        several(["memory://shelf/scans"], tmp_path / "rooms")


def test_a_file_that_another_process_took_away_is_fetched_again(shelf, tmp_path):
    cache, took = Cache(tmp_path / "fetched", 10**9), []

    def reader(path):
        if not took:
            took.append(path)
            path.unlink()
            raise FileError(f"{path}: does not exist")
        return path.stat().st_size

    [place, *_] = storage.listed(storage.place("memory://shelf/scans"), [".npz"])
    assert cache.read(place, reader) == (tmp_path / "0.npz").stat().st_size


def test_labels_are_read_where_they_are_asked_for(tmp_path):
    for name, values in (make_scene(0, 50) | {"segment20": np.repeat([0, 1, -1], 50)}).items():
        (tmp_path / "train" / "room").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "train" / "room" / f"{name}.npy", values)
    (bare,), (named,) = (sources(tmp_path, tmp_path / "made", labels=labels) for labels in (False, True))
    assert bare.read().segment is None
    assert named.read().segment.tolist() == np.repeat([0, 1, -1], 50).tolist()


def test_several_sources_have_their_shares_and_the_log_says_what_each_gives(tmp_path):
    for name, number in (("few", 1), ("many", 3)):
        (tmp_path / name).mkdir()
        for k in range(number):
            np.savez(tmp_path / name / f"{k}.npz", **make_scene(k, 200))
    few, many = str(tmp_path / "few"), str(tmp_path / "many")
    found = several([f"{few}=0.25", many], tmp_path / "rooms")
    assert [scan.source for scan in found] == [few, many, many, many]
    assert Counter(scan.source for scan in several([f"{few}=0.75", many], tmp_path)) == {few: 9, many: 3}
    assert [scan.name for scan in several([many], tmp_path)] == ["0.npz", "1.npz", "2.npz"]
    for shares, sentence in (
        ((0.6, 0.6), "the shares of the sources add up to 1.2; give less than 1 in all"),
        ((1.5, 0.2), "asks for a share of 1.5; give one within 0 and 1, such as"),
    ):
        with pytest.raises(InputError, match=sentence):
            several([f"{few}={shares[0]}", f"{many}={shares[1]}"], tmp_path)
    arguments = [
        "--data",
        f"{few}=0.5",
        "--data",
        many,
        "-o",
        str(tmp_path / "run"),
        "--probe",
        "none",
        "--set",
        "steps=6",
    ]
    assert pretrain_tiny(*arguments) == 0
    told = [line["sources"] for line in lines(tmp_path / "run")]
    assert set().union(*told) <= {few, many}
    assert all(value > 0 for line in told for value in line.values())


def test_any_folder_of_scans_will_do(tmp_path):
    (tmp_path / "below").mkdir()
    np.savez(tmp_path / "a.npz", **make_scene(0, 20))
    np.savez(tmp_path / "below" / "b.npz", **make_scene(1, 30))
    (tmp_path / "notes.md").write_text("no scan")
    found = sources(tmp_path, tmp_path / "rooms")
    assert [(scene.name, len(scene.read())) for scene in found] == [("a.npz", 60), ("below/b.npz", 90)]


def test_what_benchmarks_test_on_is_left_out(tmp_path):
    for area in (1, 5):
        folder = tmp_path / "s3dis" / f"Area_{area}" / "office_1"
        folder.mkdir(parents=True)
        np.save(folder / "coord.npy", make_scene(0, 5)["coord"])
    assert [scene.name for scene in sources(tmp_path / "s3dis", tmp_path)] == ["Area_1/office_1"]
    scans = tmp_path / "scannet" / "scans"
    for name in ("scene0000_00", "scene0001_00"):
        (scans / name).mkdir(parents=True)
        (scans / name / f"{name}_vh_clean_2.ply").write_bytes(b"ply")
    sentence = r"scannetv2_train\.txt: does not exist; it names ScanNet's scans to learn from, copy it there\.$"
    with pytest.raises(FileError, match=sentence):
        sources(tmp_path / "scannet", tmp_path)
    (tmp_path / "scannet" / "scannetv2_train.txt").write_text("scene0001_00\nscene0002_00\n")
    assert [scene.name for scene in sources(tmp_path / "scannet", tmp_path)] == ["scene0001_00"]


@pytest.mark.parametrize(
    ("where", "error", "sentence"),
    [
        ("nowhere", FileError, r"^nowhere: is not a folder; give one with scans, or rooms:400 for synthetic rooms\.$"),
        ("rooms:many", InputError, r"^'rooms:many' names no rooms; give rooms, or rooms:400 for as many\.$"),
    ],
)
def test_what_cannot_be_learned_from_says_so(where, error, sentence, tmp_path):
    with pytest.raises(error, match=sentence):
        sources(where, tmp_path)
    with pytest.raises(FileError, match=r"holds no scans; give a folder of \.ply, \.pcd, \.las, … files, or rooms:400"):
        sources(tmp_path, tmp_path)


def test_a_damaged_scene_is_named(tmp_path):
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene" / "coord.npy").write_bytes(b"\x93NUMPY")
    (scene,) = sources(tmp_path, tmp_path)
    with pytest.raises(FileError, match=r"scene: cannot be used \(.*\); make the scene again\.$"):
        scene.read()


def test_the_core_does_not_load_it():
    code = "import sys, msm3d.cli, msm3d.evaluate; print([m for m in sys.modules if m.startswith('msm3d.pretrain')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n"
