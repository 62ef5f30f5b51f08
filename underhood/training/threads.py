"""The CPU threads of a training: how many there are, and on which CPUs they run.

The number depends on the work and on what the process may use, never on what else runs at the moment: the last digits
of a result depend on it. Where threads run changes no digit. docs/performance.md has the measurements.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from underhood.data.decode import available_cpus

if TYPE_CHECKING:
    from underhood.core.learner import Learner
    from underhood.training.learners import Setup

WORK_PER_THREAD = 10_000_000  # multiply-adds of a step: with fewer, waiting for each other costs more than it saves
PLACED_BY_USER = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


@contextmanager
def cpu_threads(setup: "Setup", threads: int | None = None) -> Iterator[None]:
    """Within, torch computes with as many threads as suit a training on the CPU. threads: how many; None chooses."""
    import torch

    before = torch.get_num_threads()
    if threads is None and next(setup.network.parameters()).device.type == "cpu":
        threads = choose_threads(_step_work(setup), before, os.environ)
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_threads(work: int, torch_threads: int, environment: Mapping[str, str]) -> int:
    """The number of threads for a training.

    work: multiply-adds of a step; torch_threads: what torch uses by default, which leaves hyper-threads out
    environment: OMP_NUM_THREADS is the user's choice, but for the 1 that torchrun sets for several processes
    """
    local = environment.get("LOCAL_WORLD_SIZE", "")
    processes = int(local) if local.isdecimal() else 1  # what is left of another program may be anything
    if "OMP_NUM_THREADS" in environment and not (processes > 1 and environment["OMP_NUM_THREADS"] == "1"):
        return torch_threads
    most = available_cpus() // processes if processes > 1 else min(available_cpus(), torch_threads)
    return max(1, min(most, work // WORK_PER_THREAD))


def _step_work(setup: "Setup") -> int:
    """Multiply-adds of a step, forwards."""
    from underhood.analysis.inference import multiply_adds

    a, images = setup.architecture, min(setup.recipe.batch_size, len(setup.loaded.dataset.train))
    images //= setup.processes.world_size
    return images * multiply_adds(setup.network, np.zeros((a.channels, a.height, a.width), np.uint8))


@contextmanager
def pinned_threads(learn: "Learner") -> Iterator[None]:
    """Within, each of torch's threads keeps a CPU of its own, where there are as many of them as CPUs.

    The threads of a step wait for each other many times. Where another program is busy, Linux would put two of them on
    one CPU again and again, so that one waits while the other runs. Fewer threads than CPUs are left to Linux, and so
    are all where the user has placed them, and on other systems.

    After a batch with fewer images than threads, torch starts new ones, which would all be on the CPU of this one: a
    learner with such a batch is not pinned. (With two threads, a batch of one image starts none.)
    """
    import torch

    count = torch.get_num_threads()
    cpus = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    smallest = min(loader.items_in(len(loader) - 1) for loader in (learn.dls.train, learn.dls.valid))
    one_each = count == len(cpus) > 1 and (count == 2 or smallest >= count)
    openmp = ctypes.CDLL(torch._C.__file__) if one_each else None  # finds the OpenMP that torch itself uses
    if openmp is None or not hasattr(openmp, "GOMP_parallel") or any(name in os.environ for name in PLACED_BY_USER):
        yield
        return
    first = cpus.index(openmp.sched_getcpu())  # this thread stays where it runs: two trainings start on two CPUs

    def place(_: int | None) -> None:
        os.sched_setaffinity(0, {cpus[(first + openmp.omp_get_thread_num()) % count]})

    def release(_: int | None) -> None:
        os.sched_setaffinity(0, cpus)

    _in_each_thread(openmp, place, count)
    try:
        yield
    finally:
        _in_each_thread(openmp, release, count)


def _in_each_thread(openmp: ctypes.CDLL, function: Callable[[int | None], None], count: int) -> None:
    """Call a function of a pointer in each thread of this one's OpenMP team."""
    openmp.GOMP_parallel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function), None, count, 0)
