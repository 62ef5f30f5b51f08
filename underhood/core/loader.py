"""Mini-batches: whole batches at once, in an order that comes from (seed, epoch) and from nothing else."""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from underhood.core.augment import Augmentation, augment
from underhood.core.images import Dataset, Images
from underhood.training.distributed import ALONE, Ranks


class DataLoader:
    """Batches of a collection.

    dataset: ``Images``; a tensor or array; a tuple of tensors or arrays of one length, or a TensorDataset (these take
        whole batches, nothing is done per item, and they live on ``device`` from the start, but pixels that are too
        large for memory stay in their file); or anything with a length and an index, collated as torch does
    shuffle: a new order each epoch, from (seed, epoch)
    augmentation: how the pictures, which are then the first tensor, are moved about, from (seed, epoch, batch)
    weights: how often each item is drawn, with replacement, in place of each once: float [count]
    ranks: which process this is, if batches are shared among several: each gets its part of each batch, or one item
        that will not count where there are fewer than processes. ``len``, ``order`` and ``items`` are of all

    The last batch is short where the count does not divide; it is never dropped.

    >>> [batch.tolist() for batch in DataLoader(range(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
        augmentation: Augmentation | None = None,
        weights: np.ndarray | None = None,
        ranks: Ranks = ALONE,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.dataset, self.batch_size, self.shuffle, self.seed = dataset, batch_size, shuffle, seed
        self.device = torch.device("cpu" if _in_a_file(dataset) else device)
        self.augmentation, self.weights, self.ranks = augmentation, weights, ranks
        self._tensors = _as_tensors(dataset, self.device)
        self._passes = 0

    @property
    def count(self) -> int:
        """How many items, all batches together."""
        return len(self._tensors[0]) if self._tensors else len(self.dataset)

    def __len__(self) -> int:
        """How many batches a pass has."""
        return -(-self.count // self.batch_size)

    def items(self, number: int) -> int:
        """How many items batch ``number`` of a pass has: only the last has fewer."""
        return min(self.batch_size, self.count - number * self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """One pass; each further pass takes the next epoch's order."""
        epoch, self._passes = self._passes, self._passes + 1
        return self.batches(epoch)

    def order(self, epoch: int) -> np.ndarray:
        """The items' order in this epoch: int64 [count]."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.weights is not None:
            return rng.choice(self.count, self.count, p=self.weights / self.weights.sum())
        return rng.permutation(self.count) if self.shuffle else np.arange(self.count)

    def batches(self, epoch: int = 0, numbers: Iterable[int] | None = None) -> Iterator[Any]:
        """The batches of one epoch, or those of these numbers, from 0 on."""
        order = torch.from_numpy(self.order(epoch)).to(self.device)
        for number in range(len(self)) if numbers is None else numbers:
            items = self.items(number)
            mine = self.ranks.part(items)
            begin, length = min(mine.start, items - 1), max(1, mine.stop - mine.start)
            start = number * self.batch_size + begin
            rows = order[start : start + length]
            if self._tensors is None:
                yield default_collate([self.dataset[i] for i in rows.tolist()])
                continue
            if self.shuffle or self.weights is not None:
                batch = [tensor.index_select(0, rows) for tensor in self._tensors]
            else:
                batch = [tensor[start : start + length] for tensor in self._tensors]
            if self.augmentation:
                batch[0] = augment(batch[0], self.augmentation, (self.seed, epoch, number), begin, items)
            yield tuple(batch) if len(batch) > 1 else batch[0]


class DataLoaders:
    """The training and the validation batches, and the names of the classes.

    >>> from underhood import read
    >>> dls = DataLoaders.from_dataset(read("digits"), batch_size=64)
    >>> len(dls.train), len(dls.valid)
    (23, 2)
    """

    def __init__(self, train: DataLoader, valid: DataLoader, classes: tuple[str, ...] = ()):
        self.train, self.valid, self.classes = train, valid, classes

    @classmethod
    def from_dataset(
        cls,
        data: Dataset,
        batch_size: int = 64,
        seed: int = 0,
        device: str | torch.device = "cpu",
        augmentation: Augmentation | None = None,
        weights: np.ndarray | None = None,
        ranks: Ranks = ALONE,
    ) -> "DataLoaders":
        """Shuffled training batches, as ``DataLoader`` has them, and ordered validation batches of a read data set.

        weights: how often each training picture is drawn, where not each once: float [n]
        """
        train = DataLoader(data.train, batch_size, True, seed, device, augmentation, weights, ranks)
        valid = DataLoader(data.valid, validation_batch(data.valid.pixels.shape), device=device)
        return cls(train, valid, data.classes)

    def show_batch(self, max_n: int = 9) -> Any:
        """Draw the first training pictures with their classes: a matplotlib figure."""
        from underhood.display.notebook import show_batch

        return show_batch(self, max_n)


def validation_batch(shape: Sequence[int]) -> int:
    """How many pictures of [n, c, h, w] to measure at a time: 256, which a small convolutional net works through
    fastest on two cores; of large ones fewer, so that memory need not hold what it computes of them."""
    return max(1, min(256, 2**22 // math.prod(shape[1:])))


def _as_tensors(dataset: Any, device: torch.device) -> list[Tensor] | None:
    """The parallel tensors of the fast path, on the device; None where items must be fetched one by one."""
    if isinstance(dataset, Images):
        dataset = (dataset.pixels, dataset.labels)
    elif isinstance(dataset, TensorDataset):
        dataset = dataset.tensors
    elif isinstance(dataset, (Tensor, np.ndarray)):
        dataset = (dataset,)
    if not isinstance(dataset, tuple) or not dataset or not all(isinstance(a, (Tensor, np.ndarray)) for a in dataset):
        return None
    lengths = [len(a) for a in dataset]
    if len(set(lengths)) > 1:
        raise ValueError(f"arrays of different lengths, {lengths}, cannot be batched together")
    return [_as_tensor(a).to(device) for a in dataset]


def _as_tensor(array: Tensor | np.ndarray) -> Tensor:
    """torch takes arrays over as they are, but none that runs backwards, and one that may not be written to under
    protest: it is copied, unless it is a file that memory may not hold. Nothing here writes to a batch's source."""
    if isinstance(array, np.memmap):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(array)
    if isinstance(array, Tensor) or (array.flags.writeable and min(array.strides, default=0) >= 0):
        return torch.as_tensor(array)
    return torch.as_tensor(array.copy())


def _in_a_file(dataset: Any) -> bool:
    return isinstance(dataset.pixels if isinstance(dataset, Images) else dataset, np.memmap)
