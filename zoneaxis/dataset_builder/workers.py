"""Work spread over processes that stop cleanly when their caller is interrupted or gone."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from zoneaxis.errors import DatasetError

Key = TypeVar("Key")


def map_in_processes(
    work: Callable[..., None], jobs: dict[Key, tuple[Any, ...]], workers: int
) -> Iterator[Key]:
    """Call work(*arguments, checkpoint=...) for each job, yielding its key when it is done.

    Work calls `checkpoint()` now and then: it raises once the caller has been interrupted or
    another job has failed, so that nobody waits for long jobs whose result is not wanted.

    Raises:
        DatasetError: a process was killed from outside.
    """
    # Spawned, not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(workers, context, _start, (stop,)) as pool:
        keys = {pool.submit(_run, work, arguments): key for key, arguments in jobs.items()}
        try:
            for job in as_completed(keys):
                job.result()
                yield keys[job]
        except BrokenProcessPool as error:
            raise DatasetError(
                "A worker process was killed, most likely for want of memory: start again with "
                "fewer workers; what is finished is kept."
            ) from error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


_stop: Event | None = None  # of a worker process


def _start(stop: Event) -> None:
    # Ctrl-C reaches every process of the terminal; the caller alone decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    global _stop
    _stop = stop
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    _checkpoint()
    work(*arguments, checkpoint=_checkpoint)


def _checkpoint() -> None:
    if _stop is not None and _stop.is_set():
        raise KeyboardInterrupt
