"""Masked Scene Modeling, the pre-training that the paper's authors did not release: `pip install "msm3d[pretrain]"`."""

from ..datasets import Scan as Scan
from ..training import DivergedError as DivergedError
from .adapt import Adapted as Adapted
from .adapt import Figures as Figures
from .adapt import adapt as adapt
from .config import CONFIGS as CONFIGS
from .config import PretrainConfig as PretrainConfig
from .config import named as named
from .monitor import CollapseError as CollapseError
from .trainer import pretrain as pretrain

Scene = Scan
"""The name of `Scan` in older programs."""
