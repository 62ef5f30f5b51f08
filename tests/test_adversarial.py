"""The gradient of the loss for the pixels, against autograd by hand, and what images that follow it do to a model."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from underhood.core.images import Dataset
from underhood.scratch.adversarial import fgsm, image_gradient, step_pixels


@pytest.fixture(scope="module")
def images(digits: Dataset) -> tuple[Tensor, Tensor]:
    """Pixels from 0 to 1 and labels of scikit-learn's digits."""
    return torch.from_numpy(digits.train.pixels).float() / 255, torch.from_numpy(digits.train.labels)


@pytest.fixture(scope="module")
def model(images: tuple[Tensor, Tensor]) -> nn.Module:
    """A network with one hidden layer that has learned the digits."""
    x, y = images
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    for _ in range(60):
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    return net


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return (model(x).argmax(1) == y).double().mean().item()


def test_the_gradient_of_a_linear_model_is_prediction_minus_truth_times_the_weights() -> None:
    torch.manual_seed(1)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).double()
    x, y = torch.rand(5, 1, 3, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])
    by_hand = (linear(x).softmax(1) - F.one_hot(y, 3)) @ linear[1].weight / len(x)
    assert torch.allclose(image_gradient(linear, x, y), by_hand.view_as(x), atol=1e-12)


def test_one_step_is_the_sign_of_what_backward_leaves_in_grad(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = (part[:20] for part in images)
    pixels = x.clone().requires_grad_()
    F.cross_entropy(model(pixels), y).backward()
    expected = np.clip(x.numpy() + 0.1 * np.sign(pixels.grad.numpy()), 0, 1)
    model.zero_grad()
    assert np.allclose(fgsm(model, x, y, 0.1).numpy(), expected, atol=1e-7)


def test_images_and_parameters_stay_as_they_are(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = (part[:20].clone() for part in images)
    before = [parameter.clone() for parameter in model.parameters()]
    for changed in (fgsm(model, x, y, 0.1), step_pixels(model, x, y, 0.1)):
        assert not changed.requires_grad
    assert torch.equal(x, images[0][:20])
    assert not x.requires_grad
    for parameter, kept in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, kept)
        assert parameter.grad is None


@pytest.mark.parametrize("attack", [fgsm, step_pixels])
def test_pixels_move_by_at_most_eps_and_stay_between_paper_and_ink(
    attack: object, model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    changed = attack(model, x, y, 0.15)  # type: ignore[operator]
    assert (changed - x).abs().max() <= 0.15 + 1e-6
    assert 0 <= changed.min() <= changed.max() <= 1
    assert torch.equal(attack(model, x, y, 0.0), x)  # type: ignore[operator]


def test_a_step_lowers_accuracy_noise_of_the_same_size_hardly_does_and_more_steps_lower_it_further(
    model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    torch.manual_seed(0)
    noise = (x + 0.15 * torch.randn_like(x).sign()).clamp(0, 1)
    clean, noisy = accuracy(model, x, y), accuracy(model, noise, y)
    one, ten = (accuracy(model, attack(model, x, y, 0.15), y) for attack in (fgsm, step_pixels))
    assert clean > 0.95
    assert noisy > clean - 0.05
    assert ten <= one < clean / 2


def test_downhill_it_becomes_what_was_asked_for(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    sevens = x[y == 7]
    threes = torch.full((len(sevens),), 3)
    changed = step_pixels(model, sevens, threes, 0.3, way=-1)
    assert accuracy(model, sevens, threes) < 0.05
    assert accuracy(model, changed, threes) > 0.9
