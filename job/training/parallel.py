"""Several processes that train one fold, started by torchrun: each takes its share of every batch.

Gradients are averaged by DistributedDataParallel, batch norm sees the whole batch, so that `train.devices` processes
compute what one does with the same batch, to rounding. Evaluation is done by every process alike.
"""

import atexit
import os
import sys
from typing import Any

import torch
from torch import distributed, nn
from torch.nn import functional

from job.errors import UserError
from job.models.layers import NormSiLU
from job.training.world import World


def run_again_under_torchrun(devices: int) -> None:
    """Run this command again under torchrun with `devices` processes, unless it already runs under torchrun."""
    if devices > 1 and "WORLD_SIZE" not in os.environ:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
        os.execv(sys.executable, [*launcher, "-m", "job", *sys.argv[1:]])  # noqa: S606 - our own command line


def join(devices: int, device: torch.device) -> tuple[World, torch.device]:
    """Join the other processes; each uses the GPU of its number on its machine.

    Raises:
        UserError: their number is not `train.devices`, which is part of what identifies a run, or there is no GPU for
            this one.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size != devices:
        raise UserError(f"torchrun started {size} processes, but train.devices is {devices}: make them equal")
    if size == 1:
        return World(), device
    if device.type == "cuda":
        number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= there:
            raise UserError(
                f"train.devices is {devices}, but the processes here see {there} GPU{'s' * (there != 1)}: lower it"
            )
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    atexit.register(distributed.destroy_process_group)
    return World(distributed.get_rank(), size), device


def synchronise(network: nn.Module) -> nn.Module:
    """Let every batch norm take its statistics over the batches of all processes; the names of its weights stay."""
    for module in list(network.modules()):
        for name, norm in list(module.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                whole = _WholeBatchNorm(norm.num_features, norm.eps, norm.momentum)
                whole.load_state_dict(norm.state_dict(), assign=True)
                whole.activated = isinstance(norm, NormSiLU)
                setattr(module, name, whole)
    return network


class _WholeBatchNorm(nn.BatchNorm2d):
    """Batch norm over all processes, on CPUs too (`torch.nn.SyncBatchNorm` needs a GPU)."""

    activated = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to the same shape."""
        y = self._normalised(x) if self.training and torch.is_grad_enabled() else super().forward(x)
        return functional.silu(y) if self.activated else y

    def _normalised(self, x: torch.Tensor) -> torch.Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = torch.full((), values.numel() / values.shape[1], dtype=values.dtype, device=x.device)
        distributed.all_reduce(count)
        mean = _sum(values.sum((0, 2, 3))) / count
        centred = values - mean.view(-1, 1, 1)
        variance = _sum(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(-1, 1, 1) + self.bias.view(-1, 1, 1)).to(x.dtype)


def _sum(values: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Sum.apply(values)
    return total


class _Sum(torch.autograd.Function):
    """The sum over the processes; every process's loss depends on it, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:  # noqa: ARG004 - torch's signature
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total
