"""What the runs of an ablation prove: figures averaged over seeds, and differences paired within subjects.

A figure is worked out for every seed by itself, every subject counting once, and then averaged over the seeds, subject
by subject: nobody counts three times. A difference has two errors, of the subjects and of the seeds, whose variances
add up: another training would differ as another set of patients would. Verdicts are adjusted for the number of
differences in the table (Holm 1979).

Where several networks have predicted a part of the images each, an AUROC is the mean of the networks' own: what one of
them scores is on no scale with what another does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from job.contracts.dataset import Dataset
from job.errors import UserError
from job.evaluation import intervals
from job.evaluation.blocks import Block, Cells
from job.evaluation.comparisons import holm
from job.evaluation.intervals import SubjectMean

SHOWN = ("balanced_accuracy", "auroc")
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Difference:
    """A model less its reference, the mean over seeds; NaN where too few subjects leave no interval.

    Attributes:
        value: the difference.
        low: end of the 95 % interval over subjects and seeds.
        high: its other end.
        by_seed: the difference of every seed by itself.
        p: two-sided.
        p_holm: the same, adjusted for all differences of the metric.
    """

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    p: float
    p_holm: float = float("nan")

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the adjusted p-value is below 5 %, otherwise `not told apart`."""
        if not self.p_holm < SIGNIFICANT:
            return "not told apart"
        return "better" if self.value > 0 else "worse"


class Comparison:
    """Models of several seeds on the same test images."""

    def __init__(self, predictions: dict[str, list[pd.DataFrame]], dataset: Dataset) -> None:
        """Work out the figures of every model and seed.

        Args:
            predictions: by model and seed the rows `image, subject, label, predicted, p_<CLASS>…` of its test images;
                with a column `network` where several networks have predicted a part of them each.
            dataset: the classes.

        Raises:
            UserError: two models were tested on different images or subjects.
        """
        tables = {
            name: [table.sort_values("image", ignore_index=True) for table in seeds]
            for name, seeds in predictions.items()
        }
        keys = ["image", "subject", "label"]
        first = next(iter(tables.values()))[0][keys]
        if not all(table[keys].equals(first) for seeds in tables.values() for table in seeds):
            raise UserError("the runs were tested on different images: remove the ablation's folder, and start again")
        cells = Cells.of(first.assign(row="", patient=""), dataset)
        self.subjects = len(cells.names)
        self.images = len(cells)
        self._fewest = min(len(np.unique(cells.subject[cells.truth == c])) for c in range(len(dataset.classes)))
        self._figures = {name: [_figures(table, cells) for table in seeds] for name, seeds in tables.items()}

    @property
    def models(self) -> set[str]:
        """The names of the models."""
        return set(self._figures)

    def figure(self, model: str, metric: str) -> dict[str, float | None]:
        """`value, low, high`: the mean over the seeds, with its interval over subjects, for these networks."""
        parts = _over_seeds([seed[metric] for seed in self._figures[model]])
        return intervals.entry(replace(intervals.average(parts), fewest=1 + self._freedom(parts)))

    def differences(self, pairs: Sequence[tuple[str, str]], metric: str) -> dict[tuple[str, str], Difference]:
        """Every pair's mean over the seeds of the first model's figure less that of the second with the same seed."""
        compared = [
            self._difference([
                [part - of for part, of in zip(one[metric], other[metric], strict=True)]
                for one, other in zip(self._figures[model], self._figures[reference], strict=True)
            ])
            for model, reference in pairs
        ]  # fmt: skip
        adjusted = holm(np.array([one.p for one in compared]))
        return {pair: replace(one, p_holm=float(p)) for pair, one, p in zip(pairs, compared, adjusted, strict=True)}

    def _difference(self, seeds: list[list[SubjectMean]]) -> Difference:
        by_seed = tuple(intervals.average(parts).value for parts in seeds)
        of_seeds = float(np.var(by_seed, ddof=1) / len(seeds)) if len(seeds) > 1 else 0.0
        parts = _over_seeds(seeds)
        mean = intervals.average(parts)
        total = mean.error**2 + of_seeds
        of_parts = self._freedom(parts)
        fewest = min(1 + sum(part.fewest - 1 for part in parts), self._fewest)
        if not of_parts or fewest < intervals.FEWEST_FOR_A_DIFFERENCE or total < 1e-18:
            return Difference(mean.value, np.nan, np.nan, by_seed, np.nan)
        freedom = total**2 / (mean.error**4 / of_parts + of_seeds**2 / max(len(seeds) - 1, 1))
        half = float(stats.t.ppf(0.975, freedom) * np.sqrt(total))
        p = float(2 * stats.t.sf(abs(mean.value) / np.sqrt(total), freedom))
        return Difference(mean.value, mean.value - half, mean.value + half, by_seed, p)

    def _freedom(self, parts: Sequence[SubjectMean]) -> float:
        """Degrees of freedom of the parts' mean: Satterthwaite's, at most the subjects of the smaller class, less one.

        (With folds by image a subject is in several parts.) None where a part has one subject of a class: nobody
        knows how much another would differ.
        """
        variances, own = np.array([(part.error**2, part.fewest - 1) for part in parts]).T
        if len(parts) == 1 or not own.min() or not variances.sum():
            return float(own.min())
        return float(min(variances.sum() ** 2 / (variances**2 / own).sum(), self._fewest - 1))


def _over_seeds(seeds: Sequence[Sequence[SubjectMean]]) -> list[SubjectMean]:
    """Each network's mean over the seeds."""
    return [intervals.average(of_one) for of_one in zip(*seeds, strict=True)]


def _figures(table: pd.DataFrame, cells: Cells) -> dict[str, list[SubjectMean]]:
    """Each metric of each network, or of all of them where their calls are on one scale."""
    block = _block(table, cells)
    found = {metric: [figure] for metric, figure in intervals.figures(block).items()}
    if "network" in table:
        positive = cells.dataset.classes.index(str(cells.dataset.positive))
        score, hit, subject = block.probabilities[:, positive], cells.truth == positive, cells.subject
        found["auroc"] = [
            intervals.auroc(score[rows], hit[rows], subject[rows], len(cells.names))
            for rows in table.groupby("network").indices.values()
        ]
    return found


def _block(table: pd.DataFrame, cells: Cells) -> Block:
    values = table[cells.dataset.probability_columns].to_numpy(np.float64)
    predicted = pd.Index(cells.dataset.classes).get_indexer(pd.Index(table["predicted"])).astype(np.int64)
    return Block(
        model="", kind="", role="test", cells=cells, probabilities=values / values.sum(1, keepdims=True),
        predicted=predicted,
    )  # fmt: skip
