from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from zoneaxis.evaluation.report import scan as report_scan
from zoneaxis.evaluation.report.scan import view_scan
from zoneaxis.scans.scan import Scan

RADIUS = 0.1


def scan_of(counts, chunks=(3, 2, -1, -1)):
    return Scan(da.from_array(counts, chunks=chunks), 1.0, 0.05, Path("s.hspy"))


@pytest.fixture
def counts():
    """Patterns of 70 x 96 pixels with a direct beam of 3 x 3 at [36, 47], and a spot."""
    counts = np.zeros((7, 5, 70, 96), np.uint16)
    counts[..., 35:38, 46:49] = 40_000
    counts[..., 8:16, 18:26] = 100 * np.arange(1, 36, dtype=np.uint16).reshape(7, 5, 1, 1)
    return counts


def test_tiles_centers_and_pixel_size_agree(counts):
    view = view_scan(scan_of(counts), RADIUS)
    assert view.tiles.shape == (7, 5, 35, 48)
    assert view.inv_angstrom_per_pixel == pytest.approx(0.1)
    np.testing.assert_allclose(
        view.center_px, np.broadcast_to([23.25, 17.75], (7, 5, 2)), atol=0.05
    )
    assert (view.tiles[:, :, 18, 23] == 255).all()
    assert (view.tiles[:, :, 5, 10] == 255).all()
    assert (view.tiles[:, :, 30, 30] == 0).all()
    assert view.atlas().shape == (7 * 35, 5 * 48)
    np.testing.assert_array_equal(view.atlas()[70:105, 48:96], view.tiles[2, 1])


def test_virtual_images_share_the_counts(counts):
    view = view_scan(scan_of(counts), RADIUS)
    dark = counts[..., 8:16, 18:26].sum(axis=(2, 3), dtype=float)
    np.testing.assert_allclose(view.dark_field, dark)
    np.testing.assert_allclose(view.bright_field, 360_000 / (360_000 + dark), rtol=1e-6)


@pytest.mark.parametrize("chunks", [(7, 5, -1, -1), (1, 1, -1, -1), (4, 3, -1, -1)])
def test_blocks_do_not_show(counts, chunks):
    first, second = (view_scan(scan_of(counts, c), RADIUS) for c in (chunks, (3, 2, -1, -1)))
    np.testing.assert_array_equal(first.tiles, second.tiles)
    np.testing.assert_array_equal(first.dark_field, second.dark_field)


def test_too_many_patterns_become_a_grid(counts, monkeypatch):
    whole = view_scan(scan_of(counts), RADIUS)
    monkeypatch.setattr(report_scan, "ATLAS_PIXELS", 13 * 35 * 48)
    view = view_scan(scan_of(counts), RADIUS)
    assert view.every == 2
    np.testing.assert_array_equal(view.tiles, whole.tiles[::2, ::2])
    np.testing.assert_array_equal(view.center_px, whole.center_px[::2, ::2])
    np.testing.assert_array_equal(view.dark_field, whole.dark_field)


def test_bad_counts_are_dark(counts):
    bad = counts.astype(np.float32)
    bad[0, 0, 5, 5:8] = np.nan, -3, np.inf
    bad[1, 1] = 0
    view = view_scan(scan_of(bad), RADIUS)
    assert np.isfinite(view.bright_field).all()
    assert view.tiles[1, 1].max() == 0
    assert view.tiles[0, 0, 2, 2:4].max() == 0
