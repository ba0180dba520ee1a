"""The images that a network learns from: sources, the steps of an epoch over them, and the batch of a step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice

import numpy as np
import torch
from torch.nn import functional

from job.contracts.split import Rows
from job.inference.pixels import Context, in_batches, sent
from job.seeds import derive, generator
from job.training.augment import augmented
from job.training.parallel import World
from job.training.state import TrainState


@dataclass(frozen=True)
class Source:
    """Images with their targets, and how a step uses them. All tensors are on the CPU."""

    rows: Rows  # of the pixel store, (N,); a row may occur more than once
    targets: torch.Tensor  # class numbers (N,) int64, or probabilities (N, C) float32; empty for images without labels
    batch_size: int  # number of its images in a step
    augment: str = "none"  # policy of `job.training.augment`
    weight: float = 1.0  # of its mean loss in the sum that a step minimises
    smoothing: float = 0.0  # share of a target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567)
    class_weights: torch.Tensor | None = None  # (C,) float32; only with class numbers

    def mass(self, positions: Rows) -> float:
        """Weight of these images in the mean loss of a batch: their number, or the sum of their classes' weights."""
        if self.class_weights is None:
            return float(len(positions))
        return float(self.class_weights[self.targets[torch.from_numpy(positions)]].sum())


Step = tuple[Rows, ...]
"""For every source the positions, in its `rows`, of the images in one step."""


def steps(sources: Sequence[Source], epoch: int, seed: int, processes: int = 1) -> list[Step]:
    """The steps of an epoch: one pass over the first source; the others start again as often as needed.

    Every order follows from seed and epoch alone, so that an epoch can be resumed in its middle. No batch is smaller
    than the number of processes that share it.
    """
    first, *others = sources
    order = generator(seed, "order", epoch).permutation(len(first.rows))
    batches = list(in_batches(order, first.batch_size, max(2, processes)))
    columns = [batches]
    for number, source in enumerate(others, start=1):
        needed = len(batches) * source.batch_size
        passes = (generator(seed, "order", epoch, number, again).permutation(len(source.rows)) for again in count())
        order = np.concatenate(list(islice(passes, -(-needed // len(source.rows)))))[:needed]
        columns.append(list(order.reshape(len(batches), source.batch_size)))
    return list(zip(*columns, strict=True))


def count_images(plan: Sequence[Step]) -> int:
    """Number of images in these steps, over all sources."""
    return sum(len(positions) for step in plan for positions in step)


@dataclass(frozen=True)
class Batch:
    """The images of one step. Where several processes train a fold, each has its share of every source's images."""

    context: Context  # pixels and device
    sources: Sequence[Source]  # those of the training; the methods take a source by its position here
    step: Step  # the images of all processes, as positions in the sources
    magnitude: int  # of RandAugment
    seed: int  # of all random draws of the step
    world: World  # says which share is this process's

    def images(self, source: int, augment: str | None = None) -> torch.Tensor:
        """Augmented and normalised images of a source: (B, 3, S, S) float32 on the device.

        With `augment`, another policy than the source's, the random draws are others too.
        """
        policy, seed = self.sources[source].augment, derive(self.seed, source)
        if augment is not None:
            policy, seed = augment, derive(self.seed, source, augment)
        change = partial(augmented, policy=policy, magnitude=self.magnitude, seed=seed)
        return self.context.images(self.sources[source].rows[self._share(source)], change)

    def targets(self, source: int) -> torch.Tensor:
        """Targets of a source's images on the device: (B,) int64 or (B, C) float32."""
        return sent(self.sources[source].targets[torch.from_numpy(self._share(source))], self.context.device)

    def supervised(self, source: int, logits: torch.Tensor) -> torch.Tensor:
        """Weighted mean cross-entropy of a source's images, with logits (B, C): scalar."""
        settings = self.sources[source]
        weights = settings.class_weights
        loss = functional.cross_entropy(
            logits,
            self.targets(source),
            weight=None if weights is None else sent(weights, self.context.device),
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


def consistency_loss(weak: torch.Tensor, strong: torch.Tensor, *, confidence: float, hard: bool) -> torch.Tensor:
    """Mean cross-entropy of augmented images against the predictions for weaker views of them: scalar.

    Both views come as logits, (N, C). Images whose weak view is predicted with less than `confidence` count as 0 in the
    mean; no gradient flows through the weak views. The target is the most probable class where `hard` (FixMatch),
    otherwise the probabilities (UDA, Xie et al. 2019, arXiv:1904.12848).
    """
    probabilities = weak.detach().softmax(1)
    highest, predicted = probabilities.max(1)
    losses = functional.cross_entropy(strong, predicted if hard else probabilities, reduction="none")
    return (losses * (highest >= confidence)).mean()
