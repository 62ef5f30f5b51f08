"""The cache of decoded pixels: images are decoded once, and again when they change."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome, fill, picture
from PIL import Image

from underhood import evaluate, train
from underhood.core.images import Images
from underhood.data import cache
from underhood.data.decode import decode_files
from underhood.data.read import load_data, read
from underhood.data.split import digest
from underhood.jobs.check import cache_label_issues, cached_label_issues
from underhood.preparation.files import BadImageError, open_image
from underhood.runs.folder import LabelIssue
from underhood.scratch.similarity import PixelSimilarity


@pytest.fixture(autouse=True)
def _even_few_images_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WORTH_KEEPING", 0)


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each call that really decoded files."""
    counts: list[int] = []

    def counted(paths, **how):
        counts.extend([len(paths)] if paths else [])
        return decode_files(paths, **how)

    monkeypatch.setattr(cache, "decode_files", counted)
    return counts


def same(one: Images, other: Images) -> bool:
    return digest(one) == digest(other)


def test_images_are_decoded_once(small_folder: Path, decodings: list[int]) -> None:
    first, second, without = load_data(small_folder), load_data(small_folder), load_data(small_folder, cache=False)
    assert decodings == [20]
    assert same(first.dataset.train, without.dataset.train)
    assert same(second.dataset.train, without.dataset.train)
    assert same(second.dataset.valid, without.dataset.valid)
    assert second.preparation == without.preparation


def test_a_note_names_the_cache_entry_and_its_size(small_folder: Path, cache_folder: Path) -> None:
    assert any(str(cache_folder) in note and "MB" in note for note in load_data(small_folder).notes)
    assert not any(str(cache_folder) in note for note in load_data(small_folder, cache=False).notes)


def test_a_changed_added_or_removed_image_is_decoded_again(small_folder: Path, decodings: list[int]) -> None:
    read(small_folder)
    picture(77).save(small_folder / "dark" / "0.png")
    assert same(read(small_folder).train, read(small_folder, cache=False).train)
    fill(small_folder, {"dark/new.png": 5})
    read(small_folder)
    (small_folder / "dark" / "new.png").unlink()
    read(small_folder)
    assert decodings == [20, 20, 21, 20]


def test_an_image_with_a_new_time_alone_is_decoded_again(small_folder: Path, decodings: list[int]) -> None:
    read(small_folder)
    os.utime(small_folder / "dark" / "0.png", (1, 1))
    read(small_folder)
    assert decodings == [20, 20]


@pytest.mark.parametrize("asked", [{"size": 8}, {"channels": 3}, {"size": 20, "fit": "stretch"}])
def test_another_preparation_is_another_entry(small_folder: Path, decodings: list[int], asked: dict) -> None:
    read(small_folder)
    assert same(read(small_folder, **asked).train, read(small_folder, cache=False, **asked).train)
    read(small_folder)
    assert decodings == [20, 20]


def test_evaluate_uses_the_entry_that_training_made(small_folder: Path, decodings: list[int], tmp_path: Path) -> None:
    train(small_folder, out=tmp_path / "run", epochs=1, model="net")
    evaluate(tmp_path / "run")
    assert decodings == [20]


def test_an_entry_with_a_limit_does_not_replace_the_full_one(small_folder: Path, decodings: list[int]) -> None:
    read(small_folder)
    read(small_folder, limit=10)
    read(small_folder)
    assert decodings == [20, 10]


def test_incomplete_entries_of_killed_processes_are_removed_and_those_of_living_ones_kept(
    small_folder: Path, cache_folder: Path
) -> None:
    script = """
import os, sys, time
from pathlib import Path
from underhood.data.cache import WRITING, new_folder
Path(sys.argv[1]).mkdir(exist_ok=True)
with new_folder(Path(sys.argv[1]), WRITING) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""
    command = [sys.executable, "-c", script, str(cache_folder)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        dead, alive = (Path(writer.stdout.readline().strip()) for writer in writers if writer.stdout)
        writers[0].kill()
        writers[0].wait()
        assert dead.is_dir()
        read(small_folder)
        assert list(cache_folder.glob("being*")) == [alive]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def test_an_image_that_failed_temporarily_is_tried_again(
    small_folder: Path, decodings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path, **how):
        if path.endswith("3.png"):
            raise BadImageError("cannot be opened (too many open files)")
        return open_image(path, **how)

    with monkeypatch.context() as patched:
        patched.setattr("underhood.data.decode.open_image", failing)
        assert len(load_data(small_folder, skip_bad=True).left_out) == 2
    assert not load_data(small_folder).left_out


def test_unreadable_images_are_named_relative_to_the_current_folder(
    small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_folder / "dark" / "3.png").write_text("no image")
    monkeypatch.chdir(small_folder.parent)
    assert list(load_data("small", skip_bad=True).left_out) == ["small/dark/3.png"]
    monkeypatch.chdir(small_folder)
    assert [Path(path) for path in load_data(".", skip_bad=True).left_out] == [Path("dark/3.png")]


def test_an_entry_of_older_images_is_removed(small_folder: Path, cache_folder: Path) -> None:
    for seed in range(3):
        picture(seed).save(small_folder / "dark" / "0.png")
        read(small_folder)
        assert len(list(cache_folder.iterdir())) == 1


def test_a_coloured_image_after_many_grey_ones_and_an_unreadable_one(small_folder: Path, tmp_path: Path) -> None:
    fill(small_folder, {"light/z.png": picture(3, colour=True)})
    (small_folder / "dark" / "3.png").write_text("no image")
    plain = load_data(small_folder, skip_bad=True, cache=False)
    for _ in range(2):
        kept = load_data(small_folder, skip_bad=True)
        assert same(kept.dataset.train, plain.dataset.train)
        assert kept.left_out == plain.left_out
        assert kept.dataset.train.pixels.shape[1] == 3


def test_an_image_made_readable_by_its_permissions_is_noticed(small_folder: Path, decodings: list[int]) -> None:
    bad = small_folder / "dark" / "3.png"
    bad.chmod(0)
    read(small_folder, skip_bad=True)
    bad.chmod(0o644)
    assert not load_data(small_folder).left_out
    assert decodings == [20, 20]


@pytest.mark.parametrize("file", ["record.json", "sizes.npy", "pixels-1.npy"])
def test_a_damaged_entry_is_replaced(small_folder: Path, cache_folder: Path, decodings: list[int], file: str) -> None:
    read(small_folder)
    damaged = next(cache_folder.glob(f"*/{file}"))
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert same(read(small_folder).train, read(small_folder, cache=False).train)
    read(small_folder)
    assert decodings == [20, 20]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("file", ["record.json", "sizes.npy", "pixels-1.npy"])
def test_a_pipe_in_an_entry_is_never_waited_for(small_folder: Path, cache_folder: Path, file: str) -> None:
    script = (
        "import sys; from pathlib import Path; from underhood.data import cache; from underhood.data.read import read; "
        "cache.WORTH_KEEPING = 0; cache.cache_folder = lambda: Path(sys.argv[2]); read(sys.argv[1])"
    )
    command = [sys.executable, "-c", script, small_folder, cache_folder]
    subprocess.run(command, check=True)
    pipe = next(cache_folder.glob(f"*/{file}"))
    pipe.unlink()
    os.mkfifo(pipe)
    subprocess.run(command, check=True, timeout=60)
    assert pipe.is_file()


def test_a_cache_that_cannot_be_written_is_noted_and_not_needed(small_folder: Path, cache_folder: Path) -> None:
    cache_folder.write_text("a file is in the way")
    loaded = load_data(small_folder)
    assert same(loaded.dataset.train, read(small_folder, cache=False).train)
    assert any("cannot be written" in note for note in loaded.notes)


def test_clear_cache_empties_it(small_folder: Path, cache_folder: Path, underhood) -> None:
    read(small_folder)
    cleared: Outcome = underhood("get", "--clear-cache", "--json")
    assert cleared.json["bytes"] > 20 * 12 * 12
    assert not cache_folder.exists()
    assert underhood("get", "--clear-cache").code == 0
    assert underhood("get").code == 2
    assert underhood("get", "digits", "--clear-cache").code == 2


def test_no_cache_keeps_nothing(small_folder: Path, cache_folder: Path, underhood) -> None:
    assert underhood("train", small_folder, "--model", "conv", "--epochs", 1, "--no-cache").code == 0
    assert not cache_folder.exists()
    assert underhood("train", small_folder, "--model", "conv", "--epochs", 1).code == 0
    assert cache_folder.exists()


class TestLargerThanMemory:
    """More than ``IN_MEMORY`` bytes of pixels are memory-mapped and never copied as a whole."""

    @pytest.fixture(autouse=True)
    def _everything_is_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache, "IN_MEMORY", 0)

    def test_pixels_stay_in_the_file_when_a_part_is_held_out(self, small_folder: Path) -> None:
        data = read(small_folder)
        plain = read(small_folder, cache=False)
        assert isinstance(data.train.pixels, np.memmap)
        assert isinstance(data.valid.pixels, np.memmap)
        assert same(data.train, plain.train)
        assert same(data.valid, plain.valid)

    def test_the_parts_are_in_the_folder_of_the_entry(
        self, small_folder: Path, cache_folder: Path, monkeypatch
    ) -> None:
        places = []
        temporary = tempfile.TemporaryFile

        def noted(dir):
            places.append(dir)
            return temporary(dir=dir)

        monkeypatch.setattr("underhood.data.cache.tempfile.TemporaryFile", noted)
        read(small_folder)
        assert places == [next(cache_folder.iterdir())] * 2

    def test_no_other_files_remain(self, small_folder: Path, cache_folder: Path) -> None:
        read(small_folder)
        assert len(list(cache_folder.iterdir())) == 1
        assert {file.name for file in cache_folder.glob("*/*")} == {
            "record.json", "sizes.npy", "hashes.npy", "pixels-1.npy"
        }  # fmt: skip

    def test_the_baseline_is_the_same(self, small_folder: Path) -> None:
        mapped, plain = (PixelSimilarity().fit(read(small_folder, cache=kept).train) for kept in (True, False))
        assert np.array_equal(mapped.class_means, plain.class_means)

    def test_training_gives_the_same_bytes(self, small_folder: Path, tmp_path: Path) -> None:
        for name, kept in (("mapped", True), ("plain", False)):
            train(small_folder, out=tmp_path / name, model="conv", epochs=4, cache=kept)
        for file in ("weights.safetensors", "metrics.csv", "predictions.csv"):
            assert (tmp_path / "mapped" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()


def test_an_entry_is_found_whichever_path_names_the_folder(
    small_folder: Path, decodings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(small_folder, {"dark/large.jpg": Image.new("RGB", (300, 200), "red")})
    read(small_folder)
    monkeypatch.chdir(small_folder.parent)
    read("small")
    assert decodings == [21]


def invert(cache_folder: Path, fraction: float) -> int:
    """Invert this fraction of the cached images, spread over all, and return how many there are."""
    pixels = np.load(next(cache_folder.glob("*/pixels-*.npy")), mmap_mode="r+")
    rows = np.random.default_rng(0).permutation(len(pixels))[: round(fraction * len(pixels))]
    pixels[rows] = 255 - pixels[rows]
    pixels.flush()
    return len(pixels)


@pytest.mark.parametrize("in_memory", [0, 2**29])
def test_an_entry_with_inverted_images_is_noticed_removed_and_decoded_again(
    small_folder: Path, cache_folder: Path, decodings: list[int], monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(cache, "IN_MEMORY", in_memory)
    read(small_folder)
    invert(cache_folder, 0.5)
    loaded = load_data(small_folder)
    assert same(loaded.dataset.train, read(small_folder, cache=False).train)
    (note,) = [note for note in loaded.warnings if "damaged" in note]
    assert "(10 of 20 checked images): decoded again" in note
    assert str(cache_folder) in note
    assert "\n" not in note
    assert not load_data(small_folder).warnings
    assert decodings == [20, 20]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """3,000 images, of which a sample is verified."""
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "many" / label).mkdir(parents=True)
        for i in range(1_500):
            Image.fromarray(rng.integers(0, 256, (4, 4), dtype=np.uint8)).save(tmp_path / "many" / label / f"{i}.png")
    return tmp_path / "many"


def test_of_many_images_a_new_random_sample_is_verified_and_all_on_request(
    many: Path, cache_folder: Path, decodings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[bytes] = []
    hashed = cache.hash_images

    def noted(pixels: np.ndarray) -> np.ndarray:
        checked.extend(image.tobytes() for image in pixels)
        return hashed(pixels)

    read(many)
    monkeypatch.setattr(cache, "hash_images", noted)
    samples = []
    for options in ({}, {}, {"verify_cache": True}):
        checked.clear()
        read(many, **options)
        samples.append(set(checked))
    assert [len(sample) for sample in samples] == [1_000, 1_000, 3_000]
    assert samples[0] != samples[1]
    invert(cache_folder, 0.02)  # an image of 60 is missed with a probability of 3e-11
    assert any("damaged" in line for line in load_data(many).warnings)
    assert decodings == [3_000, 3_000]


def test_one_damaged_image_is_found_by_verifying_all(many: Path, cache_folder: Path, underhood) -> None:
    read(many)
    invert(cache_folder, 1 / 3_000)
    checked: Outcome = underhood("check", many, "--verify-cache", "--json")
    assert any("(1 of 3,000 checked images): decoded again" in note for note in checked.json["notes"])
    invert(cache_folder, 1 / 3_000)
    trained: Outcome = underhood("train", many, "--model", "linear", "--epochs", 1, "--verify-cache", "--no-report")
    assert "(1 of 3,000 checked images): decoded again" in trained.err
    invert(cache_folder, 1 / 3_000)
    assert underhood("evaluate", "runs/many-linear-1", "--verify-cache").code == 0
    assert not any("damaged" in line for line in load_data(many, verify_cache=True).warnings)


def test_an_entry_at_another_fit_than_its_name_says_is_decoded_again(
    small_folder: Path, cache_folder: Path, decodings: list[int]
) -> None:
    read(small_folder)
    record = next(cache_folder.glob("*/record.json"))
    record.write_text(record.read_text().replace('"pad"', '"crop"'))
    assert load_data(small_folder).preparation.fit == "pad"
    assert decodings == [20, 20]


class TestOtherUsers:
    """A cache that others may write is not used."""

    @pytest.fixture(autouse=True)
    def _umask(self) -> Iterator[None]:
        before = os.umask(0o002)
        yield
        os.umask(before)

    def test_the_cache_is_created_for_its_owner_alone(self, small_folder: Path, cache_folder: Path) -> None:
        read(small_folder)
        assert cache_folder.stat().st_mode & 0o777 == 0o700
        (entry,) = cache_folder.iterdir()
        assert entry.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
    @pytest.mark.parametrize("what", ["cache", "entry", "pixels-1.npy"])
    def test_what_others_may_write_is_not_used(
        self, mode: int, what: str, small_folder: Path, cache_folder: Path, decodings: list[int]
    ) -> None:
        read(small_folder)
        entry = next(cache_folder.iterdir())
        for place in (cache_folder, entry):
            place.chmod(0o755)  # as the first edition made it
        for file in entry.iterdir():
            file.chmod(0o644)
        assert any(note.startswith("decoded pixels are kept in") for note in load_data(small_folder).notes)
        place = {"cache": cache_folder, "entry": entry}.get(what, entry / what)
        place.chmod(mode)
        (note,) = load_data(small_folder).warnings
        assert f"{place} may be written by other users and is not used (chmod -R go-w {cache_folder})" in note
        assert decodings == [20, 20]
        subprocess.run(["chmod", "-R", "go-w", cache_folder], check=True)
        assert any(note.startswith("decoded pixels are kept in") for note in load_data(small_folder).notes)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_what_belongs_to_another_user_is_not_used(
        self, small_folder: Path, cache_folder: Path, decodings: list[int]
    ) -> None:
        read(small_folder)
        os.chown(next(cache_folder.iterdir()), 65534, 65534)
        cache_folder.chmod(0o755)
        (note,) = load_data(small_folder).warnings
        assert "belongs to another user" in note
        assert "XDG_CACHE_HOME" in note
        assert decodings == [20, 20]

    def test_label_issues_that_others_may_have_written_are_not_used(self, cache_folder: Path) -> None:
        issue: LabelIssue = {
            "path": "a.png", "label": "a", "predicted": "b", "probability": 0.9, "label_probability": 0.1
        }  # fmt: skip
        cache_label_issues("/data", [issue])
        assert len(cached_label_issues("/data")) == 1
        cache_folder.chmod(0o777)
        assert cached_label_issues("/data") == []


def lives(process: int) -> bool:
    """Whether a process runs. One that has ended may still be listed, as a zombie, until its parent asks for it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(process: "subprocess.Popen[str]", children: list[int]) -> None:
    """Kill a process and wait until its standard output is closed everywhere: its children are gone too."""
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while any(map(lives, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(lives, children))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_decoding_processes_end_when_their_parent_is_killed(small_folder: Path, cache_folder: Path) -> None:
    script = """
import os, sys, time
from pathlib import Path
from underhood.data import cache, decode
from underhood.data.read import read

def slow(paths, form):
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(600)

cache.WORTH_KEEPING = decode.WORTH_PROCESSES = 0
cache.cache_folder = lambda: Path(sys.argv[2])
decode.available_cpus = lambda: 2
decode._decode_chunk = slow
read(sys.argv[1])
"""
    command = [sys.executable, "-c", script, str(small_folder), str(cache_folder)]
    reading = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert reading.stdout
    children = [int(reading.stdout.readline()) for _ in range(2)]
    assert reading.pid not in children
    ends(reading, children)
    assert len(list(cache_folder.glob("being-written-*"))) == 1
    read(small_folder)
    assert list(cache_folder.glob("being-written-*")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_where_there_is_no_signal_at_a_parents_death_a_child_waits_for_its_end(tmp_path: Path) -> None:
    script = """
import multiprocessing, os, sys, time
from underhood.data.decode import end_with_parent

def child(parent):
    sys.platform = "darwin"
    end_with_parent(parent)
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child, args=(os.getpid(),)).start()
"""
    (tmp_path / "spawned.py").write_text(script)
    parent = subprocess.Popen([sys.executable, tmp_path / "spawned.py"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    ends(parent, [int(parent.stdout.readline())])


def test_what_a_killed_get_left_is_removed_by_the_next(tmp_path: Path, underhood) -> None:
    for name in (".[D].being-written-old", ".[D].own"):
        fill(tmp_path / name, {"0/0.png": 0})
    assert underhood("get", "digits", "--as", "folder", tmp_path / "[D]").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"[D]", ".[D].own", "here"}
