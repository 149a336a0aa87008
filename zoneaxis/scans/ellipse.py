"""The ellipse into which a lens or a tilted camera distorts a ring."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ellipse:
    """What a circle about the direct beam looks like in the measured patterns.

    Attributes:
        ratio: long over short axis, 1 or more.
        angle_deg: of the long axis, from x (right) to y (down), 0 to 180.
    """

    ratio: float = 1.0
    angle_deg: float = 0.0

    @property
    def matrix(self) -> np.ndarray:
        """The matrix that takes measured offsets (x, y) to true ones, determinant 1, (2, 2).

        The area stays, hence a pixel size that was measured on all directions stays right.
        """
        angle = np.deg2rad(self.angle_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return turn @ np.diag([self.ratio**-0.5, self.ratio**0.5]) @ turn.T

    @classmethod
    def from_stretch(cls, along: float, diagonal: float) -> "Ellipse":
        """Return the ellipse whose axes' ratio has the logarithm (along, diagonal).

        The two are its components in cos and sin of twice the angle: unlike ratio and angle they
        are smooth where the ellipse is a circle.
        """
        angle = np.rad2deg(0.5 * np.arctan2(diagonal, along)) % 180
        return cls(float(np.exp(np.hypot(along, diagonal))), float(angle))
