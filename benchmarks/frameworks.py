"""The work of ``loop`` in skorch, Keras (compiled, on JAX) and Lightning, each as its own guide writes it.

Goals: at most 1/2, 0.8 and 1/3 of their time. Each runs in a process of its own, in turn, after an epoch to warm up.
Imports and the preparation of the data are not timed; the others get normalized floats. Keras' time includes
compilation; ``keras_again`` is a second fit of the same model, already compiled.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import warnings
from statistics import median

import numpy as np
from measure import report, summary

from underhood import Architecture, DataLoaders, Learner, accuracy, build_model, read

EPOCHS, BATCH, LR, N = 40, 256, 0.001, 3
GOALS = {"skorch": 1 / 2, "keras": 0.8, "lightning": 1 / 3}


def normalized() -> tuple[np.ndarray, ...]:
    data = read("mnist-3v7")
    x, x_valid = ((part.pixels.reshape(len(part), -1) / np.float32(127.5) - 1) for part in (data.train, data.valid))
    return x, data.train.labels, x_valid, data.valid.labels


def underhood(epochs: int) -> list[float]:
    data = read("mnist-3v7")
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        model = build_model(Architecture("net", 1, 28, 28, 2))
        Learner(DataLoaders.from_dataset(data, BATCH), model, metrics=accuracy).fit(epochs, LR)
    return [time.perf_counter() - start]


def plain_net():
    from torch import nn

    return nn.Sequential(nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 2))


def skorch(epochs: int) -> list[float]:
    import torch
    from skorch import NeuralNetClassifier
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    x, y, x_valid, y_valid = normalized()
    start = time.perf_counter()
    NeuralNetClassifier(
        plain_net(), criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, lr=LR, max_epochs=epochs,
        batch_size=BATCH, iterator_train__shuffle=True, train_split=predefined_split(Dataset(x_valid, y_valid)),
        verbose=0,
    ).fit(x, y)  # fmt: skip
    return [time.perf_counter() - start]


def keras(epochs: int) -> list[float]:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras as k

    x, y, x_valid, y_valid = normalized()
    seconds = []
    start = time.perf_counter()
    model = k.Sequential([k.layers.Dense(30, activation="relu"), k.layers.Dense(2)])
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=k.optimizers.AdamW(LR), loss=loss, metrics=["accuracy"], jit_compile=True)
    for _ in range(2):
        model.fit(x, y, BATCH, epochs, validation_data=(x_valid, y_valid), verbose=0)
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return seconds


def lightning(epochs: int) -> list[float]:
    import logging

    import lightning as pl
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader, TensorDataset

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = plain_net()

        def training_step(self, batch, _):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, _):
            logits = self.net(batch[0])
            self.log("valid_loss", F.cross_entropy(logits, batch[1]))
            self.log("accuracy", (logits.argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=LR)

    x, y, x_valid, y_valid = map(torch.from_numpy, normalized())
    start = time.perf_counter()
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(
        Module(), DataLoader(TensorDataset(x, y), BATCH, shuffle=True), DataLoader(TensorDataset(x_valid, y_valid), 512)
    )
    return [time.perf_counter() - start]


def main() -> int:
    if len(sys.argv) > 1:
        warnings.simplefilter("ignore")
        work = globals()[sys.argv[1]]
        work(1)  # loads what the first step loads, such as torch's compiler
        print(json.dumps(work(EPOCHS)))
        return 0
    seconds: dict[str, list[float]] = {name: [] for name in ("underhood", "skorch", "keras", "lightning")}
    again = []
    for _ in range(N):
        for name, mine in seconds.items():
            out = subprocess.run([sys.executable, __file__, name], stdout=subprocess.PIPE, text=True, check=True).stdout
            first, *rest = json.loads(out.splitlines()[-1])
            mine.append(first)
            again += rest
    ours = median(seconds["underhood"])
    ratios = {name: (ours / median(seconds[name]), goal) for name, goal in GOALS.items()}
    return report(N, ratios, **summary(**seconds, keras_again=again))


if __name__ == "__main__":
    sys.exit(main())
