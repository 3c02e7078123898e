"""Masked Scene Modeling, the pre-training that the paper's authors did not release: `pip install "msm3d[pretrain]"`."""

from .config import CONFIGS as CONFIGS
from .config import PretrainConfig as PretrainConfig
from .config import named as named
from .monitor import CollapseError as CollapseError
from .trainer import Scene as Scene
from .trainer import pretrain as pretrain
