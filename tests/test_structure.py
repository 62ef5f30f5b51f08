"""The structure that docs/design.md describes: what core may import, and how long files and functions are."""

import ast
import sys
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from underhood.training.config import TYPES, TrainConfig, TrainOptions

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "underhood"
MODULES = [file for file in sorted(PACKAGE.rglob("*.py")) if "lessons" not in file.parent.parts]
CORE = sorted((PACKAGE / "core").glob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports, at its top or in a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield node.module or ""


def functions(file: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{file.relative_to(ROOT)}:{node.name}", node


def branches(function: ast.AST) -> int:
    """if, elif, for, while, except, case, conditional expressions, and each ``and`` and ``or``."""
    count = 0
    for node in ast.walk(function):
        if isinstance(node, (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.match_case)):
            count += 1
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
    return count


def test_core_is_at_most_900_lines_in_9_files_a_quarter_of_them_documentation() -> None:
    lines = documented = 0
    for file in CORE:
        text = file.read_text()
        told: set[int] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
                told |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
        rows = text.splitlines()
        told |= {number for number, row in enumerate(rows, start=1) if "  # " in row or row.lstrip().startswith("# ")}
        lines, documented = lines + len(rows), documented + len(told)
    assert len(CORE) <= 9
    assert lines <= 900
    assert documented >= lines / 4


def test_core_imports_the_standard_library_numpy_torch_and_itself() -> None:
    for file in CORE:
        for name in imports(ast.parse(file.read_text())):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names or top in ("numpy", "torch") or name.startswith("underhood.core"), (
                name
            )


def test_core_images_and_errors_do_not_import_torch() -> None:
    for name in ("images.py", "errors.py", "__init__.py"):
        assert not [one for one in imports(ast.parse((PACKAGE / "core" / name).read_text())) if "torch" in one]


def test_the_learner_has_at_most_7_arguments() -> None:
    (init,) = [node for name, node in functions(PACKAGE / "core/learner.py") if name.endswith(":__init__")]
    assert len(init.args.args) <= 7  # self included


def test_the_package_has_at_most_159_modules_of_at_most_300_lines() -> None:
    """Of them nine watch a training (live/, with replay), four write explore.html, and eight keep what they need:
    snapshots, interventions, what was learned when, what a model is worth, training again with something changed.
    The doctor's package is counted for itself: it has a file for each of its 24 checks."""
    doctor = [file for file in MODULES if "diagnosis" in file.parts]
    assert len(MODULES) - len(doctor) <= 159
    assert len(doctor) <= 24 + 16
    assert [str(file) for file in MODULES if len(file.read_text().splitlines()) > 300] == []


def test_no_function_is_longer_than_50_lines_or_has_more_than_12_branches() -> None:
    every = [one for file in MODULES for one in functions(file)]
    assert len(every) > 500
    assert [name for name, node in every if (node.end_lineno or 0) - node.lineno + 1 > 50] == []
    assert [name for name, node in every if branches(node) > 12] == []


def test_one_loop_trains() -> None:
    """``backward`` is called in the learner alone, apart from the chapters' functions."""
    calls = [
        str(file.relative_to(PACKAGE))
        for file in MODULES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "backward"
    ]
    assert set(calls) - {"scratch/sgd.py", "scratch/backprop.py"} <= {
        "core/learner.py",
        "diagnosis/loops.py",
        "diagnosis/hooks.py",
        "books/chapter4.py",
        "books/chapter4_training.py",
    }


def test_no_module_beside_the_public_functions_has_the_name_of_one() -> None:
    """Importing a submodule ``underhood.report`` would replace the function ``underhood.report``."""
    import underhood

    beside = {path.stem for path in PACKAGE.iterdir()}
    assert not beside & set(underhood.__all__)


def test_train_options_are_the_fields_of_train_config() -> None:
    declared = {field.name: TYPES[field.name] for field in fields(TrainConfig) if field.name != "data"}
    assert typing.get_type_hints(TrainOptions) == declared
    assert all(field.metadata["help"] for field in fields(TrainConfig) if field.name != "data")


def test_every_option_has_a_flag() -> None:
    from typer.main import get_command

    from underhood.cli.commands import app

    flags = {flag for option in get_command(app).commands["train"].params for flag in option.opts}  # type: ignore[attr-defined]
    for field in fields(TrainConfig)[1:]:
        assert (field.metadata["flag"] or "--" + field.name.replace("_", "-")).split("/")[0] in flags


@pytest.mark.parametrize("job", [file.stem for file in sorted((PACKAGE / "jobs").glob("[!_]*.py"))])
def test_each_job_is_a_command(job: str) -> None:
    from typer.main import get_command

    from underhood.cli.commands import app

    command = job.rstrip("_").replace("_", "-")  # break_.py, as ``break`` is a keyword
    assert command in get_command(app).commands  # type: ignore[attr-defined]


def test_no_generator_wraps_the_steps_of_a_run() -> None:
    """The run's only loop iterates over ``learn.steps(…)`` itself, and nothing in its module yields a step."""
    tree = ast.parse((PACKAGE / "training/run.py").read_text())
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For) and "learn.steps(" in ast.unparse(node.iter)]
    assert [ast.unparse(loop.iter).partition("(")[0] for loop in loops] == ["learn.steps"]
    assert not [node for node in ast.walk(loops[0]) if isinstance(node, (ast.Yield, ast.YieldFrom))]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.YieldFrom)]
