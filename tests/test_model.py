"""What a user holds on to: shapes, order, determinism, and what goes wrong in one sentence."""

import copy

import numpy as np
import pytest
import torch

import msm3d
from msm3d.describe.request import Scans
from msm3d.describe.scenes import batches
from msm3d.describe.scenes import scenes as scenes_of
from msm3d.errors import BackendError, InputError, Msm3dWarning
from msm3d.scan.options import ReadOptions
from tests.conftest import make_scene

AT = (
    "at is {}; choose 'points' or 'voxels'. For rows at other places, extract the scan and take those of the points "
    "nearest to them."
)


def shuffled(scene, order):
    return {key: value[order] for key, value in scene.items()}


def test_row_i_is_point_i(model, scene):
    features = model.extract(scene)
    assert features.shape == (3000, 76)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    order = np.random.default_rng(1).permutation(3000)
    assert np.array_equal(model.extract(shuffled(scene, order)), features[order])


def test_twice_gives_the_same_bits_whatever_the_random_state(model, scene):
    first = model.extract(scene)
    torch.manual_seed(5)
    assert np.array_equal(model.extract(scene), first)


def test_a_list_is_its_scenes_one_by_one(model):
    scenes = [make_scene(seed, 200 + 31 * seed) for seed in range(7)]  # small ones are computed together
    for together, scene in zip(model.extract(scenes), scenes, strict=True):
        assert np.array_equal(together, model.extract(scene))


@pytest.mark.parametrize("most", [1500, 1 << 20])
def test_scans_computed_together_are_as_if_alone(model, monkeypatch, most):
    scenes = [make_scene(seed, 150 + 50 * seed) for seed in range(3)]
    scenes[1] = {key: torch.from_numpy(value) for key, value in scenes[1].items()}
    alone = [model.extract(scene, at="voxels") for scene in scenes]
    monkeypatch.setattr(msm3d.Model, "_most", lambda self, limit: most)
    found = batches(scenes_of(Scans.of(scenes, ReadOptions()), model._voxels), most)
    assert [len(batch.scenes) for batch in found] == ([2, 1] if most == 1500 else [3])
    for together, (rows, owner) in zip(model.extract(scenes, at="voxels"), alone, strict=True):
        assert type(together[0]) is type(together[1]) is type(rows)
        assert torch.allclose(*map(torch.as_tensor, (together[0], rows)), rtol=1e-4, atol=1e-5)
        assert torch.equal(*map(torch.as_tensor, (together[1], owner)))
    for together, (rows, owner) in zip(model.extract(scenes), alone, strict=True):
        assert torch.allclose(*map(torch.as_tensor, (together, rows[owner])), rtol=1e-4, atol=1e-5)
    assert model.extract([]) == []


def test_the_callers_arrays_are_not_changed(model, scene):
    before = copy.deepcopy(scene)
    model.extract(scene)
    assert all(np.array_equal(scene[key], before[key]) for key in scene)


def test_moving_the_scan_changes_nothing(model, scene):
    exact = {**scene, "coord": np.round(scene["coord"] * 1024) / 1024}
    moved = {**exact, "coord": exact["coord"] + [500_000, 4_000_000, 100]}
    model.config = msm3d.BackboneConfig.from_dict(model.config.to_dict() | {"voxel_size": 1 / 16})
    assert np.array_equal(model.extract(moved), model.extract(exact))


def test_numpy_gives_numpy_and_torch_gives_torch(model, scene):
    array = np.concatenate([scene["coord"], scene["color"] / 255, scene["normal"]], 1)
    from_dict, from_array = model.extract(scene), model.extract(array)
    from_tensor = model.extract(torch.from_numpy(array))
    assert isinstance(from_tensor, torch.Tensor)
    assert np.array_equal(from_array, from_tensor.numpy())
    assert np.allclose(from_dict, from_array, atol=1e-5)


def test_voxels_and_owner_make_the_points(model, scene):
    rows, owner = model.extract(scene, at="voxels")
    assert len(rows) < len(owner) == 3000
    assert np.array_equal(rows[owner], model.extract(scene))


def test_levels_are_columns_of_the_whole(model, scene):
    whole = model.extract(scene)
    info = model.feature_info
    assert [(i.channels, i.voxel_size) for i in info] == [(20, 0.05), (24, 0.1), (32, 0.2)]
    assert np.array_equal(model.extract(scene, levels=-1), whole[:, info[2].slice])
    assert np.array_equal(
        model.extract(scene, levels=(2, 0)), np.concatenate([whole[:, info[2].slice], whole[:, info[0].slice]], 1)
    )


@pytest.mark.parametrize(
    ("dtype", "kind"), [("float16", np.float16), (np.float64, np.float64), (torch.float16, np.float16)]
)
def test_dtype_of_the_result(model, scene, dtype, kind):
    features = model.extract(scene, dtype=dtype)
    assert features.dtype == kind
    assert np.allclose(features, model.extract(scene), rtol=2e-3, atol=2e-3)


def test_missing_colour_and_normals_are_said_and_filled(model, scene):
    with pytest.warns(Msm3dWarning) as said:
        features = model.extract(scene["coord"])
    assert len(said) == 2
    assert features.shape == (3000, 76)
    grey = {"coord": scene["coord"], "color": np.full((3000, 3), 127.5), "normal": scene["normal"]}
    with pytest.warns(Msm3dWarning, match="no colour"):
        assert np.array_equal(model.extract(scene["coord"], normal=scene["normal"]), model.extract(grey))


def test_samplings_differ_and_default_to_the_weights_own(model, scene):
    published, centered = (model.extract(scene, sampling=s) for s in ("published", "centered"))
    assert np.array_equal(model.extract(scene), centered)
    assert not np.allclose(published, centered, atol=1e-3)


def test_levels_come_with_cells_and_parents(model, scene):
    levels = model.levels(scene)
    assert [level.features.shape[1] for level in levels] == [20, 24, 32]
    for fine, coarse in zip(levels, levels[1:], strict=False):
        assert torch.equal(coarse.cells[fine.parent.long(), 1:], fine.cells[:, 1:] >> 1)
    assert levels[-1].parent is None
    rows, _ = model.extract(scene, at="voxels", levels=0)
    assert np.array_equal(rows, levels[0].features.numpy())


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_points_are_enough(model, n):
    point = {"coord": np.ones((n, 3)), "color": np.full((n, 3), 9, np.uint8), "normal": np.tile([0, 0, 1.0], (n, 1))}
    have = f"{n} point{'s' * (n > 1)} in 1 voxel of 0.05 m"
    with pytest.warns(Msm3dWarning, match=f"^the scan has {have}, too few to show what things are"):
        features = model.extract(point)
    assert features.shape == (n, 76)
    assert (features == features[0]).all()


def test_forward_reaches_the_weights(config, scene):
    model = msm3d.Model(config, backend="reference").eval()
    out = model(scene)
    assert np.allclose(out.detach().numpy(), model.extract(scene), atol=1e-5)
    out.square().mean().backward()
    assert model.backbone.stem.linear.weight.grad.abs().sum() > 0
    with pytest.raises(InputError, match="pass generator="):
        model.train()(scene)
    assert model(scene, generator=torch.Generator().manual_seed(0)).shape == out.shape


def test_saved_and_loaded_it_is_the_same(model, scene, tmp_path):
    model.save_pretrained(tmp_path / "mine")
    again = msm3d.load(tmp_path / "mine", device="cpu", backend="reference")
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    assert np.array_equal(again.extract(scene), model.extract(scene))
    assert again.config == model.config


def test_bf16_is_close(model, scene, tmp_path):
    model.save_pretrained(tmp_path / "mine")
    half = msm3d.load(tmp_path / "mine", device="cpu", backend="reference", precision="bf16")
    assert "bf16" in repr(half)
    exact, rounded = model.extract(scene), half.extract(scene)
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert 1e-5 < error < 1e-2


def test_repr_says_what_is_in_use(model):
    assert repr(model) == "Model(untrained: 76 channels in 3 levels, 0.05 m voxels, cpu, backend reference, fp32)"


@pytest.mark.parametrize(
    ("levels", "meant"),
    [
        (np.int64(1), [1]),
        (np.array(-1), [2]),
        (torch.tensor(1), [1]),
        (np.array([0, 2]), [0, 2]),
        (torch.tensor([2, 0]), [2, 0]),
        ([np.uint8(0), -1], [0, 2]),
        (range(2), [0, 1]),
        (None, [0, 1, 2]),
    ],
)
def test_levels_are_whole_numbers_of_any_kind(model, scene, levels, meant):
    assert model.channels(levels) == model.channels(meant)
    assert np.array_equal(model.extract(scene, levels=levels), model.extract(scene, levels=meant))


@pytest.mark.parametrize(
    "levels", [True, 1.0, "1", [0, True], np.True_, np.array([True]), torch.tensor(True), torch.tensor(1.0), {}, 1j]
)
def test_what_is_no_level_is_said(model, scene, levels):
    with pytest.raises(
        InputError, match=r"^levels is .*; give some of 0 \(finest\) to 2, or negative ones from the end\.$"
    ):
        model.extract(scene, levels=levels)


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.zeros((0, 3)), {}, "there are no points (coord has 0 rows); give at least one."),
        (
            np.full((2, 3), np.nan),
            {},
            "none of the 2 points has a position (all are NaN); check how they were made.",
        ),
        (
            np.zeros((2, 5)),
            {},
            "points has shape (2, 5); give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal.",
        ),
        (np.zeros((2, 9)), {"levels": 3}, "levels is 3; give some of 0 (finest) to 2, or negative ones from the end."),
        (
            np.zeros((2, 9)),
            {"levels": ()},
            "levels is (); give some of 0 (finest) to 2, or negative ones from the end.",
        ),
        (np.zeros((2, 9)), {"at": "faces"}, AT.format("'faces'")),
        (np.zeros((2, 9)), {"at": np.zeros((2, 3))}, AT.format("a ndarray")),
        (
            np.zeros((2, 9)),
            {"sampling": "nearest"},
            "sampling is 'nearest'; choose one of centered, published, parent.",
        ),
        (np.zeros((2, 9)), {"dtype": "int8"}, "dtype is 'int8'; choose one of float16, bfloat16, float32, float64."),
        (
            np.zeros((2, 9)),
            {"dtype": "bfloat16"},
            "numpy has no bfloat16; pass dtype='float16', or the points as a torch tensor.",
        ),
        ([[0, 0, 0], [1, 1, 1]], {}, "entry 0 of the list is a list; a list holds scans: wrap one scan in np.array."),
        (
            [np.zeros((2, 3))],
            {"color": np.zeros((2, 3))},
            "color=, normal= and out= go with one scan; for a list give each scan as a dictionary.",
        ),
        (
            {"coord": np.zeros((2, 3)), "batch": [0, 1]},
            {"out": np.zeros((2, 76), np.float32)},
            "out= goes with one scene; leave it out, or give the scenes one by one.",
        ),
        (
            np.zeros((2, 9)),
            {"out": "rows.npz"},
            "out is 'rows.npz'; end it with .npy, or let `msm3d extract` write other kinds.",
        ),
        (np.zeros((2, 9)), {"out": "no/rows.npy"}, "there is no folder no; make it first: mkdir -p no"),
        (
            np.zeros((2, 9)),
            {"out": "rows.npy", "at": "voxels"},
            "out= as a path goes with at='points'; leave one of them out.",
        ),
        (
            np.zeros((2, 9)),
            {"out": "rows.npy", "dtype": "bfloat16"},
            "numpy has no bfloat16; pass dtype='float16', or the points as a torch tensor.",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(model, points, options, message):
    with pytest.raises(InputError) as caught:
        model.extract(points, **options)
    assert str(caught.value) == message


@pytest.fixture
def holes(scene):
    """The scene with 1,000 of its 3,000 points without a position, the scene of the others, and their rows."""
    rows = np.sort(np.random.default_rng(8).permutation(3000)[:2000])
    coord = np.full((3000, 3), np.nan)
    coord[rows] = scene["coord"][rows]
    return {**scene, "coord": coord}, {key: value[rows] for key, value in scene.items()}, rows


LEFT_OUT = "^1,000 of 3,000 points have no position .NaN. and are dropped"


def test_points_without_a_position_are_left_out_or_rows_of_nan(model, holes):
    scene, others, rows = holes
    exact = model.extract(others)
    with pytest.warns(Msm3dWarning, match=LEFT_OUT):
        assert np.array_equal(model.extract(scene), exact)
    whole = model.extract(scene, invalid="nan")
    assert whole.shape == (3000, 76)
    assert np.array_equal(whole[rows], exact)
    assert np.isnan(np.delete(whole, rows, 0)).all()
    tensors = {key: torch.from_numpy(value) for key, value in scene.items()}
    assert np.array_equal(model.extract(tensors, invalid="nan").numpy(), whole, equal_nan=True)
    assert np.array_equal(model(scene, invalid="nan").numpy(), whole, equal_nan=True)
    first, second = model.extract([others, scene], invalid="nan")
    assert np.array_equal(first, exact)
    assert np.array_equal(second, whole, equal_nan=True)
    cloud = msm3d.PointCloud.of(scene, invalid="nan")
    assert np.array_equal(model.extract(cloud), whole, equal_nan=True)


def test_voxels_of_points_without_a_position_are_minus_one(model, holes):
    scene, others, rows = holes
    exact, exact_owner = model.extract(others, at="voxels")
    features, owner = model.extract(scene, at="voxels", invalid="nan")
    assert np.array_equal(features, exact)
    assert np.array_equal(owner[rows], exact_owner)
    assert (np.delete(owner, rows) == -1).all()
    out = np.empty_like(exact)
    again = model.extract(scene, at="voxels", invalid="nan", out=out)
    assert again[0] is out
    assert np.array_equal(again[1], owner)
    assert np.array_equal(out, exact)


def test_rows_of_nan_are_written_in_place(model, holes, monkeypatch, tmp_path):
    scene, _, _ = holes
    whole = model.extract(scene, invalid="nan")
    monkeypatch.setattr(msm3d.scan.places, "_BLOCK", 300)
    out = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (3000, 76))
    assert model.extract(scene, invalid="nan", out=out) is out
    assert np.array_equal(out, whole, equal_nan=True)
    with pytest.raises(
        InputError, match=r"^out is \(2000, 76\) float32; it must be a writable numpy array \(3000, 76\)"
    ):
        model.extract(scene, invalid="nan", out=np.empty((2000, 76), np.float32))


def test_rows_go_to_the_file_of_a_path(model, scene, holes, tmp_path):
    file = tmp_path / "rows.npy"
    rows = model.extract(scene, out=file, dtype="float16", levels=-1)
    assert isinstance(rows, np.memmap)
    assert np.array_equal(rows, model.extract(scene, dtype="float16", levels=-1))
    assert np.array_equal(np.load(file), rows)
    whole = model.extract(holes[0], out=str(file), invalid="nan")
    assert np.array_equal(whole, model.extract(holes[0], invalid="nan"), equal_nan=True)
    before = file.read_bytes()
    with pytest.raises(InputError, match="NaN"):
        model.extract(np.full((5, 3), np.nan), out=file)
    np.save(tmp_path / "scan.npy", np.concatenate([scene["coord"], scene["color"] / 255, scene["normal"]], 1))
    with pytest.raises(InputError, match="is an input and would be replaced by the output"):
        model.extract(tmp_path / "scan.npy", out=tmp_path / "scan.npy")
    mapped = np.load(tmp_path / "scan.npy", mmap_mode="r")
    for given in (mapped, {"coord": mapped[:, :3], "color": mapped[:, 3:6]}):
        with pytest.raises(InputError, match="is an input and would be replaced by the output"):
            model.extract(given, out=tmp_path / "scan.npy")
    two = {"coord": scene["coord"], "offset": [1000, 3000]}
    with pytest.raises(InputError, match="out= goes with one scene; leave it out, or give the scenes one by one"):
        model.extract(two, out=file)
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.npy", "scan.npy"]


@pytest.mark.parametrize("flaw", ["of negative strides", "of foreign byte order"])
def test_arrays_that_torch_cannot_write_to(model, scene, flaw):
    out = np.empty((3000, 76), np.float32)
    out = out[::-1] if "strides" in flaw else out.astype(out.dtype.newbyteorder())
    with pytest.raises(InputError) as caught:
        model.extract(scene, out=out)
    needed = "it must be a writable numpy array (3000, 76) float32."
    assert str(caught.value) == f"out is (3000, 76) float32 {flaw}; {needed}"


@pytest.mark.parametrize("key", ["offset", "batch"])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_several_scenes_in_a_dictionary_are_as_if_alone(model, key, kind):
    scenes = [make_scene(seed, 200 + seed) for seed in range(3)]
    sizes = [len(scene["coord"]) for scene in scenes]
    alone = model.extract(scenes)
    together = {name: np.concatenate([scene[name] for scene in scenes]) for name in scenes[0]}
    exact, batch = np.concatenate(alone), np.repeat([7, 3, 5], sizes)
    order = np.arange(sum(sizes)) if key == "offset" else np.random.default_rng(2).permutation(sum(sizes))
    given = {name: kind(values[order]) for name, values in together.items()}
    given[key] = kind(np.cumsum(sizes) if key == "offset" else batch[order])
    rows = model.extract(given)
    assert isinstance(rows, torch.Tensor) == (kind is torch.as_tensor)
    assert np.array_equal(np.asarray(rows), exact[order])
    features, owner = model.extract(given, at="voxels")
    assert np.array_equal(np.asarray(features[owner]), exact[order])
    given["coord"][1] = float("nan")
    with pytest.warns(Msm3dWarning, match="1 of 60. points has no position .NaN. and is dropped, which leaves "):
        left = model.extract(given)
    assert len(left) == sum(sizes) - 1
    whole = np.asarray(model.extract(given, invalid="nan"))
    assert np.isnan(whole[1]).all()
    assert np.array_equal(np.delete(whole, 1, 0), np.asarray(left))
    color = given.pop("color")
    assert np.array_equal(np.asarray(model.extract(given, color=color, invalid="nan")), whole, equal_nan=True)


def test_a_table_top_is_said(model, scene):
    flat = {**scene, "coord": scene["coord"] * [0.5, 0.5, 0.1]}
    with pytest.warns(Msm3dWarning, match=r"^the scan spans 0\.97 x 0\.73 x 0\.12 m, a table top perhaps"):
        model.extract(flat)


def test_load_refuses_unknown_backends_and_precisions(model, tmp_path):
    model.save_pretrained(tmp_path / "mine")
    with pytest.raises(BackendError, match=r"^unknown backend 'cudnn'; choose one of "):
        msm3d.load(tmp_path / "mine", device="cpu", backend="cudnn")
    with pytest.raises(InputError, match=r"^precision is 'fp8'; choose one of fp32, bf16\.$"):
        msm3d.load(tmp_path / "mine", precision="fp8")
