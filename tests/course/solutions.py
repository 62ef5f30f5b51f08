"""The solutions that a lesson shows below its exercises."""

import ast
from pathlib import Path
from textwrap import dedent


def solutions(lesson: Path) -> dict[str, str]:
    """What the reader fills in → the code that the lesson shows as a solution, in the order of the exercises."""
    tree = ast.parse(lesson.read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "exercise"]
    calls.sort(key=lambda call: call.lineno)
    return {
        call.args[1].id: dedent(ast.literal_eval(next(k.value for k in call.keywords if k.arg == "solution"))).strip()
        for call in calls
        if isinstance(call.args[1], ast.Name)
    }
