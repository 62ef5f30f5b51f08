import marimo

app = marimo.App(
    width="medium", app_title="17 · Ten digits and your own images", layout_file="layouts/17_ten_digits.slides.json"
)

with app.setup:
    import copy
    import io
    from pathlib import Path

    import marimo as mo
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    import numpy as np
    import torch
    from PIL import Image, ImageDraw, ImageFont
    from torch import nn

    from underhood import Architecture, DataLoader, DataLoaders, Learner, build_model
    from underhood.display.notebook import show_images
    from underhood.lessons import exercise, figure, load, table
    from underhood.lessons.sheet import Sheet, read_sheet
    from underhood.preparation import Preparation, prepare_image
    from underhood.preparation.digit import STEPS
    from underhood.preparation.files import BadImageError


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 17 · Ten digits and your own images

    You have taken every part of a neural network into your hands. In this lesson the parts come together, and then
    they leave the notebook. We train a network on all ten digits and look at what it confuses; do the same with one
    command, on a folder of your own; use a network that somebody else has trained; and give ours images that nobody
    prepared for it: a digit from your desk, and at last a letter, an empty sheet and a shirt. That last part is the
    one that demonstrations leave out, and the first one that you will meet when other people use your model.

    **After this lesson** you can train a classifier for any number of classes and read its confusion matrix, train on
    your own folder with one command and find your way around what it leaves behind, say what a pretrained network is
    and when it helps, and explain why a model answers with confidence when it is shown nonsense. **It takes about an
    hour.**

    ## From two to ten

    What changes if there are ten answers in place of two? Less than one might expect. This is all of it, collected from
    lessons 13 and 15:
    """)
    return


@app.cell(hide_code=True)
def _():
    table(
        [
            {"": "the last layer gives", "3 or 7": "one score", "ten digits": "ten scores, one for each class"},
            {"": "scores become probabilities by", "3 or 7": "sigmoid", "ten digits": "softmax"},
            {"": "the loss", "3 or 7": "`mnist_loss`", "ten digits": "cross-entropy"},
            {"": "the answer", "3 or 7": "is the score above 0?", "ten digits": "the class with the highest score"},
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The layers before the last one, the gradients, the steps and the training loop stay as they are.

    Lesson 15 took softmax and cross-entropy apart. What matters here is that the ten probabilities add up to 1, so that
    one can only win what the others lose, and that the loss looks at the probability of the right class alone.

    ## A small network, trained here

    Now all ten digits. So that you need not wait, we train on 3,000 images drawn at random (or on all of the small
    digits, of which there are fewer), and validate on all the validation images.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist")
    mo.md(which)
    return (dataset,)


@app.cell
def _(dataset):
    rows = np.random.default_rng(0).permutation(len(dataset.train))[:3000]  # some of the row numbers, at random
    some = dataset.train.take(rows)
    some.pixels.shape  # [n, c, h, w]
    return (some,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The network is `conv`, the small convolutional network from lesson 13. `build_model` makes one with new random
    weights; it wants to know the mean and the standard deviation of the pixels, because its first layer subtracts the
    one and divides by the other. Then everything goes into a `Learner`. The loss is cross-entropy, which is its
    default, and so is the optimizer, AdamW, which gives each parameter a step length of its own. `fit_one_cycle` lets
    the learning rate rise to 0.01 and then fall to almost 0, as you saw in lesson 11.
    """)
    return


@app.cell
def _(dataset, some):
    _, channels, height, width = some.pixels.shape
    torch.manual_seed(0)
    model = build_model(Architecture("conv", channels, height, width, classes=10), *some.pixel_statistics())
    train_batches = DataLoader(some, batch_size=64, shuffle=True)
    valid_batches = DataLoader(dataset.valid, batch_size=512)
    learn = Learner(DataLoaders(train_batches, valid_batches), model)
    learn.fit_one_cycle(3, 0.01)
    accuracy = learn.recorder.values[-1][2]  # of the last epoch: train_loss, valid_loss, accuracy
    return accuracy, learn


@app.cell(hide_code=True)
def _(accuracy, learn):
    mo.md(f"""
    After three epochs of {learn.dls.train.count:,} images, **{100 * accuracy:.2f} %** of {learn.dls.valid.count:,}
    validation images are right. And this is what did it:
    """)
    return


@app.cell
def _(learn):
    print(learn.model)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    You have met them all. `Conv2d(16, 32, kernel_size=(3, 3), …)` slides 32 windows of 3 × 3 over 16 tables of
    activations, `MaxPool2d` keeps the largest of four neighbours, `BatchNorm` keeps the numbers at a reasonable size
    (which makes a bias before it useless, hence `bias=False`; its own `momentum` says how fast its averages follow),
    and `Flatten` and `Linear` turn what is left into ten scores. A sequence of layers, each of which takes what the
    one before gives: there is no more to it.

    ## What it confuses

    The accuracy is one number, and does not say *which* images are wrong. So the next step, always, is to look. First
    the predictions for all validation images: `get_preds` applies the model to all batches, without gradients.
    (fastai's method of that name gives probabilities, ours the scores.)
    """)
    return


@app.cell
def _(learn):
    logits, labels = learn.get_preds()  # [n, 10] scores, and [n] labels
    predicted = logits.argmax(dim=1)  # [n]: where in its row is the highest score?
    print(predicted[:10])
    print(labels[:10])
    return labels, logits, predicted


@app.cell(hide_code=True)
def _():
    mo.md("""
    A **confusion matrix** sorts these pairs: a table with a row for each label and a column for each prediction.
    Every image adds 1 where its row and its column cross. (scikit-learn calls it `confusion_matrix`; fastai draws it
    with `plot_confusion_matrix`.)
    """)
    return


@app.cell
def _(labels, predicted):
    confusion = torch.zeros(10, 10, dtype=torch.int64)  # [label, prediction]
    for _label, _prediction in zip(labels.tolist(), predicted.tolist(), strict=True):
        confusion[_label, _prediction] += 1
    confusion
    return (confusion,)


@app.cell(hide_code=True)
def _(confusion):
    _wrong = confusion - confusion.diagonal().diag()
    _most = _wrong.flatten().argsort(descending=True)[:3].tolist()
    worst = [(place // 10, place % 10, int(_wrong.flatten()[place])) for place in _most]  # label, prediction, count
    _axes = plt.subplots(figsize=(4.6, 4.2))[1]
    _axes.imshow(_wrong.numpy(), cmap="Oranges")
    for _row in range(10):
        for _column in range(10):
            if confusion[_row, _column]:
                _dark = _wrong[_row, _column] > 0.6 * _wrong.max()
                _color = "0.55" if _row == _column else "white" if _dark else "black"
                _axes.text(_column, _row, int(confusion[_row, _column]), ha="center", va="center", color=_color, size=8)
    _axes.set(xticks=range(10), yticks=range(10), xlabel="prediction", ylabel="label")
    _said = "; ".join(f"label {label}, predicted {prediction}: {count}" for label, prediction, count in worst)
    figure(
        _axes,
        "The confusion matrix as a table of ten rows and ten columns. On the diagonal are "
        f"{int(confusion.diagonal().sum()):,} images. The largest entries beside it: {_said}.",
    )
    return (worst,)


@app.cell(hide_code=True)
def _(confusion, worst):
    _label, _prediction, _count = worst[0]
    _row, _column = int(confusion[_label].sum()), int(confusion[:, _prediction].sum())
    mo.md(f"""
    This is how to read it. On the diagonal, in grey, is what is right; everything beside it is an error, the darker
    the more frequent. Take the row of the {_label}. Its numbers add up to {_row:,}, the images whose label is
    {_label}, and {int(confusion[_label, _label]):,} of them are on the diagonal:
    {100 * confusion[_label, _label] / _row:.1f} % of the {_label}s are found. That fraction is the **recall** of a
    class. Now go down the column of the {_prediction}. It adds up to {_column:,}, all images that the model *took*
    for a {_prediction}, and {100 * confusion[_prediction, _prediction] / _column:.1f} % of these really are one: the
    **precision** of that class. The most frequent confusion is where that row and that column cross: {_count} images
    of a {_label} were taken for a {_prediction}.

    A table of ten by ten tells you where to look. Then look, at the images themselves:
    """)
    return


@app.cell(hide_code=True)
def _(dataset, labels, predicted):
    _wrong = np.flatnonzero((predicted != labels).numpy())[:12]
    figure(
        show_images(
            [dataset.valid.pixels[i] for i in _wrong],
            [f"{labels[i]}, not {predicted[i]}" for i in _wrong],
            columns=6, side=1.25, cmap="Greys",
        ),
        "Images that the model predicts wrong: "
        + ", ".join(f"a {labels[i]} that it takes for a {predicted[i]}" for i in _wrong) + ".",
    )  # fmt: skip
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Above each image is first its label, then what the model said. Ask of each: would *I* have read it? Some, a person
    would not have read either, and no model will. If a label is simply wrong, as happens in every collection, correct
    the label. And if many of the errors are of one kind, say a 7 with a bar or a very thin stroke, then you know
    which images to collect next. An hour of looking at errors often gains more than a day of trying other networks.

    ## From the lesson to one command

    All that we have done so far, and what lessons 13 and 14 added, is one command. You give it the name of a data
    set, or a folder with a folder for each class, as you met it in lesson 1. Without either it takes the small digits
    of scikit-learn, which every installation has. Open a terminal and try it; it takes seconds.

    ```text
    $ underhood train
    digits: 10 classes, 1,438 train, 359 valid
    8 × 8 grey (the images' own size)
    later images are prepared like these: --fit digit
    validated on 359 images held out (20% of each class, seed 0)
    conv, 20,954 parameters, on cpu; effort normal
    15 epochs of batches of 128, lr 0.01; data augmentation:
    shift 7%, rotation 10°, scale 10% (onecycle, adamw)
         epoch train_loss valid_loss   accuracy       time
             0   1.909269   2.163693   0.668524      00:00
             1   0.872270   0.567558   0.930362      00:00
             …
            14   0.015906   0.040904   0.986072      00:00
    accuracy            98.61 % (96.78 % to 99.40 %)
    balanced accuracy   98.62 %
    pixel similarity    89.97 %
    class in its set    98.88 %, with 1.00 labels in a set
    rejected            0.56 %
    trained in          0.4 s
    report              runs/digits-conv-1/report.html
    run                 runs/digits-conv-1
    ```

    You can explain nearly every word of it. (`--fit digit` says how later images are brought into the form of these; we
    come to it with the 7 from your desk.) There was no `valid` folder, so a fifth of each class was *held out* as
    the validation set. The table is that of the `Learner`. In parentheses behind the accuracy is its confidence
    interval, which lesson 13 explained: with 359 images, a few lucky ones make a point of difference. *Balanced
    accuracy* is the mean of the classes' own accuracies, which lesson 3 compared with the accuracy over all. *Pixel
    similarity* is our baseline from the same lesson. Only the two lines after it are new; we come to them at the end.

    **Where do 15 epochs, 128 and 0.01 come from?** From a recipe: a function of the number of training images, found
    by many trials. The fewer the images, the more epochs, from 3 to 60; the batch is about a twelfth of the images,
    from 16 to 128; AdamW and one cycle, to a rate of 0.01; and the data augmentation of lesson 14 as soon as there
    are four epochs. `--effort fast` takes fewer epochs and `--effort best` four times as many of a larger network. On
    all 60,000 digits of MNIST, `underhood train mnist` reaches 99.47 % in 16 seconds on two cores; *fast* reaches
    99.12 % in 2 seconds, *best* 99.72 % in 5 minutes. (These two are means of five trainings; the one in lesson 13's
    table had 99.01 %.)

    **What is in the run folder?** Everything that was decided and measured, as files that you can open:

    - `weights.safetensors`: the parameters, and how an image has to be prepared for them;
    - `config.json`, `data.json`, `environment.json`: every option, the data, the versions of the software, so that
      `underhood rerun` can train again and compare;
    - `metrics.csv`, `steps.csv`, `layers.csv`: a row for each epoch, the loss of each step, the activations of each
      layer;
    - `predictions.csv`: the label, the prediction and the probability of each validation image;
    - `report.html`: all of that as one page with figures, the confusion matrix and the worst errors among them.

    **And what can you do with a run?** `evaluate` measures it again, or on other labelled images: each class, the
    worst first.

    ```text
    $ underhood evaluate runs/digits-conv-1
    3    94.59 %  35 of 37
    8    97.14 %  34 of 35
    5    97.22 %  35 of 36
    …
    accuracy 98.61 % (96.78 % to 99.40 %) on 359 images (valid of digits)
    ```

    `predict` answers for single images or for a folder: the class, its probability, and the file.

    ```text
    $ underhood predict runs/digits-conv-1 new
    3  0.9998  new/1004.png
    7  0.9999  new/995.png
    1  0.2524  new/empty.png  (rejected: blank)
    7  0.5296  new/seven.png  (rejected: distance)
    5  0.6874  new/shirt.png  (rejected: distance)
    ```

    The first two files are digits from the data. The last three are an empty sheet, a 7 that was drawn on a sheet,
    and a shirt. Please look at the last two lines once more: how can it know? After a word about photographs, the rest
    of this lesson is about these three.

    `underhood report runs/digits-conv-1` writes the report anew, and `underhood serve runs/digits-conv-1` prints an
    address: open it in your browser, and you have a page on which you can draw a digit or drop an image, and see what
    the model makes of it.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Photographs, and networks that have learned before

    A digit is a few strokes. A photograph of a bee is a bee from any side, near or far, on any flower, in any light,
    and of your own subject you will rarely have 3,000 photographs. The tutorials of PyTorch use a collection of 245
    photographs of ants and bees for training, with 153 to validate. Here is what the models of this course make of
    it:
    """)
    return


@app.cell(hide_code=True)
def _():
    table(
        [
            {"ants or bees (`underhood ladder`)": "pixel similarity", "accuracy": "58.82 %"},
            {"ants or bees (`underhood ladder`)": "`conv`, as above", "accuracy": "67.97 %"},
            {"ants or bees (`underhood ladder`)": "`vgg`, a larger one", "accuracy": "70.59 %"},
            {"ants or bees (`underhood ladder`)": "pretrained, with a new last layer", "accuracy": "**88.89 %**"},
            {"ants or bees (`underhood ladder`)": "pretrained, all layers trained on", "accuracy": "**91.50 %**"},
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    What makes the difference in the last two rows? A network is **pretrained** if its weights do not start at random
    but have been trained before, on other data. For photographs, that is usually ImageNet: 1.28 million images in a
    thousand classes, from goldfish to bookcases. (Ants and bees happen to be among them, but what you want to tell
    apart need not be.) To tell a thousand kinds of things apart, a network has to find out what all photographs are
    made of. Its first layers come to respond to edges and colours, later ones to textures, and the last ones to parts
    of things: an eye, a petal, a wheel. All that is as useful for ants and bees. The only layer that is of no use is
    the very last, which turns these **features** into scores for the old thousand classes. So we take it away, and
    put a new one in its place.

    To use on one task what was learned on another is called **transfer learning**. The part that is kept is the
    **backbone** (fastai says *body*), and the new last layer is the **head**. If the parameters of the backbone are
    not trained any further, they are **frozen**. It sounds grander than it is. Here it is with our own network:
    suppose that we had a new task with two classes, and a few images only.
    """)
    return


@app.cell
def _(learn):
    transferred = copy.deepcopy(learn.model)  # ours stays as it is
    transferred.requires_grad_(False)  # frozen: autograd gives none of its parameters a gradient
    transferred[-1] = nn.Linear(transferred[-1].in_features, 2)  # the head: a new layer with random weights
    trained = [p.numel() for p in transferred.parameters() if p.requires_grad]
    print(transferred[-1])
    print(sum(trained), "of", sum(p.numel() for p in transferred.parameters()), "parameters are left to train")
    return (transferred,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    So few parameters can be trained with few images, and fast. With photographs, the command is

    ```text
    underhood train photos --model efficientnet_lite0 --tune head
    ```

    EfficientNet-Lite0 is a convolutional network with 3.4 million parameters, which Google trained on ImageNet; its
    weights are installed together with this package. Each photograph goes through it once and becomes 1,280 features,
    and a linear layer is trained on those within a second. With `--tune all` the other layers are trained on as well,
    with smaller steps the further they are from the head. The figures in the table come from the quick comparison of
    all models, at 128 × 128 pixels; at the usual 224 × 224, the frozen network reached 94.1 %.

    **Is pretrained always better?** No. On 200 handwritten digits a head on the same backbone reached 85 %, a small
    network from scratch 90 %: ink on paper is no photograph, and what helps with petals helps little here. That is
    why `underhood train`, if you name no model, holds back a part of your training images, compares both on it, and
    then chooses. In fastai, `vision_learner(dls, resnet18)` is pretrained unless you say `pretrained=False`, as the
    book does in the last example of its chapter.

    ## A 7 from your desk

    Our network, then, is good at MNIST. Is it good at digits? The makers of MNIST took scans of black ink on white
    forms, turned them into light on black, scaled each digit until it fitted 20 × 20 pixels, and moved its centre of
    mass to the middle of 28 × 28. A network that has seen nothing else knows nothing of thin pens, large sheets, or
    digits in a corner.

    Here is a 7 on a sheet of 280 × 280 pixels, as a person might write it. Turn it, move it, change the pen. Then
    take steps of the preparation away, one by one, and see what reaches the model.

    - *polarity*: decide what is ink, whether it is darker or lighter than the paper;
    - *crop*: cut the digit out of the sheet, and put it upright if it leans too far;
    - *stroke*: make the line as thick as it is in MNIST;
    - *antialias*: scale with greys at the edges;
    - *centre*: move the centre of mass to the middle.
    """)
    return


@app.cell(hide_code=True)
def _():
    turn = mo.ui.slider(-45, 45, value=10, label="turned by (degrees)", show_value=True)
    place = mo.ui.slider(-80, 80, value=50, label="moved by (pixels)", show_value=True)
    pen = mo.ui.slider(3, 30, value=8, label="pen (pixels)", show_value=True)
    steps = mo.ui.multiselect(options=list(STEPS), value=list(STEPS), label="steps of the preparation")
    mo.vstack([turn, place, pen, steps])
    return pen, place, steps, turn


@app.cell(hide_code=True)
def _(pen, place, turn):
    def seven(turn, place, pen):
        """A 7 on white paper, 280 × 280."""
        sheet = Image.new("L", (280, 280), "white")
        points = [(110, 90), (170, 90), (155, 125), (140, 155), (133, 190)]
        draw = ImageDraw.Draw(sheet)
        draw.line(points, fill="black", width=pen, joint="curve")
        return sheet.rotate(-turn, fillcolor="white", translate=(place, place // 2))

    drawing = seven(turn.value, place.value, pen.value)
    return drawing, seven


@app.cell
def _(dataset, learn):
    preparation = Preparation(*dataset.valid.pixels.shape[1:], "digit")  # channels, height, width, and how to fit

    def judge(image, steps=STEPS):
        pixels = prepare_image(image, preparation, steps)  # [c, h, w]
        with torch.no_grad():
            logits = learn.model.eval()(torch.from_numpy(pixels)[None])  # [1, c, h, w] → [1, 10]
        return pixels, logits.softmax(dim=1)[0]  # [c, h, w] and [10]

    return (judge,)


@app.cell(hide_code=True)
def _(drawing, judge, steps):
    def shown(image, steps=STEPS):
        pixels, probabilities = judge(image, steps)
        drawn, (left, middle, right) = plt.subplots(
            1, 3, figsize=(9, 2.6), width_ratios=(1, 1, 1.8), layout="constrained"
        )
        left.imshow(image, cmap="gray")
        middle.imshow(pixels[0], cmap="Greys", vmin=0, vmax=255)
        for ax, title in ((left, "the image"), (middle, "what the model gets")):
            ax.set_axis_off()
            ax.set_title(title)
        right.bar(range(10), probabilities.tolist())
        answer = f"{probabilities.argmax()}, with {100 * probabilities.max():.0f} %"
        right.set(xticks=range(10), ylim=(0, 1), title=answer)
        return figure(
            drawn, f"The image, what the preparation makes of it, and the probabilities. The answer: {answer}."
        )

    shown(drawing, steps.value)
    return (shown,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    One drawing may be luck. So let us count: a 7 in different places, differently turned, with a thin and a thick
    pen, once with all steps, and once with *polarity* alone.
    """)
    return


@app.cell
def _(judge, seven):
    drawn = [seven(turn, place, pen) for turn in (-10, 0, 15) for place in (-70, 0, 70) for pen in (4, 10)]  # 18 images
    prepared = sum(int(judge(image)[1].argmax()) == 7 for image in drawn)
    bare = sum(int(judge(image, ["polarity"])[1].argmax()) == 7 for image in drawn)
    print(f"read as a 7, of {len(drawn)}: {prepared} with the preparation, {bare} without")
    return bare, prepared


@app.cell(hide_code=True)
def _(bare, prepared):
    mo.md(f"""
    From {bare} to {prepared}, and nothing about the model has changed. **What is done to an image before the model
    sees it matters as much as the model**, and it has to be the same in training and ever after. To prepare images
    one way in a notebook and another way in the app is among the most common faults of all, and it raises no error.
    In this package one function does it everywhere, `prepare_image`, and what it has to do is stored beside the
    weights.

    ## Your own

    Draw a digit, with a finger, a mouse or a pen. (With the keyboard: the arrow keys move the pen, the space bar lowers
    and lifts it.) Draw it small and in a corner, or huge; write a 7 as they do in your country. When does the network
    begin to be wrong?
    """)
    return


@app.cell(hide_code=True)
def _():
    sheet = mo.ui.anywidget(Sheet())
    sheet
    return (sheet,)


@app.cell(hide_code=True)
def _(sheet, shown, steps):
    def _read():
        drawn = read_sheet(sheet.value["png"])
        return mo.md("Nothing drawn yet.") if drawn is None else shown(drawn, steps.value)

    _read()
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Or write a digit on paper, photograph it, and choose the photograph here. (`underhood serve` and the name of a run
    opens a page with the same two things, a sheet and a place for photographs.)
    """)
    return


@app.cell(hide_code=True)
def _():
    upload = mo.ui.file(filetypes=[".png", ".jpg", ".jpeg", ".webp"], kind="area", label="An image of one digit")
    upload
    return (upload,)


@app.cell(hide_code=True)
def _(shown, upload):
    def _look():
        if not upload.value:
            return mo.md("Nothing chosen yet.")
        try:
            return shown(Image.open(io.BytesIO(upload.contents())))
        except (BadImageError, OSError) as error:
            return mo.md(f"This image {error}.")

    _look()
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What is no digit

    Sooner or later somebody will show your model something else. Let us be the first: a letter, a sheet on which
    nothing is written, and a shirt. What should a good model answer?
    """)
    return


@app.cell(hide_code=True)
def _():
    def letter(character):
        """A printed letter on white paper, 280 × 280."""
        font = ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 180)
        sheet = Image.new("L", (280, 280), "white")
        ImageDraw.Draw(sheet).text((140, 140), character, "black", font, anchor="mm")
        return sheet

    def shirt():
        """A dark shirt on white paper, 280 × 280."""
        sheet = Image.new("L", (280, 280), "white")
        right = [(122, 52), (158, 52), (190, 64), (238, 118), (206, 142), (186, 120), (186, 232)]
        outline = right + [(280 - x, y) for x, y in reversed(right[2:])]
        ImageDraw.Draw(sheet).polygon(outline, fill=(40))
        return sheet

    empty_sheet = Image.new("L", (280, 280), "white")
    return empty_sheet, letter, shirt


@app.cell
def _(empty_sheet, judge, letter, shirt):
    strange = {"a letter": letter("E"), "an empty sheet": empty_sheet, "a shirt": shirt()}
    strange_answers = {name: judge(image)[1] for name, image in strange.items()}  # name → [10]
    for _name, _probabilities in strange_answers.items():
        print(_name, _probabilities)
    return strange, strange_answers


@app.cell(hide_code=True)
def _(judge, strange, strange_answers):
    _drawn, _axes = plt.subplots(2, 3, figsize=(7, 4.2), height_ratios=(1.4, 1), layout="constrained")
    for (_name, _image), _above, _below in zip(strange.items(), *_axes, strict=True):
        _above.imshow(judge(_image)[0][0], cmap="Greys", vmin=0, vmax=255)
        _above.set_title(_name)
        _above.set(xticks=[], yticks=[])
        _below.bar(range(10), strange_answers[_name].tolist())
        _below.set(xticks=range(10), ylim=(0, 1), yticks=(0, 0.5, 1))
    _said = [f"{name}: {p.argmax()} with {100 * p.max():.0f} %" for name, p in strange_answers.items()]
    figure(
        _drawn, f"Three images that show no digit, as the model gets them, and its probabilities. {'; '.join(_said)}."
    )
    return


@app.cell(hide_code=True)
def _(strange_answers):
    _said = ", ".join(f"{name} is read as {p.argmax()} ({100 * p.max():.0f} %)" for name, p in strange_answers.items())
    _sure = [name for name, p in strange_answers.items() if p.max() > 0.8]
    _unsure = [name for name in strange_answers if name not in _sure]
    _surely = f"It is as sure of {' and '.join(_sure)} as of many a real digit." if _sure else ""
    if _unsure:
        _surely += f" ({' and '.join(_unsure)[0].upper()}{' and '.join(_unsure)[1:]} at least got a low probability.)"
    mo.md(f"""
    The model says: {_said}. The right answer would have been, three times, "that is no digit", and it is none of the
    ten answers that the model can give. {_surely}

    Why is it so sure?

    - **It has no other answer.** Softmax hands out exactly 1 among the ten digits, and "none of these" is not on the
      list. What looks like "how sure am I that this is a 4?" only means: *if* it is one of the ten digits, as I know
      them, how probable is a 4 compared with the other nine?
    - **It was never asked.** The loss looked at digits. For all other images, and there are immeasurably many, no
      gradient ever said what should come out, and so whatever the weights happen to compute comes out.
    - **Scores do not fade with distance.** A network of linear layers and ReLUs is made of straight pieces, as you
      saw with the hinges in lesson 12, and a straight line that rises goes on rising. Matthias Hein and his
      colleagues proved in 2019 that for almost every image, if you only multiply its pixels by a number that is large
      enough, such a network becomes as sure as you like of some class. (Pixels end at 255, so you will meet no such
      image. But it shows that nothing in the network makes it doubt far from home.)

    Images that show none of the classes are called **out of distribution**: they do not come from where the training
    images came from. The simplest thing to do about them is to be modest: **reject** every answer whose probability
    is below a **threshold**, that is, say "I don't know" instead. How high should the threshold be? Move it, and see
    what it costs (digits that are refused) and what it brings (letters that are).
    """)
    return


@app.cell
def _(judge, letter, logits):
    confidence = logits.softmax(dim=1).max(dim=1).values  # [n]: of the validation images, all of them digits
    letters = "ABCDEFGHJKLMNPQRTUVWXYadefhkmnprtuvwxy"  # those that do not look like a digit
    letter_confidence = torch.stack([judge(letter(character))[1].max() for character in letters])  # [38]
    usual = confidence.quantile(0.01)  # 1 % of the digits lie below it
    print(usual)
    return confidence, letter_confidence, usual


@app.cell(hide_code=True)
def _():
    threshold = mo.ui.slider(0.0, 0.995, value=0.9, step=0.005, label="threshold", show_value=True)
    threshold
    return (threshold,)


@app.cell(hide_code=True)
def _(confidence, labels, letter_confidence, predicted, threshold):
    _kept = confidence >= threshold.value
    _refused = 100 * (~_kept).float().mean()
    _right = 100 * (predicted == labels)[_kept].float().mean()
    _letters = 100 * (letter_confidence < threshold.value).float().mean()
    _axes = plt.subplots(figsize=(6, 2.4))[1]
    _bins = np.linspace(0, 1, 41)
    for _values, _name in ((confidence, "digits"), (letter_confidence, "letters")):
        _axes.hist(_values.numpy(), _bins, weights=np.full(len(_values), 100 / len(_values)), alpha=0.6, label=_name)
    _axes.axvline(threshold.value, color="black")
    _axes.set(xlabel="probability of the answer", ylabel="% of the images")
    _axes.legend(loc="upper left")
    mo.vstack(
        [
            figure(
                _axes,
                "Two histograms of the probability of the answer. That of the digits is a single high bar near 1; "
                "that of the letters is spread out, with many near 1, too. "
                f"The threshold is at {threshold.value:g}.",
            ),
            mo.md(
                f"With a threshold of {threshold.value:g}, **{_refused:.1f} %** of the digits are rejected, and of "
                f"those that are not, **{_right:.2f} %** are right. Of the letters, **{_letters:.0f} %** are "
                "rejected; the others become digits."
            ),
        ]
    )
    return


@app.cell(hide_code=True)
def _(letter_confidence, usual):
    mo.md(f"""
    Rejection helps twice: the answers that are left are right more often, and a part of the nonsense is refused. But
    it is no cure, because many letters are as "probable" as a digit. With the threshold below which 1 % of our
    validation digits lie, {usual:.3f}, only {100 * (letter_confidence < usual).float().mean():.0f} % of the letters
    are rejected.

    **A better question** is not how probable the answer is, but whether the image is like anything that the model was
    trained on. The last layer's input, the features, is a list of numbers; two images that look alike to the network
    have lists that point in nearly the same direction. So one can compare the features of a new image with those of
    the training images, and reject it if all of them are far away. `underhood train` does that: it measures how far
    the validation images are from the training images, and rejects what is further away than almost all of them (so
    that 1 % of good images are rejected; this is the line `rejected` in the transcript). `predict` then writes
    "(rejected: distance)" behind an answer, as you saw with the shirt; a blank image is always rejected. And the
    report counts how many letters, how much noise and how many pieces of clothing get through, so that you know
    before your users do.

    **And between "a 7" and "no digit"** there is a third honest answer: "a 4 or a 9". The line `class in its set` is
    about it. For each image, `underhood` gives the *set* of all digits that are probable enough, and chooses how
    probable that is on validation images: so that the set holds the right digit 95 times in 100. A clear 7 has a set
    of one; a careless 4 has two. Here the model is so good that nearly all sets have one label. On clothes, where
    shirts and coats look alike, a quarter of them have more.

    What else can be done? One can show images of other things to the model during training, with a class of their
    own, if one knows what to expect. And above all one can use the model where a wrong answer costs little, or where
    a person looks at the doubtful ones.

    ## What you can do now, and where to go

    This is the end of the course proper; what follows are questions to test yourself. You started with the numbers in
    a file, and since then you have written a baseline, a loss, gradient descent, the training loop, an optimizer, a
    `Learner`, layers, and backpropagation. You can open a program that somebody has written with PyTorch, find the
    data, the model, the loss and the loop in it, and say what each line is for. You know the most common faults by
    their symptoms. And you have seen what an accuracy does not say.

    Everything larger is built from the same parts. Some good ways on:

    - **fastai.** [*Practical Deep Learning for Coders*](https://course.fast.ai) is a free course with videos, and the
      book by Jeremy Howard and Sylvain Gugger goes with it. Its fourth chapter is the one that this course follows;
      you can read on in the fifth.
    - **PyTorch's tutorials.** [*Learn the Basics*](https://pytorch.org/tutorials/beginner/basics/intro.html) will be
      mostly familiar, and [*What is torch.nn really?*](https://pytorch.org/tutorials/beginner/nn_tutorial.html) goes
      the way of our lessons 8 to 13 with other words. The tutorial on transfer learning uses the ants and bees.
    - **Language models.** [nanoGPT](https://github.com/karpathy/nanoGPT) by Andrej Karpathy trains a small GPT. The
      model and the training loop are two files of some three hundred lines each. You will recognise the loop, the
      cross-entropy and the residual shortcuts; what is new is called attention.
    - **Books.** Michael Nielsen's [*Neural Networks and Deep Learning*](http://neuralnetworksanddeeplearning.com),
      free to read, reads MNIST, too, and takes much time for backpropagation. Paolo Perrotta's *Programming Machine
      Learning* is the book behind our lesson 15.
    - **Papers** that you can read now, at least in their main parts: Rumelhart, Hinton and Williams, *Learning
      representations by back-propagating errors* (1986), four pages; LeCun, Bottou, Bengio and Haffner,
      *Gradient-based learning applied to document recognition* (1998), where MNIST comes from; He, Zhang, Ren and
      Sun, *Deep residual learning for image recognition* (2015).

    Best of all: **take a question of your own**, collect a hundred images for each answer, and train. You will meet
    problems that are in no book, and you now know where to look for them.

    ## Summary

    - For ten classes the last layer gives ten scores; softmax and cross-entropy take the places of sigmoid and
      `mnist_loss`. The rest stays.
    - A confusion matrix counts which label gets which prediction. Read its rows (recall) and its columns (precision),
      and then look at the images.
    - `underhood train` does it all with one command and leaves a folder with every decision and every measurement.
    - A pretrained network has learned from other data. With few photographs, a new head on a frozen backbone does
      much better than a network from scratch; with digits it does not.
    - Images have to be prepared in use exactly as in training.
    - A classifier answers whatever it is shown, and often with confidence. A threshold rejects a part of what it
      cannot know; the distance to the training images in feature space rejects more.
    - A set of labels can say honestly how sure the model is: it holds the right one as often as was promised.

    **New words:** confusion matrix, recall, precision, pretrained, transfer learning, backbone (body), head, frozen,
    features, out of distribution, threshold, reject.

    ## Exercises

    **1.** A network has just been made, and gives all ten digits the same score, whatever the image. What is its
    cross-entropy?
    """)
    return


@app.cell
def _():
    even = ...  # a number
    return (even,)


@app.cell(hide_code=True)
def _(even):
    check_1 = exercise(
        "17.1",
        even,
        lambda answer: abs(float(answer) - np.log(10)) < 0.01,
        hints=(
            "Which probability does softmax give each of ten equal scores?",
            "Cross-entropy is −log of the probability of the right class, and here that is a tenth for every image.",
            "`np.log` is the natural logarithm. Mind the sign.",
        ),
        solution="even = -np.log(1 / 10)  # 2.30: compare the first loss of a training with it",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** Which step of the preparation makes black ink on paper and white chalk on a blackboard look the same to the
    model? Give its name.
    """)
    return


@app.cell
def _():
    step = ...  # a string
    return (step,)


@app.cell(hide_code=True)
def _(step):
    check_2 = exercise(
        "17.2",
        step,
        lambda answer: answer == "polarity",
        hints=(
            f"It is one of {', '.join(STEPS)}.",
            "What differs is not where the strokes are, nor how thick, but which of the two is lighter.",
            "Read the list of the steps above: which one decides what is ink?",
        ),
        solution='step = "polarity"',
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Write a function that takes a confusion matrix, with labels in its rows and predictions in its columns, and
    gives the recall of every class: which fraction of the images with this label is found?
    """)
    return


@app.cell
def _():
    def recalls(confusion):  # [classes, classes] → [classes]
        return ...

    return (recalls,)


@app.cell(hide_code=True)
def _(recalls):
    check_3 = exercise(
        "17.3",
        recalls,
        lambda answer: torch.allclose(torch.as_tensor(answer).double(), torch.tensor([0.8, 0.9, 1.0]).double()),
        hints=(
            "For each class you need two numbers: how many images are found, and how many there are.",
            "The ones that are found are on the diagonal: `confusion.diagonal()`. A label has its images in one row.",
            "Divide the diagonal by the sums of the rows; `sum(dim=1)` adds up along the columns of each row.",
        ),
        solution="""
        def recalls(confusion):
            return confusion.diagonal() / confusion.sum(dim=1)  # [classes]
        """,
        arguments=(torch.tensor([[8, 2, 0], [1, 9, 0], [0, 0, 5]]),),
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Write a function that answers with the most probable class of each image, but with −1 where its probability
    is below the threshold.
    """)
    return


@app.cell
def _():
    def answer_or_reject(probabilities, threshold):  # [n, classes], a number → [n]
        return ...

    return (answer_or_reject,)


@app.cell(hide_code=True)
def _(answer_or_reject):
    check_4 = exercise(
        "17.4",
        answer_or_reject,
        lambda answer: torch.as_tensor(answer).tolist() == [1, -1, 2],
        hints=(
            "You need two things for each row: the largest probability, and where it stands.",
            "`probabilities.max(dim=1)` gives both, as `values` and `indices`.",
            "`torch.where(condition, a, b)` takes `a` where the condition holds, else `b`; `a` may be the number −1.",
        ),
        solution="""
        def answer_or_reject(probabilities, threshold):
            highest, classes = probabilities.max(dim=1)  # [n], [n]
            return torch.where(highest < threshold, -1, classes)
        """,
        arguments=(torch.tensor([[0.05, 0.9, 0.05], [0.4, 0.35, 0.25], [0.1, 0.1, 0.8]]), 0.8),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research, 1.** Ask five people to write the digits from 0 to 9 on a sheet, photograph each digit, and
    sort the photographs into folders. `underhood evaluate runs/… your-folder` measures a run of yours on them. Is it
    as good as on MNIST? In many countries a 1 has a long upstroke and a 7 a bar: what does the confusion matrix say
    about those, and what would you do about it?

    **Further research, 2.** `transferred` has a new head that waits for a task. Train it to tell digits from letters,
    with `letter` and validation images of digits for data and the loop from lesson 8 for the head alone. How many
    letters do you need? And what does it say to a shirt?

    ## What you can read now

    [Autograd mechanics](https://pytorch.org/docs/stable/notes/autograd.html) in PyTorch's documentation: the sections
    on how a graph is recorded and on *Locally disabling gradient computation*, where `requires_grad` and the freezing
    of a pretrained model are explained. And
    [`torch.nn.CrossEntropyLoss`](https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html), of which
    you can now read every line of the first half.

    **Next:** [18 · The questionnaire](?file=18_questionnaire.py), where you find out what has stayed.
    """)
    return


if __name__ == "__main__":
    app.run()
