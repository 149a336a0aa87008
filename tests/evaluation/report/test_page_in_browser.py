"""The report in a headless Chromium: what a reader sees at a point is what the arrays hold."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from zoneaxis.diffraction.kinematic import enveloped_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.evaluation.comparison import compare
from zoneaxis.evaluation.figures.map_figures import ipf_colors
from zoneaxis.evaluation.grains import find_grains
from zoneaxis.evaluation.metrics import FRIENDS
from zoneaxis.evaluation.report.page import write_report
from zoneaxis.evaluation.report.scan import view_scan
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.scan import Scan

ROWS, COLS = 9, 12
OPTICS = Optics(k_max_inv_angstrom=1.2, precession_deg=0.6)
GRAINS = (130.0, 40.0, 20.0), (10.0, 75.0, 95.0)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--window-size=1280,900",
)
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver (chromium-driver) are absent"
)


@pytest.fixture(scope="module")
def maps(nickelate):
    rng = np.random.default_rng(0)
    euler = rng.uniform([0, 5, 0], [360, 85, 120], (2, ROWS, COLS, 3, 3))
    euler[1, ..., 0, :] = np.where(np.indices((ROWS, COLS))[1, ..., None] < 7, *GRAINS)
    euler[0, ..., 0, :] = euler[1, ..., 0, :] + rng.normal(0, 0.5, (ROWS, COLS, 3))
    there = np.ones((ROWS, COLS), bool)
    there[0, :3] = False
    return tuple(
        OrientationMap.of_crystal(
            crystal=nickelate,
            euler_deg=angles,
            score=np.sort(rng.random((ROWS, COLS, 3)))[..., ::-1].astype(np.float32),
            reliability=rng.random((ROWS, COLS)).astype(np.float32),
            indexed=mask,
            step_nm=4.0,
            properties={"thickness_nm": rng.uniform(10, 80, (ROWS, COLS)).astype(np.float32)},
        )
        for angles, mask in zip(euler, (there, np.ones_like(there)), strict=True)
    )


@pytest.fixture(scope="module")
def scan():
    counts = np.random.default_rng(1).poisson(2.0, (ROWS, COLS, 40, 48)).astype(np.uint16)
    counts[..., 20:23, 24:27] += 500
    return Scan(da.from_array(counts, chunks=(4, 5, -1, -1)), 4.0, 0.06, Path("particle.hspy"))


@pytest.fixture(scope="module")
def address(maps, scan, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, *maps, scan=scan, optics=OPTICS, points=0, names=("net", "</script>"))
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def open_page(browser):
    """Opens a page; in the end, it has complained of nothing and asked for nothing elsewhere."""
    opened = []

    def call(address):
        browser.get("about:blank")
        browser.get_log("performance")
        browser.get(address)
        opened.append(address)
        return browser

    yield call
    assert browser.get_log("browser") == []
    events = [line["message"] for line in browser.get_log("performance")]
    asked = [event for event in events if '"Network.requestWillBeSent"' in event]
    own = tuple(f'"url":"{address}' for address in ("data:", *opened))
    assert asked
    assert [event for event in asked if not any(start in event for start in own)] == []


@pytest.fixture
def page(open_page, address):
    return open_page(address)


def shown(page):
    """Rows of the tables at the chosen point: solutions, and values under their layers' names."""
    script = """
        const cells = (row) => Array.from(row.cells, (c) => c.textContent);
        return [document.getElementById("point").textContent,
                Array.from(document.querySelectorAll("#solutions tr"), cells),
                Object.fromEntries(Array.from(document.querySelectorAll("#values tr[data-layer]"),
                    (row) => [row.dataset.layer, row.cells[1].textContent]))]"""
    return page.execute_script(script)


def hover(page, row, col, number=0):
    from selenium.webdriver import ActionChains

    canvas = page.find_elements("css selector", "#maps canvas")[number]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.size
    x, y = (col + 0.5) / COLS * size["width"], (row + 0.5) / ROWS * size["height"]
    offset = round(x - size["width"] / 2), round(y - size["height"] / 2)
    actions = ActionChains(page, duration=0).move_to_element_with_offset(canvas, *offset)
    actions.perform()
    return actions


@pytest.mark.parametrize(("row", "col", "number"), [(4, 5, 0), (8, 11, 2), (1, 2, 4)])
def test_hovering_shows_what_the_arrays_hold(page, maps, row, col, number):
    hover(page, row, col, number)
    title, solutions, values = shown(page)
    assert title == f"Row {row}, column {col}"
    comparison = compare(*maps)
    for one, rows in zip(maps, (solutions[1:4], solutions[5:8]), strict=True):
        for rank, cells in enumerate(rows):
            expected = [*one.euler_deg[row, col, rank], one.score[row, col, rank]]
            np.testing.assert_allclose([float(c) for c in cells[1:5]], expected, atol=0.051)
    for friend in FRIENDS:
        angle = comparison.misorientation_deg[friend][row, col]
        assert float(values[f"off-{friend}"].rstrip("°")) == pytest.approx(angle, abs=0.006)
    assert float(solutions[1][5]) == pytest.approx(
        comparison.misorientation_deg["raw"][row, col], abs=0.006
    )
    assert float(values["score-0"]) == pytest.approx(maps[0].score[row, col, 0], rel=1e-3)
    assert values["property-thickness_nm-1"].endswith(" nm")
    assert float(values["property-thickness_nm-1"][:-3]) == pytest.approx(
        maps[1].properties["thickness_nm"][row, col], rel=1e-3
    )
    assert values["indexed"] == "both"


def test_a_point_without_orientation_says_so(page):
    hover(page, 0, 1)
    _, solutions, values = shown(page)
    assert solutions[1] == ["not indexed"]
    assert values["off-raw"] == "none"
    assert values["indexed"] == "</script> only"


def test_a_map_of_two_phases_names_them_and_uses_the_atoms_of_each(open_page, nickelate, tmp_path):
    other = replace(nickelate, name="other", cell=(2.9, 2.9, 15.2, 90, 90, 120))
    phase = np.array([[0, 1, -1]], np.int8)
    euler = np.tile([30.0, 40, 50], (1, 3, 1, 1))
    ones = np.ones((1, 3), np.float32)
    both = OrientationMap((nickelate, other), euler, ones[..., None], ones, phase, 1.0)
    address = write_report(tmp_path / "two.html", both, optics=OPTICS).as_uri()
    page = open_page(address)
    reach = []
    for col, name in enumerate(("LiNiO2", "other", "none")):
        page.execute_script(f"location.hash = '#row=0&col={col}'")
        page.refresh()
        _, solutions, values = shown(page)
        assert values["phase-0"] == name
        if name != "none":
            assert solutions[0] == [f"map · {name}"]
            script = f"return report.spots(report.crystals[{col}], [0, 0, 0]).map((s) => s.x)"
            reach.append(min(x for x in page.execute_script(script) if x > 0.1))
    assert reach[0] / reach[1] == pytest.approx(2.9 / 2.878, rel=1e-4)


def test_a_click_pins_and_a_second_one_frees(page):
    hover(page, 4, 5).click().perform()
    hover(page, 7, 7)
    assert shown(page)[0] == "Row 4, column 5"
    assert page.current_url.endswith("#row=4&col=5")
    hover(page, 4, 5).click().perform()
    hover(page, 7, 7)
    assert shown(page)[0] == "Row 7, column 7"
    assert "#" not in page.current_url


def test_the_keyboard_moves_the_point_and_stops_at_the_edge(page):
    from selenium.webdriver import ActionChains, Keys

    hover(page, 4, 5)
    page.execute_script("document.getElementById('maps').focus()")
    ActionChains(page).send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT).perform()
    assert shown(page)[0] == "Row 5, column 7"
    ActionChains(page).key_down(Keys.SHIFT).send_keys(Keys.ARROW_LEFT).key_up(Keys.SHIFT).perform()
    assert shown(page)[0] == "Row 5, column 0"
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    hover(page, 2, 2)
    assert shown(page)[0] == "Row 2, column 2"


def test_the_address_leads_to_a_point(page, address):
    page.get(f"{address}#row=6&col=3")
    page.refresh()
    assert shown(page)[0] == "Row 6, column 3"
    page.execute_script("location.hash = '#row=2&col=9'")
    hover(page, 5, 5)
    assert shown(page)[0] == "Row 2, column 9"
    page.execute_script("location.hash = '#row=99&col=9'")
    assert shown(page)[0] == "Row 2, column 9"


def test_every_layer_can_be_shown(page):
    names = page.execute_script("""
        const choice = document.querySelector("#maps select"), labels = [];
        for (const option of choice.options) {
          choice.value = option.value;
          choice.dispatchEvent(new Event("change"));
          labels.push(document.querySelector("#maps canvas").getAttribute("aria-label"));
        }
        return labels""")
    of_map, compared, of_scan = 3 + 2 + 2 + 2, 4, 2
    assert len(names) == 2 * of_map + compared + of_scan
    assert len(set(names)) == len(names)


def test_maps_have_the_colors_of_the_figures(page, maps):
    script = """
        const canvas = document.querySelectorAll("#maps canvas")[arguments[0]];
        const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return Array.from(image.data)"""
    for number, one in enumerate(maps):
        pixels = np.reshape(page.execute_script(script, number), (ROWS, COLS, 4))
        np.testing.assert_allclose(pixels[..., :3], 255 * ipf_colors(one), atol=1)


def test_grain_boundaries_can_be_drawn(page, maps):
    labels = find_grains(maps[0]).labels
    assert set(np.unique(labels)) == {0, 1}  # the hole is filled
    drawing = page.find_element("css selector", "#maps svg")
    assert not drawing.is_displayed()
    page.find_element("id", "edges").click()
    assert drawing.is_displayed()
    path = drawing.find_element("css selector", "path").get_attribute("d")
    expected = {f"M{c + 1} {r}v1" for r, c in np.argwhere(np.diff(labels, axis=1) != 0)}
    expected |= {f"M{c} {r + 1}h1" for r, c in np.argwhere(np.diff(labels, axis=0) != 0)}
    assert set(re.findall(r"M[^M]+", path)) == expected
    hover(page, 8, 11)
    assert shown(page)[2]["grains-0"] == str(labels[8, 11])


def test_the_mark_in_the_color_key_lies_on_the_color_of_the_point(page, maps):
    """The picture of the key, at the mark, has the color that the point has in the map."""
    script = """
        const image = document.querySelector(".key img"), canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext("2d").drawImage(image, 0, 0);
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const {place} = report.data.keys["-3m"];
        return arguments[0].map((euler) => {
          const [x, y] = report.beam(report.crystals[0], euler);
          const column = Math.floor((place[0] + x * place[2]) * canvas.width);
          const row = Math.floor((place[1] - y * place[3]) * canvas.height);
          return Array.from(pixels.subarray(4 * (row * canvas.width + column)).slice(0, 3));
        })"""
    one = replace(maps[0], euler_deg=maps[0].euler_deg[:, :, 1:], score=maps[0].score[:, :, 1:])
    angles = one.euler_deg[1:, :, 0].reshape(-1, 3)
    expected = 255 * ipf_colors(one)[1:].reshape(-1, 3)
    apart = np.abs(page.execute_script(script, angles.tolist()) - expected).max(axis=1)
    assert np.median(apart) < 4
    assert np.percentile(apart, 90) < 16  # the frame and its labels cover the edge of the sector
    assert len(page.find_elements("css selector", ".key i")) == 2


@pytest.mark.parametrize(("row", "col", "rank"), [(4, 5, 0), (8, 2, 2)])
def test_spots_are_those_of_python(page, maps, nickelate, row, col, rank):
    spots = page.execute_script(
        """
        const [point, rank] = arguments, map = report.maps[0], at = 3 * (3 * point + rank);
        return report.spots(report.crystals[0], Array.from(map.euler.subarray(at, at + 3)))""",
        row * COLS + col,
        rank,
    )
    phi1, *direction = maps[0].euler_deg[row, col, rank]
    disks = enveloped_disks(nickelate, OPTICS, np.array([direction]))
    t = np.deg2rad(phi1)
    place = disks.q_inv_angstrom[0].numpy() @ [[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]]
    expected = {
        tuple(hkl): (*q, intensity)
        for hkl, q, intensity in zip(
            disks.hkl[0].tolist(), place, disks.intensity[0, 0, :, 0].tolist(), strict=True
        )
    }
    top = max(intensity for *_, intensity in expected.values())
    found = {tuple(s["hkl"]): (s["x"], s["y"], s["intensity"]) for s in spots}
    assert {hkl for hkl, v in expected.items() if v[2] > 1e-5 * top} <= set(found)
    for hkl, values in found.items():
        np.testing.assert_allclose(values[:2], expected[hkl][:2], atol=1e-5)
        assert values[2] == pytest.approx(expected[hkl][2], rel=2e-3, abs=1e-6 * top)


def test_spots_are_drawn_where_the_conventions_put_them(page, scan):
    """A reflection at q lands at column n//2 + q_x / dq of the pattern: here n//2 is 24 and 20."""
    hover(page, 4, 5)
    place = page.execute_script("return report.geometry(480, 4 * 12 + 5)")
    view = view_scan(scan, OPTICS.disk_radius_inv_angstrom)
    np.testing.assert_allclose(view.center_px[4, 5], (25, 21), atol=0.2)
    column, row = view.center_px[4, 5]
    assert place["x0"] == pytest.approx(10 * (column + 0.5), rel=1e-5)
    assert place["y0"] == pytest.approx(10 * (row + 0.5), rel=1e-5)
    assert place["scale"] == pytest.approx(10 / 0.06, rel=1e-6)


def test_the_measured_pattern_is_that_of_the_point(page, scan):
    hover(page, 4, 5)
    page.find_element("id", "overlay-0").click()
    image = page.execute_script("""
        const canvas = document.getElementById("measured");
        const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [image.height, image.width, Array.from(image.data)]""")
    gray = np.reshape(image[2], (image[0], image[1], 4))[..., 0]
    middle = [((np.arange(n) + 0.5) * gray.shape[1] / 48).astype(int) for n in (32, 48)]
    pixels = gray[np.ix_(*middle)]  # of the upper 32 rows: the scale bar is below
    tile = view_scan(scan, OPTICS.disk_radius_inv_angstrom).tiles[4, 5, :32]
    assert np.mean(pixels == tile) > 0.98
