"""The contract between the stage `train` and the methods: what a method is given and what it gives back."""

from dataclasses import dataclass, replace
from typing import Protocol

from torch import nn

from job.contracts.split import Fold
from job.inference.context import Context
from job.inference.pixels import Normalise
from job.models.network import build, normalisation
from job.params import Model, Params
from job.seeds import derive
from job.training.history import Progress, Trained
from job.training.parallel import synchronise
from job.training.restart import Restart


@dataclass(frozen=True)
class Task:
    """One fold of one method."""

    fold: Fold
    classes: tuple[str, ...]
    bench: Context
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
            recompute=self.params.machine.recompute_activations,
            seed=self.seed("network", *purpose),
        )
        return (synchronise(network) if self.bench.world.size > 1 else network).to(self.bench.device)

    def with_model(self, model: Model) -> "Task":
        """The same fold for another network."""
        normalise = Normalise.of(*normalisation(model.backbone), self.bench.device)
        params = self.params.model_copy(update={"model": model})
        return replace(self, params=params, bench=replace(self.bench, normalise=normalise))


class Method(Protocol):
    """A module of `job.methods`."""

    def labels(self, params: Params) -> str:
        """Which training labels the method may see: `all` or `half`."""

    def images(self, fold: Fold, params: Params) -> int:
        """Images that all its models will have trained on at the end, for progress."""

    def train(self, task: Task) -> Trained:
        """Train one fold."""
