"""What fastbook's chapter 4 prints from its first training loop to its last table.

The stream of random numbers continues where ``chapter4`` stopped. The author ran these cells twice: the notebook does
not say so, but the printed predictions show it (docs/books.md). ``rehearsal`` draws what the first time drew; after it,
every weight and every figure is the author's.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from underhood.books import Row, ranged
from underhood.books.chapter4 import BATCH, SOURCE, MnistSample, grad, of
from underhood.core.learner import Learner
from underhood.core.loader import DataLoaders
from underhood.core.losses import batch_accuracy, mnist_loss
from underhood.scratch import sgd

ROUNDING = 2e-5  # how far training tables of correct machines differ: computing in float64 changes them by 1e-5
SEEDS = 10  # models to a range
WIDENED = 0.002  # accuracy, to both sides of that range


def rows(p: MnistSample) -> Iterator[Row]:
    """The rest of the chapter. Call it after the last of ``chapter4.rows``."""
    rehearsal()
    dls = p.loaders()
    yield from by_hand(p, dls)
    yield from with_an_optimizer(p, dls)
    yield from with_learner(dls)
    yield from with_a_nonlinearity(dls)
    yield from exercises()
    yield from over_seeds(p)


def passes(n: int) -> None:
    """Draw what n passes over batches draw: torch's DataLoader takes one 64-bit number for each."""
    torch.empty(n, dtype=torch.int64).random_()


def rehearsal() -> None:
    """Draw what the notebook had drawn before its author went back to the cells below (docs/books.md)."""
    passes(4)
    sgd.init_params((28 * 28, 1)), sgd.init_params(1)  # the second number of the bias's pair is kept for the next
    passes(1 + 1 + 2 * 21)
    for epochs_before_next in (1 + 2 * 20, 2 * 20, 2 * 10):
        nn.Linear(28 * 28, 1)
        passes(epochs_before_next)


def by_hand(p: MnistSample, dls: DataLoaders) -> Iterator[Row]:
    """Batches, ``calc_grad`` and ``train_epoch`` with weights of our own."""
    section = "Putting it all together"
    weights, bias = params = sgd.init_params((28 * 28, 1)), sgd.init_params(1)
    linear1 = partial(sgd.linear1, weights=weights, bias=bias)
    xb, yb = next(dls.train.batches())
    yield of(section, "shapes of a batch", "256 784 256 1", [xb.shape, yb.shape])
    batch, targets = p.train_x[:4], p.train_y[:4]
    preds = linear1(batch)
    yield of(section, "shape of a batch of four", "4 784", batch.shape)
    yield of(section, "its predictions", "-11.1002 5.9263 9.9627 -8.1484", preds.detach()[:, 0])
    loss = sgd.mnist_loss(preds, targets)
    yield of(section, "its loss", "0.5006", loss.detach())
    loss.backward()
    yield of(section, "shape of the weights' gradient", "784 1", grad(weights).shape)
    yield of(section, "gradients: weights (mean), bias", "-0.0001 -0.0008", [grad(weights).mean(), grad(bias)[0]])
    for call, book in (("once", "-0.0002 -0.0015"), ("twice", "-0.0003 -0.0023")):
        sgd.calc_grad(batch, targets, linear1)
        yield of(section, f"calc_grad called {call}", book, [grad(weights).mean(), grad(bias)[0]])
    for parameter in params:
        grad(parameter).zero_()
    right = (preds > 0.0).float() == targets
    yield of(section, "which of the four are right", "False True True False", right[:, 0])
    yield of(section, "batch_accuracy", "0.5000", sgd.batch_accuracy(preds, targets))
    reached = [validated(linear1, p)]
    for _ in range(21):
        sgd.train_epoch(linear1, dls.train, 1.0, params)
        reached.append(validated(linear1, p))
    yield of_any_order(section, "validate_epoch at the start", "0.5219", reached[:1])
    yield of_any_order(section, "validate_epoch after an epoch", "0.6883", reached[1:2])
    book = """0.8314 0.9017 0.9227 0.9349 0.9438 0.9501 0.9535 0.9564 0.9594 0.9618
              0.9613 0.9638 0.9643 0.9652 0.9662 0.9677 0.9687 0.9691 0.9691 0.9696"""
    yield of_any_order(section, "validate_epoch, 20 epochs more", book, reached[2:])
    passes(1 + 2 * 21)


def with_an_optimizer(p: MnistSample, dls: DataLoaders) -> Iterator[Row]:
    """``train_model`` on ``nn.Linear``, with ``BasicOptim`` and with ``SGD``."""
    section = "Creating an optimizer"
    model = nn.Linear(28 * 28, 1)
    yield of(section, "shapes of weight and bias", "1 784 1", [list(w.shape) for w in model.parameters()])
    tables = {
        "BasicOptim": """0.4932 0.8618 0.8203 0.9102 0.9331 0.9468 0.9555 0.9629 0.9658 0.9673
                         0.9687 0.9707 0.9726 0.9751 0.9761 0.9761 0.9775 0.978 0.9785 0.9785""",
        "SGD": """0.4932 0.852 0.8335 0.9116 0.9326 0.9473 0.9555 0.9624 0.9648 0.9668
                  0.9692 0.9712 0.9731 0.9746 0.9761 0.9765 0.9775 0.978 0.9785 0.9785""",
    }
    yield of_any_order(section, "validate_epoch at the start", "0.4157", [validated(model, p)])
    passes(1)
    for (name, book), optimizer in zip(tables.items(), (sgd.BasicOptim, torch.optim.SGD), strict=True):
        if name == "SGD":
            model = nn.Linear(28 * 28, 1)
        opt = optimizer(model.parameters(), lr=1.0)
        reached = sgd.train_model(model, dls.train, opt, epochs=20, validate=partial(validated, p=p))
        yield of_any_order(section, f"train_model by {name}, 20 epochs", book, reached)
        passes(2 * 20)


def with_learner(dls: DataLoaders) -> Iterator[Row]:
    """The table of ``Learner.fit`` for ``nn.Linear``."""
    book = """
        0.636857 0.503549 0.495584
        0.545725 0.170281 0.866045
        0.199223 0.184893 0.831207
        0.086580 0.107836 0.911187
        0.045185 0.078481 0.932777
        0.029108 0.062792 0.946516
        0.022560 0.053017 0.955348
        0.019687 0.046500 0.962218
        0.018252 0.041929 0.965162
        0.017402 0.038573 0.967615"""
    reached = fitted(dls, nn.Linear(28 * 28, 1), 10, lr=1.0)
    yield of(
        "Creating an optimizer",
        "Learner.fit, 10 epochs: train_loss, valid_loss, batch_accuracy",
        book,
        reached,
        ROUNDING,
    )
    passes(2 * 10)


def with_a_nonlinearity(dls: DataLoaders) -> Iterator[Row]:
    """The table of ``Learner.fit`` for the network with a ReLU."""
    section = "Adding a nonlinearity"
    for size in ((28 * 28, 30), 30, (30, 1), 1):  # the raw weights of simple_net, which the chapter does not train
        sgd.init_params(size)
    book = """
        0.305828 0.399663 0.508341  0.142960 0.225702 0.807655  0.079516 0.113519 0.919529
        0.052391 0.076792 0.943081  0.039796 0.060083 0.956330  0.033368 0.050713 0.963690
        0.029680 0.044797 0.965653  0.027290 0.040729 0.968106  0.025568 0.037771 0.968597
        0.024233 0.035508 0.970559  0.023149 0.033714 0.972031  0.022242 0.032243 0.972522
        0.021468 0.031006 0.973503  0.020796 0.029944 0.974485  0.020207 0.029016 0.975466
        0.019683 0.028196 0.976448  0.019215 0.027463 0.976448  0.018791 0.026806 0.976938
        0.018405 0.026212 0.977920  0.018051 0.025671 0.977920  0.017725 0.025179 0.977920
        0.017422 0.024728 0.978410  0.017141 0.024313 0.978901  0.016878 0.023932 0.979392
        0.016632 0.023580 0.979882  0.016400 0.023254 0.979882  0.016181 0.022952 0.979882
        0.015975 0.022672 0.980864  0.015779 0.022411 0.980864  0.015593 0.022168 0.981845
        0.015417 0.021941 0.981845  0.015249 0.021728 0.981845  0.015088 0.021529 0.981845
        0.014935 0.021341 0.981845  0.014788 0.021164 0.981845  0.014647 0.020998 0.982336
        0.014512 0.020840 0.982826  0.014382 0.020691 0.982826  0.014257 0.020550 0.982826
        0.014136 0.020415 0.982826"""
    net = nn.Sequential(nn.Linear(28 * 28, 30), nn.ReLU(), nn.Linear(30, 1))
    reached = fitted(dls, net, 40, lr=0.1)
    yield of(section, "Learner.fit, 40 epochs: train_loss, valid_loss, batch_accuracy", book, reached, ROUNDING)
    yield of(section, "the last accuracy", "0.982826292514801", reached[-1][2])


def exercises() -> Iterator[Row]:
    """The one question of the questionnaire that prints something."""
    pairs = sgd.pairs([1, 2, 3, 4], "abcd")
    yield of("Questionnaire", "question 26: zip", "1 a 2 b 3 c 4 d", np.array(pairs, object))


def fitted(dls: DataLoaders, model: nn.Module, epochs: int, lr: float) -> list[list[float]]:
    """``Learner``'s table for SGD and ``mnist_loss``, with fastai's train_loss: [epochs, 3]."""
    learn = Learner(dls, model, loss_func=mnist_loss, opt_func=torch.optim.SGD, metrics=batch_accuracy)
    for _ in learn.epochs(epochs, lr):
        pass
    smooth = smoothed(learn.recorder.losses)[len(dls.train) - 1 :: len(dls.train)]
    table = [[train, *values[1:]] for train, values in zip(smooth, learn.recorder.values, strict=True)]
    return np.array(table, np.float32).tolist()  # what fastai prints has gone through float32


def smoothed(losses: list[float], beta: float = 0.98) -> list[float]:
    """fastai's train_loss: an exponential moving average of the steps' losses, corrected for its start at 0."""
    running, shown = 0.0, []
    for count, loss in enumerate(losses, 1):
        running = beta * running + (1 - beta) * loss
        shown.append(running / (1 - beta**count))
    return shown


# -- Accuracies as the chapter's ``validate_epoch`` takes them


@torch.no_grad()
def validated(model: sgd.Model, p: MnistSample) -> tuple[float, float]:
    """The lowest and highest ``validate_epoch`` over all orders of the validation files.

    The chapter reads files in the order of its file system. The mean of batch means depends on that order only through
    the last batch: its 246 images, all 7s, count as much as 256. So it depends on how many wrong 7s are among them.
    """
    right = (model(p.valid_x) > 0) == p.valid_y
    last = len(right) % BATCH
    batches = len(right) // BATCH + 1
    sevens, wrong = len(p.valid_7), int((~right[len(p.valid_3) :]).sum())

    def mean(wrong_in_last: int) -> float:
        right_in_last = last - wrong_in_last
        return round(((int(right.sum()) - right_in_last) / BATCH + right_in_last / last) / batches, 4)

    return mean(min(wrong, last)), mean(max(0, wrong - (sevens - last)))


def of_any_order(section: str, what: str, book: str, reached: list[tuple[float, float]]) -> Row:
    """Compare figures of ``validate_epoch`` with the range over all orders of the files."""
    low, high = zip(*reached, strict=True)
    return ranged(SOURCE, section, f"{what} (over orders of the files)", book, low, high)


# -- Ranges over seeds


def over_seeds(p: MnistSample) -> Iterator[Row]:
    """Compare the chapter's last figures with those from ten other seeds."""
    hand_starts, modules, nets = [], [], []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        hand_starts.append([sgd.init_params((28 * 28, 1)), sgd.init_params(1)])
        torch.manual_seed(seed)
        module = nn.Linear(28 * 28, 1)
        modules.append([module.weight.T, module.bias])
        torch.manual_seed(seed)
        first, second = nn.Linear(28 * 28, 30), nn.Linear(30, 1)
        nets.append([first.weight.T, first.bias, second.weight.T, second.bias])
    for section, what, book, epochs, lr, models, starts, average in (
        ("Putting it all together", "by hand, 20 epochs", "0.9696", 20, 1.0, linears, hand_starts, batch_means),
        ("Creating an optimizer", "nn.Linear, 20 epochs", "0.9785", 20, 1.0, linears, modules, batch_means),
        ("Creating an optimizer", "Learner, 10 epochs", "0.967615", 10, 1.0, linears, modules, torch.Tensor.mean),
        ("Adding a nonlinearity", "simple_net, 40 epochs", "0.982826", 40, 0.1, simple_nets, nets, torch.Tensor.mean),
    ):  # fmt: skip
        right = side_by_side(p, models, starts, epochs, lr)
        reached = [average(column.double()).item() for column in right.T]
        yield ranged(
            SOURCE, section, f"{what} (over {SEEDS} seeds)", book, min(reached), max(reached), WIDENED
        )  # fmt: skip


def side_by_side(
    p: MnistSample, models: Callable[..., Tensor], starts: list[list[Tensor]], epochs: int, lr: float
) -> Tensor:
    """Train many models at once, as columns, and return which validation images each gets right: bool [n, models].

    The loss is the sum of the models' losses, so that the models do not influence each other.
    """
    params = [torch.stack([start[i].detach() for start in starts]).requires_grad_() for i in range(len(starts[0]))]
    opt = sgd.BasicOptim(params, lr)
    for _ in range(epochs):
        for start in range(0, len(p.train_x), BATCH):
            preds = models(p.train_x[start : start + BATCH], *params)  # [batch, models]
            targets = p.train_y[start : start + BATCH].expand_as(preds)
            (sgd.mnist_loss(preds, targets) * len(starts)).backward()
            opt.step()
            opt.zero_grad()
    with torch.no_grad():
        return (models(p.valid_x, *params) > 0) == p.valid_y


def linears(x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """x [n, pixels], weights [models, pixels, 1], bias [models, 1]: [n, models]."""
    return x @ weights[:, :, 0].T + bias[:, 0]


def simple_nets(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """x [n, pixels], w1 [models, pixels, hidden], b1 [models, hidden], w2 [models, hidden, 1], b2 [models, 1]."""
    models, pixels, hidden = w1.shape
    features = x @ w1.transpose(0, 1).reshape(pixels, models * hidden)  # one product for all models
    features = (features.view(-1, models, hidden) + b1).relu()
    return (features * w2[:, :, 0]).sum(-1) + b2[:, 0]


def batch_means(right: Tensor) -> Any:
    """The mean of the batches' means, of right [n]."""
    return torch.stack([batch.mean() for batch in right.split(BATCH)]).mean()
