import marimo

app = marimo.App(width="medium", app_title="1 · Pixels", layout_file="layouts/01_pixels.slides.json")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch
    from PIL import Image

    from underhood.display.notebook import show_images, show_pixels
    from underhood.lessons import exercise, figure, load, table, write_files


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 1 · Pixels

    This course builds a program that learns to read handwritten digits, from the first number to the last, and
    hides nothing on the way. It starts with the smallest possible question: what does a computer have when it
    "has an image"?

    **After this lesson** you can open an image file and turn it into a table of numbers, say what each number
    means, cut a part out of it, and find your way around a folder of labelled images. **It takes about half an
    hour.** You need school mathematics and a little Python: lists, functions, a `for` loop.

    **How a lesson works.** It is a notebook: text, and between the text small pieces of Python, called cells,
    with their results. You may change any cell; run it with Ctrl + Enter, and every cell that depends on it runs
    again. Where there is a slider, move it. This is your own copy, so nothing can be broken: the course's front
    page puts a lesson back as it was. At the end there are exercises with hints, and each shows a solution if you
    ask for it.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The data

    We need handwritten digits, many of them, and for each the answer: which digit is it? The best-known collection
    is **MNIST**. In the 1990s Yann LeCun and his colleagues put it together from forms that the American National
    Institute of Standards and Technology had collected, filled in by census clerks and by high-school students, and
    with it they trained one of the first neural networks that read handwriting well enough for a bank to use.
    It holds 70,000 digits. For most of the course two kinds are enough, 3s and 7s, because a question with two
    answers shows every idea that a question with ten does.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist-3v7")
    mo.md(which)
    return (dataset,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    `load` belongs to the course, like the other functions whose names come from `underhood`; a line such as
    `from underhood.lessons import load`, at the top of the notebook, is what makes a function from elsewhere known
    here. It gives us a *data set* with two parts, `dataset.train` and `dataset.valid`, and each part has `pixels`,
    `labels` and the names of the `classes`. We look at all of them soon. (`underhood` is the program that this course
    takes apart: `underhood train` trains networks on folders of images. Names that begin with `_` are notes of one
    cell, which the others do not see.)

    To begin where everybody begins, with files on a disk, the next cell writes a few of these digits into a folder.
    Let us see what is in there. (`sorted` puts the names in order; `glob` finds everything that fits a pattern.)
    """)
    return


@app.cell
def _(dataset):
    path = write_files(dataset)
    for _folder in sorted(path.glob("*/*")):
        print(_folder.relative_to(path), len(list(_folder.iterdir())), "files")
    return (path,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Four folders, and their names say all there is to know about the images inside. This layout is so common that
    almost every tool can read it, `underhood train` included.

    - The inner name is the **label**: the right answer for each image in that folder. Nobody has to write a
      list of answers; to label an image is to put it into a folder. (Other books say *target*, *class* or *ground
      truth*.)
    - The outer name says what the image is *for*. Images in `train` are the **training set**: a program may learn
      from them. Images in `valid` are the **validation set**: they are kept apart, and are only used to find out
      how well the program does on images that it has never seen. Lesson 3 shows why that matters so much.
    """)
    return


@app.cell
def _(path):
    threes = sorted((path / "train" / "3").iterdir())
    [file.name for file in threes]
    return (threes,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## From a file to numbers

    The Python library that opens image files is called **PIL** (or Pillow, the name of its present version). It
    knows PNG, JPEG and dozens of other formats, so that we never have to.
    """)
    return


@app.cell
def _(threes):
    image = Image.open(threes[1])
    print(image.format, image.size, image.mode)
    return (image,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    A PNG file of so many columns and so many rows; mode `L` means that it is grey (from *luminance*), one
    number for each point. To see those numbers we ask NumPy, the library for tables of numbers in Python, to make an
    **array** of the image: a table in which every entry has the same type. Here are six rows and six columns near
    its upper left corner:
    """)
    return


@app.cell
def _(image):
    array = np.array(image)  # [rows, columns]
    height, width = array.shape
    top, left = height // 7, width // 7
    corner = array[top : top + 6, left : left + 6]
    print(repr(corner))
    return array, corner, height, left, top, width


@app.cell(hide_code=True)
def _():
    mo.md("""
    Each entry is a **pixel** (short for *picture element*): one point of the image. `dtype=uint8` is the type
    of the entries, an *unsigned integer of 8 bits*: a whole number that cannot be negative, and, since 8 bits
    have 2⁸ = 256 states, lies between 0 and 255.

    **What does the number mean? The amount of ink.** 0 is bare paper, 255 is as much ink as possible, and the numbers
    between are greys, where the edge of a stroke covers only a part of the pixel. We keep this meaning through the
    whole course, and draw ink dark on light paper, as on a real sheet. (Image viewers show
    the opposite, white strokes on black, because to them 0 is no *light*. They are the same numbers either way; a
    number has no colour until somebody decides how to draw it.)

    The same table again, this time as a **tensor** of PyTorch, the Python library in which most of today's neural
    networks are written. Tensors are what this course is made of. For now, a
    tensor is an array that can do two more things: it can work on a graphics card, and it can find out how
    a result would change if its numbers did. Lesson 5 is about the second.
    """)
    return


@app.cell
def _(array, left, top):
    tensor = torch.tensor(array)  # [rows, columns]
    tensor[top : top + 6, left : left + 6]
    return (tensor,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The numbers did not change; only the thing that holds them did. Do you see the stroke coming in from the right,
    faint at its edge (29, 48), dark inside (253)? Your eye has to work for it. It becomes easy when every number is
    drawn on a shade of its own. Here is the whole image; every number that is in the file is on your screen, and
    nothing else is in the file. **The 3 is not in the file. It is in your eye.** Everything that follows is about
    how a program could come to see it, too.
    """)
    return


@app.cell(hide_code=True)
def _(dataset):
    number = mo.ui.slider(
        0, min(200, int((dataset.train.labels == 0).sum()) - 1), value=1, label="which 3", show_value=True
    )
    number
    return (number,)


@app.cell(hide_code=True)
def _(dataset, number):
    _all = dataset.train.pixels[dataset.train.labels == 0][:, 0]
    figure(
        show_pixels(_all[number.value]),
        f"The pixels of a handwritten 3 as a table of numbers from 0 to 255. The large ones form the strokes of the 3: "
        f"{int((_all[number.value] > 0).sum())} of {_all[number.value].size} are above 0.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Taking a part

    You have already met the notation that takes a part out of an array or a tensor: `[rows, columns]`. Each of the
    two may be

    - a single number, counted from 0: `tensor[9]` is the tenth row,
    - a **slice** `start:end`, where the end itself is left out: `4:10` is 4, 5, 6, 7, 8, 9, six of them,
    - `:` alone, which is all of them: `tensor[:, 9]` is the tenth column.

    Rows count from the top and columns from the left, as in reading. (In a graph at school the second number grows
    upwards, and the one for left and right comes first. Here both are the other way round, and to forget it is a
    mistake that everybody makes once.) If we leave the same number of rows and columns out on all four sides, what is
    left is the middle of the image, a *centre crop*. (`side.value`, in the cell below, is where the slider stands. When
    you move it, every cell that uses it runs again.)
    """)
    return


@app.cell(hide_code=True)
def _(height):
    side = mo.ui.slider(2, height, value=height // 2, step=2, label="pixels on each side", show_value=True)
    side
    return (side,)


@app.cell
def _(height, side, tensor, width):
    first_row, first_column = (height - side.value) // 2, (width - side.value) // 2
    centre = tensor[first_row : first_row + side.value, first_column : first_column + side.value]
    print(centre.shape)
    return (centre,)


@app.cell(hide_code=True)
def _(centre, tensor):
    figure(
        show_images([tensor, centre], ["the image", "its centre"], columns=2, cmap="Greys", vmin=0, vmax=255),
        f"Left a handwritten 3, right its middle, {len(centre)} pixels wide and high.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Does a crop cost memory? One might think that the numbers are copied into a new, smaller table. They are not:
    a slice is a window onto the same numbers in the same place. The proof is to change one through the window and to
    look at the original. We do it on a small tensor, so that our 3 stays whole.
    """)
    return


@app.cell
def _():
    whole = torch.tensor([[1, 2, 3], [4, 5, 6]])
    window = whole[:, 1:]  # the last two columns
    window[0, 0] = 99
    shares_memory = whole[0, 1].item() == 99
    whole
    return (shares_memory,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The 2 has become 99 in `whole`, although we only wrote to `window`. That is fast, and now and then a nasty
    surprise. Where you want a copy of its own, ask for one: `whole[:, 1:].clone()`. (`.item()`, which you will see
    often, takes the number out of a tensor that holds exactly one.)

    ## Many images, and colour

    One image is a table, rows and columns. All images of the training set together are a stack of tables, and their
    numbers are still one block. (`torch.from_numpy` makes a tensor of a NumPy array without copying its numbers;
    `torch.tensor` copies them.) PyTorch prints how long the block is in each direction:
    """)
    return


@app.cell
def _(dataset):
    pixels = torch.from_numpy(dataset.train.pixels)  # [n, c, h, w]: images, channels, height, width
    pixels.shape
    return (pixels,)


@app.cell(hide_code=True)
def _(pixels):
    rank = pixels.ndim
    table(
        [
            {"": "images", "letter": "n", "length": f"{pixels.shape[0]:,}"},
            {"": "channels", "letter": "c", "length": pixels.shape[1]},
            {"": "rows, from the top", "letter": "h (height)", "length": pixels.shape[2]},
            {"": "columns, from the left", "letter": "w (width)", "length": pixels.shape[3]},
        ]
    )
    return (rank,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Why four lengths and not three? Because of colour. A colour image has three numbers for each point: how much red,
    how much green and how much blue light. So it is three tables, which are called **channels**. A grey image has one
    channel. To treat both alike, this course, like PyTorch, always gives the channels a place of their own, even if
    there is only one. You will see `[n, c, h, w]` in comments all over the code. It costs nothing, and it saves
    the most common error of all: a table that lies the wrong way round.

    Before we let a program learn anything, it is worth asking what a single number can tell. Add up all
    the ink of each image. Do 3s and 7s use equally much?
    """)
    return


@app.cell
def _(pixels):
    ink = pixels.float().sum((1, 2, 3)) / 255  # [n]: in whole pixels of full ink
    ink[:6]
    return (ink,)


@app.cell(hide_code=True)
def _(dataset, ink):
    _axes = plt.subplots(figsize=(6, 2.6))[1]
    _means = []
    for _label, _name in enumerate(dataset.classes):
        _mine = ink[torch.from_numpy(dataset.train.labels == _label)]
        _means.append(f"{_name}s {_mine.mean():.0f}")
        _axes.hist(_mine, 40, alpha=0.6, label=_name)
    _axes.set(xlabel="ink of an image, in pixels of full ink", ylabel="images")
    _axes.legend()
    figure(
        _axes,
        "Two histograms of the ink of an image, which overlap for the most part. On average, in pixels of full ink: "
        f"{', '.join(_means)}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    They do not: a 3 has more ink on average. So a program that knows nothing but this one number already guesses
    better than a coin. But the two hills overlap, and a thin 3 has less ink than a fat 7. Lesson 3 does much better
    by using all the pixels, and where they are. First, lesson 2 shows how to compute with all of them at once.

    **Stop and think** before you go on: how would *you* tell a 3 from a 7, if all you had were these tables of
    numbers? Write down two or three ideas. You will meet at least one of them again.

    ## Summary

    - An image is a table of pixels, and a pixel is a number: here the amount of ink, from 0 to 255.
    - A file becomes a PIL image (`Image.open`), then a NumPy array (`np.array`), then a tensor (`torch.tensor`).
    - `[rows, columns]` takes a part; a slice leaves its end out, and shares its numbers with the whole.
    - A stack of images is one block of numbers, `[n, c, h, w]`.
    - In a folder of labelled images, the inner folder's name is the label, and the outer one says whether the
      images are there to learn from (`train`) or to measure with (`valid`).

    **New words:** pixel, array, tensor, channel, slice, label, training set, validation set, MNIST.

    ## Exercises

    Put your answer in place of the `...` and run the cell.

    **1.** Take the last three rows and the first two columns of the tensor `square`.
    """)
    return


@app.cell
def _():
    square = torch.arange(1, 26).reshape(5, 5)  # the numbers 1 to 25 in five rows
    return (square,)


@app.cell
def _():
    part = ...  # a tensor [3, 2], taken from square
    return (part,)


@app.cell(hide_code=True)
def _(part, square):
    check_1 = exercise(
        "1.1",
        part,
        lambda answer: torch.equal(answer, square[2:, :2]),
        hints=(
            "Rows come first, then columns, with a comma between them: `square[rows, columns]`.",
            "The last three of five rows are those with the numbers 2, 3 and 4: the slice `2:5`, or just `2:`.",
            "`square[2:, ...]`, and in place of the dots the slice for the columns 0 and 1.",
        ),
        solution="part = square[2:, :2]  # or square[-3:, 0:2]",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("**2.** How many numbers does a computer keep for a hundred colour images, 64 pixels wide and 48 high?")
    return


@app.cell
def _():
    numbers = ...  # a whole number
    return (numbers,)


@app.cell(hide_code=True)
def _(numbers):
    check_2 = exercise(
        "1.2",
        numbers,
        lambda answer: answer == 921_600,
        hints=(
            "How many points has one image? And how many numbers has each point of a colour image?",
            "In the order of this course the block is `[100, 3, 48, 64]`.",
            "Multiply the four lengths.",
        ),
        solution="numbers = 100 * 3 * 48 * 64  # images · channels · rows · columns",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Image viewers show light where we show ink. Write a function that turns the one into the other: where there
    was 255 there should be 0, where there was 0 there should be 255, and the greys between accordingly. It should work
    for an image of any size.
    """)
    return


@app.cell
def _():
    def invert(image):  # [h, w] → [h, w]
        return ...

    return (invert,)


@app.cell(hide_code=True)
def _(invert):
    _image = torch.tensor([[0, 255, 29], [48, 166, 224]], dtype=torch.uint8)
    check_3 = exercise(
        "1.3",
        invert,
        lambda answer: torch.equal(answer, torch.tensor([[255, 0, 226], [207, 89, 31]], dtype=torch.uint8)),
        hints=(
            "What is 255 − 0? And 255 − 255?",
            "Arithmetic with a tensor is done for each of its numbers: `tensor + 1` adds 1 to all of them.",
            "Subtract the whole image from the number 255.",
        ),
        solution="""
        def invert(image):
            return 255 - image
        """,
        arguments=(_image,),
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Turn a stack of images upside down. (In NumPy a slice may run backwards, `[::-1]`; in PyTorch it may not,
    but tensors have a method `flip`, which takes the direction: 0 is the first of the block's lengths, 1 the second.)
    """)
    return


@app.cell
def _():
    def upside_down(images):  # [n, h, w] → [n, h, w]
        return ...

    return (upside_down,)


@app.cell(hide_code=True)
def _(upside_down):
    _stack = torch.arange(12).reshape(2, 3, 2)
    check_4 = exercise(
        "1.4",
        upside_down,
        lambda answer: torch.equal(answer, _stack[:, [2, 1, 0]]),
        hints=(
            "Upside down means: the last row becomes the first one. Columns and the order of the images stay.",
            "In `[n, h, w]` the images have number 0. Which number have the rows?",
            "`images.flip(...)` with the number of the rows.",
        ),
        solution="""
        def upside_down(images):
            return images.flip(1)
        """,
        arguments=(_stack,),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** Take a photograph of your own with `Image.open`, make an array of it, and print its shape.
    In which place are the channels? What does `Image.open(...).convert("L")` do to it? Find out, with `np.array` and
    one pixel, in which proportions it mixes red, green and blue, and think about why green counts the most.

    ## What you can read now

    [`torch.Tensor`](https://pytorch.org/docs/stable/tensors.html) in PyTorch's documentation: the first section and
    the table of data types. Not every line will mean something yet; `shape`, `dtype`, indexing and `item()` do.

    **Next:** [2 · Arrays and tensors](?file=02_tensors.py), where we compute with whole images in one line.
    """)
    return


if __name__ == "__main__":
    app.run()
