"""Structure factors of a crystal as one dense table over (h, k, l).

The potential coefficients are U_g = (2 m e / h^2) V_g in 1/Angstrom^2, relativistically corrected,
with Debye-Waller factors exp(-B g^2 / 4); absorption adds i U'_g. A site at r contributes with the
phase exp(-2 pi i g r), as waves exp(2 pi i k r) want it.

Source: A. Weickenmeier, H. Kohl, Acta Cryst. A 47, 590 (1991), in py4DSTEM's implementation.
"""

from dataclasses import dataclass

import numpy as np

from zoneaxis.diffraction.crystal import Crystal


@dataclass(frozen=True, eq=False)
class StructureFactors:
    """All U_g with |g| up to a largest wave vector.

    Attributes:
        hkl: Miller indices, int, shape (m, 3); (0, 0, 0) is among them.
        g_inv_angstrom: reciprocal lattice vectors in the crystal frame, shape (m, 3).
        u_inv_angstrom2: U_g + i U'_g, complex128, shape (m,).
        table: the same as a dense array, (0, 0, 0) in its middle.
    """

    hkl: np.ndarray
    g_inv_angstrom: np.ndarray
    u_inv_angstrom2: np.ndarray
    table: np.ndarray

    def lookup(self, hkl: np.ndarray) -> np.ndarray:
        """Return U of Miller indices of shape (..., 3); zero beyond the table."""
        center = np.array(self.table.shape) // 2
        inside = (np.abs(hkl) <= center).all(axis=-1)
        index = np.where(inside[..., None], hkl + center, 0)
        return np.where(inside, self.table[tuple(np.moveaxis(index, -1, 0))], 0.0)


def reciprocal_lattice(crystal: Crystal, k_max_inv_angstrom: float) -> np.ndarray:
    """Return the Miller indices with |g| <= k_max that the centering allows, shape (m, 3)."""
    largest = np.floor(
        k_max_inv_angstrom * np.linalg.norm(crystal.lattice_angstrom, axis=1)
    ).astype(int)
    axes = [np.arange(-n, n + 1) for n in largest]
    hkl = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    length = np.linalg.norm(hkl @ crystal.reciprocal_inv_angstrom, axis=1)
    phase = hkl @ crystal.centering.T
    allowed = np.isclose(phase, np.round(phase), atol=1e-3).all(axis=1)
    return hkl[(length <= k_max_inv_angstrom + 1e-9) & allowed]


def structure_factors(
    crystal: Crystal,
    voltage_kv: float,
    k_max_inv_angstrom: float,
    absorption: bool = True,
) -> StructureFactors:
    """Return U_g of every reciprocal lattice point within `k_max_inv_angstrom`.

    Args:
        crystal: sites, occupancies and B factors.
        voltage_kv: for the relativistic correction and the absorption.
        k_max_inv_angstrom: largest |g|; twice the largest wave vector of the beams, so that the
            table holds every difference of two beams.
        absorption: include core and phonon absorption.
    """
    from py4DSTEM.process.diffraction.WK_scattering_factors import compute_WK_factor

    hkl = reciprocal_lattice(crystal, k_max_inv_angstrom)
    g = hkl @ crystal.reciprocal_inv_angstrom
    lengths, inverse = np.unique(np.round(np.linalg.norm(g, axis=1), 9), return_inverse=True)
    u = np.zeros(len(hkl), dtype=np.complex128)
    species = np.stack([crystal.numbers, crystal.b_iso_angstrom2], axis=1)
    for number, b in np.unique(species, axis=0):
        sites = (species == (number, b)).all(axis=1)
        factor = compute_WK_factor(
            lengths,
            int(number),
            voltage_kv * 1e3,
            thermal_sigma=np.sqrt(b / (8 * np.pi**2)),
            include_core=absorption,
            include_phonon=absorption,
        )
        phases = np.exp(-2j * np.pi * hkl @ crystal.positions[sites].T)
        u += factor[inverse] * (phases @ crystal.occupancies[sites])
    u /= crystal.volume_angstrom3
    center = np.abs(hkl).max(axis=0)
    table = np.zeros(2 * center + 1, dtype=np.complex128)
    table[tuple((hkl + center).T)] = u
    return StructureFactors(hkl, g, u, table)
