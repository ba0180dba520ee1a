"""The contract between the stage `train` and the methods: what a method is given and what it gives back."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from job.models.network import build, normalisation
from job.params import Model, Params
from job.seeds import derive
from job.training.batches import Normalise, Rows
from job.training.bench import Bench
from job.training.fold import Fold
from job.training.history import Fitted, Progress
from job.training.parallel import synchronise
from job.training.restart import Restart


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


@dataclass(frozen=True)
class Task:
    """One fold of one method."""

    fold: Fold
    classes: tuple[str, ...]
    bench: Bench
    params: Params
    progress: Progress
    restart: Restart

    def seed(self, *purpose: str | int) -> int:
        """A seed of this fold for one purpose."""
        return derive(self.params.train.seed, "train", "fold", self.fold.number, *purpose)

    def fresh_network(self, *purpose: str | int) -> nn.Module:
        """A new pretrained network on the device; only its classification layer depends on the seed."""
        model: Model = self.params.model
        network = build(
            model.backbone,
            classes=len(self.classes),
            size=self.bench.store.size,
            dropout=model.dropout,
            stochastic_depth=model.stochastic_depth,
            pretrained=model.weights,
            sha256=model.weights_sha256,
            seed=self.seed("network", *purpose),
        )
        return (synchronise(network) if self.bench.world.size > 1 else network).to(self.bench.device)

    def with_model(self, model: Model) -> "Task":
        """The same fold for another network."""
        normalise = Normalise.of(*normalisation(model.backbone), self.bench.device)
        params = self.params.model_copy(update={"model": model})
        return replace(self, params=params, bench=replace(self.bench, normalise=normalise))


class Method(Protocol):
    """A module of `job.training.methods`."""

    def labels(self, params: Params) -> str:
        """Which training labels the method may see: `all` or `half`."""

    def images(self, fold: Fold, params: Params) -> int:
        """Images that all its models will have trained on at the end, for progress."""

    def train(self, task: Task) -> Trained:
        """Train one fold."""
