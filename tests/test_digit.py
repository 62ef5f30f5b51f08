"""Drawn digits on any paper are brought into MNIST's form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from drawing import PAPERS, drawn, on_paper, strokes
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageOps

from underhood import Predictor, train
from underhood.core.images import Dataset
from underhood.data.named import read_named
from underhood.data.read import load_data
from underhood.jobs.get import write_folder
from underhood.preparation import Preparation, prepare_image
from underhood.preparation.digit import STEPS, digit_length, digit_to_pixels, is_mnist_like

Command = Callable[..., Outcome]
DIGIT = Preparation(1, 28, 28, "digit")


@pytest.fixture(scope="module")
def run(mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST at default effort."""
    out = tmp_path_factory.mktemp("drawn") / "run"
    train("mnist", out=out, report=False)
    return out


def test_every_image_of_mnist_has_its_form_and_passes_unchanged(mnist: Dataset) -> None:
    for images in (mnist.train, mnist.valid):
        assert all(is_mnist_like(pixels[0]) for pixels in images.pixels)
    for pixels in mnist.valid.pixels[:100]:
        assert (prepare_image(Image.fromarray(pixels[0]), DIGIT) == pixels).all()
        assert (prepare_image(Image.fromarray(pixels[0]).convert("RGB"), DIGIT) == pixels).all()


def test_predict_on_mnists_own_pngs_equals_evaluate(
    run: Path, mnist: Dataset, tmp_path: Path, underhood: Command
) -> None:
    write_folder({"valid": mnist.valid}, tmp_path / "mnist")
    result: Outcome = underhood("predict", run, tmp_path / "mnist", "--json")
    rows = result.json["predictions"]
    right = sum(Path(row["path"]).parent.name == row["label"] for row in rows)
    evaluated = underhood("evaluate", run, "--json").json
    assert len(rows) == evaluated["images"] == 10_000
    assert right / len(rows) == evaluated["accuracy"]
    assert 0.005 < sum(row["rejected"] for row in rows) / len(rows) < 0.015


@pytest.mark.parametrize("source", ["strokes", "mnist"])
def test_drawn_digits_keep_their_label(run: Path, mnist: Dataset, source: str) -> None:
    cases = [drawn(number, 1, None if source == "strokes" else mnist.valid) for number in range(400)]
    labels, _ = Predictor.load(run).predict([case.image for case in cases])
    right = np.array([int(label) == case.digit for label, case in zip(labels, cases, strict=True)])
    assert right.mean() >= 0.97
    for paper in PAPERS:
        assert right[[case.paper == paper for case in cases]].mean() >= 0.92, paper


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_a_prepared_digit_has_mnists_form_and_is_unchanged_by_preparing_it_again(number: int) -> None:
    pixels = digit_to_pixels(drawn(number, 2).image, 28)
    assert is_mnist_like(pixels)
    assert (digit_to_pixels(Image.fromarray(pixels), 28) == pixels).all()


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 9), st.integers(0, 72), st.integers(0, 72))
def test_paper_around_it_and_polarity_change_nothing(seed: int, digit: int, left: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    ink = strokes(digit, rng, 120, 80, rng.uniform(-0.2, 0.4), rng.uniform(4, 12), np.zeros(2))
    dark = Image.fromarray(np.where(ink > 0.5, 0, 255).astype(np.uint8))
    wide = Image.new("L", (192, 192), 255)
    wide.paste(dark, (left, top))
    one = digit_to_pixels(wide, 28)
    assert is_mnist_like(one)
    assert (digit_to_pixels(ImageOps.invert(wide), 28) == one).all()
    other = Image.new("L", (192, 192), 255)
    other.paste(dark, (36, 36))
    assert (digit_to_pixels(other, 28) == one).all()


def test_most_images_of_empty_paper_are_rejected(run: Path) -> None:
    sheets = [
        on_paper(np.zeros((224, 224)), PAPERS[seed % 6], seed % 4 < 2, 8, np.random.default_rng(seed))
        for seed in range(120)
    ]
    predictor = Predictor.load(run)
    pixels = np.stack([prepare_image(sheet, predictor.preparation) for sheet in sheets])
    assert predictor.answers(pixels).rejected.mean() > 0.85


@pytest.mark.parametrize("dark", [True, False])
def test_a_blank_image_is_never_a_digit(dark: bool, tmp_path: Path) -> None:
    for paper in ("clean", "texture"):
        for seed in range(5):
            image = on_paper(np.zeros((112, 112)), paper, dark, 4, np.random.default_rng(seed))
            assert not digit_to_pixels(image, 28).any(), (paper, seed)
    run = train("digits", model="linear", epochs=1, out=tmp_path / "run", report=False, reject=0.0)["run"]
    predictor = Predictor.load(run)
    grey = np.full((1, 1, 8, 8), 90, np.uint8)
    assert predictor.threshold == 0
    assert predictor.answers(grey).reasons == ["blank"]


def test_each_step_can_be_left_out() -> None:
    image = drawn(3, 2).image
    whole = digit_to_pixels(image, 28)
    for step in STEPS:
        without = digit_to_pixels(image, 28, [other for other in STEPS if other != step])
        assert without.shape == (28, 28)
        if step in ("crop", "antialias"):
            assert (without != whole).any()
    hard = digit_to_pixels(image, 28, [other for other in STEPS if other != "antialias"])
    assert len(np.unique(hard)) < len(np.unique(whole))


def test_other_sizes_are_scaled_and_small_ones_full() -> None:
    assert [digit_length(side) for side in (28, 56, 14, 8)] == [20, 40, 14, 8]
    for side in (16, 20, 56):
        pixels = digit_to_pixels(drawn(5, 2).image, side)
        assert pixels.shape == (side, side)
        assert is_mnist_like(pixels)
    small = digit_to_pixels(drawn(5, 2).image, 8)
    assert small.any(axis=1).all()


def test_the_sets_of_digits_store_this_fit_and_an_option_selects_it_for_a_folder(
    mnist: Dataset, tmp_path: Path, underhood: Command
) -> None:
    digits = train("digits", model="linear", epochs=1, out=tmp_path / "digits", report=False)["run"]
    assert Predictor.load(digits).preparation == Preparation(1, 8, 8, "digit")
    assert load_data("mnist").preparation == DIGIT
    for number in range(40):
        case = drawn(number, 4)
        place = tmp_path / "drawn" / f"{case.digit % 2}"
        place.mkdir(parents=True, exist_ok=True)
        case.image.save(place / f"{number}.png")
    done: Outcome = underhood("train", tmp_path / "drawn", "--fit", "digit", "--epochs", 2, "--out", "run", "--json")
    assert done.code == 0
    assert Predictor.load("run").preparation == DIGIT
    failed: Outcome = underhood("train", tmp_path / "drawn", "--fit", "digit", "--channels", 3)
    assert failed.code == 1
    assert "leave --channels out" in failed.err


def test_a_model_of_scikit_learns_digits_predicts_drawn_ones(tmp_path: Path) -> None:
    run = train("digits", out=tmp_path / "run", report=False)["run"]
    cases = [drawn(number, 5) for number in range(300)]
    labels, _ = Predictor.load(run).predict([case.image for case in cases])
    assert np.mean([int(label) == case.digit for label, case in zip(labels, cases, strict=True)]) > 0.7
    assert len(read_named("digits")["train"]) == 1797
