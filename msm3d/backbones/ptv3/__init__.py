"""Encoders in the layout of Point Transformer V3 as Sonata, Concerto and Utonia are released: attention everywhere."""

from .config import EncoderConfig as EncoderConfig
from .net import Encoder as Encoder

BACKBONE = Encoder
