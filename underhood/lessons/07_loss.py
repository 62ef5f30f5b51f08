import marimo

app = marimo.App(width="medium", app_title="7 · A loss for digits", layout_file="layouts/07_loss.slides.json")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import torch

    from underhood.display.notebook import show_image
    from underhood.lessons import exercise, figure, load


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 7 · A loss for digits

    The roller coaster had twenty numbers for data and three parameters. Now we want to do the same with images:
    show the computer 3s and 7s, and let gradient descent find out how to tell them apart. The seven steps stay as
    they are. Three things are missing: the images have to be arranged so that we can compute with all of them at
    once, we need a model that turns an image into a score, and, above all, we need a loss. There is a number that
    says how well a model does, the accuracy. You will see why it cannot be the loss, and build one that can.

    **After this lesson** you can prepare images and labels for training, compute the scores of thousands of images
    in one line, explain what a bias is for, and say why a loss and a metric are two different things. **It takes
    about an hour.**
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist-3v7")
    mo.md(which)
    return dataset, which


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## From one image to all of them

    We take the stack of 3s and the stack of 7s, as in lesson 3, and with `torch.cat` we put the second behind the
    first. (`stack` makes a new axis; `cat`, for *concatenate*, makes an axis longer that is already there.) As we
    divide by 255, each pixel lies between 0 and 1, which is the "one scale" that lesson 6 ended with.
    """)
    return


@app.cell
def _(dataset):
    pixels = torch.from_numpy(dataset.train.pixels).float() / 255  # [n, 1, h, w]
    labels = torch.from_numpy(dataset.train.labels)  # [n]: 0 for a 3, 1 for a 7
    threes = pixels[labels == 0][:, 0]  # [number of 3s, h, w]
    sevens = pixels[labels == 1][:, 0]  # [number of 7s, h, w]
    images = torch.cat([threes, sevens])  # [n, h, w]
    images.shape
    return images, sevens, threes


@app.cell(hide_code=True)
def _():
    mo.md("""
    Our model will give each pixel a weight of its own. For that it does not matter which pixels are neighbours, so
    we can write each image as one long row: its first row of pixels, then its second, and so on. The method `view`
    does this. It moves no number. It only says anew how the same block of numbers is divided, and where we write
    −1, it works out the length by itself. Here it is on a small tensor:
    """)
    return


@app.cell
def _():
    small = torch.arange(12).view(2, 2, 3)  # [2, 2, 3]: two "images" of 2 × 3 pixels
    print(small)
    print(small.view(-1, 6))  # [2, 6]: each of them a row
    return


@app.cell
def _(images):
    height, width = images.shape[1:]
    train_x = images.view(-1, height * width)  # [n, h·w]
    print(train_x.shape)
    print(torch.equal(train_x, images.flatten(1)))
    return height, train_x, width


@app.cell(hide_code=True)
def _():
    mo.md("""
    `flatten(1)` gives the same, and is easier to read: "make a single axis of number 1 and all that follow it".

    ## What should come out: targets

    For each image we also need the right answer, and a computer can only calculate with it if it is a number. A
    **target** is the number that a model should give for an image, here 1 for a 3 and 0 for a 7. It says the same
    as the label, in the form that the loss needs. (The data set numbers its classes from 0, so its label of a 3 is
    0 and of a 7 is 1: just the other way round. The next cell therefore asks `labels == 0`, "is it a 3?". You can
    read it as the answer to "is this a 3?", 1 for yes and 0 for no. The other way round would do as well; it only
    has to stay the same. PyTorch says *target*, and fastai calls images and targets `x` and `y`.)
    """)
    return


@app.cell
def _(sevens, threes):
    train_y = torch.cat([torch.ones(len(threes)), torch.zeros(len(sevens))])  # [n]
    train_y = train_y.unsqueeze(1)  # [n, 1]
    print(train_y.shape)
    print((torch.zeros(3, 1) == torch.zeros(3, 1)).shape)
    print((torch.zeros(3, 1) == torch.zeros(3)).shape)
    return (train_y,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    `unsqueeze(1)`, which you met in lesson 2, puts in an axis of length 1, so that the targets become a column,
    `[n, 1]` instead of `[n]`. Why take the trouble? Because our predictions will be such a column, and the last
    line shows what happens otherwise: if you compare a column of 3 with a plain vector of 3, broadcasting makes a
    table of 3 × 3 of them, each with each. There is no error message, only a result that means nothing. Predictions
    and targets must have the same shape.

    ## A score, and why it needs a bias

    In lesson 4, `pr_eight` turned an image into a score: each pixel times a weight, and all of it added up. Where
    there is ink and the weight is positive, the score goes up; where it is negative, down. Let a score above 0 mean
    3, and one below 0 mean 7.

    This model cannot do everything, though. Think of an empty image, with no ink at all. Every product is 0, so the
    score is 0, whatever the weights are. You know the remedy from school. A straight line through the origin is y =
    w·x; to reach the other lines, you need y = w·x + b.
    """)
    return


@app.cell(hide_code=True)
def _():
    _figure, _axes = plt.subplots(1, 2, figsize=(6, 2.6), sharey=True)
    _x = torch.linspace(-2, 2, 2)
    for _w in (-1.5, -0.5, 0.3, 1, 2):
        _axes[0].plot(_x, _w * _x, color="0.6")
    for _b in (-2, -1, 0, 1, 2):
        _axes[1].plot(_x, 0.7 * _x + _b, color="tab:red" if _b else "0.6")
    _axes[0].set(title="y = w·x: w tilts", xlabel="x", ylabel="y", ylim=(-4, 4))
    _axes[1].set(title="y = w·x + b: b lifts", xlabel="x")
    for _ax in _axes:
        _ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        _ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    _figure.tight_layout()
    figure(
        _figure,
        "Left lines y = w x with five values of w: all of them go through the origin. Right lines y = w x + b with "
        "one w and five values of b: parallel lines, each higher than the one before.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The number b is the **bias**: a parameter that is not multiplied by any input, but added. (In school it is the
    *intercept*, the height at which the line crosses the axis, and scikit-learn calls it so.) With it, the model
    can say "rather 3" or "rather 7" before it has seen any ink, and training can put the border between 3 and 7
    where it fits best. Weights and biases together are the model's parameters.

    Step 1 is to initialise them. `init_params` draws random numbers, `std` says how large they typically are, and
    `requires_grad_` makes autograd watch them. (Why random, and not all 0? For this model zeros would do as well.
    For the models from lesson 12 on they would not, as lesson 15 shows, so random is the habit.)
    """)
    return


@app.cell
def _():
    def init_params(size, std=1.0):
        return (torch.randn(size) * std).requires_grad_()

    return (init_params,)


@app.cell
def _(init_params, train_x):
    torch.manual_seed(42)
    torch.randn(20), torch.randn(3)  # lesson 6 drew these; so the next ones are the book's
    weights = init_params((train_x.shape[1], 1))  # [h·w, 1]: one for each pixel, as a column
    bias = init_params(1)  # [1]
    print(weights.shape)
    print(weights[:3])
    print(bias)
    return bias, weights


@app.cell
def _(bias, train_x, weights):
    empty = torch.zeros(train_x.shape[1])  # [h·w]: an image without ink
    w = weights[:, 0]  # [h·w]
    print((empty * w).sum())
    print((empty * w).sum() + bias)
    one = (train_x[0] * w).sum() + bias  # [1]: the score of the first image
    print(one)
    return (one,)


@app.cell(hide_code=True)
def _(one):
    mo.md(f"""
    The first two lines are the empty image, without a bias and with one. The last line is the first image of our
    stack, which shows a 3. Its score is {one.item():.4f}, which is
    {"above 0, so the model is right, by luck" if one.item() > 0 else "not above 0, so the model is wrong"}: these
    weights are random. (With MNIST it is 20.2336, the book's figure.)

    ## All images at once: matrix multiplication

    One image, one score. For all of them we could write a loop, but lesson 2 showed how slow a Python loop is. What
    we want to do with each row of `train_x` is always the same: multiply it by the weights, number by number, and
    add up. That is so common in mathematics that it has a name.

    **Matrix multiplication** takes a matrix A and a matrix B, and makes a new one: the number in its row i and
    column j is row i of A times column j of B, number by number, added up. So the rows of A must be exactly as long
    as the columns of B. In Python it is written `A @ B`. Choose a number of the result, and see where it comes
    from:
    """)
    return


@app.cell
def _():
    A = torch.tensor([[1, 2, 0, 1], [0, 1, 3, 0], [2, 0, 1, 1]])  # [3, 4]
    B = torch.tensor([[1, 0], [2, 1], [0, 3], [1, 2]])  # [4, 2]
    A @ B  # [3, 4] @ [4, 2] → [3, 2]
    return A, B


@app.cell(hide_code=True)
def _():
    entry = mo.ui.slider(1, 6, value=4, label="which number of A @ B", show_value=True)
    entry
    return (entry,)


@app.cell(hide_code=True)
def _(A, B, entry):
    _row, _column = divmod(entry.value - 1, B.shape[1])

    _axes = plt.subplots(figsize=(5, 5.6))[1]

    def _draw(matrix, x, y, name, rows, columns):
        for i in range(matrix.shape[0]):
            for j in range(matrix.shape[1]):
                colour = "#f6c28b" if i in rows and j in columns else "#f2f2f2"
                _axes.add_patch(plt.Rectangle((x + j, y + i), 1, 1, facecolor=colour, edgecolor="white", linewidth=2))
                _axes.text(x + j + 0.5, y + i + 0.5, matrix[i, j].item(), ha="center", va="center", fontsize=13)
        _axes.text(x + matrix.shape[1] / 2, y - 0.25, name, ha="center", va="bottom", fontsize=12)

    _draw(A, 0, 5, "A  [3, 4]", [_row], range(4))
    _draw(B, 5, 0, "B  [4, 2]", range(4), [_column])
    _draw(A @ B, 5, 5, "A @ B  [3, 2]", [_row], [_column])
    _axes.set(xlim=(-0.2, 7.2), ylim=(9.2, -1), aspect="equal")
    _axes.set_axis_off()
    _pairs = list(zip(A[_row].tolist(), B[:, _column].tolist(), strict=True))
    _sum = " + ".join(f"{a}·{b}" for a, b in _pairs) + f" = {(A @ B)[_row, _column]}"
    _axes.text(3.5, 8.9, _sum, ha="center", va="center", fontsize=13)
    figure(
        _axes,
        "Three matrices: A with 3 rows and 4 columns, B above on the right with 4 rows and 2 columns, and below B "
        f"their product with 3 rows and 2 columns. Row {_row + 1} of A and column {_column + 1} of B are marked, and "
        f"where they cross, the result: {_sum}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Read the shapes, too: `[3, 4] @ [4, 2]` gives `[3, 2]`. The inner lengths must agree, and disappear, because
    that is the direction in which the products are added up. The outer ones remain.

    Our images are a matrix with one row for each image, `[n, h·w]`, and our weights are a matrix with a single
    column, `[h·w, 1]`. So `train_x @ weights` is `[n, 1]`: a score for each image. Then the bias is added, by
    broadcasting, to each. This is the whole model; since each score is a sum of weights times inputs, it is called
    *linear*. (Why the images are called `xb` here, lesson 8 will show: it takes them in smaller portions.)
    """)
    return


@app.cell
def _():
    def linear1(xb, weights, bias):  # xb [n, h·w], weights [h·w, 1], bias [1]
        return xb @ weights + bias  # [n, 1]

    return (linear1,)


@app.cell
def _(bias, linear1, one, train_x, weights):
    preds = linear1(train_x, weights, bias)  # [n, 1]
    print(preds)
    print(one)
    print(preds[0])
    return (preds,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The first score is the one that we calculated alone, and the others came along in the same line. A large part of
    all the computing in machine learning is this one operation, and graphics cards are built to be fast at it.

    ## How good are random weights?

    A score above 0 means 3. Compare that with the targets, and take the mean:
    """)
    return


@app.cell
def _(preds, train_y):
    corrects = (preds > 0).float() == train_y  # [n, 1]: right or wrong
    accuracy = corrects.float().mean()  # []
    start_accuracy = accuracy.item()
    print(accuracy)
    print(accuracy.requires_grad)
    return (start_accuracy,)


@app.cell(hide_code=True)
def _(preds, start_accuracy):
    mo.md(f"""
    Random weights are right {100 * start_accuracy:.2f} % of the time. Nothing has been learned yet, so this is mere
    chance. The scores go from {preds.min().item():.1f} to {preds.max().item():.1f}, and
    {100 * (preds > 0).float().mean().item():.1f} % of them are above 0: so many images are taken for a 3. (With
    MNIST the accuracy is 0.4912, as in the book.)

    ## Why accuracy cannot be the loss

    Now let us learn! We want a high accuracy, so why not let gradient descent raise it? The second line that the
    cell printed is a warning: `requires_grad` is `False`, so autograd cannot go backward from here. There is a reason:
    `preds > 0` is a yes or a no, and for a yes or a no there is no "a little more".

    Look at it closely. The cell below takes the pixel that differs most from image to image, and moves its weight
    up and down. (If a weight changes by some amount, each score changes by that amount times the image's ink in
    that pixel, so there is no need to compute everything anew. In `with torch.no_grad():` autograd takes no notes,
    since here we only want to look. And `float64` has 16 digits instead of seven, which you will need at the
    slider's left end.) Move the slider to the left, closer and closer.
    """)
    return


@app.cell(hide_code=True)
def _():
    window = mo.ui.slider(
        steps=[0.001, 0.01, 0.1, 1.0, 3.0, 10.0, 30.0], value=10.0, label="how far the weight moves", show_value=True
    )
    window
    return (window,)


@app.cell
def _(bias, linear1, train_x, train_y, weights, window):
    pixel = train_x.std(0).argmax()  # the one with the largest standard deviation
    moves = torch.linspace(-window.value, window.value, 81, dtype=torch.float64)  # [81]
    with torch.no_grad():
        _scores = linear1(train_x, weights, bias)  # [n, 1]
        moved = _scores + moves * train_x[:, pixel, None]  # [n, 81]
        accuracies = ((moved > 0).float() == train_y).float().mean(0)  # [81]
    print(accuracies.min(), accuracies.max())
    return accuracies, moved, moves


@app.cell(hide_code=True)
def _(accuracies, moves, window):
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _axes.plot(moves, accuracies, drawstyle="steps-mid")
    _axes.set(xlabel="change of the weight", title="accuracy", xticks=[-window.value, 0, window.value])
    _axes.ticklabel_format(useOffset=False)
    _levels = len(accuracies.unique())
    figure(
        _axes,
        f"The accuracy while one weight moves by at most {window.value:g}, at 81 places: "
        + (
            f"always {accuracies[0].item():.4f}, a level line."
            if _levels == 1
            else f"a staircase of {_levels} levels between {accuracies.min():.4f} and {accuracies.max():.4f}."
        ),
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    From far away it looks like a curve with a slope. From close by it is a *staircase*, and in between the steps it
    is exactly level. Accuracy only changes in the moment in which an image goes over from one side of 0 to the
    other. So at almost every place, if a weight moves by very little, *no* image changes sides, and the accuracy
    stays the same to the last digit. Its slope is 0. And what does gradient descent do with a gradient of 0?
    `params.data -= lr * 0`. It stays where it is, for ever, no matter how bad the model is. At the few places where
    the accuracy does change, it jumps, and a jump has no slope at all.

    What we need is a number that answers even the smallest change of any weight.

    ## What a better prediction is

    Imagine that a model's predictions lie between 0 and 1, and say how sure it is that it sees a 3. (Such numbers
    are called *probabilities*.) Take three images: a 3, a 7 and a 3. The model says 0.9, 0.4 and 0.2. It is right
    about the first and sure of it. It is right about the second, but not very sure. And it is wrong about the
    third. A *slightly better* prediction is slightly higher for a 3, and slightly lower for a 7, even if nothing
    changes sides. So measure for each image how far its prediction is from the truth: if the target is 1, that is 1
    − prediction, and if it is 0, it is the prediction itself.

    To choose between two tensors, number by number, there is `torch.where(condition, a, b)`. It gives the number of
    `a` where the condition is true, and the number of `b` where it is not.
    """)
    return


@app.cell
def _():
    targets = torch.tensor([1, 0, 1])
    predictions = torch.tensor([0.9, 0.4, 0.2])
    torch.where(targets == 1, 1 - predictions, predictions)  # [3]
    return predictions, targets


@app.cell(hide_code=True)
def _():
    mo.md("""
    As a list comprehension it would be `[1 - p if t == 1 else p for p, t in zip(predictions, targets)]`, but
    `where` has no Python loop in it, and so it is fast. The third image is the worst, as it should be. The mean of
    these distances is our loss. It has to be a single number, because `backward` starts from one; and a mean,
    unlike a sum, does not grow just because there are more images.
    """)
    return


@app.cell
def _():
    def mnist_loss_of_probabilities(predictions, targets):  # both of one shape
        return torch.where(targets == 1, 1 - predictions, predictions).mean()  # []

    return (mnist_loss_of_probabilities,)


@app.cell
def _(mnist_loss_of_probabilities, predictions, targets):
    first = mnist_loss_of_probabilities(predictions, targets)
    better = mnist_loss_of_probabilities(torch.tensor([0.9, 0.4, 0.8]), targets)
    print(first)
    print(better)
    return better, first


@app.cell(hide_code=True)
def _(preds):
    mo.md(f"""
    When the third prediction goes from 0.2 to 0.8, the loss falls from 0.4333 to 0.2333. And had it only gone from
    0.2 to 0.21, the loss would have fallen a little, too, where the accuracy would not have changed.

    ## Sigmoid

    One thing is missing. This loss wants predictions between 0 and 1, but our scores go from
    {preds.min().item():.1f} to {preds.max().item():.1f}. For a score of 20 and a target of 1 the "distance" would
    be −19, and the loss could fall for ever by making scores larger. So something must bring any score between 0
    and 1, and keep the order: a higher score must remain a higher prediction.

    The function **sigmoid** ("in the shape of an S") does it: 1 / (1 + e⁻ˣ), where e is the number 2.718…, and
    `torch.exp(-x)` is e⁻ˣ. This number is always positive, so the result lies between 0 and 1. For a large x, e⁻ˣ
    is nearly 0, and the result nearly 1. For a very negative x, it is huge, and the result nearly 0. For x = 0 it
    is 1, and the result is exactly one half. (Pierre-François Verhulst used this curve from 1838 on, to describe
    how a population grows until there is no room left. PyTorch has it as `torch.sigmoid`.)
    """)
    return


@app.cell
def _():
    def sigmoid(x):  # of any shape
        return 1 / (1 + torch.exp(-x))  # the same shape

    sigmoid(torch.tensor([-4.0, -1.0, 0.0, 1.0, 4.0]))
    return (sigmoid,)


@app.cell(hide_code=True)
def _():
    steepness = mo.ui.slider(steps=[0.5, 1.0, 2.0, 5.0, 20.0, 100.0], value=1.0, label="multiply x by", show_value=True)
    steepness
    return (steepness,)


@app.cell(hide_code=True)
def _(sigmoid, steepness):
    _xs = torch.linspace(-6, 6, 401)
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _axes.axhline(0.5, color="0.8", linewidth=1)
    _axes.plot(_xs, sigmoid(steepness.value * _xs))
    _axes.set(xlabel="x", ylabel=f"sigmoid({steepness.value:g} · x)")
    figure(
        _axes,
        f"The sigmoid of {steepness.value:g} times x, from x = -6 to 6: a curve in the shape of an S, from near 0 on "
        "the left through 0.5 at x = 0 to near 1 on the right. At x = 1 it is "
        f"{sigmoid(torch.tensor(steepness.value)).item():.3f}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    What matters to us is that it is **smooth**. It has no step and no level part: its slope is above 0 everywhere,
    so each change of a score, small as it may be, changes the prediction. It is steepest in the middle, where the
    model is undecided and a small push counts, and almost level far outside, where it is sure. Now multiply x by
    100: what you get is nearly the staircase again, 0 below and 1 above. If it were infinitely
    steep, every prediction would be 0 or 1, and the mean distance from the targets would be the share of images that
    are wrong: accuracy again, upside down.

    (The almost level ends have a price: where a model is quite sure and quite wrong, there is hardly any slope to
    correct it by. Lesson 15 has a loss that does better there.)

    ## The loss, at last

    Sigmoid first, then the distance from the target. (Do you remember the loss of lesson 4? It wished each score to
    be exactly 1 or −1, and so a score of 5 for the right digit counted as a miss of 4. Now a high score for the
    right digit can do no harm.)
    """)
    return


@app.cell
def _(mnist_loss_of_probabilities, sigmoid):
    def mnist_loss(predictions, targets):  # both [n, 1]; predictions are scores of any size
        return mnist_loss_of_probabilities(sigmoid(predictions), targets)  # []

    return (mnist_loss,)


@app.cell
def _(mnist_loss, preds, train_y):
    mnist_loss(preds, train_y)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    A word about a word. What goes into `mnist_loss_of_probabilities` are numbers from 0 to 1, and what goes into
    `mnist_loss` are scores of any size, and both are called `predictions`. That is common practice: what comes out of a
    model is its prediction, whether or not a sigmoid comes after it. So with every loss you meet, look up which of the
    two it wants. From here on our models give scores, and the loss takes the sigmoid.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    `grad_fn` is there: autograd can follow this number back to each weight. Here it is beside the accuracy, while
    the same weight moves as before. (It is the slider from above. Move it to its left end.)
    """)
    return


@app.cell
def _(mnist_loss, moved, train_y):
    columns = [moved[:, [i]] for i in range(81)]  # 81 times [n, 1]
    losses = torch.stack([mnist_loss(scores, train_y) for scores in columns])  # [81]
    print(f"{losses.min():.8f} to {losses.max():.8f}")
    return (losses,)


@app.cell(hide_code=True)
def _(window):
    window
    return


@app.cell(hide_code=True)
def _(accuracies, losses, moves, window):
    _figure, _axes = plt.subplots(2, 1, figsize=(6, 4.6), sharex=True)
    _axes[0].plot(moves, accuracies, drawstyle="steps-mid")
    _axes[1].plot(moves, losses, color="tab:red")
    _axes[0].set_title("accuracy")
    _axes[1].set_title("mnist_loss")
    _axes[1].set(xlabel="change of the weight", xticks=[-window.value, 0, window.value])
    for _ax in _axes:
        _ax.ticklabel_format(useOffset=False)
    _figure.tight_layout()
    figure(
        _figure,
        f"While one weight moves by at most {window.value:g}: above the accuracy, which takes "
        f"{len(accuracies.unique())} different values at 81 places, below the loss, a smooth curve from "
        f"{losses[0].item():.7f} to {losses[-1].item():.7f}, which takes {len(losses.unique())}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    As close as you like, the accuracy is level and the loss still slopes.

    ## Loss and metric

    So we keep two numbers, and they have two tasks.

    - A **metric** is for people. Accuracy answers what you really want to know: of a hundred images, how many does
      it read right? It is measured on the validation set, and it may jump as it likes.
    - A **loss** is for the gradient. It has to answer the smallest change of any weight, and lower must mean
      better. What a loss of 0.43 means in daily life need not interest anybody.

    The loss is a compromise: we would like to climb the staircase, cannot, and go down a slope that leads to nearly
    the same place. Nearly, for the two can disagree, as exercise 3 will show you. So train by the loss, and judge
    by the metric.

    ## A first step

    Does it work? We let autograd find the gradient of the loss for all weights and the bias, and take one step with
    the rate 1. That is a higher rate than any that made sense in lessons 5 and 6, and the cell below shows why we can
    afford it: even the steepest of the slopes is tiny. If a weight changes a little, each score changes by at most as
    much, as no pixel has more than 1 ink, and its prediction changes by less still, since even in its middle the
    sigmoid rises gently. The loss is a mean of such changes. So at rate 1 no weight is moved far. (The first line is
    there because `backward` adds: so the cell can be run twice.)
    """)
    return


@app.cell
def _(bias, linear1, mnist_loss, train_x, train_y, weights):
    weights.grad = bias.grad = None
    start_loss = mnist_loss(linear1(train_x, weights, bias), train_y)  # []
    start_loss.backward()
    slopes = weights.grad.clone()  # [h·w, 1]
    with torch.no_grad():
        stepped = mnist_loss(linear1(train_x, weights - slopes, bias - bias.grad), train_y)
    print("slopes that are not 0:", (slopes != 0).sum().item(), "of", len(slopes))
    print("the steepest:", slopes.abs().max())
    print(f"loss before {start_loss.item():.6f}, after one step {stepped.item():.6f}")
    return slopes, start_loss, stepped


@app.cell(hide_code=True)
def _(height, slopes, width):
    _most = slopes.abs().max().item()
    _axes = show_image(-slopes.view(height, width), cmap="RdBu_r", vmin=-_most, vmax=_most, figsize=(3.4, 3.4))
    figure(
        _axes,
        "The step as an image, one point for each weight: red where the weight goes up, blue where it goes down, white "
        "where it stays. The margin, where no image has ink, is white. "
        f"{int((slopes < 0).sum())} weights go up and {int((slopes > 0).sum())} go down.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The loss went down. Not by much, but it was one step. Since there is one slope for each pixel, we can look at
    the step as an image: red weights go up (ink there should speak for a 3), blue ones go down (ink there should
    speak for a 7), and at the margin, where no image has any ink, the slope is exactly 0. With MNIST it is a 3 that
    appears, out of random weights, from nothing but images and targets.

    Why a 3, and not a 3 in red and a 7 in blue? Because not all images have a say. Far from 0 the sigmoid is almost
    level, so an image with a very high or very low score adds nearly nothing to the slope. How many are near 0?
    """)
    return


@app.cell
def _(preds, train_y):
    undecided = preds.abs() < 3  # [n, 1]: where the sigmoid is clearly sloping
    print("3s:", (undecided & (train_y == 1)).sum().item())
    print("7s:", (undecided & (train_y == 0)).sum().item())
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    With MNIST they are fewer than 200 of the 12,396 images, and most of them are 3s. After some steps the scores
    will be others, and so will be the images that count. What is missing is only to repeat the step, many times.
    That is lesson 8.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Summary

    - `view` and `flatten` write each image as a row; `unsqueeze(1)` makes the targets a column. Predictions and
      targets have the same shape, `[n, 1]`.
    - A linear model is `xb @ weights + bias`. Matrix multiplication computes the scores of all images at once; the
      bias is added, so that even an empty image can have a score other than 0.
    - Accuracy is a staircase. Its slope is 0 almost everywhere, so it cannot be the loss.
    - `mnist_loss` brings scores between 0 and 1 by a sigmoid, and takes the mean distance from the targets, chosen
      by `torch.where`. It is smooth, and answers even the smallest change.
    - A metric is for people, a loss is for the gradient.

    **New words:** target, bias (intercept), matrix multiplication, linear, sigmoid; `cat`, `view`, `flatten`,
    `unsqueeze`, `@`, `where`.

    ## Exercises

    **1.** Sixty-four images of 28 × 28 pixels, each a row, are multiplied by a matrix of weights with 30 columns.
    Which shape do the weights have, and which the result? Give the shape of the result as a tuple.
    """)
    return


@app.cell
def _():
    product_shape = ...  # (rows, columns)
    return (product_shape,)


@app.cell(hide_code=True)
def _(product_shape):
    check_1 = exercise(
        "7.1",
        product_shape,
        lambda answer: tuple(answer) == (64, 30),
        hints=(
            "The images are `[64, 784]`. The inner lengths must agree.",
            "The weights are `[784, 30]`. What is left if the inner lengths disappear?",
            "As many rows as there are images, as many columns as the weights have.",
        ),
        solution="product_shape = (64, 30)  # [64, 784] @ [784, 30]",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** A model predicts 0.3 for an image. Of which target is that further away, of 0 or of 1? Put in the larger
    of the two distances.
    """)
    return


@app.cell
def _():
    distance = ...
    return (distance,)


@app.cell(hide_code=True)
def _(distance):
    check_2 = exercise(
        "7.2",
        distance,
        lambda answer: abs(float(answer) - 0.7) < 1e-6,
        hints=(
            "Where on the line from 0 to 1 is 0.3?",
            "From 0 the distance is 0.3 itself.",
            "From 1 it is 1 − 0.3.",
        ),
        solution="distance = 1 - 0.3",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Three images, all of them 3s. A model that predicts 0.6, 0.6, 0.6 has an accuracy of 100 % (every
    prediction is above 0.5) and a loss of 0.4. Find three predictions with a *lower* loss and a *lower* accuracy.
    """)
    return


@app.cell
def _():
    fooled = ...  # a list of three numbers between 0 and 1
    return (fooled,)


@app.cell(hide_code=True)
def _(fooled):
    check_3 = exercise(
        "7.3",
        fooled,
        lambda answer: (
            len(answer) == 3
            and all(0 <= p <= 1 for p in answer)
            and any(p <= 0.5 for p in answer)
            and sum(1 - p for p in answer) / 3 < 0.4 - 1e-6
        ),
        hints=(
            "A lower accuracy means that at least one of the three is at 0.5 or below.",
            "The loss is a mean. What one image loses, the others can win back.",
            "Let the model be a little wrong about one image, and very sure of the other two.",
        ),
        solution="fooled = [0.95, 0.95, 0.4]  # accuracy 2/3, loss (0.05 + 0.05 + 0.6) / 3 = 0.2333",
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** What is the steepest slope that the sigmoid has anywhere? (Rise over run, as in lesson 5, or autograd:
    both will do.)
    """)
    return


@app.cell
def _():
    steepest_sigmoid = ...
    return (steepest_sigmoid,)


@app.cell(hide_code=True)
def _(steepest_sigmoid):
    check_4 = exercise(
        "7.4",
        steepest_sigmoid,
        lambda answer: abs(float(answer) - 0.25) < 1e-3,
        hints=(
            "At which x is the curve steepest? Look at the figure.",
            "In the middle, at x = 0. How much does the sigmoid rise from x = −0.01 to x = 0.01?",
            "Divide that rise by the run, 0.02.",
        ),
        solution="""
        _rise = sigmoid(torch.tensor(0.01)) - sigmoid(torch.tensor(-0.01))
        steepest_sigmoid = _rise.item() / 0.02
        """,
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** The mean squared error of lesson 6 can be a loss for digits, too. Write it: bring the scores between 0
    and 1, and take the mean *squared* distance from the targets.
    """)
    return


@app.cell
def _():
    def squared_loss(scores, targets):  # both [n, 1] → []
        return ...

    return (squared_loss,)


@app.cell(hide_code=True)
def _(squared_loss):
    _scores, _targets = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([[1.0], [0.0], [0.0]])
    check_5 = exercise(
        "7.5",
        squared_loss,
        lambda answer: abs(float(answer) - ((_scores.sigmoid() - _targets) ** 2).mean().item()) < 1e-6,
        hints=(
            "First `sigmoid`, as in `mnist_loss`.",
            "The square makes every distance positive, so `torch.where` is not needed.",
            "Subtract the targets from `sigmoid(scores)`, square, and take the mean.",
        ),
        solution="""
        def squared_loss(scores, targets):
            return ((sigmoid(scores) - targets) ** 2).mean()
        """,
        arguments=(_scores, _targets),
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** Write matrix multiplication yourself: a function of `A` and `B` with three loops, one over
    the rows of A, one over the columns of B, and one over the numbers in them. Compare its result with `A @ B`.
    Then take two matrices of 100 × 100 random numbers, and compare the times. Which of your three loops can you
    replace by what you learned in lesson 2, and how much does that gain?

    ## What you can read now

    [`torch.where`](https://pytorch.org/docs/stable/generated/torch.where.html), the whole page, and of
    [`torch.matmul`](https://pytorch.org/docs/stable/generated/torch.matmul.html), which is what `@` calls, the
    first two cases of its list: two vectors, and two matrices.

    **Next:** [8 · Mini-batches and the training loop](?file=08_training_loop.py), where one step becomes thousands.
    """)
    return


if __name__ == "__main__":
    app.run()
