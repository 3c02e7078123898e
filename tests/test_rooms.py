"""Laws of the synthetic rooms: complete labels, plausible geometry, a scan that looks like one, weak single cues."""

import hashlib
import json
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from plyfile import PlyData

from msm3d.errors import FileError, InputError
from msm3d.rooms import CLASSES, KINDS, OTHER, WAYS, make, write
from msm3d.rooms.camera import FAR, Sensor, Sight, directed
from msm3d.rooms.sampling import areas, sample
from msm3d.rooms.scan import fuse
from msm3d.rooms.scene import Scene, scene
from msm3d.rooms.shapes import Cells, join, panel
from msm3d.rooms.ways import resolved
from msm3d.scan.cloud import PointCloud

ROOMS = 60
FLOOR = CLASSES.index("floor")


@pytest.fixture(scope="module")
def rooms() -> list[PointCloud]:
    return [make(seed, points=5_000) for seed in range(ROOMS)]


@cache
def furnished(seed: int, kind: str) -> Scene:
    return scene(np.random.default_rng(seed), kind)


def digest(cloud: PointCloud) -> str:
    parts = (cloud.coord, cloud.color, cloud.normal, cloud.segment, cloud.instance)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


# what comes back


@pytest.mark.parametrize("kind", KINDS)
def test_a_room_is_complete(kind):
    room = make(11, kind=kind, points=9_000)
    n = len(room.coord)
    assert 7_000 < n <= 9_000
    assert room.coord.dtype == np.float64
    assert room.color.dtype == room.normal.dtype == np.float32
    assert np.isfinite(room.coord).all()
    assert room.color.min() >= 0
    assert 100 < room.color.max() <= 255
    np.testing.assert_allclose(np.linalg.norm(room.normal, axis=1), 1, atol=1e-4)
    assert room.segment.shape == room.instance.shape == (n,)
    assert set(np.unique(room.segment)) <= set(range(OTHER + 1))
    assert {"wall", "floor"} <= {CLASSES[k] for k in np.unique(room.segment) if k < OTHER}
    for thing in np.unique(room.instance):
        assert len(np.unique(room.segment[room.instance == thing])) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_points_lie_within_the_room_in_metres(kind):
    rooms = furnished(5, kind).rooms
    low = np.min([[*room.origin, 0.0] for room in rooms], axis=0)
    high = np.max([[*(room.origin + room.size), room.ceiling] for room in rooms], axis=0)
    assert 1.2 < (high - low)[:2].min()
    assert (high - low)[:2].max() < 12
    assert 2.2 < high[2] < 3.3
    corners = furnished(5, kind).surfaces().cells.corners.reshape(-1, 3)
    assert (corners > low - 0.3).all()  # jambs and panes reach into the walls
    assert (corners < high + 0.3).all()
    assert corners[:, 2].min() > -0.03


@pytest.mark.parametrize("seed", range(4))
def test_a_scan_stays_within_its_surfaces(seed):
    bare, scanned = make(seed, scan=False, points=20_000), make(seed, points=20_000)
    heading = np.linspace(0, np.pi, 90)
    ways = np.stack([np.cos(heading), np.sin(heading)])
    across = [np.ptp(room.coord[:, :2] @ ways, axis=0) for room in (bare, scanned)]  # a scan has any heading
    assert across[1].max() < across[0].max() + 0.25
    assert np.ptp(scanned.coord[:, 2]) < np.ptp(bare.coord[:, 2]) + 0.3


def test_the_seed_decides_every_byte():
    one = digest(make(3, points=5_000))
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    assert digest(make(3, points=5_000)) == one
    assert digest(make(4, points=5_000)) != one
    assert digest(make(3, points=5_000, scan=False)) != one


def test_every_class_and_kind_appears(rooms):
    count = np.bincount(np.concatenate([np.unique(room.segment) for room in rooms]), minlength=OTHER + 1)
    rare = [name for name, n in zip((*CLASSES, "other"), count, strict=True) if n < 3]
    assert not rare, f"fewer than 3 of {ROOMS} rooms show {', '.join(rare)}"


def components(coord: np.ndarray, edge: float) -> int:
    """How many groups of touching cubes (26 neighbours) the points fill."""
    open_ = set(map(tuple, np.floor(coord / edge).astype(int)))
    count = 0
    while open_:
        count, front = count + 1, [open_.pop()]
        while front:
            x, y, z = front.pop()
            near = {(x + i, y + j, z + k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)} & open_
            open_ -= near
            front += near
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_things_are_connected_before_the_scan(kind):
    """A scan may cut a thing in two by what stands before it, so the law is about the surfaces."""
    for seed in range(2):
        surfaces = furnished(seed, kind).surfaces()
        for thing, label in enumerate(surfaces.segment):
            mine = surfaces.thing == thing
            cells = Cells(*(column[mine] for column in surfaces.cells))
            coord = sample(cells, int(1500 + 300 * areas(cells).sum()), np.random.default_rng(0)).coord
            assert components(coord, 0.2) == 1, f"seed {seed}: thing {thing}, a {(*CLASSES, 'other')[label]}"


def test_components_tells_one_from_two():
    line = np.stack([np.arange(0, 1, 0.05), np.zeros(20), np.zeros(20)], 1)
    assert components(line, 0.2) == 1
    assert components(np.concatenate([line, line + [2, 0, 0]]), 0.2) == 2


# layout


def filled(footprint, step: float = 0.04) -> np.ndarray:
    """Points all over a footprint, a little inside of its edge; independent of the layout's own test."""
    w, d = footprint.half_width - 0.01, footprint.half_depth - 0.01
    x, y = np.meshgrid(np.linspace(-w, w, max(2, int(2 * w / step))), np.linspace(-d, d, max(2, int(2 * d / step))))
    c, s = np.cos(footprint.yaw), np.sin(footprint.yaw)
    return np.stack([c * x - s * y + footprint.x, s * x + c * y + footprint.y], -1).reshape(-1, 2)


def covers(footprint, places: np.ndarray) -> np.ndarray:
    away = places - [footprint.x, footprint.y]
    c, s = np.cos(footprint.yaw), np.sin(footprint.yaw)
    return (np.abs(away @ [c, s]) < footprint.half_width - 0.01) & (
        np.abs(away @ [-s, c]) < footprint.half_depth - 0.01
    )


@pytest.mark.parametrize("kind", KINDS)
def test_furniture_does_not_interpenetrate(kind):
    """Only a chair may reach under a table, desk or counter."""
    for seed in range(3):
        for room in furnished(seed, kind).rooms:
            stands = [p for p in room.placed if p.footprint is not None]
            for k, one in enumerate(stands):
                for two in stands[:k]:
                    names = {one.piece.things[0], two.piece.things[0]}
                    if "chair" in names and names & {"table", "desk", "counter"}:
                        continue
                    if one.footprint.low >= two.footprint.high or two.footprint.low >= one.footprint.high:
                        continue
                    assert not covers(two.footprint, filled(one.footprint)).any(), f"seed {seed}: {names}"


@pytest.mark.parametrize("kind", KINDS)
def test_doors_are_free(kind):
    doors = 0
    for seed in range(3):
        for room in furnished(seed, kind).rooms:
            for wall in room.walls:
                for hole in (o for o in wall.openings if o.low == 0.0):
                    doors += 1
                    at = np.linspace(hole.at - hole.width / 2, hole.at + hole.width / 2, 9)
                    strip = np.array([wall.point(t, off) for t in at for off in (0.1, 0.3, 0.5)])
                    assert not any(covers(p.footprint, strip).any() for p in room.placed if p.footprint is not None)
    assert doors >= 3


# the scan


def test_noise_grows_with_range():
    coord = np.random.default_rng(1).uniform(-1, 1, (12_000, 3))
    coord[:, 0] = np.repeat([1.0, 2.0, 4.0], 4000)
    everything = np.arange(len(coord))
    sights = [Sight(everything, coord[:, 0].astype(np.float32), np.ones(len(coord), np.float32))] * 3
    fused = fuse(sights, np.array([[-99.0, 0, 0]] * 3), coord, len(coord), np.random.default_rng(0))
    spread = [np.std(fused.coord[k * 4000 : (k + 1) * 4000, 0]) for k in range(3)]
    assert 0.0005 < spread[0] < 0.004
    assert spread[1] > 2.5 * spread[0]
    assert spread[2] > 2.5 * spread[1]


def test_what_stands_behind_is_hidden():
    wall = panel((2, -2, -2), (0, 0, 4), (0, 4, 0))
    screen = panel((1, -0.3, -0.3), (0, 0, 0.6), (0, 0.6, 0))
    cells = join([wall, screen])
    samples = sample(cells, 60_000, np.random.default_rng(0))
    sensor = Sensor(samples, cells, np.zeros(2), np.arange(2), np.random.default_rng(0))
    sight = sensor.look(np.zeros(3), directed(np.zeros(3), np.array([1.0, 0, 0])))
    seen = samples.coord[sight.point]
    behind = (samples.cell[sight.point] == 0) & (np.abs(seen[:, 1:]) < 0.55).all(1)
    beside = (samples.cell[sight.point] == 0) & (np.abs(seen[:, 1:]) > 0.65).any(1)
    assert behind.sum() < 20
    assert beside.sum() > 1000
    assert (samples.cell[sight.point] == 1).sum() > 500
    alone = sample(wall, 60_000, np.random.default_rng(0))
    open_ = Sensor(alone, wall, np.zeros(1), np.zeros(1), np.random.default_rng(0))
    point = open_.look(np.zeros(3), directed(np.zeros(3), np.array([1.0, 0, 0]))).point
    assert (np.abs(alone.coord[point, 1:]) < 0.55).all(1).sum() > 1000  # without the screen it is seen


def test_dark_and_shiny_surfaces_have_holes():
    wall = panel((2, -1, -1), (0, 0, 2), (0, 2, 0))
    samples = sample(wall, 20_000, np.random.default_rng(0))
    frame = directed(np.zeros(3), np.array([1.0, 0, 0]))

    def seen(shine: float, eye: tuple = (0, 0, 0)) -> int:
        sensor = Sensor(samples, wall, np.array([shine]), np.zeros(1), np.random.default_rng(1))
        return len(sensor.look(np.array(eye, float), frame).point)

    assert seen(0.0) > 2 * seen(0.6) > 2 * seen(0.95)
    assert seen(0.0, (2 - FAR * 1.3, 0, 0)) == 0


@cache
def scans(way: str) -> PointCloud:
    return make(12, points=30_000, way=way)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_scans_the_same_room(way):
    found, bare = scans(way), make(12, points=60_000, scan=False)
    kinds = dict(zip(bare.instance.tolist(), bare.segment.tolist(), strict=True))
    assert len(set(found.instance.tolist()) & set(kinds)) > 5
    assert all(kinds.get(t, s) == s for t, s in zip(found.instance.tolist(), found.segment.tolist(), strict=True))
    assert 1_000 < len(found) <= 30_000
    np.testing.assert_allclose(np.linalg.norm(found.normal, axis=1), 1, atol=1e-4)
    assert digest(make(12, points=30_000, way=way)) == digest(found)


def spacing(cloud: PointCloud) -> np.ndarray:
    """Return the distance (k,) of some points to their nearest neighbour."""
    coord = torch.from_numpy(cloud.coord)
    return torch.cdist(coord[:: len(coord) // 1000], coord).topk(2, largest=False).values[:, 1].numpy()


def test_ways_differ_as_scanners_do():
    dense = {way: np.median(spacing(scans(way))) for way in WAYS}
    assert dense["sparse"] > 1.5 * dense["camera"]
    assert dense["mesh"] > 1.2 * dense["camera"]
    gaps = spacing(scans("mesh"))  # about one point a cell
    assert np.quantile(gaps, 0.9) < 3 * np.median(gaps)
    area = {way: len(np.unique((scans(way).coord[:, :2] // 0.1).astype(int), axis=0)) for way in WAYS}
    assert area["frame"] < 0.8 * area["camera"]  # what one picture sees
    flat = np.abs(scans("camera").normal[scans("camera").segment == FLOOR][:, 2]).mean()
    bent = np.abs(scans("phone").normal[scans("phone").segment == FLOOR][:, 2]).mean()
    assert bent > 0.9 * flat  # estimated normals still say where up is


def test_mixed_is_one_of_the_ways_and_is_remembered_beside_the_rooms(tmp_path):
    assert {resolved("mixed", seed) for seed in range(40)} == set(WAYS)
    one = make(5, points=3_000, way="mixed")
    assert digest(one) == digest(make(5, points=3_000, way=resolved("mixed", 5)))
    write(tmp_path, 1, points=1_000, workers=1, way="mixed", progress=False)
    with pytest.raises(FileError, match="use the same settings"):
        write(tmp_path, 1, points=1_000, workers=1, progress=False)
    with pytest.raises(InputError, match="way is 'radar'; choose one of camera, mesh"):
        make(0, way="radar")


@pytest.mark.parametrize("kind", ["office", "living room", "bedroom"])
def test_undersides_and_shadows_are_missing(kind):
    bare, scanned = make(2, kind=kind, scan=False, points=40_000), make(2, kind=kind, points=40_000)

    def undersides(room: PointCloud) -> float:
        return float(np.mean((room.normal[:, 2] < -0.8) & (room.coord[:, 2] < 1.0)))

    assert undersides(scanned) < 0.003 < 0.02 < undersides(bare)
    floors = [room.coord[room.segment == FLOOR][:, :2] for room in (bare, scanned)]
    cells = [len(np.unique(np.floor(at / 0.1), axis=0)) for at in floors]
    assert 0.4 * cells[0] < cells[1] < 0.97 * cells[0]


def test_density_is_uneven(rooms):
    def unevenness(room: PointCloud) -> float:
        at = room.coord[room.segment == FLOOR][:, :2]
        _, count = np.unique(np.floor(at / 0.5), axis=0, return_counts=True)
        inner = count[count > np.median(count) / 2]
        return float(np.std(inner) / np.mean(inner))

    scanned = np.median([unevenness(room) for room in rooms[:12]])
    bare = np.median([unevenness(make(seed, scan=False, points=5_000)) for seed in range(12)])
    assert scanned > 1.2 * bare


def test_normals_face_the_camera(rooms):
    up = np.concatenate([room.normal[room.segment == FLOOR, 2] for room in rooms[:8]])
    assert np.mean(up > 0.8) > 0.95


# cues


def probe(train: list[tuple], test: list[tuple], steps: int = 200) -> float:
    """Mean IoU of softmax regression over the classes, the best of a balanced and a plain fit."""
    (x, y), (u, v) = (tuple(np.concatenate(part) for part in zip(*pairs, strict=True)) for pairs in (train, test))
    middle, scale = x.mean(0), x.std(0) + 1e-9
    x, u = (np.concatenate([(a - middle) / scale, np.ones((len(a), 1))], 1) for a in (x, u))
    classes = len(CLASSES)
    best = 0.0
    for power in (0.0, 0.5):
        share = np.bincount(y, minlength=classes) / len(y)
        weight = (1 / np.maximum(share, 1e-6))[y] ** power
        weight = weight / weight.sum()
        w, first, second = np.zeros((x.shape[1], classes)), 0.0, 0.0
        for step in range(1, steps + 1):  # Adam
            logits = x @ w
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            p[np.arange(len(y)), y] -= 1
            grad = x.T @ (p * weight[:, None])
            first, second = 0.9 * first + 0.1 * grad, 0.99 * second + 0.01 * grad**2
            w = w - 0.1 * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
        guess = (u @ w).argmax(1)
        table = np.bincount(v * classes + guess, minlength=classes**2).reshape(classes, classes)
        hit = np.diag(table)
        best = max(best, float(np.mean(hit / np.maximum(table.sum(0) + table.sum(1) - hit, 1))))
    return best


def cues(room: PointCloud, take: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(room.segment < OTHER)[:: max(1, len(room.segment) // take)]
    height = room.coord[rows, 2:] - np.percentile(room.coord[:, 2], 1)
    return np.concatenate([room.color[rows] / 255, room.normal[rows], height], 1), room.segment[rows]


def test_colour_normal_and_height_are_weak_cues(rooms):
    pairs = [cues(room) for room in rooms]
    score = probe(pairs[:40], pairs[40:])
    assert 0.03 < score < 0.35, f"linear probe on colour, normal and height: {score:.3f}"


def test_the_probe_would_find_a_strong_cue(rooms):
    pairs = [(np.concatenate([x, np.eye(len(CLASSES))[y]], 1), y) for x, y in map(cues, rooms)]
    assert probe(pairs[:40], pairs[40:]) > 0.6


# errors and files


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ({"kind": "garage"}, "kind is 'garage'; choose one of bedroom, "),
        ({"seed": -1}, "give a seed of at least 0"),
        ({"points": 0}, "at least 1 point"),
    ],
)
def test_errors_say_what_to_do(given, cure):
    with pytest.raises(InputError, match=cure):
        make(**{"seed": 0, **given})


def test_pointcept_layout_is_resumable(tmp_path):
    paths = write(tmp_path, 3, first_seed=7, points=3_000, workers=1)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "train/room_000007",
        "val/room_000008",
        "test/room_000009",
    ]
    kinds = {"coord": "f4", "color": "u1", "normal": "f4", "segment20": "i2", "instance": "i4"}
    arrays = {name: np.load(paths[0] / f"{name}.npy") for name in kinds}
    assert {name: array.dtype.str[1:] for name, array in arrays.items()} == kinds
    assert {len(array) for array in arrays.values()} == {3_000}
    room = make(7, points=3_000)
    assert_array_equal(arrays["segment20"], np.where(room.segment == OTHER, -1, room.segment))
    np.testing.assert_allclose(arrays["coord"], room.coord, atol=1e-5)
    before = (paths[0] / "coord.npy").stat().st_mtime_ns
    (paths[1] / "color.npy").unlink()
    assert write(tmp_path, 3, first_seed=7, points=3_000, workers=1) == paths
    assert (paths[0] / "coord.npy").stat().st_mtime_ns == before
    assert (paths[1] / "color.npy").is_file()
    assert not [path for path in tmp_path.rglob(".*")]


def test_ply_layout(tmp_path):
    (path,) = write(tmp_path, 1, first_seed=3, layout="ply", split="val", kind="bathroom", points=3_000, workers=1)
    assert path.relative_to(tmp_path).as_posix() == "val/room_000003.ply"
    vertex = PlyData.read(path)["vertex"].data
    room = make(3, kind="bathroom", points=3_000)
    assert_array_equal(vertex["label"], room.segment)
    assert_array_equal(vertex["instance"], room.instance)
    np.testing.assert_allclose(vertex["x"], room.coord[:, 0], atol=1e-5)
    assert vertex["red"].dtype == np.uint8


def test_a_folder_keeps_its_settings(tmp_path):
    write(tmp_path, 1, points=2_000, workers=1)
    assert json.loads((tmp_path / "rooms.json").read_text())["points"] == 2_000
    with pytest.raises(FileError, match=r"points 2000; use the same settings or another directory"):
        write(tmp_path, 1, points=1_000, workers=1)
    with pytest.raises(InputError, match="layout is 'las'; choose one of pointcept, ply"):
        write(tmp_path, 1, layout="las")


def test_a_failure_leaves_nothing_half_written(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(FileError, match="no space left on device"):
        write(tmp_path, 1, points=2_000, workers=1)
    assert [path.name for path in tmp_path.rglob("*") if path.name != "rooms.json"] == ["train"]


@pytest.mark.slow
def test_several_processes_write_the_same(tmp_path):
    one = write(tmp_path / "one", 4, points=2_000, workers=1)
    two = write(tmp_path / "two", 4, points=2_000, workers=2)
    for a, b in zip(one, two, strict=True):
        assert_array_equal(np.load(a / "coord.npy"), np.load(b / "coord.npy"))


def children(process: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(words[1]) == process and words[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_workers_end_with_the_run_that_was_killed_and_the_next_one_sweeps(tmp_path):
    arguments = [sys.executable, "-m", "msm3d", "rooms", "-n", "40", "-o", str(tmp_path), "--workers", "2"]
    run = subprocess.Popen([*arguments, "--points", "2000"])
    stop = time.monotonic() + 60
    while not list(tmp_path.rglob("coord.npy")) and time.monotonic() < stop:
        time.sleep(0.05)
    workers = children(run.pid)
    run.kill()
    run.wait()
    while any(Path("/proc", str(pid)).exists() for pid in workers) and time.monotonic() < stop:
        time.sleep(0.1)
    assert len(workers) >= 2
    assert not [pid for pid in workers if Path("/proc", str(pid)).exists()]
    write(tmp_path, 12, points=2000, workers=1)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_damaged_or_foreign_rooms_json_is_named(tmp_path):
    for content in ("[" * 100_000, "{", "5"):
        (tmp_path / "rooms.json").write_text(content)
        with pytest.raises(FileError, match=r"rooms\.json .*; delete it, or give another directory\."):
            write(tmp_path, 1, points=2000, workers=1)


def test_other_files_in_a_room_that_is_not_complete_stay(tmp_path):
    [room] = write(tmp_path, 1, points=2000, workers=1)
    (room / "instance.npy").unlink()
    (room / "notes.txt").write_text("mine")
    write(tmp_path, 1, points=2000, workers=1)
    assert (room / "notes.txt").read_text() == "mine"
    assert np.load(room / "instance.npy").dtype == np.int32
