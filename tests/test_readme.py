"""The README is true: its code runs, its commands and flags exist, its map names real files."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from underhood.cli.commands import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    names: dict[str, object] = {}
    exec(code[1], names)
    assert "accuracy" in capsys.readouterr().out
    assert names["learn"].validate()[1] > 0.9  # type: ignore[attr-defined]


def test_every_command_and_flag_of_the_readme_exists() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    flags = {flag for command in commands.values() for option in command.params for flag in option.opts}
    named = set(re.findall(r"underhood ([a-z]+)(?= [\w./`$-]|`)", README)) - {"photos"}
    assert {"train", "check", "ladder", "predict", "evaluate"} <= named <= set(commands)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= flags | {
        "--help",
        "--nproc-per-node",  # torchrun's
        "--no-deps",  # pip's
        "--data-binary",  # curl's
        "--logdir",  # tensorboard's
    }


def test_every_file_and_make_target_of_the_readme_exists() -> None:
    for name in re.findall(r"`(underhood/[\w/.]+)`", README):
        assert (ROOT / name).exists(), name
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?m)^\$ make (\w+)", README):
        assert re.search(rf"(?m)^{target}:", makefile), target
