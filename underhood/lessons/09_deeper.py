import marimo

app = marimo.App(width="medium", app_title="9 · Going deeper")

with app.setup:
    import time

    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch

    from underhood import Architecture, DataLoader, DataLoaders, Images, Learner, PixelSimilarity, build_model
    from underhood.analysis import wilson_interval
    from underhood.analysis.inference import predict_proba
    from underhood.core.schedule import one_cycle
    from underhood.display.notebook import show_images
    from underhood.lessons import exercise, load, table
    from underhood.training.setup import count_parameters


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 9 · Going deeper

    A ladder of models, all ten digits, the same pictures for each: nearest ideal, one matrix, a hidden layer,
    convolutions, and ResNet-18 with its eighteen layers. What does each rung buy? Not only how
    many more pictures are right: *which*.

    To be quick, this lesson trains on four hundred pictures and looks at a few hundred others. `underhood ladder
    mnist` climbs the same with all of them.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist")
    rng = np.random.default_rng(0)
    train = dataset.train.take(rng.permutation(len(dataset.train))[:400])
    valid = dataset.valid.take(rng.permutation(len(dataset.valid))[:500])
    mo.md(f"{which} {len(train)} to train on, {len(valid)} to measure with.")
    return train, valid


@app.cell
def _(train, valid):
    learners = {}

    def climb(model, epochs):
        """What it says of each picture [n], its parameters, and the seconds it took."""
        start = time.perf_counter()
        if model == "similarity":
            guesses = PixelSimilarity().fit(train).predict(valid.pixels)
            size = train.pixels[0].size * len(train.classes)
        else:
            _, channels, height, width = train.pixels.shape
            torch.manual_seed(0)
            mean, std = train.pixel_statistics()
            architecture = Architecture(model, channels, height, width, len(train.classes), stem="published")
            network = build_model(architecture, mean.tolist(), std.tolist())
            learn = Learner(DataLoaders(DataLoader(train, 16, shuffle=True), DataLoader(valid, 250)), network)
            for _step in learn.steps(epochs, 0.002 if model == "resnet18" else 0.01, one_cycle):
                pass
            guesses = predict_proba(network, valid.pixels).argmax(dim=1).numpy()
            size = count_parameters(network)
            learners[model] = learn
        return guesses, size, time.perf_counter() - start

    climb("linear", 1)  # torch's very first step takes longer
    rungs = {
        model: climb(model, epochs)
        for model, epochs in (("similarity", 0), ("linear", 15), ("net", 15), ("conv", 8), ("resnet18", 2))
    }
    right = {model: guesses == valid.labels for model, (guesses, _, _) in rungs.items()}
    accuracies = {model: float(mask.mean()) for model, mask in right.items()}
    return accuracies, learners, right, rungs


@app.cell
def _(right, rungs):
    _rows = []
    _below = None
    for _model, (_, _size, _seconds) in rungs.items():
        _mask = right[_model]
        _low, _high = wilson_interval(int(_mask.sum()), len(_mask))
        _rows.append(
            {
                "model": _model,
                "accuracy": f"{100 * _mask.mean():.1f} %",
                "95 %": f"{100 * _low:.1f} to {100 * _high:.1f}",
                "fixes": "–" if _below is None else int((_mask & ~_below).sum()),
                "breaks": "–" if _below is None else int((~_mask & _below).sum()),
                "parameters": f"{_size:,}",
                "seconds": f"{_seconds:.1f}",
            }
        )
        _below = _mask
    table(_rows)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The interval says how far chance may move a figure that was measured on so few pictures: two models
    whose intervals overlap may be equally good. *Fixes* and *breaks* count against the rung below. A rung seldom
    only fixes.

    ResNet-18 takes the longest by far, and with two epochs of 400 pictures it does not win: depth wants data, and
    time. To be quick, it begins here as published, which was made for large pictures, and halves these small
    ones at once; `underhood train` lets it begin otherwise. On all of MNIST it comes above 99 %.

    ## Which ones
    """)
    return


@app.cell
def _():
    rung = mo.ui.slider(steps=[1, 2, 3, 4], value=3, label="rung: 1 linear, 2 net, 3 conv, 4 resnet18", show_value=True)
    rung
    return (rung,)


@app.cell
def _(right, rung, rungs, valid):
    _names = list(rungs)
    _now, _before = _names[rung.value], _names[rung.value - 1]

    def row(which, title):
        _some = np.flatnonzero(which)[:8]
        if not len(_some):
            return mo.md(f"**{title}**: none.")
        _said = [[valid.classes[rungs[model][0][i]] for i in _some] for model in (_before, _now)]
        _titles = [f"{was} → {now}" for was, now in zip(*_said, strict=True)]
        _figure = show_images([valid.pixels[i] for i in _some], _titles, columns=8, side=1.15)
        return mo.vstack([mo.md(f"**{title}** ({which.sum()} in all)"), mo.as_html(_figure)])

    mo.vstack(
        [
            row(right[_now] & ~right[_before], f"{_now} fixes what {_before} had wrong"),
            row(~right[_now] & right[_before], f"{_now} breaks what {_before} had right"),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Why convolutions

    A matrix has a weight for each pixel, so what it learns of a stroke at one place, it does not know at
    another. A convolution slides one small window of weights over the whole picture: what it learns, it knows
    everywhere. Move all pictures, and see who minds.
    """)
    return


@app.cell
def _():
    pixels_moved = mo.ui.slider(0, 4, value=1, label="pixels to the right", show_value=True)
    pixels_moved
    return (pixels_moved,)


@app.cell
def _(learners, pixels_moved, valid):
    def moved(images, by):
        """The same, with so many empty columns put before each, and the last ones lost."""
        width = images.pixels.shape[3]
        pixels = np.pad(images.pixels, ((0, 0), (0, 0), (0, 0), (by, 0)))[..., :width]
        return Images(pixels, images.labels, images.classes, images.names)

    _drops = {
        model: [learners[model].validate(DataLoader(moved(valid, by), 500))[1] for by in range(5)]
        for model in ("net", "conv")
    }
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    for _model, _accuracies in _drops.items():
        _axes.plot(_accuracies, "o-", label=f"{_model}: {100 * _accuracies[pixels_moved.value]:.1f} %")
    _axes.axvline(pixels_moved.value, color="0.8")
    _axes.set(xlabel="pixels moved", ylabel="accuracy", ylim=(0, 1))
    _axes.legend()
    _axes
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## One cycle

    All of these trained with the rate going up and down once: low while the weights are still random, high to
    cross the country, low to settle. It is the schedule of `underhood train`, and of the book's last model.

    ## Exercises

    **1.** A convolution with 16 windows of 5 × 5 over one channel, without bias: how many numbers? And a matrix
    from 28 × 28 pixels to as many outputs as that convolution has at stride 2 (16 × 14 × 14)? Put in both.
    """)
    return


@app.cell
def _():
    both = ...
    return (both,)


@app.cell(hide_code=True)
def _(both):
    check_1 = exercise(
        both, lambda answer: tuple(answer) == (400, 784 * 16 * 14 * 14), "16 · 5 · 5; and inputs times outputs."
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** A model has 960 of 1,000 right, another 968. By their 95 % intervals (`wilson_interval(right, all)`),
    do they overlap? `True` or `False`.
    """)
    return


@app.cell
def _():
    overlap = ...
    return (overlap,)


@app.cell(hide_code=True)
def _(overlap):
    check_2 = exercise(
        overlap, lambda answer: answer is True, "Compare the upper end of the first with the lower end of the second."
    )
    check_2
    return


if __name__ == "__main__":
    app.run()
