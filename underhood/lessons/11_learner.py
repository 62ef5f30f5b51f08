import marimo

app = marimo.App(width="medium", app_title="11 · Optimizer and Learner", layout_file="layouts/11_learner.slides.json")

with app.setup:
    import inspect
    from functools import partial
    from textwrap import dedent
    from types import SimpleNamespace

    import marimo as mo
    import matplotlib.pyplot as plt
    import torch
    from torch import nn

    import underhood
    from underhood import DataLoader, DataLoaders
    from underhood.core.schedule import flat, one_cycle
    from underhood.lessons import exercise, figure, load, table
    from underhood.scratch.sgd import batch_accuracy, calc_grad, linear1, mnist_loss, train_epoch


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 11 · Optimizer and Learner

    You have written a training loop, and you have seen in how many ways it can go wrong. It works, but it is tied to
    one model. The weights and the bias are named when they are made, when the model uses them, and again when they
    are stepped. A model with four tensors of parameters instead of two would mean changes in three places, and each
    forgotten place is a fault like those of lesson 9.

    PyTorch and fastai have ready-made objects for each of these places. Many courses begin with them, and then they
    look like magic. We go the other way. Each object takes the place of lines that you wrote, one after another, and
    each time we check that no digit of the result changes. When a single call is left, `fit`, you know what is in it.
    Then we open the training loop of this package, the one that does the real work, and read it. At the end you write
    all of it once more, in about sixty lines of your own.

    **After this lesson** you can say what a module, an optimizer and a Learner are and which lines each replaces, you
    can read `underhood/core/learner.py` line by line, and you can write such classes from an empty file. **It takes
    about two hours.** A good place for a break is just before "Reading the real loop".
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
    ## The same start for everybody

    Two trainings can only be compared if they begin with the same weights and meet the same batches in the same
    order. So we prepare three things that all our attempts will share: the images as rows of numbers from 0 to 1,
    with the target 1 for a 3 and 0 for a 7; one set of random first weights, of which each attempt gets a copy; and a
    function that makes new loaders. The order in which a `DataLoader` shuffles depends on its seed and on the epoch,
    and on nothing else, so new loaders give the same batches again. (`DataLoaders` with an s is merely two loaders in
    one object, `.train` and `.valid`. The name is fastai's.)
    """)
    return


@app.cell
def _(dataset):
    def tensors(images):
        x = torch.from_numpy(images.pixels).float().flatten(1) / 255  # [n, pixels], 0 to 1
        y = torch.from_numpy(images.labels == 0).float().unsqueeze(1)  # [n, 1]: 1 for a 3
        return x, y

    train_x, train_y = tensors(dataset.train)
    valid_x, valid_y = tensors(dataset.valid)
    inputs = train_x.shape[1]  # pixels of an image

    LR, EPOCHS = 1.0, 5
    BATCH = 256 if len(train_x) > 1000 else 16

    def loaders():
        train = DataLoader((train_x, train_y), BATCH, shuffle=True)
        return DataLoaders(train, DataLoader((valid_x, valid_y), BATCH))

    xb, yb = next(iter(loaders().train))
    print(xb.shape, yb.shape, len(loaders().train), "batches in an epoch")
    return BATCH, EPOCHS, LR, inputs, loaders, train_x, train_y, valid_x, valid_y, xb, yb


@app.cell
def _(inputs, valid_x, valid_y):
    torch.manual_seed(7)
    first_weights = torch.randn(inputs, 1) / inputs**0.5  # [pixels, 1]
    first_bias = torch.zeros(1)

    def start():  # copies, which autograd watches
        return first_weights.clone().requires_grad_(), first_bias.clone().requires_grad_()

    def measure(model):  # the accuracy over all validation images at once
        with torch.no_grad():
            return round(batch_accuracy(model(valid_x), valid_y).item(), 4)

    start_accuracy = measure(partial(linear1, weights=first_weights, bias=first_bias))
    start_accuracy
    return first_bias, first_weights, measure, start, start_accuracy


@app.cell(hide_code=True)
def _(start_accuracy):
    mo.md(f"""
    With these random weights the model gets {100 * start_accuracy:.0f} % of the validation images right. That is luck
    and no knowledge: other random weights give other figures, below one half as often as above. Now train.

    ## First way: by hand

    This is lesson 8, unchanged. The model is `linear1` with its weights and bias filled in by `partial`;
    `train_epoch` goes once through the batches, and for each batch computes the gradient, steps, and sets the
    gradients back to zero. We note the accuracy after each of five epochs.
    """)
    return


@app.cell
def _(EPOCHS, LR, loaders, measure, start):
    def train_by_hand():
        weights, bias = start()
        model = partial(linear1, weights=weights, bias=bias)
        dl, reached = loaders().train, []
        for _ in range(EPOCHS):
            train_epoch(model, dl, LR, (weights, bias))
            reached.append(measure(model))
        return reached

    by_hand = train_by_hand()
    by_hand
    return (by_hand,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Second way: an object that takes the step

    Look at `train_epoch` again. Two of its lines, the step and the zeroing, do not care what kind of model it is.
    They need a list of parameters and a learning rate, and nothing else. So they can move into an object of their
    own. An **optimizer** is an object that knows the parameters of a model and changes them according to their
    gradients. Two methods are enough, and everybody gives them the same names: `step` moves each parameter, and
    `zero_grad` forgets the gradients.

    In Python, `class` describes a kind of object. `__init__` runs when an object of that kind is made; `self` is the
    object itself, and what is stored in `self.lr` is still there when a method needs it later.
    """)
    return


@app.cell
def _():
    class BasicOptim:
        def __init__(self, params, lr):
            self.params, self.lr = list(params), lr

        def step(self):
            for p in self.params:
                p.data -= p.grad.data * self.lr

        def zero_grad(self):
            for p in self.params:
                p.grad = None

    weight = torch.tensor([3.0], requires_grad=True)
    basic = BasicOptim([weight], lr=0.1)
    (weight**2).sum().backward()
    print("before:", weight, "gradient:", weight.grad)
    basic.step()
    basic.zero_grad()
    print("after: ", weight, "gradient:", weight.grad)
    return (BasicOptim,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The gradient of w² at 3 is 6, so the step goes from 3 to 3 − 0.1 · 6 = 2.4, and then the gradient is gone. (In
    lesson 8 we filled it with zeros; here it becomes `None`, "nothing there". For the next `backward` it is the same,
    and it saves the work of writing zeros. PyTorch's own optimizers do it this way, too.)

    What is left of the training loop now speaks of batches, a model and an optimizer, and of no weight by name. We
    also let it measure after each epoch. How it measures is given to it as a function, `validate`:
    """)
    return


@app.cell
def _(BasicOptim, EPOCHS, LR, loaders, measure, start):
    def train_model(model, dl, opt, epochs, validate):
        reached = []
        for _ in range(epochs):
            for xb, yb in dl:  # [batch, pixels] and [batch, 1]
                calc_grad(xb, yb, model)
                opt.step()
                opt.zero_grad()
            reached.append(validate(model))
        return reached

    def train_with(optimizer_class):
        weights, bias = start()
        model = partial(linear1, weights=weights, bias=bias)
        opt = optimizer_class([weights, bias], LR)
        return train_model(model, loaders().train, opt, EPOCHS, measure)

    with_basic_optim = train_with(BasicOptim)
    with_basic_optim
    return train_model, train_with, with_basic_optim


@app.cell(hide_code=True)
def _():
    mo.md("""
    The same figures. Nothing was won in speed or accuracy, and nothing was supposed to be: what we won is that
    `train_model` will train whatever we give it.

    ## Third way: the optimizer from the shelf

    PyTorch's optimizers are in `torch.optim`. The one that does what ours does is called `SGD`, for *stochastic
    gradient descent*. You may ask what is random about it, since `step` itself uses no random numbers. The chance is in
    the batches, which are a random part of the data (lesson 8). The name tells how the optimizer is used.
    """)
    return


@app.cell
def _(train_with):
    with_torch_sgd = train_with(torch.optim.SGD)
    with_torch_sgd
    return (with_torch_sgd,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Fourth way: a model that knows its parameters

    We still make the weights in one place, give them to the model in a second and to the optimizer in a third. If the
    model kept its own parameters, the optimizer could ask it for them. PyTorch calls such an object a **module**: an
    object that computes outputs from inputs, as a function does, and that knows the parameters which it uses for
    that. `nn` is the part of PyTorch where they live, and `nn.Linear` is the module for the equation you know,
    inputs times weights plus bias. It draws its first weights at random by itself. Here is a small one, with three
    inputs and two outputs:
    """)
    return


@app.cell
def _():
    torch.manual_seed(0)
    small = nn.Linear(3, 2)
    for parameter in small.parameters():
        print(parameter.shape, parameter)
    return (small,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Two tensors: the weight and the bias. `Parameter containing` is PyTorch's way of printing a tensor that belongs to
    a module and that training is to change; otherwise it is a tensor like any other. `parameters()` gives them one
    after another, and with `list(small.parameters())` you have them in a list.

    One thing looks the wrong way round. Our weights were `[pixels, 1]`, inputs first. **The weight of `nn.Linear` is
    `[out, in]`**: a row for each *output*. There is a reason: a row then holds all the weights that belong to one
    output, side by side, so that `weight[0]` is a "weight image" as in lesson 4. The price is a transpose in the
    product. `.T` turns rows into columns, `[2, 3]` into `[3, 2]`, and then the lengths fit again: `[n, 3] @ [3, 2]`
    gives `[n, 2]`.
    """)
    return


@app.cell
def _(small):
    three_numbers = torch.tensor([[1.0, 2.0, 3.0]])  # [1, 3]: one row of three inputs
    print(small(three_numbers))  # [1, 2]
    print(three_numbers @ small.weight.T + small.bias)  # [1, 3] @ [3, 2] + [2] → [1, 2]
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    A module is called with parentheses, like a function. (If a Python object has a method named `__call__`, that
    method runs when you call the object. For PyTorch's modules it calls another one, `forward`, in which the
    computation stands; you will write some below.) So `train_model` need not be changed at all. To begin as the
    others did, our module gets the first weights that they had, transposed:
    """)
    return


@app.cell
def _(EPOCHS, LR, first_bias, first_weights, inputs, loaders, measure, train_model):
    def linear():
        module = nn.Linear(inputs, 1)
        module.weight.data = first_weights.T.clone()  # [1, pixels]
        module.bias.data = first_bias.clone()  # [1]
        return module

    def train_module():
        module = linear()
        opt = torch.optim.SGD(module.parameters(), LR)
        return train_model(module, loaders().train, opt, EPOCHS, measure)

    with_nn_linear = train_module()
    with_nn_linear
    return linear, with_nn_linear


@app.cell(hide_code=True)
def _():
    mo.md("""
    `module.parameters()` is the line that matters. It would be the same line for a model with a million parameters in
    fifty tensors.

    ## Fifth way: everything in one

    A **Learner** is an object that holds together what a training needs, and has the training loop as a method. The
    word is fastai's; PyTorch has none, since there everybody writes the loop. What does it have to be given? Go
    through the loop, and you find five things, each of which we have met:

    - `dls`: the batches to train on and those to measure on, a `DataLoaders`;
    - `model`: a module;
    - `loss_func`: the loss, a function of predictions and targets;
    - `opt_func`: *how to make* the optimizer. It is the class `torch.optim.SGD` and no finished optimizer, because
      the Learner calls it itself, with the model's parameters, as soon as `fit` tells it the learning rate;
    - `metrics`: what people want to read, one function or several. Training does not use it.

    This package has such a class, `underhood.Learner`, and so has fastai, with the same names.
    """)
    return


@app.cell
def _(EPOCHS, LR, linear, loaders):
    learn = underhood.Learner(
        loaders(), linear(), loss_func=mnist_loss, opt_func=torch.optim.SGD, metrics=batch_accuracy
    )
    learn.fit(EPOCHS, LR)
    return (learn,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    One row for each epoch, counted from 0: the mean loss over the training batches, the mean loss over the validation
    images, the metric, and the time in minutes and seconds. The table is also kept, in `learn.recorder.values`, a
    list `[train_loss, valid_loss, batch_accuracy]` for each epoch.

    ## Watch it

    A table says how it ended, not how it went. `fit` takes a function, `on_step`, and calls it with the learner and the
    step after each step. You could print the loss in it. `LivePanel` is such a function, and it draws: the loss as it
    falls, two dozen validation images with their probabilities, the confusion matrix, and the weights, one for each
    pixel, as an image.
    """)
    return


@app.cell
def _(EPOCHS, LR, linear, loaders):
    watched = underhood.Learner(
        loaders(), linear(), loss_func=mnist_loss, opt_func=torch.optim.SGD, metrics=batch_accuracy
    )
    watched.fit(EPOCHS, LR, on_step=underhood.LivePanel())
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Look at the weights at the end: blue where ink speaks for a 3, which has the target 1, and orange where it speaks
    for a 7, which has the target 0. The numbers in the table are those of the Learner above, to the last digit:
    watching a training does not change it.

    `underhood train DATA --live` opens a page with this panel for a training of your own, with buttons to pause it, to
    take single steps and to change the learning rate.

    ## And back: all of it written out

    Now backwards, so that nothing stays hidden. The next function uses no loss function, no module, no optimizer and
    no metric, and of the loader only the order in which it deals the images. All that trained the model and measured
    it is there, in lines that you can explain:
    """)
    return


@app.cell
def _(BATCH, EPOCHS, LR, loaders, start, train_x, train_y, valid_x, valid_y):
    def train_written_out():
        weights, bias = start()
        shuffled, reached = loaders().train, []
        for epoch in range(EPOCHS):
            order = torch.from_numpy(shuffled.order(epoch))  # [n]: the loader
            for rows in order.split(BATCH):
                x, y = train_x[rows], train_y[rows]  # [batch, pixels] and [batch, 1]
                p = (x @ weights + bias).sigmoid()  # [batch, 1]: the model
                loss = torch.where(y == 1, 1 - p, p).mean()  # []: the loss
                loss.backward()
                for parameter in (weights, bias):  # the optimizer
                    parameter.data -= LR * parameter.grad
                    parameter.grad = None
            with torch.no_grad():  # the metric
                right = ((valid_x @ weights + bias) > 0) == (valid_y == 1)  # [n, 1]
            reached.append(round(right.float().mean().item(), 4))
        return reached

    written_out = train_written_out()
    written_out
    return (written_out,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    All six side by side, the accuracy on the validation images after each epoch:
    """)
    return


@app.cell(hide_code=True)
def _(by_hand, learn, with_basic_optim, with_nn_linear, with_torch_sgd, written_out):
    ways = {
        "by hand": by_hand,
        "BasicOptim": with_basic_optim,
        "torch.optim.SGD": with_torch_sgd,
        "nn.Linear": with_nn_linear,
        "Learner": [round(row[2], 4) for row in learn.recorder.values],
        "written out": written_out,
    }
    all_the_same = len({tuple(row) for row in ways.values()}) == 1
    reached = ways["Learner"][-1]
    table([{"epoch": way} | {f"{i}": f"{value:.4f}" for i, value in enumerate(row)} for way, row in ways.items()])
    return all_the_same, reached


@app.cell(hide_code=True)
def _(all_the_same):
    mo.md(
        "Six ways, one result: **every row is the same**, to the last digit. There is no magic in the objects. They "
        "are your own lines under other people's names."
        if all_the_same
        else "**The rows differ**, and they should not: please report it, with your versions of Python and torch."
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## A loop that can be watched: `yield`

    A real training loop has to do more than train. People want to see the loss while it runs, save now and then, stop
    early, or draw a curve. How can one loop serve all these wishes without containing all of them? Python has a word
    for it, `yield`, and three sentences explain it. A function in which `yield` stands is called a **generator**:
    calling it runs nothing yet, but gives you something to put into a `for` loop. Each turn of that loop runs the
    function on to its next `yield` and hands you the value that stands there. In between, the function stands still,
    with all its variables as they were, until you ask for the next value.
    """)
    return


@app.cell
def _():
    def three_steps():
        for number in (1, 2, 3):
            print("the generator works on step", number)
            yield 10 * number

    for value in three_steps():
        print("    and the loop around it receives", value)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The two take turns. If the caller leaves its loop with `break`, the generator never runs its next step. So a
    training loop that is a generator can train, and after each step give its caller the chance to look, draw, save or
    stop. (Other libraries use *callbacks*: you hand over functions, which are called at agreed places. Here the
    callback is simply the body of a `for` loop.)

    ## Reading the real loop

    The file is `underhood/core/learner.py`. It trains everything in this package, from this lesson's 785 parameters
    to networks with eleven million. What follows is quoted from the file itself. You need not remember it all; the
    point is to find that it is made of things that you know.

    Some hints for reading. What follows a colon, as in `lr: float`, or an arrow, as in `-> None`, tells people which
    type is meant; in a function Python itself ignores it. `Loss = Callable[...]` gives such a type a name: "a function
    that takes two tensors and returns one". `adamw = partial(torch.optim.AdamW, fused=True)` is the optimizer class
    with one argument filled in (`partial` is from lesson 8); `fused` updates all parameters in a single pass, which is
    faster and changes no result. The first part of the file only defines what is passed around later. `Step` and
    `Epoch` are tuples whose places have names (`step.loss`, `epoch.metrics`): after `NamedTuple` in the brackets, each
    line such as `loss: Tensor` makes one place. `Recorder` is an object with lists in it; `@dataclass` writes its
    `__init__` from the lines below it, and `default_factory=list` gives every new object an empty list of its own.
    `Epoch.lines` is only formatting: `f"{value:.6f}"` writes six digits behind the point, `divmod` makes minutes and
    seconds of seconds, and `rjust` fills with spaces up to a width.

    `Learner.__init__` keeps what it is given and prepares some empty places. `metrics` becomes a list, even if it is
    only one function. What stands after a `=` among the arguments is used when you give nothing else. The loss is
    then the one for more than two classes, which lesson 15 takes apart, and the optimizer is `AdamW`, a younger one
    that gives each parameter a step length of its own. We always say which ones we use.
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("self.dls, self.model, self.loss_func", "self._resume_from")
    return


@app.cell(hide_code=True)
def _():
    table(
        [
            {"name": "`metrics`", "holds": "a list of functions, even if it is only one"},
            {"name": "`forward`", "holds": "what training calls in place of the model; `None` means the model itself"},
            {"name": "`valid_loss_func`", "holds": "the loss for measuring, by default the same"},
            {"name": "`recorder`", "holds": "three lists: `losses` and `lrs` of all steps, `values` of all epochs"},
            {"name": "`device`", "holds": "the place of the model's first parameter: processor or graphics card"},
            {"name": "`optimizer`", "holds": "nothing yet; `steps` makes it"},
            {"name": "`global_step`", "holds": "how many steps are done"},
            {"name": "`epoch_losses`, `batch_sizes`", "holds": "of the epoch that is running"},
            {"name": "`_resume_from`", "holds": "what a saved optimizer remembered, once one is put back"},
            {"name": "`processes`", "holds": "for training on several cards at once; see below"},
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Two lines need a word. `getattr(metric, "__name__", …)` asks the metric for its name: a function knows its own,
    `__name__`, and an object that has none is called by the name of its class. (`getattr(x, "losses")` is `x.losses`,
    with the name given as a text; what stands last is used if there is no such name.) And `next(…,
    torch.device("cpu"))` takes the device of the first parameter, or, if the model has no parameters, what stands
    behind the comma. `torch.empty(0)` is a tensor without numbers. Comments that begin with `# noqa` or `# fmt` are
    for programs that check or format the file; skip them.
    """)
    return


@app.cell(hide_code=True)
def _():
    def quote(first, last):
        """The lines of core/learner.py from the one that begins with `first` to the next that begins with `last`."""
        lines = inspect.getsource(inspect.getmodule(underhood.Learner)).splitlines()
        starts = [line.strip() for line in lines]
        begin = next(i for i, line in enumerate(starts) if line.startswith(first))
        end = next(i for i, line in enumerate(starts) if i >= begin and line.startswith(last))
        return mo.md("```python\n" + dedent("\n".join(lines[begin : end + 1])) + "\n```")

    return (quote,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ### `steps`: before the first step

    `Learner.steps` is the generator. The comments number the seven steps of lesson 4.
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("train, recorder = self.dls.train", "self.model.train()")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    - An empty training set is an error at once, and not a strange one later.
    - **Step 1, initialize.** The model came with its random weights; what is missing is the optimizer. The method
      `_start_optimizer`, further down in the file, makes it; we read it below. (The underscore before a name says
      "for use inside the class". Python does not enforce it.)
    - `total` is the number of steps of the whole training, the batches of an epoch times the epochs, those before a
      break included: who resumes a training of 5 epochs asks for 5 again and not for the rest. (`//` divides and drops
      the rest.) `first` is the epoch to begin with, 0 unless a saved training is resumed. `before` counts the epochs of
      earlier calls, so that a second `fit` gets new orders of the batches; since the recorder also holds the epochs of
      this training that were done before a break, `first` takes these off again.
    - `self.forward or self.model` is the first of the two, unless that is `None`; then it is the second.
    - `self.model.train()` trains nothing. It is a switch: some modules work differently while training. `nn.Dropout`,
      for instance, sets random numbers to 0, to make the task harder, and must not do so when we measure. The other
      position of the switch is `self.model.eval()`. `nn.Linear` does the same in both, but a loop that forgets the
      switch is wrong for the first model where it matters.

    And this is how `_start_optimizer` begins:
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("def _start_optimizer", "return self.optimizer")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The first line makes the optimizer just as we did: `opt_func` is called with the model's parameters and the rate.
    Its gradients are cleared, in case earlier code left some behind. `saved, self._resume_from = …, None`
    takes the saved state, if there is one, and empties its place, so that it is used once. If there is none, this is
    a new training: the steps are counted from 0, and `del` removes the learning rates of an earlier training that was
    broken off in the middle of an epoch (`list[3:]` is everything from number 3 on). The rest of the method puts a
    saved optimizer back; it comes up again at the end of this reading.

    ### The two loops
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("for epoch in range(first, epochs)", "size = train.items_in")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    - **Step 6, repeat**, is the two `for` loops, epochs and in them batches, as in your own loop.
    - `began` is the time. `block` has a place for the loss of each batch of this epoch, zeros at first. `start` is 0,
      unless a training is resumed in the middle of an epoch: then the losses before it are filled in again, and so are
      the sizes of these batches. (`%` is the rest of a division: after 60 steps of 49 batches each, 11 of the second
      epoch are done.) The
      comment says why it is one block: thousands of tiny tensors would leave memory full of holes.
    - `_batches` asks the loader for the batches of that epoch from number `start` on, and `enumerate(…, start)`
      counts them. It is a function of four lines at the end of the file. Our `DataLoader` can be asked for any batch
      of any epoch. A loader of PyTorch's own can only be read from the beginning; `islice(dl, start, stop, step)`, from
      Python's library, then deals out those from `start` to `stop` and drops the ones before.
    - **The learning rate need not stay the same.** A **schedule** is a function that gets the number of the step and
      the total, and returns which fraction of the highest learning rate this step should use, as `lr_factor`. The
      simplest is `flat`: always 1. `set_lr` then writes the rate into the optimizer, which keeps its settings in
      dictionaries, its `param_groups`. (What is returned also has a place for the momentum, mostly `None`: leave it as
      it is. With momentum a step keeps a part of the speed of the one before, as a heavy ball does; you build it in
      exercise 5.)
    - **The device.** A tensor lies in the memory of the processor or of a graphics card, and two tensors can only be
      multiplied if they lie in the same one. `.to(self.device)` copies the batch to where the model is. If it is
      there already, it does nothing.
    - `size` is the number of images in the batch. Only the last one may be short. (`isinstance` asks whether the loader
      is ours. If so, `items_in(number)` is the size of the whole batch, also where several cards share it and `y` is
      only one card's part.)

    ### The heart

    Here are four of the seven steps, and you wrote lines like these in lesson 8:
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("predictions = forward(x)", "optimizer.zero_grad()")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    One line is new, `self.processes.scale_loss`. If several graphics cards train together, each with its share of
    every batch, they have to agree about means and sums. All that talking goes through the object `processes`. By
    default it is a `SingleProcess`, which has nobody to talk to: its methods give back what they get. (A *process* is
    one running copy of the program. With four cards there are four, `world_size`, numbered from 0 to 3, `rank`. In
    the class `sum = mean` gives the same method a second name.) You can skip it.

    **May `zero_grad` come first?** In many programs, PyTorch's tutorials among them, the order is `zero_grad`,
    `backward`, `step`. It makes no difference. What counts is that between two calls of `backward` the gradients are
    cleared once, and not between `backward` and `step`. Clearing right after the step has a small advantage: the
    memory of the gradients is free while the next batch goes forward.

    ### After each step
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("batch_loss = self.epoch_losses[number]", "self.model.eval()  # Step 7")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    - `loss.detach()` is the loss without its history: what autograd wrote down for `backward` (lesson 5) may be
      forgotten. The loss is put into its place in the block.
    - **Why is there no `.item()`?** We have often turned a loss into a Python number. But a graphics card works on
      its own: Python gives it one order after another and does not wait for the results. `.item()` asks for a result,
      so Python would have to stand still until the card has done everything before it, and the card would then stand
      still until Python gives new orders, and this after every step. So the losses stay tensors, on the card, and are
      fetched once per epoch: that is `self._finite(…)`, "the only wait".
    - `_finite` turns them into numbers and looks at each. If one is infinite or `nan` (lesson 9), training cannot
      recover: every weight that such a loss touches becomes `nan` itself. So it raises a `DivergedError` that names
      the step and the learning rate, and proposes a lower one. You find it below.
    - `if epoch_end := (…)` does two things: `:=` stores the value, true after the last batch, and `if` tests it.
    - `yield Step(…)` hands the caller what there is to know about this step.
    - If a loader gave fewer batches than its length promised, the bookkeeping is wrong, and that is an error.
    - **Step 7, stop**, comes when both loops have ended: the switch goes to `eval`.

    And this is `_finite`:
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("values = losses.double()", "return values.tolist()")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    `losses` is the block, `[batches]`. It becomes `float64`, which has 16 digits (`.double()`), is fetched to the
    processor (`.cpu()`) and becomes a NumPy array. `np.isfinite` gives `True` for each ordinary number, and `all()`
    asks whether it is true of every one; then the numbers are returned as a list. If not, `argmin` finds the first
    `False`, because `False` counts as 0 and `True` as 1. `back` is its place counted from the end, −1 for the last,
    and from that follow the step, the epoch and the learning rate that go into the message. `raise` ends the training
    with it.

    ### `fit` is a loop over `steps`
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("def epochs(self", "print(row.lines")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    `epochs` is a generator, too: it goes through all steps, and at the end of each epoch yields what `end_epoch`
    returns. `fit` goes through `epochs` and prints. And this is what `end_epoch` does:
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("if len(self.batch_sizes) != len(self.dls.train)", "return Epoch(")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Called in the middle of an epoch it refuses, since there are then fewer sizes than batches. The training loss of the
    epoch is the average over its batches: `losses[-49:]` would be the last 49 of the list, and
    `weights` says that a batch counts by its size. `validate` returns a list, the loss first and then the metrics;
    `valid_loss, *values = …` takes the first for itself and collects all others in `values`. Everything goes into the
    recorder, as a row. `dict(zip(names, values))` pairs each metric with its name, and what is returned is the `Epoch`
    with its number, counted from 0. Now `validate`:
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("dl = self.dls.valid if dl is None", "return (self.processes.sum(sums)")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Give it no loader, and it takes the validation batches; an empty loader is an error at once. `sums` is a table
    with a row for each batch: the loss and the metrics, each a mean over the batch, multiplied by the number of
    images in it. At the end everything is added up and divided by the number of all images, so that a short last
    batch counts for less. (Sums are kept in `float64`, so that adding up many numbers loses nothing; `()` is the
    shape of a single number. `mine` are the batches of this process: of four, number 1 takes the batches 1, 5, 9 and
    so on, and a process alone takes all of them. The `*` in front of a name unpacks a list.) The predictions come
    from a generator once more:
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("@torch.inference_mode()", "self.model.train(was_training)")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    `inference_mode` is a stricter and slightly faster `no_grad`: nothing is recorded for a backward pass, because
    none will come. The model is switched to `eval` and afterwards back to what it was; `finally` means that this
    happens even if something fails in between. One thing could still go wrong. If a metric raises an error, the loop
    in `validate` is left, the generator stands still at its `yield`, and its `finally` waits until Python throws the
    generator away, nobody knows when. `with closing(…) as batches:` ends the generator in the moment in which the
    block is left, whatever the reason. (We measure with the model itself; what `forward` may put in its place is for
    training.) `get_preds` uses the same generator to collect all predictions instead of averages: `zip(*pairs)` makes
    two lists of a list of pairs, which lesson 8 called collating, and `torch.cat` joins the batches.

    ### Stopping today, going on tomorrow

    A long training should survive a power cut. What must be saved so that it can go on exactly where it was?
    `state_dict` collects it: the model's parameters; what the optimizer remembers; the recorder; the number of the
    step; the losses of the unfinished epoch. `load_state_dict` puts it all back. (Modules and optimizers have methods
    of the same two names.)
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote("done = self.global_step % len", "self.optimizer, self._resume_from = None")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    `done` is how many steps of the unfinished epoch are done. With a loader of PyTorch's own, whose order cannot be
    repeated, only the end of an epoch will do, where it is 0. `_finite` makes sure that no `nan` is saved: `done or
    None` is `None` if `done` is 0, and `losses[:None]` is all of them. `a if b else c or d` picks what the optimizer
    remembers; if none was made yet, what had been loaded before, or nothing, `{}`. `setattr(x, "losses", values)`
    writes to the name that is given as a text, as `getattr` reads from it. The order of the batches need not be
    saved, as it follows from the seed and the epoch. What the optimizer remembers goes back in when the next training
    begins. This is the rest of `_start_optimizer`:
    """)
    return


@app.cell(hide_code=True)
def _(quote):
    quote('self.optimizer.load_state_dict({"state"', "return self.optimizer")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Plain SGD remembers nothing. With momentum (exercise 5), or with AdamW, there is a tensor or two for each
    parameter; that is the optimizer's `state`. Its settings, such as the learning rate, are its `param_groups`, and
    they stay those of the new optimizer. The loop at the end is only about the layout: the same numbers can lie in
    memory in different orders (lesson 2 had `stride`), sums over them are then rounded differently, and "exactly
    where it was" means every digit. (`torch.empty_like(parameter)` makes a tensor laid out like the parameter, and
    `copy_` writes the saved numbers into it.)

    Is that enough? We test it, with a training that is cut off after 60 steps, in the middle of an epoch. The second
    Learner finishes that epoch and goes on:
    """)
    return


@app.cell
def _(EPOCHS, LR, linear, loaders):
    def new_learner():
        return underhood.Learner(
            loaders(), linear(), loss_func=mnist_loss, opt_func=torch.optim.SGD, metrics=batch_accuracy
        )

    cut_off = new_learner()
    for step in cut_off.steps(EPOCHS, LR):
        if step.number == 60:
            break
    print("cut off after", step)

    resumed = new_learner()  # a new one, with the first weights
    resumed.load_state_dict(cut_off.state_dict())
    resumed.fit(EPOCHS, LR)
    return (resumed,)


@app.cell(hide_code=True)
def _(learn, resumed):
    same_after_resuming = torch.equal(learn.model.weight, resumed.model.weight)
    mo.md(
        f"Are the weights after it the same as those of the training without a break, every digit of them? "
        f"**{'Yes' if same_after_resuming else 'No'}.** And note what we wrote: a `for` loop around `steps`, with a "
        f"`break`. That is a callback that stops the training."
    )
    return (same_after_resuming,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## A schedule to look at: one cycle

    When the learning rate is high, training moves fast, but rattles around the valley's floor instead of settling on
    it (lesson 5). When it is low, it settles, but takes forever to get there. Why not both, one after the other? The
    schedule that Leslie Smith proposed in 2018 is called **one cycle**. It begins low, because from random weights a
    long step may lead anywhere; rises to the highest rate in the first quarter of the steps; and then falls slowly to
    almost nothing. fastai calls it `fit_one_cycle`, and so does this package. Each curve below comes from a `for`
    loop over `steps` that keeps `step.lr` and `step.loss`. Move the highest rate. Where does the schedule help, and
    where does it not?
    """)
    return


@app.cell(hide_code=True)
def _():
    highest = mo.ui.slider(steps=[0.1, 1.0, 3.0, 10.0, 30.0, 100.0], value=30.0, label="highest rate", show_value=True)
    highest
    return (highest,)


@app.cell(hide_code=True)
def _(EPOCHS, highest, linear, loaders):
    _figure, (_rates, _losses) = plt.subplots(2, 1, figsize=(6.5, 5), sharex=True)
    _ends = []
    for _name, _schedule in (("flat", flat), ("one cycle", one_cycle)):
        _learn = underhood.Learner(
            loaders(), linear(), loss_func=underhood.mnist_loss, opt_func=torch.optim.SGD, metrics=batch_accuracy
        )
        _steps = [(step.lr, step.loss) for step in _learn.steps(EPOCHS, highest.value, _schedule)]
        _accuracy = _learn.validate()[1]
        _ends.append(f"{_name} {_accuracy:.4f}")
        _rates.plot([rate for rate, _ in _steps], label=_name)
        _losses.plot(torch.stack([loss for _, loss in _steps]), linewidth=1, label=f"{_name}: accuracy {_accuracy:.4f}")
    _rates.set(ylabel="learning rate")
    _losses.set(xlabel="step", ylabel="loss of the batch")
    _losses.legend()
    _figure.tight_layout()
    figure(
        _figure,
        f"Above, the learning rate over the steps: flat it is {highest.value} all the time; with one cycle it rises to "
        f"{highest.value} in the first quarter and falls to 0 until the end. Below, the losses of both. Accuracy at "
        f"the end: {', '.join(_ends)}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    With MNIST the answer is: up to a rate of 10 it does not help. A single linear model can be trained with so high
    a rate, and one cycle spends many of its steps far below it. At 30 and 100 the same rate from beginning to end
    is too much, and the accuracy falls, while one cycle is at its best with 30. So a schedule does not replace the
    choice of a rate. It lets you choose a higher one. For deep networks, which are easily upset in their first
    steps, that is worth a lot, and lesson 13 uses it. (The loss here is the package's `mnist_loss`, because at such
    rates our own sigmoid fails: it computes e to the power of a number so large that the result is infinite, and
    the gradient NaN.)

    ## Build your own

    You have now seen every part, so close the file. The rest of the lesson is a small library of your own, in five
    classes. Its modules need two things: to be called, and to have `parameters()`. Read each class, change it, break
    it. (They are in `underhood/scratch/own.py`, with tests that compare each with PyTorch's.)

    **`Linear`** draws its weights as `nn.Linear` does, evenly between −1/√inputs and 1/√inputs. `torch.rand` gives
    numbers between 0 and 1, so `2 * torch.rand(…) - 1` lies between −1 and 1. Why divide by √inputs? An output adds
    up as many products as there are inputs, of both signs, so that its size grows with the root of their number. With
    weights as large as 1 and hundreds of inputs the sum would be so
    large that the sigmoid behind it is flat, and where it is flat the gradient is almost 0 (lesson 7).
    """)
    return


@app.cell
def _(xb):
    class Linear:
        def __init__(self, inputs, outputs):
            limit = inputs**-0.5
            self.weight = limit * (2 * torch.rand(outputs, inputs) - 1)  # [outputs, inputs]
            self.bias = limit * (2 * torch.rand(outputs) - 1)  # [outputs]
            for p in self.parameters():
                p.requires_grad_()

        def __call__(self, x):  # [n, inputs] → [n, outputs]
            return x @ self.weight.T + self.bias

        def parameters(self):
            return [self.weight, self.bias]

    torch.manual_seed(0)
    Linear(xb.shape[1], 1)(xb[:4])
    return (Linear,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Four images, four predictions; `grad_fn` shows that autograd remembers where they came from.

    **`ReLU`** replaces negative numbers by 0 and leaves the others alone. Lesson 12 is about why that is worth a
    class. It has nothing to learn, so its list of parameters is empty. (`clamp(min=0)`: what is below 0 becomes 0.)
    """)
    return


@app.cell
def _():
    class ReLU:
        def __call__(self, x):
            return x.clamp(min=0)

        def parameters(self):
            return []

    ReLU()(torch.tensor([-2.0, -0.5, 0.0, 3.0]))
    return (ReLU,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **`Sequential`** makes one module of several: each gets what the one before it returned. (The star in `*modules`
    collects all arguments in a tuple, however many there are.) Its parameters are those of all its modules, and with
    that the optimizer need not know how a model is built.
    """)
    return


@app.cell
def _(Linear, ReLU, xb):
    class Sequential:
        def __init__(self, *modules):
            self.modules = modules

        def __call__(self, x):
            for module in self.modules:
                x = module(x)
            return x

        def parameters(self):
            return [p for module in self.modules for p in module.parameters()]

    torch.manual_seed(0)
    two_linear = Sequential(Linear(xb.shape[1], 30), ReLU(), Linear(30, 1))
    print([p.shape for p in two_linear.parameters()])
    two_linear(xb[:4])
    return (Sequential,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **`SGD`** is `BasicOptim` once more, from memory, with one precaution: a parameter that played no part in the loss
    has no gradient, and is left alone.
    """)
    return


@app.cell
def _():
    class SGD:
        def __init__(self, params, lr):
            self.params, self.lr = list(params), lr

        def step(self):
            for p in self.params:
                if p.grad is not None:
                    p.data -= self.lr * p.grad

        def zero_grad(self):
            for p in self.params:
                p.grad = None

    place = torch.tensor([3.0], requires_grad=True)
    own_optimizer = SGD([place], lr=0.1)
    (place**2).sum().backward()
    own_optimizer.step()
    place
    return (SGD,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **`Learner`** has the loop, as a generator. It is given `calc_grad` of lesson 8, which predicts, computes the loss
    and calls `backward`: steps 2 to 4 in one function. (The real one takes the loss alone and does the other two
    itself. In exercise 3 you write that loop.)
    """)
    return


@app.cell
def _():
    class Learner:
        def __init__(self, dls, model, calc_grad, opt_func, metric):
            self.dls, self.model, self.calc_grad = dls, model, calc_grad
            self.opt_func, self.metric = opt_func, metric

        def epochs(self, epochs, lr):
            opt = self.opt_func(self.model.parameters(), lr)
            for _ in range(epochs):
                for xb, yb in self.dls.train:  # [batch, pixels] and [batch, 1]
                    self.calc_grad(xb, yb, self.model)
                    opt.step()
                    opt.zero_grad()
                yield self.validate()

        def fit(self, epochs, lr):
            return list(self.epochs(epochs, lr))

        def validate(self):
            total, count = 0.0, 0
            with torch.no_grad():
                for xb, yb in self.dls.valid:
                    total += self.metric(self.model(xb), yb).item() * len(yb)
                    count += len(yb)
            return total / count

    return (Learner,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    And now let it train: two `Linear` with a `ReLU` between them, your optimizer, your Learner.
    """)
    return


@app.cell
def _(Learner, Linear, ReLU, SGD, Sequential, inputs, loaders):
    torch.manual_seed(1)
    own_model = Sequential(Linear(inputs, 30), ReLU(), Linear(30, 1))
    own_learner = Learner(loaders(), own_model, calc_grad, SGD, batch_accuracy)
    own_accuracies = own_learner.fit(8, lr=1.0)
    own_reached = own_accuracies[-1]
    [round(accuracy, 4) for accuracy in own_accuracies]
    return (own_reached,)


@app.cell(hide_code=True)
def _(own_reached):
    mo.md(f"""
    **{own_reached:.4f}** of the validation images are right. The chapter of fastai's book reaches **0.9828** with
    MNIST, with fastai's classes, in 40 epochs with a learning rate of 0.1. Eight epochs were enough for us, because
    we take a rate of 1 and shuffle the batches, which the chapter does not. Apart from the gradients, which
    `backward` finds (lesson 15 does that by hand, too), every line of it is yours.

    ## Summary

    - An optimizer knows the parameters; `step` moves them by their gradients, and `zero_grad` forgets the gradients.
    - A module can be called, and knows its `parameters()`. The weight of `nn.Linear` is `[out, in]`.
    - A Learner needs data, a model, a loss, a way to make an optimizer, and metrics. `fit` is the training loop.
    - Each of them replaces a few lines of your own, without changing a digit.
    - The real loop is a generator: it yields after each step, and a loop around it can look, save or stop.
    - `train()` and `eval()` are a switch; `.to(device)` copies; `.item()` waits for the device.
    - A schedule says which fraction of the learning rate each step uses. One cycle: up, then slowly down to almost 0.

    **New words:** optimizer, module, Learner, generator (`yield`), schedule, one cycle, device, `state_dict`.

    ## Exercises

    **1.** `nn.Linear(784, 30)`: how many numbers does training adjust in it?
    """)
    return


@app.cell
def _():
    parameters = ...  # a whole number
    return (parameters,)


@app.cell(hide_code=True)
def _(parameters):
    check_1 = exercise(
        "11.1",
        parameters,
        lambda answer: answer == sum(p.numel() for p in nn.Linear(784, 30).parameters()),
        hints=(
            "A module for inputs times weights plus bias has two tensors of parameters.",
            "Each of the 30 outputs has a weight for each of the 784 inputs, and a bias of its own.",
            "The weight is `[30, 784]` and the bias `[30]`. How many numbers is that together?",
        ),
        solution="parameters = 784 * 30 + 30  # weights and biases: 23,550",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** A `Learner` trains for 5 epochs on 12,396 images in batches of 256. How many times does `steps` yield?
    """)
    return


@app.cell
def _():
    times = ...  # a whole number
    return (times,)


@app.cell(hide_code=True)
def _(times):
    check_2 = exercise(
        "11.2",
        times,
        lambda answer: answer == 245,
        hints=(
            "`steps` yields once after each step of the optimizer, and there is one for each batch.",
            "12,396 / 256 is a little more than 48. What happens to the images that are left over?",
            "48 full batches and a short one, five times.",
        ),
        solution="times = 5 * 49  # 48 · 256 = 12,288, and a short batch with the other 108",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** The most important one: write the loop from an empty function. For each batch of `dl`: predict, compute
    the loss with `loss_func`, gradient, step, zero. Return the losses of all steps as a list of Python numbers. Try
    it without looking up; then look up what is missing.
    """)
    return


@app.cell
def _():
    def my_epoch(model, dl, loss_func, opt):
        return ...

    return (my_epoch,)


@app.cell(hide_code=True)
def _(my_epoch, train_x, train_y):
    def _trained(epoch):
        torch.manual_seed(0)
        model = nn.Linear(train_x.shape[1], 1)
        batches = [(train_x[i::4], train_y[i::4]) for i in range(4)]
        losses = epoch(model, batches, mnist_loss, torch.optim.SGD(model.parameters(), 1.0))
        return losses if losses is ... else [*losses, model.weight.sum().item()]

    def _reference(model, dl, loss_func, opt):
        losses = []
        for x, y in dl:
            loss = loss_func(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
        return losses

    check_3 = exercise(
        "11.3",
        my_epoch,
        lambda _answer: (
            len(_trained(my_epoch)) == 5
            and torch.allclose(torch.tensor(_trained(my_epoch)), torch.tensor(_trained(_reference)), atol=1e-5)
        ),
        hints=(
            "It is the heart of `Learner.steps`, five lines, in a `for` loop over the batches.",
            "`predictions = model(xb)`, then the loss of these and `yb`, then `backward`, `step` and `zero_grad`.",
            "Begin with `losses = []`, append `loss.item()` in the loop, and return the list. Where are the gradients "
            "set to zero?",
        ),
        solution="""
        def my_epoch(model, dl, loss_func, opt):
            losses = []
            for xb, yb in dl:
                predictions = model(xb)
                loss = loss_func(predictions, yb)
                loss.backward()
                opt.step()
                opt.zero_grad()
                losses.append(loss.item())
            return losses
        """,
        arguments=(nn.Linear(train_x.shape[1], 1), [], mnist_loss, None),
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** A loop around the loop that stops in time. `rows` is a generator such as `learn.epochs(20, lr)`; each
    `row` that it yields is an epoch, with the metrics in a dictionary: `row.metrics["batch_accuracy"]`. Return how
    many epochs it takes until the accuracy is at least `wanted`. Do not let it train any longer than that.
    """)
    return


@app.cell
def _():
    def epochs_until(rows, wanted):
        return ...

    return (epochs_until,)


@app.cell(hide_code=True)
def _(epochs_until):
    def _rows(asked, accuracies):
        for number, accuracy in enumerate(accuracies):
            asked.append(number)
            yield SimpleNamespace(epoch=number, metrics={"batch_accuracy": accuracy})

    def _stops(function):
        asked = []
        return function(_rows(asked, [0.5, 0.8, 0.9, 0.97, 0.98]), 0.9), len(asked)

    check_4 = exercise(
        "11.4",
        epochs_until,
        lambda answer: answer == 1 and _stops(epochs_until) == (3, 3),
        hints=(
            "Put `rows` into a `for` loop. The training runs while the loop asks for more.",
            "Count the rows; `enumerate(rows, 1)` does it for you, from 1 on.",
            "In the loop, `return` the count as soon as the accuracy is at least `wanted`. That ends the loop, too.",
        ),
        solution="""
        def epochs_until(rows, wanted):
            for count, row in enumerate(rows, 1):
                if row.metrics["batch_accuracy"] >= wanted:
                    return count
        """,
        arguments=(_rows([], [0.95]), 0.9),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** An optimizer with **momentum**. Where the valley is narrow, plain steps bounce between its walls. A heavy
    ball would not: it keeps a part of its speed, so that the pushes to the left and to the right cancel, and those
    along the valley add up. For each parameter keep a velocity *v*, 0 at first. In each step *v* becomes 0.9 · *v* +
    gradient, and the parameter moves downhill by lr · *v*. Write a class `Momentum(BasicOptim)`. The name in
    parentheses means: everything as there, except for the methods that you write anew. It has to agree with
    `torch.optim.SGD(…, momentum=0.9)`.
    """)
    return


@app.cell
def _():
    Momentum = ...  # replace this line by a class Momentum(BasicOptim) with a method step
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
        return weight.detach()

    check_5 = exercise(
        "11.5",
        Momentum,
        lambda answer: torch.allclose(_descend(answer), _descend(torch.optim.SGD, momentum=0.9), atol=1e-5),
        hints=(
            "The velocities have to outlive the step, so keep them in `self`: a list beside `self.params`.",
            "Write an `__init__` that calls `super().__init__(params, lr)`, which is that of `BasicOptim`, and then "
            "makes the list: `torch.zeros_like(p)` for each parameter.",
            "In `step`, go through both lists with an index: `self.v[i] = 0.9 * self.v[i] + p.grad`, and then move "
            "`p.data`.",
        ),
        solution="""
        class Momentum(BasicOptim):
            def __init__(self, params, lr):
                super().__init__(params, lr)
                self.v = [torch.zeros_like(p) for p in self.params]

            def step(self):
                for i, p in enumerate(self.params):
                    self.v[i] = 0.9 * self.v[i] + p.grad
                    p.data -= self.lr * self.v[i]
        """,
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** Give your own `Learner` what the real one has: let `epochs` yield after each step instead of
    each epoch, keep the losses in a list, and add `state_dict` and `load_state_dict`. Cut a training off, resume it,
    and check that the weights are the same as without the break. Then use your `Momentum`: what has to be saved in
    addition?

    ## What you can read now

    - `underhood/core/learner.py`, all of it.
    - [`torch.nn.Linear`](https://pytorch.org/docs/stable/generated/torch.nn.Linear.html): the whole page; "Variables"
      says how the first weights are drawn.
    - [`torch.optim`](https://pytorch.org/docs/stable/optim.html), up to "Taking an optimization step". Momentum and
      param groups are there, too.

    **Next:** [12 · A nonlinearity](?file=12_nonlinearity.py), where the `ReLU` that you just wrote turns out to be
    the one thing that was missing.
    """)
    return


if __name__ == "__main__":
    app.run()
