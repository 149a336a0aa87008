"""Jobs on a Dask cluster, here of threads of this process; lost workers are tested where used."""

import signal

import pytest

from zoneaxis.cluster import AHEAD, local_cluster, map_on_cluster
from zoneaxis.errors import ScanError, SettingsError

started = []


def work(shared, number):
    started.append(number)
    if number == "broken":
        raise ScanError("made to fail")
    return shared["factor"] * number


@pytest.fixture
def address():
    from distributed import LocalCluster

    started.clear()
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def test_results_come_with_their_keys_and_few_at_a_time(address):
    jobs = {f"job {n}": (n,) for n in range(20)}
    found = {}
    for key, result in map_on_cluster(work, jobs, address, shared={"factor": 3}):
        assert len(started) <= len(found) + AHEAD
        found[key] = result
    assert found == {f"job {n}": 3 * n for n in range(20)}
    assert sorted(started) == list(range(20))


def test_an_error_reaches_the_caller_and_ends_the_rest(address):
    jobs = {n: ("broken" if n == 2 else n,) for n in range(20)}
    found = []
    with pytest.raises(ScanError, match="made to fail"):
        found.extend(map_on_cluster(work, jobs, address, shared={"factor": 1}))
    assert set(started) <= {0, 1, "broken", 3, 4}


def test_workers_leave_ctrl_c_to_the_process_that_began_them():
    """A terminal sends it to all of them; a traceback of each would hide the one message."""
    before = signal.getsignal(signal.SIGINT)
    with local_cluster(1) as address:
        assert signal.getsignal(signal.SIGINT) is before
        ((_, handler),) = map_on_cluster(signal.getsignal, {"job": (signal.SIGINT,)}, address)
    assert handler == signal.SIG_IGN


def test_no_workers():
    with pytest.raises(SettingsError, match="workers = 0"), local_cluster(0):
        pass
