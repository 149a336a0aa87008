"""Kinematic templates of each direction class: where a polar network starts."""

import numpy as np
import torch

from zoneaxis.diffraction.kinematic import enveloped_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.polar import draw_polar_spots
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import PolarInput

DRAWN_TOGETHER = 256  # templates; bounds the memory


def kinematic_templates(
    labels: OrientationLabels, preprocess: PolarInput, optics: Optics
) -> torch.Tensor:
    """Return what the network's input would be for kinematic patterns at phi1 = 0.

    Args:
        labels: the direction classes.
        preprocess: the polar grid and the powers.
        optics: with the k_max and precession of the templates.

    Returns:
        Shape (directions, channels, radii, angles).
    """
    disks = enveloped_disks(labels.crystal, optics, labels.directions_deg)
    sigma = float(np.hypot(disks.radius_inv_angstrom / 2, preprocess.blur_inv_angstrom))
    parts = zip(
        disks.q_inv_angstrom.split(DRAWN_TOGETHER),
        disks.intensity[:, 0, :, 0].split(DRAWN_TOGETHER),
        strict=True,
    )
    return torch.cat(
        [
            torch.stack(
                [
                    draw_polar_spots(q, height**power, sigma, preprocess.radii, preprocess.n_angles)
                    for power in preprocess.powers
                ],
                dim=1,
            )
            for q, height in parts
        ]
    )
