"""Masked Scene Modeling, the pre-training that the paper's authors did not release: `pip install "msm3d[pretrain]"`."""

from ..datasets import Scan as Scan
from ..training import DivergedError as DivergedError
from .adapting import Adapted as Adapted
from .adapting import Figures as Figures
from .adapting import adapt as adapt
from .config import CONFIGS as CONFIGS
from .config import PretrainConfig as PretrainConfig
from .config import named as named
from .monitor import CollapseError as CollapseError
from .trainer import pretrain as pretrain

Scene = Scan
"""The name of `Scan` in older programs."""
