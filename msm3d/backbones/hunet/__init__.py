"""The network of Masked Scene Modeling: a U-Net of sparse convolutions with attention at its coarse levels."""
