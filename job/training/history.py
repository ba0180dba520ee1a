"""What a training leaves behind: epochs, the best of them, and its weights."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from job.contracts.split import Rows

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


@dataclass(frozen=True)
class PseudoLabels:
    """What a teacher said of images without labels, and which of it a student learned from.

    Attributes:
        rows: of the pixel store, (N,).
        probabilities: of the teacher, (N, C).
        confidence: of its answer, after calibration where it was calibrated, (N,).
        times: how often an epoch of the student has the image, (N,); 0 for those that were left out.
    """

    rows: Rows
    probabilities: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    times: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trained:
    """What a method made: its models in the order of their making, the last of which is the fold's model.

    `pseudo_labels[i]` is what model `i` learned from, for methods that teach themselves; `backbones` are those of the
    models where they are not all `model.backbone`.
    """

    models: list[Fitted]
    pseudo_labels: dict[int, PseudoLabels] = field(default_factory=dict)
    backbones: tuple[str, ...] = ()


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
