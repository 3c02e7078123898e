"""Point Transformer V3 encoders against the outputs of the published code, their laws, and their checkpoints."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import msm3d
from msm3d import PointCloud
from msm3d.backbones import Regularisation
from msm3d.backbones.ptv3 import Encoder, EncoderConfig
from msm3d.backbones.ptv3.patches import CURVES, Patches, bits, curve_keys
from msm3d.backbones.ptv3.released import PUBLISHED, RELEASED, inferred, table
from msm3d.errors import InputError, WeightsError
from msm3d.ops import curves, reference
from msm3d.ops.kernels.native import instructions
from msm3d.sparse.hierarchy import Hierarchy
from msm3d.sparse.voxels import voxelize
from msm3d.weights.convert import convert
from tests.conftest import make_scene, voxel_keys
from tests.golden import DATA, SHARED, golden_shapes, golden_state
from tests.test_unet import assert_published, golden_scenes, relative_error

TINY = EncoderConfig(
    channels=(16, 24, 32, 48, 64), blocks=(2, 2, 2, 4, 2), heads=(1, 2, 2, 4, 4), patch=64, voxel_size=0.04
)
ROPE = replace(
    TINY,
    channels=(18, 36, 54, 72, 72),
    heads=(1, 2, 3, 4, 4),
    rope_base=10,
    divisors=(2, 255, 1),
    missing="zeros",
)
NETWORKS = {"ptv3_tiny": TINY, "ptv3_tiny_rope": ROPE}
SONATA = {
    "in_channels": 9,
    "order": ("z", "z-trans", "hilbert", "hilbert-trans"),
    "stride": (2, 2, 2, 2),
    "enc_depths": TINY.blocks,
    "enc_channels": TINY.channels,
    "enc_num_head": TINY.heads,
    "enc_patch_size": (64,) * 5,
    "enable_rpe": False,
    "enc_mode": True,
}
"""What the authors store beside the tensors, of the tiny network."""


def golden_network(name):
    network, state = Encoder(NETWORKS[name]).eval().requires_grad_(False), golden_state(name)
    rows = table(NETWORKS[name])
    network.load_state_dict({ours: RELEASED.ours(name, state[name]) for name, (ours, _) in rows.items()})
    return network


def golden_file(name):
    """Return the whole file where it is, else the part of it that is in the repository."""
    found = [path for folder in (SHARED / "golden", DATA) if (path := folder / f"{name}.safetensors").exists()]
    if not found:
        pytest.skip(f"{name} is too large for the repository.")
    return load_file(found[0])


# --- the published code ---


@pytest.mark.parametrize("name", ["ptv3_tiny", "ptv3_tiny_rope", "ptv3_tiny_batch2"])
@pytest.mark.parametrize("read", [lambda name: load_file(DATA / f"{name}.safetensors"), golden_file])
def test_every_level_and_the_descriptors_equal_the_published_network(ops, name, read):
    if "batch2" in name and read is not golden_file:
        pytest.skip("the batch is too large for the repository.")
    golden, network = read(name), golden_network(name.removesuffix("_batch2"))
    assert_published(golden, network, ops, network.config.inputs, network.config.sampling, 1e-5)


@pytest.mark.parametrize("isa", instructions.ISAS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_instruction_set_gives_the_published_numbers(name, isa, monkeypatch):
    if reason := msm3d.ops.native.why_not(torch.device("cpu")):
        pytest.skip(reason)
    if isa not in instructions.available():
        pytest.skip(f"this processor cannot run {isa}")
    monkeypatch.setenv("MSM3D_ISA", isa)
    golden, network = load_file(DATA / f"{name}.safetensors"), golden_network(name)
    sampling = network.config.sampling
    assert_published(golden, network, msm3d.ops.native, network.config.inputs, sampling, 1e-5)


@pytest.mark.parametrize("name", ["ptv3_tiny", "ptv3_tiny_rope", "ptv3_tiny_batch2"])
def test_curves_are_those_of_the_published_code(name):
    golden = golden_file(name)
    scenes = golden_scenes(golden)
    hierarchy = Hierarchy.of(voxelize(scenes, TINY.inputs, reference).keys, 5, reference, len(scenes))
    for level, depth in enumerate(golden["curve_depths"].tolist()):
        assert bits(hierarchy.extent, level).tolist() == [depth] * len(scenes)
        for curve, codes in zip(CURVES, golden[f"level{level}.codes"], strict=True):
            keys = curve_keys(golden[f"level{level}.cells"], curve, torch.tensor([depth] * len(scenes)))
            scene, code = keys >> 3 * curves.BITS, keys & (1 << 3 * curves.BITS) - 1
            assert torch.equal(scene << 3 * depth | code, codes)


def test_the_golden_files_can_tell(ops, monkeypatch):
    """A network that attends along the curves in another order, or whose curves are a bit deeper, is another."""
    golden, network = load_file(DATA / "ptv3_tiny.safetensors"), golden_network("ptv3_tiny")
    voxels = voxelize(golden_scenes(golden), TINY.inputs, ops)
    hierarchy = Hierarchy.of(voxels.keys, 5, ops)
    rows = ops.lookup(hierarchy.grids[4].keys, curves.morton(golden["level4.cells"], 4)).long()
    deeper = replace(hierarchy, extent=hierarchy.extent * 4)
    assert relative_error(network(voxels.features, deeper, ops)[4][rows], golden["level4.features"]) > 1e-3
    monkeypatch.setattr("msm3d.backbones.ptv3.net.CURVES", CURVES[::-1])
    assert relative_error(network(voxels.features, hierarchy, ops)[4][rows], golden["level4.features"]) > 1e-2


def test_the_default_network_has_the_released_names_and_sizes():
    shapes = golden_shapes("ptv3_sonata_released")
    assert {name: shape for name, (_, shape) in table(PUBLISHED).items()} == shapes
    with torch.device("meta"):
        network = Encoder(PUBLISHED)
    assert {ours for ours, _ in table(PUBLISHED).values()} == set(network.state_dict())
    assert sum(p.numel() for p in network.parameters()) == 108_461_328
    assert EncoderConfig.from_dict(inferred(shapes)) == PUBLISHED


# --- laws ---


@pytest.mark.parametrize("shape", [TINY, ROPE])
def test_gradients_of_native_are_those_of_the_reference(shape, rng):
    native = msm3d.ops.native
    if reason := native.why_not("cpu"):
        pytest.skip(reason)
    torch.manual_seed(0)
    network = Encoder(shape, Regularisation()).eval()
    keys = voxel_keys(rng, 600, 14, 2)
    x = torch.randn(len(keys), 9, generator=rng)
    gradients = []
    for ops in (native, reference):
        network.zero_grad()
        given = x.clone().requires_grad_()
        levels = network(given, Hierarchy.of(keys, shape.levels, ops, 2), ops)
        sum(features.sin().mean() for features in levels).backward()
        gradients.append({"x": given.grad, **{name: p.grad.clone() for name, p in network.named_parameters()}})
    mine, theirs = gradients
    largest = max(gradient.norm() for gradient in theirs.values())
    for name, gradient in theirs.items():  # some are nothing but rounding: softmax does not see the keys' bias
        assert (mine[name] - gradient).norm() < 1e-4 * gradient.norm() + 1e-6 * largest, name


@pytest.mark.parametrize("shape", [TINY, ROPE])
def test_gradients_are_those_of_differences(shape, rng):
    small = replace(shape, channels=(6, 12), blocks=(1, 1), heads=(1, 2), patch=8)
    torch.manual_seed(0)
    network = Encoder(small, Regularisation()).double().eval()
    keys = voxel_keys(rng, 24, 4)
    hierarchy = Hierarchy.of(keys, 2, reference)
    x = torch.randn(len(keys), 9, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: network(x, hierarchy, reference), x, fast_mode=True)


def test_a_batch_equals_its_scenes_though_their_curves_have_other_depths(ops):
    network = golden_network("ptv3_tiny_rope")
    clouds = [PointCloud.of(make_scene(seed, 400)) for seed in range(2)]
    clouds[1] = replace(clouds[1], coord=clouds[1].coord * [2.2, 1, 1])
    voxels = voxelize(clouds, ROPE.inputs, ops)
    hierarchy = Hierarchy.of(voxels.keys, 5, ops, 2)
    assert bits(hierarchy.extent, 0).tolist() == [6, 7]
    together = network(voxels.features, hierarchy, ops)
    for scene, cloud in enumerate(clouds):
        one = voxelize([cloud], ROPE.inputs, ops)
        alone = network(one.features, Hierarchy.of(one.keys, 5, ops), ops)
        for features, grid, expected in zip(together, hierarchy.grids, alone, strict=True):
            assert relative_error(features[slice(*grid.offsets[scene : scene + 2])], expected) < 1e-6


@pytest.mark.parametrize("sizes", [(1,), (5,), (8,), (9,), (24,), (30, 3), (7, 17, 16), (0, 9)])
def test_patches_part_the_rows_and_the_last_one_looks_back(sizes, rng):
    firsts = [0, *np.cumsum(sizes).tolist()]
    keys = torch.cat([torch.randperm(n, generator=rng) + 1000 * i for i, n in enumerate(sizes)])
    patches = Patches.along(keys, firsts, 8)
    assert torch.equal(patches.rows[patches.place], torch.arange(len(keys)))
    runs = [patches.rows[a:b].tolist() for a, b in pairwise(patches.offsets)]
    expected = []
    for a, b in pairwise(firsts):
        order = (a + keys[a:b].argsort()).tolist()
        expected += [order[i : i + 8] for i in range(0, len(order) // 8 * 8, 8)]
        expected += [order[-8:]] if len(order) % 8 else []
    assert runs == expected
    for row, place in enumerate(patches.place.tolist()):  # who is there twice answers in the patch of its own
        assert patches.offsets.index(max(o for o in patches.offsets if o <= place)) == next(
            i for i, run in enumerate(runs) if row in run
        )


def model_of(shape=ROPE, **fields):
    torch.manual_seed(0)
    return msm3d.Model(replace(shape, **fields), backend="reference").eval().requires_grad_(False)


def seam_errors(tiles):
    """Return the relative error of each level where a scan is cut into tiles, and of its rows far from any seam."""
    model, parts = model_of(TINY, patch=1024), [make_scene(seed, 400) for seed in range(4)]
    for i, part in enumerate(parts):
        part["coord"][:, 0] += 2 * i
    scene = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    whole = model.extract(scene)
    cut = model.extract(scene, max_memory=tiles * TINY.cost.bytes_per_voxel)
    return [relative_error(*(torch.from_numpy(rows[:, i.slice]) for rows in (cut, whole))) for i in model.feature_info]


def test_tiles_change_rows_by_what_their_patches_change():
    """Patches are cut elsewhere in each tile: a few percent at every level, and nothing where one tile holds all."""
    assert seam_errors(10**6) == [0] * 5
    errors = seam_errors(1800)
    assert all(0 < error < 0.1 for error in errors), errors


def test_extraction_says_its_levels_and_reads_single_ones():
    model, scene = model_of(), make_scene(0, 300)
    rows = model.extract(scene)
    assert rows.shape == (900, sum(ROPE.channels))
    for info in model.feature_info:
        assert np.array_equal(model.extract(scene, levels=info.level), rows[:, info.slice])
    assert [info.voxel_size for info in model.feature_info] == [0.04, 0.08, 0.16, 0.32, 0.64]


def test_what_a_scan_lacks_is_zeros_or_estimated(recwarn):
    scene = make_scene(0, 300)
    bare = {"coord": scene["coord"]}
    rows = model_of().extract(bare)
    said = [str(warning.message) for warning in recwarn]
    assert said == [
        "the points have no colour, zeros are used, which these weights know; if you have colour, pass color= (n, 3).",
        "the points have no normals, zeros are used, which these weights know; if you have normals, "
        "pass normal= (n, 3).",
    ]
    assert np.isfinite(rows).all()
    with pytest.warns(UserWarning, match="they are estimated"):
        assert not np.array_equal(model_of(missing="estimated").extract(bare), rows)
    coord_only = model_of(attributes=("coord",), divisors=(2,))
    recwarn.clear()
    assert coord_only.extract(bare).shape == rows.shape
    assert not recwarn


# --- checkpoints ---


def saved(path, name="ptv3_tiny", config=SONATA, prefix="", **more):
    state = golden_state(name, prefix)
    state[f"{prefix}embedding.mask_token"] = torch.zeros(1, NETWORKS[name].channels[0])
    torch.save({"state_dict": state | more} | ({} if config is None else {"config": config}), path)
    return path


def test_a_released_file_tells_its_network(tmp_path):
    done = convert(saved(tmp_path / "small.pth"), tmp_path / "out")
    assert (done.config, done.name, done.ignored) == (replace(TINY, voxel_size=0.02), None, [])
    done = convert(saved(tmp_path / "small.pth"), tmp_path / "out", config={"voxel_size": 0.04})
    golden, model = load_file(DATA / "ptv3_tiny.safetensors"), msm3d.load(done.directory, device="cpu")
    scene = {key: golden[key].numpy() for key in ("coord", "color", "normal")}
    rows = torch.from_numpy(model.extract(scene))
    assert relative_error(rows[golden["descriptor_rows"].long()], golden["descriptor"]) < 1e-5
    again = msm3d.load(model.save_pretrained(tmp_path / "again"), device="cpu")
    assert again.config == TINY
    assert np.array_equal(again.extract(scene), rows.numpy())


def rotary_state():
    """Return the golden network's tensors; its frequencies have no golden rule but a formula."""
    state = golden_state("ptv3_tiny_rope")
    speed = 10 ** (-torch.arange(3) / 3)
    return state | {name: speed for name in state if name.endswith("inv_freq")}


def test_rotary_positions_are_read_from_the_file(tmp_path):
    config = {**SONATA, "enc_num_head": ROPE.heads}
    path = saved(tmp_path / "utonia.pth", "ptv3_tiny_rope", config, **rotary_state())
    assert convert(path, tmp_path / "out", config={"voxel_size": 0.04}).config == ROPE


def test_of_a_training_checkpoint_the_student_is_taken(tmp_path):
    more = {"module.teacher.backbone.embedding.stem.linear.weight": torch.ones(1), "module.mask_head.w": torch.ones(1)}
    path = saved(tmp_path / "pretrain.pth", config=None, prefix="module.student.backbone.", **more)
    with pytest.raises(WeightsError, match="no tensor tells its heads, patch, voxel_size"):
        convert(path, tmp_path / "out")
    fields = {"heads": TINY.heads, "patch": 64, "voxel_size": 0.04}
    done = convert(path, tmp_path / "out", config=fields)
    assert (done.config, done.ignored) == (TINY, sorted(more))


@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone.", "student.backbone.", "module.teacher.backbone."])
def test_one_encoder_is_found_under_any_prefix(prefix, tmp_path):
    path = saved(tmp_path / "pretrain.pth", config=None, prefix=prefix)
    done = convert(path, tmp_path / "out", config={"heads": TINY.heads, "patch": 64, "voxel_size": 0.04})
    assert (done.config, done.ignored) == (TINY, [])


def test_of_two_equal_networks_none_is_guessed(tmp_path):
    more = golden_state("ptv3_tiny", "module.ema.")
    path = saved(tmp_path / "pretrain.pth", config=None, prefix="module.teacher.", **more)
    with pytest.raises(WeightsError, match=r"these were found: 'module\.ema\.', 'module\.teacher\.'; give the"):
        convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tensors_that_are_missing_are_named(tmp_path):
    state = golden_state("ptv3_tiny")
    del state["enc.enc3.down.norm.0.bias"]
    state["enc.enc1.block0.mlp.0.fc2.weight"] = state["enc.enc1.block0.mlp.0.fc2.weight"].T
    torch.save({"config": SONATA, "state_dict": state}, tmp_path / "less.pth")
    with pytest.raises(WeightsError) as caught:
        convert(tmp_path / "less.pth", tmp_path / "out")
    assert str(caught.value).startswith(
        f"{tmp_path / 'less.pth'} is not the network that was expected: missing: enc.enc3.down.norm.0.bias; "
        "wrong shape: enc.enc1.block0.mlp.0.fc2.weight is (96, 24) instead of (24, 96); give "
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "more", "sentence"),
    [
        (SONATA, {"dec.dec0.up.proj.weight": torch.ones(1)}, "has a decoder, and msm3d has encoders alone; save "),
        (SONATA, {"seg_head.weight": torch.ones(1)}, r"unexpected: seg_head\.weight; give "),
        ({**SONATA, "order": ("z",)}, {}, r"order is \('z',\), and msm3d has only \['z', 'z-trans'"),
        ({**SONATA, "enc_patch_size": (64, 32)}, {}, r"enc_patch_size is \(64, 32\), and msm3d has only \[64, 64\]"),
        ({**SONATA, "enable_rpe": True}, {}, "enable_rpe is True, and msm3d has only False; give "),
        ({**SONATA, "enc_patch_size": 64}, {}, "has a configuration that cannot be read"),
        ({**SONATA, "enc_num_head": (1, 2, 2, 4, 5)}, {}, r"channels\[4\] is 64 and heads\[4\] is 5; give"),
    ],
)
def test_what_is_another_network_is_refused(config, more, sentence, tmp_path):
    with pytest.raises((WeightsError, InputError), match=sentence):
        convert(saved(tmp_path / "other.pth", config=config, **more), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"heads": (3, 6, 12)}, "channels has 5 entries but heads has 3; give as many."),
        (
            {"rope_base": 10},
            "channels[0] / heads[0] is 16; with rotary positions a head needs a multiple of 6 channels",
        ),
        ({"rope_base": 0.5}, "rope_base is 0.5; it must be 0 or a number above 1."),
        ({"attributes": ("color",)}, "attributes has 1 entries but divisors has 3; give as many."),
        ({"attributes": ("coord", "coord", "color")}, "attributes is ("),
        ({"missing": "grey"}, "missing is 'grey'; it must be one of estimated, zeros."),
        ({"patch": 0}, "patch is 0; it must be a positive integer."),
        ({"divisors": (1, 0, 1)}, "divisors is (1, 0, 1); it must be positive numbers."),
    ],
)
def test_a_shape_that_cannot_be_is_refused(fields, sentence):
    with pytest.raises(InputError) as caught:
        EncoderConfig(**fields)
    assert str(caught.value).startswith(sentence)
    with pytest.raises(InputError, match="attributes begins with color; rotary positions need coord there"):
        replace(ROPE, attributes=("color", "coord", "normal"))


def test_a_file_of_a_shape_that_several_releases_have_is_not_installed_by_name(tmp_path, monkeypatch):
    """Concerto's base is of Sonata's shape: which of the two a file is, its user knows."""
    monkeypatch.setattr("msm3d.weights.convert._backbone", lambda *_: PUBLISHED)
    monkeypatch.setattr("msm3d.weights.convert.renamed", lambda *_: {"a": torch.ones(1)})
    with pytest.raises(InputError, match="needs a directory to be converted to; name one with -o DIR"):
        convert(saved(tmp_path / "sonata.pth"))
    assert convert(saved(tmp_path / "sonata.pth"), tmp_path / "out").name is None


@pytest.mark.parametrize("config", [TINY, ROPE], ids=["plain", "rope"])
def test_a_list_is_its_scenes_one_by_one(config):
    torch.manual_seed(0)
    model = msm3d.Model(config).eval()
    scenes = [make_scene(seed, 150 + 31 * seed) for seed in range(5)]
    for together, scene in zip(model.extract(scenes), scenes, strict=True):
        assert np.array_equal(together, model.extract(scene))
