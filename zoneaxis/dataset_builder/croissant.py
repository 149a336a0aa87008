"""croissant.json: what a data set holds, in the vocabulary that data set searches read.

Source: the Croissant format specification 1.1 of MLCommons.
"""

from collections.abc import Mapping
from typing import Any

from zoneaxis.cards import ColumnFacts, ConfigFacts, DatasetFacts
from zoneaxis.cards.render import TAGS
from zoneaxis.dataset_builder.manifest import FileEntry
from zoneaxis.dataset_builder.recipe_base import FORMAT

CROISSANT_FILE = "croissant.json"
PARQUET = "application/x-parquet"
LICENSES = {"cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/"}
METHOD = "https://doi.org/10.1038/s41524-026-02002-3"
TERMS = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileObject fileProperty "
    "fileSet format includes isArray isLiveDataset jsonPath key md5 parentField path recordSet "
    "references regex repeated replace samplingRate separator source subField transform"
)
# The whole of the standard's context, whether a term occurs or not: readers compare it.
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    **{term: f"cr:{term}" for term in TERMS.split()},
}


def croissant(facts: DatasetFacts, files: Mapping[str, FileEntry]) -> dict[str, Any]:
    """Return the JSON-LD of a data set.

    Args:
        facts: what its card says.
        files: its Parquet files by their path in the folder, as the manifest lists them.
    """
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": facts.name,
        "description": facts.summary,
        "license": LICENSES.get(facts.license, facts.license),
        "version": f"{FORMAT}.0.0+{facts.dataset_id}",
        "citeAs": METHOD,
        "keywords": [*TAGS, *facts.tags],
        "isLiveDataset": False,
        "distribution": [
            *(_file_object(name, entry) for name, entry in sorted(files.items())),
            *(_file_set(config) for config in facts.configs),
        ],
        "recordSet": [_record_set(config) for config in facts.configs],
    }


def _file_object(name: str, entry: FileEntry) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{entry.bytes} B",
        "encodingFormat": PARQUET,
        "sha256": entry.sha256,
    }


def _file_set(config: ConfigFacts) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{config.name}-files",
        "name": f"{config.name}-files",
        "encodingFormat": PARQUET,
        "includes": f"{config.name}/*.parquet",
    }


def _record_set(config: ConfigFacts) -> dict[str, Any]:
    splits = "|".join(split for split, _ in config.rows)
    split = {
        **_field(config, "split", "the part that the row belongs to, as its file's name says"),
        "dataType": "sc:Text",
        "source": {
            "fileSet": {"@id": f"{config.name}-files"},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": f"{config.name}/({splits})-.*parquet$"},
        },
    }
    return {
        "@type": "cr:RecordSet",
        "@id": config.name,
        "name": config.name,
        "description": config.summary,
        "field": [split, *(_column(config, column) for column in config.columns)],
    }


def _column(config: ConfigFacts, column: ColumnFacts) -> dict[str, Any]:
    """Return a column; its source is the column of that name in the config's files."""
    unit = f", in {column.unit}" if column.unit else ""
    field = _field(config, column.name, f"{column.meaning}{unit}")
    field["source"] = {
        "fileSet": {"@id": f"{config.name}-files"},
        "extract": {"column": column.name},
    }
    if column.kind == "Image":
        field["source"]["transform"] = {"jsonPath": "bytes"}
        return {**field, "dataType": "sc:ImageObject"}
    kind, _, length = column.kind.removesuffix("]").partition("[")
    field["dataType"] = f"cr:{kind.removesuffix(' list').capitalize()}"
    if length or kind.endswith(" list"):
        field |= {"isArray": True, "arrayShape": length or "-1"}
    return field


def _field(config: ConfigFacts, name: str, description: str) -> dict[str, Any]:
    name = f"{config.name}/{name}"
    return {"@type": "cr:Field", "@id": name, "name": name, "description": description}
