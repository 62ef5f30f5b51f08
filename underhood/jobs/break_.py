"""``break``: plant a fault in data or in a training script, for a class that learns to find it; and show the answer."""

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from underhood.core.errors import DataError, UnderhoodError
from underhood.core.images import Images
from underhood.data import cache
from underhood.data.files import encode_png
from underhood.data.named import NAMES
from underhood.data.read import load_data
from underhood.data.split import sample
from underhood.diagnosis.faults import Fault, Kind, fault_named, faults_for
from underhood.diagnosis.faults.data import PLANTS, Labelled, Pair
from underhood.diagnosis.faults.script import broken, difference
from underhood.preparation.files import expanduser
from underhood.training import Reporter

ANSWER, PAGE, SCRIPT, DATA, HINTS = ".answer.json", "README.md", "train.py", "data", "hints"
MOST = {"train": 3_000, "valid": 1_000}  # images that are written: what a lesson has time for


class BreakResult(TypedDict):
    """What ``break`` returns. It names the fault only where it was given by name."""

    out: str
    kind: Kind
    broken: str  # what to examine: the folder of images, or the script
    seed: int
    fault: NotRequired[str]


class RevealResult(TypedDict):
    """What ``break --reveal`` returns."""

    fault: str
    kind: Kind
    what: str
    fix: str
    checks: list[str]  # the doctor's checks that name it
    seed: int
    data: str
    lines: NotRequired[list[str]]  # of a script: what was removed (-) and added (+)
    files: NotRequired[dict[str, list[str]]]  # of data: the changed images of each part
    images: NotRequired[dict[str, int]]  # of data: how many there are in each part


def break_(
    data: str | Path,
    out: str | Path,
    *,
    fault: str | None = None,
    seed: int | None = None,
    script: bool = False,
    reporter: Reporter | None = None,
) -> BreakResult:
    """Plant a fault in a copy of data, or in a training script that reads them.

    data: as ``read`` takes them; out: a folder, new or empty, that gets the broken ``data/`` or ``train.py``,
    ``README.md`` (the task), ``hints/`` and the hidden answer
    fault: the name of one of ``FAULTS``; without it, ``seed`` draws one: of those in scripts if ``script``, else of
    those in data. seed: also of the fault's random choices, 0 by default

    Returns out, kind, broken (the path to examine) and seed, and the fault's name if it was given. Of large data at
    most MOST images are written. Nothing is written unless all is. Raises UnderhoodError.
    """
    reporter, source, folder = reporter or Reporter(), expanduser(data), expanduser(out)
    named, number = _named(fault, seed, script), seed or 0
    _require_place(source, folder)
    dataset = load_data(data, skip_bad=True, progress=reporter.read_progress(), bar=reporter.download).dataset
    channels = dataset.train.pixels.shape[1]
    chosen = named or _draw(script, channels, number)
    if chosen.colour and channels != 3:
        raise UnderhoodError(f"{chosen.name} needs colour images, and those of {data} are grey: plant another fault")
    path = str(data) if str(data) in NAMES else str(source.resolve())
    answer: dict[str, Any] = {"fault": chosen.name, "seed": number, "data": path}
    with _whole_folder(folder) as beside:
        if chosen.kind == "script":
            (beside / SCRIPT).write_text(broken(path, chosen.name, number), encoding="utf-8")
        else:
            parts = {"train": dataset.train, "valid": dataset.valid}
            answer |= _write_images(parts, chosen, number, beside / DATA, reporter)
        _write_pages(beside, chosen, answer)
    where = folder / (SCRIPT if chosen.kind == "script" else DATA)
    result: BreakResult = {"out": str(out), "kind": chosen.kind, "broken": str(where), "seed": number}
    return result if fault is None else {**result, "fault": chosen.name}


def reveal(folder: str | Path) -> RevealResult:
    """The answer of a folder that ``break`` wrote: the fault, what it is, how to fix it, and what it changed.

    Raises UnderhoodError where there is none.
    """
    path = expanduser(folder) / ANSWER
    try:
        answer = json.loads(base64.b64decode(json.loads(path.read_text(encoding="utf-8"))["answer"], validate=True))
        fault, seed, data = fault_named(answer["fault"]), int(answer["seed"]), str(answer["data"])
    except FileNotFoundError:
        raise UnderhoodError(f"{folder} has no answer ({ANSWER}): give a folder that `underhood break` wrote") from None
    except (OSError, ValueError, KeyError, TypeError, binascii.Error, UnderhoodError):
        raise UnderhoodError(f"{path} cannot be read as an answer: plant the fault again") from None
    result: RevealResult = {
        "fault": fault.name, "kind": fault.kind, "what": fault.what, "fix": fault.fix, "checks": list(fault.checks),
        "seed": seed, "data": data,
    }  # fmt: skip
    if fault.kind == "script":
        return {**result, "lines": difference(data, fault.name, seed)}
    return {**result, "files": answer.get("files", {}), "images": answer.get("images", {})}


def _require_place(source: Path, folder: Path) -> None:
    """Raises UnderhoodError where ``folder`` has something in it, or lies in the data."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UnderhoodError(f"{folder} is not empty: choose another --out, or remove it")
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise UnderhoodError(f"{folder} is inside the data, {source}: choose an --out beside it")


def _named(fault: str | None, seed: int | None, script: bool) -> Fault | None:
    """The fault of this name; None where the seed draws one. Raises UnderhoodError."""
    if fault is None:
        if seed is None:
            raise UnderhoodError("say which fault to plant: --fault NAME, or --seed N to have one drawn")
        return None
    named = fault_named(fault)
    if script and named.kind == "data":
        raise UnderhoodError(f"{named.name} is a fault in data: leave --script out")
    return named


def _draw(script: bool, channels: int, seed: int) -> Fault:
    """The fault that a seed stands for."""
    possible = faults_for("script" if script else "data", channels)
    return possible[int(np.random.default_rng(seed).integers(len(possible)))]


def _write_images(
    parts: dict[str, Images], fault: Fault, seed: int, folder: Path, reporter: Reporter
) -> dict[str, Any]:
    """Write the images with the fault. Returns what the answer says about them: ``images`` and ``files``."""
    rng = np.random.default_rng([seed, len(fault.name)])
    before = {}
    for part, images in parts.items():
        rows = sample(images.labels, min(MOST[part], len(images)), seed)
        before[part] = Labelled(images.pixels[rows], images.labels[rows].astype(np.int64))
    classes = parts["train"].classes
    pair = PLANTS[fault.name](Pair(before["train"], before["valid"], len(classes)), rng)
    written, changed = {}, {}
    for part, after in (("train", pair.train), ("valid", pair.valid)):
        order = rng.permutation(len(after.labels))
        names = _names(part, after.labels[order], classes)
        written[part] = Images(after.pixels[order], after.labels[order], classes, names)
        changed[part] = sorted(
            name for name, other in zip(names, _differs(before[part], after)[order], strict=True) if other
        )
    total, done = sum(len(images) for images in written.values()), 0
    for images in written.values():
        for name, pixels in zip(images.names, images.pixels, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(encode_png(pixels))
            done += 1
            if done % 256 == 0 or done == total:
                reporter.progress("writing images", done, total)
    return {"files": changed, "images": {part: len(images) for part, images in written.items()}}


def _differs(before: Labelled, after: Labelled) -> np.ndarray:
    """Mask of the images with other pixels or another label; none where images were left out: bool [n]."""
    if len(before.labels) != len(after.labels):
        return np.zeros(len(after.labels), bool)
    pixels = (before.pixels != after.pixels).reshape(len(after.labels), -1).any(1)
    return np.asarray(pixels | (before.labels != after.labels))


def _names(part: str, labels: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """File names: numbers within each class."""
    names, counts = [], [0] * len(classes)
    for label in labels.tolist():
        counts[label] += 1
        names.append(f"{part}/{classes[label]}/{counts[label]:05d}.png")
    return names


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` to fill, which takes its place at the end: all of it or nothing."""
    place = folder.resolve()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with cache.new_folder(place.parent, f".{place.name}.{cache.WRITING}") as beside:
            yield beside
            beside.chmod(0o755)
            if place.is_dir():
                place.rmdir()
            beside.rename(place)
    except OSError as error:
        raise DataError(f"cannot write {folder} ({error.strerror}): make room or choose another folder") from None


def _write_pages(folder: Path, fault: Fault, answer: dict[str, Any]) -> None:
    """The task, a file for each hint, and the answer, which cannot be read by accident."""
    task = SCRIPT_TASK if fault.kind == "script" else DATA_TASK
    (folder / PAGE).write_text(task, encoding="utf-8")
    (folder / HINTS).mkdir()
    for number, hint in enumerate(fault.hints, start=1):
        (folder / HINTS / f"hint-{number}.txt").write_text(f"Hint {number} of 3\n\n{hint}\n", encoding="utf-8")
    hidden = base64.b64encode(json.dumps(answer).encode()).decode()
    note = "The answer. To see it: underhood break --reveal DIR"
    (folder / ANSWER).write_text(json.dumps({"note": note, "answer": hidden}, indent=1) + "\n", encoding="utf-8")


LOOK_FOR_IT = """
## How to look

1. Run it, and write down what you see. What would you have expected?
2. Write down what you believe before you change anything: "I believe that …, because …".
3. Change **one** thing, run it again, and compare. Did it do what you expected?
4. Stuck? There are three hints in the folder `hints`. Read `hint-1.txt`, think again, and only then open the next one.

The doctor looks for faults by experiments. Ask it when you have a suspicion of your own, and see if you agree:

```bash
underhood doctor {broken}
```

When you know what is wrong, fix it and run everything once more: that is the proof. Your teacher (or you, when you give
up) can see the answer with `underhood break --reveal .`

To find a fault takes time, also for people who do this every day. Each one that you find you will know again.
"""

DATA_TASK = """# Something is wrong with these images

In the folder `data` there are images to learn from (`train`) and images to measure with (`valid`), in one folder for
each class. They look ordinary. But **one fault is hidden in them**, of a kind that happens in real projects.

Train a network on them, from this folder:

```bash
underhood train data --effort fast --out run
```

The accuracy that it prints may be far too low. It may be suspiciously high. Or it may look good and mean little. The
file `run/report.html` shows which images the network gets wrong.

**The question: what is wrong with the data, how do you know, and what would you do about it?**
""" + LOOK_FOR_IT.replace("{broken}", "data")

SCRIPT_TASK = """# Something is wrong with this program

`train.py` trains a small network on images, four times over all of them. After each time (an *epoch*) it prints the
loss and the accuracy on images that it has not trained on. It runs without complaint, or nearly. But **one fault is
hidden in it**, of a kind that everybody makes who writes such programs.

Run it, from this folder:

```bash
python train.py
```

The loss should fall from epoch to epoch, and the accuracy should rise far above guessing. Does it? The numbers may be
bad. Or they may be good, and mean nothing.

**The question: which line is wrong, how do you know, and what must it be?**
""" + LOOK_FOR_IT.replace("{broken}", "train.py")
