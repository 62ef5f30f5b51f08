import marimo

app = marimo.App(width="medium", app_title="9 · Broken on purpose", layout_file="layouts/09_broken.slides.json")

with app.setup:
    import inspect
    from functools import partial
    from textwrap import dedent

    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch

    from underhood import DataLoader
    from underhood.lessons import exercise, figure, load, table
    from underhood.scratch.sgd import init_params, linear1, mnist_loss, sigmoid, train_epoch, validate_epoch


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 9 · Broken on purpose

    Most mistakes in a program announce themselves: Python stops and prints an error. A training loop is different.
    With a mistake in it, it usually runs to the end, prints its numbers, and the numbers are bad. Or they are
    good, and mean nothing. That is why people who train models spend many an evening in front of a loss curve and
    ask themselves what is wrong.

    In this lesson we take the loop of lesson 8, which works, and break it in seven ways, each time by changing a single
    line. You have then seen each fault when you knew what it was, and will know it again when you do not.

    **After this lesson** you can read a loss curve, name the likely fault behind a bad one, and search for a
    fault in a loop of your own step by step. **It takes about 45 minutes.**
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
        x = torch.from_numpy(images.pixels).float().flatten(1) / 255  # [n, pixels]
        y = torch.from_numpy(images.labels == 0).float().unsqueeze(1)  # [n, 1]: 1 for a 3
        return x, y

    def some(x, y, first, last):  # these of the 3s, then these of the 7s, as they lie in their folders
        rows = [(y[:, 0] == target).nonzero()[first:last, 0] for target in (1, 0)]
        return x[torch.cat(rows)], y[torch.cat(rows)]

    all_x, all_y = tensors(dataset.train)
    valid_x, valid_y = tensors(dataset.valid)
    train_x, train_y = some(all_x, all_y, 0, 300)
    print(train_x.shape, train_y.shape, valid_x.shape)
    return all_x, all_y, some, train_x, train_y, valid_x, valid_y


@app.cell(hide_code=True)
def _():
    mo.md("""
    We train on a few hundred images only, so that each of the many runs below takes a fraction of a second.

    ## A healthy loop

    This is the loop of the last lesson in one function: parameters, model, batches, and for each batch the loss, the
    gradient and the step. It returns the loss of every step, and the accuracy on the validation set at the end. (The
    rate is 3 here, because with so few images an epoch has only some twenty steps. The slider of lesson 8 showed that
    this loss bears rates up to 10.)
    """)
    return


@app.cell
def _(train_x, train_y, valid_x, valid_y):
    def train_loop(x, y, epochs=4):
        lr = 3.0
        torch.manual_seed(0)
        weights = init_params((x.shape[1], 1), std=0.1)  # [pixels, 1]
        bias = init_params(1, std=0.1)  # [1]

        def model(xb):
            return linear1(xb, weights, bias)  # [b, pixels] → [b, 1]

        dl = DataLoader((x, y), batch_size=30, shuffle=True)
        valid_dl = DataLoader((valid_x, valid_y), batch_size=256)
        losses = []
        for _ in range(epochs):
            for xb, yb in dl:  # [b, pixels], [b, 1]
                loss = mnist_loss(model(xb), yb)  # []
                losses.append(loss.item())
                loss.backward()
                for p in (weights, bias):
                    p.data -= p.grad * lr
                    p.grad.zero_()
        return losses, validate_epoch(model, valid_dl)

    healthy_losses, healthy_accuracy = train_loop(train_x, train_y)
    print(f"{len(healthy_losses)} steps, loss {healthy_losses[0]:.3f} at first,")
    print(f"{np.mean(healthy_losses[-20:]):.3f} on average over the last 20; right: {healthy_accuracy}")
    return healthy_accuracy, healthy_losses, train_loop


@app.cell(hide_code=True)
def _(healthy_accuracy, healthy_losses):
    _axes = plt.subplots(figsize=(6, 2.6))[1]
    _axes.plot(healthy_losses, color="0.4", linewidth=1)
    _axes.set(xlabel="step", ylabel="loss of the batch", ylim=(-0.04, 1.05), title=f"healthy: {healthy_accuracy} right")
    figure(
        _axes,
        f"The loss of the healthy loop: from {healthy_losses[0]:.2f} it falls steeply in the first ten steps, then "
        f"slowly, trembling a little, to about {np.mean(healthy_losses[-20:]):.2f}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Look at it for a moment, because this is what a healthy training looks like. The loss begins near one half, as
    it must: random weights know nothing, so the predictions are as far from 0 as from 1 on average. It falls
    steeply at first, then ever more slowly. It trembles, since every batch is another sample, but the trend goes
    down.

    ## Seven faults

    Here are the faults: for each, what stands in the healthy loop, and what stands in the broken one instead. Read them
    before you go on. Each of these lines is the sort of thing that one writes late in the day, and Python objects to
    none of them.
    """)
    return


@app.cell
def _():
    FAULTS = {
        "gradients not zeroed": ("p.grad.zero_()", "pass"),
        "batches not shuffled": ("shuffle=True", "shuffle=False"),
        "learning rate far too high": ("lr = 3.0", "lr = 300.0"),
        "sigmoid twice": (
            "return linear1(xb, weights, bias)",
            "return sigmoid(linear1(xb, weights, bias))",
        ),
        "accidental broadcast": ("mnist_loss(model(xb), yb)", "mnist_loss(model(xb), yb.squeeze())"),
        "forgotten step": ("p.data -= p.grad * lr", "p.data - p.grad * lr"),
        "measured on training images": ("DataLoader((valid_x, valid_y)", "DataLoader((x, y)"),
    }
    return (FAULTS,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The next cell takes the text of `train_loop`, replaces that one piece, and runs the changed text.
    (`inspect.getsource` gets the text of a function, and `exec` runs a text as Python.) So the broken line that you
    read is the broken line that ran.
    """)
    return


@app.cell
def _(FAULTS, healthy_accuracy, healthy_losses, train_loop, train_x, train_y, valid_x, valid_y):
    text = dedent(inspect.getsource(train_loop))
    tools = {
        "torch": torch, "DataLoader": DataLoader, "init_params": init_params, "linear1": linear1,
        "mnist_loss": mnist_loss, "sigmoid": sigmoid, "validate_epoch": validate_epoch,
        "valid_x": valid_x, "valid_y": valid_y,
    }  # fmt: skip

    def changed(*pairs, **others):  # train_loop, with the first of each pair replaced by the second
        new = text
        for old, other in pairs:
            assert old in new, f"train_loop has no line with {old}"
            new = new.replace(old, other)
        known = tools | others
        exec(new, known)
        return known["train_loop"]

    results = {"healthy": (healthy_losses, healthy_accuracy)}
    for _name, _pair in FAULTS.items():
        results[_name] = changed(_pair)(train_x, train_y)
    broken = {name: accuracy for name, (_, accuracy) in results.items()}

    table(
        [
            {"loop": name, "loss at the end": f"{np.mean(losses[-20:]):.3f}", "right at the end": f"{accuracy:.4f}"}
            for name, (losses, accuracy) in results.items()
        ]
    )
    return broken, changed, results, text


@app.cell(hide_code=True)
def _():
    mo.md("""
    Choose a fault and look at its curve beside the healthy one in grey. Before you read on, try to say in your own
    words *what* you see, and *why* this line does that.
    """)
    return


@app.cell(hide_code=True)
def _(FAULTS):
    chosen = mo.ui.radio(options=list(FAULTS), value="gradients not zeroed", label="break it:")
    chosen
    return (chosen,)


@app.cell(hide_code=True)
def _(FAULTS, chosen, results, text):
    def draw(axes, losses, color, label=None):  # a curve that ends in nan gets a cross at its end
        axes.plot(losses, color=color, label=label, linewidth=1)
        count = int(np.isfinite(losses).sum())
        if count < len(losses):
            axes.plot(count - 1, losses[count - 1], "x", color=color, markersize=9, markeredgewidth=2, clip_on=False)

    def in_words(losses):
        count = int(np.isfinite(losses).sum())
        if count < len(losses):
            return f"it ends in nan after {count} steps"
        return f"it begins at {losses[0]:.2f}, its highest value is {max(losses):.2f}, its last {losses[-1]:.2f}"

    _axes = plt.subplots(figsize=(6.4, 3))[1]
    draw(_axes, results["healthy"][0], "0.6", f"healthy: {results['healthy'][1]} right")
    draw(_axes, results[chosen.value][0], "tab:red", f"{chosen.value}: {results[chosen.value][1]} right")
    _axes.set(xlabel="step", ylabel="loss of the batch", ylim=(-0.04, 1.05))
    _axes.legend(fontsize=8)
    _healthy, _broken = FAULTS[chosen.value]
    _line = next(line.strip().split("  #")[0] for line in text.splitlines() if _healthy in line)
    mo.vstack(
        [
            figure(
                _axes,
                f"The loss with the fault: {chosen.value}; {in_words(results[chosen.value][0])}. Accuracy at the end: "
                f"{results[chosen.value][1]}, healthy {results['healthy'][1]}.",
            ),
            mo.md(f"```python\n{_line}  # healthy\n{_line.replace(_healthy, _broken)}  # broken\n```"),
        ]
    )
    return draw, in_words


@app.cell(hide_code=True)
def _(broken, dataset, results):
    _losses = results["gradients not zeroed"][0]
    _until = int(np.isfinite(_losses).sum())
    _forever = f"after {_until} steps" if _until < len(_losses) else "sooner or later"
    _at_once = int(np.isfinite(results["learning rate far too high"][0]).sum())
    _small = (
        ""
        if dataset.train.pixels.shape[-1] == 28
        else "(The descriptions are of MNIST. The small digits that you have here are easier to tell apart, and some "
        "faults hurt less.)"
    )
    mo.md(f"""
    ## One after the other

    {_small}

    ### Gradients not zeroed

    `backward` adds to `grad`, and nobody sets it back. So the first step goes by the gradient of the first batch, the
    second by the sum of two, the tenth by the sum of ten. At the beginning that even helps: all these gradients point
    about the same way, and the loss falls faster than the healthy one. But a ball that is pushed at every moment and
    never braked does not stop in the valley. The weights run on, the scores grow to a hundred and beyond, and
    {_forever} the loss is `nan`, of which more below. **Symptom:** it begins well and goes wrong later, in swings or
    in `nan`.

    ### Batches not shuffled

    The images lie in memory as in their folders, first all 3s, then all 7s. As long as there are only 3s, the easiest
    way down is to call everything a 3; within a few steps the loss is 0, and nothing about shapes has been learned.
    Then come the 7s, and the loss jumps to 1. In this run the model never recovers, as its scores are so extreme that
    the sigmoid is flat there, and its gradient practically 0. With smaller steps it would recover, and learn more
    slowly. **Symptom:** a pattern that repeats in every epoch, with jumps where the class changes.

    ### Learning rate far too high

    Three hundred instead of three. The first step alone carries the scores so far that nothing can be computed any
    more: `nan` after {_at_once} steps. With a learning rate that is only somewhat too high, you would see a loss that
    jumps about and settles too high. **Symptom:** it goes wrong in the very first steps.

    ### Sigmoid twice

    `mnist_loss` takes the sigmoid itself. If the model already ends in one, the loss sees the sigmoid of a number
    between 0 and 1, and that lies between 0.5 and 0.73. No prediction can ever come near 0. The loss falls, as if
    something were learned, and something *is* learned; but it cannot get below 0.38 (exercise 2). The accuracy
    fares worse. It takes a sigmoid too, and since that is now always above 0.5, everything counts as a 3, before
    the training as after it; {broken["sigmoid twice"]} is simply the share of 3s. **Symptom:** the
    curve has the right shape, and stops at a floor that is too high.

    ### Accidental broadcast

    `squeeze()` removes every length that is 1, so the targets are now `[b]` instead of `[b, 1]`. Predictions `[b, 1]`
    and targets `[b]` do not match, and broadcasting, as in lesson 2, makes both `[b, b]` without a word: *each*
    prediction is compared with *every* target. Half of the targets say 3 and half say 7, whatever the image, so there
    is nothing to learn. **Symptom:** the loss hovers around a half for ever, although the weights do change. It is
    a treacherous fault, and the reason why this course writes shapes into comments. (There are two functions of that
    name: the one from lesson 7, which this lesson uses, and `underhood.mnist_loss`, the package's, which compares the
    shapes first and raises an error.)

    ### Forgotten step

    One character is missing: `-` instead of `-=`. The difference is computed and thrown away, and no weight ever
    moves. **Symptom:** the loss trembles around the place where it began. And if you measure the accuracy before the
    first step too, it is the same at the end, to the last digit: {broken["forgotten step"]}.

    ### Measured on training images

    The curve is healthy, because the training *is* healthy. The fault is in the measurement: it is made on the very
    images that the model has learned from, and says {broken["measured on training images"]} where the truth is
    {broken["healthy"]}. **Symptom:** none at all, only a number that is better than it should be. No curve
    will show it; you have to ask. It has got into published results more than once.
    """)
    return


@app.cell(hide_code=True)
def _(draw, in_words, results):
    _figure, _axes = plt.subplots(4, 2, figsize=(7, 6), sharex=True, sharey=True)
    for _ax, (_name, (_losses, _accuracy)) in zip(_axes.flat, results.items(), strict=True):
        draw(_ax, results["healthy"][0], "0.75")
        draw(_ax, _losses, "0.4" if _name == "healthy" else "tab:red")
        _ax.set_title(f"{_name}: {_accuracy}", fontsize=9.5)
        _ax.set_ylim(-0.04, 1.05)
    _figure.supxlabel("step", fontsize=10)
    _figure.tight_layout()
    figure(
        _figure,
        "All loss curves at one glance, each with its accuracy: "
        + "; ".join(f"{name} ({accuracy}): {in_words(losses)}" for name, (losses, accuracy) in results.items()),
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What is nan?

    **nan** means *not a number*. It is what a computer answers to questions like 0 · ∞ or ∞ − ∞. How does it get into
    our loop? Ask for the sigmoid of a very negative score, and for its gradient. (`requires_grad=True` does when a
    tensor is made what `requires_grad_()` does later.)
    """)
    return


@app.cell
def _():
    by_hand = torch.tensor(-100.0, requires_grad=True)
    answer = sigmoid(by_hand)  # 1 / (1 + exp(100)), as we wrote it in lesson 7
    answer.backward()
    print(torch.exp(torch.tensor(100.0)), answer, by_hand.grad)

    by_torch = torch.tensor(-100.0, requires_grad=True)
    answer_of_torch = torch.sigmoid(by_torch)
    answer_of_torch.backward()
    print(answer_of_torch, by_torch.grad)
    return by_hand, by_torch


@app.cell(hide_code=True)
def _():
    mo.md("""
    The exponential of 100 has 44 digits, more than a number of this type can hold, and becomes `inf`, infinite. The
    sigmoid itself survives that, because 1 / ∞ is 0. On the way back, however, a 0 is multiplied by this
    infinity. The result is `nan`, and `nan` spreads: whatever is added to it or multiplied by it is `nan` too. One step
    later all weights are, and nothing will ever repair them. An accuracy is printed all the same. Every comparison
    with `nan` is false, so each image counts as "not above 0.5", a 7, and the accuracy is the share of 7s.

    PyTorch's `torch.sigmoid` computes the same function in a way that avoids the overflow. That is the true advantage
    of functions from a library: not that they are shorter, but that somebody has met such cases before. Are the two
    faults that ended in `nan` harmless then? Let us see.
    """)
    return


@app.cell
def _(FAULTS, changed, results, train_x, train_y):
    def safe_loss(preds, targets):  # mnist_loss with PyTorch's sigmoid
        p = torch.sigmoid(preds)
        return torch.where(targets == 1, 1 - p, p).mean()

    safe_results = {"healthy": changed(mnist_loss=safe_loss)(train_x, train_y)}
    for _name in ("gradients not zeroed", "learning rate far too high"):
        safe_results[_name] = changed(FAULTS[_name], mnist_loss=safe_loss)(train_x, train_y)
    table(
        [
            {
                "right at the end, with": name,
                "our sigmoid": f"{results[name][1]:.4f}",
                "PyTorch's": f"{accuracy:.4f}",
                "loss at the end": f"{np.mean(losses[-20:]):.3f}",
            }
            for name, (losses, accuracy) in safe_results.items()
        ]
    )
    return (safe_results,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    They are not harmless; they have only become quiet. Nothing stops, nothing is `nan`, and the accuracy looks like
    success. But with MNIST the loss is at least twice as high as it should be, and there are one and a half times
    as many errors. The scores are so large by now that the sigmoid is flat, and the images that are still wrong
    stay wrong. Without the healthy run beside it, nobody would notice. The loud version of a fault is the kinder
    one.

    ## How to look for a fault

    Sooner or later a loop of your own will not learn. Staring at it seldom helps; asking it questions does. Go through
    these in order, since the first ones are the quickest.

    1. **Look at what goes in.** Draw a few images of a batch with their targets. Print the shapes of `xb`, `yb`, and
       the predictions. Are predictions and targets of the same shape? Is there a bit of every class in a batch?
    2. **Is the loss at the start as expected?** With random weights it should be what guessing gives: here about 0.5.
    3. **Does every parameter have a gradient, and is it not 0?** After `backward`, `p.grad` must not be `None`, and
       not everywhere 0.
    4. **Do the parameters move?** Keep a copy, take a step, compare. After the step, is the gradient back at 0?
    5. **Can it learn one batch by heart?** Train on the same twenty images again and again. A loop that cannot get
       *their* loss near 0 has a fault; more data or more epochs will not help it.
    6. **Try ten times the learning rate, and a tenth.** If one of them is much better, that was it.
    7. **Which images do you measure on?** Are you sure that none of them has been trained on?

    Questions 2 to 4 take a few lines, and here they are, for a healthy model.
    """)
    return


@app.cell
def _(train_x, train_y):
    def examine(xb, yb, lr=3.0):
        torch.manual_seed(0)
        params = [init_params((xb.shape[1], 1), std=0.1), init_params(1, std=0.1)]
        before = [p.data.clone() for p in params]
        preds = linear1(xb, *params)  # [b, 1]
        print("shapes:", xb.shape, yb.shape, preds.shape)
        loss = mnist_loss(preds, yb)
        print("loss at the start:", loss)
        loss.backward()
        print("largest gradients:", [p.grad.abs().max() for p in params])
        for p in params:
            p.data -= p.grad * lr
            p.grad.zero_()
        print("moved:", [not torch.equal(p.data, old) for p, old in zip(params, before, strict=True)])
        print("gradients now:", [p.grad.abs().max() for p in params])

    xb, yb = next(iter(DataLoader((train_x, train_y), batch_size=30, shuffle=True)))
    examine(xb, yb)
    return (xb, yb)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The fifth question is the most powerful one, and takes a single call: ten 3s and ten 7s, a hundred times over. Here
    is what it finds in each of our loops.
    """)
    return


@app.cell
def _(FAULTS, all_x, all_y, changed, some):
    twenty = some(all_x, all_y, 0, 10)
    by_heart = {"healthy": changed()(*twenty, epochs=100)[0][-1]}
    for _name, _pair in FAULTS.items():
        by_heart[_name] = changed(_pair)(*twenty, epochs=100)[0][-1]
    table([{"loop": name, "loss on its twenty images": f"{loss:.3f}"} for name, loss in by_heart.items()])
    return (by_heart,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Five of the seven faults fail this test within a fraction of a second. The two that pass are those that it cannot
    see: with a single batch there is no order, and nothing is measured. The first question finds the one, and the
    seventh the other.

    ## Summary

    - A fault in a training loop rarely raises an error. Look at the loss curve each time, and know what a healthy one
      looks like: it begins where guessing is, falls steeply, then slowly, and trembles.
    - Well at first, then swings or `nan`: gradients not zeroed. Worse at once: learning rate too high. Jumps in a
      pattern: not shuffled. A floor that is too high: something is applied twice. Around one half for ever: shapes. No
      change at all: no step. Too good: look at which images you measure on.
    - `nan` is the answer to an impossible computation. It spreads, and an accuracy computed with it still looks
      like a number.
    - Ask in order: the data, the shapes, the loss at the start, the gradients, the step, one batch by heart.

    **New words:** `nan`, `inf`, overflow, loss curve, `squeeze`, learning a batch by heart (in other books: the
    one-batch test).

    ## Exercises

    Put your answer in place of the `...` and run the cell.

    **1.** `p` has shape `[64, 1]` and `yb` has shape `[64]`. What shape has `torch.where(yb == 1, 1 - p, p)`?
    """)
    return


@app.cell
def _():
    shape = ...  # a tuple or a list of whole numbers
    return (shape,)


@app.cell(hide_code=True)
def _(shape):
    check_1 = exercise(
        "9.1",
        shape,
        lambda answer: tuple(answer) == (64, 64),
        hints=(
            "Write the two shapes one under the other, aligned at the right, as in lesson 2.",
            "`[64, 1]` over `[64]`: the one that is shorter gets a 1 in front, so the two are `[64, 1]` and `[1, 64]`.",
            "Wherever one of the two has a 1, it is stretched to the length of the other.",
        ),
        solution="shape = (64, 64)  # each of the 64 predictions against each of the 64 targets",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** After *sigmoid twice* the loss cannot get below a certain value. Which is it, to three decimals, if a batch
    has as many 3s as 7s? (The best that the model can do is that its own sigmoid gives 1 for each 3 and 0 for each 7.)
    """)
    return


@app.cell
def _():
    lowest = ...  # a number
    return (lowest,)


@app.cell(hide_code=True)
def _(lowest):
    check_2 = exercise(
        "9.2",
        lowest,
        lambda answer: abs(float(answer) - (1.5 - sigmoid(torch.tensor(1.0)).item()) / 2) < 0.0006,
        hints=(
            "The loss takes the sigmoid of what the model gives. What are the sigmoids of 1 and of 0?",
            "The sigmoid of 1 is 0.731, that of 0 is 0.5. How far is each from its target, 1 for a 3 and 0 for a 7?",
            "The 3s are off by 1 − 0.731, the 7s by 0.5. The loss is the mean of the two.",
        ),
        solution="lowest = ((1 - 0.7311) + 0.5) / 2  # 0.384",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Five loops were trained, on other images and from other random weights than above, and somebody forgot to
    write down what was wrong with which. Over each curve stands the accuracy at the start and at the end. Give each its
    fault, in the words of the list at the top: `gradients not zeroed`, `batches not shuffled`,
    `learning rate far too high`, `sigmoid twice`, `accidental broadcast`, `forgotten step`. (One is not among them.)
    """)
    return


@app.cell(hide_code=True)
def _(FAULTS, all_x, all_y, changed, draw, in_words, some):
    _truth = ("batches not shuffled", "forgotten step", "gradients not zeroed", "sigmoid twice", "accidental broadcast")
    _x, _y = some(all_x, all_y, 300, 600) if len(all_x) > 1000 else some(all_x, all_y, 0, 300)
    _seed = ("manual_seed(0)", "manual_seed(1)")
    cases = {}
    for _letter, _fault in zip("ABCDE", _truth, strict=True):
        _start = changed(FAULTS[_fault], _seed)(_x, _y, epochs=0)[1]
        cases[_letter] = (_fault, *changed(FAULTS[_fault], _seed)(_x, _y), _start)
    _figure, _axes = plt.subplots(3, 2, figsize=(7, 6), sharex=True, sharey=True)
    for _ax, (_letter, (_, _losses, _accuracy, _start)) in zip(_axes.flat, cases.items(), strict=False):
        draw(_ax, _losses, "tab:red")
        _ax.set_title(f"{_letter}: {_start} → {_accuracy} right", fontsize=9.5)
        _ax.set_ylim(-0.04, 1.05)
    _axes.flat[-1].set_axis_off()
    _figure.supxlabel("step", fontsize=10)
    _figure.tight_layout()
    figure(
        _figure,
        "Five loss curves with the accuracy before and after training. "
        + "; ".join(
            f"{letter}: {in_words(losses)}, accuracy from {start} to {accuracy}"
            for letter, (_, losses, accuracy, start) in cases.items()
        ),
    )
    return (cases,)


@app.cell
def _():
    diagnosis = ...  # {"A": "…", "B": "…", "C": "…", "D": "…", "E": "…"}
    return (diagnosis,)


@app.cell(hide_code=True)
def _(cases, diagnosis):
    check_3 = exercise(
        "9.3",
        diagnosis,
        lambda answer: answer == {letter: fault for letter, (fault, *_) in cases.items()},
        hints=(
            "Begin with what is certain: which curve repeats a pattern, and which one ends early? In which two loops "
            "is the accuracy exactly the same before and after?",
            "Two faults end in `nan`. The one is over within two or three steps; the other learns well for a while. "
            "And two leave the accuracy as it was: no weight moves, or everything counts as a 3 (0.4932 with MNIST).",
            "A repeats a pattern; B never changes anything; C learned well before it broke; D calls everything a 3 and "
            "has a floor near 0.38; E hovers around a half.",
        ),
        solution="""
        diagnosis = {
            "A": "batches not shuffled",
            "B": "forgotten step",
            "C": "gradients not zeroed",
            "D": "sigmoid twice",
            "E": "accidental broadcast",
        }
        """,
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Write question 3 of the list as a function: does every parameter have a gradient that is not everywhere 0?
    The answer is `True` or `False`. (A parameter that no `backward` has reached has `None` as its `grad`.)
    """)
    return


@app.cell
def _():
    def gradients_arrive(params):  # a list of tensors → True or False
        return ...

    return (gradients_arrive,)


@app.cell(hide_code=True)
def _(gradients_arrive):
    def _parameter(*gradient):
        tensor = torch.zeros(2, requires_grad=True)
        tensor.grad = torch.tensor(gradient) if gradient else None
        return tensor

    def _answers():
        good, dead, unreached = _parameter(0.0, -2.0), _parameter(0.0, 0.0), _parameter()
        cases = ([good], [good, dead], [unreached, good], [good, _parameter(1.0, -1.0)])
        given = [gradients_arrive(params) for params in cases]
        return ... if ... in given else [bool(one) for one in given]

    check_4 = exercise(
        "9.4",
        gradients_arrive,
        lambda _: _answers() == [True, False, False, True],
        hints=(
            "Go through the parameters, and return `False` as soon as one is not in order. `True` comes at the end.",
            "`p.grad is None` is the first question, and has to come first. `p.grad != 0` is `True` or `False` for "
            "each number.",
            "`(p.grad != 0).any()` says whether at least one is not 0. (Their sum will not do: 1 and −1 add up to 0.)",
        ),
        solution="""
        def gradients_arrive(params):
            for p in params:
                if p.grad is None or not (p.grad != 0).any():
                    return False
            return True
        """,
        arguments=([_parameter(0.0, -2.0)],),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** This loop has three faults. Mend it.
    """)
    return


@app.cell
def _():
    def repaired(model, dl, lr, params):  # as train_epoch in lesson 8
        for xb, yb in dl:
            loss = mnist_loss(model(xb), yb.squeeze())
            loss.backward()
            for p in params:
                p.data += p.grad * lr

    return (repaired,)


@app.cell(hide_code=True)
def _(repaired, train_x, train_y):
    def _fresh():
        torch.manual_seed(3)
        params = [init_params((train_x.shape[1], 1), std=0.1), init_params(1, std=0.1)]
        return partial(linear1, weights=params[0], bias=params[1]), params

    _batches = list(DataLoader((train_x, train_y), 50, shuffle=True))
    (_mine, _my_params), (_theirs, _their_params) = _fresh(), _fresh()
    train_epoch(_theirs, _batches, 0.5, _their_params)
    check_5 = exercise(
        "9.5",
        repaired,
        lambda _: all(
            torch.allclose(mine, theirs, atol=1e-5) for mine, theirs in zip(_my_params, _their_params, strict=True)
        ),
        hints=(
            "One fault is in the loss, one in the step, and one is a line that is not there.",
            "What shape do the targets have when the loss gets them? And does this step go down or up?",
            "The targets must stay `[b, 1]`; downhill is *against* the gradient; and the next batch must not find "
            "this one's gradient still there.",
        ),
        solution="""
        def repaired(model, dl, lr, params):
            for xb, yb in dl:
                loss = mnist_loss(model(xb), yb)
                loss.backward()
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
    **Further research.** Invent an eighth fault, and see how it looks: put it in place of one of the pairs in
    `FAULTS`, and the whole page has it. Two suggestions. Shuffle the images but not their targets (replace `dl =` by
    `x = x[torch.randperm(len(x))]; dl =`): which of the curves does it resemble, and which of the questions finds it?
    Or set the learning rate a hundred times too *low*, and tell that from a forgotten step.

    ## What you can read now

    [`torch.autograd.detect_anomaly`](https://pytorch.org/docs/stable/autograd.html#anomaly-detection) in PyTorch's
    documentation: it stops at the operation whose backward pass gives the first `nan`, which is how one finds the place
    in a large model. And the page about
    [`torch.squeeze`](https://pytorch.org/docs/stable/generated/torch.squeeze.html) with its warning about
    batches of one.

    **Next:** [10 · The doctor](?file=10_doctor.py), where you do not know what is wrong, and find out by experiments.
    """)
    return


if __name__ == "__main__":
    app.run()
