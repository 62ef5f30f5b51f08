"""What is written about the code is complete and true: docstrings, examples, Python in documents, public names."""

import ast
import doctest
import importlib
import inspect
import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import underhood
from underhood.core import errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "underhood"
FILES = [
    file for file in sorted(PACKAGE.rglob("*.py")) if not {"lessons", "cli"} & set(file.relative_to(PACKAGE).parts)
]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

ARRAYS = re.compile(r"Tensor|ndarray|NDArray|\bArray\b")
SHAPE = re.compile(r"\[[^\[\]]*\]|any shape|same shape|of one shape")
FENCE = re.compile(r"^( *)```(\S*).*?\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)

ERRORS = {
    name: {base.__name__ for base in one.__mro__ if issubclass(base, errors.UnderhoodError)}
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, errors.UnderhoodError)
}  # each error → the names that document it: its own and those of its base classes


JOBS: dict[str, Any] = {file.stem: importlib.import_module(f"underhood.jobs.{file.stem}")
                        for file in sorted((PACKAGE / "jobs").glob("[!_]*.py"))}  # fmt: skip


class Written(NamedTuple):
    """A public class, function or method, with its docstring, and that with its class's."""

    name: str
    code: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    own: str
    whole: str


def public(inside: ast.Module | ast.ClassDef, path: str, above: str = "") -> Iterator[Written]:
    """Definitions whose names have no underscore, also those inside of such classes."""
    for code in inside.body:
        if isinstance(code, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not code.name.startswith("_"):
            own = ast.get_docstring(code) or ""
            name = f"{path}.{code.name}"
            yield Written(name, code, own, f"{above}\n{own}")
            if isinstance(code, ast.ClassDef):
                yield from public(code, name, own)


def without_a_docstring(one: Written) -> bool:
    return not one.own


def without_a_shape(one: Written) -> bool:
    """Whether a function takes or returns arrays and no docstring gives a shape."""
    if isinstance(one.code, ast.ClassDef):
        return False
    given = one.code.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    annotations = [argument.annotation for argument in every if argument] + [one.code.returns]
    arrays = any(ARRAYS.search(ast.unparse(annotation)) for annotation in annotations if annotation)
    return arrays and not SHAPE.search(one.whole)


def without_its_errors(one: Written) -> bool:
    """Whether a function raises an error in its body that is not documented, by its name or a base class's."""
    if isinstance(one.code, ast.ClassDef):
        return False
    raised = {ast.unparse(getattr(node.exc, "func", node.exc)).split(".")[-1] for node in ast.walk(one.code)
              if isinstance(node, ast.Raise) and node.exc}  # fmt: skip
    announced = set(re.findall(r"\w+", " ".join(re.findall(r"\bRaises?\b(.*)", one.whole, re.DOTALL))))
    return any(not ERRORS[name] & announced for name in raised & ERRORS.keys())


CHECKS = without_a_docstring, without_a_shape, without_its_errors


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_docstrings_say_what_they_should(check: Any) -> None:
    written = [one for file in FILES for one in public(ast.parse(file.read_text()), str(file.relative_to(ROOT)))]
    assert len(written) > 400
    assert [one.name for one in written if check(one)] == []


def test_the_checks_find_what_is_missing() -> None:
    code = """
        def bare(): ...
        def array(x: "np.ndarray | None") -> int:
            '''The number of things.'''
        def returned() -> list[Tensor]:
            '''Some.'''
        def given(x: NDArray[np.int64]) -> int:
            '''The number of things [n].'''
        def falls(x: int) -> int:
            '''Falls over.'''
            if x:
                raise DataError("over")
        def other(x: int) -> int:
            '''Falls over. Raises RunError.'''
            raise errors.UnreadableError from None
        def announced(x: int) -> int:
            '''Falls over. Raises
            DataError.'''
            raise UnreadableError({})
        def _private(): ...
        class Holds:
            '''Of numbers [n, m]. Raises UnderhoodError.'''
            def method(self): ...
            def array(self, x: Tensor) -> Tensor:
                '''Another.'''
                raise DivergedError("far", 3)
    """
    written = list(public(ast.parse(textwrap.dedent(code)), "code"))
    found = [[one.name.removeprefix("code.") for one in written if check(one)] for check in CHECKS]
    assert found == [["bare", "Holds.method"], ["array", "returned"], ["falls", "other"]]


def test_public_names_are_there_documented_and_in_order() -> None:
    assert list(underhood._HOME) == sorted(underhood._HOME) == underhood.__all__
    assert set(underhood.__all__) <= set(dir(underhood))
    for name in underhood.__all__:
        assert inspect.getdoc(getattr(underhood, name)), name
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = underhood.trian


def test_type_checkers_see_the_same_names() -> None:
    """Without the imports under TYPE_CHECKING, every public name would be Any."""
    code = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = [one for one in code.body if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"]
    imports = [one for one in block.body if isinstance(one, ast.ImportFrom)]
    assert {alias.asname: one.module for one in imports for alias in one.names} == underhood._HOME


def test_public_names_are_complete() -> None:
    """Every error, every job, and every figure for notebooks."""
    from underhood.display import notebook

    drawn = {name for name, one in vars(notebook).items() if inspect.isfunction(one) and not name.startswith("_")}
    assert {"show_batch", "plot_loss"} <= drawn
    assert ERRORS.keys() | drawn <= set(underhood.__all__)
    assert JOBS.keys() - {"lessons", "serve", "lr_find"} <= set(
        underhood.__all__
    )  # lr_find: on a Learner, as in fastai


def test_each_job_is_the_function_of_its_module_s_name() -> None:
    """``underhood.train`` is ``underhood.jobs.train.train``; the package ``jobs`` exports nothing of its own."""
    assert len(JOBS) > 12
    for name, module in JOBS.items():
        public_name = f"underhood.jobs.{name}"
        if name != "lessons":  # two functions: copy_lessons, open_lessons
            assert getattr(module, name).__module__ == public_name
        if name in underhood.__all__ and name != "lr_find":
            assert underhood._HOME[name] == public_name
            assert getattr(underhood, name) is getattr(module, name)
    assert underhood.resume is JOBS["train"].resume
    assert underhood.clear_cache is JOBS["get"].clear_cache
    (docstring,) = ast.parse((PACKAGE / "jobs" / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)


def resolve(path: str) -> Any:
    """What a dotted name that begins with ``underhood`` stands for."""
    found: Any = underhood
    parts = path.split(".")
    for place, name in enumerate(parts[1:], start=2):
        if not hasattr(found, name):
            importlib.import_module(".".join(parts[:place]))
        found = getattr(found, name)
    return found


def test_names_in_the_documents_exist() -> None:
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    dotted = set(re.findall(r"\bunderhood((?:\.[A-Za-z_]\w*)+)", text))
    for module, names in re.findall(r"\bfrom underhood([.\w]*) import \(?([\w, ]+|(?<=\()[\w,\s]+)", text):
        dotted |= {f"{module}.{name.split()[0]}" for name in names.split(",") if name.strip()}
    assert len(dotted) > 8
    for path in sorted(dotted):
        resolve(f"underhood{path}")


def test_new_names_in_the_changelog_exist_and_old_ones_do_not() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    table = changelog[changelog.index("### Old and new names") : changelog.index("## 0.1.0")]
    rows = re.findall(r"^\| (.*) \| (.*) \|$", table, re.MULTILINE)
    assert len(rows) > 100
    for old, new in rows:
        for name in re.findall(r"\bunderhood(?:\.\w+)+", new):
            resolve(name)
        for name in re.findall(r"\bunderhood(?:\.\w+)+", old):
            with pytest.raises((ImportError, AttributeError)):
                resolve(name)


def modules_with_examples() -> list[str]:
    """The modules that have an example which is not marked to be skipped."""
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if "lessons" not in file.parts]
    some = [file for file in files if re.search(r">>>(?!.*doctest: \+SKIP)", file.read_text())]
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in some]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_run(name: str) -> None:
    ran = doctest.testmod(importlib.import_module(name))
    assert ran.attempted
    assert not ran.failed


def python_in(document: Path) -> list[str]:
    return [textwrap.dedent(code) for _, language, code in FENCE.findall(document.read_text(encoding="utf-8"))
            if language.lower() in ("python", "py", "python3")]  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [pytest.param(one, id=str(one.relative_to(ROOT))) for one in DOCUMENTS[1:] if python_in(one)],
)
def test_python_in_documents_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each document's blocks, in their order, as one program, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    blocks = python_in(document)
    assert blocks
    for number, code in enumerate(blocks, start=1):
        exec(compile(code, f"{document.name}, block {number}", "exec"), names)


def test_the_types_are_shipped() -> None:
    """PEP 561: ``py.typed`` is in the package, and the wheel contains the package as it is."""
    assert (PACKAGE / "py.typed").is_file()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["underhood"]
    assert not [pattern for pattern in wheel.get("exclude", ()) if not pattern.startswith("underhood/lessons")]
    ignored = (ROOT / ".gitignore").read_text().split()  # hatchling leaves out what git ignores
    assert not [pattern for pattern in ignored if "py.typed" in pattern or pattern == "*.typed"]
