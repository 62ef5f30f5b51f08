"""Each lesson runs from top to bottom, reaches the expected results, and checks the answers to its exercises."""

import importlib
import json
import re
import resource
import runpy
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from textwrap import dedent
from types import ModuleType, SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from conftest import Outcome
from course.solutions import solutions

from underhood.core.errors import UnderhoodError
from underhood.jobs.lessons import SETTINGS, copy_lessons
from underhood.lessons import MNIST_IS_HERE, MNIST_IS_NOT, PROGRESS, exercise, files, note_solved
from underhood.scratch import sgd

NAMES = [file.stem for file in files()]


def run(name: str, **given: Any) -> Mapping[str, Any]:
    """The names that a lesson's cells define, with ``given`` in place of its own."""
    _, defined = runpy.run_path(str(file_of(name)))["app"].run(defs=given or None)
    return defined


def file_of(name: str) -> Path:
    """A lesson's file, from the beginning of its name."""
    return next(file for file in files() if file.stem.startswith(name))


@pytest.fixture(autouse=True)
def on_one_core() -> Iterator[None]:
    """Small products gain nothing from a second core, and wait long for a busy one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    plt.close("all")


@pytest.fixture
def without_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNDERHOOD_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_there_are_eighteen_in_order_and_a_glossary() -> None:
    assert [name[:2] for name in NAMES] == [f"{number:02}" for number in range(1, 20)]


def course(name: str) -> ModuleType:
    """tests/course/lesson_NN.py: what the lesson must reach, and wrong answers to its exercises."""
    return importlib.import_module(f"course.lesson_{name[:2]}")


def answers(name: str, defined: Mapping[str, Any]) -> dict[str, Any]:
    """What the solutions give, run where the lesson's names are known."""
    found = {}
    for what, code in solutions(file_of(name)).items():
        known = dict(defined)
        exec(code, known)
        found[what] = known[what]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_runs_and_reaches_the_expected_results(name: str, mnist: object) -> None:
    defined = run(name)
    assert defined.get("which", MNIST_IS_HERE) == MNIST_IS_HERE
    assert course(name).reached(defined, mnist=True)


def test_each_lesson_has_a_control_and_two_exercises() -> None:
    for file in files()[:-1]:  # the last page is the glossary
        text = file.read_text(encoding="utf-8")
        assert re.search(r"mo\.ui\.(slider|button|radio)\(", text), file.name
        assert len(re.findall(r"check_\d = exercise\(", text)) >= 2, file.name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("without_mnist")
def test_without_mnist_it_uses_the_small_digits_and_checks_answers(name: str) -> None:
    wrong = course(name).WRONG
    assert list(wrong) == list(solutions(file_of(name)))
    defined = run(name, **wrong)
    assert checked(defined) == ["Not yet"] * len(wrong)
    defined = run(name, **answers(name, defined))
    assert checked(defined) == ["Right."] * len(wrong)
    assert defined.get("which", MNIST_IS_NOT) == MNIST_IS_NOT
    assert course(name).reached(defined, mnist=False)


def checked(defined: Mapping[str, Any]) -> list[str]:
    """What the box of each exercise says."""
    checks = sorted(check for check in defined if check.startswith("check_"))
    return [re.findall(r"Right\.|Not yet|Your turn", defined[check].text)[0] for check in checks]


def test_the_error_of_an_answer_is_shown() -> None:
    hints = ("one", "two", "three")
    assert "put your answer" in exercise("0.1", ..., bool, hints, "").text
    assert "put your answer" in exercise("0.1", lambda x: ..., bool, hints, "", (1,)).text
    assert "ZeroDivisionError" in exercise("0.1", lambda x: 1 / x, bool, hints, "", (0,)).text
    assert "ZeroDivisionError" in exercise("0.1", 0, lambda answer: 1 / answer, hints, "").text
    check = run("01", upside_down=lambda *_, **__: 1 / 0)["check_4"]
    assert "ZeroDivisionError" in check.text


def test_a_solved_exercise_is_noted_beside_the_readers_copies_once(tmp_path: Path) -> None:
    note_solved("1.2", tmp_path)
    assert not list(tmp_path.iterdir())  # no copy that ``underhood lessons`` made
    (tmp_path / PROGRESS).write_text('{"1.1": "2026-01-31"}')
    note_solved("1.1", tmp_path)
    note_solved("1.2", tmp_path)
    assert json.loads((tmp_path / PROGRESS).read_text()) == {"1.1": "2026-01-31", "1.2": str(date.today())}


def test_close_up_accuracy_is_flat_where_the_loss_still_has_a_slope() -> None:
    close = run("07", window=SimpleNamespace(value=0.001))
    assert len(close["accuracies"].unique()) == 1
    assert len(close["losses"].unique()) > 5


def test_the_whole_program_of_lesson_8_runs_by_itself(mnist: object, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", file_of("08").read_text("utf-8"), re.DOTALL)
    exec(dedent(program), {})
    epoch, accuracy = capsys.readouterr().out.splitlines()[-1].split()
    assert epoch == "10"
    assert float(accuracy) > 0.95


def test_a_learning_rate_above_one_diverges_and_one_below_a_half_converges() -> None:
    far, near = (abs(run("05", rate=SimpleNamespace(value=rate))["path"][-1]) for rate in (1.03, 0.3))
    assert near < 1e-3 < 1.5 < far


def test_one_of_four_learning_rates_reaches_the_best_loss_as_lesson_6_says() -> None:
    torch.manual_seed(42)
    time = torch.arange(0, 20).float()
    speed = torch.randn(20) * 3 + 0.75 * (time - 9.5) ** 2 + 1
    scaled, start, near = (time - 9.5) / 9.5, torch.randn(3), []
    best = run("06")["best_loss"]
    for rate in (0.0001, 0.01, 0.3, 10):
        params = start.clone().requires_grad_()
        for _ in range(100):
            loss = sgd.apply_step(scaled, speed, params, rate)
        near.append(loss < 1.1 * best)
    assert near == [False, False, True, False]


def test_lessons_are_copied_once_and_a_readers_changes_are_kept(tmp_path: Path) -> None:
    folder = copy_lessons(tmp_path / "mine")
    assert sorted(file.name for file in folder.glob("*.py")) == [f"{name}.py" for name in NAMES]
    assert (folder / "pyproject.toml").read_text() == SETTINGS
    (folder / f"{NAMES[0]}.py").write_text("mine")
    (folder / f"{NAMES[1]}.py").unlink()
    copy_lessons(folder)
    assert (folder / f"{NAMES[0]}.py").read_text() == "mine"
    assert (folder / f"{NAMES[1]}.py").read_text(encoding="utf-8") == files()[1].read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_a_one_line_error(underhood: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = underhood("lessons", "--out", tmp_path / "file", "--no-browser")
    assert failed.code == 1
    assert "--out" in failed.err.splitlines()[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failed = underhood("lessons", "--out", tmp_path / "l", "--no-browser", "--port", taken.getsockname()[1])
    assert failed.code == 1
    assert "choose another --port" in failed.err
    assert not (tmp_path / "l").exists()


def test_on_a_full_disk_no_partial_lesson_is_left(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
    try:
        with pytest.raises(UnderhoodError, match="cannot write"):
            copy_lessons(tmp_path / "l")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    copy_lessons(tmp_path / "l")
    assert [(tmp_path / "l" / file.name).read_bytes() for file in files()] == [file.read_bytes() for file in files()]
