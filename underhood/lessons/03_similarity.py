import marimo

app = marimo.App(width="medium", app_title="3 · Pixel similarity", layout_file="layouts/03_similarity.slides.json")

with app.setup:
    import marimo as mo
    import torch
    import torch.nn.functional as F

    from underhood import PixelSimilarity
    from underhood.display.notebook import show_images
    from underhood.lessons import exercise, figure, load, table


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 3 · Pixel similarity

    Lesson 1 asked how *you* would tell a 3 from a 7 if all you had were tables of numbers. One answer comes to almost
    everybody: find out what a typical 3 looks like and what a typical 7 looks like, and give a new image the name of
    the one that it resembles more. There is no learning in this yet. It takes a handful of lines, and it is right
    surprisingly often.

    That is reason enough to do it first. A simple method of which we can expect that it does reasonably well, built
    before anything clever, is called a **baseline**. Suppose that you work for a month on something clever, and it is
    right for 94 of 100 images. Is that good? Without a baseline you cannot know. With one that is right for 95, you
    know that the month was wasted.

    **After this lesson** you can make one tensor of many images, average them, measure in two ways how far apart two
    images are, compare a thousand images with another one without writing a loop, and say honestly how good a method
    is. **It takes about 45 minutes**, and it uses what lesson 2 explained: shapes, axes and broadcasting.
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
    ## All 3s in one tensor

    The data set keeps the pixels of all training images in one block, and beside it a label for each. A label is
    stored as a whole number: the place of the class in the list of classes, counted from 0. (A **class** is one of
    the kinds that images are sorted into, here "3" and "7".)
    """)
    return


@app.cell
def _(dataset):
    pixels, labels = dataset.train.pixels, dataset.train.labels
    print(pixels.shape)  # [n, c, h, w]: images, channels, rows, columns
    print(dataset.classes, labels.shape, "from", labels.min(), "to", labels.max())
    return labels, pixels


@app.cell(hide_code=True)
def _():
    mo.md("""
    So label 0 means "3" and label 1 means "7". Let us pick out the 3s. In lesson 2 you saw in passing how Python
    builds one list from another, by a **list comprehension**. In full it has three parts and reads like a sentence:
    what to make, of what, and under which condition.
    """)
    return


@app.cell
def _(labels, pixels):
    three_tensors = [
        torch.tensor(image[0])  # what to make: a tensor [h, w] of the only channel
        for image, label in zip(pixels, labels, strict=True)  # of what
        if label == 0  # under which condition: the label says "3"
    ]
    print(len(three_tensors), three_tensors[0].shape)
    return (three_tensors,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    (`zip` walks through two lists side by side; `strict=True` makes it complain if one is longer than the other.)

    That is a Python list with a small tensor for each 3. To compute with all of them in one go we need *one* tensor.
    `torch.stack` lays the images on a pile, and the pile gets a new axis in front, along which images are counted.
    """)
    return


@app.cell
def _(three_tensors):
    stacked = torch.stack(three_tensors)  # n tensors [h, w] → one tensor [n, h, w]
    print(stacked.shape, stacked.dtype)
    threes = stacked.float() / 255  # [n, h, w], from 0 to 1
    print(threes.shape, threes.dtype)
    return (threes,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The second step, `.float() / 255`, is the habit from lesson 2, and here it is essential: we are about to subtract
    images, and the difference of two `uint8` numbers cannot be negative. It would begin again at 255, without a
    warning. Now a pixel is a number from 0, no ink, to 1, full ink.

    We need the same for the 7s, and later for the validation set. What is needed more than once becomes a function:
    """)
    return


@app.cell
def _():
    def stack_of(images, wanted):
        chosen = [
            torch.tensor(image[0])  # [h, w]
            for image, label in zip(images.pixels, images.labels, strict=True)
            if label == wanted
        ]
        return torch.stack(chosen).float() / 255  # [n, h, w], from 0 to 1

    return (stack_of,)


@app.cell
def _(dataset, stack_of):
    sevens = stack_of(dataset.train, 1)
    sevens.shape
    return (sevens,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The mean of a class

    Now the typical 3. For each place in the image we ask how much ink the 3s have there on average. In `[n, h, w]`
    the images are counted along axis 0, so this is the mean over axis 0. That axis disappears, and rows and columns
    stay: what comes out is an image.
    """)
    return


@app.cell
def _(sevens, threes):
    mean3, mean7 = threes.mean(0), sevens.mean(0)  # [n, h, w] → [h, w]
    print(mean3.shape, mean7.shape)
    print(mean3[len(mean3) // 2].round(decimals=2))  # the row in the middle
    return mean3, mean7


@app.cell(hide_code=True)
def _():
    mo.md("""
    We call it the **class mean**. (*Deep Learning for Coders with fastai and PyTorch*, by Jeremy Howard and Sylvain
    Gugger, whose figures this course follows, calls it the *ideal digit*. When a lesson says "the book", it means
    that one. fastai is a library on top of PyTorch, by the same authors.) The row printed above goes through the
    middle of the 3, and each number in it is the average ink at one place. Here are both class means as images. The
    slider decides how many images of each class are averaged; move it from 1 upwards.
    """)
    return


@app.cell(hide_code=True)
def _(sevens, threes):
    _most = min(len(threes), len(sevens))
    used = mo.ui.slider(
        steps=[*(count for count in (1, 2, 5, 10, 30, 100, 1000) if count < _most), _most],
        value=_most,
        label="images averaged",
        show_value=True,
    )
    used
    return (used,)


@app.cell(hide_code=True)
def _(sevens, threes, used):
    _means = [images[: used.value].mean(0) for images in (threes, sevens)]
    figure(
        show_images(_means, ["mean of the 3s", "mean of the 7s"], columns=2, cmap="Greys", vmin=0, vmax=1),
        f"The mean of {used.value} images of a 3 and of {used.value} images of a 7. From a few images it is a mixture "
        "in which single strokes can be seen, from many a smooth, blurred digit.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    With one image, the class mean is that image. With five, you can still make out the single strokes. With all of
    them nobody's handwriting is left, only what they have in common: dark where nearly everybody puts ink, pale where
    writers disagree, and blank where nobody writes. You may also notice that between 100 images and all of them
    hardly anything changes.

    ## How far apart are two images?

    Next we need a number for "resembles". It should be 0 for two equal images and grow the more they differ. The
    obvious idea is to subtract the images pixel by pixel and to take the mean of the differences. Let us try that on
    the smallest images possible, with four pixels in a row.
    """)
    return


@app.cell
def _():
    left = torch.tensor([1.0, 1.0, 0.0, 0.0])  # all the ink is on the left
    right = torch.tensor([0.0, 0.0, 1.0, 1.0])  # all the ink is on the right
    print(left - right)
    print((left - right).mean())
    return left, right


@app.cell(hide_code=True)
def _():
    mo.md("""
    The two images do not agree in a single pixel, and yet their distance would be 0! Too much ink in one place (+1)
    and too little in another (−1) have cancelled each other. In fact, the mean of the signed differences compares
    nothing but the total amounts of ink, which is the poor method of lesson 1's histogram. So the signs have to go
    before we take the mean. There are two common ways to do that.

    - Drop the signs: take the absolute value of each difference, then the mean. This is the **mean absolute
      difference**, or **L1** distance, or mean absolute error (MAE).
    - Square the differences, which makes all of them positive, then take the mean, and at the end the square root,
      which undoes the squaring, so that the result is an amount of ink again and not an amount of ink squared. This
      is the **root of the mean squared error**, RMSE, or **L2** distance.

    Each is one line, which reads from left to right:
    """)
    return


@app.cell
def _(left, right):
    print((left - right).abs().mean())  # L1
    print(((left - right) ** 2).mean().sqrt())  # L2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Now both say 1: every pixel is off by full ink. If they agree, why are there two? Because they disagree elsewhere.
    Compare an image that is a little wrong everywhere with one that is quite wrong in one place:
    """)
    return


@app.cell
def _():
    everywhere = torch.tensor([0.1, 0.1, 0.1, 0.1])  # four small differences
    one_place = torch.tensor([0.0, 0.0, 0.0, 0.4])  # a single large one
    print("L1:", everywhere.abs().mean(), one_place.abs().mean())
    print("L2:", (everywhere**2).mean().sqrt(), (one_place**2).mean().sqrt())
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    For L1 they are equally far from being right, for L2 the second is twice as far. The square of a small number is
    tiny and the square of a large one is large, so L2 punishes a big difference more than many small ones. Neither of
    them is the true distance; which one serves better is a question that only trying can answer, and at the end of
    this lesson we do.

    You will often read the word **norm** here. In mathematics a norm says how large a list of numbers is as a whole.
    The L1 norm adds up the absolute values; the L2 norm is the root of the sum of squares, which for two numbers is
    the theorem of Pythagoras. (The L honours the mathematician Henri Lebesgue.) We use means in place of sums, so
    that the result does not depend on how many pixels an image has. For the question which of two class means is
    nearer, that makes no difference.

    ## One 3, measured

    We take one 3 from the training set and measure how far it is from either class mean, in both ways.
    """)
    return


@app.cell
def _(mean3, mean7, threes):
    a_3 = threes[1]  # [h, w]
    l1_from_3 = (a_3 - mean3).abs().mean()
    l1_from_7 = (a_3 - mean7).abs().mean()
    l2_from_3 = ((a_3 - mean3) ** 2).mean().sqrt()
    l2_from_7 = ((a_3 - mean7) ** 2).mean().sqrt()
    print("L1 from the 3s:", l1_from_3, " from the 7s:", l1_from_7)
    print("L2 from the 3s:", l2_from_3, " from the 7s:", l2_from_7)
    return a_3, l1_from_3, l1_from_7, l2_from_3, l2_from_7


@app.cell(hide_code=True)
def _(a_3, mean3, mean7):
    figure(
        show_images(
            [a_3, mean3, (a_3 - mean3).abs(), a_3, mean7, (a_3 - mean7).abs()],
            ["the 3", "mean of the 3s", "difference", "the 3", "mean of the 7s", "difference"],
            cmap="Greys",
            vmin=0,
            vmax=1,
        ),
        "Above, one 3, the mean of the 3s, and the absolute difference of the two. Below, the same 3, the mean of the "
        "7s, and their absolute difference, which has more ink.",
    )
    return


@app.cell(hide_code=True)
def _(l1_from_3, l1_from_7, l2_from_3, l2_from_7):
    distances = {
        "from the 3s": (l1_from_3.item(), l2_from_3.item()),
        "from the 7s": (l1_from_7.item(), l2_from_7.item()),
    }
    _nearer = "nearer to the class mean of the 3s" if l1_from_3 < l1_from_7 else "nearer to the class mean of the 7s"
    mo.md(f"""
    The L1 distance is the average ink of the difference image on the right: from the 3s, a pixel is off by
    {l1_from_3:.0%} of full ink on average, from the 7s by {l1_from_7:.0%}. So this image is {_nearer}, and L2
    {"agrees" if (l2_from_3 < l2_from_7) == (l1_from_3 < l1_from_7) else "says the opposite"}. (With MNIST you see the
    book's own figures: 0.1114 and 0.2021 from the 3s, 0.1586 and 0.3021 from the 7s.)

    PyTorch has both measures ready-made. They are in a collection of functions, `torch.nn.functional`, which by
    custom is imported as `F`.
    """)
    return (distances,)


@app.cell
def _(a_3, mean7):
    print(F.l1_loss(a_3, mean7))
    print(F.mse_loss(a_3, mean7).sqrt())
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The same numbers as ours. `mse` is short for *mean squared error*, and the root is left to you. The word `loss` in
    the names belongs to the next lesson; until then, read it as "how far off".

    ## One function for one image or a thousand

    We give the L1 distance a name of its own, so that we can say what we mean. The mean is taken over the last two
    axes, columns and rows, which are counted from the end.
    """)
    return


@app.cell
def _():
    def mnist_distance(a, b):
        return (a - b).abs().mean((-1, -2))  # [..., h, w] → [...]

    return (mnist_distance,)


@app.cell
def _(a_3, mean3, mnist_distance):
    mnist_distance(a_3, mean3)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    That is the distance from above, for which a plain `.mean()` would have done. But we do not want to ask about one
    image; we want to ask about a thousand. We could call the function in a loop. We need not: hand over the whole
    pile. Here are the images of the validation set, which took no part in the class means.
    """)
    return


@app.cell
def _(dataset, stack_of):
    valid_3, valid_7 = stack_of(dataset.valid, 0), stack_of(dataset.valid, 1)
    print(valid_3.shape, valid_7.shape)
    return valid_3, valid_7


@app.cell
def _(mean3, mnist_distance, valid_3):
    from_3 = mnist_distance(valid_3, mean3)  # [n, h, w] and [h, w] → [n]
    print(from_3.shape)
    print(from_3[:6])
    return (from_3,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    One distance for each image, although the function was written with two images in mind, and although `a` and `b`
    do not even have the same shape. This is broadcasting at work. Follow the shapes, step by step:
    """)
    return


@app.cell(hide_code=True)
def _(from_3, mean3, valid_3):
    table(
        [
            {"step": "`valid_3`", "shape": list(valid_3.shape), "": "a pile of images"},
            {"step": "`mean3`", "shape": list(mean3.shape), "": "one image"},
            {"step": "`valid_3 - mean3`", "shape": list((valid_3 - mean3).shape), "": "minus the same image each time"},
            {"step": "`.abs()`", "shape": list((valid_3 - mean3).abs().shape), "": "each number for itself"},
            {"step": "`.mean((-1, -2))`", "shape": list(from_3.shape), "": "one number for each image"},
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    `mean3` lacks the axis of the images, so it is stretched along that axis, without being copied. And since the axes
    of the mean are counted from the end, rows and columns are found in their place, whether there is an axis of
    images in front of them or not. A plain `.mean()` would have mixed all images into a single number.

    Now the decision. An image is a 3 if it is nearer to the mean of the 3s than to the mean of the 7s:
    """)
    return


@app.cell
def _(mnist_distance):
    def is_3(x, mean3, mean7):
        return mnist_distance(x, mean3) < mnist_distance(x, mean7)  # [...], bool

    return (is_3,)


@app.cell
def _(a_3, is_3, mean3, mean7, valid_3):
    print(is_3(a_3, mean3, mean7))
    print(is_3(valid_3, mean3, mean7)[:6])
    print(is_3(valid_3, mean3, mean7)[:6].float())
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The comparison gives one `True` or `False` for each image, and `.float()` makes ones and zeros of them. As you
    know from lesson 2, the mean of ones and zeros is the fraction of ones. That is all we need to judge our method.

    ## How good is it?

    For that we need a number that says how well a method does, and that people understand. Such a number is called a
    **metric**. A distance would not do: "0.11 of full ink" tells nobody how many digits will be read correctly. The
    usual metric for sorting into classes is the **accuracy**, the fraction of the images that get the right label.

    Over which images? Not those of the training set. Each of them has left some ink of its own in its class mean, and
    so has pulled that mean towards itself. To ask about these images is like giving pupils an exam with exactly the
    exercises that were solved in class: even one who has only learned the answers by heart passes. What we want to
    know is how the method does on images that it has never met. That is what the **validation set** is kept apart
    for. It is an exam with new exercises.
    """)
    return


@app.cell
def _(is_3):
    def accuracies(x_3, x_7, mean3, mean7):
        right_3 = is_3(x_3, mean3, mean7).float()  # [n] of 1 for right, 0 for wrong
        right_7 = 1 - is_3(x_7, mean3, mean7).float()  # [m]: a 7 is right if it is no 3
        return right_3.mean(), right_7.mean()

    return (accuracies,)


@app.cell
def _(accuracies, mean3, mean7, valid_3, valid_7):
    found = accuracies(valid_3, valid_7, mean3, mean7)
    accuracy_3, accuracy_7 = found[0].item(), found[1].item()
    baseline = (accuracy_3 + accuracy_7) / 2
    print(found)
    print(f"mean of the two: {baseline:.4f}")
    return accuracy_3, accuracy_7, baseline


@app.cell(hide_code=True)
def _(accuracy_3, accuracy_7, baseline):
    mo.md(f"""
    Of the 3s, {accuracy_3:.2%} are recognised, of the 7s {accuracy_7:.2%}, on average {baseline:.2%}. (With MNIST
    these are 0.9168, 0.9854 and 0.9511, to the last digit the figures of the book.) Guessing with a coin would give
    50%. For something that compares and does not learn, this is a good result, and from now on it is the number to
    beat. (`f"… {{x:.4f}}"` writes the number x into a text, with four digits behind the point.)

    Does it really matter which images one asks? Try it. Here the class means are made from only a few images of the
    training set, and then the accuracy is measured twice: on exactly these images, and on the validation set.
    """)
    return


@app.cell(hide_code=True)
def _(sevens, threes):
    _most = min(len(threes), len(sevens))
    few = mo.ui.slider(
        steps=[*(count for count in (1, 2, 3, 5, 10, 30, 100, 1000) if count < _most), _most],
        value=1,
        label="images for each class mean",
        show_value=True,
    )
    start = mo.ui.slider(0, 20, value=0, label="beginning with image", show_value=True)
    mo.vstack([few, start])
    return few, start


@app.cell
def _(accuracies, few, sevens, start, threes, valid_3, valid_7):
    few_3 = threes[start.value :][: few.value]  # [few, h, w]
    few_7 = sevens[start.value :][: few.value]
    few_means = few_3.mean(0), few_7.mean(0)
    on_seen = sum(accuracies(few_3, few_7, *few_means)) / 2
    on_unseen = sum(accuracies(valid_3, valid_7, *few_means)) / 2
    print("on the images that the means are made of:", on_seen)
    print("on the validation set:                   ", on_unseen)
    return on_seen, on_unseen


@app.cell(hide_code=True)
def _():
    mo.md("""
    (The `*` hands over the two means as two arguments.) With one image of each class the method makes no mistake on
    the images that it has seen, and it never could: each of them is at distance 0 from itself. On new images it does
    make mistakes. How many depends on luck: begin with another image, and you get another number. A person who
    looks only at the first line promises too much.

    With all images, the two numbers come close together, because a single one hardly counts in a mean of many, and
    our method remembers nothing of an image but its share in that mean. (Which of the two is a little higher is
    then a matter of chance: one set happens to have the easier images.) The methods of later lessons can remember
    far more, and with them the gap between the two is the thing to watch.

    ## Two ways to average

    We took the accuracy of each class and then the mean of the two. One could also count all images together:
    """)
    return


@app.cell
def _(baseline, is_3, mean3, mean7, valid_3, valid_7):
    right_3 = is_3(valid_3, mean3, mean7)  # [n]
    right_7 = ~is_3(valid_7, mean3, mean7)  # [m]
    right_all = torch.cat([right_3, right_7])  # [n + m]
    over_all = right_all.float().mean().item()
    print(right_all.shape)
    print(f"mean of the classes: {baseline:.4f}")
    print(f"over all images:     {over_all:.4f}")
    return (over_all,)


@app.cell(hide_code=True)
def _(valid_3, valid_7):
    mo.md(f"""
    (`~` turns `True` into `False` and the other way round. `torch.cat` puts tensors end to end along an axis which
    they have already, while `torch.stack` makes a new one.)

    Why are these not the same number? In the mean of the classes, each *class* counts for one half. In the accuracy
    over all images, each *image* counts the same, so a class with more images counts more. Here there are
    {len(valid_3):,} 3s and {len(valid_7):,} 7s, almost equally many, and so the two agree to about three digits.
    (With MNIST, 0.9511 and 0.9514.) But imagine 90 3s and 10 7s, and a lazy method that answers "3" to everything.
    Over all images its accuracy is 0.90, which sounds fine. The mean of the classes is (1 + 0) / 2 = 0.50, which
    tells the truth.

    So when you read an accuracy, ask how many images each class has. fastai's `accuracy` counts over all images, and
    so do the later lessons of this course. scikit-learn calls the mean of the classes *balanced accuracy*.

    ## Look at the mistakes

    A metric says how often a method is wrong. It does not say why. For that there is no substitute for looking.
    """)
    return


@app.cell(hide_code=True)
def _():
    kind = mo.ui.radio(["3s taken for 7s", "7s taken for 3s"], value="3s taken for 7s", inline=True)
    kind
    return (kind,)


@app.cell(hide_code=True)
def _(is_3, kind, mean3, mean7, valid_3, valid_7):
    if kind.value == "3s taken for 7s":
        _wrong = valid_3[~is_3(valid_3, mean3, mean7)]
    else:
        _wrong = valid_7[is_3(valid_7, mean3, mean7)]
    _drawn = (
        figure(
            show_images(list(_wrong[:12]), columns=6, side=1.2, cmap="Greys", vmin=0, vmax=1),
            f"The first {min(12, len(_wrong))} of the {kind.value} in the validation set.",
        )
        if len(_wrong)
        else mo.md("There are none.")
    )
    mo.vstack([mo.md(f"{len(_wrong)} {kind.value}, the first of them:"), _drawn])
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    You have no trouble with most of them. Many are thin, or slanted, or narrow, and their strokes run where a typical
    digit of their class has none. That shows what this method cannot see: it compares each pixel only with *the same
    place* in the class mean. A stroke that is two pixels further to the left counts as missing here and as wrong
    there. And there is nothing we could adjust to make it better. That is where the next lesson starts.

    ## As software

    The same method for any number of classes is in this project under the name `PixelSimilarity`. `fit` computes the
    class means, `predict` names the nearest for each image. It is the baseline that `underhood train` prints beside
    every result; statistics calls it the *nearest-centroid* method. It lets us try L1 against L2:
    """)
    return


@app.cell
def _(dataset):
    def accuracy_of(distance):
        method = PixelSimilarity(distance).fit(dataset.train)
        guesses = method.predict(dataset.valid.pixels)  # [n]: a label for each image
        return (guesses == dataset.valid.labels).mean()

    with_l1, with_l2 = accuracy_of("l1"), accuracy_of("l2")
    print(f"L1: {with_l1:.4f}")
    print(f"L2: {with_l2:.4f}")
    return with_l1, with_l2


@app.cell(hide_code=True)
def _(over_all, with_l1, with_l2):
    _better = "neither is better" if with_l1 == with_l2 else f"{'L2' if with_l2 > with_l1 else 'L1'} is better"
    mo.md(f"""
    L1 gives the accuracy over all images that we found by hand, {over_all:.4f}. And on these digits {_better}. That
    is no law; with other images it may be different, and the only way to know is to measure. Our baseline by hand
    used L1 because the book does; a fair baseline is the better of the two. (If you look `PixelSimilarity` up, you
    will find its argument under the name `metric`: mathematicians use that word for a distance, and libraries follow
    them. In this course a metric is only ever the number for people.)

    ## Summary

    - `torch.stack` makes one tensor `[n, h, w]` of a list of images; the mean over axis 0 is the class mean.
    - Signed differences cancel. L1 takes absolute values; L2 squares, averages and takes the root, so that large
      differences weigh more.
    - Written for one image, `mnist_distance` works for a thousand, by broadcasting and by axes counted from the end.
    - A comparison gives `True` and `False`; the mean of that, as decimal numbers, is a fraction: the accuracy.
    - Measure on images that took no part in building the method, and look at the mistakes.
    - The mean of the classes' accuracies weighs classes equally, the accuracy over all weighs images equally.

    **New words:** class, list comprehension, class mean (ideal digit), L1 (mean absolute difference), L2 (RMSE),
    norm, baseline, metric, accuracy.

    ## Exercises

    **1.** For ten digits we would need ten distances for each image. Put all class means into one tensor, and give
    the images an extra axis of length 1, to make room: `images` has the shape `[100, 1, 28, 28]`, and `means` has the
    shape `[10, 28, 28]`. Which shape has `images - means`?
    """)
    return


@app.cell
def _():
    shape = ...  # a list or tuple of whole numbers
    return (shape,)


@app.cell(hide_code=True)
def _(shape):
    check_1 = exercise(
        "3.1",
        shape,
        lambda answer: tuple(answer) == (100, 10, 28, 28),
        hints=(
            "Write the two shapes below one another, aligned to the right, as in lesson 2.",
            "`means` has no axis where `images` has 100, so it is repeated there.",
            "In the second place 1 meets 10, and an axis of length 1 is repeated to fit the other one.",
        ),
        solution="shape = (100, 10, 28, 28)  # each image minus each mean",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** A validation set has 900 3s, of which 810 are recognised, and 100 7s, of which 40 are recognised. What is
    the accuracy over all images, and what is the mean of the two classes' accuracies?
    """)
    return


@app.cell
def _():
    both = ...  # two numbers: (over all images, mean of the classes)
    return (both,)


@app.cell(hide_code=True)
def _(both):
    check_2 = exercise(
        "3.2",
        both,
        lambda answer: abs(answer[0] - 0.85) < 1e-6 and abs(answer[1] - 0.65) < 1e-6,
        hints=(
            "For the first number forget that there are classes. How many images are there, and how many are right?",
            "For the second, compute the accuracy of the 3s (810 of 900) and that of the 7s (40 of 100) first.",
            "The first is 850 of 1,000; the second is the mean of 0.9 and 0.4.",
        ),
        solution="both = ((810 + 40) / (900 + 100), (810 / 900 + 40 / 100) / 2)",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Write the L2 distance of any number of images from one image, in one line and without a loop.
    """)
    return


@app.cell
def _():
    def l2(images, ideal):  # [n, h, w] and [h, w] → [n]
        return ...

    return (l2,)


@app.cell(hide_code=True)
def _(l2, mean7, valid_7):
    check_3 = exercise(
        "3.3",
        l2,
        lambda answer: torch.allclose(answer, torch.stack([((one - mean7) ** 2).mean().sqrt() for one in valid_7])),
        hints=(
            "Begin with `mnist_distance` and change what happens between the difference and the mean.",
            "Three steps in this order: square, mean over the last two axes, square root.",
            "The square of all differences is `(images - ideal) ** 2`; `.mean(...)` and `.sqrt()` follow.",
        ),
        solution="""
        def l2(images, ideal):
            return ((images - ideal) ** 2).mean((-1, -2)).sqrt()
        """,
        arguments=(valid_7, mean7),
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Take the class mean of the 3s with half its ink everywhere, `mean3 / 2`. By L1, how many 3s of the training
    set are nearer to this pale image than to `mean3` itself? Guess first. Then compute the fraction.
    """)
    return


@app.cell
def _():
    fraction = ...  # a number from 0 to 1
    return (fraction,)


@app.cell(hide_code=True)
def _(fraction, mean3, mnist_distance, threes):
    check_4 = exercise(
        "3.4",
        fraction,
        lambda answer: (
            abs(answer - (mnist_distance(threes, mean3 / 2) < mnist_distance(threes, mean3)).float().mean().item())
            < 0.01
        ),
        hints=(
            "This is the pattern of `is_3`, with other names, followed by the pattern of the accuracy.",
            "`mnist_distance(threes, mean3 / 2)` has one distance for each 3; so has the one from `mean3`.",
            "Compare the two with `<`; take `.float().mean()` of what that gives.",
        ),
        solution="""
        nearer = mnist_distance(threes, mean3 / 2) < mnist_distance(threes, mean3)  # [n], bool
        fraction = nearer.float().mean().item()
        """,
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** Now for any number of classes. `images` is `[n, h, w]`, and `means` is `[classes, h, w]`, a class mean in
    each place. Return for each image the number of the class whose mean is nearest, by L1. Two things help. As in
    lesson 2, `images[:, None]` puts in an axis of length 1, so that you have `[n, 1, h, w]`. And `t.argmin(1)` says
    where, along axis 1, the smallest number of `t` is: `torch.tensor([[5, 2, 9]]).argmin(1)` is `tensor([1])`.
    """)
    return


@app.cell
def _():
    def nearest(images, means):  # [n, h, w] and [classes, h, w] → [n]
        return ...

    return (nearest,)


@app.cell(hide_code=True)
def _(is_3, mean3, mean7, nearest, valid_3, valid_7):
    _some = torch.cat([valid_3[:50], valid_7[:50]])
    check_5 = exercise(
        "3.5",
        nearest,
        lambda answer: torch.equal(answer, (~is_3(_some, mean3, mean7)).long()),
        hints=(
            "Exercise 1 has the shapes: each image minus each mean, all at once.",
            "`mnist_distance(images[:, None], means)` is `[n, classes]`. Why?",
            "In each row of it, find the place of the smallest number.",
        ),
        solution="""
        def nearest(images, means):
            distances = mnist_distance(images[:, None], means)  # [n, classes]
            return distances.argmin(1)
        """,
        arguments=(_some, torch.stack([mean3, mean7])),
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** If exercise 4 surprised you: the mean is the image with the smallest mean *squared*
    difference from all 3s. For absolute differences, that is the median, the number in the middle when all are put in
    order: `threes.median(0).values`. Does the baseline improve if you use medians with L1? And what becomes of the
    two accuracies when you shift all validation images by one, two or three pixels (`torch.roll`)?

    ## What you can read now

    - [`torch.stack`](https://pytorch.org/docs/stable/generated/torch.stack.html) and
      [`torch.mean`](https://pytorch.org/docs/stable/generated/torch.mean.html): all of both pages. `dim` is PyTorch's
      name for an axis, and it may be several, as in `mean((-1, -2))`.
    - [`l1_loss`](https://pytorch.org/docs/stable/generated/torch.nn.functional.l1_loss.html): what goes in and what
      comes out.

    **Next:** [4 · From similarity to learning](?file=04_learning.py), where a method gets something that can be
    adjusted.
    """)
    return


if __name__ == "__main__":
    app.run()
