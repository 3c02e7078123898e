"""The engine on a real cluster, of two node processes on this machine; storage behind the protocol of S3."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import msm3d
from tests.conftest import make_scene

pytestmark = [  # Ray leaves files open
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(msm3d.__file__).parents[1]
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason="the engine is not installed.")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", "/tmp")  # the names of sockets may have 107 characters
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        settings = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            client = free.getsockname()[1]
        found = Cluster(initialize_head=True, head_node_args={**settings, "ray_client_server_port": client})
        found.client = f"ray://127.0.0.1:{client}"
        try:
            found.add_node(**settings)
            yield found
        finally:
            found.shutdown()


@pytest.fixture
def place(tmp_path, monkeypatch, model):
    """A folder with scans of several sizes, one of them broken, and small weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    model.save_pretrained("weights")
    for seed in range(8):
        path = Path(f"scans/{seed % 3}/{seed}.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        scene = make_scene(seed, 100 * (1 + seed % 4))
        np.savez(path, **scene if seed % 2 else {"coord": scene["coord"]})
    Path("scans/broken.ply").write_text("no header\n")
    return tmp_path


def started(*given):
    words = [sys.executable, "-m", "msm3d", "extract", "scans", "--model", "./weights", "--device", "cpu", *given]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def called(*given):
    process = started(*given)
    out, err = process.communicate(timeout=300)
    return process.returncode, out.splitlines(), err.splitlines()


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def said(lines, folder):
    """Return lines without what differs: the order of the scans, the folder and the times."""
    same = (re.sub(r"^\d+(?=/\d)|[\d.]+(?= s\b)", "", line).replace(folder, "out") for line in lines)
    return Counter(line for line in same if not re.search("workers? (on|in) |^Model", line))


def test_bytes_words_and_codes_are_those_of_one_machine(cluster, place):
    code, out, err = called("-o", "one")
    assert code == 1
    ray = ("--engine", "ray", "--threads", "1", "--address", cluster.address)
    many = called("-o", "two", *ray)
    assert (many[0], said(many[1], "two"), said(many[2], "two")) == (code, said(out, "one"), said(err, "one"))
    assert many[2][0].startswith("2 workers on 2 machines, each with 1 core: Model(untrained: 76 channels")
    assert re.match(r"2 workers in [\d.]+ s, with their start: [\d.]+ scans and [\d,]+ points a second$", many[1][-1])
    assert files("two") == files("one")
    through = called("-o", "two", "--engine", "ray", "--threads", "1", "--address", cluster.client)
    assert through[0] == 1
    assert through[1][-2] == "8 there already; 1 failed"


def test_asked_to_end_it_leaves_nothing_and_the_next_call_goes_on(cluster, place):
    ray = ("--engine", "ray", "--threads", "1", "--address", cluster.address)
    process = started("-o", "out", *ray)
    for _ in range(1200):
        if len(list(Path("out").rglob("[!.]*.npz"))) >= 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "asked to end; nothing half-written was left" in err
    assert [path for path in Path("out").rglob(".*")] == []
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.npz")}
    assert 2 <= len(before) < 8
    code, out, _ = called("-o", "out", *ray)
    assert code == 1
    assert f"; {len(before)} there already; 1 failed" in out[-2]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_tiles_of_one_scan_go_to_all_workers_and_make_its_bytes(cluster, place):
    scenes = [make_scene(seed, 400) for seed in range(8)]
    for i, scene in enumerate(scenes):
        scene["coord"][:, 0] += 2 * i
    np.savez("corridor.npz", **{name: np.concatenate([scene[name] for scene in scenes]) for name in scenes[0]})
    few = str(3000 * msm3d.load("./weights", device="cpu").config.cost.bytes_per_voxel)
    words = [sys.executable, "-m", "msm3d", "extract", "corridor.npz", "--model", "./weights", "--device", "cpu"]
    words += ["--max-memory", few]
    ray = ["--engine", "ray", "--threads", "1", "--address", cluster.address]
    for more in (["-o", "one.npy"], ["-o", "tiles.npy", *ray]):
        done = subprocess.run([*words, *more], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    assert Path("tiles.npy").read_bytes() == Path("one.npy").read_bytes()
    assert len(done.stdout.splitlines()) > 3  # a line for each tile
    assert [path for path in Path().glob(".*")] == []


def test_what_is_wrong_with_a_cluster_is_one_sentence(cluster, place):
    few = ("--engine", "ray", "--address", cluster.address, "--threads", "99")
    code, out, err = called("-o", "out", *few)
    assert (code, out) == (2, [])
    sentence = "no machine of the cluster has room for a worker (99 cores); give less --threads or --max-memory, or add"
    assert err == [f"msm3d extract: {sentence} a machine."]
    code, out, err = called("-o", "out", "--engine", "ray", "--address", "ray://127.0.0.1:1")
    assert (code, out, len(err)) == (2, [], 1)
    assert re.match(r"msm3d extract: there is no Ray cluster at ray://127.0.0.1:1 \(.*\); start one with ray", err[0])
    assert not Path("out").exists()


@pytest.fixture
def s3(monkeypatch):
    """A server that speaks S3, with the bucket `shelf`."""
    pytest.importorskip("s3fs", reason="the client of S3 is not installed.")
    pytest.importorskip("moto.server", reason="the server that speaks S3 is not installed.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    make = "import s3fs; s3fs.S3FileSystem(config_kwargs={'retries': {'max_attempts': 9}}).mkdir('shelf')"
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        subprocess.run([sys.executable, "-c", make], check=True)
        yield
    finally:
        server.kill()
        server.wait()


def fetched():
    code = "import s3fs, sys; s3fs.S3FileSystem().get('shelf/out', 'fetched', recursive=True)"
    subprocess.run([sys.executable, "-c", code], check=True)
    return {name: data for name, data in files("fetched").items() if not name.endswith(".json")}


def test_storage_that_speaks_s3_gets_the_bytes_of_files(s3, place):
    assert called("-o", "one")[0] == 1
    code, out, _ = called("-o", "s3://shelf/out")
    assert code == 1
    assert any("s3://shelf/out/0/3.npz: 1,200 points" in line for line in out)
    assert fetched() == files("one")
    _, out, _ = called("-o", "s3://shelf/out")
    assert out[-1] == "8 there already; 1 failed"
    code, out, err = called("-o", "s3://nosuch/out")
    assert (code, out) == (2, [])
    assert err[-1].startswith("msm3d extract: s3://nosuch/out cannot be reached: there is no bucket 'nosuch'; make it")


def test_storage_and_a_cluster(cluster, s3, place):
    """The machines get the keys as all programs get them, from their environment: here one starts beside us."""
    given = ("-o", "s3://shelf/out", "--engine", "ray", "--threads", "1", "--address", "local")
    assert called(*given)[0] == 1
    assert called("-o", "one")[0] == 1
    assert fetched() == files("one")


def test_without_a_server_storage_is_one_sentence(place, monkeypatch):
    pytest.importorskip("s3fs", reason="the client of S3 is not installed.")
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    code, out, err = called("-o", "s3://shelf/out")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("msm3d extract: s3://shelf/out cannot be reached (")


def recipe(title):
    """Write a program of the documentation beside the scans."""
    page = (ROOT / "docs/cluster.md").read_text()
    [code] = re.findall(rf'^``` {{ \.\w+ title="{re.escape(title)}" }}\n(.*?)^```', page, re.DOTALL | re.MULTILINE)
    assert len(code.splitlines()) <= 20
    Path(title).write_text(code)
    return title


def test_ray_data_maps_batches(cluster, place, monkeypatch):
    pytest.importorskip("pandas", reason="Ray Data needs pandas.")
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    Path("scans/broken.ply").unlink()
    for name in ("first", "second"):
        save_points(Path(f"scans/{name}.ply"))
    done = subprocess.run([sys.executable, recipe("describe.py")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()[-2:]) == ["first.ply (300, 288)", "second.ply (300, 288)"]


def save_points(path):
    scene = make_scene(0, 100)
    rows = np.c_[scene["coord"], scene["normal"]]
    names = [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")]
    head = ["ply", "format ascii 1.0", f"element vertex {len(rows)}", *names, "end_header"]
    path.write_text("\n".join([*head, *(" ".join(f"{x:.6f}" for x in row) for row in rows)]) + "\n")


def test_the_recipe_for_slurm_does_every_scan_once(place, monkeypatch):
    Path("bin").mkdir()
    Path("bin/msm3d").write_text(f'#!/bin/sh\nexec {sys.executable} -m msm3d "$@"\n')
    Path("bin/msm3d").chmod(0o755)
    script, codes, lines = recipe("extract.sbatch"), [], []
    for part in (1, 2, 3):
        task = {"SLURM_ARRAY_TASK_ID": str(part), "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_CPUS_PER_TASK": "1"}
        path = f"{place}/bin:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", script], env={**os.environ, **task, "PATH": path}, capture_output=True, text=True
        )
        codes.append(done.returncode)
        lines += [line for line in done.stdout.splitlines() if "points x 400 channels (float32)" in line]
    assert sorted(codes) == [0, 0, 1]  # one of them had the broken scan
    assert len(lines) == len(files("features")) == 8


def test_the_recipe_for_dask_gives_the_bytes_of_the_command_line(place):
    pytest.importorskip("dask", reason="Dask is not installed.")
    Path("scans/broken.ply").unlink()
    done = subprocess.run([sys.executable, recipe("extract_dask.py")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 8
    words = [sys.executable, "-m", "msm3d", "extract", "scans", "-o", "one", "--quiet"]
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert files("features") == files("one")
