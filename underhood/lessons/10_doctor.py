import marimo

app = marimo.App(width="medium", app_title="10 · The doctor", layout_file="layouts/10_doctor.slides.json")

with app.setup:
    import contextlib
    import inspect
    import io
    import tempfile
    from pathlib import Path
    from textwrap import dedent

    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch

    import underhood
    from underhood import DataLoader
    from underhood.lessons import exercise, figure, load, table
    from underhood.scratch.sgd import init_params, linear1, mnist_loss, sigmoid, validate_epoch


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 10 · The doctor

    In lesson 9 you knew each fault before you saw its curve. With a loop of your own it is the other way round: there
    is a curve, and nobody tells you what is behind it. Many faults share one curve. A loss that stays at a half may
    come from a forgotten step, from shapes that do not fit, from a learning rate that is far too small, or from labels
    that were mixed up.

    A good doctor does not guess from the face of the patient. There is a **suspicion**; there is a test that comes out
    differently if the suspicion is right; and there is a number, which is normal or is not. In this lesson we build
    such a doctor for our loop, in forty lines: it watches a loop at work without changing it, and asks five questions.
    Then we find out how far off a number has to be before it means something, and at the end you meet the doctor that
    comes with this package, and three patients of your own.

    **After this lesson** you can test a suspicion about a training by an experiment, judge whether a number is off or
    only chance, and tell a cause from its symptoms. **It takes about 50 minutes.**
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
    ## The patients

    Here is the loop of lesson 9 again, and the list of its seven faults. Only the random seed is new: it is now an
    argument, because later we want many healthy runs that differ by nothing else.
    """)
    return


@app.cell
def _(dataset):
    def tensors(images):
        x = torch.from_numpy(images.pixels).float().flatten(1) / 255  # [n, pixels]
        y = torch.from_numpy(images.labels == 0).float().unsqueeze(1)  # [n, 1]: 1 for a 3
        return x, y

    all_x, all_y = tensors(dataset.train)
    valid_x, valid_y = tensors(dataset.valid)
    rows = torch.cat([(all_y[:, 0] == target).nonzero()[:300, 0] for target in (1, 0)])  # first 3s, then 7s
    train_x, train_y = all_x[rows], all_y[rows]
    print(train_x.shape, train_y.shape, valid_x.shape)
    return train_x, train_y, valid_x, valid_y


@app.cell
def _(valid_x, valid_y):
    def train_loop(x, y, epochs=4, seed=0):
        lr = 3.0
        torch.manual_seed(seed)
        weights = init_params((x.shape[1], 1), std=0.1)  # [pixels, 1]
        bias = init_params(1, std=0.1)  # [1]

        def model(xb):
            return linear1(xb, weights, bias)  # [b, pixels] → [b, 1]

        dl = DataLoader((x, y), batch_size=30, shuffle=True, seed=seed)
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

    return (train_loop,)


@app.cell
def _():
    FAULTS = {
        "healthy": ("", ""),
        "gradients not zeroed": ("p.grad.zero_()", "pass"),
        "batches not shuffled": ("shuffle=True", "shuffle=False"),
        "learning rate far too high": ("lr = 3.0", "lr = 300.0"),
        "sigmoid twice": (
            "return linear1(xb, weights, bias)",
            "return sigmoid(linear1(xb, weights, bias))",
        ),
        "shapes that do not fit": ("mnist_loss(model(xb), yb)", "mnist_loss(model(xb), yb.squeeze())"),
        "forgotten step": ("p.data -= p.grad * lr", "p.data - p.grad * lr"),
        "measured on training images": ("DataLoader((valid_x, valid_y)", "DataLoader((x, y)"),
    }
    return (FAULTS,)


@app.cell
def _(FAULTS, train_loop, valid_x, valid_y):
    text = dedent(inspect.getsource(train_loop))
    tools = {
        "torch": torch, "DataLoader": DataLoader, "init_params": init_params, "linear1": linear1,
        "mnist_loss": mnist_loss, "sigmoid": sigmoid, "validate_epoch": validate_epoch,
        "valid_x": valid_x, "valid_y": valid_y,
    }  # fmt: skip

    def patient(fault, **others):  # train_loop with a fault in it; others: functions to use in place of its own
        known = tools | others
        exec(text.replace(*FAULTS[fault]), known)
        return known["train_loop"]

    return patient, text, tools


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Watching without touching

    We could write `print` into each loop, but then we would have to change the patient before we can examine it, and
    somebody else's loop may be long. There is a better way. The loop calls functions by their names: `mnist_loss`,
    `init_params`, `DataLoader`. If we give it a function of the same name that does the same, and takes a note each
    time, the loop will not notice.

    `noting` makes such a function from any other: it calls the other one, hands what went in and what came out to
    `note`, and returns the result as if nothing had happened.
    """)
    return


@app.cell
def _():
    def noting(function, note):
        def noted(*given, **options):
            result = function(*given, **options)
            note(given, result)
            return result

        return noted

    heard = []
    _careful = noting(sigmoid, lambda given, result: heard.append((given[0].item(), result.item())))
    print(_careful(torch.tensor(0.0)), _careful(torch.tensor(2.0)))
    print(heard)
    return (noting,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    PyTorch has this built in for everything that it does itself: a function that is called at each step, at each layer
    or at each `backward`, is a **hook** there.

    Now the watch itself. It hears three things: every parameter that `init_params` makes, every collection of images
    that goes into a `DataLoader`, and every call of the loss. The loss is called once in each step, just before the
    gradient; that is the moment to note the values of all parameters, and what the gradient of this batch should be.
    (`torch.autograd.grad` computes the same gradient as `backward`, but returns it and leaves `grad` alone, so the
    loop's own `backward` finds everything as it was.)
    """)
    return


@app.cell
def _(noting, patient, train_x, train_y):
    def flat(tensors):  # all their numbers in one vector, as a copy
        return torch.cat([tensor.detach().flatten() for tensor in tensors])

    def watch(fault, x=train_x, y=train_y, seed=0):
        params, loaded, steps = [], [], []

        def note_loss(given, loss):
            preds, targets = given
            gradient = torch.autograd.grad(loss, params, retain_graph=True)
            now = {"params": flat(params), "gradient": flat(gradient)}
            steps.append({"preds": preds.detach(), "targets": targets, "loss": loss.item()} | now)

        loop = patient(
            fault,
            init_params=noting(init_params, lambda _, made: params.append(made)),
            DataLoader=noting(DataLoader, lambda given, _: loaded.append(given[0][0])),
            mnist_loss=noting(mnist_loss, note_loss),
        )
        losses, accuracy = loop(x, y, seed=seed)
        return {"steps": steps, "loaded": loaded, "losses": losses, "accuracy": accuracy}

    seen = watch("healthy")
    print(f"{len(seen['steps'])} steps; right: {seen['accuracy']}")
    print({name: getattr(value, "shape", value) for name, value in seen["steps"][0].items()})
    return flat, seen, watch


@app.cell(hide_code=True)
def _(seen):
    mo.md(f"""
    Did we really not touch it? Run the loop of this seed without the watch and compare: the accuracy is
    {seen["accuracy"]} both times, and so is each loss, to the last digit (the next cell checks it). That is more than
    politeness. An examination that changes what it examines finds its own traces.
    """)
    return


@app.cell
def _(patient, seen, train_x, train_y):
    untouched = patient("healthy")(train_x, train_y)[0] == seen["losses"]
    print(untouched)
    return (untouched,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Five questions, five numbers

    Each question is a suspicion turned into a number, for which we know what it must be in a healthy loop.

    1. **Does each step do what we think?** The parameters should move by the learning rate times the gradient *of this
       batch*. So divide how far they moved by how far they should have: the result must be 1. We look at the second
       step, since a gradient that is left over from the first shows only there.
    2. **How many targets does each prediction meet?** It should be one, its own.
    3. **Is there a bit of every class in a batch?** About half of each batch should be 3s. We take the first.
    4. **How large do the scores become?** A model that may answer with any number should go beyond 1 when it is sure.
    5. **How many of the images that we measure on have been trained on?** None.
    """)
    return


@app.cell
def _(flat):
    def moved(steps, number, lr=3.0):  # of what a step should move, how much it moved
        before, after = steps[number], steps[number + 1]
        return ((before["params"] - after["params"]).norm() / (lr * before["gradient"].norm())).item()

    def targets_met(steps):
        preds, targets = steps[0]["preds"], steps[0]["targets"]
        return (preds - targets).numel() / preds.numel()

    def share_of_threes(steps):
        return steps[0]["targets"].mean().item()

    def largest_score(steps):
        return np.nanmax([step["preds"].abs().max().item() for step in steps])

    def trained_on(loaded):
        train, measured = ([image.numpy().tobytes() for image in images] for images in loaded[:2])
        return sum(image in set_of for set_of in [set(train)] for image in measured)

    def numbers(seen):
        steps = seen["steps"]
        return {
            "moved, second step": moved(steps, 1),
            "targets met": targets_met(steps),
            "share of 3s": share_of_threes(steps),
            "largest score": largest_score(steps),
            "trained on": trained_on(seen["loaded"]),
        }

    print(flat([torch.tensor([3.0]), torch.tensor([4.0])]).norm())  # the length of a vector: √(3² + 4²)
    return (numbers,)


@app.cell
def _(FAULTS, numbers, watch):
    watched = {name: watch(name) for name in FAULTS}
    charts = {name: numbers(seen) for name, seen in watched.items()}
    table(
        [
            {"loop": name, **{what: f"{value:.4g}" for what, value in chart.items()},
             "right": f"{watched[name]['accuracy']:.3f}"}
            for name, chart in charts.items()
        ]
    )  # fmt: skip
    return charts, watched


@app.cell(hide_code=True)
def _(charts):
    _second = charts["gradients not zeroed"]["moved, second step"]
    mo.md(f"""
    Go through it line by line, and compare each with *healthy*. Gradients that are not zeroed: the second step is
    {_second:.2g} times as long as it should be, because the first gradient is still in it. The forgotten step: 0,
    nothing moves. The learning rate a hundred times too high: the first step already was, and by the second nothing is
    a number any more. Shapes that do not fit: each prediction meets thirty targets. Not shuffled: the first batch has
    nothing but 3s. Sigmoid twice: no score is ever above 1. And the loop that is measured on its training images, which
    looked perfectly healthy in lesson 9, has no secret left either.

    Seven curves of which some look alike, and yet a few numbers tell them apart. This is the difference between a
    symptom and a cause. *It does not learn* is a **symptom**: many faults have it. *Each prediction meets thirty
    targets* is a cause: there is one line in the program that does this, and a test that passes once it is fixed.

    ## How far off is off?

    Some numbers leave no doubt: 30 is not 1. But look at the batches that are not shuffled. Their second step moved by
    a number that may not be exactly 1 either, although nothing is wrong with the step. (With all 3s in the batch, the
    gradient is nearly 0 after one step, and what is left is the rounding of the computer.) And a healthy batch has
    never exactly one half of 3s. How far off must a number be before it means something?

    There is only one way to find out: look at loops that are known to be healthy. Such a run, beside the one that is
    under suspicion, is called a **control**. Here are forty, which differ in nothing but the seed.
    """)
    return


@app.cell
def _(numbers, watch):
    controls = [watch("healthy", seed=seed) for seed in range(40)]
    of_controls = [numbers(seen) for seen in controls]
    normal = {what: (min(one[what] for one in of_controls), max(one[what] for one in of_controls))
              for what in of_controls[0]}  # fmt: skip
    accuracies = [seen["accuracy"] for seen in controls]
    table([{"number": what, "lowest of 40": f"{low:.3g}", "highest": f"{high:.3g}"}
           for what, (low, high) in normal.items()])  # fmt: skip
    return accuracies, controls, normal


@app.cell(hide_code=True)
def _(accuracies, normal):
    _low, _high = normal["share of 3s"]
    mo.md(f"""
    Three of the five hardly vary, and any deviation is worth a look. The share of 3s varies a lot, from
    {_low:.2f} to {_high:.2f}, because a batch is a sample of thirty: a batch with two thirds of 3s is nothing to worry
    about. And the result itself varies: the same program, on the same images, gets between {min(accuracies):.1%} and
    {max(accuracies):.1%} right.

    This matters more often than all seven faults together. Somebody changes the learning rate from 3 to 2.5, sees the
    accuracy rise by half a percent, and believes to have found something. Choose a rate, and compare its ten runs
    with the forty controls.
    """)
    return


@app.cell(hide_code=True)
def _():
    rate = mo.ui.slider(steps=[0.01, 0.03, 0.1, 0.3, 1.0, 2.5, 5.0], value=2.5, label="learning rate", show_value=True)
    rate
    return (rate,)


@app.cell(hide_code=True)
def _(accuracies, rate, text, tools, train_x, train_y):
    _known = dict(tools)
    exec(text.replace("lr = 3.0", f"lr = {rate.value}"), _known)
    others = [_known["train_loop"](train_x, train_y, seed=seed)[1] for seed in range(100, 110)]
    _axes = plt.subplots(figsize=(6.4, 2))[1]
    _axes.plot(accuracies, np.random.default_rng(0).uniform(0.8, 1.2, len(accuracies)), "o", color="0.5", markersize=4)
    _axes.plot(others, np.linspace(-0.15, 0.15, len(others)), "o", color="tab:red", markersize=5)
    _axes.set(yticks=[0, 1], yticklabels=[f"rate {rate.value:g}", "rate 3"], ylim=(-0.5, 1.6), xlabel="accuracy")
    figure(
        _axes,
        f"Accuracies: forty controls at rate 3, from {min(accuracies):.3f} to {max(accuracies):.3f}, and ten runs at "
        f"rate {rate.value:g}, from {min(others):.3f} to {max(others):.3f}.",
    )
    return (others,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    At 2.5 the two clouds lie over each other: from one run of each, nothing can be concluded. At 0.01 they are apart,
    and one run of each is enough. So before you explain a difference, **run the same thing again with another seed**.
    If that alone makes the difference, it is not the model, it is chance.

    ## False alarms

    Now suppose that we call everything abnormal that lies outside the range of the forty controls. A healthy loop is
    like the controls, so it is outside only by chance: among 41 equals, it is the lowest or the highest in two cases of
    41, about 5 in 100. To call a healthy thing faulty is a **false alarm**, and 5 in 100 sounds harmless.

    But a doctor does not ask one question. The doctor of this package asks twenty-four. If each raises a false alarm in
    5 of 100 healthy loops, how many healthy loops get through all twenty-four? The chance to pass one is 0.95, and to
    pass all of them 0.95 · 0.95 · …, twenty-four times.
    """)
    return


@app.cell
def _():
    all_pass = 0.95**24
    print(f"pass all 24: {all_pass:.2f}; at least one false alarm: {1 - all_pass:.2f}")
    return (all_pass,)


@app.cell(hide_code=True)
def _():
    _rates, _counts = (0.05, 0.01, 0.001), np.arange(1, 41)
    _axes = plt.subplots(figsize=(6, 2.6))[1]
    for _rate, _color in zip(_rates, ("tab:red", "tab:orange", "0.4"), strict=True):
        _axes.plot(_counts, 1 - (1 - _rate) ** _counts, color=_color, label=f"{100 * _rate:g} % each")
    _axes.axvline(24, color="0.8", zorder=0)
    _axes.set(xlabel="number of questions", ylabel="at least one false alarm", ylim=(0, 1))
    _axes.legend(fontsize=8)
    figure(
        _axes,
        "The chance of at least one false alarm in a healthy loop grows with the number of questions. With 24 of them "
        "it is 71 % if each raises one in 5 % of healthy loops, 21 % with 1 %, and 2 % with 0.1 %.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Seven of ten healthy loops would be called faulty. Nobody listens to such a doctor for long, and rightly. So one who
    asks many questions must be strict with each of them: a number has to be so far off that chance hardly ever does
    that. And where a number is off, but not by that much, an honest doctor says just this. The package's doctor has
    three verdicts for it: *fine*, *suspicious* and *found*.

    ## The doctor of the package

    `underhood doctor` asks its twenty-four questions of any training program, also of one that it has never seen. It
    watches as we did, through PyTorch's own hooks, and where watching is not enough it runs the program again with one
    thing changed: a tenth of the learning rate, one and the same batch for ever, labels that were dealt out anew. Each
    verdict comes with its number, and with a line of code that would fix it.

    Choose a patient. The next cell writes it into a file, as a program of its own, and shows the file to the doctor. In
    a terminal that would be `underhood doctor train.py`.
    """)
    return


@app.cell(hide_code=True)
def _(FAULTS):
    chosen = mo.ui.radio(options=list(FAULTS), value="shapes that do not fit", label="the patient:")
    chosen
    return (chosen,)


@app.cell(hide_code=True)
def _():
    def show_findings(findings):
        names = {"verdict": "verdict", "check": "check", "evidence": "what was measured", "fix": "what would fix it"}
        rows = [{title: one[name] for name, title in names.items()} for one in findings]
        return table(rows) if rows else mo.md("**Nothing was found**, and nothing is suspicious.")

    return (show_findings,)


@app.cell
def _(FAULTS, chosen, show_findings, text):
    program = f"""
import torch
from underhood import DataLoader
from underhood.lessons import load
from underhood.scratch.sgd import init_params, linear1, mnist_loss, sigmoid, validate_epoch

def tensors(images):
    x = torch.from_numpy(images.pixels).float().flatten(1) / 255
    return x, torch.from_numpy(images.labels == 0).float().unsqueeze(1)

dataset, _ = load("mnist-3v7")
x, y = tensors(dataset.train)
valid_x, valid_y = tensors(dataset.valid)
rows = torch.cat([(y[:, 0] == target).nonzero()[:300, 0] for target in (1, 0)])

{text.replace(*FAULTS[chosen.value])}
print(train_loop(x[rows], y[rows])[1])
"""
    with tempfile.TemporaryDirectory() as _folder, contextlib.redirect_stdout(io.StringIO()):
        _script = Path(_folder, "train.py")
        _script.write_text(program)
        findings = underhood.doctor(_script)["findings"]
    serious = [one for one in findings if one["verdict"] != "fine"]
    show_findings(serious)
    return findings, serious


@app.cell(hide_code=True)
def _(findings, serious):
    mo.accordion(
        {
            f"The {len(findings) - len(serious)} checks that found nothing": table(
                [{"check": one["check"], "what was measured": one["evidence"]}
                 for one in findings if one["verdict"] == "fine"]
            )
        }
    )  # fmt: skip
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Try all of them, and *healthy* too. Three things are worth noticing.

    **The cause comes first.** One fault disturbs several numbers. If no step is taken, the loss stays high, and one
    batch cannot be learned by heart either; but those are symptoms. The doctor names them as well, behind the cause,
    and says which cause may be why. Fix the first thing on the list, then ask again.

    **It says what it measured.** You need not believe it. *"each of the 30 predictions meets every target"* is
    something that you can check with one `print`.

    **It does not find everything.** Its questions are those that somebody thought of. When it finds nothing, you know
    that it is not one of these, and that is worth something; it is no proof that all is well.

    ## Patients of your own

    `underhood break` makes patients: it plants one fault in a copy of some images, and hides the answer. Here are
    three, made from the small digits of scikit-learn. Look at the images first, and only then ask the doctor.
    """)
    return


@app.cell(hide_code=True)
def _():
    whom = mo.ui.radio(options=["A", "B", "C"], value="A", label="patient:", inline=True)
    ask = mo.ui.run_button(label="Ask the doctor")
    mo.hstack([whom, ask], justify="start", gap=2)
    return ask, whom


@app.cell(hide_code=True)
def _(whom):
    # This cell plants the faults: look at the images, not at it.
    PATIENTS = {"A": "rotated-in-validation", "B": "labels-swapped-in-validation", "C": "border"}
    ward = Path(tempfile.mkdtemp(prefix="underhood-lesson-"))
    underhood.break_("digits", ward / whom.value, fault=PATIENTS[whom.value])
    sick = underhood.read(ward / whom.value / "data")
    _figure, _rows = plt.subplots(4, 10, figsize=(7, 3.4))
    _parts = {"train": (sick.train, _rows[:2]), "valid": (sick.valid, _rows[2:])}
    for _part, (_images, _axes) in _parts.items():
        for _label, _name in enumerate(_images.classes):
            for _ax, _row in zip(_axes[:, _label], np.flatnonzero(_images.labels == _label), strict=False):
                _ax.imshow(_images.pixels[_row, 0], cmap="gray_r", vmin=0, vmax=255)
            _axes[0, _label].set_title(_name, fontsize=9)
        for _ax in _axes.flat:
            _ax.set(xticks=[], yticks=[])
        _axes[0, 0].set_ylabel(_part, fontsize=9)
    _figure.tight_layout(pad=0.4)
    figure(
        _figure,
        f"Patient {whom.value}: two images of each folder, above those to learn from, below those to measure on. "
        + {
            "A": "Those to measure on lie on their side.",
            "B": "In the folders to measure on there are other digits than their names say.",
            "C": "Every image has a frame, which is brighter from class to class.",
        }[whom.value],
    )
    return PATIENTS, ward


@app.cell(hide_code=True)
def _(ask, show_findings, ward, whom):
    mo.stop(not ask.value, mo.md("*(Press the button when you have a suspicion of your own.)*"))
    _findings = underhood.doctor(ward / whom.value / "data")["findings"]
    show_findings([one for one in _findings if one["verdict"] != "fine"])
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Summary

    - A symptom is shared by many faults. Turn a suspicion into an experiment with a number that would come out
      differently if it were right.
    - Watch a loop without changing it: give it functions that do the same and take notes, or use PyTorch's hooks.
    - A number is off only compared with controls: runs that are known to be healthy, and differ by chance alone. Before
      you explain a difference, repeat it with another seed.
    - Who asks many questions gets false alarms. Be strict with each of them, and say *suspicious* where you do not
      know.
    - Fix the cause first; the symptoms usually go with it. `underhood doctor` looks for both, and `underhood break`
      makes patients to practise on.

    **New words:** suspicion, symptom, hook, control, false alarm.

    ## Exercises

    Put your answer in place of the `...` and run the cell.

    **1.** A doctor with 24 questions raises a false alarm in 1 of 100 healthy loops with each of them. In which share
    of healthy loops does it raise at least one?
    """)
    return


@app.cell
def _():
    alarms = ...  # a number from 0 to 1
    return (alarms,)


@app.cell(hide_code=True)
def _(alarms):
    check_1 = exercise(
        "10.1",
        alarms,
        lambda answer: abs(float(answer) - (1 - 0.99**24)) < 0.002,
        hints=(
            "It is easier to ask the opposite: in which share of healthy loops does it raise none at all?",
            "The chance to pass one question is 0.99. To pass two of them it is 0.99 · 0.99.",
            "All of them pass with `0.99 ** 24`. At least one does not in all other cases.",
        ),
        solution="alarms = 1 - 0.99**24  # 0.214",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** Write the test for a forgotten step as a function. It gets the parameters before and after a step, the
    gradient and the learning rate, and returns by how much of what they should they have moved: 1 for a healthy step, 0
    for none. Unlike ours above, make it negative if the step goes *up* the slope: then it is −1. (The entry-by-entry
    product of two vectors, added up, is positive if they point about the same way.)
    """)
    return


@app.cell
def _():
    def step_taken(before, after, gradient, lr):  # three vectors and a number → a number
        return ...

    return (step_taken,)


@app.cell(hide_code=True)
def _(step_taken):
    def _cases():
        torch.manual_seed(0)
        _before, _gradient = torch.randn(50), torch.randn(50)
        moves = (1.0, 0.0, -1.0, 2.5)
        given = [step_taken(_before, _before - move * 0.1 * _gradient, _gradient, 0.1) for move in moves]
        return ... if ... in given else [abs(float(one) - move) < 1e-3 for one, move in zip(given, moves, strict=True)]

    check_2 = exercise(
        "10.2",
        step_taken,
        lambda _: _cases() == [True] * 4,
        hints=(
            "What they moved is `before - after`. What they should have moved is `lr * gradient`.",
            "If the first is a multiple of the second, `(first * second).sum()` is that multiple of "
            "`(second * second).sum()`.",
            "Divide the one sum by the other.",
        ),
        solution="""
        def step_taken(before, after, gradient, lr):
            wanted = lr * gradient
            return (((before - after) * wanted).sum() / (wanted * wanted).sum()).item()
        """,
        arguments=(torch.ones(2), torch.zeros(2), torch.ones(2), 1.0),
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Three loops were examined with other images and another seed, and here are their numbers, without names.
    Which fault has each? Use the words of the list at the top. (One of them may be *healthy*.)
    """)
    return


@app.cell(hide_code=True)
def _(dataset, numbers, watch):
    # This cell makes the patients: look at their numbers, not at it.
    _truth = ("forgotten step", "healthy", "gradients not zeroed")
    _x = torch.from_numpy(dataset.train.pixels).float().flatten(1) / 255
    _y = torch.from_numpy(dataset.train.labels == 0).float().unsqueeze(1)
    _last = torch.cat([(_y[:, 0] == target).nonzero()[-150:, 0] for target in (1, 0)])
    cases = {
        letter: (fault, watch(fault, _x[_last], _y[_last], seed=5)) for letter, fault in zip("DEF", _truth, strict=True)
    }
    table(
        [
            {"loop": letter, **{what: f"{value:.3g}" for what, value in numbers(seen).items()},
             "right": f"{seen['accuracy']:.3f}"}
            for letter, (_, seen) in cases.items()
        ]
    )  # fmt: skip
    return (cases,)


@app.cell
def _():
    diagnosis = ...  # {"D": "…", "E": "…", "F": "…"}
    return (diagnosis,)


@app.cell(hide_code=True)
def _(cases, diagnosis):
    check_3 = exercise(
        "10.3",
        diagnosis,
        lambda answer: answer == {letter: fault for letter, (fault, _) in cases.items()},
        hints=(
            "Compare each number with the table of the forty controls.",
            "Only the second step differs. By how much of what they should have did the parameters move?",
            "0 is no step at all. Clearly more than 1: something is added to the gradient. And one of them is as it "
            "should be.",
        ),
        solution="""
        diagnosis = {"D": "forgotten step", "E": "healthy", "F": "gradients not zeroed"}
        """,
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Write a verdict as a function. It gets a number and the list of the same number in healthy runs. It returns
    `"fine"` within their range, `"found"` if the number is further outside than the range is wide, and else
    `"suspicious"`.
    """)
    return


@app.cell
def _():
    def verdict(number, controls):  # a number and a list of numbers → "fine", "suspicious" or "found"
        return ...

    return (verdict,)


@app.cell(hide_code=True)
def _(verdict):
    _healthy = [0.4, 0.5, 0.6, 0.45]
    _questions = {
        0.5: "fine",
        0.4: "fine",
        0.6: "fine",
        0.65: "suspicious",
        0.25: "suspicious",
        0.9: "found",
        0.1: "found",
    }

    def _given():
        given = {number: verdict(number, _healthy) for number in _questions}
        return ... if ... in given.values() else given

    check_4 = exercise(
        "10.4",
        verdict,
        lambda _: _given() == _questions,
        hints=(
            "`low, high = min(controls), max(controls)` is the range.",
            "How far outside is a number? Below, by `low - number`; above, by `number - high`. The larger of the two "
            "is negative if it is inside.",
            "`outside = max(low - number, number - high)`, and then compare it with 0 and with `high - low`.",
        ),
        solution="""
        def verdict(number, controls):
            low, high = min(controls), max(controls)
            outside = max(low - number, number - high)
            if outside <= 0:
                return "fine"
            return "found" if outside > high - low else "suspicious"
        """,
        arguments=(0.5, _healthy),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** What is wrong with the patients A, B and C above? Choose from this list: `labels-shuffled`, `labels-noisy`,
    `labels-swapped-in-validation`, `copies-in-validation`, `border`, `imbalance`, `inverted-in-validation`,
    `blurred-and-dark-in-validation`, `rotated-in-validation`.
    """)
    return


@app.cell
def _():
    ills = ...  # {"A": "…", "B": "…", "C": "…"}
    return (ills,)


@app.cell(hide_code=True)
def _(PATIENTS, ills):
    check_5 = exercise(
        "10.5",
        ills,
        lambda answer: answer == PATIENTS,
        hints=(
            "Compare the two rows to learn from with the two rows to measure on. What is different?",
            "In one patient the digits stand differently, in one they bear other names, and in one there is something "
            "around them.",
            "If you are not sure, ask the doctor: it says what it measured.",
        ),
        solution="""
        ills = {"A": "rotated-in-validation", "B": "labels-swapped-in-validation", "C": "border"}
        """,
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** Let a friend be the examiner: `underhood break digits --seed 7 --script --out patient` writes
    a whole program with a fault in it, a page with the task and three hints. It uses layers that come in lessons 11 to
    13, but its loop is the one that you know. When you give up, `underhood break --reveal patient` shows the answer.

    Or give our little doctor a sixth question: does the loss at the start lie near what guessing gives? Which of the
    seven faults would it find?

    ## What you can read now

    [Hooks](https://docs.pytorch.org/docs/stable/notes/modules.html#module-hooks) in PyTorch's documentation
    ([pytorch.org/docs](https://pytorch.org/docs/stable/notes/modules.html)), for watching what layers do. And "A Recipe
    for Training Neural Networks" by Andrej Karpathy, which you will find in any search engine: a list of suspicions and
    experiments by somebody who has met them all.

    **Next:** [11 · Optimizer and Learner](?file=11_learner.py), where the loop that you can now write and fix is
    packed into objects, and unpacked again.
    """)
    return


if __name__ == "__main__":
    app.run()
