"""The network of Masked Scene Modeling: a U-Net of sparse convolutions with attention at its coarse levels."""

from .config import BackboneConfig as BackboneConfig
from .net import UNet as UNet

BACKBONE = UNet
