import marimo

app = marimo.App(width="medium", app_title="14 · Overfitting", layout_file="layouts/14_overfitting.slides.json")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import torch
    from torch import nn

    from underhood import Architecture, DataLoader, DataLoaders, Images, Learner, build_model
    from underhood.analysis import wilson_interval
    from underhood.core.augment import Augmentation, augment
    from underhood.display.notebook import show_images
    from underhood.lessons import exercise, figure, load, table


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 14 · Overfitting

    Since lesson 1 we have kept some images apart and measured on those only. It was said to be important, and it
    never seemed to matter much: on the training images the figures were nearly the same. That was so because we had
    thousands of them. Most people who train a model do not: they have fifty X-rays, or two hundred photographs of
    their products. This lesson is about what happens then.

    **After this lesson** you can see from two curves whether a model has learned or has learned by heart, you know
    five things that help and have tried two of them, you can decide when to stop training, and you can say why a
    validation set wears out and what a test set is for. **It takes about 60 minutes.**
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Fifty images

    We take fifty digits to train on, drawn at random. And, as always, others to measure with: 500 for the validation
    set, and 500 more, called `test`, which nobody touches until the end of this lesson.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist")
    _order = np.random.default_rng(0).permutation(len(dataset.train))
    pool = dataset.train.take(_order[:1000])  # what more images could come from
    _others = np.random.default_rng(1).permutation(len(dataset.valid))
    half = min(500, len(_others) // 2)
    valid, test = dataset.valid.take(_others[:half]), dataset.valid.take(_others[half : 2 * half])

    def first(count):  # so many training images
        return pool.take(np.arange(count))

    mo.md(f"{which} {half} to validate, {half} to test.")
    return first, pool, test, valid, which


@app.cell(hide_code=True)
def _(first):
    _images = np.pad(first(50).pixels[:, 0], ((0, 0), (1, 1), (1, 1)))  # with a margin
    _sheet = np.concatenate(np.concatenate(_images.reshape(5, 10, *_images.shape[1:]), axis=1), axis=1)
    figure(
        show_images([_sheet], columns=1, side=6, cmap="Greys"),
        "All fifty training images, about five of each digit, in many different hands.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    That is all the model will ever see of the world. It takes you a second to look through it.

    The model is `net` from lessons 12 and 13: a matrix, ReLU, a matrix. To see *when* something happens, we want the
    loss after each epoch, on both sets. `Learner.epochs` trains as `Learner.fit` does, but instead of printing a row
    of the table after each epoch, it hands it out. The optimizer is the `Learner`'s default, AdamW, and the learning
    rate stays the same from the first step to the last.
    """)
    return


@app.cell
def _(pool, valid):
    def build(model):  # a network with new random weights, as in lesson 13
        _, channels, height, width = pool.pixels.shape
        mean, std = pool.pixel_statistics()
        torch.manual_seed(0)
        architecture = Architecture(model, channels, height, width, classes=10)
        return build_model(architecture, mean.tolist(), std.tolist())

    def learner(network, images, augmentation=None):
        batch_size = max(10, len(images) // 10)
        batches = DataLoader(images, batch_size, shuffle=True, augmentation=augmentation)
        return Learner(DataLoaders(batches, DataLoader(valid, 500)), network)

    def fit(network, images, epochs, augmentation=None):
        learn = learner(network, images, augmentation)
        rows = list(learn.epochs(epochs, 0.003))  # a row: train_loss, valid_loss, metrics
        train_accuracy = learn.validate(DataLoader(images, 500))[1]
        return rows, train_accuracy

    return build, fit, learner


@app.cell
def _(build, first, fit):
    rows_50, train_accuracy_50 = fit(build("net"), first(50), epochs=60)
    valid_accuracy_50 = rows_50[-1].metrics["accuracy"]
    print(f"accuracy: training {train_accuracy_50:.3f}, validation {valid_accuracy_50:.3f}")
    for _row in rows_50[::10]:
        print(f"epoch {_row.epoch:>2}: train {_row.train_loss:.3f}, valid {_row.valid_loss:.3f}")
    return rows_50, train_accuracy_50, valid_accuracy_50


@app.cell(hide_code=True)
def _(train_accuracy_50, valid_accuracy_50):
    mo.md(f"""
    On the images that it was trained on it is right for {100 * train_accuracy_50:.0f} % of them; on others for
    {100 * valid_accuracy_50:.0f} %. Whoever looks only at the training images will think the model perfect. (In the
    very first epochs the training loss is the higher one. It is averaged while the weights are still getting better;
    the validation loss is measured when the epoch is over.) Here are the two losses, over the epochs. Move the
    sliders: what do fewer images do, what do more?
    """)
    return


@app.cell(hide_code=True)
def _():
    count = mo.ui.slider(steps=[10, 20, 50, 100, 200, 500, 1000], value=50, label="training images", show_value=True)
    epochs = mo.ui.slider(5, 80, value=60, step=5, label="epochs", show_value=True)
    mo.hstack([count, epochs], justify="start", wrap=True)
    return count, epochs


@app.cell
def _(build, count, epochs, first, fit):
    rows, train_accuracy = fit(build("net"), first(count.value), epochs.value)
    valid_losses = [row.valid_loss for row in rows]
    lowest = int(np.argmin(valid_losses))  # the epoch with the lowest validation loss
    print(f"accuracy: training {train_accuracy:.3f}, validation {rows[-1].metrics['accuracy']:.3f}")
    return lowest, rows, train_accuracy, valid_losses


@app.cell(hide_code=True)
def _():
    def draw(rows, axes=None, title=""):
        axes = axes or plt.subplots(figsize=(6.5, 3))[1]
        axes.plot([row.train_loss for row in rows], label="training")
        axes.plot([row.valid_loss for row in rows], label="validation")
        axes.axhline(np.log(10), color="0.7", linestyle=":", label="ten equal scores")
        axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None), title=title)
        axes.legend()
        return axes

    return (draw,)


@app.cell(hide_code=True)
def _(count, draw, lowest, rows, valid_losses):
    _axes = draw(rows, title=f"{count.value} training images")
    _axes.plot(lowest, valid_losses[lowest], "o", color="tab:red")
    figure(
        _axes,
        f"Two curves over {len(rows)} epochs with {count.value} images. The training loss ends at "
        f"{rows[-1].train_loss:.3f}. The validation loss is lowest after epoch {lowest}, {valid_losses[lowest]:.3f}, "
        f"and ends at {valid_losses[-1]:.3f}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The dotted line is the loss of a model that gives all ten digits the same score, that is, of one that knows
    nothing. It lies at 2.30, the natural logarithm of 10; lesson 15 says why. From left to right, three things happen.

    1. Both curves fall together. The model learns what is true of digits in general: a 0 is empty in the middle, a 1
       is thin.
    2. They part company. The training loss still falls, the validation loss hardly. What is learned now helps only
       with these very images.
    3. The training loss goes to nothing, while the validation loss (the red dot is its lowest point) stays, or even
       rises.

    This is **overfitting**: to learn what is particular to the training images and does not hold for others. The
    distance between the two curves is called the *generalisation gap*.

    Why does it happen? Because we asked for it. We told the optimizer to make the loss *on these images* small, and
    it does as it is told. For fifty images there are endlessly many settings of the model's weights that make it
    small. In some of them, a 7 is known by its two strokes; in others, by a speck that just our five 7s happen to
    have. The training loss cannot tell the two apart. And `net` has 23,860 parameters (with MNIST) for fifty
    answers: there is room enough for specks.

    Why can the loss rise while the accuracy stays? Because the loss asks for more than the right answer: it asks how
    far the right score is ahead. Once every training image is right, the only way to make the training loss still
    smaller is to put the right scores further ahead. So the model makes its scores larger and larger, on other images
    and for wrong answers too. It makes about as many mistakes as before, but makes them with great confidence, and
    that is what the loss punishes.

    The opposite exists as well: if the *training* loss is still high at the end, the model has not even learned what
    it was shown. That is **underfitting**, and its cure is the reverse: train longer, with a better learning rate,
    or take a larger model. (Try five epochs with ten images.)

    ## Learning by heart

    How far can it go? Let us take sense away altogether. We shuffle the labels of a hundred images: an image of a 3
    is now called 8, another 0, and there is no rule at all to be found. What can a model learn from that?
    """)
    return


@app.cell(hide_code=True)
def _():
    wrong = mo.ui.slider(steps=[0, 25, 50, 75, 100], value=100, label="% of the labels shuffled", show_value=True)
    wrong
    return (wrong,)


@app.cell
def _(build, first, fit, wrong):
    def shuffled(images, share, seed=8):
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(images))[: round(share * len(images))]
        labels = images.labels.copy()
        labels[chosen] = rng.permutation(labels[chosen])
        return Images(images.pixels, labels, images.classes, images.names)

    nonsense = shuffled(first(100), wrong.value / 100)
    rows_nonsense, nonsense_train = fit(build("net"), nonsense, epochs=60)
    nonsense_valid = rows_nonsense[-1].metrics["accuracy"]
    print(f"accuracy: training {nonsense_train:.3f}, validation {nonsense_valid:.3f}")
    return nonsense, nonsense_train, nonsense_valid, rows_nonsense


@app.cell(hide_code=True)
def _(draw, nonsense, nonsense_train, nonsense_valid, rows_nonsense, valid, wrong):
    _figure, (_left, _right) = plt.subplots(1, 2, figsize=(8, 3), width_ratios=(1, 1.6))
    _left.set_axis_off()
    for _i in range(6):
        _one = _left.inset_axes((_i % 3 / 3, 0.52 - _i // 3 * 0.52, 0.3, 0.36))
        _one.imshow(nonsense.pixels[_i, 0], cmap="Greys")
        _one.set(xticks=[], yticks=[])
        _one.set_title(f"“{valid.classes[nonsense.labels[_i]]}”", fontsize=9)
    draw(rows_nonsense, _right, f"{wrong.value} % of the labels shuffled")
    _figure.tight_layout()
    figure(
        _figure,
        f"Left six training images with the labels that they now have. Right the losses: the training loss falls to "
        f"{rows_nonsense[-1].train_loss:.3f}, the validation loss ends at {rows_nonsense[-1].valid_loss:.2f}. Accuracy "
        f"on the training images {100 * nonsense_train:.0f} %, on the validation images {100 * nonsense_valid:.0f} %.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Everything. With all labels shuffled it answers the training images without a mistake, and on the validation
    images it is as good as a die with ten faces. It has learned nothing about digits, and every image by heart, as
    one learns telephone numbers. Its validation loss is far *above* the dotted line: it would do better to know
    nothing.

    In 2016 Chiyuan Zhang and others did this with photographs and the best networks of the time: 50,000 images with
    random labels were learned perfectly, and more than a million almost. So the same network, trained by the same
    steps, may learn what matters or learn by heart, and its training loss looks the same in both cases. Only images
    that it has never seen tell you which it was. **A low training loss proves nothing.**

    Move the slider down: with a quarter of the labels shuffled, the training images are still learned to the last
    one, the wrong labels included, and that harms what it says of others. Wrong labels are common in real data.

    ## More images

    The surest remedy is the dullest: more data. A speck that marks five 7s by chance will not mark five hundred.
    Here is the accuracy on both sets, for more and more training images, with about as many steps each. (The loop over
    `learn.steps` trains without measuring after each epoch; we only want to know what comes out in the end.)
    """)
    return


@app.cell
def _(build, first, learner):
    sizes = [20, 50, 100, 200, 500, 1000]
    curve = []
    for _size in sizes:
        _steps = -(-_size // max(10, _size // 10))  # in an epoch; // rounds down, -(-a // b) up
        _learn = learner(build("net"), first(_size))
        for _ in _learn.steps(240 // _steps, 0.003):
            pass
        curve.append((_learn.validate(DataLoader(first(_size), 500))[1], _learn.validate()[1]))
    print([f"{size}: {trained:.2f} {unseen:.2f}" for size, (trained, unseen) in zip(sizes, curve, strict=True)])
    return curve, sizes


@app.cell(hide_code=True)
def _(curve, sizes):
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _axes.semilogx(sizes, [trained for trained, _ in curve], "o-", label="training")
    _axes.semilogx(sizes, [unseen for _, unseen in curve], "o-", label="validation")
    _axes.set(xlabel="training images", ylabel="accuracy", ylim=(0, 1.03), xticks=sizes, xticklabels=sizes)
    _axes.minorticks_off()
    _axes.legend(loc="lower right")
    figure(
        _axes,
        "Accuracy against the number of training images. On the training images it is near 1 throughout; on the "
        f"validation images it rises from {curve[0][1]:.2f} with {sizes[0]} to {curve[-1][1]:.2f} with {sizes[-1]}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The gap closes from below. Notice the axis, on which each doubling has the same width: going from 50 to 100
    images gains as much as hundreds of images gain later. This picture, the *learning curve*, answers a practical
    question: is it worth the trouble to collect more? If the right end still rises, yes. (`underhood ladder` draws
    this conclusion for your own images.)

    ## Data augmentation

    And if there are no more images to be had? Then we make some. A 3 that is moved a little, turned by a few degrees
    or made slightly larger is still a 3, but to the model it is a new image: wherever there is a stroke, its numbers
    differ. To do so is called **data augmentation**: the model is shown every training image in such a changed form,
    and in *another* one in each epoch. We do not tell it more facts; we tell it something that we know and it does
    not, namely which changes do not matter.

    The class `Augmentation` says how far images may be changed at most, and `augment` changes a batch of images,
    each by random amounts within these limits. (The random numbers depend on the `key`; the `DataLoader` makes it of
    the epoch and the batch.) Here is one image, twenty times:
    """)
    return


@app.cell(hide_code=True)
def _():
    shift = mo.ui.slider(0, 0.3, value=0.1, step=0.02, label="shift (of the side)", show_value=True)
    rotation = mo.ui.slider(0, 180, value=12, step=4, label="rotation (degrees)", show_value=True)
    scale = mo.ui.slider(0, 0.5, value=0.12, step=0.02, label="scale (of the size)", show_value=True)
    flip = mo.ui.checkbox(label="mirror half of them")
    mo.hstack([shift, rotation, scale, flip], justify="start", wrap=True)
    return flip, rotation, scale, shift


@app.cell
def _(first, flip, rotation, scale, shift):
    sixes = first(50).pixels[first(50).labels == 6]
    copies = torch.from_numpy(sixes[:1]).repeat(20, 1, 1, 1)  # [20, 1, h, w], all alike
    limits = Augmentation(shift.value, rotation.value, scale.value, flip.value)
    changed = augment(copies, limits, key=(0, 1, 2))  # [20, 1, h, w]
    print(limits)
    return (changed,)


@app.cell(hide_code=True)
def _(changed):
    figure(
        show_images(list(changed), columns=10, side=0.75, cmap="Greys", vmin=0, vmax=255),
        "Twenty versions of one handwritten 6, each a little shifted, turned and scaled.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Play with the limits, until you no longer know what you see. **An augmentation must leave the label right.**
    Turned by 180 degrees, a 6 is a 9; mirrored, a 2 is no digit at all. For photographs of cats, the mirror image is
    fine, and it is the most popular augmentation of all, while standing a cat on its head is not. What may be
    changed is knowledge about *your* images. No program can guess it.

    Does it help? To learn that a moved stroke is the same stroke, a model must be able to express it, and you know
    from lesson 13 that a matrix hardly can. So we write a small network of two convolutions, and train it on the
    same fifty images, first as they are, then augmented.
    """)
    return


@app.cell
def _(build, pool):
    def small_conv():
        normalize = build("net")[0]
        _, _, height, width = pool.pixels.shape
        return nn.Sequential(
            normalize,
            nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(2),  # a quarter
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),  # an eighth
            nn.Flatten(), nn.Linear(32 * (height // 8) * (width // 8), 10),
        )  # fmt: skip

    print(sum(p.numel() for p in small_conv().parameters()), "parameters")
    return (small_conv,)


@app.cell
def _(first, small_conv, fit):
    rows_bare, bare_train = fit(small_conv(), first(50), epochs=40)
    moving = Augmentation(shift=0.1, rotation=12, scale=0.12)
    moving_network = small_conv()
    rows_moving, moving_train = fit(moving_network, first(50), epochs=40, augmentation=moving)
    bare, augmented = rows_bare[-1].metrics["accuracy"], rows_moving[-1].metrics["accuracy"]
    print(f"as they are: training {bare_train:.3f}, validation {bare:.3f}")
    print(f"augmented:   training {moving_train:.3f}, validation {augmented:.3f}")
    return augmented, bare, moving_network, rows_bare, rows_moving


@app.cell(hide_code=True)
def _(augmented, bare, draw, rows_bare, rows_moving):
    _figure, (_left, _right) = plt.subplots(1, 2, figsize=(8.5, 3), sharey=True)
    draw(rows_bare, _left, f"as they are: {100 * bare:.1f} %")
    draw(rows_moving, _right, f"augmented: {100 * augmented:.1f} %")
    _figure.tight_layout()
    figure(
        _figure,
        f"Left the losses without augmentation: the training loss ends at {rows_bare[-1].train_loss:.3f}, the "
        f"validation loss at {rows_bare[-1].valid_loss:.2f}. Right with it: {rows_moving[-1].train_loss:.3f} and "
        f"{rows_moving[-1].valid_loss:.2f}. The two curves stay closer together.",
    )
    return


@app.cell(hide_code=True)
def _(augmented, bare):
    mo.md(f"""
    From {100 * bare:.1f} % to {100 * augmented:.1f} %, from the same fifty images. The training loss is *higher*
    with augmentation, and that is as it should be: it is the loss of the changed images, of which the model never
    sees exactly the same one twice. In the end it still has the fifty right as they are, but it could not get there by
    specks; it had to look for what the changed forms have in common. The gap is smaller from both sides.

    The price is time, since a harder task takes more epochs, and it is no magic: twenty forms of one writer's 4 are
    less than twenty writers' 4s. (On scikit-learn's small digits, where one pixel is an eighth of the image, it
    gains nothing. In fastai this is `aug_transforms`, in PyTorch's torchvision `transforms.v2`; in both you choose
    what suits your images.)

    ## Three more remedies

    **A smaller model.** With fewer parameters there is less room to learn by heart. But it also has less room for
    what is true, and the number of parameters alone decides little: a convolution's few weights are used everywhere,
    and so they fit many places at once or none. Networks with far more parameters than training images can be
    excellent. Choose a model that suits the data, and only then its size.

    **Weight decay.** Specks need large weights: to answer rightly because of one pixel, the model must weigh this
    pixel heavily. So with each step, the optimizer also multiplies every weight by a number just below 1, which is
    1 − learning rate · weight decay, here 1 − 0.003 · 0.01. A weight
    that is not needed again and again fades away, and what remains is what many images agree on. In PyTorch it is an
    argument of the optimizer, `torch.optim.AdamW(parameters, lr, weight_decay=0.01)`; 0.01 is AdamW's default, so the
    models of this lesson have had a little of it all along. It helps a little, and nearly always; large models are
    hardly ever trained without. (Whatever makes it harder to learn by heart is called *regularisation*. The dropout
    of lesson 11 is another such thing.)

    **Stopping early.** If the validation loss is lowest after epoch 12, why go on to 60? *Early stopping* keeps the
    weights of the best epoch, and gives up when there was no better one for some epochs, a number that is called
    *patience*. It costs nothing, and it is the first thing that comes to mind when one sees the curves above.

    ## When to stop

    To stop by the validation set is honest, as lesson 6 said. It is not always best, though. The validation loss
    jumps up and down from epoch to epoch, and of sixty epochs the best one is the best partly by luck. The accuracy,
    which is what you want in the end, often still rises when the loss has turned. And with a schedule such as one
    cycle, which lowers the learning rate to almost nothing at the end, a model that is stopped halfway has never had
    its quiet last steps. That is why many people, and `underhood train` too, decide on a number of epochs beforehand,
    take the model as it is after the last, and if the curves show that it was too long, train again with fewer.

    So, in which order? Look at the training loss first. If it is high, the model underfits: train longer, or take a
    larger model. If it is low and the gap is wide, then more images, then augmentation, then weight decay, then a
    smaller model or fewer epochs. And if the validation accuracy is good enough for what you need, stop. A gap as
    such harms nobody.

    ## A validation set wears out

    All this time we have looked at the validation set, turned a knob, and looked again. Do you see what we have been
    doing? We *chose* by it. The model was not trained on these images, but we were.

    How bad can that be? The following models are the worst that there are: each answers at random. We take many,
    measure each on the first fifty validation images, and keep the best.
    """)
    return


@app.cell(hide_code=True)
def _():
    tries = mo.ui.slider(steps=[1, 3, 10, 30, 100, 300, 1000], value=300, label="models tried", show_value=True)
    tries
    return (tries,)


@app.cell
def _(test, tries, valid):
    rng = np.random.default_rng(3)
    answers = rng.integers(10, size=(1000, 50))  # a row for each model, an answer for each image
    scores = (answers == valid.labels[:50]).mean(axis=1)  # [1000] accuracies
    best_score = scores[: tries.value].max()
    on_test = (rng.integers(10, size=len(test)) == test.labels).mean()  # it guesses there, too
    print(f"the best of {tries.value} on the validation set: {best_score:.2f}, on the test set: {on_test:.2f}")
    return best_score, on_test, scores


@app.cell(hide_code=True)
def _(best_score, on_test, scores, tries):
    _axes = plt.subplots(figsize=(6, 2.7))[1]
    _axes.semilogx(range(1, 1001), np.maximum.accumulate(scores), label="best so far, validation set")
    _axes.axhline(0.1, color="0.6", linestyle=":", label="what it is worth")
    _axes.plot(tries.value, best_score, "o", color="tab:red")
    _axes.set(xlabel="models tried", ylabel="accuracy", ylim=(0, None))
    _axes.legend()
    figure(
        _axes,
        f"The best accuracy so far against the number of models tried. It climbs to {best_score:.2f} after "
        f"{tries.value}, though each model only guesses. On the test set the winner has {on_test:.2f}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    It looks like progress, and it is nothing but looking often. Every choice that you make by the validation set
    (the model, the learning rate, the number of epochs, the augmentation, the seed) fits you a little to these
    images, and the figure that you report becomes a little too good. With fifty images it is a lot, with ten
    thousand far less: that is the interval of lesson 13 again, and choosing takes its upper end.

    That is what a **test set** is for: a third part of the data, with which *nothing* is chosen. You use it once, at
    the very end, to find out what the model that you have chosen is worth. If the figure disappoints you and you go
    back to improve the model, the test set has become a second validation set.

    MNIST's own test set is what this course, like the book that it follows, calls its validation set. Few images in
    the world have been looked at so often. Are the figures of the last 25 years still true? In 2019 Chhavi Yadav and
    Léon Bottou reconstructed 50,000 test digits of MNIST that had never been handed out, and measured known models
    on them: all did slightly worse than on the famous 10,000, but the better ones were still the better ones. Large
    validation sets wear out slowly.

    So, for once, `test`. The accuracy of the augmented model on the validation set, by which nothing but a setting
    or two was chosen, should hold there, within the interval of the test accuracy. (It may well be the lower of the two
    figures. With five hundred images luck is worth a few points either way.)
    """)
    return


@app.cell
def _(augmented, moving_network, test):
    guesses = moving_network.eval()(torch.from_numpy(test.pixels)).argmax(dim=1)  # [n]
    right_on_test = (guesses == torch.from_numpy(test.labels)).sum().item()
    low, high = wilson_interval(right_on_test, len(test))
    print(f"validation {augmented:.3f}, test {right_on_test / len(test):.3f}")
    print(f"95 % interval of the test accuracy: {low:.3f} to {high:.3f}")
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Summary

    - Overfitting is to learn what is particular to the training images. You see it where the training loss goes on
      falling and the validation loss does not. Underfitting is a training loss that stays high.
    - A network can learn even random labels by heart. A low training loss proves nothing.
    - What helps, roughly in this order: more images, augmentation, weight decay, a model that suits the data, fewer
      epochs.
    - Augmentation shows each image in a new form in each epoch, changed as much as its label allows.
    - Choosing by the validation set wears it out. The test set is used once, at the end.

    **New words:** overfitting, underfitting, generalisation gap, learning curve, data augmentation, weight decay,
    regularisation, early stopping, patience, test set.

    ## Exercises

    **1.** Three models, and their accuracies on the training and on the validation set. Which one overfits the most,
    and which one underfits? Answer with two letters, such as `("C", "B")`.
    """)
    return


@app.cell(hide_code=True)
def _():
    table(
        [
            {"model": "A", "training": "61 %", "validation": "60 %"},
            {"model": "B", "training": "100 %", "validation": "78 %"},
            {"model": "C", "training": "97 %", "validation": "96 %"},
        ]
    )
    return


@app.cell
def _():
    diagnosis = ...  # (the letter that overfits, the letter that underfits)
    return (diagnosis,)


@app.cell(hide_code=True)
def _(diagnosis):
    check_1 = exercise(
        "14.1",
        diagnosis,
        lambda answer: tuple(letter.upper() for letter in answer) == ("B", "A"),
        hints=(
            "Overfitting shows in the distance between the two figures, underfitting in the first of them.",
            "Which one is perfect on what it has seen, and far from it on what it has not?",
            "And which one is not even good on the images that it was trained on?",
        ),
        solution='diagnosis = ("B", "A")',
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** The accuracy on the test set is lower than on the validation set. You change the augmentation until it is
    good on the test set, too, and report that figure. May you? Answer `True` or `False`.
    """)
    return


@app.cell
def _():
    allowed = ...  # True or False
    return (allowed,)


@app.cell(hide_code=True)
def _(allowed):
    check_2 = exercise(
        "14.2",
        allowed,
        lambda answer: answer is False,
        hints=(
            "What was chosen, and by which images?",
            "The test set is worth something as long as nothing was chosen by it.",
            "It was just used like a validation set, several times.",
        ),
        solution="allowed = False  # the test set has become a second validation set",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Write early stopping. From the list of validation losses, one for each epoch, and a `patience`, return the
    epoch whose weights are kept: the best epoch so far when training stops, which is when there was no better one
    for `patience` epochs (or when the list ends). With a patience of 2, from `[3.0, 2.0, 2.5, 2.4, 1.0]` it is epoch
    1: epochs 2 and 3 were no better, so epoch 4 is never reached.
    """)
    return


@app.cell
def _():
    def early_stopping(losses, patience):  # → the number of an epoch, from 0 on
        return ...

    return (early_stopping,)


@app.cell(hide_code=True)
def _(early_stopping):
    def _right(_):
        five = [3.0, 2.0, 2.5, 2.4, 1.0]
        cases = [(five, 2, 1), (five, 3, 4), ([1.0, 2.0], 5, 0), ([4.0], 1, 0)]
        return all(early_stopping(losses, patience) == epoch for losses, patience, epoch in cases)

    check_3 = exercise(
        "14.3",
        early_stopping,
        _right,
        hints=(
            "Go through the epochs with a `for` loop, and keep the number of the best one so far in a variable `best`.",
            "`for epoch, loss in enumerate(losses):` gives both. If `loss` is below `losses[best]`, `best = epoch`.",
            "If it is not below, look how long ago the best one was: stop when `epoch - best` has reached `patience`.",
        ),
        solution="""
        def early_stopping(losses, patience):
            best = 0
            for epoch, loss in enumerate(losses):
                if loss < losses[best]:
                    best = epoch
                elif epoch - best >= patience:
                    break
            return best
        """,
        arguments=([3.0, 2.0, 2.5, 2.4, 1.0], 2),
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Augment by hand: move an image a given number of pixels down and to the right, neither below 0. What is left
    empty becomes 0, bare paper; what goes over the edge is lost.
    """)
    return


@app.cell
def _():
    def shifted(image, down, right):  # [h, w] → [h, w]
        return ...

    return (shifted,)


@app.cell(hide_code=True)
def _(shifted):
    _image = torch.arange(1, 21).reshape(4, 5)

    def _right(_):
        expected = torch.zeros(4, 5, dtype=torch.int64)
        expected[1:, 2:] = _image[:-1, :-2]
        still = shifted(_image, 0, 0)
        return torch.equal(shifted(_image, 1, 2).long(), expected) and torch.equal(still.long(), _image)

    check_4 = exercise(
        "14.4",
        shifted,
        _right,
        hints=(
            "Begin with an empty image of the same shape and type: `torch.zeros_like(image)`.",
            "The upper left corner of the old image goes to row `down`, column `right` of the new one: "
            "`moved[down:, right:] = ...`",
            "What fits there are the first `h - down` rows and the first `w - right` columns of the old image.",
        ),
        solution="""
        def shifted(image, down, right):
            height, width = image.shape
            moved = torch.zeros_like(image)
            moved[down:, right:] = image[: height - down, : width - right]
            return moved
        """,
        arguments=(_image, 1, 2),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** Divide the numbers 0 to `count` − 1 at random into three parts: the first 60 % to train, 20 % to validate
    and the rest to test. Return three tensors. No number may be in two of them. (`torch.randperm(count)` gives the
    numbers in a random order.)
    """)
    return


@app.cell
def _():
    def split(count):  # → three tensors of numbers
        return ...

    return (split,)


@app.cell(hide_code=True)
def _(split):
    def _right(parts):
        together = torch.cat(list(parts)).tolist()
        shuffled = together[:30] != list(range(30))
        return [len(part) for part in parts] == [30, 10, 10] and sorted(together) == list(range(50)) and shuffled

    check_5 = exercise(
        "14.5",
        split,
        _right,
        hints=(
            "Shuffle once, then cut the shuffled numbers into three pieces. If you shuffle again, some come twice.",
            "The first piece is `order[: count * 6 // 10]`.",
            "The second one begins where the first ends and stops at `count * 8 // 10`.",
        ),
        solution="""
        def split(count):
            order = torch.randperm(count)
            first, second = count * 6 // 10, count * 8 // 10
            return order[:first], order[first:second], order[second:]
        """,
        arguments=(50,),
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** Augmentation too far: set `rotation` to 180 in the cell that trains `small_conv`, and
    compare. Which digits does it confuse now? And a question about people: all images of one writer should be in the
    same part when a data set is split. Why? What would the validation accuracy promise otherwise, and to whom?

    ## What you can read now

    [`torch.optim.AdamW`](https://pytorch.org/docs/stable/generated/torch.optim.AdamW.html) in PyTorch's
    documentation: the arguments `params`, `lr` and `weight_decay`. And [Transforms
    v2](https://pytorch.org/vision/stable/transforms.html) of torchvision, which has every augmentation that you can
    think of, with pictures.

    **Next:** [15 · Backpropagation by hand](?file=15_backpropagation.py), where we look into the one step that we
    have always left to PyTorch: how `backward` finds the gradient.
    """)
    return


if __name__ == "__main__":
    app.run()
