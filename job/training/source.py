"""Images that a network learns from, and the batches that its steps take of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np
import torch

from job.contracts.split import Labelled, Rows
from job.inference.pixels import in_batches
from job.params import Train
from job.seeds import generator
from job.training.optimise import class_weights


@dataclass(frozen=True)
class Source:
    """Images with what a network is asked to say of them.

    Attributes:
        rows: of the pixel store; one may be there more than once.
        targets: class numbers (N,) int64, or class probabilities (N, C) float32.
        batch_size: images of it in every step.
        noise: policy of `job.inference.augment`.
        weight: of its mean loss in the sum that a step minimises.
        smoothing: share of a target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).
        class_weights: (C,) float32; only with class numbers.
    """

    rows: Rows
    targets: torch.Tensor
    batch_size: int
    noise: str = "none"
    weight: float = 1.0
    smoothing: float = 0.0
    class_weights: torch.Tensor | None = None

    @classmethod
    def labelled(cls, images: Labelled, classes: int, params: Train) -> "Source":
        """Images with true labels, as the section `train` wants them."""
        return cls(
            images.rows,
            torch.from_numpy(images.classes),
            params.batch_size,
            noise=params.augment,
            smoothing=params.label_smoothing,
            class_weights=class_weights(images.classes, classes, params),
        )

    def mass(self, positions: Rows) -> float:
        """What these images weigh in the mean loss of a batch: their number, or the weights of their classes."""
        if self.class_weights is None:
            return float(len(positions))
        return float(self.class_weights[self.targets[torch.from_numpy(positions).to(self.targets.device)]].sum())

    def to(self, device: torch.device) -> "Source":
        """The same with its tensors on the device."""
        weights = None if self.class_weights is None else self.class_weights.to(device)
        return replace(self, targets=self.targets.to(device), class_weights=weights)


Step = tuple[Rows, ...]
"""Of every source, the positions in its `rows` of the images in one step."""


def steps(sources: Sequence[Source], epoch: int, seed: int, processes: int = 1) -> list[Step]:
    """The steps of an epoch: one pass over the first source; the others begin anew as often as they must.

    Every order follows from seed and epoch alone, so that an epoch can be taken up in its middle. No batch is smaller
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


def rows_of(sources: Sequence[Source], step: Step) -> Rows:
    """Rows of the pixel store of a step's images."""
    return np.concatenate([source.rows[batch] for source, batch in zip(sources, step, strict=True)])


def images(step: Step) -> int:
    """Images in a step."""
    return sum(len(batch) for batch in step)
