"""Each lesson runs from top to bottom, reaches the expected results, and checks the answers to its exercises."""

import re
import resource
import runpy
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import Outcome
from lesson_answers import ANSWERS

from underhood.core.errors import UnderhoodError
from underhood.jobs.lessons import SETTINGS, copy_lessons
from underhood.lessons import MNIST_IS_HERE, MNIST_IS_NOT, exercise, files
from underhood.scratch import sgd

NAMES = [file.stem for file in files()]


def run(name: str, **given: Any) -> Mapping[str, Any]:
    """The names that a lesson's cells define, with ``given`` in place of its own."""
    file = next(file for file in files() if file.stem.startswith(name))
    _, defined = runpy.run_path(str(file))["app"].run(defs=given or None)
    return defined


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


def test_there_are_twelve_in_the_books_order() -> None:
    assert [name[:2] for name in NAMES] == [f"{number:02}" for number in range(1, 13)]


def faults_look_as_described(results: Mapping[str, tuple[list[float], float]]) -> bool:
    """Lesson 6: the effect of each fault on the losses."""
    healthy, doubled, sorted_, fast, twice, broadcast = (np.array(losses) for losses, _ in results.values())
    late = slice(len(healthy) // 2, None)
    return bool(
        healthy[late].max() < healthy[0]
        and doubled[late].mean() > 3 * healthy[late].mean()
        and sorted_[late].max() > 3 * np.median(sorted_[late]) + healthy[late].mean()
        and fast.max() > 3 * fast[0]
        and twice[0] > 0.6 > twice[late].mean() > twice.min() > 0.31
        and abs(broadcast.mean() - 0.5) < 0.05
    )


# The results that each lesson must reach: with MNIST the books' figures, without it a minimum.
REACHED: dict[str, Callable[[Mapping[str, Any], bool], bool]] = {
    "01": lambda d, mnist: (
        d["rank"] == 4 and d["shares_memory"] and (not mnist or d["corner"].tolist()[2] == [0, 0, 0, 48, 166, 224])
    ),
    "02": lambda d, mnist: (
        [round(d[name], 4) for name in ("accuracy_3", "accuracy_7", "baseline")] == [0.9168, 0.9854, 0.9511]
        and np.round(list(d["distances"].values()), 4).tolist() == [[0.1114, 0.2021], [0.1586, 0.3021]]
        if mnist
        else d["baseline"] > 0.9
    ),
    "03": lambda d, _: (d["slope_at_3"], d["slopes"]) == (6, [6, 8, 20]) and d["largest_gap"] < 1e-6,
    "04": lambda d, _: (
        np.allclose([d["first_loss"], d["after_one"]], [25823.8086, 5435.5366], rtol=1e-6)
        and d["best_loss"] < d["adam_loss"] < 20 < 600 < d["final_loss"] < 700
    ),
    "05": lambda d, _: (
        (round(d["first"], 4), round(d["better"], 4)) == (0.4333, 0.2333) and d["stepped"] < d["start_loss"]
    ),
    "06": lambda d, mnist: (
        d["by_hand"] > 0.93
        and d["broken"]["healthy"] > 0.95
        and (not mnist or (d["broken"]["accidental broadcast"] < 0.7 and faults_look_as_described(d["results"])))
    ),
    "07": lambda d, _: d["all_the_same"] and d["reached"] > 0.94,
    "08": lambda d, mnist: (
        d["difference"] < 1e-5
        and d["linear_accuracy"] > (0.97 if mnist else 0.92)
        and d["net_accuracy"] > d["linear_accuracy"] - (0 if mnist else 0.02)
    ),
    "09": lambda d, _: (
        d["accuracies"]["conv"] > max(0.9, d["accuracies"]["linear"])
        and d["accuracies"]["resnet18"] > 0.6
        and d["accuracies"]["linear"] > d["accuracies"]["similarity"] - 0.05
    ),
    "10": lambda d, mnist: (
        d["reached"] > 0.8
        and list(d["all_found"].values()) == [None, "w2", "w2", "w1", "w1", "w1"]
        and (not mnist or (round(d["first_line"].loss, 6), round(d["first_line"].accuracy, 4)) == (2.278717, 0.138))
    ),
    "11": lambda d, mnist: d["accuracy"] > 0.96 and d["prepared"] >= (17 if mnist else 9) and d["prepared"] > d["bare"],
    "12": lambda d, _: (
        d["answered"] == list(range(1, 38))
        and min(d["loop_accuracy"], d["learner_accuracy"]) > 0.9
        and d["odd_doubled"] == [2, 6, 10]
        and d["doubled_corner"].tolist() == [[10, 12], [16, 18]]
        and d["broadcast_shape"] == (1010, 28, 28)
        and d["zipped"] == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
        and d["view_and_product"] == ((6131, 784), (6131, 30))
        and d["added"] == [6, 12, 18]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_runs_and_reaches_the_expected_results(name: str, mnist: object) -> None:
    defined = run(name)
    assert defined.get("which", MNIST_IS_HERE) == MNIST_IS_HERE
    assert REACHED[name[:2]](defined, True)


def test_each_lesson_has_a_control_and_two_exercises() -> None:
    for file in files():
        text = file.read_text(encoding="utf-8")
        assert re.search(r"mo\.ui\.(slider|button|radio)\(", text), file.name
        assert len(re.findall(r"check_\d = exercise\(", text)) >= 2, file.name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("without_mnist")
def test_without_mnist_it_uses_the_small_digits_and_checks_answers(name: str) -> None:
    answers = dict(ANSWERS[name[:2]])
    for which, response in ((1, "Not yet"), (0, "Right.")):
        defined = run(name, **{what: pair[which] for what, pair in answers.items()})
        assert defined.get("which", MNIST_IS_NOT) == MNIST_IS_NOT
        assert REACHED[name[:2]](defined, False)
        checks = sorted(check for check in defined if check.startswith("check_"))
        assert len(checks) == len(answers)
        for check in checks:
            assert response in defined[check].text, (check, defined[check].text)
        if "fraction" in answers:
            distance, ideal = sgd.mnist_distance, defined["mean3"]
            dark = distance(defined["threes"], ideal / 2) < distance(defined["threes"], ideal)
            answers["fraction"] = dark.float().mean().item(), 2.0


def test_the_error_of_an_answer_is_shown() -> None:
    assert "put your answer" in exercise(..., bool, "").text
    assert "put your answer" in exercise(lambda x: ..., bool, "", (1,)).text
    assert "ZeroDivisionError" in exercise(lambda x: 1 / x, bool, "", (0,)).text
    assert "ZeroDivisionError" in exercise(0, lambda answer: 1 / answer, "").text
    for name, broken in (("01", "upside_down"), ("03", "minimum"), ("07", "Momentum")):
        check = run(name, **{broken: lambda *_, **__: 1 / 0})[f"check_{1 if name == '07' else 3}"]
        assert "ZeroDivisionError" in check.text, name


def test_the_function_that_an_exercise_offers_is_imported() -> None:
    (lesson_6,) = (file for file in files() if file.name.startswith("06"))
    assert "`calc_grad(" in lesson_6.read_text(encoding="utf-8")
    assert runpy.run_path(str(lesson_6))["calc_grad"] is sgd.calc_grad


def test_close_up_accuracy_is_flat_where_the_loss_still_has_a_slope() -> None:
    close = run("05", window=SimpleNamespace(value=0.001))
    assert len(close["accuracies"].unique()) == 1
    assert len(close["losses"].unique()) > 5


def test_a_learning_rate_above_one_diverges_and_one_below_a_half_converges() -> None:
    far, near = (abs(run("03", rate=SimpleNamespace(value=rate))["path"][-1]) for rate in (1.03, 0.3))
    assert near < 1e-3 < 1.5 < far


def test_one_of_four_learning_rates_reaches_the_best_loss_as_lesson_4_says() -> None:
    torch.manual_seed(42)
    time = torch.arange(0, 20).float()
    speed = torch.randn(20) * 3 + 0.75 * (time - 9.5) ** 2 + 1
    scaled, start, near = (time - 9.5) / 9.5, torch.randn(3), []
    best = run("04")["best_loss"]
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
