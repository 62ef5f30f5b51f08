"""Pictures back into a folder per class, as PNG files that read as the same pixels, labels and order."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from underhood.core.errors import DataError
from underhood.core.images import Images


def write_folder(parts: dict[str, Images], folder: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Write each picture under its own name below ``folder``, which must be empty or new. Returns how many.

    Everything is written beside its place first, so that an interrupted run leaves no half of a data set behind.
    Raises DataError.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty: choose another folder, or remove it")
    total, done = sum(len(images) for images in parts.values()), 0
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise DataError(f"cannot write {folder} ({error.strerror}): choose another folder") from None
    try:
        made: set[str] = set()
        for images in parts.values():
            for name, picture in zip(images.names, images.pixels, strict=True):
                parent, _, _ = name.rpartition("/")
                if parent not in made:
                    (beside / parent).mkdir(parents=True, exist_ok=True)
                    made.add(parent)
                array = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
                Image.fromarray(array).save(os.path.join(beside, name), "PNG")  # noqa: PTH118 (70,000 of them)
                done += 1
                if progress and (done % 256 == 0 or done == total):
                    progress(done, total)
        beside.chmod(0o777 & ~_umask())  # a folder of mkdtemp's is its owner's alone
        if folder.is_dir():  # into the folder that is there, which may be the current one
            for entry in beside.iterdir():
                entry.rename(folder / entry.name)
        else:
            beside.rename(folder)
    except OSError as error:
        raise DataError(f"cannot write {folder} ({error.strerror}): make room or choose another folder") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return done


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
