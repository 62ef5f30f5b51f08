import marimo

app = marimo.App(width="medium", app_title="12 · The questionnaire")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import torch
    import torch.nn.functional as F
    from torch import nn

    from underhood import Architecture, DataLoader, DataLoaders, Learner, accuracy, build_model, cross_entropy
    from underhood.lessons import exercise, load
    from underhood.scratch import sgd


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 12 · The questionnaire

    The chapter ends with 37 questions. Here they are in our words and in its order, each with an answer to hold
    against yours: first say yours aloud, then open. What can be answered by code is answered by code that runs.
    """)
    return


@app.cell(hide_code=True)
def _():
    def answers(pairs):
        return mo.accordion({f"{number}. {question}": mo.md(answer) for number, (question, answer) in pairs.items()})

    words = {
        1: (
            "What is a grey picture to a computer, and what a colour picture?",
            "Rows and columns of numbers, here whole ones from 0 (black) to 255 (white): rank 2. A colour "
            "picture has three such tables, for red, green and blue: rank 3, `[3, h, w]`.",
        ),
        2: (
            "How are the sample's files arranged, and why?",
            "A folder for what trains and one for what validates (`train`, `valid`), in each a folder a class "
            "(`3`, `7`). So the label is the folder's name, nobody needs a list, and everybody measures on "
            "the same pictures.",
        ),
        3: (
            "How does pixel similarity classify?",
            "The mean of all training pictures of a class is its ideal. A new picture gets the class whose "
            "ideal is nearest, by L1 or L2. (Lesson 2.)",
        ),
    }
    answers(words)
    return answers, words


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** What is a list comprehension? Take the odd numbers of a list and double them by one. (*A list written
    as the loop that makes it: value, `for`, condition.*)
    """)
    return


@app.cell
def _():
    odd_doubled = [2 * number for number in [1, 2, 3, 4, 5] if number % 2 == 1]
    mo.md(f"`{odd_doubled}`")
    return (odd_doubled,)


@app.cell(hide_code=True)
def _(answers):
    more = {
        5: ("What is a rank-3 tensor?", "One with three axes, such as a stack of grey pictures, `[n, h, w]`."),
        6: (
            "Rank and shape: what is the difference, and how does one follow from the other?",
            "The shape says how long each axis is; the rank says how many axes there are. `rank = "
            "len(tensor.shape)`, or `tensor.ndim`.",
        ),
        7: (
            "What are RMSE and the L1 norm?",
            "Two ways to make one number of many differences. L1: the mean of their absolute values. RMSE "
            "(L2): the root of the mean of their squares, so that large ones count for more.",
        ),
        8: (
            "How does one calculate with thousands of numbers at once, thousands of times faster than by a "
            "loop in Python?",
            "With arrays or tensors: one line, such as `a - b`, is a loop in optimized C (or on a GPU) over "
            "all of them.",
        ),
    }
    answers(more)
    return (more,)


@app.cell(hide_code=True)
def _():
    mo.md("**9.** The numbers 1 to 9 in a 3 × 3 tensor; double them; take the bottom right four.")
    return


@app.cell
def _():
    square = torch.arange(1, 10).reshape(3, 3)
    doubled_corner = (2 * square)[1:, 1:]
    doubled_corner
    return (doubled_corner,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **10.** What is broadcasting? (*Tensors of different shapes meet as if the shorter had been repeated:
    aligned to the right, an axis that is missing or of length 1 is stretched, without a copy.*)
    """)
    return


@app.cell
def _():
    broadcast_shape = tuple((torch.zeros(1010, 28, 28) - torch.zeros(28, 28)).shape)
    mo.md(f"`{broadcast_shape}`")
    return (broadcast_shape,)


@app.cell(hide_code=True)
def _(answers):
    about_sgd = {
        11: (
            "On which pictures are metrics computed, training or validation? Why?",
            "On validation: pictures that did not train. A model can learn its training pictures by heart, "
            "and a metric on those would not say how it does with new ones.",
        ),
        12: (
            "What is SGD?",
            "Stochastic gradient descent: step against the slope of the loss, and take the slope from a "
            "random mini-batch in place of all the data.",
        ),
        13: (
            "Why mini-batches?",
            "All pictures: exact and slow. One: quick, but its slope is noise, and it leaves the processor "
            "idle. Some dozens or hundreds are nearly exact and use the processor fully.",
        ),
        14: (
            "The seven steps?",
            "Initialize the weights; predict; loss; gradient; step; repeat from predict; stop. (Lesson 4.)",
        ),
        15: (
            "How are weights initialized?",
            "At random, and small: equal weights of one layer would all learn the same. (A single matrix, as in "
            "25, may start from zeros.)",
        ),
        16: (
            "What is a loss?",
            "One number that is smaller the better the model does, and that changes with every weight.",
        ),
        17: (
            "Why not always a high learning rate?",
            "The slope is true only nearby. A step too far lands on the other side, perhaps higher than "
            "before: it bounces or diverges. (Lesson 3 has the slider.)",
        ),
        18: (
            "What is a gradient?",
            "For each weight, how much the loss changes when that weight changes a little: the slope.",
        ),
        19: (
            "Must one be able to calculate gradients oneself?",
            "No: autograd does. Having done it once (lesson 10) one believes it, and finds mistakes.",
        ),
        20: (
            "Why can accuracy not be the loss?",
            "It changes only when a picture changes sides; in between it is flat and its slope is 0, so no "
            "weight learns where to go. (Lesson 5 shows the stairs.)",
        ),
    }
    answers(about_sgd)
    return (about_sgd,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **21.** Draw sigmoid. What is special about its shape? (*Any number comes out between 0 and 1, the order
    stays, and its slope is smooth everywhere.*) **34.** And ReLU from −2 to 2? (*Negative numbers become 0, the
    others stay.*) The slider is how far to either side.
    """)
    return


@app.cell
def _():
    reach = mo.ui.slider(1.0, 8.0, value=2.0, step=0.5, label="from and to", show_value=True)
    reach
    return (reach,)


@app.cell
def _(reach):
    _xs = torch.linspace(-reach.value, reach.value, 200)
    _figure, (_left, _right) = plt.subplots(1, 2, figsize=(8, 2.6))
    _left.plot(_xs, _xs.sigmoid())
    _left.set(title="sigmoid", ylim=(-0.05, 1.05))
    _right.plot(_xs, sgd.relu(_xs))
    _right.set(title="ReLU")
    _figure
    return


@app.cell(hide_code=True)
def _(answers):
    about_loops = {
        22: (
            "What is the difference between a loss and a metric?",
            "A loss is for the optimizer: it needs a useful slope. A metric is for people: it needs to mean "
            "something. Cross-entropy and accuracy, for instance.",
        ),
        23: (
            "Which function gives the new weights from a learning rate?",
            "The optimizer's step: `w -= gradient * rate`.",
        ),
        24: (
            "What does a DataLoader do?",
            "It deals a collection out in mini-batches, in a new order each epoch where that is asked for, "
            "whole batches at once.",
        ),
    }
    answers(about_loops)
    return (about_loops,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **25** and **33.** The steps of an epoch of SGD, and of a training loop. (*Written out, and run: for each
    batch predict, loss, gradient, step, zero.*)
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist-3v7")
    mo.md(which)
    return (dataset,)


@app.cell
def _(dataset):
    x, y = (torch.from_numpy(part) for part in (dataset.train.pixels, dataset.train.labels))
    x = x.float().flatten(1) / 255
    torch.manual_seed(0)
    weights = torch.zeros(x.shape[1], 2, requires_grad=True)
    for _epoch in range(5):
        for _xb, _yb in DataLoader((x, y), batch_size=64, shuffle=True):
            _loss = F.cross_entropy(_xb @ weights, _yb)  # predict, loss
            _loss.backward()  # gradient
            weights.data -= 0.1 * weights.grad  # step
            weights.grad = None  # zero
    with torch.no_grad():
        _valid = torch.from_numpy(dataset.valid.pixels).float().flatten(1) / 255
        loop_accuracy = accuracy(_valid @ weights, torch.from_numpy(dataset.valid.labels)).item()
    mo.md(f"`{loop_accuracy}`")
    return (loop_accuracy,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **26.** A function that makes of `[1, 2, 3, 4]` and `'abcd'` the list `[(1, 'a'), …]`. What is special about
    that? (*It is a collection of (input, target): a `Dataset`.*)
    """)
    return


@app.cell
def _():
    def pairs(a, b):
        return list(zip(a, b, strict=True))

    zipped = pairs([1, 2, 3, 4], "abcd")
    mo.md(f"`{zipped}`")
    return (zipped,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **27.** What does `view` do? (*It says anew how the same numbers are arranged; none is copied, and their
    count must stay.*) **29.** And `@`? (*The product of matrices: `[n, m] @ [m, k]` is `[n, k]`.*)
    """)
    return


@app.cell
def _():
    _stack = torch.zeros(6131, 28, 28)
    view_and_product = tuple(_stack.view(-1, 28 * 28).shape), tuple((_stack.view(-1, 784) @ torch.zeros(784, 30)).shape)
    mo.md(f"`{view_and_product}`")
    return (view_and_product,)


@app.cell(hide_code=True)
def _(answers):
    bias = {
        28: (
            "What are the biases of a network, and what for?",
            "The number that is added after each product. Without it, a picture of all zeros could only ever "
            "get the score 0, and every border would have to go through the origin.",
        ),
    }
    answers(bias)
    return (bias,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **30.** What does `backward` do? (*It computes the slope of the loss for every tensor that requires it, and
    adds it to its `grad`.*) **31.** Why zero the gradients? (*Because it adds.*)
    """)
    return


@app.cell
def _():
    t = torch.tensor(3.0, requires_grad=True)
    added = []
    for _ in range(3):
        (t**2).backward()
        added.append(t.grad.item())
    mo.md(f"`{added}`")
    return (added,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **32.** What does a `Learner` need? (*The data loaders, the model, a loss, an optimizer, and the metrics to
    print.*)
    """)
    return


@app.cell
def _(dataset):
    _, channels, height, width = dataset.train.pixels.shape
    torch.manual_seed(0)
    learn = Learner(
        DataLoaders(DataLoader(dataset.train, 64, shuffle=True), DataLoader(dataset.valid, 256)),
        build_model(Architecture("linear", channels, height, width, classes=2)),
        loss_func=cross_entropy,
        opt_func=torch.optim.SGD,
        metrics=accuracy,
    )
    learner_accuracy = list(learn.epochs(3, 0.1))[-1].metrics["accuracy"]
    mo.md(f"`{learner_accuracy}`")
    return (learner_accuracy,)


@app.cell(hide_code=True)
def _(answers):
    last = {
        35: (
            "What is an activation function?",
            "What stands between two linear layers and is not linear: ReLU, sigmoid. Without it they would be "
            "one layer. (Lesson 8.)",
        ),
        36: (
            "`F.relu` and `nn.ReLU`?",
            "The same mathematics. `F.relu` is a function, to be called; `nn.ReLU()` is a module, to be put "
            "into `nn.Sequential`.",
        ),
        37: (
            "One nonlinearity is enough for any function, it is proved. Why use more?",
            "Because the proof allows any width. With more layers, each smaller, the same accuracy takes "
            "fewer weights and less time, and is easier to train. (Lesson 9.)",
        ),
    }
    answers(last)
    return (last,)


@app.cell
def _(about_loops, about_sgd, bias, last, more, words):
    by_words = {*words, *more, *about_sgd, *about_loops, *bias, *last}
    by_code = {4, 9, 10, 21, 25, 26, 27, 29, 30, 31, 32, 33, 34}  # the cells between the boxes
    answered = sorted(by_words | by_code)
    mo.md(f"{len(answered)} questions, {len(by_code)} of them answered by code above.")
    return (answered,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Exercises

    The chapter asks for two more things: to write a `Learner` of one's own, and to do it all with ten digits.
    Lessons 7 and 11 are a beginning.

    **1.** Write the smallest learner: a function that trains `model` in place, one epoch, with torch's SGD, and
    gives back the mean loss of its batches.
    """)
    return


@app.cell
def _():
    def fit_one_epoch(model, batches, loss_func, lr):
        return ...

    return (fit_one_epoch,)


@app.cell(hide_code=True)
def _(fit_one_epoch):
    def _tried(fit):
        torch.manual_seed(0)
        xs = torch.randn(64, 3)
        ys = xs @ torch.tensor([[1.0], [-2.0], [0.5]])
        model, batches = nn.Linear(3, 1), list(zip(xs.split(8), ys.split(8), strict=True))
        losses = [fit(model, batches, F.mse_loss, 0.1) for _ in range(6)]
        return ... if losses[0] is ... else (losses, F.mse_loss(model(xs), ys).item())

    check_1 = exercise(
        _tried,
        lambda answer: answer[1] < 0.01 and answer[0][0] > answer[0][-1],
        "The loss does not fall as it should: predict, loss, `backward`, `step`, `zero_grad`, for each batch.",
        (fit_one_epoch,),
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** After three calls of `backward` without zeroing, `grad` above was [6, 12, 18]. Of which factor too
    high is the third step?
    """)
    return


@app.cell
def _():
    factor = ...
    return (factor,)


@app.cell(hide_code=True)
def _(factor):
    check_2 = exercise(factor, lambda answer: answer == 3, "18 in place of 6.")
    check_2
    return


if __name__ == "__main__":
    app.run()
