"""LAZ: what LAS holds, compressed."""

from functools import partial

from . import las
from .las import coord as coord
from .las import features as features
from .las import metadata as metadata
from .las import shape as shape

SUFFIXES = (".laz",)
TITLE = "LAZ"
HOLDS = "the same as `.las`"
METADATA = "the same as `.las`"
DTYPES = ("float32",)
EXTRA = "las"
NEEDS = {"laspy": "LAS and LAZ files"}
KEEPS = True

create = partial(las.create, compressed=True)
