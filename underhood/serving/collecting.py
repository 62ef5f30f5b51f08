"""``serve --collect``: images that people send are saved in a folder of each class, which ``train`` can read."""

import asyncio
import hashlib
import io
import secrets
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from underhood.preparation.files import FORMATS
from underhood.serving.requests import HTTPError, ParsedRequest


async def save_request(folder: Path, classes: Sequence[str], parsed: ParsedRequest) -> Path:
    """Save a request's image in the folder of its class. Raises HTTPError: 422 or 507."""
    label = parsed.label
    if label is None or label not in classes:
        raise HTTPError(422, "label must be one of the classes that /api/model lists")
    if not _is_folder_name(label):
        raise HTTPError(422, f"{label[:60]!r} cannot be the name of a folder")
    if len(parsed.images) > 1:
        raise HTTPError(422, "send one image at a time")
    try:
        return await asyncio.to_thread(_save, folder / label, parsed.images[0])
    except OSError as error:
        raise HTTPError(507, f"the image cannot be saved ({error.strerror or error})") from None


def _save(folder: Path, content: bytes) -> Path:
    """Save an image file under its own hash, whole or not at all. Raises OSError."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        suffix = str(image.format).lower().replace("mpo", "jpg")  # MPO: a JPEG with further images in it
    folder.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():
        raise OSError("the folder of this class is a link")
    path = folder / f"{hashlib.sha256(content).hexdigest()[:24]}.{suffix}"
    part = path.with_suffix(f".{secrets.token_hex(8)}.part")  # not shared with a request for the same image
    try:
        with part.open("xb") as file:
            file.write(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _is_folder_name(label: str) -> bool:
    fits = 0 < len(label.encode("utf-8", "surrogateescape")) <= 255
    return fits and not label.startswith(".") and not set("/\\\0") & set(label)
