"""Read MNIST's 70,000 images from PNG files, and again from the cache.

Goals: at most 0.75 of the time of the faster of a Pillow loop and torch's DataLoader with two workers; from the cache
at most a fifth of our own first time, which includes writing the cache. And the 14,434 images of mnist-3v7, too few to
be cached: at most 0.75 of the Pillow loop.
"""

import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from measure import in_turn, report, summary
from PIL import Image

from underhood import clear_cache, get, read

N = 5


def pillow(paths: list[Path]) -> np.ndarray:
    pixels = np.empty((len(paths), 28, 28), np.uint8)
    for i, path in enumerate(paths):
        pixels[i] = np.asarray(Image.open(path))
    return pixels


def data_loader(paths: list[Path]) -> int:
    """As in torch's tutorial on custom data: one file per item."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Files(Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> torch.Tensor:
            return torch.from_numpy(np.array(Image.open(paths[i])))

    return len(torch.cat(list(DataLoader(Files(), 256, num_workers=2))))


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        sets = {name: Path(place) / name for name in ("mnist", "mnist-3v7")}
        for name, folder in sets.items():
            get(name, folder)
        os.environ["XDG_CACHE_HOME"] = place  # so that nothing stays in the user's cache
        paths, few = (sorted(folder.rglob("*.png")) for folder in sets.values())

        def first() -> None:
            clear_cache()
            read(sets["mnist"])

        # before torch is imported, as in `train`: worker processes start from less memory
        seconds = in_turn(N, few=lambda: read(sets["mnist-3v7"]), few_pillow=lambda: pillow(few))
        seconds |= in_turn(
            N,
            first=first,
            again=lambda: read(sets["mnist"]),
            pillow=lambda: pillow(paths),
            data_loader=lambda: data_loader(paths),
        )
    middle = {name: median(values) for name, values in seconds.items()}
    ratios = {
        "decoding": (middle["first"] / min(middle["pillow"], middle["data_loader"]), 0.75),
        "cache": (middle["again"] / middle["first"], 0.2),
        "few": (middle["few"] / middle["few_pillow"], 0.75),
    }
    return report(N, ratios, **summary(**seconds))


if __name__ == "__main__":
    sys.exit(main())
