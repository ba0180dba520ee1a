"""The processes that train one fold together, and which of them this one is."""

from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class World:
    """Process number `rank`, from 0, of `size` processes."""

    rank: int = 0
    size: int = 1

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with a backward pass that averages gradients over the processes; its parameters are shared."""
        return nn.parallel.DistributedDataParallel(network) if self.size > 1 else network

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values


ALONE = World()
