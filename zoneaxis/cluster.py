"""Work spread over a Dask cluster, whose scheduler moves the jobs of a lost worker to others."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from zoneaxis.errors import ClusterError, SettingsError

if TYPE_CHECKING:
    from distributed import Client

Key = TypeVar("Key")
Result = TypeVar("Result")
SECONDS_TO_CONNECT = 15
RETRIES = 2  # of a job that fails, for a file server may be away for a moment
AHEAD = 2  # jobs given out for each thread of the workers: none idles, and few results wait


def map_on_cluster(
    work: Callable[..., Result],
    jobs: dict[Key, tuple[Any, ...]],
    address: str,
    *,
    shared: Any = None,
) -> Iterator[tuple[Key, Result]]:
    """Call work(*arguments) for each job on a cluster, yielding its key and result when done.

    Only a few jobs are given out at a time, so that results do not pile up.

    Args:
        work: a function of an installed module.
        jobs: arguments of each call.
        address: of the scheduler, "tcp://host:8786".
        shared: if given, the first argument of every call; sent to each worker once.

    Raises:
        SettingsError: no scheduler answers at the address.
        ClusterError: the scheduler went away, or workers died again and again on one job.
    """
    from distributed import as_completed
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    with _connected(address) as client:
        first = () if shared is None else (_sent(client, shared),)
        waiting, keys = iter(jobs.items()), {}
        done = as_completed(loop=client.loop)

        def give_out() -> None:
            most = AHEAD * max(1, sum(client.nthreads().values()))  # workers come and go
            for key, arguments in islice(waiting, max(0, most - done.count())):
                future = client.submit(work, *first, *arguments, pure=False, retries=RETRIES)
                keys[future] = key
                done.add(future)

        try:
            give_out()
            for future in done:
                result = future.result()
                yield keys.pop(future), result
                give_out()
        except (FutureCancelledError, CommClosedError, KilledWorker) as error:
            raise ClusterError(
                f"The Dask cluster at {address} lost its work ({type(error).__name__}): look at "
                "its workers' memory and start again; what is finished is kept."
            ) from error
        finally:
            client.cancel([*keys, *first])


@contextmanager
def local_cluster(workers: int) -> Iterator[str]:
    """Yield the address of a cluster of processes on this machine, each of one thread.

    Args:
        workers: number of processes.

    Raises:
        SettingsError: fewer than one.
    """
    from distributed import LocalCluster

    if workers < 1:
        raise SettingsError(f"workers = {workers}: expected 1 or more.")
    with _ctrl_c_ignored():  # by the processes that begin here; this one tells them to end
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        )
    with cluster:
        yield cluster.scheduler_address


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Ignore SIGINT meanwhile, which processes inherit; only the main thread can do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _connected(address: str) -> "Client":
    from distributed import Client

    try:
        # Not as the default: Dask would send all later work there, even where nobody answered.
        return Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"No Dask scheduler answers at {address}: start one with `dask scheduler`, and give "
            "the address that it prints."
        ) from error


def _sent(client: "Client", shared: Any) -> Any:
    """Return a future of something that all jobs need.

    It is the result of a job, not scattered: if the worker that holds it dies, it is made again.
    """
    from distributed.protocol import pickle

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        return client.submit(pickle.loads, pickle.dumps(shared), pure=False)
