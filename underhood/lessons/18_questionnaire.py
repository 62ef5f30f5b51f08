import marimo

app = marimo.App(width="medium", app_title="18 · The questionnaire", layout_file="layouts/18_questionnaire.slides.json")

with app.setup:
    import copy
    from textwrap import dedent
    from types import SimpleNamespace

    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn

    from underhood import DataLoader, DataLoaders, Learner, batch_accuracy, mnist_loss
    from underhood.lessons import exercise, figure, files, load


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 18 · The questionnaire

    The chapter of fastai's book that this course follows ends with 37 questions, in the order of the chapter. Here
    they are in our words. They are worth more than they look: to recognise an explanation when you read it is easy, to
    give it yourself is what shows that you have it.

    **So this is how to use the page.** Read a question, and answer it aloud or on paper, in whole sentences, before
    you open the answer. Then compare. If something was missing, the answer says which lesson it rests on; go there,
    and come back tomorrow. What can be answered by code is answered by code: it was run just now, and what is printed
    below it is what it printed. **After this lesson** you know which parts of the course you have, and which you
    should read again. **It takes about an hour**, and a quarter of an hour a week later.

    If you would rather be asked at random, press the button.
    """)
    return


@app.cell(hide_code=True)
def _():
    another = mo.ui.button(value=0, on_click=lambda pressed: pressed + 1, label="Ask me one")
    another
    return (another,)


@app.cell(hide_code=True)
def _(another, questions):
    def _asked():
        if not another.value:
            return mo.md("Each press asks another of the 37, and each comes once before any comes again.")
        order = np.random.default_rng(37).permutation(len(questions)) + 1
        number = int(order[(another.value - 1) % len(order)])
        question, answer = questions[number]
        return mo.vstack([mo.md(f"**{number}.** {question}"), mo.accordion({"The answer": answer})])

    _asked()
    return


@app.cell(hide_code=True)
def _():
    _names = {int(file.name[:2]): file.name for file in files()}

    def part(text, below=None, above=None):
        """number → (question, answer). In the text: "### 1. Question", the answer, "→" and the lessons it rests on.

        below: number → Markdown to add to that answer; above: number → a figure to show before it
        """
        below, above, found = below or {}, above or {}, {}
        for block in dedent(text).split("### ")[1:]:
            number, _, question = " ".join(block.partition("\n\n")[0].split()).partition(". ")
            answer, _, lessons = block.partition("\n\n")[2].rpartition("→")
            links = [f"[lesson {one}](?file={_names[one]})" for one in map(int, lessons.split(","))]
            answer += below.get(int(number), "")
            words = mo.md(f"{answer.strip()}\n\n→ {' and '.join(links)}")
            shown = mo.vstack([above[int(number)], words]) if int(number) in above else words
            found[int(number)] = question, shown
        return found

    def run(code, **given):
        """Run the code of an answer: ``text`` is Markdown, the code and what it prints; ``names`` has its results."""
        names = {"torch": torch, "nn": nn, "F": F} | given
        with mo.capture_stdout() as printed:
            exec(dedent(code), names)
        text = f"\n\n```python\n{dedent(code).strip()}\n```\n\nIt prints\n\n```text\n{printed.getvalue().rstrip()}\n```"
        return SimpleNamespace(text=text, names=names)

    def asked(questions, first, last):
        """Some of a part's questions, with the answers folded."""
        labels = {number: questions[number][0].replace("`", "") for number in range(first, last + 1)}
        return mo.accordion({f"**{number}.** {label}": questions[number][1] for number, label in labels.items()})

    return asked, part, run


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Images, arrays and a first try
    """)
    return


@app.cell(hide_code=True)
def _(asked, part, run):
    _4 = run("""
        numbers = [1, 2, 3, 4, 5]
        odd_doubled = [2 * number for number in numbers if number % 2 == 1]
        print(odd_doubled)
    """)
    _9 = run("""
        square = torch.arange(1, 10).reshape(3, 3)
        doubled_corner = (2 * square)[1:, 1:]  # from the second row and the second column on
        print(square)
        print(doubled_corner)
    """)
    _10 = run("""
        images = torch.zeros(1010, 28, 28)
        mean = torch.zeros(28, 28)
        broadcast_shape = tuple((images - mean).shape)
        print(broadcast_shape)
    """)
    odd_doubled = _4.names["odd_doubled"]
    doubled_corner = _9.names["doubled_corner"]
    broadcast_shape = _10.names["broadcast_shape"]
    first_part = part(
        """
    ### 1. How does a computer keep a grey image? And a colour image?

    A grey image is a table of numbers, one for each pixel, in rows and columns. In MNIST's files they are whole
    numbers from 0 to 255, and each says how much ink there is. As a tensor it has rank 2, for instance `[28, 28]`. A
    colour image has three such tables, called channels, for how much red, green and blue light there is at each
    point: rank 3, for instance `[3, 48, 64]`.

    → 1

    ### 2. How are the files and folders of the sample of MNIST arranged? Why?

    There is a folder `train` and a folder `valid`, and each has a folder `3` and a folder `7` with the images inside.
    The inner name is the label, so that nobody has to write a list of labels, and a mistake can be seen and corrected
    by moving a file. The outer name keeps the images to learn from apart from those to measure with, so that
    everybody who uses the sample measures on the same images, and nobody on images that were trained on.

    → 1

    ### 3. How does pixel similarity tell a 3 from a 7?

    It takes the mean of all training images of a class, pixel by pixel: an average 3 and an average 7. For a new
    image it measures the distance to each of the two, for instance the mean of the absolute differences of the
    pixels, and answers with the class whose average is nearer. Nothing is learned beyond the two averages, which is
    why it makes a good baseline.

    → 3

    ### 4. What is a list comprehension? Write one that picks the odd numbers out of a list and doubles them.

    It makes a new list from another collection in one expression, which reads like the sentence that describes it:
    *this value, for each of those, if this holds*. The part with `if` may be left out. It does the same as a loop
    that appends to a list.

    → 3

    ### 5. What is a rank-3 tensor?

    A tensor with three axes, so that it takes three indices to name one of its numbers: which image, which row, which
    column, for instance. All 3s of the training set, stacked, are one: `[6131, 28, 28]`.

    → 2

    ### 6. What is the difference between the rank of a tensor and its shape? How do you get the rank from the shape?

    The shape says how long the tensor is along each of its axes; the rank says how many axes there are. So the rank
    is the length of the shape: `len(tensor.shape)`, or `tensor.ndim` for short. (Beware of the word *dimension*: it
    is used for an axis, and also for the length of an axis.)

    → 2

    ### 7. What are the RMSE and the L1 norm?

    Two ways to make one number of many differences, both of which keep positive and negative ones from cancelling.
    For L1, take the absolute value of each difference, and then their mean. For the root mean squared error, also
    called L2, square each difference, take the mean, and then the root. Squaring makes large differences count for
    more than many small ones. (Strictly, a *norm* is a sum; for comparing images of one size the mean does the same.)

    → 3

    ### 8. How do you calculate with thousands of numbers at once, thousands of times faster than with a loop in
    Python?

    Put them into an array or a tensor and write one operation for all of them, such as `a - b` or `a.mean()`. The
    loop still happens, but inside NumPy or PyTorch, in compiled code that need not look up for every single number
    what kind of thing it is; and if the tensor is on a GPU, thousands of numbers are worked on at the same time.

    → 2

    ### 9. Make a 3 × 3 tensor of the numbers 1 to 9, double it, and take the four numbers at the bottom right.

    Multiplying a tensor multiplies each of its numbers; a slice takes the part.

    → 2

    ### 10. What is broadcasting?

    The rule by which tensors of different shapes can be combined. Their shapes are aligned at the right; an axis that
    one of them lacks, or has with length 1, is treated as if it were repeated to the length that the other has. If
    the lengths differ otherwise, it is an error. Nothing is copied. So one average image can be subtracted from a
    thousand images without a loop:

    → 2
    """,
        below={4: _4.text, 9: _9.text, 10: _10.text},
    )
    asked(first_part, 1, 5)
    return broadcast_shape, doubled_corner, first_part, odd_doubled


@app.cell(hide_code=True)
def _(asked, first_part):
    asked(first_part, 6, 10)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Gradient descent
    """)
    return


@app.cell(hide_code=True)
def _(asked, part):
    second_part = part("""
    ### 11. Are metrics computed on the training set or on the validation set? Why?

    On the validation set. A metric should say how good the model will be with images that it has not seen, and the
    training images it *has* seen: it may have learned some of them by heart, down to their specks. Measured on those,
    a model that is useless elsewhere can look perfect.

    → 3, 14

    ### 12. What is SGD?

    Stochastic gradient descent: change every parameter by a small step against its gradient, again and again, so that
    the loss sinks. *Stochastic* means random: the gradient of each step is not that of all the data but of a few
    items, drawn at random.

    → 6, 8

    ### 13. Why does SGD use mini-batches?

    They are the middle between two extremes. The gradient of the whole training set is exact, but to take a single
    step one has to go through all images. The gradient of one image is quick to have, but it is mostly noise, since
    what is good for one image may be bad for the others; and a processor, above all a GPU, is hardly used by so
    little work. A few dozen or a few hundred images give a gradient that is nearly right, many steps in each epoch,
    and enough work at once.

    → 8

    ### 14. What are the seven steps of learning by gradient descent?

    1. *Initialise* the parameters.
    2. *Predict* with them.
    3. Compute the *loss*: how bad are the predictions?
    4. Compute the *gradient*: how does the loss change with each parameter?
    5. *Step*: change each parameter a little against its gradient.
    6. *Repeat* from the second step.
    7. *Stop* when it is good enough, gets no better, or time is up.

    → 4, 6

    ### 15. How are the weights of a model initialised?

    At random, with small numbers. They are going to be improved anyway, so that the start need not be good; but it
    must not be the same everywhere. If all weights of a layer began equal, all its units would compute the same, get
    the same gradients, and stay copies of one another for ever. (A single linear layer has no such problem, and may
    start from zeros.)

    → 6, 15

    ### 16. What is a loss?

    A function that turns the model's predictions and the targets into one number, which is the smaller the better the
    predictions are, and which reacts to every small change of a parameter. Training makes it smaller; nothing else is
    what the machine calls *good*.

    → 4, 7

    ### 17. Why not always use a high learning rate, to be done sooner?

    Because the gradient tells the slope here, not further away. A step that is too long goes past the lowest place to
    the other side. There it may be no lower, so that the parameter bounces to and fro, or even higher, so that the
    next step is longer still and the loss grows without end.

    → 5

    ### 18. What is a gradient?

    For each parameter one number that says how much the loss would change if this parameter were a little larger and
    all others stayed as they are: the derivative of the loss with respect to it. Its sign says in which direction the
    loss rises, its size how steeply.

    → 5

    ### 19. Do you have to be able to calculate gradients yourself?

    No. `loss.backward()` does it, for every function that is made of PyTorch's operations. You should know what a
    gradient means and what `backward` does with it. Having calculated one by hand once helps to find a fault when a
    training goes wrong.

    → 5, 15

    ### 20. Why can the accuracy not be the loss?

    Because a small change of a weight almost never changes it. Accuracy counts right answers, and a count jumps when
    an image goes from wrong to right and stays as it is in between. So its derivative is 0 almost everywhere, and a
    gradient of zeros says nothing about where to step.

    → 7
    """)
    asked(second_part, 11, 15)
    return (second_part,)


@app.cell(hide_code=True)
def _(asked, second_part):
    asked(second_part, 16, 20)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## A loss for digits, and the loop

    The questions 25, 32 and 33 are answered with the images of 3s and 7s.
    """)
    return


@app.cell(hide_code=True)
def _():
    dataset, which = load("mnist-3v7")

    def as_tensors(images):
        x = torch.from_numpy(images.pixels).float().flatten(1) / 255  # [n, pixels]
        return x, torch.from_numpy(images.labels == 0).float().unsqueeze(1)  # [n, 1]: 1 for a 3, 0 for a 7

    train_x, train_y = as_tensors(dataset.train)
    valid_x, valid_y = as_tensors(dataset.valid)
    mo.md(which)
    return train_x, train_y, valid_x, valid_y


@app.cell(hide_code=True)
def _():
    def _plot(function, reach, title):
        xs = torch.linspace(-reach, reach, 201)
        axes = plt.subplots(figsize=(5, 2.4))[1]
        axes.plot(xs, function(xs))
        axes.axhline(0, color="0.8", zorder=0)
        axes.axvline(0, color="0.8", zorder=0)
        axes.set(title=title, xlabel="x")
        return axes

    sigmoid_curve = figure(
        _plot(torch.sigmoid, 6, "sigmoid"),
        "The sigmoid from −6 to 6: an S that rises from almost 0 to almost 1, through 0.5 at 0, where it is steepest.",
    )
    relu_curve = figure(
        _plot(F.relu, 2, "ReLU"),
        "ReLU from −2 to 2: flat at 0 up to 0, then a straight line that rises to 2. It has a corner at 0.",
    )
    return relu_curve, sigmoid_curve


@app.cell(hide_code=True)
def _(asked, part, run, sigmoid_curve, train_x, train_y, valid_x, valid_y):
    _25 = run(
        """
        torch.manual_seed(0)
        weights = torch.zeros(train_x.shape[1], 1, requires_grad=True)
        bias = torch.zeros(1, requires_grad=True)
        batches = DataLoader((train_x, train_y), batch_size=64, shuffle=True)

        def train_one_epoch():
            for xb, yb in batches:  # one mini-batch after the other
                preds = xb @ weights + bias  # predict  [n, 1]
                loss = mnist_loss(preds, yb)  # loss  []
                loss.backward()  # gradient
                for p in (weights, bias):
                    p.data -= 1.0 * p.grad  # step, with a learning rate of 1
                    p.grad = None  # the next gradient starts from nothing

        for epoch in range(5):
            train_one_epoch()
        with torch.no_grad():
            loop_accuracy = batch_accuracy(valid_x @ weights + bias, valid_y).item()
        print(round(loop_accuracy, 4))
        """,
        DataLoader=DataLoader, mnist_loss=mnist_loss, batch_accuracy=batch_accuracy,
        train_x=train_x, train_y=train_y, valid_x=valid_x, valid_y=valid_y,
    )  # fmt: skip
    _26 = run("""
        def pairs(a, b):
            return list(zip(a, b))

        zipped = pairs([1, 2, 3, 4], "abcd")
        print(zipped)
    """)
    _27 = run("""
        images = torch.zeros(6131, 28, 28)
        rows = images.view(-1, 28 * 28)  # −1: as many rows as it takes
        print(rows.shape)
        print(rows.data_ptr() == images.data_ptr())  # are the numbers in the same place?
    """)
    _29 = run("""
        product = torch.zeros(6131, 784) @ torch.zeros(784, 30)
        print(product.shape)
    """)
    loop_accuracy = _25.names["loop_accuracy"]
    zipped = _26.names["zipped"]
    view_and_product = tuple(_27.names["rows"].shape), tuple(_29.names["product"].shape)
    third_part = part(
        """
    ### 21. Draw the sigmoid. What is special about its shape?

    It takes any number, however large or small, and gives one between 0 and 1, so that any score can be read as a
    probability. It only rises: a higher score always means a higher probability. And it is smooth, with a slope above
    0 everywhere, so that gradient descent can use it.

    → 7

    ### 22. What is the difference between a loss and a metric?

    They are for different readers. The loss is for the machine: it has to react to every small change and to have a
    useful gradient, and if need be it is only near to what we really want. A metric is for people: it has to mean
    something to them, as the accuracy does, and may be as jagged as it likes, because nobody takes its gradient.

    → 7

    ### 23. What computes the new weights from a learning rate?

    The step of the optimizer. For SGD it is `weights -= gradient * learning_rate`, for every parameter; in PyTorch,
    `optimizer.step()`.

    → 6, 11

    ### 24. What does a `DataLoader` do?

    It takes a collection, a Dataset for instance, and deals it out in mini-batches: each time round its loop you get
    the next few inputs and targets, put together into two tensors. With `shuffle=True` it shuffles the collection
    anew before each epoch.

    → 8

    ### 25. Write down the steps of an epoch of SGD, as code or nearly.

    For each mini-batch: predict, loss, gradient, step, and set the gradients back. Written out and run, for five
    epochs, with the accuracy on the validation set at the end:

    → 8

    ### 26. Write a function that makes `[(1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')]` of `[1, 2, 3, 4]` and `'abcd'`.
    What is special about the result?

    `zip` goes through both side by side. The result is a list of pairs, and if the first of each pair is an input and
    the second its target, it is a Dataset: something with a length, whose items are such pairs. That is all that a
    DataLoader asks for.

    → 8

    ### 27. What does `view` do?

    It gives a tensor with the same numbers in another shape. Their count has to stay the same, and one length may be
    −1, which means: whatever is left. No number is copied or moved; the result looks at the same place in memory.

    → 7

    ### 28. What are the biases of a network, and why does it need them?

    The parameters that are added after each multiplication, the *b* in *y = wx + b*. Without them an image of zeros
    would get the score 0 whatever the weights are, and the line on which a score changes its sign would have to go
    through the origin. The bias lets it lie where the data wants it.

    → 7

    ### 29. What does the operator `@` do?

    It multiplies matrices. Each entry of the result is a row of the first times a column of the second, number by
    number, added up; so the rows of the first have to be as long as the columns of the second, and `[n, m] @ [m, k]`
    is `[n, k]`. With images in rows, it is all scores of all images at once.

    → 7
    """,
        below={25: _25.text, 26: _26.text, 27: _27.text, 29: _29.text},
        above={21: sigmoid_curve},
    )
    asked(third_part, 21, 25)
    return loop_accuracy, third_part, view_and_product, zipped


@app.cell(hide_code=True)
def _(asked, third_part):
    asked(third_part, 26, 29)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Learner, nonlinearity and depth
    """)
    return


@app.cell(hide_code=True)
def _(asked, part, relu_curve, run, train_x, train_y, valid_x, valid_y):
    _31 = run("""
        w = torch.tensor(3.0, requires_grad=True)
        added = []
        for number in range(3):
            (w**2).backward()  # the derivative of w² is 2w: 6
            added.append(w.grad.item())
        print(added)
    """)
    _32 = run(
        """
        dls = DataLoaders(
            DataLoader((train_x, train_y), batch_size=64, shuffle=True),
            DataLoader((valid_x, valid_y), batch_size=256),
        )
        torch.manual_seed(0)
        learn = Learner(
            dls,
            nn.Linear(train_x.shape[1], 1),
            loss_func=mnist_loss,
            opt_func=torch.optim.SGD,
            metrics=batch_accuracy,
        )
        learn.fit(5, lr=1.0)
        """,
        DataLoader=DataLoader, DataLoaders=DataLoaders, Learner=Learner, mnist_loss=mnist_loss,
        batch_accuracy=batch_accuracy, train_x=train_x, train_y=train_y, valid_x=valid_x, valid_y=valid_y,
    )  # fmt: skip
    _33 = run(
        """
        torch.manual_seed(0)
        model = nn.Linear(train_x.shape[1], 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        batches = DataLoader((train_x, train_y), batch_size=64, shuffle=True)
        for epoch in range(5):
            for xb, yb in batches:
                loss = mnist_loss(model(xb), yb)  # predict, loss
                loss.backward()  # gradient
                optimizer.step()  # step
                optimizer.zero_grad()
            with torch.no_grad():  # after each epoch: how good is it?
                print(epoch, batch_accuracy(model(valid_x), valid_y).item())
        """,
        DataLoader=DataLoader, mnist_loss=mnist_loss, batch_accuracy=batch_accuracy,
        train_x=train_x, train_y=train_y, valid_x=valid_x, valid_y=valid_y,
    )  # fmt: skip
    added = _31.names["added"]
    learner_accuracy = _32.names["learn"].recorder.values[-1][2]
    fourth_part = part(
        """
    ### 30. What does the method `backward` do?

    It goes back through the record of the calculation, from the loss to the parameters, and computes the derivative
    of the loss with respect to every tensor that asked for it with `requires_grad`. It *adds* each of them to the
    `grad` of its tensor.

    → 5, 15

    ### 31. Why do the gradients have to be set back to zero?

    Because `backward` adds to what is there. Without it, every step would go along the sum of all gradients so far,
    most of which belong to places that the parameters have long left. Three times the same gradient, without zeroing:

    → 5, 9

    ### 32. What does a `Learner` have to be given?

    The data, as training and validation batches; the model; the loss function; the optimizer; and the metrics that
    you want to see. `fit` then wants the number of epochs and the learning rate.

    → 11

    ### 33. Show the steps of a training loop, as code or nearly.

    Epochs outside, mini-batches inside, and after each epoch a look at the validation set. This is what the `Learner`
    of the last question does:

    → 8, 11

    ### 34. What is ReLU? Draw it from −2 to 2.

    The *rectified linear unit* gives 0 for negative numbers and leaves positive ones as they are: `max(x, 0)`.

    → 12

    ### 35. What is an activation function?

    The function between two linear layers that is not linear, such as ReLU or the sigmoid; we called it a
    nonlinearity. Without it two linear layers would together be no more than one linear layer.

    → 12

    ### 36. What is the difference between `F.relu` and `nn.ReLU`?

    The mathematics is the same. `F.relu` is a function that you call with a tensor. `nn.ReLU` is a module:
    `nn.ReLU()` makes an object that you can put into `nn.Sequential`, beside the layers.

    → 12

    ### 37. With a single nonlinearity one can come as near to any function as one likes; that is proved. Why does one
    usually use more?

    Because the proof says nothing about how many activations it takes, nor how to find their weights. With more
    layers, each of them smaller, one reaches the same accuracy with fewer parameters, and so in less time and memory;
    and in practice a better one.

    → 12, 13
    """,
        below={31: _31.text, 32: _32.text, 33: _33.text},
        above={34: relu_curve},
    )
    asked(fourth_part, 30, 33)
    return added, fourth_part, learner_accuracy


@app.cell(hide_code=True)
def _(asked, fourth_part):
    asked(fourth_part, 34, 37)
    return


@app.cell(hide_code=True)
def _(first_part, fourth_part, second_part, third_part):
    questions = first_part | second_part | third_part | fourth_part  # number → (question, answer)
    answered = sorted(questions)
    mo.md(f"""
    These were {len(answered)} questions. How many did you answer without looking? If it was more than thirty, read
    the answers of the others once more and go on. If it was fewer, do not be discouraged: take the
    lessons to which the others belong, one a day, and do their exercises again.

    ## Exercises

    **1.** In the answer to question 31, `backward` was called three times. It is called twice more, five times in
    all, still without zeroing. How many times as large as the right gradient is what is then in `w.grad`?
    """)
    return (questions,)


@app.cell
def _():
    times = ...  # a number
    return (times,)


@app.cell(hide_code=True)
def _(times):
    check_1 = exercise(
        "18.1",
        times,
        lambda answer: answer == 5,
        hints=(
            "What does `backward` do with the gradient that is there already?",
            "The list in the answer goes 6, 12, 18. How does it go on?",
            "The fifth number, divided by the first.",
        ),
        solution="times = 30 / 6  # 5: every call adds 6",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** Write a function that trains a model for one epoch with `torch.optim.SGD` and gives back the mean of the
    losses of its batches. It is the smallest useful learner.
    """)
    return


@app.cell
def _():
    def fit_one_epoch(model, batches, loss_func, lr):
        return ...

    return (fit_one_epoch,)


@app.cell(hide_code=True)
def _(fit_one_epoch):
    torch.manual_seed(0)
    _x = torch.randn(64, 3)
    _y = _x @ torch.tensor([[1.0], [-2.0], [0.5]])
    _batches = list(zip(_x.split(8), _y.split(8), strict=True))
    _model = nn.Linear(3, 1)
    _before = F.mse_loss(copy.deepcopy(_model)(_x), _y).item()
    check_2 = exercise(
        "18.2",
        fit_one_epoch,
        lambda mean: 0 < float(mean) < _before and F.mse_loss(_model(_x), _y).item() < 0.1 * _before,
        hints=(
            "Before the loop: an optimizer, which knows `model.parameters()`, and an empty list for the losses.",
            "For each batch: predict and loss, `backward`, `step`, `zero_grad`. Keep `loss.item()`.",
            "After the loop: the sum of the losses divided by their number.",
        ),
        solution="""
        def fit_one_epoch(model, batches, loss_func, lr):
            optimizer = torch.optim.SGD(model.parameters(), lr)
            losses = []
            for xb, yb in batches:
                loss = loss_func(model(xb), yb)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())
            return sum(losses) / len(losses)
        """,
        arguments=(_model, _batches, F.mse_loss, 0.1),
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Write the network of lesson 12, two linear layers with a ReLU between them and 30 activations, for *ten*
    digits of 28 × 28 pixels. It takes rows of 784 pixels.
    """)
    return


@app.cell
def _():
    ten_net = ...  # nn.Sequential(…)
    return (ten_net,)


@app.cell(hide_code=True)
def _(ten_net):
    check_3 = exercise(
        "18.3",
        ten_net,
        lambda answer: (
            answer(torch.zeros(5, 784)).shape == (5, 10)
            and sum(p.numel() for p in answer.parameters()) == 784 * 30 + 30 + 30 * 10 + 10
            and any(isinstance(layer, nn.ReLU) for layer in answer.modules())
        ),
        hints=(
            "What goes in is the same as for 3 and 7. What has to come out for each image?",
            "Ten scores, one for each class; softmax is part of the loss, not of the network.",
            "`nn.Linear` takes the number of inputs and of outputs: 784 to 30, and 30 to ten.",
        ),
        solution="ten_net = nn.Sequential(nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10))",
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Further research

    The chapter ends with two tasks that take longer than an evening, and that are worth it.

    **1. A `Learner` of your own.** Write one from an empty file, with the training loop that you now know by heart
    and without looking at lesson 11. What should `fit` print? Where do the metrics come from? When it works, give it
    something that ours does not have: let it remember the parameters of its best epoch, say, or stop when the
    validation loss has not fallen for three epochs. Then compare it with `underhood/core/learner.py`, and ask of
    every line that you did not need what it is there for.

    **2. The whole way with ten digits.** Do every step of the course once more, from the files to a network, with all
    ten digits of MNIST. (`load("mnist")` gives you the images; `underhood get mnist --as folder digits` writes them
    as files, if you want to begin at the very beginning.) These are the places where you will have to think:

    - the baseline: ten average images, and the nearest of ten in place of the nearer of two;
    - the target: what stands in place of 1 for a 3 and 0 for a 7?
    - the loss: why does `mnist_loss` not do, and what takes its place?
    - the metric: which class does the model answer with, if there are ten scores?
    - the weights as a picture: there are ten of them now.

    Lessons 15 and 17 have all the parts. With pixel similarity expect a little over 80 %, with a single linear layer
    about 92 %, with the network from exercise 3 over 95 %.

    **And then?** [19 · Glossary](?file=19_glossary.py) has every term of the course in alphabetical order, with a
    link to the lesson that explains it. The ways on from here are at the end of [lesson 17](?file=17_ten_digits.py).
    """)
    return


if __name__ == "__main__":
    app.run()
