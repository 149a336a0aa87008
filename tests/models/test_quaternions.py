import numpy as np
import torch
from scipy.spatial.transform import Rotation

from zoneaxis.models.quaternions import conjugate, matrices_of, product, quaternions_of

RANDOM = Rotation.random(64, random_state=0)
HALF_TURNS = Rotation.from_rotvec(np.pi * np.eye(3))
ROTATIONS = Rotation.concatenate([RANDOM, HALF_TURNS, Rotation.identity(1)])
MATRICES = torch.from_numpy(ROTATIONS.as_matrix())


def up_to_sign(made: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.abs((made.numpy() * expected).sum(axis=-1)), 1, atol=1e-12)


def test_quaternions_are_those_of_scipy():
    made = quaternions_of(MATRICES)
    up_to_sign(made, ROTATIONS.as_quat())
    torch.testing.assert_close(matrices_of(made), MATRICES)
    torch.testing.assert_close(matrices_of(-made), MATRICES)


def test_single_precision_is_kept():
    made = matrices_of(quaternions_of(MATRICES.float()))
    torch.testing.assert_close(made.double(), MATRICES, atol=1e-6, rtol=0)


def test_products_and_inverses():
    first, second = quaternions_of(MATRICES), quaternions_of(MATRICES.flip(0))
    up_to_sign(product(first, second), (ROTATIONS * ROTATIONS[::-1]).as_quat())
    up_to_sign(conjugate(first), ROTATIONS.inv().as_quat())
    assert product(first[:, None], second).shape == (68, 68, 4)
