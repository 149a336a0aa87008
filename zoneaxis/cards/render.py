"""Facts -> README.md, as the Hugging Face Hub reads it: a YAML header and a Markdown body.

Source: the Hub's documentation of dataset cards, model cards and `configs:`.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import CardData, DatasetCardData, EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from zoneaxis.cards.facts import DatasetFacts, MetricFacts, ModelFacts

TAGS = ["4d-stem", "electron-diffraction", "crystal-orientation", "materials-science", "zoneaxis"]
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")


def render_dataset_card(facts: DatasetFacts) -> str:
    """Return the README.md of a data set; its header lets `load_dataset` find every config."""
    header = DatasetCardData(
        pretty_name=facts.name,
        license=facts.license,
        tags=[*TAGS, *facts.tags],
        task_categories=["image-classification"],
        size_categories=[size_category(sum(n for _, n in facts.configs[0].rows))],
        configs=[
            {
                "config_name": config.name,
                "default": number == 0,
                "data_files": [
                    {"split": split, "path": f"{config.name}/{split}-*.parquet"}
                    for split, _ in config.rows
                ],
            }
            for number, config in enumerate(facts.configs)
        ],
    )
    return _render("dataset_card.md.jinja", header, facts)


def render_model_card(facts: ModelFacts) -> str:
    """Return the README.md of a model; its header holds the metrics as the Hub's model-index."""
    measured = {
        "model_name": facts.name,  # the Hub refuses results without it
        "eval_results": [_eval_result(metric) for metric in facts.metrics],
    }
    header = ModelCardData(
        license=facts.license,
        library_name="zoneaxis",
        tags=["timm", *TAGS],
        pipeline_tag="image-classification",
        datasets=[facts.dataset_repository] if facts.dataset_repository else None,
        metrics=list(dict.fromkeys(metric.key for metric in facts.metrics)) or None,
        **(measured if facts.metrics else {}),
    )
    return _render("model_card.md.jinja", header, facts)


def size_category(rows: int) -> str:
    """Return the Hub's size category of a number of rows, such as "10K<n<100K"."""
    for power, size in enumerate(SIZES, start=3):
        if rows < 10**power:
            return f"n<{size}" if power == 3 else f"{SIZES[power - 4]}<n<{size}"
    return f"n>{SIZES[-1]}"


def _eval_result(metric: MetricFacts) -> EvalResult:
    return EvalResult(
        task_type="image-classification",
        task_name="crystal orientation",
        dataset_type=re.sub(r"[^a-z0-9]+", "-", metric.dataset.lower()).strip("-"),
        dataset_name=metric.dataset,
        dataset_split=metric.split,
        metric_type=metric.key,
        metric_name=f"{metric.name} ({metric.unit})" if metric.unit else metric.name,
        metric_value=float(metric.value),
    )


def _render(template: str, header: CardData, facts: DatasetFacts | ModelFacts) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
    )
    environment.filters.update(text=_text, number="{:g}".format, each=_each)
    body = environment.get_template(template).render(asdict(facts))
    return f"---\n{header.to_yaml()}\n---\n\n{body.strip()}\n"


def _each(values: Sequence[float | None], form: str) -> str:
    """Return the values of several conditions in a cell of a table."""
    return " / ".join("-" if value is None else form.format(value) for value in values)


def _text(value: str) -> str:
    """A user's string on one line, harmless within a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")
