"""The reference: which page holds which modules, the table of public names, and what each command says of itself."""

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
PAGES = {  # page → its heading, and what it holds: modules, or packages with all of their modules
    "jobs": ("Jobs: what the commands do", ["jobs"]),
    "data": ("Data: from files to pixels", ["data"]),
    "models": ("Models", ["models"]),
    "training": ("Training", ["training"]),
    "scratch": ("From scratch: the books' functions", ["scratch"]),
    "runs": ("Runs: the folder, its figures, its report", ["runs"]),
    "serving": ("Serving: a model at work", ["serving"]),
    "estimators": ("Estimators for scikit-learn", ["estimators"]),
    "other": ("Errors, notebooks, listeners, the books", ["errors", "notebook", "listener", "books.reproduce"]),
}


def pages() -> dict[str, tuple[str, str]]:
    """The reference: page → (title, Markdown). What is not written yet is left out."""
    package = griffe.load("underhood", search_paths=[str(ROOT)], allow_inspection=False)
    told = {
        name: (title, [module for part in parts for module in _modules(part)]) for name, (title, parts) in PAGES.items()
    }
    result = {"index": ("Public names", _public(package))}
    result["commands"] = ("Commands", commands())
    for name, (title, modules) in told.items():
        if modules:
            body = "\n\n".join(map(_jobs if name == "jobs" else "::: {}".format, modules))
            result[name] = (title, f"# {title}\n\n{body}\n")
    return result


def _modules(part: str) -> list[str]:
    """The modules of a part of the package, those that have something public to say."""
    place = PACKAGE.joinpath(*part.split("."))
    if place.with_suffix(".py").exists():
        return [f"underhood.{part}"]
    if part == "jobs":  # its files are how it is done; what it is, is what it exports
        return [f"underhood.{part}"]
    files = sorted(place.glob("[!_]*.py"))
    return [f"underhood.{part}.{file.stem}" for file in files]


def _jobs(module: str) -> str:
    """What a package exports, ``train`` first; where it is written is left to the links to its source."""
    exported = _assigned(PACKAGE / "jobs" / "__init__.py", "__all__")
    names = sorted((name for name in exported if name.islower()), key=lambda name: (name != "train", name))
    run_lock = f"::: {module}\n    options:\n      members: false"
    return "\n\n".join([run_lock, *(f"::: {module}.{name}" for name in names)])


def homes() -> dict[str, str]:
    """The public names, and the module of each."""
    return _assigned(PACKAGE / "__init__.py", "_HOME")


def _assigned(file: Path, name: str) -> Any:
    """What a file gives a name at its top level; nothing is imported."""
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
    """Each command's own help, as it is at this moment."""
    from typer.main import get_command

    from underhood.cli.app import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    names = list(known)
    without = [name for name, one in known.items() if not any("--json" in flag.opts for flag in one.params)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = list(pool.map(_help, [[], *([name] for name in names)]))
    parts = [
        "# Commands",
        "",
        "What each command says with `--help`. Exit codes: 0 done, 1 failed or bad data, 2 bad flags or no such DATA,",
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
