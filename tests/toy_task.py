"""A task and a head from outside, all in one file: how high above the floor each point lies, by least squares."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from msm3d.tasks.base import Metric, Task
from msm3d.tasks.heads.base import ABOVE_0, Head


@dataclass(kw_only=True, eq=False, repr=False)
class LeastSquares(Head):
    """Ridge regression in closed form."""

    name = "least-squares"
    constraints: ClassVar = {"ridge": ABOVE_0}

    ridge: float = 1e-3

    def _learn(self, data):
        X, y = data.take(np.arange(len(data))).double(), torch.from_numpy(data.labels).double()
        X = torch.cat([X, torch.ones(len(X), 1)], 1)
        self._columns = data.columns
        self.coef_ = torch.linalg.solve(X.T @ X + self.ridge * torch.eye(X.shape[1]), X.T @ y)

    def _values(self, X):
        X = X if self._columns is None else X[:, self._columns]
        return X.double() @ self.coef_[:-1] + self.coef_[-1]


class Errors:
    """The mean absolute error in metres, and the share of the points within 10 cm."""

    def __init__(self):
        self.errors = []

    def update(self, truth: Any, prediction: Any):
        self.errors.append(np.abs(truth - prediction))

    def metrics(self):
        errors = np.concatenate(self.errors)
        return {"mae": float(errors.mean()), "close": float((errors < 0.1).mean())}


class Height(Task):
    """Metres above the lowest point."""

    name = "height"
    needs = ("coord", "normal")
    heads = ("least-squares",)
    metrics = (Metric("mae", "error in m", share=False), Metric("close", "within 10 cm"))

    def targets(self, scan):
        return scan.coord[:, 2] - scan.coord[:, 2].min()

    def tally(self, classes=None):
        return Errors()
