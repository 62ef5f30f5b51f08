import marimo

app = marimo.App(width="medium", app_title="5 · Gradients", layout_file="layouts/05_gradients.slides.json")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch

    from underhood.lessons import exercise, figure, table


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 5 · Gradients

    Lesson 4 ended with a machine that learns, and takes far too long about it. To find out whether a weight should go
    up or down, it tried both, and for every try it computed the loss anew. This lesson puts something quicker in the
    place of steps 4 and 5 of the seven. From one single loss we will get the direction for *all* weights, and a hint
    how far to go. Everything that is called "learning" in the rest of the course, and in the largest models that
    exist, is done this way.

    The idea is more than 300 years old. In the 17th century Isaac Newton and, independently, Gottfried Wilhelm
    Leibniz found out how to compute how steep the curve of a formula is at any point. That one can walk down such a
    slope, step by step, to a lowest point was proposed by Augustin-Louis Cauchy in 1847.

    **After this lesson** you can say what a derivative is and find one without any rules, let PyTorch find it, check
    PyTorch, and step downhill at a sensible pace. **It takes about an hour.** You need the words *weight* and *loss*
    from lesson 4; if you have forgotten what you learned about slopes at school, that does no harm.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## A function of one weight

    To see the idea alone, we take the smallest model there is, with one weight `x`, and we pretend that its loss is
    the square of `x`:
    """)
    return


@app.cell
def _():
    def quadratic(x):
        return x**2  # any shape → the same shape

    return (quadratic,)


@app.cell
def _(quadratic):
    quadratic(torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The smallest loss is 0, and it is reached at x = 0. *We* can see that. A program cannot: for a loss with 784
    weights there is no picture to look at, and all that a program can do is ask what the loss is at a certain place.
    So we forget that we know the answer. We stand somewhere on the curve, in thick fog, and want to go down. Which
    way is down, and how steep is it?

    ## Rise over run

    Take one step to the right and see how much higher you are. The step is called the *run*, and the change in height
    the *rise*. How steep the way was is the rise divided by the run, as on a road sign: 12% means 12 metres up on 100
    metres forward.
    """)
    return


@app.cell
def _():
    def rise_over_run(function, x, run):
        rise = function(x + run) - function(x)
        return rise / run

    return (rise_over_run,)


@app.cell
def _(quadratic, rise_over_run):
    rise_over_run(quadratic, 3.0, 1.0)  # from 3 to 4, so from 9 to 16
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Seven up for one to the right. But that is the average over a long way, and the curve gets steeper on that way. We
    want to know how steep it is *here*, at 3. So the step must be shorter. In the figure a straight line is drawn
    through both ends of the step; make the run shorter, and watch the line.
    """)
    return


@app.cell(hide_code=True)
def _():
    run = mo.ui.slider(steps=[2.0, 1.5, 1.0, 0.5, 0.2, 0.1, 0.01], value=2.0, label="run", show_value=True)
    run
    return (run,)


@app.cell(hide_code=True)
def _(quadratic, rise_over_run, run):
    _steep = rise_over_run(quadratic, 3.0, run.value)
    _axes = plt.subplots(figsize=(5.5, 3.2))[1]
    _xs = np.linspace(0, 5.5, 100)
    _axes.plot(_xs, quadratic(_xs), color="0.6")
    _axes.plot(_xs, 9 + _steep * (_xs - 3), color="tab:blue")
    _axes.plot([3, 3 + run.value], [9, quadratic(3 + run.value)], "o", color="black")
    _axes.plot([3, 3 + run.value, 3 + run.value], [9, 9, quadratic(3 + run.value)], ":", color="black")
    _axes.set(xlabel="x", ylabel="loss, x²", ylim=(-3, 28), title=f"run {run.value:g}: rise over run = {_steep:.2f}")
    figure(
        _axes,
        f"The curve of x² and a straight line through its points at 3 and at {3 + run.value:g}. The line rises by "
        f"{_steep:.2f} for each 1 to the right. The shorter the run, the better it fits the curve near 3.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    And now in numbers, at 3 again, with runs that shrink towards nothing:
    """)
    return


@app.cell
def _(quadratic, rise_over_run):
    shrinking = [
        {"run": step, "rise over run": round(rise_over_run(quadratic, 3.0, step), 6)}
        for step in (1.0, 0.1, 0.01, 0.001, 0.0001)
    ]
    table(shrinking)
    return (shrinking,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    No doubt where this is going: to 6. The number on which rise over run settles as the run shrinks to nothing is
    called the **derivative** at that place. It is how steep the curve is at a single point, and in the figure, the
    line through two points has become a line that touches the curve in one, the *tangent*.

    Why do we not simply set the run to 0? Because then there is no rise either, and 0 / 0 is not a number. But for x²
    a line of school algebra shows what happens on the way. With a run h,

    > ((x + h)² − x²) / h = (2xh + h²) / h = 2x + h

    and as h shrinks, only 2x is left. At x = 3 that is 6, as in the table. But the line says more: it holds for
    *every* x. So how steep the curve is depends on where you stand, and is **another function** of x. The derivative
    of x² is 2x.
    """)
    return


@app.cell
def _():
    def slope(x):
        return 2 * x  # any shape → the same shape

    return (slope,)


@app.cell
def _(quadratic, rise_over_run, slope):
    places = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0])
    print(slope(places))
    print(rise_over_run(quadratic, places, 0.01))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Once by the formula, and once by trying. The second line is too large by 0.01 everywhere, and that is exactly the
    h in 2x + h, since here the run was 0.01. Move the point along the curve, and compare the slope of the line above
    with the height of the point below.
    """)
    return


@app.cell(hide_code=True)
def _():
    place = mo.ui.slider(-2.0, 2.0, value=1.5, step=0.1, label="x", show_value=True)
    place
    return (place,)


@app.cell(hide_code=True)
def _(place, quadratic, slope):
    _x = place.value
    _figure, (_above, _below) = plt.subplots(2, 1, figsize=(5.5, 5), sharex=True, height_ratios=(3, 2))
    _xs, _near = np.linspace(-2.2, 2.2, 100), np.array([_x - 0.7, _x + 0.7])
    _above.plot(_xs, quadratic(_xs), color="0.6")
    _above.plot(_near, quadratic(_x) + slope(_x) * (_near - _x), linewidth=3)
    _above.plot(_x, quadratic(_x), "o", color="black")
    _below.axhline(0, color="0.8", linewidth=1)
    _below.plot(_xs, slope(_xs), color="tab:blue")
    _below.plot(_x, slope(_x), "o", color="black")
    _above.set(ylabel="loss, x²", ylim=(-0.6, 4.8))
    _below.set(xlabel="x", ylabel="its derivative, 2x")
    _way = "this is the bottom" if abs(_x) < 1e-9 else f"downhill is to the {'left' if _x > 0 else 'right'}"
    _above.set_title(f"at x = {_x:.1f} the derivative is {slope(_x):.1f}: {_way}")
    figure(
        _figure,
        f"Above, the curve of x² with its tangent at {_x:.1f}. Below, the derivative 2x, a straight line through 0, "
        f"which is {slope(_x):.1f} there. Left of 0 the curve falls and the derivative is negative; right of 0 both "
        "are the other way round.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The derivative answers both questions of somebody in the fog. Its **sign** says which way is up: if it is
    positive, the loss grows to the right, so go left; if it is negative, go right. Always *against* the sign. Its
    **size** says how steep it is: far from the bottom it is large, near the bottom small, and at the bottom itself 0.

    ## Several weights

    A real model has many weights. What is "steep" supposed to mean then? There is no trick: ask about one weight at a
    time, and meanwhile **hold the others still**. Here is a loss of two weights, at the place a = 3, b = −1. (`lambda
    a: …` is a function of `a` that has no name; in lesson 2 you saw one without arguments.)
    """)
    return


@app.cell
def _():
    def of_two(a, b):
        return a**2 + a * b + 2 * b**2

    return (of_two,)


@app.cell
def _(of_two, rise_over_run):
    print(of_two(3.0, -1.0))
    print(rise_over_run(lambda a: of_two(a, -1.0), 3.0, 0.0001))  # only a moves
    print(rise_over_run(lambda b: of_two(3.0, b), -1.0, 0.0001))  # only b moves
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The loss is 8, and the slopes are 5 and −1, up to a small error, because a run can be small but never 0. So a should
    become smaller and b larger, and a matters more: a small change of a changes the loss five times as much as the
    same change of b. All the derivatives of a loss together, one for each weight, are called its **gradient**. It has
    the shape of the weights: 784 weights, 784 numbers. (In PyTorch and fastai people say *gradient* even where there
    is only one weight.)

    "Held still" does not mean that the others are of no importance. Somewhere else, for another b, the slope for a
    would be another one. The gradient only ever tells you about the place where you are.

    In the figure you look at this loss from above, as on a map: each line joins places of the same height. The arrow
    follows both slopes at once, 5 parts to the left and 1 part up.
    """)
    return


@app.cell(hide_code=True)
def _(of_two):
    _axes = plt.subplots(figsize=(5.2, 3.6))[1]
    _a, _b = np.meshgrid(np.linspace(-3, 4.2, 80), np.linspace(-2.4, 2.4, 80))
    _axes.contour(_a, _b, of_two(_a, _b), levels=[0.5, 2, 4, 8, 12, 16, 20], colors="0.6")
    _axes.annotate("", (1.0, -0.6), (3, -1), arrowprops={"arrowstyle": "->", "color": "tab:blue", "linewidth": 2})
    _axes.plot(3, -1, "o", color="black")
    _axes.plot(0, 0, "x", color="black")
    _axes.set(xlabel="a", ylabel="b", title="against the gradient, from a = 3, b = −1", aspect="equal")
    figure(
        _axes,
        "Lines of equal loss, tilted ellipses around the lowest point at a = 0, b = 0. From a = 3, b = −1 an arrow "
        "goes 5 parts to the left and 1 part up, at a right angle to the line there, into the valley.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The arrow leaves the line of equal height at a right angle. Of all directions it is the steepest way down from
    *here*, though it does not point exactly at the lowest place (×). After a short stretch one has to look again.

    ## PyTorch finds the gradient

    You do not need rules for derivatives to train a model. PyTorch knows them. The part of PyTorch that computes
    derivatives is called **autograd**, and it works like somebody who takes notes: it writes down everything that is
    computed from a weight, and later goes through the notes in reverse. You must only tell it which tensor to watch.
    The method for that is `requires_grad_`.
    """)
    return


@app.cell
def _(quadratic):
    watched = torch.tensor(3.0).requires_grad_()
    print(watched)
    print(quadratic(watched))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The result is 9, as it should be, and it has something attached: `grad_fn=<PowBackward0>`. That is the note. It
    says "I came about by taking a *power*, and I know how to get from me back to what I was computed from". You will
    see such a `grad_fn` on every tensor that was computed from a watched one; the name tells you the last operation.

    Computing the loss from the weights, forwards, is called the **forward pass**. Going through the notes from the
    loss back to the weights is the **backward pass**. It is started by the method `backward` of the loss, and it
    leaves the result not in the loss but at the weight, in `.grad`:
    """)
    return


@app.cell
def _(quadratic):
    x = torch.tensor(3.0).requires_grad_()
    y = quadratic(x)  # forward pass
    y.backward()  # backward pass
    slope_at_3 = x.grad.item()
    print(y)
    print(x.grad)
    return (slope_at_3,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Six, as in the table above and as by 2x. Note two habits of PyTorch. It does not give you the derivative as a new
    function, as mathematics does; it gives its *value* at the place where x is. And `x.grad` does not say which loss
    it belongs to: it is the slope of that loss on which you called `backward`.

    With several weights it is the same. They are one tensor, and so is the gradient. Only the loss must be a single
    number, a scalar, so here we add the squares up. (Without the `sum` there would be three results, and "how does
    *the* result change" would have no meaning; PyTorch says so: *grad can be implicitly created only for scalar
    outputs*.)
    """)
    return


@app.cell
def _(quadratic):
    xs = torch.tensor([3.0, 4.0, 10.0]).requires_grad_()  # [3]
    total = quadratic(xs).sum()  # []: one loss of three weights
    total.backward()
    slopes = xs.grad.tolist()
    print(total)
    print(xs.grad)  # [3]
    return (slopes,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    9 + 16 + 100 is 125, and each weight has its own slope, 2x: 6, 8 and 20. This time the note says `SumBackward0`,
    since the sum came last; behind it the power is noted. And the two weights a and b from above?
    """)
    return


@app.cell
def _(of_two):
    a, b = torch.tensor(3.0).requires_grad_(), torch.tensor(-1.0).requires_grad_()
    of_two(a, b).backward()
    print(a.grad, b.grad)
    return a, b


@app.cell(hide_code=True)
def _():
    mo.md("""
    5 and −1, without a run and without its error. The best part is what it costs: a backward pass takes about twice
    as long as a forward pass, and it gives the slopes of *all* weights at once, whether there are two or two billion.
    *How* the slope of a long calculation follows from its small parts is the subject of lesson 15. Until then we use
    autograd as a machine, and check that we can rely on it.

    ## Gradients add up

    There is one thing about this machine that everybody trips over. Watch what happens when we go backward twice:
    """)
    return


@app.cell
def _(quadratic):
    w = torch.tensor(3.0).requires_grad_()
    quadratic(w).backward()
    print(w.grad)
    quadratic(w).backward()
    print(w.grad)
    w.grad.zero_()
    print(w.grad)
    return (w,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The slope at 3 is still 6, but `w.grad` says 12. `backward` does not replace what is in `.grad`, **it adds to
    it**. That is on purpose: if a loss is the sum of several parts, one may go backward from each part on its own,
    and ends up with the gradient of the sum. But for us it means: after each step set the gradient back, either with
    `w.grad.zero_()`, or with `w.grad = None`, which throws the old one away. If you forget it, no error appears; each
    step is simply taken with the sum of all gradients so far, and the model learns badly for no visible reason.

    **The underscore rule.** `requires_grad_` and `zero_` both end with an underscore. That is PyTorch's sign for a
    method that works *in place*: it changes the tensor itself. Without an underscore, a method leaves the tensor
    alone and returns a new one.
    """)
    return


@app.cell
def _():
    t = torch.tensor([1.0, 2.0, 3.0])
    print(t.mul(10), t)  # a new tensor; t is as before
    print(t.mul_(10), t)  # t itself has changed
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Trust nobody: finite differences

    How do we know that autograd is right, or a gradient that you have worked out yourself? By rise over run, which
    knows no rules and so cannot get one wrong. The derivatives found like this are called **finite differences**,
    because the run is not infinitely small. Here they are for an array of any shape, in NumPy. One improvement: we
    step to *both* sides and divide by the whole distance. On a curve that bends, what is too much on one side and too
    little on the other then cancels for the most part.
    """)
    return


@app.cell
def _():
    def finite_differences(function, array, step=1e-5):
        gradient = np.empty_like(array)  # the same shape as array
        for index in np.ndindex(array.shape):  # the place of each number
            kept = array[index]
            array[index] = kept + step  # this number moves, all others are held still
            above = function()
            array[index] = kept - step
            gradient[index] = (above - function()) / (2 * step)
            array[index] = kept  # and back to where it was
        return gradient

    return (finite_differences,)


@app.cell
def _(finite_differences, quadratic):
    numbers = np.array([3.0, 4.0, 10.0])
    finite_differences(lambda: quadratic(numbers).sum(), numbers)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    (`function` has no argument here: it looks at `numbers` itself, each time it is called. `1e-5` is Python's way of
    writing 0.00001.) Now a function whose derivative you would have to think about for a while. Do the two ways
    agree?
    """)
    return


@app.cell
def _(finite_differences):
    def strange(t):
        return (t.sin() * t**3 + (t.abs() + 1).log()).sum()

    at = np.array([0.3, -1.2, 2.0])
    at_tensor = torch.tensor(at).requires_grad_()  # a copy of the array
    strange(at_tensor).backward()
    by_autograd = at_tensor.grad.numpy()
    by_differences = finite_differences(lambda: strange(torch.tensor(at)).item(), at)
    largest_gap = float(np.abs(by_autograd - by_differences).max())
    print("autograd:          ", by_autograd.round(6))
    print("finite differences:", by_differences.round(6))
    print(f"largest difference: {largest_gap:.0e}")
    return (largest_gap,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    They do, to far more digits than anybody needs. (`e-10`, say, behind a number means that its decimal point moves
    ten places to the left.) So why not always do it this way? For the same reason as in lesson 4: it takes two losses
    for *each* weight, so 1,568 of them for 784 weights, for a single step. But as a check, on a small example, it
    finds everybody's mistakes, and in lesson 15 it will find ours.

    ## Stepping with a learning rate

    We know which way is down. How far do we go? The slope itself is a first hint: far where it is steep, carefully
    where it is flat. But it cannot be the whole answer, since it is only valid at the place where it was taken. So we
    take a fraction of it, and this fraction is the **learning rate**, in code `lr`:

    > new weight = weight − learning rate · slope

    The minus is there because the slope points uphill. With a learning rate of 0.1, from x = 3 with slope 6, we get
    to 3 − 0.1 · 6 = 2.4, and the loss falls from 9 to 5.76. Then the slope is taken again, at 2.4, and so on. Here is
    the whole of it, for our quadratic with its derivative 2x:
    """)
    return


@app.cell
def _():
    def descend(x, lr, steps):
        places = [float(x)]
        for _ in range(steps):
            places.append(places[-1] - lr * 2 * places[-1])  # minus lr · slope
        return places

    return (descend,)


@app.cell
def _(descend):
    print(descend(3.0, 0.1, 3))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Do you see that the steps get smaller (0.6, 0.48, 0.384, …), although the learning rate stays the same? The slope
    takes care of that: it shrinks on the way down. Now find with the slider a learning rate that is too low and
    creeps, one that arrives, one that bounces from side to side, and one that is too high and climbs out.
    """)
    return


@app.cell(hide_code=True)
def _():
    rate = mo.ui.slider(
        steps=[0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0, 1.03], value=0.1, label="learning rate", show_value=True
    )
    rate
    return (rate,)


@app.cell
def _(descend, rate):
    path = np.array(descend(1.5, rate.value, 12))  # [13]: the start and twelve steps
    print(path.round(3))
    return (path,)


@app.cell(hide_code=True)
def _(path, quadratic, rate):
    _axes = plt.subplots(figsize=(5.5, 3.2))[1]
    _xs = np.linspace(-2.2, 2.2, 100)
    _axes.plot(_xs, quadratic(_xs), color="0.6")
    _axes.plot(path, quadratic(path), "o-", color="tab:red", markersize=4, linewidth=1)
    _axes.set(xlabel="x", ylabel="loss, x²", xlim=(-2.3, 2.3), ylim=(-0.6, 5))
    _axes.set_title(f"after 12 steps with learning rate {rate.value}: x = {path[-1]:.3g}")
    figure(
        _axes,
        f"The curve of x² and twelve steps on it from x = 1.5 with learning rate {rate.value}. They "
        f"{'jump from side to side' if rate.value > 0.5 else 'stay on one side'} and end at x = {path[-1]:.3g}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    For this one curve we can say exactly what happens. A step replaces x by x − lr · 2x = (1 − 2 · lr) · x, so every
    step multiplies x by the same number.

    | learning rate | factor 1 − 2 · lr | what x does |
    | --- | --- | :--- |
    | 0.01 | 0.98 | *too low*: creeps: after 12 steps still at 1.18 |
    | 0.1 to 0.3 | 0.8 to 0.4 | arrives |
    | 0.7 to 0.97 | −0.4 to −0.94 | *bounces*: to the other side with each step, yet a little lower each time |
    | 1.0 | −1 | jumps between two places for ever |
    | 1.03 | −1.06 | *too high*: each jump ends higher than the last |

    In the last row the loss grows without end, until the computer can no longer write it down: first it prints `inf`,
    for infinite, and then `nan`, *not a number*. If you ever see `nan` in place of a loss, suspect the learning rate
    first.

    A real loss is no parabola, and nobody knows its factor in advance. But all of these behaviours appear there too,
    and now you will recognise them. What limits the rate is how fast the slope changes from place to place. For x² it
    changes by 2 for each 1 to the right, and the limit is 1. Where it changes faster, as in the next lesson, the rate
    has to be tiny; where all slopes are gentle, as with the loss of lesson 7, it takes a rate of 1 to get anywhere.
    As nobody knows this beforehand, people try a few values, each three or ten times the last, and keep the one that
    ends lowest. A rate that is too low costs time; one that is too high costs everything. In the next lesson you will
    look for a good one on data that were measured.

    ## Summary

    - The derivative at a place is where rise over run settles as the run shrinks. It is another function: for x² it
      is 2x.
    - The gradient is the derivative for each weight, with all others held still. It points uphill, so we step against
      it.
    - `requires_grad_()` tells autograd to watch a tensor. What is computed from it has a `grad_fn`; `backward()`,
      called on a scalar, leaves the gradient in `.grad`.
    - `backward` adds to `.grad`; set it back after each step.
    - A method whose name ends with an underscore changes the tensor in place.
    - Finite differences are slow and know no rules, and so are a good check.
    - Too low a learning rate creeps, a high one bounces, too high a one climbs out.

    **New words:** derivative, gradient, autograd, forward pass, backward pass, `grad_fn`, in place, finite
    differences, learning rate (`lr`).

    ## Exercises

    **1.** With which learning rate does x² reach the bottom in a single step, wherever it starts?
    """)
    return


@app.cell
def _():
    best_rate = ...  # a number
    return (best_rate,)


@app.cell(hide_code=True)
def _(best_rate, descend):
    check_1 = exercise(
        "5.1",
        best_rate,
        lambda answer: abs(descend(1.7, answer, 1)[-1]) < 1e-9,
        hints=(
            "Try the values of the slider above. With which is the second place already 0?",
            "A step multiplies x by 1 − 2 · lr. By what must it multiply x to get to 0 at once?",
            "Solve 1 − 2 · lr = 0.",
        ),
        solution="best_rate = 0.5  # 1 − 2 · 0.5 = 0",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** How steep is x³ − 6x at x = 2? Let autograd find it. (If you remember the rules from school, check it with
    3x² − 6.)
    """)
    return


@app.cell
def _():
    slope_of_cubic = ...  # a number, or a tensor that holds one
    return (slope_of_cubic,)


@app.cell(hide_code=True)
def _(slope_of_cubic):
    check_2 = exercise(
        "5.2",
        slope_of_cubic,
        lambda answer: abs(float(answer) - 6) < 1e-4,
        hints=(
            "Three steps: a watched tensor with the value 2, the formula, `backward`.",
            "After `backward`, the slope is in `.grad` of the tensor that is watched, not of the result.",
            "Begin with `at_2 = torch.tensor(2.0).requires_grad_()`, then `(at_2**3 - 6 * at_2).backward()`.",
        ),
        solution="""
        at_2 = torch.tensor(2.0).requires_grad_()
        (at_2**3 - 6 * at_2).backward()
        slope_of_cubic = at_2.grad
        """,
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Somebody computes `quadratic(v)` and goes backward from it, three times in a row, for a `v` of 5, and never
    sets the gradient back. What is in `v.grad` then? Answer without running it.
    """)
    return


@app.cell
def _():
    after_three = ...  # a number
    return (after_three,)


@app.cell(hide_code=True)
def _(after_three):
    check_3 = exercise(
        "5.3",
        after_three,
        lambda answer: abs(float(answer) - 30) < 1e-6,
        hints=(
            "What would be in it after one time?",
            "The derivative of x² is 2x, so at 5 it is 10. Does `v` change between the three times?",
            "`backward` adds: 10, and 10 more, and 10 more.",
        ),
        solution="after_three = 3 * 2 * 5  # three times the slope at 5",
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Write a function that takes one step: given a loss `function` of a whole tensor of weights, the `weights`,
    and a learning rate, it returns the new weights. Let autograd find the gradient.
    """)
    return


@app.cell
def _():
    def one_step(function, weights, lr):  # weights [n] → [n]
        return ...

    return (one_step,)


@app.cell(hide_code=True)
def _(one_step):
    check_4 = exercise(
        "5.4",
        one_step,
        lambda answer: torch.allclose(answer.detach(), torch.tensor([2.4, -1.6, 4.0])),
        hints=(
            "Watch the weights, compute the loss, go backward; then use `weights.grad`.",
            "The new weights are `weights - lr * weights.grad`, all of them in one line.",
            "To leave the caller's tensor as it is, watch a copy: `own = weights.clone().requires_grad_()`.",
        ),
        solution="""
        def one_step(function, weights, lr):
            own = weights.clone().requires_grad_()
            function(own).backward()
            return weights - lr * own.grad
        """,
        arguments=(lambda w: (w**2).sum(), torch.tensor([3.0, -2.0, 5.0]), 0.1),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** Now the whole of it: write the descent for *any* function of one number. Start at `x`, take `steps` steps
    with the learning rate `lr`, and return where you end up. Let autograd find the slopes, and mind that `backward`
    adds.
    """)
    return


@app.cell
def _():
    def minimum(function, x, lr, steps):
        return ...  # a float

    return (minimum,)


@app.cell(hide_code=True)
def _(minimum):
    check_5 = exercise(
        "5.5",
        minimum,
        lambda answer: abs(float(answer) - 1.25) < 1e-2,
        hints=(
            "It is `descend`, with the slope from autograd in place of `2 * places[-1]`. From 4.0 it should take "
            "(v − 1.25)² + 7 down to 1.25 in 60 steps with a learning rate of 0.1.",
            "If you make a new watched tensor in each step, its `.grad` is empty to begin with, and nothing adds up.",
            "In the loop: `here = torch.tensor(x).requires_grad_()`, then `function(here).backward()`, then a new `x`, "
            "for which `here.grad.item()` is the slope.",
        ),
        solution="""
        def minimum(function, x, lr, steps):
            for _ in range(steps):
                here = torch.tensor(x).requires_grad_()  # new in each step: its grad is empty
                function(here).backward()
                x = x - lr * here.grad.item()
            return x
        """,
        arguments=(lambda v: (v - 1.25) ** 2 + 7, 4.0, 0.1, 60),
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** How small should the run of finite differences be? Compute `rise_over_run(quadratic, 3.0,
    run)` for runs from 0.1 down to 1e-15, and look at the error. It shrinks, and then it grows again. Why? (A number
    in a computer has about 16 digits. What is left of them when you subtract two that are almost equal?) Then do the
    same with steps to both sides.

    ## What you can read now

    - [`torch.Tensor.backward`](https://pytorch.org/docs/stable/generated/torch.Tensor.backward.html) and
      [`requires_grad_`](https://pytorch.org/docs/stable/generated/torch.Tensor.requires_grad_.html): the first
      paragraphs. The note that `backward` *accumulates* gradients is the adding up that you have seen.
    - [Autograd mechanics](https://pytorch.org/docs/stable/notes/autograd.html): the section "How autograd encodes the
      history". What we called notes is called a *graph* there.

    **Next:** [6 · The roller coaster](?file=06_roller_coaster.py), where a model with three weights learns from data.
    """)
    return


if __name__ == "__main__":
    app.run()
