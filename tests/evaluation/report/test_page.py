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
from zoneaxis.evaluation.report.page import choose_points, write_report
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


def test_maps_that_agree_on_no_phase_are_reported(maps, tmp_path):
    crystal = maps[0].crystal
    two = crystal, replace(crystal, name="salt", space_group=225, cell=(4, 4, 4, 90, 90, 90))
    first, second = (
        replace(one, crystals=two, phase=np.where(one.indexed, number, -1))
        for number, one in enumerate(maps)
    )
    page = write_report(tmp_path / "report.html", first, second).read_text(encoding="utf-8")
    assert "of the same phase" in page


def test_one_file_holds_everything(page):
    images = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    keys, orientations, textures, misorientations, confidences, patterns = 1, 5, 4, 3, 5, 3
    drawn = keys + orientations + textures + misorientations + confidences + patterns
    assert len(images) == drawn
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
    path = write_report(tmp_path / "plain.html", *maps)
    text = path.read_text(encoding="utf-8")
    assert "<h2>Patterns" not in text
    assert "assumed" not in text


def test_chosen_points_run_from_small_to_large_and_repeat(maps):
    raw = compare(*maps).misorientation_deg["raw"]
    points = choose_points(raw, 6)
    assert points.shape == (6, 2)
    assert len({tuple(p) for p in points}) == 6
    angles = raw[tuple(points.T)]
    assert (np.diff(angles) >= 0).all()
    assert (angles[0], angles[-1]) == (np.nanmin(raw), np.nanmax(raw))
    np.testing.assert_array_equal(points, choose_points(raw, 6))
    assert choose_points(raw, 0).shape == (0, 2)
    assert len(choose_points(raw, 1000)) == np.isfinite(raw).sum()


def test_chosen_points_are_spread():
    points = choose_points(np.zeros((40, 40)), 6)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)[np.triu_indices(6, 1)]
    assert gaps.min() > 1


def test_a_map_alone(maps, scan, tmp_path):
    page = write_report(tmp_path / "a.html", maps[0], scan=scan, optics=OPTICS, points=2)
    text = page.read_text(encoding="utf-8")
    assert "Where they disagree" not in text
    assert "simulated: reference" not in text
    assert "IPF-Y" in text
    assert text.count("(fit)") == 2


def test_a_map_without_an_orientation_is_refused(maps, tmp_path):
    nothing = replace(maps[0], phase=np.full((6, 8), -1))
    with pytest.raises(MapError, match="nothing to report"):
        write_report(tmp_path / "none.html", nothing)


def test_several_phases_have_a_key_and_a_texture_each(nickelate, tmp_path):
    salt = replace(
        nickelate, name="rock salt", cell=(4.1, 4.1, 4.1, 90, 90, 90), space_group=225,
        numbers=np.array([28, 8]), positions=np.array([[0, 0, 0], [0.5, 0, 0]]),
        occupancies=np.ones(2), b_iso_angstrom2=np.full(2, 0.5),
    )  # fmt: skip
    phase = np.tile(np.array([-1, 0, 1, 1], np.int8), (3, 1))
    euler = np.random.default_rng(0).uniform([0, 5, 0], [360, 85, 90], (3, 4, 1, 3))
    ones = np.ones((3, 4), np.float32)
    both = OrientationMap((nickelate, salt), euler, ones[..., None], ones, phase, 2.0)
    text = write_report(tmp_path / "two.html", both).read_text(encoding="utf-8")
    assert "directions of LiNiO2, Laue group -3m" in text
    assert "directions of rock salt, Laue group m-3m" in text
    assert "map, rock salt: pole figures {001}, {011}, {111}" in text
    assert '"label":"phase"' in text


def test_a_scan_that_does_not_fit_is_refused(maps, scan, tmp_path):
    path = tmp_path / "none.html"
    with pytest.raises(MapError, match=r"6 x 7 points"):
        write_report(path, *maps, scan=replace(scan, patterns=scan.patterns[:, :7]))
    with pytest.raises(ScanError, match="--inv-angstrom-per-pixel"):
        write_report(path, *maps, scan=replace(scan, inv_angstrom_per_pixel=None))
    bare = Crystal(
        "bare", maps[0].crystal.cell, 166, np.zeros(0, int), np.zeros((0, 3)), *[np.zeros(0)] * 2
    )
    with pytest.raises(MapError, match="--crystal"):
        write_report(path, *(replace(m, crystals=(bare,)) for m in maps), scan=scan)
    assert not any(tmp_path.iterdir())


def test_an_unwritable_report_is_refused_and_leaves_nothing(maps, tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        write_report(tmp_path, *maps, compare(*maps))
    assert not any(tmp_path.iterdir())
