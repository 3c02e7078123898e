"""The Triton kernels against `reference`, forward and backward: in Triton's interpreter, or on a GPU if there is one.

The interpreter runs each kernel on the CPU as numpy operations, block by block; it shows that the arithmetic, the masks
and the addresses are right, not that a GPU computes the same. For that there is test_cuda.py.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from msm3d.errors import InputError
from msm3d.ops import curves, reference
from msm3d.ops import triton as ours
from msm3d.sparse.hierarchy import Hierarchy
from tests.conftest import interpreted, voxel_keys

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = pytest.mark.skipif(
    bool(interpreted()) if DEVICE == "cpu" else ours.why_not(torch.device("cuda")) is not None,
    reason=str(interpreted() if DEVICE == "cpu" else ours.why_not(torch.device("cuda"))),
)


@pytest.fixture(autouse=True)
def bfloat16_is_no_integer(monkeypatch):
    """Let the interpreter multiply bfloat16, which numpy lacks: it takes the bits that hold it for integers."""
    if DEVICE == "cuda":
        return
    from triton.runtime import interpreter

    true = interpreter.InterpreterBuilder.create_dot

    def create_dot(self, a, b, *rest):
        wide = [self.create_fp_ext(t, tl.float32) if t.dtype.scalar == tl.bfloat16 else t for t in (a, b)]
        return true(self, *wide, *rest)

    tl = interpreter.tl
    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


def random_table(rng, n, m, k):
    """A table with about half its slots filled and no input row twice in a slot."""
    rows = torch.stack([torch.randperm(max(n, m), generator=rng) for _ in range(k)], 1)[:m]
    return torch.where((rows < n) & (torch.rand(rows.shape, generator=rng) < 0.5), rows, -1).to(torch.int32)


def outcome(leaves, run):
    """Return the result and the gradients of a random projection of it, on the CPU."""
    out = run()
    way = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    grads = torch.autograd.grad(out, leaves, way, materialize_grads=True)
    return [t.detach().cpu() for t in (out, *grads)]


def assert_same(ours, theirs, tolerance=2e-4):
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        most = max(1.0, float(b.abs().max()) if b.numel() else 1.0)
        assert_close(a, b, rtol=tolerance, atol=tolerance * most)


def leaf(rng, *shape):
    return torch.randn(shape, generator=rng).to(DEVICE).requires_grad_()


def random_finish(rng, m, d, activation, norm, rest):
    """Return what follows a product, and its tensors, which require gradients."""
    e = d // 2 if activation == "geglu" else d
    bias, scale, shift, gamma, residual = (leaf(rng, *s) for s in ((d,), (e,), (e,), (e,), (m, e)))
    finish, leaves = {"activation": activation}, []
    if norm:
        finish["norm"] = (norm, scale, shift if norm == "layernorm" else None)
        leaves += [scale, shift] if norm == "layernorm" else [scale]
    if rest:
        finish |= {"bias": bias, "gamma": gamma, "residual": residual}
        leaves += [bias, gamma, residual]
    return finish, leaves


@pytest.mark.parametrize(
    ("n", "m", "k", "c", "d", "activation", "norm", "rest"),
    [
        (1, 1, 1, 1, 1, None, None, False),
        (40, 33, 3, 5, 7, "gelu", None, True),
        (30, 70, 8, 17, 16, None, "rmsnorm", True),
        (20, 31, 2, 33, 24, "geglu", "layernorm", True),
        (9, 20, 3, 16, 130, "gelu", "rmsnorm", False),
        (0, 5, 2, 4, 6, None, None, True),
        (5, 0, 2, 4, 6, "gelu", "rmsnorm", True),
    ],
)
def test_conv_equals_reference(rng, n, m, k, c, d, activation, norm, rest):
    x, weight, table = leaf(rng, n, c), leaf(rng, k, c, d), random_table(rng, n, m, k).to(DEVICE)
    finish, leaves = random_finish(rng, m, d, activation, norm, rest)
    runs = [partial(ops.conv, x, weight, table, **finish) for ops in (ours, reference)]
    if n and m:
        assert_same(*(outcome([x, weight, *leaves], run) for run in runs))
    else:
        assert outcome([x, weight, *leaves], runs[0])[0].shape == (m, d)
    if n:
        with torch.no_grad():  # all in one pass
            assert_same(*([run().cpu()] for run in runs))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_weights_are_multiplied_in_half_and_summed_in_float(rng, dtype):
    x, weight = leaf(rng, 25, 20), leaf(rng, 3, 20, 24)
    table = random_table(rng, 25, 40, 3).to(DEVICE)
    narrow = weight.detach().to(dtype).requires_grad_()
    half = outcome([x, narrow], lambda: ours.conv(x, narrow, table))
    rounded = x.detach().to(dtype).float().requires_grad_()
    wide = narrow.detach().float().requires_grad_()
    exact = outcome([rounded, wide], lambda: reference.conv(rounded, wide, table))
    assert [t.dtype for t in half] == [torch.float32, torch.float32, dtype]
    assert_close(half[0], exact[0], rtol=1e-4, atol=1e-4)  # inputs rounded alike: what differs is the order of sums
    for a, b in zip(half[1:], exact[1:], strict=True):
        assert ((a.float() - b).norm() / b.norm()) < 1e-2


def test_conv_over_the_tables_of_two_scenes(rng):
    fine, coarse = Hierarchy.of(voxel_keys(rng, 90, 6, scenes=2).to(DEVICE), 2, ours, scenes=2).grids
    x, y = leaf(rng, len(fine), 6), leaf(rng, len(coarse), 6)
    for rows, table in ((x, fine.neighbours), (x, coarse.children), (y, fine.above)):
        weight = leaf(rng, table.shape[1], 6, 8)
        assert_same(*(outcome([rows, weight], partial(ops.conv, rows, weight, table)) for ops in (ours, reference)))


def test_a_flipped_kernel_does_not_pass(rng):
    x, weight, table = leaf(rng, 20, 8), leaf(rng, 3, 8, 8), random_table(rng, 20, 20, 3).to(DEVICE)
    with torch.no_grad(), pytest.raises(AssertionError):
        assert_same([ours.conv(x, weight.flip(0), table).cpu()], [reference.conv(x, weight, table).cpu()])


def test_a_table_changed_in_place_is_walked_anew(rng):
    x, weight, table = leaf(rng, 20, 4), leaf(rng, 2, 4, 4), random_table(rng, 20, 20, 2).to(DEVICE)
    with torch.no_grad():
        ours.conv(x, weight, table)
        table.copy_(table.flip(0))
        assert_same([ours.conv(x, weight, table).cpu()], [reference.conv(x, weight, table).cpu()])


def test_rows_beyond_the_last_count_as_absent(rng):
    x, weight, table = leaf(rng, 20, 4), leaf(rng, 2, 4, 4), random_table(rng, 20, 20, 2).to(DEVICE)
    with torch.no_grad():
        beyond = ours.conv(x, weight, torch.where(table < 0, 20, table))
        assert torch.equal(beyond, ours.conv(x, weight, table))
    runs = (outcome([x, weight], partial(ours.conv, x, weight, t)) for t in (torch.where(table < 0, 25, table), table))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize(
    ("activation", "norm", "rest"),
    [("geglu", None, False), ("geglu", "rmsnorm", True), ("gelu", "layernorm", True), (None, None, True)],
)
@pytest.mark.parametrize(("n", "c", "d"), [(0, 3, 4), (37, 6, 34), (700, 2, 6)])
def test_linear_equals_reference(rng, n, c, d, activation, norm, rest):
    x, weight = leaf(rng, n, c), leaf(rng, d, c)
    finish, leaves = random_finish(rng, n, d, activation, norm, rest)
    runs = [partial(ops.linear, x, weight, **finish) for ops in (ours, reference)]
    assert_same(*(outcome([x, weight, *leaves], run) for run in runs), 1e-3)


@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
def test_normalize_equals_reference_and_takes_rows_of_zeros(rng, kind):
    x, scale, shift = leaf(rng, 50, 20), leaf(rng, 20), leaf(rng, 20)
    norm = (kind, scale, shift if kind == "layernorm" else None)
    leaves = [x, scale] if kind == "rmsnorm" else [x, scale, shift]
    assert_same(*(outcome(leaves, partial(ops.normalize, x, norm)) for ops in (ours, reference)))
    zeros = torch.zeros(3, 20, device=DEVICE, requires_grad=True)
    assert all(torch.isfinite(t).all() for t in outcome([zeros, scale], partial(ours.normalize, zeros, norm)))


@pytest.mark.parametrize(
    ("offsets", "heads", "width", "window"),
    [([0, 1], 1, 1, 1), ([0, 70, 70, 75, 160], 2, 8, 20), ([0, 50], 2, 5, 1000), ([0, 40], 1, 17, 0), ([0], 2, 8, 3)],
)
def test_attention_equals_reference(rng, offsets, heads, width, window):
    qkv = leaf(rng, offsets[-1], 3, heads, width)
    assert_same(*(outcome([qkv], partial(ops.attend, qkv, offsets, window)) for ops in (ours, reference)))


def test_dropout_keeps_the_mean_repeats_and_has_the_gradient_of_what_it_computed(rng):
    qkv = leaf(rng, 30, 3, 1, 8)
    run = partial(ours.attend, offsets=(0, 30), window=12, dropout=0.3)
    with torch.no_grad():
        one, again, other, large = (run(qkv, seed=seed) for seed in (1, 1, 2, 1 << 61))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)
        assert not torch.equal(one, large)
        mean = torch.stack([run(qkv, seed=seed) for seed in range(60)]).mean(0)
        assert (mean - ours.attend(qkv, (0, 30), 12)).abs().mean() < 0.08
    way, projection = (torch.randn(s, generator=rng).to(DEVICE) for s in (qkv.shape, one.shape))
    (grad,) = torch.autograd.grad((run(qkv, seed=3) * projection).sum(), qkv)
    step = 1e-3
    with torch.no_grad():
        slope = ((run(qkv + step * way, seed=3) - run(qkv - step * way, seed=3)) * projection).sum() / (2 * step)
    assert_close((grad * way).sum(), slope, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize(("m", "sizes"), [(1, [(1, 1)]), (40, [(30, 16), (9, 7), (3, 140)]), (0, [(4, 3)])])
def test_blend_equals_reference(rng, m, sizes, owned):
    features = [leaf(rng, *size) for size in sizes]
    rows = [
        torch.randint(-1, f, (m, k), generator=rng).int().to(DEVICE)
        for (f, _), k in zip(sizes, (8, 1, 4), strict=False)
    ]
    weights = [torch.rand(r.shape, generator=rng).to(DEVICE) for r in rows]
    owner = torch.randint(0, max(m, 1), (2 * m,), generator=rng).to(DEVICE) if owned else None
    if m:
        assert_same(*(outcome(features, partial(o.blend, features, rows, weights, owner)) for o in (ours, reference)))
    with torch.no_grad():
        half = ours.blend(features, rows, weights, owner, torch.float16)
        assert_same([half.cpu()], [reference.blend(features, rows, weights, owner, torch.float16).cpu()], 2e-3)
        place = torch.empty(half.shape, device=DEVICE)
        assert ours.blend(features, rows, weights, owner, out=place) is place


@pytest.mark.parametrize(("n", "scenes", "levels"), [(0, 1, 3), (1, 1, 1), (200, 3, 4), (50, 2, 19)])
def test_octree_equals_reference(rng, n, scenes, levels):
    keys = voxel_keys(rng, n, 40, scenes).to(DEVICE)
    for a, b in zip(ours.octree(keys, levels), reference.octree(keys, levels), strict=True):
        for mine, theirs in zip(a, b, strict=True):
            assert (mine is None) == (theirs is None)
            assert mine is None or (mine.dtype == theirs.dtype and torch.equal(mine, theirs))


def test_octree_at_the_border_of_the_grid():
    last = (1 << curves.BITS) - 1
    cells = [[s, x, y, 0] for s in (0, 1) for x in (0, last) for y in (0, last)]
    keys = torch.unique(curves.morton(torch.tensor(cells))).to(DEVICE)
    for a, b in zip(ours.octree(keys, 5), reference.octree(keys, 5), strict=True):
        assert torch.equal(a[3], b[3])


def test_points_are_grouped_where_they_are(rng):
    keys, column = torch.randint(0, 9, (40,), generator=rng), torch.rand(40, generator=rng)
    for a, b in zip(ours.group(keys, [column]), reference.group(keys, [column]), strict=True):
        assert a.device.type == "cpu"
        assert torch.equal(a, b)


def test_float64_goes_to_reference(rng):
    x, weight = (torch.randn(s, generator=rng, dtype=torch.float64) for s in ((6, 3), (2, 3, 4)))
    table = random_table(rng, 6, 5, 2)
    assert torch.equal(ours.conv(x, weight, table), reference.conv(x, weight, table))


def test_the_check_on_first_use_passes_and_can_fail(monkeypatch):
    from msm3d.ops.kernels.triton import agreement

    assert agreement.disagreement(ours, torch.device(DEVICE)) is None
    true = ours.linear
    monkeypatch.setattr(ours, "linear", lambda *a, **k: true(*a, **k) * 1.01)
    assert agreement.disagreement(ours, torch.device(DEVICE)) == "linear layers"


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_check_passes_whatever_the_first_call_is_made_under(mode, monkeypatch):
    from msm3d.ops.kernels import gpu
    from msm3d.ops.kernels.triton import agreement

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")
    with mode():
        assert gpu.unusable("it", 0, lambda: agreement.disagreement(ours, torch.device(DEVICE)), "") is None


def test_a_precision_that_there_is_not_names_the_good_ones():
    x, weight, table = torch.zeros(4, 16), torch.zeros(2, 16, 8), torch.zeros(4, 2, dtype=torch.int32)
    with pytest.raises(InputError, match=r"^precision is 'fp8'; choose one of ieee, tf32, tf32x3\.$"):
        ours.conv(x.to(DEVICE), weight.to(DEVICE), table.to(DEVICE), precision="fp8")


def test_no_kernel_is_compiled_for_a_number_of_rows():
    script = """
from msm3d.ops.kernels.triton import attention, blending, finish, geometry, products
from msm3d.ops.kernels.triton.launch import VARYING
from triton import JITFunction
modules = attention, blending, finish, geometry, products
kernels = {k for module in modules for k in vars(module).values() if type(k) is JITFunction}
launched = [k for k in kernels if k.__name__ != "_kept"]  # which others call
wrong = [(k.__name__, p.name) for k in launched for p in k.params if p.name in VARYING and not p.do_not_specialize]
assert sum(p.do_not_specialize for k in launched for p in k.params) >= 14 and not wrong, wrong
"""
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_every_kernel_compiles_for_gpus_without_one(tmp_path):
    script = Path(__file__).parents[1] / "benchmarks" / "compile_triton.py"
    command = [sys.executable, str(script), "--quick", "--capability", "90"]
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| 90")]
    assert {row[1] for row in rows} >= {"_conv", "_weight_gradient", "_finish", "_forward", "_backward_keys", "_blend"}
    exact = [row for row in rows if row[2] != "tf32x3"]
    assert max(int(row[5]) for row in exact) <= 64, "registers spill"  # bytes; attention with dropout has a few
