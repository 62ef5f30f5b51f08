"""A sheet to draw on in a lesson, with a mouse, a finger or the keyboard."""

import base64
import io
from pathlib import Path

import anywidget
import traitlets
from PIL import Image


class Sheet(anywidget.AnyWidget):
    """White paper and a black pen, 280 × 280 pixels. In a marimo notebook: ``mo.ui.anywidget(Sheet())``.

    png: what is drawn, as a ``data:`` address of a PNG file, renewed after each stroke; "" while nothing is
    """

    _esm = Path(__file__).with_suffix(".js")
    png = traitlets.Unicode("").tag(sync=True)


def read_sheet(png: str) -> Image.Image | None:
    """The image of a ``Sheet``, from its ``png``; None while nothing is drawn."""
    if not png:
        return None
    return Image.open(io.BytesIO(base64.b64decode(png.partition(",")[2]))).convert("L")
