"""COPC and EPT by bounds and resolution: the points that a whole reading and a mask would give, in the file's order."""

import json
import re
import struct
import warnings

import laspy
import numpy as np
import pytest

import msm3d
from msm3d import batch, cli
from msm3d.errors import FileError, InputError
from msm3d.io import guard, read, results
from msm3d.io.octree import Copc
from tests import octrees

N = 6000
RNG = np.random.default_rng(0)
ORIGIN = np.array([682244.0, 3444317.0, 10.0])
XYZ = (RNG.uniform(0, 1, (N, 3)) * [4, 4, 2.5]).round(3) + ORIGIN
RGB, LABEL = RNG.integers(0, 256, (N, 3)), RNG.integers(0, 20, N)
FEW = octrees.records(XYZ[:300], RGB[:300], LABEL[:300])  # in few nodes
BOX = np.array([[0.5, 1.0, 0.0], [2.0, 3.5, 2.0]]) + ORIGIN


@pytest.fixture(autouse=True)
def here(request, monkeypatch):
    """Decompress without a child process, whose start takes longer than all else; its own tests have one."""
    if "child" not in request.node.name:
        monkeypatch.setattr(guard, "command", lambda: None)


@pytest.fixture(scope="module", params=["copc", "ept"])
def tree(request, tmp_path_factory):
    """The path of an octree, the points in its order, and all of it."""
    folder, las = tmp_path_factory.mktemp("trees"), octrees.records(XYZ, RGB, LABEL)
    if request.param == "ept":
        path = folder / "scan"
        order = octrees.ept(path, las, apart=True)
    else:
        path = folder / "scan.copc.laz"
        order = octrees.copc(path, las, pages=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "command", lambda: None)
        return path, order, read(path)


def inside(xyz, box=BOX):
    return ((xyz >= box[0]) & (xyz <= box[1])).all(1)


def test_an_octree_is_read_whole_as_the_points_that_it_is(tree):
    _, order, cloud = tree
    np.testing.assert_allclose(cloud.coord, XYZ[order], rtol=0, atol=0.0006)
    assert np.array_equal(cloud.color, RGB[order])
    assert np.array_equal(cloud.segment, LABEL[order])


def test_bounds_give_what_a_mask_gives(tree):
    path, _, whole = tree
    part = read(path, bounds=BOX)
    there = np.flatnonzero(inside(whole.coord))
    assert 100 < len(there) < N / 2
    assert np.array_equal(part.rows, there)
    for name in ("coord", "color", "segment"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[there])
    assert part.total is None
    assert read(path, bounds=BOX, invalid="nan").total == N


def test_a_resolution_takes_whole_levels(tree):
    path, order, _ = tree
    level = np.empty(N, int)
    for key, rows in octrees.nodes(XYZ)[2].items():
        level[rows] = key[0]
    for resolution, deepest in ((10, 0), (0.5, 0), (0.49, 1), (0.001, 2)):
        assert np.array_equal(read(path, resolution=resolution).rows, np.flatnonzero(level[order] <= deepest))
    both = read(path, bounds=BOX, resolution=0.25)
    assert np.array_equal(both.rows, np.flatnonzero((level[order] <= 1) & inside(XYZ[order])))


def test_bounds_are_of_the_cloud_whatever_the_axes_and_units_are(tree):
    path, *_ = tree
    turned = read(path, up="-y", units="ft")
    box = np.sort(turned.coord[[100, 2000]], axis=0)
    part = read(path, up="-y", units="ft", bounds=box)
    assert np.array_equal(part.rows, np.flatnonzero(inside(turned.coord, box)))
    assert len(read(path, units="ft", resolution=0.2)) < len(read(path, resolution=0.2))


def test_no_more_nodes_are_decompressed_than_needed(tree, monkeypatch):
    path, *_ = tree
    asked = []
    real = guard.tables
    monkeypatch.setattr(guard, "tables", lambda request, size: asked.append(request) or real(request, size))
    corner = np.array([ORIGIN, ORIGIN + 0.4])
    read(path, bounds=corner)
    assert asked[0]["count"] < N / 3


def test_a_child_process_reads_the_same(tree, monkeypatch):
    path, *_ = tree
    there = read(path, bounds=BOX)
    monkeypatch.setattr(guard, "command", lambda: None)
    assert np.array_equal(read(path, bounds=BOX).coord, there.coord)


def test_copc_in_pieces_is_the_same(tmp_path):
    """Where a piece holds many nodes, one, or a node is larger than a piece."""
    from msm3d.io import _child

    file = tmp_path / "a.copc.laz"
    octrees.copc(file, octrees.records(XYZ, RGB, LABEL))
    found = Copc.of(file)
    nodes = np.stack([found.offsets, found.sizes, found.tree.counts], axis=1).tolist()
    whole = np.concatenate([piece["X"] for piece in _child._points(str(file), nodes, ["x"])])
    assert np.array_equal(whole, laspy.read(file).X)
    for most in (1, 300, 2000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_child, "_CHUNK", most)
            pieces = [piece["X"] for piece in _child._points(str(file), nodes, ["x"])]
        assert len(pieces) > 1
        assert np.array_equal(np.concatenate(pieces), whole)


def test_the_verb_says_what_was_taken(tree, capsys):
    path, *_ = tree
    box = ",".join(map(str, BOX.reshape(-1)))
    assert cli.main(["read", str(path), "--bounds", box, "--resolution", "0.25"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert re.fullmatch(
        r"levels 0 to 1 of 0 to 2, to points about 0\.25 m apart; \d of \d\d nodes read, with [\d,]+ of 6,000 points",
        lines["octree"],
    )
    part = read(path, bounds=BOX, resolution=0.25)
    assert lines["points"] == f"{len(part):,} of 6,000; the others have no position or were left out"
    with pytest.raises(SystemExit):
        cli.main(["read", str(path), "--bounds", "0,0,0,1,1"])
    assert "'0,0,0,1,1' is not six numbers, such as 0,0,0,4,5,2.5" in capsys.readouterr().err


def test_features_of_a_part_keep_what_the_scan_has(tmp_path):
    file, out = tmp_path / "scan.copc.laz", tmp_path / "part.laz"
    order = octrees.copc(file, octrees.records(XYZ, RGB, LABEL))
    model = msm3d.load(device="cpu")
    plan = batch.plan([file], out)
    warnings.simplefilter("ignore")  # normals are estimated
    options = msm3d.scan.options.ReadOptions(bounds=BOX)
    done = list(batch.extract(model, plan.jobs, options=options, levels=[-1]))
    assert done[0].error is None
    part = read(file, bounds=BOX)
    assert results.features(out).shape == (len(part), model.channels([-1]))
    written = laspy.read(out)
    assert np.array_equal(written.classification, LABEL[order][part.rows])
    assert np.array_equal(written.row, part.rows)
    again = list(batch.extract(model, plan.jobs, options=options, levels=[-1]))
    assert again[0].was_there
    other = msm3d.scan.options.ReadOptions(bounds=BOX + 0.1)
    assert not next(iter(batch.extract(model, plan.jobs, options=other, levels=[-1]))).was_there


def test_a_folder_of_scans_may_hold_octrees(tmp_path):
    octrees.ept(tmp_path / "one", FEW)
    octrees.copc(tmp_path / "two.copc.laz", FEW)
    scans, others = batch.walk(tmp_path)
    assert [scan.name for scan in scans] == ["one", "two.copc.laz"]
    assert others == 0
    assert len(read(tmp_path / "one" / "ept.json")) == 300


@pytest.mark.parametrize("kind", ["npz", "laz", "las", "xyz"])
def test_bounds_are_for_every_kind_of_file_and_resolution_is_not(tmp_path, kind):
    file = tmp_path / f"scan.{kind}"
    if kind == "npz":
        np.savez(file, coord=XYZ, color=RGB, segment=LABEL, offset=[N])
    elif kind == "xyz":
        np.savetxt(file, XYZ, fmt="%.3f")
    else:
        octrees.records(XYZ, RGB, LABEL).write(file)
    whole, part = read(file), read(file, bounds=BOX)
    assert np.array_equal(part.rows, np.flatnonzero(inside(whole.coord)))
    assert np.array_equal(part.coord, whole.coord[part.rows])
    sentence = re.escape(f"{file}: is not an octree of points (COPC, EPT); leave resolution= out.")
    with pytest.raises(FileError, match=f"^{sentence}$"):
        read(file, resolution=0.1)


def test_bounds_of_arrays_and_clouds():
    hole = XYZ.copy()
    hole[::7] = np.nan
    with pytest.warns(UserWarning, match="no position"):
        part = msm3d.PointCloud.of({"coord": hole, "color": RGB}, bounds=BOX)
    good = np.flatnonzero(inside(hole))
    assert np.array_equal(part.rows, good)
    assert np.array_equal(part.color, RGB[good])
    half = BOX + np.array([[0, 0, 0], [-1, 0, 0]])
    assert np.array_equal(msm3d.PointCloud.of(part, bounds=half).rows, np.flatnonzero(inside(hole, half)))
    with pytest.raises(InputError, match=r"^no point lies within bounds=, of x 682244\.\d\d to .* m; give others\.$"):
        msm3d.PointCloud.of(XYZ, bounds=[[0, 0, 0], [1, 1, 1]])
    everywhere = [[-np.inf] * 3, [np.inf] * 3]
    assert len(msm3d.PointCloud.of(XYZ, bounds=everywhere)) == N


@pytest.mark.parametrize(
    "given", [3, "a", [[0, 0, 0]], [[0, 0, 0], [1, 1]], [[0, 0, 2], [1, 1, 1]], [[0, 0, np.nan]] * 2]
)
def test_bounds_that_are_none_are_refused(tmp_path, given):
    with pytest.raises(InputError, match=r"^bounds is .*; give two corners in metres, the lower one first, such as"):
        read(tmp_path / "none.laz", bounds=given)


@pytest.mark.parametrize("given", [0, -1, np.nan, "fine", True])
def test_a_resolution_that_is_none_is_refused(tmp_path, given):
    with pytest.raises(InputError, match=r"^resolution is .*; give metres, such as 0\.05\.$"):
        read(tmp_path / "none.laz", resolution=given)


def test_outside_of_the_octree_is_a_sentence(tree):
    path, *_ = tree
    sentence = "has no points there: its octree spans x 682244.00 to 682248.00, y"
    with pytest.raises(FileError, match=re.escape(f"{path}: {sentence}")):
        read(path, bounds=[[0, 0, 0], [1, 1, 1]])


@pytest.fixture
def copc(tmp_path):
    file = tmp_path / "bad.copc.laz"
    octrees.copc(file, octrees.records(XYZ, RGB, LABEL), pages=2)
    return file


def damaged(file, *changes):
    data = bytearray(file.read_bytes())
    for at, form, value in changes:
        struct.pack_into(form, data, at, value)
    file.write_bytes(data)
    return file


@pytest.mark.parametrize(
    ("at", "form", "value", "sentence"),
    [
        (429 + 24, "<d", 0.0, "has an octree that cannot be right; make it again."),  # no width
        (429 + 32, "<d", np.nan, "has an octree that cannot be right; make it again."),  # the spacing
        (429 + 40, "<Q", 1 << 60, "has an octree whose pages are not all there; it is damaged, export it again."),
        (429 + 48, "<Q", 33, "has an octree whose pages are not all there; it is damaged, export it again."),
        (247, "<Q", N + 1, "has an octree of other points than it holds; leave bounds= and resolution= out, or make"),
    ],
)
def test_an_octree_that_cannot_be_is_refused(copc, at, form, value, sentence):
    damaged(copc, (at, form, value))
    with pytest.raises(FileError, match="^" + re.escape(f"{copc}: {sentence}")):
        read(copc, bounds=BOX)


def test_pages_that_overlap_are_refused_before_they_fill_the_memory(copc):
    data = bytearray(copc.read_bytes())
    start, pages = len(data), 40
    page = b"".join(struct.pack("<4iQ2i", 1, 0, 0, 0, start + 32 * i, 32 * (pages - i), -1) for i in range(pages))
    struct.pack_into("<QQ", data, 429 + 40, start, len(page))
    copc.write_bytes(data + page)
    with pytest.raises(FileError, match="has an octree whose pages are not all there; it is damaged, export it again"):
        read(copc, bounds=BOX)


def test_a_page_that_is_its_own_does_not_go_on_for_ever(copc):
    """laspy's own reader does."""
    root, size = struct.unpack_from("<QQ", copc.read_bytes(), 429 + 40)
    entries = [root + i for i in range(0, size, 32)]
    later = next(at for at in entries if struct.unpack_from("<i", copc.read_bytes(), at + 28)[0] == -1)
    damaged(copc, (later + 16, "<Q", root), (later + 24, "<i", size))
    with pytest.raises(FileError, match=r"has an octree whose pages are not all there"):
        read(copc, bounds=BOX)


def test_compressed_points_that_are_none_are_a_sentence_of_the_child(copc):
    data = bytearray(copc.read_bytes())
    start = Copc.of(copc).offsets[3]
    data[start : start + 200] = bytes(200)
    copc.write_bytes(data)
    with pytest.raises(FileError, match=re.escape(f"{copc}: cannot be decompressed: ")):
        read(copc)


def changed(folder, name, **values):
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("ept.json", {"dataType": "binary"}, "has tiles of the type 'binary', where 'laszip' is needed"),
        ("ept.json", {"span": 0}, "has an ept.json without usable bounds, span or schema, or has too many"),
        ("ept.json", {"bounds": [0, 1]}, "has an ept.json without usable bounds, span or schema, or has too many"),
        ("ept.json", {"bounds": [0] * 4}, "has an ept.json without usable bounds, span or schema, or has too many"),
        ("ept.json", {"bounds": [[0] * 4] * 4}, "has an ept.json without usable bounds, span or schema, or has too ma"),
        ("ept-hierarchy/0-0-0-0.json", {"0-0-0-0": 1 << 62}, "has an ept.json without usable bounds, span or schema,"),
        ("ept.json", {"bounds": [0] * 6}, "has an octree that cannot be right; make it again."),
        ("ept-hierarchy/0-0-0-0.json", {"9-0-0-0": 5}, "lacks 1 of its tiles, such as ept-data/9-0-0-0.laz; copy all"),
        ("ept-hierarchy/0-0-0-0.json", {"1-0-0-7": 5}, "has an octree that cannot be right; make it again."),
        (
            "ept-hierarchy/0-0-0-0.json",
            {"../up": 5},
            "has in ept-hierarchy/0-0-0-0.json '../up': 5; it is damaged, copy it",
        ),
        ("ept-hierarchy/0-0-0-0.json", {"1-0-0-0": 2.5}, "has in ept-hierarchy/0-0-0-0.json '1-0-0-0': 2.5; it is"),
        ("ept-hierarchy/0-0-0-0.json", {"0-0-0-0": -1}, "has in ept-hierarchy/0-0-0-0.json '0-0-0-0': -1; it is"),
        ("ept-hierarchy/0-0-0-0.json", {"2-1-1-1": -1}, "has no usable ept-hierarchy/2-1-1-1.json; copy all of it."),
        ("ept-hierarchy/0-0-0-0.json", {"0-0-0-0": 1}, "declares "),
    ],
)
def test_tiles_that_do_not_fit_are_refused(tmp_path, name, values, sentence):
    folder = tmp_path / "scan"
    octrees.ept(folder, FEW)
    changed(folder, name, **values)
    with pytest.raises(FileError, match="^" + re.escape(f"{folder}: {sentence}")):
        read(folder)


def test_tiles_that_are_not_compressed_are_read_among_others(tmp_path):
    folder = tmp_path / "scan"
    order = octrees.ept(folder, FEW)
    for tile in sorted((folder / "ept-data").iterdir())[::2]:
        las = laspy.read(tile)
        with tile.open("wb") as stream:
            las.write(stream, do_compress=False)
    np.testing.assert_array_equal(read(folder).coord, np.stack([FEW.x, FEW.y, FEW.z], 1)[order])


def test_tiles_without_what_the_first_one_has_are_a_sentence(tmp_path):
    folder = tmp_path / "scan"
    octrees.ept(folder, FEW)
    last = sorted((folder / "ept-data").iterdir())[-1]
    laspy.convert(laspy.read(last), point_format_id=6).write(last)
    with pytest.raises(
        FileError, match=re.escape(f"has no red in {last.name}, but in other files of it; make it again.")
    ):
        read(folder)


def test_json_that_is_none_is_a_sentence(tmp_path):
    folder = tmp_path / "scan"
    octrees.ept(folder, FEW)
    for text in ("", "[1]", '{"a":' * 100_000):
        (folder / "ept.json").write_text(text)
        with pytest.raises(FileError, match=re.escape(f"{folder}: has a scan/ept.json ")):
            read(folder)


@pytest.mark.parametrize("kind", ["las", "laz"])
def test_labels_of_copc_keep_what_the_scan_has(tmp_path, kind):
    from msm3d.io import labelled

    file, out = tmp_path / "scan.copc.laz", tmp_path / f"out.{kind}"
    octrees.copc(file, FEW)
    cloud = read(file)
    columns = labelled.Columns.of(cloud, file, msm3d.scan.options.ReadOptions())
    labelled.write(out, columns, np.arange(300) % 7, np.ones(300), {"classes": {}, "sha256": "a"})
    assert columns.own
    written = laspy.read(out)
    assert written.classification.tolist() == [i % 7 for i in range(300)]
    assert np.array_equal(written.X, laspy.read(file).X)
    assert labelled.metadata(out)["sha256"] == "a"
