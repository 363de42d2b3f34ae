"""PNG files, read back by the rules of the format and by a real decoder."""

import struct
import zlib

import numpy as np
import pytest

from wardline.core.drawing.png import png


def decoded(data):
    """Read a PNG as the specification says, checksums included."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + body),)
        chunks[kind], at = body, at + 12 + length
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, -1)
    assert (lines[:, 0] == 0).all()
    pixels = lines[:, 1:]
    return pixels.reshape(height, width, 3) if colour == 2 else pixels


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (28, 84), (4, 6, 3)])
def test_pixels_come_back_as_they_were(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(decoded(png(pixels)), pixels)
    assert png(pixels) == png(pixels.copy())


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2)), np.zeros((0, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros(4, np.uint8)],
)
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ValueError, match="pixels are uint8"):
        png(pixels)
