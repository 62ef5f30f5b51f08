"""Deeper: ResNet-18, augmentation, optimizers, the rate finder, balance, precision, recipes."""

import copy
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Outcome, fill
from hypothesis import given, strategies as st
from PIL import Image
from torch import Tensor, nn

from underhood import train
from underhood.analysis import balanced_accuracy
from underhood.core.augment import Augmentation, affine_maps, augment
from underhood.core.images import Dataset
from underhood.core.learner import Learner
from underhood.core.loader import DataLoader, DataLoaders
from underhood.core.losses import cross_entropy
from underhood.core.models import Architecture, build_model
from underhood.core.schedule import flat, one_cycle
from underhood.data.read import read
from underhood.training import lr_finder as find
from underhood.training.learners import autocast
from underhood.training.lr_finder import lr_find
from underhood.training.recipe import choose_recipe, optimizers
from underhood.training.setup import count_parameters

Command = Callable[..., Outcome]
MOVED = Augmentation(shift=0.1, rotation=15, scale=0.2)


# ResNet-18 -----------------------------------------------------------------------------------------------------------


def test_resnet18_with_the_published_stem_is_the_published_one_parameter_for_parameter() -> None:
    """He and others (2015): 11,689,512 parameters for 1,000 classes; shapes stage by stage."""
    model = build_model(Architecture("resnet18", 3, 224, 224, 1000))
    assert count_parameters(model) == 11_689_512
    kernels = [tuple(module.weight.shape) for module in model.modules() if isinstance(module, nn.Conv2d)]
    stages = [(64, 64, 3), (128, 64, 3), (256, 128, 3), (512, 256, 3)]
    expected = [(64, 3, 7, 7)]
    for features, inputs, side in stages:
        first = [(features, inputs, side, side), (features, features, side, side)]
        shortcut = [] if features == inputs else [(features, inputs, 1, 1)]
        expected += first + shortcut + [(features, features, side, side)] * 2
    assert kernels == expected


@pytest.mark.parametrize(
    ("side", "stem"), [(8, "small"), (15, "small"), (16, "halving"), (63, "halving"), (64, "published")]
)
def test_the_stem_is_chosen_by_size_and_stored(side: int, stem: str) -> None:
    architecture = Architecture("resnet18", 1, side, side + 5, 10)
    assert architecture.stem == asdict(architecture)["stem"] == stem
    assert Architecture("resnet18", 1, side + 5, side, 10).stem == stem  # by the shorter side
    assert build_model(architecture)(torch.zeros(2, 1, side, side + 5, dtype=torch.uint8)).shape == (2, 10)


def test_a_resnet18_learns_the_digits(digits: Dataset, tmp_path: Path) -> None:
    result = train("digits", model="resnet18", epochs=4, out=tmp_path / "run")
    assert result["valid_accuracy"] > 0.9


# augmentation --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(0, 50), st.integers(0, 500))
def test_what_moves_how_comes_from_its_key_alone(seed: int, epoch: int, batch: int) -> None:
    x = torch.arange(2 * 64, dtype=torch.uint8).reshape(2, 1, 8, 8)
    torch.manual_seed(seed % 7)
    once = augment(x, MOVED, (seed, epoch, batch))
    before = torch.get_rng_state()
    assert torch.equal(once, augment(x, MOVED, (seed, epoch, batch)))
    assert torch.equal(before, torch.get_rng_state())  # torch's own randomness is not touched
    assert not torch.equal(once, augment(x, MOVED, (seed, epoch, batch + 1)))


def test_moving_by_nothing_changes_nothing() -> None:
    x = torch.randint(0, 256, (3, 3, 9, 14), dtype=torch.uint8)
    assert not Augmentation()
    assert torch.allclose(augment(x, Augmentation(), (0, 0, 0)), x.float(), atol=1e-3)


def test_maps_shift_turn_and_scale_as_far_as_they_say() -> None:
    maps = affine_maps(MOVED, 20_000, 1.0, (1, 2, 3))  # [n, 2, 3]
    assert 0.195 < maps[:, :, 2].abs().max() <= 0.2  # a tenth of the side, where the side is 2
    size = torch.linalg.det(maps[:, :, :2]).rsqrt()
    assert 0.8 - 1e-5 <= size.min() < 0.81
    assert 1.19 < size.max() <= 1.2 + 1e-5
    angle = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]).rad2deg()
    assert 14.9 < angle.abs().max() <= 15 + 1e-3
    assert abs(angle.mean()) < 0.2


def test_nothing_is_mirrored_unless_asked() -> None:
    assert (torch.linalg.det(affine_maps(MOVED, 1000, 1.0, (0,))[:, :, :2]) > 0).all()
    flipped = torch.linalg.det(affine_maps(Augmentation(flip=True), 1000, 1.0, (0,))[:, :, :2]) < 0
    assert 400 < flipped.sum() < 600


def test_a_turn_keeps_a_circle_round_in_a_wide_picture() -> None:
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij")
    circle = (((rows - 19.5) ** 2 + (columns - 39.5) ** 2) < 15**2).float()[None, None] * 255
    turned = augment(circle.repeat(20, 1, 1, 1), Augmentation(rotation=90), (4,))
    assert ((turned - circle).abs() > 128).float().mean() < 0.01


def test_a_contact_sheet_shows_the_pictures_as_the_model_saw_them(tmp_path: Path) -> None:
    train("digits", epochs=4, out=tmp_path / "moved")
    train("digits", epochs=3, out=tmp_path / "still")
    with Image.open(tmp_path / "moved" / "augmented.png") as sheet:
        assert min(sheet.size) > 30
        assert np.asarray(sheet).std() > 30
    assert not (tmp_path / "still" / "augmented.png").exists()


# optimizers, schedules, precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(optimizers()))
def test_an_optimizer_without_its_decorators_for_compiling_makes_the_same_bits(name: str, digits: Dataset) -> None:
    theirs = {
        "adamw": partial(torch.optim.AdamW, fused=True),
        "adam": partial(torch.optim.Adam, fused=True),
        "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
    }[name]
    states = []
    for opt_func in (optimizers()[name], theirs):
        torch.manual_seed(1)
        model = build_model(Architecture("conv", 1, 8, 8, 10))
        learn = Learner(DataLoaders.from_dataset(digits, 64), model, opt_func=opt_func)
        for step in learn.steps(2, 0.01, one_cycle):
            if step.number == 30:  # as a resume does
                saved = learn.state_dict()
        learn.load_state_dict(saved)
        list(learn.steps(2, 0.01, one_cycle))
        assert learn.optimizer is not None
        states.append((model.state_dict(), learn.optimizer.state_dict()))
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_a_training_and_its_report_import_neither_torchs_compiler_nor_sympy(tmp_path: Path) -> None:
    """They would take 80 MB and more than a second."""
    script = (
        "import sys; from underhood import train; train('digits', epochs=1, limit=60, save_every=0, out=sys.argv[1]); "
        "print([name for name in ('torch._dynamo', 'torch._inductor', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", sorted(optimizers()))
def test_every_optimizer_is_torchs_and_follows_rate_and_momentum(name: str, digits: Dataset) -> None:
    """The same steps, written out with torch's own optimizer."""
    dls = DataLoaders.from_dataset(digits, 64)
    torch.manual_seed(1)
    model, other = (build_model(Architecture("linear", 1, 8, 8, 10)) for _ in range(2))
    other.load_state_dict(model.state_dict())
    learn = Learner(dls, model, opt_func=optimizers()[name])
    steps = list(learn.steps(1, 0.01, one_cycle))
    optimizer = {
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    }[name](other.parameters())
    for number, (x, y) in enumerate(dls.train.batches(0)):
        value = one_cycle(number, len(steps))
        assert value.momentum is not None
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * value.lr_factor
            group.update({"momentum": value.momentum} if name == "sgd" else {"betas": (value.momentum, 0.999)})
        optimizer.zero_grad()
        nn.functional.cross_entropy(other(x), y).backward()
        optimizer.step()
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)  # fused, ours rounds in another order


def test_label_smoothing_and_class_weights_are_torchs() -> None:
    logits, targets, weight = torch.randn(7, 3), torch.tensor([0, 1, 2, 2, 1, 0, 0]), torch.tensor([1.0, 2.0, 0.5])
    theirs = nn.CrossEntropyLoss(weight, label_smoothing=0.1)(logits, targets)
    assert torch.equal(cross_entropy(logits, targets, weight, 0.1), theirs)


def test_bfloat16_is_for_products_only(digits: Dataset) -> None:
    learn = Learner(DataLoaders.from_dataset(digits, 64), build_model(Architecture("conv", 1, 8, 8, 10)))
    learn.forward = autocast(learn.model, "cpu", "bfloat16")
    x, _ = next(learn.dls.train.batches(0))
    exact = learn.model(x)
    learn.model.train()
    assert learn.forward(x).dtype == torch.float32
    assert not torch.equal(learn.forward(x), exact)
    for step in learn.steps(2, 0.01):
        assert step.loss.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in learn.model.parameters())
    assert learn.validate()[1] > 0.8


def test_precision_is_chosen_by_model_effort_and_device_and_stored(underhood: Command) -> None:
    assert choose_recipe(60_000, "best", fast_bfloat16=True).precision == "bfloat16"
    assert choose_recipe(60_000, "best").precision == "float32"
    assert choose_recipe(60_000, fast_bfloat16=True).precision == "float32"  # conv gains little
    assert choose_recipe(60_000, model="net", effort="fast", fast_bfloat16=True).precision == "float32"
    done = underhood("train", "digits", "--epochs", 1, "--precision", "bfloat16", "--json")
    assert json.loads((Path(done.json["run"]) / "config.json").read_text())["precision"] == "bfloat16"


# effort --------------------------------------------------------------------------------------------------------------


def test_effort_chooses_model_epochs_and_augmentation() -> None:
    fast, normal, best = (choose_recipe(60_000, effort) for effort in ("fast", "normal", "best"))
    assert [recipe.model for recipe in (fast, normal, best)] == ["conv", "conv", "vgg"]
    assert [recipe.epochs for recipe in (fast, normal, best)] == [1, 5, 24]
    assert [bool(recipe.augmentation) for recipe in (fast, normal, best)] == [False, True, True]
    assert best.label_smoothing == 0.1


def test_what_was_chosen_is_printed_and_stored(underhood: Command) -> None:
    done = underhood("train", "digits", "--effort", "fast")
    assert "effort fast" in done.out
    assert "5 epochs of batches of 128, lr 0.01" in done.out  # and bfloat16, where the processor has it
    config = json.loads(next(Path("runs").glob("*/config.json")).read_text())
    assert config["effort"] == "fast"
    assert (config["epochs"], config["batch_size"], config["lr"]) == (5, 128, 0.01)
    assert config["augmentation"] == {"shift": 0.0, "rotation": 0.0, "scale": 0.0, "flip": False}


# balance -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """200 dark pictures, 20 only slightly lighter ones: the rare class is lost unless it is weighed."""
    rng = np.random.default_rng(0)
    for label, count, level in (("common", 200, 100), ("rare", 20, 108)):
        for i in range(count):
            array = np.clip(rng.normal(level, 40, (8, 8)), 0, 255).astype(np.uint8)
            fill(tmp_path / "uneven", {f"{label}/{i}.png": Image.fromarray(array)})
    return tmp_path / "uneven"


def test_balanced_accuracy_is_the_mean_recall() -> None:
    labels, predicted = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0])
    assert balanced_accuracy(predicted, labels) == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_balance_raises_balanced_accuracy_where_a_class_is_rare(uneven: Path, tmp_path: Path) -> None:
    balanced = {
        balance: train(uneven, model="linear", epochs=15, balance=balance, out=tmp_path / balance)["balanced_accuracy"]
        for balance in ("none", "weights", "sampler")
    }
    assert balanced["weights"] > balanced["none"] + 0.05
    assert balanced["sampler"] > balanced["none"] + 0.05


def test_the_sampler_draws_each_class_as_often(uneven: Path) -> None:
    data = read(uneven).train
    rarity = 1 / np.bincount(data.labels)[data.labels]
    drawn = DataLoader(data, 32, seed=3, weights=rarity)
    labels = np.concatenate([y.numpy() for epoch in range(20) for _, y in drawn.batches(epoch)])
    assert len(labels) == 20 * len(data)
    assert 0.45 < labels.mean() < 0.55
    assert np.array_equal(drawn.order(4), DataLoader(data, 32, seed=3, weights=rarity).order(4))


# the rate finder -----------------------------------------------------------------------------------------------------


def learner(digits: Dataset, loss_func: Callable[[Tensor, Tensor], Tensor] = cross_entropy) -> Learner:
    torch.manual_seed(0)
    return Learner(DataLoaders.from_dataset(digits, 64), build_model(Architecture("conv", 1, 8, 8, 10)), loss_func)


def test_the_finder_suggests_a_rate_that_trains(digits: Dataset) -> None:
    learn = learner(digits)
    found = lr_find(learn)
    assert found.suggestion is not None
    assert 1e-3 < found.suggestion < 0.1
    assert np.allclose(np.diff(np.log(found.lrs)), np.diff(np.log(found.lrs))[0])  # evenly spread, growing
    for _ in learn.steps(3, found.suggestion, one_cycle):
        pass
    assert learn.validate()[1] > 0.9


def test_the_finder_restores_weights_buffers_and_random_state(digits: Dataset) -> None:
    learn = learner(digits)
    before = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    random, recorded = torch.get_rng_state(), len(learn.recorder.losses)
    learn.model.train()
    lr_find(learn)
    assert all(torch.equal(before[name], tensor) for name, tensor in learn.model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert learn.model.training
    assert len(learn.recorder.losses) == recorded


def test_the_finder_smooths(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    smooth = lr_find(learner(digits)).losses
    monkeypatch.setattr(find, "SMOOTHING", 0.0)
    rough = lr_find(learner(digits)).losses
    most = min(len(smooth), len(rough)) // 2
    assert np.abs(np.diff(smooth[:most])).mean() < np.abs(np.diff(rough[:most])).mean() / 2


def test_the_finder_drops_what_is_not_a_number(digits: Dataset) -> None:
    calls = iter(range(10_000))
    found = lr_find(learner(digits, lambda p, y: cross_entropy(p, y) * (math.nan if next(calls) > 40 else 1)))
    assert 0 < len(found.losses) <= 41
    assert found.suggestion is None
    assert "until it becomes NaN" in found.verdict
    assert np.isfinite(found.losses).all()


def test_the_finder_says_when_there_is_no_clear_minimum(digits: Dataset) -> None:
    stuck = lr_find(learner(digits, lambda p, _: p.sum() * 0 + 1))
    assert stuck.suggestion is None
    assert "no clear minimum" in stuck.verdict
    falling = lr_find(learner(digits), start=1e-6, end=1e-3)
    assert falling.suggestion is None
    assert "still falls" in falling.verdict
    broken = lr_find(learner(digits, lambda p, _: p.sum() * math.nan))
    assert broken.suggestion is None
    assert "NaN" in broken.verdict


def test_lr_find_draws_its_curve(underhood: Command) -> None:
    done = underhood("lr-find", "digits", "--model", "conv", "--json")
    assert done.code == 0
    assert done.json["suggestion"] > 0
    with Image.open(done.json["figure"]) as figure:
        assert figure.format == "PNG"
    assert len(done.json["lrs"]) == len(done.json["losses"])
    shown = underhood("lr-find", "digits", "--out", "curve.png").out
    assert "suggested --lr" in shown
    assert "looking for the learning rate of conv" in shown
    assert "--model names it" not in shown  # train has no choice for this data set
    assert Path("curve.png").exists()
    assert not Path("runs").exists()


def test_the_flat_schedule_is_flat() -> None:
    assert {flat(step, 10) for step in range(10)} == {(1.0, None)}


def test_the_finder_leaves_a_learner_that_is_to_resume_as_it_was(digits: Dataset) -> None:
    learn, other = learner(digits), learner(digits)
    for step in learn.steps(2, 0.01, one_cycle):
        if step.number == 30:
            break
    state = copy.deepcopy(learn.state_dict())
    other.load_state_dict(state)
    found = lr_find(other)
    assert found.lrs[0] == pytest.approx(1e-6)
    assert next(other.steps(2, 0.01, one_cycle)).number == 31
    broken = learner(digits, lambda p, y: cross_entropy(p, y) * math.nan)
    lr_find(broken)
    assert broken.state_dict()["global_step"] == 0
