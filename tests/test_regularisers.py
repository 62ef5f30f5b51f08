"""What keeps a network from learning images by heart: other colours, CutMix, weight decay, the mirror image."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Outcome
from hypothesis import given, settings, strategies as st

from underhood import cross_entropy, train
from underhood.core.models import Architecture
from underhood.pretrained import create_model
from underhood.runs import read_json
from underhood.runs.checkpoint import load_run
from underhood.serving.onnx import load_onnx, write_onnx
from underhood.training.recipe import choose_recipe
from underhood.training.regularisers import Regularisers, change_colours, mix

SIZES = st.integers(1, 12)


def images(count: int, channels: int = 3, height: int = 9, width: int = 14) -> torch.Tensor:
    return torch.randint(0, 256, (count, channels, height, width), generator=torch.Generator().manual_seed(0)).float()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), SIZES, SIZES, st.integers(0, 1000))
def test_a_mixed_label_has_each_class_in_proportion_to_its_pixels(n: int, height: int, width: int, seed: int) -> None:
    x = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 1, height, width)  # the image's number in all its pixels
    labels = torch.arange(n)
    mixed, shares = mix(x, labels, n, torch.Generator().manual_seed(seed))
    counted = torch.stack([(mixed == i).float().mean(dim=(1, 2, 3)) for i in range(n)], dim=1)
    assert torch.allclose(shares, counted, atol=1e-6)
    assert torch.allclose(shares.sum(dim=1), torch.ones(n))


def test_the_patch_is_the_next_image_and_of_all_areas() -> None:
    x, labels = images(4), torch.tensor([0, 1, 2, 3])
    own = []
    for seed in range(300):
        mixed, shares = mix(x, labels, 4, torch.Generator().manual_seed(seed))
        assert ((mixed == x) | (mixed == x.roll(-1, dims=0))).all()
        own.append(float(shares[0, 0]))
    assert min(own) < 0.05
    assert max(own) > 0.95
    assert np.mean(own) == pytest.approx(0.5, abs=0.05)


@given(st.floats(0, 1), st.integers(2, 5), st.integers(0, 99))
def test_the_loss_of_a_mixed_label_is_the_mean_of_both_losses(share: float, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, classes, generator=generator)
    one, other = torch.randint(0, classes, (2, 6), generator=generator)
    soft = (1 - share) * F.one_hot(one, classes) + share * F.one_hot(other, classes)
    for smoothing in (0.0, 0.1):
        expected = (1 - share) * cross_entropy(logits, one, label_smoothing=smoothing)
        expected += share * cross_entropy(logits, other, label_smoothing=smoothing)
        assert torch.allclose(cross_entropy(logits, soft.float(), label_smoothing=smoothing), expected, atol=1e-5)


def test_mixed_labels_of_another_shape_are_an_error() -> None:
    with pytest.raises(ValueError, match="same shape"):
        cross_entropy(torch.zeros(4, 3), torch.zeros(4, 2))


def test_colours_change_as_far_as_they_say_and_grey_stays_grey() -> None:
    x = images(500)
    factors = 1 + 0.3 * (2 * torch.rand(3, 500, generator=torch.Generator().manual_seed(1)) - 1)
    changed = change_colours(x, factors)
    brightness = changed.mean(dim=(1, 2, 3)) / x.mean(dim=(1, 2, 3))
    assert 0.7 - 1e-4 <= brightness.min() < 0.72
    assert 1.28 < brightness.max() <= 1.3 + 1e-4
    contrast = changed.mean(dim=1).std(dim=(1, 2)) / x.mean(dim=1).std(dim=(1, 2))
    assert 0.7 - 1e-4 <= contrast.min() < contrast.max() <= 1.3 + 1e-4
    grey = change_colours(x[:, :1].expand(-1, 3, -1, -1), factors)
    assert torch.allclose(grey[:, 0], grey[:, 1], atol=1e-3)
    assert torch.allclose(change_colours(x, torch.ones(3, 500)), x, atol=1e-3)


def test_a_part_of_a_batch_changes_its_colours_as_in_the_whole_batch() -> None:
    x, labels = images(10), torch.zeros(10, dtype=torch.int64)
    change = Regularisers(2, jitter=0.3)
    whole, _ = change([x, labels], (0, 0, 3))
    part, _ = change([x[4:7], labels[4:7]], (0, 0, 3), 4, 10)
    assert torch.equal(part, whole[4:7])


def test_a_batch_depends_on_seed_epoch_and_number_alone() -> None:
    batch, change = [images(8), torch.arange(8) % 3], Regularisers(3, jitter=0.3, cutmix=0.5)
    before = torch.get_rng_state()
    first = [change(batch, (0, 1, number)) for number in range(20)]
    again = [change(batch, (0, 1, number)) for number in range(20)]
    assert torch.equal(before, torch.get_rng_state())
    assert all(
        torch.equal(a, b) for one, other in zip(first, again, strict=True) for a, b in zip(one, other, strict=True)
    )
    mixed = [labels.is_floating_point() for _, labels in first]
    assert 4 <= sum(mixed) <= 16, "half of the batches are mixed"
    assert not torch.equal(first[0][0], first[1][0])
    assert not Regularisers(3)


def test_the_recipe_of_the_best_effort_has_what_the_trials_found() -> None:
    normal, best = (choose_recipe(3000, effort, "vgg", flip=True) for effort in ("normal", "best"))
    assert (normal.jitter, normal.cutmix, normal.weight_decay, normal.mirrored) == (0, 0, None, False)
    assert (best.jitter, best.cutmix, best.weight_decay, best.mirrored) == (0.3, 0.5, 0.1, True)
    digits = choose_recipe(3000, "best", "vgg")
    assert (digits.jitter, digits.cutmix, digits.weight_decay, digits.mirrored) == (0, 0, None, False)
    strong = choose_recipe(3000, "normal", "vgg", augment="strong")
    assert (strong.jitter, strong.cutmix, strong.weight_decay) == (0.3, 0.5, 0.1)
    still = choose_recipe(3000, "best", "vgg", augment="none", flip=True)
    assert (still.augmentation.shift, still.jitter, still.cutmix) == (0, 0, 0)
    light = choose_recipe(3000, model="conv", augment="light").augmentation
    assert (light.shift, light.rotation, light.scale, light.flip) == (0.04, 0, 0, False)


def test_flags_reach_the_run_and_the_optimizer(tmp_path: Path, underhood: Callable[..., Outcome]) -> None:
    flags = ("--model", "conv", "--augment", "strong", "--flip", "--weight-decay", 0.05, "--epochs", 1)
    done = underhood("train", "digits", *flags, "--no-report", "--out", "run")
    assert done.code == 0, done.err
    config = read_json(Path("run"), "config.json")
    assert [config[name] for name in ("augment", "flip", "weight_decay", "cutmix")] == ["strong", True, 0.05, 0.5]
    assert config["augmentation"]["flip"] is True
    told = "shift 7%, rotation 10°, scale 10%, colours 30%, CutMix 50% of the batches, mirrored; weight decay 0.05"
    assert told in done.out
    refused = underhood("train", "digits", "--augment", "much")
    assert refused.code == 2
    assert "known: none, light, standard, strong" in refused.err


def test_weight_decay_shrinks_the_weights(tmp_path: Path) -> None:
    norms = []
    for decay in (0.0, 10.0):
        out = tmp_path / str(decay)
        train("digits", model="linear", epochs=3, weight_decay=decay, report=False, out=out)
        norms.append(float(load_run(out).model[-1].weight.detach().norm()))
    assert norms[1] < 0.8 * norms[0]


def test_a_mirrored_model_says_the_same_of_an_image_and_its_mirror_image() -> None:
    torch.manual_seed(0)
    model = create_model(Architecture("conv", 1, 12, 10, 3, mirrored=True))
    plain = create_model(Architecture("conv", 1, 12, 10, 3))
    plain.load_state_dict(model.state_dict())
    x = images(5, 1, 12, 10).byte()
    model.eval()
    plain.eval()
    with torch.inference_mode():
        assert torch.allclose(model(x), model(x.flip(3)), atol=1e-6)
        assert torch.allclose(model(x), (plain(x) + plain(x.flip(3))) / 2, atol=1e-6)
        model.train()
        plain.train()
        assert torch.equal(model(x), plain(x)), "training sees the image alone"


def test_a_mirrored_model_is_exported_with_its_mirror_image(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train("digits", model="conv", effort="best", flip=True, epochs=2, report=False, out=out)
    run = load_run(out)
    assert run.architecture.mirrored
    write_onnx(run, tmp_path / "model.onnx")
    x = images(9, 1, 8, 8).byte().numpy()
    exported = load_onnx(tmp_path / "model.onnx")
    ours = np.asarray(exported.probabilities(x))
    with torch.inference_mode():
        theirs = (run.model.eval()(torch.from_numpy(x)) / run.calibration.temperature).softmax(dim=1).numpy()
    assert np.abs(ours - theirs).max() < 1e-5
    assert np.abs(np.asarray(exported.probabilities(x[..., ::-1].copy())) - ours).max() < 1e-5
