"""Batch normalization whose running statistics do not depend on the number of processes."""

from collections.abc import Callable

import torch
from torch import nn


class BatchStatistics:
    """Lets each pass of a step start from the same running statistics, and averages the results.

    Left alone, one process would update them pass after pass, and several side by side.
    """

    def __init__(self, network: nn.Module) -> None:
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self._norms = [norm for norm in norms if norm.running_mean is not None]
        self._before = torch.empty(0)
        self._sum = torch.empty(0)

    @torch.no_grad()
    def start_step(self) -> None:
        """Remember the statistics."""
        if self._norms:
            self._before = torch.cat(self._running)
            self._sum = torch.zeros_like(self._before)

    @torch.no_grad()
    def end_pass(self) -> None:
        """Take what a pass has made of them, and put back what it found."""
        if self._norms:
            self._sum += torch.cat(self._running)
            self._set(self._before)

    @torch.no_grad()
    def end_step(self, passes: int, summed: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Set them to the mean over all passes.

        Args:
            passes: of all processes.
            summed: adds a tensor up over the processes.
        """
        if self._norms:
            self._set(summed(self._sum) / passes)
        for norm in self._norms:
            norm.num_batches_tracked.zero_()  # it counts passes, and nothing uses it

    @property
    def _running(self) -> list[torch.Tensor]:
        # Asked for anew each time: DistributedDataParallel puts other tensors in their place.
        return [tensor for norm in self._norms for tensor in (norm.running_mean, norm.running_var)]

    def _set(self, values: torch.Tensor) -> None:
        running = self._running
        for tensor, part in zip(running, values.split([len(t) for t in running]), strict=True):
            tensor.copy_(part)
