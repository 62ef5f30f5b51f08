"""The fit ``digit``: any image of a digit in the form of MNIST's images.

MNIST's makers (LeCun, Cortes and Burges, 1998) scanned black ink on white forms, scaled each digit to fit 20 × 20
pixels with antialiasing, and moved its centre of mass to the middle of 28 × 28 pixels. The steps here:

    polarity   ink is what differs most from the paper around it, darker or lighter
    crop       keep what belongs to the digit; shear it back if its slant is outside the range of MNIST's digits
    stroke     move the outline until the stroke is as wide as in MNIST
    antialias  scale the longer side to 20 of 28 pixels, with grey levels
    centre     move the centre of mass to the middle

Each step can be left out, to see what it does.
"""

from collections.abc import Collection

import numpy as np
from PIL import Image

STEPS = ("polarity", "crop", "stroke", "antialias", "centre")
MNIST_SIDE = 28  # pixels
MIN_WORKING, MAX_WORKING = 96, 192  # pixels: limits of the longer side of the image in which ink is looked for
OVERSAMPLING = 6  # the outline is moved at this multiple of the result's resolution
STROKE_WIDTH = 2.1, 3.8  # pixels of 28: the range of 80 % of MNIST's digits
SLANT = -0.45, 0.65  # horizontal over vertical: the range of MNIST's digits
MIN_CONTRAST = 0.12  # of the range from black to white: what differs less from the paper is not ink


class Digit:
    """Finds the ink of a digit and draws it as MNIST does. An image that has this form already is unchanged."""

    steps: tuple[str, ...] = STEPS
    applies_to_stored: bool = False  # stored pixels are digits in this form
    reads_digits: bool = True
    channels: int | None = 1
    default_size: int | None = MNIST_SIDE
    decode_size: int | None = MAX_WORKING

    def allows(self, channels: int, height: int, width: int) -> bool:
        """Digits are grey and square."""
        return channels == 1 and height == width

    def apply(self, image: Image.Image, size: tuple[int, int], steps: Collection[str]) -> Image.Image:
        """The digit as an image of mode L, light ink on black."""
        return Image.fromarray(digit_to_pixels(image, size[0], steps))


def digit_to_pixels(image: Image.Image, side: int, steps: Collection[str] = STEPS) -> np.ndarray:
    """An image of mode L or RGB as uint8 [side, side], light ink on black; all 0 if no ink is found.

    An image that has MNIST's form already (``is_mnist_like``) is unchanged, unless steps are left out.
    """
    if (
        len(steps) == len(STEPS)
        and image.size == (side, side)
        and is_mnist_like(grey := np.asarray(image.convert("L")))
    ):
        return grey
    ink = find_ink(image, "polarity" in steps)  # [h, w], 0 to 1
    if "crop" in steps:
        ink = ink * find_digit(ink > 0.5)
        ink = _cropped(_upright(ink))
    drawn = _scaled(ink, side, "crop" in steps, "stroke" in steps, "antialias" in steps)
    return _placed(drawn, side, "centre" in steps) if drawn.any() else np.zeros((side, side), np.uint8)


def is_mnist_like(pixels: np.ndarray) -> bool:
    """Whether an image, uint8 [side, side], has MNIST's form: 20 of 28 pixels long, its centre of mass in the middle.

    True for every image of MNIST, and for every image below 16 pixels a side, where there is no room for a margin.
    """
    side = len(pixels)
    if side < 16:
        return True
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows) or pixels.max() < 250:
        return False
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    off = [at - side / 2 for at in _centre_of_mass(pixels)]  # in [0, 1): digits are moved by whole pixels
    return bool(longest in (digit_length(side) - 1, digit_length(side)) and min(off) > -0.05 and max(off) < 1.05)


def digit_length(side: int) -> int:
    """The longer side of a digit in an image of ``side`` pixels: 20 of 28. Below 16 pixels the whole image."""
    return round(side * 20 / 28) if side >= 16 else side


def find_ink(image: Image.Image, either_polarity: bool = True) -> np.ndarray:
    """The amount of ink, float32 [h, w] with at most ``MAX_WORKING`` pixels a side: 0 paper, 1 ink. All 0 if blank.

    either_polarity: if False, light pixels are ink and dark ones paper, as the model expects them
    """
    from scipy import ndimage

    longest = min(max(max(image.size), MIN_WORKING), MAX_WORKING)
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
    sign = -1 if ((grey - around) ** 3).sum() < 0 else 1  # ink covers few pixels, and they differ much from the paper
    if not even:  # the paper is what remains when everything as narrow as a stroke is removed
        wide = longest // 4
        filters = (ndimage.grey_closing, ndimage.grey_opening)
        paper = np.stack([filters[sign > 0](x[..., c], size=(wide, wide)) for c in range(x.shape[2])], axis=2)
        paper = ndimage.gaussian_filter(paper, (longest / 32, longest / 32, 0))
    contrast = ndimage.gaussian_filter(np.clip(sign * (x - paper), 0, 1).mean(axis=2), longest / MAX_WORKING)
    contrast = np.maximum(contrast - np.median(contrast), 0)  # minus the texture of the paper
    most = np.partition(contrast, -30, axis=None)[-30:].mean()
    if most < MIN_CONTRAST:
        return np.zeros_like(contrast)
    full = np.median(contrast[contrast > 0.6 * most])
    return np.clip(contrast / full, 0, 1)


def find_digit(mask: np.ndarray) -> np.ndarray:
    """The pixels that belong to the digit, bool [h, w]: the largest connected part of a mask and the parts near it.

    The lines of ruled and squared paper are left out, and so are specks.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(float)
    around = np.concatenate([labels[0], labels[:, -1], labels[-1, ::-1], labels[::-1, 0]])
    starts = around[around != np.roll(around, 1)]
    meets = np.bincount(starts, minlength=count + 1)[1:]  # how often each part touches the edge
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
    """Ink sheared until its slant is within the range of MNIST's digits."""
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
    """Ink within its bounding box."""
    mask = ink > 0.5
    if not mask.any():
        return np.zeros((1, 1), ink.dtype)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(ink: np.ndarray, side: int, to_box: bool, stroke: bool, antialias: bool) -> np.ndarray:
    """Ink at the scale of the result, float32 [≤ side, ≤ side], 0 to 1."""
    from scipy import ndimage

    target = digit_length(side) if to_box else side
    if not stroke or not antialias or not to_box:
        return _resized(ink, target, Image.Resampling.BOX if antialias else Image.Resampling.NEAREST)
    mask = np.pad(ink, 1) > 0.5
    if not mask.any():
        return ink * 0
    width = 4 * ndimage.distance_transform_edt(mask)[mask].mean()  # the mean distance in a line is width / 4
    longest = max(ink.shape)
    low, high = (of_28 * side / 28 for of_28 in STROKE_WIDTH)
    wanted = np.clip(width * target / longest, low, high)
    scale = (target - wanted) / max(longest - width, 1.0)  # the distance by which the outline moves is not scaled
    fine = _resized(ink, max(1, round(longest * scale * OVERSAMPLING)), Image.Resampling.BICUBIC)
    mask = np.pad(fine, round(high * OVERSAMPLING)) > 0.5
    distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    outline = np.clip(distance + (wanted - width * scale) / 2 * OVERSAMPLING + 0.5, 0, 1)
    return _resized(_cropped(outline), target, Image.Resampling.BOX)


def _resized(ink: np.ndarray, longest: int, resampling: Image.Resampling) -> np.ndarray:
    scale = longest / max(ink.shape)
    rows, columns = (max(1, round(length * scale)) for length in ink.shape)
    return np.clip(np.asarray(Image.fromarray(ink.astype(np.float32)).resize((columns, rows), resampling)), 0, 1)


def _placed(drawn: np.ndarray, side: int, by_mass: bool) -> np.ndarray:
    """Scaled ink in the middle of a black image: uint8 [side, side]."""
    pixels = np.zeros((side, side), np.uint8)
    middle = _centre_of_mass(drawn) if by_mass else (drawn.shape[0] / 2, drawn.shape[1] / 2)
    (rows, columns), (middle_row, middle_column) = drawn.shape, middle
    top = min(max(0, int(np.ceil(side / 2 - middle_row))), side - rows)
    left = min(max(0, int(np.ceil(side / 2 - middle_column))), side - columns)
    pixels[top : top + rows, left : left + columns] = np.round(255 * drawn / max(float(drawn.max()), 1e-6))
    return pixels


def _centre_of_mass(pixels: np.ndarray) -> tuple[float, float]:
    """Row and column of the centre of mass, in pixels from the upper left corner."""
    values = pixels.astype(np.float64)
    total = values.sum()
    rows, columns = (np.arange(length) + 0.5 for length in pixels.shape)
    return float(values.sum(axis=1) @ rows / total), float(values.sum(axis=0) @ columns / total)


def _ring(x: np.ndarray) -> np.ndarray:
    """The outermost pixels, in a ring as wide as a thirtieth of the longer side: [n, c]."""
    width = max(1, max(x.shape[:2]) // 30)
    inner = np.ones(x.shape[:2], bool)
    inner[width:-width, width:-width] = False
    return x[inner]
