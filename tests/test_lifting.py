"""Features of pictures lifted to points: planted maps are read where they were put, and walls hide what is behind."""

import re

import numpy as np
import pytest
import torch

import msm3d
from msm3d import PointCloud
from msm3d.errors import InputError
from msm3d.lifting import Rules, View, views
from msm3d.lifting.nearest import nearest
from tests import test_io_frames as recordings

WIDE, HIGH = 64, 48
CAMERA = (50.0, 52.0, 31.2, 23.9)
TURN = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # the camera looks along y, z is up


def lift(points, *given, **how):
    """Lift to bare points, which need not look like a room."""
    return msm3d.lift(PointCloud(coord=points) if isinstance(points, np.ndarray) else points, *given, **how)


def pose(eye=(0.0, 0.0, 1.5), yaw=0.0, tilt=0.0):
    c, s, d, t = np.cos(yaw), np.sin(yaw), np.cos(tilt), np.sin(tilt)
    found = np.eye(4)
    found[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, d, -t], [0, t, d]]) @ TURN
    found[:3, 3] = eye
    return found


def wall(away, n=400, seed=0, half=1.0):
    """Points on the wall y = away."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-half, half, n), np.full(n, away), rng.uniform(1.0, 2.0, n)], 1)


def pixels(points, at, camera=CAMERA):
    """Where a point falls, one by one and with no code of the library."""
    found = []
    for point in points:
        x, y, z = np.linalg.inv(at) @ [*point, 1.0] @ np.eye(4)[:, :3]
        found.append((camera[0] * x / z + camera[2], camera[1] * y / z + camera[3], z))
    return np.array(found)


def ramp(wide=WIDE, high=HIGH):
    """A map whose features are its own column and row, which bilinear reading gives back exactly."""
    row, column = np.mgrid[0:high, 0:wide].astype(float)
    return np.stack([column, row], -1)


def flat(away, **more):
    return {"pose": pose(), "camera": CAMERA, "depth": np.full((HIGH, WIDE), away), "features": ramp(), **more}


def test_a_planted_map_gives_each_point_its_own_pixel():
    points = wall(2.0)
    found = lift(points, [flat(2.0)], dtype="float64")
    assert (found.seen.all(), found.counts.tolist()) == (True, [1] * len(points))
    np.testing.assert_allclose(found.features, pixels(points, pose())[:, :2], rtol=0, atol=1e-9)


def test_maps_of_another_size_cover_the_same_picture():
    points = wall(2.0, half=0.8)
    for wide, high in ((16, 12), (128, 96), (21, 17)):
        found = lift(points, [flat(2.0, features=ramp(wide, high))], dtype="float64").features
        u, v, _ = pixels(points, pose()).T
        expected = np.stack([(u + 0.5) * wide / WIDE - 0.5, (v + 0.5) * high / HIGH - 0.5], 1)
        np.testing.assert_allclose(found, np.clip(expected, 0, (wide - 1, high - 1)), rtol=0, atol=1e-9)


def test_bilinear_reading_is_that_of_torch():
    """Of `grid_sample`, on random values, also between the outermost pixels' centres and the edge."""
    points = wall(2.0, half=1.3)
    table = np.random.default_rng(1).normal(size=(12, 16, 5))
    found = lift(points, [flat(2.0, features=table)], dtype="float64", unseen="zeros")
    u, v, _ = pixels(points, pose()).T
    grid = torch.tensor(np.stack([(u + 0.5) / WIDE, (v + 0.5) / HIGH], 1) * 2 - 1)[None, None]
    how = {"mode": "bilinear", "padding_mode": "border", "align_corners": False}
    expected = torch.nn.functional.grid_sample(torch.tensor(table.transpose(2, 0, 1))[None], grid, **how)[0, :, 0].T
    seen = (np.rint(u) >= 0) & (np.rint(u) < WIDE) & (np.rint(v) >= 0) & (np.rint(v) < HIGH)
    assert 0 < seen.sum() < len(points)
    np.testing.assert_array_equal(found.seen, seen)
    np.testing.assert_allclose(found.features, np.where(seen[:, None], expected.numpy(), 0), rtol=0, atol=1e-9)


def test_the_front_wall_hides_the_back_wall_with_and_without_depth():
    front, back = wall(2.0, 3000, half=0.4), wall(3.5, 3000, 1)
    points = np.concatenate([front, back])
    u, v, _ = pixels(back, pose()).T
    behind = np.abs((u - CAMERA[2]) / CAMERA[0] * 2.0) < 0.4 - 0.08  # the ray meets the front wall well inside
    behind &= np.abs((v - CAMERA[3]) / CAMERA[1] * 2.0) < 0.5 - 0.08
    beside = np.abs((u - CAMERA[2]) / CAMERA[0] * 2.0) > 0.4 + 0.15
    u, v = np.mgrid[0:HIGH, 0:WIDE][::-1]
    on_front = (np.abs((u - CAMERA[2]) / CAMERA[0] * 2) < 0.4) & (np.abs((v - CAMERA[3]) / CAMERA[1] * 2) < 0.5)
    depth = np.where(on_front, 2.0, 3.5)
    for view in (flat(2.0, depth=depth), flat(2.0, depth=None)):
        seen = lift(points, [view]).seen
        assert seen[: len(front)].mean() > 0.95  # the rest lies in pixels of the edge
        assert not seen[len(front) :][behind].any()
        assert seen[len(front) :][beside].mean() > 0.97
    assert lift(points, [flat(2.0, depth=None)], rules=Rules(buffer=False)).seen.all()


@pytest.mark.parametrize("tilt", [-1.2, -0.8])
def test_a_slanted_floor_does_not_hide_itself(tilt):
    rng = np.random.default_rng(0)
    floor = np.stack([rng.uniform(-2, 2, 20_000), rng.uniform(0, 4, 20_000), np.zeros(20_000)], 1)
    at = {"pose": pose(tilt=tilt), "camera": (500, 500, 319.5, 239.5), "size": (480, 640), "features": ramp()}
    u, v, z = pixels(floor, at["pose"], at["camera"]).T
    inside = (z > 0) & (u > 0) & (u < 639) & (v > 0) & (v < 479)
    assert inside.sum() > 1000
    assert lift(floor, [at]).seen[inside].mean() > 0.98


def test_what_lies_behind_the_camera_is_not_seen():
    points = np.concatenate([wall(2.0), wall(-2.0)])
    found = lift(points, [flat(2.0, depth=None)], rules=Rules(buffer=False), unseen="zeros")
    assert found.seen.tolist() == [True] * 400 + [False] * 400
    assert not found.features[400:].any()


def test_the_published_rules_are_those_of_a_slow_loop():
    rng = np.random.default_rng(3)
    points = np.concatenate([wall(2.0, 300, 0, 1.6), wall(2.9, 300, 1, 2.0), wall(-1.0, 50)])
    depth = rng.uniform(1.5, 3.5, (HIGH, WIDE))
    depth[:5] = 0
    table, at = rng.normal(size=(HIGH, WIDE, 3)), pose(tilt=0.1)
    expected, seen = np.zeros((len(points), 3)), np.zeros(len(points), bool)
    for i, (u, v, z) in enumerate(pixels(points, at)):
        column, row = int(np.round(u)), int(np.round(v))
        if (
            10 <= column < WIDE - 10
            and 10 <= row < HIGH - 10
            and abs(depth[row, column] - z) <= 0.25 * depth[row, column]
        ):
            expected[i], seen[i] = table[row, column], True
    view = {"pose": at, "camera": CAMERA, "depth": depth, "features": table}
    found = lift(points, [view], rules="published", unseen="zeros", dtype="float64")
    assert 50 < seen.sum() < 600
    np.testing.assert_array_equal(found.seen, seen)
    np.testing.assert_array_equal(found.features, expected)


def around(count=5, shift=(0.0, 0.0, 0.0), seed=0):
    """Views of a wall from several places, with random maps."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        yield View(
            pose=pose(np.array([0.3 * i - 0.6, 0.1 * i, 1.4]) + shift, yaw=0.05 * i),
            camera=CAMERA,
            size=(HIGH, WIDE),
            features=rng.normal(size=(24, 32, 4)),
        )


def test_streamed_means_are_means_of_all_at_once(monkeypatch):
    points = wall(2.0, 500, half=1.5)
    whole = lift(points, around(), dtype="float64", unseen="zeros")
    each = [lift(points, [view], dtype="float64", unseen="zeros") for view in around()]
    count = np.sum([one.seen for one in each], 0)
    assert set(count) >= {0, 3, 5} or len(set(count)) > 3
    expected = np.sum([one.features for one in each], 0) / np.maximum(count, 1)[:, None]
    np.testing.assert_allclose(whole.features, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(whole.counts, count)
    monkeypatch.setattr("msm3d.lifting.lifted._PART", 7)
    parts = lift(points, around(), dtype="float64", unseen="zeros")
    np.testing.assert_array_equal(parts.features, whole.features)
    single = lift(points, around(), unseen="zeros")
    assert single.features.dtype == np.float32
    np.testing.assert_allclose(single.features, whole.features, rtol=0, atol=1e-6)


def test_views_come_and_go_one_at_a_time():
    alive = []

    def one_by_one():
        for view in around(4):
            alive.append(1)
            yield view
            assert len(alive) == 1, "the next one was asked for too early"
            alive.pop()

    assert lift(wall(2.0), one_by_one()).seen.any()


def test_permuted_points_give_permuted_rows():
    points = wall(2.0, 700, half=2.0)
    order = np.random.default_rng(5).permutation(len(points))
    for unseen in ("nearest", "zeros"):
        plain, moved = lift(points, around(), unseen=unseen), lift(points[order], around(), unseen=unseen)
        for one, other in zip(plain, moved, strict=True):
            np.testing.assert_array_equal(one[order], other)


def test_far_from_the_origin_nothing_is_lost():
    far = np.array([500_000.0, 4_600_000.0, 100.0])
    points = wall(2.0, half=1.5)
    near, there = lift(points, around()), lift(points + far, around(shift=far))
    np.testing.assert_array_equal(near.counts, there.counts)
    np.testing.assert_allclose(near.features, there.features, rtol=0, atol=1e-5)


def test_weights_by_angle_and_distance():
    points = np.array([[0.0, 2.0, 1.5]])
    normal = np.array([[0.0, -1.0, 0.0]])
    cloud = PointCloud.of({"coord": points, "normal": normal})
    one, two = pose((0.0, 0.0, 1.5)), pose((1.0, 1.0, 1.5), yaw=np.pi / 4)  # at 2 m straight, at 1.41 m slanted

    def mean(weights):
        seen = [
            {"pose": at, "camera": CAMERA, "size": (HIGH, WIDE), "features": np.full((3, 4, 1), value)}
            for at, value in ((one, 0.0), (two, 1.0))
        ]
        return lift(cloud, seen, weights=weights, rules=Rules(buffer=False)).features.item()

    slanted = np.sqrt(0.5)
    assert mean("even") == pytest.approx(0.5)
    assert mean("angle") == pytest.approx(slanted / (1 + slanted))
    assert mean("distance") == pytest.approx(0.5 / (0.25 + 0.5))
    assert mean("both") == pytest.approx(0.5 * slanted / (0.25 + 0.5 * slanted))


def test_points_that_nobody_sees_take_after_the_nearest_that_is_seen():
    points = np.concatenate([wall(2.0, 60), wall(5.0, 60, 1)])
    found = lift(points, [flat(2.0)])
    seen = np.flatnonzero(found.seen)
    assert seen.tolist() == list(range(60))
    away = np.linalg.norm(points[60:, None] - points[None, seen], axis=2)
    np.testing.assert_array_equal(found.features[60:], found.features[seen[away.argmin(1)]])
    assert not found.counts[60:].any()


@pytest.mark.parametrize("n", [1, 7, 8, 9, 600])
def test_nearest_is_that_of_all_distances(n):
    rng = np.random.default_rng(n)
    of, at = rng.normal(size=(n, 3)) * [1, 5, 0.01], rng.normal(size=(300, 3)) * 4
    of[n // 2 :] = np.round(of[n // 2 :], 1)  # some lie on each other
    found = nearest(at, of)
    away = np.linalg.norm(at[:, None] - of[None], axis=2)
    np.testing.assert_allclose(away[np.arange(300), found], away.min(1), rtol=1e-12)
    order = rng.permutation(n)
    np.testing.assert_array_equal(of[order][nearest(at, of[order])], of[found])
    assert nearest(at[:0], of).shape == (0,)


def test_a_function_of_the_image_is_called_where_something_is_seen():
    image = np.zeros((HIGH, WIDE, 3), np.uint8)
    image[..., 0], image[..., 1] = ramp()[..., 0], ramp()[..., 1]
    called = []

    def network(given):
        called.append(given.shape)
        return torch.from_numpy(given[..., :2].astype(np.float32)).requires_grad_()

    views_of = [flat(2.0, image=image, features=None), flat(9.0, image=image, features=None)]
    points = wall(2.0)
    found = lift(points, views_of, network)
    assert called == [(HIGH, WIDE, 3)]  # the second sees nothing
    np.testing.assert_allclose(found.features, pixels(points, pose())[:, :2], rtol=0, atol=1e-4)
    given = lift(points, views_of, [ramp(), ramp()])
    np.testing.assert_allclose(given.features, found.features, rtol=0, atol=1e-4)


def test_an_image_may_have_a_camera_of_its_own():
    camera = (CAMERA[0] * 3, CAMERA[1] * 3, 100.0, 70.0)
    image = np.zeros((3 * HIGH, 3 * WIDE, 3), np.uint8)
    points = wall(2.0, half=0.5)
    table = ramp(3 * WIDE, 3 * HIGH)
    found = lift(points, [flat(2.0, image=image, image_camera=camera, features=table)], dtype="float64")
    np.testing.assert_allclose(found.features[found.seen], pixels(points[found.seen], pose(), camera)[:, :2], atol=1e-9)
    assert found.seen.mean() > 0.9


NAN = np.full((HIGH, WIDE), 2.0)
NAN[3, 4] = np.nan
STRETCHED, MIRRORED = np.diag([2.0, 2, 2, 1]), np.diag([-1.0, 1, 1, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pose": np.eye(3)}, "pose has shape (3, 3); give (4, 4), from the camera to the scene."),
        ({"pose": np.full((4, 4), np.nan)}, "pose has NaN or infinity; leave out frames whose place is not known."),
        ({"pose": STRETCHED}, "pose is not a turn and a shift"),
        ({"pose": MIRRORED}, "pose mirrors the scene; give one whose x looks right, y down and z ahead."),
        ({"camera": (1, 2, 3)}, "camera is (1, 2, 3); give fx, fy, cx, cy in pixels."),
        ({"camera": (0.0, 50.0, 32.0, 24.0)}, "camera is (0.0, 50.0, 32.0, 24.0); give fx, fy, cx, cy in pixels."),
        ({"camera": (100, 100, 64, 48)}, "camera has its middle at 64, 48, which is not in the middle of 64 x 48 pix"),
        ({"camera": (25, 25, 15.5, 11.5)}, "camera has its middle at 15.5, 11.5, which is not in the middle of 64 x 4"),
        ({"depth": NAN}, "depth has NaN or infinity in 1 pixels; give 0 where nothing was measured."),
        ({"depth": -NAN[4:]}, "depth has -2; give metres ahead of the camera, 0 where nothing was measured."),
        ({"depth": np.full((HIGH, WIDE), 2000)}, "depth has whole numbers (int64); give metres, such as depth / 1000"),
        ({"depth": np.zeros(5)}, "depth has shape (5,); give (h, w), metres along the camera's z."),
        ({"image": np.zeros((HIGH, WIDE))}, "image has shape (48, 64) and dtype float64; give (h, w, 3) uint8."),
        ({"image_camera": CAMERA}, "image_camera is given without an image; give both, or leave it out."),
        ({"size": 5}, "size is 5; give height and width in pixels."),
        ({"size": ("a", "b")}, "size is ('a', 'b'); give height and width in pixels."),
        ({"size": (48.5, 64)}, "size is (48.5, 64); give height and width in pixels."),
        ({"size": (9, 9)}, "size is (9, 9), but depth has (48, 64); leave size out."),
        ({"depth": None, "features": None}, "the view has neither depth, image nor features; give size=(height, widt"),
        ({"features": None}, "has no features; give each view a map (h, w, c), or pass features=."),
        ({"features": np.zeros((HIGH, WIDE))}, "features has shape (48, 64); give (h, w, c) numbers, one row for each"),
        ({"features": np.zeros((384, 24, 32))}, "features has shape (384, 24, 32) for a picture of 48 x 64 pixels; gi"),
        ({"features": np.full((3, 4, 1), np.inf)}, "features has NaN or infinity; give finite numbers."),
        ({"features": ["a"]}, "features has shape (1,); give (h, w, c) numbers"),
        ({"colour": 1}, "has 'colour', which is nothing of a view; give pose, camera, depth"),
    ],
)
def test_a_view_that_is_not_good_is_one_sentence(changes, message):
    if "depth" in changes and changes["depth"] is not None and changes["depth"].shape == (HIGH - 4, WIDE):
        changes = {"depth": np.abs(changes["depth"]) * -1}
    with pytest.raises(InputError, match="^frame 1: " + re.escape(message)) as error:
        lift(wall(2.0), [flat(2.0), {**flat(2.0), **changes}])
    assert "\n" not in str(error.value)


def test_other_mistakes_are_one_sentence(tmp_path):
    points, image = wall(2.0), np.zeros((HIGH, WIDE, 3), np.uint8)
    for given, features, how, message in (
        ([], None, {}, "frames has no frame; give at least one."),
        (flat(2.0), None, {}, "frames is {'camera': (50.0, "),
        (7, None, {}, "frames is 7; give a folder, or an iterable of msm3d.lifting.View."),
        ([7], None, {}, "frame 0: is 7; give a msm3d.lifting.View, or a dictionary of its fields."),
        ([{"pose": np.eye(4)}], None, {}, "frame 0: has no camera; give pose (4, 4) and camera (fx, fy, cx, cy)."),
        ([flat(9.0)], None, {}, "no frame sees any of the 400 points; check that poses lead from the camera to the"),
        ([flat(2.0), flat(2.0)], [ramp()], {}, "frame 1: has no map, features has 1; give one for each frame."),
        ([flat(2.0)], [ramp(), ramp()], {}, "features has more maps than there are frames; give one for each frame."),
        ([flat(2.0)], 5, {}, "features is 5; give a function of an image, a map (h, w, c) for each frame, or None."),
        ([flat(2.0)], np.asarray, {}, "frame 0: has no image, of which features= could make a map; give each view o"),
        ([flat(2.0, image=image)], lambda image: None, {}, "frame 0: features has shape (); give (h, w, c) numbers"),
        (
            [flat(2.0), flat(2.0, features=np.zeros((3, 4, 9)))],
            None,
            {},
            "frame 1: features has 9 channels, the frames before have 2; give maps of one network.",
        ),
        ([flat(2.0)], None, {"rules": "strict"}, "rules is 'strict'; give usual, published or msm3d.lifting.Rules(…)."),
        ([flat(2.0)], None, {"weights": "angles"}, "weights is 'angles'; did you mean 'angle'?"),
        ([flat(2.0)], None, {"unseen": 0}, "unseen is 0; choose one of nearest, zeros."),
        ([flat(2.0)], None, {"dtype": "float16"}, "dtype is 'float16'; did you mean 'float64'?"),
        (tmp_path, None, {}, f"{tmp_path}: is not a recording of RGB-D frames; give a folder with rgb.txt"),
    ):
        with pytest.raises(InputError, match="^" + re.escape(message)):
            lift(points, given, features, **how)
    for wrong in ({"tolerance": -1}, {"share": np.nan}, {"border": 0.5}):
        (name, value) = next(iter(wrong.items()))
        with pytest.raises(InputError, match=f"^{name} is {re.escape(repr(value))}; give "):
            Rules(**wrong)
    with pytest.raises(InputError, match=r"^every is 0; give a whole number from 1 on\.$"):
        views([], every=0)


@pytest.mark.parametrize("layout", recordings.LAYOUTS)
def test_every_layout_of_recordings_is_lifted_from(layout, tmp_path):
    """The drawn room of the tests of recordings: a wall that is red above and blue below, a green floor."""
    recordings.LAYOUTS[layout](tmp_path)
    camera = recordings.CAMERA if layout == "tum" else None
    cloud = msm3d.io.read_frames(tmp_path, camera=camera)
    source = views(tmp_path, camera=camera)
    found = lift(cloud, source, lambda image: image.astype(np.float32))
    assert len(source) == 3
    assert found.counts.max() == 3
    assert found.seen.mean() > 0.95
    clear = np.abs(cloud.coord[:, 2] - 1.5) > 0.1  # of the seam between red and blue
    clear &= np.minimum(cloud.coord[:, 2], recordings.WALL - cloud.coord[:, 1]) < 0.02  # on wall or floor
    clear &= np.maximum(cloud.coord[:, 2], recordings.WALL - cloud.coord[:, 1]) > 0.2  # and not in their corner
    assert np.median(np.abs(found.features - cloud.color)[clear & found.seen]) == 0
    assert (np.abs(found.features - cloud.color)[clear & found.seen].max(1) < 60).mean() > 0.98


def test_a_frame_of_a_folder_that_is_not_good_is_named(tmp_path):
    recordings.scannet(tmp_path)
    stretched = recordings.poses()[1] @ np.diag([2, 2, 2, 1])
    np.savetxt(tmp_path / "pose/1.txt", stretched)
    message = f"{tmp_path}: frame 1.png: pose is not a turn and a shift"
    with pytest.raises(InputError, match="^" + re.escape(message)):
        lift(wall(2.0), tmp_path, lambda image: image)
