import marimo

app = marimo.App(width="medium", app_title="3 · Gradients")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch

    from underhood.lessons import exercise
    from underhood.scratch.backprop import finite_differences
    from underhood.scratch.sgd import descend, quadratic


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 3 · Gradients

    Averages cannot improve: there is nothing to turn. A model that learns has **weights**, a number that says
    how bad it is, the **loss**, and a way to know which way each weight should move. That way is the slope of
    the loss, its **gradient**.

    To see it alone, take the smallest loss there is: one weight x, and x² for how bad it is. The best x is 0;
    we pretend not to know.
    """)
    return


@app.cell
def _():
    place = mo.ui.slider(-2.0, 2.0, value=1.5, step=0.1, label="x", show_value=True)
    place
    return (place,)


@app.cell
def _():
    def parabola():
        _axes = plt.subplots(figsize=(6, 3.4))[1]
        _xs = torch.linspace(-2.2, 2.2, 100)
        _axes.plot(_xs, quadratic(_xs), color="0.6")
        _axes.set(xlabel="x", ylabel="x²", ylim=(-0.6, 4.8))
        return _axes

    return (parabola,)


@app.cell
def _(parabola, place):
    _x = place.value
    _axes = parabola()
    _near = np.array([_x - 0.7, _x + 0.7])
    _axes.plot(_near, _x**2 + 2 * _x * (_near - _x), linewidth=3)
    _axes.plot(_x, _x**2, "o", color="black")
    _way = "this is the bottom" if _x == 0 else f"downhill is to the {'left' if _x > 0 else 'right'}"
    _axes.set_title(f"at x = {_x:.1f} the slope is {2 * _x:.1f}: {_way}")
    _axes
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The slope says two things: by its sign, which way is up (so step the other way), and by its size, how steep
    it is (so step far where it is steep and carefully near the bottom).

    ## Autograd

    `requires_grad_` asks torch to remember what is computed from x; `backward` walks back through that and
    leaves the slope in `x.grad`.
    """)
    return


@app.cell
def _():
    x = torch.tensor(3.0).requires_grad_()
    y = quadratic(x)
    y.backward()
    slope_at_3 = x.grad.item()
    mo.md(f"y = {y.item():g}, its slope {slope_at_3:g}")
    return (slope_at_3,)


@app.cell
def _():
    xs = torch.tensor([3.0, 4.0, 10.0]).requires_grad_()
    total = quadratic(xs).sum()  # one loss of three weights
    total.backward()
    slopes = xs.grad.tolist()
    mo.md(f"loss {total.item():g}, slopes {slopes}")
    return (slopes,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    9 and 6; 125 and 6, 8, 20: the book's figures, and the 2x of school.

    ## Trust nobody: finite differences

    There is a way to the slope that knows no rules at all: move x a little up and a little down, and see how
    much the loss changes. It costs two losses for each weight, so nobody trains by it, but it catches
    everybody's mistakes. Here a function for which no rule comes to mind:
    """)
    return


@app.cell
def _():
    def strange(t):
        return (t.sin() * t**3 + (t.abs() + 1).log()).sum()

    at = np.array([0.3, -1.2, 2.0])
    _tensor = torch.tensor(at, requires_grad=True)
    strange(_tensor).backward()
    by_autograd = _tensor.grad.numpy()
    by_differences = finite_differences(lambda: strange(torch.tensor(at)).item(), at)
    largest_gap = float(np.abs(by_autograd - by_differences).max())
    mo.md(f"autograd {by_autograd.round(6)}, differences {by_differences.round(6)}, at most {largest_gap:.0e} apart")
    return (largest_gap,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Stepping with a learning rate

    `x = x - rate * slope`, again and again. That is all of gradient descent. The rate says how far to trust the
    slope, which is only true at the point where it was taken. Find by the slider: a rate that creeps, one that
    arrives, one that bounces from side to side, and one that climbs out.
    """)
    return


@app.cell
def _():
    rate = mo.ui.slider(
        steps=[0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0, 1.03], value=0.1, label="learning rate", show_value=True
    )
    rate
    return (rate,)


@app.cell
def _(parabola, rate):
    path = np.array(descend(1.5, rate.value, 12))
    _axes = parabola()
    _axes.plot(path, path**2, "o-", color="tab:red", markersize=4, linewidth=1)
    _axes.set_xlim(-2.2, 2.2)
    _axes.set_title(f"after 12 steps at rate {rate.value}: x = {path[-1]:.3g}")
    _axes
    return (path,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    A step multiplies x by 1 − 2·rate. Below 0.5 that is a fraction, and x shrinks towards 0. Between 0.5 and 1
    it is a negative fraction: x jumps across the valley each time, and still gets lower. At 1 it jumps for
    ever; above 1 each jump lands higher than the last, and training ends in `nan`. A real loss has no such
    formula, but has all four.

    ## Exercises

    **1.** Which rate brings x², from any x, to the bottom in a single step?
    """)
    return


@app.cell
def _():
    best_rate = ...
    return (best_rate,)


@app.cell(hide_code=True)
def _(best_rate):
    check_1 = exercise(
        best_rate, lambda answer: abs(descend(1.7, answer, 1)[-1]) < 1e-9, "When is 1 − 2·rate equal to 0?"
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("**2.** The slope of x³ − 6x at x = 2, by autograd. (By school: 3x² − 6.)")
    return


@app.cell
def _():
    slope_of_cubic = ...
    return (slope_of_cubic,)


@app.cell(hide_code=True)
def _(slope_of_cubic):
    check_2 = exercise(slope_of_cubic, lambda answer: abs(float(answer) - 6) < 1e-4, "`y.backward()`, then `x.grad`.")
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Write gradient descent for any function of one number: from `x`, `steps` steps at `rate`. Let
    autograd find the slopes, and mind that `backward` *adds* to `x.grad`.
    """)
    return


@app.cell
def _():
    def minimum(function, x, rate, steps):
        return ...  # a float

    return (minimum,)


@app.cell(hide_code=True)
def _(minimum):
    check_3 = exercise(
        minimum,
        lambda answer: abs(float(answer) - 1.25) < 1e-2,
        "From 4 it should come down (t − 1.25)² + 7 to 1.25, in 60 steps at rate 0.1.",
        (lambda t: (t - 1.25) ** 2 + 7, 4.0, 0.1, 60),
    )
    check_3
    return


if __name__ == "__main__":
    app.run()
