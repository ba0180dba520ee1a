"""The contract between the stage `train` and the methods: what a method is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import nn

from job.contracts.split import Fold, Rows
from job.inference.context import Context
from job.inference.pixels import Normalise
from job.models.network import build, normalisation
from job.params import Model, Params, Train
from job.seeds import derive
from job.training.batch import Loss, supervised
from job.training.fit import Trainer
from job.training.history import Fitted, Trained
from job.training.optimise import tuning
from job.training.parallel import synchronise
from job.training.progress import Progress
from job.training.restart import Restart
from job.training.source import Source
from job.training.state import TrainState
from job.training.world import ALONE, World


@dataclass(frozen=True)
class Task:
    """One fold of one method.

    Attributes:
        fold: the images, with the labels that the method may see.
        classes: class names in class order.
        context: pixels and device.
        params: the whole of `params.yaml`.
        progress: is told how far the training is.
        restart: keeps the states from which a stopped training goes on.
        world: the processes that train the fold.
        names: images of rows, for messages.
    """

    fold: Fold
    classes: tuple[str, ...]
    context: Context
    params: Params
    progress: Progress
    restart: Restart
    world: World = ALONE
    names: Callable[[Rows], Sequence[object]] = list

    def seed(self, *purpose: str | int) -> int:
        """A seed of this fold for one purpose."""
        return derive(self.params.train.seed, "train", "fold", self.fold.number, *purpose)

    def labelled(self) -> Source:
        """The fold's labelled images, used as the section `train` says."""
        return Source.labelled(self.fold.train, len(self.classes), self.params.train)

    def fresh_network(self, *purpose: str | int) -> nn.Module:
        """A new pretrained network on the device; only its classification layer depends on the seed of the purpose."""
        model = self.params.model
        network = build(
            model.backbone,
            classes=len(self.classes),
            size=self.context.store.size,
            dropout=model.dropout,
            stochastic_depth=model.stochastic_depth,
            pretrained=model.weights,
            sha256=model.weights_sha256,
            recompute=self.params.machine.recompute_activations,
            seed=self.seed("network", *purpose),
        )
        return (synchronise(network) if self.world.size > 1 else network).to(self.context.device)

    def fit(
        self,
        network: nn.Module,
        name: str,
        sources: Sequence[Source],
        *,
        loss: Loss = supervised,
        beside: Mapping[str, TrainState] | None = None,
        settings: Train | None = None,
    ) -> Fitted:
        """Train a network on these sources; `job.training.fit.Trainer` describes the arguments.

        Example:
            `task.fit(task.fresh_network("base"), "base", [task.labelled()])`
        """
        trainer = Trainer(
            name,
            sources,
            validation=self.fold.validation,
            settings=settings or self.params.train,
            seed=self.seed("fit", name),
            context=self.context,
            progress=self.progress,
            restart=self.restart,
            loss=loss,
            world=self.world,
            names=self.names,
        )
        return trainer.fit(network, beside)

    def tune(self, network: nn.Module, name: str, fitted: Fitted, epochs: int) -> Fitted:
        """Train a model for some further epochs on the labelled images alone, without augmentation.

        Returns:
            The better of the two; `fitted` itself where `epochs` is 0.
        """
        if epochs == 0:
            return fitted
        network.load_state_dict(fitted.state)
        source = replace(self.labelled(), augment="none")
        return fitted.best_of(self.fit(network, name, [source], settings=tuning(self.params.train, epochs)))

    def with_model(self, model: Model) -> Task:
        """The same fold for another network."""
        normalise = Normalise.of(*normalisation(model.backbone), self.context.device)
        params = self.params.model_copy(update={"model": model})
        return replace(self, params=params, context=replace(self.context, normalise=normalise))


class Method(Protocol):
    """A module of `job.methods`."""

    def labels(self, params: Params) -> str:
        """Which training labels the method may see: `all` or `half`."""

    def train(self, task: Task) -> Trained:
        """Train one fold."""
