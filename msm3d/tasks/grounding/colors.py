"""Colour words, and how like each of them a colour is."""

import numpy as np

COLORS = {
    "black": (25, 25, 25), "white": (235, 235, 235), "grey": (128, 128, 128), "red": (180, 35, 35),
    "orange": (225, 130, 40), "yellow": (225, 205, 60), "green": (60, 140, 60), "blue": (45, 80, 170),
    "purple": (120, 55, 140), "pink": (230, 150, 175), "brown": (110, 70, 40),
}  # fmt: skip
"""By red, green and blue, 0 to 255, that they stand for."""
DIFFERENT = 4.0
"""Of Lab, by which a colour is nearer to its word than to any other."""


def distances(colors: np.ndarray) -> np.ndarray:
    """Return how far colours (k, 3) are from each word's (k, words), in CIE Lab, where lightness counts half, for it
    is shaded."""
    words = lab(np.array([*COLORS.values()], float))
    return np.linalg.norm((lab(colors)[:, None] - words) * [0.5, 1, 1], axis=2)


def likeness(colors: np.ndarray) -> np.ndarray:
    """Return how well each word fits colours (k, 3), as (k, words): 1 for the one that fits best, down to 0.

    >>> dict(zip(COLORS, likeness(np.array([[190.0, 40, 40]]))[0].round(1).tolist()))["red"]
    1.0
    """
    far = distances(colors)
    return np.exp((far.min(1, keepdims=True) - far) / DIFFERENT)


def lab(colors: np.ndarray) -> np.ndarray:
    """Return CIE Lab (k, 3) of sRGB (k, 3) from 0 to 255.

    >>> (lab(np.array([[255.0, 255, 255], [255, 0, 0]])).round(0) + 0.0).tolist()
    [[100.0, 0.0, 0.0], [53.0, 80.0, 67.0]]

    Source: IEC 61966-2-1; CIE 1976, white point D65.
    """
    share = colors / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    part = linear @ np.array(to_xyz).T / [0.95047, 1.0, 1.08883]
    bent = np.where(part > (6 / 29) ** 3, np.cbrt(part), part * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = bent.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
