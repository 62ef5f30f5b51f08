"""Reading the 14,434 PNGs of mnist-3v7 into pixels, against a plain Pillow loop. Goal: at most 0.75 of its time."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import in_turn
from PIL import Image

from underhood import get, read


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "D"
        get("mnist-3v7", folder)

        def plain() -> np.ndarray:
            paths = [p for part in ("train", "valid") for c in "37" for p in sorted((folder / part / c).iterdir())]
            pixels = np.empty((len(paths), 28, 28), np.uint8)
            for i, path in enumerate(paths):
                pixels[i] = np.asarray(Image.open(path))
            return pixels

        return in_turn(lambda: read(folder), plain, goal=0.75)


if __name__ == "__main__":
    sys.exit(main())
