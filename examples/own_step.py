"""A training step that underhood does not have: mixup (Zhang et al., 2017), added from outside.

Each image is mixed with another one of its batch, and the loss is mixed from both labels in the same proportion. The
learner has a place for each half: ``forward`` makes the predictions, ``loss_func`` compares them with the labels.
"""

import torch
from torch import Tensor

from underhood import read
from underhood.core import Architecture, DataLoaders, Learner, build_model, cross_entropy


class Mixup:
    """Draws the partners and their share in ``forward``, and uses the same ones in ``loss``."""

    def forward(self, x: Tensor) -> Tensor:  # [n, c, h, w] → [n, classes]
        self.partner = torch.randperm(len(x), device=x.device)  # [n]
        self.share = torch.rand(()).item()  # of the partner, 0 to 1
        return model(torch.lerp(x.float(), x[self.partner].float(), self.share))

    def loss(self, predictions: Tensor, y: Tensor) -> Tensor:  # [n, classes], [n] → []
        own, partners = cross_entropy(predictions, y), cross_entropy(predictions, y[self.partner])
        return torch.lerp(own, partners, self.share)


torch.manual_seed(0)
data = read("digits")
mean, std = data.train.pixel_statistics()
model = build_model(Architecture("conv", 1, 8, 8, classes=10), mean.tolist(), std.tolist())

mixup = Mixup()
learn = Learner(DataLoaders.from_dataset(data, batch_size=64), model, loss_func=mixup.loss)
learn.forward = mixup.forward
learn.valid_loss_func = cross_entropy  # validation images are not mixed
learn.fit_one_cycle(20, lr=0.01)
