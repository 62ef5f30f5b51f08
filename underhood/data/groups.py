"""Groups: images that belong together, such as a burst or all images of a patient. A held-out split never divides one.

Groups that are named count alone: those of ``--group-by``, or else of a table's column ``group``. Otherwise images are
in a group if they are

- in the same folder below the class folder, where a class has several such folders: the first level on which there are
  several. Folders of the same name in two classes or parts are the same group. Images directly in the class folder are
  in none.
- a burst by EXIF, or neighbours in a sequence of numbered file names that are near-duplicates: ``bursts.py``.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from underhood.core.errors import DataError
from underhood.data.bursts import find_bursts, find_sequences
from underhood.data.split import Links, link_equal, unite

EACH_ALONE = ".+"  # a pattern that makes each image a group of its own, as in runs from before there were groups
UNMATCHED, EMPTY = ("is not matched by", "are not matched by"), ("has an empty cell in", "have an empty cell in")
MATCHING = 5.0  # seconds for a regular expression on all file names

# Python cannot interrupt a match, and a thread cannot have an alarm: so another process matches, which can be ended.
MATCHER = """
import json, re, sys
pattern, names = json.load(sys.stdin)
found, own = re.compile(pattern), re.compile(pattern).groups > 0
matches = (found.search(name) for name in names)
json.dump([match and (match[1] if own else match[0]) or None for match in matches], sys.stdout)
"""


@dataclass(frozen=True)
class Files:
    """The image files of a data set, all parts one after the other."""

    root: str  # the folder that names are relative to
    names: Sequence[str]
    labels: np.ndarray  # int64 [n]
    pixels: np.ndarray  # uint8 [n, c, h, w]
    folders: int | None = None  # how many folders of a name are the part and the class; None in a table
    column: Sequence[str] | None = None  # the group of each image in a table; "" for none
    keep: bool = False  # cache what is read of the files


@dataclass(frozen=True)
class Groups:
    """The group of each image, int64 [n], or None if there are no groups; where they come from; notes for the log."""

    numbers: np.ndarray | None = None
    source: str = ""
    notes: list[str] = field(default_factory=list)


def find_groups(files: Files, group_by: str | None = None) -> Groups:
    """The groups of these images. Raises DataError where an expression is of no use."""
    if group_by == EACH_ALONE:
        return Groups()
    if group_by is not None:
        return _named(match_names(group_by, files.names), f"--group-by {quoted(group_by)}", UNMATCHED)
    if files.column is not None:
        return _named([text or None for text in files.column], "the column group", EMPTY)
    return _from_files(files)


def quoted(pattern: str) -> str:
    """A regular expression in quotes on one line, without a second backslash for each."""
    return repr(pattern).replace("\\\\", "\\")


def check_pattern(pattern: str | None) -> None:
    """Raise DataError unless this is a regular expression, or None."""
    pattern = pattern or ""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        fix = r"write a group's part of the path, such as 'patient_(\d+)'"
        raise DataError(f"--group-by {quoted(pattern)} is no regular expression ({error}): {fix}") from None


def match_names(pattern: str, names: Sequence[str]) -> list[str | None]:
    """What a regular expression finds in each name: its first group if it has one, else all of it. None for nothing.

    Raises DataError if it does not compile, takes longer than ``MATCHING`` seconds, or matches no name.
    """
    check_pattern(pattern)
    command = [sys.executable, "-I", "-S", "-c", MATCHER]
    try:
        done = subprocess.run(
            command, input=json.dumps([pattern, list(names)]), capture_output=True, text=True, timeout=MATCHING,
        )  # fmt: skip
        found: list[str | None] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        why = f"takes longer than {MATCHING:g} s on the file names"
        raise DataError(f"--group-by {quoted(pattern)} {why}: write it without a repetition in a repetition") from None
    except (OSError, ValueError) as error:
        raise DataError(f"--group-by {quoted(pattern)} could not be matched ({error}): try a simpler one") from None
    if not any(found):
        what = f"--group-by {quoted(pattern)} matches no file name"
        raise DataError(f"{what}, such as {names[0]!r}: correct it or omit it")
    return found


def _named(texts: list[str | None], source: str, what: tuple[str, str]) -> Groups:
    """Groups with these names; None: an image that is a group of its own. what: how a note says so, of one or more."""
    named = [text for text in texts if text is not None]
    kinds = {text: number for number, text in enumerate(dict.fromkeys(named))}
    alone = len(texts) - len(named)
    notes = []
    if len(kinds) + alone < 2 and len(texts) > 1:
        notes = [f"{source} has only one group, {next(iter(kinds))!r}: nothing can be held out"]
    if alone:
        one, many = what
        few = f"1 image {one}" if alone == 1 else f"{alone:,} images {many}"
        notes = [f"{few} {source}: each is a group of its own"]
    if len(kinds) == len(named):  # every group is a single image
        return Groups(notes=notes)
    own = iter(range(len(kinds), len(texts) + len(kinds)))
    numbers = np.array([next(own) if text is None else kinds[text] for text in texts], np.int64)
    return Groups(numbers, f"{len(kinds):,} group{'s' * (len(kinds) > 1)} from {source}", notes)


def _from_files(files: Files) -> Groups:
    """Groups from folders below the class folder, EXIF and sequences of file names."""
    paths = [name if name.startswith("/") else f"{files.root}/{name}" for name in files.names]
    below = [name.split("/", files.folders)[-1] if files.folders else name for name in files.names]
    sources = {
        "folders below the class folders": _in_folders(files),
        "bursts (EXIF time and camera)": find_bursts(paths, files.pixels, files.keep),
        "sequences of near-duplicates (file names)": find_sequences(below, files.labels, files.pixels),
    }
    count, lines = len(files.names), []
    for source, links in sources.items():
        if len(links[0]):
            members = np.bincount(unite(count, *links))
            several = int((members > 1).sum())
            lines.append(f"{several:,} group{'s' * (several > 1)} from {source}")
    if not lines:
        return Groups()
    numbers = unite(count, *(np.concatenate(ends) for ends in zip(*sources.values(), strict=True)))
    return Groups(numbers, ", ".join(lines))


def _in_folders(files: Files) -> Links:
    """Links between the images of a folder below the class folder, on the first level with several folders."""
    names: list[str | None] = [None] * len(files.names)
    if files.folders is None:
        return _link_texts(names)
    below = [name.split("/")[files.folders : -1] for name in files.names]
    for label in np.unique(files.labels):
        rows = [i for i in np.flatnonzero(files.labels == label).tolist() if below[i]]
        level = 0
        while rows and len({tuple(below[i][: level + 1]) for i in rows}) == 1 and len(below[rows[0]]) > level:
            level += 1
        kinds = {i: "/".join(below[i][: level + 1]) for i in rows if len(below[i]) > level}
        if len(set(kinds.values())) > 1:
            for i, text in kinds.items():
                names[i] = text
    return _link_texts(names)


def _link_texts(texts: Sequence[str | None]) -> Links:
    """Links between equal texts. None is equal to nothing."""
    rows = np.array([i for i, text in enumerate(texts) if text is not None], np.int64)
    kinds = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    first, second = link_equal(np.array([kinds[texts[i]] for i in rows.tolist()], np.int64))
    return rows[first], rows[second]
