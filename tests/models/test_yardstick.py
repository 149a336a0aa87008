import json

import pytest

from zoneaxis.errors import SettingsError
from zoneaxis.models.yardstick import CONDITIONS, accuracy_facts, read_accuracy

ROW = {"set": "plain", "label": "network", "n": 64, "method": "network", "seconds": 3.0}


@pytest.fixture
def path(tmp_path):
    rows = [
        {**ROW, "condition": "a", "within_5": 0.75, "median_deg": 0.5, "patterns_per_s": 700.0},
        {**ROW, "condition": "c", "within_5": 0.6, "median_deg": 0.9, "n": 320},
        {**ROW, "condition": "a", "label": "py4DSTEM ACOM", "within_5": 0.72},
    ]
    path = tmp_path / "accuracy.json"
    path.write_text(json.dumps({"machine": "a", "rows": rows}))
    return path


def test_a_line_is_a_method_in_all_conditions(path):
    network, acom = accuracy_facts(read_accuracy(path))
    assert (network.set, network.method, network.patterns) == ("plain", "network", 320)
    assert network.within_5 == (0.75, None, 0.6)
    assert network.median_deg == (0.5, None, 0.9)
    assert network.patterns_per_s == (700.0, None, None)
    assert (acom.method, acom.within_5) == ("py4DSTEM ACOM", (0.72, None, None))
    assert len(network.within_2) == len(CONDITIONS)


@pytest.mark.parametrize("text", ["", "[]", '{"rows": 3}', '{"rows": [{"n": 3}]}', '{"rows": [3]}'])
def test_another_file(path, text):
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"accuracy\.json is not what bench_accuracy"):
        read_accuracy(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_accuracy(path.with_name("none.json"))
