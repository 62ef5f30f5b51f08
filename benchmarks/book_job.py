"""An iteration of chapter 11's long job against a plain JAX version of the book's code, through XLA, which Nx uses too.

Goal: at most 0.50 of XLA's time, side by side, and no more memory. ``fraction_of_product_rate``: how near the whole
iteration comes to the rate at which its two large products alone run here.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from underhood import read

ITERATIONS = 20
RATE = 0.01
GOAL = 0.50


def ours() -> Iterator[tuple[float, float]]:
    """(loss, accuracy) after each step, by ``books/long_job.py``."""
    from underhood.books.long_job import Job, iterations
    from underhood.books.threefry import chapter11_weights

    for report in iterations(Job(read("mnist")), *chapter11_weights(), RATE, 10**6):
        yield report.loss, report.accuracy


def plain_jax() -> Iterator[tuple[float, float]]:
    """The same by the book's own formulas, compiled: a step, then the report's two forward passes."""
    import jax
    import jax.numpy as jnp

    from underhood.books.threefry import chapter11_weights

    def prepend_bias(x):
        return jnp.concatenate([jnp.ones((len(x), 1), x.dtype), x], axis=1)

    def forward(x, w1, w2):
        h = 1 / (1 + jnp.exp(-(prepend_bias(x) @ w1)))
        exponentials = jnp.exp(prepend_bias(h) @ w2)
        return exponentials / exponentials.sum(axis=1, keepdims=True), h

    @jax.jit
    def step(x, y, w1, w2):
        y_hat, h = forward(x, w1, w2)
        w2_gradient = prepend_bias(h).T @ (y_hat - y) / len(x)
        w1_gradient = prepend_bias(x).T @ ((y_hat - y) @ w2[1:].T * (h * (1 - h))) / len(x)
        return w1 - RATE * w1_gradient, w2 - RATE * w2_gradient

    @jax.jit
    def report(x, y, x_test, y_test, w1, w2):
        y_hat, _ = forward(x, w1, w2)
        guesses = forward(x_test, w1, w2)[0].argmax(axis=1)
        return -jnp.sum(y * jnp.log(y_hat)) / len(x), (guesses == y_test).mean()

    data = read("mnist")
    x, x_test = (jnp.asarray(part.pixels.reshape(len(part), -1), jnp.float32) for part in (data.train, data.valid))
    y, y_test = jnp.asarray(np.eye(10, dtype=np.float32)[data.train.labels]), jnp.asarray(data.valid.labels)
    w1, w2 = map(jnp.asarray, chapter11_weights())
    while True:
        w1, w2 = step(x, y, w1, w2)
        loss, accuracy = report(x, y, x_test, y_test, w1, w2)
        yield float(loss), float(accuracy)


def product_seconds() -> float:
    """The two large products of an iteration, alone, as the job does them; the median of seven."""
    import torch

    from underhood.books import long_job
    from underhood.books.threefry import chapter11_weights

    job = long_job.Job(read("mnist"))
    weights = job.weights(*chapter11_weights())
    slopes = torch.rand(long_job.BLOCK, len(weights.hidden))
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        hidden = weights.hidden.to_mkldnn() if job.blocks[0].is_mkldnn else weights.hidden
        for block in job.blocks:
            long_job.linear(block, hidden, weights.hidden_bias)
            long_job.slopes_of_linear(slopes, block, hidden)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def serve(name: str) -> None:
    """In a process of its own: one iteration for each line on stdin, its figures and peak memory on stdout."""
    steps = {"ours": ours, "jax": plain_jax}[name]()
    for _ in sys.stdin:
        start = time.perf_counter()
        loss, accuracy = next(steps)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "loss": loss, "accuracy": accuracy, "peak": peak}), flush=True)


def main() -> int:
    if len(sys.argv) > 1:
        if sys.argv[1] == "products":
            print(product_seconds())
        else:
            serve(sys.argv[1])
        return 0
    products = float(subprocess.run([sys.executable, __file__, "products"], stdout=subprocess.PIPE, check=True).stdout)
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for name in ("ours", "jax")
    ]
    answers: list[list[dict[str, float]]] = [[], []]
    for i in range(ITERATIONS + 2):  # two to warm up: the first compiles, and reads
        for worker, mine in zip(workers, answers, strict=True):  # in turn, so that both see the same machine
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
            mine.append(json.loads(worker.stdout.readline()))
        a, b = (mine[-1] for mine in answers)
        assert abs(a["loss"] - b["loss"]) < 1e-5 * b["loss"], (i, a, b)
        assert abs(a["accuracy"] - b["accuracy"]) < 5e-4, (i, a, b)
    for worker in workers:
        worker.communicate()
    times = [[answer["seconds"] for answer in mine[2:]] for mine in answers]
    ratio = statistics.median(times[0]) / statistics.median(times[1])
    peaks = [mine[-1]["peak"] for mine in answers]
    figures = {
        "n": ITERATIONS,
        "ours_mean": round(statistics.mean(times[0]), 4),
        "ours_deviation": round(statistics.stdev(times[0]), 4),
        "xla_mean": round(statistics.mean(times[1]), 4),
        "xla_deviation": round(statistics.stdev(times[1]), 4),
        "ratio": round(ratio, 3),
        "fraction_of_product_rate": round(products / statistics.median(times[0]), 3),
        "peak_memory": round(peaks[0]),  # MiB
        "xla_peak_memory": round(peaks[1]),
        "goal": GOAL,
        "met": ratio <= GOAL and peaks[0] <= peaks[1],
    }
    print(json.dumps(figures))
    return 0 if figures["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
