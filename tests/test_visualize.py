"""Colours, similarity and pictures, against sklearn and torch where those have the answer; and the verb `pca`."""

import re
import sys

import numpy as np
import pytest
import torch

from msm3d import cli
from msm3d.errors import FileError, InputError
from msm3d.scan.cloud import PointCloud
from msm3d.visualize import (
    Camera,
    ColorBasis,
    Height,
    Kinds,
    automatic_view,
    label_colors,
    pca_colors,
    render,
    save_picture,
    save_recording,
    similarity,
    similarity_colors,
    threshold,
)
from msm3d.visualize.camera import ceiling, outside
from tests.conftest import make_scene


@pytest.fixture
def features():
    """2,000 rows of 24 channels, most of whose variance is in few directions."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(24, 24)) * 0.5 ** np.arange(24)[:, None]
    return (rng.normal(size=(2000, 24)) @ mix + rng.normal(size=24)).astype(np.float32)


def box(rng, n, size, lid=True):
    """Walls, floor and, with a lid, ceiling of a room, and their normals to the inside."""
    coord, normal = rng.uniform(0, 1, (n, 3)) * size, np.zeros((n, 3))
    side = np.arange(n) % (6 if lid else 5)
    for k, (axis, place) in enumerate([(2, 0), (0, 0), (0, 1), (1, 0), (1, 1), (2, 1)]):
        coord[side == k, axis] = place * size[axis]
        normal[side == k, axis] = 1 - 2 * place
    return coord, normal, side


# --- principal components -------------------------------------------------------------------------------------------


def test_components_are_those_of_sklearn(features):
    from sklearn.decomposition import PCA

    basis = ColorBasis.fit(features)
    theirs = PCA(3, svd_solver="full").fit(features)
    assert np.abs(np.abs(basis.components @ theirs.components_.T) - np.eye(3)).max() < 1e-3
    assert np.allclose(basis.mean, theirs.mean_, atol=1e-5)
    scores = (features - basis.mean) @ basis.components.T
    assert np.allclose(np.percentile(scores, [1, 99], axis=0), [basis.low, basis.high], atol=1e-3)


def test_signs_are_fixed_and_do_not_depend_on_the_order(features):
    basis = ColorBasis.fit(features)
    rows = np.arange(3)
    assert (basis.components[rows, np.abs(basis.components).argmax(1)] > 0).all()
    order = np.random.default_rng(1).permutation(len(features))
    colors = pca_colors(features)[0]
    assert np.abs(pca_colors(features[order])[0].astype(int) - colors[order]).max() <= 1


def test_colours_are_the_same_twice_and_span_the_range(features):
    first, second = pca_colors(features)[0], pca_colors(features)[0]
    assert first.tobytes() == second.tobytes()
    assert (np.percentile(first, [2, 98], axis=0) - [[28], [236]]).__abs__().max() < 40


def test_one_wild_point_changes_no_colour_by_much(features):
    wild = features.copy()
    wild[7] += 1e4 / np.sqrt(24)
    basis = ColorBasis.fit(features)
    turned = ColorBasis(basis.mean, basis.components, basis.low, basis.high)
    low, high = np.percentile((wild - basis.mean) @ basis.components.T, [1, 99], axis=0)
    assert np.allclose([low, high], [turned.low, turned.high], rtol=0.05, atol=0.05)


def test_a_basis_gives_scenes_the_same_colours(features):
    basis = ColorBasis.fit([features[:500], features[500:]])
    colors, same = pca_colors(features[:500], basis)
    assert same is basis
    assert np.array_equal(colors, basis(features)[:500])


def test_a_basis_is_saved_and_read(features, tmp_path):
    basis = ColorBasis.fit(features)
    again = ColorBasis.load(basis.save(tmp_path / "basis.npz"))
    assert np.array_equal(again(features), basis(features))


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors_are_taken(features, kind):
    colors, _ = pca_colors(torch.from_numpy(features).to(kind))
    assert np.abs(colors.astype(int) - pca_colors(features)[0]).mean() < 4


@pytest.mark.parametrize("width", [1, 2])
def test_fewer_than_three_channels_leave_the_others_grey(width):
    colors, _ = pca_colors(np.random.default_rng(0).normal(size=(100, width)))
    assert np.ptp(colors[:, width - 1]) > 100
    assert np.ptp(colors[:, width:]) == 0


def test_features_that_are_all_the_same_are_grey():
    assert np.ptp(pca_colors(np.ones((10, 5)))[0]) == 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda f: pca_colors(f[0]), r"features has shape \(24,\) and dtype float32; give \(n, c\) numbers."),
        (lambda f: pca_colors(f[:, :5], ColorBasis.fit(f)), "the features have 5 channels, the basis 24; fit it"),
        (lambda f: ColorBasis.fit([f, f[:, :5]]), "the scenes have features of 24, 5 channels; give at least one, all"),
        (lambda f: ColorBasis.fit([]), "the scenes have features of nothing channels; give at least one"),
        (lambda f: pca_colors(np.where(f == f[3], np.nan, f)), "features has 1 rows with NaN or infinity; drop them"),
        (lambda f: ColorBasis.fit(f).save("basis.txt"), "basis.txt cannot hold a basis; end it with .npz."),
        (lambda f: similarity(f, 2000), "index is 2000, but there are 2000 points; give 0 to 1999."),
        (lambda f: similarity(f, [0, 0, 0]), "x, y, z were given without positions; pass coord= too|too."),
        (lambda f: similarity(f, [0, 0]), r"index_or_point is \[0, 0\]; give the row of a point, or x, y, z."),
        (lambda f: similarity(f, [0, 0, 0], f[:, :2]), r"coord has shape \(2000, 2\); give \(2000, 3\)"),
    ],
)
def test_what_cannot_be_coloured_is_one_sentence(features, call, sentence):
    with pytest.raises(InputError, match=sentence):
        call(features)


def test_other_files_are_no_basis(tmp_path):
    (tmp_path / "a.npz").write_text("nonsense")
    np.save(tmp_path / "b.npy", np.zeros(3))
    np.savez(tmp_path / "c.npz", mean=np.zeros(3), components=np.zeros((3, 2)), low=np.zeros(3), high=np.zeros(3))
    for name in ("a.npz", "b.npy", "c.npz", "gone.npz"):
        with pytest.raises(FileError, match=name):
            ColorBasis.load(tmp_path / name)


# --- similarity -----------------------------------------------------------------------------------------------------


def test_similarity_is_torchs_cosine(features):
    expected = torch.nn.functional.cosine_similarity(torch.from_numpy(features), torch.from_numpy(features[17:18]))
    found = similarity(features, 17)
    assert found.dtype == np.float32
    assert np.allclose(found, expected.numpy(), atol=1e-5)
    assert found[17] == pytest.approx(1)
    assert np.array_equal(similarity(features, -1983), found)


def test_similarity_to_a_place_is_that_to_its_nearest_point(features):
    coord = np.random.default_rng(2).uniform(0, 5, (2000, 3))
    assert np.array_equal(similarity(features, coord[40] + 1e-4, coord), similarity(features, 40))


def test_rows_of_zeros_are_similar_to_nothing():
    assert similarity(np.array([[1.0, 0], [0, 0]]), 0).tolist() == [1, 0]


def test_more_similar_is_brighter():
    colors = similarity_colors(np.linspace(0, 1, 50), threshold=0.2).astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(colors) >= -1).all()
    assert colors[-1] - colors[0] > 120


@pytest.mark.parametrize("share", [0.02, 0.05, 0.19, 0.4])
@pytest.mark.parametrize("n", [500, 30_000])
def test_the_threshold_is_in_the_gap_whatever_share_is_above(share, n):
    rng = np.random.default_rng(0)
    alike = int(share * n)
    similar = np.concatenate([1 - 0.2 * rng.random(alike) ** 2, rng.normal(0.1, 0.15, n - alike).clip(-1, 0.65)])
    assert 0.6 < threshold(similar) < 0.82
    assert (similar >= threshold(similar)).mean() == pytest.approx(share, abs=0.01)
    assert threshold(rng.permutation(similar)) == threshold(similar)


def test_the_threshold_ignores_the_few_next_to_the_point():
    near, alike, rest = np.linspace(0.995, 1, 20), np.linspace(0.7, 0.8, 1000), np.linspace(-0.3, 0.4, 9000)
    assert 0.4 < threshold(np.concatenate([near, alike, rest])) < 0.7


def test_a_floor_is_a_larger_finding_than_a_chair():
    """A synthetic room and the bundled weights: the floor is 19 % of it, its chairs are 5 %."""
    import msm3d
    from msm3d.rooms import make

    cloud = make(70_002, kind="meeting room", points=20_000)
    features = msm3d.load().extract(cloud)
    shares = []
    for label in (1, 4):
        rows = np.flatnonzero(cloud.segment == label)
        similar = [similarity(features, int(row)) for row in rows[:: len(rows) // 15]]
        shares.append(np.median([(s >= threshold(s)).mean() for s in similar]))
    assert 0.08 < shares[0] < 0.3, shares
    assert 0.02 < shares[1] < shares[0], shares


def test_kinds_are_found_and_the_same_twice():
    rng = np.random.default_rng(0)
    middle = rng.normal(size=(5, 24)) * 4
    truth = rng.permutation(np.repeat(np.arange(5), [900, 500, 300, 200, 100]))
    features = (middle[truth] + rng.normal(size=(2000, 24))).astype(np.float32)
    kinds = Kinds.fit(features, 5)
    found = kinds(features)
    assert np.array_equal(found, truth)  # the largest first
    again = Kinds.fit([features.copy()], 5)
    assert again.centres.tobytes() == kinds.centres.tobytes()
    assert len(np.unique(Kinds.fit(np.ones((50, 3)), 4)(np.ones((50, 3))))) == 1
    with pytest.raises(InputError, match="count is 51 for 50 features; give a number from 1 to 50"):
        Kinds.fit(np.ones((50, 3)), 51)
    with pytest.raises(InputError, match="features has rows with NaN or infinity"):
        Kinds.fit(np.full((50, 3), np.nan))


def test_kinds_count_levels_alike():
    rng = np.random.default_rng(0)
    truth = np.arange(900) % 3
    quiet = (np.eye(3)[truth] + rng.normal(size=(900, 3)) * 0.05) * 1e-3
    loud = rng.normal(size=(900, 5)) * 1e3
    features = np.concatenate([quiet, loud], 1)
    for levels, good in (((), False), ((slice(0, 3), slice(3, 8)), True)):
        found = Kinds.fit(features, 3, levels=levels)
        assert np.allclose(found.scale, found.scale[0]) != good
        assert (len(np.unique(3 * truth + found(features))) < 9) == good


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_the_share_of_height_is_that_of_a_spline(part):
    rng = np.random.default_rng(0)
    coord = rng.uniform(0, 3, (5000, 3)) + [0, 0, 100]
    curve = np.stack([np.sin(2 * coord[:, 2]), np.cos(coord[:, 2])], 1)
    curve = (curve - curve.mean(0)) / curve.std(0)
    features = np.sqrt(part) * curve + np.sqrt(1 - part) * rng.normal(size=curve.shape)
    height = Height.fit([features], [coord])
    assert height.share == pytest.approx(part, abs=0.02)
    colors = height.colors([features], [coord])[0].astype(float)
    left = max(abs(np.corrcoef(colors[:, k], np.sin(2 * coord[:, 2]))[0, 1]) for k in range(2))
    assert left < 0.1 or part == 1


@pytest.mark.parametrize("given", [np.ones((3, 2)), np.array([]), np.array([0.1, np.nan])])
def test_what_is_no_similarity_has_no_threshold(given):
    with pytest.raises(InputError, match=r"similar has shape .*; give \(n,\) finite numbers, as similarity"):
        threshold(given)


def test_labels_have_colours_and_unknown_ones_are_grey():
    colors = label_colors(np.array([0, 1, 2, -1, 255]))
    assert len(np.unique(colors, axis=0)) == 4
    assert colors[3].tolist() == colors[4].tolist() == [70, 70, 74]


# --- pictures -------------------------------------------------------------------------------------------------------


def test_the_older_name_of_a_camera_goes_on_working():
    from msm3d.visualize import View

    assert isinstance(automatic_view(np.random.default_rng(0).random((500, 3))), View)


FRONT = Camera(eye=(0, -4, 0), target=(0, 0, 0))


def test_the_same_input_gives_the_same_bytes(scene, tmp_path):
    pictures = [render(scene["coord"], scene["color"], size=(200, 150)) for _ in "12"]
    paths = [save_picture(tmp_path / f"{i}.png", picture) for i, picture in enumerate(pictures)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    from PIL import Image

    with Image.open(paths[0]) as picture:
        assert np.array_equal(np.asarray(picture), pictures[0])


def test_nearer_points_hide_others():
    rng = np.random.default_rng(0)
    wall = np.stack([rng.uniform(-1, 1, 4000), np.zeros(4000), rng.uniform(-1, 1, 4000)], 1)
    small = wall[:1500] * 0.3 + [0, -1, 0]
    points = np.concatenate([small, wall])
    colors = np.repeat([[255, 0, 0], [0, 0, 255]], [1500, 4000], axis=0)
    picture = render(points, colors, size=(120, 120), view=FRONT)
    assert picture[60, 60, 0] > 200
    assert picture[60, 60, 2] < 30
    assert picture[60, 20, 2] > 200
    assert picture[2, 2].tolist() == [255, 255, 255]


def test_right_is_right_and_up_is_up():
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(500, 3)) * 0.05
    picture = render(ball + [0.8, 0, 0.5], np.full((500, 3), 0), size=(100, 100), view=FRONT)
    rows, columns = np.nonzero(picture[:, :, 0] < 128)
    assert columns.mean() > 65
    assert rows.mean() < 40


def test_surfaces_have_no_gaps_between_their_points():
    rng = np.random.default_rng(0)
    wall = np.stack([rng.uniform(-1, 1, 3000), np.zeros(3000), rng.uniform(-1, 1, 3000)], 1)
    picture = render(wall, np.zeros((3000, 3)), size=(160, 160), view=FRONT)
    assert (picture[40:120, 40:120] < 100).mean() > 0.99


def test_steps_are_shaded():
    rng = np.random.default_rng(0)
    flat = np.stack([rng.uniform(-1, 1, 20000), np.zeros(20000), rng.uniform(-1, 1, 20000)], 1)
    step = flat.copy()
    step[step[:, 0] > 0, 1] = 0.5
    plain, stepped = (
        render(points, np.full((20000, 3), 200), size=(160, 160), view=FRONT)[60:100, 60:100] for points in (flat, step)
    )
    assert plain.min() > 190
    assert stepped.min() < 160


def test_a_ceiling_is_left_out_and_an_open_room_is_not_cut():
    rng = np.random.default_rng(0)
    closed, open_ = box(rng, 6000, [5, 4, 2.5])[0], box(rng, 6000, [5, 4, 2.5], lid=False)[0]
    below = automatic_view(closed).below
    assert below == ceiling(closed)
    assert 1.8 < below < 2.45
    assert automatic_view(open_).below is None


def test_walls_between_camera_and_room_are_left_out():
    rng = np.random.default_rng(0)
    coord, normal, side = box(rng, 40000, [5, 4, 2.5], lid=False)
    table = rng.uniform(0, 1, (4000, 3)) * [1, 1, 0] + [2, 1.5, 0.8]
    points, normals = np.concatenate([coord, table]), np.concatenate([normal, np.tile([0, 0, 1.0], (4000, 1))])
    found = outside(points, normals)
    assert found[:40000][side > 0].mean() > 0.9
    assert found[40000:].mean() < 0.2
    colors = np.full((44000, 3), 200)
    colors[40000:] = [255, 0, 0]
    view = Camera(eye=(2.5, -6, 2.6), target=(2.5, 2, 0.8))
    shown = [render(points, colors, size=(160, 120), view=view, normals=given).astype(int) for given in (normals, None)]
    red = [int((picture[:, :, 0] > picture[:, :, 1] + 60).sum()) for picture in shown]
    assert red[0] > 100 > red[1]


def test_a_view_fits_what_it_looks_at():
    coord = box(np.random.default_rng(0), 20000, [6, 3, 2], lid=False)[0]
    for size in ((300, 200), (200, 300)):
        dark = render(coord, np.zeros((20000, 3)), size=size)[:, :, 0] < 128
        rows, columns = np.nonzero(dark)
        assert min(rows.min(), columns.min()) >= 1
        assert max(size[1] - rows.max(), size[0] - columns.max()) >= 1
        assert max(np.ptp(rows) / size[1], np.ptp(columns) / size[0]) > 0.8


def test_one_point_and_points_on_a_line_are_drawn():
    assert render(np.zeros((1, 3)), np.zeros((1, 3)), size=(64, 48)).min() < 128
    line = np.stack([np.arange(50) * 0.1, np.zeros(50), np.zeros(50)], 1)
    assert render(line, np.zeros((50, 3)), size=(64, 48)).min() < 128


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: render(p[:, :2], p), r"points has shape \(5, 2\); give \(n, 3\) finite numbers"),
        (lambda p: render(p, p[:4]), r"colors has shape \(4, 3\); give \(5, 3\), one row per point."),
        (lambda p: render(p, p, normals=p[:4]), r"normals has shape \(4, 3\); give \(5, 3\), one row per point."),
        (lambda p: render(p, p, size=(0, 10)), r"size is \(0, 10\); give width and height in pixels, at most 8192."),
        (lambda p: render(p, p, background="blue"), "background is 'blue'; choose white, light, dark, black or red"),
        (lambda p: Camera(eye=(0, 0, 0), target=(0, 0, 0)), "give two different points x, y, z."),
        (lambda p: Camera(eye=(0, 0, 0), target=(1, 0, 0), fov=0), "fov is 0; give an angle of 1 to 150 degrees."),
        (lambda p: save_picture("a.jpg", p), "a.jpg cannot hold a picture; end it with .png."),
        (lambda p: save_picture("no/a.png", p), "there is no folder no; make it first: mkdir -p no"),
        (
            lambda p: save_picture("a.png", p),
            r"picture has shape \(5, 3\) and dtype float64; give \(height, width, 3\)",
        ),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call(np.arange(15.0).reshape(5, 3))


def test_pictures_need_no_package_of_pictures(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert save_picture(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8)).stat().st_size < 100


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 7), (64, 48)])
@pytest.mark.parametrize("kind", ["noise", "slope", "flat"])
def test_pillow_reads_what_is_written(shape, kind, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    slope = np.add.outer(np.arange(shape[0]) * 3, np.arange(shape[1]) * 5)[..., None] + [0, 90, 180]
    picture = {"noise": rng.integers(0, 256, (*shape, 3)), "slope": slope, "flat": np.full((*shape, 3), 200)}[kind]
    picture = picture.astype(np.uint8)
    with Image.open(save_picture(tmp_path / "a.png", picture)) as read:
        assert (read.format, read.mode, read.size) == ("PNG", "RGB", shape[::-1])
        assert np.array_equal(np.asarray(read), picture)


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def place(model, tmp_path, monkeypatch):
    """A working directory with two scans and weights."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("one", "two")):
        np.savez(f"{name}.npz", **make_scene(seed, 200))
    model.save_pretrained("net")
    return tmp_path


def run(*arguments):
    try:
        return cli.main([*arguments, "--model", "./net", "--device", "cpu"])
    except SystemExit as end:  # of what the parser finds
        return end.code


def test_pca_makes_a_picture_of_a_scan_and_of_several(place, capsys):
    from PIL import Image

    assert run("pca", "one.npz", "-o", "one.png", "--size", "160x120") == 0
    assert run("pca", "one.npz", "two.npz", "-o", "both.png", "--size", "160x120") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("both.png: 0.")
    for name, size in (("one.png", (160, 120)), ("both.png", (320, 120))):
        with Image.open(name) as picture:
            assert picture.size == size


def test_pca_writes_coloured_points_on_a_shared_basis(place, model):
    from msm3d.io import read

    assert run("pca", "one.npz", "two.npz", "-o", "out/", "--format", "ply", "--save-basis", "basis.npz") == 0
    basis = ColorBasis.load("basis.npz")
    for seed, name in enumerate(("one", "two")):
        cloud = read(f"out/{name}.ply")
        assert np.array_equal(cloud.coord, make_scene(seed, 200)["coord"])
        expected = basis(model.extract(make_scene(seed, 200), dtype="float16"))
        assert np.abs(cloud.color - expected).max() <= 2
    assert run("pca", "two.npz", "-o", "again.ply", "--basis", "basis.npz") == 0
    assert (place / "again.ply").read_bytes() == (place / "out" / "two.ply").read_bytes()


def recorded(path):
    """Return the columns of each entity of a recording."""
    chunk = pytest.importorskip("rerun.chunk", reason="rerun is not installed.")
    return {one.entity_path: one.to_record_batch() for one in chunk.RrdReader(path).stream()}


def column(batch, name, width):
    [values] = batch.column(batch.schema.names.index(name)).to_pylist()
    return np.array(values).reshape(-1, width)


def unpacked(colors):
    return colors.astype(np.uint32).view(np.uint8).reshape(-1, 4)[:, :0:-1]


def test_pca_records_points_with_the_colours_of_features_and_of_the_scan(place):
    from msm3d.io import read

    pytest.importorskip("rerun", reason="rerun is not installed.")
    for name in ("one.rrd", "one.ply"):
        assert run("pca", "one.npz", "-o", name) == 0
    there, expected, scan = recorded("one.rrd"), read("one.ply"), read("one.npz")
    for kind, colors in (("features", expected.color), ("color", scan.color)):
        np.testing.assert_allclose(column(there[f"/one/{kind}"], "Points3D:positions", 3), scan.coord, atol=1e-6)
        assert np.array_equal(unpacked(column(there[f"/one/{kind}"], "Points3D:colors", 1)), np.rint(colors))


def test_a_recording_of_utm_keeps_millimetres_and_says_where_it_begins(tmp_path):
    pytest.importorskip("rerun", reason="rerun is not installed.")
    coord = np.random.default_rng(0).random((50, 3)) + [500_000, 5_400_000, 200]
    save_recording(tmp_path / "far.rrd", coord, {"color": np.full((50, 3), 300.0)}, "hall")
    there = recorded(tmp_path / "far.rrd")
    origin = column(there["/hall"], "origin", 3)[0]
    assert origin.tolist() == [500_000, 5_400_000, 200]
    np.testing.assert_allclose(column(there["/hall/color"], "Points3D:positions", 3) + origin, coord, atol=1e-6)
    assert (unpacked(column(there["/hall/color"], "Points3D:colors", 1)) == 255).all()
    with pytest.raises(InputError, match=r"^a\.ply cannot hold a recording; end it with \.rrd\.$"):
        save_recording("a.ply", coord, {})


def test_a_recording_without_rerun_says_what_to_type_before_any_work(place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert run("pca", "one.npz", "-o", "one.rrd") == 2
    assert capsys.readouterr().err == 'msm3d pca: an .rrd file needs rerun; type: pip install "msm3d[rerun]".\n'


def test_pca_reads_the_levels_that_are_asked_for(place):
    assert run("pca", "one.npz", "-o", "one.ply", "--levels=-1", "--save-basis", "basis.npz") == 0
    assert len(ColorBasis.load("basis.npz").mean) == 32


def test_pca_takes_features_of_files_and_their_levels(place, model):
    for name in ("one", "two"):
        assert run("extract", f"{name}.npz", "-o", f"{name}_feat.npz", "--dtype", "float16") == 0
    files = ["--features", "one_feat.npz", "two_feat.npz"]
    assert run("pca", "one.npz", "two.npz", "-o", "kept/", "--format", "ply", *files) == 0
    assert run("pca", "one.npz", "two.npz", "-o", "made/", "--format", "ply") == 0
    for name in ("one", "two"):
        assert (place / "kept" / f"{name}.ply").read_bytes() == (place / "made" / f"{name}.ply").read_bytes()


def test_pca_chooses_among_the_levels_that_a_file_names(place):
    import json

    meta = {"levels": [1, 3], "channels": [4, 6], "voxel_size": 0.02}
    rows = np.random.default_rng(0).normal(size=(600, 10)).astype(np.float32)
    np.savez("feat.npz", feat=rows, meta=np.array(json.dumps(meta)))
    given = ["one.npz", "-o", "one.ply", "--features", "feat.npz", "--save-basis", "basis.npz"]
    for level in ("3", "-1"):
        assert run("pca", *given, f"--levels={level}") == 0
        assert np.allclose(ColorBasis.load("basis.npz").mean, rows[:, 4:].mean(0), atol=1e-5)


def test_pca_takes_a_folder_of_scans(place, capsys):
    (place / "scans").mkdir()
    for name in ("one", "two"):
        (place / f"{name}.npz").rename(place / "scans" / f"{name}.npz")
    assert run("pca", "scans", "-o", "pictures", "--format", "ply") == 0
    assert sorted(path.name for path in (place / "pictures").iterdir()) == ["one.ply", "two.ply"]


def test_features_that_a_file_holds_are_not_computed_again_in_silence(place, capsys):
    assert run("extract", "one.npz", "-o", "made.npz") == 0
    capsys.readouterr()
    assert run("pca", "made.npz", "-o", "made.ply") == 0
    assert "already, which are computed again; to use them, pass --features made.npz." in capsys.readouterr().err
    assert run("pca", "made.npz", "-o", "used.ply", "--features", "made.npz") == 0
    assert "already" not in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["clusters", "no-height"])
def test_pca_has_other_pictures(place, mode, capsys):
    from msm3d.io import read

    assert run("pca", "one.npz", "-o", "plain.ply") == 0
    assert re.search(
        r"height alone explains \d+ % of the features' variance; see also --mode clusters", capsys.readouterr().out
    )
    for name in ("a", "b"):
        assert run("pca", "one.npz", "two.npz", "-o", f"{name}/", "--format", "ply", "--mode", mode) == 0
    assert "see also" not in capsys.readouterr().out, "whoever has found the other pictures needs no hint"
    assert (place / "a" / "one.ply").read_bytes() == (place / "b" / "one.ply").read_bytes()
    colors = [read("plain.ply").color, read("a/one.ply").color]
    assert not np.array_equal(*colors)
    assert len(np.unique(colors[1], axis=0)) <= 8 or mode == "no-height"


def test_clusters_need_no_height(place, monkeypatch):
    monkeypatch.setattr(Height, "fit", lambda *_: pytest.fail("what height explains is not asked for"))
    assert run("pca", "one.npz", "-o", "kinds.ply", "--mode", "clusters") == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["one.npz", "-o", "a.jpg"], "msm3d pca: a.jpg is not a kind of picture; end it with .png, .ply, .html, .rrd."),
        (["one.npz", "two.npz", "-o", "a.ply"], "msm3d pca: 2 scans do not fit into the file a.ply; give -o a folder"),
        (["one.npz", "-o", "no/a.png"], "msm3d pca: there is no folder no; make it first: mkdir -p no"),
        (["one.npz", "one.npz", "-o", "out/"], "msm3d pca: two scans would become the same file in out; colour them"),
        (
            ["one.npz", "-o", "out/", "--format", "gif"],
            "msm3d pca: argument --format: unknown 'gif'; choose one of png, ply",
        ),
        (
            ["one.npz", "-o", "a.png", "--mode", "cluster"],
            "msm3d pca: argument --mode: unknown 'cluster'; did you mean 'clusters'",
        ),
        (["one.npz", "-o", "a.png", "--clusters", "9", "--basis", "b.npz"], "a basis is of components, not of"),
        (
            ["one.npz", "-o", "a.png", "--mode", "no-height", "--save-basis", "b.npz"],
            "a basis is of components, not of",
        ),
        (["one.npz", "-o", "a.png", "--features", "one.npz", "two.npz"], "there are 2 files of features for 1 scan"),
        (["one.npz", "-o", "a.png", "--features", "one.npz"], "msm3d pca: one.npz: holds no array 'feat'; write it"),
        (["one.npz", "-o", "a.png", "--size", "big"], "msm3d pca: size is 'big'; give width x height in pixels"),
        (["one.npz", "-o", "a.png", "--basis", "no.npz"], "msm3d pca: no.npz: is not a basis of colours; write one"),
        (["one.npz", "-o", "a.png", "--background", "pink"], "msm3d pca: background is 'pink'; choose white, light"),
        (["gone.ply", "-o", "a.png"], "msm3d pca: gone.ply: does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(place, arguments, sentence, capsys):
    before = sorted(place.iterdir())
    assert run("pca", *arguments) == 2
    assert sentence in capsys.readouterr().err
    assert [path for path in sorted(place.iterdir()) if path.suffix != ""] == [p for p in before if p.suffix != ""]


def test_large_descriptors_lie_in_a_file_while_they_are_needed(place, monkeypatch):
    import msm3d.io.limits  # noqa: F401  # which is to know what really is free

    monkeypatch.setattr("msm3d.tasks.described.memory.available", lambda *_: 1000)
    assert run("pca", "one.npz", "-o", "one.ply", "--max-memory", "1GB") == 0
    assert [path.name for path in place.iterdir() if path.name.startswith(".")] == []


def test_a_cloud_without_colour_has_normals_estimated_for_its_picture(place):
    cloud = PointCloud.of(make_scene(3, 100)["coord"])
    assert cloud.normal is None
    np.save("bare.npy", cloud.coord)
    assert run("pca", "bare.npy", "-o", "bare.png", "--size", "64x48") == 0
