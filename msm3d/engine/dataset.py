"""Descriptors as a step of someone else's pipeline, which calls a class on batches of rows."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._util.words import quoted
from ..errors import InputError

NAMES = ("coord", "color", "normal")


class Describe:
    """Adds a column `feat` to batches in which every row is a scan, as `map_batches` of Ray Data wants it.

    >>> from tempfile import TemporaryDirectory
    >>> import msm3d
    >>> batch = {"name": np.array(["hall"]), "coord": np.random.default_rng(0).random((1, 500, 3))}
    >>> batch["coord"].flags.writeable = False  # as the arrays of Ray are; none is changed
    >>> import warnings; warnings.simplefilter("ignore", msm3d.Msm3dWarning)
    >>> described = Describe(device="cpu", levels=[2, 3])(batch)
    >>> str(described["name"][0]), described["feat"][0].shape
    ('hall', (500, 288))

    With Ray: `dataset.map_batches(Describe, fn_constructor_kwargs={"levels": [2, 3]}, batch_size=4, concurrency=2)`.

    Args:
        model: as for `msm3d.load`; it is loaded once, by each worker.
        device: as for `msm3d.load`; likewise `backend` and `precision`.
        backend: see `device`.
        precision: see `device`.
        asked: as for `Model.extract`, such as `levels`, `dtype` or `units`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: str | None = None,
        backend: str | None = None,
        precision: str = "fp32",
        **asked: Any,
    ) -> None:
        from ..model import load

        self.model, self.asked = load(model, device=device, backend=backend, precision=precision), asked

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the batch with `feat`, an array (n, c) for each row.

        Args:
            batch: columns by name: `coord`, with `color` and `normal` where there are some, arrays (n, 3) of every
                scan; or `path`, files. Other columns are passed on.

        Raises:
            InputError: there is neither, or a scan cannot be used.
        """
        names = [name for name in NAMES if name in batch]
        if "coord" in names:
            rows = zip(*(batch[name] for name in names), strict=True)
            scans = [{name: x for name, x in zip(names, row, strict=True) if x is not None} for row in rows]
        elif "path" in batch:
            scans = [str(path) for path in batch["path"]]
        else:
            raise InputError(f"the batch has the columns {quoted(list(batch))}; name one of them coord, or path.")
        feat = np.empty(len(scans), object)
        for i, rows in enumerate(self.model.extract(scans, **self.asked)):
            feat[i] = rows
        return {**batch, "feat": feat}
