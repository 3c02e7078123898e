"""The chain of `Model.extract`: whatever way rows take, in blocks, to any sink, they are the same rows."""

import numpy as np
import pytest
import torch

import msm3d
from msm3d._util.mapped import mapped
from msm3d.describe import sinks
from msm3d.describe.regions import Regions, Rows, read
from msm3d.describe.request import Reading
from msm3d.describe.sinks import Fetched, Filled, Kept, Written
from msm3d.sparse.tiles import tiles
from tests.conftest import make_scene

CPU = torch.device("cpu")


@pytest.fixture(params=[False, True], ids=["whole", "tiles"])
def limit(request, model, monkeypatch):
    """Memory for everything at once, or for a quarter of it, in tiles without halos."""
    monkeypatch.setattr("msm3d.describe.regions.tiles", lambda keys, levels, most, _: tiles(keys, levels, most, 0))
    return (300 if request.param else 10**6) * model.config.cost.bytes_per_voxel


@pytest.mark.parametrize("per_point", [True, False])
def test_blocks_and_sinks_change_no_bit(model, limit, per_point, monkeypatch, tmp_path):
    monkeypatch.setattr(sinks, "BLOCK", 170)
    monkeypatch.setattr(sinks, "PIECE", 170 * 52 * 4)
    voxels = model._voxels(msm3d.PointCloud.of(make_scene(0, 700)))
    regions = Regions(voxels, model.config, CPU, limit, per_point)
    assert regions.uncut or len(regions.sizes) > 3
    reading = Reading.of(model.config, (2, 0), at="points" if per_point else "voxels")
    shape = regions.rows, model.channels(reading.levels)
    assert shape == (2100 if per_point else len(voxels.keys), 52)
    apart = torch.full((shape[0], 2 * shape[1]), torch.nan)[:, ::2]
    ways = [Filled(torch.full(shape, torch.nan)), Filled(apart), Fetched(torch.full(shape, torch.nan))]
    ways += [Kept()] if regions.uncut else []
    file = mapped(tmp_path / "rows", np.float32, shape, b"head", b"tail")
    ways += [Written(file, tmp_path / "rows", len(file))]
    blocks = Filled(torch.full(shape, torch.nan))
    blocks.most = 170
    for region in regions:
        hierarchy = region.hierarchy(model.config.levels, model.ops)
        features = model.backbone(region.features, hierarchy, model.ops)
        for sink in [*ways, blocks]:
            sink.write(read(features, hierarchy, region, reading, model.ops, sink.most))
    exact = blocks.result()
    assert torch.isfinite(exact).all()
    assert all(torch.equal(sink.result(), exact) for sink in ways)
    assert (tmp_path / "rows").read_bytes() == b"head" + exact.numpy().tobytes() + b"tail"
    rows = model.extract(make_scene(0, 700), levels=(2, 0), max_memory=limit)
    assert np.array_equal(exact if per_point else exact[voxels.owner], rows)


@pytest.mark.parametrize("most", [None, 170])
def test_a_region_comes_in_blocks_of_at_most_so_many_rows(model, scene, most):
    regions = Regions(model._voxels(msm3d.PointCloud.of(scene)), model.config, CPU, 10**12, True)
    (region,) = regions
    hierarchy = region.hierarchy(model.config.levels, model.ops)
    features = model.backbone(region.features, hierarchy, model.ops)
    found = list(read(features, hierarchy, region, Reading.of(model.config), model.ops, most))
    starts = range(0, 3000, most or 3000)
    assert [rows.places for rows in found] == [slice(start, min(start + (most or 3000), 3000)) for start in starts]
    assert [len(rows.read()) for rows in found] == [rows.places.stop - rows.places.start for rows in found]


def test_rows_in_one_piece_are_read_to_where_they_belong():
    target, given = torch.zeros(4, 2), []

    def reading(out=None):
        given.append(out)
        return torch.ones(2, 2) if out is None else out.fill_(1)

    sink = Filled(target)
    sink.write([Rows(slice(1, 3), reading), Rows(torch.tensor([3, 0]), reading)])
    assert given[0].data_ptr() == target[1:].data_ptr()
    assert given[1] is None
    assert sink.result() is target
    assert (target == 1).all()


class OnGpu(torch.Tensor):
    """Rows that say that they are on a GPU."""

    is_cuda = True


def test_a_block_from_a_gpu_lands_once_the_next_is_under_way(monkeypatch):
    log = []

    class Event:
        def __init__(self, name):
            self.name = name

        def synchronize(self):
            log.append(f"wait for {self.name}")

    def sent(rows):
        name = int(rows[0, 0])
        log.append(f"send {name}")
        return rows.as_subclass(torch.Tensor).clone(), Event(name)

    def computed(name):
        log.append(f"compute {name}")
        return torch.full((2, 1), float(name)).as_subclass(OnGpu)

    monkeypatch.setattr(sinks, "_sent", sent)
    sink = Fetched(torch.zeros(6, 1))
    sink.write(Rows(slice(2 * i, 2 * i + 2), lambda i=i: computed(i)) for i in range(3))
    assert log == ["compute 0", "send 0", "compute 1", "send 1", "wait for 0", "compute 2", "send 2", "wait for 1"]
    assert sink.result().flatten().tolist() == [0, 0, 1, 1, 2, 2]
    assert log[-1] == "wait for 2"


@pytest.mark.parametrize("at", ["points", "voxels"])
@pytest.mark.parametrize("invalid", ["drop", "nan"])
@pytest.mark.filterwarnings("ignore:.*points have no position")
def test_an_array_to_fill_gets_what_is_returned_without_one(model, limit, at, invalid):
    scene = make_scene(0, 700)
    scene["coord"][::7] = np.nan
    options = {"at": at, "invalid": invalid, "max_memory": limit, "levels": (2, 0)}
    found = model.extract(scene, **options)
    rows = found if at == "points" else found[0]
    for out in (np.empty(rows.shape, np.float32), np.empty((2 * len(rows), 52), np.float32)[::2]):
        again = model.extract(scene, out=out, **options)
        assert (again if at == "points" else again[0]) is out
        assert np.array_equal(out, rows, equal_nan=True)


@pytest.mark.parametrize(("up", "units"), [("y", None), (None, "cm"), ("-y", "ft")])
@pytest.mark.filterwarnings("ignore:.*the (scan|coordinates|points)")
def test_a_file_of_rows_holds_what_is_returned_without_one_whatever_the_axes_and_units(model, up, units, tmp_path):
    scene = make_scene(0, 300)
    rows = model.extract(scene, up=up, units=units)
    assert np.array_equal(model.extract(scene, up=up, units=units, out=tmp_path / "rows.npy"), rows)


def test_only_the_whole_of_our_own_map_is_written_as_a_file(tmp_path):
    ours = mapped(tmp_path / "ours", np.float32, (6, 4))
    assert ours.file() == tmp_path / "ours"
    strangers = np.memmap(tmp_path / "other", np.float32, "w+", shape=(6, 4)).view(type(ours))
    for part in (ours[1:], ours[:, 1:], ours.T, ours + 1, strangers[:2]):
        assert part.file() is None


def test_a_disk_that_fails_while_rows_are_written_says_so(model, scene, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sinks.os, "pwrite", full)
    with pytest.raises(msm3d.errors.FileError, match="No space left"):
        model.extract(scene, out=tmp_path / "rows.npy")
    assert list(tmp_path.iterdir()) == []
