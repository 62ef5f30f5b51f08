"""Batches, losses, metrics, schedules and the one loop, against torch as a witness."""

import copy
import itertools
import math
import string
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from torch import nn

from underhood import accuracy, batch_accuracy, cross_entropy, error_rate, l1, mnist_loss, mse
from underhood.analysis.inference import predict_proba
from underhood.core.errors import DataError, DivergedError
from underhood.core.images import Dataset
from underhood.core.learner import Learner
from underhood.core.loader import DataLoader, DataLoaders
from underhood.core.models import MODELS, Architecture, build_model
from underhood.core.schedule import flat, one_cycle
from underhood.training.recipe import choose_recipe
from underhood.training.setup import count_parameters


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 99), st.integers(0, 5))
def test_each_epoch_is_a_permutation_with_a_short_last_batch(count: int, size: int, seed: int, epoch: int) -> None:
    loader = DataLoader(torch.arange(count), size, shuffle=True, seed=seed)
    batches = list(loader.batches(epoch))
    assert sorted(torch.cat(batches).tolist()) == list(range(count))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(loader) - 1)
    assert len(batches) == len(loader) == -(-count // size)
    first = len(batches) // 2
    rest = loader.batches(epoch, range(first, len(loader)))
    assert all((a == b).all() for a, b in zip(batches[first:], rest, strict=True))


def test_the_order_comes_from_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(list(DataLoader(torch.arange(100), 7, shuffle=True, seed=seed).batches(epoch))).tolist()

    torch.manual_seed(1)
    first = order(5, 3)
    torch.manual_seed(2)
    assert order(5, 3) == first
    assert order(5, 4) != first
    assert order(6, 3) != first
    loader = DataLoader(torch.arange(100), 7, shuffle=True, seed=5)
    passes = [torch.cat(list(loader)).tolist() for _ in range(4)]
    assert passes[3] == first  # plain iteration goes from epoch to epoch
    assert passes[0] != passes[1]


def test_any_indexable_collection_can_be_batched() -> None:
    assert [b.tolist() for b in DataLoader(range(5), 2)] == [[0, 1], [2, 3], [4]]
    numbers, letters = next(iter(DataLoader(list(enumerate(string.ascii_lowercase)), 6)))
    assert numbers.tolist() == [0, 1, 2, 3, 4, 5]
    assert list(letters) == list("abcdef")
    x, y = torch.rand(10, 3), torch.arange(10)
    pairs = list(zip(x, y, strict=True))
    for slow, fast in zip(DataLoader(pairs, 4, True), DataLoader((x, y), 4, True), strict=True):
        assert (slow[0] == fast[0]).all()
        assert (slow[1] == fast[1]).all()


def test_images_stay_bytes_until_the_model(digits: Dataset) -> None:
    x, y = next(iter(DataLoader(digits.train, 8)))
    assert x.dtype == torch.uint8
    assert x.shape == (8, 1, 8, 8)
    assert y.dtype == torch.int64


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        DataLoader((torch.zeros(3), torch.zeros(4)))


@pytest.mark.parametrize("function", [mnist_loss, mse, l1, batch_accuracy])
def test_shapes_that_only_broadcast_by_accident_are_an_error(function: object) -> None:
    with pytest.raises(ValueError, match=r"unsqueeze"):
        function(torch.zeros(5, 1), torch.zeros(5))  # type: ignore[operator]


@pytest.mark.parametrize("function", [cross_entropy, accuracy, error_rate])
def test_class_shapes_are_checked(function: object) -> None:
    with pytest.raises(ValueError, match=r"\[n, classes\] and \[n\]"):
        function(torch.zeros(5, 3), torch.zeros(5, 1, dtype=torch.long))  # type: ignore[operator]


def test_losses_and_metrics_agree_with_torch_and_the_chapter() -> None:
    torch.manual_seed(0)
    p, t = torch.randn(50, 4), torch.randint(0, 4, (50,))
    assert torch.equal(cross_entropy(p, t), F.cross_entropy(p, t))
    a, b = torch.randn(50, 1), torch.randint(0, 2, (50, 1))
    assert torch.equal(mse(a, b.float()), F.mse_loss(a, b.float()))
    assert torch.equal(l1(a, b.float()), F.l1_loss(a, b.float()))
    by_hand = sum(1 - torch.sigmoid(x) if y == 1 else torch.sigmoid(x) for x, y in zip(a, b, strict=True)) / 50
    assert mnist_loss(a, b).item() == pytest.approx(by_hand.item(), rel=1e-6)
    logits = torch.logit(torch.tensor([0.9, 0.4, 0.2]))
    assert mnist_loss(logits, torch.tensor([1, 0, 1])).item() == pytest.approx(0.4333, abs=5e-5)
    assert accuracy(p, t).item() == sum(int(x.argmax() == y) for x, y in zip(p, t, strict=True)) / 50
    assert error_rate(p, t).item() == pytest.approx(1 - accuracy(p, t).item())
    assert batch_accuracy(a, b).item() == sum(int((x > 0) == (y == 1)) for x, y in zip(a, b, strict=True)) / 50


@given(st.integers(1, 500))
def test_one_cycle_rises_for_a_quarter_and_falls_to_nothing(total: int) -> None:
    rates, momenta = np.array([one_cycle(step, total) for step in range(total)]).T
    assert rates[0] == pytest.approx(1 / 25)
    assert all(0 < rate <= 1 for rate in rates)
    top = int(np.argmax(rates))
    assert abs(top - total / 4) <= 1
    assert (np.diff(rates[: top + 1]) >= -1e-12).all()
    assert (np.diff(rates[top:]) <= 1e-12).all()
    assert (np.diff(momenta[: top + 1]) <= 1e-12).all()  # momentum goes against the rate
    assert (np.diff(momenta[top:]) >= -1e-12).all()
    assert momenta[0] == pytest.approx(0.95)
    assert momenta.min() >= 0.85


def test_recipes_suit_few_and_many() -> None:
    recipes = [choose_recipe(count) for count in (250, 1440, 60_000)]
    assert [(recipe.epochs, recipe.batch_size) for recipe in recipes] == [(25, 16), (15, 128), (5, 128)]
    assert all(recipe.augmentation for recipe in recipes)
    assert choose_recipe(2).epochs == 60
    assert choose_recipe(10**7).epochs == 3
    assert choose_recipe(60_000, "fast").epochs < choose_recipe(60_000).epochs < choose_recipe(60_000, "best").epochs
    assert not choose_recipe(60_000, "fast").augmentation
    assert not choose_recipe(60_000, epochs=3).augmentation
    assert choose_recipe(60_000, epochs=4, model="net").model == "net"


@pytest.mark.parametrize("model", sorted(MODELS))
@given(
    channels=st.sampled_from([1, 3]), height=st.integers(1, 70), width=st.integers(1, 70), classes=st.integers(2, 12)
)
def test_every_model_takes_every_size(model: str, channels: int, height: int, width: int, classes: int) -> None:
    architecture = Architecture(model, channels, height, width, classes)
    if min(height, width) < {"conv": 4, "resnet18": 8}.get(model, 1):
        with pytest.raises(DataError, match=f"too small for {model}: use --size 8"):
            build_model(architecture)
        return
    network = build_model(architecture)
    pixels = torch.randint(0, 256, (2, channels, height, width), dtype=torch.uint8)
    with torch.no_grad():
        assert network.eval()(pixels).shape == (2, classes)
        assert network.train()(pixels[:1]).shape == (1, classes)  # a last batch may be a single picture


def test_mean_and_deviation_live_in_the_first_layer(digits: Dataset) -> None:
    mean, std = digits.train.pixel_statistics()
    pixels = digits.train.pixels.astype(np.float64)
    assert mean[0] == pytest.approx(pixels.mean())
    assert std[0] == pytest.approx(pixels.std())
    network = build_model(Architecture("linear", 1, 8, 8, 10), mean.tolist(), std.tolist())
    normal = network[0](torch.from_numpy(digits.train.pixels))
    assert normal.mean().item() == pytest.approx(0, abs=1e-4)
    assert normal.std().item() == pytest.approx(1, abs=1e-3)


def test_parameters_are_counted() -> None:
    assert count_parameters(build_model(Architecture("linear", 1, 28, 28, 10))) == 7850
    assert count_parameters(build_model(Architecture("net", 1, 28, 28, 10))) == 785 * 30 + 31 * 10


def learner(digits: Dataset, **options: object) -> Learner:
    torch.manual_seed(0)
    network = build_model(Architecture("net", 1, 8, 8, 10), [77.0], [96.0])
    return Learner(DataLoaders.from_dataset(digits, 64), network, **options)  # type: ignore[arg-type]


def test_the_loop_is_the_loop_that_one_would_write(digits: Dataset) -> None:
    learn = learner(digits, opt_func=torch.optim.SGD)
    rows = list(learn.epochs(2, 0.1))

    torch.manual_seed(0)
    network = build_model(Architecture("net", 1, 8, 8, 10), [77.0], [96.0])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    x, y = torch.from_numpy(digits.train.pixels), torch.from_numpy(digits.train.labels)
    for epoch in range(2):
        order = torch.from_numpy(np.random.default_rng([0, epoch]).permutation(len(x)))
        for start in range(0, len(x), 64):
            rows_of_batch = order[start : start + 64]
            loss = F.cross_entropy(network(x[rows_of_batch]), y[rows_of_batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for ours, theirs in zip(learn.model.parameters(), network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    network.eval()
    right = (network(torch.from_numpy(digits.valid.pixels)).argmax(1).numpy() == digits.valid.labels).sum()
    assert rows[-1].metrics == {"accuracy": right / len(digits.valid)}
    assert len(learn.recorder.losses) == 2 * len(learn.dls.train)
    assert learn.recorder.values[-1] == [rows[-1].train_loss, rows[-1].valid_loss, right / len(digits.valid)]


def test_validation_weighs_a_short_last_batch_by_what_it_holds(digits: Dataset) -> None:
    learn = learner(digits, metrics=[accuracy, error_rate])
    whole = DataLoader(digits.valid, batch_size=10_000)
    short = DataLoader(digits.valid, batch_size=len(digits.valid) - 1)
    once, twice = learn.validate(whole), learn.validate(short)
    assert once == pytest.approx(twice, rel=1e-6)
    assert twice[1] == once[1]
    predictions, targets = learn.get_preds(short)
    assert len(predictions) == len(targets) == len(digits.valid)
    assert F.cross_entropy(predictions, targets).item() == pytest.approx(once[0], rel=1e-5)


def test_steps_yield_after_each_step_and_can_be_left_at_any(digits: Dataset) -> None:
    learn = learner(digits)
    per_epoch = len(learn.dls.train)
    seen = [next(steps) for steps in [learn.steps(3, 0.01, one_cycle)] for _ in range(per_epoch + 1)]
    assert [step.number for step in seen] == list(range(1, per_epoch + 2))
    assert [step.epoch_end for step in seen] == [False] * (per_epoch - 1) + [True, False]
    assert seen[-1].epoch == 1
    assert seen[0].lr == pytest.approx(0.01 / 25)
    assert seen[per_epoch - 1].batch_size == len(digits.train) % 64
    assert seen[0].total == 3 * per_epoch


def test_fit_shows_the_table_that_fastai_users_know(digits: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    learn = learner(digits)
    learn.fit_one_cycle(2, 0.01)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert [line.split()[0] for line in lines[1:]] == ["0", "1"]
    assert float(lines[2].split()[3]) == pytest.approx(learn.validate()[1], abs=1e-6)


def test_the_chapters_binary_model_trains_in_the_same_loop(digits: Dataset) -> None:
    two = np.isin(digits.train.labels, (3, 7))
    x = torch.from_numpy(digits.train.pixels[two].reshape(-1, 64) / 255).float()
    y = torch.from_numpy(digits.train.labels[two] == 3).long().unsqueeze(1)
    dl = DataLoader((x, y), 32)
    torch.manual_seed(0)
    learn = Learner(DataLoaders(dl, dl), nn.Linear(64, 1), mnist_loss, torch.optim.SGD, batch_accuracy)
    *_, last = learn.epochs(20, 1.0, flat)
    assert last.metrics["batch_accuracy"] >= 0.97


def test_predict_gives_probabilities(digits: Dataset) -> None:
    probabilities = predict_proba(learner(digits).model, digits.valid.pixels)
    assert probabilities.shape == (len(digits.valid), 10)
    assert torch.allclose(probabilities.sum(1), torch.ones(len(digits.valid)), atol=1e-5)


def test_looking_in_the_middle_of_an_epoch_changes_nothing(digits: Dataset) -> None:
    """``validate`` and ``predict`` leave the model in the mode that it was in: batch statistics go on."""
    ends = []
    for curious in (False, True):
        torch.manual_seed(0)
        model = build_model(Architecture("conv", 1, 8, 8, 10))
        learn = Learner(DataLoaders.from_dataset(digits, 256), model)
        for step in learn.steps(2, 0.01):
            assert learn.model.training
            if curious and step.number % 3 == 1:
                learn.validate()
                predict_proba(learn.model, digits.valid.pixels[:2])
                learn.get_preds()
        assert not learn.model.training
        ends.append(learn.validate())
    assert ends[0] == ends[1]


def test_train_loss_weighs_batches_and_the_recorder_keeps_every_step(digits: Dataset) -> None:
    learn = Learner(DataLoaders.from_dataset(digits, 500), build_model(Architecture("linear", 1, 8, 8, 10)))
    [epoch] = learn.epochs(1, 0.01, one_cycle)
    sizes = [500, 500, 438]
    assert len(learn.recorder.losses) == len(learn.recorder.lrs) == 3
    assert learn.recorder.lrs == [0.01 * one_cycle(i, 3).lr_factor for i in range(3)]
    assert epoch.train_loss == pytest.approx(np.average(learn.recorder.losses, weights=sizes), rel=1e-12)
    assert epoch.train_loss != pytest.approx(np.mean(learn.recorder.losses), rel=1e-6)


def test_seconds_are_those_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a second whenever the loss is computed."""
    x, y = torch.zeros(8, 1, 4, 4), torch.zeros(8, dtype=torch.long)
    clock = [0.0]
    monkeypatch.setattr("underhood.core.learner.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def slow(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        clock[0] += 1
        return cross_entropy(predictions, targets)

    learn = Learner(
        DataLoaders(DataLoader((x, y), 2), DataLoader((x, y), 1)), build_model(Architecture("linear", 1, 4, 4, 2)), slow
    )
    assert [epoch.seconds for epoch in learn.epochs(2, 0.01)] == [4, 4]  # four steps, none of eight validation batches


def test_a_second_fit_goes_on_with_other_orders(digits: Dataset) -> None:
    learn = Learner(DataLoaders.from_dataset(digits, 500), build_model(Architecture("linear", 1, 8, 8, 10)))
    asked = []
    order = learn.dls.train.order
    learn.dls.train.order = lambda epoch: (asked.append(epoch), order(epoch))[1]  # type: ignore[method-assign]
    for _ in range(2):
        list(learn.epochs(2, 0.01))
    assert asked == [0, 1, 2, 3]


def test_an_empty_loader_is_not_the_validation_part(digits: Dataset) -> None:
    learn = Learner(DataLoaders.from_dataset(digits, 500), build_model(Architecture("linear", 1, 8, 8, 10)))
    empty = DataLoader((torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.long)))
    with pytest.raises(ValueError, match="nothing to validate on"):
        learn.validate(empty)


def test_one_output_is_a_probability_by_sigmoid() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1))
    pixels = torch.rand(3, 1, 2, 2)
    assert torch.allclose(predict_proba(model, pixels), model(pixels).sigmoid().detach())


def test_arrays_that_run_backwards_or_may_not_be_written_are_taken() -> None:
    array = np.arange(6)
    array.flags.writeable = False
    assert [batch.tolist() for batch in DataLoader(array[::-1], 4)] == [[5, 4, 3, 2], [1, 0]]


def test_a_loss_that_is_no_number_is_an_error_that_names_the_step(digits: Dataset) -> None:
    learn = Learner(
        DataLoaders.from_dataset(digits, 500),
        build_model(Architecture("linear", 1, 8, 8, 10)),
        loss_func=lambda p, y: cross_entropy(p, y) * (float("nan") if len(y) < 500 else 1),
    )
    with pytest.raises(DivergedError, match=r"the loss is nan at step 3 \(epoch 0, lr 0.01\): start again"):
        list(learn.epochs(2, 0.01))


def test_the_state_after_bare_steps_resumes_to_the_same_weights(digits: Dataset) -> None:
    """In the middle of the second epoch: 30 steps of 23 an epoch."""
    whole, broken, resumed = (learner(digits) for _ in range(3))
    rows = list(whole.epochs(3, 0.01, one_cycle))
    for step in broken.steps(3, 0.01, one_cycle):
        if step.number == 30:
            break
    state = copy.deepcopy(broken.state_dict())
    assert state["losses"].shape == (7,)
    assert len(state["recorder"]["losses"]) == 23
    resumed.load_state_dict(state)
    assert resumed.state_dict()["global_step"] == 30  # it can be saved again before its first step
    rest = list(resumed.epochs(3, 0.01, one_cycle))
    assert [row.epoch for row in rest] == [1, 2]
    assert [row[:4] for row in rest] == [row[:4] for row in rows[1:]]
    assert resumed.recorder.losses == whole.recorder.losses
    assert resumed.recorder.lrs == whole.recorder.lrs
    for mine, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("first", [1, 12, 23])
def test_a_nan_loss_raises_in_bare_steps_at_the_end_of_its_epoch(first: int, digits: Dataset) -> None:
    calls = itertools.count(1)
    learn = learner(digits, loss_func=lambda p, y: cross_entropy(p, y) * (math.nan if next(calls) >= first else 1))
    taken = 0
    with pytest.raises(DivergedError, match=rf"the loss is nan at step {first} \(epoch 0"):  # noqa: PT012
        for step in learn.steps(2, 0.01):
            taken = step.number
    assert taken == 22  # the last step of the epoch raises


def test_a_state_with_a_nan_loss_is_no_state(digits: Dataset) -> None:
    learn = learner(digits, loss_func=lambda p, _: p.sum() * math.nan)
    next(learn.steps(1, 0.01))
    with pytest.raises(DivergedError, match="at step 1"):
        learn.state_dict()


def test_torchs_own_loader_and_any_sized_iterable_train_and_validate(digits: Dataset) -> None:
    x, y = torch.from_numpy(digits.train.pixels), torch.from_numpy(digits.train.labels)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=64)
    batches = [(x[i : i + 64], y[i : i + 64]) for i in range(0, len(x), 64)]
    reference = DataLoader((x, y), 64)
    ends = []
    for train in (loader, batches, reference):
        torch.manual_seed(0)
        network = build_model(Architecture("net", 1, 8, 8, 10), [77.0], [96.0])
        learn = Learner(DataLoaders(train, train), network)
        ends.append([row[:4] for row in learn.epochs(2, 0.01)])
        assert learn.get_preds()[0].shape == (len(x), 10)
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][-1][3]["accuracy"] > 0.9


def test_training_with_torchs_own_loader_resumes_at_the_ends_of_epochs_only(digits: Dataset) -> None:
    x, y = torch.from_numpy(digits.train.pixels), torch.from_numpy(digits.train.labels)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=64)

    def fresh() -> Learner:
        torch.manual_seed(0)
        return Learner(DataLoaders(loader, loader), build_model(Architecture("net", 1, 8, 8, 10), [77.0], [96.0]))

    learn, resumed = fresh(), fresh()
    for step in learn.steps(2, 0.01):
        if step.epoch_end:
            learn.end_epoch()
            if step.epoch == 0:
                resumed.load_state_dict(copy.deepcopy(learn.state_dict()))
        elif step.number == 5:
            with pytest.raises(ValueError, match="at the end of an epoch only"):
                learn.state_dict()
    list(resumed.epochs(2, 0.01))
    assert resumed.recorder.values == learn.recorder.values


def test_a_loader_whose_length_is_wrong_is_an_error(digits: Dataset) -> None:
    class Lies(list):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return 5

    x, y = torch.from_numpy(digits.train.pixels), torch.from_numpy(digits.train.labels)
    short, long = (Lies((x[i : i + 64], y[i : i + 64]) for i in range(0, count * 64, 64)) for count in (3, 7))
    for loader in (short, long):
        learn = Learner(DataLoaders(loader, digits.valid), build_model(Architecture("net", 1, 8, 8, 10)))
        if loader is short:
            with pytest.raises(ValueError, match="its length says 5 batches"):
                list(learn.steps(2, 0.01))
        else:
            assert [step.number for step in learn.steps(1, 0.01)] == [1, 2, 3, 4, 5]


def test_a_metric_that_raises_leaves_the_model_in_training_mode(digits: Dataset) -> None:
    def fails(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    learn = learner(digits, metrics=fails)
    for step in learn.steps(1, 0.01):
        if step.number == 2:
            with pytest.raises(ZeroDivisionError):
                learn.validate()
            assert learn.model.training
            with pytest.raises(ValueError, match="must follow a step whose epoch_end is true"):
                learn.end_epoch()
            break


def test_a_model_that_is_replaced_is_the_one_that_trains(digits: Dataset) -> None:
    learn = learner(digits)
    learn.model = build_model(Architecture("linear", 1, 8, 8, 10))
    before = learn.model[2].weight.clone()
    next(learn.steps(1, 0.01))
    assert not torch.equal(learn.model[2].weight, before)
