"""Chapter 4's functions, against torch and against the package's own loop."""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from underhood.core import losses
from underhood.core.learner import Learner
from underhood.core.loader import DataLoader, DataLoaders
from underhood.scratch import sgd


@pytest.fixture
def dls():
    """Two classes of 8 × 8 images that are almost linearly separable, in batches of 16 with a short last one."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(100, 64, generator=rng)
    y = (x[:, :32].sum(1) > x[:, 32:].sum(1)).long().unsqueeze(1)
    return DataLoaders(DataLoader((x[:70], y[:70]), 16), DataLoader((x[70:], y[70:]), 16))


def test_distance_is_symmetric_and_zero_between_equal_images():
    a, b = torch.rand(5, 28, 28), torch.rand(28, 28)
    assert sgd.mnist_distance(a, a).eq(0).all()
    assert torch.equal(sgd.mnist_distance(a, b), sgd.mnist_distance(b, a))
    assert sgd.mnist_distance(a, b).shape == (5,)
    assert torch.allclose(sgd.mnist_distance(a[0], b), nn.functional.l1_loss(a[0], b))


def test_an_image_is_a_3_when_the_ideal_3_is_nearer():
    three, seven = torch.zeros(28, 28), torch.ones(28, 28)
    assert sgd.is_3(torch.stack([three + 0.1, seven - 0.1]), three, seven).tolist() == [True, False]


def test_pr_eight_adds_up_each_pixel_times_its_weight():
    x, w = torch.tensor([[0.0, 1.0], [0.5, 0.25]]), torch.tensor([[2.0, -1.0], [4.0, 8.0]])
    assert sgd.pr_eight(x, w).item() == 0 * 2 + 1 * -1 + 0.5 * 4 + 0.25 * 8
    assert torch.equal(sgd.pr_eight(x.flatten(), w.flatten()), sgd.pr_eight(x, w))
    assert sgd.pr_eight(torch.zeros(28, 28), torch.rand(28, 28)) == 0


def test_trying_each_weight_finds_the_directions_and_costs_two_losses_each():
    goal, start = torch.tensor([[0.5, -1.0, 0.0], [2.0, -0.25, 0.0]]), torch.zeros(2, 3)
    losses = []

    def loss_of(weights):
        losses.append((weights - goal).abs().sum())
        return losses[-1]

    assert sgd.try_each(loss_of, start, 0.1).tolist() == [[1, -1, 0], [1, -1, 0]]
    assert len(losses) == 2 * start.numel()
    assert not start.any()


@given(st.floats(-1e3, 1e3))
def test_the_slope_is_autograds_gradient(x):
    place = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    sgd.quadratic(place).backward()
    assert place.grad == sgd.slope(place)


@pytest.mark.parametrize(
    ("lr", "what"),
    [(0.01, "slow"), (0.1, "converges"), (0.9, "oscillates"), (1.0, "never converges"), (1.1, "diverges")],
)
def test_a_learning_rate_may_be_too_low_right_or_too_high(lr, what):
    places = sgd.descend(-1.5, lr, 20)
    assert len(places) == 21
    assert places[0] == -1.5
    bounces = all(a * b < 0 for a, b in itertools.pairwise(places))
    distance = abs(places[-1])
    expected = {
        "slow": not bounces and 0.9 < distance < 1.5,
        "converges": not bounces and distance < 0.02,
        "oscillates": bounces and distance < 0.02,
        "never converges": bounces and distance == 1.5,
        "diverges": bounces and distance > 50,
    }
    assert expected[what]


def test_descending_follows_the_slope():
    places = sgd.descend(3.0, 0.1, 5)
    for here, there in itertools.pairwise(places):
        assert there == pytest.approx(here - 0.1 * sgd.slope(torch.tensor(here, dtype=torch.float64)).item())


def test_apply_step_returns_the_loss_before_the_step_and_lowers_it():
    time = torch.arange(20.0)
    speed = 0.75 * (time - 9.5) ** 2 + 1
    params = torch.zeros(3, requires_grad=True)
    losses = [sgd.apply_step(time, speed, params) for _ in range(4)]
    assert losses[0] == pytest.approx(sgd.mse(torch.zeros(20), speed).item())
    assert losses == sorted(losses, reverse=True)
    assert params.grad is None


def test_the_scratch_losses_and_metrics_equal_those_of_core():
    preds, targets = torch.randn(50, 1), torch.randint(2, (50, 1))
    assert torch.allclose(sgd.mnist_loss(preds, targets), losses.mnist_loss(preds, targets))
    assert torch.allclose(sgd.sigmoid(preds), preds.sigmoid())
    assert sgd.batch_accuracy(preds, targets).item() == pytest.approx(losses.batch_accuracy(preds, targets).item())
    assert torch.allclose(sgd.mse(preds, targets), losses.mse(preds, targets.float()))


def test_linear1_equals_nn_linear_with_the_same_weights():
    module = nn.Linear(64, 1)
    x = torch.rand(30, 64)
    assert torch.allclose(sgd.linear1(x, module.weight.T, module.bias), module(x), atol=1e-6)


def test_simple_net_equals_nn_sequential_with_the_same_weights():
    module = nn.Sequential(nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 1))
    w1, b1, w2, b2 = module.parameters()
    x = torch.rand(30, 64)
    assert torch.allclose(sgd.simple_net(x, w1.T, b1, w2.T, b2), module(x), atol=1e-6)


def test_init_params_has_the_requested_std_and_requires_grad():
    params = sgd.init_params((1000, 10), std=0.1)
    assert params.requires_grad
    assert params.std().item() == pytest.approx(0.1, rel=0.05)


def test_calc_grad_adds_to_the_gradient():
    weights, bias = sgd.init_params((64, 1)), sgd.init_params(1)
    model = partial(sgd.linear1, weights=weights, bias=bias)
    x, y = torch.rand(4, 64), torch.tensor([[1], [0], [1], [0]])
    sgd.calc_grad(x, y, model)
    once = weights.grad.clone()
    sgd.calc_grad(x, y, model)
    assert torch.allclose(weights.grad, 2 * once)


@pytest.mark.parametrize("lr", [1.0, 0.5, 0.1])
def test_basic_optim_steps_like_torchs_sgd(dls, lr):
    """Bit for bit where lr · gradient is exact, at powers of two. At 0.1 torch multiplies and subtracts with one
    rounding (a fused operation) and BasicOptim with two, so that they differ in float32's last digit."""
    weights = []
    for optimizer in (sgd.BasicOptim, torch.optim.SGD):
        torch.manual_seed(1)
        model = nn.Linear(64, 1)
        sgd.train_model(
            model, dls.train, optimizer(model.parameters(), lr=lr), 20, partial(sgd.validate_epoch, valid_dl=dls.valid)
        )
        weights.append(model.weight.detach().clone())
    mine, torchs = weights
    if lr in (1.0, 0.5):
        assert torch.equal(mine, torchs)
    else:
        assert not torch.equal(mine, torchs)
        assert torch.allclose(mine, torchs, rtol=0, atol=1e-5)


def test_train_epoch_and_train_model_reach_the_same_weights(dls):
    weights = torch.randn(64, 1)
    reached = []
    for by_hand in (True, False):
        w, b = weights.clone().requires_grad_(), torch.zeros(1, requires_grad=True)
        model = partial(sgd.linear1, weights=w, bias=b)
        validate = partial(sgd.validate_epoch, valid_dl=dls.valid)
        if by_hand:
            for _ in range(5):
                sgd.train_epoch(model, dls.train, 0.5, [w, b])
        else:
            sgd.train_model(model, dls.train, sgd.BasicOptim([w, b], 0.5), 5, validate)
        reached.append(w.detach())
    assert torch.equal(*reached)


def test_train_model_and_learner_fit_reach_the_same_weights(dls, capsys):
    torch.manual_seed(2)
    chapters, packages = nn.Linear(64, 1), nn.Linear(64, 1)
    packages.load_state_dict(chapters.state_dict())
    validate = partial(sgd.validate_epoch, valid_dl=dls.valid)
    reached = sgd.train_model(chapters, dls.train, torch.optim.SGD(chapters.parameters(), lr=1.0), 10, validate)
    learn = Learner(dls, packages, losses.mnist_loss, torch.optim.SGD, losses.batch_accuracy)
    learn.fit(10, 1.0)
    assert torch.allclose(chapters.weight, packages.weight, rtol=0, atol=1e-6)
    assert learn.recorder.losses[-1] < learn.recorder.losses[0] / 2
    assert len(reached) == 10
    assert "batch_accuracy" in capsys.readouterr().out


def test_validate_epoch_is_the_mean_of_batch_means():
    """The short batch counts as much as the full one, which is why the chapter's figure is not Learner's."""
    x = torch.tensor([[1.0], [1.0], [1.0], [-1.0]])
    y = torch.ones(4, 1)
    assert sgd.validate_epoch(lambda xb: xb, DataLoader((x, y), 3)) == 0.5


def test_the_exercises_of_the_questionnaire():
    assert sgd.odd_doubled([1, 2, 3, 4, 5]) == [2, 6, 10]
    assert sgd.doubled_corner().tolist() == [[10, 12], [16, 18]]
    assert sgd.pairs([1, 2, 3, 4], "abcd") == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert sgd.relu(torch.arange(-2, 3)).tolist() == [0, 0, 0, 1, 2]
    with pytest.raises(ValueError, match="zip"):
        sgd.pairs([1, 2], "a")
