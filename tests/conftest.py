"""Fixtures: real data where it is found, small folders of images, and the command line."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from underhood.core.errors import DataError
from underhood.core.images import Dataset
from underhood.data import cache
from underhood.data.named import read_named
from underhood.data.read import read

settings.register_profile("patient", deadline=None)  # a first example may import half of SciPy
settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="session")
def shared_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures of modules and sessions do not use the user's cache either."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache") / "decoded"
        patch.setattr(cache, "cache_folder", lambda: folder)
        yield


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Decoded pixels of a test's images are not kept in the user's cache, nor are a backbone's features."""
    folder = tmp_path_factory.mktemp("cache") / "decoded"
    monkeypatch.setattr(cache, "cache_folder", lambda: folder)
    monkeypatch.setattr("underhood.pretrained.features.features_folder", lambda: folder.parent / "features")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than five seconds")


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """The complete MNIST. If UNDERHOOD_DATA is set it must be there; otherwise tests that need it are skipped."""
    try:
        read_named("mnist", download=False)
    except DataError as error:
        if os.environ.get("UNDERHOOD_DATA"):
            pytest.fail(f"UNDERHOOD_DATA is set, but: {error}")
        pytest.skip("MNIST is not available: `underhood get mnist`, or set UNDERHOOD_DATA")
    return read("mnist")


@pytest.fixture(scope="session")
def mnist_3v7(mnist: Dataset) -> Dataset:
    return read("mnist-3v7")


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return read("digits")


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


@pytest.fixture
def underhood(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Runs the command line in this process, in an empty folder, as ``underhood("train", "digits")``."""
    from underhood.cli import main

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["underhood", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    return run


def picture(seed: int, width: int = 12, height: int = 12, colour: bool = False) -> Image.Image:
    """A random image; equal seeds give equal images."""
    shape = (height, width, 3) if colour else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def fill(root: Path, files: dict[str, int | Image.Image]) -> Path:
    """Write images below a root: a path for each, and a seed or an image."""
    for name, what in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (picture(what) if isinstance(what, int) else what).save(path)
    return root


@pytest.fixture
def small_folder(tmp_path: Path) -> Path:
    """Two classes of ten images each, bright and dark, that any model can separate."""
    for label, low in (("dark", 0), ("light", 128)):
        for i in range(10):
            array = np.random.default_rng([low, i]).integers(low, low + 128, (12, 12), dtype=np.uint8)
            fill(tmp_path / "small", {f"{label}/{i}.png": Image.fromarray(array)})
    return tmp_path / "small"
