import json

import h5py
import numpy as np
import pytest
from map_samples import COPPER, SILICON, random_map
from orix import io

from zoneaxis.errors import MapError
from zoneaxis.scans.orientation_map import OrientationMap


@pytest.mark.parametrize("shape", [(5, 7), (1, 6), (6, 1), (1, 1)])
@pytest.mark.parametrize("n_best", [1, 3])
def test_everything_is_kept(nickelate, tmp_path, shape, n_best):
    written = random_map((COPPER, nickelate), shape, n_best)
    written.properties["vacuum"] = np.full(shape, np.nan, np.float32)
    written.euler_deg[..., 1] = 0  # where quaternions keep phi1 + phi2 alone
    written.save(tmp_path / "map.h5")
    read = OrientationMap.load(tmp_path / "map.h5")
    for name in ("euler_deg", "score", "reliability", "phase"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    assert read.properties.keys() == {"thickness_nm", "vacuum"}
    for name, values in written.properties.items():
        np.testing.assert_array_equal(read.properties[name], values)
    assert read.step_nm == written.step_nm
    assert [c.to_dict() for c in read.crystals] == [c.to_dict() for c in written.crystals]


def test_orix_reads_it_and_we_read_orix(nickelate, tmp_path):
    written = random_map((nickelate, SILICON), n_best=2)
    written.save(tmp_path / "map.h5")
    crystal_map = io.load(str(tmp_path / "map.h5"))
    assert crystal_map.shape == (5, 7)
    assert crystal_map.scan_unit == "nm"
    assert crystal_map.phases.names == ["not_indexed", "LiNiO2", "Si"]
    io.save(str(tmp_path / "theirs.h5"), crystal_map)
    read = OrientationMap.load(tmp_path / "theirs.h5")
    np.testing.assert_allclose(read.euler_deg, written.euler_deg, atol=1e-9)
    np.testing.assert_array_equal(read.score, written.score)
    np.testing.assert_array_equal(read.phase, written.phase)
    assert set(read.properties) == {"thickness_nm"}
    assert read.step_nm == pytest.approx(written.step_nm)
    assert [c.space_group for c in read.crystals] == [166, 227]
    with pytest.raises(MapError, match=r"map of Si .* not of LiNiO2 .* or Cu"):
        OrientationMap.load(tmp_path / "theirs.h5", crystals=(nickelate, COPPER))


def test_files_before_maps_of_several_phases(nickelate, tmp_path):
    written = random_map(nickelate)
    written.save(tmp_path / "map.h5")
    with h5py.File(tmp_path / "map.h5", "a") as file:
        group = file["zoneaxis"]
        del group["crystals"], group["euler_deg"]
        group["crystal"] = json.dumps(nickelate.to_dict())
    read = OrientationMap.load(tmp_path / "map.h5")
    np.testing.assert_array_equal(read.phase, written.phase)
    np.testing.assert_allclose(read.euler_deg, written.euler_deg, atol=1e-9)
    assert read.crystal.to_dict() == nickelate.to_dict()


@pytest.mark.parametrize("suffix", [".ang", ".ctf"])
def test_map_of_known_lattice_only(nickelate, tmp_path, suffix):
    random_map(nickelate).save(tmp_path / f"map{suffix}")
    OrientationMap.load(tmp_path / f"map{suffix}").save(tmp_path / "map.h5")
    crystal = OrientationMap.load(tmp_path / "map.h5").crystal
    assert len(crystal.numbers) == 0
    assert crystal.point_group.name == "-3m"


def test_truncated(tmp_path):
    random_map(SILICON).save(tmp_path / "map.h5")
    content = (tmp_path / "map.h5").read_bytes()
    for i, size in enumerate(np.random.default_rng(0).integers(0, len(content) - 1, 50)):
        cut = tmp_path / f"{i}.h5"
        cut.write_bytes(content[:size])
        with pytest.raises(MapError, match=cut.name):
            OrientationMap.load(cut)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x89PNG\x00\xff\xfe" * 99])
def test_garbage(tmp_path, content):
    (tmp_path / "map.h5").write_bytes(content)
    with pytest.raises(MapError, match=r"map\.h5"):
        OrientationMap.load(tmp_path / "map.h5")
