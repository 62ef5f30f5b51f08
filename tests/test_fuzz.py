"""Hostile input: any file gives a result or an UnderhoodError, in little time and memory.

    make fuzz                       10,000 of each kind; `make test` tries 200

Inputs that once failed are kept as an ``example`` of a test or as a test of their own.
"""

import gzip
import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from underhood import evaluate, predict, rerun, resume, train
from underhood.core.errors import DataError, UnderhoodError
from underhood.data import cache
from underhood.data.idx import read_idx
from underhood.data.listing import list_table
from underhood.data.read import LoadedData, load_data, read_parts
from underhood.data.split import digest
from underhood.preparation import Preparation, prepare_image
from underhood.preparation.files import BadImageError, header_pixels, open_image
from underhood.runs.checkpoint import load_run, load_state
from underhood.runs.folder import changes, read_config
from underhood.training.config import TrainConfig
from underhood.training.record import stored_config

TRIES = int(os.environ.get("FUZZ", "200"))
TIMEOUT = 5  # seconds for each
MEMORY = 10**9  # bytes more than before
many = settings(max_examples=TRIES, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@contextmanager
def soon() -> Iterator[None]:
    """Raise AssertionError if the block takes too long."""

    def late(*_: int | FrameType | None) -> None:
        raise AssertionError(f"took longer than {TIMEOUT} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(TIMEOUT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", autouse=True)
def little_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


@st.composite
def damaged(draw: st.DrawFn, *specimens: bytes) -> bytes:
    """A specimen with some bytes replaced, removed or inserted, mostly near its beginning; or any bytes."""
    content = bytearray(draw(st.sampled_from(specimens)))
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 4))):
        end = draw(st.sampled_from([16, 64, 256, len(content)]))
        place = draw(st.integers(0, max(0, min(end, len(content)) - 1)))
        how = draw(st.integers(0, 4))
        if how == 0:
            content[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == 1:
            content[place : place + 4] = draw(st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4]))
        elif how == 2:
            del content[place : place + draw(st.integers(1, 40))]
        elif how == 3:
            content[place:place] = draw(st.binary(min_size=1, max_size=8))
        else:
            del content[place:]
    return bytes(content)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


IDX = [idx(np.arange(480, dtype=np.uint8).reshape(6, 8, 10)), idx(np.arange(40, dtype=np.uint8))]


@many
@given(content=damaged(*IDX), packed=st.sampled_from([lambda b: b, gzip.compress, lambda b: gzip.compress(b)[:-9]]))
def test_idx(content: bytes, packed: Callable[[bytes], bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz-idx"
    path.write_bytes(packed(content))
    with soon():
        try:
            assert read_idx(path).dtype == np.uint8
        except DataError as error:
            assert "\n" not in str(error)


@many
@given(content=damaged(gzip.compress(IDX[0]), gzip.compress(IDX[1])))
def test_idx_packed(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz-idx.gz"
    path.write_bytes(content)
    with soon():
        try:
            read_idx(path)
        except DataError as error:
            assert "\n" not in str(error)


def image_files() -> list[bytes]:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8))
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (grey, "PNG", {}), (grey.convert("RGB"), "PNG", {}), (grey.convert("RGBA"), "PNG", {}),
        (grey.convert("P"), "PNG", {"transparency": 3}), (grey.convert("1"), "PNG", {}),
        (Image.fromarray(np.arange(63, dtype=np.uint16).reshape(9, 7)), "PNG", {}),
        (grey, "JPEG", {}), (grey.convert("CMYK"), "JPEG", {}), (grey.convert("RGB"), "JPEG", {"progressive": True}),
        (grey, "GIF", {}), (grey, "BMP", {}), (grey.convert("RGB"), "WEBP", {}),
        (grey, "TIFF", {}), (grey, "TIFF", {"compression": "tiff_lzw"}), (grey.convert("F"), "TIFF", {}),
    ]  # fmt: skip
    specimens = []
    for image, form, how in kinds:
        file = io.BytesIO()
        image.save(file, form, **how)
        specimens.append(file.getvalue())
    return specimens


@many
@given(
    content=damaged(*image_files()), fit=st.sampled_from(["pad", "crop", "stretch"]), channels=st.sampled_from([1, 3])
)
@pytest.mark.filterwarnings("ignore")  # Pillow warns about bytes that it skips
def test_images(content: bytes, fit: str, channels: int) -> None:
    with soon():
        try:
            pixels = prepare_image(io.BytesIO(content), Preparation(channels, 8, 6, fit))
            assert pixels.shape == (channels, 8, 6)
            assert pixels.dtype == np.uint8
        except BadImageError as bad:
            assert str(bad)


TABLE = b'path,label,split\na/1.png,cat,train\n"b,2.png",dog,valid\n../../c.png,cat,test\n/etc/x.png,dog,train\n'


@many
@given(content=damaged(TABLE, TABLE.replace(b",", b"\t"), b"\xef\xbb\xbf" + TABLE, b"path,label\n" + b"a,b\n" * 30))
def test_tables(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(content)
    with soon():
        try:
            assert list_table(path).parts["train"].names
        except DataError as error:
            assert "\n" not in str(error)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one file of each kind."""
    out = tmp_path_factory.mktemp("fuzz") / "run"
    train("digits", model="linear", epochs=1, limit=40, save_every=0, out=out)
    read_everything(out, load_data("digits"))  # Hypothesis draws other examples once a test has imported more modules
    return out


@pytest.fixture(scope="module")
def digits() -> LoadedData:
    return load_data("digits")


def read_everything(folder: Path, data: LoadedData) -> None:
    """Everything that reads a run folder, except training."""
    with soon():
        for read in (load_run, lambda f: stored_config(f, read_config(f)), load_state, lambda f: changes(f, data)):
            try:
                read(folder)
            except UnderhoodError as error:
                assert "\n" not in str(error)


NAMES = ["weights.safetensors", "state.safetensors", "config.json", "data.json", "pictures.csv"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
LISTS = st.lists(SCALARS, max_size=3)
VALUES = (
    SCALARS | LISTS | st.lists(LISTS, max_size=3) | st.dictionaries(st.text(max_size=4), SCALARS | LISTS, max_size=3)
)


@many
@given(what=st.data())
def test_run_folders(what: st.DataObject, run: Path, digits: LoadedData) -> None:
    name = what.draw(st.sampled_from(NAMES))
    kept = (run / name).read_bytes()
    if name.endswith(".json") and what.draw(st.booleans()):
        record = json.loads(kept)
        record[what.draw(st.sampled_from(sorted(record)))] = what.draw(VALUES)
        content = json.dumps(record).encode()
    else:
        content = what.draw(damaged(kept))
    try:
        (run / name).write_bytes(content)
        read_everything(run, digits)
    finally:
        (run / name).write_bytes(kept)


def with_header(content: bytes, header: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


@many
@given(what=st.data())
def test_safetensors_headers(what: st.DataObject, run: Path, digits: LoadedData) -> None:
    """A field in the header of weights or state, or in the metadata that underhood writes there, is replaced."""
    name = what.draw(st.sampled_from(NAMES[:2]))
    kept = (run / name).read_bytes()
    (length,) = struct.unpack("<Q", kept[:8])
    header = json.loads(kept[8 : 8 + length])
    record = json.loads(header["__metadata__"]["underhood"])
    place = what.draw(st.sampled_from(["tensor", "metadata", "record", "deep", "bytes"]))
    if place == "tensor":
        tensor = header[what.draw(st.sampled_from(sorted(set(header) - {"__metadata__"})))]
        tensor[what.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = what.draw(VALUES)
    elif place == "metadata":
        header["__metadata__"] = what.draw(VALUES)
    else:
        where = record
        if place == "deep":
            where = record.get(what.draw(st.sampled_from(["architecture", "preparation"])), record)
        where[what.draw(st.sampled_from(sorted(where)))] = what.draw(VALUES)
        header["__metadata__"]["underhood"] = json.dumps(record)
    text = json.dumps(header).encode()
    if place == "bytes":
        text = what.draw(damaged(text))
    try:
        (run / name).write_bytes(with_header(kept, text))
        read_everything(run, digits)
    finally:
        (run / name).write_bytes(kept)


class Planted:
    """Unpickling this would create a file."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone's published weights in each form that is read: a folder with three files."""
    import torch
    from safetensors.torch import save_file

    from underhood.pretrained.weights import find_weights

    folder = tmp_path_factory.mktemp("weights")
    tensors = find_weights("efficientnet_lite0").tensors
    save_file(tensors, folder / "w.safetensors")
    torch.save(tensors, folder / "w.pth")
    torch.save(tensors, folder / "w.bin", _use_new_zipfile_serialization=False)
    for name in WEIGHT_FILES:
        refused_or_loaded(folder / name)  # Hypothesis draws other examples once a test has imported more modules
    return folder


WEIGHT_FILES = ["w.safetensors", "w.pth", "w.bin"]


def refused_or_loaded(path: Path) -> None:
    """Read a weight file: an error of one line that names it, or the tensors of the network, all finite."""
    from underhood.core.models import Architecture
    from underhood.pretrained import create_model
    from underhood.pretrained.weights import copy_weights, find_weights

    with soon():
        try:
            found = find_weights("efficientnet_lite0", str(path))
        except UnderhoodError as error:
            assert str(path) in str(error)
            assert len(str(error).splitlines()) == 1
            return
        network = create_model(Architecture("efficientnet_lite0", 3, 32, 32, 2))
        copy_weights(network, found)
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


few = settings(many, max_examples=max(15, TRIES // 10))  # a tenth of a second each: 14 MB


@few
@given(what=st.data())
@pytest.mark.filterwarnings("ignore")  # torch's, of what it finds in a damaged file
def test_weight_files(what: st.DataObject, weights: Path, tmp_path_factory: Any) -> None:
    """Bytes are replaced, removed or inserted, or the file ends early."""
    name = what.draw(st.sampled_from(WEIGHT_FILES))
    path = tmp_path_factory.getbasetemp() / name
    content = (weights / name).read_bytes()
    start = what.draw(st.sampled_from([0, len(content) // 2, len(content) - 4096]))  # a zip's list is at its end
    piece = what.draw(damaged(content[start : start + 4096]))  # Hypothesis keeps what it draws: not the whole file
    end = len(content) if what.draw(st.integers(0, 9)) else what.draw(st.integers(0, len(content)))
    path.write_bytes((content[:start] + piece + content[start + 4096 :])[:end])
    refused_or_loaded(path)


@few
@given(what=st.data())
def test_headers_of_weight_files(what: st.DataObject, weights: Path, tmp_path_factory: Any) -> None:
    """A field in the header of a safetensors file is replaced, or the header is damaged."""
    kept = (weights / "w.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", kept[:8])
    header = json.loads(kept[8 : 8 + length])
    tensor = header[what.draw(st.sampled_from(sorted(header)))]
    tensor[what.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = what.draw(VALUES)
    text = json.dumps(header).encode()
    if what.draw(st.booleans()):
        text = what.draw(damaged(text))
    path = tmp_path_factory.getbasetemp() / "w.safetensors"
    path.write_bytes(with_header(kept, text))
    refused_or_loaded(path)


@few
@given(what=st.data())
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_weight_files(what: st.DataObject, weights: Path, tmp_path_factory: Any) -> None:
    """Tensors have other names, shapes, types or values, are missing, or are none; others are added."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors: dict[Any, Any] = dict(load_file(weights / "w.safetensors"))
    for _ in range(what.draw(st.integers(1, 3))):
        name = what.draw(st.sampled_from(sorted(map(str, tensors))))
        shape = what.draw(st.lists(st.integers(0, 5), max_size=5))
        dtype = what.draw(st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64]))
        other = torch.zeros(shape, dtype=dtype)
        how = what.draw(st.sampled_from(["replace", "add", "remove", "rename", "value", "object"]))
        if how == "replace":
            tensors[name] = other
        elif how == "add":
            tensors[what.draw(st.text(max_size=80))] = other
        elif how == "remove":
            tensors.pop(name, None)
        elif how == "rename":
            tensors[what.draw(st.text(max_size=80))] = tensors.pop(name, other)
        elif how == "value":
            tensors[name] = torch.full(getattr(tensors.get(name), "shape", ()), what.draw(st.floats(width=32)))
        else:
            tensors[what.draw(st.sampled_from([name, 3, "more"]))] = what.draw(VALUES)
    folder = tmp_path_factory.getbasetemp()
    if what.draw(st.booleans()) and all(isinstance(one, torch.Tensor) for one in tensors.values()):
        path = folder / "w.safetensors"
        save_file({str(name): one.contiguous().clone() for name, one in tensors.items()}, path)
    else:
        path = folder / "w.pth"
        torch.save(tensors, path, _use_new_zipfile_serialization=what.draw(st.booleans()))
    refused_or_loaded(path)


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors"])
@pytest.mark.parametrize("save", ["pickle", "torch", "old torch"])
def test_a_pickle_among_weights_is_refused_and_never_run(name: str, save: str, tmp_path: Path) -> None:
    import torch

    from underhood.pretrained.weights import find_weights

    mark, path = tmp_path / "mark", tmp_path / name
    planted = Planted(mark)
    if save == "pickle":
        path.write_bytes(pickle.dumps(planted))
    else:
        tensors = {**find_weights("efficientnet_lite0").tensors, "classifier.bias": planted}
        torch.save(tensors, path, _use_new_zipfile_serialization=save == "torch")
    with pytest.raises(UnderhoodError, match="does not hold weights of efficientnet_lite0") as failed:
        find_weights("efficientnet_lite0", str(path))
    assert len(str(failed.value).splitlines()) == 1
    assert not mark.exists()


@pytest.mark.parametrize("name", [*NAMES, "environment.json", "metrics.csv", "predictions.csv"])
def test_a_pickle_under_any_name_is_refused_and_never_run(name: str, run: Path, tmp_path: Path) -> None:
    stranger, mark = tmp_path / "stranger", tmp_path / "mark"
    shutil.copytree(run, stranger)
    (stranger / name).write_bytes(pickle.dumps(Planted(mark)))
    refused = 0
    jobs: list[Callable[[], object]] = [
        lambda: evaluate(stranger), lambda: predict(stranger, [tmp_path]), lambda: resume(stranger),
        lambda: rerun(stranger, out=tmp_path / "again"),
    ]  # fmt: skip
    for _ in range(2):
        for job in jobs:
            try:
                job()
            except UnderhoodError as error:
                assert "\n" not in str(error)
                refused += 1
        (stranger / "predictions.csv").unlink(missing_ok=True)  # so that resume reads all files
    assert refused
    assert not mark.exists()


def test_a_bomb_of_gzip_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    for count in (10**6, 10**7):  # a gigabyte of black images in a megabyte, and a header that only claims it
        body = gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, count, 32, 32) + bytes(10**6))
        path = tmp_path / "train-images-idx3-ubyte.gz"
        path.write_bytes(body)
        with soon(), pytest.raises(DataError, match="so small a file"):
            read_idx(path)


def test_a_bomb_of_gzip_is_refused_by_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, 40) + bytes(3 * 10**8)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with soon(), pytest.raises(DataError, match="holds more"):
        read_idx(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 10**8


def png(width: int, height: int, depth: int = 8, colour: int = 0, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "TIFF")
    content = file.getvalue()
    for tag, value in ((256, width), (257, height)):
        at = content.index(struct.pack("<HHI", tag, 4, 1)) if struct.pack("<HHI", tag, 4, 1) in content else -1
        at = at if at >= 0 else content.index(struct.pack("<HHI", tag, 3, 1))
        content = content[:at] + struct.pack("<HHII", tag, 4, 1, value) + content[at + 12 :]
    return content


@pytest.mark.parametrize("content", [png(100_000, 100_000), png(2**31 - 1, 1), tiff(100_000, 100_000)])
def test_a_bomb_of_an_image_is_refused_by_what_it_declares(content: bytes) -> None:
    with soon(), pytest.raises(BadImageError, match="too large to decode"):
        open_image(io.BytesIO(content))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(("depth", "colour"), [(8, 0), (16, 0), (8, 2), (8, 6), (8, 4)])
def test_the_largest_image_allowed_takes_less_than_a_gigabyte(depth: int, colour: int) -> None:
    """7,000 × 7,000 pixels of each kind, in a process of its own, so that the peak is its own."""
    import subprocess
    import sys

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = b"\0" + bytes(7000 * channels * depth // 8)
    packer = zlib.compressobj(1)
    body = b"".join([packer.compress(row) for _ in range(7000)]) + packer.flush()
    script = (
        "import io, re, sys; from pathlib import Path; "
        "from underhood.preparation import Preparation, prepare_image; "
        "prepare_image(io.BytesIO(sys.stdin.buffer.read()), Preparation(3, 64, 64)); "
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"  # not that of its parent
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=png(7000, 7000, depth, colour, body), capture_output=True, check=True
    )
    assert int(done.stdout) * 1024 < MEMORY


def test_no_path_in_a_table_or_a_configuration_causes_a_write_outside(
    tmp_path: Path, small_folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    rows = [f"../small/{label}/{i}.png,../../{label},train" for label in ("dark", "light") for i in range(10)]
    (here / "..csv").write_text("\n".join(["path,label,split", *rows]))
    before = {path for path in tmp_path.rglob("*") if here not in path.parents}
    train(here / "..csv", model="linear", epochs=1)
    stranger = here / "stranger"
    shutil.copytree(run, stranger)
    config = json.loads((stranger / "config.json").read_text())
    (stranger / "config.json").write_text(json.dumps(config | {"data": str(here / "..csv"), "out": "../../out"}))
    rerun(stranger)
    assert {path for path in tmp_path.rglob("*") if here not in path.parents} == before


JSON_REQUESTS = [
    b'{"inputs": "aGVsbG8=", "parameters": {"top_k": 3, "steps": {"crop": false}}, "label": "7"}',
    b'{"inputs": ["data:image/png;base64,aGVsbG8=", "aGVsbG8="], "more": [1.5e300, null, {"a": "\\ud800"}]}',
    '{"inputs": "aGVsbG8="}'.encode("utf-16"),
]


@many
@given(damaged(*JSON_REQUESTS))
def test_json_requests(content: bytes) -> None:
    from underhood.serving.requests import HTTPError, parse_json

    with soon():
        try:
            assert 1 <= len(parse_json(content).images) <= 64
        except HTTPError as error:
            assert (error.status, "\n" in error.detail) == (422, False)


@many
@given(st.lists(st.sampled_from([*"localhost127.0.0.1[::1]:80@/#?\\ \t%.x", "localhost", "127.0.0.1", "[::1]", "é"])))
def test_hosts(parts: list[str]) -> None:
    """What is allowed is this machine for a browser too."""
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    from underhood.serving.server import allowed_hosts

    host = "".join(parts)
    if allowed_hosts()(host):
        name = (urlsplit(f"http://{host}").hostname or "").rstrip(".")
        assert name == "localhost" or ip_address(name).is_loopback


def large_headers() -> list[bytes]:
    """Image files with much before, between and after their pixels."""
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True}
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("JPEG", {"progressive": True, "exif": exif, "icc_profile": bytes(300)}), ("MPO", frames),
        ("TIFF", {"exif": exif}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"big_tiff": True}), ("TIFF", frames),
        ("PNG", {"exif": exif, "icc_profile": bytes(300)}), ("PNG", frames), ("GIF", frames), ("WEBP", frames),
        ("WEBP", {"lossless": True}),
    ]  # fmt: skip
    specimens = []
    for form, how in kinds:
        file = io.BytesIO()
        more = {"append_images": [photo.rotate(90)]} if how == frames else {}
        photo.copy().save(file, form, **how, **more)  # a copy: Pillow leaves settings of one format at the image
        specimens.append(file.getvalue())
    return specimens


@many
@given(content=damaged(*large_headers()))
@pytest.mark.filterwarnings("ignore")
def test_what_is_decoded_has_as_many_pixels_as_its_header_says(content: bytes) -> None:
    with soon():
        declared = header_pixels(content)
        try:
            width, height = open_image(io.BytesIO(content)).size
        except BadImageError as bad:
            assert "\n" not in str(bad)
        else:
            assert declared == width * height


@contextmanager
def kept_in(place: Path) -> Iterator[None]:
    """Within, even few images are cached, in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "WORTH_KEEPING", 0)
        patch.setattr(cache, "cache_folder", lambda: place)
        yield


@many
@given(what=st.data())
def test_a_damaged_cache_changes_no_image(what: st.DataObject, cached: tuple[Path, Path, bytes, str]) -> None:
    folder, entry, content, images = cached
    shutil.rmtree(entry.parent)
    with zipfile.ZipFile(io.BytesIO(content)) as kept:
        kept.extractall(entry)
    file = what.draw(st.sampled_from(["record.json", "sizes.npy", "hashes.npy", "pixels-1.npy"]))
    (entry / file).write_bytes(what.draw(damaged((entry / file).read_bytes())))
    with soon(), kept_in(entry.parent):
        assert digest(read_parts(folder).images["train"]) == images


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes, str]:
    """A folder of images, its entry in the cache, the entry's files, and a digest of the images."""
    folder, place = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("fuzz-cache") / "decoded"
    rng = np.random.default_rng(0)
    for i in range(6):
        (folder / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 4), dtype=np.uint8)).save(folder / "ab"[i % 2] / f"{i}.png")
    with kept_in(place):
        images = digest(read_parts(folder).images["train"])
    (entry,) = place.iterdir()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as kept:
        for file in entry.iterdir():
            kept.write(file, file.name)
    return folder, entry, content.getvalue(), images


@pytest.fixture(scope="module")
def onnx_file(run: Path) -> bytes:
    from underhood import export

    export(run)
    return (run / "model.onnx").read_bytes()


@many
@given(what=st.data())
def test_onnx_files(what: st.DataObject, onnx_file: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Bytes are damaged, or a field of the metadata is replaced."""
    from underhood import Predictor

    path = tmp_path_factory.getbasetemp() / "fuzz.onnx"
    content = what.draw(damaged(onnx_file))
    if what.draw(st.booleans()):
        import onnx

        model = onnx.load_from_string(onnx_file)
        record = json.loads(model.metadata_props[0].value)
        where = what.draw(st.sampled_from([record, record["preparation"], record["calibration"]]))
        where[what.draw(st.sampled_from(sorted(where)))] = what.draw(VALUES)
        model.metadata_props[0].value = json.dumps(record)
        content = model.SerializeToString()
    path.write_bytes(content)
    with soon():
        try:
            said = Predictor.load(path).answers(np.zeros((2, 1, 8, 8), np.uint8))
            assert said.probabilities.min() >= 0
            assert said.probabilities.max() <= 1
            assert said.reasons == ["blank", "blank"]
            assert said.sets is None or said.sets.any(axis=1).all()
        except UnderhoodError as error:
            assert "\n" not in str(error)


@settings(many, max_examples=max(20, TRIES // 20))  # a quarter of a second each
@given(what=st.data())
def test_what_a_report_reads(what: st.DataObject, run: Path) -> None:
    """A field of a record is replaced, or bytes of a table are damaged."""
    from underhood import report

    name = what.draw(
        st.sampled_from(["config.json", "data.json", "environment.json", "predictions.csv", "metrics.csv", "steps.csv",
                         "layers.csv", "ood.csv", "ideals.npy", "learning_curve.csv"])
    )  # fmt: skip
    kept = (run / name).read_bytes()
    content = what.draw(damaged(kept))
    if name.endswith(".json"):
        record = json.loads(kept)
        record[what.draw(st.sampled_from(sorted(record)))] = what.draw(VALUES)
        content = json.dumps(record).encode()
    try:
        (run / name).write_bytes(content)
        with soon():
            report(run)
    except UnderhoodError as error:
        assert "\n" not in str(error)
    finally:
        (run / name).write_bytes(kept)


RECORDS: list[Any] = [
    None,
    [],
    {},
    {"train": []},
    {"train": {"a": "x"}},
    {"train": {"a": -5}},
    {"train": {"a": 0.5}},
    3,
]


@pytest.mark.parametrize("counts", RECORDS, ids=str)
def test_a_restart_onto_a_damaged_record_is_one_line(
    counts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"model": "linear", "limit": 60, "report": False}
    run = tmp_path / "run"
    train("digits", out=run, **asked)
    (run / "data.json").write_text(json.dumps({"counts": counts}))
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    with pytest.raises(UnderhoodError, match=r"data\.json is damaged") as failed:
        train("digits", out=run, **asked)
    assert "\n" not in str(failed.value)


@settings(many, max_examples=max(10, TRIES // 20))
@given(st.data())
def test_a_restart_onto_any_config_is_refused_or_goes_on(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        run = Path(place) / "run"
        patch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
        run.mkdir()
        config = TrainConfig("digits", model="linear", epochs=1, limit=60, report=False)
        stored = json.dumps(config.as_dict()).encode()
        (run / "config.json").write_bytes(data.draw(damaged(stored)))
        with soon(), suppress(UnderhoodError):
            train("digits", model="linear", epochs=1, limit=60, report=False, out=run)
