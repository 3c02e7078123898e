"""A picture as PNG, with nothing but zlib."""

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(picture: np.ndarray) -> bytes:
    """Return a picture (height, width, 3) uint8 as the bytes of a PNG file; the same bytes for the same picture.

    Each line is written as it is, or as its difference to the pixels at the left or above, whichever is smallest.

    >>> encoded(np.zeros((2, 3, 3), np.uint8))[:4]
    b'\\x89PNG'

    Source: Portable Network Graphics, third edition, W3C 2025; filters 0, 1 and 2.
    """
    height, width, _ = picture.shape
    lines = np.ascontiguousarray(picture).reshape(height, 3 * width)
    best = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1)
    least = _cost(lines)
    left = np.pad(lines[:, :-3], ((0, 0), (3, 0)))
    above = np.pad(lines[:-1], ((1, 0), (0, 0)))
    for kind, guess in ((1, left), (2, above)):
        rest = lines - guess  # modulo 256, as the format wants it
        better = _cost(rest) < least
        least = np.where(better, _cost(rest), least)
        best[better, 0], best[better, 1:] = kind, rest[better]
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits of red, green and blue
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(best.tobytes(), 6)), (b"IEND", b"")
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _cost(lines: np.ndarray) -> np.ndarray:
    """Return how far each line is from zeros, modulo 256."""
    return np.minimum(lines, 0 - lines).sum(1, dtype=np.int64)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
