"""Beam directions that cover what symmetry leaves of the sphere."""

import numpy as np
from orix.sampling import sample_S2

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import SettingsError


def sample_directions(crystal: Crystal, step_deg: float, mirrored: bool = False) -> np.ndarray:
    """Return a nearly even grid of beam directions over the crystal's fundamental sector.

    Spherified cube (edge-equalized) of orix, cut to the sector of the proper point group. The
    sector's rims are kept, so a few directions there have an equivalent across the rim.

    Args:
        crystal: whose symmetry cuts the sphere.
        step_deg: spacing of neighboring directions in degrees.
        mirrored: cut to the sector of the full point group instead; patterns of the rest are
            x-mirrors (`orientations.mirrored`). The same where `crystal.mirror` is None.

    Returns:
        (Phi, phi2) in degrees, phi2 in [0, 360), shape (n, 2).

    Raises:
        SettingsError: the step is not within 0.1 to 30 degrees.
    """
    if not 0.1 <= step_deg <= 30:
        raise SettingsError(f"step_deg = {step_deg}: expected 0.1 to 30 degrees.")
    group = crystal.point_group if mirrored else crystal.point_group.proper_subgroup
    directions = sample_S2(step_deg, method="spherified_cube_edge")
    x, y, z = directions[directions <= group.fundamental_sector].data.T
    tilt = np.arctan2(np.hypot(x, y), z)
    return np.rad2deg(np.stack([tilt, np.arctan2(x, y) % (2 * np.pi)], axis=-1))
