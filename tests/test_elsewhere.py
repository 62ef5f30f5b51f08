"""The models and the loader in other training loops, skorch's and Lightning's, without a wrapper."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from underhood import Architecture, DataLoader, build_model
from underhood.core.images import Dataset
from underhood.core.losses import accuracy
from underhood.pretrained import create_model
from underhood.pretrained.weights import copy_weights, find_weights


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model(digits: Dataset) -> nn.Module:
    mean, std = (values.tolist() for values in digits.train.pixel_statistics())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(Architecture("conv", 1, 8, 8, 10), mean, std)


@pytest.fixture
def backbone() -> nn.Module:
    """EfficientNet-Lite0 with published weights, all of its layers frozen but the last."""
    network = create_model(Architecture("efficientnet_lite0", 3, 64, 64, 2))
    copy_weights(network, find_weights("efficientnet_lite0"))
    network.requires_grad_(False)
    nn.init.zeros_(network.classifier.requires_grad_(True).weight)
    network.keep_statistics = True
    return network.train()  # Lightning does not call it


@pytest.fixture(scope="module")
def photographs() -> tuple[np.ndarray, np.ndarray]:
    """Pieces of two photographs, uint8 [48, 3, 64, 64], and which one each is from, int64 [48]."""
    rng = np.random.default_rng(0)
    pieces = [image[top : top + 64, left : left + 64].transpose(2, 0, 1)
              for image in load_sample_images().images for top, left in rng.integers(0, 360, (24, 2))]  # fmt: skip
    return np.stack(pieces), np.repeat([0, 1], 24)


def body(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the state without that of the last layer."""
    return {name: values.clone() for name, values in network.state_dict().items() if "classifier" not in name}


def unchanged(network: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(values, before[name]) for name, values in body(network).items())


def skorch_net(network: nn.Module, lr: float, batch_size: int) -> Any:
    from skorch import NeuralNetClassifier

    return NeuralNetClassifier(
        network,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=lr,
        max_epochs=4,
        batch_size=batch_size,
        train_split=None,
        verbose=0,
    )


def test_skorch_trains_a_model(model: nn.Module, digits: Dataset) -> None:
    net = skorch_net(model, 0.01, 64).fit(digits.train.pixels, digits.train.labels)
    assert net.score(digits.valid.pixels, digits.valid.labels) > 0.95


def test_skorch_trains_the_last_layer_of_a_backbone(
    backbone: nn.Module, photographs: tuple[np.ndarray, np.ndarray]
) -> None:
    pixels, labels = photographs
    before = body(backbone)
    net = skorch_net(backbone, 0.002, 8).fit(pixels[::2], labels[::2])
    assert net.score(pixels[1::2], labels[1::2]) > 0.9
    assert unchanged(net.module_, before)


def lightning_fit(network: nn.Module, lr: float, train: DataLoader, valid: DataLoader, folder: Path) -> float:
    """Train a network with Lightning for four epochs. Returns its accuracy on the validation images."""
    import lightning

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            x, y = batch
            return nn.functional.cross_entropy(self.network(x), y)

        def validation_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
            x, y = batch
            self.log("accuracy", accuracy(self.network(x), y), batch_size=len(y))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=lr)

    trainer = lightning.Trainer(
        max_epochs=4,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Lit(), train, valid)
    return float(trainer.callback_metrics["accuracy"])


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
def test_lightning_trains_a_model_from_the_loader(model: nn.Module, digits: Dataset, tmp_path: Path) -> None:
    train = DataLoader(digits.train, batch_size=64, shuffle=True)
    assert lightning_fit(model, 0.01, train, DataLoader(digits.valid, batch_size=256), tmp_path) > 0.95
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:Found 49 module.s. in eval mode")  # batch normalisation: this is intended
def test_lightning_trains_the_last_layer_of_a_backbone(
    backbone: nn.Module, photographs: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    pixels, labels = photographs
    before = body(backbone)
    train = DataLoader((pixels[::2], labels[::2]), batch_size=8, shuffle=True)
    assert lightning_fit(backbone, 0.002, train, DataLoader((pixels[1::2], labels[1::2])), tmp_path) > 0.9
    assert unchanged(backbone, before)
