"""The spconv backend without a GPU: pairs, layout, parts, errors; its products through spconv's CPU build, if any."""

import os
from importlib.util import find_spec

import pytest
import torch
from torch.testing import assert_close

from msm3d.ops import reference
from msm3d.ops import spconv as ours
from msm3d.ops.kernels import spconv
from tests.conftest import voxel_keys
from tests.test_native import random_table


class Loop:
    """What spconv computes, in two loops, from its own layout: filters (d, k, 1, 1, c), pairs and their number."""

    @staticmethod
    def indice_conv(x, filters, pairs, counts, m):
        out = x.new_zeros(m, len(filters))
        for slot, count in enumerate(counts.tolist()):
            for i, o in pairs[:, slot, :count].T.tolist():
                out[o] += filters[:, slot, 0, 0] @ x[i]
        return out

    @staticmethod
    def indice_conv_backward(x, filters, grad, pairs, counts):
        of_x, of_filters = torch.zeros_like(x), torch.zeros_like(filters)
        for slot, count in enumerate(counts.tolist()):
            for i, o in pairs[:, slot, :count].T.tolist():
                of_x[i] += grad[o] @ filters[:, slot, 0, 0]
                of_filters[:, slot, 0, 0] += torch.outer(grad[o], x[i])
        return of_x, of_filters


@pytest.fixture(params=["loops", "spconv"])
def products(request, monkeypatch):
    if request.param == "loops":
        monkeypatch.setattr(spconv, "_spconv", lambda: Loop)
        return
    if find_spec("spconv") is None:
        pytest.skip("spconv is not installed.")
    if os.environ.get("OMP_NUM_THREADS") != "1":
        pytest.skip("spconv is wrong on a CPU with more than one thread; set OMP_NUM_THREADS=1.")
    # Its CPU build asks for a CUDA stream on the way back, which it then has no use for.
    monkeypatch.setattr(spconv._spconv(), "get_current_stream", lambda: 0)


@pytest.mark.parametrize("limit", [spconv.LIMIT, 300])
@pytest.mark.parametrize(("n", "m", "k", "c", "d"), [(20, 25, 27, 6, 5), (30, 12, 8, 4, 8), (5, 0, 8, 4, 8)])
def test_conv_equals_reference_at_once_and_in_parts(products, rng, monkeypatch, limit, n, m, k, c, d):
    monkeypatch.setattr(spconv, "LIMIT", limit)
    x, weight, bias = (torch.randn(s, generator=rng).requires_grad_() for s in ((n, c), (k, c, d), (d,)))
    table, way = random_table(rng, n, m, k), torch.randn(m, d, generator=rng)
    parts = len(list(spconv._parts(x, weight, table)))
    assert parts == (m > 0) if limit > 300 else (parts > 1 or m == 0)
    results = [ops.conv(x, weight, table, bias, activation="gelu") for ops in (ours, reference)] if m else []
    if not results:
        assert ours.conv(x, weight, table, bias).shape == (0, d)
        return
    assert_close(*results, rtol=1e-4, atol=1e-4)
    for a, b in zip(*(torch.autograd.grad(y, (x, weight, bias), way) for y in results), strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_check_on_first_use_passes_and_can_fail(products, monkeypatch):
    assert spconv._wrong(torch.device("cpu")) is None
    true = spconv.filters
    monkeypatch.setattr(spconv, "filters", lambda weight: true(weight.flip(0)))
    assert spconv._wrong(torch.device("cpu")) == "convolutions"


def test_pairs_are_those_of_the_table(rng):
    table = random_table(rng, 50, 40, 8)
    pairs, counts = spconv.pairs(table)
    assert pairs.shape == (2, 8, 40)
    assert pairs.dtype == counts.dtype == torch.int32
    for slot, count in enumerate(counts.tolist()):
        inputs, outputs = pairs[:, slot, :count]
        assert torch.equal(table[outputs.long(), slot], inputs)
        assert (pairs[:, slot, count:] == -1).all()
    assert counts.sum() == (table >= 0).sum()


def test_all_else_comes_from_the_best_other_backend(rng):
    keys = voxel_keys(rng, 60)
    for a, b in zip(ours.octree(keys, 2), reference.octree(keys, 2), strict=True):
        assert torch.equal(a[3], b[3])
    x, weight = torch.randn(10, 6, generator=rng), torch.randn(4, 6, generator=rng)
    assert_close(ours.linear(x, weight, activation="gelu"), reference.linear(x, weight, activation="gelu"))
