"""Networks as ONNX: the same answers in a program that has no torch."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from zoneaxis.errors import OutputError, SettingsError
from zoneaxis.models import export
from zoneaxis.models.indexer import create_indexer
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import preprocessing_from_dict

PIXEL = 0.025


@pytest.mark.parametrize("name", ["test_zoneaxis_polar", "test_zoneaxis_cnn"])
def test_the_file_alone_gives_the_same_answers(name, labels, recipe, patterns, shake, tmp_path):
    made = create_indexer(name, labels, recipe, extras=["thickness_nm"])
    shake(made.network)
    indexer = replace(made, temperature=1.5)
    path = indexer.export_onnx(tmp_path / "deep" / "model.onnx")
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    onnx.checker.check_model(path)

    session = onnxruntime.InferenceSession(path)
    about = json.loads(session.get_modelmeta().custom_metadata_map["zoneaxis"])
    assert about["architecture"] == name
    assert about["crystal"] == labels.crystal.to_dict()
    assert about["temperature"] == 1.5
    assert (about["others"], about["extras"]) == (["vacuum", "amorphous"], ["thickness_nm"])
    classes = OrientationLabels(labels.crystal, np.array(about["euler_deg"]), about["bins"])
    np.testing.assert_array_equal(classes.euler_deg, labels.euler_deg)
    prepare = preprocessing_from_dict(about["preprocessing"])
    images = torch.from_numpy(patterns([3, 17, 40]))
    for count in (1, 3):  # any number of patterns
        inputs = prepare(images[:count], PIXEL)
        (found,) = session.run(None, {"patterns": inputs.numpy()})
        with torch.inference_mode():
            expected = indexer.network(inputs).numpy()
        assert found.shape == (count, classes.n_classes + 1)
        assert np.ptp(expected) > 0.5
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_without_the_libraries(matched, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "NEEDED", ("onnx", "onnx_of_tomorrow"))
    with pytest.raises(SettingsError, match=r"onnx_of_tomorrow: pip install 'zoneaxis\[onnx\]"):
        matched.export_onnx(tmp_path / "model.onnx")


def test_a_place_that_cannot_be_written(matched, tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        matched.export_onnx(tmp_path)
