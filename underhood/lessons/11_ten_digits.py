import marimo

app = marimo.App(width="medium", app_title="11 · All ten digits, and your own")

with app.setup:
    import io

    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch
    from PIL import Image, ImageDraw

    from underhood import Architecture, DataLoader, DataLoaders, Learner, build_model
    from underhood.analysis.inference import predict_proba
    from underhood.core.schedule import one_cycle
    from underhood.display.notebook import show_images
    from underhood.lessons import exercise, load
    from underhood.preparation import Preparation, prepare_image
    from underhood.preparation.digit import STEPS
    from underhood.preparation.files import BadImageError


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 11 · All ten digits, and your own pictures

    From two classes to ten is a small step for the code: ten scores in place of one, softmax in place of
    sigmoid, and cross-entropy for the loss. From MNIST's pictures to *yours* is a large one, and that
    is where many a demonstration fails.

    ## From 3 and 7 to ten

    Softmax makes the scores positive and lets them add up to 1. The largest wins more than its share. Move one
    score:
    """)
    return


@app.cell
def _():
    score = mo.ui.slider(-3.0, 6.0, value=2.0, step=0.5, label="score of the 3", show_value=True)
    score
    return (score,)


@app.cell
def _(score):
    _scores = torch.tensor([0.5, -1.0, 1.0, score.value, -2.0, 1.5, 0.0, -0.5, 1.0, 0.5])
    _axes = plt.subplots(figsize=(6, 2.4))[1]
    _axes.bar(range(10), _scores.softmax(dim=0).tolist())
    _axes.set(
        xticks=range(10),
        ylim=(0, 1),
        ylabel="probability",
        title=f"loss if it is a 3: {-_scores.log_softmax(dim=0)[3]:.2f}",
    )
    _axes
    return


@app.cell
def _():
    dataset, which = load("mnist")
    mo.md(which)
    return (dataset,)


@app.cell
def _(dataset):
    def trained(epochs=3, lr=0.01, most=6000):
        rows = np.random.default_rng(0).permutation(len(dataset.train))[:most]
        train = dataset.train.take(rows)
        _, channels, height, width = train.pixels.shape
        torch.manual_seed(0)
        mean, std = train.pixel_statistics()
        network = build_model(Architecture("conv", channels, height, width, 10), mean.tolist(), std.tolist())
        learn = Learner(DataLoaders(DataLoader(train, 64, shuffle=True), DataLoader(dataset.valid, 512)), network)
        return learn, list(learn.epochs(epochs, lr, one_cycle))

    learn, epochs = trained()
    accuracy = epochs[-1].metrics["accuracy"]
    mo.md(f"""
    A small convolutional network, three epochs of {learn.dls.train.count:,} pictures: **{100 * accuracy:.2f}
    %** right of {learn.dls.valid.count:,}.
    """)
    return accuracy, learn


@app.cell
def _(dataset, learn):
    _predicted = predict_proba(learn.model, dataset.valid.pixels).argmax(dim=1).numpy()
    _wrong = np.flatnonzero(_predicted != dataset.valid.labels)[:8]
    show_images(
        [dataset.valid.pixels[i] for i in _wrong],
        [f"{dataset.valid.labels[i]} taken for {_predicted[i]}" for i in _wrong],
        columns=8,
        side=1.15,
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## A 7 from your desk

    MNIST's makers scanned black ink on white forms, turned it into light on black, scaled it to 20 of 28
    pixels, and moved its centre of mass into the middle. A model of such pictures knows nothing of thin pens,
    large paper, or a digit in the corner. Here is one, drawn by the computer as a person might: turn it, move
    it, change the pen. Then switch steps of the preparation off and see what the model gets.
    """)
    return


@app.cell
def _():
    turn = mo.ui.slider(-45, 45, value=10, label="turned by (degrees)", show_value=True)
    place = mo.ui.slider(-80, 80, value=50, label="moved by (pixels)", show_value=True)
    pen = mo.ui.slider(3, 30, value=8, label="pen (pixels)", show_value=True)
    steps = mo.ui.multiselect(options=list(STEPS), value=list(STEPS), label="steps of the preparation")
    mo.vstack([mo.hstack([turn, place, pen], justify="start"), steps])
    return pen, place, steps, turn


@app.cell
def _(pen, place, turn):
    def seven(turn, place, pen):
        """A 7 on white paper, 280 × 280."""
        sheet = Image.new("L", (280, 280), "white")
        points = [(110, 90), (170, 90), (155, 125), (140, 155), (133, 190)]
        draw = ImageDraw.Draw(sheet)
        draw.line(points, fill="black", width=pen, joint="curve")
        return sheet.rotate(-turn, fillcolor="white", translate=(place, place // 2))

    drawing = seven(turn.value, place.value, pen.value)
    return drawing, seven


@app.cell
def _(dataset, drawing, learn, steps):
    preparation = Preparation(*dataset.valid.pixels.shape[1:], "digit")

    def judge(image, steps=STEPS):
        """The prepared pixels [c, h, w] of a picture, and the probability of each digit [10]."""
        pixels = prepare_image(image, preparation, steps)
        return pixels, predict_proba(learn.model, pixels[None])[0]

    def shown(image, steps=STEPS):
        pixels, probabilities = judge(image, steps)
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 2.6), width_ratios=(1, 1, 1.8))
        for ax, picture, title in ((left, image, "drawn"), (middle, pixels[0], "what the model sees")):
            ax.imshow(picture, cmap="gray")
            ax.set_axis_off()
            ax.set_title(title)
        right.bar(range(10), probabilities.tolist())
        right.set(xticks=range(10), ylim=(0, 1), title=f"{probabilities.argmax()}, {100 * probabilities.max():.0f} %")
        return figure

    shown(drawing, steps.value)
    return judge, shown


@app.cell
def _(judge, seven):
    _positions = [(turn, place, pen) for turn in (-10, 0, 15) for place in (-70, 0, 70) for pen in (4, 10)]
    _drawn = [seven(*position) for position in _positions]
    prepared, bare = (
        sum(int(judge(image, some)[1].argmax()) == 7 for image in _drawn) for some in (STEPS, ("polarity",))
    )
    mo.md(f"""
    Of {len(_drawn)} such 7s the model reads **{prepared}** with the preparation, and **{bare}** if only the
    colours are turned round.
    """)
    return bare, prepared


@app.cell(hide_code=True)
def _():
    mo.md("""
    Nothing about the model changed. What is done to a picture *before* the model decides as much as the model,
    and it has to be the same in training and ever after: in this package it is one function,
    `prepare_image`, and what it has to do is stored with the weights.

    ## Your own

    Write a digit on paper and photograph it. (`underhood serve` has a page to draw on.)
    """)
    return


@app.cell
def _():
    upload = mo.ui.file(filetypes=[".png", ".jpg", ".jpeg", ".webp"], kind="area", label="A picture of one digit")
    upload
    return (upload,)


@app.cell
def _(shown, upload):
    def _look():
        if not upload.value:
            return mo.md("Nothing chosen yet.")
        try:
            return mo.as_html(shown(Image.open(io.BytesIO(upload.contents()))))
        except (BadImageError, OSError) as error:
            return mo.md(f"This picture {error}.")

    _look()
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Exercises

    **1.** A model gives every digit the same score. What is its cross-entropy?
    """)
    return


@app.cell
def _():
    even = ...
    return (even,)


@app.cell(hide_code=True)
def _(even):
    check_1 = exercise(even, lambda answer: abs(float(answer) - np.log(10)) < 0.01, "−log of a tenth.")
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("**2.** Softmax of scores, rows of [n, classes], in one line of torch without `softmax`.")
    return


@app.cell
def _():
    def my_softmax(scores):
        return ...

    return (my_softmax,)


@app.cell(hide_code=True)
def _(my_softmax):
    _scores = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]])
    check_2 = exercise(
        my_softmax,
        lambda answer: torch.allclose(answer, _scores.softmax(dim=1), atol=1e-6),
        "`exp`, divided by its sum over axis 1 (with `keepdim=True`).",
        (_scores,),
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Which step of the preparation makes white ink on a blackboard and black ink on paper the same? Its
    name.
    """)
    return


@app.cell
def _():
    step = ...
    return (step,)


@app.cell(hide_code=True)
def _(step):
    check_3 = exercise(step, lambda answer: answer == "polarity", f"One of {', '.join(STEPS)}.")
    check_3
    return


if __name__ == "__main__":
    app.run()
