"""``check --leaks`` on bursts: 300 photographs as eight shifted, re-exposed frames each, split at random.

Goals: the leak is found, and the leak-free accuracy lies within its interval of the truth: that of the same recipe on
splits by photograph, three of them. ``UNDERHOOD_DATA/panel`` has the photographs (hymenoptera).
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import report
from PIL import Image, ImageEnhance

from underhood import check, train

PHOTOGRAPHS = Path(os.environ.get("UNDERHOOD_DATA", "."), "panel", "hymenoptera")
COUNT, FRAMES = 300, 8


def frames(file: Path, rng: np.random.Generator) -> list[Image.Image]:
    """Each shifted by up to 4 % of the photograph, and up to a fifth brighter or darker."""
    image = Image.open(file).convert("RGB").resize((160, 160), Image.Resampling.LANCZOS)
    made = []
    for _ in range(FRAMES):
        left, top = (int(offset) for offset in rng.integers(0, 13, size=2))
        frame = image.crop((left, top, left + 148, top + 148))
        made.append(ImageEnhance.Brightness(frame).enhance(float(rng.uniform(0.8, 1.2))))
    return made


def write(folder: Path, together: bool, seed: int) -> Path:
    """The frames in ``train`` and ``valid``, a fifth in valid: photographs ``together``, or each frame at random."""
    rng = np.random.default_rng(seed)
    files = sorted(PHOTOGRAPHS.rglob("*.jpg"))
    for number, which in enumerate(rng.permutation(len(files))[:COUNT].tolist()):
        whole = "valid" if number % 5 == 0 else "train"
        for frame in frames(files[which], rng):
            part = whole if together else str(rng.choice(["train", "valid"], p=[0.8, 0.2]))
            place = folder / part / files[which].parent.name
            place.mkdir(parents=True, exist_ok=True)
            frame.save(place / f"{rng.integers(10**9)}.png")
    return folder


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        bursts = write(Path(place) / "bursts", together=False, seed=0)
        leak = check(bursts, leaks=True)["leak"]
        truths = []
        for seed in range(3):
            data = write(Path(place) / f"apart-{seed}", together=True, seed=seed)
            trained = train(data, effort="fast", seed=seed, report=False, out=Path(place) / f"run-{seed}")
            truths.append(trained["valid_accuracy"])
    truth = sum(truths) / len(truths)
    accuracy, (low, high) = leak["leak_free"]["accuracy"], leak["leak_free"]["interval"]
    beside = (truth - accuracy) / (high - accuracy) if truth > accuracy else (accuracy - truth) / (accuracy - low)
    print(leak["how"])
    found = {part: leak[part] for part in ("as_split", "leak_free")}
    return report(1, {"truth within the interval": (beside, 1.0)}, leaked=leak["leaked"], truths=truths, **found)


if __name__ == "__main__":
    sys.exit(main())
