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
    """A teacher's predictions for images without labels, and which of them a student learned from.

    Attributes:
        rows: of the pixel store, (N,).
        probabilities: of the teacher, (N, C).
        confidence: highest probability of each image, after calibration where the teacher was calibrated, (N,).
        times: how often an epoch of the student contains the image, (N,); 0 for those that were left out.
    """

    rows: Rows
    probabilities: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    times: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trained:
    """The result of a method for one fold.

    Attributes:
        models: in the order of their training; the last one is the fold's model.
        pseudo_labels: for self-training, what model number `i` learned from, by `i`.
        backbones: of the models, where they are not all `model.backbone`.
    """

    models: list[Fitted]
    pseudo_labels: dict[int, PseudoLabels] = field(default_factory=dict)
    backbones: tuple[str, ...] = ()


def snapshot(network: nn.Module) -> State:
    """A copy of the weights on the CPU, in the plain memory order that safetensors stores."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
