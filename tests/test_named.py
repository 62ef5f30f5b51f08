"""Data sets by name: embedded, found, cached, downloaded."""

import gzip
import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from test_idx import PIXELS, idx, write_set

from underhood.core.errors import DataError, UnknownNameError
from underhood.core.images import Dataset
from underhood.data import named
from underhood.data.named import read_named
from underhood.data.read import read
from underhood.data.split import digest


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small fashion-mnist on a local server; the first of its two mirrors has no files."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    labels = np.arange(40, dtype=np.uint8) % 10
    for file in named.FILES:
        (folder / file).write_bytes(gzip.compress(idx(PIXELS if "images" in file else labels)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setitem(named.MIRRORS, "fashion-mnist", (base + "nothing/", base))
    md5 = tuple(hashlib.md5((folder / file).read_bytes()).hexdigest() for file in named.FILES)
    monkeypatch.setitem(named.MD5, "fashion-mnist", md5)
    monkeypatch.delenv("UNDERHOOD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield folder
    server.shutdown()
    server.server_close()


def test_digits_are_scikit_learns_own(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    ours = named.read_digits()
    assert len(ours) == 1797
    assert (ours.labels == theirs.target).all()
    assert (np.round(ours.pixels[:, 0] / 255 * 16) == theirs.images).all()
    assert len(digits.train) + len(digits.valid) == 1797


def test_a_set_is_downloaded_from_the_mirror_that_has_it_and_then_cached(mirror: Path) -> None:
    data = read("fashion-mnist")
    assert data.classes[0] == "T-shirt-top"
    assert data.classes[9] == "Ankle boot"
    assert (data.train.pixels[:, 0] == PIXELS).all()
    assert data.train.names[0] == "train/T-shirt-top/0.png"
    for file in mirror.iterdir():
        file.unlink()
    assert digest(read("fashion-mnist").train) == digest(data.train)


def test_a_file_with_a_wrong_checksum_is_refused(mirror: Path) -> None:
    (mirror / named.FILES[2]).write_bytes(b"somebody else's file")
    with pytest.raises(DataError, match=r"ValueError.*t10k-images-idx3-ubyte\.gz.*into .*fashion-mnist"):
        read("fashion-mnist")
    (mirror / named.FILES[2]).write_bytes(gzip.compress(idx(PIXELS)))
    assert not (named.places("fashion-mnist")[-1] / named.FILES[2]).exists()


def test_without_a_network_the_error_names_the_files_and_the_folder(
    mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # a port without a server
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setitem(named.MIRRORS, "fashion-mnist", (f"http://127.0.0.1:{taken.getsockname()[1]}/",))
        with pytest.raises(DataError) as error:
            read("fashion-mnist")
    for part in (*named.FILES, str(named.places("fashion-mnist")[-1]), "UNDERHOOD_DATA"):
        assert part in str(error.value)


def test_a_set_in_underhood_data_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(40, dtype=np.uint8) % 10
    for file in named.FILES:
        (tmp_path / "mnist").mkdir(exist_ok=True)
        (tmp_path / "mnist" / file).write_bytes(gzip.compress(idx(PIXELS if "images" in file else labels)))
    monkeypatch.setenv("UNDERHOOD_DATA", str(tmp_path))
    assert len(read("mnist").train) == 40


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mnist-3v7'"):
        read("mnist-3vs7")


def test_mnist_3v7_is_fastbooks_sample(mnist_3v7: Dataset) -> None:
    assert mnist_3v7.train.counts() == {"3": 6131, "7": 6265}
    assert mnist_3v7.valid.counts() == {"3": 1010, "7": 1028}
    first = ["10", "10000", "10011", "10031", "10034", "10042", "10052", "1007", "10074", "10091"]
    assert list(mnist_3v7.train.names[:10]) == [f"train/3/{i}.png" for i in first]
    assert mnist_3v7.train.pixels[1, 0, 4:10, 4:10].tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 29],
        [0, 0, 0, 48, 166, 224],
        [0, 93, 244, 249, 253, 187],
        [0, 107, 253, 253, 230, 48],
        [0, 3, 20, 20, 15, 0],
    ]


def test_mnist_3v7_as_a_folder_reads_back_as_the_same(mnist_3v7: Dataset, tmp_path: Path) -> None:
    from underhood import get

    assert get("mnist-3v7", tmp_path / "D")["images"] == 14_434
    again = read(tmp_path / "D")
    for part in ("train", "valid"):
        one, other = mnist_3v7.parts[part], again.parts[part]
        assert list(one.names) == list(other.names)
        assert (one.labels == other.labels).all()
        assert (one.pixels == other.pixels).all()
    with pytest.raises(DataError, match="is not empty"):
        get("mnist-3v7", tmp_path / "D")


def test_an_incomplete_set_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its test images, a fifth of the training images would be held out under the name mnist."""
    write_set(tmp_path / "mnist", valid=False)
    monkeypatch.setenv("UNDERHOOD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="not there"):
        read_named("mnist", download=False)


def test_digits_are_read_without_scikit_learn_or_torch() -> None:
    script = """
import sys, underhood
underhood.read("digits")
print([name for name in ("sklearn", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_cached_file_that_was_changed_is_fetched_again(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = read("fashion-mnist")
    cached = named.places("fashion-mnist")[-1] / named.FILES[0]
    inverted = gzip.compress(idx(255 - PIXELS))
    cached.write_bytes(inverted)
    assert digest(read("fashion-mnist").train) == digest(data.train)
    cached.write_bytes(inverted)
    monkeypatch.setitem(named.MIRRORS, "fashion-mnist", ())
    with pytest.raises(DataError, match="cannot download fashion-mnist"):
        read("fashion-mnist")
