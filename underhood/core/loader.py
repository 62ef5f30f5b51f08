"""Mini-batches: whole batches at once, in an order that depends on (seed, epoch) and on nothing else."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from underhood.core.augment import Augmentation, augment
from underhood.core.images import Dataset, Images


class DataLoader:
    """Batches of a data set. Iterating over it is one epoch, iterating again the next. A short last batch is kept.

    dataset: ``Images``, a tensor, an array or a tuple of these: they are kept on ``device`` and sliced, without any
        work per item. Anything else with a length and an index is collated as torch does it.
    shuffle: a new order each epoch, from (seed, epoch)
    augmentation: applied to the first tensor, images [n, c, h, w], from (seed, epoch, batch)
    transform: then applied to the batch: a function (tensors, key, first, count) → tensors, see ``augment``
    weights: draw items with replacement, in proportion to these: float [count]

    >>> [batch.tolist() for batch in DataLoader(range(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self, dataset: Any, batch_size: int = 64, shuffle: bool = False, seed: int = 0,
        device: str | torch.device = "cpu", augmentation: Augmentation | None = None, weights: np.ndarray | None = None,
        transform: Callable[..., list[Tensor]] | None = None,
    ):  # fmt: skip
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.dataset, self.batch_size, self.shuffle, self.seed = dataset, batch_size, shuffle, seed
        self.augmentation, self.weights, self.transform, self._next_epoch = augmentation, weights, transform, 0
        pixels = dataset.pixels if isinstance(dataset, Images) else dataset
        self.device = torch.device("cpu" if isinstance(pixels, np.memmap) else device)  # files may be large
        self._tensors = _as_tensors(dataset, self.device)
        if (augmentation or transform) and self._tensors is None:
            raise ValueError("augmentation needs images as one tensor or array: of a TensorDataset, pass its .tensors")
        self.count = len(self._tensors[0] if self._tensors else dataset)  # items in an epoch

    def __len__(self) -> int:  # batches in an epoch
        return math.ceil(self.count / self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        self._next_epoch += 1
        return self.batches(self._next_epoch - 1)

    def items_in(self, number: int) -> int:
        """The number of items in batch ``number``: only the last may be short."""
        return min(self.batch_size, self.count - number * self.batch_size)

    def share_of(self, items: int) -> tuple[int, int]:
        """This process's part of a batch, as (first, length): all of it. Several processes share a batch out."""
        return 0, items

    def order(self, epoch: int) -> np.ndarray:
        """The order of the items in this epoch: int64 [count]."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.weights is not None:
            return rng.choice(self.count, self.count, p=self.weights / self.weights.sum())
        return rng.permutation(self.count) if self.shuffle else np.arange(self.count)

    def batches(self, epoch: int = 0, numbers: Iterable[int] | None = None) -> Iterator[Any]:
        """The batches of one epoch, or only those with these numbers, counted from 0."""
        order = torch.from_numpy(self.order(epoch)).to(self.device)
        for number in range(len(self)) if numbers is None else numbers:
            items = self.items_in(number)
            first, length = self.share_of(items)
            start = number * self.batch_size + first
            rows = order[start : start + length]  # [length]
            if self._tensors is None:
                yield default_collate([self.dataset[i] for i in rows.tolist()])
                continue
            ordered = not self.shuffle and self.weights is None
            batch = [a[start : start + length] if ordered else a.index_select(0, rows) for a in self._tensors]
            if self.augmentation:
                batch[0] = augment(batch[0], self.augmentation, (self.seed, epoch, number), first, items)
            if self.transform:
                batch = self.transform(batch, (self.seed, epoch, number), first, items)
            yield tuple(batch) if len(batch) > 1 else batch[0]


class DataLoaders:
    """Training batches, validation batches and class names."""

    def __init__(self, train: Any, valid: Any, classes: tuple[str, ...] = ()):
        self.train, self.valid, self.classes = train, valid, classes

    @classmethod
    def from_dataset(cls, data: Dataset, batch_size: int = 64, seed: int = 0, **options: Any) -> "DataLoaders":
        """Shuffled training batches and ordered validation batches of a data set.

        options: ``device`` of both, ``augmentation``, ``transform`` and ``weights`` of the training batches
        """
        train = DataLoader(data.train, batch_size, shuffle=True, seed=seed, **options)
        size, device = validation_batch_size(data.valid.pixels.shape), options.get("device", "cpu")
        return cls(train, DataLoader(data.valid, size, device=device), data.classes)


def validation_batch_size(shape: Sequence[int]) -> int:
    """How many images [n, c, h, w] to evaluate at once: 256, the fastest on two cores; fewer where they are large."""
    return max(1, min(256, 2**22 // math.prod(shape[1:])))


def _as_tensors(dataset: Any, device: torch.device) -> list[Tensor] | None:
    """The data set as tensors of one length on the device; None where items must be fetched one by one."""
    if isinstance(dataset, Images):
        dataset = (dataset.pixels, dataset.labels)
    elif isinstance(dataset, (Tensor, np.ndarray)):
        dataset = (dataset,)
    if not isinstance(dataset, tuple) or not dataset or not all(isinstance(a, (Tensor, np.ndarray)) for a in dataset):
        return None
    if len({len(a) for a in dataset}) > 1:
        raise ValueError(f"arrays of different lengths, {[len(a) for a in dataset]}, cannot be batched together")
    with warnings.catch_warnings():  # read-only arrays and files are fine: nothing here writes to them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensors = [a if isinstance(a, Tensor) else torch.from_numpy(np.ascontiguousarray(a)) for a in dataset]
    return [tensor.to(device) for tensor in tensors]
