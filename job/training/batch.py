"""What a loss is given: the images of one step, source by source, with their targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional

from job.contracts.split import Rows
from job.inference.context import Context
from job.seeds import derive
from job.training.augment import augmented
from job.training.source import Source, Step
from job.training.state import TrainState
from job.training.world import World


@dataclass(frozen=True)
class Batch:
    """The images of one step. Where several processes train a fold, each has its share of every source's images.

    Attributes:
        context: pixels and device.
        sources: those of the training; the methods take a source by its position here.
        step: the images of all processes, as positions in the sources.
        magnitude: of RandAugment.
        seed: of all random draws of the step.
        world: says which share is this process's.
    """

    context: Context
    sources: Sequence[Source]
    step: Step
    magnitude: int
    seed: int
    world: World

    def images(self, source: int, augment: str | None = None) -> torch.Tensor:
        """Augmented and normalised images of a source: (B, 3, S, S) float32 on the device.

        Args:
            source: position in `sources`.
            augment: another policy than the source's; its random draws are others than those of the source's.
        """
        policy, seed = self.sources[source].augment, derive(self.seed, source)
        if augment is not None:
            policy, seed = augment, derive(self.seed, source, augment)
        change = partial(augmented, policy=policy, magnitude=self.magnitude, seed=seed)
        return self.context.images(self.sources[source].rows[self._share(source)], change)

    def targets(self, source: int) -> torch.Tensor:
        """Targets of a source's images on the device: (B,) int64 or (B, C) float32."""
        return self.sources[source].targets[torch.from_numpy(self._share(source))].to(self.context.device)

    def supervised(self, source: int, logits: torch.Tensor) -> torch.Tensor:
        """Weighted mean cross-entropy of a source's images: scalar.

        Args:
            source: position in `sources`.
            logits: for its images, (B, C).
        """
        settings = self.sources[source]
        weights = settings.class_weights
        loss = functional.cross_entropy(
            logits,
            self.targets(source),
            weight=None if weights is None else weights.to(self.context.device),
            label_smoothing=settings.smoothing,
        )
        return settings.weight * (loss * self.portion(source))

    def correct(self, source: int, logits: torch.Tensor) -> torch.Tensor:
        """Whether each image of a source is classified as its target says: (B,) bool."""
        targets = self.targets(source)
        return logits.detach().argmax(1) == (targets if targets.ndim == 1 else targets.argmax(1))

    def portion(self, source: int) -> float:
        """What the mean over this process's images contributes to the mean over those of all processes, 0 … 1."""
        if self.world.size == 1:
            return 1.0
        settings = self.sources[source]
        return settings.mass(self._share(source)) / settings.mass(self.step[source])

    def _share(self, source: int) -> Rows:
        return self.step[source][self.world.rank :: self.world.size]


Loss = Callable[[TrainState, Batch], tuple[torch.Tensor, torch.Tensor]]
"""From a network's state and a batch to what the network minimises, a scalar, and whether each image that counts for
the training accuracy is classified correctly, (N,) bool. All images are to be taken from the batch before any network
learns: a request to stop is answered there."""


def supervised(state: TrainState, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The default `Loss`: the sum of the sources' mean cross-entropies."""
    logits = state.forward(*(batch.images(source) for source in range(len(batch.sources))))
    losses = [batch.supervised(source, part) for source, part in enumerate(logits)]
    correct = [batch.correct(source, part) for source, part in enumerate(logits)]
    return torch.stack(losses).sum(), torch.cat(correct)
