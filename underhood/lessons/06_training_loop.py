import marimo

app = marimo.App(width="medium", app_title="6 · Mini-batches and the training loop")

with app.setup:
    from functools import partial

    import marimo as mo
    import matplotlib.pyplot as plt
    import torch
    import torch.nn.functional as F

    from underhood import DataLoader
    from underhood.lessons import exercise, load
    from underhood.scratch.sgd import calc_grad, init_params, linear1, train_epoch, validate_epoch  # noqa: F401 (exercise 3)


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 6 · Mini-batches and the training loop

    How many pictures does it take to know which way is downhill? All of them give the true slope, and take
    long. One gives a slope that is true of that one. A **mini-batch**, some dozens or hundreds, is nearly right
    and quick, and since the processor works on them all at once, it costs little more than one. Going through
    all the batches once is an **epoch**.
    """)
    return


@app.cell
def _():
    dealt = [batch.tolist() for batch in DataLoader(range(15), batch_size=5, shuffle=True)]
    mo.md(f"`{dealt}`")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    A `DataLoader` deals a collection out in batches, in a new order each epoch. Its items may be pairs of input
    and target:
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist-3v7")
    mo.md(which)
    return (dataset,)


@app.cell
def _(dataset):
    def tensors(images):
        x = torch.from_numpy(images.pixels).float().flatten(1) / 255  # [n, h·w]
        return x, torch.from_numpy(images.labels == 0).float().unsqueeze(1)  # [n, 1]: 1 for a 3

    train_x, train_y = tensors(dataset.train)
    valid_x, valid_y = tensors(dataset.valid)
    dl = DataLoader((train_x, train_y), batch_size=256 if len(train_x) > 1000 else 16, shuffle=True)
    valid_dl = DataLoader((valid_x, valid_y), batch_size=256)
    xb, yb = next(iter(dl))
    mo.md(f"a batch: {list(xb.shape)} and {list(yb.shape)}; {len(dl)} of them")
    return dl, train_x, train_y, valid_dl, valid_x, valid_y


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The loop by hand

    Two functions of `underhood.scratch.sgd` are all there is, and together they are shorter than this
    paragraph:

    ```python
    def calc_grad(xb, yb, model):
        loss = mnist_loss(model(xb), yb)
        loss.backward()

    def train_epoch(model, dl, lr, params):
        for xb, yb in dl:
            calc_grad(xb, yb, model)
            for p in params:
                p.data -= p.grad * lr
                p.grad.zero_()
    ```
    """)
    return


@app.cell
def _():
    rate = mo.ui.slider(steps=[0.001, 0.01, 0.1, 1.0, 10.0, 100.0], value=1.0, label="learning rate", show_value=True)
    epochs = mo.ui.slider(1, 20, value=10, label="epochs", show_value=True)
    mo.hstack([rate, epochs], justify="start")
    return epochs, rate


@app.cell
def _(dl, epochs, rate, train_x, valid_dl):
    torch.manual_seed(0)
    weights, bias = init_params((train_x.shape[1], 1), std=0.1), init_params(1, std=0.1)
    model = partial(linear1, weights=weights, bias=bias)
    accuracies = [validate_epoch(model, valid_dl)]
    for _ in range(epochs.value):
        train_epoch(model, dl, rate.value, (weights, bias))
        accuracies.append(validate_epoch(model, valid_dl))
    by_hand = accuracies[-1]

    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _axes.plot(accuracies, "o-")
    _axes.set(xlabel="epoch", ylabel="accuracy on validation", ylim=(0.3, 1.0), title=f"{by_hand:.4f}")
    _axes
    return (by_hand,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Broken on purpose

    Training seldom fails with an error. It runs, the figures come, and they are bad. So here is a loop that one
    can break in five ways, each the work of one line, to learn how each looks. The model is one matrix that
    gives two scores, for 3 and for 7, and the loss is cross-entropy, which takes softmax itself.
    """)
    return


@app.cell
def _(train_x, train_y, valid_x, valid_y):
    FAULTS = {
        "healthy": "the loss falls quickly, then slowly, and trembles a little from batch to batch.",
        "gradients not zeroed": "each step goes by the sum of all slopes so far, so it goes on long after the "
        "bottom: the loss swings up and down and never settles.",
        "batches not shuffled": "first only 3s, then only 7s: near 0 as long as nothing changes, and a spike at each "
        "change, since what was learned of one is forgotten with the other.",
        "rate 100 times too high": "the loss leaps far above where it began before it comes down. One matrix finds "
        "its way back; a deeper model may end in nan.",
        "softmax twice": "no error, and it even learns; but the loss cannot get below 0.31, since the second softmax "
        "sees only numbers from 0 to 1.",
        "accidental broadcast": "scores [n, 1] against targets [n] make [n, n]: each score is compared with every "
        "target. The loss hovers around a half and nothing is learned.",
    }

    batch_size = 128 if len(train_x) > 1000 else 8

    def train(fault, lr=0.1, epochs=6):
        """The losses of all steps, and the validation accuracy at the end."""
        torch.manual_seed(1)
        labels, targets = 1 - train_y[:, 0].long(), train_y[:, 0]
        model = torch.nn.Linear(train_x.shape[1], 2)
        lr = 100 * lr if fault == "rate 100 times too high" else lr
        losses = []
        for _epoch in range(epochs):
            order = torch.randperm(len(labels))
            if fault == "batches not shuffled":
                order = labels.argsort(stable=True)  # as they lie in their folders
            for rows in order.split(batch_size):
                scores = model(train_x[rows])
                if fault == "softmax twice":
                    loss = F.cross_entropy(scores.softmax(dim=1), labels[rows])
                elif fault == "accidental broadcast":
                    p = (scores[:, :1] - scores[:, 1:]).sigmoid()  # [n, 1]
                    loss = torch.where(targets[rows] == 1, 1 - p, p).mean()  # targets [n]: this is [n, n]
                else:
                    loss = F.cross_entropy(scores, labels[rows])
                loss.backward()
                losses.append(loss.item())
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter -= lr * parameter.grad
                        if fault != "gradients not zeroed":
                            parameter.grad = None
        with torch.no_grad():
            guesses = model(valid_x).argmax(dim=1)
        return losses, (guesses == 1 - valid_y[:, 0]).float().mean().item()

    results = {fault: train(fault) for fault in FAULTS}
    broken = {fault: accuracy for fault, (_, accuracy) in results.items()}
    return FAULTS, broken, results


@app.cell
def _(FAULTS):
    chosen = mo.ui.radio(options=list(FAULTS), value="gradients not zeroed", label="break it:")
    chosen
    return (chosen,)


@app.cell
def _(FAULTS, chosen, results, train_x):
    _axes = plt.subplots(figsize=(7, 3.4))[1]
    for _fault in dict.fromkeys(("healthy", chosen.value)):
        _losses, _accuracy = results[_fault]
        _axes.plot(
            _losses,
            color="0.6" if _fault == "healthy" else "tab:red",
            label=f"{_fault}: {100 * _accuracy:.1f} %",
            linewidth=1,
        )
    _axes.set(xlabel="step", ylabel="loss")
    _axes.legend()
    _few = "(These few small digits are so easily told apart that some faults hardly show. MNIST shows them all.)"
    mo.vstack(
        [
            mo.as_html(_axes),
            mo.md(f"**{chosen.value}**: {FAULTS[chosen.value]} {_few if len(train_x) < 1000 else ''}"),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Note which of them end in a fair accuracy all the same: a model may hide a fault in its training for weeks, and
    a look at the loss curve would have shown it. (The losses of this package compare shapes and raise an error
    where the last fault would broadcast; its loop zeroes the gradients, its loader shuffles, and its loss takes
    scores. That is what software is for.)

    ## Exercises

    **1.** 12,396 pictures in batches of 256: how many steps has an epoch, the short last one among them?
    """)
    return


@app.cell
def _():
    steps = ...
    return (steps,)


@app.cell(hide_code=True)
def _(steps):
    check_1 = exercise(steps, lambda answer: answer == 49, "48 whole batches make 12,288.")
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md(
        "**2.** The lowest loss that two classes can have after *softmax twice*, when the first softmax gives "
        "exactly 1 and 0. (Two numbers through softmax, then −log of the larger.)"
    )
    return


@app.cell
def _():
    lowest = ...
    return (lowest,)


@app.cell(hide_code=True)
def _(lowest):
    check_2 = exercise(
        lowest,
        lambda answer: (
            abs(float(answer) - F.cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([0])).item()) < 0.005
        ),
        "softmax of (1, 0) is (e, 1) / (e + 1).",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md(
        "**3.** Write one epoch: for each batch the slope, a step, and zeroed gradients. `calc_grad(xb, yb, "
        "model)` may be used."
    )
    return


@app.cell
def _():
    def my_epoch(model, batches, lr, params): ...  # changes params; returns nothing

    return (my_epoch,)


@app.cell(hide_code=True)
def _(dl, my_epoch, train_x):
    def _trained(epoch):
        torch.manual_seed(3)
        params = init_params((train_x.shape[1], 1)), init_params(1)
        start = params[0].detach().clone()
        epoch(partial(linear1, weights=params[0], bias=params[1]), list(dl.batches(0)), 1.0, params)
        return ... if torch.equal(params[0], start) else params[0].detach()

    check_3 = exercise(
        _trained,
        lambda answer: torch.allclose(answer, _trained(train_epoch), atol=1e-6),
        "The weights come out otherwise than with `train_epoch`: is the gradient zeroed after each step?",
        (my_epoch,),
    )
    check_3
    return


if __name__ == "__main__":
    app.run()
