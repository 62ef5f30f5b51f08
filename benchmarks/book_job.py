"""An iteration of chapter 11's long job against a plain JAX version of the book's code, through XLA, which Nx uses too.

Goal: at most 0.50 of XLA's time, side by side, and no more memory. ``fraction_of_product_rate``: the time of the two
large products alone, as a fraction of the whole iteration.
"""

import io
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
LR = 0.01
GOAL = 0.50


def ours() -> Iterator[tuple[float, float]]:
    """(loss, accuracy) after each step, by ``books/elixir.py``."""
    from underhood.books.elixir import Job, chapter11_weights, iterations

    for report in iterations(Job(read("mnist")), *chapter11_weights(), LR, 10**6):
        yield report.loss, report.accuracy


def plain_jax() -> Iterator[tuple[float, float]]:
    """The same by the book's own formulas, compiled: a step, then the report's two forward passes."""
    import jax
    import jax.numpy as jnp

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
        return w1 - LR * w1_gradient, w2 - LR * w2_gradient

    @jax.jit
    def report(x, y, x_test, y_test, w1, w2):
        y_hat, _ = forward(x, w1, w2)
        predicted = forward(x_test, w1, w2)[0].argmax(axis=1)
        return -jnp.sum(y * jnp.log(y_hat)) / len(x), (predicted == y_test).mean()

    data = read("mnist")
    x, x_test = (jnp.asarray(part.pixels.reshape(len(part), -1), jnp.float32) for part in (data.train, data.valid))
    y, y_test = jnp.asarray(np.eye(10, dtype=np.float32)[data.train.labels]), jnp.asarray(data.valid.labels)
    w1, w2 = map(jnp.asarray, first_weights())
    while True:
        w1, w2 = step(x, y, w1, w2)
        loss, accuracy = report(x, y, x_test, y_test, w1, w2)
        yield float(loss), float(accuracy)


def first_weights() -> list[np.ndarray]:
    """The job's first weights, from a process of its own: JAX's must not count the memory of importing torch."""
    done = subprocess.run([sys.executable, __file__, "weights"], stdout=subprocess.PIPE, check=True)
    with np.load(io.BytesIO(done.stdout)) as weights:
        return [weights["w1"], weights["w2"]]


def write_weights() -> None:
    """Write the first weights to stdout, as ``first_weights`` reads them."""
    from underhood.books.elixir import chapter11_weights

    content = io.BytesIO()
    np.savez(content, **dict(zip(("w1", "w2"), chapter11_weights(), strict=True)))
    sys.stdout.buffer.write(content.getvalue())


def product_seconds() -> float:
    """Seconds of the two large products of an iteration alone, as the job computes them; the median of seven."""
    import torch

    from underhood.books import elixir

    job = elixir.Job(read("mnist"))
    weights = job.weights(*elixir.chapter11_weights())
    gradient = torch.rand(elixir.IMAGES_PER_BLOCK, len(weights.hidden))
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        hidden = weights.hidden.to_mkldnn() if job.blocks[0].is_mkldnn else weights.hidden
        for block in job.blocks:
            elixir.linear(block, hidden, weights.hidden_bias)
            elixir.linear_weight_gradient(gradient, block, hidden)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def serve(name: str) -> None:
    """Run one iteration for each line on stdin, and write its figures and the peak memory to stdout."""
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
        elif sys.argv[1] == "weights":
            write_weights()
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
    results: list[list[dict[str, float]]] = [[], []]
    for i in range(ITERATIONS + 2):  # two to warm up: the first compiles and reads
        for worker, mine in zip(workers, results, strict=True):  # in turn, so that both have the same machine
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
            mine.append(json.loads(worker.stdout.readline()))
        a, b = (mine[-1] for mine in results)
        assert abs(a["loss"] - b["loss"]) < 1e-5 * b["loss"], (i, a, b)
        assert abs(a["accuracy"] - b["accuracy"]) < 5e-4, (i, a, b)
    for worker in workers:
        worker.communicate()
    times = [[result["seconds"] for result in mine[2:]] for mine in results]
    ratio = statistics.median(times[0]) / statistics.median(times[1])
    peaks = [mine[-1]["peak"] for mine in results]
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
