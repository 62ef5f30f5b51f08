"""Pixels as pictures in a page: ``data:`` addresses, small ones as PNG, colourful ones as WebP."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image


class Thumbnail(NamedTuple):
    """A picture in a page, and its size there, in pixels."""

    address: str
    width: int
    height: int


def thumbnail(pixels: np.ndarray, side: int = 112) -> Thumbnail:
    """One picture, uint8 [c, h, w], shown about ``side`` pixels high."""
    return strip(pixels[None], side)


def strip(pixels: np.ndarray, side: int = 48, gap: int = 1) -> Thumbnail:
    """Pictures side by side, uint8 [n, c, h, w], shown about ``side`` pixels high."""
    channels, height = pixels.shape[1:3]
    padded = np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, gap if len(pixels) > 1 else 0)), constant_values=128)
    row = padded.transpose(2, 0, 3, 1).reshape(height, -1, channels)
    content = io.BytesIO()
    form = "PNG" if channels == 1 else "WEBP"
    Image.fromarray(row.squeeze(2) if channels == 1 else row).save(content, form, quality=85)
    address = f"data:image/{form.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
    scale = max(1, round(side / height))
    return Thumbnail(address, row.shape[1] * scale, height * scale)


def as_pixels(values: np.ndarray) -> np.ndarray:
    """Numbers of any size, float [c, h, w], as pixels: grey is 0 where there is one channel, black and white the
    largest that occurs, to both sides."""
    most = float(np.abs(values).max()) or 1.0
    return np.clip(127.5 + 127.5 * values / most, 0, 255).astype(np.uint8)


def spread(count: int, most: int) -> list[int]:
    """At most so many places, evenly spread over ``count``."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def first_of_each(labels: np.ndarray, classes: Sequence[str], most: int) -> list[list[int]]:
    """For each class, at most so many of its pictures, evenly spread: their indices. labels: int [n]."""
    found = []
    for label in range(len(classes)):
        mine = np.flatnonzero(labels == label)
        found.append([int(mine[i]) for i in spread(len(mine), most)] if len(mine) else [])
    return found


def heat(values: np.ndarray, side: int = 112) -> Thumbnail:
    """Numbers for each pixel, float [c, h, w], channels added: blue above 0, orange below, see-through at 0."""
    total = values.sum(axis=0)
    opaque = np.abs(total) / (np.abs(total).max() or 1.0)
    colour = np.where(total[..., None] > 0, (59, 130, 196), (224, 138, 46))
    rgba = np.concatenate([colour, np.round(255 * opaque**0.7)[..., None]], axis=2).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(rgba).save(content, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    scale = max(1, round(side / len(total)))
    return Thumbnail(address, total.shape[1] * scale, total.shape[0] * scale)
