"""The course as a text: how much it explains, in which order, and that it shows each function before it uses it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from underhood.lessons import files

PACKAGE = Path(__file__).parent.parent / "underhood"
LESSONS = {int(file.name[:2]): file for file in files()}
TAUGHT = [number for number in LESSONS if number <= 17]  # the last one asks
NUMBERS = pytest.mark.parametrize("number", TAUGHT)

TERMS = {  # term → the lesson that introduces it, in bold and with a definition
    "pixel": 1, "array": 1, "tensor": 1, "label": 1, "training set": 1, "validation set": 1,
    "shape": 2, "axis": 2, "rank": 2, "scalar": 2, "vector": 2, "matrix": 2, "broadcasting": 2, "GPU": 2,
    "baseline": 3, "metric": 3, "accuracy": 3,
    "weight": 4, "parameter": 4, "model": 4, "loss": 4,
    "derivative": 5, "gradient": 5, "autograd": 5, "forward pass": 5, "backward pass": 5, "learning rate": 5,
    "gradient descent": 6, "mean squared error": 6,
    "bias": 7, "matrix multiplication": 7, "sigmoid": 7, "target": 7,
    "mini-batch": 8, "batch size": 8, "epoch": 8, "stochastic": 8, "Dataset": 8, "DataLoader": 8,
    "symptom": 10, "hook": 10, "control": 10, "false alarm": 10,
    "optimizer": 11, "module": 11, "Learner": 11,
    "activation": 12, "nonlinearity": 12, "ReLU": 12, "layer": 12, "neural network": 12,
    "convolution": 13, "residual": 13,
    "overfitting": 14, "data augmentation": 14,
    "chain rule": 15, "backpropagation": 15, "one-hot": 15, "logit": 15, "softmax": 15, "cross-entropy": 15,
    "adversarial": 16,
    "pretrained": 17,
}  # fmt: skip
UNAMBIGUOUS = {  # term → how it begins, in text and code: not to be met before the lesson that introduces it
    "derivative": "derivativ", "chain rule": "chain.rule", "logit": "logit", "softmax": "softmax",
    "cross-entropy": "cross.?entropy", "one-hot": "one.?hot", "overfitting": "overfit", "residual": "residual",
    "convolution": "convol", "broadcasting": "broadcast", "autograd": "autograd",
}  # fmt: skip
PARTS = [
    r"\*\*After this lesson\*\*", r"It\s+takes\s+about\s[^.]*(minutes|hour)", "## Summary", r"\*\*New words:\*\*",
    "## Exercises", r"\*\*Further research", "## What you can read now", r"pytorch\.org/docs", r"\*\*Next:\*\*",
]  # fmt: skip
LEAST_WORDS, LEAST_IN_ALL = 600, 13_000


def prose(number: int) -> str:
    """What a lesson says: its Markdown, without code and without what is computed."""
    tree = ast.parse(LESSONS[number].read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "mo.md"]
    calls.sort(key=lambda call: call.lineno)
    texts = []
    for call in calls:
        parts = call.args[0].values if isinstance(call.args[0], ast.JoinedStr) else call.args[:1]
        texts.append("".join(str(part.value) for part in parts if isinstance(part, ast.Constant)))
    return re.sub(r"```.*?```", "", "\n\n".join(map(dedent, texts)), flags=re.DOTALL)


def shown(number: int) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """The functions and classes that a lesson's visible cells define."""
    for cell in cells(number):
        if "hide_code=True" not in ast.unparse(cell.decorator_list[0]):
            if ast.unparse(cell.decorator_list[0]).startswith(("app.function", "app.class_definition")):
                yield cell
            yield from (node for node in cell.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))


def cells(number: int) -> list[ast.FunctionDef | ast.ClassDef]:
    tree = ast.parse(LESSONS[number].read_text("utf-8"))
    return [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.decorator_list]


def by_hand() -> dict[str, list[ast.FunctionDef | ast.ClassDef]]:
    """The functions and classes of ``scratch/``, by name: `sigmoid` is there for tensors and for arrays."""
    found: dict[str, list[ast.FunctionDef | ast.ClassDef]] = {}
    for file in sorted((PACKAGE / "scratch").glob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.setdefault(node.name, []).append(node)
    return found


class Bare(ast.NodeTransformer):
    """Drops docstrings and annotations."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns, node.type_params = None, []
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.type_params = []
        return self._without_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return ast.Assign([node.target], node.value, lineno=node.lineno) if node.value else None

    @staticmethod
    def _without_docstring(node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(node.body) > 1:
            node.body = node.body[1:]
        return node


def code(node: ast.AST) -> str:
    """A function as text, without docstring, annotations and marimo's decorators."""
    bare = Bare().visit(ast.parse(ast.unparse(node)).body[0])
    bare.decorator_list = [one for one in bare.decorator_list if not ast.unparse(one).startswith("app.")]
    return ast.unparse(bare)


@NUMBERS
def test_a_lesson_explains(number: int) -> None:
    assert len(prose(number).split()) >= LEAST_WORDS


def test_the_lessons_explain_about_as_much_as_the_chapter() -> None:
    assert sum(len(prose(number).split()) for number in TAUGHT) >= LEAST_IN_ALL


@NUMBERS
def test_a_lesson_has_its_parts(number: int) -> None:
    text = prose(number)
    found = {part: re.search(part, text) for part in PARTS}
    assert all(found.values()), [part for part, match in found.items() if match is None]
    places = [match.start() for match in found.values() if match]
    assert places == sorted(places)
    follower = LESSONS[number + 1].name
    assert f"](?file={follower})" in text


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_introduced_in_bold(term: str) -> None:
    number = TERMS[term]
    bold = re.findall(r"\*\*([^*]+)\*\*", prose(number))
    assert any(re.search(rf"\b{re.escape(term)}", words, re.IGNORECASE) for words in bold)


@pytest.mark.parametrize("term", UNAMBIGUOUS)
def test_a_term_is_not_used_before_it_is_introduced(term: str) -> None:
    early = {
        number: found.group()
        for number in range(1, TERMS[term])
        if (found := re.search(rf".*\b{UNAMBIGUOUS[term]}.*", LESSONS[number].read_text("utf-8"), re.IGNORECASE))
    }
    assert not early


@pytest.mark.parametrize("number", LESSONS)
def test_a_function_that_a_lesson_shows_is_the_one_in_scratch(number: int) -> None:
    known = by_hand()
    for node in shown(number):
        if node.name in known:
            assert code(node) in map(code, known[node.name]), node.name


def test_a_function_of_scratch_is_used_after_it_was_shown() -> None:
    seen: set[str] = set()
    for number, file in LESSONS.items():
        seen |= {node.name for node in shown(number)}
        tree = ast.parse(file.read_text("utf-8"))
        used = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("underhood.scratch")
            for alias in node.names
        }
        used |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("sgd", "backprop", "own")
        }
        assert used - {"sgd", "backprop", "own", "similarity"} <= seen, file.name


@pytest.mark.parametrize("number", LESSONS)
def test_each_figure_has_a_text_alternative(number: int) -> None:
    for cell in cells(number):
        source = ast.unparse(cell)
        draws = re.search(r"plt\.subplots|show_images?\(|show_pixels\(|plot_function\(|plot_loss\(", source)
        assert not draws or "figure(" in source or "def " in source.split("\n", 1)[1], source


@pytest.mark.parametrize("number", LESSONS)
def test_nothing_stands_outside_a_cell(number: int) -> None:
    first, app, *body, last = ast.parse(LESSONS[number].read_text("utf-8")).body
    assert isinstance(first, ast.Import)
    assert isinstance(app, ast.Assign)
    assert isinstance(last, ast.If)
    assert [
        node.lineno for node in body if not isinstance(node, ast.With) and not getattr(node, "decorator_list", 0)
    ] == []


@pytest.mark.parametrize("number", LESSONS)
def test_plotting_is_folded(number: int) -> None:
    for cell in cells(number):
        source = ast.unparse(cell)
        assert "plt." not in source or "hide_code=True" in source, source
