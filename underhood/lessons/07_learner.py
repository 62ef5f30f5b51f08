import marimo

app = marimo.App(width="medium", app_title="7 · Optimizer and Learner")

with app.setup:
    from functools import partial

    import marimo as mo
    import matplotlib.pyplot as plt
    import torch
    from torch import nn

    from underhood import DataLoader, DataLoaders, Learner, batch_accuracy, mnist_loss
    from underhood.core.schedule import one_cycle
    from underhood.lessons import exercise, load, table
    from underhood.scratch.sgd import BasicOptim, linear1, train_epoch, train_model


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 7 · Optimizer and Learner

    A library is ten lines that somebody got tired of writing. Here each convenience takes the place of ten
    lines of yours, one at a time, and each time the figures stay what they were, to the digit. When nothing is
    left but `Learner(...).fit(...)`, you know what is in it. Then we go back.
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
        x = torch.from_numpy(images.pixels).float().flatten(1) / 255
        return x, torch.from_numpy(images.labels == 0).float().unsqueeze(1)

    train_x, train_y = tensors(dataset.train)
    valid_x, valid_y = tensors(dataset.valid)
    inputs = train_x.shape[1]
    torch.manual_seed(7)
    first_weights, first_bias = torch.randn(inputs, 1) / inputs**0.5, torch.zeros(1)  # the same start for all
    LR, EPOCHS, BATCH = 1.0, 5, 256
    return BATCH, EPOCHS, LR, first_bias, first_weights, inputs, train_x, train_y, valid_x, valid_y


@app.cell
def _(BATCH, train_x, train_y, valid_x, valid_y):
    def loaders():
        """Batches in an order that comes from (seed, epoch) alone: new loaders deal the same."""
        return DataLoaders(DataLoader((train_x, train_y), BATCH, shuffle=True), DataLoader((valid_x, valid_y), 512))

    def measure(model):
        with torch.no_grad():
            return round(batch_accuracy(model(valid_x), valid_y).item(), 4)

    return loaders, measure


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Six ways to write the same training

    1. **By hand**: weights, a step for each, zero each.
    2. **`BasicOptim`**: an object that knows the parameters and does the step and the zeroing.
    3. **`torch.optim.SGD`**: the same from the shelf.
    4. **`nn.Linear`**: weights and bias in one object that knows its own parameters.
    5. **`Learner`**: data, model, loss, optimizer and metric in one; `fit` is the loop.
    6. And back: everything that the `Learner` did, **written out**, batches, loss, step and metric.
    """)
    return


@app.cell
def _(BATCH, EPOCHS, LR, first_bias, first_weights, inputs, loaders, measure, train_x, train_y, valid_x, valid_y):
    def start():
        return [first_weights.clone().requires_grad_(), first_bias.clone().requires_grad_()]

    def linear():
        module = nn.Linear(inputs, 1)
        module.weight.data, module.bias.data = first_weights.T.clone(), first_bias.clone()
        return module

    ways = {}

    params = start()
    model = partial(linear1, weights=params[0], bias=params[1])
    dl = loaders().train
    ways["by hand"] = []
    for _ in range(EPOCHS):
        train_epoch(model, dl, LR, params)
        ways["by hand"].append(measure(model))

    params = start()
    model = partial(linear1, weights=params[0], bias=params[1])
    ways["BasicOptim"] = train_model(model, loaders().train, BasicOptim(params, LR), EPOCHS, measure)

    params = start()
    model = partial(linear1, weights=params[0], bias=params[1])
    ways["torch.optim.SGD"] = train_model(model, loaders().train, torch.optim.SGD(params, LR), EPOCHS, measure)

    module = linear()
    ways["nn.Linear"] = train_model(module, loaders().train, torch.optim.SGD(module.parameters(), LR), EPOCHS, measure)

    learn = Learner(loaders(), linear(), loss_func=mnist_loss, opt_func=torch.optim.SGD, metrics=batch_accuracy)
    ways["Learner"] = [round(epoch.metrics["batch_accuracy"], 4) for epoch in learn.epochs(EPOCHS, LR)]

    params, shuffled = start(), loaders().train
    ways["the Learner, written out"] = []
    for epoch in range(EPOCHS):
        order = torch.from_numpy(shuffled.order(epoch))  # the loader's ten lines: an order, cut into batches
        for rows in order.split(BATCH):
            x, y = train_x[rows], train_y[rows]
            p = (x @ params[0] + params[1]).sigmoid()
            torch.where(y == 1, 1 - p, p).mean().backward()  # the loss
            for parameter in params:
                parameter.data -= LR * parameter.grad  # the optimizer
                parameter.grad = None
        with torch.no_grad():
            right = ((valid_x @ params[0] + params[1]) > 0) == (valid_y == 1)  # the metric
        ways["the Learner, written out"].append(round(right.float().mean().item(), 4))

    all_the_same = len({tuple(accuracies) for accuracies in ways.values()}) == 1
    reached = ways["Learner"][-1]
    table(
        [{"way": way} | {f"epoch {i}": f"{a:.4f}" for i, a in enumerate(row)} for way, row in ways.items()],
    )
    return all_the_same, linear, reached, ways


@app.cell(hide_code=True)
def _(all_the_same):
    mo.md(
        "Every row is the same. Nothing was magic."
        if all_the_same
        else "**The rows differ**, and they should not: tell us, with your versions of Python and torch."
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## And back again

    The `Learner`'s loop is a generator: it yields after each step, and whoever takes the steps may look, draw,
    save or stop. This is the whole of its inside, without the bookkeeping:

    ```python
    for epoch in range(epochs):
        for x, y in dls.train.batches(epoch):
            loss = loss_func(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            yield Step(...)
    ```

    So a "callback" is a `for` loop around it. Here one that keeps the losses, for two schedules: the same rate
    all the time, and **one cycle**, up and down once. Move the highest rate.
    """)
    return


@app.cell
def _():
    highest = mo.ui.slider(steps=[0.1, 0.3, 1.0, 3.0, 10.0, 30.0], value=3.0, label="highest rate", show_value=True)
    highest
    return (highest,)


@app.cell
def _(highest, linear, loaders):
    from underhood.core.schedule import flat

    _figure, (_left, _right) = plt.subplots(1, 2, figsize=(9, 3))
    for _name, _schedule in (("flat", flat), ("one cycle", one_cycle)):
        _learn = Learner(loaders(), linear(), loss_func=mnist_loss, opt_func=torch.optim.SGD, metrics=batch_accuracy)
        _steps = [(step.lr, step.loss) for step in _learn.steps(5, highest.value, _schedule)]
        _left.plot([rate for rate, _ in _steps])
        _right.plot(
            torch.stack([loss for _, loss in _steps]), linewidth=1, label=f"{_name}: {_learn.validate()[1]:.4f}"
        )
    _left.set(xlabel="step", ylabel="rate")
    _right.set(xlabel="step", ylabel="loss")
    _right.legend()
    _figure.tight_layout()
    _figure
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Exercises

    **1.** An optimizer with **momentum**: it keeps a velocity v for each parameter, v = 0.9·v + slope, and
    steps by rate·v. Fill in `step`; it has to agree with torch's.
    """)
    return


@app.cell
def _():
    class Momentum(BasicOptim):
        """v = 0.9·v + slope; the step is lr·v."""

        def step(self):
            return ...

    return (Momentum,)


@app.cell(hide_code=True)
def _(Momentum):
    def _descend(optimizer_class, **options):
        weight = torch.tensor([3.0, -2.0], requires_grad=True)
        optimizer = optimizer_class([weight], 0.02, **options)
        for _step in range(20):
            (weight**2 * torch.tensor([1.0, 4.0])).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return ... if torch.equal(weight, torch.tensor([3.0, -2.0])) else weight.detach()

    check_1 = exercise(
        _descend,
        lambda answer: torch.allclose(answer, _descend(torch.optim.SGD, momentum=0.9), atol=1e-5),
        "Keep the velocities in a list beside `self.params`; the first velocity is the first slope.",
        (Momentum,),
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("**2.** `nn.Linear(784, 30)`: how many numbers does training adjust in it?")
    return


@app.cell
def _():
    parameters = ...
    return (parameters,)


@app.cell(hide_code=True)
def _(parameters):
    check_2 = exercise(
        parameters,
        lambda answer: answer == sum(p.numel() for p in nn.Linear(784, 30).parameters()),
        "A weight from each input to each output, and a bias for each output.",
    )
    check_2
    return


if __name__ == "__main__":
    app.run()
