"""Pictures that show none of the classes: what does a model say of them? Noise, printed letters, clothes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from underhood.analysis.interpretation import not_sure
from underhood.core.errors import DataError
from underhood.data.named import read_named
from underhood.preparation.prepare import Preparation, picture_to_pixels, refit
from underhood.runs.folder import Run

LETTERS = (
    "ABCDEFGHJKLMNPQRTUVWXYadefhkmnprtuvwxy"  # those that are no digits in any hand: not I, O, S, Z, b, g, l, q, …
)
MOST = 120  # pictures of a kind, of clothes ten times as many


def caught(run: Run, name: str) -> list[tuple[str, int, int]]:
    """(kind, pictures, of how many the model is not sure) of each kind that can be had here.

    name: of the data that it was trained on, which is no stranger
    """
    from underhood.core.learner import predict_probabilities

    rows = []
    for kind, pixels in _strangers(run.preparation, name):
        rejected = not_sure(pixels, predict_probabilities(run.model, pixels).numpy(), run.threshold)
        rows.append((kind, len(pixels), int(rejected.sum())))
    return rows


def _strangers(preparation: Preparation, name: str) -> Iterator[tuple[str, np.ndarray]]:
    noise = np.random.default_rng(0).integers(0, 256, (MOST, preparation.height, preparation.width, 3), dtype=np.uint8)
    yield "noise", np.stack([picture_to_pixels(Image.fromarray(one), preparation) for one in noise])
    if preparation.fit == "digit":
        yield "printed letters", _letters(preparation)
    if name != "fashion-mnist" and preparation.channels == 1:
        try:
            clothes = read_named("fashion-mnist", download=False)["valid"]
        except DataError:  # not here, and not worth a download
            return
        yield "clothes (fashion-mnist)", refit(clothes.pixels[: 10 * MOST], preparation)


def _letters(preparation: Preparation) -> np.ndarray:
    """Letters in the fonts that come with matplotlib: uint8 [n, c, h, w]."""
    import matplotlib as mpl

    fonts = sorted((Path(mpl.get_data_path()) / "fonts" / "ttf").glob("DejaVuS*.ttf"))
    pictures = []
    for number in range(MOST):
        font = ImageFont.truetype(fonts[number // len(LETTERS) % len(fonts)], 56)
        image = Image.new("L", (96, 96), "white")
        ImageDraw.Draw(image).text((48, 48), LETTERS[number % len(LETTERS)], "black", font, anchor="mm")
        pictures.append(picture_to_pixels(image, preparation))
    return np.stack(pictures)
