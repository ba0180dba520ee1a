"""What the runs of an ablation prove: figures averaged over seeds, and differences paired within subjects.

A figure is worked out for every seed by itself, under the same weights of the same subjects, and then averaged over the
seeds. So what is left out of the jackknife is a subject with all that any seed says of its images, and nobody counts
three times. The interval speaks of other subjects, with these networks; how much other seeds would differ is shown
beside it, as the difference of every seed.
"""

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import pandas as pd

from job.contracts.dataset import Dataset
from job.errors import UserError
from job.evaluation import intervals
from job.evaluation.intervals import Replicates
from job.evaluation.metrics import METRICS
from job.evaluation.replicates import Scored, Subjects
from job.seeds import generator

SHOWN = ("balanced_accuracy", "auroc")


@dataclass(frozen=True)
class Interval:
    """A figure or a difference with its 95 % interval over subjects; NaN where there is none."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Difference:
    """A model less its reference.

    Attributes:
        interval: of the mean over seeds.
        by_seed: the difference of every seed by itself.
    """

    interval: Interval
    by_seed: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval excludes zero, otherwise `not told apart`."""
        if not self.interval.excludes_zero:
            return "not told apart"
        return "better" if self.interval.estimate > 0 else "worse"


class Comparison:
    """Models of several seeds on the same test images."""

    def __init__(self, predictions: dict[str, list[pd.DataFrame]], dataset: Dataset) -> None:
        """Replicate every model of every seed under the same weights.

        Args:
            predictions: by model and seed the rows `image, subject, label, predicted, p_<CLASS>…` of its test images.
            dataset: the classes.

        Raises:
            UserError: two models were tested on different images or subjects.
        """
        tables = [table.sort_values("image").reset_index(drop=True) for own in predictions.values() for table in own]
        who = tables[0][["image", "subject", "label"]]
        for table in tables:
            if not table[["image", "subject", "label"]].equals(who):
                raise UserError(
                    "the runs were tested on different images: remove the ablation's folder, and start again"
                )
        position = {name: number for number, name in enumerate(dataset.classes)}
        truth = np.asarray(who["label"].map(position), np.int64)
        subjects = Subjects.of(who["subject"].tolist(), truth, len(dataset.classes))
        models = []
        for table in tables:
            said = table[dataset.probability_columns].to_numpy(np.float64)
            called = np.asarray(table["predicted"].map(position), np.int64)
            models.append(Scored(truth, called, said / said.sum(1, keepdims=True)))
        # The jackknife needs no resample; one keeps the shapes.
        found = iter(intervals.replicate(models, subjects, dataset, 1, generator(0, "ablation")))
        self.subjects = len(subjects.names)
        self.images = len(who)
        self._seeds = {name: [next(found) for _ in own] for name, own in predictions.items()}

    @property
    def models(self) -> set[str]:
        """The names of the models."""
        return set(self._seeds)

    def figure(self, model: str, metric: str) -> Interval:
        """Mean over the seeds of one figure of a model."""
        return _interval(mean(self._seeds[model]), metric, intervals.SCALES)

    def difference(self, model: str, other: str, metric: str) -> Difference:
        """Mean over the seeds of a model's figure less that of another with the same seeds."""
        pairs = [one - two for one, two in zip(self._seeds[model], self._seeds[other], strict=True)]
        at = METRICS.index(metric)
        by_seed = tuple(float(pair.estimate[at]) for pair in pairs)
        return Difference(_interval(mean(pairs), metric, intervals.DIFFERENCES), by_seed)


def mean(found: list[Replicates]) -> Replicates:
    """The average over several trainings of figures that were replicated under the same weights."""
    total = reduce(
        lambda one, two: replace(
            one,
            estimate=one.estimate + two.estimate,
            resampled=one.resampled + two.resampled,
            left_out=one.left_out + two.left_out,
        ),
        found,
    )
    count = len(found)
    return replace(
        total, estimate=total.estimate / count, resampled=total.resampled / count, left_out=total.left_out / count
    )


def _interval(found: Replicates, metric: str, scales: list[str]) -> Interval:
    at = METRICS.index(metric)
    low, high = intervals.jackknife_t(found, scales)[:, at]
    return Interval(float(found.estimate[at]), float(low), float(high))
