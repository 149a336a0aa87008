"""ScanRecipe: everything that decides the content of a data set made from a measured scan."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from zoneaxis.dataset_builder.recipe_base import PatternRecipe


@dataclass(frozen=True)
class ScanRecipe(PatternRecipe):
    """Where the patterns and labels of a data set come from, and which of them are taken.

    Correlation index Q and reliability R count as `OrientationMap` has them: ASTAR's from 0 to 1,
    so that its Q > 20 and R > 15 (Wissel et al., arXiv 2507.01889) are 0.2 and 0.15 here. Other
    programs' scores keep their own scale.

    Attributes:
        crystal: what `Crystal.to_dict` returns.
        scan_name: file name of the scan.
        scan_sha256: of that file, in hexadecimal digits.
        labels_name: file name of the reference map.
        labels_sha256: of that file, in hexadecimal digits.
        inv_angstrom_per_pixel: size of a pixel.
        direct_beam_px: (row, column) of the direct beam in the scan's own patterns, the same for
            all of them; there lies the middle of the square that is cut out.
        size: pixels along an edge of that square.
        voltage_kv: accelerating voltage.
        convergence_mrad: semi-angle, twice, as a simulation has a range.
        precession_deg: precession angle, twice; 0 for none.
        min_q: points with a lower correlation index are left out; None for no limit.
        min_r: points with a lower reliability are left out; None for no limit.
        grain_tolerance_deg: neighbors whose misorientation is smaller are of one grain.
        smallest_grain: grains that yield fewer rows are left out.
        validation_share: share of the rows held out, in whole grains.
        seed: of the draw of these grains.
    """

    kind: ClassVar[str] = "scan"

    crystal: dict[str, Any]
    scan_name: str
    scan_sha256: str
    labels_name: str
    labels_sha256: str
    inv_angstrom_per_pixel: float
    direct_beam_px: tuple[int, int]
    size: int
    voltage_kv: float = 300.0
    convergence_mrad: tuple[float, float] = (1.5, 1.5)
    precession_deg: tuple[float, float] = (0.0, 0.0)
    min_q: float | None = None
    min_r: float | None = None
    grain_tolerance_deg: float = 5.0
    smallest_grain: int = 1
    validation_share: float = 0.2
    seed: int = 0

    def _checks(self) -> dict[str, tuple[bool, str]]:
        digits, half = "the 64 digits of a SHA-256", self.size // 2
        return {
            "scan_name": (bool(self.scan_name), "a file name"),
            "scan_sha256": (_is_sha256(self.scan_sha256), digits),
            "labels_name": (bool(self.labels_name), "a file name"),
            "labels_sha256": (_is_sha256(self.labels_sha256), digits),
            "inv_angstrom_per_pixel": (0 < self.inv_angstrom_per_pixel < 1, "0 to 1 1/Å"),
            "size": (16 <= self.size <= 8192, "16 to 8192"),
            "direct_beam_px": (min(self.direct_beam_px) >= half, f"{half} or more, as size is"),
            "convergence_mrad": _one_value(self.convergence_mrad),
            "precession_deg": _one_value(self.precession_deg),
            "grain_tolerance_deg": (0 < self.grain_tolerance_deg <= 60, "more than 0, up to 60"),
            "smallest_grain": (self.smallest_grain >= 1, "1 or more"),
            "validation_share": (0 <= self.validation_share < 1, "at least 0, less than 1"),
            "seed": (self.seed >= 0, "0 or more"),
        }

    @property
    def precessed_share(self) -> float:
        """1 for a precessed scan, else 0."""
        return float(self.precession_deg[1] > 0)

    @property
    def k_max_inv_angstrom(self) -> float:
        """Wave vector at the middle of the edges: a camera has no other limit."""
        return self.frame_inv_angstrom


def _is_sha256(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def _one_value(pair: tuple[float, float]) -> tuple[bool, str]:
    return pair[0] == pair[1], "the same value twice"
