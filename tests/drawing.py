"""Digits drawn on all kinds of paper, for tests and benchmarks: not handwritten, and not from a data set.

Each digit can be written in a few ways, as strokes in a unit square. They are warped, slanted, rotated and drawn with a
pen of any width, anywhere on plain, textured, ruled, squared or shaded paper, dark on light or light on dark. Half of
the images are saved as JPEGs of low quality.
"""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from underhood.core.images import Images

PAPERS = ("clean", "texture", "ruled", "grid", "shadow", "photo")


def arc(x: float, y: float, rx: float, ry: float, begin: float, end: float, points: int = 16) -> list:
    """Points on an ellipse, from one angle to another in degrees; y points down."""
    t = np.radians(np.linspace(begin, end, points))
    return [(x + rx * np.cos(a), y + ry * np.sin(a)) for a in t]


WAYS = {  # digit → ways → strokes → points
    0: [[arc(0.5, 0.5, 0.33, 0.48, -90, 270, 30)], [arc(0.5, 0.5, 0.4, 0.46, -60, 300, 30)]],
    1: [[[(0.5, 0), (0.5, 1)]], [[(0.3, 0.22), (0.55, 0), (0.55, 1)]], [[(0.55, 0), (0.45, 1)]]],
    2: [
        [[*arc(0.5, 0.28, 0.34, 0.28, -170, 40), (0.2, 0.98), (0.86, 0.98)]],
        [[*arc(0.48, 0.27, 0.34, 0.27, -160, 60), (0.15, 0.9), *arc(0.25, 0.88, 0.1, 0.08, 150, 400, 8), (0.9, 1)]],
    ],
    3: [
        [[*arc(0.45, 0.25, 0.33, 0.25, -150, 90), *arc(0.45, 0.74, 0.38, 0.26, -90, 150)]],
        [[(0.15, 0.02), (0.8, 0.02), (0.45, 0.4), *arc(0.45, 0.7, 0.36, 0.3, -90, 150)]],
    ],
    4: [
        [[(0.35, 0), (0.12, 0.6), (0.88, 0.6)], [(0.7, 0.25), (0.66, 1)]],
        [[(0.68, 1), (0.68, 0), (0.1, 0.66), (0.92, 0.66)]],
        [[(0.2, 0.05), (0.2, 0.5), (0.8, 0.5)], [(0.8, 0), (0.8, 1)]],
    ],
    5: [
        [[(0.8, 0.02), (0.28, 0.02), (0.22, 0.42), *arc(0.46, 0.68, 0.34, 0.3, -110, 150)]],
        [[(0.25, 0.05), (0.2, 0.42), *arc(0.44, 0.68, 0.34, 0.3, -110, 150)], [(0.25, 0.04), (0.82, 0.02)]],
    ],
    6: [
        [[(0.7, 0.02), (0.4, 0.25), (0.22, 0.6), *arc(0.48, 0.73, 0.27, 0.25, 180, 540, 24)]],
        [[*arc(0.75, 0.6, 0.55, 0.6, -120, -180, 10), *arc(0.46, 0.74, 0.26, 0.24, 180, 530, 24)]],
    ],
    7: [
        [[(0.12, 0.03), (0.85, 0.03), (0.42, 1)]],
        [[(0.12, 0.03), (0.85, 0.03), (0.42, 1)], [(0.3, 0.5), (0.78, 0.5)]],
        [[(0.1, 0.12), (0.12, 0.03), (0.85, 0.03), (0.55, 0.45), (0.48, 1)]],
    ],
    8: [
        [[*arc(0.5, 0.25, 0.26, 0.24, 90, -270, 24), *arc(0.5, 0.74, 0.33, 0.26, -90, 270, 24)]],
        [[
            *arc(0.5, 0.25, 0.27, 0.25, -20, -180, 12), (0.3, 0.38), (0.7, 0.62),
            *arc(0.5, 0.75, 0.3, 0.25, -30, 210, 16), (0.3, 0.6), (0.72, 0.36), (0.75, 0.2),
        ]],
    ],
    9: [
        [[*arc(0.5, 0.27, 0.28, 0.26, 0, -360, 24), (0.78, 0.3), (0.72, 1)]],
        [[*arc(0.48, 0.27, 0.28, 0.26, -10, -360, 24), (0.76, 0.6), *arc(0.46, 0.7, 0.3, 0.28, 0, 130, 12)]],
    ],
}  # fmt: skip


class Drawn(NamedTuple):
    image: Image.Image
    digit: int
    paper: str


def drawn(number: int, seed: int = 0, of: Images | None = None) -> Drawn:
    """An image from its number: of strokes, or of one of these images, drawn larger.

    It is shifted by up to 6 of 28 pixels, scaled by 0.5 to 1.5 (on paper that is large enough), drawn with a pen of 1
    to 5 of 28 pixels (the outline of the given images is moved) and slanted by up to 45 degrees.
    """
    rng = np.random.default_rng([seed, number])
    digit, paper = int(rng.integers(10)), PAPERS[rng.integers(len(PAPERS))]
    unit = float(rng.choice([1, 2, 4, 8, 12] if paper == "clean" else [4, 8, 12]))  # pixels for one of 28
    scale, shift, dark, pen = rng.uniform(0.5, 1.5), rng.uniform(-6, 6, 2), rng.random() < 0.6, rng.uniform(1, 5)
    room = max(0.0, 12.5 - 10 * scale)
    if scale > 1:
        side = round((34 + max(0, 20 * scale - 16)) * unit)
    else:
        side, shift = round(28 * unit), np.clip(shift, -room, room)
    if of is None:
        slant = rng.uniform(-0.2, 0.5) if rng.random() < 0.7 else rng.uniform(0.5, 1)
        width = min(pen, pen * max(scale, 0.6)) * unit
        ink = strokes(digit, rng, side, 19 * unit * scale, slant, width, shift * unit)
    else:
        which = int(rng.integers(len(of)))
        digit = int(of.labels[which])
        grow = rng.uniform(-0.7, 1.2) * max(scale, 0.6) * unit
        ink = _redrawn(of.pixels[which, 0], side, round(28 * unit * scale), grow, shift * unit)
    return Drawn(on_paper(ink, paper, dark, unit, rng), digit, paper)


def strokes(
    digit: int, rng: np.random.Generator, side: int, height: float, slant: float, width: float, shift: np.ndarray
) -> np.ndarray:
    turn, aspect, finer = rng.normal(0, 0.1), rng.uniform(0.85, 1.15), 4
    warp = rng.normal(0, 0.02, (4, 4, 2))
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [[aspect * 0.75, -slant], [0, 1]]
    image = Image.new("L", (side * finer, side * finer), 0)
    pen, half = ImageDraw.Draw(image), max(0.5, width * finer / 2)
    ways = WAYS[digit]
    for stroke in ways[rng.integers(len(ways))]:
        points = np.array(stroke, float)
        at = np.clip(points.T * 3, 0, 3)
        moved = np.stack([ndimage.map_coordinates(warp[..., axis], at, order=1) for axis in (0, 1)], axis=1)
        points = ((points + moved - 0.5) @ turned.T * height + side / 2 + shift) * finer
        pen.line([tuple(point) for point in points], 255, max(1, round(2 * half)), joint="curve")
        for x, y in points:
            pen.ellipse([x - half, y - half, x + half, y + half], 255)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float32) / 255


def _redrawn(pixels: np.ndarray, side: int, length: int, grow: float, shift: np.ndarray) -> np.ndarray:
    large = np.asarray(Image.fromarray(pixels).resize((2 * length, 2 * length), Image.Resampling.BICUBIC)) > 127
    outline = ndimage.distance_transform_edt(large) - ndimage.distance_transform_edt(~large)
    ink = np.round(255 * np.clip(outline + grow + 0.5, 0, 1)).astype(np.uint8)
    whole = Image.new("L", (side, side), 0)
    corner = [round(side / 2 - length / 2 + by) for by in shift]
    whole.paste(Image.fromarray(ink).resize((length, length), Image.Resampling.BOX), corner)
    return np.asarray(whole, np.float32) / 255


def on_paper(ink: np.ndarray, paper: str, dark: bool, unit: float, rng: np.random.Generator) -> Image.Image:
    """Ink, float [side, side], on a kind of paper. dark: the ink; unit: pixels for one of 28."""
    side = len(ink)
    y, x = np.mgrid[:side, :side] / side
    base, colour = (1.0, np.zeros(3)) if dark else (0.0, np.ones(3))
    sheet = np.full((side, side, 3), base)
    if paper != "clean":
        base = rng.uniform(0.75, 0.95) if dark else rng.uniform(0.05, 0.25)
        colour = rng.uniform(0, 0.3, 3) if dark else rng.uniform(0.8, 1, 3)
        sheet = base * (1 + rng.normal(0, 0.02, 3)) * np.ones((side, side, 3))
        sheet += ndimage.gaussian_filter(rng.normal(0, 1, (side, side)), 1)[..., None] * rng.uniform(0, 0.06)
    if paper in ("ruled", "grid", "photo"):
        apart, width, angle = unit * rng.uniform(4, 9), unit * rng.uniform(0.15, 0.5), rng.uniform(-0.06, 0.06)
        across = (y * np.cos(angle) - x * np.sin(angle)) * side + rng.uniform(0, apart)
        along = (x * np.cos(angle) + y * np.sin(angle)) * side + rng.uniform(0, apart)
        lines = across % apart < max(1, width)
        if paper != "ruled":
            lines |= along % apart < max(1, width)
        tint = np.array([0.65, 0.4, 0]) if rng.random() < 0.6 else np.full(3, 0.65)
        sheet += (-1 if dark else 1) * rng.uniform(0.15, 0.4) * lines[..., None] * tint
    scene = sheet * (1 - ink[..., None]) + colour * ink[..., None]
    if paper in ("shadow", "photo"):
        light = 1 + rng.uniform(-0.35, 0.35) * (x - 0.5) + rng.uniform(-0.35, 0.35) * (y - 0.5)
        if rng.random() < 0.6:
            angle = rng.uniform(0, 2 * np.pi)
            edge = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) - rng.uniform(-0.3, 0.3)
            light *= 1 - rng.uniform(0.2, 0.45) / (1 + np.exp(-edge * rng.uniform(20, 80)))
        blur = rng.uniform(0, 0.25) * unit
        scene = ndimage.gaussian_filter(scene * light[..., None], (blur, blur, 0))
        scene += rng.normal(0, rng.uniform(0, 0.03), scene.shape)
    image = Image.fromarray((np.clip(scene, 0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.5:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(15, 90)))
        image = Image.open(file)
        image.load()
    return image
