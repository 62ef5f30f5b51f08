"""What is wrong with labelled pictures before any model sees them: copies in two classes, in two parts, or twice."""

from collections import Counter
from typing import Any

import numpy as np

from underhood.core.images import Images
from underhood.data.split import copies


def find_copies(parts: dict[str, Images]) -> dict[str, list[dict[str, Any]]]:
    """Exact copies, compared as the pixels that a model would see. One entry a picture, each with its ``paths``.

    conflicts:  one picture in two classes (with ``classes``)
    leaks:      one picture in two parts, such as train and valid (with ``parts``)
    duplicates: one picture twice in the same class and part
    """
    images = list(parts.values())
    group = copies(np.concatenate([part.hashes for part in images]))
    repeated = np.flatnonzero(np.bincount(group)[group] > 1)
    if not len(repeated):
        return {"conflicts": [], "leaks": [], "duplicates": []}
    starts = np.cumsum([0] + [len(part) for part in images])
    members: dict[int, list[tuple[str, str, str]]] = {}  # group → (path, class, part) of each copy
    for row in repeated.tolist():
        part = int(np.searchsorted(starts, row, side="right")) - 1
        i = row - starts[part]
        where = (images[part].names[i], images[part].classes[images[part].labels[i]], list(parts)[part])
        members.setdefault(int(group[row]), []).append(where)
    conflicts, leaks, duplicates = [], [], []
    for group_members in members.values():
        paths = [path for path, _, _ in group_members]
        classes = list(dict.fromkeys(name for _, name, _ in group_members))
        parts_met = list(dict.fromkeys(part for _, _, part in group_members))
        if len(classes) > 1:
            conflicts.append({"paths": paths, "classes": classes})
        if len(parts_met) > 1:
            leaks.append({"paths": paths, "parts": parts_met})
        places = Counter((name, part) for _, name, part in group_members)
        twice = [path for path, name, part in group_members if places[name, part] > 1]
        if twice:
            duplicates.append({"paths": twice})
    return {"conflicts": conflicts, "leaks": leaks, "duplicates": duplicates}


def describe_copies(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line of warning for each kind that was found."""
    says = {
        "conflicts": "in two classes",
        "leaks": "in two parts: figures on the second are too good",
        "duplicates": "twice in one class",
    }
    lines = []
    for kind, where in says.items():
        if found[kind]:
            first = " = ".join(found[kind][0]["paths"][:3])
            lines.append(f"{len(found[kind])} picture{'s' if len(found[kind]) > 1 else ''} {where} (first: {first})")
    return lines
