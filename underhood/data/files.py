"""CSV files, pixels as PNG files and ``data:`` URLs, and names as text: the only place for each in the package.

Names of files and classes may be somebody else's. ``open_regular`` opens no pipe, ``printable`` keeps control
characters from the terminal, and ``csv_text`` keeps formulas from spreadsheets.
"""

import base64
import csv
import errno
import io
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

MAX_LINE = 1_000_000  # characters, of a CSV file
# What a terminal acts on: control characters, line separators, and marks that turn the direction of writing.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
FORMULA_STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # what follows is computed by a spreadsheet
FORMULA = re.compile(f"'*[{re.escape(FORMULA_STARTS)}].", re.DOTALL)


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a regular file for reading, as bytes. Raises OSError, also for a pipe, which would block, and a device."""
    at_once = getattr(os, "O_NONBLOCK", 0)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | at_once))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def printable(text: str) -> str:
    r"""The text with control characters and marks of writing direction as escapes, such as ``\x1b`` and ``\n``."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def csv_rows(
    path: Path, *, delimiter: str = ",", encoding: str = "utf-8", errors: str = "surrogateescape"
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, the header first ([] if there is none), each with the number of the line where it ends.

    Empty lines below the header are left out. Raises OSError; ValueError, which names the line, if it is not CSV;
    UnicodeDecodeError if ``errors`` is "strict" and the file is not text in this encoding.
    """
    with io.TextIOWrapper(open_regular(path), encoding, errors, newline="") as file:
        reader = csv.reader(_short_lines(file), delimiter=delimiter, strict=True)
        try:
            yield reader.line_num, next(reader, [])
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from None


def _short_lines(file: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a file. Raises csv.Error for one that is too long: it would be read into memory as a whole."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise csv.Error(f"it has {MAX_LINE:,} characters or more")
        yield line


def read_csv(
    path: Path, columns: Sequence[str] | None = None, delimiter: str = ",", encoding: str = "utf-8"
) -> list[dict[str, str]]:
    """The rows of a CSV file, each as column → text, without the ``'`` that ``csv_text`` puts before formulas.

    columns: the header that the file must have. Every row must then have all of them; otherwise missing fields are ""
        and additional ones are left out.

    Raises OSError; ValueError with a reason if the file is not CSV with a header, or not with these columns.
    """
    rows = csv_rows(path, delimiter=delimiter, encoding=encoding)
    _, header = next(rows)
    if columns is not None and header != list(columns):
        raise ValueError(f"expected the columns {', '.join(columns)}")
    if not header:
        raise ValueError("it has no header")
    found = []
    for line, row in rows:
        if columns is not None and len(row) != len(header):
            raise ValueError(f"line {line}: expected {len(header)} fields, not {len(row)}")
        cells = [cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell for cell in row]
        found.append(dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False)))
    return found


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as the text of a CSV file. Encode it with ``"surrogateescape"`` if it holds file names.

    A text that a spreadsheet would compute, such as ``=1+1``, gets a ``'`` in front; numbers never do.
    """
    lines: list[str] = []
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")  # so that it quotes both in names
    writer.writerow(header)
    quick = frozenset("'" + FORMULA_STARTS)
    writer.writerows(
        [_without_formula(cell) if type(cell) is str and cell[:1] in quick else cell for cell in row] for row in rows
    )
    return "".join(f"{line[:-2]}\n" for line in lines)


def _without_formula(cell: str) -> str:
    if not FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def short_list(items: Sequence[str], most: int = 3, separator: str = "; ") -> str:
    """The first items on one line, for instance ``a; b; c and 2 more``."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return separator.join(items[:most]) + more


def encode_png(pixels: np.ndarray, compress_level: int = -1) -> bytes:
    """One image, uint8 [c, h, w], as a PNG file.

    The channels are grey, RGB or RGBA. compress_level: 0 none to 9 best; −1 is zlib's default, 6
    """
    content = io.BytesIO()
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    image.save(content, "PNG", compress_level=compress_level)
    return content.getvalue()


def data_url(content: bytes, kind: str = "png") -> str:
    """The content of an image file as a ``data:`` URL. kind: png, webp, …"""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def user_cache() -> Path:
    """The user's cache folder for underhood. Without a home folder, one that is removed when this process ends."""
    import pooch

    try:
        folder = Path(pooch.os_cache("underhood"))
    except (KeyError, RuntimeError):  # no HOME, and no entry for the user: as in some containers
        folder = Path("~")
    return folder if folder.is_absolute() else Path(_temporary_cache().name)


@cache
def _temporary_cache() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="underhood-")
