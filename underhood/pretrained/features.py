"""What a backbone says of an image, before its last layer: computed once per image and kept in the user's cache.

The features of the same images, by the same weights, are read again the next time: a second head trains in seconds.
"""

import copy
import hashlib
import itertools
import secrets
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from underhood.core.images import Images
from underhood.core.loader import DataLoader
from underhood.data.cache import refusal
from underhood.data.files import user_cache
from underhood.data.split import hash_images

BATCH = 8  # images on a CPU, whose cache holds the layers of so few: twice as fast as 64
BATCH_GPU = 256
FORMAT = 1  # of the files; increase it when features change
MAX_KEPT = 2_000_000_000  # bytes of all files together: the oldest are removed first
MAX_IN_MEMORY = 64_000_000  # bytes: the features of 12,500 images
Progress = Callable[[int, int], None]  # (done, total)


_in_memory: dict[str, Tensor] = {}  # by name: features that are kept in no file


def features_folder() -> Path:
    """The folder of the kept features, below the user's cache folder."""
    return user_cache() / "features"


def image_features(
    network: nn.Sequential, images: Images, weights: str | None, device: str = "cpu", progress: Progress | None = None
) -> Tensor:
    """The input of the last layer for each image: float32 [n, features], on the CPU.

    weights: identifies the network's weights (their SHA-256): features are kept under this name. None keeps no file,
        but some features in memory, since a comparison of models and the training after it need the same
    progress: called with the numbers of images done and in total
    """
    name = _name(images, network, weights or _digest_of_body(network), device)
    place = None if weights is None else features_folder() / f"{name}.npy"
    kept = _in_memory.get(name) if place is None else _load(place, len(images))
    if kept is not None:
        return kept
    found = _compute(network, images.pixels, device, progress)
    if place is not None:
        _store(place, found)
    elif found.nbytes <= MAX_IN_MEMORY:
        _in_memory[name] = found
        while sum(one.nbytes for one in _in_memory.values()) > MAX_IN_MEMORY:  # parts of a data set are dropped first
            del _in_memory[min(_in_memory, key=lambda name: _in_memory[name].nbytes)]
    return found


@torch.inference_mode()
def _compute(network: nn.Sequential, pixels: np.ndarray, device: str, progress: Progress | None) -> Tensor:
    body = fold_batch_norm(nn.Sequential(*list(network.children())[:-1])).to(device)
    size = BATCH if device == "cpu" else BATCH_GPU
    rows: list[Tensor] = []
    for number, x in enumerate(DataLoader(pixels, size).batches(), start=1):
        rows.append(body(x.to(device)).cpu())
        if progress:
            progress(min(number * size, len(pixels)), len(pixels))
    return torch.cat(rows).clone()


def fold_batch_norm(network: nn.Sequential) -> nn.Sequential:
    """A copy for evaluation whose convolutions do the work of the batch normalisation after them: a quarter faster."""
    folded = copy.deepcopy(network).eval()
    for parent in list(folded.modules()):
        children = list(parent.named_children())
        for (name, conv), (after, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, after, nn.Identity())
    return folded


def _name(images: Images, network: nn.Sequential, weights: str, device: str) -> str:
    hashes = images.precomputed_hashes if images.precomputed_hashes is not None else hash_images(images.pixels)
    threads = torch.get_num_threads()  # the last digits depend on it
    statistics = [values.flatten().tolist() for values in network[0].buffers()]  # a file may be used with others
    content = f"{FORMAT} {weights} {statistics} {device} {images.pixels.shape} {threads}".encode() + hashes.tobytes()
    return hashlib.sha256(content).hexdigest()[:40]


def _load(place: Path, count: int) -> Tensor | None:
    """Kept features. None if there are none, if they are damaged, or if other users may have written them."""
    if refusal(place) or not place.is_file():
        return None
    try:
        kept = np.load(place)
        if len(kept) != count or kept.dtype != np.float32 or _digest(kept) != place.with_suffix(".sha256").read_text():
            return None
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(kept)


def _store(place: Path, found: Tensor) -> None:
    """Keep features, and remove the oldest where there are too many. Where the cache cannot be written, do nothing."""
    values = found.numpy()
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = sorted(place.parent.glob("*.npy"), key=lambda file: file.stat().st_mtime)
        size = values.nbytes + sum(file.stat().st_size for file in files)
        for oldest in files:
            if size > MAX_KEPT:
                size -= oldest.stat().st_size
                oldest.unlink()
                oldest.with_suffix(".sha256").unlink(missing_ok=True)
        part = place.with_suffix(f".{secrets.token_hex(8)}.part")  # not shared with another process
        with part.open("wb") as file:
            np.save(file, values)
        place.with_suffix(".sha256").write_text(_digest(values))
        part.replace(place)
    except OSError:
        return


def _digest_of_body(network: nn.Sequential) -> str:
    """The SHA-256 of the weights before the last layer."""
    digest = hashlib.sha256()
    for tensor in nn.Sequential(*list(network.children())[:-1]).state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
