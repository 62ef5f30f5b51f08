"""The examples are short, use what they say, and run: each as a program of its own, on the small digits."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NUMBER = r"\d\.\d{6}"
ROW = re.compile(rf" +(\d+) +({NUMBER}) +({NUMBER}) +({NUMBER}) +\d\d:\d\d")
READING = {"underhood.read", "underhood.data.read.read", "underhood.data.named.read_named"}


def rows_of(example: str, folder: Path) -> list[list[float]]:
    """Run an example where there is no MNIST. Returns the rows of its table: train_loss, valid_loss, accuracy."""
    environment = {name: value for name, value in os.environ.items() if name != "UNDERHOOD_DATA"}
    environment |= {"XDG_CACHE_HOME": str(folder), "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples" / example)]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    rows = [found for line in lines if (found := ROW.fullmatch(line))]
    assert [int(row[1]) for row in rows] == list(range(len(rows)))
    assert list(folder.iterdir()) == []  # nothing was downloaded or written
    return [[float(cell) for cell in row.groups()[1:]] for row in rows]


def test_the_loop_in_the_open_learns_the_small_digits_without_mnist(tmp_path: Path) -> None:
    rows = rows_of("mnist.py", tmp_path)
    assert len(rows) == 15
    assert rows[-1][0] < rows[0][0] / 10
    assert rows[-1][2] > 0.97


def test_mixup_from_outside_the_library_learns_too(tmp_path: Path) -> None:
    rows = rows_of("own_step.py", tmp_path)
    assert rows[-1][2] > 0.96
    assert rows[-1][0] > 3 * rows[-1][1]  # it trains on mixed images, and is validated on plain ones


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_short_and_uses_core_and_one_reading_function(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 40
    used = {f"{node.module}.{alias.name}" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)
            for alias in node.names if (node.module or "").split(".")[0] == "underhood"}  # fmt: skip
    beside_core = {name for name in used if not name.startswith("underhood.core.")}
    assert len(beside_core) == 1
    assert beside_core <= READING


def test_the_first_example_has_a_loop_of_its_own() -> None:
    tree = ast.parse((ROOT / "examples" / "mnist.py").read_text())
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For)]
    assert any(ast.unparse(loop.iter).startswith("learn.steps(") for loop in loops)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("fit")]
