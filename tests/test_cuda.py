"""On a GPU, wherever there is one: golden outputs, gradients, agreement with the CPU, determinism, tiles, several GPUs.

What Triton's interpreter can show without a GPU is in test_triton.py. With nine processes (`-n 9 -v`) it takes two to
three minutes, most of which compile kernels.
"""

from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

import msm3d
from msm3d.describe import sinks
from msm3d.ops import backend, curves, reference, spconv, triton
from msm3d.rooms import make
from msm3d.sparse.hierarchy import Hierarchy
from msm3d.sparse.inputs import Inputs
from msm3d.sparse.interpolate import descriptors
from msm3d.sparse.voxels import voxelize
from tests.conftest import make_scene, voxel_keys
from tests.golden import DATA
from tests.test_native import random_table
from tests.test_ptv3 import NETWORKS as PATCHED
from tests.test_ptv3 import golden_network as patched_network
from tests.test_unet import golden_network, golden_scenes, relative_error

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device.")
CUDA = torch.device("cuda")
DTYPES = [(torch.float32, 1e-4), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)]


@pytest.fixture(params=["triton", "spconv", "reference"])
def ops(request):
    """Each backend that can run on the GPU."""
    module = {"triton": triton, "spconv": spconv, "reference": reference}[request.param]
    if reason := module.why_not(CUDA):
        pytest.skip(reason)
    return module


def test_triton_is_the_first_choice():
    assert triton.why_not(CUDA) is None
    assert backend(CUDA) is triton


GOLDEN = ["tiny_rms_glu", "tiny_layernorm_gelu", "tiny_rms_glu_batch2", *PATCHED]


def golden_case(file):
    """Return a golden file, its network on the CPU, and its scenes' voxels."""
    golden, name = load_file(DATA / f"{file}.safetensors"), file.removesuffix("_batch2")
    network = patched_network(name) if name in PATCHED else golden_network(name)
    inputs = network.config.inputs if name in PATCHED else Inputs(voxel_size=0.04)
    return golden, network, voxelize(golden_scenes(golden), inputs, reference)


@pytest.mark.parametrize("file", GOLDEN)
def test_golden_outputs(ops, file):
    golden, network, voxels = golden_case(file)
    network, scenes = network.to(CUDA), len(golden["scene_sizes"])
    hierarchy = Hierarchy.of(voxels.keys.to(CUDA), 5, ops, scenes)
    levels = network(voxels.features.to(CUDA), hierarchy, ops)
    for level, (grid, features) in enumerate(zip(hierarchy.grids, levels, strict=True)):
        rows = ops.lookup(grid.keys, curves.morton(golden[f"level{level}.cells"], level).to(CUDA))
        assert relative_error(features[rows.long()].cpu(), golden[f"level{level}.features"]) < 1e-4
    sampling = network.config.sampling if file in PATCHED else "published"
    ours = descriptors(levels, hierarchy, range(5), sampling, ops, voxels.owner.to(CUDA)).cpu()
    assert relative_error(ours[golden["descriptor_rows"].long()], golden["descriptor"]) < 1e-4


@pytest.mark.parametrize("file", GOLDEN)
def test_golden_gradients(ops, file):
    golden, network, voxels = golden_case(file)
    network, runs = network.requires_grad_(), []
    for module, device in ((reference, torch.device("cpu")), (ops, CUDA)):
        network.to(device).zero_grad(set_to_none=True)
        hierarchy = Hierarchy.of(voxels.keys.to(device), 5, module, len(golden["scene_sizes"]))
        levels = network(voxels.features.to(device), hierarchy, module)
        rng = torch.Generator().manual_seed(0)
        sum((level * torch.randn(level.shape, generator=rng).to(device)).mean() for level in levels).backward()
        runs.append({name: p.grad.cpu() for name, p in network.named_parameters() if p.grad is not None})
    assert runs[0].keys() == runs[1].keys()
    whole = torch.cat([grad.flatten() for grad in runs[0].values()]).norm()
    for name, grad in runs[0].items():
        assert (runs[1][name] - grad).norm() < 1e-3 * grad.norm() + 1e-6 * whole, name


@pytest.mark.parametrize("name", ["rooms", "rooms-labelled"])
def test_a_room_by_the_bundled_weights_equals_the_cpu_and_repeats_fifty_times(name):
    room = make(3, points=60_000)
    gpu, cpu = (msm3d.load(name, device=device) for device in ("cuda", "cpu"))
    ours, theirs = gpu.extract(room), cpu.extract(room)
    assert relative_error(torch.from_numpy(ours), torch.from_numpy(theirs)) < 1e-4
    assert all(np.array_equal(gpu.extract(room), ours) for _ in range(50))


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize(("n", "c", "d"), [(300, 32, 64), (5000, 64, 64), (70_000, 33, 50), (200, 130, 384)])
def test_conv_and_its_gradients_equal_the_reference_on_the_cpu(ops, rng, n, c, d, dtype, tolerance):
    if ops is spconv and dtype == torch.bfloat16:
        pytest.skip("spconv has no bfloat16 products.")
    x, weight = torch.randn(n, c, generator=rng), torch.randn(27, c, d, generator=rng) * (27 * c) ** -0.5
    table, way = random_table(rng, n, n, 27), torch.randn(n, d, generator=rng)
    results = []
    for module, device in ((ops, CUDA), (reference, torch.device("cpu"))):
        a, b = x.to(device).requires_grad_(), weight.to(device, dtype).requires_grad_()
        wide = b if device == CUDA else b.float()
        out = module.conv(a if device == CUDA else a.to(dtype).float(), wide, table.to(device), activation="gelu")
        results.append((out, *torch.autograd.grad(out, (a, b), way.to(device))))
    for ours, theirs in zip(*results, strict=True):
        assert relative_error(ours.detach().cpu().float(), theirs.detach().float()) < tolerance


@pytest.mark.parametrize(("offsets", "window"), [((0, 5000), 512), ((0, 70, 70, 3000), 100), ((0, 1), 3)])
def test_attention_and_its_gradient_equal_the_reference(rng, offsets, window):
    qkv = torch.randn(offsets[-1], 3, 4, 8, generator=rng)
    way = torch.randn(offsets[-1], 4, 8, generator=rng)
    results = []
    for module, device in ((triton, CUDA), (reference, torch.device("cpu"))):
        leaf = qkv.to(device).requires_grad_()
        out = module.attend(leaf, offsets, window)
        results.append((out, *torch.autograd.grad(out, leaf, way.to(device))))
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours.detach().cpu(), theirs.detach(), rtol=1e-4, atol=1e-4)


def test_tables_equal_the_cpu(rng):
    keys = voxel_keys(rng, 100_000, 200, scenes=3)
    for ours, theirs in zip(triton.octree(keys.to(CUDA), 5), reference.octree(keys, 5), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert (a is None) == (b is None)
            assert a is None or b is None or torch.equal(a.cpu(), b)


def on_gpu(model, **options):
    return msm3d.Model(model.config, **options).to(CUDA).eval().requires_grad_(False)


@pytest.fixture
def both(model):
    twin = on_gpu(model)
    twin.load_state_dict(model.state_dict())
    return model, twin


def test_extract_agrees_with_the_cpu_and_repeats_bit_by_bit(both, scene):
    cpu, gpu = both
    ours = gpu.extract(scene)
    assert isinstance(ours, np.ndarray)
    assert_close(torch.from_numpy(ours), torch.from_numpy(cpu.extract(scene)), rtol=1e-3, atol=1e-4)
    assert all(np.array_equal(gpu.extract(scene), ours) for _ in range(5))


def test_extract_in_tiles_in_blocks_and_to_memory_of_ones_own(both, monkeypatch):
    _, gpu = both
    scene = make_scene(0, 3000)
    whole = gpu.extract(scene)
    monkeypatch.setattr(sinks, "BLOCK", 1000)
    assert np.array_equal(gpu.extract(scene), whole)
    place = np.empty_like(whole)
    assert gpu.extract(scene, out=place) is place
    assert np.array_equal(place, whole)
    tiled = gpu.extract(scene, max_memory=2000 * gpu.config.cost.bytes_per_voxel)
    assert np.isfinite(tiled).all()
    assert np.median(np.abs(tiled - whole)) < 0.05 * np.abs(whole).mean()


def test_tensors_on_the_gpu_stay_there(both, scene):
    _, gpu = both
    tensors = {key: torch.from_numpy(value).to(CUDA) for key, value in scene.items()}
    rows = gpu.extract(tensors)
    assert rows.device.type == "cuda"
    assert np.array_equal(rows.cpu().numpy(), gpu.extract(scene))


def test_a_batch_equals_its_scenes(both):
    _, gpu = both
    voxels = voxelize([_cloud(seed) for seed in (0, 1)], gpu.config.inputs, gpu.ops)
    alone = [voxelize([_cloud(seed)], gpu.config.inputs, gpu.ops) for seed in (0, 1)]

    def run(voxels, scenes):
        hierarchy = Hierarchy.of(voxels.keys.to(CUDA), gpu.config.levels, gpu.ops, scenes)
        return gpu.backbone(voxels.features.to(CUDA), hierarchy, gpu.ops)[0]

    together = run(voxels, 2)
    assert_close(together, torch.cat([run(v, 1) for v in alone]), rtol=1e-4, atol=1e-4)


def _cloud(seed):
    return msm3d.PointCloud.of(make_scene(seed))


def test_a_training_step_has_the_gradients_of_the_cpu_and_repeats_bit_by_bit(both, scene):
    runs = []
    for model in (*both, both[1]):
        model.requires_grad_()
        model.zero_grad(set_to_none=True)
        model(scene).square().mean().backward()
        runs.append([p.grad.cpu() for p in model.parameters() if p.grad is not None])
    for cpu, gpu, again in zip(*runs, strict=True):
        assert relative_error(gpu, cpu) < 1e-2
        assert torch.equal(gpu, again)


def test_no_flag_is_touched(both, scene):
    def flags():
        matmul = torch.backends.cuda.matmul
        return matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled()

    before, device = flags(), torch.cuda.current_device()
    both[1].extract(scene)
    assert (flags(), torch.cuda.current_device()) == (before, device)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is no second GPU.")
def test_the_device_is_that_of_the_tensors(both, scene):
    _, gpu = both
    first = gpu.extract(scene)
    assert_close(gpu.to("cuda:1").extract(scene), first, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["tf32", "tf32x3"])
def test_faster_float32_is_as_exact_as_it_says(rng, precision):
    x, weight = torch.randn(4000, 64, generator=rng), torch.randn(27, 64, 64, generator=rng)
    table = random_table(rng, 4000, 4000, 27)
    exact = reference.conv(x.double(), weight.double(), table)
    ours = triton.conv(x.to(CUDA), weight.to(CUDA), table.to(CUDA), precision=precision).cpu()
    assert relative_error(ours.double(), exact) < (2e-3 if precision == "tf32" else 2e-5)


def test_dropout_repeats(rng):
    qkv = torch.randn(500, 3, 2, 8, generator=rng).to(CUDA)
    run = partial(triton.attend, qkv, (0, 500), 100, 0.3)
    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
