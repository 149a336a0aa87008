import io

import numpy as np
import pytest
from PIL import Image

from zoneaxis.dataset_builder.schema import (
    CONFIGS,
    DECODING,
    FAINTEST,
    LEVELS,
    arrow_schema,
    decode,
    encode,
    features,
)


def levels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.fixture
def pattern() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (10 ** rng.uniform(-8, 0, (24, 32))).astype(np.float32)


def test_encoding_covers_eight_decades(pattern):
    levels = levels_of(encode(pattern))
    assert levels.dtype == np.uint16
    assert levels.shape == pattern.shape
    np.testing.assert_allclose(decode(levels), pattern, rtol=5e-4, atol=FAINTEST / 1000)
    assert decode(levels).dtype == np.float32


def test_ends_of_the_scale():
    levels = levels_of(encode(np.array([[0.0, 1.0, 1.5, 1e-14]])))
    assert levels.tolist() == [[0, LEVELS, LEVELS, 0]]
    np.testing.assert_allclose(decode(levels), [[0, 1, 1, 0]], rtol=1e-5)


def test_decoding_of_the_card_is_ours(pattern):
    v = levels_of(encode(pattern)).astype(np.float64)
    np.testing.assert_allclose(eval(DECODING, {"np": np, "v": v}), decode(v), rtol=1e-4)


@pytest.mark.parametrize("config", CONFIGS)
def test_features_are_the_columns(config):
    from datasets import Features

    made = features(config)
    assert list(made) == [column.name for column in CONFIGS[config]]
    assert Features.from_arrow_schema(made.arrow_schema) == made


def test_types_of_the_columns():
    from datasets import Image as ImageColumn
    from datasets import List, Value

    made = features("patterns")
    assert made["image"] == ImageColumn()
    assert made["direction_id"] == Value("int32")
    assert made["Phi_deg"] == Value("float32")
    assert made["beam_direction"] == List(Value("float32"), length=3)
    assert features("disks")["h"] == List(Value("int16"))


def test_a_file_tells_its_recipe():
    schema = arrow_schema("disks", "{}")
    assert schema.metadata[b"zoneaxis.recipe"] == b"{}"
    assert b"huggingface" in schema.metadata
    assert schema.equals(arrow_schema("disks"))
