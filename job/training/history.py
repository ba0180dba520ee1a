"""What a training leaves behind: epochs, the best of them, and its weights."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Epoch:
    """One line of a history. Losses are cross-entropies in nats per image; `epoch` counts from 1.

    The training loss is what was minimised: with weights and smoothing, over all sources of images.
    """

    model: str
    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float

    @property
    def score(self) -> tuple[float, float]:
        """Larger is better: validation accuracy, then validation loss."""
        return self.validation_accuracy, -self.validation_loss


@dataclass(frozen=True)
class Fitted:
    """A trained network: the weights of its best epoch, and how it got there."""

    state: State
    best: Epoch
    history: list[Epoch]

    def then(self, tuned: "Fitted") -> "Fitted":
        """This network after a further training that went on from it: the better of both, with both histories."""
        better = tuned if tuned.best.score > self.best.score else self
        return Fitted(better.state, better.best, self.history + tuned.history)


class Progress(Protocol):
    """Whoever wants to know how far training is."""

    def images(self, count: int) -> None:
        """So many more images were trained on."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended."""

    def resumed(self, model: str, epochs: int, images: int) -> None:
        """A model goes on after so many epochs and images, which an earlier process trained."""


def snapshot(network: nn.Module) -> State:
    """A copy of the weights on the CPU, in the plain memory order that safetensors stores."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
