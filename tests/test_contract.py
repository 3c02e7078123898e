"""One contract for every backend: arguments are refused alike, a norm has its own eps, what one lacks another does."""

import importlib.metadata
import re
import sys
import types
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import msm3d
from msm3d.errors import BackendError, InputError
from msm3d.ops import BACKENDS, Backend, Norm, Table, _register_installed, backend, reference, register
from msm3d.ops.kernels import reference as kernels
from msm3d.ops.operations import OPERATIONS
from tests.conftest import make_scene, neighbours, voxel_keys

X, WEIGHT, TABLE = torch.zeros(4, 16), torch.zeros(2, 16, 8), torch.zeros(4, 2, dtype=torch.int32)
DENSE, QKV, KEYS, ONES = torch.zeros(8, 16), torch.zeros(4, 3, 1, 8), torch.tensor([2, 3]), torch.ones(16)
CELLS, ANCESTORS, AROUND = torch.zeros(1, 4).int(), torch.tensor([0]), torch.zeros(2, 27).int()
LABELS = torch.zeros(4, dtype=torch.long)
MATRIX = "it needs rows of floating-point channels."

REFUSED = [
    (lambda ops: ops.lookup(KEYS.float(), KEYS), "keys is torch.float32; it must be torch.int64."),
    (lambda ops: ops.lookup(KEYS, KEYS.int()), "queries is torch.int32; it must be torch.int64."),
    (lambda ops: ops.lookup(KEYS[None], KEYS), "keys is (1, 2); it needs 1 dimensions."),
    (lambda ops: ops.group(KEYS.int(), []), "keys is torch.int32; it must be torch.int64."),
    (lambda ops: ops.group(KEYS, [torch.zeros(3)]), "columns[0] is (3,); it needs one number per key, (2,)."),
    (lambda ops: ops.octree(KEYS.float(), 2), "keys is torch.float32; it must be torch.int64."),
    (lambda ops: ops.octree(KEYS, 21), "levels is 21; it must be from 1 to 20."),
    (lambda ops: ops.octree(KEYS, 0), "levels is 0; it must be from 1 to 20."),
    (lambda ops: ops.corners(CELLS[:, :2], ANCESTORS, AROUND, 1), "cells is (1, 2); it needs (1, 4)."),
    (lambda ops: ops.corners(CELLS.long(), ANCESTORS, AROUND, 1), "cells is torch.int64; it must be torch.int32."),
    (lambda ops: ops.corners(CELLS, ANCESTORS, AROUND[:, :8], 1), "neighbours is (2, 8); it needs (2, 27)."),
    (lambda ops: ops.corners(CELLS, ANCESTORS, AROUND, 1, torch.ones(1, 2)), "scale is (1, 2); it needs (1, 3)."),
    (lambda ops: ops.normalize(X[0], ("rmsnorm", ONES, None)), f"x is (16,) of torch.float32; {MATRIX}"),
    (lambda ops: ops.normalize(X, ("batchnorm", ONES)), "norm is 'batchnorm'; it must be 'rmsnorm' or 'layernorm'."),
    (lambda ops: ops.normalize(X, ("rmsnorm", ONES[:3], None)), "the norm's scale is (3,); it needs (16,)."),
    (lambda ops: ops.normalize(X, Norm("layernorm", ONES, ONES[:3])), "the norm's shift is (3,); it needs (16,)."),
    (
        lambda ops: ops.normalize(X, Norm("rmsnorm", ONES, eps=-1.0)),
        "the norm's eps is -1.0; it must be a number from 0",
    ),
    (lambda ops: ops.linear(X.int(), DENSE), f"x is (4, 16) of torch.int32; {MATRIX}"),
    (lambda ops: ops.linear(X, DENSE[:, 1:]), "weight is (8, 15); it needs (d, 16) for x (4, 16)."),
    (lambda ops: ops.linear(X, DENSE[:0]), "weight is (0, 16); it needs at least one slot and channel."),
    (lambda ops: ops.linear(X, DENSE, ONES), "bias is (16,); it needs (8,)."),
    (
        lambda ops: ops.linear(X, DENSE, norm=Norm("rmsnorm", ONES, eps=float("nan"))),
        "the norm's eps is nan; it must be",
    ),
    (
        lambda ops: ops.linear(X, DENSE, pre_norm=("rmsnorm", ONES[:8], None)),
        "the norm's scale is (8,); it needs (16,).",
    ),
    (lambda ops: ops.conv(X[0], WEIGHT, TABLE), f"x is (16,) of torch.float32; {MATRIX}"),
    (
        lambda ops: ops.conv(X, WEIGHT, TABLE.long()),
        "table is (4, 2) of torch.int64; it must be (m, k) of torch.int32.",
    ),
    (
        lambda ops: ops.conv(X, WEIGHT, Table(TABLE[:, :1])),
        "weight is (2, 16, 8); it needs (1, 16, d) for table (4, 1) and x (4, 16).",
    ),
    (lambda ops: ops.conv(X, WEIGHT.int(), TABLE), "weight is torch.int32; it must be torch.float32"),
    (lambda ops: ops.conv(X, WEIGHT[..., :0], TABLE), "weight is (2, 16, 0); it needs at least one slot and channel."),
    (lambda ops: ops.conv(X, WEIGHT.to("meta"), TABLE), "weight has no values in memory: it is sparse, on meta"),
    (lambda ops: ops.conv(X, WEIGHT, TABLE, torch.zeros(7)), "bias is (7,); it needs (8,)."),
    (lambda ops: ops.conv(X, WEIGHT, TABLE, gamma=ONES), "gamma is (16,); it needs (8,)."),
    (lambda ops: ops.conv(X, WEIGHT, TABLE, residual=X), "residual is (4, 16); it needs (4, 8)."),
    (
        lambda ops: ops.conv(X, WEIGHT, TABLE, activation="relu"),
        "activation is 'relu'; it must be 'gelu', 'geglu' or None.",
    ),
    (
        lambda ops: ops.conv(X, WEIGHT[..., :7], TABLE, activation="geglu"),
        "geglu halves the channels, but there are 7; give the weight an even number.",
    ),
    (
        lambda ops: ops.conv(X, WEIGHT, TABLE, activation="geglu", norm=("rmsnorm", ONES[:8], None)),
        "the norm's scale is (8,); it needs (4,).",
    ),
    (
        lambda ops: ops.attend(X, (0, 4), 1),
        "qkv is (4, 16) of torch.float32; it needs (n, 3, heads, channels) of floats.",
    ),
    (
        lambda ops: ops.attend(QKV, (0, 5), 1),
        "offsets is [0, 5]; it needs the first row of each scene, from 0 up to 4.",
    ),
    (lambda ops: ops.attend(QKV, (0, 3, 2, 4), 1), "offsets is [0, 3, 2, 4]; it needs the first row of each scene"),
    (lambda ops: ops.attend(QKV, (0, 4), -1), "window is -1 and dropout 0.0; they must be >= 0, and dropout below 1."),
    (
        lambda ops: ops.attend(QKV, (0, 4), 1, 1.0),
        "window is 1 and dropout 1.0; they must be >= 0, and dropout below 1.",
    ),
    (lambda ops: ops.blend([], [], []), "0 features, 0 rows and 0 weights; give one per level."),
    (
        lambda ops: ops.blend([X], [TABLE], [X]),
        "rows[0] is (4, 2) and weights[0] is (4, 16); both need (4, k) with k at most 8.",
    ),
    (lambda ops: ops.blend([X], [AROUND], [AROUND.float()]), "rows[0] is (2, 27) and weights[0] is (2, 27); both need"),
    (lambda ops: ops.blend([X], [TABLE.long()], [TABLE.float()]), "rows[0] is torch.int64; it must be torch.int32."),
    (
        lambda ops: ops.blend([X], [TABLE], [TABLE.float()], TABLE[:, 0]),
        "owner is torch.int32; it must be torch.int64.",
    ),
    (
        lambda ops: ops.blend([X], [TABLE], [TABLE.float()], dtype=torch.int8),
        "dtype is torch.int8; it must be torch.float32, torch.bfloat16, torch.float16 or torch.float64.",
    ),
    (
        lambda ops: ops.blend([X], [TABLE], [TABLE.float()], out=X[:2]),
        "out is (2, 16) torch.float32 on cpu; it must be contiguous (4, 16) torch.float32 on cpu.",
    ),
    (lambda ops: ops.nearest(X, DENSE[:, 1:], 1, [16], [[0]]), "bank is (8, 15); it needs (8, 16)."),
    (lambda ops: ops.nearest(X.int(), DENSE, 1, [16], [[0]]), f"x is (4, 16) of torch.int32; {MATRIX}"),
    (lambda ops: ops.nearest(X, DENSE, 9, [16], [[0]]), "k is 9; it must be from 1 to 8, the rows of the bank."),
    (lambda ops: ops.nearest(X, DENSE[:0], 1, [16], [[0]]), "k is 1; it must be from 1 to 0, the rows of the bank."),
    (lambda ops: ops.nearest(X, DENSE, 1, [9, 4, 16], [[0]]), "ends is [9, 4, 16]; it needs where each part of the"),
    (lambda ops: ops.nearest(X, DENSE, 1, [15], [[0]]), "ends is [15]; it needs where each part of the columns ends"),
    (lambda ops: ops.nearest(X, DENSE, 1, [16], [[1]]), "choices is [[1]]; each needs numbers of parts from 0 to 0."),
    (lambda ops: ops.nearest(X, DENSE, 1, [16], [[]]), "choices is [[]]; each needs numbers of parts from 0 to 0."),
    (lambda ops: ops.cross_entropy(X.int(), LABELS, DENSE, ONES[:8]), f"x is (4, 16) of torch.int32; {MATRIX}"),
    (
        lambda ops: ops.cross_entropy(X, LABELS, DENSE.T, ONES),
        "weight is (16, 8); it needs (d, 16) for x (4, 16).",
    ),
    (lambda ops: ops.cross_entropy(X, LABELS, DENSE, ONES), "bias is (16,); it needs (8,)."),
    (lambda ops: ops.cross_entropy(X, LABELS[:3], DENSE, ONES[:8]), "labels is (3,); it needs (4,)."),
    (lambda ops: ops.cross_entropy(X, X[:, 0], DENSE, ONES[:8]), "labels is torch.float32; it must be torch.int64."),
    (lambda ops: ops.cross_entropy(X, LABELS, DENSE, ONES[:8], LABELS.int()), "rows is torch.int32; it must be"),
    (lambda ops: ops.cross_entropy(X, LABELS, DENSE, ONES[:8], LABELS[:0]), "there are no rows; give at least one."),
]


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_refuses_the_same_arguments_with_the_same_sentence(name):
    """Also where its kernels cannot run: the checks come first."""
    for call, sentence in REFUSED:
        with pytest.raises(InputError, match="^" + re.escape(sentence)) as caught:
            call(BACKENDS[name])
        assert "\n" not in str(caught.value)


def test_every_operation_refuses_something():
    class Seen:
        def __getattr__(self, name):
            seen.add(name)
            return lambda *a, **k: None

    seen = set()
    for call, _ in REFUSED:
        call(Seen())
    assert seen == set(OPERATIONS)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_weight_is_of_a_dtype_that_the_backend_multiplies(name):
    ops = BACKENDS[name]
    good = getattr(ops.kernels, "DTYPES", (torch.float32, torch.bfloat16, torch.float16, torch.float64))
    for dtype in {torch.bfloat16, torch.float16, torch.int8} - set(good):
        with pytest.raises(InputError, match=rf"^weight is {dtype}; it must be .*torch.float32.*: call \.float\(\)"):
            ops.conv(X, WEIGHT.to(dtype), TABLE)


def test_a_plain_tuple_is_a_norm_with_the_published_eps():
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0)) / 100
    assert torch.equal(reference.normalize(x, ("rmsnorm", ONES, None)), reference.normalize(x, Norm("rmsnorm", ONES)))
    assert not torch.equal(
        reference.normalize(x, Norm("rmsnorm", ONES, eps=1e-6)), reference.normalize(x, Norm("rmsnorm", ONES))
    )


# --- eps ------------------------------------------------------------------------------------------------------------


def by_hand(y, kind, scale, shift, eps):
    if kind == "layernorm":
        return F.layer_norm(y, scale.shape, scale, shift, eps)
    return y / (y.square().mean(1, keepdim=True).sqrt() + eps) * scale


@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
@pytest.mark.parametrize("eps", [1e-6, 1e-5, 1e-4, 0.3])
@pytest.mark.parametrize("learned", [False, True])
def test_a_norm_has_its_own_eps_forward_and_backward(ops, rng, kind, eps, learned):
    table = neighbours(voxel_keys(rng, 60))
    m = len(table)
    x, weight = torch.randn(m, 12, generator=rng) / 1000, torch.randn(27, 12, 8, generator=rng)
    scales, shifts = ([torch.randn(c, generator=rng) for c in (12, 8)] for _ in range(2))
    leaves = [x, weight, *scales, *(shifts if kind == "layernorm" else [])]
    if learned:
        leaves = [leaf.requires_grad_() for leaf in leaves]
    before, after = (
        Norm(kind, scale, shift if kind == "layernorm" else None, eps)
        for scale, shift in zip(scales, shifts, strict=True)
    )
    y = by_hand(x, *before)
    gathered = torch.cat([y, y.new_zeros(1, 12)])[table.long()]
    runs = {
        "normalize": (partial(ops.normalize, x, before), y),
        "linear": (
            partial(ops.linear, x, weight[3].T, pre_norm=before, norm=after),
            by_hand(y @ weight[3], *after),
        ),
        "conv": (
            partial(ops.conv, x, weight, table, pre_norm=before, norm=after),
            by_hand(torch.einsum("mkc,kcd->md", gathered, weight), *after),
        ),
    }
    for name, (run, theirs) in runs.items():
        ours = run()
        assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)
        if not learned:
            continue
        way = torch.randn(ours.shape, generator=rng)
        grads = zip(
            *(torch.autograd.grad(z, leaves, way, retain_graph=True, materialize_grads=True) for z in (ours, theirs)),
            strict=True,
        )
        for a, b in grads:
            assert_close(a, b, rtol=2e-3, atol=2e-3 * max(1.0, float(b.abs().max())), msg=name)


# --- a backend of someone else ----------------------------------------------------------------------------------------


@pytest.fixture
def toy():
    """A module with kernels of one operation, which counts its calls."""
    module = types.ModuleType("toy")

    def normalize(x, norm, *, loudly=False):
        module.calls.append(loudly)
        return kernels.normalize(x, norm)

    module.calls, module.normalize, module.why_not = [], normalize, lambda device: None
    module.DTYPES = (torch.float32,)
    yield module
    BACKENDS.pop("toy", None)


def test_a_backend_from_outside_computes_what_it_can_and_the_reference_the_rest(toy, config, rng):
    ops = register("toy", toy)
    assert backend("cpu", "toy") is ops
    assert backend("cpu") is not ops, "what others register is used only where it is named"
    x, norm = torch.randn(4, 16, generator=rng), Norm("rmsnorm", ONES)
    assert torch.equal(ops.normalize(x, norm, loudly=True), reference.normalize(x, norm))
    assert torch.equal(ops.normalize(x.double(), norm, loudly=True), reference.normalize(x.double(), norm))
    assert toy.calls == [True], "float64 is not among its DTYPES"
    weight = torch.randn(2, 16, 8, generator=rng)
    assert torch.equal(ops.conv(x, weight, TABLE, pre_norm=norm), reference.conv(x, weight, TABLE, pre_norm=norm))
    assert ops.conv(x, weight.bfloat16(), TABLE).dtype == torch.float32, "the reference multiplies what it takes"
    with pytest.raises(TypeError, match="loud"):
        ops.normalize(x, norm, loud=True)
    toy.calls.clear()
    torch.manual_seed(0)
    model = msm3d.Model(config, backend="toy").eval().requires_grad_(False)
    ours = model.extract(make_scene(0, 300))
    assert toy.calls
    model.backend = "reference"
    assert (ours == model.extract(make_scene(0, 300))).all()


def test_a_backend_that_cannot_run_says_why_and_a_name_is_given_once(toy):
    toy.why_not = lambda device: f"the toy does not run on {device.type}."
    register("toy", toy)
    with pytest.raises(BackendError, match=r"^no backend can run on cpu: toy: the toy does not run on cpu\.$"):
        backend("cpu", "toy")
    with pytest.raises(BackendError, match=r"^there is a backend 'toy' already; give yours another name\.$"):
        register("toy", toy)


def test_an_installed_package_adds_a_backend_without_being_imported(toy, monkeypatch):
    entry = importlib.metadata.EntryPoint("toy", "a_package.kernels", "msm3d.backends")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry] if group == entry.group else [])
    _register_installed.cache_clear()
    with pytest.raises(BackendError, match=r"^unknown backend 'tow'; choose one of .*spconv, toy\.$"):
        backend("cpu", "tow")
    monkeypatch.setitem(sys.modules, "a_package.kernels", toy)
    assert backend("cpu", "toy").kernels is toy
    _register_installed.cache_clear()


def test_a_module_that_is_missing_is_said_when_it_is_used():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        Backend("mine", "no_such_package.kernels").why_not("cpu")
