"""From an image to pixels. Training, prediction and serving all prepare images here, so that they cannot differ.

A ``Preparation`` describes the pixels; it is stored with the weights. Its ``fit`` names an implementation of ``Fit``:
``resize.py`` has pad, crop and stretch, ``digit.py`` has digit. To add one, implement ``Fit`` and register it in
``IMPLEMENTATIONS``.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps

from underhood.core.errors import UnderhoodError, UnknownNameError
from underhood.preparation.digit import Digit
from underhood.preparation.files import BadImageError, Source, flatten, open_image
from underhood.preparation.resize import Resize, crop, pad, stretch


class Fit(Protocol):
    """How an image of any size becomes one of a given size."""

    steps: tuple[str, ...]  # parts of the work that can be left out, to see what each does
    applies_to_stored: bool  # whether it applies to pixels that are stored as arrays (IDX files, the embedded digits)
    reads_digits: bool  # whether every image is treated as a digit
    channels: int | None  # the only number of channels that it makes; None: any
    default_size: int | None  # pixels a side if no size is asked for; None: chosen from the images
    decode_size: int | None  # pixels a side that it needs of a large image; None: the size of the result

    def allows(self, channels: int, height: int, width: int) -> bool:
        """Whether it can make pixels [channels, height, width]."""

    def apply(self, image: Image.Image, size: tuple[int, int], steps: Collection[str]) -> Image.Image:
        """An image of mode L or RGB at ``size`` (width, height), by these of its steps."""


IMPLEMENTATIONS: dict[str, Fit] = {
    "pad": Resize(pad),
    "crop": Resize(crop),
    "stretch": Resize(stretch),
    "digit": Digit(),
}
FITS = tuple(IMPLEMENTATIONS)
MAX_PREPARED = 1024  # pixels, of a prepared image: the most that --size allows


@dataclass(frozen=True)
class Preparation:
    """How an image becomes pixels: stored in the run and applied to every later image.

    channels: 1 for grey, 3 for colour
    height, width: of the result, in pixels
    fit: what happens to an image of another size: ``pad`` with the border's colour, ``crop`` the centre, ``stretch``;
        ``digit`` finds the ink in any image and brings it into MNIST's form

    Raises UnknownNameError for an unknown fit, ValueError for a shape that the fit cannot make.
    """

    channels: int
    height: int
    width: int
    fit: str = "pad"

    def __post_init__(self) -> None:
        implementation = get_fit(self.fit)
        sizes = self.height, self.width
        whole = all(type(number) is int for number in (self.channels, *sizes))  # true is not 1
        if not whole or self.channels not in (1, 3) or not all(0 < size <= MAX_PREPARED for size in sizes):
            allowed = f"channels must be 1 or 3, height and width whole numbers from 1 to {MAX_PREPARED}"
            raise ValueError(f"{allowed}, not {self}")
        if not implementation.allows(self.channels, *sizes):
            raise ValueError(f"fit {self.fit!r} cannot make the shape of {self}")

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that ``prepare_image`` can leave out; () if there are none."""
        return get_fit(self.fit).steps

    @property
    def applies_to_stored(self) -> bool:
        """Whether pixels that are stored as arrays are prepared by this fit. If not, they have its form already."""
        return get_fit(self.fit).applies_to_stored

    @property
    def reads_digits(self) -> bool:
        """Whether every image is treated as a digit, light ink on black."""
        return get_fit(self.fit).reads_digits

    @property
    def decode_size(self) -> int:
        """The number of pixels a side that a large image must have when it is decoded."""
        return get_fit(self.fit).decode_size or max(self.height, self.width)

    def describe(self) -> str:
        """Width, height and kind, such as ``28 × 28 grey``."""
        return f"{self.width} × {self.height} {'grey' if self.channels == 1 else 'colour'}"

    def as_dict(self) -> dict[str, Any]:
        """The fields, as stored in ``data.json`` and with the weights."""
        return asdict(self)


def get_fit(name: str) -> Fit:
    """The implementation of a fit. Raises UnknownNameError."""
    if name not in IMPLEMENTATIONS:
        raise UnknownNameError("fit", name, FITS)
    return IMPLEMENTATIONS[name]


def check_options(fit: str | None, channels: int | None) -> None:
    """Raises UnderhoodError if a fit (None: the default) does not make images of this number of channels."""
    wanted = get_fit(fit).channels if fit else None
    if channels and wanted and channels != wanted:
        raise UnderhoodError(f"--fit {fit} makes {'grey' if wanted == 1 else 'colour'} images: leave --channels out")


def prepare_image(
    source: Source | Image.Image, preparation: Preparation, steps: Collection[str] | None = None
) -> np.ndarray:
    """An image file (a path or an open binary file) or a PIL image as uint8 [c, h, w].

    steps: those of ``preparation.steps`` to carry out; all by default. Raises BadImageError with the reason if the
    image cannot be read.
    """
    if isinstance(source, Image.Image):
        image = flatten(ImageOps.exif_transpose(source))
    else:
        image = open_image(source, preparation.decode_size).image
    return to_pixels([fit_image(image, preparation, steps)], preparation.channels)[0].copy()


def fit_image(image: Image.Image, preparation: Preparation, steps: Collection[str] | None = None) -> Image.Image:
    """An image of mode L or RGB at the preparation's size. Raises BadImageError if it has no pixels."""
    if 0 in image.size:
        raise BadImageError("has no pixels")
    size = preparation.width, preparation.height
    return get_fit(preparation.fit).apply(image, size, preparation.steps if steps is None else steps)


def to_pixels(images: Sequence[Image.Image], channels: int) -> np.ndarray:
    """Images of mode L or RGB, all of one size, as uint8 [n, channels, h, w]."""
    mode = "L" if channels == 1 else "RGB"
    raw = b"".join((image if image.mode == mode else image.convert(mode)).tobytes() for image in images)
    width, height = images[0].size
    return np.frombuffer(raw, np.uint8).reshape(len(images), height, width, channels).transpose(0, 3, 1, 2)


def refit(pixels: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Pixels stored as an array, uint8 [n, c, h, w], at another preparation: uint8 [n, c', h', w'].

    Returned as they are if they have that shape already. A fit that does not apply to stored pixels pads them.
    """
    if pixels.shape[1:] == (preparation.channels, preparation.height, preparation.width):
        return pixels
    if not preparation.applies_to_stored:
        preparation = replace(preparation, fit="pad")
    ready = np.empty((len(pixels), preparation.channels, preparation.height, preparation.width), np.uint8)
    for i, stored in enumerate(pixels):
        image = Image.fromarray(stored[0] if len(stored) == 1 else stored.transpose(1, 2, 0))
        ready[i] = to_pixels([fit_image(image, preparation)], preparation.channels)[0]
    return ready
