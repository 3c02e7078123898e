"""The operations as they are called: each checks its arguments, once for all backends, and runs a bare kernel."""

import importlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InputError
from . import curves
from .contract import (
    PARAMETERS,
    Around,
    Levels,
    Norm,
    NormLike,
    Tensors,
    either,
    parted,
    require_device,
    require_integers,
    require_rows,
    require_search,
    require_shape,
    shape,
)
from .kernels import reference
from .table import Table
from .usual import uncompiled

if TYPE_CHECKING:
    from typing_extensions import Unpack

FLOATS = torch.float32, torch.bfloat16, torch.float16, torch.float64
"""The dtypes of features and results; which of them a weight may have, the kernels' `DTYPES` say."""
CORNERS = 8  # rows that one row of a blend reads at most from a level
OPERATIONS = (
    *("lookup", "group", "octree", "corners", "normalize", "linear", "conv", "attend", "blend", "nearest"),
    "cross_entropy",
)
"""What a backend can have kernels for. What it lacks, another one computes."""

_REFERENCE: ModuleType = reference
_CASTS = dict(zip(FLOATS, (".float()", ".bfloat16()", ".half()", ".double()"), strict=True))


class Backend:
    """The operations of a network, computed by the kernels of one module where it has them.

    The module has `why_not(device)`, which returns None, or a sentence that tells the user why it cannot run there; and
    any of the functions of `OPERATIONS`, with the arguments that `kernels.reference` has, which defines their numbers.
    They are called with arguments that have been checked here, and with the options that the caller adds by keyword.
    `DTYPES` are the weights that the kernels multiply; all by default. float64 goes to `reference` where it is not
    among them, and so does what the module lacks, or else to the backend that its `rest(device)` returns.

    Sizes: n and m rows (voxels), c and d channels, k slots of a table (27 neighbours, 8 children), h heads of e
    channels. A table is (m, k) int32: for each output row and slot the input row, or -1. Within a slot no input row
    appears twice, so a table can be turned around, and the gradient of a convolution is a convolution. The weight's
    dtype is the precision of the products; what goes in and out keeps the dtype of the features.

    Args:
        name: what a user types.
        kernels: the module, or its name, by which it is imported when it is first used.
    """

    def __init__(self, name: str, kernels: str | ModuleType) -> None:
        self.NAME = name
        self._kernels = kernels

    def __repr__(self) -> str:
        return f"Backend({self.NAME!r})"

    @property
    def kernels(self) -> ModuleType:
        """The module of the bare kernels."""
        if isinstance(self._kernels, str):
            self._kernels = importlib.import_module(self._kernels)
        return self._kernels

    def why_not(self, device: torch.device | str) -> str | None:
        """Return None if the kernels can run on `device`, else a sentence for the user."""
        return self.kernels.why_not(torch.device(device))

    # --- geometry ---------------------------------------------------------------------------------------------------

    @uncompiled
    def lookup(self, keys: Tensor, queries: Tensor, **options: Any) -> Tensor:
        """Return for each query its row in `keys`, which ascend without repeats, or -1 where it is absent.

        >>> Backend("reference", reference).lookup(torch.tensor([2, 5, 9]), torch.tensor([[9, 4], [2, 10]])).tolist()
        [[2, -1], [0, -1]]

        Raises:
            InputError: keys or queries are not int64.
        """
        require_integers("keys", keys, torch.int64, 1)
        require_integers("queries", queries, torch.int64)
        return self._run("lookup", keys.device, (), keys, queries, **options)

    @uncompiled
    def group(self, keys: Tensor, columns: Tensors, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Put what has the same key together, and pick from each group the row with the smallest `columns`.

        >>> Backend("reference", reference).group(torch.tensor([7, 3, 7]), [torch.tensor([0.5, 0.1, 0.2])])
        (tensor([3, 7]), tensor([1, 0, 1]), tensor([1, 2]))

        Args:
            keys: (n,) int64, in any order.
            columns: of n numbers each, the first decides, the others in turn where there are ties.
            options: see `Around`; those of one backend alone.

        Returns:
            the distinct keys (m,), ascending, the group (n,) of each row and the row (m,) picked from each group.

        Raises:
            InputError: the keys are not int64, or a column has another number of rows.
        """
        require_integers("keys", keys, torch.int64, 1)
        for i, column in enumerate(columns):
            if column.shape != keys.shape:
                raise InputError(f"columns[{i}] is {shape(column)}; it needs one number per key, {shape(keys)}.")
        return self._run("group", keys.device, (), keys, columns, **options)

    @uncompiled
    def octree(self, keys: Tensor, levels: int, **options: Any) -> Levels:
        """Build `levels` voxel sets over ascending Morton `keys`, fine to coarse, with the tables between them.

        Returns:
            for each level `(keys (m,), parents (m,), children (m, 8), neighbours (m, 27))`: the row of each voxel's
            cell in the next coarser level (None at the coarsest), the rows of its octants in the next finer level
            (None at the finest) and the rows around it, itself in slot 13. Slots count x, then y, then z, the last
            fastest.

        Raises:
            InputError: the keys are not int64, or there are too many levels.
        """
        if not 1 <= levels <= curves.BITS + 1:
            raise InputError(f"levels is {levels}; it must be from 1 to {curves.BITS + 1}.")
        require_integers("keys", keys, torch.int64, 1)
        return self._run("octree", keys.device, (), keys, levels, **options)

    @uncompiled
    def corners(
        self,
        cells: Tensor,
        ancestors: Tensor,
        neighbours: Tensor,
        level: int,
        scale: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return the eight voxels of a level around the centres of finest cells, and their weights.

        The weights are those of a trilinear reading.

        Args:
            cells: (r, 4) int32, scene and place of the finest cells.
            ancestors: (r,) int64, the row of each one's cell in the level.
            neighbours: (m, 27) int32, of the level.
            level: how many times coarser than the cells.
            scale: (scenes, 3) float64, up to 1: what centres in units of the level's cells are multiplied by. Without
                it they are moved by half a cell instead, so that a voxel's value stands at its centre.
            options: see `Around`; those of one backend alone.

        Returns:
            rows (r, 8) int32, -1 where there is no voxel, and weights (r, 8) float32 that sum to 1.

        Raises:
            InputError: shapes or dtypes are others.
        """
        require_integers("cells", cells, torch.int32, 2)
        require_integers("neighbours", neighbours, torch.int32, 2)
        require_integers("ancestors", ancestors, torch.int64, 1)
        require_shape("cells", cells, len(ancestors), 4)
        require_shape("neighbours", neighbours, len(neighbours), 27)
        if scale is not None:
            require_rows("scale", scale)
            require_shape("scale", scale, len(scale), 3)
        return self._run("corners", cells.device, (), cells, ancestors, neighbours, level, scale, **options)

    # --- network ----------------------------------------------------------------------------------------------------

    @uncompiled
    def normalize(self, x: Tensor, norm: NormLike, **options: Any) -> Tensor:
        """Scale each row of `x` (n, c) to unit root mean square, or to zero mean and unit variance; see `Norm`.

        Raises:
            InputError: `x` is not a matrix of floating-point numbers, or the norm does not fit its channels.
        """
        require_rows("x", x)
        return self._run("normalize", x.device, [x.dtype], x, _checked(norm, x), **options)

    @uncompiled
    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, **around: "Unpack[Around]") -> Tensor:
        """Multiply each row of `x` (n, c) by `weight` (d, c), as `torch.nn.Linear` does, and finish; see `Around`.

        Raises:
            InputError: shapes do not fit each other, or the backend has no products of the weight's dtype.
        """
        require_rows("x", x)
        if weight.dim() != 2 or weight.shape[1] != x.shape[1]:
            raise InputError(f"weight is {shape(weight)}; it needs (d, {x.shape[1]}) for x {shape(x)}.")
        return self._product("linear", len(x), x, weight, bias=bias, around=around)

    @uncompiled
    def conv(
        self, x: Tensor, weight: Tensor, table: Table | Tensor, bias: Tensor | None = None, **around: "Unpack[Around]"
    ) -> Tensor:
        """Sum over the slots of `table` (m, k) the rows of `x` (n, c) times the slot's `weight` (k, c, d), and finish.

        Submanifold, strided and transposed convolutions differ in their table alone: a voxel's neighbours, its
        children, or its parent in the slot of its own octant. A bare table is read anew in every call; a `Table` keeps
        what a backend makes of it. What may stand around the product, `Around` says.

        >>> ops, table = Backend("reference", reference), torch.tensor([[0, 1], [-1, 0]], dtype=torch.int32)
        >>> ops.conv(torch.tensor([[1.0], [2.0]]), torch.tensor([[[10.0]], [[1.0]]]), table).tolist()
        [[12.0], [1.0]]

        Raises:
            InputError: shapes do not fit each other, the table is not int32, or the backend has no products of the
                weight's dtype.
        """
        require_rows("x", x)
        table = Table.of(table)
        rows = table.rows
        if rows.dim() != 2 or rows.dtype != torch.int32:
            raise InputError(f"table is {shape(rows)} of {rows.dtype}; it must be (m, k) of torch.int32.")
        if weight.dim() != 3 or weight.shape[:2] != (rows.shape[1], x.shape[1]):
            raise InputError(
                f"weight is {shape(weight)}; it needs ({rows.shape[1]}, {x.shape[1]}, d) "
                f"for table {shape(rows)} and x {shape(x)}."
            )
        require_device("x", x, table=rows)
        return self._product("conv", len(rows), x, weight, table, bias=bias, around=around)

    @uncompiled
    def attend(
        self, qkv: Tensor, offsets: Sequence[int], window: int, dropout: float = 0.0, seed: int = 0, **options: Any
    ) -> Tensor:
        """Softmax attention of each row to the `window` rows before it and as many after, within its scene.

        Args:
            qkv: (n, 3, h, e) queries, keys and values; rows of a scene in the order of its curve.
            offsets: first row of each scene, and n.
            window: rows to either side.
            dropout: share of the attention weights set to zero, for training.
            seed: of the dropout; each backend draws its own numbers from it.
            options: see `Around`; those of one backend alone.

        Returns:
            (n, h, e). The work is n * window; the memory, forward and backward, that of a block of rows.

        Raises:
            InputError: a shape, an offset, the window or the dropout is none of these.
        """
        if qkv.dim() != 4 or qkv.shape[1] != 3 or not qkv.is_floating_point():
            raise InputError(f"qkv is {shape(qkv)} of {qkv.dtype}; it needs (n, 3, heads, channels) of floats.")
        ascending = all(a <= b for a, b in pairwise(offsets))
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(qkv) or not ascending:
            raise InputError(
                f"offsets is {list(offsets)}; it needs the first row of each scene, from 0 up to {len(qkv)}."
            )
        if window < 0 or not 0 <= dropout < 1:
            raise InputError(f"window is {window} and dropout {dropout}; they must be >= 0, and dropout below 1.")
        return self._run("attend", qkv.device, [qkv.dtype], qkv, tuple(offsets), window, dropout, seed, **options)

    @uncompiled
    def blend(
        self,
        features: Tensors,
        rows: Tensors,
        weights: Tensors,
        owner: Tensor | None = None,
        dtype: torch.dtype | None = None,
        out: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """Concatenate weighted sums: out[i] = cat over levels of sum_j weights[l][i, j] features[l][rows[l][i, j]].

        Args:
            features: per level (m_l, c_l).
            rows: per level (m, k_l) int32 rows of `features`, k_l at most 8; -1 for an empty corner: zeros.
            weights: per level (m, k_l) float.
            owner: (n,) the row of the result that each point takes; None for the (m, sum c) rows themselves.
            dtype: of the result; that of the features by default.
            out: contiguous tensor of the result's shape and dtype to write to and return, without gradients.
            options: see `Around`; those of one backend alone.

        Returns:
            (n, sum of c_l): the values of point p are those of row `owner[p]`.

        Raises:
            InputError: the lists differ in length, or shapes or dtypes do not fit each other.
        """
        dtype = _checked_blend(features, rows, weights, owner, dtype)
        if out is not None:
            size = len(rows[0]) if owner is None else len(owner), sum(f.shape[1] for f in features)
            device = features[0].device
            if out.shape != size or out.dtype != dtype or not out.is_contiguous() or out.device != device:
                raise InputError(
                    f"out is {shape(out)} {out.dtype} on {out.device}; "
                    f"it must be contiguous {size} {dtype} on {device}."
                )
        dtypes = [dtype, *(f.dtype for f in features)]
        return self._run("blend", features[0].device, dtypes, features, rows, weights, owner, dtype, out, **options)

    @uncompiled
    def nearest(
        self, x: Tensor, bank: Tensor, k: int, ends: Sequence[int], choices: Sequence[Sequence[int]], **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Find the `k` rows of `bank` (m, c) with the largest product with each row of `x` (n, c), exactly.

        >>> x, bank = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 9.0], [2.0, 0.0], [2.0, 1.0]])
        >>> Backend("reference", reference).nearest(x, bank, 2, [1, 2], [[0], [0, 1]])[1].tolist()
        [[[1, 2]], [[1, 2]]]

        Args:
            x: (n, c).
            bank: finite; both are taken in float32.
            k: at most m.
            ends: where parts of the columns end, ascending to c.
            choices: for each result the numbers of the parts that count.
            options: see `Around`; those of one backend alone.

        Returns:
            products (choices, n, k), falling, of equal sums in float64 the lower row first, and rows (choices, n, k).

        Raises:
            InputError: the arguments do not fit each other, or the bank is not finite.
        """
        require_search(x, bank, k, ends, choices)
        return self._run("nearest", x.device, (), x, bank, k, ends, choices, **options)

    @uncompiled
    def cross_entropy(
        self, x: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, rows: Tensor | None = None, **options: Any
    ) -> Tensor:
        """Return the mean cross-entropy of the logits `x[rows] @ weight.T + bias`, to learn `weight` and `bias` from.

        >>> x, labels = torch.eye(2), torch.tensor([0, 1])
        >>> Backend("reference", reference).cross_entropy(x, labels, 3 * x, torch.zeros(2))
        tensor(0.0486)

        Args:
            x: (n, c).
            labels: (n,) int64, the class of each row of `x`, 0 to d - 1.
            weight: (d, c).
            bias: (d,).
            rows: (m,) int64, those that count, in any order and as often as they are named; all by default.
            options: see `Around`; those of one backend alone.

        Returns:
            one number, in the dtype of the weight.

        Raises:
            InputError: shapes do not fit each other, there are no rows, or labels and rows are not int64.
        """
        require_rows("x", x)
        if weight.dim() != 2 or weight.shape[1] != x.shape[1]:
            raise InputError(f"weight is {shape(weight)}; it needs (d, {x.shape[1]}) for x {shape(x)}.")
        require_shape("bias", bias, len(weight))
        require_integers("labels", labels, torch.int64, 1)
        require_shape("labels", labels, len(x))
        if rows is not None:
            require_integers("rows", rows, torch.int64, 1)
        if not len(x if rows is None else rows):
            raise InputError("there are no rows; give at least one.")
        require_device("x", x, labels=labels, weight=weight, bias=bias, rows=rows)
        dtypes = x.dtype, weight.dtype
        return self._run("cross_entropy", x.device, dtypes, x, labels, weight, bias, rows, **options)

    # --- who computes -----------------------------------------------------------------------------------------------

    def _run(
        self, operation: str, device: torch.device, dtypes: Iterable[torch.dtype], *arguments: Any, **options: Any
    ) -> Any:
        """Run the kernel for tensors of these dtypes; the options are for this backend's own."""
        kernels = self._computing(operation, device, *dtypes)
        return getattr(kernels, operation)(*arguments, **(options if kernels is self.kernels else {}))

    def _computing(self, operation: str, device: torch.device, *dtypes: torch.dtype) -> ModuleType:
        """Return the module whose kernel computes an operation on tensors of these dtypes."""
        kernels: ModuleType = self.kernels
        while not hasattr(kernels, operation):
            kernels = kernels.rest(device).kernels if hasattr(kernels, "rest") else _REFERENCE
        exact = torch.float64 in dtypes and torch.float64 not in _products(kernels)
        return _REFERENCE if exact else kernels

    def _product(
        self, operation: str, m: int, x: Tensor, weight: Tensor, *table: Table, bias: Tensor | None, around: Around
    ) -> Tensor:
        """Check what is around a product of `m` rows, and run it."""
        if weight.dtype not in (good := _products(self._computing(operation, x.device, x.dtype, weight.dtype))):
            casts = either(_CASTS[dtype] for dtype in good)
            raise InputError(f"weight is {weight.dtype}; it must be {either(good)}: call {casts}.")
        if weight.numel() == 0:
            raise InputError(f"weight is {shape(weight)}; it needs at least one slot and channel.")
        pre_norm, epilogue, options = parted(bias, around)
        pre_norm = pre_norm and _checked(pre_norm, x)
        epilogue.check(m, weight.shape[2 if table else 0])
        require_device("x", x, weight=weight, **dict(zip(PARAMETERS, epilogue.tensors, strict=True)))
        dtypes = x.dtype, weight.dtype
        return self._run(operation, x.device, dtypes, x, weight, *table, pre_norm, epilogue, **options)


def _products(kernels: ModuleType) -> Sequence[torch.dtype]:
    return getattr(kernels, "DTYPES", FLOATS)


def _checked(norm: NormLike, x: Tensor) -> Norm:
    """Return the norm as a value; raise an InputError if it is none of the rows of `x`."""
    norm = Norm.of(norm)
    norm.check(x.shape[1])
    require_device("x", x, scale=norm.scale, shift=norm.shift)
    return norm


def _checked_blend(
    features: Tensors, rows: Tensors, weights: Tensors, owner: Tensor | None, dtype: torch.dtype | None
) -> torch.dtype:
    """Return the result's dtype; raise an InputError if the levels do not fit each other."""
    if not features or not len(features) == len(rows) == len(weights):
        raise InputError(f"{len(features)} features, {len(rows)} rows and {len(weights)} weights; give one per level.")
    dtype = dtype or features[0].dtype
    if dtype not in FLOATS:
        raise InputError(f"dtype is {dtype}; it must be {either(FLOATS)}.")
    for level, (f, r, w) in enumerate(zip(features, rows, weights, strict=True)):
        require_rows(f"features[{level}]", f)
        require_integers(f"rows[{level}]", r, torch.int32)
        if r.dim() != 2 or r.shape != w.shape or r.shape[1] > CORNERS or len(r) != len(rows[0]):
            raise InputError(
                f"rows[{level}] is {shape(r)} and weights[{level}] is {shape(w)}; both need "
                f"({len(rows[0])}, k) with k at most {CORNERS}."
            )
        require_device(f"features[{level}]", f, rows=r, weights=w, owner=owner)
    if owner is not None:
        require_integers("owner", owner, torch.int64, 1)
    return dtype
