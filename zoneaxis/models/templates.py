"""Kinematic templates of each direction class: where a polar network starts."""

import torch

from zoneaxis.diffraction.kinematic import enveloped_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.polar import polar_templates
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import PolarInput


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
    radii, n_angles, blur = preprocess.radii, preprocess.n_angles, preprocess.blur_inv_angstrom
    channels = [
        torch.cat(list(polar_templates(disks, radii, n_angles, blur, power)))
        for power in preprocess.powers
    ]
    return torch.stack(channels, dim=1)
