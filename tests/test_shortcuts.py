"""Shortcuts: what should not matter, and yet predicts the class."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from underhood.analysis.shortcuts import find_shortcuts, measure_cues, shortcut_lines
from underhood.data.read import ReadOptions, read_parts

PANEL = Path(os.environ.get("UNDERHOOD_DATA", "."), "panel")
needs_panel = pytest.mark.skipif(not PANEL.is_dir(), reason="the panel's images are not here: set UNDERHOOD_DATA")

Plant = Callable[[Image.Image], tuple[Image.Image, dict[str, object]]]


def with_border(image: Image.Image) -> tuple[Image.Image, dict[str, object]]:
    ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline=(0, 0, 0))
    return image, {}


def with_date(image: Image.Image) -> tuple[Image.Image, dict[str, object]]:
    """A stamp in one corner."""
    ImageDraw.Draw(image).rectangle((26, 28, 31, 31), fill=(255, 200, 0))
    return image, {}


def larger(image: Image.Image) -> tuple[Image.Image, dict[str, object]]:
    return image.resize((36, 36)), {}


def brighter(image: Image.Image) -> tuple[Image.Image, dict[str, object]]:
    return Image.fromarray((np.asarray(image).astype(int) + 60).clip(0, 255).astype(np.uint8)), {}


def by_another_camera(image: Image.Image) -> tuple[Image.Image, dict[str, object]]:
    exif = Image.Exif()
    exif[0x010F] = "Acme"
    return image, {"exif": exif}


def planted(folder: Path, plant: Plant, classes: tuple[str, str] = ("cat", "dog"), count: int = 80) -> Path:
    """CIFAR's cats and dogs, the dogs with something that has nothing to do with dogs."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for path in sorted((PANEL / "cifar10-3000/train" / name).iterdir())[:count]:
            image, options = Image.open(path).convert("RGB"), {}
            if name == classes[1]:
                image, options = plant(image)
            image.save(folder / name / f"{path.stem}.jpg", quality=92, **options)
    return folder


@needs_panel
@pytest.mark.parametrize(
    ("plant", "cue"),
    [
        (with_border, "border"),
        (with_date, "corner"),
        (larger, "image size"),
        (brighter, "mean brightness"),
        (by_another_camera, "EXIF"),
    ],
)
def test_planted_shortcuts_are_named(plant: Plant, cue: str, tmp_path: Path) -> None:
    found = find_shortcuts(read_parts(planted(tmp_path / "planted", plant)))
    assert cue in [one["cue"] for one in found]
    best = next(one for one in found if one["cue"] == cue)
    assert best["chance"] == 0.5
    assert best["interval"][0] > 0.6
    assert f"{cue} alone predicts the class" in best["sentence"]
    assert shortcut_lines(found)[0].startswith("shortcut: ")


@needs_panel
def test_a_shortcut_of_one_class_among_ten_is_named(tmp_path: Path) -> None:
    for number, source in enumerate(sorted((PANEL / "cifar10-3000/train").iterdir())):
        (tmp_path / source.name).mkdir()
        for path in sorted(source.iterdir())[:40]:
            image = Image.open(path).convert("RGB")
            (with_border(image)[0] if number == 3 else image).save(tmp_path / source.name / path.name)
    (found,) = find_shortcuts(read_parts(tmp_path))
    assert found["cue"] == "border"
    assert found["classes"] == ["cat"]


@needs_panel
@pytest.mark.parametrize("name", ["hymenoptera", "cifar10-3000", "fashion"])
def test_images_without_a_shortcut_have_none(name: str) -> None:
    assert find_shortcuts(read_parts(PANEL / name, ReadOptions(limit=500))) == []


def test_digits_and_mnist_have_none(mnist: object) -> None:
    for name in ("digits", "mnist"):
        assert find_shortcuts(read_parts(name, ReadOptions(limit=500))) == []


def test_a_texture_that_fills_the_image_is_no_shortcut(tmp_path: Path) -> None:
    """The border tells the class, but no more than the inside does."""
    generator = np.random.default_rng(0)
    for name, contrast in (("felt", 10), ("gravel", 40)):
        (tmp_path / name).mkdir()
        for i in range(60):
            pixels = generator.integers(100, 156) + contrast * generator.normal(size=(24, 24))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / name / f"{i}.png")
    accuracy = {cue: one.accuracy for cue, one, _ in measure_cues(read_parts(tmp_path))}
    assert accuracy["the border"] > 0.95
    assert find_shortcuts(read_parts(tmp_path)) == []


@pytest.mark.parametrize("counts", [(1,), (5,), (1, 1), (2, 1), (5, 5), (1,) * 30])
def test_few_images_name_nothing(counts: tuple[int, ...], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for label, count in enumerate(counts):
        (tmp_path / str(label)).mkdir()
        for i in range(count):
            pixels = generator.integers(0, 256, (12, 12), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / str(label) / f"{i}.png")
    assert find_shortcuts(read_parts(tmp_path)) == []
