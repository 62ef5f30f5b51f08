"""``Learner.fit`` against a bare PyTorch loop that does the same: net on mnist-3v7, 40 epochs of batches of 256.

Goal: at most 1.05 of its time. Both shuffle, average the loss over each epoch, validate, and print a line per epoch.
"""

import contextlib
import io
import sys
from statistics import median

import torch
import torch.nn.functional as F
from measure import in_turn, report, summary

from underhood import Architecture, DataLoaders, Learner, accuracy, build_model, read

EPOCHS, BATCH, LR, N = 40, 256, 0.001, 7


def main() -> int:
    data = read("mnist-3v7")
    architecture = Architecture("net", 1, 28, 28, 2)
    x, y, x_valid, y_valid = (
        torch.from_numpy(array)
        for array in (data.train.pixels, data.train.labels, data.valid.pixels, data.valid.labels)
    )

    def ours() -> None:
        torch.manual_seed(0)
        with contextlib.redirect_stdout(io.StringIO()):
            Learner(DataLoaders.from_dataset(data, BATCH), build_model(architecture), metrics=accuracy).fit(EPOCHS, LR)

    def bare() -> None:
        torch.manual_seed(0)
        model = build_model(architecture)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
        out = io.StringIO()
        for epoch in range(EPOCHS):
            order = torch.randperm(len(x))
            total = torch.zeros(())
            for start in range(0, len(x), BATCH):
                rows = order[start : start + BATCH]
                loss = F.cross_entropy(model(x[rows]), y[rows])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                total += loss.detach() * len(rows)
            with torch.inference_mode():
                logits = torch.cat([model(x_valid[i : i + 512]) for i in range(0, len(x_valid), 512)])
                valid_loss, right = F.cross_entropy(logits, y_valid), (logits.argmax(1) == y_valid).double().mean()
            print(epoch, total.item() / len(x), valid_loss.item(), right.item(), file=out)

    seconds = in_turn(N, ours=ours, bare=bare)
    ratio = median(seconds["ours"]) / median(seconds["bare"])
    return report(N, {"bare": (ratio, 1.05)}, **summary(**seconds))


if __name__ == "__main__":
    sys.exit(main())
