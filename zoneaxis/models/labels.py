"""OrientationLabels: what a network's class numbers mean.

A class is a beam direction and an in-plane bin, numbered direction * bins + bin; two classes of
their own follow, vacuum and amorphous. Class (d, b) is the orientation G_d Z(b step) with G_d the
matrix of (0, Phi_d, phi2_d).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from zoneaxis.dataset_builder.transforms import AMORPHOUS, CRYSTAL, VACUUM
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import sample_directions
from zoneaxis.diffraction.orientations import (
    matrices_from_euler,
    mean_orientation,
    misorientation_deg,
)

__all__ = ["AMORPHOUS", "CRYSTAL", "VACUUM", "OrientationLabels"]


@dataclass(frozen=True, eq=False)
class OrientationLabels:
    """The table of classes of one crystal.

    Attributes:
        crystal: its proper symmetry makes orientations equal.
        directions_deg: (Phi, phi2) of each direction class, shape (d, 2).
        bins: in-plane bins over 360 degrees.
    """

    crystal: Crystal
    directions_deg: np.ndarray
    bins: int

    @classmethod
    def equispaced(cls, crystal: Crystal, step_deg: float, bins: int) -> "OrientationLabels":
        """Return labels whose directions are `step_deg` apart."""
        return cls(crystal, sample_directions(crystal, step_deg), bins)

    @property
    def n_orientations(self) -> int:
        """Number of orientation classes."""
        return len(self.directions_deg) * self.bins

    @property
    def n_classes(self) -> int:
        """Number of all classes, vacuum and amorphous last."""
        return self.n_orientations + 2

    @cached_property
    def matrices(self) -> torch.Tensor:
        """G of each direction class at phi1 = 0, float32, shape (d, 3, 3)."""
        euler = np.insert(self.directions_deg, 0, 0.0, axis=1)
        return torch.from_numpy(matrices_from_euler(euler)).float()

    @cached_property
    def operators(self) -> torch.Tensor:
        """Proper symmetry operators of the crystal, float32, shape (s, 3, 3)."""
        return torch.from_numpy(self.crystal.proper_operators).float()

    def class_matrices(self, classes: torch.Tensor) -> torch.Tensor:
        """Return G of orientation classes, shape (..., 3, 3)."""
        angle = (classes % self.bins) * (2 * torch.pi / self.bins)
        return self.matrices[classes // self.bins] @ _about_z(angle)

    def nearest_directions(
        self, matrices: torch.Tensor, count: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the direction classes nearest to orientations, each at its best in-plane angle.

        The rotation between G and S G_d Z(b) has the trace A cos(b - b0) + N_33 with
        N = G^T S G_d, so that the best angle b0 needs no search.

        Args:
            matrices: G, shape (n, 3, 3).
            count: pairs of direction class and operator S that are kept.

        Returns:
            Direction classes, b0 in radians, A and N_33, each of shape (n, count).
        """
        equivalent = (self.operators[:, None] @ self.matrices).flatten(0, 1)
        n = torch.einsum("nji,cjk->ncik", matrices, equivalent)
        cos, sin, along = n[..., 0, 0] + n[..., 1, 1], n[..., 1, 0] - n[..., 0, 1], n[..., 2, 2]
        amplitude = torch.hypot(cos, sin)
        best = (amplitude + along).topk(min(count, len(equivalent)), dim=1).indices
        angle = torch.atan2(sin.gather(1, best), cos.gather(1, best))
        return best % len(self.matrices), angle, amplitude.gather(1, best), along.gather(1, best)

    def soft_targets(
        self, matrices: torch.Tensor, sigma_deg: float, nearest: int = 12
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the classes near given orientations and how much each is meant.

        Args:
            matrices: G, shape (n, 3, 3).
            sigma_deg: the weight falls with misorientation as a Gaussian of this width.
            nearest: pairs of direction class and operator that are kept.

        Returns:
            Class numbers and weights that sum to 1, both of shape (n, 5 nearest).
        """
        directions, angle, amplitude, along = (
            t[..., None] for t in self.nearest_directions(matrices, nearest)
        )
        step = 2 * torch.pi / self.bins
        bins = (angle / step).round() + torch.arange(-2, 3)
        trace = amplitude * (bins * step - angle).cos() + along
        distance = torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).acos())
        weights = torch.softmax((-0.5 * (distance / sigma_deg) ** 2).flatten(1), dim=1)
        classes = directions * self.bins + bins.long() % self.bins
        return classes.flatten(1), weights

    @torch.no_grad()
    def n_best(
        self, logits: torch.Tensor, n_best: int = 5, radius_deg: float = 6.0, considered: int = 128
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Merge neighboring and equivalent classes into the n best orientations.

        The likeliest class takes all within `radius_deg` of it; their probabilities add up and
        their mean is the orientation, finer than the classes are. Then the next. In the end the
        clusters are sorted, for many likely classes outweigh the likeliest one.

        Args:
            logits: shape (n, n_classes).
            n_best: k, orientations returned.
            radius_deg: of a cluster; the likeliest classes of two are at least this far apart.
            considered: how many of the likeliest classes are looked at.

        Returns:
            Matrices G (n, k, 3, 3); probabilities (n, k); those of vacuum and amorphous (n, 2),
            taken out of the same softmax. Where fewer than k were found, the first is repeated
            with probability 0.
        """
        logits = logits.float()
        # Row by row, the exponentials stay in the cache: a third of the time.
        norm = torch.cat([row.logsumexp(dim=1, keepdim=True) for row in logits.split(1)])
        likeliest, classes = self._likeliest(logits, considered)
        g = self.class_matrices(classes).double().numpy()
        left = (likeliest - norm).exp().numpy()
        means, masses = [], []
        for _ in range(n_best):
            seed = g[np.arange(len(g)), left.argmax(axis=1)]
            near = misorientation_deg(g, seed[:, None], self.crystal.proper_operators) < radius_deg
            member = np.where(near, left, 0)
            means.append(mean_orientation(g, member, seed, self.crystal.proper_operators))
            masses.append(member.sum(axis=1))
            left = np.where(near, 0, left)
        mass = torch.from_numpy(np.stack(masses, axis=1))
        mass, order = mass.sort(dim=1, descending=True, stable=True)
        mean = torch.from_numpy(np.stack(means, axis=1)).float()
        mean = mean.take_along_dim(order[..., None, None], dim=1)
        mean = torch.where(mass[..., None, None] > 0, mean, mean[:, :1])
        return mean, mass, (logits[:, self.n_orientations :] - norm).exp()

    def _likeliest(self, logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the greatest logits of orientation classes and those classes, (n, count)."""
        by_direction = logits[:, : self.n_orientations].unflatten(1, (-1, self.bins))
        # As many directions as classes hold them all, and are fewer to sort.
        directions = by_direction.amax(dim=2).topk(min(count, len(self.directions_deg)), dim=1)[1]
        rows = torch.arange(len(logits))[:, None]
        chosen = by_direction[rows, directions].flatten(1)
        values, place = chosen.topk(min(count, chosen.shape[1]), dim=1)
        return values, (directions.gather(1, place // self.bins) * self.bins + place % self.bins)


def _about_z(angle: torch.Tensor) -> torch.Tensor:
    """Return Z(angle), shape (..., 3, 3)."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = [[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
