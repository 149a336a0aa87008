"""OrientationLabels: what a network's class numbers mean.

A class is a base orientation and an in-plane bin, numbered base * bins + bin; two classes of their
own follow, vacuum and amorphous. Class (d, b) is the orientation G_d Z(b step) with G_d the matrix
of the base's Bunge angles. With one bin, each class has Bunge angles of its own.

Orientations are compared as unit quaternions (x, y, z, w) of G: cos of half the misorientation is
their product, which single precision and no matrix unit of a GPU can spoil.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from zoneaxis.dataset_builder.plan import plan_of
from zoneaxis.dataset_builder.recipe import Recipe
from zoneaxis.dataset_builder.recipe_base import PatternRecipe
from zoneaxis.dataset_builder.transforms import AMORPHOUS, CRYSTAL, VACUUM
from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.diffraction.directions import sample_directions
from zoneaxis.diffraction.orientations import matrices_from_euler
from zoneaxis.errors import SettingsError
from zoneaxis.models.likeliest import Likeliest, likeliest
from zoneaxis.models.quaternions import conjugate, matrices_of, product, quaternions_of

__all__ = ["AMORPHOUS", "CRYSTAL", "VACUUM", "OrientationLabels"]

COMPARED_TOGETHER = 2**20  # pairs of orientations; bounds the memory
CONSIDERED = 128  # of the likeliest classes
SAME = 1e-6  # cosines of half an angle that count as one: all of single precision, 0.2 degrees at 0


@dataclass(frozen=True, eq=False)
class OrientationLabels:
    """The table of classes of one crystal.

    Attributes:
        crystal: its proper symmetry makes orientations equal.
        euler_deg: (phi1, Phi, phi2) of each base class in its bin 0, float64, shape (d, 3).
        bins: in-plane bins over 360 degrees; 1 where the table itself has all in-plane angles.
    """

    crystal: Crystal
    euler_deg: np.ndarray
    bins: int = 1

    def __post_init__(self) -> None:
        if self.euler_deg.ndim != 2 or self.euler_deg.shape[1] != 3 or not len(self.euler_deg):
            raise SettingsError(
                f"Labels of shape {self.euler_deg.shape}: expected Bunge angles (d, 3), d >= 1."
            )
        if self.bins < 1:
            raise SettingsError(f"bins = {self.bins}: expected at least 1.")

    @classmethod
    def equispaced(cls, crystal: Crystal, step_deg: float, bins: int) -> "OrientationLabels":
        """Return labels whose directions are `step_deg` apart."""
        return cls(crystal, np.insert(sample_directions(crystal, step_deg), 0, 0.0, axis=1), bins)

    @classmethod
    def of_recipe(cls, recipe: PatternRecipe) -> "OrientationLabels":
        """Return exactly the classes of a simulated data set's config "classes", numbered alike.

        Raises:
            SettingsError: the data set is of a measured scan, which lists no classes.
        """
        if not isinstance(recipe, Recipe):
            raise SettingsError("A data set of a scan has no classes: give a label step instead.")
        plan = plan_of(recipe.to_json())
        euler = plan.orientations_deg.copy()
        crystal = Crystal.from_dict(recipe.crystal)
        if recipe.scheme == "so3":
            return cls(crystal, euler)
        phi1 = plan.class_grid(recipe)[1]
        euler[:, 0] = 0
        if np.allclose(phi1, np.arange(len(phi1)) * (360 / len(phi1))):
            return cls(crystal, euler, len(phi1))
        # Steps that do not divide the turn end in a narrower one: no bins of one width.
        euler = euler.repeat(len(phi1), axis=0)
        euler[:, 0] = np.tile(phi1, len(plan.orientations_deg))
        return cls(crystal, euler)

    @property
    def directions_deg(self) -> np.ndarray:
        """(Phi, phi2) of each base class, shape (d, 2)."""
        return self.euler_deg[:, 1:]

    @property
    def n_orientations(self) -> int:
        """Number of orientation classes."""
        return len(self.euler_deg) * self.bins

    @property
    def n_classes(self) -> int:
        """Number of all classes, vacuum and amorphous last."""
        return self.n_orientations + 2

    @cached_property
    def _quaternions(self) -> torch.Tensor:
        """Of each base class, float32, shape (d, 4)."""
        return quaternions_of(torch.from_numpy(matrices_from_euler(self.euler_deg))).float()

    @cached_property
    def _operators(self) -> torch.Tensor:
        """Of the crystal's proper symmetry operators, float32, shape (s, 4)."""
        return quaternions_of(torch.from_numpy(self.crystal.proper_operators)).float()

    def class_matrices(self, classes: torch.Tensor) -> torch.Tensor:
        """Return G of orientation classes, shape (..., 3, 3), on their device."""
        return matrices_of(self._class_quaternions(classes))

    def _class_quaternions(self, classes: torch.Tensor) -> torch.Tensor:
        half = (classes % self.bins) * (torch.pi / self.bins)
        zero = torch.zeros_like(half)
        about_z = torch.stack([zero, zero, -half.sin(), half.cos()], dim=-1)
        return product(self._quaternions.to(classes.device)[classes // self.bins], about_z)

    def _compared(
        self, quaternions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compare orientations with the best in-plane bin of each base class.

        With (x, y, z, w) the quaternion of (S G_d)^T G, that of (S G_d Z(b))^T G has the real part
        w cos(b/2) - z sin(b/2) = r cos((b - b0) / 2): the best bin needs no search.

        Args:
            quaternions: shape (n, 4).

        Returns:
            r, b0 in steps and the best bin, a whole number of any size; for each operator S and
            base class, shape (n, s, d).
        """
        x, y, z, w = self._quaternions.to(quaternions.device).T
        inverse = conjugate(self._operators.to(quaternions.device))
        a, b, c, d = product(inverse, quaternions[:, None])[..., None].unbind(dim=-2)
        real = w * d + x * a + y * b + z * c
        along = w * c - x * b + y * a - z * d
        angle = torch.atan2(-along, real) * (self.bins / torch.pi)
        return torch.hypot(real, along), angle, angle.round()

    def _cosine(self, r: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Return cos of half the misorientation at in-plane angles of (b - b0) / step."""
        return (r * (steps * (torch.pi / self.bins)).cos()).abs()

    def _parts(self, matrices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pairs = len(self.euler_deg) * len(self._operators)
        return quaternions_of(matrices).split(max(1, COMPARED_TOGETHER // pairs))

    def nearest_class(self, matrices: torch.Tensor) -> torch.Tensor:
        """Return the class of the smallest misorientation, the first of equal ones.

        Args:
            matrices: G, shape (n, 3, 3).

        Returns:
            Class numbers, int64, shape (n,), on the device of `matrices`.
        """
        found = []
        for part in self._parts(matrices):
            r, angle, best = self._compared(part)
            cosine = self._cosine(r, best - angle)
            base = torch.arange(len(self.euler_deg), device=part.device)
            number = base * self.bins + best.long() % self.bins
            near = cosine >= cosine.amax(dim=(1, 2), keepdim=True) - SAME
            found.append(number.masked_fill(~near, self.n_orientations).amin(dim=(1, 2)))
        return torch.cat(found)

    def soft_targets(
        self, matrices: torch.Tensor, sigma_deg: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the classes near given orientations and how much each is meant.

        Args:
            matrices: G, shape (n, 3, 3).
            sigma_deg: the weight falls with misorientation as a Gaussian of this width; 0 for the
                nearest class alone.

        Returns:
            Class numbers and weights that sum to 1, on the device of `matrices`, both of shape
            (n, m): m is 1 for sigma 0, or about what lies within 3 sigma.
        """
        if not sigma_deg:
            classes = self.nearest_class(matrices)[:, None]
            return classes, torch.ones(classes.shape, device=classes.device)
        count, reach = self._within(3 * math.radians(sigma_deg))
        parts = [self._near(part, count, reach) for part in self._parts(matrices)]
        classes, cosine = (torch.cat(column) for column in zip(*parts, strict=True))
        distance = torch.rad2deg(2 * cosine.clamp(max=1).acos())
        return classes, torch.softmax(-0.5 * (distance / sigma_deg) ** 2, dim=1)

    def _within(self, angle: float) -> tuple[int, int]:
        """Return how many pairs of base class and operator, and bins of each, lie so near."""
        # Shares of the sphere and of all rotations; neither is filled quite evenly.
        turn = angle - math.sin(angle) if self.bins == 1 else math.pi * (1 - math.cos(angle)) / 2
        pairs = len(self.euler_deg) * len(self._operators)
        bins = 2 * math.ceil(angle / (2 * math.pi / self.bins)) + 1
        return max(12, math.ceil(pairs * turn / math.pi)), min(self.bins, max(5, bins))

    def _near(
        self, quaternions: torch.Tensor, count: int, reach: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return classes near orientations and cosines of half the misorientation, (n, m)."""
        r, angle, best = (t.flatten(1) for t in self._compared(quaternions))
        nearest = self._cosine(r, best - angle).topk(min(count, r.shape[1]), dim=1).indices
        r, angle, best = (t.gather(1, nearest)[..., None] for t in (r, angle, best))
        bins = best + torch.arange(reach, device=best.device) - reach // 2
        base = nearest[..., None] % len(self.euler_deg)
        classes = base * self.bins + bins.long() % self.bins
        return classes.flatten(1), self._cosine(r, bins - angle).flatten(1)

    def n_best(
        self,
        logits: torch.Tensor,
        n_best: int = 5,
        radius_deg: float = 6.0,
        considered: int = CONSIDERED,
        temperature: float = 1.0,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Merge neighboring and equivalent classes into the n best orientations; see `merged`.

        Args:
            logits: shape (n, n_classes), on any device.
            n_best: k, orientations returned.
            radius_deg: of a cluster.
            considered: how many of the likeliest classes are looked at.
            temperature: logits are divided by it, which takes no time here.
        """
        # As many base classes as classes hold them all.
        found = likeliest(logits, self.bins, len(self.euler_deg), considered, temperature)
        return self.merged(found, n_best, radius_deg, considered)

    @torch.no_grad()
    def merged(
        self,
        found: Likeliest,
        n_best: int = 5,
        radius_deg: float = 6.0,
        considered: int = CONSIDERED,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Merge neighboring and equivalent classes into the n best orientations.

        The likeliest class takes all within `radius_deg` of it; their probabilities add up and
        their mean is the orientation, finer than the classes are. Then the next. In the end the
        clusters are sorted, for many likely classes outweigh the likeliest one.

        Args:
            found: the likeliest classes of n patterns.
            n_best: k, orientations returned.
            radius_deg: of a cluster; the likeliest classes of two are at least this far apart.
            considered: how many of the likeliest classes are looked at.

        Returns:
            Matrices G (n, k, 3, 3); probabilities (n, k); those of vacuum and amorphous (n, 2),
            taken out of the same softmax; all on the CPU. Where fewer than k were found, the
            first is repeated with probability 0.
        """
        classes, left, other = found.classes(considered)
        quaternions = self._class_quaternions(classes)
        means, masses = [], []
        for _ in range(n_best):
            mean, member = self._cluster(quaternions, left, radius_deg)
            means.append(mean)
            masses.append(member.sum(dim=1))
            left = left - member
        mass, order = torch.stack(masses, dim=1).sort(dim=1, descending=True, stable=True)
        mean = torch.stack(means, dim=1).take_along_dim(order[..., None], dim=1)
        mean = torch.where(mass[..., None] > 0, mean, mean[:, :1])
        return matrices_of(mean).cpu(), mass.cpu(), other.cpu()

    def _cluster(
        self, quaternions: torch.Tensor, left: torch.Tensor, radius_deg: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean (n, 4) of what lies round the likeliest class, and its members (n, c).

        Members have their probability, all others 0. A member counts as the equivalent that is
        nearest to the likeliest class.
        """
        rows = torch.arange(len(left), device=left.device)
        seed = quaternions[rows, left.argmax(dim=1)]
        operators = self._operators.to(left.device)
        parts = quaternions[:, None].unbind(dim=3)
        equivalents = product(operators, seed[:, None])[..., None].unbind(dim=2)
        # cos of half the angle from each equivalent of the seed, (n, s, c).
        cosine = sum(a * b for a, b in zip(equivalents, parts, strict=True))
        nearest = cosine.abs().amax(dim=1, keepdim=True)
        member = torch.where(nearest[:, 0] > math.cos(math.radians(radius_deg / 2)), left, 0)
        weight = torch.where(cosine.abs() == nearest, cosine.sign() * member[:, None], 0)
        added = torch.stack([(weight * part).sum(dim=2) for part in parts], dim=2)
        mean = product(conjugate(operators), added).sum(dim=1)
        return mean / mean.norm(dim=1, keepdim=True).clamp(min=1e-30), member
