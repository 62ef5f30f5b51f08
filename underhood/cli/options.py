"""The flags that commands share: each with its meaning, and the check of its value, in one place."""

from pathlib import Path
from typing import Annotated, Any

import typer

DATA_HELP = "digits, mnist, mnist-3v7, fashion-mnist; a folder per class; a folder of IDX files; a .csv or .tsv table."


def rate(value: float | None) -> float | None:
    if value is not None and not 0 < value <= 1000:
        raise typer.BadParameter("must be a number above 0, at most 1000")
    return value


def _fraction(value: float | None) -> float | None:
    if value is not None and not 0 < value < 1:
        raise typer.BadParameter("must lie between 0 and 1, such as 0.2")
    return value


def part(value: float) -> float:
    if not 0 <= value < 1:
        raise typer.BadParameter("must be 0 or more and below 1, such as 0.01")
    return value


def _channels(value: int | None) -> int | None:
    if value not in (None, 1, 3):
        raise typer.BadParameter("must be 1 (grey) or 3 (colour)")
    return value


def one_of(*names: str) -> Any:
    def check(value: str | None) -> str | None:
        if value is not None and value not in names:
            from underhood.core.errors import UnknownNameError

            raise typer.BadParameter(str(UnknownNameError("name", value, names)))
        return value

    return check


Data = Annotated[str, typer.Argument(help=DATA_HELP, metavar="DATA")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training pictures. Chosen from their number.")]
Model = Annotated[str | None, typer.Option(help="linear, net, conv, vgg or resnet18. Chosen by effort, or as --from.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Pictures a step. Chosen from their number.")]
Effort = Annotated[str, typer.Option(help="fast, normal or best: how much time may be spent on accuracy.")]
Precision = Annotated[
    str | None, typer.Option(help="float32, or bfloat16 for the model's products. Chosen by model and device.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Optimizer = Annotated[str, typer.Option(help="adamw, adam, or sgd with Nesterov's momentum.")]
Size = Annotated[int | None, typer.Option(min=1, max=1024, help="Pixels a side. Chosen from the pictures.")]
Channels = Annotated[int | None, typer.Option(callback=_channels, help="1 grey, 3 colour. Chosen from the pictures.")]
Fit = Annotated[
    str | None,
    typer.Option(
        callback=one_of("pad", "crop", "stretch", "digit"),
        help="How a picture of another shape fits: pad, crop or stretch; digit: as MNIST's were made.",
    ),
]
Valid = Annotated[
    float | None, typer.Option(callback=_fraction, help="Fraction held out where DATA has no validation part: 0.2.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the split, the first weights and the order.")]
Limit = Annotated[
    int | None, typer.Option(min=2, help="Use at most so many training pictures, each class in proportion.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable pictures out, and record them.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep no decoded pixels of a folder for the next time.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, everything else on stderr.")]
