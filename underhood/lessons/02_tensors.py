import marimo

app = marimo.App(width="medium", app_title="2 · Arrays and tensors", layout_file="layouts/02_tensors.slides.json")

with app.setup:
    from time import perf_counter

    import marimo as mo
    import numpy as np
    import torch

    from underhood.display.notebook import show_image
    from underhood.lessons import exercise, figure, load, table


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 2 · Arrays and tensors

    One digit of MNIST is 784 numbers, and the 3s and 7s of its training set are almost ten million. To do anything
    with them one by one, in a Python loop, is tedious to write and slow to run. The way out is to compute with
    whole tables at once: one line for all images, and the computer finds its own way through the numbers. That is
    the way in which all code for machine learning is written, and once you can read it, most of PyTorch is open to
    you.

    **After this lesson** you can make tensors and compute with them, say from its shape what a tensor holds,
    predict the shape of a result before you see it, and explain how tensors of different shapes work together
    without a single number being copied. **It takes about 45 minutes.** There are many small steps in it, and no
    hard one. Try things out as you go: change a cell and run it again.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Making tensors

    The simplest way is from a list. A list of numbers becomes a row, and a list of lists becomes a table. NumPy's
    array and PyTorch's tensor look almost the same:
    """)
    return


@app.cell
def _():
    data = [[1, 2, 3], [4, 5, 6]]  # two rows of three
    tns = torch.tensor(data)  # [2, 3]
    print(repr(np.array(data)))
    print(tns)
    return (tns,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    What is gained? Into a Python list goes anything: numbers, words, further lists of any length. That freedom
    costs time, because Python has to look at each entry anew to find out what it is. A tensor gives it up and makes
    two promises. All its entries are **numbers of one type**, and they form a **complete rectangle**: every row is
    as long as every other. Break the second promise, and PyTorch refuses:
    """)
    return


@app.cell
def _():
    try:
        torch.tensor([[1, 2, 3], [4, 5]])
    except ValueError as _error:
        print("ValueError:", _error)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    (`try` runs the lines below it, and if they fail, the lines below `except` run instead of stopping the notebook.)
    Error messages about tensors are worth reading slowly. This one says that PyTorch expected three numbers and got
    two. (What `dim 1` is, you will know in a few minutes.)

    Often there is no list to begin with. These make a tensor from nothing; the numbers in brackets say how many
    rows and columns it should have:
    """)
    return


@app.cell
def _():
    print(torch.zeros(2, 3))  # also: ones
    print(torch.rand(2, 3))  # random numbers between 0 and 1, new ones each time
    print(torch.arange(6))  # whole numbers, the end left out, as in a slice
    print(torch.arange(6).reshape(2, 3))  # the same six, row after row
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Taking parts

    You know `[rows, columns]` and slices from lesson 1. Here they are again on our small `tns`, with two more
    tricks.
    """)
    return


@app.cell
def _(tns):
    print(tns[1])  # the second row
    print(tns[:, 1])  # the second column
    print(tns[1, 1:3])  # of the second row, the last two
    print(tns[-1, -1])  # negative numbers count from the end
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Two things may surprise you. The column is printed lying down: once it has been taken out it is just a list of
    two numbers, and no longer knows that it used to stand upright. And the last line gives a tensor too, one
    without any brackets inside; `.item()` would make it an ordinary Python number.

    The second trick is to ask a question. A comparison asks it of every number, and gives `True` or `False` for
    each. Put between the square brackets, such a tensor keeps the numbers at which it says `True`. It is then
    called a **mask**.
    """)
    return


@app.cell
def _(tns):
    large = tns > 2
    print(large)
    print(tns[large])  # in one row: what is left is no rectangle any more
    return (large,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Arithmetic

    The signs `+ - * /` and almost all functions work **elementwise**: what is done is done to each number by
    itself, or, between two tensors of one shape, to each number and the one in the same place of the other. The
    last line shows what a Python list does in its place.
    """)
    return


@app.cell
def _(tns):
    print(tns + 1)
    print(tns * tns)  # each number by itself
    print([1, 2, 3] * 2)  # a list: repeated, not doubled
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Other functions make one number out of many: `sum`, `mean`, `max`, `min`. They are methods of the tensor, so
    they stand behind a dot, and can be chained. Read the last line from left to right: of the mask, made into
    numbers (`True` counts as 1, `False` as 0), the mean. It is the fraction of the numbers that are larger than
    two. The same line will tell us how often a program is right.
    """)
    return


@app.cell
def _(large, tns):
    print(tns.sum(), tns.max())
    print(large.float().mean())  # 4 of 6
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Types

    A tensor's numbers are all of one type, which is called its `dtype`. Four of them are enough:

    | `dtype` | what it holds | where you meet it |
    | --- | --- | --- |
    | `uint8` | whole numbers, 0 to 255 | pixels from a file |
    | `int64` (also: long) | whole numbers | labels, counts |
    | `float32` (also: float) | numbers with a point, about seven digits | everything that is computed |
    | `bool` | `True` and `False` | masks |

    PyTorch chooses by itself, and changes the type where a result needs it:
    """)
    return


@app.cell
def _(large, tns):
    print(tns.dtype, large.dtype)
    print(tns * 1.5)  # float32 now: the points show it
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    But it does not do so always, and with pixels you had better know. A `uint8` has 256 states and no more. What is
    250 + 10?
    """)
    return


@app.cell
def _():
    some_ink = torch.tensor([100, 200, 250], dtype=torch.uint8)
    wrapped = some_ink + 10
    print(wrapped)
    print(some_ink.float() + 10)
    return (wrapped,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Like the mileage counter of a car, it begins again at 0 after the highest number: 260 − 256 = 4. Nothing warns
    you. Almost full ink has become almost none. Therefore the first thing that we do with the pixels of a file is
    always `.float() / 255`: numbers with a point, from 0 for no ink to 1 for full ink.

    And one thing PyTorch refuses to do with whole numbers: since their mean is seldom whole, it wants you to say
    which type you want it in. The remedy is `.float()` again.
    """)
    return


@app.cell
def _(tns):
    try:
        tns.mean()
    except RuntimeError as _error:
        print("RuntimeError:", _error)
    print(tns.float().mean())
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## From many images to one tensor

    Now to real data. In lesson 1 each image was a tensor of its own. Here we take the 3s of the training set out
    with a mask, and collect their tensors in a list. (The square brackets with a `for` inside are a *list
    comprehension*: Python's short form of a loop that fills a list. The data set numbers its classes, and 0 is the
    first of the two, the 3.) Then `torch.stack` puts them on top of each other, like sheets of paper.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist-3v7")
    mo.md(which)
    return (dataset,)


@app.cell
def _(dataset):
    is_three = dataset.train.labels == 0  # [n], a mask
    pixels = dataset.train.pixels[is_three][:, 0]  # [n, h, w]: of the channels the only one
    sheets = [torch.tensor(image) for image in pixels]  # a list
    threes = torch.stack(sheets).float() / 255  # [n, h, w], from 0 to 1
    print(len(sheets), "tensors, the first", list(sheets[0].shape))
    print("one tensor", list(threes.shape))
    return (threes,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    What used to be a list is now the first number in the square brackets. It is time to give these brackets their
    names.

    ## Shape, rank and axis

    - An **axis** is one of the directions of a tensor. Our stack has three: from image to image, from row to row,
      and from column to column. Axes are numbered from 0, in the order in which you index them.
    - The **shape** says how long each axis is.
    - The **rank** is how many axes there are, so it is the length of the shape. PyTorch calls it `ndim`. (In
      mathematics *the rank of a matrix* is something else. Here it never means that.)
    """)
    return


@app.cell
def _(threes):
    rank = threes.ndim
    print(threes.shape)
    print(rank, len(threes.shape))
    print(threes[0].ndim, threes[0, 3].ndim, threes[0, 3, 4].ndim)
    return (rank,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Each index that you give takes an axis away. From the stack one image, from the image one row, from the row one
    number: rank 3, 2, 1, 0. The small ranks have names that are older than computers:

    | rank | name | shape, for instance | what it may be |
    | --- | --- | --- | --- |
    | 0 | **scalar** | `[]` | one number, such as an accuracy |
    | 1 | **vector** | `[10]` | a list: one number per class |
    | 2 | **matrix** | `[28, 28]` | a table: a grey image |
    | 3 | – | `[100, 28, 28]` | a stack of grey images |
    | 4 | – | `[100, 3, 28, 28]` | a stack of colour images |

    Nothing in a tensor says that its first axis counts images, or that the last one runs to the right. For PyTorch
    they are just lengths. The meaning is in our heads, and so we write it down: the comments `[n, h, w]` in this
    course are there for that. When code with tensors fails, print the shapes first.

    **Beware of the word *dimension*.** It is used in two ways. We say that space has three dimensions, and give a
    place in it by a vector of three numbers. Yet the `ndim` of this vector is 1, because it has one axis, whose
    length is three. So in one use a dimension is *how long an axis is* and in the other *how many axes there are*.
    When a sentence confuses you, say it again with rank, axis and length. In PyTorch's documentation and in its
    error messages, `dim` is the number of an axis (NumPy writes `axis`). Look at the first error of this lesson
    again: the number was missing along axis 1.

    ## A mean makes an axis disappear

    `sum`, `mean` and `max` can work along one axis only. You name the axis, and its numbers become one. Do it by
    hand once, with `tns`, which has two rows, 1 2 3 and 4 5 6:
    """)
    return


@app.cell
def _(tns):
    print(tns.float().mean(0))  # over the rows: of 1 and 4, of 2 and 5, of 3 and 6
    print(tns.float().mean(1))  # over the columns: of 1, 2, 3, and of 4, 5, 6
    print(tns.float().mean(1, keepdim=True))  # the axis stays, with length 1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The first result has three numbers: axis 0, of length 2, is gone, and the shape `[2, 3]` has become `[3]`. The
    second has two: axis 1 is gone. **The axis that you name is the axis that you lose.** With this sentence you can
    say the shape of every such result in advance. Try it on the 3s: say the shape first, then choose.
    """)
    return


@app.cell(hide_code=True)
def _():
    over = mo.ui.radio(
        {
            "0: the images": 0,
            "1: the rows": 1,
            "2: the columns": 2,
            "(1, 2): rows and columns": (1, 2),
            "(0, 1, 2): all": (0, 1, 2),
        },
        value="0: the images",
        label="mean over axis",
    )
    over
    return (over,)


@app.cell
def _(over, threes):
    averaged = threes.mean(over.value)
    print(list(threes.shape), "becomes", list(averaged.shape))
    return (averaged,)


@app.cell(hide_code=True)
def _(averaged, over, threes):
    _all = threes.mean().item()
    _first = averaged[:28] if averaged.ndim == 2 else averaged.reshape(1, -1)[:, :28]
    _meaning = {
        0: "one image: for each place, the mean ink of all 3s there. It is a blurred 3.",
        1: "for each image, each column's mean ink. Every line of the figure is one image; the first 28 are drawn.",
        2: "for each image, each row's mean ink. Every line of the figure is one image; the first 28 are drawn.",
        (1, 2): "for each image, its mean ink, one number. The first 28 are drawn, the more ink the darker.",
        (0, 1, 2): f"one number, {_all:.4f}: on average, so much of a pixel is covered with ink.",
    }[over.value]
    _size, _most = (3.4, 3.4 * max(0.15, len(_first) / _first.shape[1])), None if averaged.ndim else 1
    mo.vstack(
        [
            figure(
                show_image(_first, figsize=_size, cmap="Greys", vmin=0, vmax=_most),
                f"The mean of the 3s over axis {over.value}, drawn as an image: {_meaning}",
            ),
            mo.md(f"What is left: {_meaning}"),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The first choice, the mean over all images, will be the heart of lesson 3. The fourth, over rows and columns, is
    often written `mean((-1, -2))`: as with indices, −1 is the last axis and −2 the one before it. Written so, the
    same line works for one image `[h, w]` and for a stack `[n, h, w]`, because rows and columns are the last two
    axes of both.

    ## Why not a loop?

    Let us add up all the ink of some images, twice. First in plain Python, with a loop for each axis:
    """)
    return


@app.cell
def _():
    def sum_by_loop(stack):  # images, each a list of rows, each a list of numbers
        total = 0.0
        for image in stack:
            for row in image:
                for pixel in row:
                    total += pixel
        return total

    sum_by_loop([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    return (sum_by_loop,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Then with the tensor's own `sum`. The clock runs seven times and we keep the shortest time, since other programs
    on this computer can only make it longer. (`lambda:` makes a function of the expression behind it, so that
    `seconds` can call it.)
    """)
    return


@app.cell
def _(sum_by_loop, threes):
    def seconds(compute):
        times = []
        for _ in range(7):
            start = perf_counter()
            compute()
            times.append(perf_counter() - start)
        return min(times)

    some = threes[:300]  # [n, h, w]
    as_lists = some.tolist()
    print(sum_by_loop(as_lists), some.sum())
    loop_seconds = seconds(lambda: sum_by_loop(as_lists))
    tensor_seconds = seconds(lambda: some.sum())
    ratio = loop_seconds / tensor_seconds
    return loop_seconds, ratio, some, tensor_seconds


@app.cell(hide_code=True)
def _(loop_seconds, ratio, some, tensor_seconds):
    mo.md(f"""
    Both give the same sum, up to the seven digits that a `float32` holds. For {some.numel():,} numbers the loop
    took
    {1000 * loop_seconds:.2f} milliseconds and the tensor {1000 * tensor_seconds:.3f}. **On this computer, just
    now, the tensor was {ratio:.0f} times as fast.** With the whole data set it is the difference between waiting
    and not noticing.

    Why? In the loop, Python reads each line of the program again for each number, asks what type the two things
    are, looks up how to add such types, and makes a new object for the result. The tensor's numbers are all of one
    type and lie side by side in memory. So `sum` can hand the whole block to a program in a compiled language
    (C++), which does nothing but add, several numbers at a time. Such a step is called a *vector operation*, and to
    replace loops by such steps is to *vectorise*.

    The same idea, carried further, is a **GPU** (*graphics processing unit*): a processor with thousands of small
    cores, made for games, in which the same is done to all points of the screen at once. A tensor moves there by
    `tensor.to("cuda")`, and its arithmetic is then done there, many times faster if the tensor is large. This is
    one of the two reasons why PyTorch exists beside NumPy; the other comes in lesson 5. Nothing in this course
    needs a GPU.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Broadcasting

    Elementwise arithmetic wants two tensors of one shape. But then how could we write `tns + 1`? And what about
    something that we will need at once: the difference between each of the 3s, `[n, h, w]`, and one mean image,
    `[h, w]`? Simply try it.
    """)
    return


@app.cell
def _(threes):
    mean_image = threes.mean(0)  # [h, w]
    differences = threes - mean_image  # [n, h, w] - [h, w]
    print(list(threes.shape), list(mean_image.shape), list(differences.shape))
    print(torch.equal(differences[5], threes[5] - mean_image))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    No loop, no error, and for image number 5 it is exactly the difference that we wanted. PyTorch acted as if there
    were a copy of the mean image for each 3. This is **broadcasting**: where two shapes differ, the smaller tensor
    is stretched to fit the larger. NumPy does it, too. It follows three rules:

    1. **Write the two shapes below one another, aligned on the right.** Where one of them has no axis left, put a 1
       in front.
    2. **Compare the lengths, axis by axis.** If they are equal, good. If one of the two is 1, it is stretched to
       the other's length: its only entry serves for all.
    3. **Anything else is an error.**

    Choose two shapes, and apply the rules before you look at the table. (A length in brackets was put in front by
    the first rule.) The line below it is what PyTorch itself says.
    """)
    return


@app.cell(hide_code=True)
def _():
    _pairs = [
        ([100, 28, 28], [28, 28]),
        ([2, 3], []),
        ([3, 1], [1, 4]),
        ([3, 1], [4]),
        ([100, 28, 28], [100]),
        ([100, 28, 28], [100, 1, 1]),
    ]
    pair = mo.ui.dropdown(
        {f"{a} and {b}": (a, b) for a, b in _pairs}, value="[100, 28, 28] and [28, 28]", label="shapes"
    )
    pair
    return (pair,)


@app.cell(hide_code=True)
def _(pair):
    _a, _b = pair.value
    _rank = max(len(_a), len(_b))
    _a, _b = ([1] * (_rank - len(shape)) + shape for shape in (_a, _b))
    _added = [_rank - len(shape) for shape in pair.value]
    _both = [max(x, y) if x == y or 1 in (x, y) else "**error**" for x, y in zip(_a, _b, strict=True)]
    table(
        [
            {"": name}
            | {f"axis {axis - _rank}": f"({length})" if axis < added else length for axis, length in enumerate(shape)}
            for name, shape, added in (("a", _a, _added[0]), ("b", _b, _added[1]), ("a + b", _both, 0))
        ]
    )
    return


@app.cell
def _(pair):
    _a, _b = torch.ones(pair.value[0]), torch.ones(pair.value[1])
    try:
        print((_a + _b).shape)
    except RuntimeError as _error:
        print("RuntimeError:", _error)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The last pair but one is the case that everybody runs into. There are 100 images and 100 numbers, one for each,
    and PyTorch still refuses: aligned on the right, the 100 meets a 28. The last pair is the remedy. The vector is
    given two more axes of length 1, so that its own stands on the left: `numbers[:, None, None]`, where each `None`
    inserts an axis. The method `unsqueeze` does the same, and `keepdim=True`, which you saw above, leaves such an
    axis standing in the first place.

    When *both* are stretched, a small wonder happens. A column and a row make a table:
    """)
    return


@app.cell
def _():
    column = torch.arange(1, 4)[:, None]  # [3, 1]
    row = torch.arange(1, 6)[None, :]  # [1, 5]
    column * row  # [3, 5]
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The proof that nothing is copied

    "As if there were a copy", we said. If there were thousands of copies, we would pay for them in memory and in
    time. To see that there are none, look at how a tensor finds its numbers. In memory there are no rows and
    columns, only one long line of numbers. Beside the shape, a tensor keeps for each axis a **stride**: how many
    places to go on in the line to get to the next entry along this axis.
    """)
    return


@app.cell
def _(tns):
    print(tns.stride())
    print(tns.T)  # rows and columns exchanged
    print(tns.T.stride())
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The line in memory is 1 2 3 4 5 6. To the next row it is 3 places on, to the next column 1. The second half
    shows what that is good for: `.T`, the *transpose*, exchanges rows and columns, and yet no number has moved.
    Only the two strides have changed places. A slice, in lesson 1, was a window onto the same numbers for the same
    reason.

    And now broadcasting. `expand` stretches a tensor by the second rule, just as `+` and `-` do it without telling:
    """)
    return


@app.cell
def _(threes):
    one = threes[0].clone()  # [h, w]
    many = one.expand(1000, *one.shape)  # [1000, h, w]
    print(list(many.shape), many.stride())
    for _what, _tensor in (("one", one), ("many", many), ("copied", many.contiguous())):
        print(_what, _tensor.untyped_storage().nbytes(), "bytes")
    return many, one


@app.cell(hide_code=True)
def _():
    mo.md("""
    There it is: the stride of the new axis is **0**. To get from one image to the next, go on by no places at all.
    All thousand images are the same numbers in the same place, and the bytes of memory say so, too: `many` needs
    not one more than `one`. Only `contiguous`, which makes a real copy, takes a thousand times as much. (The star
    in `*one.shape` puts the entries of the shape there one by one.)

    So broadcasting is not only short to write. It saves the memory, and it saves the time that filling the memory
    would take. (The *result* of a subtraction is new, of course, and has a memory of its own.)

    ## Summary

    - A tensor is a complete rectangle of numbers of one type. Pixels come as `uint8`; compute with
      `.float() / 255`.
    - Arithmetic and comparisons are elementwise. A comparison gives a mask, and a mask selects.
    - The shape has the length of each axis, the rank is the number of axes. Say "rank", "axis" and "length" where
      "dimension" confuses.
    - `torch.stack` makes one tensor of many, with a new axis in front.
    - `mean`, `sum` and `max` over an axis make it disappear: the axis that you name is the axis that you lose.
    - A vector operation does in one call what a Python loop does number by number, and is far faster.
    - Broadcasting: align on the right; equal lengths or a 1; everything else is an error. A stretched axis has
      stride 0, so nothing is copied.

    **New words:** elementwise, mask, dtype, shape, axis (`dim`), rank (`ndim`), scalar, vector, matrix, stack,
    vector operation, GPU, broadcasting, stride, transpose.

    ## Exercises

    **1.** Make a tensor of the numbers 1 to 9 in three rows and three columns, double it, and take its bottom right
    four numbers.
    """)
    return


@app.cell
def _():
    bottom_right = ...  # a tensor [2, 2]
    return (bottom_right,)


@app.cell(hide_code=True)
def _(bottom_right):
    check_1 = exercise(
        "2.1",
        bottom_right,
        lambda answer: torch.equal(answer, torch.tensor([[10, 12], [16, 18]])),
        hints=(
            "Three steps: make the numbers with `torch.arange` and `reshape`, multiply, take a part.",
            "`torch.arange(1, 10)` leaves out the 10; `.reshape(3, 3)` makes rows of it, and `* 2` doubles them.",
            "The last two rows are `[1:]`, and the last two columns of them `[1:, 1:]`.",
        ),
        solution="bottom_right = (torch.arange(1, 10).reshape(3, 3) * 2)[1:, 1:]",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** `photos` has the shape `[500, 3, 32, 48]`: images, channels, rows, columns. Without running it: what is
    the shape of `photos.mean((2, 3))`, and what is its rank? Answer with the shape, as a list.
    """)
    return


@app.cell
def _():
    photos_shape = ...  # a list
    return (photos_shape,)


@app.cell(hide_code=True)
def _(photos_shape):
    check_2 = exercise(
        "2.2",
        photos_shape,
        lambda answer: tuple(answer) == (500, 3),
        hints=(
            "The axis that you name is the axis that you lose. Which two are named here?",
            "Axes are numbered from 0, so 2 and 3 are the rows and the columns.",
            "Cross the third and the fourth length out. Two lengths remain: the rank is 2.",
        ),
        solution="photos_shape = [500, 3]  # for each image the mean of each colour",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Which of these pairs of shapes can be added? Answer with their letters in one piece of text, such as
    `"AB"`.

    - A: `[28, 28]` and `[100, 28, 28]`
    - B: `[100]` and `[100, 28, 28]`
    - C: `[28]` and `[100, 28, 28]`
    - D: `[3]` and `[4]`
    - E: `[3]` and `[4, 1]`
    - F: `[5, 1, 4]` and `[5, 3, 2]`
    """)
    return


@app.cell
def _():
    letters = ...  # a text
    return (letters,)


@app.cell(hide_code=True)
def _(letters):
    check_3 = exercise(
        "2.3",
        letters,
        lambda answer: set(answer.upper()) == set("ACE"),
        hints=(
            "Write each pair on paper, one shape below the other, aligned on the right.",
            "Every column of your paper must have two equal numbers, or a 1, or a gap. In B, 100 is under 28, so no.",
            "F fails on the right, where 4 meets 2. D fails as well. In E, the 3 meets a 1 and the 4 a gap.",
        ),
        solution='letters = "ACE"',
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** A new tensor of shape `[10, 3, 5, 7]` keeps its numbers row after row, as `tns` did. What is its stride?
    Find the four numbers by thinking, and check afterwards with `torch.zeros(10, 3, 5, 7).stride()`.
    """)
    return


@app.cell
def _():
    strides = ...  # a tuple of four whole numbers
    return (strides,)


@app.cell(hide_code=True)
def _(strides):
    check_4 = exercise(
        "2.4",
        strides,
        lambda answer: tuple(answer) == torch.zeros(10, 3, 5, 7).stride(),
        hints=(
            "Begin at the end: how far is it to the next column? And then to the next row, which has 7 numbers?",
            "To the next channel it is one whole table of 5 rows with 7 numbers each.",
            "Each stride is the product of all lengths that stand to the right of its axis.",
        ),
        solution="strides = (3 * 5 * 7, 5 * 7, 7, 1)",
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** Some writers press harder than others. Write a function that subtracts from each image its own mean, so
    that afterwards each image has the mean 0. No loop.
    """)
    return


@app.cell
def _():
    def centred(images):  # [n, h, w] → [n, h, w]
        return ...

    return (centred,)


@app.cell(hide_code=True)
def _(centred):
    _stack = torch.arange(24.0).reshape(4, 2, 3) ** 2
    check_5 = exercise(
        "2.5",
        centred,
        lambda answer: torch.allclose(answer, torch.stack([image - image.mean() for image in _stack])),
        hints=(
            "First you need one mean per image: over which axes is it?",
            "`images.mean((1, 2))` has the shape `[n]`. Aligned on the right with `[n, h, w]`, its n is under the w.",
            "Give it two more axes, by `[:, None, None]`, or let `mean` leave them standing with `keepdim=True`.",
        ),
        solution="""
        def centred(images):
            return images - images.mean((1, 2), keepdim=True)
        """,
        arguments=(_stack,),
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** `tensor.data_ptr()` tells where in memory a tensor's first number is. Use it to sort these
    into the ones that copy and the ones that only look at the same numbers differently: `t[0]`, `t.T`, `t + 0`,
    `t.reshape(3, 2)`, `t.T.reshape(6)`, `t.clone()`, `t.expand(4, 2, 3)`, for `t = torch.zeros(2, 3)`. One of them
    will surprise you. Why can it not do without a copy?

    **Further research, too.** PyTorch has a second function that joins tensors, `torch.cat`. What are the shapes of
    `torch.stack([t, t])` and `torch.cat([t, t])`, and when would you want which?

    ## What you can read now

    [Broadcasting semantics](https://pytorch.org/docs/stable/notes/broadcasting.html) in PyTorch's documentation:
    all of it but the last section. [Tensor Attributes](https://pytorch.org/docs/stable/tensor_attributes.html): the
    table of data types. And in [`torch.mean`](https://pytorch.org/docs/stable/generated/torch.mean.html) you now
    know what `dim` and `keepdim` are, which hundreds of other functions have as well.

    **Next:** [3 · Pixel similarity](?file=03_similarity.py), where a mean over an axis, a difference and the word
    *broadcasting* are already enough to tell 3s from 7s.
    """)
    return


if __name__ == "__main__":
    app.run()
