"""The arguments of the commands. The flags of a training are made from ``TrainConfig``, where they are declared."""

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from underhood.training.config import TYPES, TrainConfig, check_value, choices

DATA_HELP = "digits, mnist, mnist-3v7, fashion-mnist; a folder per class; a folder of IDX files; a .csv or .tsv table."

Data = Annotated[str, typer.Argument(help=DATA_HELP, metavar="DATA")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
Model = Annotated[Path, typer.Argument(help="A run folder, or an exported model.onnx.", metavar="RUN")]
Out = Annotated[Path | None, typer.Option(help="The run folder. Default: the next runs/DATA-MODEL-n.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable images out, and record them.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Do not cache decoded pixels.")]
Host = Annotated[str, typer.Option(help="Address to listen on: 127.0.0.1 (this machine only) or 0.0.0.0 (all).")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Of the page. Default: the first free one from 8001; 0: any.")
]
Token = Annotated[
    str | None,
    typer.Option(help="The secret that allows steering. By default one is made where --host lets other machines in."),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, everything else on stderr.")]

FIELDS = {field.name: field for field in fields(TrainConfig) if field.name != "data"}
VerifyCache = Annotated[bool, typer.Option("--verify-cache", help=FIELDS["verify_cache"].metadata["help"])]


def train_flags(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of these options of ``TrainConfig``, or of all: the command gets ``**options``."""
    chosen = names or tuple(FIELDS)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_options(*args: Any, **given: Any) -> None:
            options = {}
            for name in chosen:
                value = given.pop(parameter_name(FIELDS[name]))
                options[name] = not value if FIELDS[name].default is True else value
            command(*args, **given, **options)

        parameters = list(inspect.signature(command).parameters.values())
        own = [one for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD]
        flags = [_flag(FIELDS[name]) for name in chosen]
        with_options.__signature__ = inspect.Signature(own[:-1] + flags + own[-1:])  # type: ignore[attr-defined]
        with_options.__annotations__ = {one.name: one.annotation for one in own + flags}
        return with_options

    return decorate


def parameter_name(field: "Field[Any]") -> str:
    """The name of an option's parameter in a command: that of its flag, which says the opposite of what is on."""
    return f"no_{field.name}" if field.default is True else field.name


def _flag(field: "Field[Any]") -> inspect.Parameter:
    def check(value: Any) -> Any:
        try:
            check_value(field, value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        return value

    flag = field.metadata["flag"] or "--" + field.name.replace("_", "-")
    metavar = "RUN" if field.name == "from_run" else None
    kind: Any = bool
    default: Any = False
    if isinstance(field.default, bool):
        option = typer.Option(flag, help=field.metadata["help"])
    else:
        option = typer.Option(flag, help=_help(field), callback=check, metavar=metavar)
        kind, default = _plain_type(field), field.default
    name = parameter_name(field)
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=Annotated[kind, option]
    )  # fmt: skip


def _help(field: "Field[Any]") -> str:
    """The option's help, with its range: ``[at least 1, at most 1024]``, for instance."""
    words = {"least": "at least", "most": "at most", "above": "above", "below": "below"}
    limits = [f"{word} {field.metadata[name]}" for name, word in words.items() if field.metadata[name] is not None]
    return field.metadata["help"] + (f"  [{', '.join(limits)}]" if limits else "")


def _plain_type(field: "Field[Any]") -> Any:
    """The option's type as the command line parses it. Names are text: ``TrainConfig`` checks them."""
    known, declared = choices(field.name), get_args(TYPES[field.name]) or (TYPES[field.name],)
    plain = type(known[0]) if known else Path if Path in declared else declared[0]
    return plain | None if field.default is None else plain
