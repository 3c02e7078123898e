"""What a user holds on to: shapes, order, determinism, and what goes wrong in one sentence."""

import copy

import numpy as np
import pytest
import torch

import msm3d
from msm3d.errors import BackendError, InputError, Msm3dWarning
from msm3d.reading import ReadOptions
from tests.conftest import make_scene


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
    scenes = [make_scene(seed, 200 + seed) for seed in range(3)]
    for together, scene in zip(model.extract(scenes), scenes, strict=True):
        assert np.array_equal(together, model.extract(scene))


@pytest.mark.parametrize("most", [1500, 1 << 20])
def test_scans_computed_together_are_as_if_alone(model, monkeypatch, most):
    scenes = [make_scene(seed, 150 + 50 * seed) for seed in range(3)]
    scenes[1] = {key: torch.from_numpy(value) for key, value in scenes[1].items()}
    alone = [model.extract(scene, at="voxels") for scene in scenes]
    monkeypatch.setattr(msm3d.Model, "_most", lambda self, limit: most)
    batches = model._batches(scenes, 0, torch.float32, options=ReadOptions())
    assert [len(batch) for batch in batches] == ([2, 1] if most == 1500 else [3])
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
    point = {"coord": np.ones((n, 3)), "color": np.zeros((n, 3), np.uint8), "normal": np.tile([0, 0, 1.0], (n, 1))}
    features = model.extract(point)
    assert features.shape == (n, 76)
    assert (features == features[0]).all()


def test_forward_reaches_the_weights(config, scene):
    model = msm3d.Model(config, backend="reference").eval()
    out = model(scene)
    assert np.allclose(out.detach().numpy(), model.extract(scene), atol=1e-5)
    out.square().mean().backward()
    assert model.unet.stem.linear.weight.grad.abs().sum() > 0
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
            np.array([[0, 0, 0], [np.nan, 0, 0]]),
            {},
            "coord has 1 row with NaN or infinity (first: row 1); drop them with coord[np.isfinite(coord).all(1)], "
            "and the same rows of color and normal.",
        ),
        (
            np.zeros((2, 4)),
            {},
            "points has shape (2, 4); give (n, 3) xyz, (n, 6) xyz+rgb or (n, 9) xyz+rgb+normal.",
        ),
        (np.zeros((2, 9)), {"levels": 3}, "levels is 3; give some of 0 (finest) to 2, or negative ones from the end."),
        (
            np.zeros((2, 9)),
            {"levels": ()},
            "levels is (); give some of 0 (finest) to 2, or negative ones from the end.",
        ),
        (np.zeros((2, 9)), {"at": "faces"}, "at is 'faces'; choose 'points' or 'voxels'."),
        (np.zeros((2, 9)), {"sampling": "nearest"}, "sampling is 'nearest'; choose one of centered, published."),
        (np.zeros((2, 9)), {"dtype": "int8"}, "dtype is 'int8'; choose one of float16, bfloat16, float32, float64."),
        (
            np.zeros((2, 9)),
            {"dtype": "bfloat16"},
            "numpy has no bfloat16; pass dtype='float16', or the points as a torch tensor.",
        ),
        ([[0, 0, 0], [1, 1, 1]], {}, "entry 0 of the list is a list; a list holds scans, one scan is an array."),
        (
            [np.zeros((2, 3))],
            {"color": np.zeros((2, 3))},
            "color=, normal= and out= go with one scan; for a list give each scan as a dictionary.",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(model, points, options, message):
    with pytest.raises(InputError) as caught:
        model.extract(points, **options)
    assert str(caught.value) == message


def test_load_refuses_unknown_backends_and_precisions(model, tmp_path):
    model.save_pretrained(tmp_path / "mine")
    with pytest.raises(BackendError, match=r"^unknown backend 'cudnn'; choose one of "):
        msm3d.load(tmp_path / "mine", device="cpu", backend="cudnn")
    with pytest.raises(InputError, match=r"^precision is 'fp8'; choose one of fp32, bf16\.$"):
        msm3d.load(tmp_path / "mine", precision="fp8")
