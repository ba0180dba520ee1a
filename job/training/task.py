"""What a method is given: one fold, and everything that the training of its models shares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import nn

from job.contracts.split import Fold, Rows
from job.inference.pixels import Context, Normalise
from job.models.network import build, normalisation
from job.params import Params
from job.seeds import derive
from job.training.batch import Source
from job.training.parallel import ALONE, World, synchronise
from job.training.progress import Progress
from job.training.restart import Restart


@dataclass(frozen=True)
class Task:
    """One fold of one method."""

    fold: Fold  # the images, with the labels that the method may see
    classes: tuple[str, ...]  # class names in class order
    context: Context  # pixels and device
    params: Params  # the whole of `params.yaml`
    progress: Progress  # is told of every batch and every epoch
    restart: Restart  # keeps the states from which a stopped training goes on
    world: World = ALONE  # the processes that train the fold
    names: Callable[[Rows], Sequence[object]] = list  # images of rows, for messages

    def seed(self, *purpose: str | int) -> int:
        """A seed of this fold for one purpose."""
        return derive(self.params.train.seed, "train", "fold", self.fold.number, *purpose)

    def labelled(self) -> Source:
        """The fold's labelled images, used as the section `train` says."""
        settings, images, weights = self.params.train, self.fold.train, None
        if settings.class_weights == "balanced":
            # The rule of scikit-learn: the weights average 1 over the images.
            counts = np.bincount(images.classes, minlength=len(self.classes))
            weights = torch.from_numpy(len(images.classes) / (len(counts) * counts)).float()
        return Source(
            images.rows,
            torch.from_numpy(images.classes),
            settings.batch_size,
            augment=settings.augment,
            smoothing=settings.label_smoothing,
            class_weights=weights,
        )

    def unlabelled(self, batch_size: int, augment: str) -> Source:
        """The fold's images without labels; a loss that asks for their targets fails."""
        return Source(self.fold.unlabelled, torch.empty(0, dtype=torch.int64), batch_size, augment=augment)

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

    def changed(self, section: str, **changes: object) -> Self:
        """The same fold with other parameters in one section: `task.changed("model", backbone="efficientnet-b0")`."""
        settings = getattr(self.params, section).model_copy(update=changes)
        params = self.params.model_copy(update={section: settings})
        normalise = Normalise.of(*normalisation(params.model.backbone), self.context.device)
        return replace(self, params=params, context=replace(self.context, normalise=normalise))
