"""Groups: images that belong together, which a held-out split never divides."""

import csv
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome, fill, picture
from hypothesis import given, strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from underhood import check, evaluate, ladder, report, rerun, resume, train
from underhood.core.errors import DataError
from underhood.core.images import Dataset, Images
from underhood.data import bursts, groups as module
from underhood.data.read import LoadedData, load_data
from underhood.data.split import folds, hold_out

Command = Callable[..., Outcome]


def rows_of(loaded: LoadedData) -> dict[str, str]:
    """File name → part."""
    return {name: part for part, images in loaded.dataset.parts.items() for name in images.names}


def parts_of(loaded: LoadedData, key: Callable[[str], str]) -> dict[str, set[str]]:
    """Group → the parts that its images are in."""
    found: dict[str, set[str]] = {}
    for name, part in rows_of(loaded).items():
        found.setdefault(key(name), set()).add(part)
    return found


def scene(seed: int, size: int = 48) -> np.ndarray:
    """A smooth random image, float [size, size, 3], 0 to 255."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(size, size, 3)), (2, 2, 0))
    return 255 * (noise - noise.min()) / np.ptp(noise)


def frame(seed: int, number: int) -> Image.Image:
    """The same scene a moment later: moved by a pixel or two, with new noise."""
    moved = np.roll(scene(seed), number % 3, axis=number % 2)
    noisy = moved + np.random.default_rng([seed, number]).normal(size=moved.shape) * 4
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


images_with_groups = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=60
)


def arrays(rows: list[tuple[int, int, int]]) -> tuple[Images, np.ndarray]:
    kinds, labels, groups = (np.array(column) for column in zip(*rows, strict=True))
    pixels = kinds.astype(np.uint8).reshape(-1, 1, 1, 1)
    return Images(pixels, labels.astype(np.int64), ("a", "b", "c"), [str(i) for i in range(len(rows))]), groups


@given(images_with_groups, st.floats(0.05, 0.95), st.integers(0, 9))
def test_a_split_never_divides_a_group_and_every_class_is_in_training(
    rows: list[tuple[int, int, int]], fraction: float, seed: int
) -> None:
    images, groups = arrays(rows)
    train, valid = hold_out(images, fraction, seed, groups)
    assert sorted([*train, *valid]) == list(range(len(rows)))
    assert not set(groups[train]) & set(groups[valid])
    assert not set(images.pixels[train].ravel()) & set(images.pixels[valid].ravel())
    assert set(images.labels[train]) == set(images.labels)
    assert (hold_out(images, fraction, seed, groups)[0] == train).all()


@given(images_with_groups, st.integers(2, 6), st.integers(0, 9))
def test_folds_never_divide_a_group_and_every_class_is_always_in_training(
    rows: list[tuple[int, int, int]], count: int, seed: int
) -> None:
    images, groups = arrays(rows)
    fold = folds(images, count, seed, groups)
    assert fold.min() >= -1
    assert fold.max() < count
    for number in range(count):
        held = fold == number
        assert not set(groups[held]) & set(groups[~held])
        assert not set(images.pixels[held].ravel()) & set(images.pixels[~held].ravel())
        assert set(images.labels[~held]) == set(images.labels)


@given(st.lists(st.integers(1, 4), min_size=40, max_size=80), st.integers(0, 99))
def test_small_groups_are_held_out_at_the_wanted_fraction(sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.repeat(np.arange(len(sizes)) % 2, sizes)
    pixels = np.arange(len(groups), dtype=np.uint8).reshape(-1, 1, 1, 1)
    images = Images(pixels, labels, ("a", "b"), [""] * len(groups))
    _, valid = hold_out(images, 0.2, seed, groups)
    assert np.abs(np.bincount(labels[valid], minlength=2) - 0.2 * np.bincount(labels)).max() <= 2
    per_fold = np.bincount(folds(images, 5, seed, groups))
    assert np.ptp(per_fold) <= 6


def test_images_of_one_each_are_split_as_without_groups(digits: Dataset) -> None:
    """`--group-by '.+'` makes every image a group of its own: there are no groups, and the split is today's."""
    loaded = load_data("digits", group_by=".+")
    assert loaded.groups == {}
    assert loaded.dataset.valid.names == digits.valid.names


def test_folders_below_the_class_folder_are_groups(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/p{p}/{i}.png": 100 * p + 10 * i + ord(c) for c in "ab" for p in range(8) for i in range(4)})
    fill(tmp_path, {f"a/{i}.png": 5000 + i for i in range(3)})
    loaded = load_data(tmp_path)
    patients = parts_of(loaded, lambda name: name.split("/")[1])
    assert all(len(parts) == 1 for patient, parts in patients.items() if patient.startswith("p"))
    share = len(loaded.dataset.valid) / 67
    held = f"held out ({share:.0%} of the images, seed 0) in whole groups: 8 groups from folders"
    assert any(held in note for note in loaded.notes)
    assert loaded.groups.keys() == {"train", "valid"}
    assert not set(loaded.groups["train"]) & set(loaded.groups["valid"])


def test_a_folder_that_all_images_of_a_class_share_is_no_group(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/images/{i}.png": 10 * i + ord(c) for c in "ab" for i in range(8)})
    assert load_data(tmp_path).groups == {}
    fill(tmp_path, {f"c/images/{p}/{i}.png": 1000 + 10 * i + p for p in range(4) for i in range(4)})
    loaded = load_data(tmp_path)
    assert all(
        len(parts) == 1 for parts in parts_of(loaded, lambda name: name[: name.rfind("/")]).values() if "c/" in parts
    )
    assert any("4 groups from folders" in note for note in loaded.notes)


def table(tmp_path: Path, groups: list[str], split: list[str] | None = None) -> Path:
    fill(tmp_path, {f"{i}.png": i for i in range(len(groups))})
    header = "path,label,group" + (",split" if split else "")
    rows = [f"{i}.png,{'ab'[i % 2]},{group}" + (f",{split[i]}" if split else "") for i, group in enumerate(groups)]
    (tmp_path / "list.csv").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path / "list.csv"


def test_a_column_of_a_table_names_the_groups(tmp_path: Path) -> None:
    loaded = load_data(table(tmp_path, [str(i // 4) for i in range(40)]))
    assert all(len(parts) == 1 for parts in parts_of(loaded, lambda name: str(int(name[:-4]) // 4)).values())
    assert len(loaded.dataset.valid) == 8


def test_an_empty_cell_is_a_group_of_its_own(tmp_path: Path) -> None:
    loaded = load_data(table(tmp_path, [str(i // 4) if i < 36 else "" for i in range(40)]))
    assert any("4 images have an empty cell in the column group" in note for note in loaded.notes)
    numbers = np.concatenate(list(loaded.groups.values()))
    assert len(np.unique(numbers)) == 13


def test_a_column_with_one_group_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list.csv has only one group \(1 group from the column group\).*two or more"):
        load_data(table(tmp_path, ["x"] * 20))


def test_a_column_with_one_group_is_a_note_where_nothing_is_held_out(tmp_path: Path) -> None:
    note = "the column group has only one group, 'x': nothing can be held out"
    checked = check(table(tmp_path, ["x"] * 20), leaks=True, labels=True)
    assert note in checked["notes"]
    assert checked["suspects"] == []
    loaded = load_data(table(tmp_path, ["x"] * 20, ["train"] * 10 + ["valid"] * 10))
    assert note in loaded.notes
    assert any("1 group is in train and valid" in warning for warning in loaded.warnings)


def test_the_fraction_that_whole_groups_hold_out_is_named(tmp_path: Path) -> None:
    loaded = load_data(table(tmp_path, [str(i % 4) for i in range(40)]))
    assert any("held out (50% of the images, seed 0) in whole groups" in note for note in loaded.notes)
    assert any("50% of the images are held out, not 20%" in w and "--group-by" in w for w in loaded.warnings)
    loaded = load_data(table(tmp_path, [str(i % 20) for i in range(40)]))
    assert not any("are held out" in warning for warning in loaded.warnings)


def test_an_expression_is_shown_as_it_was_written(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/cow{i // 2}.{i % 2}.png": 10 * i + ord(c) for c in "ab" for i in range(20)})
    fill(tmp_path, {"a/pig.png": 1000})
    notes = load_data(tmp_path, group_by=r"cow(\d+)\.").notes
    assert r"1 image is not matched by --group-by 'cow(\d+)\.': each is a group of its own" in notes
    with pytest.raises(DataError, match=r"--group-by 'x\\d' matches no file name"):
        load_data(tmp_path, group_by=r"x\d")


def test_groups_in_two_parts_are_named(tmp_path: Path) -> None:
    split = ["train" if i < 30 else "valid" for i in range(40)]
    loaded = load_data(table(tmp_path, [str(i % 20) for i in range(40)], split))
    assert any("10 groups are in train and valid" in warning for warning in loaded.warnings)


def test_group_by_takes_the_first_group_of_the_expression_or_all_of_it(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {f"{c}/cow{p:02}_{i}.png": 100 * p + 10 * i + ord(c) for c in "ab" for p in range(10) for i in range(3)},
    )
    by_animal = load_data(tmp_path, group_by=r"cow(\d+)_")
    assert all(len(parts) == 1 for parts in parts_of(by_animal, lambda name: name[5:7]).values())
    assert any("10 groups from --group-by" in note for note in by_animal.notes)
    by_class = load_data(tmp_path, group_by=r"^./cow\d+")
    assert all(len(parts) == 1 for parts in parts_of(by_class, lambda name: name[:7]).values())
    assert any("20 groups from --group-by" in note for note in by_class.notes)


def test_files_that_do_not_match_are_groups_of_their_own(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/cow{p}_{i}.png": 100 * p + 10 * i + ord(c) for c in "ab" for p in range(5) for i in range(3)})
    fill(tmp_path, {f"{c}/pig{i}.png": 900 + 10 * i + ord(c) for c in "ab" for i in range(4)})
    loaded = load_data(tmp_path, group_by=r"cow(\d)")
    assert any("8 images are not matched by --group-by" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("cow(", "is no regular expression.*write"),
        ("sheep", "matches no file name, such as 'a/"),
        ("cow", "has only one group .1 group from --group-by 'cow'.*two or more"),
        ("(a+)+$", "takes longer than .* s on the file names.*repetition"),
    ],
)
def test_bad_expressions_are_refused_in_one_line(
    pattern: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MATCHING", 1.0)
    fill(tmp_path, {f"{c}/cow{i}{'a' * 60}!.png": 10 * i + ord(c) for c in "ab" for i in range(5)})
    started = time.perf_counter()
    with pytest.raises(DataError, match=says) as error:
        load_data(tmp_path, group_by=pattern)
    assert "\n" not in str(error.value)
    assert time.perf_counter() - started < 3


def write_photo(path: Path, seed: int, taken: str | None, camera: str = "Acme 1") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0110] = camera
    if taken:
        exif.get_ifd(0x8769)[0x9003] = taken
    Image.fromarray(scene(seed).astype(np.uint8)).save(path, exif=exif)


def test_images_that_a_camera_took_within_seconds_are_a_burst(tmp_path: Path) -> None:
    """Whatever they show: an animal may turn around within a burst. Two cameras make two bursts."""
    for c in "ab":
        for b in range(6):
            for i in range(3):
                taken = f"2024:05:0{b + 1} 10:00:{2 * i:02}"
                write_photo(tmp_path / c / f"{'xyz'[i]}{b}.jpg", 100 * b + 10 * i + ord(c), taken, f"Camera {c}")
    loaded = load_data(tmp_path)
    parts = parts_of(loaded, lambda name: name[0] + name[3])
    assert len(parts) == 12
    assert all(len(names) == 1 for names in parts.values())
    assert any("12 groups from bursts" in note for note in loaded.notes)


def test_a_clock_that_stands_still_makes_no_burst(tmp_path: Path) -> None:
    for c in "ab":
        for i in range(20):
            write_photo(tmp_path / c / f"{i}.jpg", 100 * i + ord(c), "2000:01:01 00:00:00")
    assert load_data(tmp_path).groups == {}


def test_when_many_photographs_were_taken_is_kept_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bursts, "WORTH_KEEPING", 4)
    for i in range(6):
        write_photo(tmp_path / "ab"[i % 2] / f"{'xyz'[i // 2]}.jpg", i, "2024:05:01 10:00:00")
    paths = sorted(map(str, tmp_path.rglob("*.jpg")))
    found = bursts.read_all_taken(paths, keep=True)
    assert len(found) == 6
    read, opened = bursts.read_taken, []
    monkeypatch.setattr(bursts, "read_taken", lambda path: opened.append(path) or read(path))
    assert bursts.read_all_taken(paths, keep=True) == found
    assert not opened
    write_photo(Path(paths[0]), 0, "2024:05:02 10:00:00")
    assert bursts.read_all_taken(paths, keep=True) != found
    assert len(opened) == 6


def test_numbered_frames_that_are_near_duplicates_are_groups(tmp_path: Path) -> None:
    for c in "ab":
        for i in range(40):
            path = tmp_path / c / f"frame_{i:04}.png"
            path.parent.mkdir(exist_ok=True)
            frame(10 * (i // 5) + ord(c), i).save(path)
    loaded = load_data(tmp_path)
    videos = parts_of(loaded, lambda name: name[0] + str(int(name[-8:-4]) // 5))
    assert all(len(parts) == 1 for parts in videos.values())
    assert any("16 groups from sequences" in note for note in loaded.notes)


def test_images_that_share_a_corner_are_no_near_duplicates() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1, 28, 28), dtype=np.uint8)
    pixels[1, :, :16, :16] = pixels[0, :, :16, :16]
    assert not bursts.near_duplicates(bursts.shrink(pixels), pixels, np.array([0]), np.array([1])).any()


def test_small_images_show_the_whole_of_an_image() -> None:
    whole = np.arange(256).reshape(16, 16).astype(np.uint8)
    same = np.kron(whole, np.ones((3, 3), np.uint8))
    for factor in (48, 40, 24):
        pixels = np.asarray(Image.fromarray(same).resize((factor, factor), Image.Resampling.BOX))[None, None]
        assert bursts.shrink(pixels)[0] @ bursts.shrink(whole[None, None])[0] > 0.95


def test_numbered_file_names_alone_are_no_group(tmp_path: Path, mnist: Dataset) -> None:
    """In MNIST, a writer's digits follow each other, and look alike: they are no near-duplicates."""
    for label in range(10):
        rows = np.flatnonzero(mnist.valid.labels == label)[:120]
        for row in rows.tolist():
            fill(tmp_path, {f"mnist/{label}/{row}.png": Image.fromarray(mnist.valid.pixels[row, 0])})
    fill(
        tmp_path, {f"noise/{c}/IMG_{i:04}.png": picture(50 * i + ord(c), colour=True) for c in "ab" for i in range(30)}
    )
    for name in ("mnist", "noise"):
        loaded = load_data(tmp_path / name)
        assert loaded.groups == {}
        assert not any("groups" in note for note in loaded.notes)


def test_a_class_of_one_group_stays_in_training(tmp_path: Path) -> None:
    groups = ["x" if i % 2 else f"y{i // 8}" for i in range(40)]
    loaded = load_data(table(tmp_path, groups))
    assert loaded.dataset.valid.counts()["b"] == 0
    assert any("no image of 'b' could be held out" in warning for warning in loaded.warnings)


def test_where_no_group_can_be_held_out_an_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image can be held out for validation: no class has images of two groups"):
        load_data(table(tmp_path, ["x" if i % 2 else "y" for i in range(20)]))


def test_commands_on_a_run_hold_out_the_same_groups(tmp_path: Path) -> None:
    """`group_by` is in config.json; evaluate, rerun and report read the images again, and divide them as it says."""
    names = [f"{c}/cow{p}_{i}.png" for c in ("dark", "light") for p in range(6) for i in range(4)]
    for n, name in enumerate(names):
        low = 120 * name.startswith("light")
        pixels = np.random.default_rng(n).integers(low, low + 130, (12, 12), dtype=np.uint8)
        fill(tmp_path / "cows", {name: Image.fromarray(pixels)})
    run = tmp_path / "run"
    trained = train(tmp_path / "cows", model="linear", epochs=2, group_by=r"cow(\d)", out=run)
    assert trained is not None
    with (run / "predictions.csv").open() as file:
        validated = {row["path"] for row in csv.DictReader(file)}
    animals = {name.split("_")[0][-1] for name in validated}
    assert validated == {name for name in names if name.split("_")[0][-1] in animals}
    assert json.loads((run / "config.json").read_text())["group_by"] == r"cow(\d)"
    assert evaluate(run)["images"] == len(validated)
    moved = shutil.copytree(tmp_path / "cows", tmp_path / "moved")
    assert evaluate(run, moved)["part"] == "valid"
    again = rerun(run, out=tmp_path / "again")
    assert again is not None
    assert again["same"]
    assert report(run)["bytes"] > 1000


def without_group_by(run: Path) -> None:
    """Make a run one from before there were groups."""
    config = json.loads((run / "config.json").read_text())
    del config["group_by"]
    (run / "config.json").write_text(json.dumps(config))


def test_a_run_from_before_there_were_groups_keeps_its_own_split(tmp_path: Path) -> None:
    fill(
        tmp_path / "d",
        {f"{c}/p{p}/{i}.png": 100 * p + 10 * i + ord(c) for c in "ab" for p in range(6) for i in range(4)},
    )
    run = tmp_path / "run"
    train(tmp_path / "d", model="linear", epochs=1, group_by=".+", report=False, out=run)
    without_group_by(run)
    assert load_data(tmp_path / "d").groups
    assert evaluate(run)["images"] == 10
    moved = evaluate(run, shutil.copytree(tmp_path / "d", tmp_path / "moved"))
    assert (moved["part"], moved["images"]) == ("valid", 10)
    assert report(run)["bytes"] > 1000
    again = rerun(run, out=tmp_path / "again")
    assert again is not None
    assert again["same"]
    assert not [one for one in again["differs"] if one["what"] in ("data", "setting")]


def test_a_broken_run_from_before_there_were_groups_goes_on(tmp_path: Path) -> None:
    fill(
        tmp_path / "d",
        {f"{c}/p{p}/{i}.png": 100 * p + 10 * i + ord(c) for c in "ab" for p in range(6) for i in range(4)},
    )

    checks = iter(range(100))

    def stop(_: object) -> None:
        if next(checks) == 2:  # after a saved state, as a SIGKILL would
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patched.setattr("underhood.training.run.StopFlag.check", stop)
        train(tmp_path / "d", model="linear", epochs=6, group_by=".+", report=False, out=run)
    assert (run / "state.safetensors").exists()
    without_group_by(run)
    assert resume(run) is not None
    assert evaluate(run)["images"] == 10


def test_the_interval_of_a_run_respects_groups(underhood: Command, mnist: Dataset, tmp_path: Path) -> None:
    """Digits of twenty writers, who are right or wrong together; without groups it is Wilson's interval."""
    from underhood.analysis import accuracy_interval, wilson_interval

    right = np.repeat([True, False], [190, 10])
    groups = np.arange(200) // 10
    together, alone = accuracy_interval(right, groups), accuracy_interval(right)
    assert alone == wilson_interval(190, 200)
    assert together[0] < alone[0]
    rows = np.flatnonzero(np.isin(mnist.train.labels, [4, 9]))[:240]
    fill(tmp_path / "data", {
        f"{mnist.train.labels[row]}/writer{number // 12}-{number}.png": Image.fromarray(mnist.train.pixels[row, 0])
        for number, row in enumerate(rows.tolist())
    })  # fmt: skip
    options = ("--epochs", "2", "--no-report", "--json")
    grouped = underhood("train", tmp_path / "data", "--group-by", r"writer\d+", *options).json
    run = Path(grouped["run"])
    count = len((run / "predictions.csv").read_text().splitlines()) - 1
    correct = round(grouped["valid_accuracy"] * count)
    assert tuple(grouped["interval"]) != wilson_interval(correct, count)
    assert evaluate(run)["interval"] == tuple(grouped["interval"])
    rungs = ladder(tmp_path / "data", epochs=2, group_by=r"writer\d+")["rungs"]
    independent = [wilson_interval(round(rung["valid_accuracy"] * count), count) for rung in rungs]
    assert all(rung["interval"] != alone for rung, alone in zip(rungs, independent, strict=True))
    plain = underhood("train", tmp_path / "data", *options).json
    count = len((Path(plain["run"]) / "predictions.csv").read_text().splitlines()) - 1
    assert tuple(plain["interval"]) == wilson_interval(round(plain["valid_accuracy"] * count), count)
