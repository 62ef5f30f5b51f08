"""Figures for notebooks, drawn without a screen."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from underhood import (
    Architecture,
    DataLoaders,
    Learner,
    build_model,
    plot_function,
    plot_loss,
    show_batch,
    show_image,
    show_results,
)
from underhood.analysis.inference import predict_proba
from underhood.core.images import Dataset


@pytest.fixture(autouse=True)
def no_screen() -> Iterator[None]:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4), (3, 5, 4), (5, 4, 1), (5, 4, 3)])
def test_show_image_takes_any_image(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for image in (array, torch.from_numpy(array), torch.from_numpy(array) / 255):
        ax = show_image(image, title="seven", cmap="Greys")
        assert ax.get_title() == "seven"
        assert ax.images[0].get_size() == (5, 4)
        assert ax.images[0].get_cmap().name == "Greys"
    assert show_image(Image.new("RGB", (4, 5)), ax).images[-1].get_size() == (5, 4)


def test_plot_function_draws_the_function() -> None:
    ax = plot_function(lambda x: x**2, "x", "x**2", min=-3, max=1)
    x, y = ax.lines[0].get_data()
    assert (x.min(), x.max(), ax.get_xlabel()) == (-3, 1, "x")
    assert y == pytest.approx(x**2)


def test_batches_results_and_losses(digits: Dataset) -> None:
    dls = DataLoaders.from_dataset(digits, 64)
    learn = Learner(dls, build_model(Architecture("linear", 1, 8, 8, 10)))
    list(learn.epochs(2, 0.01))
    batch = next(dls.train.batches())
    shown = show_batch(dls, max_n=4)
    assert [ax.get_title() for ax in shown.axes[:4]] == [digits.classes[label] for label in batch[1][:4]]
    assert (np.asarray(shown.axes[2].images[0].get_array()) == batch[0][2, 0].numpy()).all()
    assert next(dls.train.batches())[1].equal(batch[1])
    results = show_results(learn, max_n=5)
    titles = [ax.get_title().split("\n") for ax in results.axes[:5]]
    assert [true for true, _ in titles] == [digits.classes[label] for label in digits.valid.labels[:5]]
    guesses = predict_proba(learn.model, digits.valid.pixels[:5]).argmax(dim=1)
    assert [guess for _, guess in titles] == [digits.classes[label] for label in guesses]
    training, valid = plot_loss(learn.recorder, skip_start=5).lines
    assert training.get_ydata() == pytest.approx(learn.recorder.losses[5:])
    assert valid.get_xdata() == pytest.approx([23, 46])
    assert valid.get_ydata() == pytest.approx([row[1] for row in learn.recorder.values])


def test_batches_and_results_of_torchs_own_loader(digits: Dataset) -> None:
    from torch.utils.data import DataLoader, TensorDataset

    train, valid = (
        DataLoader(TensorDataset(torch.from_numpy(images.pixels), torch.from_numpy(images.labels)), batch_size=64)
        for images in (digits.train, digits.valid)
    )
    dls = DataLoaders(train, valid, digits.classes)
    assert [ax.get_title() for ax in show_batch(dls, max_n=3).axes] == [
        digits.classes[label] for label in digits.train.labels[:3]
    ]
    figure = show_results(Learner(dls, build_model(Architecture("linear", 1, 8, 8, 10))), max_n=3)
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == [
        digits.classes[label] for label in digits.valid.labels[:3]
    ]
