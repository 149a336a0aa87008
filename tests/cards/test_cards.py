import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import DatasetCard, ModelCard

from zoneaxis.cards import (
    AccuracyFacts,
    ColumnFacts,
    ConfigFacts,
    CrystalFacts,
    DatasetFacts,
    FigureFacts,
    MetricFacts,
    ModelFacts,
    render_dataset_card,
    render_model_card,
)
from zoneaxis.cards.render import size_category
from zoneaxis.errors import SettingsError

CRYSTAL = CrystalFacts("LiNiO2", "R-3m (166)", "32", (2.878, 2.878, 14.19, 90, 90, 120))
DATASET = DatasetFacts(
    name="zoneaxis LiNiO2",
    crystal=CRYSTAL,
    summary="Simulated patterns.",
    made=(("voltage", "300 kV"), ("convergence semi-angle", "1.3 to 1.8 mrad")),
    split="Splits share no beam direction.",
    size=128,
    inv_angstrom_per_pixel=0.025,
    encoding="v = round(65535 log(1 + I / 1e-8) / log(1 + 1 / 1e-8))",
    decoding="1e-8 * np.expm1(v / 65535 * np.log1p(1 / 1e-8))",
    configs=(
        ConfigFacts(
            "patterns",
            "A row is one direction at one thickness.",
            (("train", 13680), ("validation", 720)),
            (
                ColumnFacts("image", "Image", "", "the pattern"),
                ColumnFacts("thickness_nm", "float32", "nm", "thickness of the crystal"),
            ),
        ),
        ConfigFacts(
            "classes",
            "A row is a class.",
            (("train", 70000),),
            (ColumnFacts("phi2_deg", "float32", "degrees", "Bunge angle"),),
        ),
    ),
    limits=("One perfect crystal at a time.",),
    dataset_id="0123456789ab",
    version="0.1.0",
    figures=(FigureFacts("sampling", "Where the directions lie."),),
    tags=("physics-simulation",),
)
WITHIN = MetricFacts(
    "within_5_deg", "share within 5 degrees", 61.7, "%", True, "Held-out directions", "test", 720
)
SPEED = MetricFacts("speed", "speed", 402.0, "patterns/s", True, "demo phantom", "test", 4096)
MODEL = ModelFacts(
    name="zoneaxis-polar-linio2",
    architecture="zoneaxis_polar_small",
    parameters=1234567,
    crystal=CRYSTAL,
    inputs="A polar image of 48 radii and 128 angles.",
    outputs="2,000 directions times 72 in-plane steps.",
    dataset="zoneaxis LiNiO2",
    dataset_id="0123456789ab",
    training=(("optimizer", "AdamW, 0.002"), ("images", "64,000")),
    metrics=(WITHIN, SPEED),
    version="0.1.0",
)


def test_dataset_card_header():
    data = DatasetCard(render_dataset_card(DATASET)).data.to_dict()
    assert data["license"] == "cc-by-4.0"
    assert data["pretty_name"] == "zoneaxis LiNiO2"
    assert data["size_categories"] == ["10K<n<100K"]
    assert data["task_categories"] == ["image-classification"]
    assert {"4d-stem", "physics-simulation"} <= set(data["tags"])
    patterns, classes = data["configs"]
    assert patterns["config_name"] == "patterns"
    assert patterns["default"] is True
    assert patterns["data_files"] == [
        {"split": "train", "path": "patterns/train-*.parquet"},
        {"split": "validation", "path": "patterns/validation-*.parquet"},
    ]
    assert classes["default"] is False


def test_dataset_card_body():
    text = render_dataset_card(DATASET)
    for said in (
        DATASET.encoding,
        DATASET.decoding,
        "| `thickness_nm` | float32 | nm | thickness of the crystal |",
        "| train | 13,680 |",
        "| convergence semi-angle | 1.3 to 1.8 mrad |",
        DATASET.split,
        "- One perfect crystal at a time.",
        "![sampling](figures/sampling.png)\n\nWhere the directions lie.",
        "a, b, c = 2.878, 2.878, 14.19",
        "G = Z(phi2) X(Phi) Z(phi1)",
        "scheunert2026grain",
    ):
        assert said in text


def test_the_code_of_the_dataset_card_loads_the_folder(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    intensity = np.array([[0.0, 1e-6], [0.01, 1.0]])
    write_dataset(datasets, tmp_path, intensity)
    text = render_dataset_card(replace(DATASET, location=str(tmp_path)))
    (tmp_path / "README.md").write_text(text)
    names = run_code(text, 0)
    np.testing.assert_allclose(names["intensity"], intensity, rtol=3e-4)
    assert names["row"]["thickness_nm"] == 12.5
    assert datasets.get_dataset_config_names(str(tmp_path)) == ["patterns", "classes"]


def test_the_code_of_the_dataset_card_streams_the_folder(tmp_path: Path, capsys):
    write_dataset(pytest.importorskip("datasets"), tmp_path, np.ones((2, 2)))
    text = render_dataset_card(replace(DATASET, location=str(tmp_path)))
    (tmp_path / "README.md").write_text(text)
    run_code(text, 1)
    assert "'thickness_nm': 12.5}" in capsys.readouterr().out


def test_disks_are_explained_where_there_are_any():
    assert "### The disks" not in render_dataset_card(DATASET)
    text = render_dataset_card(replace(DATASET, disk_rings=3))
    assert "so do the 37 values of `profile` that begin at 37 i" in text


def run_code(text: str, number: int) -> dict:
    """Run one of the examples of a card; return the names that it leaves."""
    names: dict = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[number], names)
    return names


def write_dataset(datasets, folder: Path, intensity: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    v = np.round(65535 * np.log1p(intensity / 1e-8) / np.log1p(1e8)).astype(np.uint16)
    png = io.BytesIO()
    Image.fromarray(v).save(png, "PNG")
    row = {"image": {"bytes": png.getvalue(), "path": None}, "thickness_nm": 12.5}
    features = datasets.Features(
        {"image": datasets.Image(), "thickness_nm": datasets.Value("float32")}
    )
    (folder / "patterns").mkdir()
    (folder / "classes").mkdir()
    table = pa.Table.from_pylist([row], schema=features.arrow_schema)
    for split in ("train", "validation"):
        pq.write_table(table, folder / "patterns" / f"{split}-00000-of-00001.parquet")
    classes = pa.table({"phi2_deg": [1.0, 2.0]})
    pq.write_table(classes, folder / "classes" / "train-00000-of-00001.parquet")


def test_model_card_header():
    card = ModelCard(render_model_card(MODEL))
    assert card.data.license == "gpl-3.0"
    assert card.data.library_name == "zoneaxis"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.model_name == "zoneaxis-polar-linio2"
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["within_5_deg"].metric_value == 61.7
    assert results["within_5_deg"].metric_name == "share within 5 degrees (%)"
    assert results["within_5_deg"].dataset_type == "held-out-directions"
    assert results["speed"].dataset_name == "demo phantom"


def test_model_card_body():
    text = render_model_card(replace(MODEL, confidence_threshold=0.35, limits=("No spinel.",)))
    for said in (
        "1,234,567 parameters",
        "| share within 5 degrees | 61.7 | % | higher | Held-out directions | test | 720 |",
        "| optimizer | AdamW, 0.002 |",
        'NetworkIndexer.from_pretrained("FOLDER")',
        "(confidence of at least 0.35)",
        "- No spinel.",
    ):
        assert said in text


def test_what_a_model_may_have():
    plain = render_model_card(MODEL)
    facts = replace(
        MODEL,
        head="factored: two | parts",
        properties=(ColumnFacts("thickness_nm", "float32", "nm", "how thick"),),
        fine_tuned_from="user/first",
        temperature=1.5,
        figures=(FigureFacts("ipf", "Where it looks."),),
        location="user/net",
    )
    text = render_model_card(facts)
    for said in (
        "| head | factored: two \\| parts |",
        "| `thickness_nm` | nm | how thick |",
        "| fine-tuned from | user/first |",
        "by a temperature of 1.5 before",
        "![ipf](figures/ipf.png)\n\nWhere it looks.\n",
        'from_pretrained("user/net")',
        'zoneaxis index SCAN --model "user/net" --out MAP.ang',
    ):
        assert said in text
        assert said not in plain
    for name in ("head |", "properties", "fine-tuned", "temperature", "](figures/"):
        assert name not in plain
    assert re.search(r"\n\n\n", plain + text) is None


def test_what_confidence_and_accuracy_a_card_tells():
    three = {"within_2": (0.6, 0.5, None), "within_5": (0.756, 0.7, 0.6)}
    row = AccuracyFacts("plain", "network | refined", 64, (0.8, 1.0, 1.25), **three,
                        patterns_per_s=(None, None, 812.0))  # fmt: skip
    facts = replace(
        MODEL,
        temperature=1.5,
        log_odds=(0.9, -0.25),
        thresholds=((0.05, 0.875, 0.4),),
        conditions=(("a", "no noise"), ("b", "noise"), ("c", "off")),
        accuracy=(row,),
        commands=("zoneaxis build --out dataset", "zoneaxis train --data dataset"),
    )
    text = render_model_card(facts)
    for said in (
        "log odds of the confidence are 0.9 times those of an orientation's probability -0.25 |",
        "| 5% | 0.88 | 40% |",
        "(a) no noise; (b) noise; (c) off (benchmarks",
        "| plain | network \\| refined | 64 | 0.80 / 1.00 / 1.25 | 60 / 50 / - | 76 / 70 / 60 |"
        " - / - / 812 |",
        "```bash\nzoneaxis build --out dataset\nzoneaxis train --data dataset\n```\n\n| setting",
    ):
        assert said in text
    assert re.search(r"\n\n\n", text) is None


def test_model_card_names_the_training_set_on_the_hub():
    card = ModelCard(render_model_card(replace(MODEL, dataset_repository="user/linio2")))
    assert card.data.datasets == ["user/linio2"]


def test_model_card_without_metrics_says_so():
    text = render_model_card(replace(MODEL, metrics=()))
    assert ModelCard(text).data.eval_results is None
    assert "Nothing has been measured yet" in text


def test_metric_must_be_finite():
    with pytest.raises(SettingsError, match="within_5_deg is nan"):
        replace(WITHIN, value=float("nan"))


@pytest.mark.parametrize("render", [render_dataset_card, render_model_card])
@pytest.mark.parametrize("name", ["a | b", "two\n---\nlines", 'quote " colon: #', "{{ x }}", "Li₂"])
def test_awkward_names_do_no_harm(render, name):
    facts = DATASET if render is render_dataset_card else MODEL
    text = render(replace(facts, name=name, crystal=replace(CRYSTAL, name=name)))
    card = (DatasetCard if facts is DATASET else ModelCard)(text)
    assert card.data.license == facts.license
    assert (card.data.get("pretty_name") or card.data.model_name) == name
    (row,) = [line for line in text.splitlines() if line.startswith("| crystal |")]
    assert row.replace("\\|", "").count("|") == 3


def test_size_category():
    sizes = {10: "n<1K", 1000: "1K<n<10K", 99_999: "10K<n<100K", 10**8: "100M<n<1B"}
    assert {rows: size_category(rows) for rows in sizes} == sizes
    assert size_category(10**9) == "n>1B"
