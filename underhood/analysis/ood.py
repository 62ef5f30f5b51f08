"""Out-of-distribution images: how many does a model reject that show none of its classes? Noise, letters, clothes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from underhood.core.errors import DataError, RunError
from underhood.data.named import read_named
from underhood.preparation import Preparation, prepare_image, refit
from underhood.runs import read_rows, write_csv

if TYPE_CHECKING:
    from underhood.runs.checkpoint import Run

OOD_FILE = "ood.csv"
OOD_COLUMNS = ["kind", "images", "rejected"]
LETTERS = "ABCDEFGHJKLMNPQRTUVWXYadefhkmnprtuvwxy"  # without those that look like digits: I, O, S, Z, b, g, l, q, …
IMAGES_PER_KIND = 120  # of clothes ten times as many

OODRow = tuple[str, int, int]  # kind, images, rejected


def count_ood(run: "Run", name: str, other_data_sets: bool = True) -> list[OODRow]:
    """(kind, images, rejected) for each kind of out-of-distribution images that is available here.

    name: of the data set that the run was trained on, which is not out of distribution
    other_data_sets: also count images of other data sets that are on this machine; without, only the run matters
    """
    from underhood.analysis.inference import answers_of

    rows = []
    for kind, pixels in _ood_images(run.preparation, name, other_data_sets):
        rows.append((kind, len(pixels), int(answers_of(run, pixels).rejected.sum())))
    return rows


def write_ood(folder: Path, rows: Sequence[OODRow]) -> None:
    """Write a run's ``ood.csv``."""
    write_csv(folder / OOD_FILE, OOD_COLUMNS, rows)


def read_ood(folder: Path) -> list[OODRow]:
    """The rows of a run's ``ood.csv``; [] if it has none, as older runs. Raises RunError if the file is damaged."""
    path = folder / OOD_FILE
    if not path.is_file():
        return []
    try:
        return [(row["kind"], int(row["images"]), int(row["rejected"])) for row in read_rows(path, OOD_COLUMNS)]
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): remove it, and the report leaves this section out") from None


def _ood_images(preparation: Preparation, name: str, other_data_sets: bool) -> Iterator[tuple[str, np.ndarray]]:
    """(kind, pixels): uint8 [n, c, h, w], prepared like the run's images."""
    shape = IMAGES_PER_KIND, preparation.height, preparation.width, 3
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    yield "noise", np.stack([prepare_image(Image.fromarray(one), preparation) for one in noise])
    if preparation.reads_digits:
        yield "printed letters", _letters(preparation)
    if other_data_sets and name != "fashion-mnist" and preparation.channels == 1:
        try:
            clothes = read_named("fashion-mnist", download=False)["valid"]
        except DataError:  # not on this machine: it is not downloaded for this
            return
        yield "clothes (fashion-mnist)", refit(clothes.pixels[: 10 * IMAGES_PER_KIND], preparation)


def _letters(preparation: Preparation) -> np.ndarray:
    """Letters in matplotlib's own fonts: uint8 [n, c, h, w]."""
    import matplotlib as mpl

    fonts = sorted((Path(mpl.get_data_path()) / "fonts" / "ttf").glob("DejaVuS*.ttf"))
    images = []
    for number in range(IMAGES_PER_KIND):
        font = ImageFont.truetype(fonts[number // len(LETTERS) % len(fonts)], 56)
        image = Image.new("L", (96, 96), "white")
        ImageDraw.Draw(image).text((48, 48), LETTERS[number % len(LETTERS)], "black", font, anchor="mm")
        images.append(prepare_image(image, preparation))
    return np.stack(images)
