"""``underhood break`` plants one fault, whole or not at all, hides which, and ``--reveal`` says it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome

from underhood.core.errors import UnderhoodError
from underhood.core.images import Dataset, Images
from underhood.data.files import encode_png
from underhood.data.read import read
from underhood.diagnosis import CHECKS
from underhood.diagnosis.faults import DATA, FAULTS, SCRIPT, faults_for
from underhood.diagnosis.faults.data import PLANTS
from underhood.diagnosis.faults.script import REPLACEMENTS, broken, healthy
from underhood.jobs.break_ import MOST, break_, reveal

Command = Callable[..., Outcome]
ON_GREY = [fault.name for fault in DATA if not fault.colour]


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Two classes of 40 colour images each: red ones and green ones, with noise."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("red", "green")):
        (tmp_path / "colours" / name).mkdir(parents=True)
        for number in range(40):
            pixels = rng.integers(0, 120, (3, 16, 16), np.uint8)
            pixels[label] += 130
            (tmp_path / "colours" / name / f"{number}.png").write_bytes(encode_png(pixels))
    return tmp_path / "colours"


def whole(images: Images) -> list[tuple[bytes, int]]:
    return sorted((pixels.tobytes(), int(label)) for pixels, label in zip(images.pixels, images.labels, strict=True))


def by_pixels(images: Images) -> dict[bytes, str]:
    return {p.tobytes(): images.classes[label] for p, label in zip(images.pixels, images.labels, strict=True)}


# --- the list


def test_there_are_12_faults_in_grey_data_and_12_in_scripts_at_least_that_checks_name() -> None:
    assert len(faults_for("data", 1)) >= 12
    assert len(SCRIPT) >= 12
    assert {check for fault in FAULTS for check in fault.checks} <= set(CHECKS)
    assert len({fault.checks[0] for fault in SCRIPT}) >= 12
    assert {fault.name for fault in DATA} == set(PLANTS)
    assert {fault.name for fault in SCRIPT} == set(REPLACEMENTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_has_three_hints_that_do_not_give_its_name(fault: object) -> None:
    assert isinstance(fault, type(FAULTS[0]))
    assert len(set(fault.hints)) == 3
    assert not [hint for hint in fault.hints[:2] if fault.name in hint]
    assert fault.what.endswith(".")
    assert fault.fix.endswith(".")


# --- data


@pytest.mark.parametrize("name", ON_GREY)
def test_the_planted_images_differ_from_the_healthy_ones_and_are_the_same_for_the_same_seed(
    name: str, tmp_path: Path
) -> None:
    for folder, seed in (("a", 1), ("b", 1)):
        break_("digits", tmp_path / folder, fault=name, seed=seed)
    first, again, before = read(tmp_path / "a/data"), read(tmp_path / "b/data"), read("digits")
    assert first.classes == before.classes
    assert (whole(first.train), whole(first.valid)) == (whole(again.train), whole(again.valid))
    assert (whole(first.train), whole(first.valid)) != (whole(before.train), whole(before.valid))
    assert set(np.unique(first.train.labels)) == set(range(10))


def planted(name: str, folder: Path, seed: int = 2) -> Dataset:
    break_("digits", folder, fault=name, seed=seed)
    return read(folder / "data")


def test_a_fifth_of_the_labels_is_wrong(tmp_path: Path) -> None:
    right = by_pixels(read("digits").train)
    after = by_pixels(planted("labels-noisy", tmp_path / "out").train)
    wrong = [after[pixels] != right[pixels] for pixels in after if pixels in right]
    assert np.mean(wrong) == pytest.approx(0.2, abs=0.01)


def test_shuffled_labels_are_right_by_chance_only(tmp_path: Path) -> None:
    right = by_pixels(read("digits").train)
    after = by_pixels(planted("labels-shuffled", tmp_path / "out").train)
    assert np.mean([after[pixels] == right[pixels] for pixels in after]) == pytest.approx(0.1, abs=0.04)


def test_in_validation_no_class_has_its_own_name_and_training_is_as_it_was(tmp_path: Path) -> None:
    before, after = read("digits"), planted("labels-swapped-in-validation", tmp_path / "out")
    right, wrong = by_pixels(before.valid), by_pixels(after.valid)
    assert not [pixels for pixels in wrong if wrong[pixels] == right[pixels]]
    assert whole(after.train) == whole(before.train)


def test_a_tenth_of_the_validation_images_are_training_images(tmp_path: Path) -> None:
    before, after = read("digits"), planted("copies-in-validation", tmp_path / "out")
    train = {pixels.tobytes() for pixels in after.train.pixels}
    share = np.mean([pixels.tobytes() in train for pixels in after.valid.pixels])
    assert share == pytest.approx(0.1, abs=0.01)
    assert not {pixels.tobytes() for pixels in before.valid.pixels} & {p.tobytes() for p in before.train.pixels}


def test_nearly_all_images_are_of_one_class(tmp_path: Path) -> None:
    counts = list(planted("imbalance", tmp_path / "out").train.counts().values())
    assert max(counts) / sum(counts) > 0.85
    assert min(counts) >= 2


@pytest.mark.parametrize("name", ["border", "brightness-by-class"])
def test_the_frame_or_the_brightness_alone_gives_the_class_away(name: str, tmp_path: Path) -> None:
    train = planted(name, tmp_path / "out").train
    levels = train.pixels[:, 0, 0, 0] if name == "border" else train.pixels.min((1, 2, 3))
    assert all(len(np.unique(levels[train.labels == label])) == 1 for label in range(10))
    assert len(np.unique(levels)) == 10


def test_red_and_blue_are_swapped_in_validation_only(colours: Path, tmp_path: Path) -> None:
    before = read(colours)
    break_(colours, tmp_path / "out", fault="channels-swapped-in-validation")
    after = read(tmp_path / "out/data")
    assert whole(after.train) == whole(before.train)
    back = Images(after.valid.pixels[:, ::-1], after.valid.labels, after.classes, after.valid.names)
    assert whole(back) == whole(before.valid)


def test_file_names_and_times_do_not_betray_which_images_were_changed(tmp_path: Path) -> None:
    break_("digits", tmp_path / "out", fault="copies-in-validation", seed=1)
    for folder in (tmp_path / "out/data").glob("*/*"):
        names = sorted(path.name for path in folder.iterdir())
        assert names == [f"{number:05d}.png" for number in range(1, len(names) + 1)]
    changed = reveal(tmp_path / "out")["files"]["valid"]
    numbers = [int(name[-9:-4]) for name in changed]
    assert len(set(numbers)) > len(numbers) / 3  # scattered, not the last ones of each class


def test_of_large_data_a_sample_is_written(mnist_3v7: Dataset, tmp_path: Path) -> None:
    assert len(mnist_3v7.train) > MOST["train"]
    break_("mnist-3v7", tmp_path / "out", fault="border")
    assert reveal(tmp_path / "out")["images"] == MOST


# --- scripts


@pytest.mark.parametrize("fault", SCRIPT, ids=lambda fault: fault.name)
def test_the_broken_script_is_the_healthy_one_with_one_piece_replaced(fault: object) -> None:
    assert isinstance(fault, type(FAULTS[0]))
    before, after = healthy("digits", fault.name, 1), broken("digits", fault.name, 1)
    compile(after, "train.py", "exec")
    assert before != after
    changed = set(before.splitlines()) ^ set(after.splitlines())
    assert len(changed) <= 4
    assert len(before.splitlines()) < 60


def accuracy(script: Path) -> float:
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=100)
    return float(re.findall(r"accuracy ([\d.]+)%", ran.stdout)[-1])


def test_a_planted_script_runs_to_its_end_and_the_fault_hurts(tmp_path: Path) -> None:
    (tmp_path / "healthy.py").write_text(healthy("digits", seed=1))
    break_("digits", tmp_path / "out", fault="forgotten-step", seed=1)
    assert accuracy(tmp_path / "healthy.py") > 93
    assert accuracy(tmp_path / "out/train.py") < 30


# --- the folder, and the answer


def test_a_drawn_fault_is_neither_printed_nor_to_be_read_in_any_file(underhood: Command, tmp_path: Path) -> None:
    for kind in ([], ["--script"]):
        out = tmp_path / f"out{len(kind)}"
        ran = underhood("break", "digits", "--seed", 5, *kind, "--out", out, "--json")
        answer = json.loads(underhood("break", "--reveal", out, "--json").out)
        assert answer["fault"] not in ran.out + ran.err
        assert "fault" not in json.loads(ran.out)
        for file in out.rglob("*"):
            assert file.suffix == ".png" or file.is_dir() or answer["fault"] not in file.read_text()


def test_seeds_draw_different_faults_and_the_channels_never_on_grey_images(tmp_path: Path) -> None:
    drawn = set()
    for seed in range(8):
        break_("digits", tmp_path / str(seed), seed=seed, script=True)
        drawn.add(reveal(tmp_path / str(seed))["fault"])
    assert len(drawn) > 3
    assert "channels-swapped-in-validation" not in {fault.name for fault in faults_for("data", 1)}


def test_the_folder_has_a_task_and_three_hints_each_in_a_file_of_its_own(tmp_path: Path) -> None:
    break_("digits", tmp_path / "out", fault="border")
    fault = next(one for one in FAULTS if one.name == "border")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".answer.json", "README.md", "data", "hints"]
    for number, hint in enumerate(fault.hints, start=1):
        text = (tmp_path / f"out/hints/hint-{number}.txt").read_text()
        assert [one for one in fault.hints if one in text] == [hint]
    page = (tmp_path / "out/README.md").read_text()
    assert "underhood train data" in page
    assert not [hint for hint in fault.hints if hint in page]


def test_the_answer_of_a_script_shows_the_lines_and_that_of_data_the_images(underhood: Command, tmp_path: Path) -> None:
    underhood("break", "digits", "--fault", "learning-rate-too-high", "--out", tmp_path / "script")
    text = underhood("break", "--reveal", tmp_path / "script").out
    assert "- optimizer = torch.optim.SGD(model.parameters(), lr=0.05)" in text
    assert "+ optimizer = torch.optim.SGD(model.parameters(), lr=20)" in text
    underhood("break", "digits", "--fault", "labels-noisy", "--out", tmp_path / "data")
    text = underhood("break", "--reveal", tmp_path / "data").out
    assert re.search(r"train: 28\d of 1,43\d images were changed", text)


# --- refusals: one line each, and nothing is written


def test_what_cannot_be_broken_is_refused_in_a_line(underhood: Command, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "single/only").mkdir(parents=True)
    (tmp_path / "single/only/1.png").write_bytes(encode_png(np.zeros((1, 8, 8), np.uint8)))
    out = tmp_path / "out"
    cases = {
        "unknown fault 'border-line'": ["digits", "--fault", "border-line", "--out", out],
        "is not empty": ["digits", "--fault", "border", "--out", tmp_path / "full"],
        "is inside the data": [colours, "--fault", "border", "--out", colours / "new"],
        "only one class": [tmp_path / "single", "--fault", "border", "--out", out],
        "needs colour images": ["digits", "--fault", "channels-swapped-in-validation", "--out", out],
        "say which fault": ["digits", "--out", out],
        "is a fault in data": ["digits", "--fault", "border", "--script", "--out", out],
        "has no answer": ["--reveal", tmp_path],
    }
    for message, arguments in cases.items():
        ran = underhood("break", *arguments)
        assert ran.code != 0
        assert message in ran.err
        assert len(ran.err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["colours", "full", "here", "single"]


def test_a_damaged_answer_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", '{"answer": "?"}', '{"answer": "e30="}'):
        (tmp_path / ".answer.json").write_text(text)
        with pytest.raises(UnderhoodError, match="cannot be read as an answer"):
            reveal(tmp_path)


def test_nothing_is_left_where_planting_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("underhood.jobs.break_.encode_png", fail)
    with pytest.raises(UnderhoodError, match="No space left"):
        break_("digits", tmp_path / "out", fault="border")
    assert list(tmp_path.iterdir()) == []
