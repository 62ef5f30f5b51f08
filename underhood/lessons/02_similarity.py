import marimo

app = marimo.App(width="medium", app_title="2 · Pixel similarity")

with app.setup:
    import marimo as mo
    import torch

    from underhood import PixelSimilarity
    from underhood.display.notebook import show_images
    from underhood.lessons import exercise, load, table
    from underhood.scratch.sgd import is_3, mnist_distance


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 2 · Pixel similarity

    Before a machine learns, ask what a person would write down in five minutes. Here: average all 3s, average
    all 7s, and call a new picture by the name of the average that it is nearer to. This is the **baseline**.
    Whatever we train later has to beat it, or it is not worth its electricity.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist-3v7")
    mo.md(which)
    return (dataset,)


@app.cell
def _(dataset):
    def stack(images, label):
        """Pictures of one class as [n, h, w], 0 to 1."""
        return torch.from_numpy(images.pixels[images.labels == label][:, 0]).float() / 255

    threes, sevens = stack(dataset.train, 0), stack(dataset.train, 1)
    valid_3, valid_7 = stack(dataset.valid, 0), stack(dataset.valid, 1)
    table(
        [
            {"": name, "train": len(a), "valid": len(b)}
            for name, a, b in (("3s", threes, valid_3), ("7s", sevens, valid_7))
        ]
    )
    return sevens, threes, valid_3, valid_7


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Ideal digits

    The mean over axis 0, the pictures, leaves one picture. Move the slider: with a handful it is a ghost of
    those few; with thousands it is nobody's handwriting.
    """)
    return


@app.cell
def _(sevens, threes):
    _most = min(len(threes), len(sevens))
    used = mo.ui.slider(
        steps=[*(count for count in (1, 2, 5, 10, 30, 100, 1000) if count < _most), _most],
        value=_most,
        label="pictures averaged",
        show_value=True,
    )
    used
    return (used,)


@app.cell
def _(sevens, threes, used):
    some3, some7 = threes[: used.value].mean(0), sevens[: used.value].mean(0)
    show_images([some3, some7], ["ideal 3", "ideal 7"])
    return


@app.cell
def _(sevens, threes):
    mean3, mean7 = threes.mean(0), sevens.mean(0)
    return mean3, mean7


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## How far apart are two pictures?

    Subtract pixel by pixel; if we then took the mean, too dark here and too light there would cancel. So first
    make the differences positive, in one of two ways:

    - **L1**, the mean absolute difference: how far off a pixel is, on average.
    - **L2**, the root of the mean squared difference: squares make one large error cost more than many small
      ones.
    """)
    return


@app.cell
def _(mean3, mean7, threes):
    a_3 = threes[1]
    distances = {
        name: (
            (a_3 - ideal).abs().mean().item(),  # L1
            ((a_3 - ideal) ** 2).mean().sqrt().item(),  # L2
        )
        for name, ideal in (("from the ideal 3", mean3), ("from the ideal 7", mean7))
    }
    table([{"": name, "L1": f"{one:.4f}", "L2": f"{two:.4f}"} for name, (one, two) in distances.items()])
    return (distances,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    With MNIST these are the book's figures: 0.1114 and 0.2021 from the 3, 0.1586 and 0.3021 from the 7. By both
    ways of measuring this 3 is a 3.

    ## Broadcasting, shown by shapes

    A thousand pictures are not a thousand turns of a loop. `mnist_distance(a, b)` is one line, `(a -
    b).abs().mean((-1, -2))`, and it takes one picture or all of them, because of how tensors of different
    shapes meet:

    1. Write the shapes below one another, aligned to the right.
    2. A missing axis, or one of length 1, is stretched to the other's length, without being copied.
    3. Any other disagreement is an error.
    """)
    return


@app.cell
def _(mean3, valid_3):
    difference = valid_3 - mean3
    mo.md(
        f"""
    | | shape |
    | --- | --- |
    | `valid_3` | {list(valid_3.shape)} |
    | `mean3` | {list(mean3.shape)} |
    | `valid_3 - mean3` | {list(difference.shape)} |
    | `.abs().mean((-1, -2))` | {list(mnist_distance(valid_3, mean3).shape)} |
    """
    )
    return


@app.cell
def _(mean3, mean7, valid_3, valid_7):
    accuracy_3 = is_3(valid_3, mean3, mean7).float().mean().item()
    accuracy_7 = (1 - is_3(valid_7, mean3, mean7).float()).mean().item()
    baseline = (accuracy_3 + accuracy_7) / 2
    mo.md(f"3s right: **{accuracy_3:.4f}**, 7s right: **{accuracy_7:.4f}**, on average **{baseline:.4f}**.")
    return (baseline,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    On MNIST: 0.9168, 0.9854, 0.9511, as in the book, from pictures that took no part in the averages. That last
    point matters: a **metric** is for people, and people want to know how it will go with pictures that nobody
    has seen.

    ## Look at the mistakes

    A figure says how often; only pictures say why. These 3s are nearer to the ideal 7.
    """)
    return


@app.cell
def _(mean3, mean7, valid_3):
    _wrong = valid_3[~is_3(valid_3, mean3, mean7)][:6]
    show_images(list(_wrong), columns=6, side=1.3) if len(_wrong) else mo.md("There are none.")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## As software

    `PixelSimilarity` is the same for any number of classes, and it is the baseline that `underhood train`
    prints beside every model.
    """)
    return


@app.cell
def _(dataset):
    rows = []
    for _metric in ("l1", "l2"):
        _guesses = PixelSimilarity(_metric).fit(dataset.train).predict(dataset.valid.pixels)
        rows.append({"metric": _metric, "accuracy": round(float((_guesses == dataset.valid.labels).mean()), 4)})
    table(rows)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Exercises

    **1.** `a` has shape [5, 1, 4] and `b` has shape [3, 1]. What is the shape of `a + b`?
    """)
    return


@app.cell
def _():
    shape = ...  # a list or tuple
    return (shape,)


@app.cell(hide_code=True)
def _(shape):
    check_1 = exercise(shape, lambda answer: tuple(answer) == (5, 3, 4), "Align `5 1 4` and `3 1` to the right.")
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("**2.** L2 of any number of pictures from one ideal, in one line and without a loop.")
    return


@app.cell
def _():
    def l2(pictures, ideal):
        return ...  # [n, h, w] and [h, w] to [n]

    return (l2,)


@app.cell(hide_code=True)
def _(l2, mean7, valid_7):
    check_2 = exercise(
        l2,
        lambda answer: torch.allclose(answer, torch.stack([((one - mean7) ** 2).mean().sqrt() for one in valid_7])),
        "Square, mean over the last two axes, root: in this order.",
        (valid_7, mean7),
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** The ideal 3 darkened by half, `mean3 / 2`: is a typical 3 nearer to it by L1 than to `mean3` itself?
    Guess first, then measure with `threes`. Put in the fraction of the training 3s that are nearer to the dark
    one (within 0.01).
    """)
    return


@app.cell
def _():
    fraction = ...
    return (fraction,)


@app.cell(hide_code=True)
def _(fraction, mean3, threes):
    check_3 = exercise(
        fraction,
        lambda answer: (
            abs(answer - (mnist_distance(threes, mean3 / 2) < mnist_distance(threes, mean3)).float().mean().item())
            < 0.01
        ),
        "Two calls of `mnist_distance`, compared with `<`, and the mean of what that gives, as floats.",
    )
    check_3
    return


if __name__ == "__main__":
    app.run()
