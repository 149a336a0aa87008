"""Disks as parallel lists, a row for each direction and thickness, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoneaxis.dataset_builder.recipe import Recipe
from zoneaxis.dataset_builder.schema import FAINTEST
from zoneaxis.diffraction.disks import Disks, fit_degree, fit_matrix, monomials, sufficient_tilts
from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import SettingsError

if TYPE_CHECKING:
    import pyarrow as pa

LISTS = ("h", "k", "l", "q_x", "q_y", "intensity", "profile")


def recipe_tilts(recipe: Recipe) -> torch.Tensor:
    """Return the incident tilts of a recipe's disks in units of the semi-angle, shape (t, 2)."""
    optics = recipe.optics(recipe.convergence_mrad[1], 0.0)
    return sufficient_tilts(optics, recipe.thickness_nm[1])


def disk_columns(disks: Disks) -> dict[str, "pa.Array"]:
    """Return the list columns of disks, rows ordered by direction, then thickness.

    Args:
        disks: of b directions at z thicknesses, on the CPU.

    Returns:
        Arrow lists of b z rows; disks fainter than 1e-8 of the beam are left out.
    """
    import pyarrow as pa

    b, z, n, _ = disks.intensity.shape
    mean = disks.mean_intensity.reshape(b * z, n).numpy()
    kept = mean > FAINTEST
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    row, beam = kept.nonzero()
    intensity = mean[kept]
    hkl = disks.hkl.numpy()[row // z, beam]
    q = disks.q_inv_angstrom.numpy()[row // z, beam]
    profile = disks.intensity.flatten(0, 1).numpy()[kept] / intensity[:, None]
    values = (*hkl.T, *q.T.astype(np.float32), intensity.astype(np.float32))
    columns = {
        name: pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(value)))
        for name, value in zip(LISTS, values, strict=False)
    }
    flat = pa.array(profile.astype(np.float16).ravel())
    columns["profile"] = pa.ListArray.from_arrays(offsets * profile.shape[1], flat)
    return columns


def disks_of_rows(rows: Mapping[str, Any], tilts: torch.Tensor, optics: Optics) -> Disks:
    """Return the disks of rows, at one semi-angle of convergence.

    A smaller semi-angle than simulated is the inner part of each disk's polynomial: drawing it
    anew for each batch keeps a network from using the disk's edge as a ruler.

    Args:
        rows: columns of config `disks`, b rows.
        tilts: of the simulation, shape (t, 2).
        optics: with a semi-angle of convergence of at most what each row was simulated with.

    Returns:
        Disks of b directions at one thickness each.

    Raises:
        SettingsError: the semi-angle is larger than a row's, or the tilts are not the rows'.
    """
    ratio = optics.convergence_mrad / torch.as_tensor(np.asarray(rows["convergence_mrad"]))
    if ratio.max() > 1 + 1e-6:
        raise SettingsError(
            f"convergence_mrad = {optics.convergence_mrad:g}: expected at most the "
            f"{float(min(rows['convergence_mrad'])):g} mrad that a row was simulated with."
        )
    lists = {name: [np.asarray(value) for value in rows[name]] for name in LISTS}
    count = np.array([len(h) for h in lists["h"]])
    if any(len(p) != n * len(tilts) for p, n in zip(lists["profile"], count, strict=True)):
        raise SettingsError(f"The rows were not simulated with these {len(tilts)} tilts.")
    filled = np.arange(count.max(initial=1)) < count[:, None]

    def padded(name: str, shape: tuple[int, ...] = ()) -> torch.Tensor:
        values = np.concatenate(lists[name]).astype(np.float32).reshape(-1, *shape)
        out = np.zeros((*filled.shape, *shape), dtype=np.float32)
        out[filled] = values
        return torch.from_numpy(out)

    profile = padded("profile", (len(tilts),))
    inner = monomials(tilts * ratio.to(tilts)[:, None, None], fit_degree(tilts)) @ fit_matrix(tilts)
    intensity = padded("intensity")[..., None] * (profile @ inner.mT).clamp_min(0)
    return Disks(
        torch.stack([padded(name) for name in "hkl"], dim=-1).to(torch.int16),
        torch.stack([padded("q_x"), padded("q_y")], dim=-1),
        intensity[:, None],
        tilts,
        optics.disk_radius_inv_angstrom,
    )
