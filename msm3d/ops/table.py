"""Which rows an operation reads, as a value: a table, its pairs, its transpose, and what else a backend makes of it."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor

from ..errors import InputError

Made = TypeVar("Made")


class Table:
    """Rows (m, k) of a convolution's input, -1 for none, and what backends derive from them at most once.

    A convolution takes such a value or a bare tensor, of which everything is derived anew in every call. The rows must
    not be changed any more.

    >>> import torch
    >>> Table(torch.tensor([[0, -1], [1, 0]], dtype=torch.int32))
    Table(2 rows, 2 slots)
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self._version = _version(rows)
        self._made: dict[Hashable, Any] = {}

    @classmethod
    def of(cls, rows: "Table | Tensor") -> "Table":
        """Return a table as it is, and bare rows as a table for one call."""
        return rows if isinstance(rows, Table) else cls(rows)

    def transposed(self, n: int, turn: Callable[[Tensor, int], Tensor]) -> "Table":
        """Return the table (n, k) of the opposite direction: where each of `n` input rows goes, slot by slot.

        `turn(rows, n)` is how a backend computes it. Whichever does, it is the same table, kept for all of them.
        """
        return self._once(("transposed", n), lambda: Table(turn(self.rows, n)))

    def pairs(self, of: Callable[..., Made], *arguments: Hashable) -> Made:
        """Return `of(rows, *arguments)`: the pairs of rows that the slots join, listed as a backend reads them."""
        return self._once((of, *arguments), lambda: of(self.rows, *arguments))

    def _once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        if _version(self.rows) != self._version:
            raise InputError("a table was changed after its first use; make a new one: Table(rows).")
        if key not in self._made:
            self._made[key] = make()  # two threads may both make it, of the same rows
        return self._made[key]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Table({len(self)} rows, {self.rows.shape[1]} slots)"

    def __reduce__(self) -> tuple[type["Table"], tuple[Tensor]]:
        """Copies and pickles hold the rows: what was made of them holds addresses."""
        return Table, (self.rows,)


def _version(rows: Tensor) -> int | None:
    return None if rows.is_inference() else rows._version
