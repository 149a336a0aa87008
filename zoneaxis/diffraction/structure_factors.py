"""Structure factors of a crystal as one dense table over (h, k, l).

The potential coefficients are U_g = (2 m e / h^2) V_g in 1/Angstrom^2, relativistically corrected:

    U_g = 1 / Omega sum_j occupancy_j f_j(g) exp(-2 pi i g r_j),

the sign of the phase being what waves exp(2 pi i k r) want. The scattering factor f of an atom
holds its Debye-Waller factor exp(-B g^2 / 4); a positive imaginary part absorbs.

Methods, named as in py4DSTEM, whose parametrizations these are:

- Lobato: elastic, from the parametrization [1]. py4DSTEM leaves the Debye-Waller factor out here,
  as for atoms at rest; we apply it, since it is the mean potential that scatters elastically.
- Lobato-absorptive: Lobato times 1 + 0.1 i, a rough guess at the absorption [2].
- WK: elastic, from the parametrization [3].
- WK-C, WK-P, WK-CP: WK with absorption by core losses, by phonons, and by both [3].

Sources: [1] I. Lobato, D. Van Dyck, Acta Cryst. A 70, 636 (2014); [2] H. Hashimoto, A. Howie,
M. J. Whelan, Proc. R. Soc. Lond. A 269, 80 (1962); [3] A. Weickenmeier, H. Kohl, Acta Cryst. A 47,
590 (1991), and for the core losses H. Rose, Optik 45, 139 (1976).
"""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import numpy as np

from zoneaxis.cache import cached_arrays
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import ELECTRON_REST_ENERGY_KEV
from zoneaxis.errors import SettingsError

METHODS = ("Lobato", "Lobato-absorptive", "WK", "WK-C", "WK-P", "WK-CP")
CACHE_VERSION = 1  # raise it when the same input gives other values than before
BYTES_PER_ENTRY = 160  # of the table, while it is built
LARGEST_GIGABYTES = 4.0
ROUNDOFF = 1e-12


@dataclass(frozen=True, eq=False)
class StructureFactors:
    """All U_g with |g| up to a largest wave vector.

    Attributes:
        hkl: Miller indices, int, shape (m, 3); (0, 0, 0) is among them.
        g_inv_angstrom: reciprocal lattice vectors in the crystal frame, shape (m, 3).
        u_inv_angstrom2: U_g + i U'_g, complex128, shape (m,). The imaginary part is exactly zero
            where nothing absorbs and the crystal has a center of inversion at the origin.
        table: the same as a dense array in C order, (0, 0, 0) in its middle.
        k_max_inv_angstrom: the table holds every |g| up to this one.
        voltage_kv: that the values are corrected for.
    """

    hkl: np.ndarray
    g_inv_angstrom: np.ndarray
    u_inv_angstrom2: np.ndarray
    table: np.ndarray
    k_max_inv_angstrom: float
    voltage_kv: float

    def lookup(self, hkl: np.ndarray) -> np.ndarray:
        """Return U of Miller indices of shape (..., 3); zero beyond the table."""
        center = np.array(self.table.shape) // 2
        inside = (np.abs(hkl) <= center).all(axis=-1)
        index = np.where(inside[..., None], hkl + center, 0)
        return np.where(inside, self.table[tuple(np.moveaxis(index, -1, 0))], 0.0)


def reciprocal_lattice(crystal: Crystal, k_max_inv_angstrom: float) -> np.ndarray:
    """Return the Miller indices with |g| <= k_max that the centering allows, shape (m, 3)."""
    largest = _largest_indices(crystal, k_max_inv_angstrom).astype(int)
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
    method: str = "WK-CP",
) -> StructureFactors:
    """Return U_g of every reciprocal lattice point within `k_max_inv_angstrom`.

    They are kept in `zoneaxis.cache.cache_folder()`, which saves the import of py4DSTEM as well.

    Args:
        crystal: sites, occupancies and B factors.
        voltage_kv: for the relativistic correction and the absorption, 10 to 3000.
        k_max_inv_angstrom: largest |g|; twice the largest wave vector of the beams, so that the
            table holds every difference of two beams.
        method: one of METHODS, see above.

    Raises:
        SettingsError: an unknown method, a voltage out of its range, or a k_max that is not
            positive or needs more memory than 4 GB.
    """
    _check(crystal, voltage_kv, k_max_inv_angstrom, method)
    inputs = crystal.to_dict() | {
        "name": [CACHE_VERSION, version("py4DSTEM")],  # in place of the crystal's, a mere label
        "settings": [float(voltage_kv), float(k_max_inv_angstrom), method],
    }
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    build = partial(_indices_and_values, crystal, voltage_kv, k_max_inv_angstrom, method)
    arrays = cached_arrays(f"structure-factors-{key[:32]}", ("hkl", "u"), build)
    hkl, u = arrays["hkl"], arrays["u"]
    center = np.abs(hkl).max(axis=0)
    table = np.zeros(2 * center + 1, dtype=np.complex128)
    table[tuple((hkl + center).T)] = u
    g = hkl @ crystal.reciprocal_inv_angstrom
    return StructureFactors(hkl, g, u, table, float(k_max_inv_angstrom), float(voltage_kv))


def checked_factors(
    factors: StructureFactors | None,
    crystal: Crystal,
    voltage_kv: float,
    k_max_inv_angstrom: float,
    method: str,
) -> StructureFactors:
    """Return `factors` if they will do, or those of `structure_factors` if there are none.

    Args:
        factors: given by the user, or None.
        crystal: only needed without factors, as is `method`.
        voltage_kv: that they must be corrected for.
        k_max_inv_angstrom: that they must reach.
        method: of `structure_factors`.

    Raises:
        SettingsError: factors of another voltage, or of a smaller k_max; or as there.
    """
    if factors is None:
        return structure_factors(crystal, voltage_kv, k_max_inv_angstrom, method)
    if not np.isclose(factors.voltage_kv, voltage_kv):
        raise SettingsError(
            f"Structure factors for {factors.voltage_kv:g} kV do not fit optics of "
            f"{voltage_kv:g} kV: compute them anew."
        )
    if factors.k_max_inv_angstrom < k_max_inv_angstrom - 1e-9:
        raise SettingsError(
            f"Structure factors up to {factors.k_max_inv_angstrom:g} 1/Angstrom: expected "
            f"{k_max_inv_angstrom:g}."
        )
    return factors


def _largest_indices(crystal: Crystal, k_max_inv_angstrom: float) -> np.ndarray:
    # As lenient as the length's own limit, or an index on the sphere would fall outside the table.
    return np.floor(k_max_inv_angstrom * np.linalg.norm(crystal.lattice_angstrom, axis=1) + 1e-6)


def _check(crystal: Crystal, voltage_kv: float, k_max_inv_angstrom: float, method: str) -> None:
    if method not in METHODS:
        raise SettingsError(f"Unknown method {method!r}: choose one of {', '.join(METHODS)}.")
    if not 10 <= voltage_kv <= 3000:
        raise SettingsError(f"voltage_kv = {voltage_kv}: expected 10 to 3000.")
    if not k_max_inv_angstrom > 0:
        raise SettingsError(f"k_max_inv_angstrom = {k_max_inv_angstrom}: expected above 0.")
    entries = (2 * _largest_indices(crystal, k_max_inv_angstrom) + 1).prod()
    if (needed := entries * BYTES_PER_ENTRY / 1e9) > LARGEST_GIGABYTES:
        raise SettingsError(
            f"The structure factors of {crystal.name} up to {k_max_inv_angstrom:g} 1/Angstrom need "
            f"{needed:.3g} GB, more than {LARGEST_GIGABYTES:g}: choose a smaller k_max."
        )


def _indices_and_values(
    crystal: Crystal, voltage_kv: float, k_max_inv_angstrom: float, method: str
) -> dict[str, np.ndarray]:
    """Return hkl, shape (m, 3), and U_g, shape (m,)."""
    hkl = reciprocal_lattice(crystal, k_max_inv_angstrom)
    center = np.abs(hkl).max(axis=0)
    index = tuple((hkl + center).T)
    g = np.linalg.norm(hkl @ crystal.reciprocal_inv_angstrom, axis=1)
    g, inverse = np.unique(np.round(g, 9), return_inverse=True)
    # exp(-2 pi i g r) is a product over the three axes, so that few exponentials are needed.
    waves = [
        np.exp(-2j * np.pi * np.outer(np.arange(-n, n + 1), x))
        for n, x in zip(center, crystal.positions.T, strict=True)
    ]
    u = np.zeros(len(hkl), dtype=np.complex128)
    species = np.stack([crystal.numbers, crystal.b_iso_angstrom2], axis=1)
    for number, b in np.unique(species, axis=0):
        sites = (species == (number, b)).all(axis=1)
        x, y, z = (wave[:, sites] for wave in waves)
        phases = np.einsum("hs,ks,ls->hkl", x * crystal.occupancies[sites], y, z, optimize=True)
        u += _scattering_factor(g, int(number), b, voltage_kv, method)[inverse] * phases[index]
    u /= crystal.volume_angstrom3
    if np.abs(u.imag).max() <= ROUNDOFF * np.abs(u).max():
        u.imag = 0
    return {"hkl": hkl, "u": u}


def _scattering_factor(
    g_inv_angstrom: np.ndarray, number: int, b_angstrom2: float, voltage_kv: float, method: str
) -> np.ndarray:
    """Return f of one atom in Angstrom, with the Debye-Waller factor and gamma, shape (n,)."""
    if method.startswith("WK"):
        from py4DSTEM.process.diffraction.WK_scattering_factors import compute_WK_factor

        return compute_WK_factor(
            g_inv_angstrom,
            number,
            voltage_kv * 1e3,
            thermal_sigma=np.sqrt(b_angstrom2 / (8 * np.pi**2)),
            include_core="C" in method,
            include_phonon="P" in method,
        )
    from py4DSTEM.process.utils import single_atom_scatter

    gamma = 1 + voltage_kv / ELECTRON_REST_ENERGY_KEV
    f = single_atom_scatter().electron_scattering_factor(number, g_inv_angstrom**2)
    f = gamma / np.pi * f * np.exp(-b_angstrom2 * g_inv_angstrom**2 / 4)
    return f * (1 + 0.1j) if method == "Lobato-absorptive" else f
