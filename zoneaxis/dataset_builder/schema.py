"""The Arrow schemas of a data set, and how a pattern becomes an image.

A pixel holds round(65535 log(1 + I / I0) / log(1 + 1 / I0)), I being the fraction of the incident
beam in that pixel and I0 = 1e-8: 16 bits cover eight decades in steps of 0.03 %.
"""

from typing import TYPE_CHECKING

import numpy as np

from zoneaxis.cards import ColumnFacts
from zoneaxis.dataset_builder.png import encode_png

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

FAINTEST = 1e-8
LEVELS = 65535
ENCODING = f"v = round({LEVELS} log(1 + I / {FAINTEST:g}) / log(1 + 1 / {FAINTEST:g}))"
DECODING = f"{FAINTEST:g} * np.expm1(v / {LEVELS} * np.log1p(1 / {FAINTEST:g}))"

LABELS = (
    ColumnFacts("direction_id", "int32", "", "number of the beam direction, or of a scan's grain"),
    ColumnFacts("phi1_deg", "float32", "degrees", "Bunge angle phi1, the in-plane rotation"),
    ColumnFacts("Phi_deg", "float32", "degrees", "Bunge angle Phi"),
    ColumnFacts("phi2_deg", "float32", "degrees", "Bunge angle phi2"),
    ColumnFacts("thickness_nm", "float32", "nm", "thickness of the crystal, if known"),
    ColumnFacts("beam_direction", "float32[3]", "", "unit vector along the beam, crystal frame"),
    ColumnFacts("convergence_mrad", "float32", "mrad", "semi-angle of convergence"),
    ColumnFacts("precession_deg", "float32", "degrees", "precession angle, 0 for none"),
)
EULER = tuple(column.name for column in LABELS[1:4])
CONFIGS = {
    "patterns": (
        ColumnFacts("image", "Image", "", "the pattern, encoded as below"),
        *LABELS,
    ),
    "disks": (
        *LABELS,
        ColumnFacts("h", "int16 list", "", "Miller index of each disk"),
        ColumnFacts("k", "int16 list", "", "Miller index"),
        ColumnFacts("l", "int16 list", "", "Miller index"),
        ColumnFacts("q_x", "float32 list", "1/Å", "center of each disk, to the right"),
        ColumnFacts("q_y", "float32 list", "1/Å", "center of each disk, down"),
        ColumnFacts("intensity", "float32 list", "", "fraction of the incident beam in each disk"),
        ColumnFacts(
            "profile",
            "float16 list",
            "",
            "intensity for each incident tilt over that of the disk, disk by disk",
        ),
    ),
    "classes": (
        ColumnFacts("class_id", "int32", "", "number of the class"),
        *LABELS[:4],
    ),
}
PATTERNS, DISKS, CLASSES = CONFIGS
FIGURES = "figures"  # the folder beside those of the configs


# Pages are checked as they stream; a dictionary would not shrink what is stored here.
PARQUET = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}


def features(config: str = PATTERNS) -> "Features":
    """Return the columns of a config as `datasets` knows them."""
    from datasets import Features, Image, List, Value

    def feature(kind: str) -> "Image | List | Value":
        if kind == "Image":
            return Image()
        if kind.endswith(" list"):
            return List(Value(kind.removesuffix(" list")))
        return List(Value("float32"), length=3) if kind == "float32[3]" else Value(kind)

    return Features({column.name: feature(column.kind) for column in CONFIGS[config]})


def arrow_schema(config: str, recipe_json: str | None = None) -> "pa.Schema":
    """Return the schema of a config's Parquet files, with crystal and optics in its metadata.

    Args:
        config: one of CONFIGS.
        recipe_json: kept under the key "zoneaxis.recipe", so that a file alone tells its origin.
    """
    schema = features(config).arrow_schema
    if recipe_json is None:
        return schema
    return schema.with_metadata({**schema.metadata, b"zoneaxis.recipe": recipe_json.encode()})


def encode(pattern: np.ndarray) -> bytes:
    """Return a pattern in fractions of the beam, shape (h, w), as a 16-bit PNG."""
    scaled = np.log1p(pattern / FAINTEST) * (LEVELS / np.log1p(1 / FAINTEST))
    return encode_png(np.round(scaled).clip(0, LEVELS).astype(np.uint16))


def decode(levels: np.ndarray) -> np.ndarray:
    """Return fractions of the incident beam, float32, of pixel values of any shape."""
    scale = np.float32(np.log1p(1 / FAINTEST) / LEVELS)
    return np.float32(FAINTEST) * np.expm1(np.asarray(levels, dtype=np.float32) * scale)
