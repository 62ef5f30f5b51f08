"""Several processes that train one model, as ``torchrun`` starts them. No other module uses torch.distributed.

    torchrun --nproc-per-node 2 -m underhood train DATA --out DIR

Every process holds the whole model and takes its share of each batch; DistributedDataParallel averages the gradients.
Only the main process reports and writes. docs/scaling.md has what it gains and costs.
"""

import gc
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from underhood.core.errors import DataError, UnderhoodError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from underhood.core.loader import DataLoader

T = TypeVar("T")

GUIDE = "docs/scaling.md"
ONE_BUCKET = 1_000_000  # MB: more than any model's gradients
STORE_VARIABLE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"  # 1: each start of the processes has addresses of its own


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from one of them. With one process, every method does nothing.

    It has the methods of ``core.learner.SingleProcess``, without importing torch before it is needed.
    rank, world_size: this process's number and how many there are; local_rank: its number on this machine
    restartable: whether torchrun starts them again where one fails (``--max-restarts``), or has done so
    main_host: the name of the machine that has the main process
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    restartable: bool = False
    main_host: str = ""

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

        if self.world_size == 2:
            return DistributedDataParallel(model)
        wrapped = DistributedDataParallel(model, bucket_cap_mb=ONE_BUCKET)
        wrapped.register_comm_hook(None, _average_in_order(model, self.world_size))
        return wrapped

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

    def broadcast(self, value: Any = None) -> Any:
        """The main process's value, on every process."""
        if self.world_size == 1:
            return value
        import torch.distributed

        box = [value]
        torch.distributed.broadcast_object_list(box)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """The value of each process, in their order, on every process."""
        if self.world_size == 1:
            return [value]
        import torch.distributed

        values = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values

    def read_in_turn(self, read: Callable[[], T]) -> T:
        """What ``read`` returns. The first process on each machine reads before the others there.

        Raises UnderhoodError on every process where reading fails on one.
        """
        result, failure = None, None
        for is_first in (True, False):
            if is_first == (self.local_rank == 0):
                try:
                    result = read()
                except UnderhoodError as error:
                    failure = error
            failures = self.gather(failure and (socket.gethostname(), str(failure)))
            if failure is not None:
                raise failure
            for rank, other in enumerate(failures):
                if other is not None:
                    host, text = other
                    raise DataError(f"process {rank} on {host} cannot read its images: {text.splitlines()[0]}")
        return cast("T", result)

    def require_same(self, facts: dict[str, Any]) -> None:
        """Raise DataError, on every process, unless all have the same ``facts``: their descriptions and values."""
        (host, first), *others = self.gather((socket.gethostname(), facts))
        for rank, (other_host, other) in enumerate(others, start=1):
            for name, value in first.items():
                if other[name] != value:
                    raise DataError(
                        f"process {rank} on {other_host} has other {name} ({other[name]!s:.100}) than process 0 on "
                        f"{host} ({value!s:.100}): all machines need the same images and options"
                    )


def _average_in_order(model: "nn.Module", world_size: int) -> Callable[..., Any]:
    """How DistributedDataParallel averages the gradients of three processes or more: in the order of the parameters.

    In which order a ring of processes adds three numbers or more, and so the last digit of the sum, depends on their
    place in what is sent. By itself torch sends gradients in one order in the first step after a start and in another
    order afterwards, so that a resumed run would not end in the same bytes.
    """
    import torch
    from torch import distributed

    place: dict[Any, int] = {parameter: number for number, parameter in enumerate(model.parameters())}

    def average(_: object, bucket: distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
        pairs = zip(bucket.parameters(), bucket.gradients(), strict=True)
        gradients = [gradient for _, gradient in sorted(pairs, key=lambda pair: place[pair[0]])]
        flat = torch.cat([gradient.flatten() for gradient in gradients]).div_(world_size)

        def put_back(_: object) -> torch.Tensor:
            for gradient, mean in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
                gradient.copy_(mean.view_as(gradient))
            return bucket.buffer()

        return distributed.all_reduce(flat, async_op=True).get_future().then(put_back)

    return average


SINGLE_PROCESS = Processes()


@contextmanager
def init_distributed(device: str = "auto") -> Iterator[Processes]:
    """Within, this process is one of those that torchrun started, or the only one.

    Raises UnderhoodError where the processes cannot connect, or another one has ended early.
    """
    world_size = _world_size()
    restartable = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if world_size == 1:
        yield Processes(restartable=restartable)
        return
    _check_machines(restartable)
    import torch
    from torch import distributed

    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    gpu = device != "cpu" and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local_rank)  # "cuda" is this GPU from here on
    else:
        _check_address()
    try:
        host = _connect("nccl" if gpu else "gloo")
        yield Processes(distributed.get_rank(), world_size, local_rank, restartable, host)
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


def _world_size() -> int:
    """How many processes there are. Raises UnderhoodError where what torchrun sets is incomplete or no number."""
    count = os.environ.get("WORLD_SIZE", "1")
    if count == "1":
        return 1
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT"):
        if not os.environ.get(name, "0").isdecimal():
            missing.append(name)
    if missing or int(os.environ["RANK"]) >= int(count):
        what = f"has no usable {', '.join(missing)}" if missing else "does not count process RANK"
        raise UnderhoodError(f"WORLD_SIZE={count} {what}: start several processes with torchrun, or unset WORLD_SIZE")
    return int(count)


def _check_machines(restartable: bool) -> None:
    """Raise UnderhoodError where torchrun would start processes with addresses of dead ones (pytorch issue 135712)."""
    several = os.environ.get("GROUP_WORLD_SIZE", "1") != "1"
    if several and restartable and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise UnderhoodError(
            f"--max-restarts on several machines needs --rdzv-backend c10d and {STORE_VARIABLE}=1: export it on each "
            f"machine and start again ({GUIDE})"
        )


def _check_address() -> None:
    """Raise UnderhoodError where this machine's name is an address that other machines cannot reach, which gloo uses.

    Debian gives a machine's own name the address 127.0.1.1.
    """
    if os.environ.get("GROUP_WORLD_SIZE", "1") == "1" or os.environ.get("GLOO_SOCKET_IFNAME"):
        return
    name = socket.gethostname()
    try:
        address = str(socket.getaddrinfo(name, None)[0][4][0])
    except OSError:
        address = ""
    if not address or address == "::1" or address.startswith("127."):
        there = [interface for _, interface in socket.if_nameindex() if interface != "lo"]
        raise UnderhoodError(
            f"other machines cannot reach {name} at {address or 'an unknown address'}: export GLOO_SOCKET_IFNAME, the "
            f"name of its network interface ({' or '.join(there)}), and start again ({GUIDE})"
        )


def _connect(backend: str) -> str:
    """Connect the processes. Returns the name of the main one's machine. Raises UnderhoodError."""
    from torch import distributed

    where = f"process {os.environ['RANK']} on {socket.gethostname()}"
    try:
        distributed.init_process_group(backend, **_rendezvous())
        host = [socket.gethostname()]
        distributed.broadcast_object_list(host)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UnderhoodError(
            f"{where} cannot connect to process 0, which writes the run, on {os.environ['MASTER_ADDR']} ({reason}): on "
            f"several machines check GLOO_SOCKET_IFNAME and {STORE_VARIABLE} ({GUIDE})"
        ) from error
    return host[0]


def _rendezvous() -> dict[str, Any]:
    """Where processes find each other: by default as torchrun says.

    On one machine torchrun keeps its store of addresses across restarts, those of dead processes included (pytorch
    issue 135712), so that restarted processes need a part of the store of their own.
    """
    environment = os.environ
    start = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    if start == "0" or environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    from torch.distributed import PrefixStore, TCPStore

    store = TCPStore(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), is_master=False)
    return {
        "store": PrefixStore(f"start {start}", store),
        "rank": int(environment["RANK"]),
        "world_size": int(environment["WORLD_SIZE"]),
    }
