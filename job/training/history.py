"""The result of a training: its epochs, the best of them, and its weights."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from job.contracts.split import Rows

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Epoch:
    """One line of a history. Losses are in nats per image; `epoch` counts from 1.

    The training loss is what was minimised, with weights and smoothing; the validation loss is the plain cross-entropy.
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
        """Order of epochs, larger is better: by validation accuracy, then by the lower validation loss."""
        return self.validation_accuracy, -self.validation_loss


@dataclass(frozen=True)
class Fitted:
    """A trained network: the weights of its best epoch, that epoch, and all epochs."""

    state: State
    best: Epoch
    history: list[Epoch]


@dataclass(frozen=True)
class PseudoLabels:
    """A teacher's predictions for images without labels, and which of them a student learned from."""

    rows: Rows  # of the pixel store, (N,)
    probabilities: npt.NDArray[np.float32]  # of the teacher, (N, C)
    confidence: npt.NDArray[np.float32]  # highest probability, (N,), after calibration where the teacher was calibrated
    times: npt.NDArray[np.int64]  # how often an epoch of the student contains the image, (N,); 0 where it is left out


@dataclass(frozen=True)
class Trained:
    """The result of a method for one fold."""

    models: list[Fitted]  # in the order of their training; the last one is the fold's model
    pseudo_labels: dict[int, PseudoLabels] = field(default_factory=dict)  # what model number `i` learned from, by `i`
    backbones: tuple[str, ...] = ()  # of the models, where they are not all `model.backbone`


def snapshot(network: nn.Module) -> State:
    """A copy of the weights on the CPU, in the plain memory order that safetensors stores."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
