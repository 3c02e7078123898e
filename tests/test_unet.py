"""The network against the outputs of the published one, and its laws."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from msm3d import PointCloud
from msm3d.backbones.hunet.config import BackboneConfig
from msm3d.backbones.hunet.net import UNet
from msm3d.errors import InputError
from msm3d.ops import curves
from msm3d.sparse.hierarchy import Hierarchy
from msm3d.sparse.inputs import Inputs
from msm3d.sparse.interpolate import descriptors
from msm3d.sparse.voxels import voxelize
from msm3d.weights.convert import renamed
from tests.conftest import voxel_keys
from tests.golden import DATA, golden_shapes, golden_state

WIDTHS = (16, 24, 32, 48, 64)
TINY = BackboneConfig(channels=WIDTHS, decoder_channels=WIDTHS, heads=(0, 0, 0, 6, 8), window=64, voxel_size=0.04)
NETWORKS = {"tiny_rms_glu": TINY, "tiny_layernorm_gelu": replace(TINY, norm="layernorm", mlp="gelu", bias=True)}


def relative_error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


def golden_network(name):
    network = UNet(NETWORKS[name]).eval().requires_grad_(False)
    network.load_state_dict(renamed(golden_state(name), NETWORKS[name], name))
    return network


def golden_scenes(golden):
    sizes = golden["scene_sizes"].tolist()
    parts = [golden[key].split(sizes) for key in ("coord", "color", "normal")]
    return [
        PointCloud(coord=coord.double().numpy(), color=color.numpy(), normal=normal.numpy())
        for coord, color, normal in zip(*parts, strict=True)
    ]


@pytest.mark.parametrize("file", ["tiny_rms_glu", "tiny_layernorm_gelu", "tiny_rms_glu_batch2"])
def test_every_level_and_the_descriptors_equal_the_published_network(ops, file):
    golden = load_file(DATA / f"{file}.safetensors")
    network = golden_network(file.removesuffix("_batch2"))
    assert_published(golden, network, ops, Inputs(voxel_size=0.04), "published", 1e-4)


def assert_published(golden, network, ops, inputs, sampling, tolerance):
    """Compare every level and the descriptors of a network with those of the published code."""
    scenes = golden_scenes(golden)
    voxels = voxelize(scenes, inputs, ops)
    hierarchy = Hierarchy.of(voxels.keys, 5, ops, len(scenes))
    assert [len(grid) for grid in hierarchy.grids] == golden["voxel_counts"].tolist()
    levels = network(voxels.features, hierarchy, ops)
    for level, (grid, features) in enumerate(zip(hierarchy.grids, levels, strict=True)):
        rows = ops.lookup(grid.keys, curves.morton(golden[f"level{level}.cells"], level))
        assert (rows >= 0).all()
        assert relative_error(features[rows.long()], golden[f"level{level}.features"]) < tolerance
    ours = descriptors(levels, hierarchy, range(5), sampling, ops, voxels.owner)
    assert relative_error(ours[golden["descriptor_rows"].long()], golden["descriptor"]) < tolerance


def test_the_golden_files_can_tell(ops):
    """A network that attends along the curves in another order is not the published one."""
    golden = load_file(DATA / "tiny_rms_glu.safetensors")
    config = replace(TINY, curves=TINY.curves[::-1])
    network = UNet(config).eval().requires_grad_(False)
    network.load_state_dict(renamed(golden_state("tiny_rms_glu"), TINY, "golden"))
    voxels = voxelize(golden_scenes(golden), Inputs(voxel_size=0.04), ops)
    hierarchy = Hierarchy.of(voxels.keys, 5, ops)
    features = network(voxels.features, hierarchy, ops)[4]
    rows = ops.lookup(hierarchy.grids[4].keys, curves.morton(golden["level4.cells"], 4))
    assert relative_error(features[rows.long()], golden["level4.features"]) > 1e-2


def test_the_default_network_has_the_released_names_and_sizes():
    with torch.device("meta"):
        network = UNet(BackboneConfig())
    released = {key: torch.empty(shape, device="meta") for key, shape in golden_shapes("official").items()}
    assert sum(p.numel() for p in network.parameters()) == sum(t.numel() for t in released.values()) == 67_610_272


def batch(config, rng, ops, scenes=2):
    keys = voxel_keys(rng, 300, 16, scenes)
    x = torch.randn(len(keys), config.in_channels, generator=rng)
    return x, Hierarchy.of(keys, config.levels, ops, scenes)


def test_training_needs_a_generator_and_repeats_with_it(ops, config, rng):
    network = UNet(config).train()
    x, hierarchy = batch(config, rng, ops)
    with pytest.raises(InputError, match=r"pass generator=torch\.Generator\(\), or call \.eval\(\) first\.$"):
        network(x, hierarchy, ops)
    with torch.no_grad():
        runs = [network(x, hierarchy, ops, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_stochastic_depth_drops_whole_scenes_and_keeps_the_mean(config, rng):
    from msm3d.backbones.hunet.blocks import Noise
    from msm3d.ops import reference

    _, hierarchy = batch(config, rng, reference, 3)
    grid, noise = hierarchy.grids[0], Noise(torch.Generator().manual_seed(0))
    draws = torch.stack([noise.paths(0.4, grid) for _ in range(2000)])
    assert draws.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    for start, stop in zip(grid.offsets, grid.offsets[1:], strict=False):
        assert (draws[:, start:stop] == draws[:, start : start + 1]).all()
    assert draws.mean(0).allclose(torch.ones(()), atol=0.1)
    assert noise.paths(0.0, grid) is None
