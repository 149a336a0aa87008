import threading

import pytest
import torch

from zoneaxis.models.threads import side_by_side


@pytest.fixture
def four_threads(set_threads):
    set_threads(4)


def test_threads_are_shared_out(four_threads):
    meet = threading.Barrier(2, timeout=20)  # both must run at once

    def work(item: int) -> tuple[int, int]:
        meet.wait()
        return 10 * item, torch.get_num_threads()

    assert side_by_side(work, [1, 2]) == [(10, 2), (20, 2)]
    assert torch.get_num_threads() == 4
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [4]


def test_a_single_item_has_all_threads(four_threads):
    assert side_by_side(lambda item: (item, torch.get_num_threads()), [3]) == [(3, 4)]
    assert side_by_side(lambda item: item, []) == []


def test_errors_come_out_and_threads_come_back(four_threads):
    def fail(item: int) -> None:
        raise ValueError(item)

    with pytest.raises(ValueError, match="1"):
        side_by_side(fail, [1, 2, 3])
    assert torch.get_num_threads() == 4
