import marimo

app = marimo.App(width="medium", app_title="1 · Pixels")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import torch

    from underhood.display.notebook import show_image, show_images, show_pixels
    from underhood.lessons import exercise, load, table


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 1 · Pixels

    A computer has no pictures. It has numbers in rows and columns, and a screen that makes them light up.
    Before anything can be learned from pictures, we look at the numbers until we believe that.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist-3v7")
    mo.md(which)
    return (dataset,)


@app.cell
def _(dataset):
    train = dataset.train
    threes = torch.from_numpy(train.pixels[train.labels == 0][:, 0])  # the first class is the 3
    mo.md(f"{list(threes.shape)}, {threes.dtype}")
    return (threes,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    All the 3s are one block of numbers: so many pictures, so many rows, so many columns. `uint8` says that each
    number is whole and lies between 0 (no ink) and 255 (full ink). Choose one.
    """)
    return


@app.cell
def _(threes):
    number = mo.ui.slider(0, min(200, len(threes) - 1), value=1, label="picture", show_value=True)
    number
    return (number,)


@app.cell
def _(number, threes):
    three = threes[number.value]  # [h, w]
    show_pixels(three)
    return (three,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Nothing else is in the file: the 3 is in your eye. Indexing takes parts, `[rows, columns]`, the end not
    included. The ink of this corner begins faintly and grows: the scans were made smaller, and where ink covers a
    part of a pixel, that became a grey.
    """)
    return


@app.cell
def _(three):
    height, width = three.shape
    corner = three[height // 7 : height // 7 + 6, width // 7 : width // 7 + 6]
    corner
    return corner, height, width


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The crop of the centre

    To keep the middle is to leave rows and columns out on every side. Nothing is computed, nothing is copied:
    the crop is a window onto the same numbers.
    """)
    return


@app.cell
def _(height):
    side = mo.ui.slider(2, height, value=height // 2, step=2, label="pixels a side", show_value=True)
    side
    return (side,)


@app.cell
def _(height, side, three, width):
    top, left = (height - side.value) // 2, (width - side.value) // 2
    centre = three[top : top + side.value, left : left + side.value]
    show_images([three, centre], [f"{tuple(three.shape)}", f"{tuple(centre.shape)}"])
    return (centre,)


@app.cell
def _(centre, three):
    shares_memory = centre.untyped_storage().data_ptr() == three.untyped_storage().data_ptr()
    mo.md(f"`{shares_memory}`")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Shape, rank and axis

    - The **shape** is how long each axis is.
    - The **rank** is how many axes there are: the length of the shape. (Mathematicians mean something else by
      that word.)
    - An **axis** is a direction in the block. To take the mean *over* an axis is to make that axis disappear.

    A grey picture has rank 2. A stack of them has rank 3. With colour comes one more axis: each point has three
    numbers, for red, green and blue. In this package every stack has four, whether grey or in colour, and a
    comment names them: `[n, c, h, w]`, pictures, channels, height, width.
    """)
    return


@app.cell
def _(dataset):
    pixels = torch.from_numpy(dataset.train.pixels).float() / 255  # [n, c, h, w], now 0 to 1
    rank = len(pixels.shape)
    mo.md(f"shape {list(pixels.shape)}, rank {rank}")
    return (pixels,)


@app.cell
def _(pixels):
    table(
        [
            {"mean": "over the pictures", "shape": list(pixels.mean(0).shape)},
            {"mean": "over rows and columns", "shape": list(pixels.mean((-1, -2)).shape)},
            {"mean": "over everything", "shape": list(pixels.mean().shape)},
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Axes with names

    To count axes is to make mistakes. Where names help, `einsum` takes a letter for each: those left of the
    arrow are there, those to its right stay, and over the others it sums. Which line is the ideal picture, and
    which one says how much ink each picture has?
    """)
    return


@app.cell
def _(pixels):
    ideal = torch.einsum("nchw->hw", pixels) / len(pixels)
    ink = torch.einsum("nchw->n", pixels)
    show_image(ideal, figsize=(2.4, 2.4), title=f"{tuple(ideal.shape)}")
    return (ink,)


@app.cell
def _(dataset, ink):
    _figure, _axes = plt.subplots(figsize=(6, 2.6))
    for _label, _name in enumerate(dataset.classes):
        _axes.hist(ink[torch.from_numpy(dataset.train.labels == _label)], 40, alpha=0.6, label=_name)
    _axes.set(xlabel="ink of a picture, in white pixels", ylabel="pictures")
    _axes.legend()
    _figure
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Where the two hills lie apart, one number, the ink, already tells 3s from 7s better than chance. The next
    lesson does better with all of the pixels.

    ## Exercises

    **1.** The numbers 1 to 9 in a 3 × 3 tensor, doubled: of that, the bottom right four.
    """)
    return


@app.cell
def _():
    bottom_right = ...  # a tensor [2, 2]
    return (bottom_right,)


@app.cell(hide_code=True)
def _(bottom_right):
    check_1 = exercise(
        bottom_right,
        lambda answer: torch.equal(answer, torch.tensor([[10, 12], [16, 18]])),
        "`torch.arange(1, 10).reshape(3, 3)` makes the square; `[1:, 1:]` drops a row and a column.",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("**2.** How many numbers hold a hundred colour photographs, 64 pixels wide and 48 high?")
    return


@app.cell
def _():
    numbers = ...  # an int
    return (numbers,)


@app.cell(hide_code=True)
def _(numbers):
    check_2 = exercise(numbers, lambda answer: answer == 921600, "Their shape is `[100, 3, 48, 64]`.")
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** A function that turns a stack of pictures `[n, h, w]` upside down. (A slice may go backwards in
    NumPy, not in torch, but torch has `flip`.)
    """)
    return


@app.cell
def _():
    def upside_down(pictures):
        return ...

    return (upside_down,)


@app.cell(hide_code=True)
def _(upside_down):
    _stack = torch.arange(12).reshape(2, 3, 2)
    check_3 = exercise(
        upside_down,
        lambda answer: torch.equal(answer, _stack[:, [2, 1, 0]]),
        "Rows are axis 1 of `[n, h, w]`.",
        (_stack,),
    )
    check_3
    return


if __name__ == "__main__":
    app.run()
