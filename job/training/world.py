"""The processes that train one fold together, and which of them this one is."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class World:
    """Process number `rank`, from 0, of `size` processes."""

    rank: int = 0
    size: int = 1

    @property
    def purpose(self) -> tuple[str | int, ...]:
        """Makes a derived seed that of this process; of a single process there is nothing to tell apart."""
        return ("process", self.rank) if self.size > 1 else ()

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with a backward pass that averages gradients over the processes; its parameters are shared."""
        return nn.parallel.DistributedDataParallel(network) if self.size > 1 else network

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def share(self, value: Any) -> Any:
        """The value that process 0 has, in every process."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values)
        return values[0]


ALONE = World()
