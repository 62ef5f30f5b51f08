"""Drawing as a fastai user expects it, without a screen."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from underhood import Architecture, DataLoaders, Learner, build_model, plot_function, show_image
from underhood.core.images import Dataset


@pytest.fixture(autouse=True)
def no_screen() -> Iterator[None]:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4), (3, 5, 4), (5, 4, 1), (5, 4, 3)])
def test_show_image_takes_any_picture(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for picture in (array, torch.from_numpy(array), torch.from_numpy(array) / 255):
        ax = show_image(picture, title="seven", cmap="Greys")
        assert ax.get_title() == "seven"
        assert ax.images[0].get_size() == (5, 4)
        assert ax.images[0].get_cmap().name == "Greys"
    assert show_image(Image.new("RGB", (4, 5)), ax).images[-1].get_size() == (5, 4)


def test_plot_function_draws_it() -> None:
    ax = plot_function(lambda x: x**2, "x", "x**2", min=-3, max=1)
    x, y = ax.lines[0].get_data()
    assert (x.min(), x.max(), ax.get_xlabel()) == (-3, 1, "x")
    assert y == pytest.approx(x**2)


def test_batches_results_and_losses(digits: Dataset) -> None:
    dls = DataLoaders.from_dataset(digits, 64)
    learn = Learner(dls, build_model(Architecture("linear", 1, 8, 8, 10)))
    list(learn.epochs(2, 0.01))
    batch = next(dls.train.batches())
    shown = dls.show_batch(max_n=4)
    assert [ax.get_title() for ax in shown.axes[:4]] == [digits.classes[label] for label in batch[1][:4]]
    assert (np.asarray(shown.axes[2].images[0].get_array()) == batch[0][2, 0].numpy()).all()
    assert next(dls.train.batches())[1].equal(batch[1])
    results = learn.show_results(max_n=5)
    told = [ax.get_title().split("\n") for ax in results.axes[:5]]
    assert [true for true, _ in told] == [digits.classes[label] for label in digits.valid.labels[:5]]
    guesses = learn.predict(digits.valid.pixels[:5]).argmax(dim=1)
    assert [guess for _, guess in told] == [digits.classes[label] for label in guesses]
    training, valid = learn.recorder.plot_loss(skip_start=5).lines
    assert training.get_ydata() == pytest.approx(learn.recorder.losses[5:])
    assert valid.get_xdata() == pytest.approx([23, 46])
    assert valid.get_ydata() == pytest.approx([row[1] for row in learn.recorder.values])
