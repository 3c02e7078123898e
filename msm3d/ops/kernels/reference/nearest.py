"""The rows of a bank that are most like others: candidates by products in float32, then exactly."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

PRODUCTS = 1 << 22  # numbers that are held at a time


def nearest(
    x: Tensor, bank: Tensor, k: int, ends: Sequence[int], choices: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """Return the largest products and their rows."""
    x, bank = x.float(), bank.float()
    starts = [0, *ends[:-1]]
    columns = [torch.cat([torch.arange(starts[i], ends[i]) for i in choice]).to(x.device) for choice in choices]
    every = torch.arange(ends[-1], device=x.device)
    step = max(1, PRODUCTS // len(bank))
    found = []
    for mine in columns:
        ours, theirs = (x, bank) if torch.equal(mine, every) else (x[:, mine], bank[:, mine])
        unit = _scaled(theirs, theirs.double().norm(dim=1).max())  # which float32 always holds
        parts = [_largest(ours[i : i + step], theirs, unit, k) for i in range(0, max(len(x), 1), step)]
        found.append([torch.cat(each) for each in zip(*parts, strict=True)])
    products, rows = zip(*found, strict=True)
    return torch.stack(products), torch.stack(rows)


def _largest(x: Tensor, bank: Tensor, unit: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the `k` largest products (n, k) of each row of `x` (n, c), and the rows of the bank.

    `unit` is the bank in units of its longest row.
    """
    size = x.double().norm(dim=1)
    with _whole_precision():
        about = _scaled(x, size[:, None]) @ unit.T
    error = bank.shape[1] * torch.finfo(torch.float32).eps
    products = torch.where(size == 0, 0.0, torch.nan)[:, None].repeat(1, k)  # all products with a row are the same
    rows = torch.arange(k, device=x.device).repeat(len(x), 1)
    left, kept = torch.nonzero((size > 0) & size.isfinite()).flatten(), min(len(bank), 2 * k + 16)
    while len(left):
        best = about[left].topk(kept, dim=1)
        enough = (best.values[:, -1] < best.values[:, k - 1] - 4 * error) | (kept == len(bank))
        done, found = left[enough], best.indices[enough].sort(dim=1).values  # of equal ones the lower row comes first
        exact = _exact(x[done], bank, found)
        order = exact.sort(dim=1, descending=True, stable=True).indices[:, :k]
        products[done], rows[done] = exact.gather(1, order).float(), found.gather(1, order)
        left, kept = left[~enough], min(len(bank), 4 * kept)
    return products, rows


def _scaled(rows: Tensor, by: Tensor) -> Tensor:
    return (rows.double() / torch.where(by > 0, by, 1.0)).float()


@contextmanager
def _whole_precision() -> Iterator[None]:
    """Let products of float32 be of float32, whatever the caller allows."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(allowed)


def _exact(x: Tensor, bank: Tensor, rows: Tensor) -> Tensor:
    """Return the products (n, k) of each row of `x` and its `rows` (n, k) of the bank, in float64."""
    step = max(1, PRODUCTS // max(1, rows.shape[1] * bank.shape[1]))
    parts = [
        (x[i : i + step, None].double() * bank[rows[i : i + step]].double()).sum(-1)
        for i in range(0, max(len(x), 1), step)
    ]
    return torch.cat(parts)
