"""Several processes that train one model, as ``torchrun`` starts them. No other module uses torch.distributed.

    torchrun --nproc-per-node 2 -m underhood train DATA --out DIR

Every process holds the whole model and takes its share of each batch; DistributedDataParallel averages the gradients.
Only the main process reports and writes. docs/scaling.md has what it gains and costs.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from underhood.core.errors import UnderhoodError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from underhood.core.loader import DataLoader


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from one of them. With one process, every method does nothing.

    It has the methods of ``core.learner.SingleProcess``, without importing torch before it is needed.
    rank, world_size: this process's number and how many there are; local_rank: its number on this machine
    restarted: whether torchrun has started it again
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    restarted: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """This process's share of ``count`` items. Shares are disjoint and complete; sizes differ by at most one."""
        return slice(*(-(-count * rank // self.world_size) for rank in (self.rank, self.rank + 1)))

    def shard_loader(self, loader: "DataLoader") -> "DataLoader":
        """The same loader, loading this process's share of each batch: one item, which will not count, where it has
        none."""
        if self.world_size > 1:
            loader.share_of = self._share_of  # type: ignore[method-assign]
        return loader

    def _share_of(self, items: int) -> tuple[int, int]:
        share = self.shard(items)
        return min(share.start, items - 1), max(1, share.stop - share.start)

    def wrap(self, model: "nn.Module") -> "nn.Module":
        """The model with gradients averaged over all processes. It starts with the main process's weights."""
        if self.world_size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model)

    def scale_loss(self, loss: "Tensor", batch_size: int) -> "Tensor":
        """The mean over this share of a batch, [], scaled so that the average over processes is the batch's mean.

        An empty share counts for nothing, whatever its loss.
        """
        if self.world_size == 1:
            return loss
        share = self.shard(batch_size)
        return loss * ((share.stop - share.start) * self.world_size / batch_size)

    def mean(self, tensor: "Tensor") -> "Tensor":
        """The average over processes, of the same shape."""
        return tensor if self.world_size == 1 else self.sum(tensor) / self.world_size

    def sum(self, tensor: "Tensor") -> "Tensor":
        """The sum over processes, of the same shape, on each of them."""
        if self.world_size > 1:
            import torch.distributed

            torch.distributed.all_reduce(tensor)
        return tensor

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            import torch.distributed

            torch.distributed.barrier()

    def broadcast(self, value: Any = None) -> Any:
        """The main process's value, on every process."""
        if self.world_size == 1:
            return value
        import torch.distributed

        box = [value]
        torch.distributed.broadcast_object_list(box)
        return box[0]

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Within, the first process on each machine goes before the others there."""
        if self.local_rank and self.world_size > 1:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()


SINGLE_PROCESS = Processes()


@contextmanager
def init_distributed(device: str = "auto") -> Iterator[Processes]:
    """Within, this process is one of those that torchrun started, or the only one.

    Raises UnderhoodError where another process has ended early.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if world_size == 1:
        yield Processes(restarted=restarted)
        return
    import torch
    from torch import distributed

    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    gpu = device != "cpu" and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local_rank)  # "cuda" is this GPU from here on
    try:
        distributed.init_process_group("nccl" if gpu else "gloo", **_rendezvous(restarted))
        yield Processes(distributed.get_rank(), world_size, local_rank, restarted)
        distributed.barrier()  # closing connections while others use theirs may bring them down
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise UnderhoodError("another process of this run has ended: see its own message") from error
    finally:
        if distributed.is_initialized():
            gc.collect()  # a wrapped model holds the group in a cycle, and gloo's threads must end before Python does
            distributed.destroy_process_group()
            gc.collect()


def _rendezvous(restarted: bool) -> dict[str, Any]:
    """Where processes find each other: by default as torchrun says.

    On one machine torchrun keeps its store of addresses across restarts, those of dead processes included (pytorch
    issue 135712), so that restarted processes need a part of the store of their own.
    """
    if not restarted or os.environ.get("GROUP_WORLD_SIZE") != "1":
        return {}
    from torch.distributed import PrefixStore, TCPStore

    environment = os.environ
    store = TCPStore(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), is_master=False)
    return {
        "store": PrefixStore(f"start {environment['TORCHELASTIC_RESTART_COUNT']}", store),
        "rank": int(environment["RANK"]),
        "world_size": int(environment["WORLD_SIZE"]),
    }
