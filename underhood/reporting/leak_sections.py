"""The section of the report on leaks: the accuracy as split and leak-free, and the near-duplicates across the split."""

import shlex
from typing import Any

import numpy as np

from underhood.analysis.interpretation import Interpretation
from underhood.core.images import Dataset
from underhood.data.near_duplicates import find_near_duplicates, near_duplicate_groups
from underhood.data.split import join
from underhood.display.tables import percent
from underhood.reporting.model_sections import card
from underhood.training.leaks import Split, accuracy, crossing_pairs, enough, leaked

MAX_SEARCHED = 1_500  # images: the search takes a second or two; ``underhood check`` searches larger sets
PAIRS = 12  # that are shown, at most


def leak_sections(it: Interpretation, dataset: Dataset, data: str, group_by: str | None = None) -> dict[str, Any]:
    """The content of this section, for the template: ``leak`` is None where no validation image has a near-duplicate.

    it: the predictions of the validation images; data, group_by: the run's, as ``underhood check`` takes them
    """
    command = check_command(data, group_by)
    count = len(dataset.train) + len(dataset.valid)
    if count > MAX_SEARCHED:
        text = f"The report looks for near-duplicates among at most {MAX_SEARCHED:,} images; there are {count:,}. Use"
        return {"leak": {"text": text, "command": command, "figures": [], "pairs": [], "leaked": ""}}
    images = join([dataset.train, dataset.valid])
    split = Split(np.arange(len(dataset.train)), np.arange(len(dataset.train), count), own=True)
    found = find_near_duplicates([images])
    groups = near_duplicate_groups([images], found)
    unclean = leaked(groups, split.train, split.valid)
    if not unclean.any():
        return {"leak": None}
    figures = [("as split", accuracy(it.right, groups[split.valid]))]
    if enough(it.labels, ~unclean):
        figures.append(("leak-free", accuracy(it.right[~unclean], groups[split.valid][~unclean])))
        text = "Leak-free are the validation images without a near-duplicate among the training images. More:"
    else:
        text = "Too few validation images are leak-free to measure an accuracy on them. "
        text += "To measure it on another split, use"
    pairs = crossing_pairs(found.pairs, split)[:PAIRS].tolist()
    return {
        "leak": {
            "leaked": f"{int(unclean.sum()):,} of {len(unclean):,} validation images",
            "text": text,
            "command": command,
            "figures": [
                {"name": name, "accuracy": percent(one["accuracy"], one["interval"]), "images": f"{one['images']:,}"}
                for name, one in figures
            ],
            "pairs": [
                [card(images.pixels[row], images.names[row], part) for row, part in ((a, "valid"), (b, "train"))]
                for a, b in pairs
            ],
        }
    }


def check_command(data: str, group_by: str | None) -> str:
    """The command that measures a leak, for a shell.

    >>> check_command("my photos", r"(.*)_")
    "underhood check --leaks 'my photos' --group-by '(.*)_'"
    """
    command = ["underhood", "check", "--leaks", str(data)]
    return shlex.join(command if group_by is None else [*command, "--group-by", str(group_by)])
