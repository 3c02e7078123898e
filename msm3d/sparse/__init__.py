"""Voxels and the hierarchy over them: how points become rows of a network, and its levels rows of points."""
