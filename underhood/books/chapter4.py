"""What fastbook's chapter 4 prints, from its first pixel to its first batch, computed with ``scratch/sgd.py``.

The chapter draws from one stream of random numbers, torch's with seed 42. So do these functions: each goes on in the
stream where the one before stopped, so their order matters.
"""

import random
import string
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from underhood.books import Row, figure
from underhood.core.images import Dataset, Images
from underhood.core.loader import DataLoader, DataLoaders
from underhood.scratch import sgd

SOURCE = "fastbook 4"
BATCH = 256  # images
of = partial(figure, SOURCE)


class MnistSample:
    """MNIST_SAMPLE as the chapter's variables: stacked 3s and 7s, float32 [n, 28, 28] from 0 to 1."""

    def __init__(self, data: Dataset):
        self.names = data.train.names
        self.three = data.train.pixels[data.train.labels == 0][1, 0]  # uint8 [28, 28]: train/3/10000.png
        self.train_3, self.train_7 = self._stacked(data.train)
        self.valid_3, self.valid_7 = self._stacked(data.valid)
        self.mean3, self.mean7 = self.train_3.mean(0), self.train_7.mean(0)
        self.train_x, self.train_y = self._flat(self.train_3, self.train_7)
        self.valid_x, self.valid_y = self._flat(self.valid_3, self.valid_7)

    @staticmethod
    def _stacked(images: Images) -> list[Tensor]:
        return [torch.from_numpy(images.pixels[images.labels == label][:, 0]).float() / 255 for label in (0, 1)]

    @staticmethod
    def _flat(threes: Tensor, sevens: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([threes, sevens]).view(-1, 28 * 28)
        return x, torch.tensor([1] * len(threes) + [0] * len(sevens)).unsqueeze(1)

    def loaders(self) -> DataLoaders:
        """Batches of 256 in the chapter's order, not shuffled."""
        return DataLoaders(
            DataLoader((self.train_x, self.train_y), BATCH), DataLoader((self.valid_x, self.valid_y), BATCH)
        )


def rows(p: MnistSample) -> Iterator[Row]:
    """The chapter up to the training loop. ``chapter4_training.rows`` must follow, in the same random stream."""
    yield from pixels(p)
    yield from similarity(p)
    yield from tensors()
    yield from accuracy_of_similarity(p)
    yield from gradient_examples()
    torch.manual_seed(42)
    yield from roller_coaster()
    yield from first_linear_model(p)
    yield from loss()
    yield from shuffles()


def pixels(p: MnistSample) -> Iterator[Row]:
    """The first section: one 3 as a table of numbers."""
    section = "Pixels"
    first_ten = "10 10000 10011 10031 10034 10042 10052 1007 10074 10091"
    yield of(section, "the first ten training 3s, sorted", first_ten, [int(n[8:-4]) for n in p.names[:10]])
    corner = """
        0 0 0 0 0 0   0 0 0 0 0 29   0 0 0 48 166 224   0 93 244 249 253 187   0 107 253 253 230 48   0 3 20 20 15 0"""
    yield of(section, "train/3/10000.png [4:10, 4:10] as an array", corner, p.three[4:10, 4:10])
    yield of(section, "train/3/10000.png [4:10, 4:10] as a tensor", corner, torch.from_numpy(p.three)[4:10, 4:10])
    table = """
        0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
        0 0 0 0 0 29 150 195 254 255 254 176 193 150 96 0 0 0
        0 0 0 48 166 224 253 253 234 196 253 253 253 253 233 0 0 0
        0 93 244 249 253 187 46 10 8 4 10 194 253 253 233 0 0 0
        0 107 253 253 230 48 0 0 0 0 0 192 253 253 156 0 0 0
        0 3 20 20 15 0 0 0 0 0 43 224 253 245 74 0 0 0
        0 0 0 0 0 0 0 0 0 0 249 253 245 126 0 0 0 0
        0 0 0 0 0 0 0 14 101 223 253 248 124 0 0 0 0 0
        0 0 0 0 0 11 166 239 253 253 253 187 30 0 0 0 0 0
        0 0 0 0 0 16 248 250 253 253 253 253 232 213 111 2 0 0
        0 0 0 0 0 0 0 43 98 98 208 253 253 253 253 187 22 0"""
    yield of(section, "train/3/10000.png [4:15, 4:22] as a table", table, p.three[4:15, 4:22])


def similarity(p: MnistSample) -> Iterator[Row]:
    """Stacks of images, class means, and distances of a 3 from both."""
    section = "Pixel similarity"
    a_3 = p.train_3[1]
    yield of(section, "how many 3s and 7s to train on", "6131 6265", [len(p.train_3), len(p.train_7)])
    yield of(section, "shape of the stacked 3s", "6131 28 28", p.train_3.shape)
    yield of(section, "their rank, by the length of the shape", "3", len(p.train_3.shape))
    yield of(section, "their rank, by ndim", "3", p.train_3.ndim)
    for digit, mean, book in ((3, p.mean3, "0.1114 0.2021"), (7, p.mean7, "0.1586 0.3021")):
        l1, l2 = (a_3 - mean).abs().mean(), ((a_3 - mean) ** 2).mean().sqrt()
        yield of(section, f"a 3 from the ideal {digit}: L1, L2", book, [l1, l2])
    l1, l2 = F.l1_loss(a_3, p.mean7), F.mse_loss(a_3, p.mean7).sqrt()
    yield of(section, "the same by l1_loss and mse_loss, from the ideal 7", "0.1586 0.3021", [l1, l2])


def tensors() -> Iterator[Row]:
    """The chapter's introduction to arrays and tensors."""
    section = "NumPy arrays and PyTorch tensors"
    data = [[1, 2, 3], [4, 5, 6]]
    tns = torch.tensor(data)
    yield of(section, "array(data)", "1 2 3  4 5 6", np.array(data))
    yield of(section, "tensor(data)", "1 2 3  4 5 6", tns)
    yield of(section, "tns[1]", "4 5 6", tns[1])
    yield of(section, "tns[:,1]", "2 5", tns[:, 1])
    yield of(section, "tns[1,1:3]", "5 6", tns[1, 1:3])
    yield of(section, "tns+1", "2 3 4  5 6 7", tns + 1)
    yield of(section, "tns.type()", "torch.LongTensor", tns.type())
    yield of(section, "tns*1.5", "1.5000 3.0000 4.5000  6.0000 7.5000 9.0000", tns * 1.5)


def accuracy_of_similarity(p: MnistSample) -> Iterator[Row]:
    """``mnist_distance`` and ``is_3`` on all validation images, by broadcasting."""
    section = "Metrics by broadcasting"
    is_3 = partial(sgd.is_3, mean3=p.mean3, mean7=p.mean7)
    a_3 = p.train_3[1]
    yield of(
        section, "shapes of the validation 3s and 7s", "1010 28 28  1028 28 28", [p.valid_3.shape, p.valid_7.shape]
    )
    yield of(section, "mnist_distance(a_3, mean3)", "0.1114", sgd.mnist_distance(a_3, p.mean3))
    distances = sgd.mnist_distance(p.valid_3, p.mean3)
    # The book lists the first and last three in its file system's order: here the nearest among all of them are taken.
    book = "0.1050 0.1526 0.1186 0.1122 0.1170 0.1086"
    nearest = torch.stack([(distances - float(printed)).abs().argmin() for printed in book.split()])
    yield of(section, "six distances of validation 3s, found in ours", book, distances[nearest])
    yield of(section, "how many distances", "1010", len(distances))
    yield of(section, "1, 2, 3 plus 1", "2 3 4", torch.tensor([1, 2, 3]) + torch.tensor(1))
    yield of(section, "shape of valid_3_tens-mean3", "1010 28 28", (p.valid_3 - p.mean3).shape)
    yield of(section, "is_3(a_3)", "True", is_3(a_3))
    yield of(section, "is_3(a_3) as a float", "1.", is_3(a_3).float())
    yield of(section, "is_3 of those six", "True True True True True True", is_3(p.valid_3[nearest]))
    threes, sevens = is_3(p.valid_3).float().mean(), (1 - is_3(p.valid_7).float()).mean()
    yield of(section, "accuracy: 3s, 7s, mean", "0.9168 0.9854 0.9511", [threes, sevens, (threes + sevens) / 2])


def gradient_examples() -> Iterator[Row]:
    """The gradient of x², of one number and of three."""
    section = "Calculating gradients"
    x = torch.tensor(3.0).requires_grad_()
    y = sgd.quadratic(x)
    y.backward()
    yield of(section, "3²", "9.", y.detach())
    yield of(section, "its gradient", "6.", x.grad)
    x = torch.tensor([3.0, 4.0, 10.0]).requires_grad_()
    y = sgd.quadratic(x).sum()
    y.backward()
    yield of(section, "a vector argument", "3. 4. 10.", x.detach())
    yield of(section, "the sum of its squares", "125.", y.detach())
    yield of(section, "its gradient", "6. 8. 20.", x.grad)


def roller_coaster() -> Iterator[Row]:
    """The end-to-end example in seven steps. Draws 20 and 3 normal numbers."""
    section = "The roller coaster"
    time = torch.arange(0, 20).float()
    yield of(section, "time", " ".join(f"{second}." for second in range(20)), time)
    speed = torch.randn(20) * 3 + 0.75 * (time - 9.5) ** 2 + 1
    params = torch.randn(3).requires_grad_()
    at_first = params.detach().clone()
    loss = sgd.mse(sgd.speed_at(time, params), speed)
    loss.backward()
    gradients = grad(params)
    yield of(section, "step 3: the loss", "25823.8086", loss.detach())
    yield of(section, "step 4: the gradients", "-53195.8594 -3419.7146 -253.8908", gradients)
    yield of(section, "step 4: times 1e-5", "-0.5320 -0.0342 -0.0025", gradients * 1e-5)
    yield of(section, "the parameters", "-0.7658 -0.7506 1.3525", at_first)
    params = at_first.clone().requires_grad_()
    sgd.apply_step(time, speed, params)
    yield of(section, "step 5: the loss after it", "5435.5366", sgd.mse(sgd.speed_at(time, params), speed).detach())
    book = """5435.53662109375 1577.4495849609375 847.3780517578125 709.22265625 683.0757446289062
              678.12451171875 677.1839599609375 677.0025024414062 676.96435546875 676.9537353515625"""
    yield of(section, "step 6: ten losses", book, [sgd.apply_step(time, speed, params) for _ in range(10)])


def first_linear_model(p: MnistSample) -> Iterator[Row]:
    """A linear model without training. Draws 784 and 1 normal numbers."""
    section = "The MNIST loss function"
    yield of(section, "shapes of train_x and train_y", "12396 784 12396 1", [p.train_x.shape, p.train_y.shape])
    x, y = next(iter(zip(p.train_x, p.train_y, strict=True)))
    yield of(section, "the first item: shape of x", "784", x.shape)
    yield of(section, "the first item: y", "1", y)
    weights, bias = sgd.init_params((28 * 28, 1)), sgd.init_params(1)
    yield of(section, "one prediction", "20.2336", ((p.train_x[0] * weights.T).sum() + bias).detach())
    preds = sgd.linear1(p.train_x, weights, bias).detach()
    ends = torch.tensor([0, 1, 2, -3, -2, -1])
    yield of(section, "first and last predictions", "20.2336 17.0644 15.2384 18.3804 23.8567 28.6816", preds[ends, 0])
    corrects = (preds > 0).float() == p.train_y
    yield of(section, "which of them are right", "True True True False False False", corrects[ends, 0])
    yield of(section, "accuracy", "0.4912068545818329", corrects.float().mean())
    with torch.no_grad():
        weights[0] *= 1.0001
    after = (sgd.linear1(p.train_x, weights, bias) > 0).float() == p.train_y
    yield of(section, "accuracy after a weight moved a little", "0.4912068545818329", after.float().mean())


def grad(parameter: Tensor) -> Tensor:
    """The gradient of a parameter that has one, in its shape, any shape."""
    assert parameter.grad is not None
    return parameter.grad


def loss() -> Iterator[Row]:
    """The first version of ``mnist_loss`` on three predictions."""
    section = "The MNIST loss function"
    targets, predictions = torch.tensor([1, 0, 1]), torch.tensor([0.9, 0.4, 0.2])
    distances = torch.where(targets == 1, 1 - predictions, predictions)
    first_version = sgd.mnist_loss_of_probabilities
    yield of(section, "distances by torch.where", "0.1000 0.4000 0.8000", distances)
    yield of(section, "mnist_loss", "0.4333", first_version(predictions, targets))
    yield of(
        section, "mnist_loss of better predictions", "0.2333", first_version(torch.tensor([0.9, 0.4, 0.8]), targets)
    )


def fastai_order(stream: random.Random, n: int) -> list[int]:
    """The order of the first pass over a new, shuffling fastai DataLoader: each loader and each pass seeds a stream."""
    loader = random.Random(stream.randint(0, 2**32 - 1))
    return random.Random(loader.randint(0, 2**32 - 1)).sample(range(n), n)


def shuffles() -> Iterator[Row]:
    """The shuffled batches of the small DataLoaders. Draws from a stream of Python's ``random``."""
    section = "SGD and mini-batches"
    stream = random.Random(42)
    order = fastai_order(stream, 15)
    yield of(section, "15 numbers shuffled, batches of 5", "3 12 8 10 2  9 4 7 14 5  1 13 0 6 11", order)
    items = sgd.pairs(range(26), string.ascii_lowercase)
    first = " ".join(f"{number} {letter}" for number, letter in zip(range(10), "abcdefghij", strict=True))
    yield of(section, "the alphabet as a data set", first, np.array(items[:10], object))
    order = fastai_order(stream, 26)
    book = "17 18 10 22 8 14  20 15 9 13 21 12  7 25 6 5 11 23  1 3 0 24 19 16  2 4"
    yield of(section, "the alphabet shuffled, batches of 6: numbers", book, order)
    book = "r s k w i o  u p j n v m  h z g f l x  b d a y t q  c e"
    yield of(section, "the alphabet shuffled: letters", book, [items[i][1] for i in order])
