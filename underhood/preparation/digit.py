"""A drawn or photographed digit in MNIST's form, whatever its paper, polarity, size, place, pen and light.

MNIST's makers (LeCun, Cortes and Burges, 1998) took black ink on white forms, scaled it to fit 20 × 20 pixels with
antialiasing, and moved it so that its centre of mass lies in the middle of 28 × 28. So does this:

    polarity   ink is what differs most from the paper around it, darker or lighter
    crop       to what belongs together, upright where it leans more than MNIST's digits do
    stroke     its outline moved until the pen is as wide as MNIST's are
    antialias  scaled so that the longer side is 20 of 28 pixels, in grey levels
    centre     its centre of mass in the middle

Each step can be left out, to see what it is good for.
"""

from collections.abc import Collection

import numpy as np
from PIL import Image

STEPS = ("polarity", "crop", "stroke", "antialias", "centre")
SMALL, WORKING = 96, 192  # pixels: the longer side of the picture that ink is looked for in, at least and at most
FINE = 6  # times finer than the result, the outline is moved
STROKE = 2.1, 3.8  # pixels of 28: how wide a pen is, of eight in ten of MNIST's digits
SLANT = -0.45, 0.65  # how far they lean, horizontal over vertical
FAINT = 0.12  # of black to white: what differs less from its paper is no ink


def digit_to_pixels(image: Image.Image, side: int, steps: Collection[str] = STEPS) -> np.ndarray:
    """A picture of mode L or RGB as uint8 [side, side], light ink on black; all 0 where no ink is found.

    One that has MNIST's form already (``in_form``) stays as it is.
    """
    if len(steps) == len(STEPS) and image.size == (side, side) and in_form(as_it_is := np.asarray(image.convert("L"))):
        return as_it_is
    ink = find_ink(image, "polarity" in steps)  # [h, w], 0 to 1
    if "crop" in steps:
        ink = ink * belonging(ink > 0.5)
        ink = _cropped(_upright(ink))
    drawn = _scaled(ink, side, "crop" in steps, "stroke" in steps, "antialias" in steps)
    return _placed(drawn, side, "centre" in steps) if drawn.any() else np.zeros((side, side), np.uint8)


def in_form(pixels: np.ndarray) -> bool:
    """Whether a picture, uint8 [side, side], is as MNIST's are: 20 of 28 pixels long, its mass in the middle.

    Every picture of MNIST is. Below 16 pixels a side there is no room for a margin: every picture is taken as it is.
    """
    side = len(pixels)
    if side < 16:
        return True
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows) or pixels.max() < 250:
        return False
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    off = [at - side / 2 for at in _centre_of_mass(pixels)]  # in [0, 1): translation is by whole pixels
    return bool(longest in (box(side) - 1, box(side)) and min(off) > -0.05 and max(off) < 1.05)


def box(side: int) -> int:
    """How long a digit is in a picture of ``side`` pixels: 20 of 28; all of it where there is no room for a margin."""
    return round(side * 20 / 28) if side >= 16 else side


def find_ink(image: Image.Image, either_polarity: bool = True) -> np.ndarray:
    """How much ink there is, float32 [h, w] of at most ``WORKING`` pixels: 0 paper, 1 full; all 0 of a blank picture.

    either_polarity: without, light is ink and dark is paper, as the model has it
    """
    from scipy import ndimage

    longest = min(max(max(image.size), SMALL), WORKING)
    scale = longest / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    x = np.asarray(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0), np.float32) / 255
    x = x.reshape(*x.shape[:2], -1)  # [h, w, c]
    if not either_polarity:
        return x.mean(axis=2)
    ring = _ring(x)
    paper = np.median(ring, axis=0)
    even = np.percentile(np.abs(ring - paper).max(axis=1), 90) < 0.1
    grey = x.mean(axis=2)
    around = paper.mean() if even else ndimage.gaussian_filter(grey, longest / 8)
    sign = -1 if ((grey - around) ** 3).sum() < 0 else 1  # ink is little and far from its paper
    if not even:  # paper is what is left when everything as narrow as a pen is taken away
        wide = longest // 4
        filters = (ndimage.grey_closing, ndimage.grey_opening)
        paper = np.stack([filters[sign > 0](x[..., c], size=(wide, wide)) for c in range(x.shape[2])], axis=2)
        paper = ndimage.gaussian_filter(paper, (longest / 32, longest / 32, 0))
    contrast = ndimage.gaussian_filter(np.clip(sign * (x - paper), 0, 1).mean(axis=2), longest / WORKING)
    contrast = np.maximum(contrast - np.median(contrast), 0)  # its texture
    most = np.partition(contrast, -30, axis=None)[-30:].mean()
    if most < FAINT:
        return np.zeros_like(contrast)
    full = np.median(contrast[contrast > 0.6 * most])
    return np.clip(contrast / full, 0, 1)


def belonging(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask, bool [h, w], with what lies near and is no speck; rulings apart."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(float)
    around = np.concatenate([labels[0], labels[:, -1], labels[-1, ::-1], labels[::-1, 0]])
    starts = around[around != np.roll(around, 1)]
    meets = np.bincount(starts, minlength=count + 1)[1:]  # how often each part meets the edge
    ruled = meets >= 8  # a grid
    if (meets >= 2).sum() > 1:  # lines from edge to edge
        ruled |= meets >= 2
    sizes[ruled] = 0
    edges = meets > 0
    if not sizes.any():
        return np.zeros_like(mask)
    main = int(np.argmax(sizes * np.where(edges, 0.1, 1.0)))
    places = ndimage.find_objects(labels)
    top, left = (place.start for place in places[main])
    bottom, right = (place.stop for place in places[main])
    reach = 0.3 * max(bottom - top, right - left)
    kept = np.zeros(count + 1, bool)
    for number, (rows, columns) in enumerate(places):
        apart = max(top - rows.stop, rows.start - bottom, left - columns.stop, columns.start - right)
        near = apart < reach and sizes[number] > 0.03 * sizes[main] and edges[number] <= edges[main]
        kept[number + 1] = near or number == main
    return ndimage.binary_dilation(kept[labels], iterations=2)


def _upright(ink: np.ndarray) -> np.ndarray:
    """What leans more than MNIST's digits do, sheared back to where they end."""
    rows, columns = np.nonzero(ink > 0.5)
    if not len(rows):
        return ink
    y, x = rows - rows.mean(), columns - columns.mean()
    slant = -(x * y).mean() / max((y * y).mean(), 1e-9)
    excess = slant - np.clip(slant, *SLANT)
    if not excess:
        return ink
    room = int(np.ceil(abs(excess) * len(ink)))
    wide = np.pad(ink, ((0, 0), (room, room)))
    image = Image.fromarray(wide)
    shear = (1, -excess, excess * rows.mean(), 0, 1, 0)
    return np.asarray(image.transform(image.size, Image.Transform.AFFINE, shear, Image.Resampling.BILINEAR))


def _cropped(ink: np.ndarray) -> np.ndarray:
    mask = ink > 0.5
    if not mask.any():
        return np.zeros((1, 1), ink.dtype)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(ink: np.ndarray, side: int, to_box: bool, stroke: bool, antialias: bool) -> np.ndarray:
    """Ink at the result's scale, float32 [≤ side, ≤ side], 0 to 1."""
    from scipy import ndimage

    target = box(side) if to_box else side
    if not stroke or not antialias or not to_box:
        return _resized(ink, target, Image.Resampling.BOX if antialias else Image.Resampling.NEAREST)
    mask = np.pad(ink, 1) > 0.5
    if not mask.any():
        return ink * 0
    width = 4 * ndimage.distance_transform_edt(mask)[mask].mean()  # of a line, the mean is a quarter of its width
    longest = max(ink.shape)
    low, high = (of_28 * side / 28 for of_28 in STROKE)
    wanted = np.clip(width * target / longest, low, high)
    scale = (target - wanted) / max(longest - width, 1.0)  # what the outline moves by is not scaled
    fine = _resized(ink, max(1, round(longest * scale * FINE)), Image.Resampling.BICUBIC)
    mask = np.pad(fine, round(high * FINE)) > 0.5
    distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    outline = np.clip(distance + (wanted - width * scale) / 2 * FINE + 0.5, 0, 1)
    return _resized(_cropped(outline), target, Image.Resampling.BOX)


def _resized(ink: np.ndarray, longest: int, way: Image.Resampling) -> np.ndarray:
    scale = longest / max(ink.shape)
    rows, columns = (max(1, round(length * scale)) for length in ink.shape)
    return np.clip(np.asarray(Image.fromarray(ink.astype(np.float32)).resize((columns, rows), way)), 0, 1)


def _placed(drawn: np.ndarray, side: int, by_mass: bool) -> np.ndarray:
    """What was scaled, in the middle of a black picture: uint8 [side, side]."""
    pixels = np.zeros((side, side), np.uint8)
    middle = _centre_of_mass(drawn) if by_mass else (drawn.shape[0] / 2, drawn.shape[1] / 2)
    (rows, columns), (middle_row, middle_column) = drawn.shape, middle
    top = min(max(0, int(np.ceil(side / 2 - middle_row))), side - rows)
    left = min(max(0, int(np.ceil(side / 2 - middle_column))), side - columns)
    pixels[top : top + rows, left : left + columns] = np.round(255 * drawn / max(float(drawn.max()), 1e-6))
    return pixels


def _centre_of_mass(pixels: np.ndarray) -> tuple[float, float]:
    values = pixels.astype(np.float64)
    total = values.sum()
    rows, columns = (np.arange(length) + 0.5 for length in pixels.shape)
    return float(values.sum(axis=1) @ rows / total), float(values.sum(axis=0) @ columns / total)


def _ring(x: np.ndarray) -> np.ndarray:
    """The outermost pixels, a thirtieth of the longer side wide: [n, c]."""
    width = max(1, max(x.shape[:2]) // 30)
    inner = np.ones(x.shape[:2], bool)
    inner[width:-width, width:-width] = False
    return x[inner]
