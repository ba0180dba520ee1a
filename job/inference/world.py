"""Which of the processes that train one fold this is."""

from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class World:
    """Which process of how many this is."""

    rank: int = 0
    size: int = 1

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose backward pass averages gradients over the processes; its own parameters stay in place."""
        return nn.parallel.DistributedDataParallel(network) if self.size > 1 else network

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over the processes."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values


ALONE = World()
