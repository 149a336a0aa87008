import os
import signal

import pytest

from zoneaxis.dataset_builder.build import build
from zoneaxis.dataset_builder.manifest import read_manifest
from zoneaxis.dataset_builder.recipe import preset
from zoneaxis.errors import SettingsError


@pytest.fixture(scope="module")
def recipe(nickelate):
    return preset("test", nickelate, resolution=800, thicknesses=1, size=16, k_max_inv_angstrom=1.0)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # distributed's own, when a worker is lost
def test_a_worker_is_killed_in_the_middle(recipe, tmp_path):
    """The other one takes its shards, and the bytes are those of one process."""
    from distributed import LocalCluster

    alone = build(recipe, tmp_path / "alone", workers=1)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        processes = [worker.pid for worker in cluster.workers.values()]
        killed = []

        def kill_one(done: int, total: int) -> None:
            if not killed and done < total and done:
                killed.append(processes[0])
                os.kill(processes[0], signal.SIGKILL)

        build(recipe, tmp_path / "cluster", scheduler=cluster.scheduler_address, progress=kill_one)
    assert killed
    assert read_manifest(tmp_path / "cluster") == read_manifest(alone)


def test_nobody_at_the_address(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("zoneaxis.cluster.SECONDS_TO_CONNECT", 1)
    with pytest.raises(SettingsError, match="No Dask scheduler answers at tcp://127"):
        build(recipe, tmp_path, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(SettingsError, match="No Dask scheduler answers at nowhere"):
        build(recipe, tmp_path, scheduler="nowhere:x")


def test_a_cluster_is_not_asked_for_other_work(recipe, tmp_path, monkeypatch):
    """Dask computes here afterwards, even while somebody still holds the error."""
    import dask.array
    from distributed import default_client

    monkeypatch.setattr("zoneaxis.cluster.SECONDS_TO_CONNECT", 1)
    with pytest.raises(SettingsError) as held:
        build(recipe, tmp_path, scheduler="nowhere:x")
    with pytest.raises(ValueError, match="No clients found"):
        default_client()
    assert dask.array.ones(4, chunks=2).sum().compute() == 4
    del held
