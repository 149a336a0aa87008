import json

import pytest

from zoneaxis.dataset_builder.manifest import read_manifest
from zoneaxis.dataset_builder.recipe import read_recipe
from zoneaxis.dataset_builder.schema import CONFIGS, decode


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")  # within rdflib
def test_croissant_validates_and_its_records_can_be_read(tiny_dataset):
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(tiny_dataset / "croissant.json")
    (warning,) = dataset.metadata.ctx.issues.warnings
    assert "datePublished" in warning
    rows = {name: list(dataset.records(name)) for name in CONFIGS}
    assert {name: len(records) for name, records in rows.items()} == {
        "patterns": 48,
        "disks": 48,
        "classes": 1728,
    }
    first, last = rows["patterns"][0], rows["patterns"][-1]
    assert (first["patterns/split"], last["patterns/split"]) == (b"train", b"validation")
    assert 0.5 < decode(first["patterns/image"]).sum() < 1
    disks = rows["disks"][0]
    assert disks["disks/direction_id"] == first["patterns/direction_id"]
    assert len(disks["disks/profile"]) % len(disks["disks/h"]) == 0


def test_croissant_names_every_file_and_column(tiny_dataset):
    values = json.loads((tiny_dataset / "croissant.json").read_text())
    assert values["version"].endswith(read_recipe(tiny_dataset).id)
    objects = {o["@id"]: o for o in values["distribution"] if o["@type"] == "cr:FileObject"}
    files = read_manifest(tiny_dataset).files
    assert {name: o["sha256"] for name, o in objects.items()} == {
        name: entry.sha256 for name, entry in files.items()
    }
    for records in values["recordSet"]:
        columns = [column.name for column in CONFIGS[records["@id"]]]
        assert [f["name"].split("/")[1] for f in records["field"]] == ["split", *columns]
    kinds = {f["@id"]: f for records in values["recordSet"] for f in records["field"]}
    assert kinds["patterns/image"]["dataType"] == "sc:ImageObject"
    assert kinds["disks/h"] == kinds["disks/h"] | {
        "dataType": "cr:Int16",
        "isArray": True,
        "arrayShape": "-1",
    }
    assert kinds["patterns/beam_direction"]["arrayShape"] == "3"
    assert kinds["patterns/thickness_nm"]["description"].endswith(", in nm")
