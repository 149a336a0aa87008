"""Kinematic templates of each direction class: where a polar network starts."""

from dataclasses import replace

import torch

from zoneaxis.diffraction.kinematic import enveloped_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.diffraction.polar import polar_templates
from zoneaxis.models.labels import OrientationLabels
from zoneaxis.models.preprocessing import PolarInput


def kinematic_templates(
    labels: OrientationLabels, preprocess: PolarInput, optics: Optics
) -> torch.Tensor:
    """Return what the network's input would be for kinematic patterns of each class in bin 0.

    Args:
        labels: the classes.
        preprocess: the polar grid and the powers.
        optics: with the k_max and precession of the templates.

    Returns:
        Shape (base classes, channels, radii, angles).
    """
    disks = enveloped_disks(labels.crystal, optics, labels.directions_deg)
    turn = matrices_from_euler(labels.euler_deg * [1, 0, 0])  # q -> Z(phi1)^T q, here of rows
    q = disks.q_inv_angstrom @ torch.from_numpy(turn[:, :2, :2]).to(disks.q_inv_angstrom)
    disks = replace(disks, q_inv_angstrom=q)
    radii, n_angles, blur = preprocess.radii, preprocess.n_angles, preprocess.blur_inv_angstrom
    channels = [
        torch.cat(list(polar_templates(disks, radii, n_angles, blur, power)))
        for power in preprocess.powers
    ]
    return torch.stack(channels, dim=1)
