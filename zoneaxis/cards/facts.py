"""What a card says, as plain values: nothing here knows how a data set or a model is made."""

import math
from dataclasses import dataclass

from zoneaxis.errors import SettingsError


@dataclass(frozen=True)
class CrystalFacts:
    """The crystal of a data set or model.

    Attributes:
        name: as users call it, "LiNiO2".
        space_group: symbol and number, "R-3m (166)".
        point_group: proper point group, which decides what orientations are the same, "32".
        cell: a, b, c in Angstrom, alpha, beta, gamma in degrees.
    """

    name: str
    space_group: str
    point_group: str
    cell: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class ColumnFacts:
    """A column of a config: its name, Arrow type ("float32"), unit ("" for none) and meaning."""

    name: str
    kind: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class ConfigFacts:
    """A config of a data set, stored as FOLDER/name/split-*.parquet.

    Attributes:
        name: of the config and of its folder.
        summary: what a row is, in sentences.
        rows: (split, number of rows), in the order in which the card lists them.
        columns: in the order of the schema.
    """

    name: str
    summary: str
    rows: tuple[tuple[str, int], ...]
    columns: tuple[ColumnFacts, ...]


@dataclass(frozen=True)
class FigureFacts:
    """A picture that the card shows, figures/name.png in the folder, and what it shows."""

    name: str
    caption: str


@dataclass(frozen=True)
class DatasetFacts:
    """A data set of patterns, simulated or measured.

    Attributes:
        name: title of the card.
        crystal: of the patterns.
        summary: what the data set is, in sentences.
        made: (what, how with unit), in the order in which the card lists them.
        split: what is held out and what that proves, in sentences.
        size: pixels along an edge of the pattern.
        inv_angstrom_per_pixel: size of a pixel.
        encoding: formula from intensity I to the stored value v of a pixel.
        decoding: NumPy expression from the array `v` back to fractions of the incident beam.
        configs: the first is the default and holds the column `image`.
        limits: what the data set cannot teach, a sentence each.
        dataset_id: hash of the recipe.
        version: of zoneaxis.
        disk_rings: rings of the incident tilts in config `disks`; None where there is none.
        figures: pictures in the folder.
        tags: of the Hub, beside those which every such data set has.
        location: what `load_dataset` is to be given: a folder or a repository on the Hub.
        license: an identifier of the Hub.
    """

    name: str
    crystal: CrystalFacts
    summary: str
    made: tuple[tuple[str, str], ...]
    split: str
    size: int
    inv_angstrom_per_pixel: float
    encoding: str
    decoding: str
    configs: tuple[ConfigFacts, ...]
    limits: tuple[str, ...]
    dataset_id: str
    version: str
    disk_rings: int | None = None
    figures: tuple[FigureFacts, ...] = ()
    tags: tuple[str, ...] = ()
    location: str = "FOLDER"
    license: str = "cc-by-4.0"


@dataclass(frozen=True)
class MetricFacts:
    """A measured number.

    Attributes:
        key: machine-readable name, "within_5_deg".
        name: for readers, "share within 5 degrees".
        value: finite.
        unit: "%", "degrees", "patterns/s"; "" for none.
        higher_is_better: direction of the metric.
        dataset: what it was measured on, "validation directions" or "multislice, plain".
        split: of that data set.
        patterns: how many patterns it was measured on.
    """

    key: str
    name: str
    value: float
    unit: str
    higher_is_better: bool
    dataset: str
    split: str
    patterns: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise SettingsError(
                f"Metric {self.key} is {self.value}: leave out what was not measured."
            )


@dataclass(frozen=True)
class AccuracyFacts:
    """Figures of a method on a set of known patterns, in each condition; None: not measured.

    Attributes:
        set: of patterns, "multislice, plain".
        method: "network", or what it is compared with.
        patterns: how many of them, at most.
        median_deg: misorientation.
        within_2: share within 2 degrees, 0 to 1.
        within_5: share within 5 degrees, 0 to 1.
        patterns_per_s: from file to map.
    """

    set: str
    method: str
    patterns: int
    median_deg: tuple[float | None, ...]
    within_2: tuple[float | None, ...]
    within_5: tuple[float | None, ...]
    patterns_per_s: tuple[float | None, ...]


@dataclass(frozen=True)
class ModelFacts:
    """A trained network.

    Attributes:
        name: title of the card.
        architecture: the name under which timm knows it.
        parameters: number of weights.
        crystal: what it was trained for.
        inputs: what it is given, one sentence.
        outputs: what it predicts, one sentence.
        dataset: name of the training set.
        dataset_id: hash of its recipe.
        training: (setting, value with unit), in the order in which the card lists them.
        metrics: everything that was measured; none makes a card that says so.
        version: of zoneaxis.
        head: how its outputs come about; "" where there is nothing to say.
        properties: values that it reports of each pattern beside the orientations.
        location: what `from_pretrained` is to be given: a folder or a repository on the Hub.
        dataset_repository: the training set on the Hub, if it is there.
        fine_tuned_from: the model whose weights it began with, if any.
        temperature: that its outputs are divided by before they become probabilities.
        log_odds: slope and offset that make its confidence of their probability.
        confidence_threshold: below it a pattern is marked not indexed, if there is one.
        thresholds: (risk, threshold, coverage): what confidence leaves so small a share of wrong
            orientations, and keeps which share of the crystals.
        conditions: (name, description) of those in `accuracy`, in its order.
        accuracy: on patterns that nobody simulated for training, beside other methods.
        commands: lines of a shell that make the model again.
        limits: sentences that come after the limits which every such model has.
        figures: pictures in the folder.
        license: an identifier of the Hub.
    """

    name: str
    architecture: str
    parameters: int
    crystal: CrystalFacts
    inputs: str
    outputs: str
    dataset: str
    dataset_id: str
    training: tuple[tuple[str, str], ...]
    metrics: tuple[MetricFacts, ...]
    version: str
    head: str = ""
    properties: tuple[ColumnFacts, ...] = ()
    location: str = "FOLDER"
    dataset_repository: str | None = None
    fine_tuned_from: str | None = None
    temperature: float = 1.0
    log_odds: tuple[float, float] = (1.0, 0.0)
    confidence_threshold: float | None = None
    thresholds: tuple[tuple[float, float, float], ...] = ()
    conditions: tuple[tuple[str, str], ...] = ()
    accuracy: tuple[AccuracyFacts, ...] = ()
    commands: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    figures: tuple[FigureFacts, ...] = ()
    license: str = "gpl-3.0"
