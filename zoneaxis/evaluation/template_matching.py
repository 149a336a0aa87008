"""TemplateIndexer: ASTAR-style template matching, the reference that networks are held against.

A bank of kinematic templates covers the symmetry-reduced beam directions. Pattern and template are
compared on a polar grid, where an in-plane rotation is a shift: one Fourier transform over the
angle correlates all in-plane angles at once. The correlation index is

    Q = sum P T / sqrt(sum P^2 sum T^2)

of a pattern P and a template T that are compressed (a power of about 1/4 each, for dynamical
intensities follow the kinematic ones loosely), weighted by the radius, and free of their mean on
each ring (so that a missing or a surplus spot costs). The reliability is R = 1 - Q2 / Q1, with Q2
the best solution that is distinct from the first.

Q alone does not tell crystal from noise, whose Q grows as electrons become few. Each pattern is
therefore halved, every second pixel of a checkerboard in either half: disks stand in both halves,
noise does not, at any dose and whatever the camera's gain.

Sources: E. Rauch, L. Dupuy, Arch. Metall. Mater. 50, 87 (2005) for Q and R; C. Ophus et al.,
Microsc. Microanal. 28, 390 (2022) for the correlation over polar rings and the powers.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import sample_directions
from zoneaxis.diffraction.disks import Disks
from zoneaxis.diffraction.kinematic import enveloped_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    euler_from_matrices,
    matrices_from_euler,
    mean_orientation,
    misorientation_deg,
    reduce_euler,
)
from zoneaxis.diffraction.polar import (
    checkerboard_halves,
    compressed_polar,
    direct_beam_center,
    polar_templates,
    rings_inside,
)
from zoneaxis.errors import SettingsError
from zoneaxis.scans.indexing import Indexed, require_frame

POWER = 0.25  # of intensities, in patterns and templates alike
BLUR_INV_ANGSTROM = 0.03  # patterns are smoothed by it before the power, which would lift noise
N_RADII, N_ANGLES = 48, 180
N_SHIFTS = 120  # in-plane angles compared; a parabola finds the angle between them
SECTORS = 6  # each template offers its best angle in each: 60 degrees about a zone axis may vie
CANDIDATES = 192  # enough to reach beyond the neighbors of the best solution
MERGED_STEPS = 1.6  # candidates within it are the same peak, and refine its position,
MERGE_FLOOR = 0.8  # weighted by how far they exceed this share of the best Q
BATCH_BYTES = 150_000_000
FEWEST_RINGS = 8
AGREEMENT_POWER = 0.5  # weighs the halves of a pattern towards its bright disks
NARROWEST_DISK_PX = 2.5  # a narrower one may miss one of the halves


class TemplateIndexer:
    """Finds orientations by correlation with kinematic templates; implements Indexer.

    Attributes:
        crystal: whose templates are compared.
        optics: with the precession and k_max of the templates.
        matrices: orientation of each template (phi1 = 0), shape (n, 3, 3).
    """

    def __init__(
        self,
        crystal: Crystal,
        optics: Optics,
        *,
        step_deg: float = 2.0,
        n_best: int = 3,
        min_q: float = 0.12,
        min_agreement: float = 0.15,
        distinct_deg: float = 5.0,
        camera_scales: Sequence[float] = (1.0,),
    ) -> None:
        """Compute the bank of templates.

        Args:
            crystal: the specimen.
            optics: illumination; rings of a pattern beyond k_max, or beyond the frame, are not
                compared, so k_max may reach as far as the camera does.
            step_deg: spacing of the templates' beam directions.
            n_best: how many distinct solutions are returned.
            min_q: patterns whose best correlation index is below are not indexed.
            min_agreement: patterns whose two halves, of every second pixel, correlate less are
                not indexed: what they show is noise. Noise scatters round 0 with a standard
                deviation of about 0.05. Not asked where disks are narrower than 2.5 pixels.
            distinct_deg: solutions closer than this are one (never less than 1.5 steps).
            camera_scales: factors on the pixel size to try on each pattern, each at the full
                cost; the best is kept. `(0.91, 0.94, ..., 1.09)` for a camera length known to 10 %.

        Raises:
            SettingsError: a setting out of its range.
        """
        inner = optics.disk_radius_inv_angstrom + 2 * BLUR_INV_ANGSTROM
        _check_settings(n_best, min_q, min_agreement, camera_scales)
        _check_rings(optics, inner)
        self.crystal = crystal
        self.crystals = (crystal,)
        self.optics = optics
        self._camera_scales = np.array(camera_scales, dtype=float)
        self._n_best = n_best
        self._min_q = min_q
        self._min_agreement = min_agreement
        self._step_deg = step_deg
        self._distinct_deg = max(distinct_deg, 1.5 * step_deg)
        self._radii = torch.linspace(inner, optics.k_max_inv_angstrom, N_RADII)
        directions = sample_directions(crystal, step_deg)
        self.matrices = matrices_from_euler(np.pad(directions, ((0, 0), (1, 0))))
        self._ring_power, self._spectra = self._bank(enveloped_disks(crystal, optics, directions))

    def index(self, patterns: np.ndarray, inv_angstrom_per_pixel: float) -> Indexed:
        """Index patterns without changing them.

        Args:
            patterns: counts or fractions of the beam, shape (n, height, width).
            inv_angstrom_per_pixel: size of a pattern pixel in 1/Angstrom.

        Returns:
            Scores are correlation indices Q. A distinct solution that was not found among the
            best candidates repeats the first one with score 0. The property "agreement" is what
            `min_agreement` is compared with.

        Raises:
            ScanError: the frame ends before the templates begin: the pixel size is wrong.
        """
        require_frame(patterns.shape[1:], inv_angstrom_per_pixel, float(self._radii[FEWEST_RINGS]))
        per_pattern = len(self.matrices) * 16 * N_SHIFTS  # bytes: a spectrum and its transform
        batch = int(np.clip(BATCH_BYTES // per_pattern, 1, 64))
        parts = [
            self._index_scales(patterns[i : i + batch], inv_angstrom_per_pixel)
            for i in range(0, max(len(patterns), 1), batch)
        ]
        euler, score, scale, agreement = (np.concatenate(part) for part in zip(*parts, strict=True))
        first, second = score[:, 0], score[:, 1]
        reliability = 1 - second / np.maximum(first, 1e-6)
        indexed = (first >= max(self._min_q, 1e-6)) & (agreement >= self._min_agreement)
        scales = {"camera_scale": scale} if len(self._camera_scales) > 1 else {}
        return Indexed(
            euler_deg=euler[:, : self._n_best],
            score=score[:, : self._n_best],
            reliability=np.where(indexed, reliability, 0).astype(np.float32),
            indexed=indexed,
            properties={"agreement": agreement, **scales},
        )

    def _bank(self, disks: Disks) -> tuple[torch.Tensor, torch.Tensor]:
        """Return sum T^2 of each ring (n, r) and the conjugate spectra (f, r, n), part by part."""
        n, start = len(disks.q_inv_angstrom), 0
        power = torch.empty(n, N_RADII)
        spectra = torch.empty(N_SHIFTS // 2 + 1, N_RADII, n, dtype=torch.complex64)
        for drawn in polar_templates(disks, self._radii, N_ANGLES, BLUR_INV_ANGSTROM, POWER):
            templates = self._weighted(drawn)
            part = slice(start, start + len(drawn))
            power[part] = (templates**2).sum(dim=-1)
            spectra[..., part] = _spectrum(templates).conj().transpose(1, 2)
            start = part.stop
        return power, spectra

    def _index_scales(self, patterns: np.ndarray, pixel: float) -> tuple[np.ndarray, ...]:
        """Return Euler angles and scores at each pattern's best camera scale, that, agreement."""
        copied = torch.from_numpy(patterns.astype(np.float32))
        tries = [self._index_batch(copied, pixel * scale) for scale in self._camera_scales]
        euler, score = (np.stack(values) for values in zip(*tries, strict=True))
        best, rows = score[..., 0].argmax(axis=0), np.arange(len(patterns))
        agreement = self._agreement(copied, pixel).numpy()
        return euler[best, rows], score[best, rows], self._camera_scales[best], agreement

    def _agreement(self, patterns: torch.Tensor, pixel: float) -> torch.Tensor:
        """Return how well the halves of each pattern correlate, -1 to 1, shape (b,)."""
        if 2 * self.optics.disk_radius_inv_angstrom < NARROWEST_DISK_PX * pixel:
            return torch.ones(len(patterns))
        halves = [
            self._prepare(half, pixel, AGREEMENT_POWER)[0].flatten(1)
            for half in checkerboard_halves(patterns)
        ]
        return F.cosine_similarity(*halves, eps=1e-20)

    def _index_batch(self, patterns: torch.Tensor, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        """Return Euler angles (b, max(k, 2), 3) and scores of the distinct solutions."""
        polar, inside = self._prepare(patterns, pixel)
        norm = (polar**2).sum(dim=(1, 2)).sqrt()[:, None]
        norm = norm * (inside.float() @ self._ring_power.T).sqrt()
        norm = norm * (N_ANGLES / N_SHIFTS)  # what irfft divides by when it returns fewer angles
        product = torch.bmm(_spectrum(polar), self._spectra).permute(1, 2, 0).contiguous()
        correlation = torch.fft.irfft(product, n=N_SHIFTS, dim=-1)
        matrices, score = self._candidates(correlation, norm)
        return self._distinct(matrices, score)

    def _prepare(
        self, patterns: torch.Tensor, pixel: float, power: float = POWER
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weighted polar patterns (b, r, a) and which of their rings lie in the frame."""
        center = direct_beam_center(patterns, self.optics.disk_radius_inv_angstrom / pixel)
        pool = max(1, int(BLUR_INV_ANGSTROM / pixel))
        if pool > 1:
            patterns = F.avg_pool2d(patterns[:, None], pool)[:, 0]
            center, pixel = (center - (pool - 1) / 2) / pool, pixel * pool
        polar = compressed_polar(
            patterns, center, pixel, self._radii, N_ANGLES, BLUR_INV_ANGSTROM, power
        )
        inside = rings_inside(patterns.shape[1:], center, pixel, self._radii)
        return self._weighted(polar) * inside[..., None], inside

    def _weighted(self, polar: torch.Tensor) -> torch.Tensor:
        return (polar - polar.mean(dim=-1, keepdim=True)) * self._radii[:, None]

    def _candidates(
        self, correlation: torch.Tensor, norm: torch.Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return orientations (b, c, 3, 3) and Q (b, c) of the best peaks, best first."""
        sectors = correlation.unflatten(-1, (SECTORS, -1))
        peak, place = sectors.max(dim=-1)
        peak = (peak / norm.clamp_min(1e-20)[..., None]).flatten(1)
        score, chosen = peak.topk(min(CANDIDATES, peak.shape[1]), dim=1)
        template, sector = chosen // SECTORS, chosen % SECTORS
        angle = sector * (N_SHIFTS // SECTORS) + place.flatten(1).gather(1, chosen)
        flat = correlation.flatten(1)
        before, at, after = (
            flat.gather(1, template * N_SHIFTS + (angle + i) % N_SHIFTS) for i in (-1, 0, 1)
        )
        bend = (2 * at - before - after).clamp_min(1e-20)
        shift = ((after - before) / (2 * bend)).clamp(-0.5, 0.5)
        phi1 = (angle + shift).double().numpy() * (360 / N_SHIFTS)
        turn = matrices_from_euler(np.stack([phi1, 0 * phi1, 0 * phi1], axis=-1))
        return self.matrices[template.numpy()] @ turn, score.clamp(0, 1).numpy()

    def _distinct(self, matrices: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pick the best, drop what is close to it, and so on; (b, k, 3) and (b, k), k >= 2."""
        operators = self.crystal.proper_operators
        rows = np.arange(len(score))
        left = score.copy()
        eulers, scores = [], []
        for _ in range(max(self._n_best, 2)):
            best = left.argmax(axis=1)
            found = matrices[rows, best]
            away = misorientation_deg(matrices, found[:, None], operators)
            none = left[rows, best] <= 0
            euler = self._merged(found, matrices, score * (away <= MERGED_STEPS * self._step_deg))
            eulers.append(np.where(none[:, None], eulers[0], euler) if eulers else euler)
            scores.append(left[rows, best])
            left[away < self._distinct_deg] = 0
        return np.stack(eulers, axis=1), np.stack(scores, axis=1)

    def _merged(self, found: np.ndarray, matrices: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Return the mean orientation of the candidates around a peak, weighted by excess Q."""
        weight = np.maximum(score - MERGE_FLOOR * score.max(axis=1, keepdims=True), 0) ** 2
        mean = mean_orientation(matrices, weight, found, self.crystal.proper_operators)
        return reduce_euler(euler_from_matrices(mean), self.crystal)


def camera_scales(largest_error: float) -> tuple[float, ...]:
    """Return factors on the pixel size that cover a camera length off by up to a share.

    Args:
        largest_error: 0 for a calibrated camera, 0.1 for one known to 10 %.

    Raises:
        SettingsError: not within 0 to 0.3.
    """
    if not 0 <= largest_error <= 0.3:
        raise SettingsError(f"Camera length error {largest_error}: expected a share of 0 to 0.3.")
    # Steps of 3 %: the outermost spots are then off by less than their own size.
    steps = round(largest_error / 0.03)
    return tuple(1 + 0.03 * i for i in range(-steps, steps + 1))


def _spectrum(polar: torch.Tensor) -> torch.Tensor:
    """Return the angular frequencies that N_SHIFTS resolve, (b, r, a) -> (f, b, r)."""
    spectrum = torch.fft.rfft(polar, dim=-1)[..., : N_SHIFTS // 2 + 1]
    return spectrum.permute(2, 0, 1).contiguous()


def _check_settings(
    n_best: int, min_q: float, min_agreement: float, camera_scales: Sequence[float]
) -> None:
    if n_best < 1:
        raise SettingsError(f"n_best = {n_best}: expected at least 1.")
    if not 0 <= min_q < 1:
        raise SettingsError(f"min_q = {min_q}: expected 0 to 1.")
    if not -1 <= min_agreement < 1:
        raise SettingsError(f"min_agreement = {min_agreement}: expected -1 to 1.")
    if not len(camera_scales) or not min(camera_scales) > 0:
        raise SettingsError(f"camera_scales = {camera_scales}: expected positive factors.")


def _check_rings(optics: Optics, inner: float) -> None:
    if optics.k_max_inv_angstrom < 2 * inner:
        raise SettingsError(
            f"Disks of radius {optics.disk_radius_inv_angstrom:.3f} 1/Angstrom leave nothing "
            f"to compare up to k_max = {optics.k_max_inv_angstrom:g}: lower the convergence."
        )
