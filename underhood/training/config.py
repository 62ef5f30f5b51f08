"""What a training is asked to do: checked before any work, and stored as ``config.json``."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from underhood.core.errors import UnderhoodError, UnknownNameError
from underhood.data.named import NAMES
from underhood.preparation.paths import expanded
from underhood.preparation.prepare import FITS
from underhood.training.names import BALANCES, DEVICES, EFFORTS, MODELS, OPTIMIZERS, PRECISIONS, SCHEDULES, TRACKERS

MAX_RATE = 1000.0


@dataclass(frozen=True)
class Request:
    """The arguments of ``train``; None where the choice is left to us. ``underhood train --help`` has each of them."""

    data: str | Path = "digits"
    model: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    schedule: str = "onecycle"
    optimizer: str = "adamw"
    effort: str = "normal"
    balance: str = "none"
    precision: str | None = None
    size: int | None = None
    channels: int | None = None
    fit: str | None = None
    valid: float | None = None
    seed: int = 0
    device: str = "auto"
    from_run: str | Path | None = None
    limit: int | None = None
    skip_bad: bool = False
    cache: bool = True
    save_every: float = 30.0  # seconds
    reject: float = 0.01  # of the validation pictures
    report: bool = True
    track: str | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("model", (*MODELS, None)), ("schedule", SCHEDULES), ("optimizer", OPTIMIZERS), ("effort", EFFORTS),
            ("balance", BALANCES), ("precision", (*PRECISIONS, None)), ("fit", (*FITS, None)), ("device", DEVICES),
            ("track", (*TRACKERS, None)),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise UnknownNameError(name, str(getattr(self, name)), [one for one in known if one])
        if self.fit == "digit" and self.channels == 3:
            raise UnderhoodError("--fit digit makes grey pictures: leave --channels out")
        for name in ("epochs", "batch_size", "size", "limit"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not 0 <= self.reject < 1:
            raise ValueError("reject must be a fraction of the validation pictures, 0 or more and below 1")
        if not self.save_every >= 0:
            raise ValueError("save_every must be a number of seconds, 0 or more")
        if self.lr is not None and not 0 < self.lr <= MAX_RATE:
            raise ValueError(f"lr must be a number above 0, at most {MAX_RATE:g}")

    @property
    def label(self) -> str:
        """What to call the data in the name of a run folder."""
        return str(self.data) if str(self.data) in NAMES else expanded(self.data).resolve().name

    def as_dict(self) -> dict[str, Any]:
        """As stored: paths in full, so that the record holds wherever it is read."""
        data = str(self.data) if str(self.data) in NAMES else str(expanded(self.data).resolve())
        from_run = None if self.from_run is None else str(expanded(self.from_run).resolve())
        return asdict(self) | {"data": data, "from_run": from_run}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Request":
        """The request of a stored configuration, whatever else that holds."""
        return cls(**{field.name: stored[field.name] for field in fields(cls) if field.name in stored})
