"""The reference: which page documents which modules, the table of public names, and the help of each command."""

import ast
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import griffe
from docstrings import as_markdown

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "underhood"
PAGES = {  # page → its heading, and what it documents: modules, or packages with all of their modules
    "core": ("Core: images, networks, batches, losses, the loop", ["core"]),
    "jobs": ("Jobs: what the commands do", ["jobs"]),
    "data": ("Data: from files to images", ["data"]),
    "preparation": ("Preparation: from an image file to pixels", ["preparation"]),
    "training": ("Training: options, the run, layer statistics", ["training"]),
    "diagnosis": (
        "Diagnosis: the doctor, its checks and how a loop is watched",
        ["diagnosis", "diagnosis.checks", "diagnosis.faults"],
    ),
    "scratch": ("From scratch: the books' functions", ["scratch"]),
    "pretrained": ("Pretrained: backbones and their weights", ["pretrained"]),
    "runs": ("Runs: the folder and the checkpoint", ["runs"]),
    "analysis": ("Analysis: what predictions say", ["analysis"]),
    "reporting": ("Reporting: report.html", ["reporting"]),
    "display": ("Display: tables, progress, figures", ["display"]),
    "serving": ("Serving: a predictor, ONNX, HTTP", ["serving"]),
    "live": ("Live: a training to watch and to steer", ["live"]),
    "explorer": ("Explorer: explore.html", ["explorer"]),
    "estimators": ("Estimators for scikit-learn", ["estimators"]),
    "books": ("Books: the printed figures, computed", ["books"]),
}


def pages() -> dict[str, tuple[str, str]]:
    """The reference: page → (title, Markdown)."""
    package = griffe.load("underhood", search_paths=[str(ROOT)], allow_inspection=False)
    result = {"index": ("Public names", _public(package)), "commands": ("Commands", commands())}
    for name, (title, parts) in PAGES.items():
        body = "\n\n".join(f"::: {module}" for part in parts for module in modules(part))
        result[name] = (title, f"# {title}\n\n{body}\n")
    return result


def modules(part: str) -> list[str]:
    """The modules of a part of the package, the package itself first."""
    place = PACKAGE.joinpath(*part.split("."))
    if place.with_suffix(".py").exists():
        return [f"underhood.{part}"]
    return [f"underhood.{part}", *(f"underhood.{part}.{file.stem}" for file in sorted(place.glob("[!_]*.py")))]


def homes() -> dict[str, str]:
    """The public names, and the module of each."""
    return _assigned(PACKAGE / "__init__.py", "_HOME")


def _assigned(file: Path, name: str) -> Any:
    """The value that a file assigns to a name at its top level. The file is not imported."""
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise ValueError(f"{file} has no {name}")


def _public(package: griffe.Object) -> str:
    names = homes()
    lines = [
        "# Public names",
        "",
        "`import underhood` gives these, each loaded on first use; torch is imported only when something needs it.",
        "",
        "| `underhood.` | what it is |",
        "| --- | --- |",
    ]
    for name, module in sorted(names.items(), key=lambda item: (item[0].lower(), item[0])):
        path = f"{module}.{name}"
        thing = package[path.removeprefix("underhood.")]
        lines.append(f"| [`{name}`][{path}] | {_first_sentence(thing)} |")
    return "\n".join(lines) + "\n"


def _first_sentence(thing: griffe.Object) -> str:
    text = thing.docstring.value if thing.docstring else ""
    paragraph = " ".join(as_markdown(text).split("\n\n")[0].split("\n"))
    return re.split(r"(?<=\w[\w)`]\.) (?=\w)", paragraph, maxsplit=1)[0].replace("|", "\\|")


def commands() -> str:
    """The `--help` of each command."""
    from typer.main import get_command

    from underhood.cli.commands import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    names = list(known)
    without = [name for name, one in known.items() if not any("--json" in flag.opts for flag in one.params)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = list(pool.map(_help, [[], *([name] for name in names)]))
    parts = [
        "# Commands",
        "",
        "The `--help` of each command. Exit codes: 0 done, 1 failed or bad data, 2 bad flags or no such DATA,",
        f"130 interrupted, 143 terminated. All but {' and '.join(f'`{name}`' for name in without)} take `--json`:",
        "one JSON object on stdout, everything else on stderr.",
        "",
        f"```text\n{texts[0]}\n```",
    ]
    for name, text in zip(names, texts[1:], strict=True):
        parts += ["", f"## {name}", "", f"```text\n{text}\n```"]
    return "\n".join(parts) + "\n"


def _help(arguments: list[str]) -> str:
    plain = os.environ | {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "underhood", *arguments, "--help"]
    ended = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, encoding="utf-8", check=True)
    return ended.stdout.strip()
