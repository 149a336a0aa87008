"""Optics: the illumination and how far out the pattern is taken."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from zoneaxis.errors import SettingsError

ELECTRON_REST_ENERGY_KEV = 510.99895
HC_KEV_ANGSTROM = 12.398419843


@dataclass(frozen=True)
class Optics:
    """Settings of the microscope that decide the disks.

    Attributes:
        voltage_kv: accelerating voltage.
        convergence_mrad: semi-angle of convergence, the radius of the disks.
        precession_deg: precession angle; 0 for none.
        k_max_inv_angstrom: largest simulated wave vector.
    """

    voltage_kv: float = 300.0
    convergence_mrad: float = 1.5
    precession_deg: float = 0.0
    k_max_inv_angstrom: float = 1.5

    def __post_init__(self) -> None:
        limits = {
            "voltage_kv": (10.0, 3000.0),
            "convergence_mrad": (0.01, 50.0),
            "precession_deg": (0.0, 5.0),
            "k_max_inv_angstrom": (0.1, 10.0),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingsError(f"{name} = {value}: expected {low:g} to {high:g}.")

    @property
    def wavelength_angstrom(self) -> float:
        """Relativistic electron wavelength, 0.0196875 Angstrom at 300 kV."""
        return HC_KEV_ANGSTROM / np.sqrt(
            self.voltage_kv * (self.voltage_kv + 2 * ELECTRON_REST_ENERGY_KEV)
        )

    @property
    def disk_radius_inv_angstrom(self) -> float:
        """Radius of a diffraction disk."""
        return self.convergence_mrad * 1e-3 / self.wavelength_angstrom

    @property
    def largest_angle_mrad(self) -> float:
        """Scattering angle of the largest simulated wave vector."""
        return 1e3 * self.k_max_inv_angstrom * self.wavelength_angstrom

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a plain dict, for JSON."""
        return asdict(self)
