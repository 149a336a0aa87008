"""A run that is stopped, by Ctrl-C or for good, goes on and ends with the same bits."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zoneaxis.diffraction.crystal import load_crystal
from zoneaxis.errors import OutputError, ScanError
from zoneaxis.scans import partial_map
from zoneaxis.scans.indexing import Indexed, index_scan
from zoneaxis.scans.partial_map import PartialMap, Point, as_text
from zoneaxis.scans.scan import Scan
from zoneaxis.scans.writing import write_scan

pytestmark = pytest.mark.filterwarnings("ignore:1 of 256 patterns")


class MeanIndexer:
    """Answers with what the patterns hold; counts them, and may be told to stop."""

    def __init__(self, crystal, stop_after=10**9):
        self.crystals = (crystal,)
        self.stop_after, self.seen = stop_after, 0

    def index(self, patterns, inv_angstrom_per_pixel):
        if self.seen >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += len(patterns)
        # Of the whole batch, so that a batch of other patterns would give other bits.
        mean = patterns.mean(axis=(1, 2)) + patterns.sum() * 1e-3
        return Indexed(
            euler_deg=np.stack([mean, mean, mean], -1)[:, None].astype(float),
            score=mean[:, None],
            reliability=mean,
            indexed=mean > 0.2,
            properties={"thickness_nm": mean},
        )


@pytest.fixture
def scan(tmp_path):
    patterns = np.random.default_rng(0).integers(1, 9, (16, 16, 8, 8)).astype(np.uint16)
    patterns[3, 4] = 0
    path = tmp_path / "scan.hspy"
    write_scan(path, patterns, step_nm=2.0, inv_angstrom_per_pixel=0.1, title="")
    return replace(Scan.open(path), mask=mask())


def mask():
    wanted = np.ones((16, 16), bool)
    wanted[9:12, 2:14] = False
    return wanted


def same(a, b):
    for name in ("euler_deg", "score", "reliability", "phase"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(a.properties["thickness_nm"], b.properties["thickness_nm"])


@pytest.mark.parametrize("batch_size", [20, 64, 300])
def test_interrupted_again_and_again(nickelate, scan, tmp_path, batch_size):
    whole = index_scan(MeanIndexer(nickelate), scan, batch_size=batch_size)
    path, seen, stops = tmp_path / ".map.npz", 0, 0
    while True:
        indexer, done = MeanIndexer(nickelate, stop_after=40), []
        try:
            with PartialMap(path, {"n": "1"}) as partial:
                found = index_scan(
                    indexer, scan, batch_size=batch_size, progress=done.append, partial=partial
                )
            break
        except KeyboardInterrupt:
            stops += 1
            assert path.exists()
        finally:
            seen += indexer.seen
    same(found, whole)
    assert seen == mask().sum() - 1  # no pattern is indexed twice, and the empty one never
    assert stops >= (1 if batch_size < 300 else 0)
    assert sum(done) == 256
    assert [p.name for p in tmp_path.iterdir()] == ["scan.hspy"]


@pytest.mark.parametrize("chunks", [8, 16])
def test_a_cluster_finds_the_same_bits(nickelate, scan, chunks):
    """Large chunks are shared by the workers, batch by batch, whatever has been done before."""
    from distributed import LocalCluster

    patterns = scan.patterns.rechunk((chunks, chunks, 8, 8)).persist(scheduler="sync")
    scan = replace(scan, patterns=patterns, history=())
    alone = index_scan(MeanIndexer(nickelate), scan, batch_size=20)
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        found = index_scan(MeanIndexer(nickelate), scan, batch_size=20, scheduler=address)
    same(found, alone)


def killed_run(folder):
    """Index slowly, saving after each batch: the process of the test below."""
    partial_map.SECONDS_UNSAVED, partial_map.SAVING_SHARE = 0.0, 1e9

    def slowly(done):
        print(done, flush=True)
        time.sleep(0.1)

    scan = replace(Scan.open(folder / "scan.hspy"), mask=mask())
    with PartialMap(folder / ".map.npz") as partial:
        indexer = MeanIndexer(load_crystal("LiNiO2"))
        index_scan(indexer, scan, batch_size=20, progress=slowly, partial=partial)


def test_a_killed_process_goes_on(nickelate, scan, tmp_path):
    """SIGKILL leaves nobody time to save: what was saved now and then is there."""
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import test_indexing_resumed as t; "
        "t.killed_run(pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, Path(__file__).parent, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for _ in range(5):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    (tmp_path / "..map.incomplete-0.npz").touch()  # of a save that was killed
    indexer = MeanIndexer(nickelate)
    with PartialMap(tmp_path / ".map.npz") as partial:
        found = index_scan(indexer, scan, batch_size=20, partial=partial)
    assert 0 < indexer.seen <= mask().sum() - 50
    same(found, index_scan(MeanIndexer(nickelate), scan, batch_size=20))
    assert [p.name for p in tmp_path.iterdir()] == ["scan.hspy"]


def stopped(nickelate, scan, path, **settings):
    with pytest.raises(KeyboardInterrupt), PartialMap(path, {"min_q": "0.1"}) as partial:
        index_scan(MeanIndexer(nickelate, 40), scan, batch_size=20, partial=partial, **settings)


@pytest.mark.parametrize("what", ["setting", "mask", "pixel size", "content", "batch size"])
def test_another_scan_or_indexer_is_refused(nickelate, scan, tmp_path, what):
    path, settings, batch_size = tmp_path / ".map.npz", {"min_q": "0.1"}, 20
    stopped(nickelate, scan, path)
    before = path.read_bytes()
    words = "60 points of an unfinished run with other settings "
    if what == "setting":
        settings, words = {"min_q": "0.2"}, words + r"\(min_q was 0.1, is 0.2\): repeat them"
    elif what == "mask":
        scan = replace(scan, mask=~scan.mask)
    elif what == "pixel size":
        scan = replace(scan, inv_angstrom_per_pixel=0.2)
    elif what == "content":
        os.utime(scan.path, (0, 0))
        words += r"\(scan was .*scan.hspy of .* bytes, changed 20"
    else:
        batch_size = 21
    indexer = MeanIndexer(nickelate)
    with pytest.raises(OutputError, match=words), PartialMap(path, settings) as partial:
        index_scan(indexer, scan, batch_size=batch_size, partial=partial)
    assert indexer.seen == 0
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused(nickelate, scan, tmp_path):
    path = tmp_path / ".map.npz"
    stopped(nickelate, scan, path)
    for damaged in (b"", path.read_bytes()[:-30], b"no zip"):
        path.write_bytes(damaged)
        with pytest.raises(OutputError, match=r"\.map\.npz is damaged .*: remove it"):
            index_scan(MeanIndexer(nickelate), scan, partial=PartialMap(path, {"min_q": "0.1"}))


def test_a_scan_that_cannot_be_read_to_its_end(nickelate, scan, tmp_path):
    """What was found before is kept, for a file server that comes back."""

    def fail(block, block_info=None):
        if block_info[None]["chunk-location"][0] == 1:
            raise OSError("gone")
        return block

    lazy = scan.patterns.map_blocks(fail, dtype=scan.patterns.dtype, meta=np.empty((0,) * 4))
    partial, broken = PartialMap(tmp_path / ".map.npz"), replace(scan, patterns=lazy)
    with pytest.raises(ScanError, match="from row 8, column 0"), partial:
        index_scan(MeanIndexer(nickelate), broken, batch_size=128, partial=partial)
    assert partial.path.exists()
    indexer = MeanIndexer(nickelate)
    with partial:
        found = index_scan(indexer, scan, batch_size=128, partial=partial)
    same(found, index_scan(MeanIndexer(nickelate), scan, batch_size=128))
    assert indexer.seen == mask()[8:].sum()


@pytest.mark.parametrize(
    ("given", "kept"), [("f4", "f4"), ("f8", "f8"), ("i2", "f4"), ("i4", "f8"), ("?", "f4")]
)
def test_properties_lose_no_digits(given, kept):
    partial = PartialMap()
    partial.begin(np.ones(3, bool), {})
    values = np.array([1 / 3, 2**20 + 1]).astype(given)
    partial.store(np.array([0, 2]), np.full(2, Point.DONE), {"property x": values})
    found = partial.columns["property x"]
    assert found.dtype == kept
    np.testing.assert_array_equal(found, [values[0], np.nan, values[1]])


def test_settings_as_text(tmp_path):
    (tmp_path / "a.cif").write_text("1234")
    found = as_text({"k_max": 1.8, "crystal": ["LiNiO2", str(tmp_path / "a.cif")]}, [tmp_path])
    assert found["k_max"] == "1.8"
    assert found["crystal"].startswith(f"LiNiO2, {tmp_path / 'a.cif'} of 4 bytes, changed 20")
    assert found[tmp_path.name].startswith(f"{tmp_path} of 4 bytes, changed 20")
    os.utime(tmp_path / "a.cif", (0, 0))
    assert as_text({}, [tmp_path]) != {tmp_path.name: found[tmp_path.name]}
