"""Does an indexer tell two orientations apart whose zero-order Laue zones look alike?

The patterns are simulated with the beams of the first-order Laue zone, which make the difference,
and framed without its ring, which would give it away.
"""

import numpy as np
import torch

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.render import render
from zoneaxis.diffraction.zone_axes import ZoneAxisPair
from zoneaxis.errors import SettingsError

BRIGHT = 1e-3  # of the brightest spot: below, a relative difference says little


def bright_differences(pair: ZoneAxisPair, kind: str, thickness: int = 0) -> np.ma.MaskedArray:
    """Return relative differences spot by spot, faint spots masked, the direct beam left out.

    Args:
        pair: of the two zone axes.
        kind: "kinematic" or "dynamic".
        thickness: which of the pair's.

    Returns:
        2 (a - b) / (a + b), shape (n - 1,).
    """
    mean = getattr(pair, kind).mean(axis=0)[thickness, 1:]
    difference = pair.relative_difference(kind)[thickness, 1:]
    return np.ma.masked_array(difference, mean < BRIGHT * mean.max(initial=0.0))


def zero_order_patterns(
    crystal: Crystal,
    optics: Optics,
    euler_deg: np.ndarray,
    thickness_nm: float,
    *,
    size: int,
    inv_angstrom_per_pixel: float,
    first_zone_inv_angstrom: float,
) -> np.ndarray:
    """Simulate patterns dynamically in a frame that ends before the first-order Laue zone.

    Args:
        crystal: the specimen.
        optics: with a largest wave vector that reaches the first-order Laue zone.
        euler_deg: (phi1, Phi, phi2) in degrees, shape (n, 3).
        thickness_nm: of the specimen.
        size: height and width of the patterns in pixels.
        inv_angstrom_per_pixel: size of a pixel.
        first_zone_inv_angstrom: radius of the zone's ring, `first_laue_zone_inv_angstrom`.

    Returns:
        Fractions of the incident beam, float32, shape (n, size, size).

    Raises:
        SettingsError: a corner of the frame reaches the ring.
    """
    corner = np.hypot(size, size) / 2 * inv_angstrom_per_pixel
    inner = first_zone_inv_angstrom - optics.disk_radius_inv_angstrom
    if not corner < inner:
        raise SettingsError(
            f"A frame of {size} pixels of {inv_angstrom_per_pixel:g} 1/Angstrom reaches "
            f"{corner:.2f} 1/Angstrom, and the first-order Laue zone begins at {inner:.2f}: take "
            "a smaller --size or --inv-angstrom-per-pixel."
        )
    euler_deg = np.asarray(euler_deg, dtype=float)
    disks = bloch_disks(crystal, optics, euler_deg[:, 1:], np.array([thickness_nm]))
    phi1 = torch.tensor(euler_deg[:, 0])
    return render(disks, size, inv_angstrom_per_pixel, phi1)[:, 0].numpy()
