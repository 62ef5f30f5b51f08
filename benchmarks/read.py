"""MNIST's 70,000 pictures as PNG files into pixels; and again, from the cache.

Goals: at most 0.75 of the time of the faster of a Pillow loop and torch's DataLoader with two workers; from the cache
at most a fifth of our own first time, which writes the cache too.
"""

import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from measure import in_turn, report, summary
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from underhood import get, read
from underhood.jobs import clear_cache

N = 3


class Files(Dataset):
    """As torch's tutorial on one's own data has it: a file an item."""

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.from_numpy(np.array(Image.open(self.paths[i])))


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        os.environ.setdefault(
            "UNDERHOOD_DATA", os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")) + "/underhood"
        )
        folder = Path(place) / "D"
        get("mnist", folder)
        os.environ["XDG_CACHE_HOME"] = place
        paths = [
            p for part in ("train", "valid") for c in range(10) for p in sorted((folder / part / str(c)).iterdir())
        ]

        def pillow() -> np.ndarray:
            pixels = np.empty((len(paths), 28, 28), np.uint8)
            for i, path in enumerate(paths):
                pixels[i] = np.asarray(Image.open(path))
            return pixels

        def data_loader() -> torch.Tensor:
            return torch.cat(list(DataLoader(Files(paths), 256, num_workers=2)))

        def first() -> None:
            clear_cache()
            read(folder)

        seconds = in_turn(N, first=first, again=lambda: read(folder), pillow=pillow, data_loader=data_loader)
    ours, again, *others = (median(values) for values in seconds.values())
    ratios = {"decoding": (ours / min(others), 0.75), "cache": (again / ours, 0.2)}
    return report(N, ratios, **summary(**seconds))


if __name__ == "__main__":
    sys.exit(main())
