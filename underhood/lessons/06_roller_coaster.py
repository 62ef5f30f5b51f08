import marimo

app = marimo.App(
    width="medium", app_title="6 · The roller coaster", layout_file="layouts/06_roller_coaster.slides.json"
)

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import torch

    from underhood.lessons import exercise, figure, table


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 6 · The roller coaster

    In lesson 5 you walked down a curve whose formula you knew. Real training begins the other way round: there are
    measurements, nobody knows the formula behind them, and a program has to find the numbers that describe them
    best. In this lesson you do that once, from the first line to the last, with a model that has only three
    parameters, so that each of them can be printed and watched. With 784 parameters, or with a hundred million, the
    steps are the same, and so are most of the lines.

    **After this lesson** you can write a complete training from an empty file, say for every line why it is there,
    and explain why a training that no longer gets better may still be far from the best. **It takes about 45
    minutes.**
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The measurements

    A roller coaster rolls over the top of a hump. It arrives fast, slows down on its way up, is slowest at the top,
    and gets faster again on the other side. Somebody beside the track measures its speed once a second for twenty
    seconds. Measurements by hand are never exact.

    We have no roller coaster, so we make the measurements up: a curve, and for each second a random error on top.
    Random numbers in a computer are calculated, each from the one before, and the *seed* says where they begin.
    With the same seed everybody gets the same ones, so you can compare: the figures below are those of *Deep
    Learning for Coders* by Jeremy Howard and Sylvain Gugger, whose example this is. (The last digit may differ now
    and then. A `float32` has about seven digits, and another processor may add in another order.) `torch.randn`
    draws from the bell curve around 0: about two thirds of its numbers lie between −1 and 1, so after `* 3` most
    errors are smaller than 3.
    """)
    return


@app.cell
def _():
    torch.manual_seed(42)
    time = torch.arange(0, 20).float()  # [20]: the seconds 0 to 19
    speed = torch.randn(20) * 3 + 0.75 * (time - 9.5) ** 2 + 1  # [20]: error + curve
    start = torch.randn(3)  # [3]: three more random numbers, which we need in a moment
    speed
    return speed, start, time


@app.cell(hide_code=True)
def _(speed, time):
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _axes.scatter(time, speed, s=18)
    _axes.set(xlabel="second", ylabel="speed", xticks=range(0, 20, 5))
    figure(
        _axes,
        "Twenty measured speeds in the shape of a U: "
        f"{speed[0]:.0f} at first, smallest near second {int(speed.argmin())}, {speed[-1]:.0f} at the end.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    (Two speeds are a little below 0. The car did not roll backwards; that is the error.) From here on, forget that
    you have seen the curve in the code. There are these twenty points, and the question: what was the speed,
    really?

    ## The model

    Infinitely many curves could be drawn through these points. To get anywhere we have to choose a family of
    curves, and look for the best one within the family. The points lie in the shape of a U, so let us try the
    quadratics: a·t² + b·t + c, where t is the time. That choice is our **model**. It turns the hopeless question
    "which is the best of all functions?" into one that can be answered: "which are the best a, b and c?"
    """)
    return


@app.cell
def _():
    def speed_at(t, params):  # t [n], params [3]
        a, b, c = params
        return a * (t**2) + (b * t) + c  # [n]

    speed_at(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 0.0, 5.0]))
    return (speed_at,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    With a = 1, b = 0 and c = 5 that is t² + 5: at the seconds 0, 1 and 2 it gives 5, 6 and 9.

    Why `speed_at(t, params)` and not `speed_at(t, a, b, c)`? Because its two arguments play different parts. `t` is
    **data**: it was given to us, and training never changes it. `params` holds the **parameters**: they are what we
    are looking for, and training does nothing but change them. Autograd should watch the parameters and leave the
    data alone, so it helps to have all parameters in one place: one tensor of them has one gradient and takes one
    line to step. That line stays as it is when there are 784.

    ## What "best" means

    "Best" needs a number: a loss, which is small if the predictions lie close to what was measured. For each second
    there is an error, prediction minus measurement. Some errors are positive and some negative, and in a sum they
    would cancel, as you saw in lesson 3. So we square each error, which makes it positive, and take the mean of the
    squares. This is the **mean squared error**, or MSE; in PyTorch it is called `mse_loss`.
    """)
    return


@app.cell
def _():
    def mse(preds, targets):  # both [n]
        return ((preds - targets) ** 2).mean()  # []

    mse(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 5.0]))
    return (mse,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Two predictions are right and the third is off by 2: (0 + 0 + 4) / 3. (`preds` is short for predictions, and
    `targets` are the values that should have come out. In lesson 3 we took the root of this number, to have it on
    the scale of the data. A loss does not need that: whatever has the smallest MSE also has the smallest root.)

    ## Gradient descent in seven steps

    **Gradient descent** means: make a loss small by moving all parameters a little against its gradient, again and
    again. It is what Cauchy proposed, with autograd in place of paper. Here are the seven steps from lesson 4, with
    a cell for each.

    (Some of these cells change `params` itself. A notebook cannot take that back, so if you run one of them twice,
    or change it, start afresh: run the cell of step 1, and all those below it follow.)

    ### Step 1: initialise

    About a, b and c we know nothing yet, so we begin with random numbers: the three in `start`. `clone` makes a
    copy, so that we can come back to the same start later, and `requires_grad_` tells autograd to watch the copy.
    """)
    return


@app.cell
def _(start):
    params = start.clone().requires_grad_()  # [3]: a, b, c
    params
    return (params,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ### Step 2: predict

    What would the speeds have been if these parameters were right?
    """)
    return


@app.cell
def _(params, speed_at, time):
    preds = speed_at(time, params)  # [20]
    preds
    return (preds,)


@app.cell(hide_code=True)
def _(preds, speed, time):
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _axes.scatter(time, speed, s=18, label="measured")
    _axes.scatter(time, preds.detach(), s=18, color="tab:red", marker="x", label="predicted")
    _axes.set(xlabel="second", ylabel="speed", xticks=range(0, 20, 5))
    _axes.legend(loc="lower left")
    figure(
        _axes,
        "The measured speeds in the shape of a U, and far below them the predicted ones, which fall from "
        f"{preds[0].item():.0f} to {preds[-1].item():.0f}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    (`-2.8938e+02` is −289.38: `e+02` moves the point two places to the right.) Not a good guess. The predicted
    speeds are negative almost everywhere: our car rolls backwards, faster and faster.

    ### Step 3: the loss
    """)
    return


@app.cell
def _(mse, preds, speed):
    loss = mse(preds, speed)  # []
    first_loss = loss.item()
    loss
    return first_loss, loss


@app.cell(hide_code=True)
def _():
    mo.md("""
    That is how bad the guess is, in one number. Its root is about 161, so a prediction is typically wrong by 161,
    where the largest speed that was measured is below 80. `grad_fn=<MeanBackward0>` says that autograd has taken
    notes: the last thing that happened was a mean, and behind it the whole computation is remembered, back to
    `params`.

    ### Step 4: the gradient

    `backward` goes through these notes from their end to their beginning, and leaves in `params.grad` how the loss
    would change with each parameter.
    """)
    return


@app.cell
def _(loss, params):
    loss.backward()
    gradient = params.grad.clone()  # [3]: a copy, because params.grad is about to be reset
    gradient
    return (gradient,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    All three are negative: to raise any of the parameters would *lower* the loss. The sizes differ greatly. If a
    rises by a tiny amount, the loss falls by about 53,196 times that amount; for c it is only 254 times. There is a
    simple reason. In the prediction, a is multiplied by t², which goes up to 361, b by t, which goes up to 19, and
    c by nothing. Remember this difference: it will get us into trouble.

    ### Step 5: step

    Each parameter moves against its slope, by the slope times the learning rate. The slopes are huge, so the rate
    must be tiny: 1e-5, which is how Python writes 0.00001. (How does one find such a rate? By trying. With ten
    times as much the loss explodes, and with a hundredth nothing seems to move.)
    """)
    return


@app.cell
def _(gradient, params):
    lr = 1e-5  # the learning rate
    params.data -= lr * params.grad  # [3] −= number · [3]
    params.grad = None
    moved = params.data.clone()  # [3]: a copy, to look at
    print("added:", -lr * gradient)
    print("now:  ", moved)
    return lr, moved


@app.cell(hide_code=True)
def _(gradient, moved, start):
    table(
        [
            {
                "": name,
                "before": f"{start[i]:.4f}",
                "gradient": f"{gradient[i]:,.1f}",
                "after": f"{moved[i]:.4f}",
            }
            for i, name in enumerate("abc")
        ]
    )
    return


@app.cell
def _(moved, mse, speed, speed_at, time):
    _loss = mse(speed_at(time, moved), speed)
    after_one = _loss.item()
    _loss
    return (after_one,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    From 25,824 to 5,436 in a single step, and we never said what a roller coaster is. (Here there is no `grad_fn`:
    `moved` is a plain copy that nobody watches.) Two details of step 5 deserve a closer look, because you will
    write them again and again.

    **Why `params.data`?** There are two more natural ways to write a step. Here is what becomes of them:
    """)
    return


@app.cell
def _(lr, mse, speed, speed_at, start, time):
    _params = start.clone().requires_grad_()
    mse(speed_at(time, _params), speed).backward()
    try:
        _params -= lr * _params.grad
    except RuntimeError as _error:
        print("first: ", _error)
    _params = _params - lr * _params.grad
    print("second:", _params)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The first way is refused. `_params` is a *leaf*, a tensor that we made ourselves and that autograd watches, and
    PyTorch refuses to change its numbers by an operation that autograd would have to note down: the leaf would then be
    a result of itself. The second way is allowed, but look at
    `grad_fn=<SubBackward0>`: the result is no leaf any more. Autograd takes it for one more step of the
    computation, so `backward` would go on through it into the past, further with every step, and would not fill in
    its `grad`.

    What we want is simpler: change the numbers, and let autograd take no note of it. `params.data` is just that,
    the same numbers without the watching. (In newer programs you will often read `with torch.no_grad():` and,
    indented below it, `params -= lr * params.grad`. It does the same: inside that block autograd takes no notes.)

    **Why `params.grad = None`?** Because `backward` *adds* to what is in `grad`, as you saw in lesson 5. The next
    gradient should be that of the new place alone, so the old one has to go. We will see in a moment what happens
    to somebody who forgets it.

    ### Step 6: repeat

    Steps 2 to 5 stay the same each time, so they become a function. It changes `params`, and returns the loss as it
    was *before* the step. (`params.grad.data` is `params.grad` once more; the second `.data` is a precaution that
    is not needed here.)
    """)
    return


@app.cell
def _(mse, speed_at):
    def apply_step(time, speed, params, lr=1e-5):  # time [n], speed [n], params [3]
        loss = mse(speed_at(time, params), speed)  # steps 2 and 3
        loss.backward()  # step 4
        params.data -= lr * params.grad.data  # step 5
        params.grad = None
        return loss.item()

    return (apply_step,)


@app.cell
def _(apply_step, moved, speed, time):
    _params = moved.clone().requires_grad_()  # where step 5 left them
    ten_losses = [apply_step(time, speed, _params) for _ in range(10)]
    for _loss in ten_losses:
        print(_loss)
    return (ten_losses,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The loss falls fast, then slowly, and at 677 it almost stands still. That is eleven steps, counting the one that
    we made by hand. And here is the same with `params.grad = None` forgotten:
    """)
    return


@app.cell
def _(lr, moved, mse, speed, speed_at, time):
    _params = moved.clone().requires_grad_()
    forgotten = []
    for _ in range(10):
        _loss = mse(speed_at(time, _params), speed)
        _loss.backward()  # adds to what is there
        _params.data -= lr * _params.grad
        forgotten.append(round(_loss.item()))
    print(forgotten)
    return (forgotten,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Every step now goes by the sum of all slopes so far, the old ones included. The parameters overshoot the bottom,
    climb the other side, and swing back: the loss goes down and up and down again. No error message tells you. It
    is one of the most common mistakes in training code, and you now know what it looks like.

    ### Step 7: stop

    When is it enough? We stopped after ten because we had to stop somewhere. Usually one fixes a number of steps
    beforehand, or stops when the loss hardly falls any more, or watches a metric on the validation set and stops
    when that gets no better (lesson 14 compares these ways). By the second rule we are done. Let
    us see what we have.

    ## Every step is another curve

    The next cell starts again from `start`, and keeps the parameters and the loss along the way, for a thousand
    steps. (`detach().clone()` is a copy of the numbers without autograd's notes.) Move the slider, and begin with
    single steps.
    """)
    return


@app.cell
def _(apply_step, speed, start, time):
    _params = start.clone().requires_grad_()
    path, losses = [], []
    for _ in range(1001):
        path.append(_params.detach().clone())  # [3]: before the step
        losses.append(apply_step(time, speed, _params))
    final_loss = losses[1000]
    print(path[1000], final_loss)
    return final_loss, losses, path


@app.cell(hide_code=True)
def _():
    taken = mo.ui.slider(
        steps=[0, 1, 2, 3, 4, 5, 7, 10, 20, 50, 100, 300, 1000], value=0, label="steps taken", show_value=True
    )
    taken
    return (taken,)


@app.cell(hide_code=True)
def _(losses, path, speed, speed_at, taken, time):
    _figure, (_above, _below) = plt.subplots(2, 1, figsize=(6, 5.6), height_ratios=(3, 2))
    _above.scatter(time, speed, s=18, label="measured")
    _curve = speed_at(time, path[taken.value])  # [20]
    _above.plot(time, _curve, color="tab:red", label="predicted")
    _above.set(
        xlabel="second", ylabel="speed", xticks=range(0, 20, 5), ylim=(-320, 110), title=f"after {taken.value} steps"
    )
    _above.legend(loc="lower left")
    _below.plot(losses, color="0.7")
    _below.plot(taken.value, losses[taken.value], "o", color="tab:red")
    _below.set(xlabel="steps", ylabel="loss", yscale="log", xscale="symlog", xlim=(-0.2, 1300))
    _below.set_title(f"loss {losses[taken.value]:,.1f}")
    _figure.tight_layout()
    figure(
        _figure,
        f"After {taken.value} steps the loss is {losses[taken.value]:,.1f}. The predicted curve starts at "
        f"{_curve[0]:.0f} and ends at {_curve[-1]:.0f}; the measured speeds start at {speed[0]:.0f} and end at "
        f"{speed[-1]:.0f}. The loss falls steeply in the first five steps and is almost level afterwards.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Why it gets stuck

    The curve turns upwards in a few steps, and then it hardly changes, although anybody can see that it does not
    fit: the points fall before they rise, and the curve does not. Is a quadratic perhaps not able to do better?

    For this model we can find out, because for it the best parameters have a formula. A prediction is a sum in
    which each parameter is multiplied by something known: a by t², b by t, c by 1. For such sums the smallest mean
    squared error can be calculated directly. This is *least squares*; Adrien-Marie Legendre published it in 1805
    and Carl Friedrich Gauss in 1809, both to work out orbits in the sky. PyTorch has it as `torch.linalg.lstsq`. It
    wants the known factors as the columns of a table:
    """)
    return


@app.cell
def _(mse, speed, speed_at, time):
    columns = torch.stack([time**2, time, torch.ones(20)], dim=1)  # [20, 3]
    best = torch.linalg.lstsq(columns, speed[:, None]).solution[:, 0]  # [3]
    best_loss = mse(speed_at(time, best), speed).item()
    print(best, best_loss)
    return best, best_loss


@app.cell(hide_code=True)
def _(best, best_loss, final_loss):
    mo.md(f"""
    So a quadratic can reach **{best_loss:.2f}**, and a thousand steps have brought us to **{final_loss:.0f}**. The
    best parameters, {best[0]:.2f}, {best[1]:.2f} and {best[2]:.2f}, are close to those that the measurements were
    made with (the curve 0.75 · (t − 9.5)² + 1 is 0.75 · t² − 14.25 · t + 68.69). They are not equal to them,
    because there is an error in every measurement.

    Why use gradient descent at all, if there is a formula? Because the formula needs a model that is such a sum.
    From lesson 12 on, ours are not. Gradient descent works for any model that has a gradient.

    But what held it up here? Start from the best parameters, move one of them by 0.1, and see how much the loss
    grows:
    """)
    return


@app.cell
def _(best, best_loss, mse, speed, speed_at, time):
    for _i, _name in enumerate("abc"):
        _near = best.clone()
        _near[_i] += 0.1
        print(_name, f"{mse(speed_at(time, _near), speed).item() - best_loss:.3f}")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The same move costs 28,000 times as much in a as in c. There is **one learning rate for all three** parameters.
    It has to be tiny, or a would jump across the valley, and with a rate so tiny, c does not get anywhere.

    The figure is a map of the loss, as in lesson 5: each line joins places of the same loss. To the right is a,
    upwards is c, and for b the best value for each place is taken. Mind the scales: upwards the map is squeezed
    more than forty times. At one scale, the ovals would be needles: the loss is a long, narrow valley. Gradient
    descent drops straight into it, because the slope *across* the valley is steep, and then it crawls along the
    floor, where there is hardly any slope. In a thousand steps c gets from 1.36 to 1.56, and it should get to
    71.77. Gradient descent has not arrived, it is only slow.
    """)
    return


@app.cell(hide_code=True)
def _(best, path, speed, time):
    _way = torch.stack(path)[:, [0, 2]]  # [1001, 2]: a and c
    _a, _c = torch.meshgrid(torch.linspace(-0.95, 1.15, 200), torch.linspace(-6, 84, 200), indexing="ij")
    _rest = speed - _a[..., None] * time**2 - _c[..., None]  # [200, 200, 20]
    _b = (_rest * time).mean(-1, keepdim=True) / (time**2).mean()  # the best b for each a and c
    _loss = ((_rest - _b * time) ** 2).mean(-1)
    _axes = plt.subplots(figsize=(6, 4.4))[1]
    _levels = [10, 30, 100, 300, 1000, 3000, 10000]
    _lines = _axes.contour(_a, _c, _loss, levels=_levels, colors="0.6", linewidths=0.8)
    _axes.clabel(_lines, fontsize=8)
    _axes.plot(_way[:, 0], _way[:, 1], "-", color="tab:red", linewidth=1)
    _axes.plot(_way[:6, 0], _way[:6, 1], "o", color="tab:red", markersize=4)
    _axes.plot(_way[-1, 0], _way[-1, 1], "s", color="black", markersize=5)
    _axes.plot(best[0], best[2], "*", color="black", markersize=11)
    for _text, _place in (("start", _way[0]), ("after 1000 steps", _way[-1]), ("best", best[[0, 2]])):
        _axes.annotate(_text, _place, xytext=(6, 7), textcoords="offset points")
    _axes.set(xlabel="a", ylabel="c")
    figure(
        _axes,
        "A map of the loss over a and c: slanting ovals, one in the other, around the best place. The path of gradient "
        "descent goes from the start at the lower left straight to the right, into the valley, in five steps. In the "
        f"995 steps after that c rises from {_way[5, 1]:.2f} to {_way[-1, 1]:.2f}. The best place is far up the "
        f"valley, where c is {best[2]:.1f}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## One scale for all inputs

    If the trouble is that t² goes up to 361 while the factor of c is 1, then let us measure time on another scale,
    on which both have about the same size. To **standardise** numbers (in PyTorch and fastai: to *normalise* them)
    means to subtract their mean, and to divide by their standard deviation, which is how far they typically are
    from their mean.
    """)
    return


@app.cell
def _(time):
    z = (time - time.mean()) / time.std()  # [20]
    z
    return (z,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Now everything lies between −1.7 and 1.7, and z² and 1 are of the same size. Is it still the same task? Yes: put
    (t − 9.5) / 5.92 in place of z into a quadratic, multiply out, and you have a quadratic in t, only with another
    a, b and c. The same curves can be reached, and so can the same best loss. The valley, however, is another one:
    """)
    return


@app.cell
def _(best_loss, mse, speed, speed_at, z):
    z_columns = torch.stack([z**2, z, torch.ones(20)], dim=1)  # [20, 3]
    z_best = torch.linalg.lstsq(z_columns, speed[:, None]).solution[:, 0]  # [3]
    print("best loss", mse(speed_at(z, z_best), speed).item())
    for _i, _name in enumerate("abc"):
        _near = z_best.clone()
        _near[_i] += 0.1
        print(_name, f"{mse(speed_at(z, _near), speed).item() - best_loss:.3f}")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Where 0.1 cost 28,000 times as much in a as in c before, it now costs about the same. The valley is nearly
    round, and the rate may be tens of thousands of times as high. Find the rate that arrives the soonest, and the
    first one that is too much:
    """)
    return


@app.cell(hide_code=True)
def _():
    z_rate = mo.ui.slider(
        steps=[0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.43, 0.45, 0.6],
        value=0.01,
        label="learning rate",
        show_value=True,
    )
    z_rate
    return (z_rate,)


@app.cell
def _(apply_step, best_loss, speed, start, z, z_rate):
    _params = start.clone().requires_grad_()  # the same three numbers to start from
    z_losses = [apply_step(z, speed, _params, z_rate.value) for _ in range(200)]
    arrived = [step for step, one in enumerate(z_losses) if one < 1.01 * best_loss]
    print("after 199 steps:", z_losses[-1])
    print("within 1 % of the best after", arrived[0] if arrived else "more than 199", "steps")
    return arrived, z_losses


@app.cell(hide_code=True)
def _(arrived, best_loss, losses, z_losses, z_rate):
    _axes = plt.subplots(figsize=(6, 3.2))[1]
    _axes.plot(losses[:200], color="0.7", label="time as it was, rate 0.00001")
    _axes.plot(z_losses, color="tab:red", label=f"standardised, rate {z_rate.value:g}")
    _axes.axhline(best_loss, color="black", linestyle=":", label="best")
    _axes.set(xlabel="steps", ylabel="loss", yscale="log", ylim=(3, 1e5))
    _axes.legend(loc="upper right")
    figure(
        _axes,
        f"The loss over 200 steps. With time as it was, it stays at {losses[199]:.0f}. With standardised time and "
        f"rate {z_rate.value:g} it "
        + (
            f"is within 1 percent of the best, {best_loss:.1f}, after {arrived[0]} steps."
            if arrived
            else f"does not reach the best, {best_loss:.1f}; after 199 steps it is {z_losses[-1]:.3g}."
        ),
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    At 0.3 fewer than twenty steps are enough, where a thousand did not suffice before. At 0.43 it bounces, as in
    lesson 5, and does not arrive in time; at 0.45 each step lands higher than the one before.

    Nothing about the model has changed, nor about gradient descent; only the scale of the input. That is why nearly
    every program that trains something begins by bringing its inputs to one scale. With pixels we have done so since
    lesson 2: divided by 255, they lie between 0 and 1.

    ## Summary

    - A model is a family of functions; its parameters say which one of them. Data and parameters are separate
      arguments, because training changes the one and not the other.
    - Gradient descent: initialise, predict, loss, gradient, step, repeat, stop.
    - A step is `params.data -= lr * params.grad`, where `data` keeps autograd from taking notes, and then
      `params.grad = None`, because `backward` adds.
    - When the loss stands still, it need not be at its lowest. One learning rate has to suit all parameters; if the
      loss is much steeper in one than in another, training crawls.
    - Inputs on one scale make the valley round, and training fast.

    **New words:** gradient descent, mean squared error (MSE), data and parameters, seed, leaf, least squares, to
    standardise (normalise).

    ## Exercises

    **1.** At which second is the car slowest, by the best parameters? (`best` holds them, in the order a, b, c. A
    quadratic turns where its derivative, 2·a·t + b, is 0.)
    """)
    return


@app.cell
def _():
    slowest = ...  # a number of seconds
    return (slowest,)


@app.cell(hide_code=True)
def _(best, slowest):
    check_1 = exercise(
        "6.1",
        slowest,
        lambda answer: abs(float(answer) + (best[1] / (2 * best[0])).item()) < 0.05,
        hints=(
            "Solve 2·a·t + b = 0 for t.",
            "t = −b / (2·a).",
            "`best[0]` is a and `best[1]` is b.",
        ),
        solution="slowest = -best[1] / (2 * best[0])",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** A single wild measurement can spoil a mean *squared* error, because the square of a large error is very
    large. Write a loss on which it has less effect: the mean *absolute* error. (It is the L1 of lesson 3; PyTorch calls
    it `l1_loss`.)
    """)
    return


@app.cell
def _():
    def mae(preds, targets):  # both [n] → []
        return ...

    return (mae,)


@app.cell(hide_code=True)
def _(mae):
    check_2 = exercise(
        "6.2",
        mae,
        lambda answer: abs(float(answer) - 5 / 3) < 1e-5,
        hints=(
            "Begin with `mse`. What has to take the place of the square?",
            "The absolute value is a method of a tensor, too: `.abs()`.",
            "Take the difference, then `.abs()` of it, then `.mean()`.",
        ),
        solution="""
        def mae(preds, targets):
            return (preds - targets).abs().mean()
        """,
        arguments=(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 0.0])),
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Another scale: `(time - 9.5) / 9.5`, which lies between −1 and 1. Which of these rates brings the loss
    within 10 % of `best_loss` in a hundred steps from `start`: 0.0001, 0.01, 0.3 or 10? Try them. (Let the names of
    your own variables begin with `_`. Then they are known in your cell only, and cannot collide with other names of
    the lesson.)
    """)
    return


@app.cell
def _():
    scaled_rate = ...  # one of the four
    return (scaled_rate,)


@app.cell(hide_code=True)
def _(scaled_rate):
    check_3 = exercise(
        "6.3",
        scaled_rate,
        lambda answer: answer == 0.3,
        hints=(
            "Too low creeps and too high climbs out. Try one rate after the other, each from a fresh copy of `start`.",
            "`_params = start.clone().requires_grad_()`, and then a hundred times "
            "`apply_step((time - 9.5) / 9.5, speed, _params, _rate)`.",
            "The cell with `z_losses` does nearly the same. Print the last loss for each of the four rates.",
        ),
        solution="""
        for _rate in (0.0001, 0.01, 0.3, 10):
            _params = start.clone().requires_grad_()
            for _ in range(100):
                _loss = apply_step((time - 9.5) / 9.5, speed, _params, _rate)
            print(_rate, _loss / best_loss)
        scaled_rate = 0.3
        """,
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** All seven steps, from an empty function: find the straight line w·x + b that lies closest to the points
    `x`, `y`, by the mean squared error. Start from zeros, take `steps` steps at the rate `lr`, and return a tensor
    with w and b.
    """)
    return


@app.cell
def _():
    def fit_line(x, y, lr, steps):  # x [n], y [n] → [2]
        return ...

    return (fit_line,)


@app.cell(hide_code=True)
def _(fit_line):
    _x = torch.linspace(-1, 1, 21)
    check_4 = exercise(
        "6.4",
        fit_line,
        lambda answer: torch.allclose(answer.detach(), torch.tensor([3.0, 2.0]), atol=1e-3),
        hints=(
            "Step 1 is `params = torch.zeros(2).requires_grad_()`; then a loop with steps 2 to 5.",
            "In the loop: `w, b = params`, the predictions, the loss, `loss.backward()`, the step. (The points of the "
            "check lie on 3·x + 2.)",
            "Does the loss go down and then up again? Then `params.grad = None` is missing after the step. At the end, "
            "`return params.data`.",
        ),
        solution="""
        def fit_line(x, y, lr, steps):
            params = torch.zeros(2).requires_grad_()
            for _ in range(steps):
                w, b = params
                loss = ((w * x + b - y) ** 2).mean()
                loss.backward()
                params.data -= lr * params.grad
                params.grad = None
            return params.data
        """,
        arguments=(_x, 3 * _x + 2, 0.3, 200),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** There is another cure for a narrow valley: a learning rate for each parameter. Leave time
    as it was and give `apply_step` the tensor `torch.tensor([1e-5, 1e-3, 1e-1])` as its rate, so that a, b and c
    each have their own. How far do you get in a thousand steps? Which three rates are better still? (The best-known
    method that adapts such rates by itself while it trains is called Adam, published by Diederik Kingma and Jimmy
    Ba in 2014. You will meet its name in nearly every training program.)

    ## What you can read now

    [`torch.nn.MSELoss`](https://pytorch.org/docs/stable/generated/torch.nn.MSELoss.html): the formula at the top,
    the meaning of its `mean` and `sum`, and the shapes of what goes in and comes out. And
    [`torch.Tensor.grad`](https://pytorch.org/docs/stable/generated/torch.Tensor.grad.html), two sentences that you
    now know by experience.

    **Next:** [7 · A loss for digits](?file=07_loss.py), where the same seven steps begin to tell 3s from 7s.
    """)
    return


if __name__ == "__main__":
    app.run()
