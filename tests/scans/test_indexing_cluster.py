"""Workers of a Dask cluster open the scan by themselves, and find what one process finds."""

import os
import pickle
import signal

import numpy as np
import pytest

from zoneaxis.diffraction.optics import Optics
from zoneaxis.evaluation.template_matching import TemplateIndexer
from zoneaxis.scans.indexing import index_scan
from zoneaxis.scans.scan import Scan
from zoneaxis.scans.writing import write_scan


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # distributed's own, when a worker is lost
def test_a_worker_is_killed_in_the_middle(nickelate, tmp_path, one_thread):
    from distributed import LocalCluster

    path = tmp_path / "scan.hspy"
    patterns = np.random.default_rng(0).poisson(2, (16, 16, 64, 64)).astype(np.uint16)
    write_scan(path, patterns, step_nm=2.0, inv_angstrom_per_pixel=0.04, title="")
    scan = Scan.open(path)
    optics = Optics(k_max_inv_angstrom=1.2)
    indexer = TemplateIndexer(nickelate, optics, step_deg=15.0, min_q=0, min_agreement=-1)
    alone = index_scan(indexer, scan, batch_size=16)
    killed, done = [], []
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        processes = [worker.pid for worker in cluster.workers.values()]

        def kill_one(n: int) -> None:
            done.append(n)
            if not killed and sum(done):
                killed.append(processes[0])
                os.kill(processes[0], signal.SIGKILL)

        address = cluster.scheduler_address
        found = index_scan(indexer, scan, batch_size=16, progress=kill_one, scheduler=address)
    assert killed
    assert sum(done) == 256
    for name in ("euler_deg", "score", "reliability", "phase"):
        np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
    assert found.properties.keys() == alone.properties.keys()


def test_a_scan_is_sent_as_its_file(tmp_path):
    patterns = np.random.default_rng(0).integers(0, 9, (4, 5, 32, 32)).astype(np.uint16)
    path = tmp_path / "scan.hspy"
    write_scan(path, patterns, step_nm=2.0, inv_angstrom_per_pixel=0.1, title="")
    mask = np.arange(12).reshape(3, 4) % 2 == 1
    scan = Scan.open(path, step_nm=3.0).crop(slice(1, 4), slice(0, 4)).bin(2).masked(mask)
    sent = pickle.dumps(scan)
    assert len(sent) < 1500
    again = pickle.loads(sent)
    assert (again.step_nm, again.inv_angstrom_per_pixel) == (3.0, 0.2)
    np.testing.assert_array_equal(again.mask, mask)
    np.testing.assert_array_equal(again.patterns.compute(), scan.patterns.compute())
