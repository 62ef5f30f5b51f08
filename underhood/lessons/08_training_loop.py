import marimo

app = marimo.App(
    width="medium",
    app_title="8 · Mini-batches and the training loop",
    layout_file="layouts/08_training_loop.slides.json",
)

with app.setup:
    import string
    from functools import partial
    from time import perf_counter

    import marimo as mo
    import matplotlib.pyplot as plt
    import torch
    from torch.utils.data import DataLoader as TorchLoader

    from underhood import DataLoader
    from underhood.display.notebook import show_image
    from underhood.lessons import exercise, figure, load, table
    from underhood.scratch.sgd import init_params, linear1, mnist_loss, sigmoid


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 8 · Mini-batches and the training loop

    Lesson 7 ended with a loss for digits, and with a gradient that says which way each weight should go. One step is
    not yet learning. In this lesson the steps become a loop, the loop runs by itself, and at the end of it the
    program tells 3s from 7s better than everything we have tried so far. On the way there is one decision that the
    roller coaster of lesson 6, with its twenty measurements, never asked of us: **how many images should the
    program look at before it takes a step?**

    **After this lesson** you can say what mini-batches, epochs and shuffling are good for, write a training loop
    without looking anything up, and read in the weights themselves what a model has learned. **It takes about
    an hour.**
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
    The data are arranged as in lesson 7: each image is one row of numbers between 0 and 1, and its target stands in a
    column of its own, 1 for a 3 and 0 for a 7. (The functions that you saw in lesson 7 are also kept in a file,
    `underhood/scratch/sgd.py`, and later lessons import them from there.)
    """)
    return


@app.cell
def _(dataset):
    def tensors(images):
        x = torch.from_numpy(images.pixels).float().flatten(1) / 255  # [n, pixels]
        y = torch.from_numpy(images.labels == 0).float().unsqueeze(1)  # [n, 1]
        return x, y

    train_x, train_y = tensors(dataset.train)
    valid_x, valid_y = tensors(dataset.valid)
    n, pixels = train_x.shape
    print(train_x.shape, train_y.shape)
    print(valid_x.shape, valid_y.shape)
    return n, pixels, train_x, train_y, valid_x, valid_y


@app.cell(hide_code=True)
def _(n):
    mo.md(f"""
    ## How many images for one step?

    The loss is an average over images, and so is its gradient. That leaves us a choice of how many to average.

    - **All of them.** The gradient is then exactly the one we want, but a single step has to look at
      {n:,} images first. (Many collections have millions.)
    - **One.** That is quick, but its gradient only says how to get better at this one image, and the next image
      may ask for the opposite.

    We need not argue about which is better, because we can measure it. The next function computes the gradient of the
    loss for any choice of images, always at the same weights.
    """)
    return


@app.cell
def _(pixels, train_x, train_y):
    torch.manual_seed(0)
    first_weights = init_params((pixels, 1), std=0.1).detach()  # [pixels, 1]
    first_bias = init_params(1, std=0.1).detach()  # [1]

    def gradient(rows):  # the numbers of b images → [pixels, 1]
        weights = first_weights.clone().requires_grad_()
        preds = linear1(train_x[rows], weights, first_bias)  # [b, 1]
        mnist_loss(preds, train_y[rows]).backward()
        return weights.grad

    full = gradient(torch.arange(len(train_x)))  # of all images
    one = gradient(torch.tensor([0]))  # of the first image alone
    print(full.shape, full.norm(), one.norm())
    return first_bias, first_weights, full, gradient


@app.cell(hide_code=True)
def _():
    mo.md("""
    `init_params` is that of lesson 7; `std=0.1` makes the random weights ten times smaller than there, so that the
    first scores lie near 0, where the sigmoid is steep and gradients are large. (`detach()` gives the plain
    numbers, without autograd's notes; `norm()` is the length of lesson 3, the root of the sum of
    squares.)

    Now we draw images by chance, thirty times for each number of images, and ask how far their gradient is from that
    of all images. (`{… for size in …}` makes a dictionary as a list comprehension makes a list.) The distance is the
    length of the difference, in percent of the length of the true gradient. At 100 % the error is as large as what we
    wanted to measure.
    """)
    return


@app.cell
def _(full, gradient, n):
    def how_far_off(size, times=30):  # → the mean error, and seconds for one gradient
        error, seconds = 0.0, 0.0
        for _ in range(times):
            rows = torch.randint(n, (size,))  # drawn by chance
            start = perf_counter()
            difference = gradient(rows) - full
            seconds += perf_counter() - start
            error += (difference.norm() / full.norm()).item()
        return error / times, seconds / times

    torch.manual_seed(1)
    noise = {size: how_far_off(size) for size in (1, 4, 16, 64, 256, 1024) if size < n}
    table(
        [
            {"images": size, "off by": f"{100 * error:.0f} %", "time": f"{1000 * seconds:.2f} ms"}
            for size, (error, seconds) in noise.items()
        ]
        + [{"images": f"all {n:,}", "off by": "0 %", "time": f"{1000 * how_far_off(n, 3)[1]:.2f} ms"}]
    )
    return (noise,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Read the two columns against each other. The gradient of a single image is off by more than its own length, so it
    is a poor guide. From line to line the number of images grows fourfold, and the error about halves: the error of
    an average falls with the square root of how many you average, so that each further improvement costs more than
    the last. (Why the root? Think of the error of each image as a step to the left or to the right, by chance. After
    n such steps you are not n steps away from where you began, as most of them cancelled; on average the square of
    the distance is n, so the distance is about √n. An average divides the sum by n, and √n / n is 1 / √n.) The time,
    meanwhile, hardly grows at first. A processor works on many numbers at once, and some dozens of images take it
    little longer than one; only then does the price rise with their number.

    Is an error of ten or twenty percent not bad? No, because a step is small, and right after it we measure again at
    the new place. For the price of one exact step we can take dozens of roughly right ones. The errors point in all
    directions and mostly cancel; what the gradients have in common adds up.

    So a step looks neither at one image nor at all, but at a handful. These are the words for it:

    - A **mini-batch**, mostly just called a *batch*, is the group of images and targets that one step looks at. In
      code they are `xb` and `yb`, with b for batch.
    - The **batch size** is how many there are in it: `batch_size` in PyTorch, `bs` in fastai.
    - An **epoch** is one pass over the whole training set, batch after batch. Then the next epoch begins.
    - **Stochastic** means *governed by chance*. Gradient descent on batches that are drawn by chance is
      **stochastic gradient descent**, in short SGD. In 1951 Herbert Robbins and Sutton Monro proved that one arrives
      in this way too, although every single measurement is noisy, as long as the steps slowly become smaller.
      (Ours keep their rate for now, and so the loss trembles to the end. In lesson 11 a schedule lets it fall.)

    How large should a batch be? From 16 to a few hundred is usual. On a GPU one takes larger ones, since its thousands
    of small processors are only quick when all have work to do. The upper limit is its memory: a
    batch must fit in.

    ## Dealing out batches

    Who cuts the training set into batches? First the images and their targets have to be brought together, so that no
    image loses its answer. Python's `zip` does that: it closes two lists like a zip fastener.
    """)
    return


@app.cell
def _():
    print(list(zip(["first image", "second image"], [1, 0], strict=True)))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    A list of pairs of input and target is all that PyTorch means by a **Dataset**: something that has a length, and of
    which you can ask for a pair by its number. (`strict=True` raises an error if one of the two is longer.) So this
    is our training set as a Dataset:
    """)
    return


@app.cell
def _(train_x, train_y):
    dset = list(zip(train_x, train_y, strict=True))
    _x, _y = dset[0]
    print(len(dset), _x.shape, _y)
    return (dset,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    To cut it into batches is the work of a **DataLoader**: give it a collection and a batch size, and it deals the
    collection out in batches, in a new order every time if you ask for `shuffle=True`. It is easiest to see with a
    collection of plain numbers, the fifteen from 0 to 14:
    """)
    return


@app.cell
def _():
    numbers = DataLoader(range(15), batch_size=5, shuffle=True)
    for _batch in numbers:
        print(_batch)
    return (numbers,)


@app.cell
def _(numbers):
    for _batch in numbers:  # once more: the next epoch
        print(_batch)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Three batches of five. Each number appears exactly once in an epoch, and the second epoch has another order. With
    pairs it works in the same way. Here is a Dataset of the alphabet, each letter with its number, in batches of six.
    (`enumerate` numbers the items of a list, from 0 on.)
    """)
    return


@app.cell
def _():
    alphabet = list(enumerate(string.ascii_lowercase))  # [(0, 'a'), (1, 'b'), …, (25, 'z')]
    letters = list(DataLoader(alphabet, batch_size=6, shuffle=True))
    for _numbers, _letters in letters:
        print(_numbers, _letters)
    return (letters,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Look closely at one line. Six pairs went in, and what came out is one pair, of six numbers and six letters, each
    number still in the place of its letter. That turning of a list of pairs into a pair of lists is called *collating*.
    Numbers become a tensor on the way. And since 26 is not a multiple of six, the last batch has only two.

    This `DataLoader` comes with this course. PyTorch's own, `torch.utils.data.DataLoader`, is used in the same
    way:
    """)
    return


@app.cell
def _():
    for _batch in TorchLoader(range(15), batch_size=5, shuffle=True):
        print(_batch)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Why is there a second one at all? Because PyTorch's fetches the items of a batch one by one. That is necessary for
    photographs, which have to be opened and decoded, and slow for small images that lie in one tensor anyway. Ours
    also takes a tuple of tensors, and cuts whole batches out of them at once. Here are both, for one epoch of our
    training set:
    """)
    return


@app.cell
def _(dset, n, train_x, train_y):
    batch_size = 256 if n > 1000 else 16
    dl = DataLoader((train_x, train_y), batch_size, shuffle=True)

    def seconds_of(loader):
        start = perf_counter()
        for _ in loader:
            pass
        return perf_counter() - start

    print(f"PyTorch's: {1000 * seconds_of(TorchLoader(dset, batch_size, shuffle=True)):.0f} ms")
    print(f"ours:      {1000 * seconds_of(dl):.0f} ms, for {len(dl)} batches")
    return batch_size, dl


@app.cell
def _(dl):
    xb, yb = next(iter(dl))  # the first batch of an epoch
    print(xb.shape, yb.shape)
    print(f"{yb.mean():.2f} of them are 3s")
    return xb, yb


@app.cell(hide_code=True)
def _():
    mo.md("""
    (`iter` begins an epoch, and `next` takes one batch from it. fastai has a function `first` for the two.)

    **Why shuffle?** In a folder all 3s come before all 7s, and so they often do in memory. Without shuffling, whole
    batches would hold nothing but 3s. Their gradient says "call everything a 3", step after step, until the 7s
    come and say the opposite. A batch is only useful as a sample of the whole, and it is one if chance has
    picked it. A *new* order in each epoch makes sure that no image always
    meets the same others, so that the errors of the batches do not repeat themselves. Validation images need no
    shuffling: there we only count.

    ## The loop, function by function

    The model is `linear1` from lesson 7: pixels times weights, plus bias. A loop should not have to know
    which model it trains, though. It should be able to say `model(xb)`, whatever the model's parameters are called.
    `functools.partial` helps: it takes a function and some of its arguments, and gives back a function
    that only needs the others.
    """)
    return


@app.cell
def _(first_bias, first_weights, xb):
    weights = first_weights.clone().requires_grad_()  # [pixels, 1]
    bias = first_bias.clone().requires_grad_()  # [1]
    model = partial(linear1, weights=weights, bias=bias)  # model(xb) = linear1(xb, weights, bias)
    model(xb[:4])  # [4, 1]
    return bias, model, weights


@app.cell(hide_code=True)
def _():
    mo.md("""
    Four images, four scores. `model` does not hold a copy of the weights, but the weights themselves: when
    they change, its answers change.

    **The gradient of a batch.** Predict, compute the loss, go backward:
    """)
    return


@app.cell
def _():
    def calc_grad(xb, yb, model):
        loss = mnist_loss(model(xb), yb)  # [b, pixels] → [b, 1] → []
        loss.backward()  # adds to the grad of each parameter

    return (calc_grad,)


@app.cell
def _(bias, calc_grad, model, weights, xb, yb):
    weights.grad = bias.grad = None
    calc_grad(xb[:4], yb[:4], model)
    print(weights.grad.shape, weights.grad.mean(), bias.grad)
    calc_grad(xb[:4], yb[:4], model)
    print(weights.grad.shape, weights.grad.mean(), bias.grad)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The same four images, the same weights, and the second time everything is twice as large! You know why from lesson
    5: `backward` *adds* to what is already in `grad`. It is up to us to set it back to zero before the next batch. The
    method for that is `zero_()`, with the underscore of all methods that change a tensor in its place.

    **One epoch.** For each batch: the gradient, then for each parameter a step against it, and back to zero. The
    step goes to `p.data`, the bare numbers, as in lesson 6, so that autograd takes no note of it. (Why `list(params)`?
    The parameters may come as something that can be gone through only once, as they will in lesson 11; a list can be
    gone through again for every batch.)
    """)
    return


@app.cell
def _(calc_grad):
    def train_epoch(model, dl, lr, params):
        params = list(params)
        for xb, yb in dl:  # [b, pixels], [b, 1]
            calc_grad(xb, yb, model)
            for p in params:
                p.data -= p.grad * lr  # downhill
                p.grad.zero_()  # or the next batch would add to it

    return (train_epoch,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    This is the heart of the whole course, in seven lines. Everything that trains a network, however large,
    is built around a loop like this.

    **How well does it do?** The loss is for the gradient; we want the accuracy. A prediction means "3" if its
    sigmoid is above 0.5. Compared with the targets this gives `True` or `False` for each image, as numbers 1 and 0,
    and their mean is the fraction that is right.
    """)
    return


@app.cell
def _():
    def batch_accuracy(preds, yb):
        correct = (sigmoid(preds) > 0.5) == yb  # [b, 1], True or False
        return correct.float().mean()  # []

    return (batch_accuracy,)


@app.cell
def _(batch_accuracy, first_bias, first_weights, xb, yb):
    batch_accuracy(linear1(xb, first_weights, first_bias), yb)  # before any training
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Random weights are about as good as a coin. For the whole validation set we take the mean over its batches.
    `@torch.no_grad()` in the line above the function switches off autograd's notes while the function runs.
    (PyTorch's documentation says that it *records* operations.) Nobody will call `backward` here, and without the
    notes it is faster and needs less memory.
    """)
    return


@app.cell
def _(batch_accuracy):
    @torch.no_grad()
    def validate_epoch(model, valid_dl):
        accs = [batch_accuracy(model(xb), yb) for xb, yb in valid_dl]
        return round(torch.stack(accs).mean().item(), 4)

    return (validate_epoch,)


@app.cell
def _(batch_size, first_bias, first_weights, train_epoch, train_x, train_y, valid_x, valid_y, validate_epoch):
    valid_dl = DataLoader((valid_x, valid_y), batch_size=256)

    def one_epoch(lr):
        weights, bias = first_weights.clone().requires_grad_(), first_bias.clone().requires_grad_()
        model = partial(linear1, weights=weights, bias=bias)
        before = validate_epoch(model, valid_dl)
        train_epoch(model, DataLoader((train_x, train_y), batch_size, shuffle=True), lr, (weights, bias))
        return before, validate_epoch(model, valid_dl)

    print(one_epoch(lr=1.0))  # accuracy before and after
    return (valid_dl,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    From guessing to reading, in a single pass over the images! Let us do more of them. Move the two sliders:
    what happens with a learning rate that is ten or a hundred times too low, what with one that is much too high?
    """)
    return


@app.cell(hide_code=True)
def _():
    rate = mo.ui.slider(steps=[0.001, 0.01, 0.1, 1.0, 10.0, 100.0], value=1.0, label="learning rate", show_value=True)
    epochs = mo.ui.slider(1, 20, value=10, label="epochs", show_value=True)
    mo.hstack([rate, epochs], justify="start", wrap=True)
    return epochs, rate


@app.cell
def _(
    batch_size,
    epochs,
    first_bias,
    first_weights,
    rate,
    train_epoch,
    train_x,
    train_y,
    valid_dl,
    validate_epoch,
):
    def train_for(epochs, lr):  # → the accuracy before the first epoch and after each
        weights, bias = first_weights.clone().requires_grad_(), first_bias.clone().requires_grad_()
        model = partial(linear1, weights=weights, bias=bias)
        dl = DataLoader((train_x, train_y), batch_size, shuffle=True)
        accuracies = [validate_epoch(model, valid_dl)]
        for _ in range(epochs):
            train_epoch(model, dl, lr, (weights, bias))
            accuracies.append(validate_epoch(model, valid_dl))
        return accuracies

    accuracies = train_for(epochs.value, rate.value)
    by_hand = accuracies[-1]
    print(*accuracies)
    return accuracies, by_hand


@app.cell(hide_code=True)
def _(accuracies, n):
    CHAPTER = [
        0.5219, 0.6883, 0.8314, 0.9017, 0.9227, 0.9349, 0.9438, 0.9501, 0.9535, 0.9564, 0.9594, 0.9618, 0.9613, 0.9638,
        0.9643, 0.9652, 0.9662, 0.9677, 0.9687, 0.9691, 0.9691, 0.9696,
    ]  # fmt: skip
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _axes.plot(CHAPTER, ".-", color="0.65", label="the book's run (MNIST)")
    _axes.plot(accuracies, "o-", label="yours")
    if n > 1000:
        _axes.axhline(0.9511, color="0.65", linestyle=":", label="similarity, lesson 3")
    _axes.set(xlabel="epochs", ylabel="accuracy on validation", ylim=(0.3, 1.02), title=f"{accuracies[-1]:.4f}")
    _axes.xaxis.get_major_locator().set_params(integer=True)
    _axes.legend(loc="lower right")
    figure(
        _axes,
        f"Accuracy on the validation set: {accuracies[0]:.2f} before training, {accuracies[1]:.2f} after one epoch, "
        f"{accuracies[-1]:.4f} at the end. In grey the book's run, which rises from 0.52 to 0.97 in 21 epochs.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The grey line is the run that the book *Deep Learning for Coders* prints, on MNIST: 0.5219 before training, 0.6883
    after one epoch, 0.8314 after two, and 0.9696 in the end. Why is it slower than ours at the same learning rate? For
    two reasons that you already know. Its weights begin ten times as large, so that the first scores lie far out
    where the sigmoid is flat and gradients are small; and it does not shuffle.

    With MNIST, ten times the learning rate is even better. A hundred times is a catastrophe: the accuracy stays close
    to a half whatever you do, since the weights have become `nan`, *not a number*. The next lesson shows how that
    comes about. And at a thousandth, nothing is wrong at all; it only takes a very long time. So where does the 1
    come from? From trying powers of ten, as you just did, and taking one with which learning is fast and steady. (We
    stay with 1, although 10 is better still, because the book takes 1.) It is no property of learning in general:
    with another loss, another model or pixels from 0 to 255, all slopes would have other sizes, and another rate
    would be right. Lesson 13's networks, for instance, are trained with 0.01.

    Both runs pass the 0.9511 of pixel similarity, for which somebody had to have an idea about digits. Here nobody had
    one. The program was told how far off it was, and found the rest by itself.

    ## The whole loop, written out

    Four functions are good for reuse. To see what happens, it helps to have it all in one place once, without any of
    them. The numbers in the comments are the seven steps of lesson 4.
    """)
    return


@app.cell
def _(batch_size, first_bias, first_weights, train_x, train_y, valid_x, valid_y):
    def written_out(lr=1.0, epochs=3):
        weights = first_weights.clone().requires_grad_()  # 1. initialise: [pixels, 1]
        bias = first_bias.clone().requires_grad_()  # [1]
        dl = DataLoader((train_x, train_y), batch_size, shuffle=True)
        for epoch in range(epochs):  # 6. repeat, 7. until we stop
            for xb, yb in dl:  # [b, pixels], [b, 1]
                preds = xb @ weights + bias  # 2. predict: [b, 1]
                p = sigmoid(preds)  # [b, 1], from 0 to 1
                loss = torch.where(yb == 1, 1 - p, p).mean()  # 3. the loss: []
                loss.backward()  # 4. the gradient
                for parameter in (weights, bias):
                    parameter.data -= parameter.grad * lr  # 5. the step
                    parameter.grad.zero_()
            with torch.no_grad():
                right = (valid_x @ weights + bias > 0) == (valid_y == 1)  # [n, 1]
            print(f"epoch {epoch + 1}: {right.float().mean():.4f}")

    written_out()
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    `with torch.no_grad():` does for a few lines what `@torch.no_grad()` does for a whole function. And this is a whole
    program, with everything that it needs:

    ```python
    import torch
    from underhood import DataLoader
    from underhood.lessons import load

    dataset, _ = load("mnist-3v7")

    def tensors(images):
        x = torch.from_numpy(images.pixels).float().flatten(1) / 255  # [n, pixels], 0 to 1
        y = torch.from_numpy(images.labels == 0).float().unsqueeze(1)  # [n, 1]: 1 for a 3
        return x, y

    train_x, train_y = tensors(dataset.train)
    valid_x, valid_y = tensors(dataset.valid)
    dl = DataLoader((train_x, train_y), batch_size=256, shuffle=True)
    weights = (torch.randn(train_x.shape[1], 1) * 0.1).requires_grad_()
    bias = torch.zeros(1).requires_grad_()

    for epoch in range(10):
        for xb, yb in dl:
            p = torch.sigmoid(xb @ weights + bias)
            loss = torch.where(yb == 1, 1 - p, p).mean()
            loss.backward()
            for parameter in (weights, bias):
                parameter.data -= parameter.grad * 1.0
                parameter.grad.zero_()
        with torch.no_grad():
            right = (valid_x @ weights + bias > 0) == (valid_y == 1)
        print(epoch + 1, right.float().mean().item())
    ```

    Close this page, type it from memory into an empty file, `loop.py`, and start it with `python loop.py`. Then look up
    what was missing, and do it again tomorrow. (Exercise 5 has a part of it.)

    If you compare these accuracies with
    those above digit by digit, you may find a tiny difference. `validate_epoch` averages over batches, and the last one
    is short, so that each of its images counts a little more. In exercise 4 you put that right.

    ## What the batch size changes

    The learning rate was one dial. Here is the other. Each point is the loss of one step, over a single
    epoch: always the same images, always the learning rate 1, but cut into batches of the size you choose.
    """)
    return


@app.cell(hide_code=True)
def _(n):
    _sizes = [16, 64, 256, 1024, 4096, n] if n > 1000 else [4, 16, 64, n]
    size = mo.ui.slider(steps=_sizes, value=_sizes[2 if n > 1000 else 1], label="batch size", show_value=True)
    size
    return (size,)


@app.cell
def _(first_bias, first_weights, size, train_x, train_y, valid_dl, validate_epoch):
    def losses_of_one_epoch(size, lr=1.0):  # → losses, seconds, accuracy afterwards
        weights, bias = first_weights.clone().requires_grad_(), first_bias.clone().requires_grad_()
        losses, start = [], perf_counter()
        for xb, yb in DataLoader((train_x, train_y), size, shuffle=True):
            loss = mnist_loss(linear1(xb, weights, bias), yb)
            loss.backward()
            for p in (weights, bias):
                p.data -= p.grad * lr
                p.grad.zero_()
            losses.append(loss.item())
        seconds = perf_counter() - start
        return losses, seconds, validate_epoch(partial(linear1, weights=weights, bias=bias), valid_dl)

    batch_losses, _seconds, batch_result = losses_of_one_epoch(size.value)
    print(f"{len(batch_losses)} steps in {_seconds:.2f} s, then right: {batch_result}")
    return batch_losses, batch_result


@app.cell(hide_code=True)
def _(batch_losses, batch_result, n, size):
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _seen = [min(n, (_step + 1) * size.value) for _step in range(len(batch_losses))]
    _axes.plot(_seen, batch_losses, "o-" if len(batch_losses) < 60 else "-", linewidth=0.8, markersize=3)
    _axes.set(xlabel="images seen", ylabel="loss of the batch", ylim=(0, 0.75), xlim=(0, 1.03 * n))
    figure(
        _axes,
        f"The loss of each batch in one epoch with batches of {size.value}: {len(batch_losses)} steps, the first loss "
        f"is {batch_losses[0]:.2f}, the last {batch_losses[-1]:.2f}. Accuracy afterwards: {batch_result}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    With all images in one batch an epoch is a single step, and the accuracy afterwards shows it. With small batches
    there are many steps, and the loss comes far down, but the curve trembles: each batch is a small sample, and some
    are harder than others. Small batches also take more time, because the processor gets little to do in each step.
    Somewhere between lies a good choice, and most of the time it does not have to be exact.

    A warning for reading such curves: the loss of *one batch* going up means nothing. Only the trend counts.

    ## The weights become a picture

    What has the model learned? Each weight belongs to one pixel, so the weights can be drawn as an image of the same
    size. We train once more, and this time keep the weights after every step.
    """)
    return


@app.cell
def _(batch_size, calc_grad, first_bias, first_weights, train_x, train_y):
    def follow(lr=1.0, epochs=10):  # → weights [steps + 1, pixels] and biases [steps + 1]
        weights, bias = first_weights.clone().requires_grad_(), first_bias.clone().requires_grad_()
        model = partial(linear1, weights=weights, bias=bias)
        dl = DataLoader((train_x, train_y), batch_size, shuffle=True)
        all_weights, all_biases = [weights.data[:, 0].clone()], [bias.data[0].clone()]
        for _ in range(epochs):
            for xb, yb in dl:
                calc_grad(xb, yb, model)
                for p in (weights, bias):
                    p.data -= p.grad * lr
                    p.grad.zero_()
                all_weights.append(weights.data[:, 0].clone())
                all_biases.append(bias.data[0].clone())
        return torch.stack(all_weights), torch.stack(all_biases)

    history, biases = follow()
    print(history.shape, biases.shape)
    return biases, history


@app.cell(hide_code=True)
def _():
    mo.md("""
    One matrix multiplication now gives the scores of all validation images with the weights of all steps, and from
    these follow the loss and the accuracy at every step.
    """)
    return


@app.cell
def _(biases, history, valid_x, valid_y):
    scores = valid_x @ history.T + biases  # [n, pixels] @ [pixels, steps] → [n, steps]
    _p = sigmoid(scores)
    loss_at = torch.where(valid_y == 1, 1 - _p, _p).mean(0)  # [steps]
    accuracy_at = ((scores > 0) == (valid_y == 1)).float().mean(0)  # [steps]
    print(scores.shape, loss_at[-1], accuracy_at[-1])
    return accuracy_at, loss_at, scores


@app.cell(hide_code=True)
def _(history):
    _last = len(history) - 1
    _steps = sorted({0, 1, 2, 3, 5, 8, 12, 18, 26, 37, 52, 74, 105, 150, 210, 300, 420, _last})
    step = mo.ui.slider(
        steps=[_one for _one in _steps if _one <= _last], value=_last, label="after step", show_value=True
    )
    step
    return (step,)


@app.cell(hide_code=True)
def _(accuracy_at, dataset, history, loss_at, step):
    side_of_image = dataset.train.pixels.shape[-1]
    _most = history[-1].abs().max().item()
    _figure, (_left, _right) = plt.subplots(1, 2, figsize=(7.4, 3.1), width_ratios=(1, 1.35))
    _drawn = _left.imshow(
        history[step.value].reshape(side_of_image, -1).numpy(), cmap="RdBu_r", vmin=-_most, vmax=_most
    )
    _left.set_axis_off()
    _left.set_title(f"weights after step {step.value}")
    _figure.colorbar(_drawn, ax=_left, fraction=0.046, label="for a 7  ←   → for a 3")
    _right.plot(accuracy_at, label="accuracy")
    _right.plot(loss_at, label="loss")
    _right.axvline(step.value, color="0.5", linewidth=1)
    _right.set(
        xlabel="step", ylim=(0, 1.02), title=f"{accuracy_at[step.value]:.4f} right, loss {loss_at[step.value]:.4f}"
    )
    _right.legend(loc="center right")
    _figure.tight_layout()
    figure(
        _figure,
        f"Left the weights after step {step.value} as an image, red where ink speaks for a 3 and blue where it speaks "
        f"for a 7. Right accuracy and loss on the validation set over the steps: at this step "
        f"{accuracy_at[step.value]:.4f} and {loss_at[step.value]:.4f}.",
    )
    return (side_of_image,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Begin at step 0, and move to the right. At first there is only noise, the random weights. After a handful of steps
    areas appear, and the accuracy leaps up. In the end you see a drawing that nobody drew. Red are the places where
    ink speaks for a 3, blue those where it speaks for a 7, and pale those that say little. With MNIST you can recognise
    the middle stroke of the 3, dark red, its upper and its lower bow, and below the middle, in blue, the stem of the
    7, which crosses just where a 3 is open.

    Along the edge the noise of the beginning remains for ever. No image has ink there, so these weights are multiplied
    by 0, their gradient is 0, and no step ever moves them.

    The score of an image is now something that you can look at, as in lesson 4. Lay the image over the weights,
    multiply pixel by pixel, and add up. Each product is one pixel's vote.
    """)
    return


@app.cell(hide_code=True)
def _(scores, valid_y):
    _final, _is_3 = scores[:, -1], valid_y[:, 0] == 1
    _threes, _sevens = _is_3.nonzero()[:, 0], (~_is_3).nonzero()[:, 0]
    KINDS = {
        "a typical 3": _threes[_final[_threes].argsort()[len(_threes) // 2]].item(),
        "a typical 7": _sevens[_final[_sevens].argsort()[len(_sevens) // 2]].item(),
        "the 3 with the lowest score": _threes[_final[_threes].argmin()].item(),
        "the 7 with the highest score": _sevens[_final[_sevens].argmax()].item(),
    }
    kind = mo.ui.radio(options=list(KINDS), value="a typical 3", label="which validation image:")
    kind
    return KINDS, kind


@app.cell(hide_code=True)
def _(KINDS, history, kind, side_of_image, step, valid_x):
    _image = valid_x[KINDS[kind.value]]
    products = _image * history[step.value]  # [pixels]
    _figure, _axes = plt.subplots(1, 3, figsize=(7.4, 2.8))
    for _ax, _values, _title in zip(
        _axes, (_image, history[step.value], products), ("image", "× weights", "= products"), strict=True
    ):
        _most = 1 if _title == "image" else _values.abs().max().item()
        show_image(
            _values.reshape(side_of_image, -1), _ax, title=_title, cmap="Greys" if _title == "image" else "RdBu_r",
            vmin=0 if _title == "image" else -_most, vmax=_most,
        )  # fmt: skip
    _figure.tight_layout()
    figure(
        _figure,
        f"{kind.value}, the weights after step {step.value}, and their products: the red ones add up to "
        f"{products.clamp(min=0).sum():.2f}, the blue ones to {products.clamp(max=0).sum():.2f}.",
    )
    return (products,)


@app.cell(hide_code=True)
def _(biases, products, step):
    added_up = (products.sum() + biases[step.value]).item()
    table(
        [
            {"": "products above 0, votes for a 3", "sum": f"{products.clamp(min=0).sum():+.2f}"},
            {"": "products below 0, votes for a 7", "sum": f"{products.clamp(max=0).sum():+.2f}"},
            {"": "bias", "sum": f"{biases[step.value]:+.2f}"},
            {"": "**score**", "sum": f"**{added_up:+.2f}**"},
            {"": "sigmoid of the score", "sum": f"{sigmoid(torch.tensor(added_up)):.4f}"},
            {"": "so the model says", "sum": "3" if added_up > 0 else "7"},
        ]
    )
    return (added_up,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    That is all the model does. It is worth looking at its worst mistakes, too: choose the 3 with the lowest score
    and the 7 with the highest. With one weight for each pixel, a stroke in an unusual place gets the votes of that
    place, whatever the rest of the digit looks like. That is the limit of this model, and lesson 12 goes beyond
    it.

    ## Summary

    - The gradient of a few images is a noisy, cheap measurement of the gradient of all. To halve the noise takes four
      times as many images, so many rough steps beat one exact step.
    - A Dataset is a collection of pairs; a DataLoader deals it out in batches, shuffled anew in each epoch.
    - The loop: for each batch predict, loss, `backward`, a step for each parameter, gradients back to zero; after each
      epoch the accuracy on the validation set, with autograd's notes switched off.
    - The learning rate and the batch size are for you to choose, and a few trials are enough to find good ones.
    - The weights of a linear model are an image of what it looks for; a score is the sum of image times weights.

    **New words:** mini-batch (batch), batch size, epoch, stochastic gradient descent (SGD), Dataset, DataLoader,
    shuffling, collating, `partial`, `no_grad`.

    ## Exercises

    Put your answer in place of the `...` and run the cell.

    **1.** 12,396 images in batches of 256: how many steps has an epoch, if the short last batch is used too?
    """)
    return


@app.cell
def _():
    steps = ...  # a whole number
    return (steps,)


@app.cell(hide_code=True)
def _(steps):
    check_1 = exercise(
        "8.1",
        steps,
        lambda answer: answer == 49,
        hints=(
            "There is one step for each batch. How many batches are there?",
            "12,396 / 256 is 48.4. What happens with the images that are left over?",
            "48 whole batches hold 12,288 images; the other 108 are one more batch.",
        ),
        solution="steps = 49  # 12,396 / 256 = 48.4, rounded up; in Python -(-12_396 // 256) or math.ceil",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** Suppose that with batches of 100 images the gradient is off by 20 % of its length, on average. About how many
    images must be in a batch for an error of 5 %?
    """)
    return


@app.cell
def _():
    needed = ...  # a whole number
    return (needed,)


@app.cell(hide_code=True)
def _(needed):
    check_2 = exercise(
        "8.2",
        needed,
        lambda answer: answer == 1600,
        hints=(
            "How much smaller should the error become? And what does the table above say about that?",
            "Four times as many images halve the error: 400 images bring it to 10 %.",
            "5 % is half of 10 %. So it takes four times 400.",
        ),
        solution="needed = 1600  # the error falls with the square root: a quarter of it needs 4² times as many images",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Write what is at the heart of a DataLoader, without shuffling: cut a list into a list of batches. The last
    one may be short.
    """)
    return


@app.cell
def _():
    def my_batches(items, size):  # [1, 2, 3, 4, 5], 2 → [[1, 2], [3, 4], [5]]
        return ...

    return (my_batches,)


@app.cell(hide_code=True)
def _(my_batches):
    check_3 = exercise(
        "8.3",
        my_batches,
        lambda answer: [list(batch) for batch in answer] == [[3, 1, 4], [1, 5, 9], [2]],
        hints=(
            "One batch is a slice: `items[0:size]` is the first one. Where does the second begin, and where the third?",
            "The batches begin at 0, `size`, 2 · `size`, … That is `range(0, len(items), size)`. A slice that goes "
            "beyond the end of a list simply stops there.",
            "For each `start` in that range put `items[start : start + size]` into a list.",
        ),
        solution="""
        def my_batches(items, size):
            return [items[start : start + size] for start in range(0, len(items), size)]
        """,
        arguments=([3, 1, 4, 1, 5, 9, 2], 3),
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** `validate_epoch` takes the mean of the batches' accuracies, and so a short last batch counts as much as a
    full one. Write a function that returns the exact accuracy: the number of images that are right, divided by
    the number of images.
    """)
    return


@app.cell
def _():
    def my_validate(model, batches):  # pairs of xb [b, pixels] and yb [b, 1] → a number from 0 to 1
        return ...

    return (my_validate,)


@app.cell(hide_code=True)
def _(my_validate):
    def _column(*numbers):
        return torch.tensor(numbers).unsqueeze(1)

    _batches = [(_column(2.0, -1.0, 3.0), _column(1.0, 0.0, 1.0)), (_column(5.0), _column(0.0))]
    check_4 = exercise(
        "8.4",
        my_validate,
        lambda answer: abs(float(answer) - 0.75) < 1e-6,
        hints=(
            "Keep two numbers while you go through the batches: how many were right, and how many there were.",
            "`(model(xb) > 0) == yb` says for each image of the batch whether it is right. Its `.sum().item()` is how "
            "many are.",
            "Begin with `right, count = 0, 0`; in the loop add to both (`len(yb)` is how many a batch has); at the end "
            "return `right / count`.",
        ),
        solution="""
        def my_validate(model, batches):
            right, count = 0, 0
            for xb, yb in batches:
                right += ((model(xb) > 0) == yb).sum().item()
                count += len(yb)
            return right / count
        """,
        arguments=(lambda xb: xb, _batches),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** Without looking at `train_epoch`: write one epoch. For each batch compute the gradient (you may use
    `calc_grad(xb, yb, model)`), take a step with each parameter, and set its gradient to zero. The function changes
    the parameters and returns nothing.
    """)
    return


@app.cell
def _():
    def my_epoch(model, batches, lr, params):  # params: a list of tensors
        return ...

    return (my_epoch,)


@app.cell(hide_code=True)
def _(batch_size, my_epoch, pixels, train_epoch, train_x, train_y):
    def _fresh():
        torch.manual_seed(3)
        params = [init_params((pixels, 1)), init_params(1)]
        return partial(linear1, weights=params[0], bias=params[1]), params

    _batches = list(DataLoader((train_x, train_y), batch_size, shuffle=True))
    (_mine, _my_params), (_theirs, _their_params) = _fresh(), _fresh()
    train_epoch(_theirs, _batches, 0.5, _their_params)
    check_5 = exercise(
        "8.5",
        my_epoch,
        lambda _: all(
            torch.allclose(mine, theirs, atol=1e-6) for mine, theirs in zip(_my_params, _their_params, strict=True)
        ),
        hints=(
            "There are two loops, one inside the other: over the batches, and in it over the parameters.",
            "After `calc_grad(xb, yb, model)` each parameter `p` has its gradient in `p.grad`. The step is taken from "
            "`p.data`, downhill, and its length is the gradient times `lr`.",
            "The two lines of the inner loop are `p.data -= p.grad * lr` and `p.grad.zero_()`.",
        ),
        solution="""
        def my_epoch(model, batches, lr, params):
            for xb, yb in batches:
                calc_grad(xb, yb, model)
                for p in params:
                    p.data -= p.grad * lr
                    p.grad.zero_()
        """,
        arguments=(_mine, _batches, 0.5, _my_params),
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** Batch size and learning rate depend on each other. Take `losses_of_one_epoch` and look, for
    batch sizes of 32, 256 and 2048, for the learning rate that gives the best accuracy after one epoch. Do you find a
    rule? Then ask the fairer question: which batch size gives the best accuracy after two *seconds*?

    ## What you can read now

    [`torch.utils.data`](https://pytorch.org/docs/stable/data.html) in PyTorch's documentation: *Dataset Types*, of
    which ours is the map-style one, *Data Loading Order and Sampler* (what `shuffle` does) and *Automatic batching*
    (collating). And [`torch.no_grad`](https://pytorch.org/docs/stable/generated/torch.no_grad.html), whole, with both
    ways of using it.

    **Next:** [9 · Broken on purpose](?file=09_broken.py), where we spoil this loop in every way that we can think of,
    so that you recognise it when it happens by itself.
    """)
    return


if __name__ == "__main__":
    app.run()
