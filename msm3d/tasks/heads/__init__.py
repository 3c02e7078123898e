"""Heads: estimators that are fitted on descriptors, in the way of scikit-learn, and saved beside what made these."""

from typing import TYPE_CHECKING

from ..._util.lazy import lazily
from ..registry import Registry

if TYPE_CHECKING:
    from .about import About as About
    from .authors import released as released
    from .base import Classifier as Classifier
    from .base import Head as Head
    from .base import NotFittedError as NotFittedError
    from .linear import LinearProbe as LinearProbe
    from .logistic import LogisticHead as LogisticHead
    from .mlp import MLPHead as MLPHead
    from .nearest import KNNProbe as KNNProbe
    from .pointgroup import PointGroup as PointGroup
    from .saved import load as load

HEADS = Registry(
    "head",
    "msm3d.heads",
    {
        "linear": "msm3d.tasks.heads.linear:LinearProbe",
        "nearest": "msm3d.tasks.heads.nearest:KNNProbe",
        "pointgroup": "msm3d.tasks.heads.pointgroup:PointGroup",
        "logistic": "msm3d.tasks.heads.logistic:LogisticHead",
        "mlp": "msm3d.tasks.heads.mlp:MLPHead",
        "match": "msm3d.tasks.grounding.match:Match",
    },
)
"""Every head's class by its name."""
register = HEADS.register
__getattr__ = lazily(
    __name__,
    about="About",
    authors="released",
    base="Classifier Head NotFittedError",
    linear="LinearProbe",
    logistic="LogisticHead",
    mlp="MLPHead",
    nearest="KNNProbe",
    pointgroup="PointGroup",
    saved="load",
)
