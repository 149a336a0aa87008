"""Several batches at a time on a CPU."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


def side_by_side(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return work(item) of each; the threads of torch are shared out among the items.

    Most operations on a batch are too small to be split: threads would wait for each other.

    Args:
        work: may run in several threads at once.
        items: of about equal cost.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(items))
    if workers < 2:
        return [work(item) for item in items]
    try:
        with ThreadPoolExecutor(
            workers, initializer=torch.set_num_threads, initargs=(threads // workers,)
        ) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(threads)  # else every later thread would have as few
