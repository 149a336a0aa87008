"""The likeliest classes of a pattern, and the sum over all others, in place of every score."""

import math
from dataclasses import dataclass

import torch

SUMMED_TOGETHER = 2**18  # logits, which then stay in the cache


@dataclass(frozen=True)
class Likeliest:
    """What is to be known of n patterns to name the likeliest of all classes.

    Attributes:
        logits: of all bins of the k likeliest base classes, divided by the temperature, float32,
            shape (n, k, bins).
        base: numbers of these base classes, shape (n, k).
        rest: logarithm of the sum of exp(logit) over all other base classes, shape (n,).
        other: logits of vacuum and amorphous, shape (n, 2).
        extras: further outputs of the network, shape (n, e).
    """

    logits: torch.Tensor
    base: torch.Tensor
    rest: torch.Tensor
    other: torch.Tensor
    extras: torch.Tensor

    @classmethod
    def of(
        cls,
        logits: torch.Tensor,
        base: torch.Tensor,
        rest: torch.Tensor,
        others: torch.Tensor,
        temperature: float,
    ) -> "Likeliest":
        """Return it with logits as the network returns them, `others` of all that follows."""
        other, extras = others.tensor_split([2], dim=1)
        return cls(logits / temperature, base, rest, other / temperature, extras)

    def classes(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the likeliest classes, their probabilities and those of vacuum and amorphous.

        All are out of one softmax over all classes.

        Args:
            count: c, classes returned, or all that are known if there are fewer.

        Returns:
            Class numbers (n, c), probabilities (n, c) and (n, 2).
        """
        known, bins = self.logits.flatten(1), self.logits.shape[2]
        logits, place = known.topk(min(count, known.shape[1]), dim=1)
        total = torch.cat([known, self.other, self.rest[:, None]], dim=1)
        total = total.logsumexp(dim=1, keepdim=True)
        numbers = self.base.gather(1, place // bins) * bins + place % bins
        return numbers, (logits - total).exp(), (self.other - total).exp()


def likeliest(
    outputs: torch.Tensor, bins: int, n_base: int, count: int, temperature: float
) -> Likeliest:
    """Return the likeliest of all outputs of a network.

    Args:
        outputs: shape (n, n_base * bins + 2 + e), on any device.
        bins: of each base class.
        n_base: number of base classes.
        count: base classes returned, or all if there are fewer.
        temperature: logits are divided by it.
    """
    logits, others = outputs.tensor_split([n_base * bins], dim=1)
    logits = logits.unflatten(1, (n_base, bins))
    base, rest = likeliest_base(logits, count, temperature)
    rows = torch.arange(len(outputs), device=outputs.device)[:, None]
    return Likeliest.of(logits[rows, base], base, rest, others, temperature)


def likeliest_base(
    logits: torch.Tensor, count: int, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the base classes of the greatest logits, (n, count), and `Likeliest.rest`.

    Args:
        logits: shape (n, d, bins), perhaps of half precision.
        count: base classes returned, or all if there are fewer.
        temperature: logits are divided by it in the sum.
    """
    parts = logits.split(max(1, SUMMED_TOGETHER // logits.shape[1:].numel()))
    sums = [_sums_over_bins(part.float(), temperature) for part in parts]
    top, total = (torch.cat(column) for column in zip(*sums, strict=True))
    base = top.topk(min(count, top.shape[1]), dim=1).indices
    return base, total.scatter(1, base, -torch.inf).logsumexp(dim=1)


def _sums_over_bins(logits: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each base class's greatest logit and log(sum(exp(logit / temperature))), (n, d)."""
    top = logits.amax(dim=2).clamp(min=-1e30)  # -inf - -inf is NaN
    # On CPUs powers of 2 take a third of the time.
    scale = math.log2(math.e) / temperature
    powers = torch.add(-scale * top[..., None], logits, alpha=scale).exp2_()
    return top, top / temperature + powers.sum(dim=2).log()
