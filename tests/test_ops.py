"""Each operation against PyTorch's dense one, outputs and gradients, and against slow loops; each oracle can fail."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from msm3d.errors import BackendError, InputError
from msm3d.ops import backend, curves, native, reference
from msm3d.sparse.hierarchy import Hierarchy
from tests.conftest import neighbours, voxel_keys

CLOSE = dict(rtol=1e-4, atol=1e-4)


def dense(x, cells, extent):
    """Scatter rows into a zero-filled (1, c, X, Y, Z) grid."""
    grid = x.new_zeros(extent, extent, extent, x.shape[1]).index_put(tuple(cells[:, 1:].long().T), x)
    return grid.permute(3, 0, 1, 2)[None]


def sparse(grid, cells):
    return grid[0].permute(1, 2, 3, 0)[tuple(cells[:, 1:].long().T)]


def dense_conv3d(x, cells, weight, flip=False):
    kernel = weight.view(3, 3, 3, *weight.shape[1:]).permute(4, 3, 0, 1, 2)
    return sparse(F.conv3d(dense(x, cells, 9), kernel.flip(2, 3, 4) if flip else kernel, padding=1), cells)


def gradients(out, *inputs, seed=1):
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=out.dtype)
    return torch.autograd.grad(out, inputs, probe)


def leaves(rng, *shapes):
    return [torch.randn(shape, generator=rng).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(("n", "c", "d"), [(1, 1, 1), (2, 3, 1), (400, 8, 5), (300, 16, 32)])
def test_submanifold_conv_equals_dense_conv3d(ops, rng, n, c, d):
    keys = voxel_keys(rng, n)
    x, weight = leaves(rng, (len(keys), c), (27, c, d))
    ours = ops.conv(x, weight, neighbours(keys))
    theirs = dense_conv3d(x, curves.cells(keys), weight)
    assert_close(ours, theirs, **CLOSE)
    for a, b in zip(gradients(ours, x, weight), gradients(theirs, x, weight), strict=True):
        assert_close(a, b, **CLOSE)


def test_a_flipped_kernel_does_not_pass(ops, rng):
    keys = voxel_keys(rng, 200)
    x, weight = leaves(rng, (len(keys), 4), (27, 4, 4))
    flipped = dense_conv3d(x, curves.cells(keys), weight, flip=True)
    assert (ops.conv(x, weight, neighbours(keys)) - flipped).abs().max() > 0.1


@pytest.mark.parametrize(("n", "c", "d"), [(1, 2, 3), (300, 8, 12)])
def test_down_and_up_equal_dense_strided_convolutions(ops, rng, n, c, d):
    fine, coarse = Hierarchy.of(voxel_keys(rng, n, 8), 2, ops).grids
    x, weight = leaves(rng, (len(fine), c), (8, c, d))
    kernel = weight.view(2, 2, 2, c, d)
    ours = ops.conv(x, weight, coarse.children)
    theirs = sparse(F.conv3d(dense(x, fine.cells, 8), kernel.permute(4, 3, 0, 1, 2), stride=2), coarse.cells)
    assert_close(ours, theirs, **CLOSE)
    for a, b in zip(gradients(ours, x, weight), gradients(theirs, x, weight), strict=True):
        assert_close(a, b, **CLOSE)

    y = leaves(rng, (len(coarse), c))[0]
    ours = ops.conv(y, weight, fine.above)
    theirs = F.conv_transpose3d(dense(y, coarse.cells, 4), kernel.permute(3, 4, 0, 1, 2), stride=2)
    theirs = sparse(theirs, fine.cells)
    assert_close(ours, theirs, **CLOSE)
    for a, b in zip(gradients(ours, y, weight), gradients(theirs, y, weight), strict=True):
        assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("kind", ["rmsnorm", "layernorm"])
def test_pre_norm_is_a_norm_of_the_rows_that_a_product_takes(ops, rng, kind):
    keys = voxel_keys(rng, 100)
    x, weight, scale, shift = leaves(rng, (len(keys), 6), (27, 6, 8), (6,), (6,))
    spec = kind, scale, shift if kind == "layernorm" else None

    def by_hand():
        if kind == "layernorm":
            return F.layer_norm(x, (6,), scale, shift, eps=1e-4)
        return x / (x.square().mean(1, keepdim=True).sqrt() + 1e-4) * scale

    for run, theirs in (
        (partial(ops.conv, x, weight, neighbours(keys)), dense_conv3d(by_hand(), curves.cells(keys), weight)),
        (partial(ops.linear, x, weight[3].T.contiguous()), by_hand() @ weight[3]),
    ):
        ours = run(pre_norm=spec)
        assert_close(ours, theirs, **CLOSE)
        for a, b in zip(gradients(ours, x, weight, scale), gradients(theirs, x, weight, scale), strict=True):
            assert_close(a, b, rtol=1e-3, atol=1e-3)
        with torch.no_grad():
            assert_close(run(pre_norm=spec), theirs, **CLOSE)


@pytest.mark.parametrize("norm", [None, "rmsnorm", "layernorm"])
@pytest.mark.parametrize("activation", [None, "gelu", "geglu"])
def test_finish_is_bias_activation_norm_gamma_residual(ops, rng, activation, norm):
    keys = voxel_keys(rng, 100)
    x, weight, bias = leaves(rng, (len(keys), 6), (27, 6, 8), (8,))
    width = 4 if activation == "geglu" else 8
    scale, shift, gamma, residual = leaves(rng, (width,), (width,), (width,), (len(keys), width))
    spec = None if norm is None else (norm, scale, shift if norm == "layernorm" else None)
    finish = dict(activation=activation, norm=spec, gamma=gamma, residual=residual)

    def by_hand(y):
        y = y + bias
        y = F.gelu(y) if activation == "gelu" else F.gelu(y[:, :4]) * y[:, 4:] if activation == "geglu" else y
        if norm == "rmsnorm":
            y = y / (y.square().mean(1, keepdim=True).sqrt() + 1e-4) * scale
        if norm == "layernorm":
            y = F.layer_norm(y, (width,), scale, shift, eps=1e-4)
        return y * gamma + residual

    for ours, theirs in (
        (ops.conv(x, weight, neighbours(keys), bias, **finish), by_hand(dense_conv3d(x, curves.cells(keys), weight))),
        (ops.linear(x, weight[3].T.contiguous(), bias, **finish), by_hand(x @ weight[3])),
    ):
        assert_close(ours, theirs, **CLOSE)
        used = [t for t in (x, weight, bias, gamma, residual) if t is not None]
        for a, b in zip(gradients(ours, *used), gradients(theirs, *used), strict=True):
            assert_close(a, b, rtol=1e-3, atol=1e-3)
    with torch.no_grad():  # chunk by chunk, without a graph
        theirs = by_hand(dense_conv3d(x, curves.cells(keys), weight))
        assert_close(ops.conv(x, weight, neighbours(keys), bias, **finish), theirs, **CLOSE)


def masked_attention(qkv, offsets, window):
    """One softmax over all rows, everything outside the window masked."""
    places = torch.arange(len(qkv))
    scene = torch.bucketize(places, torch.tensor(offsets[1:-1], dtype=torch.long), right=True)
    seen = ((places[:, None] - places).abs() <= window) & (scene[:, None] == scene)
    q, k, v = qkv.unbind(1)
    return F.scaled_dot_product_attention(*(t.transpose(0, 1) for t in (q, k, v)), attn_mask=seen).transpose(0, 1)


@pytest.mark.parametrize(
    ("offsets", "heads", "width", "window"),
    [
        ([0, 1], 1, 1, 1),
        ([0, 300], 2, 8, 20),
        ([0, 129, 129, 140, 400], 3, 5, 33),
        ([0, 50], 2, 8, 1000),
        ([0, 40], 1, 4, 0),
    ],
)
def test_attend_equals_masked_sdpa(ops, rng, offsets, heads, width, window):
    (qkv,) = leaves(rng, (offsets[-1], 3, heads, width))
    ours, theirs = ops.attend(qkv, offsets, window), masked_attention(qkv, offsets, window)
    assert_close(ours, theirs, **CLOSE)
    assert_close(*(gradients(out, qkv)[0] for out in (ours, theirs)), **CLOSE)


def test_a_window_off_by_one_does_not_pass(ops, rng):
    (qkv,) = leaves(rng, (200, 3, 2, 8))
    assert (ops.attend(qkv, [0, 200], 20) - masked_attention(qkv, [0, 200], 21)).abs().max() > 1e-3


def test_attention_dropout_keeps_the_mean_and_repeats_with_its_seed(ops, rng):
    qkv = torch.randn(300, 3, 2, 8, generator=rng)
    one, again, other = (ops.attend(qkv, [0, 300], 40, 0.5, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    mean = torch.stack([ops.attend(qkv, [0, 300], 40, 0.5, seed) for seed in range(200)]).mean(0)
    assert (mean - ops.attend(qkv, [0, 300], 40)).abs().mean() < 0.03


def blend_by_hand(features, rows, weights, owner):
    out = []
    for f, r, w in zip(features, rows, weights, strict=True):
        padded = torch.cat([f, f.new_zeros(1, f.shape[1])])
        out.append((padded[r.long()] * w[..., None]).sum(1))
    whole = torch.cat(out, 1)
    return whole if owner is None else whole[owner]


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize(("m", "sizes"), [(1, [(1, 1)]), (5000, [(700, 16), (90, 7), (10, 24)])])
def test_blend_is_a_weighted_sum_per_level(ops, rng, m, sizes, owned):
    features = leaves(rng, *sizes)
    rows = [
        torch.randint(-1, k, (m, slots), generator=rng).int() for (k, _), slots in zip(sizes, (1, 8, 4), strict=False)
    ]
    weights = [torch.rand(r.shape, generator=rng) for r in rows]
    owner = torch.randint(0, m, (2 * m,), generator=rng) if owned else None
    ours, theirs = ops.blend(features, rows, weights, owner), blend_by_hand(features, rows, weights, owner)
    assert_close(ours, theirs, **CLOSE)
    for a, b in zip(gradients(ours, *features), gradients(theirs, *features), strict=True):
        assert_close(a, b, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        assert_close(ops.blend(features, rows, weights, owner), theirs, **CLOSE)
        half = ops.blend(features, rows, weights, owner, torch.float16)
        place = torch.empty_like(theirs)
        assert ops.blend(features, rows, weights, owner, out=place) is place
        assert_close(place, theirs, **CLOSE)
    assert half.dtype == torch.float16
    assert_close(half.float(), theirs, rtol=2e-3, atol=2e-3)


def test_gradcheck_in_float64(rng):
    keys = voxel_keys(rng, 12, 4)
    x, weight, qkv = (
        torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_()
        for shape in ((len(keys), 3), (27, 3, 2), (9, 3, 2, 4))
    )
    assert torch.autograd.gradcheck(lambda x, w: reference.conv(x, w, neighbours(keys)), (x, weight))
    assert torch.autograd.gradcheck(lambda x, w: reference.linear(x, w[0].T, activation="gelu"), (x, weight))
    assert torch.autograd.gradcheck(lambda qkv: reference.attend(qkv, [0, 4, 9], 2), (qkv,))
    assert torch.autograd.gradcheck(lambda qkv: reference.attend(qkv, [0, 4, 9], 2, 0.4, 7), (qkv,))
    rows, weights = torch.tensor([[0, 2, -1], [1, 1, 0]]).int(), torch.rand(2, 3, generator=rng)
    assert torch.autograd.gradcheck(lambda x: reference.blend([x], [rows], [weights], torch.tensor([1, 0, 1])), (x,))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(-5, 40)))
def test_lookup_finds_what_is_there(keys, queries):
    keys = sorted(keys)
    rows = reference.lookup(torch.tensor(keys, dtype=torch.long), torch.tensor(queries, dtype=torch.long))
    assert rows.tolist() == [keys.index(q) if q in keys else -1 for q in queries]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1))
def test_group_picks_the_smallest_row_of_each_key(rows):
    keys, *columns = (torch.tensor(column) for column in zip(*rows, strict=True))
    unique, owner, picks = reference.group(keys, [column.double() for column in columns])
    assert unique.tolist() == sorted(set(keys.tolist()))
    assert unique[owner].tolist() == keys.tolist()
    for key, pick in zip(unique.tolist(), picks.tolist(), strict=True):
        assert rows[pick] == min(row for row in rows if row[0] == key)


def test_half_weights_multiply_in_half_and_return_float(ops, rng):
    keys = voxel_keys(rng, 200)
    x, weight = torch.randn(len(keys), 16, generator=rng), torch.randn(27, 16, 16, generator=rng)
    exact, half = (ops.conv(x, w, neighbours(keys)) for w in (weight, weight.bfloat16()))
    assert half.dtype == torch.float32
    error = (half - exact).norm() / exact.norm()
    assert 1e-4 < error < 1e-2


def test_an_unknown_backend_names_the_good_ones():
    with pytest.raises(BackendError, match=r"^unknown backend 'spcnov'; choose one of "):
        backend("cpu", "spcnov")


def searched(x, bank, k, columns):
    """Nearest rows by whole sums in float64, of equal ones the lower row first."""
    products = torch.stack([(row[columns].double() * bank[:, columns].double()).sum(1) for row in x])
    found = products.sort(dim=1, descending=True, stable=True)
    return found.values[:, :k], found.indices[:, :k]


@pytest.mark.parametrize(("n", "m", "k"), [(1, 1, 1), (5, 3, 3), (300, 700, 20), (7, 20_000, 5)])
def test_nearest_rows_are_those_of_a_search_through_all(ops, rng, n, m, k):
    x, bank = torch.randn(n, 13, generator=rng), torch.randn(m, 13, generator=rng)
    ends, choices = [3, 4, 13], [[0, 1, 2], [1], [0, 2]]
    products, rows = ops.nearest(x, bank, k, ends, choices)
    for i, columns in enumerate((list(range(13)), [3], [0, 1, 2, *range(4, 13)])):
        expected, theirs = searched(x, bank, k, columns)
        assert_close(products[i].double(), expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(rows[i], theirs)


def test_of_equally_near_rows_the_lower_one_comes_first(ops, rng):
    x, bank = torch.randn(9, 40, generator=rng), torch.randn(500, 40, generator=rng)
    bank[100:400] = bank[7]
    bank[450:] = bank[7].nextafter(torch.tensor(9.0))  # nearly as near, which float32 does not tell
    x[0], x[1] = bank[7], 0.0
    for k in (1, 20, 400):
        products, rows = ops.nearest(x, bank, k, [40], [[0]])
        expected, theirs = searched(x, bank, k, slice(None))
        assert torch.equal(rows[0], theirs)
        assert torch.equal(products[0], expected.float())
    assert rows[0, 1].tolist() == list(range(400))


def test_whatever_their_size_nearest_rows_are_found(ops, rng):
    x, bank = 1e6 * torch.randn(4, 20, generator=rng), torch.randn(60, 20, generator=rng)
    bank *= torch.logspace(-12, 3, 60)[:, None]
    for one in (x, 1e-30 * x):
        assert torch.equal(ops.nearest(one, bank, 60, [20], [[0]])[1][0], searched(one, bank, 60, slice(None))[1])


def test_rows_that_are_all_alike_are_found_too(ops, rng):
    x, bank = torch.randn(3, 16, generator=rng), torch.ones(3000, 16)
    assert ops.nearest(x, bank, 9, [16], [[0]])[1].tolist() == [[list(range(9))] * 3]
    assert ops.nearest(x, 0 * bank, 9, [16], [[0]])[1].tolist() == [[list(range(9))] * 3]


def test_rows_that_are_not_finite_are_near_to_none(ops):
    x = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [torch.inf, 1.0]])
    products, rows = ops.nearest(x, torch.eye(2), 2, [2], [[0]])
    assert products[0, 0].tolist() == [2, 1]
    assert products[0, 1:].isnan().all()
    assert rows[0].tolist() == [[1, 0], [0, 1], [0, 1]]
    with pytest.raises(InputError, match=r"^the bank has numbers that are NaN or infinite; leave those rows out\.$"):
        ops.nearest(x, x, 2, [2], [[0]])
    empty = ops.nearest(x[:0], torch.eye(2), 2, [2], [[0]])
    assert [part.shape for part in empty] == [(1, 0, 2)] * 2


@pytest.mark.parametrize(
    ("n", "c", "d", "m"), [(1, 1, 1, 1), (70, 13, 3, 200), (300, 40, 20, 130), (9, 5, 70, 20), (40, 300, 33, None)]
)
def test_cross_entropy_is_that_of_the_chosen_rows_with_its_gradients(ops, rng, n, c, d, m):
    x, labels = torch.randn(n, c, generator=rng), torch.randint(0, d, (n,), generator=rng)
    rows = None if m is None else torch.randint(0, n, (m,), generator=rng)
    layer = [torch.randn(d, c, generator=rng).requires_grad_(), torch.randn(d, generator=rng).requires_grad_()]
    loss = ops.cross_entropy(x, labels, *layer, rows)
    (3 * loss).backward()
    exact = [part.detach().double().requires_grad_() for part in layer]
    chosen = slice(None) if rows is None else rows
    expected = F.cross_entropy(F.linear(x[chosen].double(), *exact), labels[chosen])
    (3 * expected).backward()
    assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(layer, exact, strict=True):
        assert_close(ours.grad.double(), theirs.grad, rtol=1e-5, atol=1e-6)
    again = [part.detach().clone().requires_grad_() for part in layer]
    (3 * ops.cross_entropy(x, labels, *again, rows)).backward()
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(layer, again, strict=True))


def test_cross_entropy_of_huge_logits_is_finite_and_a_nan_stays_one(ops):
    x, labels, bias = torch.tensor([[1e4], [-1e4]]), torch.tensor([1, 1]), torch.zeros(2)
    weight = torch.tensor([[-1.0], [1.0]]).requires_grad_()
    loss = ops.cross_entropy(x, labels, weight, bias)
    loss.backward()
    assert loss.item() == 1e4
    assert weight.grad.tolist() == [[-5e3], [5e3]]
    x[1] = torch.nan
    assert ops.cross_entropy(x, labels, weight, bias).isnan()
    assert ops.cross_entropy(x, labels, weight, bias, torch.tensor([0])).item() == 0.0


def test_cross_entropy_has_a_gradient_for_the_rows_as_well(ops, rng):
    x, labels = torch.randn(5, 4, generator=rng).requires_grad_(), torch.tensor([0, 1, 2, 0, 1])
    weight, bias = torch.randn(3, 4, generator=rng), torch.randn(3, generator=rng)
    ops.cross_entropy(x, labels, weight, bias).backward()
    assert_close(x.grad, torch.func.grad(lambda x: F.cross_entropy(F.linear(x, weight, bias), labels))(x.detach()))


def test_cross_entropy_refuses_labels_and_rows_that_are_not_there():
    x, layer = torch.eye(3), (torch.eye(3), torch.zeros(3))
    for labels, rows in ([0, 1, 3], None), ([0, 1, -1], None), ([0, 1, 2], torch.tensor([3])):
        with pytest.raises(
            InputError, match=r"^cross_entropy: a label is no row of the weight, or a row none of x; count both from 0"
        ):
            native.cross_entropy(x, torch.tensor(labels), *layer, rows)
