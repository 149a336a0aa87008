"""py4DSTEM's and pyxem's template matching, each called as its tutorials call it.

Both give orientation matrices in this project's frame, whatever their own. Neither is told more
than the calibration; both find the direct beam themselves.

**py4DSTEM** (ACOM; C. Ophus et al., Microsc. Microanal. 28, 390 (2022)): disks are found by
`find_Bragg_disks` with a synthetic probe of the known radius, thresholds the best of a few tried on
the multislice patterns, then matched with the defaults of `orientation_plan`. It runs on one core;
a second process would double it at most. Its frame has the beam along -z: G = O diag(1, -1, -1).

**pyxem** (N. Cautaerts et al., Ultramicroscopy 237, 113517 (2022)): patterns centered and smoothed,
`get_azimuthal_integral2d`, the median of each ring subtracted as background, `get_orientation` with
diffsims' library, on all threads. Its documented setting (square root of the patterns, templates as
they are, excitation errors up to 0.1) finds 9 % of the plain multislice patterns within 5 degrees;
the one here was the best of some eighty tried on them. The matrices are made from template, shift
and mirror: its `to_rotation` supposes a mirror normal to y, which trigonal crystals lack, turns by
180 degrees, and forgets that its angles are edges of polar bins. Polygons of the bins, which take
seconds and depend on the frame alone, are computed once.
"""

import contextlib
import io
import time
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import matrices_from_euler

BEAM_ALONG_MINUS_Z = np.diag([1.0, -1.0, -1.0])
MIRRORED = np.diag([-1.0, 1.0, -1.0])  # a template's mirror image, of a crystal with an inversion
IN_PLANE_STEP_DEG = 2.0
LARGEST_SHIFT_INV_ANGSTROM = 0.15  # of the direct beam from the middle of the frame

DISKS = {  # for find_Bragg_disks, on patterns of about 1e5 counts
    "minAbsoluteIntensity": 0.1,
    "minRelativeIntensity": 0,
    "minPeakSpacing": 6,
    "maxNumPeaks": 100,
    "edgeBoundary": 3,
    "sigma_cc": 1.0,
    "subpixel": "poly",
}
PLAN = {"corr_kernel_size": 0.08, "sigma_excitation_error": 0.02}
RINGS = 100
POWER = 0.25  # of intensities, in patterns and templates alike
EXCITATION_ERROR = 0.03
BLUR_INV_ANGSTROM = 0.047  # three of the multislice patterns' pixels


class Found(NamedTuple):
    """Orientation matrices (n, 3, 3), where there are any (n,), and seconds of matching alone."""

    matrices: np.ndarray
    indexed: np.ndarray
    kernel_s: float


class Acom:
    """py4DSTEM's automated crystal orientation mapping.

    Attributes:
        directions: of its templates in the crystal frame, shape (n, 3).
    """

    def __init__(
        self, crystal: Crystal, optics: Optics, step_deg: float, coarse_deg: float | None = None
    ) -> None:
        """Compute its orientation plan over the sector of -3m.

        Args:
            crystal: of that Laue group.
            optics: illumination and largest wave vector.
            step_deg: between zone axes.
            coarse_deg: step of a first pass, whose best zone axis is refined; None for one pass.
        """
        from py4DSTEM.process.diffraction import Crystal as TheirCrystal

        self._optics = optics
        self._crystal = TheirCrystal(crystal.positions, crystal.numbers, crystal.cell)
        self._crystal.calculate_structure_factors(optics.k_max_inv_angstrom)
        self._crystal.orientation_plan(
            zone_axis_range="fiber",
            fiber_axis=[0, 0, 1],
            fiber_angles=[90, 60],  # centered on a, as the mirror planes are
            angle_step_zone_axis=step_deg,
            angle_coarse_zone_axis=coarse_deg,
            angle_step_in_plane=IN_PLANE_STEP_DEG,
            accel_voltage=optics.voltage_kv * 1e3,
            precession_angle_degrees=optics.precession_deg or None,
            progress_bar=False,
            **PLAN,
        )
        self.directions = self._crystal.orientation_vecs

    def match(self, patterns: np.ndarray, pixel: float) -> Found:
        """Find disks and orientations; patterns in counts, pixel in 1/Angstrom."""
        peaks = self._peaks(patterns, pixel)
        start = time.perf_counter()
        with np.errstate(all="ignore"):
            found = [self._crystal.match_single_pattern(one) for one in peaks]
        seconds = time.perf_counter() - start
        matrices = np.array([one.matrix[0] for one in found])
        indexed = matrices.any(axis=(1, 2))
        matrices[~indexed] = np.eye(3)
        return Found(matrices @ BEAM_ALONG_MINUS_Z, indexed, seconds)

    def _peaks(self, patterns: np.ndarray, pixel: float) -> list[Any]:
        """Return a py4DSTEM list of the disks of each pattern, without the direct beam."""
        from emdfile import PointList
        from py4DSTEM.braggvectors.diskdetection import find_Bragg_disks

        radius = self._optics.disk_radius_inv_angstrom
        middle = np.array(patterns.shape[1:]) // 2
        kernel = _probe_kernel(patterns.shape[1:], radius / pixel)
        lists = []
        for disks in find_Bragg_disks(patterns.astype(float), kernel, **DISKS):
            row_col, height = np.stack([disks.qx, disks.qy], axis=1), disks.I
            q = (row_col - middle) * pixel
            near = np.linalg.norm(q, axis=1) < LARGEST_SHIFT_INV_ANGSTROM
            q = q - q[np.argmax(height * near)] if near.any() else q
            values = np.stack([q[:, 1], -q[:, 0], height], axis=1)
            kept = values[np.linalg.norm(q, axis=1) > radius]
            fields = np.dtype([(name, float) for name in ("qx", "qy", "intensity")])
            lists.append(PointList(np.ascontiguousarray(kept).view(fields)[:, 0]))
        return lists


class Pyxem:
    """pyxem's polar template matching with diffsims' kinematic library."""

    def __init__(
        self, crystal: Crystal, optics: Optics, directions: np.ndarray, threads: int
    ) -> None:
        """Simulate the library.

        Args:
            crystal: with an inversion center.
            optics: illumination and largest wave vector.
            directions: of the templates in the crystal frame, shape (n, 3).
            threads: of numba and Dask.
        """
        import dask
        import hyperspy.api as hs
        import numba
        from diffsims.generators.simulation_generator import SimulationGenerator
        from orix.quaternion import Rotation

        dask.config.set(scheduler="threads", num_workers=threads)
        numba.set_num_threads(threads)
        hs.preferences.General.show_progressbar = False
        hs.set_log_level("ERROR")  # it warns of axes that it has just been given
        self._optics, self._slices = optics, {}
        x, y, z = directions.T
        tilt = np.arctan2(np.hypot(x, y), z)
        euler = np.rad2deg(np.stack([0 * tilt, tilt, np.arctan2(x, y)], axis=-1))
        self._templates = matrices_from_euler(euler)
        generator = SimulationGenerator(optics.voltage_kv, precession_angle=optics.precession_deg)
        self._simulation = generator.calculate_diffraction2d(
            crystal.phase,
            rotation=Rotation.from_euler(euler, degrees=True),
            reciprocal_radius=optics.k_max_inv_angstrom,
            max_excitation_error=EXCITATION_ERROR,
            with_direct_beam=False,
        )
        for spots in self._simulation.coordinates:
            spots.intensity = spots.intensity**POWER

    def match(self, patterns: np.ndarray, pixel: float, share: float = 1.0) -> Found:
        """Find orientations.

        Args:
            patterns: counts, shape (n, height, width).
            pixel: in 1/Angstrom.
            share: of the templates that are compared in full (its frac_keep, 0.1 by default),
                those with the best sums over the rings.
        """
        polar = self._polar(patterns, pixel)
        start = time.perf_counter()
        found = polar.get_orientation(self._simulation, frac_keep=share)
        seconds = time.perf_counter() - start
        template, _, turn, mirror = found.data.reshape(-1, 4).T
        base = self._templates[template.astype(int)]
        base = np.where(mirror[:, None, None] < 0, base @ MIRRORED, base)
        turn = turn + 180 + IN_PLANE_STEP_DEG / 2  # a shift of 0 is its -180; patterns lie in bins
        turns = matrices_from_euler(np.stack([turn, 0 * turn, 0 * turn], axis=-1))
        return Found(base @ turns @ BEAM_ALONG_MINUS_Z, np.full(len(patterns), True), seconds)

    def _polar(self, patterns: np.ndarray, pixel: float) -> Any:
        import hyperspy.api as hs

        blur_px = BLUR_INV_ANGSTROM / pixel
        signal = hs.signals.Signal2D(gaussian_filter(patterns, (0, blur_px, blur_px)))
        signal.set_signal_type("electron_diffraction")
        largest = int(LARGEST_SHIFT_INV_ANGSTROM / pixel)
        signal.center_direct_beam(method="blur", sigma=2, half_square_width=largest)
        for axis in signal.axes_manager.signal_axes:
            axis.scale, axis.units = pixel, "$\\AA^{-1}$"
        signal.calibration.center = [size // 2 for size in patterns.shape[:0:-1]]
        self._keep_slices(signal, (*patterns.shape[1:], pixel))
        inner = self._optics.disk_radius_inv_angstrom + 1.5 * pixel
        polar = signal.get_azimuthal_integral2d(
            npt=RINGS,
            npt_azim=round(360 / IN_PLANE_STEP_DEG),
            radial_range=(inner, self._optics.k_max_inv_angstrom),
            mean=True,
        )
        radius = polar.axes_manager.signal_axes[1]
        radius.offset += radius.scale / 2  # bins' middles
        above = polar.data - np.median(polar.data, axis=-1, keepdims=True)
        raised = above.clip(0) ** POWER
        polar.data = raised - raised.mean(axis=(1, 2), keepdims=True)
        return polar

    def _keep_slices(self, signal: Any, key: tuple) -> None:
        """Let a signal use the polygons of the polar bins that one of its kind has computed."""
        compute = signal.calibration.get_slices2d

        def kept(*args: Any, **kwargs: Any) -> Any:
            if key not in self._slices:
                self._slices[key] = compute(*args, **kwargs)
            return self._slices[key]

        signal.calibration.get_slices2d = kept


def _probe_kernel(shape: tuple[int, int], radius_px: float) -> np.ndarray:
    from py4DSTEM import Probe

    probe = Probe.generate_synthetic_probe(radius=radius_px, width=1.0, Qshape=shape)
    origin = tuple(size / 2 for size in shape)
    with contextlib.redirect_stdout(io.StringIO()):
        probe.get_kernel(mode="sigmoid", origin=origin, radii=(radius_px, 2 * radius_px))
    return probe.kernel
