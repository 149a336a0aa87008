from dataclasses import replace

import numpy as np
import pytest

from zoneaxis.diffraction.orientations import (
    beam_directions,
    euler_from_matrices,
    matrices_from_euler,
    misorientation_deg,
    reduce_euler,
)
from zoneaxis.errors import MapError, SettingsError
from zoneaxis.evaluation.frames import (
    FRAMES,
    SQUARE,
    FrameFit,
    clearly_better,
    fit_frames,
    in_frame,
)
from zoneaxis.scans.orientation_map import OrientationMap

BACK = {"z90": "z270", "z270": "z90"}  # all others undo themselves


@pytest.fixture
def make(nickelate):
    """Return a function that makes a map of random orientations, a tenth not indexed."""

    def map_of(shape, seed=0):
        rng = np.random.default_rng(seed)
        euler = reduce_euler(rng.uniform(0, [360, 180, 360], (*shape, 2, 3)), nickelate)
        indexed = rng.random(shape) > 0.1
        score = rng.random((*shape, 2), np.float32)
        place = {"row": np.indices(shape)[0], "column": np.indices(shape)[1]}
        return OrientationMap.of_crystal(
            nickelate, euler, score, score[..., 0], indexed, 2.0, place
        )

    return map_of


def test_the_eight_are_the_proper_group_of_a_square():
    for turn in SQUARE.values():
        assert np.linalg.det(turn) == pytest.approx(1)
        assert any(np.array_equal(turn.T, other) for other in SQUARE.values())
        for other in SQUARE.values():
            assert any(np.array_equal(turn @ other, third) for third in SQUARE.values())
    assert len(FRAMES) == 32


@pytest.mark.parametrize(
    ("frame", "grid"),
    [*((frame, "identity") for frame in FRAMES), *(("z90", grid) for grid in SQUARE)],
)
def test_the_frame_is_found(make, nickelate, frame, grid):
    """A map is taken to another frame and turned by symmetries; the search says the way back."""
    reference = make((12, 12))
    before, square = FRAMES[frame]
    back = {"c30": "c330", "c330": "c30"}.get(before, before), BACK.get(square, square)
    rng = np.random.default_rng(1)
    symmetry = nickelate.proper_operators[rng.integers(6, size=(12, 12, 2))]
    matrices = symmetry @ matrices_from_euler(reference.euler_deg)
    if before.startswith("c"):
        turn = {"c30": -30.0, "c330": 30.0}[before]
        matrices = matrices_from_euler(np.array([turn, 0, 0])) @ matrices
    matrices = matrices @ SQUARE[square].T
    matrices = matrices.swapaxes(-1, -2) if before == "inverse" else matrices
    other = replace(reference, euler_deg=euler_from_matrices(matrices))
    other = in_frame(other, grid=grid)
    best, second, *_ = fits = fit_frames(other, reference)
    assert (FRAMES[best.frame], best.grid) == (back, BACK.get(grid, grid))
    assert best.within_5 == 1
    assert best.median_deg < 1e-3
    assert second.within_5 < 0.3
    assert len(fits) == 32 * 8
    known = clearly_better(fits)
    assert known == (best if best.options else None)
    again = in_frame(other, best.frame, best.grid)
    angles = misorientation_deg(again.matrices, reference.matrices, nickelate.proper_operators)
    assert angles[reference.indexed].max() < 1e-3
    for name, values in reference.properties.items():
        np.testing.assert_array_equal(again.properties[name], values)
    np.testing.assert_array_equal(again.phase, reference.phase)
    np.testing.assert_array_equal(again.score, reference.score)


def test_x_along_a_star_is_taken_to_x_along_a(nickelate, make):
    """Of the other program's frame, x is along a*: its coordinates of a* are (1, 0, 0)."""
    a_star = nickelate.reciprocal_inv_angstrom[0] / np.linalg.norm(
        nickelate.reciprocal_inv_angstrom[0]
    )
    theirs = np.stack([a_star, np.cross([0, 0, 1], a_star), [0, 0, 1]])
    map = make((3, 3))
    matrices = theirs @ matrices_from_euler(map.euler_deg)
    foreign = replace(map, euler_deg=euler_from_matrices(matrices))
    back = in_frame(foreign, "c30")
    there = map.indexed
    np.testing.assert_allclose(back.matrices[there], map.matrices[there], atol=1e-9)


def test_cubic_axes_are_never_turned_about_c(make, nickelate):
    map = make((4, 4))
    cubic = replace(nickelate, space_group=225, cell=(4.0, 4.0, 4.0, 90.0, 90.0, 90.0))
    phase = np.where(map.indexed, np.arange(4) % 2, -1)
    two = replace(map, crystals=(nickelate, cubic), phase=phase)
    turned = in_frame(two, "c30").matrices
    np.testing.assert_allclose(turned[phase == 1], two.matrices[phase == 1], atol=1e-9)
    assert not np.allclose(turned[phase == 0], two.matrices[phase == 0])
    only = replace(map, crystals=(cubic,))
    assert {fit.frame for fit in fit_frames(only, only)}.isdisjoint({"c30", "c330"})


@pytest.mark.parametrize(("grid", "first"), [("z90", "row"), ("x180", "column"), ("xy180", "row")])
def test_orientations_turn_the_way_the_grid_does(make, grid, first):
    """A direction from a point to another is the crystal's same direction after both turns."""
    map = make((5, 7))
    turned = in_frame(map, grid, grid)
    assert turned.shape == ((7, 5) if first == "row" else (5, 7))
    assert turned.properties[first][0, 1] != turned.properties[first][0, 0]
    row, column = turned.properties["row"], turned.properties["column"]
    for (r, c), step in (((2, 2), (0, 1)), ((1, 2), (1, 0))):
        after = np.array([step[1], step[0], 0])
        source, target = ((column[p], row[p]) for p in ((r, c), (r + step[0], c + step[1])))
        before = np.array([target[0] - source[0], target[1] - source[1], 0])
        crystal = map.matrices[source[1], source[0]] @ before
        np.testing.assert_allclose(turned.matrices[r, c] @ after, crystal, atol=1e-9)


def test_a_turn_about_the_beam_keeps_the_beam(make):
    map = make((4, 4))
    beams = beam_directions(map.euler_deg)
    for frame, sign in (("z90", 1), ("z180", 1), ("x180", -1), ("yx180", -1)):
        np.testing.assert_allclose(
            beam_directions(in_frame(map, frame).euler_deg), sign * beams, atol=1e-9
        )


def test_swapped_shapes_leave_four_grids(make):
    reference = make((5, 7))
    fits = fit_frames(in_frame(reference, grid="xy180"), reference)
    assert {fit.grid for fit in fits} == {"z90", "z270", "xy180", "yx180"}
    assert clearly_better(fits) == FrameFit("identity", "xy180", fits[0].median_deg, 1.0)
    assert fits[0].options == "--grid xy180"
    assert fit_frames(make((5, 7)), make((4, 7))) == []
    assert clearly_better([]) is None


def test_a_little_better_is_no_reason():
    fits = [FrameFit("z180", "identity", 3.0, 0.6), FrameFit("identity", "identity", 4.0, 0.5)]
    assert clearly_better(fits) is None


def test_one_orientation_everywhere_fits_as_it_is(make):
    map = make((6, 6))
    euler = np.broadcast_to(map.euler_deg[:1, :1], map.euler_deg.shape)
    flat = replace(map, euler_deg=euler)
    assert fit_frames(flat, flat)[0].options == ""


def test_nothing_in_common(make):
    map = make((4, 4))
    nothing = replace(map, phase=np.full_like(map.phase, -1))
    assert all(fit.within_5 == 0 for fit in fit_frames(map, nothing))
    assert clearly_better(fit_frames(map, nothing)) is None


def test_unknown_frames(make):
    with pytest.raises(SettingsError, match="--frame mirror: expected one of identity, z90"):
        in_frame(make((2, 2)), "mirror")
    with pytest.raises(SettingsError, match="--grid inverse: expected one of identity, z90"):
        in_frame(make((2, 2)), grid="inverse")


def test_another_crystal(make):
    map = make((3, 3))
    cell = (*map.crystal.cell[:2], 18.0, *map.crystal.cell[3:])
    longer = type(map.crystal).from_dict({**map.crystal.to_dict(), "cell": cell})
    with pytest.raises(MapError, match="not the same crystal"):
        fit_frames(map, replace(map, crystals=(longer,)))
