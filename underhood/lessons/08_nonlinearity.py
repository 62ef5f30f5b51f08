import marimo

app = marimo.App(width="medium", app_title="8 · A nonlinearity")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch
    from torch import nn

    from underhood import Architecture, DataLoader, DataLoaders, Learner, build_model
    from underhood.core.schedule import one_cycle
    from underhood.display.notebook import show_images
    from underhood.lessons import exercise, load


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 8 · A nonlinearity

    One matrix draws one straight border through the space of all pictures. Surely two matrices, one after the
    other, do better?
    """)
    return


@app.cell
def _():
    torch.manual_seed(0)
    first, second = nn.Linear(784, 30), nn.Linear(30, 1)
    x = torch.rand(1000, 784)
    with torch.no_grad():
        merged = nn.Linear(784, 1)
        merged.weight.copy_(second.weight @ first.weight)
        merged.bias.copy_(second.weight @ first.bias + second.bias)
        difference = (second(first(x)) - merged(x)).abs().max().item()
    mo.md(
        f"Two layers, 23,581 numbers, against one with 785 made of them: the outputs differ by at most "
        f"**{difference:.0e}**."
    )
    return (difference,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    They are one matrix in two pieces: a sum of sums of pixels is a sum of pixels. Something between them must
    not be a sum. The simplest thing is to bend once:

    ## ReLU

    Negative numbers become 0, others stay. That is all. A sum of such hinges, each with its own place and
    slope, can follow any curve as closely as one likes; give it more hinges.
    """)
    return


@app.cell
def _():
    hinges = mo.ui.slider(1, 40, value=4, label="hinges", show_value=True)
    hinges
    return (hinges,)


@app.cell
def _(hinges):
    _xs = torch.linspace(-3, 3, 400)
    _curve = torch.sin(2 * _xs) + 0.3 * _xs
    _places = torch.linspace(-3, 3, hinges.value + 1)[:-1]
    _features = torch.cat([(_xs[:, None] - _places).relu(), torch.ones(400, 1)], dim=1)  # [400, hinges + 1]
    _weights = torch.linalg.lstsq(_features, _curve[:, None]).solution
    hinge_error = (_features @ _weights - _curve[:, None]).abs().mean().item()
    _figure, (_left, _right) = plt.subplots(1, 2, figsize=(9, 3))
    _short = torch.linspace(-2, 2, 100)
    _left.plot(_short, _short.relu())
    _left.set(title="ReLU")
    _right.plot(_xs, _curve, color="0.7", linewidth=3)
    _right.plot(_xs, _features @ _weights, color="tab:red")
    _right.set(title=f"{hinges.value} hinges: off by {hinge_error:.3f} on average")
    _figure
    return (hinge_error,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The simple net

    Linear, ReLU, linear, with 30 hidden numbers between: our model `net`. Against the single matrix, `linear`,
    on the same pictures, in the same order:
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist-3v7")
    mo.md(which)
    return (dataset,)


@app.cell
def _(dataset):
    def trained(model, epochs=8, lr=0.01):
        _, channels, height, width = dataset.train.pixels.shape
        torch.manual_seed(0)
        mean, std = dataset.train.pixel_statistics()
        network = build_model(Architecture(model, channels, height, width, 2), mean.tolist(), std.tolist())
        dls = DataLoaders(DataLoader(dataset.train, 128, shuffle=True), DataLoader(dataset.valid, 512))
        learn = Learner(dls, network)
        rows = list(learn.epochs(epochs, lr, one_cycle))
        return learn, [row.metrics["accuracy"] for row in rows]

    learners = {model: trained(model) for model in ("linear", "net")}
    linear_accuracy, net_accuracy = (learners[model][1][-1] for model in ("linear", "net"))
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    for _model, (_, _accuracies) in learners.items():
        _axes.plot(range(1, 9), _accuracies, "o-", label=f"{_model}: {_accuracies[-1]:.4f}")
    _axes.set(xlabel="epoch", ylabel="accuracy")
    _axes.legend()
    _axes
    return learners, linear_accuracy, net_accuracy


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Features as images

    Each hidden number looks at the picture through weights of its own, one for each pixel, so the weights of a
    hidden number can be looked at as a picture: bright where ink speeds it up, dark where ink holds it back.
    The single matrix has one such picture for each class.
    """)
    return


@app.cell
def _(learners):
    def weights_of(model):
        network = learners[model][0].model
        layer = next(module for module in network if isinstance(module, nn.Linear))
        side = round(layer.in_features**0.5)
        return layer.weight.detach().reshape(-1, side, side)

    show_images(list(weights_of("linear")), ["linear: 3", "linear: 7"], columns=2)
    return (weights_of,)


@app.cell
def _():
    feature = mo.ui.slider(0, 29, value=0, label="hidden number", show_value=True)
    feature
    return (feature,)


@app.cell
def _(dataset, feature, learners, weights_of):
    _network = learners["net"][0].model
    with torch.no_grad():  # up to the ReLU and with it
        _activations = _network[:4](torch.from_numpy(dataset.valid.pixels))[:, feature.value]
    _strongest = _activations.argsort(descending=True)[:4]
    _pictures = [weights_of("net")[feature.value], *(dataset.valid.pixels[i, 0] for i in _strongest.tolist())]
    _share = (_activations > 0).float().mean().item()
    mo.vstack(
        [
            mo.as_html(show_images(_pictures, ["weights", *["strongest"] * 4], columns=5, side=1.5)),
            mo.md(f"Awake (above 0) for {100 * _share:.0f} % of the pictures."),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Few of them look like anything. A network need not think in parts that have names.

    ## Exercises

    **1.** ReLU by `torch.where`, without `relu`, `clamp` or `max`.
    """)
    return


@app.cell
def _():
    def my_relu(x):
        return ...

    return (my_relu,)


@app.cell(hide_code=True)
def _(my_relu):
    _x = torch.linspace(-2, 2, 9)
    check_1 = exercise(
        my_relu, lambda answer: torch.equal(answer, _x.relu()), "`torch.where(x > 0, x, 0.0)`, nearly.", (_x,)
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("**2.** |x| is a sum of two ReLUs, a·relu(x) + b·relu(−x). Put in (a, b).")
    return


@app.cell
def _():
    a_and_b = ...
    return (a_and_b,)


@app.cell(hide_code=True)
def _(a_and_b):
    check_2 = exercise(
        a_and_b, lambda answer: np.allclose(answer, (1, 1)), "For x > 0 the second is 0; for x < 0 the first."
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md(
        "**3.** A network of `nn.Sequential` with two ReLUs that takes 784 numbers, has hidden layers of 30 "
        "and 10, and gives 1."
    )
    return


@app.cell
def _():
    two_bends = ...
    return (two_bends,)


@app.cell(hide_code=True)
def _(two_bends):
    check_3 = exercise(
        two_bends,
        lambda answer: (
            answer(torch.rand(5, 784)).shape == (5, 1)
            and [tuple(p.shape) for p in answer.parameters() if p.ndim == 2] == [(30, 784), (10, 30), (1, 10)]
            and sum(isinstance(module, nn.ReLU) for module in answer) == 2
        ),
        "`nn.Sequential(nn.Linear(784, 30), nn.ReLU(), ...)`",
    )
    check_3
    return


if __name__ == "__main__":
    app.run()
