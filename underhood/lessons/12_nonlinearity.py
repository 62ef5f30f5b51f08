import marimo

app = marimo.App(width="medium", app_title="12 · A nonlinearity", layout_file="layouts/12_nonlinearity.slides.json")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn

    from underhood import DataLoader, DataLoaders, Learner
    from underhood.display.notebook import show_images
    from underhood.lessons import exercise, figure, load
    from underhood.scratch.sgd import batch_accuracy, init_params, mnist_loss


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 12 · A nonlinearity

    Everything that we have trained so far, except for the last model of lesson 11, was one weighted sum: each pixel
    times its weight, all added up. With MNIST that gets about 98 of 100 of the 3s and 7s right, which is remarkable for
    something so simple. But think of what it cannot say. A weight says "ink here speaks for a 3", always and equally
    strongly, whatever the other pixels do. It cannot say "ink here speaks for a 3, *unless* there is also ink there".
    No weights in the world change that, and no longer training.

    The way out looks small: a second sum behind the first, and between the two something that is not a sum. It turns
    a model that can draw one straight border into a model that can, in principle, draw any border at all.

    **After this lesson** you can say why two linear layers are one, what ReLU does and why it is needed, tell
    activations from parameters, build a neural network from raw weights and with `nn.Sequential`, and look inside one
    that is trained. **It takes about an hour.**
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Two linear layers are one

    A **layer** is one step of a model: it takes numbers and computes new ones from them. `nn.Linear` is a linear
    layer; its outputs are weighted sums of its inputs, plus a bias. (In PyTorch a layer is a *module*, as whole
    models are.) If one layer is too simple, surely two in a row can do more? Try it with a single number first, as
    at school. The first layer is 2x + 1, and the second makes 3y − 4 of its result y:

    3 · (2x + 1) − 4 = 6x − 1

    The result is again a number times x plus a number. We could have written 6x − 1 from the beginning, and saved a
    layer. With matrices it is the same. Here a layer from three inputs to two outputs is followed by one from two to
    one. The product of their weights is the weight of a single layer that does the work of both:
    """)
    return


@app.cell
def _():
    torch.manual_seed(0)
    first, second = nn.Linear(3, 2), nn.Linear(2, 1)
    three_numbers = torch.tensor([[1.0, 2.0, 3.0]])  # [1, 3]
    one_weight = second.weight @ first.weight  # [1, 2] @ [2, 3] → [1, 3]
    one_bias = second.weight @ first.bias + second.bias  # [1, 2] @ [2] + [1] → [1]
    print(second(first(three_numbers)))
    print(three_numbers @ one_weight.T + one_bias)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Now in the size that we need. A layer from 784 pixels to 30 numbers and another from there to 1 have 23,581
    parameters: 30 times 784 weights and 30 biases, then 30 weights and a bias. A single layer has 785. Do the 22,796
    additional ones do anything?
    """)
    return


@app.cell
def _():
    torch.manual_seed(0)
    big_first, big_second = nn.Linear(784, 30), nn.Linear(30, 1)
    random_images = torch.rand(1000, 784)
    with torch.no_grad():
        merged_weight = big_second.weight @ big_first.weight  # [1, 30] @ [30, 784] → [1, 784]
        merged_bias = big_second.weight @ big_first.bias + big_second.bias  # [1]
        by_two = big_second(big_first(random_images))  # [1000, 1]
        by_one = random_images @ merged_weight.T + merged_bias  # [1000, 1]
        difference = (by_two - by_one).abs().max().item()
    difference
    return (difference,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    For a thousand random images the two differ by less than a millionth, which is rounding. All those parameters buy
    nothing. The reason fits into one line: *a sum of sums of pixels is a sum of pixels*. It holds for three layers
    and for a hundred, as long as there is nothing else between them.

    ## Something that is no sum

    So between the sums there must be something that is not one. It is called a **nonlinearity**, or **activation
    function**. Which one? Almost any will do. Until about 2010 most people took the sigmoid of lesson 7, or a curve
    much like it. Today's usual choice is simpler still: negative numbers become 0, and others stay as they are. Its
    name is **ReLU**, for *rectified linear unit*. (A rectifier, in electrical engineering, lets current pass in one
    direction only.)
    """)
    return


@app.cell
def _():
    def relu(x):
        return x.clamp(min=0)

    relu(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))
    return (relu,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    That is all. `clamp(min=0)` is "at least 0". You will meet the same function in several forms:
    `x.max(torch.tensor(0.0))`, the greater of x and 0; `F.relu(x)`, from `torch.nn.functional`, PyTorch's collection
    of functions; and `nn.ReLU()`, the module. The last two differ only in how they are used. `F.relu` is a function,
    to be called with a tensor at once. `nn.ReLU` is a class: you first make an object of it, hence the parentheses,
    and put that in a list of layers.

    Can gradient descent deal with such a corner? Its slope is 0 on the left and 1 on the right. At exactly 0 there is
    no slope, and PyTorch says 0. So going backward, ReLU passes the gradient on where the number was positive, and
    stops it where it was not:
    """)
    return


@app.cell
def _(relu):
    numbers = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], requires_grad=True)
    F.relu(numbers).sum().backward()
    print(torch.equal(F.relu(numbers), nn.ReLU()(numbers)), torch.equal(F.relu(numbers), relu(numbers)))
    numbers.grad
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    (If you tried `clamp` here, you would find 1 at exactly 0. At the corner any slope from 0 to 1 is as good as
    another, and in practice hardly any number hits 0 exactly.)

    ### What a bend can do that a sum cannot

    Take the smallest puzzle of the kind "unless". There are two pixels, *a* and *b*, each 0 or 1. The answer should be
    1 if exactly one of them has ink, and 0 otherwise. Could a weighted sum, *w*·a + *v*·b + *c*, do that? It would
    have to be 0 for neither, so c = 0. It would have to be 1 for each alone, so w = 1 and v = 1. Then for both
    together it is 2, where it should be 0. There are no such weights. Could the sum at least be above 0 where the
    answer is 1, and not above 0 where it is 0? That would do for a decision. But w + c and v + c would have to be above
    0, so their sum, w + v + 2c, would be, too. As c is not above 0, w + v + c is at least as large as that, so it is
    above 0 for both together, where it should not be. On paper you can see it: draw the four cases as the corners of a
    square. The two with the answer 1 lie opposite each other, and no straight line has them on one side and the other
    two on the other. A weighted sum is above 0 on one side of a straight line: that is the "one straight border" of
    the beginning. With ReLU it takes two sums and a sum of them:
    relu(a − b) is 1 if only *a* has ink, relu(b − a) is 1 if only *b* has, and we add the two.
    """)
    return


@app.cell
def _(relu):
    pairs_of_pixels = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # [4, 2]
    differences = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])  # [in 2, out 2]: a − b and b − a
    hidden = relu(pairs_of_pixels @ differences)  # [4, 2]
    exactly_one = hidden @ torch.tensor([[1.0], [1.0]])  # [4, 2] @ [2, 1] → [4, 1]
    print(hidden)
    exactly_one
    return (exactly_one,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    This is called *exclusive or*. It made history: in 1969 Marvin Minsky and Seymour Papert proved, in a book about
    the networks of their time, how much a single layer cannot do, and the field lost many of its followers for years.
    That layers with a bend between them can do it was known. How to find their weights was not widely known until the
    1980s. Lesson 15 is about that.

    ## Any curve, from hinges

    How far does this go? One ReLU, moved to another place and multiplied, is a hinge: flat, and from some point on
    a straight line. Add a second hinge that begins further to the right, and the line bends there. With every hinge
    the curve may take another direction. Below, the grey curve is to be copied, and the red one is a sum of hinges
    and a bias. Here no training is needed: the places are spread evenly, and for their weights there is a formula.
    Move the slider. How many hinges does it take until you can no longer see a difference?
    """)
    return


@app.cell(hide_code=True)
def _():
    hinges = mo.ui.slider(1, 40, value=4, label="hinges", show_value=True)
    hinges
    return (hinges,)


@app.cell(hide_code=True)
def _(hinges):
    _xs = torch.linspace(-3, 3, 400)
    _curve = torch.sin(2 * _xs) + 0.3 * _xs
    _places = torch.linspace(-3, 3, hinges.value + 1)[:-1]
    _features = torch.cat([(_xs[:, None] - _places).relu(), torch.ones(400, 1)], dim=1)  # [400, hinges + 1]
    _weights = torch.linalg.lstsq(_features, _curve[:, None]).solution
    hinge_error = (_features @ _weights - _curve[:, None]).abs().mean().item()
    _figure, (_all, _one) = plt.subplots(2, 1, figsize=(6.5, 5), sharex=True, height_ratios=(2, 1))
    _all.plot(_xs, _curve, color="0.7", linewidth=4, label="the curve")
    _all.plot(_xs, _features @ _weights, color="tab:red", label=f"{hinges.value} hinges added")
    _all.legend()
    _all.set(title=f"off by {hinge_error:.3f} on average")
    _one.plot(_xs, _features[:, :-1] * _weights[:-1, 0], linewidth=1)
    _one.set(title="the hinges one by one")
    _figure.tight_layout()
    figure(
        _figure,
        f"A wavy curve and a sum of {hinges.value} hinges, which follows it in straight pieces and is off by "
        f"{hinge_error:.3f} on average; below it the single hinges, each flat up to its place and then straight.",
    )
    return (hinge_error,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    More hinges make shorter pieces, and shorter pieces follow the curve more closely, from −3 to 3, as far as hinges
    were placed. (Further out the last piece simply goes straight on.) The same is true with more than one input: two
    linear layers with a nonlinearity between them can come as close as you like to any continuous function, within
    any limits that you set for the inputs, if the layer between is wide enough. This is the **universal approximation
    theorem**. George Cybenko proved it in 1989 for the sigmoid; ReLU and almost all other bends followed soon.

    It is a promise with small print. It says that good weights *exist*. It does not say how many hinges are needed,
    it does not say that gradient descent will find the weights, and it does not say that the function will do
    anything sensible between the examples that we have. We have to try, and to measure on the validation set.

    ## A network from raw weights

    Now put it together: a linear layer, ReLU, and another linear layer.
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
        x = torch.from_numpy(images.pixels).float().flatten(1) / 255  # [n, pixels], 0 to 1
        y = torch.from_numpy(images.labels == 0).float().unsqueeze(1)  # [n, 1]: 1 for a 3
        return x, y

    train_x, train_y = tensors(dataset.train)
    valid_x, valid_y = tensors(dataset.valid)
    inputs = train_x.shape[1]  # pixels of an image
    train_x.shape
    return inputs, train_x, train_y, valid_x, valid_y


@app.cell
def _(inputs, train_x):
    def simple_net(xb, w1, b1, w2, b2):
        res = xb @ w1 + b1  # [n, pixels] @ [pixels, 30] + [30] → [n, 30]
        res = res.max(torch.tensor(0.0))  # [n, 30]
        return res @ w2 + b2  # [n, 30] @ [30, 1] + [1] → [n, 1]

    torch.manual_seed(42)
    w1, b1 = init_params((inputs, 30), std=inputs**-0.5), init_params(30, std=inputs**-0.5)
    w2, b2 = init_params((30, 1), std=30**-0.5), init_params(1, std=30**-0.5)
    simple_net(train_x[:4], w1, b1, w2, b2)
    return b1, b2, simple_net, w1, w2


@app.cell(hide_code=True)
def _():
    mo.md("""
    Three lines, and that is a **neural network**: a model made of linear layers with nonlinearities between them. The
    name comes from the nerve cells of the brain, which add up what other cells send them and send something on if it
    is enough. The likeness goes no further than that.

    The 30 is our choice. It says how many different weighted sums of the pixels the network makes, each with weights
    of its own. The lengths have to fit: `w1` has 30 outputs, so `w2` must have 30 inputs. (The weights are random,
    with a standard deviation of 1/√inputs, for the reason given in lesson 11.)

    What lies between the layers are numbers, too. Look at those of one image, before and after ReLU:
    """)
    return


@app.cell
def _(b1, train_x, w1):
    sums = train_x[:1] @ w1 + b1  # [1, pixels] @ [pixels, 30] + [30] → [1, 30]
    print(sums[0, :8])
    print(sums.relu()[0, :8])
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Such numbers are called **activations**: numbers that the model *calculates*, from its inputs and its parameters.
    (Both rows are calculated. Mostly people mean the second one, after the activation function, which has its name from
    that.)
    The two words are worth keeping apart, because beside its inputs a network has only these two kinds of numbers.
    **Parameters** belong to the model. They begin at random, and training changes them; for every image they are the
    same. Activations belong to an image: another image has others. What are they good for? They are what the next
    layer gets to see *in place of* the image: 30 answers to 30 questions, such as "how much ink is in the middle on
    the left?", and the second layer decides by these answers alone. Training chooses the questions. And while a model
    trains, autograd keeps the activations until the backward pass is done, since it needs them there. The layer
    between input and output is called *hidden*, and each of its 30 places a *unit*. Its shape here is `[n, 30]`: for
    each image 30 activations.

    ## The same with PyTorch's modules

    `nn.Sequential` is the class that you wrote in lesson 11: a module made of modules, called in turn. In it you need
    the *module* `nn.ReLU()`, not the function.
    """)
    return


@app.cell
def _(b1, b2, inputs, simple_net, train_x, w1, w2):
    net = nn.Sequential(
        nn.Linear(inputs, 30),  # [n, pixels] → [n, 30]
        nn.ReLU(),  # [n, 30]
        nn.Linear(30, 1),  # [n, 30] → [n, 1]
    )
    for parameter, raw in zip(net.parameters(), (w1, b1, w2, b2), strict=True):
        parameter.data = raw.T.clone() if raw.ndim == 2 else raw.clone()  # the weight is [out, in]
        print(parameter.shape)
    by_modules, by_hand = net(train_x[:4]), simple_net(train_x[:4], w1, b1, w2, b2)  # [4, 1]
    print(torch.allclose(by_modules, by_hand, atol=1e-5))
    by_modules
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    With the raw weights put into it (transposed, as `nn.Linear` has them `[out, in]`), the module predicts the same.
    Its `parameters()` are those of all modules within, four tensors in their order. ReLU has none.

    ## Training it

    We train the network exactly as fastai's book does: batches of 256, plain SGD, a learning rate of 0.1, 40 epochs,
    and the loss of lesson 7. Nothing else is new, for `Learner` does not care what is in a model. Beside it we train
    a single linear layer, as the book does, too: with a rate of 1, for 20 epochs. (The book does not shuffle, so that
    each epoch brings all the 3s first and then all the 7s. Lesson 9 called that a fault, and it is one: note the
    accuracy after one epoch.)
    """)
    return


@app.cell
def _(inputs, train_x, train_y, valid_x, valid_y):
    batch_size = 256 if len(train_x) > 1000 else 16
    train_dl = DataLoader((train_x, train_y), batch_size)  # not shuffled, as in the book
    dls = DataLoaders(train_dl, DataLoader((valid_x, valid_y), batch_size))

    def trained(model, epochs, lr):
        learn = Learner(dls, model, loss_func=mnist_loss, opt_func=torch.optim.SGD, metrics=batch_accuracy)
        return [row.metrics["batch_accuracy"] for row in learn.epochs(epochs, lr)]

    torch.manual_seed(2)
    linear = nn.Linear(inputs, 1)
    torch.manual_seed(2)
    network = nn.Sequential(nn.Linear(inputs, 30), nn.ReLU(), nn.Linear(30, 1))
    linear_accuracies = trained(linear, 20, lr=1.0)
    net_accuracies = trained(network, 40, lr=0.1)
    linear_accuracy, net_accuracy = linear_accuracies[-1], net_accuracies[-1]
    print(f"one linear layer: {linear_accuracies[0]:.4f} after 1 epoch, {linear_accuracy:.4f} after 20")
    print(f"neural network:   {net_accuracies[0]:.4f} after 1 epoch, {net_accuracy:.4f} after 40")
    return linear, linear_accuracies, linear_accuracy, net_accuracies, net_accuracy, network


@app.cell(hide_code=True)
def _(linear_accuracies, linear_accuracy, net_accuracies, net_accuracy):
    _axes = plt.subplots(figsize=(6.5, 3))[1]
    _axes.plot(range(1, len(linear_accuracies) + 1), linear_accuracies, label="one linear layer, rate 1")
    _axes.plot(range(1, len(net_accuracies) + 1), net_accuracies, label="neural network, rate 0.1")
    _axes.set(xlabel="epoch", ylabel="accuracy on the validation images", ylim=(0.9, 1))
    _axes.legend()
    figure(
        _axes,
        f"Accuracy on the validation images over the epochs: one linear layer ends at {linear_accuracy:.4f}, the "
        f"neural network at {net_accuracy:.4f}.",
    )
    return


@app.cell(hide_code=True)
def _(linear_accuracy, net_accuracy, valid_x):
    _wrong = round((1 - linear_accuracy) * len(valid_x)), round((1 - net_accuracy) * len(valid_x))
    mo.md(f"""
    Of {len(valid_x):,} validation images the single layer gets {_wrong[0]} wrong and the network {_wrong[1]}. **The
    book's network ends at 0.9828**, with MNIST. The random numbers of the beginning matter a little: with the seeds 0
    and 1 in place of 2 we measured 0.9823 and 0.9818, one image and two images fewer. After its first epoch, which
    ends with the 7s, the network takes nearly every image for the same digit, and the later epochs repair that
    slowly. (And the network of lesson 11 was better still, with shuffled batches and a higher rate.)

    Is that much? On a question as easy as 3 or 7, where a single sum already does so well, there is little left to
    win. With all ten digits of MNIST the same two kinds of model get about 92 % and 95 % right, and lesson 13 goes on
    from there.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Looking inside

    Each hidden unit looks at the image through weights of its own, one for each pixel, so its weights can be drawn as
    an image, as in lesson 4. Red is a positive weight, where ink raises the activation; blue is a negative one, where
    ink lowers it. First the only such image that the linear layer has:
    """)
    return


@app.cell(hide_code=True)
def _(inputs, linear):
    side = round(inputs**0.5)

    def weight_images(layer):  # [out, in] → [out, h, w]
        return layer.weight.detach().reshape(-1, side, side).numpy()

    _image = weight_images(linear)[0]
    _most = abs(_image).max()
    figure(
        show_images([_image], ["the linear layer"], columns=1, side=2.5, cmap="RdBu_r", vmin=-_most, vmax=_most),
        "The weights of the linear layer as an image: red where ink speaks for a 3, blue where it speaks for a 7.",
    )
    return (weight_images,)


@app.cell(hide_code=True)
def _():
    feature = mo.ui.slider(0, 29, value=0, label="hidden unit", show_value=True)
    feature
    return (feature,)


@app.cell(hide_code=True)
def _(dataset, feature, network, valid_x, weight_images):
    with torch.no_grad():
        _activations = network[:2](valid_x)[:, feature.value]  # [n]: linear and ReLU, of this unit
    _strongest = _activations.argsort(descending=True)[:4].tolist()
    _image = weight_images(network[0])[feature.value]
    _most = abs(_image).max()
    _figure, _all = plt.subplots(1, 5, figsize=(7.5, 1.9))
    _all[0].imshow(_image, cmap="RdBu_r", vmin=-_most, vmax=_most)
    _all[0].set_title("weights", fontsize=9)
    for _axes, _i in zip(_all[1:], _strongest, strict=True):
        _axes.imshow(dataset.valid.pixels[_i, 0], cmap="Greys")
        _axes.set_title(f"{_activations[_i]:.1f}", fontsize=9)
    for _axes in _all:
        _axes.set_axis_off()
    _figure.tight_layout()
    _share = (_activations > 0).float()
    _of = [_share[torch.from_numpy(dataset.valid.labels == label)].mean().item() for label in (0, 1)]
    _names = [dataset.valid.classes[dataset.valid.labels[i]] for i in _strongest]
    _weight = network[2].weight[0, feature.value].item()
    mo.vstack(
        [
            figure(
                _figure,
                f"The weights of hidden unit {feature.value} as an image, and the four validation images for which its "
                f"activation is the largest: {', '.join(_names)}.",
            ),
            mo.md(
                f"Unit {feature.value} is above 0 for **{100 * _of[0]:.0f} %** of the 3s and "
                f"**{100 * _of[1]:.0f} %** of the 7s. The second layer multiplies it by {_weight:+.2f}: it speaks "
                f"for a **{'3' if _weight > 0 else '7'}**. To the right of its weights are the four validation "
                f"images for which it is the largest, with its activations."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _(dataset, network, valid_x):
    with torch.no_grad():
        _above = (network[:2](valid_x) > 0).float()  # [n, 30]
    _labels = torch.from_numpy(dataset.valid.labels)
    _threes, _sevens = _above[_labels == 0].mean(0), _above[_labels == 1].mean(0)  # [30] each
    _apart = int((torch.maximum(_threes, _sevens) >= 2 * torch.minimum(_threes, _sevens)).sum())
    mo.md(f"""
    Go through some units, and compare the two shares. {_apart} of the 30 units are above 0 for one digit at least
    twice as often as for the other. The rest answer to both, some more strongly to one of them. Few of the weight
    images look like a part of a digit. A network need not think in parts that have names. (And what is the grainy
    pattern in the corners? No image has ink there. A weight that is always multiplied by 0 has the gradient 0, and so
    it still is the random number of the beginning.)
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## If one suffices, why more?

    The theorem says that one hidden layer is enough, if it is wide enough. For a long time that was taken as a reason
    not to use more. Yet today's networks have dozens of layers. The reason is economy. A deep network can use what
    one layer has found in the next, edges for corners and corners for shapes, while a flat one would need a unit of
    its own for every combination. The same accuracy then takes fewer parameters, less memory, and often less
    training. The price is that deep networks are harder to train, and some inventions were needed before it worked
    well. Lesson 13 shows them, one by one.

    ## Summary

    - A sum of sums is a sum: linear layers in a row are one linear layer.
    - ReLU makes negative numbers 0. Backward, it lets the gradient through where the number was positive.
    - With a nonlinearity between them, two layers can do what one cannot, and in principle follow any continuous
      function.
    - A neural network is linear layers with nonlinearities between them:
      `nn.Sequential(nn.Linear(…), nn.ReLU(), nn.Linear(…))`.
    - Parameters are learned and belong to the model; activations are calculated and belong to an image.
    - More layers are no necessity but an economy.

    **New words:** layer, nonlinearity (activation function), ReLU, neural network, activation, hidden layer, unit,
    universal approximation theorem.

    ## Exercises

    **1.** Write ReLU with `torch.where`, without `relu`, `clamp` or `max`.
    """)
    return


@app.cell
def _():
    def my_relu(x):  # any shape, which stays
        return ...

    return (my_relu,)


@app.cell(hide_code=True)
def _(my_relu):
    _x = torch.linspace(-2, 2, 9)
    check_1 = exercise(
        "12.1",
        my_relu,
        lambda answer: torch.equal(answer, _x.relu()),
        hints=(
            "`torch.where(condition, a, b)` takes the number from `a` where the condition is true, and from `b` "
            "where it is not.",
            "The condition is `x > 0`. What should there be where it is true, and what elsewhere?",
            "`torch.where(x > 0, x, ...)`, and in place of the dots the number 0.0.",
        ),
        solution="""
        def my_relu(x):
            return torch.where(x > 0, x, 0.0)
        """,
        arguments=(_x,),
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("**2.** The absolute value |x| is a sum of two hinges, a · relu(x) + b · relu(−x). Put in (a, b).")
    return


@app.cell
def _():
    a_and_b = ...  # two numbers
    return (a_and_b,)


@app.cell(hide_code=True)
def _(a_and_b):
    check_2 = exercise(
        "12.2",
        a_and_b,
        lambda answer: np.allclose(answer, (1, 1)),
        hints=(
            "Draw |x|: a V. Where is the first hinge above 0, and where the second?",
            "For x = 3, relu(−x) is 0, so a · 3 has to be 3.",
            "For x = −3, relu(x) is 0 and relu(−x) is 3, so b · 3 has to be 3.",
        ),
        solution="a_and_b = (1, 1)",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** A ramp: 0 for x below 0, x between 0 and 1, and 1 above 1. Build it from two hinges, with `torch.relu` and
    ordinary arithmetic.
    """)
    return


@app.cell
def _():
    def ramp(x):  # any shape, which stays
        return ...

    return (ramp,)


@app.cell(hide_code=True)
def _(ramp):
    _x = torch.linspace(-2, 3, 21)
    check_3 = exercise(
        "12.3",
        ramp,
        lambda answer: torch.allclose(answer, _x.clamp(0, 1), atol=1e-6),
        hints=(
            "`torch.relu(x)` is right up to 1. After that it keeps growing, and must be stopped.",
            "A second hinge that begins at 1 is `torch.relu(x - 1)`.",
            "What is left of the first hinge if you subtract the second one?",
        ),
        solution="""
        def ramp(x):
            return torch.relu(x) - torch.relu(x - 1)
        """,
        arguments=(_x,),
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Build a network with `nn.Sequential` that takes 784 numbers, has two hidden layers, of 30 and of 10 units,
    with a ReLU after each, and gives 1 number.
    """)
    return


@app.cell
def _():
    two_bends = ...  # a module
    return (two_bends,)


@app.cell(hide_code=True)
def _(two_bends):
    check_4 = exercise(
        "12.4",
        two_bends,
        lambda answer: (
            answer(torch.rand(5, 784)).shape == (5, 1)
            and [tuple(p.shape) for p in answer.parameters() if p.ndim == 2] == [(30, 784), (10, 30), (1, 10)]
            and sum(isinstance(module, nn.ReLU) for module in answer) == 2
        ),
        hints=(
            "It has three linear layers: 784 to 30, 30 to 10, 10 to 1.",
            "`nn.Sequential(nn.Linear(784, 30), nn.ReLU(), ...)`",
            "After the first ReLU come `nn.Linear(30, 10)`, another `nn.ReLU()`, and the last linear layer. No ReLU "
            "after that one: a prediction may be negative.",
        ),
        solution="""
        two_bends = nn.Sequential(
            nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10), nn.ReLU(), nn.Linear(10, 1)
        )
        """,
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** Make one layer of two. Given the linear layers `first` and `second` with nothing between them, return an
    `nn.Linear` that predicts the same. (Assign to `.weight.data` and `.bias.data`.)
    """)
    return


@app.cell
def _():
    def merge(first, second):  # two nn.Linear → one nn.Linear
        return ...

    return (merge,)


@app.cell(hide_code=True)
def _(merge):
    torch.manual_seed(5)
    _pair, _rows = (nn.Linear(7, 4), nn.Linear(4, 3)), torch.rand(10, 7)
    check_5 = exercise(
        "12.5",
        merge,
        lambda answer: (
            isinstance(answer, nn.Linear) and torch.allclose(answer(_rows), _pair[1](_pair[0](_rows)), atol=1e-5)
        ),
        hints=(
            "How many inputs and outputs must the new layer have? A layer knows its own: `first.in_features`, "
            "`second.out_features`.",
            "The first cells of this lesson compute `one_weight` and `one_bias`.",
            "Make `merged = nn.Linear(first.in_features, second.out_features)`. Then `merged.weight.data` becomes "
            "`second.weight.data @ first.weight.data`, and the bias likewise.",
        ),
        solution="""
        def merge(first, second):
            merged = nn.Linear(first.in_features, second.out_features)
            merged.weight.data = second.weight.data @ first.weight.data
            merged.bias.data = second.weight.data @ first.bias.data + second.bias.data
            return merged
        """,
        arguments=_pair,
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** How many hidden units does it take? Train the network with 1, 2, 5, 30 and 200 of them and
    draw the accuracy. Then take the sigmoid in place of ReLU (`nn.Sigmoid()`). Is the same learning rate still good?

    ## What you can read now

    - [`torch.nn.ReLU`](https://pytorch.org/docs/stable/generated/torch.nn.ReLU.html) and
      [`torch.nn.Sequential`](https://pytorch.org/docs/stable/generated/torch.nn.Sequential.html): the whole pages.
    - [`torch.nn`](https://pytorch.org/docs/stable/nn.html): the list "Non-linear Activations". All of them are curves
      in place of our bend.

    **Next:** [13 · Going deeper](?file=13_deeper.py), with more than one hidden layer, and with layers that know that
    an image has neighbouring pixels.
    """)
    return


if __name__ == "__main__":
    app.run()
