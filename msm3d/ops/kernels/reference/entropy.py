"""The mean cross-entropy of a linear layer on some rows."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(x: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, rows: Tensor | None) -> Tensor:
    """Return the mean of -log of what softmax gives each row's own class."""
    if rows is not None:
        x, labels = x.index_select(0, rows), labels.index_select(0, rows)
    return F.cross_entropy(F.linear(x, weight, bias), labels)
