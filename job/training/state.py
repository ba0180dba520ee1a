"""A training under way: all that its next batch depends on, so that it can be saved and taken up again."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from job.inference.context import Context
from job.params import Train
from job.training import optimise
from job.training.history import Epoch, Fitted, State, snapshot


@dataclass
class TrainState:
    """The state of a training between two batches.

    Attributes:
        network: as it is now.
        forward: the same network; its backward pass averages gradients over all processes of the fold.
        optimiser: with its momenta.
        scaler: of the loss, so that gradients in fp16 do not vanish; does nothing in other precisions.
        average: of the weights over the steps, or None.
        epoch: the one under way, from 1.
        losses: of the batches of this epoch that are done; left on the device, because reading a number back would make
            a GPU wait at every step.
        right: so many of their images were classified rightly.
        noise: states of the generators of dropout and stochastic depth, in the middle of an epoch.
        history: of the epochs before.
        best: number of the best of them, 0 before the first ended.
        best_state: its weights.
    """

    network: nn.Module
    forward: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    epoch: int = 1
    losses: list[torch.Tensor] = field(default_factory=list)
    right: list[torch.Tensor] = field(default_factory=list)
    noise: list[torch.Tensor] = field(default_factory=list)
    history: list[Epoch] = field(default_factory=list)
    best: int = 0
    best_state: State = field(default_factory=dict)

    @classmethod
    def start(cls, network: nn.Module, bench: Context, params: Train) -> "TrainState":
        """Before the first batch."""
        scaler = torch.amp.GradScaler(bench.device.type, enabled=bench.precision == "fp16")
        optimiser, average = optimise.optimiser(network, params), optimise.averaged(network, params)
        return cls(network, bench.world.wrap(network), optimiser, scaler, average)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept."""
        return self.network if self.average is None else self.average.module

    def stalled(self, patience: int) -> bool:
        """Whether so many epochs have passed without a better one."""
        return patience > 0 and len(self.history) - self.best >= patience

    def set_rate(self, params: Train) -> float:
        """Give the optimiser the learning rate of the epoch, and say it."""
        rate = params.learning_rate * optimise.factor(self.epoch - 1, params)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    def learn(self, loss: torch.Tensor, right: torch.Tensor, processes: int = 1) -> None:
        """Take the step that a loss asks for.

        Args:
            loss: this process's share of the batch's loss; the loss itself where it is the only one.
            right: so many images were answered rightly.
            processes: on this fold. Gradients are averaged over them, and the loss of the batch is the sum of shares.
        """
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss * processes).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.losses.append(loss.detach())
        self.right.append(right)

    def end_epoch(self, epoch: Epoch) -> None:
        """Note how an epoch ended, keep its weights if it is the best, and begin the next."""
        self.history.append(epoch)
        if not self.best or epoch.score > self.history[self.best - 1].score:
            self.best = epoch.epoch
            self.best_state = snapshot(self.evaluated)
        self.epoch += 1
        self.losses, self.right, self.noise = [], [], []

    def fitted(self) -> Fitted:
        """The best epoch so far and its weights."""
        return Fitted(self.best_state, self.history[self.best - 1], self.history)

    def capture(self) -> dict[str, Any]:
        """All of it, as `restart` saves it."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        values = {name: getattr(self, name) for name in ("epoch", "losses", "right", "noise", "best", "best_state")}
        return parts | values | {"history": [asdict(epoch) for epoch in self.history]}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what was captured."""
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        for name in ("epoch", "losses", "right", "noise", "best", "best_state"):
            setattr(self, name, saved[name])
        self.history = [Epoch(**epoch) for epoch in saved["history"]]

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimiser": self.optimiser, "scaler": self.scaler, "average": self.average}
        return {name: part for name, part in parts.items() if part is not None}
