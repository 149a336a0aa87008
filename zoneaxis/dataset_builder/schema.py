"""The one Arrow schema of a data set, and how a pattern becomes an image.

A pixel holds round(65535 log(1 + I / I0) / log(1 + 1 / I0)), I being the fraction of the incident
beam in that pixel and I0 = 1e-8: 16 bits cover eight decades in steps of 0.03 %.
"""

import io
from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.cards import ColumnFacts

if TYPE_CHECKING:
    from datasets import Features

FAINTEST = 1e-8
LEVELS = 65535
ENCODING = f"v = round({LEVELS} log(1 + I / {FAINTEST:g}) / log(1 + 1 / {FAINTEST:g}))"
DECODING = f"{FAINTEST:g} * np.expm1(v / {LEVELS} * np.log1p(1 / {FAINTEST:g}))"

COLUMNS = (
    ColumnFacts("image", "Image", "", "the pattern, encoded as below"),
    ColumnFacts("direction_id", "int32", "", "number of the beam direction in this data set"),
    ColumnFacts("phi1_deg", "float32", "degrees", "Bunge angle phi1, the in-plane rotation"),
    ColumnFacts("Phi_deg", "float32", "degrees", "Bunge angle Phi"),
    ColumnFacts("phi2_deg", "float32", "degrees", "Bunge angle phi2"),
    ColumnFacts("thickness_nm", "float32", "nm", "thickness of the crystal along the beam"),
    ColumnFacts("beam_direction", "float32[3]", "", "unit vector along the beam, crystal frame"),
    ColumnFacts("convergence_mrad", "float32", "mrad", "semi-angle of convergence"),
    ColumnFacts("precession_deg", "float32", "degrees", "precession angle, 0 for none"),
)


def features() -> "Features":
    """Return the columns of config `patterns` as `datasets` knows them."""
    from datasets import Features, Image, List, Value

    other = {"Image": Image(), "float32[3]": List(Value("float32"), length=3)}
    return Features({c.name: other.get(c.kind) or Value(c.kind) for c in COLUMNS})


def encode(pattern: np.ndarray) -> bytes:
    """Return a pattern in fractions of the beam, shape (h, w), as a 16-bit PNG."""
    from PIL import Image

    scaled = np.log1p(pattern / FAINTEST) * (LEVELS / np.log1p(1 / FAINTEST))
    stream = io.BytesIO()
    levels = np.round(scaled).clip(0, LEVELS).astype(np.uint16)
    Image.fromarray(levels).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def decode(levels: np.ndarray) -> np.ndarray:
    """Return fractions of the incident beam, float32, of pixel values of any shape."""
    scale = np.float32(np.log1p(1 / FAINTEST) / LEVELS)
    return np.float32(FAINTEST) * np.expm1(np.asarray(levels, dtype=np.float32) * scale)
