"""Layer statistics, attributions and nearest images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from underhood import train
from underhood.analysis.attributions import integrated_gradients
from underhood.analysis.inference import evaluating, features, multiply_adds, nearest_images, predict_proba
from underhood.core.images import Dataset
from underhood.core.learner import Learner
from underhood.core.loader import DataLoaders
from underhood.core.models import Architecture, build_model
from underhood.pretrained import create_model
from underhood.runs.checkpoint import load_run
from underhood.training.layer_stats import LAYER_COLUMNS, watch_layers


def test_layer_statistics_equal_torchs_and_no_hook_remains() -> None:
    torch.manual_seed(0)
    model = build_model(Architecture("net", 1, 8, 8, 3))
    x, y = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8), torch.arange(40) % 3
    with torch.no_grad():
        model[2].bias[:5] = -1e6  # type: ignore[operator, index]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with watch_layers(model, every=1) as stats:
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    hidden = torch.relu(torch.nn.functional.linear(model[0](x).flatten(1), before["2.weight"], before["2.bias"]))
    mean, std, zeros = stats.activations["3"][0].tolist()
    assert mean == pytest.approx(hidden.mean().item(), rel=1e-5)
    assert std == pytest.approx(hidden.std(correction=0).item(), rel=1e-5)
    assert zeros == pytest.approx((hidden == 0).float().mean().item())
    assert stats.dead() == {"3": [0, 1, 2, 3, 4]}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert stats.gradients[name][0].item() == pytest.approx(parameter.grad.norm().item(), rel=1e-5)
        by_hand = ((parameter - before[name]).norm() / before[name].norm()).item()
        assert stats.updates[name][0].item() == pytest.approx(by_hand, rel=1e-4)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(not parameter._post_accumulate_grad_hooks for parameter in model.parameters())


def test_a_backbones_dead_units_are_found() -> None:
    torch.manual_seed(0)
    model = create_model(Architecture("efficientnet_lite0", 3, 32, 32, 2)).eval()
    with torch.no_grad():
        model.get_parameter("bn2.weight")[[3, 7]] = 0  # of the last ReLU6
        model.get_parameter("bn2.bias")[:8] = -1e-6
    pixels = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    with watch_layers(model, every=1) as stats, torch.no_grad():
        output = model(pixels)
        before_pooling = model[: list(dict(model.named_children())).index("global_pool")](pixels)
    assert torch.isfinite(output).all()
    never = torch.flatten(torch.nonzero(before_pooling.amax(dim=(0, 2, 3)) == 0)).tolist()
    assert {3, 7} <= set(never) < set(range(1280))
    assert stats.dead()["act2"] == never


def test_hooks_are_removed_after_an_error_and_do_not_change_training(digits: object) -> None:
    model = build_model(Architecture("linear", 1, 8, 8, 10))
    with pytest.raises(ZeroDivisionError), watch_layers(model):
        raise ZeroDivisionError
    assert not any(module._forward_hooks for module in model.modules())

    def weights(watched: bool) -> np.ndarray:
        torch.manual_seed(3)
        learn = Learner(DataLoaders.from_dataset(digits, 64), build_model(Architecture("net", 1, 8, 8, 10)))  # type: ignore[arg-type]
        if watched:
            with watch_layers(learn.model, every=5) as stats:
                list(learn.steps(1, 0.01))
            assert len(stats.gradients["1.weight" if "1.weight" in stats.gradients else "2.weight"]) == 1 + 22 // 5
        else:
            list(learn.steps(1, 0.01))
        return torch.cat([p.detach().flatten() for p in learn.model.parameters()]).numpy()

    assert (weights(True) == weights(False)).all()


def test_the_first_pass_and_every_fiftieth_after_it_are_measured() -> None:
    model = build_model(Architecture("net", 1, 8, 8, 3))
    x = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    with watch_layers(model) as stats:
        for _ in range(101):
            model(x)
    assert len(stats.activations["3"]) == 3


def test_a_run_keeps_the_statistics_of_each_layer(tmp_path: Path) -> None:
    run = Path(train("digits", model="net", epochs=3, out=tmp_path / "run", report=False)["run"])
    header, *rows = [line.split(",") for line in (run / "layers.csv").read_text().splitlines()]
    assert header == ["step", "layer", *LAYER_COLUMNS[1:]]
    assert [row[:2] for row in rows[:4]] == [["10", layer] for layer in "0234"]
    assert {int(row[0]) for row in rows} == {10, 20, 30}
    for _, layer, _, std, zeros, gradient, update in rows:
        assert float(std) > 0
        assert (0.05 < float(zeros) < 0.8) == (layer == "3")
        assert (gradient == update == "") if layer in "03" else (0 < float(update) < 0.5 < 50 * float(gradient))


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_attributions_of_a_linear_model_add_up_to_the_logit_exactly(seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(Architecture("linear", 3, 9, 7, 4), [90.0, 100.0, 110.0], [60.0, 70.0, 80.0])
    image = np.random.default_rng(seed).integers(0, 256, (3, 9, 7), dtype=np.uint8)
    for label in range(4):
        found = integrated_gradients(model, image, label)
        logit = model(torch.from_numpy(image[None]))[0, label].item()
        assert found.start + found.values.sum() == pytest.approx(logit, abs=1e-5)
        assert abs(found.missing) < 1e-9
    weight, bias = model[2].weight.detach().double(), model[2].bias.detach().double()
    normal = model[0](torch.from_numpy(image[None])).double()[0]
    from_grey = (weight[3].view(3, 9, 7) * normal).sum() + bias[3]
    assert found.logit == pytest.approx(from_grey.item())
    empty = np.median([*image[0, 0], *image[0, -1], *image[0, :, 0], *image[0, :, -1]])
    by_hand = weight[3].view(3, 9, 7)[0] * (torch.from_numpy(image[0]).double() - float(int(empty))) / 60.0
    assert found.values[0] == pytest.approx(by_hand.numpy(), abs=1e-5)


@pytest.mark.parametrize("model", ["net", "conv", "vgg", "resnet18"])
def test_attributions_of_other_models_add_up_within_one_percent(model: str, digits: Dataset, tmp_path: Path) -> None:
    train("digits", model=model, epochs=1, limit=300, out=tmp_path / "run", report=False)
    trained = load_run(tmp_path / "run").model
    for image in digits.valid.pixels[:3]:
        logits = trained(torch.from_numpy(image[None])).detach()[0]
        label = int(logits.argmax())
        found = integrated_gradients(trained, image, label)
        assert found.logit == pytest.approx(logits[label].item(), abs=1e-4)
        assert abs(found.start + found.values.sum() - found.logit) <= 0.01 * abs(found.logit - found.start)
    assert not any(parameter.dtype == torch.float64 for parameter in trained.parameters())


def test_a_plain_image_has_no_attributions() -> None:
    found = integrated_gradients(build_model(Architecture("conv", 1, 12, 12, 3)), np.full((1, 12, 12), 77, np.uint8), 1)
    assert (found.values == 0).all()
    assert found.start == found.logit


def test_nearest_images_have_the_smallest_distances(digits: Dataset) -> None:
    model = build_model(Architecture("net", 1, 8, 8, 10)).eval()
    rows = np.arange(0, len(digits.train), 3)
    found = nearest_images(model, digits.valid.pixels[:4], digits.train, rows, 6)
    theirs = features(model, digits.train.pixels)
    assert theirs.shape == (len(digits.train), 30)
    for own, mine in zip(features(model, digits.valid.pixels[:4]), found, strict=True):
        distances = (theirs - own).norm(dim=1).numpy()
        assert set(mine) <= set(rows)
        assert distances[mine] == pytest.approx(np.sort(distances[rows])[:6], abs=1e-4)
    itself = nearest_images(model, digits.train.pixels[5:6], digits.train, np.arange(50), 1)
    assert itself.tolist() == [[5]]


def test_inference_restores_the_mode_of_every_module(digits: Dataset) -> None:
    for training in (True, False):
        model = build_model(Architecture("conv", 1, 8, 8, 10)).train(training)
        predict_proba(model, digits.valid.pixels[:3])
        features(model, digits.valid.pixels[:3])
        with pytest.raises(ZeroDivisionError), evaluating(model):
            raise ZeroDivisionError
        assert {module.training for module in model.modules()} == {training}


def test_multiply_adds_are_counted() -> None:
    image = np.zeros((1, 8, 8), np.uint8)
    assert multiply_adds(build_model(Architecture("net", 1, 8, 8, 10)), image) == 64 * 30 + 30 * 10
