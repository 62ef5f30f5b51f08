"""Handwritten digits in 40 lines: a small convolutional network, one cycle, and the loop in plain sight.

python examples/mnist.py        # MNIST if it is on this machine (underhood get mnist), else scikit-learn's small digits
"""

import numpy as np
import torch

from underhood.core import Architecture, Augmentation, DataError, DataLoaders, Dataset, Learner, build_model, one_cycle
from underhood.data.named import read_named

torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"

# Data: pixels, uint8 [n, c, h, w], and labels [n]. A fifth of the small digits is held out for validation.
try:
    data, epochs = Dataset("mnist", **read_named("mnist", download=False)), 3
except DataError:
    digits = read_named("digits")["train"]
    rows = np.random.default_rng(0).permutation(len(digits))
    data, epochs = Dataset("digits", train=digits.take(rows[360:]), valid=digits.take(rows[:360])), 15

# Model: three convolutions. Pixels are normalised inside, with the mean and standard deviation of the training images.
mean, std = data.train.pixel_statistics()
architecture = Architecture("conv", *data.train.pixels.shape[1:], classes=len(data.classes))
model = build_model(architecture, mean.tolist(), std.tolist()).to(device)

# Training: every image is shifted and rotated a little, differently in each epoch.
augmentation = Augmentation(shift=0.07, rotation=10)
learn = Learner(DataLoaders.from_dataset(data, batch_size=128, device=device, augmentation=augmentation), model)

# The loop. Learner.steps predicts, computes loss and gradient, and steps. What happens in between is up to you.
for step in learn.steps(epochs, lr=0.01, schedule=one_cycle):
    if step.number % 100 == 0:
        print(f"step {step.number} of {step.total}: loss {step.loss:.4f} at lr {step.lr:.4f}")
    if step.epoch_end:
        print(learn.end_epoch().lines(header=step.epoch == 0))
