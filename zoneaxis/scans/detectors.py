"""Virtual detectors: images of the specimen from a part of every pattern, and masks from them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoneaxis.errors import ScanError, SettingsError
from zoneaxis.files import atomic_path
from zoneaxis.scans.centers import beam_radius
from zoneaxis.scans.indexing import blocks
from zoneaxis.scans.sampling import sample
from zoneaxis.scans.scan import Scan

BATCH = 256
SAMPLED = 64  # patterns for the radius of the direct beam
BRIGHT_RADII = 1.5  # radius of the bright field detector, in radii of the direct beam
DARK_RADII = 2.0  # inner radius of the dark field detector
IMAGES = (".png", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Detector:
    """A disk or ring about the direct beam, or about any other place of the pattern.

    Attributes:
        inner_px: pixels nearer to its middle do not count; 0 for a disk.
        outer_px: nor do those as far as this or farther.
        offset_px: (column, row) of its middle relative to pixel [n // 2, n // 2].
    """

    inner_px: float
    outer_px: float
    offset_px: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not 0 <= self.inner_px < self.outer_px:
            raise SettingsError(
                f"A detector from {self.inner_px:g} to {self.outer_px:g} pixels: the inner radius "
                "must be at least 0 and smaller than the outer one."
            )

    def weights(self, shape: tuple[int, int]) -> np.ndarray:
        """Return which pixels of a frame (height, width) count, bool."""
        height, width = shape
        y, x = np.ogrid[:height, :width]
        column, row = width // 2 + self.offset_px[0], height // 2 + self.offset_px[1]
        distance = np.hypot(x - column, y - row)
        return (distance >= self.inner_px) & (distance < self.outer_px)


def bright_field(scan: Scan) -> Detector:
    """Return the detector that the direct beam falls on."""
    return Detector(0.0, BRIGHT_RADII * _beam_radius(scan))


def dark_field(scan: Scan) -> Detector:
    """Return the ring from beyond the direct beam to the edge of the frame."""
    return Detector(DARK_RADII * _beam_radius(scan), min(scan.patterns.shape[2:]) / 2)


def virtual_images(
    scan: Scan, detectors: list[Detector], *, progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Sum the counts on each detector at every point, in one pass over the file.

    Args:
        scan: with its direct beam at [n // 2, n // 2], at least roughly.
        detectors: d of them.
        progress: called with the number of patterns done since the last call.

    Returns:
        Counts, float64, shape (d, rows, cols); NaN where masked.

    Raises:
        SettingsError: a detector lies outside the frame.
    """
    frame = scan.patterns.shape[2:]
    pixels = [np.flatnonzero(detector.weights(frame)) for detector in detectors]
    for detector, chosen in zip(detectors, pixels, strict=True):
        if not chosen.size:
            raise SettingsError(f"{detector} holds no pixel of {frame[0]} x {frame[1]}.")
    images = np.full((len(detectors), *scan.shape), np.nan)
    for rows, cols in blocks(scan, BATCH):
        patterns = scan.read(rows, cols)
        flat = patterns.reshape(*patterns.shape[:2], -1)
        for image, chosen in zip(images, pixels, strict=True):
            image[rows, cols] = flat[..., chosen].sum(axis=-1, dtype=np.float64)
        if progress is not None:
            progress(flat.shape[0] * flat.shape[1])
    if scan.mask is not None:
        images[:, ~scan.mask] = np.nan
    return images


def otsu_mask(image: np.ndarray) -> np.ndarray:
    """Return where an image lies above the threshold that parts it best (Otsu), bool.

    Args:
        image: such as a dark field image, in which the specimen is brighter than the vacuum;
            for a bright field image take the opposite. NaN counts as below.

    Raises:
        ScanError: the image has one value only.
    """
    from skimage.filters import threshold_otsu

    finite = image[np.isfinite(image)]
    if finite.size == 0 or finite.min() == finite.max():
        raise ScanError("All points of the virtual image are equal: no mask can be made from it.")
    return np.nan_to_num(image, nan=-np.inf) > threshold_otsu(finite)


def load_mask(path: Path) -> np.ndarray:
    """Read a mask of one value a scan point: .npy, or an image, in which all but black counts.

    Raises:
        ScanError: no such file, or not a two-dimensional image.
    """
    if path.suffix.lower() not in (".npy", *IMAGES):
        raise ScanError(f"{path} is no mask: expected .npy, {', '.join(IMAGES)}.")
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            from PIL import Image

            with Image.open(path) as image:
                if len(image.getbands()) > 1 or image.mode == "P":
                    values = np.asarray(image.convert("RGB")).any(axis=-1)
                else:
                    values = np.asarray(image)  # as it is: 8 bits would round 0.3 to 0
    except (OSError, ValueError, EOFError) as error:
        raise ScanError(f"{path} cannot be read as a mask ({error}).") from error
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise ScanError(f"{path} holds {values.shape} {values.dtype}: expected one value a point.")
    return np.nan_to_num(values) != 0


def save_image(path: Path, image: np.ndarray) -> None:
    """Write a value a scan point: as it is to .npy, from black to white in 8 bits to an image.

    Args:
        path: .npy, .png, .tif or .bmp.
        image: shape (rows, cols); bool becomes 0 and 255, NaN black.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".npy":
            np.save(temporary, image)
            return
        from PIL import Image

        values = image.astype(float)
        low, high = np.nanmin(values), np.nanmax(values)
        gray = np.nan_to_num((values - low) / (high - low or 1.0))
        Image.fromarray(np.round(255 * gray).astype(np.uint8)).save(temporary)


def _beam_radius(scan: Scan) -> float:
    return beam_radius(sample(scan, SAMPLED).patterns)
