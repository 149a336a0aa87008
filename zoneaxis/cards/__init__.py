"""Typed facts and templates -> the README.md of a data set or a model."""

from zoneaxis.cards.facts import (
    AccuracyFacts,
    ColumnFacts,
    ConfigFacts,
    CrystalFacts,
    DatasetFacts,
    FigureFacts,
    MetricFacts,
    ModelFacts,
)
from zoneaxis.cards.render import render_dataset_card, render_model_card

__all__ = [
    "AccuracyFacts",
    "ColumnFacts",
    "ConfigFacts",
    "CrystalFacts",
    "DatasetFacts",
    "FigureFacts",
    "MetricFacts",
    "ModelFacts",
    "render_dataset_card",
    "render_model_card",
]
