"""The random numbers behind the augmentation of a batch."""

import math
from dataclasses import dataclass

import torch

# One row of random numbers each, drawn whether it is used or not: a switch changes nothing but
# what it switches. New names go to the end, or every seed gives another batch.
NAMES = (
    "mirror",
    "kind",
    "rings",
    "rings_radius",
    "rings_fraction",
    "bell_fraction",
    "bell_sigma",
    "turn",
    "pixel",
    "shift_x",
    "shift_y",
    "scale",
    "point_spread",
    "counts",
    "sensitivity",
    "second_grain",
    "second_grain_share",
    "second_grain_row",
    "second_grain_turn",
    "ellipse",
    "ellipse_axis",
    "stop",
    "stop_radius",
    "stop_arm",
    "stop_x",
    "stop_y",
    "hot_pixels",
    "dead_rows",
)


@dataclass(frozen=True, eq=False)
class Draw:
    """Random numbers for the patterns of a batch, always drawn on the processor.

    Attributes:
        numbers: uniform in [0, 1), shape (len(NAMES), b).
        other: the number of another pattern of the batch, -1 where there is none, shape (b,).
        hot: place and level of as many hot pixels as a pattern can have, shape (2, b, k).
        dead: place of as many dead rows, shape (b, r).
    """

    numbers: torch.Tensor
    other: torch.Tensor
    hot: torch.Tensor
    dead: torch.Tensor

    @classmethod
    def batch(cls, size: int, hot: int, dead: int, generator: torch.Generator) -> "Draw":
        """Draw for `size` patterns with up to so many hot pixels and dead rows each."""
        shapes = (len(NAMES), size), (2, size, hot), (size, dead)
        numbers, *defects = (torch.rand(shape, generator=generator) for shape in shapes)
        further = 1 + (numbers[NAMES.index("second_grain_row")] * (size - 1)).long()
        other = (torch.arange(size) + further) % size if size > 1 else torch.tensor([-1])
        return cls(numbers, other, *defects)

    def rows(self, rows: slice) -> "Draw":
        """Return the random numbers of some patterns of the batch."""
        return Draw(self.numbers[:, rows], self.other[rows], self.hot[:, rows], self.dead[rows])

    def uniform(self, name: str, low: float, high: float) -> torch.Tensor:
        """Return a value for each pattern, shape (b,)."""
        return low + (high - low) * self.numbers[NAMES.index(name)]

    def log_uniform(self, name: str, low: float, high: float) -> torch.Tensor:
        """Return a value for each pattern, its logarithm uniform, shape (b,)."""
        return self.uniform(name, math.log(low), math.log(high)).exp()

    def first(self, name: str, low: int, high: int) -> torch.Tensor:
        """Return true for the first low to high of `high` things, shape (b, high)."""
        return torch.arange(high) < self.uniform(name, low, high + 1).floor()[:, None]

    def chance(self, name: str, probability: float) -> torch.Tensor:
        """Return true for about a share `probability` of the patterns, shape (b,)."""
        return self.numbers[NAMES.index(name)] < probability
