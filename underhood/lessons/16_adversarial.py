import marimo

app = marimo.App(
    width="medium", app_title="16 · The gradient turned round", layout_file="layouts/16_adversarial.slides.json"
)

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import torch
    import torch.nn.functional as F
    from torch import nn

    from underhood.display.notebook import show_images
    from underhood.lessons import exercise, figure, load, table


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 16 · The gradient turned round

    All through this course the images stayed as they were and the weights moved: downhill, so that the loss became
    smaller. What if we do it the other way round? We keep the weights of a trained network, and move the *pixels*,
    uphill. What comes out is one of the strangest discoveries about neural networks: an image that you would read
    without a moment's hesitation, and that the network reads wrongly and with great certainty.

    **After this lesson** you can compute the gradient of a loss with respect to an image, make an image that
    deceives a network, explain why so small a change is enough, and measure what a defence is worth. **It takes
    about 45 minutes.** You need lesson 15's chain rule and cross-entropy, and are back with PyTorch.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Two networks to experiment on

    First we need something that can be deceived. We train two networks on some of the ten digits: one with a single
    linear layer, and a small one with two convolutions. Pixels go from 0 (paper) to 1 (full ink) in this lesson.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist")
    mo.md(which)
    return dataset, which


@app.cell
def _(dataset):
    def first(images, count):  # [n, 1, h, w], pixels from 0 to 1, and labels [n]
        pixels = torch.from_numpy(images.pixels[:count]).float() / 255
        return pixels, torch.from_numpy(images.labels[:count])

    x_train, y_train = first(dataset.train, 6000)
    x, y = first(dataset.valid, 500)
    height, width = x.shape[2:]
    print(x_train.shape, x.shape)
    return first, height, width, x, x_train, y, y_train


@app.cell
def _(height, width):
    def new_linear():
        return nn.Sequential(nn.Flatten(), nn.Linear(height * width, 10))

    def new_conv():
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),  # [n, 16, h/2, w/2]
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),  # [n, 32, h/4, w/4]
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * (height // 4) * (width // 4), 10),  # [n, 10]
        )

    return new_conv, new_linear


@app.cell(hide_code=True)
def _():
    mo.md("""
    The training loop is the one that you know, written out in full because we will change one line of it later. To
    be quick it counts steps instead of epochs, and draws 64 random images for each. With `momentum=0.9` a step
    keeps nine tenths of the step before it and adds the new one, as a rolling ball keeps its speed.
    """)
    return


@app.cell
def _():
    def learn_digits(model, x, y, lr, steps=150):
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        for _step in range(steps):
            rows = torch.randint(len(x), (64,))  # 64 numbers of images
            loss = F.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return model

    def share_right(model, x, y):
        with torch.no_grad():
            return (model(x).argmax(dim=1) == y).float().mean().item()

    return learn_digits, share_right


@app.cell
def _(learn_digits, new_conv, new_linear, share_right, x, x_train, y, y_train):
    torch.manual_seed(0)
    linear = learn_digits(new_linear(), x_train, y_train, lr=0.05)
    conv = learn_digits(new_conv(), x_train, y_train, lr=0.05)
    clean = {"linear": share_right(linear, x, y), "conv": share_right(conv, x, y)}
    print(clean)
    return clean, conv, linear


@app.cell(hide_code=True)
def _():
    mo.md("""
    That is the share of right answers on 500 validation images (fewer if MNIST is not here). Both are good enough
    to be worth deceiving.

    ## One step further back

    In lesson 15 the way back ended at `w1`, because `w1` was what we wanted to change. But the product `x1 @ w1`
    has another factor, the image. It, too, has a gradient, by the rule that you know: what arrives, times the other
    factor. In training it is never needed, so nobody computes it. It answers a question of its own: **if there were
    a little more ink in this pixel, how would the loss change?** There is one number for each pixel, so the
    gradient is itself an image.

    With PyTorch we need not write the way back again. We only say that it is the image whose gradient we want.
    `detach` makes sure that we mark a tensor of our own and not the caller's. And `torch.autograd.grad(loss, x)`
    goes backward as `loss.backward()` does, but *returns* the gradient for x and leaves the `grad` of the weights
    alone.
    """)
    return


@app.cell
def _():
    def image_gradient(model, x, y):  # images [n, 1, h, w] and labels [n] → [n, 1, h, w]
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(model(x), y)
        return torch.autograd.grad(loss, x)[0]

    return (image_gradient,)


@app.cell
def _(conv, height, image_gradient, x, y):
    one, its_label = x[20:21], y[20:21]  # [1, 1, h, w] and [1]
    gradient = image_gradient(conv, one, its_label)  # [1, 1, h, w]
    print(gradient.shape)
    gradient[0, 0, height // 2, :8]
    return gradient, its_label, one


@app.cell(hide_code=True)
def _(gradient, its_label, one):
    _most = gradient.abs().max().item()
    _figure, _axes = plt.subplots(1, 2, figsize=(6, 3.1))
    _axes[0].imshow(one[0, 0].numpy(), cmap="Greys", vmin=0, vmax=1)
    _axes[0].set_title(f"the image, a {its_label[0]}")
    _axes[1].imshow(gradient[0, 0].numpy(), cmap="RdBu_r", vmin=-_most, vmax=_most)
    _axes[1].set_title("its gradient")
    for _ax in _axes:
        _ax.set_axis_off()
    _figure.tight_layout()
    figure(
        _figure,
        f"Left a handwritten {its_label[0]}. Right the gradient of the loss for each pixel, red where more ink would "
        "raise the loss and blue where it would lower it. The large values lie on and around the strokes.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Red: more ink here would make the loss larger. Blue: more ink here would make it smaller. Where the network is
    sure of its answer the numbers are tiny, because everything that comes back begins with prediction minus truth,
    which is then nearly 0: a small change of one pixel cannot shake it. But there are many pixels.

    ## One step uphill

    Now we step, and uphill: *plus* the gradient, so that the loss grows. How far? We set a limit of our own: no
    pixel may change by more than ε (the Greek letter epsilon, `eps` in the code). Within this limit the loss grows
    most if every pixel goes all the way, up where its gradient is positive and down where it is negative. So only
    the **sign** of the gradient matters, not its size. `clamp` keeps each pixel between paper and full ink.
    """)
    return


@app.cell
def _(image_gradient):
    def fgsm(model, x, y, eps):  # → images like x, each pixel moved by eps or less
        return (x + eps * image_gradient(model, x, y).sign()).clamp(0, 1)

    return (fgsm,)


@app.cell
def _(conv, fgsm, its_label, one):
    changed = fgsm(conv, one, its_label, eps=0.16)
    print("largest change of a pixel:", (changed - one).abs().max().item())
    print("probability of the right digit before and after:")
    torch.stack([conv(images).softmax(dim=1)[0, its_label] for images in (one, changed)])
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    An image that has been changed so little that a person reads it as before, but in such a way that a network is
    mistaken, is called an **adversarial example**. Christian Szegedy and his colleagues found them in 2013, to
    everybody's surprise, in networks that were better than any before. A year later Ian Goodfellow, Jonathon Shlens
    and Szegedy explained where they come from and published the method above, in one line, as the **fast gradient
    sign method** (FGSM).

    Choose an image and move ε from 0 upwards. At which ε does the network change its mind? And at which would you?
    """)
    return


@app.cell(hide_code=True)
def _():
    eps = mo.ui.slider(0.0, 0.4, value=0.16, step=0.02, label="ε", show_value=True)
    chosen = mo.ui.slider(0, 29, value=20, label="which image", show_value=True)
    mo.vstack([eps, chosen])
    return chosen, eps


@app.cell(hide_code=True)
def _():
    def drawn(model, image, changed, said):
        """The image, what was added, the sum, and the probabilities of the ten digits for both."""
        with torch.no_grad():
            before, after = (model(one)[0].softmax(dim=0) for one in (image, changed))
        added = (changed - image)[0, 0]
        most = max(added.abs().max().item(), 1e-6)
        whole = plt.figure(figsize=(6, 4.6))
        grid = whole.add_gridspec(2, 3, height_ratios=(1.15, 1))
        pictures = (
            (image[0, 0], "the image", {"cmap": "Greys", "vmin": 0, "vmax": 1}),
            (added, f"the change, {1 / most:.0f} times" if most > 1e-5 else "the change",
             {"cmap": "RdBu_r", "vmin": -most, "vmax": most}),
            (changed[0, 0], "both together", {"cmap": "Greys", "vmin": 0, "vmax": 1}),
        )  # fmt: skip
        for place, (pixels, title, options) in enumerate(pictures):
            axes = whole.add_subplot(grid[0, place])
            axes.imshow(pixels.numpy(), **options)
            axes.set_title(title, fontsize=11)
            axes.set_axis_off()
        axes = whole.add_subplot(grid[1, :])
        axes.bar([digit - 0.2 for digit in range(10)], before.tolist(), 0.4, label="before", color="0.7")
        axes.bar([digit + 0.2 for digit in range(10)], after.tolist(), 0.4, label="after", color="tab:red")
        axes.set(xticks=range(10), ylim=(0, 1), xlabel="digit", ylabel="probability")
        axes.legend(title=said)
        whole.tight_layout()
        first, then = f"the {before.argmax()} {before.max():.2f}", f"the {after.argmax()} {after.max():.2f}"
        return figure(
            whole,
            f"A digit, the change of its pixels, magnified, and the changed digit, {said}. The network's most probable "
            f"digit and its probability: before {first}, after {then}.",
        )

    return (drawn,)


@app.cell(hide_code=True)
def _(chosen, conv, drawn, eps, fgsm, x, y):
    _image, _label = x[chosen.value : chosen.value + 1], y[chosen.value : chosen.value + 1]
    drawn(conv, _image, fgsm(conv, _image, _label, eps.value), f"ε = {eps.value:g}")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The middle image shows the change, magnified: red is more ink, blue is less. In places it fades a stroke that
    matters, and much of it looks like dirt. At the larger ε the paper turns grey, but you read the digit as before.
    The network does not: for most images an ε between 0.1 and 0.2 is enough, and often it is as sure of its mistake
    as it was of the truth.

    ## Is it not just noise?

    One could think that the network simply cannot stand dirt. The test is easy: change each pixel by the same ε,
    but with a random sign. Here are both over a range of ε, for all our validation images and both networks.
    """)
    return


@app.cell
def _(conv, fgsm, linear, share_right, x, y):
    EPSILONS = [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3]

    def curve(model, attack):  # the share of right answers for each ε
        return [share_right(model, attack(model, x, y, eps), y) for eps in EPSILONS]

    def noise(model, x, y, eps):
        return (x + eps * torch.randn_like(x).sign()).clamp(0, 1)

    torch.manual_seed(0)
    curves = {
        "conv, random signs": curve(conv, noise),
        "conv, FGSM": curve(conv, fgsm),
        "linear, random signs": curve(linear, noise),
        "linear, FGSM": curve(linear, fgsm),
    }
    {name: [round(value, 2) for value in values] for name, values in curves.items()}
    return EPSILONS, curve, curves


@app.cell(hide_code=True)
def _(EPSILONS, curves):
    _axes = plt.subplots(figsize=(6, 3.4))[1]
    for (_name, _values), _style in zip(curves.items(), ("o--", "o-", "s--", "s-"), strict=True):
        _colour = "tab:blue" if _name.startswith("conv") else "tab:orange"
        _axes.plot(EPSILONS, _values, _style, label=_name, color=_colour)
    _axes.set(xlabel="ε", ylabel="accuracy", ylim=(0, 1))
    _axes.legend()
    figure(
        _axes,
        "Accuracy over ε, four curves. With random signs both networks stay nearly as good as they were up to ε = 0.2. "
        "With the signs of the gradient they fall: at ε = 0.1 the convolutional one is at "
        f"{curves['conv, FGSM'][3]:.0%}, the linear one at {curves['linear, FGSM'][3]:.0%}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    So it is not the amount of change, it is its direction. Random signs do next to nothing up to ε = 0.2; the signs
    of the gradient are a disaster. Why? Goodfellow's answer can be calculated with the linear network. There, a
    score is a sum over the pixels, weight times ink. Take what speaks for a 3 rather than a 7: the difference of
    the two rows of weights. If every pixel moves by ε in the direction of its weight's sign, then all the small
    changes add up, and the score changes by ε times the sum of all the weights' sizes. With random signs they
    cancel, as signed differences did in lesson 3, and what is left is typically ε times the weights' norm. (Square
    the sum: the square of each weight stays, and the products of two different weights are as often positive as
    negative and cancel on average. Of the sum of squares take the root: that is the norm.)
    """)
    return


@app.cell
def _(linear):
    three_or_seven = linear[1].weight[3] - linear[1].weight[7]  # [pixels]
    together, at_random = three_or_seven.abs().sum().item(), three_or_seven.norm().item()
    print(f"all signs chosen: ε times {together:.1f}")
    print(f"random signs: about ε times {at_random:.1f}")
    return at_random, together


@app.cell(hide_code=True)
def _(at_random, height, together, width):
    mo.md(f"""
    With {height * width} pixels the chosen signs push {together / at_random:.0f} times as hard. The more pixels an
    image has, the larger is this factor: it grows with the root of their number, so photographs are easier to
    change than our small digits. A deep network is not one linear layer, but close to a given image it behaves much
    like one, and that is enough: convolutions and ReLUs are made of sums.

    **Do I need the weights to do this?** For the gradient, yes. But images that deceive one network very often
    deceive another one that was trained for the same task, since both have learned from the same digits which ink
    speaks for what. Let us try: the changes are computed with the linear
    network and shown to the convolutional one, which they were not made for.
    """)
    return


@app.cell
def _(conv, fgsm, linear, share_right, x, y):
    handed_over = share_right(conv, fgsm(linear, x, y, 0.2), y)
    print(f"conv, on images made to deceive linear, ε = 0.2: {handed_over:.1%} right")
    return (handed_over,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Make it a 3

    So far any mistake would do. We can also ask for a particular one. Take the loss that the image would have *if
    it were a 3*, and go downhill on that: with each step the network believes a little more that it sees a 3. The
    direction is correct only near the image where the gradient was taken, as in every gradient descent. So instead
    of one large step we take several small ones, with a new gradient for each, and let no pixel go farther than ε
    from where it began. (A step is 2 · ε / steps, so that there is room to turn round on the way and still reach the
    limit. Uphill, away from the right digit, this is the attack by which defences are usually measured
    today: **projected gradient descent**, PGD. *Projected* means brought back within the limit after each step.
    Aleksander Mądry and his colleagues studied it in 2017.)
    """)
    return


@app.cell
def _(image_gradient):
    def step_pixels(model, x, y, eps, steps=10, way=1):  # way 1: uphill, −1: downhill
        start = x
        for _ in range(steps):
            x = x + way * 2 * eps / steps * image_gradient(model, x, y).sign()
            x = x.clamp(start - eps, start + eps).clamp(0, 1)
        return x

    return (step_pixels,)


@app.cell(hide_code=True)
def _():
    wanted = mo.ui.slider(0, 9, value=3, label="make it a", show_value=True)
    reach = mo.ui.slider(0.0, 0.4, value=0.2, step=0.02, label="ε", show_value=True)
    mo.vstack([wanted, reach])
    return reach, wanted


@app.cell(hide_code=True)
def _(chosen, conv, drawn, reach, step_pixels, wanted, x):
    _image = x[chosen.value : chosen.value + 1]
    drawn(
        conv,
        _image,
        step_pixels(conv, _image, torch.tensor([wanted.value]), reach.value, way=-1),
        f"towards {wanted.value}, ε = {reach.value:g}",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    (The image is the one that you have chosen above.) For how many images does it work? We ask for a 3, with ε =
    0.2, wherever there is none.
    """)
    return


@app.cell
def _(conv, share_right, step_pixels, x, y):
    others = x[y != 3]
    threes = torch.full((len(others),), 3)  # the labels that we would like
    made_threes = step_pixels(conv, others, threes, 0.2, way=-1)
    became_threes = share_right(conv, made_threes, threes)
    print(f"taken for a 3 before: {share_right(conv, others, threes):.1%}")
    print(f"taken for a 3 after: {became_threes:.1%}")
    return (became_threes,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    What happens if we do not begin with a digit at all, but with an almost empty sheet, a faint random grey, and
    set no limit? Then the pixels are free to become whatever the network likes best. For each of the ten digits:
    """)
    return


@app.cell
def _(conv, height, step_pixels, width):
    ten = torch.arange(10)  # [10]
    torch.manual_seed(0)
    empty = 0.1 * torch.rand(10, 1, height, width)  # almost empty sheets
    dreamt = step_pixels(conv, empty, ten, eps=1.0, steps=40, way=-1)  # [10, 1, h, w]
    believed = conv(dreamt).softmax(dim=1)[ten, ten]  # the probability of its digit for each
    believed
    return believed, dreamt, empty, ten


@app.cell(hide_code=True)
def _(believed, dreamt):
    figure(
        show_images(list(dreamt[:, 0]), list("0123456789"), columns=5, side=1.2, cmap="Greys", vmin=0, vmax=1),
        "Ten images that began empty, each with the digit that the network takes it for. All look like black and white "
        f"patterns, some with a trace of the digit. The network's probabilities are at least {believed.min():.2f}.",
    )
    return


@app.cell(hide_code=True)
def _(believed):
    mo.md(f"""
    For each of these the network gives "its" digit a probability of {min(int(100 * believed.min()), 99) / 100:.2f} or
    more. You would not have said so, although in some you can find a trace of the digit once you know it. The network
    is not stupid. It has learned exactly what we asked for, which is to separate ten kinds of *digits*. Nothing in
    its training ever said what is *not* a digit, and whatever pattern helped to separate them was good enough.

    ## How to defend

    **Prepare the image first?** The change is made for exact places and fine detail. So blur the image, or move it
    a little, before the network sees it! Here is what this brings, at ε = 0.1. In the last column the attacker
    knows of the preparation and takes the gradient through it, because blurring and moving only add and move
    pixels, and autograd knows the way back through both.
    """)
    return


@app.cell
def _(conv, fgsm, share_right, x, y):
    def blurred(x):  # each pixel becomes the mean of the 3 × 3 around it
        return F.avg_pool2d(x, 3, stride=1, padding=1)

    def moved(x):  # one pixel to the right
        return torch.roll(x, 1, dims=3)

    def through(prepare):  # the share of right answers: clean, FGSM, FGSM that knows of it
        def model(images):
            return conv(prepare(images))

        unaware, aware = fgsm(conv, x, y, 0.1), fgsm(model, x, y, 0.1)
        return [share_right(model, images, y) for images in (x, unaware, aware)]

    prepared = {"nothing": through(lambda x: x), "blur": through(blurred), "move": through(moved)}
    return (prepared,)


@app.cell(hide_code=True)
def _(prepared):
    table(
        [
            {"preparation": name, "clean images": f"{a:.0%}", "FGSM": f"{b:.0%}", "FGSM that knows it": f"{c:.0%}"}
            for name, (a, b, c) in prepared.items()
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Preparation helps a little at best, and moving costs something on clean images. As soon as the attacker takes it
    into account, even that little is gone.

    **Train with them.** The best defence that is known is also the most direct: **adversarial training**. In each
    step of the training, replace the mini-batch by adversarial examples made against the network as it is now, with
    the right labels. Goodfellow and his colleagues proposed it in the same paper. In code it is one line more, and
    twice the time:
    """)
    return


@app.cell
def _(fgsm):
    def learn_under_attack(model, x, y, lr, eps, steps=150):
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        for _step in range(steps):
            rows = torch.randint(len(x), (64,))
            attacked = fgsm(model, x[rows], y[rows], eps)  # the only new line
            loss = F.cross_entropy(model(attacked), y[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return model

    return (learn_under_attack,)


@app.cell
def _(
    conv, curve, dataset, fgsm, first, learn_under_attack, new_conv, share_right, step_pixels, x, x_train, y, y_train
):
    torch.manual_seed(0)
    hardened = learn_under_attack(new_conv(), x_train, y_train, lr=0.05, eps=0.1)
    hardened_curve = curve(hardened, fgsm)
    compared = {
        name: [
            share_right(model, *first(dataset.valid, 2000)),
            share_right(model, fgsm(model, x, y, 0.1), y),
            share_right(model, step_pixels(model, x, y, 0.1), y),
        ]
        for name, model in (("ordinary", conv), ("hardened", hardened))
    }
    return compared, hardened, hardened_curve


@app.cell(hide_code=True)
def _(compared):
    table(
        [
            {
                "training": name,
                "clean images": f"{a:.1%}",
                "FGSM, ε = 0.1": f"{b:.1%}",
                "ten steps, ε = 0.1": f"{c:.1%}",
            }
            for name, (a, b, c) in compared.items()
        ]
    )
    return


@app.cell(hide_code=True)
def _(EPSILONS, curves, hardened_curve):
    _axes = plt.subplots(figsize=(6, 3))[1]
    _axes.plot(EPSILONS, curves["conv, FGSM"], "o-", label="ordinary")
    _axes.plot(EPSILONS, hardened_curve, "^-", label="hardened with ε = 0.1", color="tab:green")
    _axes.axvline(0.1, color="0.8")
    _axes.set(xlabel="ε", ylabel="accuracy under FGSM", ylim=(0, 1))
    _axes.legend()
    figure(
        _axes,
        "Accuracy under FGSM over ε for the same network trained ordinarily and with adversarial examples. At 0.1 the "
        f"ordinary one has {curves['conv, FGSM'][3]:.0%}, the hardened one {hardened_curve[3]:.0%}; at 0.3 they have "
        f"{curves['conv, FGSM'][6]:.0%} and {hardened_curve[6]:.0%}.",
    )
    return


@app.cell(hide_code=True)
def _(compared):
    _cost = 100 * (compared["ordinary"][0] - compared["hardened"][0])
    _gain = 100 * (compared["hardened"][2] - compared["ordinary"][2])
    _clean = (
        f"costs {_cost:.1f} percentage points"
        if _cost > 0
        else f"does not cost anything here, and even gains {-_cost:.1f} percentage points. With so short a training, "
        "changed images probably help as the data augmentation of lesson 14 did"
    )
    mo.md(f"""
    Read the table honestly. (Its first column is measured on 2,000 images, because the difference is small, and the
    others on our 500. So the ordinary network has another figure there than above.) On clean images the defence
    {_clean}. On photographs it is known to cost a good deal. Under the strongest attack of the table, PGD with ten
    steps, it gains {_gain:.0f} points.

    **A defence has to be judged by the best attack, never by the one it was trained against.** In 2018 Anish
    Athalye, Nicholas Carlini and David Wagner looked at nine defences that had just been published. Seven of them
    only made the gradient hard to use, and of these they broke six completely and one in part. And the curve shows
    a second limit: the network is hardened up to about the ε that it has seen in training. Beyond that it falls,
    too.

    Does the hardened network see more as we do? Let it draw its ten favourite images, too:
    """)
    return


@app.cell(hide_code=True)
def _(empty, hardened, step_pixels, ten):
    _dreamt = step_pixels(hardened, empty, ten, eps=1.0, steps=40, way=-1)
    figure(
        show_images(list(_dreamt[:, 0]), list("0123456789"), columns=5, side=1.2, cmap="Greys", vmin=0, vmax=1),
        "Ten images that the hardened network likes best, one for each digit, from almost empty sheets. They, too, are "
        "black and white patterns with a trace of the digit in some.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Not much more, to be honest. In both rows you can find traces of digits if you know which ones to look for. One
    short training against one step does not make a network see as we do. In 2018 Dimitris Tsipras and his
    colleagues found that after long training against many steps, the gradient of a network for a photograph does
    follow the outlines of things.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Does it matter outside a notebook?

    It does where somebody gains by deceiving a network. In 2018 Kevin Eykholt and his colleagues put a few stickers
    on a real stop sign, and a network read it as a speed limit. For most uses it is a reminder: a high accuracy
    says how good a model is on images *like those it was tested with*, and nothing about images that somebody has
    made in order to deceive it. No complete defence is known today.

    ## Summary

    - Going back one step further than the first weights gives the gradient of the loss for each pixel.
      `torch.autograd.grad` returns it.
    - FGSM moves each pixel by ε in the direction of its gradient's sign. Weights stay; the loss grows.
    - It works because very many tiny changes add up when their signs are chosen. With random signs they cancel.
    - Downhill on the loss of another digit, the image becomes that digit for the network.
    - Preparing images is a weak defence. Adversarial training is a better one, with limits: judge it by the
      strongest attack.

    **New words:** adversarial example, ε, fast gradient sign method (FGSM), projected gradient descent (PGD),
    adversarial training.

    ## Exercises

    **1.** Three pixels have the ink 0, 0.5 and 0.95, and their gradients are −2, 0.001 and 30. What are they after
    FGSM with ε = 0.1?
    """)
    return


@app.cell
def _():
    three_pixels = ...  # (…, …, …)
    return (three_pixels,)


@app.cell(hide_code=True)
def _(three_pixels):
    check_1 = exercise(
        "16.1",
        three_pixels,
        lambda answer: all(abs(mine - right) < 1e-6 for mine, right in zip(answer, (0, 0.6, 1), strict=True)),
        hints=(
            "Only the sign of a gradient matters: −, + and +.",
            "Move each pixel by 0.1 in that direction: −0.1, 0.6 and 1.05.",
            "A pixel cannot have less than no ink or more than full ink: `clamp(0, 1)`.",
        ),
        solution="three_pixels = (0.0, 0.6, 1.0)",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** A linear model has four pixels and the weights 0.5, −2, 1 and 0.5. By how much can its score grow at
    most, if no pixel may change by more than 0.1?
    """)
    return


@app.cell
def _():
    growth = ...  # a number
    return (growth,)


@app.cell(hide_code=True)
def _(growth):
    check_2 = exercise(
        "16.2",
        growth,
        lambda answer: abs(answer - 0.4) < 1e-6,
        hints=(
            "Which way should the second pixel go, whose weight is negative?",
            "Each pixel adds 0.1 times the *size* of its weight, if it goes the right way.",
            "0.1 · (0.5 + 2 + 1 + 0.5).",
        ),
        solution="growth = 0.1 * (0.5 + 2 + 1 + 0.5)",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Write FGSM with a target: one step of size `eps` that makes the images more like `target` for the model.
    Use `image_gradient`.
    """)
    return


@app.cell
def _():
    def one_step_towards(model, x, target, eps):  # [n, 1, h, w], labels [n] → [n, 1, h, w]
        return ...

    return (one_step_towards,)


@app.cell(hide_code=True)
def _(image_gradient, linear, one_step_towards, x):
    _target = torch.full((20,), 3)
    _expected = (x[:20] - 0.1 * image_gradient(linear, x[:20], _target).sign()).clamp(0, 1)
    check_3 = exercise(
        "16.3",
        one_step_towards,
        lambda answer: torch.allclose(answer, _expected, atol=1e-6),
        hints=(
            "Which loss should become smaller? The one that the image would have with the label `target`.",
            "To make a loss smaller, step against its gradient.",
            "It is `fgsm` with `target` in place of `y`, and a minus in place of the plus.",
        ),
        solution="""
        def one_step_towards(model, x, target, eps):
            return (x - eps * image_gradient(model, x, target).sign()).clamp(0, 1)
        """,
        arguments=(linear, x[:20], _target, 0.1),
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** How robust is a single image? Write a function that tries each ε of a list, from small to large, and
    returns the first with which FGSM deceives the model, or `None` if none does. `image` is [1, 1, h, w] and
    `label` [1].
    """)
    return


@app.cell
def _():
    def smallest_eps(model, image, label, epsilons):
        return ...

    return (smallest_eps,)


@app.cell(hide_code=True)
def _(fgsm, linear, smallest_eps, x, y):
    _epsilons = [0.001, 0.01, 0.03, 0.1, 0.3, 1.0]

    def _mine(number, epsilons):
        image, label = x[number : number + 1], y[number : number + 1]
        wrong = [eps for eps in epsilons if linear(fgsm(linear, image, label, eps)).argmax(dim=1) != label]
        return wrong[0] if wrong else None

    def _theirs(number, epsilons):
        return smallest_eps(linear, x[number : number + 1], y[number : number + 1], epsilons)

    _right = int((linear(x).argmax(dim=1) == y).int().argmax())  # the first image that the model has right
    check_4 = exercise(
        "16.4",
        smallest_eps,
        lambda answer: (
            answer == _mine(_right, _epsilons)
            and _theirs(_right, [0.0]) is None
            and all(_theirs(number, _epsilons) == _mine(number, _epsilons) for number in range(8))
        ),
        hints=(
            "A `for` loop over the list, and `return` as soon as the model is deceived.",
            "The model's answer is `model(images).argmax(dim=1)`; compare it with `label`.",
            "After the loop, `return None`. Inside: `if model(fgsm(model, image, label, eps)).argmax(dim=1) != label:`",
        ),
        solution="""
        def smallest_eps(model, image, label, epsilons):
            for eps in epsilons:
                changed = fgsm(model, image, label, eps)
                if model(changed).argmax(dim=1) != label:
                    return eps
            return None
        """,
        arguments=(linear, x[_right : _right + 1], y[_right : _right + 1], _epsilons),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** Round each pixel to 0 or 1, bare paper or full ink, before the network sees it, and
    measure what FGSM with ε = 0.1 can still do. It is a far better defence than those in the table. Why does it
    work for these digits, and why would it not for photographs? At which ε does it break, and why just there?

    **Further research.** Is there a single change that deceives the network for *many* images at once? Add up the
    gradients of several hundred images, take the sign of the sum, and try it on images that were not among them.

    ## What you can read now

    PyTorch's documentation of
    [`torch.autograd.grad`](https://pytorch.org/docs/stable/generated/torch.autograd.grad.html), and PyTorch's own
    tutorial [Adversarial Example Generation](https://pytorch.org/tutorials/beginner/fgsm_tutorial.html), of which
    every line should look familiar. Then try the paper itself, [Explaining and Harnessing Adversarial
    Examples](https://arxiv.org/abs/1412.6572): its first four pages use nothing that you do not know.

    **Next:** [17 · Ten digits and your own images](?file=17_ten_digits.py), where the images that mislead a network
    are not made to deceive it: they are simply yours.
    """)
    return


if __name__ == "__main__":
    app.run()
