"""Files of published weights: read with a bound, by the names of our networks, and checked.

Publishers give tensors other names than our networks do. Each table maps a layer to a layer. A tensor's name is its
layer's and a last word: ``weight``, ``running_mean``, …
"""

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from underhood.core.errors import UnderhoodError
from underhood.core.models import Architecture
from underhood.data.files import open_regular, printable, short_list
from underhood.pretrained import create_model
from underhood.pretrained.efficientnet import STAGES

SIDE = 224  # pixels of an image for which a network has its published form
MAX_CLASSES = 25_000  # of a last layer: ImageNet-21k has 21,843
MAX_TEXT = 1_000_000  # bytes of config.json and of README.md
MAX_OTHER = 1_000_000  # bytes of a weight file beside its tensors

# EfficientNet-Lite0 as efficientnet_lite_pytorch names it. Our names are timm's.
OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
BLOCK_THAT_WIDENS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
BLOCK_THAT_DOES_NOT = {  # the first one
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}

# ResNet-18 as timm and torchvision name it. Ours has numbers: layer 0 normalises, 3 and 4 are ReLU and pooling.
OUTSIDE_STAGES = {"conv1": "1", "bn1": "2", "fc": "15"}
FIRST_BLOCK = 5  # of eight, two in each of four stages
RESIDUAL_BLOCK = {
    "conv1": "conv1",
    "bn1": "bn1",
    "conv2": "conv2",
    "bn2": "bn2",
    "downsample.0": "shortcut.0",
    "downsample.1": "shortcut.1",
}


def efficientnet_layers() -> dict[str, str]:
    """Layers of EfficientNet-Lite0 by efficientnet_lite_pytorch's names, which number all blocks, → timm's names."""
    layers = dict(OUTSIDE_BLOCKS)
    for number, (stage, block, widen) in enumerate(_blocks()):
        table = BLOCK_THAT_WIDENS if widen > 1 else BLOCK_THAT_DOES_NOT
        layers |= {f"_blocks.{number}.{theirs}": f"blocks.{stage}.{block}.{ours}" for theirs, ours in table.items()}
    return layers


def _blocks() -> Iterator[tuple[int, int, int]]:
    """(stage, number in the stage, how much it widens) of each block, in their order."""
    for stage, (count, _, _, widen, _) in enumerate(STAGES):
        for block in range(count):
            yield stage, block, widen


def resnet18_layers() -> dict[str, str]:
    """Layers of ResNet-18 by timm's names → the names in a network whose stem is "published"."""
    layers = dict(OUTSIDE_STAGES)
    for number in range(8):
        theirs, ours = f"layer{number // 2 + 1}.{number % 2}", str(FIRST_BLOCK + number)
        layers |= {f"{theirs}.{name}": f"{ours}.{our_name}" for name, our_name in RESIDUAL_BLOCK.items()}
    return layers


def rename(name: str, layers: dict[str, str]) -> str:
    """A tensor's name in our network. One whose layer is not in the table keeps its name."""
    layer, dot, last = name.rpartition(".")
    return layers.get(layer, layer) + dot + last


def read_file(path: Path, largest: int) -> bytes:
    """The content of a regular file. Raises UnderhoodError, also where it has more than ``largest`` bytes."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(largest + 1) if size <= largest else b""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnderhoodError(f"{shown(path)} cannot be read ({reason}): check --weights") from None
    if max(size, len(content)) > largest:
        raise UnderhoodError(f"{shown(path)} is too large ({size:,} bytes, at most {largest:,}): use another file")
    return content


def load_tensors(model: str, path: Path, content: bytes) -> dict[str, Tensor]:
    """The tensors of a weight file by our names, each [features, …] as in the network.

    content: of the file at ``path``. Raises UnderhoodError.
    """
    try:
        found = _parse(path, content)
        layers = resnet18_layers() if model == "resnet18" else efficientnet_layers() if "_fc.weight" in found else {}
        renamed = {rename(name, layers): tensor for name, tensor in found.items()}
        if len(renamed) < len(found):
            raise ValueError("it has the same tensor under two names")
        return _checked(model, renamed)
    except UnderhoodError:
        raise
    except Exception as error:  # the file decides what torch and safetensors raise
        lines = str(error).strip().splitlines()
        reason = type(error).__name__ if not lines or len(lines[0]) > 200 else lines[0]
        fix = f"use an undamaged file that was published for {model} of timm"
        raise UnderhoodError(f"{shown(path)} does not hold weights of {model} ({printable(reason)}): {fix}") from None


def _parse(path: Path, content: bytes) -> dict[str, Tensor]:
    """The tensors in a file by their names there. No code in it runs."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load

        return load(content)
    if path.suffix not in (".pth", ".pt", ".bin"):
        raise ValueError("its name does not end in .safetensors, .pth, .pt or .bin")
    if zipfile.is_zipfile(io.BytesIO(content)):  # torch compresses nothing: a small file is no large one
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > len(content):
                raise ValueError("it is compressed")
    found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError("it is not a dictionary of tensors by name")
    return found


def _checked(model: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a model, in memory of their own. Raises ValueError where they are others.

    The last layer may have any number of classes, and the counters of batch normalisation may be missing: nothing
    that this package does depends on them.
    """
    expected, last = _expected(model)
    weight = tensors.get(f"{last}.weight")
    classes = len(weight) if isinstance(weight, Tensor) and weight.ndim else 0
    for name in {*expected} - {*tensors}:
        if name.endswith(".num_batches_tracked"):
            tensors[name] = torch.tensor(0)
    lacks, has = sorted({*expected} - {*tensors}), sorted({*tensors} - {*expected})
    if lacks or has:
        what = {"it lacks": lacks, "it also has": has}
        raise ValueError("; ".join(f"{verb} {_some(names)}" for verb, names in what.items() if names))
    for name, (shape, dtype) in expected.items():
        _check(name, tensors[name], (classes, *shape[1:]) if name.startswith(f"{last}.") else shape, dtype)
    if not 0 < classes <= MAX_CLASSES:
        raise ValueError(f"its last layer has {classes:,} classes, not 1 to {MAX_CLASSES:,}")
    return {name: tensors[name].detach().clone(memory_format=torch.contiguous_format) for name in expected}


def _check(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Raise ValueError unless a tensor is an ordinary one of this shape and type that holds numbers."""
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise ValueError(f"{name} is no ordinary tensor")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has the shape {_numbers(tensor.shape)}, not {_numbers(shape)}")
    if tensor.dtype != dtype:
        raise ValueError(f"{name} holds {tensor.dtype}, not {dtype}".replace("torch.", ""))
    if not tensor.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinity")
    if name.endswith(".running_var") and tensor.min() < 0:
        raise ValueError(f"{name} holds a negative variance")


@cache
def _expected(model: str) -> tuple[dict[str, tuple[tuple[int, ...], torch.dtype]], str]:
    """(shape and type of each tensor without those of the normalisation, name of the last layer), for 1000 classes."""
    with torch.device("meta"):  # takes no memory and no random numbers
        network = create_model(Architecture(model, 3, SIDE, SIDE, 1000))
    first, *_, last = (name for name, _ in network.named_children())
    state = network.state_dict().items()
    return {n: (tuple(t.shape), t.dtype) for n, t in state if not n.startswith(f"{first}.")}, last


def largest_file(model: str) -> int:
    """Bytes that a file of a model's weights can have at most."""
    expected, last = _expected(model)
    numbers = sum(torch.Size(shape).numel() for shape, _ in expected.values())
    features = expected[f"{last}.weight"][0][1]
    return 8 * len(expected) + 4 * (numbers + MAX_CLASSES * (features + 1)) + MAX_OTHER


def _some(names: list[str]) -> str:
    return short_list([printable(name[:60]) for name in names], 1, ", ")


def _numbers(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape[:6])) or "of one number"


def shown(source: object) -> str:
    """A path or the name of a source, for a message of one line."""
    return printable(str(source)[:500])


def read_config(path: Path) -> dict[str, Any]:
    """What config.json says of the weights, in timm's form; {} where there is none. Raises UnderhoodError."""
    if not path.exists():
        return {}
    try:
        config = json.loads(read_file(path, MAX_TEXT))
    except (ValueError, RecursionError):
        raise UnderhoodError(f"{shown(path)} is not JSON: correct or remove it") from None
    config = config.get("pretrained_cfg", config) if isinstance(config, dict) else None
    if not isinstance(config, dict):
        raise UnderhoodError(f"{shown(path)} does not hold a JSON object: correct or remove it")
    for name in {"mean", "std"} & {*config}:
        values = config[name]
        least = 1e-6 if name == "std" else 0
        numbers = isinstance(values, list) and all(type(x) in (int, float) and least <= x <= 1 for x in values)
        if not numbers or len(values) != 3:
            raise UnderhoodError(
                f"{shown(path)}: {name} is not three numbers from {least:g} to 1: correct or remove it"
            )
    return config


def read_card_licence(path: Path) -> str | None:
    """The licence in a model card's header, between its first two lines of three dashes."""
    try:
        header = re.match(r"---\s*\n(.*?)\n---", read_file(path, MAX_TEXT).decode(errors="replace"), re.DOTALL)
    except UnderhoodError:
        return None
    found = header and re.search(r"^license:[ \t]*[\"']?([\w.+-]{1,100})[\"']?[ \t]*$", header[1], re.MULTILINE)
    return found[1] if found else None
