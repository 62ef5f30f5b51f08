import marimo

app = marimo.App(width="medium", app_title="4 · The roller coaster")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import torch

    from underhood.lessons import exercise, table
    from underhood.scratch.sgd import mse, speed_at


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 4 · The roller coaster

    A whole training on one screen, with three weights in place of a million. A car rolls over the top of a
    hill; each second somebody reads its speed, badly. It slows down, and gets faster again: a quadratic, a·t² +
    b·t + c. Which one?
    """)
    return


@app.cell
def _():
    torch.manual_seed(42)  # the book's noise, number for number
    time = torch.arange(0, 20).float()
    speed = torch.randn(20) * 3 + 0.75 * (time - 9.5) ** 2 + 1
    first_guess = torch.randn(3)
    first_guess
    return first_guess, speed, time


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The seven steps

    1. **Initialize** the weights: at random.
    2. **Predict** with them.
    3. Measure the **loss**: how bad that is, in one number.
    4. Take the **gradient**: how the loss would change with each weight.
    5. **Step**: move each weight a little against its gradient.
    6. **Repeat** from 2.
    7. **Stop**, when it is good enough or nothing changes any more.
    """)
    return


@app.cell
def _(first_guess, speed, time):
    params = first_guess.clone().requires_grad_()  # 1
    preds = speed_at(time, params)  # 2
    loss = mse(preds, speed)  # 3
    loss.backward()  # 4
    first_loss, gradient = loss.item(), params.grad.tolist()
    with torch.no_grad():
        after_one = mse(speed_at(time, params - 1e-5 * params.grad), speed).item()  # 5

    _slopes = " ".join(f"{slope:.4f}" for slope in gradient)
    _rows = [
        ("step 3: the loss", f"{first_loss:.4f}", "25823.8086"),
        ("step 4: its gradient", _slopes, "-53195.8594 -3419.7146 -253.8908"),
        ("step 5: the loss after a step", f"{after_one:.4f}", "5435.5366"),
    ]
    table([dict(zip(("", "here", "the book"), row, strict=True)) for row in _rows])
    return after_one, first_loss


@app.cell(hide_code=True)
def _():
    mo.md("""
    The gradients are huge (a weight that multiplies t² = 361 moves the loss a lot), so the rate is tiny:
    0.00001. Now 6, a thousand times.
    """)
    return


@app.cell
def _(first_guess, speed, time):
    def descend(rate, steps):
        """The parameters before each step and after the last [steps + 1, 3], and their losses."""
        params, path, losses = first_guess.clone().requires_grad_(), [], []
        for _step in range(steps + 1):
            loss = mse(speed_at(time, params), speed)
            path.append(params.detach().clone())
            losses.append(loss.item())
            loss.backward()
            params.data -= rate * params.grad
            params.grad = None
        return torch.stack(path), losses

    path, losses = descend(1e-5, 1000)
    final_loss = losses[-1]
    return final_loss, losses, path


@app.cell
def _():
    taken = mo.ui.slider(
        steps=[0, 1, 2, 3, 4, 5, 7, 10, 20, 50, 100, 300, 1000], value=0, label="steps taken", show_value=True
    )
    taken
    return (taken,)


@app.cell
def _(losses, path, speed, taken, time):
    _figure, (_left, _right) = plt.subplots(1, 2, figsize=(9, 3.4))
    _left.scatter(time, speed, s=14, label="measured")
    _left.plot(time, speed_at(time, path[taken.value]), color="tab:red", label="predicted")
    _left.set(xlabel="second", ylabel="speed", ylim=(-320, 110), title=f"step {taken.value}")
    _left.legend(loc="lower left")
    _right.plot(losses, color="0.7")
    _right.plot(taken.value, losses[taken.value], "o", color="tab:red")
    _right.set(xlabel="step", ylabel="loss", yscale="log", title=f"{losses[taken.value]:,.1f}", xscale="symlog")
    _figure.tight_layout()
    _figure
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Most of the way is done in five steps, and then hardly anything moves, although the curve is still no good:
    a single rate has to suit all three weights, and what suits a (whose slope is steep) is far too little for c
    (whose slope is flat). The loss is a long, narrow valley, and we crawl along its floor. Where would it end?
    Here the answer has a formula, least squares:
    """)
    return


@app.cell
def _(final_loss, speed, time):
    _columns = torch.stack([time**2, time, torch.ones(20)], dim=1)  # [20, 3]
    best = torch.linalg.lstsq(_columns, speed[:, None]).solution[:, 0]
    best_loss = mse(speed_at(time, best), speed).item()
    mo.md(
        f"best parameters {[round(v, 2) for v in best.tolist()]}, loss **{best_loss:.2f}**; "
        f"after a thousand steps we are at **{final_loss:.0f}**"
    )
    return best, best_loss


@app.cell(hide_code=True)
def _():
    mo.md("""
    Two mends, and both come again in real training: put the inputs on one scale (`Normalize` is the first layer
    of every model of ours), or use an optimizer that gives each weight a step of its own (Adam). The second,
    with the same three weights:
    """)
    return


@app.cell
def _(first_guess, speed, time):
    _params = first_guess.clone().requires_grad_()
    _optimizer = torch.optim.Adam([_params], lr=0.3)
    for _ in range(1000):
        mse(speed_at(time, _params), speed).backward()
        _optimizer.step()
        _optimizer.zero_grad()
    adam_loss = mse(speed_at(time, _params), speed).item()
    mo.md(f"Adam, after a thousand steps: loss **{adam_loss:.2f}**")
    return (adam_loss,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Exercises

    **1.** Scale the time to lie between −1 and 1, `(time - 9.5) / 9.5`: which of these rates then brings plain
    descent within 10 % of the best loss in a hundred steps: 0.0001, 0.01, 0.3 or 10? (`descend` above can be
    copied and changed.)
    """)
    return


@app.cell
def _():
    scaled_rate = ...
    return (scaled_rate,)


@app.cell(hide_code=True)
def _(scaled_rate):
    check_1 = exercise(scaled_rate, lambda answer: answer == 0.3, "Too low creeps, too high climbs out: try them.")
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md(
        "**2.** At which second is the car slowest, by the best parameters? (A quadratic turns where its "
        "slope 2·a·t + b is 0.)"
    )
    return


@app.cell
def _():
    slowest = ...
    return (slowest,)


@app.cell(hide_code=True)
def _(best, slowest):
    check_2 = exercise(
        slowest,
        lambda answer: abs(float(answer) + (best[1] / (2 * best[0])).item()) < 0.05,
        "−b / (2·a), with a and b of `best`.",
    )
    check_2
    return


if __name__ == "__main__":
    app.run()
