"""``state.safetensors``: all that a resume needs, in one file that is there whole or not at all.

Tensors: the model's weights and buffers, what the optimizer knows of each parameter, the losses of the epoch under way,
what was recorded before, what was seen inside. Metadata: one key, ``underhood``, JSON: format, steps, seconds trained.
"""

import json
from pathlib import Path
from typing import Any

import torch

from underhood.core.errors import RunError
from underhood.runs.folder import FORMAT, write_whole

FILE = "state.safetensors"


def save_state(folder: Path, state: dict[str, Any], seconds: float) -> None:
    """Write a learner's ``state_dict``, with ``looks``, a tensor. seconds: of training so far."""
    from safetensors.torch import save

    recorded = state["recorder"]
    tensors = {f"model.{name}": tensor for name, tensor in state["model"].items()}
    for number, known in state["optimizer"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in known.items() if value is not None}
    tensors |= {name: state[name] for name in ("losses", "looks")}
    tensors |= {f"recorder.{name}": torch.tensor(recorded[name], dtype=torch.float64) for name in recorded}
    header = {"format": FORMAT, "taken": state["taken"], "seconds": seconds}
    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"underhood": json.dumps(header, sort_keys=True)},
    )
    write_whole(folder / FILE, content)


def load_state(folder: Path) -> tuple[dict[str, Any], float] | None:
    """(what ``Learner.load_state_dict`` takes, seconds trained), or None where none was saved. Raises RunError."""
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    if not path.is_file():
        return None
    state: dict[str, Any] = {"model": {}, "optimizer": {}, "recorder": {}}
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["underhood"])
            if header["format"] > FORMAT:
                raise RunError(f"{path} has format {header['format']}: pip install -U underhood")
            for name in file.keys():  # noqa: SIM118 (not a dictionary)
                tensor = file.get_tensor(name)
                kind, _, rest = name.partition(".")
                if kind == "model":
                    state["model"][rest] = tensor
                elif kind == "optimizer":
                    number, _, what = rest.partition(".")
                    state["optimizer"].setdefault(int(number), {})[what] = tensor
                elif kind == "recorder":
                    state["recorder"][rest] = tensor.tolist()
                else:
                    state[kind] = tensor
        state["taken"], seconds = int(header["taken"]), float(header["seconds"])
        state["losses"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}): remove it to start the run again") from None
    return state, seconds
