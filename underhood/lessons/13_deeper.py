import marimo

app = marimo.App(width="medium", app_title="13 · Going deeper", layout_file="layouts/13_deeper.slides.json")

with app.setup:
    import os

    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch
    import torch.nn.functional as F
    from matplotlib.patches import FancyArrowPatch, Rectangle
    from torch import nn

    from underhood import Architecture, DataLoader, DataLoaders, Images, Learner, PixelSimilarity, build_model
    from underhood.analysis import wilson_interval
    from underhood.core.schedule import one_cycle
    from underhood.display.notebook import show_images
    from underhood.lessons import exercise, figure, load, table


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 13 · Going deeper

    You have built a neural network of two layers, and it tells 3s from 7s. This lesson goes from there to the
    networks that people really use for images. Three things are new: there are ten answers instead of two, a layer
    is a small window that slides over the image, and there are many layers. Each is a small step from what you know.

    **After this lesson** you can compute a convolution by hand, read `nn.Conv2d(16, 32, 3, stride=2, padding=1)` and
    say which shape comes out of it, explain why a network of many layers needs shortcuts, and judge whether a model
    that scores a little higher is better at all. **It takes about 80 minutes.**
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Ten digits

    From now on the data has all ten digits. Nearly everything in this lesson happens while you wait, so we take a
    thousand images to train on and a thousand others to measure with, chosen at random. (`default_rng(0)` is NumPy's
    generator of random numbers, with a seed; `permutation(n)` gives the numbers below n in a random order, and `take`
    picks these images.) Later you will see what all
    of MNIST changes.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist")
    rng = np.random.default_rng(0)
    train = dataset.train.take(rng.permutation(len(dataset.train))[:1000])
    valid = dataset.valid.take(rng.permutation(len(dataset.valid))[:1000])
    x, y = torch.from_numpy(valid.pixels), torch.from_numpy(valid.labels)  # [n, 1, h, w], [n]
    mo.md(f"{which} {len(train)} to train on, {len(valid)} to measure with.")
    return dataset, train, valid, which, x, y


@app.cell(hide_code=True)
def _():
    mo.md("""
    With two kinds of digits, one number was enough for an answer: large for a 3, small for a 7. One number cannot
    point at ten answers. So the model gives each image **ten scores**, one for each digit, and its answer is the
    digit with the largest. In code, the last layer gets ten outputs instead of one: ten weight images and ten
    biases, each of which scores the image for one digit. PyTorch's `argmax` tells *where* the largest number is.
    Here are one image's scores from a layer whose weights are still random:
    """)
    return


@app.cell
def _(x, y):
    torch.manual_seed(0)
    ten = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 10))  # [n, 1, h, w] → [n, 10]
    scores = ten(x / 255)  # [n, 10]
    answers = scores.argmax(dim=1)  # [n]: in each row, the place of the largest
    untrained = (answers == y).float().mean().item()
    print(scores[0], answers[0], sep="\n")
    return (untrained,)


@app.cell(hide_code=True)
def _(untrained):
    mo.md(f"""
    It is right for {100 * untrained:.1f} % of the images. Is that bad? With ten digits, guessing is right about one
    time in ten, so a model that knows nothing should land somewhere near that. It need not be exactly a tenth: an
    untrained model gives a few of the answers to almost everything, so it depends on how common those digits are, and
    on luck. (With two digits it was 50 %. Always ask what guessing would give before you are impressed by an
    accuracy.)

    Training needs a loss, and the one from lesson 7 compares one prediction with one target. There is a loss for
    more than two classes, which wants the right digit's score to stand out from the other nine. Lesson 15 takes it
    apart; until then, let the `Learner` use it, as it does by default. All you need to know is what you know of
    every loss: it is smaller when the predictions are better, and it has a gradient.

    The next cell makes one of the project's models by its name, and trains it on our thousand images with the
    one-cycle schedule of lesson 11 and the `Learner`'s default optimizer, AdamW. Its first layer, `Normalize`, brings
    the pixels to mean 0 and standard deviation 1, as we did by hand with the roller coaster's times; the rest of
    `linear` is the matrix with ten outputs.
    """)
    return


@app.cell
def _(train, valid):
    def build(model):  # a network with new random weights
        _, channels, height, width = train.pixels.shape
        mean, std = train.pixel_statistics()
        torch.manual_seed(0)
        architecture = Architecture(model, channels, height, width, classes=10)
        return build_model(architecture, mean.tolist(), std.tolist())

    def trained(network, epochs):
        dls = DataLoaders(DataLoader(train, 32, shuffle=True), DataLoader(valid, 250))
        learn = Learner(dls, network)
        for _ in learn.steps(epochs, 0.01, one_cycle):
            pass
        return learn

    linear_learner = trained(build("linear"), epochs=8)
    print(linear_learner.model)
    linear_learner.validate()  # the loss, and the accuracy
    return build, linear_learner, trained


@app.cell(hide_code=True)
def _():
    mo.md("""
    The second number is the accuracy. Move through the images and watch the ten scores: sometimes one of them towers
    above the others, sometimes two are close, and often you will find the image itself unclear then.
    """)
    return


@app.cell(hide_code=True)
def _(valid):
    shown = mo.ui.slider(0, min(200, len(valid) - 1), value=3, label="which image", show_value=True)
    shown
    return (shown,)


@app.cell(hide_code=True)
def _(linear_learner, shown, valid):
    _scores = linear_learner.get_preds()[0][shown.value]
    _said = valid.classes[_scores.argmax()]
    _figure, (_left, _right) = plt.subplots(1, 2, figsize=(6, 2.4), width_ratios=(1, 2))
    _left.imshow(valid.pixels[shown.value, 0], cmap="Greys")
    _left.set_axis_off()
    _right.bar(
        range(10), _scores.tolist(), color=["tab:red" if i == _scores.argmax() else "0.7" for i in range(10)],
        tick_label=valid.classes,
    )  # fmt: skip
    _right.axhline(0, color="black", linewidth=0.8)
    _right.set(xlabel="digit", ylabel="score")
    figure(
        _figure,
        f"Left a handwritten {valid.classes[valid.labels[shown.value]]}, right its ten scores as bars. The largest "
        f"is that of the {_said}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What a matrix does not know

    Now to the images. What lesson 12's `net` does (a matrix, ReLU, a matrix) works, and yet there is something odd
    about it: flatten the pixels, and shuffle them in the same way for all images. The network would learn just as
    well: each weight belongs to one pixel, and would simply move with it. The network has no idea which pixels are
    neighbours.

    A consequence is easy to see. A matrix has a weight of its own for every pixel, so whatever it learns about a
    stroke in one place tells it nothing about the same stroke in another. Let us train `net`, then move all images
    to the right, put paper on the left, and measure again.
    """)
    return


@app.cell
def _(build, trained, valid):
    def moved(images, by):  # so many empty columns at the left; the last ones are lost
        width = images.pixels.shape[3]
        pixels = np.pad(images.pixels, ((0, 0), (0, 0), (0, 0), (by, 0)))[..., :width]
        return Images(pixels, images.labels, images.classes, images.names)

    def accuracy_moved(learn, by):
        return learn.validate(DataLoader(moved(valid, by), 250))[1]

    net_learner = trained(build("net"), epochs=8)
    net_moved = [accuracy_moved(net_learner, by) for by in range(5)]
    print([round(accuracy, 3) for accuracy in net_moved])
    return accuracy_moved, net_learner, net_moved


@app.cell(hide_code=True)
def _(net_moved):
    mo.md(f"""
    That is the accuracy with the images moved by 0, 1, 2, 3 and 4 pixels. You would not notice a move by two pixels,
    and to you a 5 is a 5 wherever it stands. `net` falls from {100 * net_moved[0]:.0f} % to {100 * net_moved[2]:.0f}
    % there.

    How would *you* look for the parts of a digit? Not with one grand formula for all pixels at once. You would look
    for small things, an edge, a corner, the end of a stroke, and you would look for the same things everywhere.

    ## A window that slides

    Take nine weights, arranged in a square of 3 × 3, and lay them on nine pixels of the image. Multiply each weight
    with the pixel below it and add the nine products up. That is the sum of products that you know from lesson 4,
    only of nine pixels instead of all. It gives one number. Then move the window by one pixel, do the same *with the
    same nine weights*, and so on, row by row. The numbers, put down in the order of the places that they come from,
    are an image again.

    This is a **convolution**. The square of weights is its **kernel** (also called *filter*), and the image that
    comes out is often called a **feature map**, because it is large where the image has the feature that the kernel
    looks for. Here it is, whole:
    """)
    return


@app.cell
def _():
    def convolve(image, kernel):  # [h, w], [k, k] → [h − k + 1, w − k + 1]
        k = len(kernel)
        output = torch.zeros(image.shape[0] - k + 1, image.shape[1] - k + 1)
        for row in range(output.shape[0]):
            for column in range(output.shape[1]):
                window = image[row : row + k, column : column + k]  # [k, k]
                output[row, column] = (window * kernel).sum()
        return output

    edge = torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]])
    upper = torch.tensor([[-1.0, -1, -1], [0, 0, 0], [1, 1, 1]])
    convolve(edge, upper)  # [4, 4] → [2, 2]
    return convolve, upper


@app.cell(hide_code=True)
def _():
    mo.md("""
    Check the first one by hand. The window covers the first three rows: two of paper, 0, and one of ink, 1. The
    kernel's last row is 1, 1, 1, so the sum is 3. Why is the output smaller than the image? A window of 3 fits into
    4 pixels in two places only. (We come to that.)

    And why these numbers? The kernel subtracts what is above from what is below. On even paper or inside a thick
    stroke, above and below are alike, and the sum is near 0. Where there is paper above and ink below, at the *upper
    edge* of a stroke, it is large. At a lower edge it is negative. Nobody has to learn anything for that; we have
    written a detector of edges with nine numbers. Here are three more:
    """)
    return


@app.cell
def _(upper):
    kernels = {
        "upper edges": upper,
        "left edges": upper.T,  # rows and columns exchanged
        "blur": torch.ones(3, 3) / 9,  # the mean of the nine pixels
        "outline": torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]),
    }
    kernels["left edges"]
    return (kernels,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Now let it slide over a real digit. Move the slider: the red square is the window, the numbers in the middle are
    the nine products, with their sum above, and at the right you see the output grow. In it, red is above zero, blue
    below, white is zero. Try the other kernels, and other images.
    """)
    return


@app.cell(hide_code=True)
def _(kernels, valid, x):
    kernel_name = mo.ui.dropdown(list(kernels), value="upper edges", label="kernel")
    _five = int((valid.labels == 5).argmax())  # it has edges in all directions
    sample = mo.ui.slider(0, min(50, len(valid) - 1), value=_five, label="which image", show_value=True)
    _places = (x.shape[2] - 2) * (x.shape[3] - 2)
    place = mo.ui.slider(0, _places - 1, value=_places * 2 // 5, label="step", show_value=True, full_width=True)
    mo.vstack([mo.hstack([kernel_name, sample], justify="start", wrap=True), place])
    return kernel_name, place, sample


@app.cell
def _(convolve, kernel_name, kernels, sample, x):
    image = x[sample.value, 0] / 255  # [h, w], ink from 0 to 1
    kernel = kernels[kernel_name.value]  # [3, 3]
    whole = convolve(image, kernel)  # [h − 2, w − 2]
    print(image.shape, "→", whole.shape)
    return image, kernel, whole


@app.cell
def _(image, kernel, place, whole):
    row, column = divmod(place.value, whole.shape[1])
    products = image[row : row + 3, column : column + 3] * kernel  # [3, 3]
    print(products, products.sum(), sep="\n")
    return column, products, row


@app.cell(hide_code=True)
def _(column, image, kernel_name, place, products, row, whole):
    _figure, (_left, _middle, _right) = plt.subplots(1, 3, figsize=(8.4, 3))
    _left.imshow(image.numpy(), cmap="Greys", vmin=0, vmax=1)
    _left.add_patch(Rectangle((column - 0.5, row - 0.5), 3, 3, fill=False, edgecolor="tab:red", linewidth=2))
    _left.set_title("image and window")
    _most = whole.abs().max().item()
    _middle.imshow(products.numpy(), cmap="RdBu_r", vmin=-_most / 2, vmax=_most / 2)
    for (_i, _j), _value in np.ndenumerate(products.numpy()):
        _middle.text(_j, _i, f"{_value + 0.0:.2f}", ha="center", va="center", fontsize=12)
    _middle.set_title(f"nine products, sum {products.sum():.2f}")
    _done = whole.flatten().clone()
    _done[place.value + 1 :] = torch.nan
    _right.set_facecolor("0.88")
    _right.imshow(_done.view_as(whole).numpy(), cmap="RdBu_r", vmin=-_most, vmax=_most)
    _right.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="tab:red", linewidth=2))
    _right.set_title("output so far")
    for _axes in (_left, _middle, _right):
        _axes.set(xticks=[], yticks=[])
    _figure.tight_layout()
    figure(
        _figure,
        f"A digit with a window of 3 × 3 pixels at row {row}, column {column}; the nine products of its pixels with "
        f"the kernel for {kernel_name.value}, with the sum {products.sum():.2f}; and the output up to there.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("And here is one digit through all four, complete:")
    return


@app.cell(hide_code=True)
def _(convolve, image, kernels):
    _figure, _axes = plt.subplots(1, 4, figsize=(8, 2.3))
    for _one, (_name, _kernel) in zip(_axes, kernels.items(), strict=True):
        _output = convolve(image, _kernel).numpy()
        _one.imshow(_output, cmap="RdBu_r", vmin=-abs(_output).max(), vmax=abs(_output).max())
        _one.set(xticks=[], yticks=[], title=_name)
    _figure.tight_layout()
    figure(
        _figure,
        "The outputs of four kernels for one digit. The first is red along the upper edges of the strokes and blue "
        "along the lower ones, the second red at the left and blue at the right, the third is a blurred digit, the "
        "fourth its outline.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Nobody writes kernels by hand any more. The nine weights are parameters like any others: they begin as random
    numbers, each has a gradient, and training moves them to where the loss is smaller. What we wrote was only to see
    what nine numbers *can* say.

    This is how Yann LeCun made networks read. At AT&T's Bell Laboratories in 1989, he and his colleagues trained a
    network of such layers on the digits of handwritten zip codes from real letters; LeNet-5, the network of their
    paper of 1998, is the model for nearly all that came after it. At times such networks read a tenth of all cheques
    in the United States, while most researchers were looking elsewhere. (The few who went on were proved right: the
    Turing Award of 2018, computer science's highest prize, went to LeCun, Geoffrey Hinton and Yoshua Bengio.)

    ## Why the same weights everywhere?

    For two reasons. The first you have seen: an edge is an edge wherever it is, and what the kernel learns from one
    place holds for all others. Every image is then not one example but hundreds, one for each place of the window.
    The second is thrift. Compare the two ways to make a feature map from an image:
    """)
    return


@app.cell
def _(whole, x):
    inputs, outputs = x[0].numel(), whole.numel()
    print(f"one kernel of 3 × 3:              {3 * 3:>9,} weights")
    print(f"a matrix, {inputs} to {outputs} numbers: {inputs * outputs:>12,} weights")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Instead of one kernel, a layer can then well afford sixteen of them, or sixty-four.

    ## What the arguments of `nn.Conv2d` mean

    Our function has two loops in Python, and you know from lesson 2 what they cost. PyTorch's `F.conv2d` does the
    same in one call, for many images and many kernels at once (`F` is how everybody imports `torch.nn.functional`,
    where the functions live that keep no weights of their own). It takes the images as `[n, c, h, w]`, and the
    kernels in a block of rank 4, too. Is the result the same?
    """)
    return


@app.cell
def _(image, kernel, whole):
    by_torch = F.conv2d(image[None, None], kernel[None, None])  # [1, 1, h, w], [1, 1, 3, 3]
    same = torch.allclose(by_torch[0, 0], whole, atol=1e-5)
    print(by_torch.shape, same)
    return (same,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    (`[None, None]` puts two axes of length 1 in front. Mathematicians turn the kernel upside down and left to right
    before they call it a convolution; in deep learning nobody does, as a learned kernel would only be learned the
    other way round.) As a layer, with weights of its own that are trained, it is `nn.Conv2d`; fastai's `ConvLayer`
    is the same with what usually follows it. Beside the size of the kernel, its arguments answer three questions.

    **How many channels?** A kernel looks at *all* the channels of its input, so for a colour image it is 3 × 3 × 3:
    nine weights for red, nine for green, nine for blue, and all 27 products go into one sum. And a layer has several
    kernels, each of which makes one channel of the output. So the output of a layer is again a block `[n, c, h, w]`,
    and the next layer can do to it what this one did to the image. The words *channel* and *feature map* now mean
    the same thing: from the second layer on, a channel is no colour but the answer to a question such as "is there
    an upper edge?".
    """)
    return


@app.cell
def _(x):
    lower_layer = nn.Conv2d(1, 16, 3)  # 1 channel in, 16 kernels of 1 × 3 × 3
    upper_layer = nn.Conv2d(16, 32, 3)  # 16 channels in, 32 kernels of 16 × 3 × 3
    print(lower_layer.weight.shape, upper_layer.weight.shape)
    maps = lower_layer(x[:5] / 255)
    print(x[:5].shape, "→", maps.shape, "→", upper_layer(maps).shape)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **What happens at the border?** The window must stay inside, so the output loses a row at the top and one at the
    bottom, and after many layers nothing would be left. **Padding** puts a frame of zeros, of bare paper, around the
    input. With a kernel of 3 × 3 and `padding=1`, the output is as large as the input.

    **How far does the window move?** One pixel, so far. The **stride** says how many. With `stride=2` the window
    leaves out every second place in both directions: the output has half the rows and half the columns, and costs a
    quarter. (The `stride` of a tensor in lesson 2 was also a step width, but through memory.) We will want smaller
    images further up, because there will be more channels.

    Together: from a side of n pixels, a kernel of k, a padding of p and a stride of s make a side of (n + 2p − k) /
    s + 1, rounded down. Try it. Below, the grey square is an image of 9 × 9, the white frame is padding, the red
    square is the first window and the orange one the second, and each dot is the middle of a window, so one number
    of the output.
    """)
    return


@app.cell(hide_code=True)
def _():
    k = mo.ui.slider(1, 5, value=3, label="kernel size", show_value=True)
    padding = mo.ui.slider(0, 2, value=1, label="padding", show_value=True)
    stride = mo.ui.slider(1, 3, value=2, label="stride", show_value=True)
    mo.hstack([k, padding, stride], justify="start", wrap=True)
    return k, padding, stride


@app.cell
def _(k, padding, stride):
    layer = nn.Conv2d(1, 1, k.value, stride=stride.value, padding=padding.value)
    output_side = (9 + 2 * padding.value - k.value) // stride.value + 1
    print("computed:", output_side, "  by PyTorch:", layer(torch.zeros(1, 1, 9, 9)).shape)
    return (output_side,)


@app.cell(hide_code=True)
def _(k, output_side, padding, stride):
    _axes = plt.subplots(figsize=(3.6, 3.6))[1]
    _frame = np.zeros((9 + 2 * padding.value,) * 2)
    _frame[padding.value : padding.value + 9, padding.value : padding.value + 9] = 0.25
    _axes.pcolormesh(_frame, cmap="Greys", vmin=0, vmax=1, edgecolors="0.6", linewidth=0.5)
    for _i, _colour in ((1, "tab:orange"), (0, "tab:red")):
        if _i < output_side:
            _axes.add_patch(
                Rectangle((_i * stride.value, 0), k.value, k.value, fill=False, edgecolor=_colour, linewidth=2.5)
            )
    _middles = np.arange(output_side) * stride.value + k.value / 2
    _axes.scatter(*np.meshgrid(_middles, _middles), s=14, color="tab:blue", zorder=3)
    _axes.set(aspect="equal", xticks=[], yticks=[], title=f"9 × 9 → {output_side} × {output_side}")
    _axes.invert_yaxis()
    figure(
        _axes,
        f"An image of 9 by 9 pixels with a frame of {padding.value}. Windows of {k.value} by {k.value}, "
        f"{stride.value} apart, fit into {output_side} by {output_side} places.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Pooling** is the other way to make an image smaller. *Max pooling* cuts each channel into squares of 2 × 2 and
    keeps the largest number of each. It has no weights. Read it as a question: "was there an upper edge anywhere in
    these four places?" If the digit moves by a pixel, the answer often stays the same, which is what we wanted.
    """)
    return


@app.cell
def _():
    four = torch.tensor([[0.0, 1, 5, 2], [3, 2, 0, 1], [0, 0, 7, 6], [1, 0, 8, 9]])  # [4, 4]
    F.max_pool2d(four[None], 2)  # [1, 4, 4] → [1, 2, 2]
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    And why more than one layer? Because a window of 3 × 3 sees no more than a bit of an edge. But a window of 3 ×
    3 over the output of such a layer sees nine answers, which together come from 5 × 5 pixels, and after a pooling
    from far more. So the second layer can ask for an edge that turns a corner, the third for a loop. Each layer
    makes larger things out of the smaller ones that the layer below has found.

    ## A network of convolutions

    Here is the project's `conv`, layer by layer. We send one image through, and look at its shape after each:
    """)
    return


@app.cell
def _(build, x):
    activations = x[:1]  # [1, 1, h, w]: one image
    for part in build("conv").eval():
        activations = part(activations)
        print(f"{type(part).__name__:<10}", list(activations.shape))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Read it from top to bottom: there are more and more channels, and they are smaller and smaller. *Where* becomes
    *what*. At the end the numbers that are left are flattened, and a matrix makes the ten scores of them.

    The one stranger is `BatchNorm`. **Batch normalisation** (Sergey Ioffe and Christian Szegedy, 2015) takes each
    channel, subtracts its mean over the mini-batch and divides by its standard deviation, and then multiplies by one
    learned number and adds another. (So the network can still choose the mean and the spread that suit the next layer,
    but by two numbers that training reaches easily. The mean is taken over all places of all images of the batch.) It
    is the same medicine as for the roller coaster, numbers of a reasonable size,
    only between the layers and during training, so that a higher learning rate does no harm. When the model predicts
    there may be just one image, so it uses averages that it noted while it trained. Together with the dropout of
    lesson 11, *that* is why a model has `train()` and `eval()`, and why forgetting `eval()` is a famous mistake.

    Let us train it on the same thousand images.
    """)
    return


@app.cell
def _(build, linear_learner, net_learner, trained):
    conv_learner = trained(build("conv"), epochs=5)
    learners = {"linear": linear_learner, "net": net_learner, "conv": conv_learner}
    for _name, _learn in learners.items():
        _size = sum(p.numel() for p in _learn.model.parameters())
        print(f"{_name:<7} {_size:>7,} parameters, accuracy {_learn.validate()[1]:.3f}")
    return conv_learner, learners


@app.cell(hide_code=True)
def _(learners, valid):
    _conv, _net = (100 * learners[name].validate()[1] for name in ("conv", "net"))
    mo.md(f"""
    From {_net:.1f} % with `net` to {_conv:.1f} % with `conv`, measured on the same {len(valid)} images; and with
    MNIST, both have about the same number of parameters.

    ## What it has learned

    The kernels of the first layer can be looked at, like the weights in the lessons before. Above, its sixteen
    kernels of 5 × 5, red for positive weights and blue for negative ones. Below, what each makes of one digit, after
    ReLU: dark where the kernel has found what it looks for.
    """)
    return


@app.cell(hide_code=True)
def _(conv_learner, sample, x):
    _network = conv_learner.model.eval()
    _kernels = next(part for part in _network if isinstance(part, nn.Conv2d)).weight.detach()[:, 0]  # [16, 5, 5]
    with torch.no_grad():
        _maps = _network[:4](x[sample.value : sample.value + 1])[0]  # Normalize, Conv2d, BatchNorm, ReLU

    def _mosaic(tiles):  # 16 of them, in two rows, with empty lines between
        return np.concatenate(np.concatenate(np.pad(tiles, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
                              .reshape(2, 8, *(side + 2 for side in tiles.shape[1:])), axis=1), axis=1)  # fmt: skip

    _figure, (_upper, _lower) = plt.subplots(2, 1, figsize=(8, 4.4))
    _most = _kernels.abs().max().item()
    _upper.imshow(_mosaic(_kernels.numpy()), cmap="RdBu_r", vmin=-_most, vmax=_most)
    _lower.imshow(_mosaic((_maps / _maps.amax((1, 2), keepdim=True).clamp(min=1e-6)).numpy()), cmap="Greys")
    for _one in (_upper, _lower):
        _one.set_axis_off()
        _one.set_facecolor("white")
    _figure.tight_layout(pad=0.4)
    figure(
        _figure,
        "Sixteen learned kernels of 5 by 5 weights, and the sixteen feature maps that they make of one digit. Most "
        "maps show some edges of the strokes strongly and others not at all.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Look at the maps: most are dark along some edges of the strokes, those of one side or one direction, and pale
    along the others; a few answer to bare paper. The kernels themselves are less tidy than ours, half edge and half
    noise, as they have seen a thousand images only, and nobody asked them to be pretty. Edges are what the first
    layer of nearly every network for images finds, whatever it is trained on.

    ## Who minds being moved?

    Now the experiment from the beginning again, with both.
    """)
    return


@app.cell(hide_code=True)
def _():
    pixels_moved = mo.ui.slider(0, 4, value=2, label="pixels to the right", show_value=True)
    pixels_moved
    return (pixels_moved,)


@app.cell
def _(accuracy_moved, conv_learner, net_moved):
    conv_moved = [accuracy_moved(conv_learner, by) for by in range(5)]
    drops = {"net": net_moved, "conv": conv_moved}
    return (drops,)


@app.cell(hide_code=True)
def _(drops, moved_digit, pixels_moved):
    _figure, (_left, _axes) = plt.subplots(1, 2, figsize=(7, 2.8), width_ratios=(1, 2.2))
    _left.imshow(moved_digit(pixels_moved.value), cmap="Greys")
    _left.set_axis_off()
    for _model, _accuracies in drops.items():
        _axes.plot(_accuracies, "o-", label=f"{_model}: {100 * _accuracies[pixels_moved.value]:.1f} %")
    _axes.axvline(pixels_moved.value, color="0.8")
    _axes.set(xlabel="pixels moved", ylabel="accuracy", ylim=(0, 1), xticks=range(5))
    _axes.legend()
    _figure.tight_layout()
    figure(
        _figure,
        "Accuracy against the number of pixels by which the images are moved. "
        + "; ".join(f"{name} falls from {100 * a[0]:.1f} to {100 * a[4]:.1f} %" for name, a in drops.items()),
    )
    return


@app.cell(hide_code=True)
def _(valid):
    def moved_digit(by):
        image = valid.pixels[0, 0]
        return np.pad(image, ((0, 0), (by, 0)))[:, : image.shape[1]]

    return (moved_digit,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    `conv` minds less, but it does mind. Its kernels do not care where a stroke is, and its poolings forgive a pixel
    or two. But the last layer is still a matrix with a weight for each of the few places that are left. (Lesson 14
    has another remedy: train with moved images.)

    ## Many layers, and a shortcut

    If three convolutions are good, are thirty better? For years they were worse, and for an interesting reason. We
    build a deep network as simply as possible: blocks of ReLU and a matrix of 32 × 32, as many of them as we like,
    with a matrix before that makes 32 numbers of the pixels and one after that makes the ten scores. The loss is
    computed at the end, and the gradient goes backwards through all the blocks to the first. How much of it arrives?
    """)
    return


@app.cell
def _(build, x):
    def block():
        return nn.Sequential(nn.ReLU(), nn.Linear(32, 32))  # [n, 32] → [n, 32]

    def deep_network(blocks):
        torch.manual_seed(0)
        normalize, flatten = build("linear")[:2]
        first, last = nn.Linear(x[0].numel(), 32), nn.Linear(32, 10)
        middle = [block() for _ in range(blocks)]
        return nn.Sequential(normalize, flatten, first, *middle, last)

    deep_network(2)
    return (deep_network,)


@app.cell
def _(train):
    batch_x = torch.from_numpy(train.pixels[:250])  # [250, 1, h, w]
    batch_y = torch.from_numpy(train.labels[:250])  # [250]

    def gradient_sizes(network, loss_func):  # one number for each layer, first to last
        network.zero_grad()
        loss_func(network(batch_x), batch_y).backward()
        return [p.grad.norm().item() for p in network.parameters() if p.ndim == 1]  # biases

    return (gradient_sizes,)


@app.cell
def _(deep_network, gradient_sizes, linear_learner):
    loss_func = linear_learner.loss_func  # the loss for more than two classes
    plain_sizes = gradient_sizes(deep_network(8), loss_func)
    print([f"{size:.0e}" for size in plain_sizes])
    return loss_func, plain_sizes


@app.cell(hide_code=True)
def _(plain_sizes):
    mo.md(f"""
    That is the size (the root of the sum of the squares, `norm`) of the gradient of each layer's biases, in a network
    of eight blocks, from the first layer to the last. (Why the biases? A bias is simply added to what passes through
    its layer, so its gradient says how much the loss depends on what passes there.) (`2e-05`, for instance, is
    Python's way of writing 0.00002.) The first layer gets {plain_sizes[-1] / plain_sizes[0]:,.0f} times less than the
    last.

    Where does it go? Change the output of the first layer a little. The change must pass through every block to reach
    the loss, and each block passes on about four tenths of it, because of how PyTorch chooses random weights and
    because ReLU lets only half of the numbers through. (PyTorch draws the weights of a layer with n inputs with a
    variance of 1/(3n), the variance being the square of the standard deviation. A sum of n such products keeps a
    third of the squared size, ReLU half of that, and the root of a sixth is 0.41.) After eight blocks that is 0.4
    times itself eight times, less than a thousandth. The loss hardly depends on the first layer, so its gradient is
    nearly nothing, and it hardly learns. This is the **vanishing gradient**; Sepp Hochreiter, a student of Jürgen
    Schmidhuber, described it in 1991, and Yoshua Bengio and his colleagues in 1994.

    Kaiming He and his colleagues at Microsoft Research found a remedy in 2015 that takes one plus sign. Let each
    block compute not the new activations, but *what to add to the old ones*: the output is `x + layers(x)`. The part
    that is added is the **residual**, what is left over between what comes in and what should come out, and `x` gets
    past the block on a **shortcut** (also *skip connection*; torchvision, PyTorch's library for images, calls a block
    with a shortcut `BasicBlock`, fastai `ResBlock`). To be a module for PyTorch, our class builds on `nn.Module`;
    `super().__init__()` runs the `__init__` of `nn.Module`, so that `parameters()` will find those of the layers.
    """)
    return


@app.cell
def _():
    class Residual(nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = layers

        def forward(self, x):  # the shape stays: [n, 32] → [n, 32]
            return x + self.layers(x)

    nothing = nn.Linear(2, 2)
    nn.init.zeros_(nothing.weight)
    nn.init.zeros_(nothing.bias)
    Residual(nothing)(torch.tensor([[3.0, -1.0]]))
    return (Residual,)


@app.cell(hide_code=True)
def _():
    _axes = plt.subplots(figsize=(7, 2.6))[1]

    def _box(left, text, width=1.5, colour="#dbe9f6"):
        _axes.add_patch(Rectangle((left, -0.35), width, 0.7, facecolor=colour, edgecolor="0.3"))
        _axes.text(left + width / 2, 0, text, ha="center", va="center")

    def _arrow(first, last, bend=0.0, colour="0.3"):
        _axes.add_patch(
            FancyArrowPatch(
                first, last, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=14, color=colour,
                linewidth=1.8,
            )
        )  # fmt: skip

    _axes.text(0.1, 0, "x", fontsize=14, va="center")
    _box(1.6, "ReLU")
    _box(3.9, "Linear")
    _axes.text(6.9, 0, "+", fontsize=18, va="center", ha="center")
    _axes.add_patch(plt.Circle((6.9, 0.0), 0.28, fill=False, edgecolor="0.3"))
    for _first, _last in ((0.45, 1.6), (3.1, 3.9), (5.4, 6.62), (7.18, 8.3)):
        _arrow((_first, 0), (_last, 0))
    _arrow((0.8, 0.05), (6.9, 0.3), -0.42, "tab:red")
    _axes.text(3.8, 1.62, "the shortcut: x as it is", ha="center", color="tab:red")
    _axes.text(3.5, -0.75, "the residual: what to add", ha="center")
    _axes.text(8.4, 0, "x + layers(x)", va="center", fontsize=12)
    _axes.set(xlim=(-0.2, 10.6), ylim=(-1.1, 2.0))
    _axes.set_axis_off()
    figure(
        _axes,
        "A diagram: x goes along a straight line through ReLU and Linear to a plus sign, and also past both, on a red "
        "curve, to the same plus sign. Out of it comes x + layers(x).",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The call above the picture shows the first advantage: a block whose weights are all zero changes nothing,
    `[3, -1]` comes out as it went in. So for a block with a shortcut, to do no harm is the easiest thing, while a
    plain block has to *learn* to pass its input on. More blocks can then help, and need not hurt.

    The second advantage is the one for the gradients. A change of x now reaches the other side in two ways: through
    the layers, where four tenths of it survive, and along the shortcut, where all of it does. However many blocks
    there are, the way past all of them is open. The first layer may even get somewhat more than the last, since every
    block adds its own way to the open one. Move the slider.
    """)
    return


@app.cell(hide_code=True)
def _():
    depth = mo.ui.slider(2, 40, value=20, step=2, label="blocks", show_value=True)
    depth
    return (depth,)


@app.cell
def _(Residual, deep_network, depth, gradient_sizes, loss_func):
    def residual_network(blocks):  # the same weights, with a shortcut around each block
        normalize, flatten, first, *middle, last = deep_network(blocks)
        shortcuts = [Residual(one) for one in middle]
        return nn.Sequential(normalize, flatten, first, *shortcuts, last)

    sizes = {
        "plain": gradient_sizes(deep_network(depth.value), loss_func),
        "with shortcuts": gradient_sizes(residual_network(depth.value), loss_func),
    }
    print({name: f"first layer {one[0]:.0e}, last {one[-1]:.0e}" for name, one in sizes.items()})
    return residual_network, sizes


@app.cell(hide_code=True)
def _(depth, sizes):
    _axes = plt.subplots(figsize=(6.5, 2.9))[1]
    for _name, _sizes in sizes.items():
        _axes.semilogy(range(1, len(_sizes) + 1), _sizes, "o-", markersize=3, label=_name)
    _axes.set(xlabel="layer, from the first to the last", ylabel="size of its gradient")
    _axes.legend()
    figure(
        _axes,
        f"The sizes of the gradients of {depth.value + 2} layers on a logarithmic axis. With shortcuts they are all of "
        "about the same size; without, they fall from the last layer towards the first by about the same factor at "
        f"each block, to {sizes['plain'][0]:.0e}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    On the vertical axis, each step upwards multiplies the number. (Such an axis is called *logarithmic*; a straight
    line on it means: the same factor again and again.) Does it matter for what the networks learn? Both, with twenty
    blocks, the same start, the same images in the same order:
    """)
    return


@app.cell
def _(deep_network, residual_network, trained):
    deep_accuracy = {
        "plain": trained(deep_network(20), epochs=5).validate()[1],
        "with shortcuts": trained(residual_network(20), epochs=5).validate()[1],
    }
    deep_accuracy
    return (deep_accuracy,)


@app.cell(hide_code=True)
def _(deep_accuracy):
    mo.md(f"""
    {100 * deep_accuracy["plain"]:.0f} % against {100 * deep_accuracy["with shortcuts"]:.0f} %. Nothing else differs
    but the plus sign.

    To be honest about history: the networks of He and his colleagues had batch normalisation, which by itself keeps
    gradients from vanishing. They saw that a plain network of 56 layers was still worse than one of 20, even on the
    images that it was trained on, so it was not a lack of images; the deeper network just could not be trained as
    well. With shortcuts it could. In the same year networks of theirs, with up to 152 layers, won the largest
    competition for recognising images, ImageNet's. (Half a year before them, Rupesh Srivastava, Klaus Greff and Jürgen
    Schmidhuber had published *highway networks*, which compute by themselves how much goes past each layer.)
    Shortcuts have been part of nearly every deep network since, those that write text included.

    **ResNet-18** is their smallest: one convolution, eight blocks of two convolutions with a shortcut around each
    pair, and a matrix. In the chapter that this course follows, it tells 3s from 7s with an accuracy of 0.9971 after
    a single epoch.

    ## The ladder

    Now put everything on one ladder, from lesson 3's comparison with the mean digit up to ResNet-18, with `vgg`
    between, a network of five wide convolutions after Karen Simonyan's and Andrew Zisserman's of 2014. This is **all
    of MNIST**: 60,000 images to train on, 10,000 to measure with. Each model is trained as
    `underhood train --effort fast` does, and that means one epoch, two for `vgg`.
    """)
    return


@app.cell(hide_code=True)
def _():
    # underhood ladder mnist, on 21 November 2026: right of 10,000, fixed, broken, parameters, seconds
    measured = {
        "similarity": (8203, None, None, 7_840, 0.0),
        "linear": (9209, 1179, 173, 7_850, 0.1),
        "net": (9527, 412, 94, 23_860, 0.2),
        "conv": (9901, 401, 27, 23_354, 2.0),
        "vgg": (9938, 54, 17, 298_698, 15.6),
        "resnet18": (9923, 26, 41, 11_172_810, 106.9),
    }
    stored = [
        {"model": model, "valid_accuracy": right / 10_000, "interval": wilson_interval(right, 10_000),
         "fixed": fixed, "broken": broken, "parameters": size, "seconds": seconds}
        for model, (right, fixed, broken, size, seconds) in measured.items()
    ]  # fmt: skip
    again = mo.ui.run_button(label="Compute it again, here and now")
    mo.vstack(
        [
            again,
            mo.md(
                "The table is stored, because computing it takes minutes: two and a half on the machine that it comes "
                "from, and several times that on a slow one. While it runs, nothing else in this lesson does."
            ),
        ]
    )
    return again, stored


@app.cell(hide_code=True)
def _(again, dataset, stored):
    rungs, when = stored, "Measured on 21 November 2026 on two cores of an AMD EPYC processor."
    if again.value:
        with mo.status.spinner(title=f"The ladder of {dataset.name}") as _spinner:
            import underhood  # here, as it takes a second that few readers need

            class _Progress(underhood.Reporter):
                def log(self, line):
                    _spinner.update(subtitle=line)

            _result = underhood.ladder(dataset.name, reporter=_Progress(), threads=os.cpu_count())
        rungs, when = _result["rungs"], f"Measured just now on this machine, on {_result['images']:,} images."
    _rows = [
        {
            "model": rung["model"],
            "accuracy": f"{100 * rung['valid_accuracy']:.2f} %",
            "95 % interval": "{:.2f} to {:.2f}".format(*(100 * end for end in rung["interval"])),
            "fixes": "–" if rung["fixed"] is None else f"{rung['fixed']:,}",
            "breaks": "–" if rung["broken"] is None else f"{rung['broken']:,}",
        }
        for rung in rungs
    ]
    _costs = [
        {"model": rung["model"], "parameters": f"{rung['parameters']:,}", "seconds": f"{rung['seconds']:.1f}"}
        for rung in rungs
    ]
    mo.vstack([table(_rows), table(_costs), mo.md(when)])
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    How to read it:

    - **The interval.** Had we drawn ten thousand other digits to measure with, every accuracy would have come out a
      little differently, by luck. The interval says how much: for a figure measured on so many images, it is made so
      that in 95 of 100 cases the accuracy on *endlessly* many images lies within. Statistics calls it a *confidence
      interval*. (`wilson_interval` computes it, by a formula that Edwin Wilson published in 1927. The more images, the
      narrower.) Where two intervals do not overlap, as those of `conv` and `vgg`, the difference is hardly luck. Where
      they do, it may be.
    - **Fixes and breaks** count against the rung above in the table: how many images are newly right, and how many
      are newly wrong. `linear` has 1,179 images right that the mean digits had wrong, and 173 wrong that they had
      right. A better model seldom only fixes.
    - **`conv` against `net`** is the most instructive step. It has *fewer* parameters, and makes only a fifth as many
      mistakes. What counts is not how many weights there are but where they are used.
    - **The last rung goes down.** With 37 times the parameters of `vgg`, ResNet-18 fixes 26 images and breaks 41
      after its one epoch. Is it worse? The intervals overlap, and 26 against 41 may be luck; but it is certainly not
      better, and it took seven times as long. Digits are too easy for it and one epoch is too short: depth pays
      where there are many images and much to tell apart. Do not take the largest model because it is there. Measure.

    ## Which ones?

    An accuracy is a poor summary of ten thousand images. *Which* ones does a step fix? Here is the lower part of the
    ladder, live, with our thousand images. (The two large models are left out: neither would learn anything worth
    seeing in the seconds that we have. Their figures are in the table above.)
    """)
    return


@app.cell
def _(learners, train, valid, y):
    guesses = {"similarity": torch.from_numpy(PixelSimilarity().fit(train).predict(valid.pixels))}
    for _name, _learn in learners.items():
        guesses[_name] = _learn.get_preds()[0].argmax(dim=1)  # [n]
    right = {name: guess == y for name, guess in guesses.items()}  # bool [n] each
    accuracies = {name: mask.float().mean().item() for name, mask in right.items()}
    accuracies
    return accuracies, guesses, right


@app.cell
def _(right):
    fixed = right["conv"] & ~right["net"]  # bool [n]: `~` is "not"
    broken = ~right["conv"] & right["net"]
    print("conv fixes", fixed.sum(), "and breaks", broken.sum())
    print(wilson_interval(int(right["conv"].sum()), len(right["conv"])))
    return


@app.cell(hide_code=True)
def _():
    rung = mo.ui.radio(["linear", "net", "conv"], value="conv", label="rung", inline=True)
    rung
    return (rung,)


@app.cell(hide_code=True)
def _(guesses, right, rung, valid):
    _names = list(guesses)
    _now, _before = rung.value, _names[_names.index(rung.value) - 1]

    def _row(mask, title):
        some = mask.nonzero().flatten().tolist()[:8]
        if not some:
            return mo.md(f"**{title}**: none.")
        said = [f"{valid.classes[guesses[_before][i]]} → {valid.classes[guesses[_now][i]]}" for i in some]
        return mo.vstack(
            [
                mo.md(f"**{title}** ({int(mask.sum())} in all):"),
                figure(
                    show_images([valid.pixels[i] for i in some], said, columns=8, side=1.15, cmap="Greys"),
                    f"Digits, with what {_before} and {_now} say of each: "
                    + ", ".join(
                        f"a {valid.classes[valid.labels[i]]}: {words}" for i, words in zip(some, said, strict=True)
                    ),
                ),
            ]
        )

    mo.vstack(
        [
            _row(right[_now] & ~right[_before], f"{_now} fixes what {_before} had wrong"),
            _row(~right[_now] & right[_before], f"{_now} breaks what {_before} had right"),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Above each image stand the two answers, the lower rung's first. Look for what the fixed ones have in common. Many
    are slanted, thick, or oddly proportioned: their strokes lie in places where few others have one. Their *parts*
    are as they should be, and parts are what the sliding window sees.

    ## Summary

    - With ten classes a model gives ten scores, and the largest wins. Guessing is right one time in ten.
    - A convolution slides a small kernel over the image. At each place it adds up pixel times weight, with the same
      weights everywhere. So it needs few weights, and what it learns holds in every place.
    - `nn.Conv2d(channels in, channels out, kernel size, stride, padding)`; a side of n becomes (n + 2p − k) / s + 1,
      rounded down. Pooling makes an image smaller without weights.
    - Going up, there are more channels and fewer places: edges first, then things made of edges.
    - In a deep plain network the gradient vanishes on its way to the first layers. A shortcut, `x + layers(x)`,
      keeps a way open, and makes it easy for a block to do no harm.
    - An accuracy has an interval. Count what a better model fixes *and* what it breaks.

    **New words:** argmax, convolution, kernel (filter), feature map, stride, padding, pooling, batch normalisation,
    vanishing gradient, residual, shortcut (skip connection), ResNet, confidence interval.

    ## Exercises

    **1.** A convolution with 16 kernels of 5 × 5 over one channel, without bias: how many weights? And a matrix from
    28 × 28 pixels to as many outputs as that convolution has at stride 2, 16 × 14 × 14? Give both numbers.
    """)
    return


@app.cell
def _():
    both = ...  # (weights of the convolution, weights of the matrix)
    return (both,)


@app.cell(hide_code=True)
def _(both):
    check_1 = exercise(
        "13.1",
        both,
        lambda answer: tuple(answer) == (400, 784 * 16 * 14 * 14),
        hints=(
            "Each kernel has a weight for every place of its window, and the window is the same everywhere.",
            "A matrix has a weight for every pair of an input and an output.",
            "16 · 5 · 5 for the convolution. For the matrix: (28 · 28) inputs times (16 · 14 · 14) outputs.",
        ),
        solution="both = (16 * 5 * 5, 28 * 28 * 16 * 14 * 14)  # 400 and 2,458,624",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** Which shape comes out of `nn.Conv2d(16, 32, 3, stride=2, padding=1)` for a batch of shape
    `[64, 16, 14, 14]`? Compute it; you may let PyTorch check it afterwards.
    """)
    return


@app.cell
def _():
    out_shape = ...  # [n, c, h, w]
    return (out_shape,)


@app.cell(hide_code=True)
def _(out_shape):
    check_2 = exercise(
        "13.2",
        out_shape,
        lambda answer: list(answer) == [64, 32, 7, 7],
        hints=(
            "The number of images does not change. How many kernels are there, so how many channels come out?",
            "For the sides: (n + 2p − k) / s + 1, rounded down, with n = 14, p = 1, k = 3, s = 2.",
            "(14 + 2 − 3) / 2 = 6.5; rounded down, and plus 1.",
        ),
        solution="out_shape = [64, 32, 7, 7]  # (14 + 2 - 3) // 2 + 1 = 7",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Find the kernel, 3 × 3, that moves an image one pixel to the **left**: at each place of the output there
    should be the pixel that is one place further to the right in the image, unchanged.
    """)
    return


@app.cell
def _():
    mover = ...  # a tensor [3, 3]
    return (mover,)


@app.cell(hide_code=True)
def _(convolve, mover):
    _square = torch.arange(36.0).reshape(6, 6)
    check_3 = exercise(
        "13.3",
        mover,
        lambda answer: torch.equal(convolve(_square, answer.float()), _square[1:-1, 2:]),
        hints=(
            "Which kernel changes nothing at all? It must keep the middle pixel and ignore the other eight.",
            "A weight of 1 keeps a pixel, a weight of 0 ignores it. So there is a single 1.",
            "The 1 stands in the middle row, and in the last column: we want the pixel to the right of the middle.",
        ),
        solution="mover = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0]])",
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Write max pooling by hand: from an image with an even number of rows and of columns to the largest of each
    square of 2 × 2.
    """)
    return


@app.cell
def _():
    def max_pool(image):  # [h, w] → [h / 2, w / 2]
        return ...

    return (max_pool,)


@app.cell(hide_code=True)
def _(max_pool):
    _image = torch.tensor([[4.0, -1, 2, 2, 0, 1], [0, 3, 5, 1, 1, -2], [-3, -2, 0, 0, 7, 8], [-1, -4, 0, 6, 9, 1]])
    check_4 = exercise(
        "13.4",
        max_pool,
        lambda answer: torch.equal(answer, F.max_pool2d(_image[None], 2)[0]),
        hints=(
            "Write two loops as in `convolve`, but let the window move by two, and take `.max()` in place of the sum.",
            "For place (row, column) of the output the window is `image[2 * row : 2 * row + 2, ...]`.",
            "Without loops: `image[0::2, 0::2]` are the upper left pixels of all squares. There are four such "
            "slices, and `torch.maximum(a, b)` keeps the larger number at each place.",
        ),
        solution="""
        def max_pool(image):
            output = torch.zeros(image.shape[0] // 2, image.shape[1] // 2)
            for row in range(output.shape[0]):
                for column in range(output.shape[1]):
                    output[row, column] = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].max()
            return output
        """,
        arguments=(_image,),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** Of 1,000 images, one model has 960 right, another 968. By their 95 % intervals, can it be luck? Compute
    both with `wilson_interval(right, all)`, and answer `True` if they overlap, `False` if not.
    """)
    return


@app.cell
def _():
    overlap = ...  # True or False
    return (overlap,)


@app.cell(hide_code=True)
def _(overlap):
    check_5 = exercise(
        "13.5",
        overlap,
        lambda answer: answer is True,
        hints=(
            "`wilson_interval(960, 1000)` gives the lower and the upper end of the first interval.",
            "They overlap if the upper end of the first is above the lower end of the second.",
            "The first ends at about 0.970. Where does the second begin?",
        ),
        solution="overlap = wilson_interval(960, 1000)[1] > wilson_interval(968, 1000)[0]  # 0.970 > 0.955",
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** Shuffle the pixels of all images in the same way (`np.random.default_rng(0).permutation` of
    the number of pixels, applied to the flattened images of both sets), train `net` and `conv` on them, and compare
    with before. Predict first what will happen to each, and why. A second question: in `Residual`, multiply the
    layers' output by 0.1 before it is added. What does this change for a network of forty blocks?

    ## What you can read now

    [`torch.nn.Conv2d`](https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html) in PyTorch's documentation:
    all of it but `dilation` and `groups`, the formula for the shape included. Then
    [`MaxPool2d`](https://pytorch.org/docs/stable/generated/torch.nn.MaxPool2d.html), and in this project
    `underhood/core/models.py`, from `conv` to `resnet18`: nearly every line of it is now yours to read.

    **Next:** [Lesson 14](?file=14_overfitting.py), on what goes wrong when there are only few images, and what
    helps.
    """)
    return


if __name__ == "__main__":
    app.run()
