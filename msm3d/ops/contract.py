"""What every backend is given, as values: a norm, and what precedes and follows a product. They check themselves.

Whoever computes keeps the same order: the norm before, the product, then bias, activation, norm, gamma and residual
while each row is at hand.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor

from ..errors import InputError
from .usual import plain

EPS = 1e-4  # what a norm adds to its divisor unless it says otherwise [released code]
NORMS = "rmsnorm", "layernorm"  # the kinds of norm, in the order of `abi.h`
ACTIVATIONS = "gelu", "geglu"
"""The activations, in the order of `abi.h`: x times the normal distribution's share below it, and a gated one."""

Tensors = Sequence[Tensor]
Levels = list[tuple[Tensor, Tensor | None, Tensor | None, Tensor]]
"""What `octree` returns: each level's keys, parents, children and neighbours."""


class Norm(NamedTuple):
    """A norm of the rows of a matrix, with a scale and perhaps a shift per channel.

    "rmsnorm" divides a row by its root mean square plus `eps` [released code], "layernorm" divides what differs from
    the row's mean by the root of its variance plus `eps`, as `torch.nn.LayerNorm` does.
    """

    kind: str
    scale: Tensor
    shift: Tensor | None = None
    eps: float = EPS

    @classmethod
    def of(cls, norm: "NormLike") -> "Norm":
        """Return a norm as it is, and a tuple of its fields as a norm.

        >>> Norm.of(("rmsnorm", torch.ones(2), None)).eps
        0.0001
        """
        return norm if isinstance(norm, Norm) else cls(*norm)  # pyright: ignore

    def check(self, channels: int) -> None:
        """Raise an InputError unless this is a norm of rows of so many channels."""
        if self.kind not in NORMS:
            raise InputError(f"norm is {self.kind!r}; it must be {either(map(repr, NORMS))}.")
        if not 0 <= self.eps < inf:
            raise InputError(f"the norm's eps is {self.eps}; it must be a number from 0 on.")
        require_shape("the norm's scale", self.scale, channels)
        require_shape("the norm's shift", self.shift, channels)


NormLike = Norm | tuple[str, Tensor, Tensor | None] | tuple[str, Tensor, Tensor | None, float]
"""A norm, or a plain tuple of its fields, `eps` or not."""


class Around(TypedDict, total=False):
    """The keywords of a product: what precedes it, what follows it, and what one backend alone is told."""

    pre_norm: NormLike | None  # a norm of the rows that are multiplied
    activation: str | None  # "gelu", or "geglu", which halves the channels: gelu of the first half times the second
    norm: NormLike | None
    gamma: Tensor | None  # a weight per channel
    residual: Tensor | None  # what is added to the result, of its shape
    isa: str | None  # native's instruction set, the best one by default
    precision: str | None  # triton's products of float32: "ieee", "tf32" or "tf32x3"; as torch was told by default


PARAMETERS = "bias", "scale", "shift", "gamma", "residual"
"""The tensors of an epilogue, in the order in which they are applied."""


class Epilogue(NamedTuple):
    """What follows a product while its rows are at hand, in this order; None leaves a step out."""

    bias: Tensor | None = None
    activation: str | None = None
    norm: Norm | None = None
    gamma: Tensor | None = None
    residual: Tensor | None = None

    def width(self, d: int) -> int:
        """Return the channels of the result for a product of `d` channels."""
        return d // 2 if self.activation == "geglu" else d

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """`PARAMETERS`."""
        scale, shift = (None, None) if self.norm is None else self.norm[1:3]
        return self.bias, scale, shift, self.gamma, self.residual

    def check(self, m: int, d: int) -> None:
        """Raise an InputError unless this can follow a product of `m` rows of `d` channels."""
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise InputError(
                f"activation is {self.activation!r}; it must be {', '.join(map(repr, ACTIVATIONS))} or None."
            )
        if self.activation == "geglu" and d % 2:
            raise InputError(f"geglu halves the channels, but there are {d}; give the weight an even number.")
        width = self.width(d)
        require_shape("bias", self.bias, d)
        if self.norm is not None:
            self.norm.check(width)
        require_shape("gamma", self.gamma, width)
        require_shape("residual", self.residual, m, width)


def parted(bias: Tensor | None, around: Around) -> tuple[Norm | None, Epilogue, dict[str, Any]]:
    """Return the norm before a product, what follows it, and what is left: the options of one backend."""
    rest: dict[str, Any] = {**around}
    pre_norm, norm = rest.pop("pre_norm", None), rest.pop("norm", None)
    activation, gamma, residual = rest.pop("activation", None), rest.pop("gamma", None), rest.pop("residual", None)
    epilogue = Epilogue(bias, activation, norm and Norm.of(norm), gamma, residual)
    return pre_norm and Norm.of(pre_norm), epilogue, rest


# --- sentences about tensors ----------------------------------------------------------------------------------------


def require_shape(name: str, tensor: Tensor | None, *sizes: int) -> None:
    """Raise an InputError unless the tensor, if there is one, has these sizes."""
    if tensor is not None and tensor.shape != sizes:
        raise InputError(f"{name} is {shape(tensor)}; it needs {sizes}.")


def require_rows(name: str, x: Tensor) -> None:
    """Raise an InputError unless `x` is a matrix of floating-point numbers, with a channel at least."""
    if x.dim() != 2 or not x.is_floating_point() or x.shape[1] == 0:
        raise InputError(f"{name} is {shape(x)} of {x.dtype}; it needs rows of floating-point channels.")


def require_device(name: str, tensor: Tensor, **others: Tensor | None) -> None:
    """Raise an InputError where one of the others, if there is one, is elsewhere than `tensor`."""
    for which, other in others.items():
        if other is not None and other.device != tensor.device:
            if tensor.is_meta or other.is_meta:
                plain(*((name, tensor) if tensor.is_meta else (which, other)))  # which refuses it
            raise InputError(
                f"{which} is on {other.device} and {name} on {tensor.device}; move both to one with .to()."
            )


def require_search(x: Tensor, bank: Tensor, k: int, ends: Sequence[int], choices: Sequence[Sequence[int]]) -> None:
    """Raise an InputError unless these are what a search for nearest rows takes."""
    require_rows("x", x)
    require_rows("bank", bank)
    require_shape("bank", bank, len(bank), x.shape[1])
    require_device("x", x, bank=bank)
    if not 1 <= k <= len(bank):
        raise InputError(f"k is {k}; it must be from 1 to {len(bank)}, the rows of the bank.")
    if not bank.isfinite().all():
        raise InputError("the bank has numbers that are NaN or infinite; leave those rows out.")
    if any(a > b for a, b in pairwise([0, *ends])) or [*ends][-1:] != [x.shape[1]]:
        raise InputError(f"ends is {list(ends)}; it needs where each part of the columns ends, up to {x.shape[1]}.")
    if not choices or not all(choice and set(choice) <= set(range(len(ends))) for choice in choices):
        raise InputError(f"choices is {list(choices)}; each needs numbers of parts from 0 to {len(ends) - 1}.")


def require_integers(name: str, tensor: Tensor, dtype: torch.dtype, dim: int | None = None) -> None:
    """Raise an InputError unless the tensor is of the dtype, and of the number of dimensions if one is given."""
    if tensor.dtype != dtype:
        raise InputError(f"{name} is {tensor.dtype}; it must be {dtype}.")
    if dim is not None and tensor.dim() != dim:
        raise InputError(f"{name} is {shape(tensor)}; it needs {dim} dimensions.")


def shape(tensor: Tensor) -> str:
    """Return a tensor's sizes as a tuple is written."""
    return str(tuple(tensor.shape))


def either(words: Iterable[object]) -> str:
    """Join alternatives.

    >>> either("abc"), either("a")
    ('a, b or c', 'a')
    """
    *most, last = map(str, words)
    return f"{', '.join(most)} or {last}" if most else last
