import marimo

app = marimo.App(
    width="medium", app_title="15 · Backpropagation by hand", layout_file="layouts/15_backpropagation.slides.json"
)

with app.setup:
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np

    from underhood.books.elixir import FIRST_ITERATIONS, LAST_ITERATIONS, chapter11_weights
    from underhood.lessons import MNIST_IS_HERE, exercise, figure, load, table
    from underhood.scratch.backprop import finite_differences


@app.cell(hide_code=True)
def _():
    mo.md("""
    # 15 · Backpropagation by hand

    Since lesson 5, every gradient in this course has come out of one call, `loss.backward()`. You were told what it
    computes, but not how. Today we do without it, and compute every gradient ourselves: first in a calculation so
    small that it fits on a page, then in a network that reads all ten digits. The effort is worth it. When a network
    refuses to learn, the cause is very often something that stops or distorts the gradients on their way back, and
    you can only look for that if you know the way.

    **After this lesson** you can find any gradient in a chain of calculations by multiplying; say what one-hot,
    logit, softmax and cross-entropy are, and why they fit together so well; write the backward pass of a network
    and explain each transpose in it; and test a gradient that you do not trust. **It takes about 90 minutes**, and
    it is the hardest lesson of the course. There is a good place for a break in the middle, before "The network".

    The network is the one of chapter 11 in Paolo Perrotta's book *Programming Machine Learning*, and like that
    chapter we use NumPy instead of PyTorch. The reason is honesty. NumPy's arrays have no `grad` and no `backward`:
    there is no autograd, so what is not written on this page does not happen. You will find your way at once: `np.`
    stands where `torch.` stood, and `dim` is called `axis`.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Six nodes

    A network is a long calculation, and a long calculation is made of short ones. Here is the shortest that has
    everything a network has: an input x, a weight, a bias, a sigmoid, a second weight, and as its loss the squared
    distance from a target t.

    The sigmoid is that of lesson 7. Only one thing is new: z is not allowed below −80, because e⁸⁹ is already too
    large for a `float32`. So far down the sigmoid is 0 for all purposes anyway.
    """)
    return


@app.cell
def _():
    def sigmoid(z):
        return 1 / (1 + np.exp(-np.maximum(z, -80)))

    sigmoid(np.array([-100.0, -2.0, 0.0, 2.0]))
    return (sigmoid,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Now the calculation, one operation on each line. Each line is a **node**: it takes one or two numbers and makes
    a new one. Drawn with arrows from what goes in to what comes out, the nodes form a **graph**.
    """)
    return


@app.cell
def _(sigmoid):
    def six_nodes(x, w1, c, w2, t):
        p = w1 * x  # the first weight
        a = p + c  # the bias
        h = sigmoid(a)  # the activation
        b = w2 * h  # the second weight
        d = b - t  # how far from the target
        L = d**2  # the loss
        return {"p": p, "a": a, "h": h, "b": b, "d": d, "L": L}

    nodes = six_nodes(x=2.0, w1=0.5, c=-0.4, w2=2.0, t=3.0)
    for _name, _value in nodes.items():
        print(_name, round(float(_value), 4))
    return nodes, six_nodes


@app.cell(hide_code=True)
def _():
    mo.md("""
    This was the forward pass: the loss is about 2.92. The question is the old one. If we turn `w1` a little, how
    fast does L change? Six operations lie between the two, which seems a lot. But we need not look at all six at
    once.

    Each node alone is school mathematics. Its **local gradient** says how fast its result changes with one of the
    numbers that go in, while the others hold still:
    """)
    return


@app.cell(hide_code=True)
def _(nodes):
    _d, _h = float(nodes["d"]), float(nodes["h"])
    table(
        [
            {"node": "L = d²", "changes with": "d", "local gradient": "2 · d", "here": f"{2 * _d:.3f}"},
            {"node": "d = b − t", "changes with": "b", "local gradient": "1", "here": "1"},
            {"node": "b = w2 · h", "changes with": "h", "local gradient": "w2", "here": "2"},
            {"node": "", "changes with": "w2", "local gradient": "h", "here": f"{_h:.3f}"},
            {
                "node": "h = sigmoid(a)",
                "changes with": "a",
                "local gradient": "h · (1 − h)",
                "here": f"{_h * (1 - _h):.3f}",
            },
            {"node": "a = p + c", "changes with": "p or c", "local gradient": "1", "here": "1"},
            {"node": "p = w1 · x", "changes with": "w1", "local gradient": "x", "here": "2"},
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Two of these rules are worth knowing by heart. In a **sum**, each number counts as it is, so the local gradient
    is 1. In a **product**, each number is multiplied by the other one, so the local gradient is *the other factor*.
    (The sigmoid's h · (1 − h) we derive in a moment.)

    And how do six small answers become the large one? Think of gear wheels. If the first wheel makes the second
    turn twice as fast, and the second makes the third turn three times as fast, then the first makes the third turn
    six times as fast. Rates multiply. That is the **chain rule**: the derivative of the last number in a chain with
    respect to the first is the product of all local gradients on the way between them. For `w1`:

    2·d · 1 · w2 · h·(1 − h) · 1 · x = (−3.417) · 1 · 2 · 0.229 · 1 · 2 = −3.13

    Move the slider to see it happen. Steps 1 to 6 go forward, and each circle receives its number. Steps 7 to 12 go
    backward: on each arrow stands the local gradient, and beside each circle the product so far, which is the
    gradient of the loss for that number.
    """)
    return


@app.cell(hide_code=True)
def _():
    step_shown = mo.ui.slider(0, 12, value=6, label="step", show_value=True)
    step_shown
    return (step_shown,)


@app.cell(hide_code=True)
def _(nodes, step_shown):
    _v = {name: float(value) for name, value in nodes.items()}
    _slope = _v["h"] * (1 - _v["h"])
    # node: its operation, the local gradient of the number above it, what enters at the side: name, value, local
    _parts = {
        "p": ("p = w1 · x", None, ("w1", 0.5, 2.0)),
        "a": ("a = p + c", 1.0, ("c", -0.4, 1.0)),
        "h": ("h = sigmoid(a)", _slope, None),
        "b": ("b = w2 · h", 2.0, ("w2", 2.0, _v["h"])),
        "d": ("d = b − t", 1.0, None),
        "L": ("L = d²", 2 * _v["d"], None),
    }
    _names, _products = list(_parts), {"L": 1.0}
    for _upper, _lower in zip(reversed(_names[:-1]), reversed(_names[1:]), strict=True):
        _products[_upper] = _products[_lower] * _parts[_lower][1]
    _axes = plt.subplots(figsize=(5.6, 6.6))[1]
    _red, _arrow = "tab:red", {"arrowstyle": "-|>", "color": "0.5", "shrinkA": 16, "shrinkB": 16}
    _now = step_shown.value
    for _place, _name in enumerate(_names):
        _y = -_place
        _operation, _local, _side = _parts[_name]
        _axes.add_patch(plt.Circle((0, _y), 0.3, fc="0.92" if _now > _place else "white", ec="0.3"))
        if _now > _place:
            _axes.text(0, _y, f"{_v[_name]:.2f}", ha="center", va="center", fontsize=12)
        _axes.text(0.45, _y + 0.14, _operation, va="center", fontsize=12, color="0.3")
        if _now >= max(7, 11 - _place):
            _said = f"dL/d{_name} = {_products[_name]:.2f}"
            _axes.text(0.45, _y - 0.16, _said, va="center", fontsize=12, color=_red, weight="bold")
        if _place:
            _axes.annotate("", (0, _y), (0, _y + 1), arrowprops=_arrow)
            if _now >= 12 - _place:
                _axes.text(-0.08, _y + 0.5, f"· {_local:.2f}", ha="right", va="center", fontsize=11, color=_red)
        if _side:
            _label, _value, _side_local = _side
            _axes.annotate("", (0, _y), (-1.35, _y), arrowprops=_arrow | {"shrinkA": 2})
            _axes.text(-1.4, _y + 0.14, f"{_label} = {_value:g}", ha="right", va="center", fontsize=12)
            if _now >= 12 - _place:
                _said = f"dL/d{_label} = {_products[_name] * _side_local:.2f}"
                _axes.text(-1.4, _y - 0.16, _said, ha="right", va="center", fontsize=12, color=_red, weight="bold")
                _axes.text(-0.85, _y + 0.12, f"· {_side_local:.2f}", ha="center", fontsize=11, color=_red)
    _axes.set(xlim=(-3.1, 2.3), ylim=(-5.5, 0.5))
    _axes.set_aspect("equal")
    _axes.set_axis_off()
    _forward_said = ", ".join(f"{name} {_v[name]:.2f}" for name in _names[: min(_now, 6)])
    _known = _names[::-1][: _now - 5] if _now > 6 else []
    _back_said = ", ".join(f"{name} {_products[name]:.2f}" for name in _known)
    figure(
        _axes,
        f"Six nodes in a column with arrows downwards. Forward so far: {_forward_said or 'nothing'}. "
        f"Backward so far, the gradient of L for each: {_back_said or 'nothing'}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The same backward pass in code. Each line takes the product of a line above and multiplies it by one more local
    gradient; that is all there is to it.
    """)
    return


@app.cell
def _(nodes):
    def six_nodes_back(x, w2, h, d):
        d_gradient = 2 * d
        b_gradient = d_gradient * 1
        w2_gradient = b_gradient * h  # a product: the other factor
        h_gradient = b_gradient * w2  # a product: the other factor
        a_gradient = h_gradient * h * (1 - h)
        c_gradient = a_gradient * 1  # a sum
        p_gradient = a_gradient * 1  # a sum
        w1_gradient = p_gradient * x
        return w1_gradient, c_gradient, w2_gradient

    by_multiplying = np.array(six_nodes_back(2.0, 2.0, nodes["h"], nodes["d"]))
    by_multiplying
    return (by_multiplying,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Read the first number: if `w1` grows by 0.01, the loss falls by about 0.031. Is that true? We do not have to
    believe it. `finite_differences` of lesson 5 moves each number a little up and a little down and looks at what
    the loss does. It knows no rule that could be wrong.
    """)
    return


@app.cell
def _(six_nodes):
    three_weights = np.array([0.5, -0.4, 2.0])  # w1, c, w2

    def loss_of_six_nodes():
        w1, c, w2 = three_weights
        return six_nodes(2.0, w1, c, w2, 3.0)["L"]

    by_moving = finite_differences(loss_of_six_nodes, three_weights)
    by_moving
    return (by_moving,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The same three numbers. What you have just seen is **backpropagation**: applying the chain rule from the loss
    backwards, keeping the product at each node so that nothing is calculated twice. PyTorch's `backward()` does
    exactly this. While your forward pass runs, it notes the graph; the `grad_fn=<PowBackward0>` that it prints with
    a tensor is the node of a power, such as our L, and knows its local gradient.

    **Why backwards?** Because there is one loss and there are many weights. One backward pass gives the gradient
    for *every* weight, at about twice the cost of a forward pass. Finite differences need two forward passes for
    *each* weight. The network further down has 159,010 of them.

    The idea was found more than once. Seppo Linnainmaa described the method for calculations in general in 1970,
    and Paul Werbos, in his doctoral thesis of 1974, as a way to fit models to data. It became widely known in 1986,
    when David Rumelhart, Geoffrey Hinton and Ronald Williams showed in *Nature* that the hidden layer of a network
    trained in this way finds useful features by itself. Almost every neural network since then has been trained
    like this.

    **What if a number goes two ways?** In our graph each number is used once. In a network, a hidden activation
    goes into all ten scores. Then each way back has a product of its own, and **the products are added**: if one
    way makes the loss grow by 2 and the other by 3, together it grows by 5. A small example is node L itself: d² is
    d · d, so d enters twice, each time with the other factor d as its local gradient, and d + d is the 2 · d of the
    table.

    Now you can see what a shortcut of lesson 13 does. In y = x + f(x), x goes two ways, and the ways are added: the
    local gradient is 1 + f′(x), where f′ is the derivative of f. However small f′ becomes, the 1 stays, and so a
    product over many blocks need not shrink to nothing.

    **Where does h · (1 − h) come from?** From the chain rule, and two rules from school: the derivative of 1/u
    is −1/u², and eˣ is its own derivative. The sigmoid is h = 1/u with u = 1 + e⁻ᵃ. The local gradient of 1/u
    is −1/u², that of u with respect to a is −e⁻ᵃ, and their product is e⁻ᵃ/u². Write it as 1/u · e⁻ᵃ/u. The
    first factor is h. In the second, e⁻ᵃ is u − 1, and (u − 1)/u is 1 − h.
    """)
    return


@app.cell
def _(sigmoid):
    def sigmoid_gradient(sigmoid):  # from the sigmoid's values, of any shape
        return sigmoid * (1 - sigmoid)

    sigmoid_gradient(sigmoid(np.array([-100.0, -2.0, 0.0, 2.0])))
    return (sigmoid_gradient,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    It is practical that the slope follows from the value: the forward pass has it already. Notice also that it is
    never above ¼, and almost 0 where the sigmoid is near 0 or 1. We will meet that again, as a problem.

    ## From one score to ten

    So far a model gave one score: large for a 3, small for a 7. For ten digits it gives ten scores, one for each,
    and the largest wins. Two things are missing: what the right answer looks like, and a loss that compares.

    **The right answer.** The label is a number from 0 to 9, but only as a name: a 4 is not closer to a 3 than a 9
    is. So we write it as ten numbers, a 1 in the place of the right digit and a 0 in all others. This is called
    **one-hot** encoding (in PyTorch `F.one_hot`). The comparison below broadcasts a column of labels against a row
    of digits.
    """)
    return


@app.cell
def _():
    def one_hot_encode(y, classes=10):  # [n] → [n, classes]
        return (np.reshape(y, (-1, 1)) == np.arange(classes)).astype(np.float32)

    one_hot_encode(np.array([3, 0]))
    return (one_hot_encode,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **The prediction.** A score, as it leaves the last layer, may be any number. Such a score is called a **logit**;
    PyTorch's documentation also says *raw* or *unnormalized* score. To compare it with 0s and 1s we want
    probabilities: ten numbers between 0 and 1 that sum to 1. The function that makes them is the **softmax**: take
    e to the power of each logit (written eˣ, in code `np.exp(x)`), which is always positive, and divide by the sum. The
    exponential keeps the order and exaggerates: one point more than another score is 2.72 times its probability. The
    result is a soft version of "1 for the largest, 0 for all others". (`axis=1` sums along each row, and `keepdims`
    leaves the result as a column, so that it broadcasts against the rows.)

    You know a special case. For two classes with the scores a and 0, softmax gives eᵃ/(eᵃ + 1), and that is the
    sigmoid of a. (The 1 is e⁰. Divide above and below by eᵃ, and you have 1/(1 + e⁻ᵃ).)
    """)
    return


@app.cell
def _():
    def softmax(logits):  # [n, classes] → [n, classes]
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)  # each row sums to 1

    softmax(np.array([[2.0, 1.0, -1.0], [102.0, 101.0, 99.0]]))
    return (softmax,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Why is the largest logit subtracted first?** In the result nothing changes: with m taken from each logit, each
    exponential is divided by the same eᵐ, which cancels. The two rows above show it. But without it, large logits
    break the calculation, because e¹⁰² is more than a `float32` can hold. (`errstate` keeps NumPy from warning
    about what we do on purpose.)
    """)
    return


@app.cell
def _():
    large = np.array([102.0, 101.0, 99.0], dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        without_subtracting = np.exp(large) / np.exp(large).sum()
    print(np.exp(large - large.max()), without_subtracting)
    return (without_subtracting,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Infinity divided by infinity is `nan`, "not a number", and a single `nan` in a loss spreads to every weight.

    **The loss.** Only one of the ten probabilities matters: the one that the model gives to the right digit.
    Our loss should be 0 if it is 1, and grow the more the closer it comes to 0. The **cross-entropy** is minus
    its logarithm (the natural one, which undoes eˣ), averaged over the images. (The word comes from information
    theory: −log p measures the surprise at an event of probability p.)
    """)
    return


@app.cell(hide_code=True)
def _():
    table(
        [
            {"probability of the right digit": f"{p:g}", "loss": f"{abs(np.log(p)):.3f}"}
            for p in (1, 0.9, 0.5, 0.1, 0.01, 0.0001)
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Being unsure costs a little, being sure and wrong costs a lot. In the code, multiplying by the one-hot `y` picks
    the right digit, since all other products are 0. `tiny` is the smallest normal positive number of its type: if a
    probability has been rounded to 0, the loss is large instead of infinite.
    """)
    return


@app.cell
def _(one_hot_encode, softmax):
    def loss(y, y_hat):  # both [n, classes] → one number
        return float(-np.sum(y * np.log(np.maximum(y_hat, np.finfo(y_hat.dtype).tiny))) / len(y))

    _y_hat = softmax(np.zeros((2, 10)))  # two images, all scores equal: each digit 0.1
    loss(one_hot_encode(np.array([3, 0])), _y_hat)
    return (loss,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    A network that knows nothing starts at about 2.30, the logarithm of 10. Remember this number; it is the first
    thing to check when a training with ten classes begins.

    In PyTorch, `nn.CrossEntropyLoss` does all of this at once: it takes logits and plain labels, with softmax and
    one-hot inside. (It also accepts the one-hot table in place of the labels, and further down we give it that.) That
    is why no model of this course ends in a softmax layer, and it is the "loss for more than two classes" of lessons
    13 and 14.

    ## Why "prediction minus truth"

    Now what makes the two fit together. What is the gradient of this loss for the ten logits? Call them z₀ to z₉, let
    r be the right digit, and S the sum of all exponentials. For one image

    L = −log(eᶻʳ / S) = −zᵣ + log S

    because the logarithm of a quotient is a difference, and log and exponential undo each other. Now let one logit,
    zᵢ, change:

    - The part −zᵣ has the derivative −1 if i is the right digit, and otherwise 0. That is −yᵢ: minus the truth.
    - The part log S is a chain. The derivative of log S is 1/S, another rule from school, and the derivative of S
      with respect to zᵢ is eᶻⁱ, since the other terms hold still. The product is eᶻⁱ/S, which is the softmax itself:
      the prediction ŷᵢ.

    Together **dL/dzᵢ = ŷᵢ − yᵢ**, prediction minus truth. In words: push each wrong score down by as much as the
    model believed in it, and the right one up by as much as it was missing. Logarithm and exponential have cancelled,
    so there is no flat piece left: a model that is sure and wrong receives the largest correction of all. (With 1 − p
    as the loss, lesson 7's, a factor p · (1 − p) would be left in the gradient, as with the sigmoid: almost nothing
    just where the model is sure and wrong. It takes the logarithm to cancel the exponential, and so softmax and
    cross-entropy belong together.) Let us check the rule by moving logits, for an image of class 1 of four.
    """)
    return


@app.cell
def _(loss, one_hot_encode, softmax):
    logits = np.array([[2.0, 1.0, -1.0, 0.5]])  # [1, 4]
    truth = one_hot_encode(np.array([1]), 4)  # [1, 4]
    by_rule = softmax(logits) - truth
    by_moving_logits = finite_differences(lambda: loss(truth, softmax(logits)), logits)
    print(by_rule)
    print(by_moving_logits)
    return by_moving_logits, by_rule


@app.cell(hide_code=True)
def _():
    mo.md("""
    They agree. Now move the score of the 3 yourself. The image *is* a 3. Where is the gradient large, and where
    does it stop pushing?
    """)
    return


@app.cell(hide_code=True)
def _():
    score = mo.ui.slider(-4.0, 8.0, value=1.0, step=0.5, label="score of the 3", show_value=True)
    score
    return (score,)


@app.cell(hide_code=True)
def _(loss, one_hot_encode, score, softmax):
    _logits = np.array([[0.5, -1.0, 1.0, score.value, -2.0, 1.5, 0.0, -0.5, 1.0, 0.5]])
    _y, _y_hat = one_hot_encode(np.array([3])), softmax(_logits)
    _figure, (_upper, _lower) = plt.subplots(2, 1, figsize=(6, 4), sharex=True)
    _colours = ["tab:orange" if digit == 3 else "tab:blue" for digit in range(10)]
    _upper.bar(range(10), _y_hat[0], color=_colours)
    _upper.set(ylim=(0, 1), ylabel="probability", title=f"loss: {loss(_y, _y_hat):.2f}")
    _lower.bar(range(10), (_y_hat - _y)[0], color=_colours)
    _lower.axhline(0, color="0.5", linewidth=0.8)
    _lower.set(ylim=(-1, 1), xticks=range(10), ylabel="gradient", xlabel="digit")
    _figure.tight_layout()
    figure(
        _figure,
        f"Above, the ten probabilities: {_y_hat[0, 3]:.2f} for the 3. Below, the gradients for the ten logits: "
        f"{_y_hat[0, 3] - 1:.2f} for the 3, positive and together as large for the others.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    The ten gradients always sum to 0, because the ten probabilities sum to 1, and so do the ten numbers of the truth:
    what the right score is pushed up, the others together are pushed down. (This is a good place for a break.)

    ## The network

    It is the six nodes again, but each number has become a table. All images go through at once. There are two
    products with weights, a sigmoid after the first and a softmax after the second. To save a separate addition,
    the chapter puts a column of ones in front of what is multiplied; then the first row of the weights is the bias,
    since it is always multiplied by 1.
    """)
    return


@app.cell
def _():
    def prepend_bias(x):  # [n, m] → [n, m + 1]
        return np.concatenate([np.ones((len(x), 1), x.dtype), x], axis=1)

    prepend_bias(np.array([[5.0, 6.0], [7.0, 8.0]]))
    return (prepend_bias,)


@app.cell
def _(prepend_bias, sigmoid, softmax):
    def forward(x, w1, w2):
        h = sigmoid(prepend_bias(x) @ w1)  # [n, inputs + 1] @ [inputs + 1, hidden]
        y_hat = softmax(prepend_bias(h) @ w2)  # [n, hidden + 1] @ [hidden + 1, classes]
        return y_hat, h  # [n, classes], [n, hidden]

    return (forward,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    The weights begin as small random numbers. Why random, and why small? That deserves a section of its own,
    further down; here is only the function.
    """)
    return


@app.cell
def _():
    def initialize_weights(w1_shape, w2_shape, rng=None):
        rng = rng or np.random.default_rng(1234)
        w1, w2 = (rng.normal(0, 0.01, shape).astype(np.float32) for shape in (w1_shape, w2_shape))
        return w1, w2

    return (initialize_weights,)


@app.cell
def _(forward):
    def classify(x, w1, w2):  # [n, inputs] → [n, 1]: the most probable class
        y_hat, _ = forward(x, w1, w2)
        return y_hat.argmax(axis=1).reshape(-1, 1)

    return (classify,)


@app.cell
def _():
    dataset, which = load("mnist")
    mo.md(which)
    return dataset, which


@app.cell
def _(classify, dataset, forward, initialize_weights, one_hot_encode):
    def rows(images):  # [n, inputs]: each image as one row, pixels from 0 to 255
        return images.pixels.reshape(len(images), -1).astype(np.float32)

    x_train, x_test = rows(dataset.train), rows(dataset.valid)
    y_train = one_hot_encode(dataset.train.labels)  # [n, 10]
    random_w1, random_w2 = initialize_weights((x_train.shape[1] + 1, 200), (201, 10))
    _y_hat, _h = forward(x_train[:5], random_w1, random_w2)
    print(x_train.shape, y_train.shape, random_w1.shape, random_w2.shape)
    print(_y_hat[0].round(3))
    print(classify(x_train[:5], random_w1, random_w2)[:, 0], "predicted")
    print(dataset.train.labels[:5], "true")
    return random_w1, random_w2, x_test, x_train, y_train


@app.cell(hide_code=True)
def _():
    mo.md("""
    Untrained, it gives each digit about a tenth and guesses badly, as it should.

    ## The way back, and every transpose

    Going back is what it was on six nodes: start at the loss, and at each operation multiply by its local gradient.
    The new question is only how to arrange tables so that a product does it for all images at once. Two facts
    settle it every time: **a gradient has the shape of what it belongs to**, and **a matrix product sums over the
    side that its two factors share**. The shapes in brackets are those of MNIST with 200 hidden nodes. (That is the
    chapter's word for what lesson 12 called units.)

    **1. At the logits: `difference = (y_hat - y) / n`**, [60000, 10]. Prediction minus truth. It is divided by the
    number of images because the loss is an *average*: a single image counts for one n-th of it. Without the
    division the gradient would be as many times larger as there are images, and a learning rate that works for
    1,000 images would be wrong for 60,000.

    **2. For `w2`: `h1.T @ difference`**, where `h1` is h with its column of ones. One weight connects one
    hidden node with one score, by a product, so its gradient is the other factor, the activation, times the
    difference at the score. Every image uses the same weight, so these products are added over the images. To
    be summed over, the images must be the side that both factors share: [201, 60000] @ [60000, 10]. As `h1` is
    [60000, 201], it has to be transposed. What comes out is [201, 10], the shape of `w2`. (`difference.T @ h1` would
    share the images as well, but comes out as [10, 201]. The first fact decides between the two.)

    **3. Back to h: `difference @ w2[1:].T`.** A hidden activation goes ten ways, into ten scores. So the ten
    products of weight and difference are added, and now the *scores* must be the shared side: [60000, 10] @ [10,
    200]. As `w2` lies the other way, it has to be transposed. And its first row is left out: it belongs to the
    column of ones, which does not come from h. Nothing that lies further back could change a constant 1, so nothing
    is sent there.

    **4. Through the sigmoid: `* sigmoid_gradient(h)`**, number by number, [60000, 200] like h. Each activation came
    from one number only, so nothing is summed and nothing transposed.

    **5. For `w1`: `x1.T @ …`**, where `x1` is x with its column of ones: as in 2, summed over the images, [785,
    60000] @ [60000, 200]. It gives [785, 200], the shape of `w1`.

    Choose a product and compare its sides:
    """)
    return


@app.cell(hide_code=True)
def _():
    PRODUCTS = {
        "forward: x1 @ w1": ("x1", "images", "inputs + 1", "w1", "hidden", "a"),
        "forward: h1 @ w2": ("h1", "images", "hidden + 1", "w2", "scores", "logits"),
        "back: h1.T @ difference": ("h1.T", "hidden + 1", "images", "difference", "scores", "gradient\nof w2"),
        "back: difference @ w2[1:].T": ("difference", "images", "scores", "w2[1:].T", "hidden", "what\nreaches h"),
        "back: x1.T @ at_hidden": ("x1.T", "inputs + 1", "images", "at_hidden", "hidden", "gradient\nof w1"),
    }
    product = mo.ui.radio(options=list(PRODUCTS), value="back: h1.T @ difference", label="the product:")
    product
    return PRODUCTS, product


@app.cell(hide_code=True)
def _(PRODUCTS, product):
    _left, _rows, _shared, _right, _columns, _result = PRODUCTS[product.value]
    _numbers = {"images": 60_000, "inputs + 1": 785, "hidden": 200, "hidden + 1": 201, "scores": 10}
    _long = {"images": 2.6, "inputs + 1": 1.7, "hidden": 1.0, "hidden + 1": 1.05, "scores": 0.5}
    _axes = plt.subplots(figsize=(6.4, 3.6))[1]

    def _box(left, name, rows, columns):
        height, width = _long[rows], _long[columns]
        _axes.add_patch(plt.Rectangle((left, -height / 2), width, height, fc="0.93", ec="0.4"))
        _axes.text(left + width / 2, -1.55, name, ha="center", va="top", fontsize=11, weight="bold")
        for side, place, turned in (
            (rows, (left - 0.13, 0), 90),
            (columns, (left + width / 2, height / 2 + 0.15), 0),
        ):
            said = f"{side}" if turned else f"{side}\n{_numbers[side]:,}"
            colour = "tab:red" if side == _shared else "0.3"
            _axes.text(*place, said, ha="center", va="center" if turned else "bottom", rotation=turned,
                       fontsize=10, color=colour)  # fmt: skip
        return left + width

    _end = _box(0, _left, _rows, _shared)
    _axes.text(_end + 0.4, 0, "@", ha="center", va="center", fontsize=15)
    _end = _box(_end + 1.1, _right, _shared, _columns)
    _axes.text(_end + 0.4, 0, "=", ha="center", va="center", fontsize=15)
    _end = _box(_end + 1.1, _result, _rows, _columns)
    _axes.set(xlim=(-0.5, max(_end + 0.7, 5.5)), ylim=(-2.4, 2.2))
    _axes.set_aspect("equal")
    _axes.set_axis_off()
    figure(
        _axes,
        f"{_left} has {_rows} rows and {_shared} columns, {_right} has {_shared} rows and {_columns} columns. The "
        f"product sums over the {_shared} and has {_rows} rows and {_columns} columns: {_result}.".replace("\n", " "),
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Now the five steps as code. They need three lines. (`@` and `*` have the same rank in Python and are computed from
    left to right, so the product with `w2` comes first and the slope after it, as in steps 3 and 4.)
    """)
    return


@app.cell
def _(prepend_bias, sigmoid_gradient):
    def back(x, y, y_hat, w2, h):
        difference = (y_hat - y) / len(x)  # [n, classes]
        w2_gradient = prepend_bias(h).T @ difference  # [hidden + 1, n] @ [n, classes]
        # [inputs + 1, n] @ ([n, classes] @ [classes, hidden] * [n, hidden])
        w1_gradient = prepend_bias(x).T @ (difference @ w2[1:].T * sigmoid_gradient(h))
        return w1_gradient, w2_gradient

    return (back,)


@app.cell
def _(back, forward, random_w1, random_w2, x_train, y_train):
    _y_hat, _h = forward(x_train[:100], random_w1, random_w2)
    _w1_gradient, _w2_gradient = back(x_train[:100], y_train[:100], _y_hat, random_w2, _h)
    print(_w1_gradient.shape, _w2_gradient.shape)
    print(_w2_gradient[1])  # the weights from the first hidden node to the ten scores
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Is it right?

    Right shapes do not mean right numbers, and many a wrong gradient still trains, only worse, so that no one
    notices. We call two witnesses. One is autograd, which gets the same forward pass written with tensors. The
    other is finite differences.
    """)
    return


@app.cell
def _():
    def autograd(x, y, w1, w2):
        import torch  # the only place in this lesson

        tensors = [torch.tensor(w, requires_grad=True) for w in (w1, w2)]
        ones = torch.ones(len(x), 1, dtype=tensors[0].dtype)
        h = torch.sigmoid(torch.cat([ones, torch.tensor(x)], dim=1) @ tensors[0])
        logits = torch.cat([ones, h], dim=1) @ tensors[1]
        torch.nn.functional.cross_entropy(logits, torch.tensor(y)).backward()
        first, second = (tensor.grad.numpy() for tensor in tensors if tensor.grad is not None)
        return first, second

    return (autograd,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    A small network of random numbers is enough to tell. We compare four parts, in the order in which the backward
    pass reaches them: the weights of `w2`, its bias row, the weights of `w1`, its bias row. A mistake is handed on
    to everything that lies further back, so **the first part that disagrees is where to look**.
    """)
    return


@app.cell
def _(autograd, forward, loss, one_hot_encode):
    _rng = np.random.default_rng(1)
    small_x = _rng.normal(size=(12, 5))  # 12 images of 5 pixels
    small_y = one_hot_encode(_rng.integers(0, 3, 12), 3).astype(np.float64)
    small_w1, small_w2 = (_rng.normal(size=shape) for shape in ((6, 4), (5, 3)))

    def gaps(way_back):  # part → largest distance from (autograd, finite differences)
        y_hat, h = forward(small_x, small_w1, small_w2)
        w1_mine, w2_mine = way_back(small_x, small_y, y_hat, small_w2, h)
        w1_torch, w2_torch = autograd(small_x, small_y, small_w1, small_w2)

        def loss_now():
            return loss(small_y, forward(small_x, small_w1, small_w2)[0])

        w1_moved, w2_moved = (finite_differences(loss_now, w) for w in (small_w1, small_w2))
        found = {}
        compared = (("w2", w2_mine, w2_torch, w2_moved), ("w1", w1_mine, w1_torch, w1_moved))
        for name, mine, *others in compared:
            found[name] = [float(np.abs(mine - other)[1:].max()) for other in others]
            found[f"{name} bias"] = [float(np.abs(mine - other)[0].max()) for other in others]
        return found

    def first_wrong(found):
        wrong = [name for name, distances in found.items() if max(distances) > 1e-6]
        return wrong[0] if wrong else None

    return first_wrong, gaps, small_w1, small_w2, small_x, small_y


@app.cell(hide_code=True)
def _():
    mo.md("""
    Now plant a mistake. All five are mistakes that people really make. Before you look at the table, think: which
    part will be the first to disagree?
    """)
    return


@app.cell(hide_code=True)
def _():
    MISTAKES = {
        "none": "",
        "the sign": "difference = (y - y_hat) / len(x)",
        "the mean forgotten": "difference = y_hat - y",
        "the wrong row of w2 left out": "w2[:-1].T in place of w2[1:].T",
        "sigmoid's slope forgotten": "difference @ w2[1:].T and nothing more",
        "sigmoid's slope at the wrong place": "h itself in place of h · (1 − h)",
    }
    mistake = mo.ui.radio(options=list(MISTAKES), value="sigmoid's slope forgotten", label="plant a mistake:")
    mistake
    return MISTAKES, mistake


@app.cell
def _(back, prepend_bias, sigmoid_gradient):
    def planted(mistake):
        def wrong(x, y, y_hat, w2, h):
            difference, rows, slope = (y_hat - y) / len(x), w2[1:], sigmoid_gradient(h)
            if mistake == "the sign":
                difference = -difference
            elif mistake == "the mean forgotten":
                difference = difference * len(x)
            elif mistake == "the wrong row of w2 left out":
                rows = w2[:-1]
            elif mistake == "sigmoid's slope forgotten":
                slope = 1
            elif mistake == "sigmoid's slope at the wrong place":
                slope = h
            at_hidden = difference @ rows.T * slope
            return prepend_bias(x).T @ at_hidden, prepend_bias(h).T @ difference

        return back if mistake == "none" else wrong

    return (planted,)


@app.cell(hide_code=True)
def _(MISTAKES, first_wrong, gaps, mistake, planted):
    _found = gaps(planted(mistake.value))
    _rows = [
        {"part": name, "from autograd": f"{torchs:.0e}", "from differences": f"{moved:.0e}",
         "": "agrees" if max(torchs, moved) <= 1e-6 else "**wrong**"}
        for name, (torchs, moved) in _found.items()
    ]  # fmt: skip
    _wrong = first_wrong(_found)
    _said = f"`{MISTAKES[mistake.value]}`: going back from the loss, the first part that disagrees is **{_wrong}**."
    mo.vstack([table(_rows), mo.md("All four agree: `back` is right." if _wrong is None else _said)])
    return


@app.cell(hide_code=True)
def _(MISTAKES, first_wrong, gaps, planted):
    all_found = {mistake: first_wrong(gaps(planted(mistake))) for mistake in MISTAKES}
    table([{"mistake": mistake, "first seen in": part or "nowhere"} for mistake, part in all_found.items()])
    return (all_found,)


@app.cell(hide_code=True)
def _():
    mo.md("""
    Distances like 1e-11 are rounding; a real mistake is a billion times larger. Mistakes in the difference show in
    `w2` already; those in the way through `w2` and the sigmoid show only in `w1`. PyTorch has this test ready-made,
    as `torch.autograd.gradcheck`.

    ## Train

    The loop is the one that you know, with `back` in place of `backward`. So that the slider answers quickly we
    take a smaller network, 50 hidden nodes, and a thousand images, with pixels from 0 to 1.
    """)
    return


@app.cell
def _(back, forward, loss):
    def descend_by_hand(x, y, w1, w2, rate, iterations=60):
        losses = []
        for _iteration in range(iterations):
            y_hat, h = forward(x, w1, w2)  # predict
            losses.append(loss(y, y_hat))  # loss
            w1_gradient, w2_gradient = back(x, y, y_hat, w2, h)  # gradient
            w1, w2 = w1 - rate * w1_gradient, w2 - rate * w2_gradient  # step
        return losses, w1, w2

    return (descend_by_hand,)


@app.cell
def _(classify, dataset, initialize_weights, x_test, x_train, y_train):
    def share_right(w1, w2):  # of the validation images, with pixels from 0 to 1
        return float((classify(x_test / 255, w1, w2)[:, 0] == dataset.valid.labels).mean())

    few_x, few_y = x_train[:1000] / 255, y_train[:1000]
    standard_w1, standard_w2 = initialize_weights((few_x.shape[1] + 1, 50), (51, 10))
    return few_x, few_y, share_right, standard_w1, standard_w2


@app.cell(hide_code=True)
def _():
    rate = mo.ui.slider(steps=[0.06, 0.2, 0.6, 2.0, 6.0], value=2.0, label="learning rate", show_value=True)
    rate
    return (rate,)


@app.cell
def _(descend_by_hand, few_x, few_y, rate, share_right, standard_w1, standard_w2):
    losses, trained_w1, trained_w2 = descend_by_hand(
        few_x, few_y, w1=10 * standard_w1, w2=10 * standard_w2, rate=rate.value
    )
    reached = share_right(trained_w1, trained_w2)
    print(f"loss {losses[0]:.2f} to {losses[-1]:.2f}, accuracy {reached:.1%}")
    return losses, reached, trained_w1


@app.cell(hide_code=True)
def _(losses, rate, reached):
    _axes = plt.subplots(figsize=(6, 2.8))[1]
    _axes.plot(losses)
    _axes.set(xlabel="iteration", ylabel="loss", ylim=(0, max(2.6, losses[0])))
    figure(
        _axes,
        f"The loss of {len(losses)} iterations at learning rate {rate.value:g}, from {losses[0]:.2f} to "
        f"{losses[-1]:.2f}. Afterwards {reached:.1%} of the validation images are right.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    It learns, and every number in it went through your hands. (The weights begin with a standard deviation of 0.1
    here, ten times that of `initialize_weights`, which is meant for the chapter's pixels from 0 to 255.) With the
    smallest rate, sixty iterations lead hardly anywhere.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## Two beginnings that fail

    Now we can answer why weights begin as small random numbers.

    **Why random?** Suppose that all weights begin equal. Then every hidden node computes the same number, all of
    them pass the same on, and on the way back all receive the same gradient. After the step they are still equal,
    and so on for ever: fifty hidden nodes do the work of one. This is called the **symmetry** of the hidden nodes,
    and random numbers break it. Let us see it fail, with each weight at 0.01:
    """)
    return


@app.cell
def _(descend_by_hand, few_x, few_y, share_right, standard_w1, standard_w2, trained_w1):
    _w1, _w2 = np.full_like(standard_w1, 0.01), np.full_like(standard_w2, 0.01)
    _losses, equal_w1, _w2 = descend_by_hand(few_x, few_y, _w1, _w2, rate=2.0)
    symmetric = share_right(equal_w1, _w2)
    spread_of_nodes = float(np.ptp(equal_w1, axis=1).max())  # largest minus smallest
    print(f"accuracy {symmetric:.1%}")
    print(f"the 50 hidden nodes differ by at most {spread_of_nodes:.0e}")
    print(f"from a random start, they differ by up to {np.ptp(trained_w1, axis=1).max():.2f}")
    return equal_w1, spread_of_nodes, symmetric


@app.cell(hide_code=True)
def _(dataset, equal_w1, trained_w1):
    _height, _width = dataset.train.pixels.shape[2:]
    _figure, _axes = plt.subplots(2, 4, figsize=(6, 3.4))
    for _row, _w1 in zip(_axes, (equal_w1, trained_w1), strict=True):
        _most = np.abs(_w1[1:, :4]).max()
        for _node, _ax in enumerate(_row):
            _ax.imshow(_w1[1:, _node].reshape(_height, _width), cmap="PuOr", vmin=-_most, vmax=_most)
            _ax.set(xticks=[], yticks=[])
    _axes[0, 0].set_ylabel("equal start")
    _axes[1, 0].set_ylabel("random start")
    _figure.tight_layout()
    figure(
        _figure,
        "The weights from the pixels to four hidden nodes, as images. From an equal start, four times the same image; "
        "from a random start, four different ones.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Each small image shows the weights from the pixels to one hidden node: orange is below 0, purple above, and white is
    0. Above, all fifty are the same but for the rounding of the computer, and one hidden node cannot tell ten
    digits apart.

    **Why small?** With large weights, large numbers enter the sigmoid, and its values lie near 0 or 1. There h
    · (1 − h) is almost 0, and every gradient that has to pass through is multiplied by it. The weights before
    it receive next to nothing and stay what they were. Such a hidden node is called **dead**, or *saturated*.
    Choose how large the first weights are (their standard deviation), see where the activations lie, and what
    sixty iterations can still do.
    """)
    return


@app.cell(hide_code=True)
def _():
    size = mo.ui.slider(steps=[0.01, 0.1, 1.0, 10.0, 100.0], value=10.0, label="size of the weights", show_value=True)
    size
    return (size,)


@app.cell
def _(descend_by_hand, few_x, few_y, forward, share_right, sigmoid_gradient, size, standard_w1, standard_w2):
    _factor = np.float32(size.value / 0.01)
    _w1, _w2 = standard_w1 * _factor, standard_w2 * _factor
    _y_hat, activations = forward(few_x, _w1, _w2)
    mean_slope = float(sigmoid_gradient(activations).mean())
    _losses, _w1, _w2 = descend_by_hand(few_x, few_y, _w1, _w2, rate=2.0)
    sized = share_right(_w1, _w2)
    print(f"mean slope of the sigmoid {mean_slope:.4f}")
    print(f"accuracy after 60 iterations {sized:.1%}")
    return activations, mean_slope, sized


@app.cell(hide_code=True)
def _(activations, mean_slope, size):
    _axes = plt.subplots(figsize=(6, 2.6))[1]
    _axes.hist(activations.ravel(), 40, range=(0, 1))
    _axes.set(xlabel="activation h", ylabel="how often", yticks=[])
    _ends = float(((activations < 0.01) | (activations > 0.99)).mean())
    figure(
        _axes,
        f"A histogram of the hidden activations before training, for weights of size {size.value:g}: {_ends:.0%} lie "
        f"within 0.01 of 0 or 1. The sigmoid's mean slope is {mean_slope:.4f}.",
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## The book's trace

    Now the real thing. The chapter takes all 60,000 images for each step, raw pixels from 0 to 255, 200 hidden
    nodes and a learning rate of 0.01. A version of it in the language Elixir prints the loss and the accuracy after
    each iteration. With the same random numbers to begin with (`chapter11_weights` draws them as Nx does, Elixir's
    library for tensors) and with our own `back`, our first line has to be its first line.
    """)
    return


@app.cell
def _(classify, dataset, descend_by_hand, forward, loss, which, x_test, x_train, y_train):
    as_in_the_book = which == MNIST_IS_HERE
    first_line = None
    if as_in_the_book:
        _start = chapter11_weights(200)
        _, _w1, _w2 = descend_by_hand(x_train, y_train, *_start, rate=0.01, iterations=1)
        _right = classify(x_test, _w1, _w2)[:, 0] == dataset.valid.labels
        first_line = loss(y_train, forward(x_train, _w1, _w2)[0]), float(_right.mean())
        print(f"Iteration 0, Loss: {first_line[0]:.5f}, Accuracy: {first_line[1]:.2%}")
        _, _h = forward(x_train[:1000], *_start)
        _flat = ((_h < 0.01) | (_h > 0.99)).mean()
        print(f"at the start {_flat:.0%} of the activations lie near 0 or 1")
    else:
        print("The first line needs MNIST.")
    return as_in_the_book, first_line


@app.cell(hide_code=True)
def _():
    mo.md("""
    The book's first line is loss 2.27872 and accuracy 13.80 %. The next lines take a few seconds each, and the
    whole training, 3,500 iterations, took 35 minutes, so here they are as the book prints them. `underhood
    reproduce` computes the first five and compares, `underhood reproduce --full` the last ones, too. The last
    column is its verdict on the machine on which this lesson was written.
    """)
    return


@app.cell(hide_code=True)
def _():
    _rows = [(str(number), *line) for number, line in enumerate(FIRST_ITERATIONS)]
    _rows += [(f"{number:,}", *line.split()) for number, line in LAST_ITERATIONS.items()]
    table(
        [
            {
                "iteration": number,
                "loss": f"{float(printed):.5f}",
                "accuracy": f"{accuracy} %",
                "`reproduce`": "equal" if number in "0123" else "equal, in range" if number == "4" else "in range",
            }
            for number, printed, accuracy in _rows
        ]
    )
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    `equal` means that every printed digit agrees (of longer numbers, the first six). In iteration 4 the loss is equal
    and the accuracy is one image off: for that image two digits are equally probable to eight decimal places, and the
    order in which a processor adds 60,000 numbers decides. `in range`, in the last lines, means that such rounding
    has had 3,500 iterations to grow, and the difference is still below 0.0001 in the loss and 0.03 % in the accuracy.

    Did you notice the second line that our cell has printed, with MNIST 83 %? Even weights of 0.01 are large if the
    pixels go up to 255: most sigmoids are flat from the start, and that is one reason why the chapter needs
    thousands of iterations.

    ## Summary

    - A calculation is a graph of nodes. The **local gradient** of a sum is 1, that of a product the other factor.
    - The chain rule multiplies local gradients along a way and adds over ways. Backpropagation does so from the
      loss backwards and gives the gradient of every weight in one pass.
    - Softmax turns logits into probabilities; cross-entropy is −log of the right one. Their gradient at the logits
      is prediction minus truth.
    - A gradient has the shape of what it belongs to, and a product sums over the shared side. This explains each
      transpose: for weights the images are summed over, on the way back the outputs.
    - Weights begin random, to break symmetry, and small, so that no sigmoid is flat.
    - Test a gradient by finite differences on a small network, from the loss backwards.

    **New words:** node, graph, local gradient, chain rule, backpropagation, one-hot, logit, softmax, cross-entropy,
    symmetry, dead.

    ## Exercises

    **1.** For one image, whose digit is the second of three, softmax says 0.2, 0.5 and 0.3. What are the gradients
    of the loss for the three logits?
    """)
    return


@app.cell
def _():
    slopes = ...  # three numbers in brackets: (…, …, …)
    return (slopes,)


@app.cell(hide_code=True)
def _(slopes):
    check_1 = exercise(
        "15.1",
        slopes,
        lambda answer: np.allclose(answer, (0.2, -0.5, 0.3)),
        hints=(
            "Write the truth as one-hot first. It has three numbers.",
            "The truth is 0, 1, 0, and the gradient is prediction minus truth, number by number.",
            "The first is 0.2 − 0. The second is negative: its score has to go up.",
        ),
        solution="slopes = (0.2 - 0, 0.5 - 1, 0.3 - 0)",
    )
    check_1
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **2.** You start a training on photographs of dogs. You do not know how many breeds there are, but the first
    loss that is printed is 4.79. About how many?
    """)
    return


@app.cell
def _():
    number = ...  # a whole number
    return (number,)


@app.cell(hide_code=True)
def _(number):
    check_2 = exercise(
        "15.2",
        number,
        lambda answer: abs(answer - 120) <= 1.5,
        hints=(
            "A network that knows nothing gives each of k classes the same probability. Which?",
            "The probability is 1/k, so the loss is −log(1/k) = log k. For ten digits it was 2.30.",
            "Which k has the logarithm 4.79? The exponential undoes the logarithm: `np.exp`.",
        ),
        solution="number = round(float(np.exp(4.79)))",
    )
    check_2
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **3.** Another network: 100 images, 64 inputs, 30 hidden nodes, 5 classes. Which shape does `difference @
    w2[1:].T` have, and which has the gradient of `w1`?
    """)
    return


@app.cell
def _():
    two_shapes = ...  # ((…, …), (…, …))
    return (two_shapes,)


@app.cell(hide_code=True)
def _(two_shapes):
    check_3 = exercise(
        "15.3",
        two_shapes,
        lambda answer: [tuple(shape) for shape in answer] == [(100, 30), (65, 30)],
        hints=(
            "A gradient has the shape of what it belongs to. To what does each of the two belong?",
            "The first belongs to h, [images, hidden]. The second belongs to `w1`, [inputs + 1, hidden].",
            "[100, 5] @ [5, 30] for the first; for the second do not forget the bias row.",
        ),
        solution="two_shapes = ((100, 30), (64 + 1, 30))",
    )
    check_3
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **4.** Another nonlinearity: ReLU in place of the sigmoid. Write what takes the place of `sigmoid_gradient(h)`
    in `back`, from the values h = relu(…).
    """)
    return


@app.cell
def _():
    def relu_gradient(h):  # [n, hidden] → [n, hidden]
        return ...

    return (relu_gradient,)


@app.cell(hide_code=True)
def _(relu_gradient):
    _h = np.array([[0.0, 2.0, 0.5], [3.0, 0.0, 0.0]])
    check_4 = exercise(
        "15.4",
        relu_gradient,
        lambda answer: np.array_equal(np.asarray(answer, float), (_h > 0).astype(float)),
        hints=(
            "How steep is ReLU where its input is positive? And where it is negative?",
            "Where h is above 0 the number was let through as it was: slope 1. Where h is 0 it was stopped: slope 0.",
            "A comparison gives True and False, and in a multiplication they count as 1 and 0.",
        ),
        solution="""
        def relu_gradient(h):
            return h > 0
        """,
        arguments=(_h,),
    )
    check_4
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **5.** Write one whole training step: from images `x`, one-hot labels `y`, weights and a learning rate to the
    new weights. Use `forward` and `back`.
    """)
    return


@app.cell
def _():
    def one_step(x, y, w1, w2, rate):  # returns the new w1 and w2
        return ...

    return (one_step,)


@app.cell(hide_code=True)
def _(descend_by_hand, one_step, small_w1, small_w2, small_x, small_y):
    _expected = descend_by_hand(small_x, small_y, small_w1, small_w2, 0.5, iterations=1)[1:]
    check_5 = exercise(
        "15.5",
        one_step,
        lambda answer: all(np.allclose(mine, other) for mine, other in zip(answer, _expected, strict=True)),
        hints=(
            "Predict, find the gradients, step. The loss itself is not needed for a step.",
            "`forward` returns two things, the predictions and the hidden layer. `back` needs both.",
            "`back(x, y, y_hat, w2, h)` returns the gradients for w1 and w2. Subtract `rate` times each.",
        ),
        solution="""
        def one_step(x, y, w1, w2, rate):
            y_hat, h = forward(x, w1, w2)
            w1_gradient, w2_gradient = back(x, y, y_hat, w2, h)
            return w1 - rate * w1_gradient, w2 - rate * w2_gradient
        """,
        arguments=(small_x, small_y, small_w1, small_w2, 0.5),
    )
    check_5
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    **Further research.** Put a second hidden layer between the two: a `w3`, one more product, one more sigmoid.
    Write the backward pass by the two facts about shapes, and let `gaps` judge it (it will need a third weight).
    You will notice that the new lines look like the old ones, and that is how libraries manage networks of any
    depth.

    **Further research.** The slope of a sigmoid is at most ¼. What is left of a gradient after ten layers of
    sigmoids, at the best? And after ten layers of ReLU? Then read what is said about *vanishing gradients*, and
    about why lesson 13's shortcuts help.

    ## What you can read now

    [`nn.CrossEntropyLoss`](https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html): the formula
    at the top is our softmax and our logarithm in one line, and "unnormalized logits" and "class indices" mean
    something now. Then the first section of [Autograd
    mechanics](https://pytorch.org/docs/stable/notes/autograd.html), "How autograd encodes the history": the graph
    that it describes is the one that you have walked back.

    **Next:** [16 · The gradient turned round](?file=16_adversarial.py), where we go back one step further than
    `w1`: to the pixels.
    """)
    return


if __name__ == "__main__":
    app.run()
