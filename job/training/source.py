"""Images that a network learns from, and the steps of an epoch over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """Images with their targets, and how a step uses them. All tensors are on the CPU.

    Attributes:
        rows: of the pixel store, (N,); a row may occur more than once.
        targets: class numbers (N,) int64, or class probabilities (N, C) float32; empty for images without labels.
        batch_size: number of its images in a step.
        augment: policy of `job.training.augment`.
        weight: of its mean loss in the sum that a step minimises.
        smoothing: share of a target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).
        class_weights: (C,) float32; only with class numbers.
    """

    rows: Rows
    targets: torch.Tensor
    batch_size: int
    augment: str = "none"
    weight: float = 1.0
    smoothing: float = 0.0
    class_weights: torch.Tensor | None = None

    @classmethod
    def labelled(cls, images: Labelled, classes: int, settings: Train) -> Source:
        """Images with true labels, used as the section `train` says."""
        return cls(
            images.rows,
            torch.from_numpy(images.classes),
            settings.batch_size,
            augment=settings.augment,
            smoothing=settings.label_smoothing,
            class_weights=class_weights(images.classes, classes, settings),
        )

    @classmethod
    def unlabelled(cls, rows: Rows, batch_size: int, augment: str) -> Source:
        """Images without labels; a loss that asks for their targets fails."""
        return cls(rows, torch.empty(0, dtype=torch.int64), batch_size, augment=augment)

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


def rows_of(sources: Sequence[Source], step: Step) -> Rows:
    """Rows of the pixel store of a step's images."""
    return np.concatenate([source.rows[positions] for source, positions in zip(sources, step, strict=True)])


def count_images(plan: Sequence[Step]) -> int:
    """Number of images in these steps, over all sources."""
    return sum(len(positions) for step in plan for positions in step)
