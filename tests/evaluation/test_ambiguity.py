import numpy as np
import pytest
from matplotlib.figure import Figure

from zoneaxis.diffraction.bloch import bloch_disks
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import sample_directions
from zoneaxis.diffraction.kinematic import kinematic_disks
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import (
    beam_directions,
    euler_from_matrices,
    matrices_from_euler,
    mirrored,
    misorientation_deg,
)
from zoneaxis.diffraction.render import render
from zoneaxis.evaluation.ambiguity import (
    DirectionScores,
    candidates,
    false_friends,
    main_zone_axes,
    with_fits,
    zone_half_turns,
)
from zoneaxis.evaluation.figures.ambiguity_figures import (
    draw_ambiguity,
    draw_confidence_difference,
    draw_confidences,
)

EULER = np.array([130.0, 37.0, 71.0])
OPTICS, PIXEL = Optics(k_max_inv_angstrom=0.9), 0.04


@pytest.fixture(scope="module")
def copper():
    positions = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    return Crystal.from_dict(
        {
            "name": "Cu",
            "cell": [3.615, 3.615, 3.615, 90, 90, 90],
            "space_group": 225,
            "numbers": [29] * 4,
            "positions": positions,
            "occupancies": [1.0] * 4,
            "b_iso_angstrom2": [0.5] * 4,
        }
    )


def apart(first, second, crystal):
    g = [matrices_from_euler(np.asarray(e)) for e in (first, second)]
    return float(misorientation_deg(*g, crystal.proper_operators))


def test_false_friends_are_those_of_the_conventions(nickelate, copper):
    friends = false_friends(EULER, nickelate)
    turned = {"180° about the beam": [180, 0, 0], "60° about c": [0, 0, 60]}
    turned["60° about c, 180° about the beam"] = [180, 0, 60]
    assert set(friends) == set(turned)
    for name, turn in turned.items():
        assert apart(friends[name], EULER + turn, nickelate) < 1e-3
    assert set(false_friends(EULER, copper)) == {"180° about the beam"}


def test_a_crystal_without_a_center_has_its_inverse_for_a_friend():
    """Zincblende: the kinematic patterns are the same, the crystals 90 degrees apart."""
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    crystal = Crystal(
        *("GaAs", (5.65, 5.65, 5.65, 90.0, 90.0, 90.0), 216),
        *(np.repeat([31, 33], 4), np.concatenate([fcc, fcc + 0.25]), np.ones(8), np.ones(8)),
    )
    friends = false_friends(EULER, crystal)
    beam = "180° about the beam"
    assert set(friends) == {beam, "inverted", f"inverted, {beam}"}
    friend = friends["inverted"]
    both = friends[f"inverted, {beam}"]
    assert apart(both, friend + np.array([180, 0, 0]), crystal) < 1e-3
    assert apart(friend, EULER, crystal) > 30
    first, second = (
        kinematic_disks(crystal, OPTICS, euler[None, 1:], np.array([10.0]))
        for euler in (EULER, friend)
    )
    patterns = [
        render(disks, 64, PIXEL, float(euler[0]))[0, 0].numpy()
        for disks, euler in ((first, EULER), (second, friend))
    ]
    np.testing.assert_allclose(*patterns, atol=1e-4 * patterns[0].max())


def test_friends_that_symmetry_makes_the_same_are_left_out(nickelate, copper):
    assert false_friends(np.array([20.0, 0.0, 0.0]), copper) == {}  # [001]: four-fold
    prism = false_friends(np.array([20.0, 90.0, 90.0]), nickelate)  # along a two-fold axis
    assert set(prism) == {"60° about c"}


def test_candidates_are_the_near_best_and_the_friends(nickelate):
    offered = np.array([EULER, EULER + np.array([180, 0, 0]), [10.0, 80.0, 20.0], EULER])
    listed = candidates(offered, np.array([0.8, 0.78, 0.5, 0.0]), nickelate, share=0.9)
    assert [c.relation for c in listed] == [
        "best",
        "180° about the beam",
        "60° about c",
        "60° about c, 180° about the beam",
    ]
    assert listed[1].share == pytest.approx(0.975)
    assert np.isnan([listed[2].score, listed[3].share]).all()
    for candidate in listed:
        off = apart(candidate.euler_deg, EULER, nickelate)
        assert candidate.misorientation_deg == pytest.approx(off, abs=1e-3)
    more = candidates(offered, np.array([0.8, 0.78, 0.5, 0.0]), nickelate, share=0.5)
    assert more[2].relation == f"{more[2].misorientation_deg:.0f}° apart"
    assert len(more) == 5


def test_the_answer_is_listed_whatever_its_score(nickelate):
    first, *others = candidates(np.stack([EULER, EULER]), np.zeros(2), nickelate)
    assert first.relation == "best"
    assert (first.score, np.isnan(first.share)) == (0, True)
    assert len(others) == 3


@pytest.fixture(scope="module")
def measured(nickelate):
    disks = bloch_disks(nickelate, OPTICS, EULER[None, 1:], np.array([35.0]))
    return 1e5 * render(disks, 48, PIXEL, float(EULER[0]))[0, 0].numpy()


def test_intensities_decide(nickelate, measured):
    listed = candidates(EULER[None], np.array([0.8]), nickelate)
    fitted = with_fits(listed, measured, nickelate, OPTICS, PIXEL)
    assert fitted[0].fit > 0.99
    assert fitted[0].thickness_nm == 35
    assert max(c.fit for c in fitted[1:]) < fitted[0].fit - 0.04
    assert [c.relation for c in fitted] == [c.relation for c in listed]


def test_classes_of_one_direction_are_added_up(nickelate):
    # The second is the first turned by the three-fold axis; the third has its opposite two-fold.
    directions = np.array([[40.0, 10.0], [40.0, 130.0], [50.0, 10.0], [40.0, 10.0]])
    values = np.random.default_rng(0).random((5, 4))
    merged = DirectionScores(nickelate, directions, values).merged()
    assert len(merged.directions_deg) == 2
    np.testing.assert_allclose(merged.values.sum(axis=1), values.sum(axis=1))
    at_40 = np.isclose(merged.directions_deg[:, 0], 40)
    np.testing.assert_allclose(merged.values[:, at_40][:, 0], values[:, [0, 1, 3]].sum(axis=1))
    highest = DirectionScores(nickelate, directions, values, additive=False).merged()
    np.testing.assert_allclose(highest.values[:, at_40][:, 0], values[:, [0, 1, 3]].max(axis=1))


@pytest.fixture(scope="module")
def grid(nickelate):
    return sample_directions(nickelate, 6.0)


def test_one_point_of_the_figure_adds_what_the_laue_group_makes_equal(nickelate, grid):
    values = np.random.default_rng(0).random((2, len(grid)))
    scores = DirectionScores(nickelate, grid, values)
    euler = np.insert(grid, 0, 0.0, axis=1)
    beams = beam_directions(euler)
    partner = beam_directions(mirrored(euler, nickelate))
    found = scores.at_beams(beams)
    # A mirrored direction need not be on the grid: its nearest is looked up the slow way.
    operators = nickelate.proper_operators
    cosine = np.einsum("md,snd->smn", partner, np.einsum("sij,nj->sni", operators, beams))
    nearest = cosine.max(axis=0).argmax(axis=1)
    own = nearest == np.arange(len(grid))
    assert own.any()
    expected = values + np.where(own, 0, values[:, nearest])
    settled = np.sort(cosine.max(axis=0), axis=1)
    clear = settled[:, -1] - settled[:, -2] > 1e-6
    np.testing.assert_allclose(found[:, clear], expected[:, clear])


def test_figure_points_know_no_laue_symmetry(nickelate, grid):
    scores = DirectionScores(nickelate, grid, np.random.default_rng(0).random((1, len(grid))))
    beams = beam_directions(np.insert(grid[::7] + 0.3, 0, 0.0, axis=1))
    for operator in nickelate.point_group.laue.to_matrix():
        np.testing.assert_allclose(scores.at_beams(beams @ operator.T), scores.at_beams(beams))
    np.testing.assert_allclose(scores.at_beams(-beams), scores.at_beams(beams))


@pytest.mark.parametrize("additive", [True, False])
def test_the_peak_is_drawn_where_its_label_stands(nickelate, grid, additive):
    values = np.full((2, len(grid)), 1e-6 if additive else 0.1)
    values[0, 30], values[1, 77] = 0.9, 0.8
    scores = DirectionScores(nickelate, grid, values, additive)
    marks = [np.array([0.0, *grid[i]]) for i in (30, 77)]
    figure = Figure()
    ax = draw_confidences(figure, scores, 0, marks[:1])
    image = ax.images[0]
    drawn, (left, right, bottom, top) = image.get_array(), image.get_extent()
    row, column = np.unravel_index(np.ma.argmax(drawn), drawn.shape)
    place = [child.xy for child in ax.get_children() if hasattr(child, "xyann")]
    x, y = np.array(place[0])
    width, height = (right - left) / drawn.shape[1], (top - bottom) / drawn.shape[0]
    peak = np.argwhere(drawn == drawn.max()).mean(axis=0)
    assert left + (peak[1] + 0.5) * width == pytest.approx(x, abs=0.04)
    assert bottom + (peak[0] + 0.5) * height == pytest.approx(y, abs=0.04)
    assert drawn[row, column] == pytest.approx(0.9, abs=1e-3)
    difference = draw_confidence_difference(Figure(), scores, dict(zip("ab", marks, strict=True)))
    values = difference.images[0].get_array()
    assert values.max() == pytest.approx(0.9 - values.mean(), abs=0.15)
    assert values.min() < -0.6
    assert sum(difference.images[0].get_clim()) == pytest.approx(0)


def test_the_figure_of_a_point(nickelate, measured, grid):
    listed = with_fits(
        candidates(EULER[None], np.array([0.8]), nickelate), measured, nickelate, OPTICS, PIXEL
    )
    values = np.random.default_rng(0).random((1, len(grid)))
    scores = DirectionScores(nickelate, grid, values / values.sum())
    figure = Figure((13, 4), layout="constrained")
    draw_ambiguity(figure, measured, listed, scores, 0, OPTICS, PIXEL)
    figure.canvas.draw()
    titles = [ax.get_title() for part in figure.subfigs for ax in part.axes]
    assert any(title.startswith("spots in both: ") for title in titles)


def test_a_half_turn_about_the_zone_axis_near_the_beam_does_not_show(nickelate):
    """Bloch waves of both, 3 degrees from [001], are the same as long as one Laue zone is seen."""
    euler = np.array([40.0, 3.0, 20.0])
    axes = main_zone_axes(nickelate)
    turned = zone_half_turns(matrices_from_euler(euler), axes)
    operators = nickelate.proper_operators
    assert misorientation_deg(turned, matrices_from_euler(euler), operators) > 50
    both = [euler, euler_from_matrices(turned)]
    patterns = []
    for angles in both:
        disks = bloch_disks(nickelate, OPTICS, angles[None, 1:], np.array([30.0]))
        patterns.append(render(disks, 64, PIXEL, float(angles[0]))[0, 0].flatten().sqrt())
    assert np.corrcoef(patterns)[0, 1] > 0.99
    back = zone_half_turns(turned, axes)
    assert misorientation_deg(back, matrices_from_euler(euler), operators) < 1e-4
