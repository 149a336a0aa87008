"""`zoneaxis compare` and `grains`: what they print and write, and what they refuse."""

import json
from dataclasses import replace

import numpy as np
import pytest

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.orientations import reduce_euler
from zoneaxis.evaluation.frames import in_frame
from zoneaxis.scans.orientation_map import OrientationMap


@pytest.fixture(scope="module")
def maps(tmp_path_factory, nickelate):
    """A folder with a truth of 6 grains, a map of it, and the map in another frame."""
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(0)
    grain = np.kron(np.arange(6).reshape(2, 3), np.ones((10, 8), int))
    euler = rng.uniform([0, 10, 0], [360, 80, 120], (6, 3))[grain][:, :, None]
    score = rng.random((*grain.shape, 1), np.float32)
    truth = OrientationMap.of_crystal(
        *(nickelate, euler, score, score[..., 0], grain >= 0, 5.0),
        {"thickness_nm": 10.0 * (1 + grain % 3)},
    )
    wrong = (score[..., 0] < 0.2)[..., None, None] * [20.0, 0, 0]
    map = replace(truth, euler_deg=reduce_euler(euler + wrong, nickelate), properties={})
    truth.save(folder / "truth.h5")
    map.save(folder / "map.h5")
    in_frame(map, "x180").save(folder / "x180.h5")
    in_frame(map, grid="z90").save(folder / "turned.h5")
    nothing = replace(map, phase=np.full_like(map.phase, -1))
    nothing.save(folder / "nothing.h5")
    salt = Crystal(
        *("NiO", (4.18, 4.18, 4.18, 90.0, 90.0, 90.0), 225),
        *(np.array([28]), np.zeros((1, 3)), np.ones(1), np.ones(1)),
    )
    replace(map, crystals=(salt,)).save(folder / "salt.h5")
    replace(map, crystals=(nickelate, salt), phase=grain // 3).save(folder / "two.h5")
    return folder


def test_breakdowns_threshold_and_json(run, maps, tmp_path):
    done = run(
        *("compare", maps / "map.h5", maps / "truth.h5", "--by", "grain", "--by", "thickness"),
        *("--largest-risk", 0.1, "--json", tmp_path / "c.json"),
    )
    assert done.code == 0, done.err
    assert "by grain" in done.out
    assert "thickness (nm)" in done.out
    assert "agree in another frame" not in done.out
    values = json.loads((tmp_path / "c.json").read_text())
    assert [rows["name"] for rows in values["breakdowns"]] == ["grain", "thickness"]
    assert values["breakdowns"][1]["labels"] == ["10", "20", "30"]
    assert values["grains"]["counts"]["grains"] == 6
    assert [t["quantity"] for t in values["thresholds"]] == ["score", "reliability"]
    assert f"--min-q {values['thresholds'][0]['value']:.4g}" in done.out
    assert values["frame"] == values["grid"] == "identity"


def test_another_frame_is_told_and_not_applied(run, maps, tmp_path):
    as_it_is = run("compare", maps / "x180.h5", maps / "truth.h5", "--json", tmp_path / "a.json")
    assert as_it_is.code == 0
    assert "To apply it: --frame x180\n" in as_it_is.out
    assert json.loads((tmp_path / "a.json").read_text())["metrics"]["within_5"] < 0.2
    applied = run(
        *("compare", maps / "x180.h5", maps / "truth.h5", "--frame", "x180"),
        *("--json", tmp_path / "b.json"),
    )
    assert "agree in another frame" not in applied.out
    values = json.loads((tmp_path / "b.json").read_text())
    assert values["frame"] == "x180"
    assert values["metrics"]["within_5"] > 0.7


def test_a_turned_grid_is_refused_with_the_way_out(run, maps):
    done = run("compare", maps / "turned.h5", maps / "truth.h5")
    assert done.code == 2
    assert "instead of nothing. To apply it: --grid z270\n" in done.out
    assert done.err.startswith("Error: The map has 24 x 20 points")
    again = run("compare", maps / "turned.h5", maps / "truth.h5", "--grid", "z270")
    assert again.code == 0


def test_two_phases_where_one_is_expected(run, fails, maps):
    """Points of the phase that the reference lacks are wrong; naming one crystal of two is not."""
    done = run("compare", maps / "two.h5", maps / "truth.h5", "--by", "phase")
    assert done.code == 0, done.err
    assert "of the same phase" in done.out
    assert "50.0" in done.out
    fails("two.h5", "compare", maps / "two.h5", maps / "truth.h5", "--crystal", "LiNiO2")
    grains = run("grains", maps / "two.h5")
    assert "other phase" in grains.out


def test_another_crystal(fails, maps):
    words = "are not the same crystal, for which Laue groups must be equal"
    fails(words, "compare", maps / "salt.h5", maps / "truth.h5")


def test_what_compare_refuses(run, fails, maps, tmp_path):
    arguments = "compare", maps / "map.h5", maps / "truth.h5"
    fails("--by moon: expected grain, zone-axis", *arguments, "--by", "moon")
    fails("--frame mirror: expected one of identity", *arguments, "--frame", "mirror")
    fails("--grid inverse: expected one of identity", *arguments, "--grid", "inverse")
    fails("--largest-risk 2: expected", *arguments, "--largest-risk", 2)
    done = run(*arguments, "--largest-risk", 0.001, "--json", tmp_path / "none.json")
    assert (done.code, (tmp_path / "none.json").is_file()) == (0, True)
    assert "Raise --largest-risk" in done.out
    fails("No point is indexed in both", "compare", maps / "nothing.h5", maps / "truth.h5")
    fails("No point is indexed in both", "compare", maps / "map.h5", maps / "nothing.h5")
    by_thickness = "compare", maps / "map.h5", maps / "map.h5", "--by", "thickness"
    fails("Neither map holds a property thickness_nm", *by_thickness)


def test_grains(run, maps, tmp_path):
    done = run(
        *("grains", maps / "truth.h5", "--twin", "60 0 0 1"),
        *("--out", tmp_path / "g.json", "--figure", tmp_path / "g.png"),
    )
    assert done.code == 0, done.err
    assert "6 grains of truth.h5" in done.out
    assert "7 boundaries" in done.out
    values = json.loads((tmp_path / "g.json").read_text())
    assert values["summary"]["grains"] == 6
    assert values["grains"]["points"] == [80] * 6
    assert len(values["boundaries"]["pairs"]) == 7
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")


def test_what_grains_refuses(fails, maps, tmp_path):
    fails("No point of the map is indexed", "grains", maps / "nothing.h5")
    fails("No map at", "grains", tmp_path / "nowhere.h5")
    arguments = "grains", maps / "truth.h5"
    fails("tolerance_deg = 0", *arguments, "--tolerance-deg", 0)
    fails("lower --smallest-grain", *arguments, "--smallest-grain", 100)
    fails("--twin 'sixty'", *arguments, "--twin", "sixty")
    fails("ends in .json", *arguments, "--out", tmp_path / "g.txt")
    fails("ends in .png", *arguments, "--figure", tmp_path / "g.jpg")
