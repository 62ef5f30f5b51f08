"""Many processes that train one model, as ``torchrun`` starts them: the only file that knows torch.distributed.

    torchrun --nproc-per-node 2 -m underhood train DATA --out DIR

Every process (torch calls its number the rank) holds the whole model and takes its share of each batch; torch's
DistributedDataParallel averages their gradients. Only the first says and writes anything. Alone, nothing here does
anything. docs/scaling.md has what it gains and costs.
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


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    here: its number on this machine; restarted: whether an earlier process with its number has died
    """

    rank: int = 0
    size: int = 1
    here: int = 0
    restarted: bool = False

    @property
    def first(self) -> bool:
        """Whether it is this one that writes."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Its share of a batch of so many: shares are disjoint, complete, and differ by one at most."""
        return slice(*(-(-count * rank // self.size) for rank in (self.rank, self.rank + 1)))

    def wrap(self, model: "nn.Module") -> "nn.Module":
        """The model with gradients averaged over all processes; it begins as the first one's."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model)

    def weigh(self, loss: "Tensor", count: int) -> "Tensor":
        """A mean over this share of ``count`` items, [], weighted so that the average over processes is the batch's.

        Nothing comes of an empty share, whatever its loss: its process took part with a picture that does not count.
        """
        if self.size == 1:
            return loss
        mine = self.part(count)
        return loss * ((mine.stop - mine.start) * self.size / count)

    def mean(self, loss: "Tensor") -> "Tensor":
        """The average over processes of what ``weigh`` gave: the whole batch's loss, []."""
        return loss if self.size == 1 else self.total(loss) / self.size

    def total(self, tensor: "Tensor") -> "Tensor":
        """The sum over all processes, on each, of tensors of one shape: of the same shape."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.all_reduce(tensor)
        return tensor

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Within, the first process on each machine goes before the others there."""
        if self.here and self.size > 1:
            self.wait()
        yield
        if not self.here:
            self.wait()

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.barrier()

    def share(self, what: Any = None) -> Any:
        """What the first process has, on all. Each waits for it."""
        if self.size == 1:
            return what
        import torch.distributed

        box = [what]
        torch.distributed.broadcast_object_list(box)
        return box[0]


ALONE = Ranks()


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """Within, this process is one of those that torchrun started; where it did not, it is alone.

    Raises UnderhoodError where another process has ended before its time.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if size == 1:
        yield Ranks(restarted=restarted)
        return
    import torch
    from torch import distributed

    here = int(os.environ.get("LOCAL_RANK", "0"))
    gpu = device != "cpu" and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(here)  # from here on ``cuda`` is its own
    try:
        distributed.init_process_group("nccl" if gpu else "gloo", **_meeting(restarted))
        yield Ranks(distributed.get_rank(), size, here, restarted)
        distributed.barrier()  # who closes its connections while others still use theirs may bring them down
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise UnderhoodError("another process of this run has ended: its own message says why") from error
    finally:
        if distributed.is_initialized():
            gc.collect()  # a wrapped model holds the group in a circle, and gloo's threads must end before Python does
            distributed.destroy_process_group()
            gc.collect()


def _meeting(restarted: bool) -> dict[str, Any]:
    """Where processes find each other: as torchrun says, by default.

    On one machine it keeps its store of addresses when it starts processes again, and with it those of the dead
    (pytorch issue 135712); they then need a part of the store of their own.
    """
    if not restarted or os.environ.get("GROUP_WORLD_SIZE") != "1":
        return {}
    from torch.distributed import PrefixStore, TCPStore

    environment = os.environ
    store = TCPStore(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), is_master=False)
    prefix = f"start {environment['TORCHELASTIC_RESTART_COUNT']}"
    return {
        "store": PrefixStore(prefix, store),
        "rank": int(environment["RANK"]),
        "world_size": int(environment["WORLD_SIZE"]),
    }
