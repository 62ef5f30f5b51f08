import marimo

app = marimo.App(width="medium", app_title="10 · Backpropagation by hand")

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np

    from underhood.books.elixir import chapter11_weights
    from underhood.lessons import MNIST_IS_HERE, exercise, load, table
    from underhood.scratch import backprop
    from underhood.scratch.backprop import (
        compare_gradients,
        first_disagreement,
        forward,
        initialize_weights,
        prepend_bias,
        sigmoid_gradient,
    )


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 10 · Backpropagation by hand

    Autograd was a gift. Here we give it back: a network with one hidden layer, all ten digits, NumPy, and each
    slope written down by us. It is the network of "Programming Machine Learning", chapter 11.

    Forward, it is two products and two bends. A column of ones is put before what is multiplied, for the bias:

    | | | MNIST |
    | --- | --- | --- |
    | `x1 = prepend_bias(x)` | the pictures, and ones | [60000, 785] |
    | `h = sigmoid(x1 @ w1)` | the hidden layer | [60000, 200] |
    | `h1 = prepend_bias(h)` | the same, and ones | [60000, 201] |
    | `y_hat = softmax(h1 @ w2)` | a probability for each digit | [60000, 10] |

    The loss is cross-entropy: −log of the probability of what is right, on average.
    """)
    return


@app.cell
def _():
    dataset, which = load("mnist")
    mo.md(which)
    return dataset, which


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Backward, one gradient at a time

    **At the end**, softmax and cross-entropy together have the simplest slope there is: prediction minus truth,
    `y_hat − y`. Too sure of the 3: push its score down, by as much as it was too sure.

    **For `w2`**: each weight passed a hidden number on. Its slope is that number times the error it led to,
    summed over the pictures: `h1.T @ (y_hat − y) / n`.

    **Back through `w2`**: how much is each hidden number to blame? As much as the weights that carried it:
    `(y_hat − y) @ w2.T` (without the bias row: the bias does not come from h).

    **Through sigmoid**: times its slope, `h · (1 − h)`, which is small where it is sure.

    **For `w1`**: as before, input times blame: `x1.T @ …`.
    """)
    return


@app.cell
def _():
    def back(x, y, y_hat, w2, h):
        error = (y_hat - y) / len(x)  # [n, classes]
        w2_gradient = prepend_bias(h).T @ error  # [hidden + 1, classes]
        blame = error @ w2[1:].T * sigmoid_gradient(h)  # [n, hidden]
        w1_gradient = prepend_bias(x).T @ blame  # [inputs + 1, hidden]
        return w1_gradient, w2_gradient

    return (back,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Is it right?

    Nobody gets this right at the first try, and many a wrong
    gradient still trains, only worse. So two
    witnesses: torch's autograd, and finite differences, which know no calculus. On a small network of random
    numbers, layer by layer from the loss backwards, since that is how a mistake travels. Plant one:
    """)
    return


@app.cell
def _():
    MISTAKES = {
        "none": "",
        "the sign": "error = (y - y_hat) / len(x)",
        "the mean forgotten": "error = y_hat - y",
        "the bias row kept in the way back": "blame from all rows of w2, shifted by one",
        "sigmoid's slope forgotten": "blame = error @ w2[1:].T",
        "sigmoid's slope at the wrong place": "h itself in place of h · (1 − h)",
    }
    mistake = mo.ui.radio(options=list(MISTAKES), value="sigmoid's slope forgotten", label="plant a mistake:")
    mistake
    return MISTAKES, mistake


@app.cell
def _(back):
    def planted(mistake):
        def wrong(x, y, y_hat, w2, h):
            error = (y_hat - y) / len(x)
            slope, rows = sigmoid_gradient(h), w2[1:]
            if mistake == "the sign":
                error = -error
            elif mistake == "the mean forgotten":
                error = error * len(x)
            elif mistake == "the bias row kept in the way back":
                rows = w2[:-1]
            elif mistake == "sigmoid's slope forgotten":
                slope = 1
            elif mistake == "sigmoid's slope at the wrong place":
                slope = h
            return prepend_bias(x).T @ (error @ rows.T * slope), prepend_bias(h).T @ error

        return back if mistake == "none" else wrong

    def judged(mistake):
        rng = np.random.default_rng(1)
        x, labels = rng.normal(size=(12, 5)), rng.integers(0, 3, 12)
        w1, w2 = (rng.normal(size=shape) for shape in ((6, 4), (5, 3)))
        return compare_gradients(x, backprop.one_hot_encode(labels, 3), w1, w2, back=planted(mistake))

    return (judged,)


@app.cell
def _(MISTAKES, judged, mistake):
    _layers = judged(mistake.value)
    _rows = [
        {
            "layer": one.name,
            "from autograd": f"{one.from_autograd:.0e}",
            "from differences": f"{one.from_differences:.0e}",
            "": "agrees" if one.agrees else "WRONG",
        }
        for one in _layers
    ]
    found = first_disagreement(_layers)
    _said = f"`{MISTAKES[mistake.value]}`: the first that disagrees, going back from the loss, is **{found}**."
    mo.vstack([table(_rows), mo.md("All agree." if found is None else _said)])
    return


@app.cell
def _(MISTAKES, judged):
    all_found = {mistake: first_disagreement(judged(mistake)) for mistake in MISTAKES}
    table([{"mistake": mistake, "found in": layer or "nothing to find"} for mistake, layer in all_found.items()])
    return (all_found,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Train it

    The chapter takes all 60,000 pictures for each step. With MNIST, its own first random numbers and our `back`, the
    first line has to be its first line: loss 2.27872, accuracy 13.80 %. (Further digits hang on the order in which
    60,000 numbers are added.)
    """)
    return


@app.cell
def _(back, dataset, which):
    x_train, x_test = (part.pixels.reshape(len(part), -1).astype(np.float32) for part in (dataset.train, dataset.valid))
    y_train = backprop.one_hot_encode(dataset.train.labels)
    as_in_the_book = which == MNIST_IS_HERE
    first_line = None
    if as_in_the_book:
        w1, w2 = chapter11_weights(200)
        y_hat, h = forward(x_train, w1, w2)
        w1_gradient, w2_gradient = back(x_train, y_train, y_hat, w2, h)
        w1, w2 = w1 - 0.01 * w1_gradient, w2 - 0.01 * w2_gradient
        first_line = backprop.report(0, x_train, y_train, x_test, dataset.valid.labels, w1, w2)
    mo.md(f"{first_line or 'The first line needs MNIST.'}")
    return as_in_the_book, first_line, x_test, x_train, y_train


@app.cell(hide_code=True)
def _():
    mo.md("""
    So that a slider can answer at once: a smaller network, 1,500 pictures, sixty steps, by the same `back`.
    """)
    return


@app.cell
def _():
    rate = mo.ui.slider(steps=[0.06, 0.2, 0.6, 2.0, 6.0], value=2.0, label="learning rate", show_value=True)
    rate
    return (rate,)


@app.cell
def _(back, dataset, rate, x_test, x_train, y_train):
    def trained(rate, iterations=60, hidden=50, most=1500):
        """On a part of the pictures, by ``back`` above: losses, and accuracy at the end."""
        x, y = x_train[:most] / 255, y_train[:most]
        w1, w2 = (10 * w for w in initialize_weights((x.shape[1] + 1, hidden), (hidden + 1, 10)))  # deviation 0.1
        losses = []
        for _iteration in range(iterations):
            y_hat, h = forward(x, w1, w2)
            losses.append(backprop.loss(y, y_hat))
            w1_gradient, w2_gradient = back(x, y, y_hat, w2, h)
            w1, w2 = w1 - rate * w1_gradient, w2 - rate * w2_gradient
        accuracy = (backprop.classify(x_test / 255, w1, w2)[:, 0] == dataset.valid.labels).mean()
        return losses, float(accuracy)

    _losses, reached = trained(rate.value)
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _axes.plot(_losses)
    _axes.set(
        xlabel="iteration",
        ylabel="loss",
        title=f"{100 * reached:.1f} % right after {len(_losses)} iterations",
        ylim=(0, max(2.5, _losses[0])),
    )
    _axes
    return (reached,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Exercises

    **1.** The slope of cross-entropy at the scores, for one picture whose digit is the second of three, when
    softmax says 0.2, 0.5, 0.3. Put in the three numbers.
    """)
    return


@app.cell
def _():
    slopes = ...
    return (slopes,)


@app.cell(hide_code=True)
def _(slopes):
    check_1 = exercise(
        slopes, lambda answer: np.allclose(answer, (0.2, -0.5, 0.3)), "Prediction minus truth; truth is 0, 1, 0."
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** Another network: ReLU in place of sigmoid. Write what takes the place of `sigmoid_gradient(h)` in the
    way back, from `h = relu(…)`.
    """)
    return


@app.cell
def _():
    def relu_gradient(h):
        return ...

    return (relu_gradient,)


@app.cell(hide_code=True)
def _(relu_gradient):
    _h = np.array([[0.0, 2.0, 0.5], [3.0, 0.0, 0.0]])
    check_2 = exercise(
        relu_gradient,
        lambda answer: np.array_equal(np.asarray(answer, float), (_h > 0).astype(float)),
        "1 where it let something through, 0 where it did not.",
        (_h,),
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Before any training, with ten digits and tiny weights, the loss is about 2.30. Of which number is it
    the logarithm?
    """)
    return


@app.cell
def _():
    number = ...
    return (number,)


@app.cell(hide_code=True)
def _(number):
    check_3 = exercise(
        number, lambda answer: answer == 10, "Each digit gets the same probability, and −log(1/k) = log k."
    )
    check_3
    return


if __name__ == "__main__":
    app.run()
