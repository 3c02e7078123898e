"""One scan as tiles on a disk: the bytes of one call, in any order and by any number of calls, and after any break."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import msm3d
from msm3d import batch, cli, tiling
from msm3d.batch import Job
from msm3d.engine.setup import Place, Setup
from msm3d.engine.worker import Worker
from msm3d.errors import FileError, InputError
from msm3d.scan.options import ReadOptions
from tests.conftest import make_scene


@pytest.fixture
def weights(model, tmp_path):
    return str(model.save_pretrained(tmp_path / "weights"))


@pytest.fixture
def saved(weights):
    return msm3d.load(weights, device="cpu")


@pytest.fixture
def few(saved):
    """What the work on a tile of the corridor may take, so that it is cut."""
    return 3000 * saved.config.cost.bytes_per_voxel


@pytest.fixture
def corridor(tmp_path, monkeypatch):
    """A corridor of 12 m, in which one point has no position."""
    monkeypatch.chdir(tmp_path)
    parts = [make_scene(seed, 400) for seed in range(6)]
    for i, part in enumerate(parts):
        part["coord"][:, 0] += 2 * i
    fields = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    fields["coord"][7] = np.nan
    np.savez("corridor.npz", **fields)
    return Path("corridor.npz").absolute()


@pytest.mark.filterwarnings("ignore:1 of")
@pytest.mark.parametrize("invalid", ["drop", "nan"])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_tiles_joined_are_the_bytes_of_one_call(corridor, saved, few, tmp_path, invalid, ending):
    options, asked = ReadOptions(invalid=invalid), {"levels": (0, 2), "dtype": "float16"}
    alone, job = Job(corridor, tmp_path / f"alone/out.{ending}"), Job(corridor, tmp_path / f"tiles/out.{ending}")
    [told] = batch.extract(saved, [alone], options=options, max_memory=few, **asked)
    tiles = tiling.cut(saved, job, options, max_memory=few, **asked)
    assert len(tiles) > 2
    assert tiling.left(tiles) == tiles
    outcomes = list(batch.extract(saved, tiles[::-1], options=options))
    assert tiling.left(tiles) == []
    joined = tiling.join(saved, job, options, **asked)
    assert job.target.read_bytes() == alone.target.read_bytes()
    assert sum(outcome.points for outcome in outcomes) == told.points - (invalid == "nan")
    assert (joined.points, joined.channels, joined.bytes) == (told.points, told.channels, told.bytes)
    assert [path.name for path in job.target.parent.iterdir()] == [job.target.name]
    assert tiling.is_done(saved, job, options, **asked)
    assert tiling.join(saved, job, options, **asked).was_there  # another call found all tiles done, too
    assert not tiling.is_done(saved, job, options, levels=(1,))


@pytest.mark.filterwarnings("ignore:1 of")
def test_what_is_computed_is_not_computed_again(corridor, saved, few, tmp_path, monkeypatch):
    job = Job(corridor, tmp_path / "out.npy")
    tiles = tiling.cut(saved, job, max_memory=few)
    [first] = batch.extract(saved, tiles[:1])
    before = first.job.target.stat().st_mtime_ns
    monkeypatch.setattr(tiling, "read", None)  # the scan is not read again for tiles that are there
    assert tiling.cut(saved, job, max_memory="1GB") == tiles
    assert tiling.left(tiles) == tiles[1:]
    again = list(batch.extract(saved, tiles))
    assert [outcome.was_there for outcome in again] == [True] + [False] * (len(tiles) - 1)
    assert first.job.target.stat().st_mtime_ns == before
    assert tiling._folder(job, {"levels": [0]}) != tiling._folder(job, {"levels": [1]})


@pytest.mark.filterwarnings("ignore:1 of")
def test_a_scan_that_changed_is_cut_again(corridor, saved, few, tmp_path):
    job = Job(corridor, tmp_path / "out.npy")
    tiles = tiling.cut(saved, job, max_memory=few)
    np.savez(corridor, **make_scene(0, 300))
    assert tiling.cut(saved, job, max_memory=few)[0].scan.parent != tiles[0].scan.parent


@pytest.mark.filterwarnings("ignore:1 of")
def test_parts_on_the_command_line_write_the_file_with_the_last_one(corridor, weights, few, capsys):
    given = ["extract", "corridor.npz", "--model", weights, "--device", "cpu", "--max-memory", str(few)]
    assert cli.main([*given, "-o", "one.npy"]) == 0
    parts = [[*given, "-o", "tiles.npy", "--shard", f"{part}/2"] for part in (2, 1)]
    capsys.readouterr()
    assert cli.main(parts[0]) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1].endswith("are left to the other parts; the last one writes tiles.npy.")
    )
    assert not Path("tiles.npy").exists()
    assert cli.main(parts[1]) == 0
    assert Path("tiles.npy").read_bytes() == Path("one.npy").read_bytes()
    capsys.readouterr()
    assert [cli.main(part) for part in parts] == [0, 0]
    assert capsys.readouterr().out == "tiles.npy: is there\n" * 2
    assert not list(Path().glob(".*tiles"))


@pytest.mark.filterwarnings("ignore:1 of")
def test_a_worker_of_an_engine_computes_tiles_without_seeing_the_scan(corridor, weights, saved, few, tmp_path):
    job = Job(corridor, tmp_path / "out.npy")
    tiles = tiling.cut(saved, job, max_memory=few)
    corridor.rename("elsewhere.npz")
    worker = Worker(Setup(model=weights))
    worker.start(Place(device="cpu", threads=1, beside=1))
    reports = [worker.do(tile) for tile in tiles]
    assert [report.outcome.error for report in reports] == [None] * len(tiles)
    assert tiling.left(tiles) == []


@pytest.mark.filterwarnings("ignore:1 of")
def test_what_cannot_be_used_is_one_sentence(corridor, saved, few, tmp_path, model):
    job = Job(corridor, tmp_path / "out.npy")
    tiles = tiling.cut(saved, job, max_memory=few)
    with pytest.raises(
        InputError, match=r"is cut into tiles for weights of a file only; save the model and load it\.$"
    ):
        tiling.cut(model, job)
    saved.meta["sha256"] = "0" * 64
    [outcome] = batch.extract(saved, tiles[:1])
    assert isinstance(outcome.error, InputError)
    assert "was cut for other weights (sha256 " in str(outcome.error)


@pytest.mark.filterwarnings("ignore:1 of")
def test_damage_is_one_sentence_and_leaves_nothing(corridor, saved, few, tmp_path):
    job = Job(corridor, tmp_path / "out.npy")
    tiles = tiling.cut(saved, job, max_memory=few)
    list(batch.extract(saved, tiles))
    tiles[1].target.write_bytes(b"no array")
    with pytest.raises(FileError, match=r"00001\.npy cannot be read .*; remove it, and it is computed again\.$"):
        tiling.join(saved, job)
    assert not job.target.exists()
    np.save(tiles[1].target, np.zeros((3, 76), np.float32))
    with pytest.raises(FileError, match=r"00001\.npy cannot be read .*; remove it, and it is computed again\.$"):
        tiling.join(saved, job)
    tiles[0].scan.write_bytes(b"no tile")
    tiles[0].target.unlink()
    [outcome] = batch.extract(saved, tiles[:1])
    assert "cannot be read" in str(outcome.error)
    assert "and the scan is cut again." in str(outcome.error)
    shutil.rmtree(tiles[0].scan.parent)
    with pytest.raises(FileError, match=r"holds no tiles; call cut"):
        tiling.join(saved, job)


def test_tiles_need_a_folder(corridor, saved):
    with pytest.raises(InputError, match=r"^s3://bucket/a\.npy is in object storage, and the tiles of one scan need a"):
        tiling.cut(saved, Job(corridor, batch.storage.place("s3://bucket/a.npy")))
