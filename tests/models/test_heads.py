import pytest
import torch
from torch import nn

from zoneaxis.models.heads import HEADS, create_head

HIDDEN, DIRECTIONS, BINS, EXTRAS = 8, 5, 6, 3
CLASSES = DIRECTIONS * BINS + 2 + EXTRAS


@pytest.fixture(scope="module")
def hidden() -> torch.Tensor:
    return torch.randn(4, HIDDEN, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=HEADS)
def head(request) -> nn.Module:
    torch.manual_seed(0)
    return create_head(request.param, HIDDEN, CLASSES, BINS, EXTRAS)


def test_shape(head, hidden):
    before = hidden.clone()
    assert head(hidden).shape == (4, CLASSES)
    assert torch.equal(hidden, before)


@pytest.mark.parametrize(("kind", "nodes"), [("flat", CLASSES), ("factored", 5 + 6 + 2 + 3)])
def test_weights(kind, nodes):
    head = create_head(kind, HIDDEN, CLASSES, BINS, EXTRAS)
    assert sum(p.numel() for p in head.parameters()) == nodes * (HIDDEN + 1)


def test_factored_probability_is_a_product(hidden):
    """Among the orientations, p(direction, bin) = p(direction) p(bin), in the order of labels."""
    head = create_head("factored", HIDDEN, CLASSES, BINS, EXTRAS)
    nodes = nn.functional.linear(hidden, head.weight, head.bias)
    joint = head(hidden)[:, : DIRECTIONS * BINS].softmax(dim=1)
    direction = nodes[:, :DIRECTIONS].softmax(dim=1)
    bins = nodes[:, DIRECTIONS : DIRECTIONS + BINS].softmax(dim=1)
    for number in (0, BINS - 1, BINS, 4 * BINS + 3):
        expected = direction[:, number // BINS] * bins[:, number % BINS]
        torch.testing.assert_close(joint[:, number], expected)
    assert torch.equal(head(hidden)[:, DIRECTIONS * BINS :], nodes[:, DIRECTIONS + BINS :])


def test_factored_head_learns_direction_and_bin(hidden):
    """One sample of (direction 1, bin 4) teaches bin 4 to the other directions, too."""
    head = create_head("factored", HIDDEN, CLASSES, BINS, EXTRAS)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    target = torch.full((4,), 1 * BINS + 4)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(hidden)[:, :-EXTRAS], target).backward()
        optimizer.step()
    joint = head(hidden)[:, : DIRECTIONS * BINS].view(4, DIRECTIONS, BINS)
    assert (joint.flatten(1).argmax(dim=1) == target).all()
    assert (joint.argmax(dim=2) == 4).all()


def test_no_classes(hidden):
    assert torch.equal(create_head("factored", HIDDEN, 0, BINS)(hidden), hidden)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(
    ("classes", "bins", "extras"),
    [
        (2, 1, 0),
        (1, 1, 0),
        (5 * 6 + 1, 6, 0),
        (5 * 6 + 2, 6, 1),
        (12, 0, 0),
        (12, 1, -1),
        (-4, 6, 0),
    ],
)
def test_numbers_that_do_not_fit(kind, classes, bins, extras):
    with pytest.raises(
        ValueError, match=rf"num_classes = {classes}: expected directions \* {bins}"
    ):
        create_head(kind, HIDDEN, classes, bins, extras)


def test_unknown_head():
    with pytest.raises(ValueError, match="'round': choose one of flat, factored"):
        create_head("round", HIDDEN, CLASSES, BINS)
