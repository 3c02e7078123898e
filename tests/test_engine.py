"""Scans over many machines: who gets which scan and what a death costs, with a stand-in for Ray; shards; batches."""

import pickle
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import msm3d
from msm3d import batch, cli, engine
from msm3d._util.words import of_the_command_line
from msm3d.batch import Job, Outcome
from msm3d.engine import spread
from msm3d.engine.cluster import Needs, connected
from msm3d.engine.setup import Place, Report, Setup
from msm3d.engine.worker import Worker
from msm3d.errors import DependencyError, FileError, InputError, Msm3dWarning
from tests.conftest import make_scene

ONE_CORE = Setup(threads=1)
PLACE = Place(device="cpu", threads=1, beside=1)


@pytest.fixture
def weights(model, tmp_path):
    return str(model.save_pretrained(tmp_path / "weights"))


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Four scans, the last the largest."""
    monkeypatch.chdir(tmp_path)
    Path("scans/below").mkdir(parents=True)
    for seed, name in enumerate(("a", "b", "below/c", "below/d")):
        np.savez(f"scans/{name}.npz", **make_scene(seed, 50 * (seed + 1)))
    return Path("scans")


# --- parts of the work ---


def test_parts_are_all_scans_once_and_of_about_one_size(tmp_path):
    jobs = []
    for i, size in enumerate(np.random.default_rng(0).integers(1, 1000, 50)):
        scan = tmp_path / f"{i}.ply"
        scan.write_bytes(bytes(int(size)))
        jobs.append(Job(scan, tmp_path / f"out/{i}.npz"))
    parts = [batch.shard(jobs, part, 7) for part in range(1, 8)]
    assert Counter(job.scan for part in parts for job in part) == Counter(job.scan for job in jobs)
    sizes = [sum(batch.size(job.scan) for job in part) for part in parts]
    assert max(sizes) - min(sizes) <= 1000  # one scan
    assert [batch.size(job.scan) for job in parts[0]] == sorted((batch.size(j.scan) for j in parts[0]), reverse=True)
    assert batch.shard(jobs[:2], 3, 3) == []


def test_parts_on_the_command_line_go_on_where_the_folder_grew(scans, weights, capsys):
    given = ["extract", "scans", "-o", "out", "--model", weights, "--device", "cpu", "--format", "npy", "--shard"]
    assert cli.main([*given, "1/2"]) == 0
    assert len(list(Path("out").rglob("*.npy"))) == 2
    np.savez("scans/new.npz", **make_scene(9, 400))
    assert [cli.main([*given, f"{part}/2"]) for part in (1, 2)] == [0, 0]
    assert len(list(Path("out").rglob("*.npy"))) == 5
    capsys.readouterr()
    assert cli.main([*given, "6/6"]) == 0
    assert capsys.readouterr().out == ""  # nothing fell to it


@pytest.mark.parametrize("given", ["0/2", "3/2", "2", "a/b", "1/0", "1/2/3", "-1/2"])
def test_a_part_that_there_is_not_is_one_sentence(scans, given, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["extract", "scans", "-o", "out", "--shard", given])
    assert stopped.value.code == 2
    assert f"{given!r} is not I/N with I from 1 to N, such as 3/20; see" in capsys.readouterr().err


# --- a worker ---


def test_a_worker_describes_as_one_machine_does(scans, weights, model):
    Path("scans/bad.npz").write_bytes(b"no archive")
    jobs = batch.plan(["scans"], "out").jobs
    worker = Worker(Setup(model=weights, asked={"levels": [-1], "dtype": "float16"}))
    started = worker.start(PLACE)
    assert (started.error, started.worker) == (None, worker.name)
    assert started.model.startswith("Model(untrained: 76 channels")
    reports = {job.scan.name: pickle.loads(pickle.dumps(worker.do(job))) for job in jobs}
    assert [name for name, report in reports.items() if report.outcome.error] == ["bad.npz"]
    assert isinstance(reports["bad.npz"].outcome.error, FileError)
    assert "Traceback" in reports["bad.npz"].trace
    model = msm3d.load(weights, device="cpu")
    assert all(o.was_there for o in batch.extract(model, jobs, levels=[-1], dtype="float16") if o.error is None)


def test_warnings_come_along_and_speak_of_options_where_they_were_typed(scans, weights):
    np.savez("scans/a.npz", coord=make_scene(0, 100)["coord"])
    [job] = batch.plan(["scans/a.npz"], "out/").jobs
    with of_the_command_line():
        typed = Setup(model=weights)
    for setup, words in ((typed, "put red, green and blue"), (Setup(model=weights), "pass color=")):
        worker = Worker(setup)
        worker.start(PLACE)
        said = worker.do(job).said
        assert len(said) == 2
        assert any(words in text and issubclass(kind, Msm3dWarning) for kind, text in said)
        Path("out/a.npz").unlink()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"version": "0.0"},
            f" has msm3d {msm3d.__version__}, and 0.0 started this; install the same version on every",
        ),
        ({"folder": "/nowhere"}, " does not see the folder /nowhere (No such file or directory); start from one that"),
        (
            {"sha256": "1" * 64},
            f" has other weights of that name (sha256 None, not {'1' * 64}); copy the same ones there",
        ),
        ({"model": "nosuchmodel"}, "nosuchmodel"),
    ],
)
def test_a_machine_that_is_not_like_the_others_says_why(weights, tmp_path, monkeypatch, wrong, sentence):
    monkeypatch.chdir(tmp_path)
    if "sha256" in wrong:
        monkeypatch.setattr("msm3d.model.weights.read", without_hash(msm3d.model.weights.read))
    report = Worker(Setup(**{"model": weights, **wrong})).start(PLACE)
    assert isinstance(report.error, msm3d.Msm3dError)
    assert sentence in str(report.error)


def without_hash(read):
    def changed(directory):
        config, tensors, meta = read(directory)
        return config, tensors, {name: value for name, value in meta.items() if name != "sha256"}

    return changed


def test_a_full_disk_is_the_workers_end_and_an_odd_error_can_travel(scans, weights, monkeypatch):
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    worker, [job] = Worker(Setup(model=weights)), batch.plan(["scans/a.npz"], "out/").jobs
    worker.start(PLACE)

    def wrong(*_, **__):
        raise error

    monkeypatch.setattr("msm3d.model.Model.extract", wrong)
    error: Exception = OSError(28, "No space left on device", "/disk")
    report = worker.do(job)
    assert isinstance(report.error, OSError)
    error = Odd("left", "right")
    report = pickle.loads(pickle.dumps(worker.do(job)))
    assert report.error is None
    assert repr(report.outcome.error) == "RuntimeError('Odd: left and right')"


# --- who gets which scan ---


class Death(Exception):
    """As Ray tells it."""


class Cluster:
    """Stands for Ray: each call is answered when it is waited for, by `script`, one answer at a time."""

    exceptions = types.SimpleNamespace(RayError=Death)

    def __init__(self, script, **machines):
        self.script, self.machines = script, {name: {"CPU": cores} for name, cores in machines.items()}
        self.calls, self.handed, self.killed, self.number, self.coming = {}, [], 0, 0, {}

    def nodes(self):
        there, self.machines = self.machines, {**self.machines, **self.coming}
        return [
            {"NodeID": name, "NodeManagerHostname": name, "Alive": bool(has), "Resources": has}
            for name, has in there.items()
        ]

    def remote(self, _):
        return self

    def options(self, scheduling_strategy, **needs):
        assert needs["max_restarts"] == 0
        return types.SimpleNamespace(remote=lambda setup: self._handle(scheduling_strategy))

    def _handle(self, node):
        def call(what):
            def remote(given):
                self.number += 1
                self.calls[self.number] = node, what, given
                return self.number

            return types.SimpleNamespace(remote=remote)

        return types.SimpleNamespace(start=call("start"), do=call("do"))

    def wait(self, refs, timeout):
        return refs[:1], refs[1:]

    def get(self, ref):
        node, what, given = self.calls[ref]
        if what == "do":
            self.handed.append((node, given.scan.name))
        answer = self.script(self, node, given if what == "do" else None)
        if isinstance(answer, Exception):
            raise answer
        return answer or Report(worker=node, outcome=None if what == "start" else Outcome(job=given, points=7))

    def kill(self, handle):
        self.killed += 1


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Describe five scans, of 5 down to 1 bytes, on a cluster that is only played."""
    strategies = types.ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node, soft: node
    for name, module in (("ray", types.ModuleType("ray")), ("ray.util", types.ModuleType("ray.util"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    monkeypatch.setattr(spread, "LOOK", 0.0)
    jobs = [Job(tmp_path / f"{i}.ply", tmp_path / f"{i}.npz") for i in (3, 1, 5, 2, 4)]
    for job in jobs:
        job.scan.write_bytes(bytes(int(job.scan.stem)))

    def described(script, setup=ONE_CORE, **machines):
        cluster, told = Cluster(script, **machines), []
        crew = spread._Crew(cluster, setup, told.append)
        return cluster, told, list(crew.run(jobs, None))

    return described


def test_the_largest_comes_first_and_each_worker_has_one(run):
    cluster, told, outcomes = run(lambda *_: None, one=1, two=1)
    assert [int(name[0]) for _, name in cluster.handed] == [5, 4, 3, 2, 1]
    assert {node for node, _ in cluster.handed} == {"one", "two"}
    assert sorted(outcome.job.scan.stem for outcome in outcomes) == ["1", "2", "3", "4", "5"]
    assert {outcome.worker for outcome in outcomes} == {"one", "two"}
    assert told == ["2 workers on 2 machines, each with 1 core: "]
    assert cluster.killed == 2


def test_no_more_workers_start_than_there_are_scans(run):
    cluster, *_ = run(lambda *_: None, one=64)
    assert sum(what == "start" for _, what, _ in cluster.calls.values()) == 5
    cluster, *_ = run(lambda *_: None, Setup(threads=4), one=11)
    assert sum(what == "start" for _, what, _ in cluster.calls.values()) == 2


def test_a_death_costs_one_scan_once_more(run):
    def script(cluster, node, job):
        return Death("killed") if job and len(cluster.handed) == 2 else None

    cluster, _, outcomes = run(script, one=1, two=1)
    assert Counter(name for _, name in cluster.handed) == {"5.ply": 1, "4.ply": 2, "3.ply": 1, "2.ply": 1, "1.ply": 1}
    assert [outcome.error for outcome in outcomes] == [None] * 5


def test_a_scan_that_kills_its_workers_fails_alone(run):
    def script(cluster, node, job):
        return Death("out of memory\nsecond line") if job and job.scan.stem == "4" else None

    _, _, outcomes = run(script, one=1, two=1)
    [failed] = [outcome for outcome in outcomes if outcome.error]
    assert str(failed.error).endswith(
        "4.ply: 3 workers died over it (out of memory); give less max_memory=, or describe it alone to see why."
    )
    assert len(outcomes) == 5


def full(node):
    return Report(worker=node, outcome=None, error=OSError(28, "No space left on device", "/disk"))


def test_a_full_disk_on_one_machine_leaves_it_out(run):
    with pytest.warns(Msm3dWarning, match=r"^one is left out: \[Errno 28\] No space left on device: '/disk'$"):
        cluster, _, outcomes = run(lambda _, node, job: full(node) if job and node == "one" else None, one=1, two=1)
    assert [outcome.worker for outcome in outcomes] == ["two"] * 5
    assert Counter(node for node, _ in cluster.handed) == {"one": 1, "two": 5}


@pytest.mark.filterwarnings("ignore::msm3d.Msm3dWarning")
def test_full_disks_on_all_machines_stop_it(run):
    with pytest.raises(OSError, match="No space left"):
        run(lambda _, node, job: full(node) if job else None, one=2, two=1)


def test_a_machine_that_goes_and_one_that_comes(run):
    def script(cluster, node, job):
        if job and job.scan.stem == "3" and node == "one":
            cluster.machines, cluster.coming = {"one": {}}, {"two": {"CPU": 1}}
            return Death("node died")
        return None

    with pytest.warns(Msm3dWarning, match=r"^no machine of the cluster is left; the work goes on when there is one"):
        cluster, _, outcomes = run(script, one=1)
    assert cluster.handed == [
        *(("one", f"{i}.ply") for i in (5, 4, 3)),
        *(("two", f"{i}.ply") for i in (3, 2, 1)),
    ]
    assert len(outcomes) == 5


def test_workers_that_cannot_start_are_one_sentence(run):
    with pytest.raises(InputError, match=r"^workers on one die as they start \(no module msm3d\); check that msm3d is"):
        run(lambda *_: Death("no module msm3d"), one=1)
    error = InputError("one has other weights")
    with pytest.raises(InputError, match=r"^one has other weights$"):
        run(lambda _, node, job: Report(worker=node, error=error), one=2)


def test_a_cluster_without_room_is_one_sentence(run):
    with pytest.raises(
        InputError, match=r"^no machine of the cluster has room for a worker \(8 cores, 2,000 MB\); give"
    ):
        run(lambda *_: None, Setup(threads=8, asked={"max_memory": "2GB"}), one=4)


@pytest.mark.parametrize(
    ("machines", "given", "needs", "room"),
    [
        ([{"CPU": 2.0}], {}, (2, False), [1]),
        ([{"CPU": 64.0}, {"CPU": 9.0}], {}, (4, False), [16, 2]),
        ([{"CPU": 64.0, "GPU": 4.0}, {"CPU": 64.0}], {}, (4, True), [4, 0]),
        ([{"CPU": 8.0, "GPU": 4.0}], {}, (2, True), [4]),
        ([{"CPU": 64.0, "GPU": 4.0}], {"device": "cpu", "threads": 32}, (32, False), [2]),
        ([{"CPU": 8.0, "memory": 7e9}], {"threads": 1, "asked": {"max_memory": "2GB"}}, (1, False), [3]),
        ([{}], {}, (1, False), [0]),
    ],
)
def test_cores_gpus_and_memory_are_not_shared_out_twice(machines, given, needs, room):
    cluster = Cluster(None)
    cluster.machines = {str(i): has for i, has in enumerate(machines)}
    found = Needs.of(cluster, Setup(**given))
    assert (found.threads, found.gpu) == needs
    there = found.room(cluster)
    assert [there.get(str(i), ("", 0))[1] for i in range(len(machines))] == room


def test_a_certain_gpu_is_not_for_a_cluster():
    with pytest.raises(
        InputError, match=r"^device= cuda:1 is not for a cluster, where each worker gets a GPU of its own"
    ):
        Needs.of(Cluster(None, one=1), Setup(device="cuda:1"))


def test_options_of_an_engine_need_one(scans, capsys):
    assert cli.main(["extract", "scans", "-o", "out", "--threads", "2"]) == 2
    assert capsys.readouterr().err == "msm3d extract: --threads is for an engine; add --engine ray, or leave it out.\n"


def test_without_ray_one_sentence_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match=r'needs Ray; type: pip install "msm3d\[ray\]"\.$'), connected():
        pass


# --- batches of others ---


def test_batches_get_features_and_nothing_of_theirs_is_changed(weights, model):
    scenes = [make_scene(seed, n) for seed, n in ((0, 60), (1, 90))]
    given = {"name": np.array(["a", "b"], object)}
    for name in ("coord", "color", "normal"):
        column = given[name] = np.empty(2, object)
        for i, scene in enumerate(scenes):
            column[i] = scene[name].copy()
            column[i].flags.writeable = False
    found = engine.Describe(weights, device="cpu", levels=[1, 2], dtype="float16")(given)
    assert list(found) == ["name", "coord", "color", "normal", "feat"]
    model = msm3d.load(weights, device="cpu")
    for rows, scene in zip(found["feat"], scenes, strict=True):
        assert np.array_equal(rows, model.extract(scene, levels=[1, 2], dtype="float16"))


def test_batches_of_files_and_of_what_cannot_be_used(scans, weights):
    describe = engine.Describe(weights, device="cpu")
    found = describe({"path": np.array(["scans/a.npz", "scans/b.npz"])})
    assert [rows.shape for rows in found["feat"]] == [(150, 76), (300, 76)]
    assert describe({"coord": np.empty(0, object)})["feat"].shape == (0,)
    with pytest.raises(InputError, match=r"^the batch has the columns \['xyz'\]; name one of them coord, or path\.$"):
        describe({"xyz": np.zeros((1, 3, 3))})
    with pytest.raises(FileError, match=r"gone\.npz: does not exist"):
        describe({"path": np.array(["gone.npz"])})
