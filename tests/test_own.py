"""The small library that lesson 11 builds, against torch's modules, torch's optimizer and the package's Learner."""

import pytest
import torch
from torch import nn

import underhood
from underhood import DataLoader, DataLoaders
from underhood.scratch import own, sgd


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=1e-6)


def pair(seed: int = 0) -> tuple[own.Sequential, nn.Sequential]:
    """The same network of our modules and of torch's, drawn with the same seed."""
    torch.manual_seed(seed)
    mine = own.Sequential(own.Linear(64, 30), own.ReLU(), own.Linear(30, 1))
    torch.manual_seed(seed)
    return mine, nn.Sequential(nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 1))


@pytest.fixture
def dls():
    """Two classes of 8 × 8 images, in batches of 16 with a short last one."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(100, 64, generator=rng)
    y = (x[:, :32].sum(1) > x[:, 32:].sum(1)).float().unsqueeze(1)
    return DataLoaders(DataLoader((x[:70], y[:70]), 16, shuffle=True), DataLoader((x[70:], y[70:]), 16))


def test_linear_draws_the_weights_that_torch_draws_and_predicts_the_same():
    torch.manual_seed(3)
    mine = own.Linear(64, 30)
    torch.manual_seed(3)
    torchs = nn.Linear(64, 30)
    x = torch.randn(20, 64)
    assert all(close(*both) for both in zip(mine.parameters(), torchs.parameters(), strict=True))
    assert all(p.requires_grad and p.is_leaf for p in mine.parameters())
    assert close(mine(x), torchs(x))


def test_relu_equals_torchs_and_has_no_parameters():
    x = torch.randn(4, 5, 6)
    assert torch.equal(own.ReLU()(x), nn.ReLU()(x))
    assert own.ReLU().parameters() == []


def test_sequential_predicts_and_has_gradients_as_torchs():
    mine, torchs = pair()
    x = torch.randn(20, 64)
    assert close(mine(x), torchs(x))
    for model in (mine, torchs):
        model(x).sigmoid().mean().backward()
    mines, theirs = list(mine.parameters()), list(torchs.parameters())
    assert [p.shape for p in mines] == [p.shape for p in theirs]
    assert all(close(a.grad, b.grad) for a, b in zip(mines, theirs, strict=True))


def test_sequential_takes_torchs_modules_too():
    _, torchs = pair()
    x = torch.randn(20, 64)
    assert torch.equal(own.Sequential(*torchs)(x), torchs(x))
    assert len(own.Sequential(*torchs).parameters()) == 4


def test_sgd_steps_like_torchs_and_leaves_what_has_no_gradient():
    results = []
    for optimizer in (own.SGD, torch.optim.SGD):
        weight = torch.tensor([3.0, -2.0], requires_grad=True)
        unused = torch.tensor([1.0], requires_grad=True)
        opt = optimizer([weight, unused], lr=0.1)
        for _ in range(10):
            (weight**2 * torch.tensor([1.0, 2.0])).sum().backward()
            opt.step()
            opt.zero_grad()
            assert weight.grad is None
        results.append(torch.cat([weight, unused]).detach())
    assert close(*results)


def test_learner_trains_like_the_packages(dls):
    mine, torchs = pair(1)
    before = mine.parameters()[0].detach().clone()
    reached = own.Learner(dls, mine, sgd.calc_grad, own.SGD, sgd.batch_accuracy).fit(5, 0.5)
    theirs = DataLoaders(DataLoader(dls.train.dataset, 16, shuffle=True), dls.valid)  # from epoch 0 again
    learn = underhood.Learner(theirs, torchs, underhood.mnist_loss, torch.optim.SGD, underhood.batch_accuracy)
    expected = [row.metrics["batch_accuracy"] for row in learn.epochs(5, 0.5)]
    assert all(close(*both) for both in zip(mine.parameters(), torchs.parameters(), strict=True))
    assert not close(before, mine.parameters()[0])
    assert reached == pytest.approx(expected)


def test_learner_trains_no_further_than_it_is_asked(dls):
    mine, _ = pair()
    epochs = own.Learner(dls, mine, sgd.calc_grad, own.SGD, sgd.batch_accuracy).epochs(1000, 0.5)
    next(epochs)
    after_one = mine.parameters()[0].detach().clone()
    epochs.close()
    assert torch.equal(after_one, mine.parameters()[0])


def test_learner_weights_a_short_validation_batch_by_its_size():
    x, y = torch.tensor([[1.0], [1.0], [1.0], [-1.0]]), torch.ones(4, 1)
    dls = DataLoaders(DataLoader((x, y), 3), DataLoader((x, y), 3))
    learn = own.Learner(dls, own.Sequential(), sgd.calc_grad, own.SGD, sgd.batch_accuracy)
    assert learn.validate() == 0.75
