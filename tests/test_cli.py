"""The command line, as people call it."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome, fill, picture
from PIL import Image

import underhood as package
from underhood.display.terminal import Terminal

Command = Callable[..., Outcome]


def test_train_without_anything_trains_on_the_digits(underhood: Command) -> None:
    done = underhood("train", "--json")
    assert done.code == 0
    result = done.json
    assert result["valid_accuracy"] >= 0.97
    assert 0.85 < result["baseline_accuracy"] < result["valid_accuracy"]
    assert (result["run"], result["data"], result["model"]) == ("runs/digits-conv-1", "digits", "conv")
    assert result["left_out"] == []
    assert result["parameters"] > 1000
    assert 0 < result["seconds"] < 60
    assert "test_accuracy" not in result
    assert done.out.count("\n") == 1
    assert "epoch train_loss valid_loss" in done.err


def test_train_ends_with_the_table_and_the_run_folder(underhood: Command) -> None:
    done = underhood("train", "--model", "linear", "--epochs", 2)
    assert done.code == 0
    lines = done.out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.split()[:2] == ["epoch", "train_loss"])
    assert lines[at].split() == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert lines[at + 2].split()[0] == "1"
    assert lines[-1].split() == ["run", "runs/digits-linear-1"]
    assert Path("runs/digits-linear-1/weights.safetensors").is_file()
    evaluated = underhood("evaluate", "runs/digits-linear-1", "--json").json
    rounded = f"{evaluated['accuracy']:.2%}".replace("%", " %")
    assert any(line.startswith("accuracy") and rounded in line for line in lines)


def test_ladder_compares_the_rungs_on_one_split(underhood: Command) -> None:
    done = underhood("ladder", "digits", "--epochs", 4, "--json")
    rungs, images = done.json["rungs"], done.json["images"]
    assert [rung["model"] for rung in rungs] == ["similarity", "linear", "net", "conv", "vgg", "resnet18"]
    for before, after in pairwise(rungs):
        difference = round((after["valid_accuracy"] - before["valid_accuracy"]) * images)
        assert after["fixed"] - after["broken"] == difference
        low, high = after["interval"]
        assert low < after["valid_accuracy"] < high
    assert rungs[0]["fixed"] is None
    assert rungs[0]["p_value"] is None
    assert rungs[-1]["valid_accuracy"] > rungs[0]["valid_accuracy"]
    assert rungs[0]["parameters"] == 640


def test_a_ladder_on_the_terminal_is_a_table(underhood: Command) -> None:
    lines = underhood("ladder", "--epochs", 1, "--limit", 100).out.splitlines()
    names = ["model", "similarity", "linear", "net", "conv", "vgg", "resnet18"]
    assert [line.split()[0] for line in lines[-9:-2]] == names
    assert max(map(len, lines[-9:])) <= 100
    assert "frozen and tuned are left out: digits shows no photographs" in lines
    assert re.fullmatch(r"\w+: [\d.]+ % with 20 images, [\d.]+ % with 40 images, [\d.]+ % with 80 images", lines[-2])
    assert "more images" in lines[-1]


def test_photographs_of_all_kinds_train_with_skip_bad_alone(underhood: Command, tmp_path: Path) -> None:
    """300 photographs of 100 sizes, colour and grey, one turned by EXIF, one broken, one GIF, a script beside them."""
    root = tmp_path / "photos"
    for i in range(300):
        label, size = ("beach", "forest", "town at night")[i % 3], (120 + 3 * (i % 100), 400 - 2 * (i % 100))
        low = np.random.default_rng(i).integers(0, 120, (6, 8, 3)) + np.array(
            [[60, 50, 130], [0, 130, 0], [0, 0, 20]][i % 3]
        )
        photo = Image.fromarray(low.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        photo = photo.convert("L") if i % 10 == 0 else photo
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 7 else 1
        (root / label).mkdir(parents=True, exist_ok=True)
        if i == 8:
            photo.save(root / label / "8.gif")
        else:
            photo.save(root / label / f"IMG_{i}.JPG", "JPEG", exif=exif)
    (root / "town at night/IMG_5.JPG").write_bytes((root / "town at night/IMG_5.JPG").read_bytes()[:2000])
    (root / "resize.py").write_text("print('hello')")
    refused = underhood("train", root, "--json")
    assert refused.code == 1
    assert "IMG_5.JPG: is broken" in refused.err
    assert refused.out == ""
    assert not Path("runs").exists()
    turned = package.read(root, skip_bad=True)
    i = next(i for i, name in enumerate(turned.train.names) if name.endswith("IMG_7.JPG"))
    rows = turned.train.pixels[i, 0].std(axis=1)  # 141 × 386, turned, lies: the padding is above and below
    assert rows[0] == rows[-1] == 0 < rows[32]
    done = underhood("train", root, "--model", "conv", "--skip-bad", "--json")
    assert done.code == 0, done.err
    assert [Path(path).name for path in done.json["left_out"]] == ["IMG_5.JPG"]
    assert "64 × 64 colour" in done.err
    assert done.json["valid_accuracy"] > 0.8
    run = done.json["run"]
    assert json.loads(Path(run, "data.json").read_text())["left_out"]
    assert underhood("evaluate", run, "--json").json["accuracy"] == done.json["valid_accuracy"]
    found = underhood("check", root, "--json")
    assert found.code == 1
    assert found.json["images"] == 299
    assert found.json["classes"] == {"beach": 100, "forest": 100, "town at night": 99}
    assert len(found.json["unreadable"]) == 1


def test_test_is_scored_once_at_the_end_where_all_three_parts_are(underhood: Command, tmp_path: Path) -> None:
    digits = package.read("digits")
    from underhood.jobs.get import write_folder

    rows = np.arange(len(digits.train))
    parts = {"train": digits.train.take(rows[:900]), "valid": digits.train.take(rows[900:1200]), "test": digits.valid}
    for part, images in parts.items():
        write_folder({part: images}, tmp_path / "D" / part)
    done = underhood("train", tmp_path / "D", "--model", "conv", "--json", "--epochs", 8)
    assert 0.9 < done.json["test_accuracy"] <= 1
    measured = underhood("evaluate", done.json["run"], "--json").json
    assert (measured["part"], measured["images"]) == ("valid", 300)
    assert measured["accuracy"] == done.json["valid_accuracy"]


def test_predict_on_a_folder_of_its_own_data_equals_evaluate(underhood: Command, small_folder: Path) -> None:
    run = underhood("train", small_folder, "--model", "conv", "--json", "--epochs", 20).json["run"]
    both = underhood("predict", run, small_folder, "--json").json["predictions"]
    right = [row["label"] == Path(row["path"]).parent.name for row in both]
    assert underhood("evaluate", run, shutil.copytree(small_folder, "elsewhere/other"), "--json").json["images"] == 4
    (Path("elsewhere/other/dark/0.png")).unlink()
    measured = underhood("evaluate", run, "elsewhere/other", "--json").json
    assert measured["images"] == 19
    assert measured["accuracy"] == sum(right[1:]) / 19
    rows = underhood("predict", run, small_folder / "dark", small_folder / "light/3.png", "--json").json["predictions"]
    assert len(rows) == 11
    assert [row["label"] for row in rows] == ["dark"] * 10 + ["light"]
    assert set(rows[0]) >= {"path", "label", "score"}
    table = underhood("predict", run, small_folder / "light/3.png").out
    assert table.split()[0] == "light"
    (small_folder / "bad.png").touch()
    done = underhood("predict", run, small_folder / "bad.png", small_folder / "light/3.png", "--json")
    assert done.code == 1
    assert len(done.json["predictions"]) == 1
    assert "bad.png is empty" in done.err


def test_check_of_sound_data_finds_nothing(underhood: Command, small_folder: Path) -> None:
    done = underhood("check", small_folder, "--json")
    assert done.code == 0
    assert done.json["images"] == 20
    assert not any(done.json[kind] for kind in ("unreadable", "conflicts", "duplicates", "leaks"))
    out = underhood("check", small_folder).out
    assert "shortcut: mean brightness" in out, "which is what the classes are"
    assert out.splitlines()[-1] == "1 finding"
    assert underhood("check", "digits").out.splitlines()[-1] == "no problems found"
    fill(small_folder, {"dark/x.png": 5, "light/x.png": 5})
    done = underhood("check", small_folder)
    assert done.code == 1
    assert "conflict: dark/x.png = light/x.png (in dark, light)" in done.out


def test_get_writes_digits_as_a_folder_that_trains(underhood: Command) -> None:
    assert underhood("get", "digits", "--as", "folder", "D", "--json").json["images"] == 1797
    done = underhood("train", "D", "--json", "--model", "linear")
    assert done.json["valid_accuracy"] > 0.93
    assert done.json["run"] == "runs/D-linear-1"
    again = underhood("get", "digits", "--as", "folder", "D")
    assert again.code == 1
    assert "is not empty" in again.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "--epochs", 0), "--epochs"),
        (("train", "--lr", "nan"), "--lr"),
        (("train", "--lr", "inf"), "--lr"),
        (("train", "--lr", "-1"), "--lr"),
        (("train", "--batch-size", 0), "--batch-size"),
        (("train", "--valid", "1.5"), "--valid"),
        (("train", "--valid", "nan"), "--valid"),
        (("train", "--channels", 2), "--channels"),
        (("train", "--size", 0), "--size"),
        (("train", "--limit", 0), "--limit"),
        (("train", "--seed", -1), "--seed"),
        (("train", "--model", "cnov"), "did you mean 'conv'"),
        (("train", "--schedule", "onecycel"), "did you mean 'onecycle'"),
        (("train", "--device", "gpu"), "known: auto, cpu, cuda"),
        (("train", "--fit", "padd"), "did you mean 'pad'"),
        (("train", "mnits"), "did you mean 'mnist'"),
        (("train", "no/such/folder"), "no such folder"),
        (("train", "--epoch", 3), "--epochs"),
        (("tarin",), "train"),
        (("get", "mnits"), "did you mean 'mnist'"),
        (("get", "mnist", "--as", "folder"), "--as folder DIR"),
        (("predict", "somewhere"), "PATH"),
    ],
)
def test_bad_flags_and_unknown_names_exit_with_2(arguments: tuple[object, ...], says: str, underhood: Command) -> None:
    done = underhood(*arguments)
    assert done.code == 2
    assert says in done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_folder_that_is_no_run_exits_with_1(command: str, underhood: Command, tmp_path: Path) -> None:
    arguments = [tmp_path, tmp_path / "x.png"] if command == "predict" else [tmp_path]
    done = underhood(command, *arguments)
    assert done.code == 1
    assert done.err.splitlines() == [f"error: {tmp_path} is not a finished run: it has no weights.safetensors"]


def test_a_data_error_is_one_line_and_leaves_nothing(underhood: Command, tmp_path: Path) -> None:
    fill(tmp_path / "D", {"only/1.png": 1, "only/2.png": 2})
    done = underhood("train", tmp_path / "D", "--json")
    assert done.code == 1
    assert done.err.splitlines() == [
        f"error: {tmp_path / 'D'} has only one class, 'only': a classifier needs two or more"
    ]
    assert not Path("runs").exists()


def test_file_names_that_are_not_text_are_no_obstacle(underhood: Command, tmp_path: Path) -> None:
    for i in range(8):
        for label in (b"caf\xe9", "größe 大".encode()):
            fill(tmp_path / "D", {os.fsdecode(label + b"/\xff%d.png" % i): i + 10 * len(label)})
    done = underhood("train", tmp_path / "D", "--json", "--epochs", 1, "--model", "linear")
    assert done.code == 0, done.err
    assert underhood("evaluate", done.json["run"]).code == 0
    assert underhood("check", tmp_path / "D").code == 0
    assert underhood("predict", done.json["run"], tmp_path / "D").code == 0


def test_help_and_version_import_neither_torch_nor_numpy() -> None:
    script = """
import sys
from underhood.cli import main
sys.argv = ["underhood", sys.argv[1]]
try:
    main()
except SystemExit as ended:
    assert not ended.code
assert not {"torch", "numpy", "PIL", "sklearn", "matplotlib"} & set(sys.modules), sorted(sys.modules)
"""
    for flag in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", script, flag], capture_output=True, text=True, check=True)
        assert "underhood" in done.stdout.lower()
    assert package.__version__ in done.stdout


def test_python_m_underhood_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "underhood", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"underhood {package.__version__}\n"


def test_public_names_are_complete_and_sorted() -> None:
    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'lader'"):
        package.lader  # noqa: B018


def test_names_on_the_command_line_are_those_of_the_code() -> None:
    from underhood.core.models import MODELS
    from underhood.core.schedule import SCHEDULES
    from underhood.data.named import NAMES
    from underhood.preparation import FITS
    from underhood.pretrained import BACKBONES
    from underhood.training.config import BACKBONES as ASKED_BACKBONES, DATA_SETS, WITH_WEIGHTS, choices
    from underhood.training.recipe import optimizers

    assert choices("model") == (*MODELS, *BACKBONES)
    assert BACKBONES == ASKED_BACKBONES
    assert set(WITH_WEIGHTS) <= set(choices("model"))
    assert choices("schedule") == tuple(SCHEDULES)
    assert choices("optimizer") == tuple(optimizers())
    assert choices("fit") == FITS
    assert DATA_SETS == NAMES


def test_ctrl_c_exits_with_130(underhood: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("underhood.jobs.train.train", interrupt)
    assert underhood("train").code == 130


def test_test_accuracy_is_that_of_the_test_part(underhood: Command, tmp_path: Path) -> None:
    """A test part whose labels are all wrong scores 0 while validation scores 1."""
    dark, light = (np.full((12, 12), level, np.uint8) for level in (20, 200))
    files = {}
    for part in ("train", "valid", "test"):
        for i in range(10):
            for label, array in (("dark", dark + i), ("light", light + i)):
                shown = label if part != "test" else {"dark": "light", "light": "dark"}[label]
                files[f"{part}/{shown}/{i}.png"] = Image.fromarray(array + 10 * ("train", "valid", "test").index(part))
    result = underhood("train", fill(tmp_path / "D", files), "--model", "linear", "--epochs", 20, "--json").json
    assert (result["valid_accuracy"], result["test_accuracy"]) == (1, 0)


def test_evaluate_refuses_pictures_that_were_trained_on(underhood: Command, small_folder: Path) -> None:
    run = underhood("train", small_folder, "--model", "conv", "--json", "--epochs", 2, "--seed", 3).json["run"]
    own = underhood("evaluate", run, "--json").json
    small_folder.rename(small_folder.parent / "moved")
    gone = underhood("evaluate", run)
    assert gone.code == 1
    assert "is no longer there: restore it, or evaluate on other DATA" in gone.err
    moved = underhood("evaluate", run, small_folder.parent / "moved", "--json").json
    assert (moved["part"], moved["images"], moved["accuracy"]) == ("valid", 4, own["accuracy"])
    (small_folder.parent / "moved").rename(small_folder)
    fill(small_folder, {"dark/new.png": 7, "light/new.png": 8})
    changed = underhood("evaluate", run)
    assert changed.code == 1
    assert "has changed since" in changed.err


def test_a_folder_with_odd_names_trains_twice(underhood: Command, small_folder: Path) -> None:
    odd = small_folder.rename(small_folder.parent / "pics[1]**")
    for n in (1, 2):
        done = underhood("train", odd, "--model", "conv", "--epochs", 1, "--json")
        assert done.json["run"] == f"runs/pics[1]**-conv-{n}"


def test_a_run_folder_among_the_classes_is_not_a_class(
    underhood: Command, small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_folder)
    for _ in range(2):
        assert underhood("train", ".", "--model", "conv", "--epochs", 1, "--json").code == 0
    assert underhood("check", ".", "--json").json["classes"] == {"dark": 10, "light": 10}


def test_a_loss_that_is_no_number_stops_the_run(underhood: Command) -> None:
    done = underhood("train", "--lr", 1000, "--model", "net", "--epochs", 20, "--schedule", "flat")
    if done.code:  # AdamW may survive it: then the figures are numbers
        assert done.err.splitlines()[-1].startswith("error: the loss is ")
    else:
        assert "nan" not in done.out


def test_check_lists_unreadable_pictures_though_all_of_a_part_are(underhood: Command, tmp_path: Path) -> None:
    fill(tmp_path, {f"{part}/{c}/{i}.png": i + 9 * ord(c) for part in ("train",) for c in "ab" for i in range(4)})
    for c in "ab":
        (tmp_path / "valid" / c).mkdir(parents=True)
        (tmp_path / "valid" / c / "x.png").write_text("no picture")
    done = underhood("check", tmp_path, "--json")
    assert done.code == 1
    assert len(done.json["unreadable"]) == 2
    done = underhood("train", tmp_path, "--skip-bad")
    assert done.code == 1
    assert "no image of the valid part can be read" in done.err


def test_links_to_nowhere_and_to_themselves_are_unreadable_and_pipes_passed_over(
    underhood: Command, small_folder: Path
) -> None:
    (small_folder / "dark/gone.png").symlink_to("nothing")
    (small_folder / "dark/loop.png").symlink_to("loop.png")
    os.mkfifo(small_folder / "dark/pipe.png")
    found = underhood("check", small_folder, "--json").json
    assert [Path(path).name for path in found["unreadable"]] == ["gone.png", "loop.png"]
    assert found["images"] == 20


def test_a_named_set_that_lies_here_too_is_pointed_out(underhood: Command) -> None:
    Path("digits").mkdir()
    assert "for the digits in this folder write ./digits" in underhood("check", "digits").out


def in_a_terminal(*arguments: object, cwd: Path) -> str:
    """What `underhood` writes to a terminal of 100 columns."""
    script = f"import pty, sys; sys.exit(pty.spawn({[sys.executable, '-m', 'underhood', *map(str, arguments)]!r}) >> 8)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, cwd=cwd, check=True, env=os.environ | {"COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout.decode()


def test_on_a_terminal_rows_stand_above_the_bar_and_the_cursor_comes_back(tmp_path: Path) -> None:
    text = in_a_terminal("train", "--model", "linear", "--epochs", 3, cwd=tmp_path)
    assert "training" in text  # the bar
    shown = [line.split("\x1b[2K")[-1].replace("\x1b[1A", "").rstrip() for line in text.replace("\r", "").split("\n")]
    rows = [line.split() for line in shown if line.strip()[:2] in ("0 ", "1 ", "2 ")]
    assert [len(row) for row in rows] == [5, 5, 5], shown
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")


def test_writing_a_folder_ends_its_bar(tmp_path: Path) -> None:
    text = in_a_terminal("get", "digits", "--as", "folder", "D", cwd=tmp_path)
    assert "1797/1797" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0


def run_process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "underhood", *map(str, arguments)], capture_output=True, text=True, **options
    )


def test_output_that_is_closed_or_not_utf8_is_no_bug(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "underhood", "check", "digits"]
    done = subprocess.run(["sh", "-c", f"{' '.join(command)} >&-"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    plain = run_process("check", "digits", cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (plain.returncode, plain.stderr) == (0, "")


def test_a_full_disk_while_training_names_the_file_and_the_mend(tmp_path: Path) -> None:
    """The kernel refuses to write past a limit on file size, as it does on a full disk."""
    script = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
sys.argv = ["underhood", "train", "--model", "linear", "--epochs", "100"]
from underhood.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot write runs/digits-linear-1/")
    assert "free some space" in done.stderr.splitlines()[-1]


def test_equal_runs_in_two_processes_write_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        assert run_process("train", "--epochs", 2, "--limit", 200, "--out", name, cwd=tmp_path).returncode == 0
    for file in ("weights.safetensors", "metrics.csv", "predictions.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_terminated_process_says_so_and_leaves_no_children(small_folder: Path, tmp_path: Path) -> None:
    large = picture(1, 3000, 2000)
    large.save(small_folder / "dark/big.png")
    for i in range(400):
        (small_folder / f"dark/{i}.png").unlink(missing_ok=True)
        (small_folder / f"dark/{i}.png").symlink_to("big.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "underhood", "check", small_folder], stderr=subprocess.PIPE, text=True, process_group=0
    )
    time.sleep(1.5)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert err.splitlines()[-1] == "error: terminated"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_the_time_left_is_that_of_the_work_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long training, images are read: the first message comes when 25 of them are done."""
    clock, out = [0.0], io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    terminal = Terminal(out)
    for seconds, done in ((1000, 25), (1015, 75), (1016, 80), (1026, 100)):
        clock[0] = seconds
        terminal.progress("reading images", done, 125)
    for seconds, done in ((2000, 25), (2015, 50)):  # again, in the same job
        clock[0] = seconds
        terminal.progress("reading images", done, 125)
    assert out.getvalue().splitlines() == [
        "reading images: 75 of 125, about 15 s left",
        "reading images: 100 of 125, about 9 s left",
        "reading images: 50 of 125, about 45 s left",
    ]
