"""A network for polar patterns, equivariant under in-plane rotation.

In polar coordinates an in-plane rotation of the crystal is a shift along the angle. Every layer is
a circular convolution over the angle, so the answer for (direction, in-plane bin) shifts with the
pattern: each in-plane angle teaches all the others. A layer that mixes all angles is one matrix
product per angular frequency, as in template matching by FFT; the last layer starts as
just that, with kinematic templates of each direction as its filters (`set_templates`), and the
deep branch beside it learns what a correlation cannot tell.
"""

from typing import Any

import torch
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from zoneaxis.models.likeliest import Likeliest, likeliest_base
from zoneaxis.models.shipped import DEFAULT_MODEL, SHIPPED

# timm would ask for 1000 classes, which is no number of directions times bins.
SHARED_CFG = {"num_classes": 10 * 72 + 2, "license": "gpl-3.0"}

default_cfgs = generate_default_cfgs(
    {
        DEFAULT_MODEL: {
            "file": str(SHIPPED / DEFAULT_MODEL / "model.safetensors"),
            "input_size": (1, 48, 144),
            **SHARED_CFG,
            "num_classes": 1972 * 72 + 3,
        },
        "test_zoneaxis_polar.untrained": {"input_size": (1, 16, 144), **SHARED_CFG},
    }
)

MATCHED_SCALE = (
    40.0  # logits of a perfect correlation; the likelihood of kinematic templates peaks here
)


DIRECTIONS_TOGETHER = 256  # of the last layer, without gradients


class AngularFourier(nn.Module):
    """Fourier transform over the angle and back, as products with real matrices.

    There are no complex numbers, which half precision, compilers and ONNX do not know.

    Args:
        bins: angles; there are F = bins // 2 + 1 frequencies.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins
        spectra = torch.fft.rfft(torch.eye(bins, dtype=torch.float64), norm="ortho")
        ahead = torch.cat([spectra.real, spectra.imag], dim=1)
        unit = torch.eye(bins // 2 + 1, dtype=torch.complex128)
        back = torch.fft.irfft(torch.stack([unit, 1j * unit], dim=1), bins, norm="ortho")
        self.register_buffer("ahead", ahead.float(), persistent=False)
        self.register_buffer("back", back.flatten(0, 1).float(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return real and imaginary parts (F, 2, b, chans) of (b, chans, bins)."""
        return (x @ self.ahead).unflatten(2, (2, -1)).permute(3, 2, 0, 1)

    def inverse(self, spectra: torch.Tensor, batch: int) -> torch.Tensor:
        """Return (b, chans, bins) of (F, 2 b, chans)."""
        pairs = spectra.reshape(len(self.back), -1)
        return (pairs.T @ self.back).view(batch, -1, self.bins)

    def inverse_single(self, spectra: torch.Tensor, batch: int) -> torch.Tensor:
        """Return the same in single precision, whatever that of the spectra."""
        kind = spectra.device.type
        if torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                return self.inverse_single(spectra, batch)
        pairs = spectra.reshape(len(self.back), -1).float()
        return (pairs.T @ self.back.float()).view(batch, -1, self.bins)


class SpectralConv(nn.Module):
    """Circular convolution over all angles, as one matrix product per angular frequency.

    Args:
        in_chans: channels in.
        out_chans: channels out.
        bins: angles.
    """

    def __init__(self, in_chans: int, out_chans: int, bins: int) -> None:
        super().__init__()
        self.fourier = AngularFourier(bins)
        shape = (bins // 2 + 1, 2, in_chans, out_chans)  # frequencies, real and imaginary part
        self.weight = nn.Parameter(torch.randn(shape) / in_chans**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, out_chans, bins) of (b, in_chans, bins)."""
        rows = self.rows(x)
        products = torch.bmm(rows, self.weight.flatten(1, 2))
        return self.fourier.inverse(products, x.shape[0])

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """Return the spectra of (b, in_chans, bins) for products, shape (F, 2 b, 2 in_chans).

        These are (re, -im) and (im, re): times (re, im) of the weights they are the real and the
        imaginary part of the product.
        """
        spectra = self.fourier(x)
        real, imaginary = spectra.unbind(dim=1)
        turned = torch.stack([-imaginary, real], dim=1)
        return torch.cat([spectra, turned], dim=-1).flatten(1, 2)


class PolarBlock(nn.Module):
    """Mixes all angles, then the channels of each angle; adds to its input."""

    def __init__(self, width: int, bins: int) -> None:
        super().__init__()
        self.mix = SpectralConv(width, width, bins)
        self.norm = nn.BatchNorm1d(width)
        self.expand = nn.Conv1d(width, 2 * width, 1)
        self.reduce = nn.Conv1d(2 * width, width, 1)
        nn.init.zeros_(self.reduce.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, width, bins) of (b, width, bins)."""
        return x + self.reduce(F.gelu(self.expand(self.norm(self.mix(x)))))


class PolarNet(nn.Module):
    """Scores every beam direction at every in-plane angle.

    Args:
        width: channels of the deep branch.
        depth: its blocks.
        bins: in-plane classes; the angles of the input are a multiple of it.
        img_size: radii and angles of the input.
        in_chans: channels of the input.
        num_classes: directions * bins + 2 + extras, the two for vacuum and amorphous material.
        extras: further outputs, the last ones; they do not change when the pattern turns.
    """

    input_kind = "polar"

    def __init__(
        self,
        width: int = 128,
        depth: int = 2,
        bins: int = 72,
        img_size: tuple[int, int] = (48, 144),
        in_chans: int = 1,
        num_classes: int = 722,
        global_pool: str = "",
        extras: int = 0,
    ) -> None:
        super().__init__()
        self.width, self.bins, self.extras = width, bins, extras
        self.global_pool = global_pool
        self.matched_chans = in_chans * img_size[0]
        self.num_features = self.head_hidden_size = width + self.matched_chans
        if bins < 2 or img_size[1] % bins:
            raise ValueError(f"{bins} bins: expected a divisor of the {img_size[1]} angles, from 2")
        self.stride = img_size[1] // bins
        # The outer reflections tell orientations apart best, and are the faintest.
        weight = torch.linspace(0.1, 1.0, img_size[0]).repeat(in_chans)
        self.register_buffer("radial_weight", weight[:, None], persistent=False)
        self.register_buffer("band", _band(img_size[1], bins), persistent=False)
        self.norm = nn.BatchNorm2d(in_chans)
        self.stem = nn.Conv1d(self.matched_chans, width, 9, stride=self.stride)
        self.stem_norm = nn.BatchNorm1d(width)
        self.blocks = nn.Sequential(*(PolarBlock(width, bins) for _ in range(depth)))
        self.head_norm = nn.BatchNorm1d(width)
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the last layers."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layers by new ones of `num_classes`, or by none for 0.

        Raises:
            ValueError: num_classes is not directions * bins + 2 + extras.
        """
        directions, surplus = divmod(num_classes - 2 - self.extras, self.bins)
        if num_classes and (directions < 1 or surplus):
            raise ValueError(
                f"num_classes = {num_classes}: expected directions * {self.bins} + "
                f"{2 + self.extras}"
            )
        self.num_classes = num_classes
        self.head = (
            PolarHead(self.width, self.matched_chans, directions, self.bins, 2 + self.extras)
            if num_classes
            else nn.Identity()
        )

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return deep features and the input beside them, (b, num_features, bins).

        Args:
            x: polar patterns, shape (b, in_chans, radii, angles).
        """
        x = x.to(self.stem.weight.dtype)
        deep = self.norm(x).flatten(1, 2)
        deep = self.stem(F.pad(deep, (4, 4), mode="circular"))
        deep = self.blocks(F.gelu(self.stem_norm(deep)))
        return torch.cat([F.gelu(self.head_norm(deep)), self.normalized(x)], dim=1)

    def normalized(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input as what templates are correlated with, (b, matched_chans, bins).

        Each ring has mean 0, so that missing reflections count as much as extra ones; the whole
        has norm 1; only angular frequencies that the bins can hold are left.
        """
        rings = (self.radial_weight * x.flatten(1, 2)) @ self.band
        return rings / rings.flatten(1).norm(dim=1).clamp(min=1e-6)[:, None, None]

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return logits (b, num_classes); features over all angles with `pre_logits` or no classes.

        Those have shape (b, num_features) and do not change when the pattern turns.
        """
        return x.mean(dim=-1) if pre_logits or not self.num_classes else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (b, num_classes) of polar patterns (b, in_chans, radii, angles).

        They are of single precision, also where the network computes in half.
        """
        return self.forward_head(self.forward_features(x))

    @torch.no_grad()
    def likeliest(self, x: torch.Tensor, count: int, temperature: float = 1.0) -> Likeliest:
        """Return the likeliest directions, as `PolarHead.likeliest` does, of polar patterns."""
        return self.head.likeliest(self.forward_features(x), count, temperature)

    @torch.no_grad()
    def set_templates(self, templates: torch.Tensor) -> None:
        """Make the last layer correlate with templates; training goes on from there.

        Args:
            templates: inputs of each direction at phi1 = 0, shape
                (directions, in_chans, radii, angles).
        """
        matched = self.head.matched
        # A correlation is the product with the complex conjugate, (re, -im).
        spectra = matched.rows(self.normalized(templates))[:, : len(templates)]
        matched.weight.copy_(self.bins**0.5 * spectra.mT.unflatten(1, (2, -1)))


class PolarHead(nn.Module):
    """Logits from deep features and from correlation of the input with learned templates."""

    def __init__(
        self, width: int, matched_chans: int, directions: int, bins: int, others: int
    ) -> None:
        super().__init__()
        self.split = (width, matched_chans)
        self.matched = SpectralConv(matched_chans, directions, bins)
        self.scale = nn.Parameter(torch.tensor(MATCHED_SCALE))
        self.deep = nn.Linear(width, directions, bias=False)
        self.other = nn.Linear(width, others)
        nn.init.zeros_(self.deep.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (b, directions * bins + others) of features (b, width + matched_chans, bins)."""
        spectra, rows, others = self._inputs(x)
        # Without gradients in parts, whose spectra stay in the cache.
        step = self.deep.out_features if torch.is_grad_enabled() else DIRECTIONS_TOGETHER
        weights = zip(
            self.deep.weight.split(step),
            self.matched.weight.flatten(1, 2).split(step, dim=-1),
            strict=True,
        )
        # Both are added up as spectra: one way back, which is half of the work.
        inverse = self.matched.fourier.inverse_single
        scores = [
            inverse(torch.baddbmm(F.linear(spectra, w), rows, filters), x.shape[0])
            for w, filters in weights
        ]
        return torch.cat([*(part.flatten(1) for part in scores), others], dim=1)

    def likeliest(self, x: torch.Tensor, count: int, temperature: float) -> Likeliest:
        """Return the likeliest directions, without gradients.

        They are found, and the others summed up, by the precision of the network; only their own
        logits are single: a fraction of the work.

        Args:
            x: features, as `forward` takes them.
            count: directions returned, or all if there are fewer.
            temperature: logits are divided by it.
        """
        spectra, rows, others = self._inputs(x)
        fourier, batch = self.matched.fourier, x.shape[0]
        spectra = F.linear(spectra, self.deep.weight)
        spectra.baddbmm_(rows, self.matched.weight.flatten(1, 2))
        logits = fourier.inverse(spectra, batch)
        base, rest = likeliest_base(logits, count, temperature)
        of_base = spectra.reshape(len(fourier.back), batch, -1)
        of_base = of_base.gather(2, base.expand(len(fourier.back), -1, -1))
        logits = fourier.inverse_single(of_base, batch)
        return Likeliest.of(logits, base, rest, others, temperature)

    def _inputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what deep and matched weights are multiplied with, and the other outputs."""
        deep, matched = x.split(self.split, dim=1)
        spectra = self.matched.fourier(deep).flatten(1, 2)
        rows = self.matched.rows(self.scale * matched)
        return spectra, rows, self.other(deep.mean(dim=-1)).float()


def _band(angles: int, bins: int) -> torch.Tensor:
    """Return the matrix (angles, bins) that leaves what the bins can hold, but not the mean."""
    spectra = torch.fft.rfft(torch.eye(angles, dtype=torch.float64))[:, : bins // 2 + 1]
    spectra[:, 0] = 0
    return torch.fft.irfft(spectra, bins).float()


def _create(variant: str, pretrained: bool, **kwargs: Any) -> PolarNet:
    return build_model_with_cfg(PolarNet, variant, pretrained, **kwargs)


@register_model
def zoneaxis_polar_small(pretrained: bool = False, **kwargs: Any) -> PolarNet:
    """128 channels and two blocks beside the templates."""
    # A default_cfg tells the number of classes, but not that one of them is a further output.
    shipped = {} if "num_classes" in kwargs else {"extras": 1}
    return _create("zoneaxis_polar_small", pretrained, **{**shipped, **kwargs})


@register_model
def test_zoneaxis_polar(pretrained: bool = False, **kwargs: Any) -> PolarNet:
    """A tiny variant for tests, for input 1 x 16 x 144."""
    settings = {"width": 16, "depth": 1, "img_size": (16, 144)}
    return _create("test_zoneaxis_polar", pretrained, **{**settings, **kwargs})
