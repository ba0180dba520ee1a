"""Several processes on one fold, each with a GPU and started by torchrun: each takes its share of every batch.

Gradients are averaged by `DistributedDataParallel`, and `nn.SyncBatchNorm` sees the whole batch, so that
`train.devices` processes compute what one does with the same batch, to rounding, where nothing is drawn at random: each
has its own draws of dropout, stochastic depth and augmentation. Validation is shared out too.
"""

import atexit
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from job.contracts.split import Rows
from job.errors import UserError
from job.params import Train


@dataclass(frozen=True)
class World:
    """The processes of a fold: this one is number `rank`, from 0, of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def purpose(self) -> tuple[str | int, ...]:
        """Makes a derived seed that of this process; of a single process there is nothing to tell apart."""
        return ("process", self.rank) if self.size > 1 else ()

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with a backward pass that averages gradients over the processes; its parameters are shared."""
        if self.size == 1:
            return network
        # Every process computes the same statistics of batch norm: nothing to send before each step.
        return nn.parallel.DistributedDataParallel(network, forward_sync_buffers=False, gradient_as_bucket_view=True)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def gather(self, compute: Callable[[Rows], torch.Tensor], rows: Rows) -> torch.Tensor:
        """What `compute` gives for these rows, (N, …) on the CPU in their order; each process computes a share."""
        if self.size == 1 or len(rows) < self.size:
            return compute(rows)
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, compute(rows[self.rank :: self.size]))
        order = np.concatenate([np.arange(rank, len(rows), self.size) for rank in range(self.size)])
        return torch.cat(parts)[np.argsort(order)]

    def share(self, value: Any) -> Any:
        """The value that process 0 has, in every process."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values)
        return values[0]


ALONE = World()


def run_again_under_torchrun(settings: Train) -> None:
    """Let torchrun start `train.devices` copies of this process and exit as they do, unless it has started this one.

    A UserError says that no GPU is used: `nn.SyncBatchNorm`, and so several processes, need one.
    """
    if settings.devices == 1:
        return
    if settings.device == "cpu" or not torch.cuda.is_available():
        raise UserError(
            f"train.devices is {settings.devices}, but only GPUs share a fold, and none is used here: set "
            "train.devices=1; `make folds` trains several folds at a time"
        )
    if "WORLD_SIZE" not in os.environ:
        sys.exit(torchrun(["--standalone", f"--nproc-per-node={settings.devices}", "-m", "job", *sys.argv[1:]]))


def torchrun(arguments: list[str]) -> int:
    """The exit code of the first process that failed, or 128 and the signal that stopped all; without its traceback."""
    try:
        run.main(arguments)
    except ChildFailedError as failed:
        code: int = failed.get_first_failure()[1].exitcode
        return code if code >= 0 else 128 - code
    except SignalException as stopped:
        return 128 + stopped.sigval
    return 0


def join(devices: int, device: torch.device) -> tuple[World, torch.device]:
    """Join the other processes; each uses the GPU of its number on its machine, and one that trains alone `device`.

    A UserError says that their number is not `train.devices`, which is part of what identifies a run, or that there is
    no GPU for this one.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size != devices:
        raise UserError(f"torchrun started {size} processes, but train.devices is {devices}: make them equal")
    if size == 1:
        return World(), device
    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= there:
        raise UserError(
            f"train.devices is {devices}, but the processes here see {there} GPU{'s' * (there != 1)}: lower it"
        )
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl")
    atexit.register(distributed.destroy_process_group)
    return World(distributed.get_rank(), size), device


def synchronise(network: nn.Module) -> nn.Module:
    """Let every batch norm take its statistics over the batches of all processes; the names of its weights stay."""
    synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return synchronised
