"""The models and the loader in other training loops, skorch's and Lightning's, without a wrapper."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from underhood import Architecture, DataLoader, build_model
from underhood.core.images import Dataset
from underhood.core.losses import accuracy


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


def test_skorch_trains_a_model(model: nn.Module, digits: Dataset) -> None:
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        model,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=0.01,
        max_epochs=4,
        batch_size=64,
        train_split=None,
        verbose=0,
    )
    net.fit(digits.train.pixels, digits.train.labels)
    assert net.score(digits.valid.pixels, digits.valid.labels) > 0.95


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
def test_lightning_trains_a_model_from_the_loader(model: nn.Module, digits: Dataset, tmp_path: Path) -> None:
    import lightning

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            x, y = batch
            return nn.functional.cross_entropy(self.model(x), y)

        def validation_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
            x, y = batch
            self.log("accuracy", accuracy(self.model(x), y), batch_size=len(y))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    trainer = lightning.Trainer(
        max_epochs=4,
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train = DataLoader(digits.train, batch_size=64, shuffle=True)
    trainer.fit(Lit(), train, DataLoader(digits.valid, batch_size=256))
    assert trainer.callback_metrics["accuracy"] > 0.95
    assert not list(tmp_path.iterdir())
