import marimo

app = marimo.App(width="medium", app_title="5 · A loss for digits")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import torch

    from underhood.lessons import exercise, load
    from underhood.scratch.sgd import init_params, linear1, mnist_loss, mnist_loss_of_probabilities, sigmoid


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 5 · A loss for digits

    The same seven steps shall now tell 3s from 7s. Prediction: multiply each pixel by a weight of its own, add
    it all up, add a bias; above 0 is a 3. What is missing is a loss. We have a number that says how well it
    goes: the accuracy. Why not that one?
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist-3v7")
    mo.md(which)
    return (dataset,)


@app.cell
def _(dataset):
    train_x = torch.from_numpy(dataset.train.pixels).float().flatten(1) / 255  # [n, h·w]
    train_y = torch.from_numpy(dataset.train.labels == 0).float().unsqueeze(1)  # [n, 1]: 1 for a 3, 0 for a 7
    mo.md(f"train_x {list(train_x.shape)}, train_y {list(train_y.shape)}")
    return train_x, train_y


@app.cell(hide_code=True)
def _():
    mo.md("""
    `view`, `flatten` and `unsqueeze` move no number; they only say anew how the numbers are arranged: rows of
    pixels one after the other, labels in a column.
    """)
    return


@app.cell
def _(train_x, train_y):
    torch.manual_seed(42)
    weights, bias = init_params((train_x.shape[1], 1)), init_params(1)
    preds = linear1(train_x, weights, bias)  # [n, 1]
    start_accuracy = ((preds > 0).float() == train_y).float().mean().item()
    mo.md(
        f"Random weights are right **{100 * start_accuracy:.1f} %** of the time. "
        f"Their scores go from {preds.min().item():.0f} to {preds.max().item():.0f}."
    )
    return bias, start_accuracy, weights


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Move one weight

    Here is what happens to both numbers while the weight of one pixel in the middle goes up and down. Look
    closer and closer.
    """)
    return


@app.cell
def _():
    window = mo.ui.slider(
        steps=[30.0, 10.0, 3.0, 1.0, 0.1, 0.01, 0.001], value=10.0, label="how far the weight moves", show_value=True
    )
    window
    return (window,)


@app.cell
def _(bias, train_x, train_y, weights, window):
    pixel = train_x.std(0).argmax()  # the one that differs most
    with torch.no_grad():
        _scores = linear1(train_x, weights, bias)
        moves = torch.linspace(-window.value, window.value, 81)
        _moved = [_scores + move * train_x[:, pixel, None] for move in moves]
        accuracies = torch.stack([((scores > 0).float() == train_y).float().mean() for scores in _moved])
        losses = torch.stack([mnist_loss(scores, train_y) for scores in _moved])
    _figure, _axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for _ax, _values, _name in zip(_axes, (accuracies, losses), ("accuracy", "mnist_loss"), strict=True):
        _ax.plot(moves, _values, drawstyle="steps-mid" if _name == "accuracy" else "default")
        _ax.set(xlabel="change of the weight", title=_name)
        _ax.ticklabel_format(useOffset=False)
    _figure.tight_layout()
    _figure
    return accuracies, losses


@app.cell(hide_code=True)
def _():
    mo.md("""
    Accuracy is a staircase: it changes only where a picture crosses from one side to the other, and between two
    steps it is flat. Its slope is 0 almost everywhere, and a slope of 0 says: stay where you are. A **loss**
    has to answer the smallest change of any weight. A **metric** is for people, a loss is for the slope.

    ## Distances from the truth

    If predictions lie between 0 and 1, a loss is how far each is from its target, on average.
    `torch.where(condition, a, b)` chooses, element by element:
    """)
    return


@app.cell
def _():
    targets = torch.tensor([1, 0, 1])
    predictions = torch.tensor([0.9, 0.4, 0.2])
    distances = torch.where(targets == 1, 1 - predictions, predictions)
    first = mnist_loss_of_probabilities(predictions, targets).item()
    better = mnist_loss_of_probabilities(torch.tensor([0.9, 0.4, 0.8]), targets).item()
    mo.md(
        f"distances {[round(d, 4) for d in distances.tolist()]}, their mean **{first:.4f}**; with 0.8 for the "
        f"last **{better:.4f}**"
    )
    return better, first


@app.cell(hide_code=True)
def _():
    mo.md("""
    0.4333 and 0.2333 in the book. But our scores go from −50 to 50, so something has to bring them between 0
    and 1 without changing their order.

    ## Sigmoid

    1 / (1 + e⁻ˣ). Steep in the middle, where the model is undecided and learning pays, and flat outside, where
    it is sure. The slider multiplies x.
    """)
    return


@app.cell
def _():
    steepness = mo.ui.slider(0.2, 5.0, value=1.0, step=0.2, label="times", show_value=True)
    steepness
    return (steepness,)


@app.cell
def _(steepness):
    _xs = torch.linspace(-6, 6, 200)
    _axes = plt.subplots(figsize=(6, 3))[1]
    _axes.plot(_xs, sigmoid(steepness.value * _xs))
    _axes.axhline(0.5, color="0.8", linewidth=1)
    _axes.set(xlabel="score", ylabel="sigmoid")
    _axes
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    `mnist_loss` is both: sigmoid, then the mean distance. With it the slope is not 0:
    """)
    return


@app.cell
def _(bias, train_x, train_y, weights):
    weights.grad = bias.grad = None
    _loss = mnist_loss(linear1(train_x, weights, bias), train_y)
    _loss.backward()
    start_loss, steepest = _loss.item(), weights.grad.abs().max().item()
    with torch.no_grad():
        stepped = mnist_loss(linear1(train_x, weights - weights.grad, bias - bias.grad), train_y).item()
    mo.md(f"loss **{start_loss:.4f}**, the steepest slope {steepest:.4f}; after one step at rate 1 **{stepped:.4f}**")
    return start_loss, stepped


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Exercises

    **1.** Of which target is the prediction 0.3 further away, of 0 or of 1, and how far is it from that one?
    Put in the distance.
    """)
    return


@app.cell
def _():
    distance = ...
    return (distance,)


@app.cell(hide_code=True)
def _(distance):
    check_1 = exercise(distance, lambda answer: abs(answer - 0.7) < 1e-6, "From 1 it is 1 − 0.3.")
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("**2.** The steepest slope that sigmoid has anywhere.")
    return


@app.cell
def _():
    steepest_sigmoid = ...
    return (steepest_sigmoid,)


@app.cell(hide_code=True)
def _(steepest_sigmoid):
    check_2 = exercise(
        steepest_sigmoid,
        lambda answer: abs(answer - 0.25) < 1e-3,
        "Its slope is s·(1 − s), and s is 0.5 in the middle.",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md(
        "**3.** Write the mean *squared* distance of sigmoid(score) from its target, for scores and targets "
        "of one shape."
    )
    return


@app.cell
def _():
    def squared_loss(scores, targets):
        return ...

    return (squared_loss,)


@app.cell(hide_code=True)
def _(squared_loss):
    _scores, _targets = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    check_3 = exercise(
        squared_loss,
        lambda answer: abs(float(answer) - ((_scores.sigmoid() - _targets) ** 2).mean().item()) < 1e-6,
        "Sigmoid first, then subtract, square, mean.",
        (_scores, _targets),
    )
    check_3
    return


if __name__ == "__main__":
    app.run()
