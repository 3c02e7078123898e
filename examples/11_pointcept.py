"""Inside Pointcept's data dictionary: `python examples/11_pointcept.py [SCAN]`. Pointcept itself is not needed here.

`Msm3dFeatures` is one of its transforms: put it before GridSample and NormalizeColor, and `feat_keys=("msm",)` into
Collect. There it is registered with `@TRANSFORMS.register_module()`, and `dict(type="Msm3dFeatures")` names it.
"""

import sys
from functools import cached_property

import numpy as np

import msm3d
from msm3d.io import read
from msm3d.rooms import make

ALONG = ["coord", "color", "normal", "superpoint", "strength", "segment", "instance"]  # what GridSample cuts by default


class Msm3dFeatures:
    """Add `msm` (n, c): a row for each point of `coord`, which must be in metres with z up."""

    def __init__(self, levels=None, weights=None):
        self.levels, self.weights = levels, weights

    @cached_property
    def model(self):  # loaded in the worker that needs it
        return msm3d.load(self.weights)

    def __call__(self, data_dict):
        given = {key: data_dict[key] for key in ("coord", "color", "normal") if key in data_dict}
        data_dict["msm"] = self.model.extract(given, levels=self.levels)
        data_dict["index_valid_keys"] = [*data_dict.get("index_valid_keys", ALONG), "msm"]
        return data_dict


def split(batch: dict, key: str) -> list[np.ndarray]:
    """Return the scenes of a collated batch: `offset` holds the end of each, without a leading zero."""
    return np.split(batch[key], batch["offset"][:-1])


scans = [read(path) for path in sys.argv[1:]] or [make(seed, points=20_000) for seed in (900_001, 900_002)]
transform = Msm3dFeatures(levels=(2, 3))
scenes = []
for scan in scans:
    data_dict = {"coord": scan.coord, "color": scan.color, "normal": scan.normal, "segment": scan.segment}
    scenes.append(transform({key: value for key, value in data_dict.items() if value is not None}))
    print({key: getattr(value, "shape", value) for key, value in scenes[-1].items()})

batch = {key: np.concatenate([scene[key] for scene in scenes]) for key in ("coord", "msm")}
batch["offset"] = np.cumsum([len(scene["coord"]) for scene in scenes])
same = all(np.array_equal(part, scene["msm"]) for part, scene in zip(split(batch, "msm"), scenes, strict=True))
print(f"batch of {len(scenes)}: msm {batch['msm'].shape}, offset {batch['offset'].tolist()}, split again: {same}")
