import hashlib
import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from dataset_reader import euler_of, patterns_of, read_split

from zoneaxis.dataset_builder import scan_dataset, scan_rows
from zoneaxis.dataset_builder.plan import SPLITS
from zoneaxis.dataset_builder.recipe import read_recipe
from zoneaxis.dataset_builder.scan_dataset import build_scan_dataset
from zoneaxis.dataset_builder.scan_recipe import ScanRecipe
from zoneaxis.dataset_builder.scan_rows import held_out_grains
from zoneaxis.dataset_builder.verify import verify
from zoneaxis.diffraction.crystal import Crystal, load_crystal
from zoneaxis.diffraction.optics import Optics
from zoneaxis.diffraction.orientations import beam_directions
from zoneaxis.errors import CrystalError, DatasetError, MapError, ScanError, SettingsError
from zoneaxis.scans.orientation_map import OrientationMap
from zoneaxis.scans.phantom import Phantom, make_phantom
from zoneaxis.scans.scan import Scan
from zoneaxis.scans.writing import write_scan

PIXEL = 0.1
SHAPE = (12, 16)


@pytest.fixture(scope="module")
def phantom(nickelate):
    """Counts (12, 16, 32, 32) and the truth: 8 grains in a particle."""
    recipe = Phantom(
        SHAPE, grains=8, size=32, inv_angstrom_per_pixel=PIXEL, thicknesses=2, shift_px=0, seed=5
    )
    return make_phantom(nickelate, Optics(k_max_inv_angstrom=1.6), recipe)


@pytest.fixture(scope="module")
def files(phantom, tmp_path_factory) -> tuple[Path, Path]:
    """The phantom's scan and its truth as a map of three decimals."""
    folder = tmp_path_factory.mktemp("phantom")
    phantom[1].save(folder / "map.ang")
    return written(folder, phantom[0]), folder / "map.ang"


@pytest.fixture
def build(files, nickelate, tmp_path, monkeypatch):
    """Builds a data set of the phantom, or of another scan or map, without a card's figures."""
    monkeypatch.setattr(scan_dataset, "write_scan_card", lambda folder, recipe, rows: None)

    def run(scan=files[0], labels=files[1], folder=tmp_path / "out", **settings) -> Path:
        return build_scan_dataset(scan, labels, folder, nickelate, **settings)

    return run


def written(folder: Path, patterns: np.ndarray, name: str = "scan.hspy") -> Path:
    return write_scan(
        folder / name, patterns, step_nm=5, inv_angstrom_per_pixel=PIXEL, title="phantom"
    )


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_rows_are_the_points_of_the_map(build, phantom):
    patterns, truth = phantom
    calls = []
    folder = build(validation_share=0, progress=lambda *numbers: calls.append(numbers))
    rows = read_split(folder)[:]
    inside = truth.indexed
    assert len(rows["image"]) == inside.sum() == sum(done for done, _ in calls)
    euler = euler_of(rows)
    np.testing.assert_allclose(euler, truth.euler_deg[inside][:, 0], atol=1e-3)
    counts = patterns[inside].astype(float)
    expected = counts / counts.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(patterns_of(rows), expected, rtol=3e-4, atol=1e-8)
    np.testing.assert_allclose(rows["beam_direction"], beam_directions(euler), atol=1e-6)
    assert set(rows["thickness_nm"]) == {None}
    assert set(rows["convergence_mrad"]) == {1.5}


def test_grains_are_those_of_the_specimen(build, phantom):
    """A grain of the phantom that another one cuts in two counts as two."""
    truth = phantom[1]
    number = np.array(read_split(build(validation_share=0))["direction_id"])
    specimen = truth.properties["grain"][truth.indexed]
    for grain in range(number.max() + 1):
        assert len(set(specimen[number == grain])) == 1
    assert set(number) == set(range(number.max() + 1))
    assert len(set(specimen)) <= number.max() + 1 < 2 * len(set(specimen))


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_share_no_grain(build, seed):
    folder = build(validation_share=0.3, seed=seed)
    train, validation = (read_split(folder, split)["direction_id"] for split in SPLITS)
    assert not set(train) & set(validation)
    assert 0.15 < len(validation) / (len(train) + len(validation)) < 0.45


@pytest.mark.parametrize("seed", range(5))
def test_held_out_grains_are_whole_and_near_the_share(seed):
    grain = np.random.default_rng(7).permutation(np.repeat(np.arange(60), np.arange(60)))
    held_out = held_out_grains(grain, 0.2, seed)
    assert not set(grain[held_out]) & set(grain[~held_out])
    assert held_out.mean() == pytest.approx(0.2, abs=0.02)
    np.testing.assert_array_equal(held_out_grains(grain, 0.2, seed), held_out)
    assert (held_out_grains(grain, 0.2, seed + 5) != held_out).any()


def test_held_out_grains_leave_something_to_train_on():
    assert not held_out_grains(np.zeros(9, int), 0.9, 0).any()
    assert held_out_grains(np.array([0] * 6 + [1] * 4), 0.9, 0).sum() in (4, 6)
    assert not held_out_grains(np.array([0, 1, 2]), 0.0, 0).any()


def test_grains_too_large_to_hold_out(build):
    with pytest.warns(UserWarning, match="Nothing is held out"):
        folder = build(validation_share=1e-3)
    assert [path.name for path in (folder / "patterns").iterdir()] == [
        "train-00000-of-00001.parquet"
    ]


def test_thresholds(build, phantom):
    truth = phantom[1]
    folder = build(min_q=0.8, min_r=0.9)
    kept = truth.indexed & (truth.score[..., 0] >= 0.8) & (truth.reliability >= 0.9)
    assert 0 < kept.sum() < truth.indexed.sum()
    assert sum(len(read_split(folder, split)) for split in SPLITS) == kept.sum()


def test_small_grains_are_left_out(build):
    rows = read_split(build(smallest_grain=12, validation_share=0))
    sizes = np.bincount(rows["direction_id"])
    assert sizes.min() >= 12


def test_same_bytes_after_an_interruption(build, tmp_path, monkeypatch):
    monkeypatch.setattr(scan_rows, "SHARD_ROWS", 30)
    whole = hashes(build(folder=tmp_path / "whole"))
    assert len([name for name in whole if name.startswith("patterns/train")]) > 2
    encode, calls = scan_dataset.encode, []

    def interrupted(pattern):
        calls.append(pattern)
        if len(calls) == 70:
            raise KeyboardInterrupt
        return encode(pattern)

    monkeypatch.setattr(scan_dataset, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build()
    done = hashes(tmp_path / "out")
    assert sorted(done) == [
        *sorted(name for name in whole if name.startswith("patterns/train-0000"))[:2],
        "recipe.json",
    ]
    build()
    assert hashes(tmp_path / "out") == whole
    monkeypatch.setattr(scan_dataset, "encode", None)  # a finished build encodes nothing
    build()
    assert hashes(tmp_path / "out") == whole


def test_bytes_do_not_depend_on_the_chunks(build, files, tmp_path):
    scan = Scan.open(files[0])
    other = Scan(scan.patterns.rechunk((5, 3, 32, 32)), scan.step_nm, PIXEL, scan.path)
    assert hashes(build(other, folder=tmp_path / "other")) == hashes(build())


def test_memory_holds_one_block(build, files, monkeypatch):
    read, most = Scan.read, []

    def watched(self, rows, cols):
        patterns = read(self, rows, cols)
        most.append(patterns.shape[0] * patterns.shape[1])
        return patterns

    monkeypatch.setattr(Scan, "read", watched)
    monkeypatch.setattr(scan_dataset, "READ_TOGETHER", 16)
    scan = Scan.open(files[0])
    build(Scan(scan.patterns.rechunk((4, 4, 32, 32)), scan.step_nm, PIXEL, scan.path))
    assert max(most) <= 16


def test_folder_of_other_settings(build):
    build(min_q=0.8)
    with pytest.raises(DatasetError, match="another recipe"):
        build(min_q=0.7)


def test_bad_patterns_are_left_out(build, phantom, tmp_path):
    patterns, truth = phantom
    patterns = patterns.astype(np.float32)
    bad = np.argwhere(truth.indexed)[[3, 20, 40, 60]]
    for (row, col), value in zip(bad, (np.nan, np.inf, -1, 0), strict=True):
        patterns[row, col, ...] = 0
        patterns[row, col, 5, 5] = value
    scan = written(tmp_path, patterns)
    with pytest.warns(UserWarning, match=f"4 of {truth.indexed.sum()} patterns"):
        folder = build(scan)
    assert sum(len(read_split(folder, split)) for split in SPLITS) == truth.indexed.sum() - 4


@pytest.mark.parametrize(("value", "match"), [(np.nan, "no usable"), (-1, "clip"), (0, "empty")])
def test_no_pattern_is_usable(build, tmp_path, value, match):
    scan = written(tmp_path, np.full((*SHAPE, 32, 32), value, np.float32))
    with pytest.raises(ScanError, match=match):
        build(scan)
    assert not (tmp_path / "out").exists()


def test_oblong_patterns_and_a_beam_off_center(build, phantom, tmp_path):
    patterns = phantom[0]
    wide = np.pad(patterns, ((0, 0), (0, 0), (2, 0), (3, 7)))  # the beam at 18, 19 of 34 x 42
    with pytest.warns(UserWarning, match=r"row 18, column 19, not at \(17, 21\).*32 x 32"):
        folder = build(written(tmp_path, wide))
    recipe = read_recipe(folder)
    assert (recipe.direct_beam_px, recipe.size) == ((18, 19), 32)
    original = build(folder=tmp_path / "original")
    assert read_split(folder)["image"][:] == read_split(original)["image"][:]


def test_given_beam(build):
    recipe = read_recipe(build(direct_beam_px=(16, 13)))
    assert (recipe.direct_beam_px, recipe.size) == ((16, 13), 27)


def test_a_map_of_another_scan(build, phantom, tmp_path):
    with pytest.raises(MapError, match=r"12 x 16 points, the scan 11 x 16"):
        build(written(tmp_path, phantom[0][1:]))


def test_a_map_of_another_crystal(files, nickelate, tmp_path):
    other = Crystal.from_dict({**nickelate.to_dict(), "cell": (2.9, 2.9, 16.0, 90, 90, 120)})
    with pytest.raises(MapError, match="give the crystal it was made for"):
        build_scan_dataset(*files, tmp_path / "out", other)


@pytest.mark.parametrize("settings", [{"min_q": 1.1}, {"min_r": 2, "min_q": 0}])
def test_no_point_is_good_enough(build, settings):
    with pytest.raises(MapError, match=r"Q from 0\.\d+ to 1 and R from \S+ to 1"):
        build(**settings)


def test_no_grain_is_large_enough(build):
    with pytest.raises(MapError, match=r"largest grain has \d+ usable points"):
        build(smallest_grain=500)


def test_a_map_that_indexes_nothing(build, phantom, tmp_path):
    truth = phantom[1]
    nothing = OrientationMap.of_crystal(
        truth.crystal, truth.euler_deg, truth.score, truth.reliability, truth.indexed & False, 5.0
    )
    nothing.save(tmp_path / "nothing.h5")
    with pytest.raises(MapError, match="indexes no point"):
        build(labels=tmp_path / "nothing.h5")


def test_unknown_pixel_size(build, files):
    scan = Scan.open(files[0])
    with pytest.raises(ScanError, match="how large a pattern pixel is"):
        build(Scan(scan.patterns, 1.0, None, scan.path))


def test_damaged_while_read(build, files):
    def broken(block):
        raise OSError("bad disk")

    scan = Scan.open(files[0])
    patterns = da.map_blocks(broken, scan.patterns, dtype=np.uint16, meta=np.zeros(0, np.uint16))
    with pytest.raises(ScanError, match="bad disk"):
        build(Scan(patterns, 5.0, PIXEL, scan.path))


def test_folder_scan_has_a_checksum(tmp_path):
    folder = tmp_path / "scan.zspy"
    for name, text in (("a/0", "x"), ("b", "y")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    before = scan_dataset._sha256(folder)
    shutil.copytree(folder, tmp_path / "copy")
    assert scan_dataset._sha256(tmp_path / "copy") == before
    (folder / "b").rename(folder / "c")
    assert scan_dataset._sha256(folder) != before


@pytest.fixture
def values(nickelate) -> dict:
    return {
        "crystal": nickelate.to_dict(),
        "scan_name": "scan.hspy",
        "scan_sha256": "0" * 64,
        "labels_name": "map.ang",
        "labels_sha256": "f" * 64,
        "inv_angstrom_per_pixel": 0.025,
        "direct_beam_px": (64, 64),
        "size": 128,
    }


def test_recipe_round_trip(values):
    recipe = ScanRecipe(**values, min_q=np.float32(0.5), convergence_mrad=[1, 1])
    assert ScanRecipe.from_json(recipe.to_json()) == recipe
    assert recipe.id != ScanRecipe(**values, convergence_mrad=[1, 1]).id
    assert recipe.frame_inv_angstrom == recipe.k_max_inv_angstrom == pytest.approx(1.6)
    assert recipe.typical_precession_deg == (0.0,)
    assert ScanRecipe(**values, precession_deg=(1, 1)).typical_precession_deg == (1.0,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scan_sha256": "0" * 63},
        {"labels_name": ""},
        {"labels_name": 3},
        {"direct_beam_px": (64, 63)},
        {"direct_beam_px": (64.5, 64)},
        {"direct_beam_px": (64,)},
        {"size": 8},
        {"inv_angstrom_per_pixel": 0},
        {"convergence_mrad": (1, 2)},
        {"precession_deg": (6, 6)},
        {"voltage_kv": 0},
        {"min_q": "high"},
        {"min_r": float("nan")},
        {"grain_tolerance_deg": 0},
        {"smallest_grain": 0},
        {"validation_share": 1},
        {"seed": -1},
    ],
    ids=str,
)
def test_recipe_refuses(values, wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        ScanRecipe(**{**values, **wrong})


def test_recipe_needs_sites(values):
    empty = {"numbers": [], "positions": [], "occupancies": [], "b_iso_angstrom2": []}
    with pytest.raises(CrystalError, match="sites"):
        ScanRecipe(**{**values, "crystal": {**values["crystal"], **empty}})


@pytest.mark.parametrize("old_new", [('"kind": "scan"', '"kind": "x"'), ('"seed"', '"sed"')])
def test_recipe_json_refused(values, old_new):
    with pytest.raises(DatasetError, match="Not a recipe"):
        ScanRecipe.from_json(ScanRecipe(**values).to_json().replace(*old_new))


@pytest.mark.filterwarnings("ignore:scan.hspy has no scan step", "ignore:LCO.cif. site")
def test_real_scan(shared_data, tmp_path, monkeypatch):
    monkeypatch.setattr(scan_dataset, "write_scan_card", lambda folder, recipe, rows: None)
    data = shared_data / "third_party" / "layered_oxide"
    crystal = load_crystal(data / "LCO.cif")
    folder = build_scan_dataset(
        data / "scan.hspy", data / "acom.ang", tmp_path, crystal, min_q=20, smallest_grain=10
    )
    train, validation = (read_split(folder, split)["direction_id"] for split in SPLITS)
    assert (len(train), len(validation)) == (1536, 379)
    assert not set(train) & set(validation)
    assert {*train, *validation} == set(range(23))
    recipe = read_recipe(folder)
    assert (recipe.direct_beam_px, recipe.size) == ((64, 64), 128)
    assert recipe.labels_name == "acom.ang"


def test_verify_of_a_scan(build):
    """A stray file is reported; a lost one cannot be simulated again."""
    folder = build()
    shard = next((folder / "patterns").glob("train-*"))
    stray = shard.with_name("train-00000-of-00009.parquet")
    stray.write_bytes(b"")
    found = verify(folder)
    assert list(found.bad) == [f"patterns/{stray.name}"]
    assert found.rebuilt == ()
    shard.unlink()
    with pytest.raises(DatasetError, match=r"1 bad files, such as .*train.*come from a scan"):
        verify(folder)
