"""``check`` finds changed copies of images, and does not accuse images that only look alike."""

import io
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
from conftest import Outcome
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images

from underhood import read
from underhood.core.images import Dataset, Images
from underhood.data.hashes import perceptual_hashes
from underhood.data.near_duplicates import (
    SAME,
    NearDuplicates,
    content_shares,
    find_near_duplicates,
    near_duplicate_entries,
    near_duplicate_groups,
    similarity,
)
from underhood.data.parts import read_parts

Command = Callable[..., Outcome]


def recompressed(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=20)
    return Image.open(content).convert(image.mode)


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 20, height // 10, width // 20 + width * 4 // 5, height // 10 + height * 4 // 5))


CHANGES: dict[str, tuple[Callable[[Image.Image], Image.Image], set[str]]] = {
    "recompressed": (recompressed, {"recompressed or resized", "brightness"}),
    "half": (lambda image: image.resize((image.width // 2, image.height // 2)), {"recompressed or resized", "same"}),
    "cropped": (cropped, {"crop"}),
    "brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.2), {"brightness"}),
    "darker": (lambda image: ImageEnhance.Brightness(image).enhance(0.8), {"brightness"}),
    "mirrored": (ImageOps.mirror, {"mirrored"}),
    "turned": (lambda image: image.rotate(5, Image.Resampling.BILINEAR), {"turned"}),
}


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """The pieces of two photographs, 80 × 72 pixels each, that are more than sky and haze."""
    pieces = [photo[y : y + 72, x : x + 80] for photo in load_sample_images().images
              for y in range(0, 355, 72) for x in range(0, 561, 80)]  # fmt: skip
    detail = [(piece - gaussian_filter(piece.astype(float), (3, 3, 0))).std() for piece in pieces]
    return [Image.fromarray(piece) for piece, most in zip(pieces, detail, strict=True) if most > 8]


def images_of(pixels: np.ndarray, name: str = "") -> Images:
    return Images(pixels, np.zeros(len(pixels), np.int64), ("a", "b"), [f"{name}{i}" for i in range(len(pixels))])


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_photograph_is_found(
    change: str, photographs: list[Image.Image], underhood: Command, tmp_path: Path
) -> None:
    made, words = CHANGES[change]
    for place in ("train/a", "train/b", "valid/a", "valid/b"):
        (tmp_path / "data" / place).mkdir(parents=True)
    for i, image in enumerate(photographs):
        part = "train" if i % 3 else "valid"
        image.save(tmp_path / "data" / part / "ab"[i % 2] / f"{i}.png")
        if i < 30:
            made(image).save(tmp_path / "data/train" / "ab"[i % 2] / f"{i}-copy.png")
    result = underhood("check", tmp_path / "data", "--json").json
    found = [entry for entry in result["near_duplicates"] if any("copy" in path for path in entry["paths"])]
    numbers = [{Path(path).stem.removesuffix("-copy") for path in entry["paths"]} for entry in found]
    assert len(found) >= 28
    assert [one for one in numbers if len(one) > 1] == []
    assert len(result["near_duplicates"]) == len(found)  # no image without a copy is accused
    assert np.mean([entry["kind"] in words | {"same"} for entry in found]) >= 0.9
    assert all(SAME / 2 <= entry["similarity"] <= 1 for entry in found)
    across = [entry for entry in found if entry["splits"] == ["train", "valid"]]
    assert len(across) >= 9
    assert [{"paths": entry["paths"], "parts": entry["splits"]} for entry in across] == result["leaks"]


def test_digits_that_look_alike_are_not_accused(mnist: Dataset) -> None:
    some = mnist.train.take(np.arange(600))
    assert len(find_near_duplicates([some]).pairs) <= 1


def test_copies_among_digits_are_found(mnist: Dataset) -> None:
    pixels = mnist.train.pixels[:400]
    copies = [np.asarray(CHANGES[kind][0](Image.fromarray(one[0])))[None]
              for one in pixels[:120] for kind in ("brighter", "mirrored", "turned", "recompressed")]  # fmt: skip
    found = find_near_duplicates([images_of(np.concatenate([pixels, np.stack(copies)]))])
    of = np.concatenate([np.arange(400), np.repeat(np.arange(120), 4)])
    first, second = of[found.pairs].T
    linked = {(a, b) for a, b in np.sort(found.pairs, axis=1).tolist()}
    direct = [(i, 400 + 4 * i + k) in linked for i in range(120) for k in range(4)]
    assert (first == second).mean() >= 0.99
    assert np.mean(direct) >= 0.6  # others are linked through another copy
    groups = near_duplicate_groups([images_of(np.concatenate([pixels, np.stack(copies)]))], found)
    assert np.mean(groups[400:] == groups[np.repeat(np.arange(120), 4)]) >= 0.9


def test_exact_copies_are_not_near_duplicates_but_belong_to_their_group(photographs: list[Image.Image]) -> None:
    pixels = np.stack([np.asarray(image.resize((32, 32))).transpose(2, 0, 1) for image in photographs[:30]])
    mirrored = pixels[:1, :, :, ::-1]
    images = images_of(np.concatenate([pixels, pixels[:1], mirrored, pixels[1:2]]))
    found = find_near_duplicates([images])
    assert found.pairs.shape == (1, 2)
    assert found.kinds == ["mirrored"]
    groups = near_duplicate_groups([images], found)
    assert groups[0] == groups[30] == groups[31]
    assert groups[1] == groups[32] != groups[0]
    assert len(set(groups.tolist())) == 30
    (entry,) = near_duplicate_entries(
        {"train": images.take(np.arange(31)), "valid": images.take(np.arange(31, 33))}, found
    )
    assert entry["paths"] == ["0", "30", "31"]
    assert (entry["kind"], entry["splits"]) == ("mirrored", ["train", "valid"])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 1, 28, 28), np.uint8),
        np.zeros((5, 3, 1, 1), np.uint8),
        np.arange(3000).astype(np.uint8)[:, None, None, None] % 3 + np.zeros((1, 1, 28, 28), np.uint8),
        np.random.default_rng(0).integers(0, 256, (4, 3, 20, 31), np.uint8),
        np.random.default_rng(0).integers(0, 256, (67, 1, 16, 16), np.uint8),
        np.zeros((0, 1, 28, 28), np.uint8),
    ],
    ids=["one", "1 x 1", "blank", "four of noise", "noise", "none"],
)  # fmt: skip
def test_odd_data_has_no_near_duplicates(pixels: np.ndarray) -> None:
    found = find_near_duplicates([images_of(pixels)])
    assert found.pairs.shape == (0, 2)
    assert near_duplicate_entries({"train": images_of(pixels)}, found) == []


def test_two_of_four_images_are_near_duplicates(photographs: list[Image.Image]) -> None:
    pixels = np.stack([np.asarray(image) for image in (*photographs[:3], ImageOps.mirror(photographs[0]))])
    found = find_near_duplicates([images_of(pixels.transpose(0, 3, 1, 2))])
    assert np.sort(found.pairs).tolist() == [[0, 3]]


def test_similarity_of_frames_and_of_other_images(photographs: list[Image.Image]) -> None:
    pixels = np.stack([np.asarray(image) for image in photographs]).transpose(0, 3, 1, 2)
    frames = np.clip(np.roll(pixels, (2, 3), (2, 3)) * 0.9 + 10, 0, 255).astype(np.uint8)
    assert (similarity(pixels, frames) >= SAME).mean() >= 0.95
    assert (similarity(pixels[:-7], pixels[7:]) < SAME).all()
    assert similarity(pixels[:0], pixels[:0]).shape == (0,)


def test_hashes_are_those_of_imagehash(photographs: list[Image.Image]) -> None:
    grey = np.stack([np.asarray(image.convert("L").resize((32, 32))) for image in photographs[:5]])
    mine = perceptual_hashes(grey.astype(np.float32))
    assert [row.tolist() for row in mine] == [
        imagehash.phash(Image.fromarray(one)).hash.ravel().tolist() for one in grey
    ]


def test_padding_is_not_compared(photographs: list[Image.Image], tmp_path: Path) -> None:
    """Wide and high photographs with the same padding do not look alike, and a crop keeps its padding."""
    for i, image in enumerate(photographs):
        shaped = image.resize((90, 30) if i % 2 else (30, 90))
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        shaped.save(tmp_path / "ab"[i % 2] / f"{i}.png")
        cropped(shaped).save(tmp_path / "ab"[i % 2] / f"{i}-copy.png")
    parts = read_parts(tmp_path)
    images = [parts.images["train"]]
    found = find_near_duplicates(images, content_shares(parts.preparation, parts.sizes, images))
    names = [{Path(parts.images["train"].names[row]).stem.partition("-")[0] for row in pair} for pair in found.pairs]
    assert len(names) >= 0.8 * len(photographs)
    assert np.mean([len(one) == 1 for one in names]) >= 0.95


def test_padding_of_photographs_that_exif_turns_is_not_compared(photographs: list[Image.Image], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for i, image in enumerate(photographs[:20]):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        wide, turned = image.resize((90, 30)), i % 4 > 1
        wide.save(tmp_path / "ab"[i % 2] / f"{i:02}.jpg", quality=95, **({"exif": exif} if turned else {}))
    parts = read_parts(tmp_path)
    images = parts.images["train"]
    shares = content_shares(parts.preparation, parts.sizes, [images])
    assert shares is not None
    for share, name in zip(shares, images.names, strict=True):
        assert (share[0] < share[1]) == (int(Path(name).stem) % 4 > 1)


def test_a_pair_is_found_whatever_the_order(photographs: list[Image.Image]) -> None:
    pixels = np.stack([np.asarray(image) for image in (*photographs, *map(cropped_back, photographs[:20]))])
    images = images_of(pixels.transpose(0, 3, 1, 2))
    order = np.random.default_rng(1).permutation(len(images))

    def pairs(found: NearDuplicates, rows: np.ndarray) -> set[tuple[int, ...]]:
        return {tuple(sorted(rows[pair].tolist())) for pair in found.pairs}

    forward = pairs(find_near_duplicates([images]), np.arange(len(images)))
    shuffled = pairs(find_near_duplicates([images.take(order)]), order)
    assert len(forward & shuffled) >= 19
    assert len(forward ^ shuffled) <= 1


def cropped_back(image: Image.Image) -> Image.Image:
    return cropped(image).resize(image.size)


def test_the_digits_of_scikit_learn_are_too_small_to_compare() -> None:
    assert len(find_near_duplicates([read("digits").train]).pairs) == 0
