import marimo

app = marimo.App(
    width="medium", app_title="4 · From similarity to learning", layout_file="layouts/04_learning.slides.json"
)

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import torch

    from underhood.display.notebook import show_image
    from underhood.lessons import exercise, figure, load, table


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 4 · From similarity to learning

    Pixel similarity was a good start. With MNIST it is right for 95 of 100 images, and it took a few lines. But how
    would you make it better? This lesson finds out why that question has no good answer, and changes the question:
    not "how do I write a better rule?", but "how can a program find its own?" That step is what the word *learning*
    in machine learning stands for, and everything after this lesson works it out.

    **After this lesson** you can say what a model and its parameters are, compute a score from an image and a set
    of weights, put into one number how bad these weights are, and name the seven steps in which a machine learns.
    You will also have made one learn, in the slowest way there is. **It takes about 45 minutes.**
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What cannot be turned

    Imagine that pixel similarity gets one 3 wrong, and you want to correct it. What would you do? The ideal 3 is
    the mean of all 3s, and a mean is what it is. The distance is a mean of differences, and you can choose L1 or
    L2. After that there is nothing left to try. There is no number in the method that you could turn a little
    to the left or to the right, like the knob of a radio, to see whether it becomes better. So it stays as good as
    it is, however many mistakes it makes and however much time you have.

    **Stop and think:** what would a method look like that has such numbers? Where could they be?

    ## Samuel's idea

    In the 1950s Arthur Samuel, an engineer at IBM, wrote a program that played checkers (draughts), and he did not
    tell it how to play well. His program judged a position on the board by adding up a few of its properties, each
    multiplied by a number that said how much this property counts. Which numbers are good is a matter of
    experience, and experience is something that a program can collect by itself, by playing game after game. In the
    end it played better than he did. In an essay of 1962 he described what he had done so generally that the
    description still holds for every program in this course. It has four parts:

    - **weights**: numbers inside the program on which its behaviour depends, and which can be set in many ways,
    - a **test** of how well the present weights do, which runs by itself,
    - a **mechanism** that changes the weights so that the test comes out better,
    - and **nobody in the loop**. Test and change can be repeated as often as you like, and so the machine improves
      by its own experience.

    Pixel similarity has only one of the four, the test: we measured its accuracy. So let us begin with the weights.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## A score from weights

    We take a new question, and a harder one than 3 or 7: is this an 8 or a 3? The right halves of the two digits
    are almost the same.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist")
    mo.md(which)
    return (dataset,)


@app.cell
def _(dataset):
    def images_of(digit, part):
        mask = part.labels == part.classes.index(digit)  # [all]
        return torch.from_numpy(part.pixels[mask][:, 0]).float() / 255  # [n, h, w]

    eights, threes = images_of("8", dataset.train), images_of("3", dataset.train)
    valid_8, valid_3 = images_of("8", dataset.valid), images_of("3", dataset.valid)
    print(list(eights.shape), list(threes.shape))
    print(list(valid_8.shape), list(valid_3.shape))
    return eights, threes, valid_3, valid_8


@app.cell(hide_code=True)
def _():
    mo.md("""
    Here is the idea. Not all places in an image tell you equally much. Ink on the left, where an 8 is closed and a
    3 is open, is strong evidence for an 8. Ink in a place where 3s have it more often is evidence *against* an 8.
    And ink where both have it, or neither, says nothing. So we give each pixel a number of its own, its **weight**:
    large if ink there speaks for an 8, negative if it speaks against, near 0 if it says nothing. Then we multiply
    each pixel by its weight and add everything up. The sum is the image's **score**. As a function:
    """)
    return


@app.cell
def _():
    def pr_eight(x, w):  # x, the image: [h, w]; w, a weight for each of its pixels: [h, w]
        return (x * w).sum()  # a scalar

    return (pr_eight,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The name is that of the book *Deep Learning for Coders*, where `pr` is for *probability*. It promises too much:
    a probability lies between 0 and 1, and a score may be any number. Lesson 7 turns scores into probabilities.
    Until then, the higher the score, the more it looks like an 8.

    Where do we get weights from? For a first try we make them by hand, from the mean images of lesson 3: the mean 8
    minus the mean 3. Where 8s have more ink, the difference is positive, where 3s have more, it is negative, and
    where they agree it is near 0, just as we wanted.
    """)
    return


@app.cell
def _(eights, threes):
    difference = eights.mean(0) - threes.mean(0)  # [h, w]
    an_eight, a_three = eights[0], threes[1]  # [h, w] each
    print(difference.shape, difference.min(), difference.max())
    return a_three, an_eight, difference


@app.cell(hide_code=True)
def _():
    mo.md("""
    Like any table of numbers, the weights can be drawn as an image. Two colours are of use now: red is positive and
    speaks for an 8, blue is negative and speaks against it, white is 0. On the left is one of the 8s:
    """)
    return


@app.cell(hide_code=True)
def _(an_eight, difference, left, top):
    _figure, _axes = plt.subplots(1, 2, figsize=(6, 3))
    show_image(an_eight, _axes[0], title="an 8", cmap="Greys", vmin=0, vmax=1)
    _most = difference.abs().max().item()
    show_image(difference, _axes[1], title="weights", cmap="RdBu_r", vmin=-_most, vmax=_most)
    for _ax in _axes:
        _ax.add_patch(plt.Rectangle((left - 0.5, top - 0.5), 3, 3, fill=False, edgecolor="tab:green", linewidth=2))
    figure(
        _figure,
        "Left a handwritten 8. Right the mean 8 minus the mean 3: red mainly on the left side, where the two rings of "
        "the 8 are closed, blue where 3s have more ink. A frame marks the same three rows and columns in both.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Now number by number, for the nine pixels in the green frame. First the image, then the weights in the same
    places, then the products, and then what `pr_eight` makes of them:
    """)
    return


@app.cell
def _(an_eight, difference, pr_eight):
    height, width = an_eight.shape
    top, left = round(height * 0.36), round(width * 0.39)
    part_x = an_eight[top : top + 3, left : left + 3]  # [3, 3]
    part_w = difference[top : top + 3, left : left + 3]  # [3, 3]
    print(part_x)
    print(part_w)
    print(part_x * part_w)
    print(pr_eight(part_x, part_w))
    return left, part_w, part_x, top


@app.cell(hide_code=True)
def _(part_w, part_x):
    _pairs = zip(part_x.flatten().tolist(), part_w.flatten().tolist(), strict=True)
    _terms = [f"{x:.2f} · {w:.2f}" if w >= 0 else f"{x:.2f} · (−{-w:.2f})" for x, w in _pairs]
    mo.md(f"""
    Written out, with two digits each, the last number is

    {" + ".join(_terms)} ≈ **{(part_x * part_w).sum():.2f}**

    Look at what a product does. Where there is no ink, it is 0, whatever the weight: a weight speaks only when ink
    calls on it. Where there is ink, the weight counts in proportion to the ink. The score of a whole image is made
    in the same way, from all of its pixels:
    """)
    return


@app.cell
def _(a_three, an_eight, difference, pr_eight):
    print(pr_eight(an_eight, difference))
    print(pr_eight(a_three, difference))
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Our 8 has a positive score, and one of the 3s a negative one. So there is a rule: **above 0 we call it an 8,
    below 0 a 3.** For many images at once, broadcasting does it in one line, as in lesson 2: the weights are
    stretched over all images, and the sum is over rows and columns only.
    """)
    return


@app.cell
def _(difference, valid_8):
    def scores_of(images, weights):  # [n, h, w] and [h, w]
        return (images * weights).sum((1, 2))  # [n]

    scores_of(valid_8[:4], difference)
    return (scores_of,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    How often is the rule right? We measure it on the validation set. As for the baseline of lesson 3, we take the
    accuracy of each class and then the mean of the two, so that both count the same however many images they have:
    """)
    return


@app.cell
def _(difference, scores_of, valid_3, valid_8):
    def accuracy_of(weights):  # [h, w]
        right_8 = (scores_of(valid_8, weights) > 0).float().mean()
        right_3 = (scores_of(valid_3, weights) < 0).float().mean()
        return (right_8 + right_3) / 2  # a scalar

    handmade = accuracy_of(difference)
    handmade
    return accuracy_of, handmade


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Turn the knobs

    For weights that took one subtraction that is not bad. And now there is something to turn. Choose the weights,
    add the same number to all of them, and look at different images. Try this:

    - With the difference of the means, watch *where* an image collects its score.
    - With all weights 1, what is the score? What does the rule make of it?
    - Shift the weights by a little. Which images move the most, those with much ink or those with little?
    """)
    return


@app.cell(hide_code=True)
def _(threes, valid_3, valid_8):
    kind = mo.ui.radio(
        ["mean 8 − mean 3", "only its signs, −1 or 1", "all 1", "random"], value="mean 8 − mean 3", label="weights"
    )
    shift = mo.ui.slider(-0.2, 0.2, value=0.0, step=0.01, label="add to all weights", show_value=True)
    digit = mo.ui.radio(["8", "3"], value="8", label="an image of", inline=True)
    place = mo.ui.slider(0, min(99, len(valid_3) - 1, len(valid_8) - 1), value=0, label="which", show_value=True)
    mo.vstack([kind, shift, digit, place])
    return digit, kind, place, shift


@app.cell
def _(difference, kind, shift):
    _choices = {
        "mean 8 − mean 3": difference,
        "only its signs, −1 or 1": difference.sign(),
        "all 1": torch.ones_like(difference),
        "random": torch.randn(difference.shape, generator=torch.Generator().manual_seed(3)),
    }
    by_hand = _choices[kind.value] + shift.value  # [h, w]
    return (by_hand,)


@app.cell(hide_code=True)
def _(by_hand, digit, place, pr_eight, valid_3, valid_8):
    _x = (valid_8 if digit.value == "8" else valid_3)[place.value]
    _score = pr_eight(_x, by_hand).item()
    _figure, _axes = plt.subplots(1, 3, figsize=(7, 2.5))
    show_image(_x, _axes[0], title="image", cmap="Greys", vmin=0, vmax=1)
    _panels = ((_axes[1], by_hand, "weights"), (_axes[2], _x * by_hand, f"products: in all {_score:.2f}"))
    for _ax, _numbers, _title in _panels:
        _most = by_hand.abs().max().item() or 1
        show_image(_numbers, _ax, title=_title, cmap="RdBu_r", vmin=-_most, vmax=_most)
    _figure.tight_layout()
    figure(
        _figure,
        f"Three pictures: a handwritten {digit.value}, the weights in red where positive and blue where negative, and "
        f"their products, which are white where the image has no ink. The score is {_score:.2f}.",
    )
    return


@app.cell(hide_code=True)
def _(accuracy_of, by_hand, scores_of, valid_3, valid_8):
    _scores_8, _scores_3 = scores_of(valid_8, by_hand), scores_of(valid_3, by_hand)
    _right = f"{(_scores_8 > 0).float().mean():.1%} of the 8s and {(_scores_3 < 0).float().mean():.1%} of the 3s"
    _axes = plt.subplots(figsize=(6.4, 2.4))[1]
    _bins = torch.linspace(*torch.cat([_scores_8, _scores_3, torch.zeros(1)]).aminmax(), 50).tolist()
    _axes.hist(_scores_3, _bins, alpha=0.6, color="tab:blue", label="3s")
    _axes.hist(_scores_8, _bins, alpha=0.6, color="tab:red", label="8s")
    _axes.axvline(0, color="black")
    _axes.set(xlabel="score", ylabel="images")
    _axes.legend()
    mo.vstack(
        [
            figure(
                _axes,
                f"Two histograms, of the scores of the 8s and of the 3s in the validation set, and a line at 0. "
                f"{_right} "
                "are on their side of it.",
            ),
            mo.md(f"On the right side of the line: {_right}, on average **{accuracy_of(by_hand):.1%}**."),
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    With all weights 1, the score is the amount of ink. No image has less than none, so every score is above 0 and
    everything is called an 8. With random weights, the two hills lie mostly on top of each other. With the
    difference of the means they come apart. And a shift moves each image by its own ink times the shift, so the
    ones with much ink move furthest.

    That is what a good set of weights has to do: **give a high score to every 8 and a low one to everything else**,
    so that the hills lie on two sides of the line.

    ## A function with parameters is a model

    `pr_eight` has two arguments, and they play very different parts. `x` changes with each image; it is the
    *input*. `w` stays the same from image to image, until somebody decides to improve it. A number of this second
    kind is called a **parameter**: a number inside a function that is not given by the data, but chosen, and can be
    chosen better. A function with parameters is a **model**. (Python programmers call everything between a
    function's brackets parameters. In machine learning only the chosen numbers are.)

    Here all parameters are weights, numbers that something is multiplied by. In lesson 7 there will also be one
    that is added. The form of the function, "multiply and add up", fastai calls the *architecture*: without its
    parameters, it is an empty form, which can become a detector of 8s, of 3s, or of nothing at all.

    This is the change of view on which the rest of the course stands. We are looking for a function that knows an 8
    when it sees one. There are infinitely many functions, and nobody knows how to look through them. But if we
    settle on a form, the search for a good *function* becomes a search for good *numbers*, and numbers can be
    turned.
    """)
    return


@app.cell(hide_code=True)
def _(difference):
    mo.md(f"""
    Can we try all of them? There is one weight for each pixel, {difference.numel()} in all. If each had only ten
    possible values, there would be 10 to the power of {difference.numel()} sets of weights, a number with
    {difference.numel() + 1} digits. (The number of atoms in the visible universe has about 80.) So we
    cannot try all. We have to start somewhere and improve.

    ## A number that says how bad

    To improve, we need Samuel's test: one number for how well the present weights do. Is that not the accuracy? It
    would seem natural, but it has a fault. Change one of the weights by a hair: very probably not one image crosses
    the line, and the accuracy is exactly what it was. It does not tell you whether the change was a good one.
    (Lesson 7 looks at this more closely.) We need a number that answers even the smallest turn of a knob.

    So we ask not only *on which side of the line*, but *how far from where it should be*. Let us wish that each 8
    has the score 1 and each 3 the score −1, and measure how far the scores are from our wishes, on average: this is
    the L1 distance of lesson 3, between scores and wishes. It is our first **loss**: a number that says how bad the
    model is, **small for good and large for bad**. That low is good is a convention, but everybody keeps it.
    (PyTorch also says *criterion*.)

    We take a hundred images of each kind. (`torch.cat` puts one stack behind the other.)
    """)
    return


@app.cell
def _(difference, eights, scores_of, threes):
    n = min(100, len(eights), len(threes))
    images = torch.cat([eights[:n], threes[:n]])  # [2n, h, w]
    wished = torch.cat([torch.ones(n), -torch.ones(n)])  # [2n]: 1 for an 8, -1 for a 3

    def loss_of(weights):  # [h, w]
        return (scores_of(images, weights) - wished).abs().mean()  # a scalar

    print(loss_of(torch.zeros_like(difference)))
    print(loss_of(difference))
    return images, loss_of, n, wished


@app.cell(hide_code=True)
def _(difference, loss_of):
    _loss = loss_of(difference).item()
    _surprise = (
        "It may surprise you: they are *worse* than no weights at all."
        if _loss > 1
        else "(With MNIST it is even 6.95, which is worse than no weights at all.)"
    )
    mo.md(f"""
    The first line is easy to check. If all weights are 0, so are all scores, and each is off by exactly 1.

    The second is the loss of our handmade weights, {_loss:.2f}. {_surprise} They put most images on the right side
    of the line, but their scores are far too large. An 8 that should get 1 gets far more, and the loss counts that
    as a miss like any other. The same pattern with smaller weights should do better. Turn the knob: the slider
    multiplies all weights by one number. Where is the loss lowest?
    """)
    return


@app.cell(hide_code=True)
def _():
    strength = mo.ui.slider(0.0, 1.0, value=1.0, step=0.01, label="multiply all weights by", show_value=True)
    strength
    return (strength,)


@app.cell(hide_code=True)
def _(difference, loss_of, strength):
    strengths = torch.linspace(0, 1, 101)  # [101]
    losses_by_strength = torch.stack([loss_of(difference * one) for one in strengths])  # [101]
    _now = loss_of(difference * strength.value).item()
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _axes.plot(strengths, losses_by_strength, color="0.6")
    _axes.plot(strength.value, _now, "o", color="black")
    _axes.set(xlabel="strength", ylabel="loss", ylim=(0, None))
    _axes.set_title(f"strength {strength.value:.2f}: loss {_now:.3f}")
    figure(
        _axes,
        f"The loss against the strength of the weights: it begins at 1 for strength 0, falls to "
        f"{losses_by_strength.min():.2f} at {strengths[losses_by_strength.argmin()]:.2f}, and rises again after that. "
        f"A dot at strength {strength.value:.2f} has the loss {_now:.3f}.",
    )
    return losses_by_strength, strengths


@app.cell(hide_code=True)
def _(difference, losses_by_strength, strengths):
    mo.md(f"""
    You have just done, by hand, what this course is about: you changed a parameter and watched a loss until it
    became no lower. The best strength is about {strengths[losses_by_strength.argmin()]:.2f}, with a loss of
    {losses_by_strength.min():.2f}.

    With one knob a hand and a pair of eyes are enough. But there are {difference.numel()} knobs, and all this time
    we have been turning them together.

    A loss and a metric are not the same thing, even if both say how well it goes. The **loss** is for the machine:
    it must answer each small change. The metric is for people: it should mean something, such as "95 of 100 are
    right".

    ## Seven steps

    Now all parts are on the table, and we can say what learning is. It has seven steps, and it is a loop:
    """)
    return


@app.cell(hide_code=True)
def _():
    _steps = {
        1: (0, 1, "1 initialise\nsome weights"),
        2: (1, 1, "2 predict\na score each"),
        3: (2, 1, "3 loss\nhow bad?"),
        4: (2, 0, "4 direction\nup or down?"),
        5: (1, 0, "5 step\nchange them"),
        7: (0, 0, "7 stop\ngood enough"),
    }
    _axes = plt.subplots(figsize=(6.4, 3))[1]
    _boxes = {}
    for _number, (_x, _y, _text) in _steps.items():
        _style = {
            "boxstyle": "round,pad=0.6",
            "facecolor": "#fdf3dc" if 1 < _number < 6 else "#eeeeee",
            "edgecolor": "0.3",
        }
        _boxes[_number] = _axes.text(_x, _y, _text, ha="center", va="center", fontsize=11, bbox=_style)
    for _from, _to in ((1, 2), (2, 3), (3, 4), (4, 5), (5, 2), (5, 7)):
        _axes.annotate(
            "",
            xy=_steps[_to][:2],
            xytext=_steps[_from][:2],
            arrowprops={
                "arrowstyle": "-|>",
                "color": "0.2",
                "linewidth": 1.6,
                "patchA": _boxes[_from].get_bbox_patch(),
                "patchB": _boxes[_to].get_bbox_patch(),
            },
        )
    _axes.text(1.04, 0.5, "6 repeat", va="center", fontsize=11)
    _axes.set(xlim=(-0.45, 2.45), ylim=(-0.4, 1.4))
    _axes.set_axis_off()
    figure(
        _axes,
        "A diagram with arrows: 1 initialise the weights, 2 predict a score for each image, 3 loss: how bad is it, "
        "4 direction: should each weight go up or down, 5 step: change the weights. From there an arrow, 6 repeat, "
        "leads back to 2, and another one to 7 stop.",
    )
    return


@app.cell(hide_code=True)
def _():
    table(
        [
            {"step": "1 initialise", "what happens": "give each weight a first value", "more in lesson": "7"},
            {"step": "2 predict", "what happens": "compute a score for each image", "more in lesson": "6, 7, 11"},
            {"step": "3 loss", "what happens": "put into one number how bad that is", "more in lesson": "6, 7"},
            {"step": "4 direction", "what happens": "find for each weight: up or down?", "more in lesson": "5, 14"},
            {"step": "5 step", "what happens": "change the weights a little that way", "more in lesson": "5, 6"},
            {"step": "6 repeat", "what happens": "back to 2, with the new weights", "more in lesson": "6, 8"},
            {"step": "7 stop", "what happens": "when it is good enough", "more in lesson": "14"},
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The largest models of today learn in these seven steps, and so does the roller coaster of lesson 6, which has
    three parameters. What differs is how each step is done. When you get lost in a later lesson, come back to this
    picture and ask which of the boxes you are in.

    **Initialise: how can it be good to begin with random numbers?** Because it does not matter much. Steps 2 to 6
    improve *whatever* they begin with, so here a good beginning would only save a few rounds. Random numbers need no
    thought, and, unlike our difference of means, they are there for every problem. They should be small, as lessons
    8 and 11 will show: from a bad beginning even a good method takes long.

    **Direction: try it out.** How do you know whether a weight should go up or down? The simplest way in the world
    is to try. Make it a little larger and compute the loss. Make it a little smaller and compute the loss again.
    Write down which was better, put the weight back, and go on to the next one. As a function:
    """)
    return


@app.cell
def _():
    def try_each(loss_of, weights, size):  # weights [h, w]
        weights, directions = weights.clone(), torch.zeros_like(weights)
        for row in range(weights.shape[0]):
            for column in range(weights.shape[1]):
                kept = weights[row, column].item()
                weights[row, column] = kept + size
                up = loss_of(weights)
                weights[row, column] = kept - size
                down = loss_of(weights)
                weights[row, column] = kept
                directions[row, column] = (down - up).sign()
        return directions  # [h, w]: 1 where up is better, -1 where down is

    return (try_each,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    (`sign` is 1 for a positive number, −1 for a negative one, and 0 for 0.)

    **Step, and repeat.** Then all weights are changed at once, each a little in its own direction. The steps must
    be small, since hundreds of weights move together and what they do adds up. We begin with small random weights
    (`randn` draws random numbers around 0, two thirds of them between −1 and 1) and leave the loop alone for ten
    rounds:
    """)
    return


@app.cell
def _(difference, loss_of, try_each):
    torch.manual_seed(0)
    weights = 0.01 * torch.randn(difference.shape)  # [h, w]: 1 initialise
    size = 1.6 / weights.numel()  # numel: how many there are. If all move, a fully inked image's score moves by 1.6
    history = [weights]
    for _round in range(10):
        weights = weights + size * try_each(loss_of, weights, size)  # 2 to 5
        history.append(weights)
    print(loss_of(history[0]))
    print(loss_of(history[-1]))
    return (history,)


@app.cell(hide_code=True)
def _(history):
    rounds = mo.ui.slider(0, len(history) - 1, value=len(history) - 1, label="after round", show_value=True)
    rounds
    return (rounds,)


@app.cell(hide_code=True)
def _(accuracy_of, history, images, loss_of, rounds):
    losses = [loss_of(one).item() for one in history]
    accuracies = [accuracy_of(one).item() for one in history]
    _weights = history[rounds.value]
    _figure, _axes = plt.subplots(1, 2, figsize=(7, 3), width_ratios=(1, 1.4))
    _most = history[-1].abs().max().item()
    show_image(_weights, _axes[0], title=f"weights, round {rounds.value}", cmap="RdBu_r", vmin=-_most, vmax=_most)
    _axes[1].plot(losses, marker=".", label=f"loss, on {len(images)} images")
    _axes[1].plot(accuracies, marker=".", label="accuracy, validation set")
    _axes[1].axvline(rounds.value, color="0.7", zorder=0)
    _axes[1].set(xlabel="round", ylim=(0, None))
    _axes[1].legend(loc="lower left")
    _figure.tight_layout()
    figure(
        _figure,
        f"Left the weights after round {rounds.value} as an image in red and blue: noise at first, in the end a "
        "pattern like that of the handmade weights, with noise around it. Right, over the rounds, the loss, which "
        f"falls from {losses[0]:.2f} to {losses[-1]:.2f}, and the accuracy on the validation set, which rises from "
        f"{accuracies[0]:.2f} to {accuracies[-1]:.2f}.",
    )
    return accuracies, losses


@app.cell(hide_code=True)
def _(accuracies, difference, eights, handmade, images, losses, threes):
    computed, _all = 2 * difference.numel(), len(eights) + len(threes)  # losses of one round, images
    mo.md(f"""
    **It learns.** Nobody told it where 8s and 3s differ. It began with noise, and the loss has come down from
    {losses[0]:.2f} to {losses[-1]:.2f}. On images that it has never seen it is now right for
    {accuracies[-1]:.1%}; our handmade weights were for {handmade:.1%}. Move the slider back to 0 and forward
    again, and watch a pattern come out of the noise: red on the left, where only an 8 has ink. At the edges the
    noise stays, for a simple reason: no image has ink there, so all products are 0, no change of such a weight
    changes the loss, and neither direction is better.

    So why does the course not end here? **Count.** `try_each` computes two losses for each weight, and there are
    {difference.numel()} weights: {computed:,} losses for one round, each of them from {len(images)} images. With all
    {_all:,} images of the training set it would be {computed * _all:,} scores, for one small step. And this is a small
    model. Lesson 13 has one with eleven million parameters, and those in the news have billions.

    There is a way to get the directions of *all* weights from a *single* loss. It needs a piece of mathematics that
    Isaac Newton already knew: how to compute the slope of a curve. The slope says which way is down without trying
    it out. It also says how steep it is, so that steps can be large where it is steep and small near the bottom.
    (Ours are all of one size, and so the loss may jump from side to side at the end instead of settling.) The
    slopes of the loss, one for each weight, are called its *gradient*, and lesson 5 is about nothing else. It
    brings no new idea of learning. It is this lesson's trying out, done enormously faster.

    **Stop: when?** When it is good enough for what you want, or when your time is up. And there is a third reason,
    which sounds strange at first: when the loss on the validation set *rises* while the one on the training set is
    still falling. Lesson 14 shows how that can be.
    """)
    return (computed,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Summary

    - Pixel similarity cannot improve, because there is no number in it that could be set in another way.
    - Samuel's idea: weights, a test of the weights, a mechanism that changes them so that the test comes out
      better.
    - `pr_eight(x, w)`: each pixel times its weight, added up, is a score. A weight speaks only where there is ink.
    - A function with parameters is a model. The search for a good function becomes a search for good numbers.
    - The loss says in one number how bad the parameters are, and answers even small changes. Low is good.
    - Learning is a loop: initialise, predict, loss, direction, step, repeat, stop.
    - The direction can be found by trying, at two losses for each weight. That works, and is much too slow.

    **New words:** weight, score, parameter, input, model, architecture, loss (criterion), initialise.

    ## Exercises

    **1.** The image is `[[0, 1], [0.5, 0]]` and the weights are `[[2, -1], [4, 3]]`. What is the score? Use your
    head.
    """)
    return


@app.cell
def _():
    score = ...  # a number
    return (score,)


@app.cell(hide_code=True)
def _(score):
    check_1 = exercise(
        "4.1",
        score,
        lambda answer: float(answer) == 1,
        hints=(
            "There are four pixels, so there are four products to add.",
            "Two pixels have no ink. Their weights, 2 and 3, do not count.",
            "What is left is 1 · (−1) + 0.5 · 4.",
        ),
        solution="score = 0 * 2 + 1 * -1 + 0.5 * 4 + 0 * 3  # 1",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** Make weights for images of 8 × 8 pixels with which the score says how much more ink there is in the upper
    half than in the lower half. (For an upside-down image the score must be the same with the other sign.)
    """)
    return


@app.cell
def _():
    upper_lower = ...  # a tensor [8, 8]
    return (upper_lower,)


@app.cell(hide_code=True)
def _(upper_lower):
    _upper = torch.cat([torch.ones(4, 8), -torch.ones(4, 8)])
    check_2 = exercise(
        "4.2",
        upper_lower,
        lambda answer: torch.equal(answer.float(), _upper),
        hints=(
            "Ink in the upper half should add to the score, ink in the lower half should take away from it.",
            "So each weight of rows 0 to 3 is 1. Which is each weight of rows 4 to 7?",
            "Start with `torch.ones(8, 8)`, and assign to the slice `[4:]`.",
        ),
        solution="""
        upper_lower = torch.ones(8, 8)
        upper_lower[4:] = -1
        """,
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** A model has one weight for each number of a colour image, 32 × 32 pixels. How many losses does one round
    of `try_each` compute for it?
    """)
    return


@app.cell
def _():
    cost = ...  # a whole number
    return (cost,)


@app.cell(hide_code=True)
def _(cost):
    check_3 = exercise(
        "4.3",
        cost,
        lambda answer: answer == 6144,
        hints=(
            "How many numbers does a colour image have? You counted such numbers in lesson 1.",
            "It has three channels, so there are 3 · 32 · 32 weights.",
            "Each weight is tried twice, once up and once down.",
        ),
        solution="cost = 2 * 3 * 32 * 32  # up and down, for each of the weights",
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Write a loss that is harder on large misses than ours: the mean of the *squares* of the differences
    between scores and wishes. (You need not take the root at the end.)
    """)
    return


@app.cell
def _():
    def squared_loss(scores, wishes):  # [n] and [n] → a scalar
        return ...

    return (squared_loss,)


@app.cell(hide_code=True)
def _(squared_loss):
    _scores, _wishes = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, -1.0, 1.0])
    check_4 = exercise(
        "4.4",
        squared_loss,
        lambda answer: abs(float(answer) - 1.25 / 3) < 1e-6,
        hints=(
            "Have a look at `loss_of` above: what has to change, and what can stay?",
            "Subtract first. A square makes every difference positive, so `abs` is no longer needed.",
            "`(scores - wishes) ** 2` has the shape `[n]`. One function is missing that makes a single number of it.",
        ),
        solution="""
        def squared_loss(scores, wishes):
            return ((scores - wishes) ** 2).mean()
        """,
        arguments=(_scores, _wishes),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** Write the whole loop, for a model with a single weight. `loss` is a function that you can call with a
    weight. Begin with `weight`; in each round compare the losses of three weights (as it is, larger by `size`,
    smaller by `size`) and go on with the best. Return the weight after `rounds` rounds.
    """)
    return


@app.cell
def _():
    def learn(loss, weight, size, rounds):  # → a number
        return ...

    return (learn,)


@app.cell(hide_code=True)
def _(learn):
    check_5 = exercise(
        "4.5",
        learn,
        lambda answer: answer == -2.0,
        hints=(
            "Step 1 is done for you: `weight` is given. The rest is a `for` loop over `range(rounds)`.",
            "In the loop there are three candidates: `weight`, `weight + size` and `weight - size`.",
            "`min(candidates, key=loss)` is the one of the candidates for which `loss` is smallest.",
        ),
        solution="""
        def learn(loss, weight, size, rounds):
            for _ in range(rounds):
                candidates = [weight, weight + size, weight - size]
                weight = min(candidates, key=loss)
            return weight
        """,
        arguments=(lambda weight: abs(weight + 2), 1.0, 0.5, 10),
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** In exercise 5, what happens with a `size` of 0.4? And of 10? Can you change the loop so
    that it always comes as near to the minimum as you wish?

    **Further research, too.** Pixel similarity with squared differences is a score in disguise. Write out (x − a)²
    − (x − b)² for a single pixel x, and see what is left of x². Add it up over all pixels. Which weights does it
    have, and with which number is the score compared, if not with 0?

    ## What you can read now

    [`torch.nn.L1Loss`](https://pytorch.org/docs/stable/generated/torch.nn.L1Loss.html): it is the loss of this
    lesson. Of the formulas you know both the one with the bars (the absolute value) and the mean over all of them;
    read `x` as our scores and `y` as our wishes.

    **Next:** [5 · Gradients](?file=05_gradients.py), the direction of all weights at once, without trying.
    """)
    return


if __name__ == "__main__":
    app.run()
