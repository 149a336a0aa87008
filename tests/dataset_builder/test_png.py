import io

import numpy as np
import pytest
from PIL import Image

from zoneaxis.dataset_builder.png import decode_png, encode_png


@pytest.fixture
def levels() -> np.ndarray:
    """Most of it empty, as patterns are, with both ends of the range in it."""
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 65536, (24, 32)) * (rng.random((24, 32)) < 0.1)
    levels[0, :2] = 0, 65535
    return levels.astype(np.uint16)


def pillow(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def test_round_trip(levels):
    png = encode_png(levels)
    assert png == encode_png(levels.copy())
    decoded = decode_png(png)
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, levels)
    decoded[0, 0] = 1  # it owns its memory


def test_viewers_open_it(levels):
    with Image.open(io.BytesIO(encode_png(levels))) as image:
        image.verify()  # every CRC
    with Image.open(io.BytesIO(encode_png(levels))) as image:
        assert image.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(image), levels)


def test_other_forms_are_read(levels):
    other = pillow(Image.fromarray(levels), compress_level=3)
    assert other != encode_png(levels)
    np.testing.assert_array_equal(decode_png(other), levels)


def test_no_16_bit_gray(levels):
    with pytest.raises(ValueError, match="mode L, expected 16-bit gray"):
        decode_png(pillow(Image.fromarray((levels >> 8).astype(np.uint8))))


def is_refused(png: bytes, levels: np.ndarray) -> bool:
    """Tell whether it is refused; if it is read, the levels must be right."""
    try:
        np.testing.assert_array_equal(decode_png(png), levels)
    except ValueError as error:
        assert "damaged PNG" in str(error)  # noqa: PT017
        return True
    return False


def test_damage_is_found(levels):
    png = encode_png(levels)
    rng = np.random.default_rng(1)
    refused = 0
    for place in range(len(png)):
        damaged = bytearray(png)
        damaged[place] ^= int(rng.integers(1, 256))
        refused += is_refused(bytes(damaged), levels)
    assert refused > len(png) - 25  # no pixel depends on the CRC of the data, nor on the trailer


def test_parts_are_refused(levels):
    png = encode_png(levels)
    assert all(is_refused(png[:length], levels) for length in range(len(png) - 25))
