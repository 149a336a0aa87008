import base64
import re
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.errors import MapError, OutputError, ScanError
from zoneaxis.evaluation.comparison import compare
from zoneaxis.evaluation.report import choose_points, write_report
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

OPTICS = Optics(k_max_inv_angstrom=0.8)


@pytest.fixture(scope="module")
def maps(nickelate):
    rng = np.random.default_rng(0)
    reference = rng.uniform([0, 5, 0], [360, 85, 120], (6, 8, 1, 3))
    euler = reference + rng.normal(0, 1, reference.shape)
    euler[3:] += 40
    indexed = np.ones((6, 8), bool)
    indexed[0, :3] = False
    return tuple(
        OrientationMap.of_crystal(
            crystal=nickelate,
            euler_deg=angles,
            score=rng.random((6, 8, 1)).astype(np.float32),
            reliability=rng.random((6, 8)).astype(np.float32),
            indexed=mask,
            step_nm=10.0,
            properties=properties,
        )
        for angles, mask, properties in (
            (euler, indexed, {}),
            (reference, np.ones((6, 8), bool), {"thickness_nm": np.full((6, 8), 20.0)}),
        )
    )


@pytest.fixture(scope="module")
def scan():
    counts = np.random.default_rng(1).poisson(2.0, (6, 8, 40, 40)).astype(np.uint16)
    return Scan(da.from_array(counts), 10.0, 0.04, Path("some/particle.hspy"))


@pytest.fixture(scope="module")
def page(maps, scan, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    names = ("net <i>", "truth")
    assert (
        write_report(
            path,
            *maps,
            compare(*maps),
            scan=scan,
            optics=OPTICS,
            points=3,
            title="A & B",
            names=names,
        )
        == path
    )
    return path.read_text(encoding="utf-8")


def test_one_file_holds_everything(page):
    images = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    assert len(images) == 5 + 3 + 5 + 3
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "http" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_numbers_settings_and_versions_are_there(page, maps):
    metrics = compare(*maps).metrics
    assert f"{metrics['median_deg']:.2f}°" in page
    for text in ("particle.hspy", "300 kV", "orix 0.", "LiNiO2", "10 nm", "20</td>", "(fit)"):
        assert text in page
    assert "some/particle" not in page
    assert "300 kV, 1.5 mrad, precession 0°, to 0.8 1/Å" in page


def test_names_and_title_are_text_not_markup(page):
    assert "net &lt;i&gt;" in page
    assert "<i>" not in page
    assert "A &amp; B" in page


def test_without_a_scan_there_are_no_patterns(maps, tmp_path):
    path = write_report(tmp_path / "plain.html", *maps, compare(*maps))
    text = path.read_text(encoding="utf-8")
    assert "<h2>Patterns" not in text
    assert "assumed" not in text
    again = write_report(tmp_path / "again.html", *maps, compare(*maps))
    assert again.read_text(encoding="utf-8") == text


def test_chosen_points_run_from_best_to_worst_and_repeat(maps):
    comparison = compare(*maps)
    raw = comparison.misorientation_deg["raw"]
    points = choose_points(comparison, 6)
    assert points.shape == (6, 2)
    assert len({tuple(p) for p in points}) == 6
    angles = raw[tuple(points.T)]
    assert (np.diff(angles) >= 0).all()
    assert (angles[0], angles[-1]) == (np.nanmin(raw), np.nanmax(raw))
    np.testing.assert_array_equal(points, choose_points(comparison, 6))
    assert choose_points(comparison, 0).shape == (0, 2)
    assert len(choose_points(comparison, 1000)) == comparison.counts["indexed_both"]


def test_chosen_points_are_spread(nickelate):
    shape = (40, 40)
    reference = np.tile([10.0, 40.0, 60.0], (*shape, 1, 1))
    ones = np.ones(shape, np.float32)
    flat = OrientationMap.of_crystal(nickelate, reference, ones[..., None], ones, ones > 0, 1.0)
    points = choose_points(compare(flat, flat), 6)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)[np.triu_indices(6, 1)]
    assert gaps.min() > 1


def test_a_scan_that_does_not_fit_is_refused(maps, scan, tmp_path):
    comparison, path = compare(*maps), tmp_path / "none.html"
    with pytest.raises(MapError, match=r"6 x 7 points"):
        write_report(path, *maps, comparison, scan=replace(scan, patterns=scan.patterns[:, :7]))
    with pytest.raises(ScanError, match="--inv-angstrom-per-pixel"):
        write_report(path, *maps, comparison, scan=replace(scan, inv_angstrom_per_pixel=None))
    bare = Crystal(
        "bare", maps[0].crystal.cell, 166, np.zeros(0, int), np.zeros((0, 3)), *[np.zeros(0)] * 2
    )
    with pytest.raises(MapError, match="--crystal"):
        write_report(path, *(replace(m, crystals=(bare,)) for m in maps), comparison, scan=scan)
    assert not any(tmp_path.iterdir())


def test_an_unwritable_report_is_refused_and_leaves_nothing(maps, tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        write_report(tmp_path, *maps, compare(*maps))
    assert not any(tmp_path.iterdir())
