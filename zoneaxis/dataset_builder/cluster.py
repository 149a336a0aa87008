"""Work spread over a Dask cluster, whose scheduler moves the jobs of a lost worker to others."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from zoneaxis.errors import DatasetError, SettingsError

Key = TypeVar("Key")
SECONDS_TO_CONNECT = 15
RETRIES = 2  # of a job that fails, for a file server may be away for a moment


def map_on_cluster(
    work: Callable[..., None], jobs: dict[Key, tuple[Any, ...]], address: str
) -> Iterator[Key]:
    """Call work(*arguments) for each job on a cluster, yielding its key when it is done.

    Args:
        work: a function of an installed module.
        jobs: arguments of each call.
        address: of the scheduler, "tcp://host:8786".

    Raises:
        SettingsError: no scheduler answers at the address.
        DatasetError: the scheduler went away, or workers died again and again on one job.
    """
    from distributed import Client, as_completed
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    try:
        # Not as the default: Dask would send all later work there, even where nobody answered.
        client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"No Dask scheduler answers at {address}: start one with `dask scheduler`, and give "
            "the address that it prints."
        ) from error
    with client:
        futures = {
            client.submit(work, *arguments, pure=False, retries=RETRIES): key
            for key, arguments in jobs.items()
        }
        try:
            for future in as_completed(futures, loop=client.loop):
                future.result()
                yield futures[future]
        except (FutureCancelledError, CommClosedError, KilledWorker) as error:
            raise DatasetError(
                f"The Dask cluster at {address} lost its work ({type(error).__name__}): look at "
                "its workers' memory and start again; what is finished is kept."
            ) from error
        finally:
            client.cancel(list(futures))
