"""Figures in which every subject counts once, with 95 % intervals, and paired differences between two models.

Cells of one person are alike, so what varies between test sets is who is in them. Each subject therefore gets its own
figure (its share of correct cells, or its chance to win for an AUROC), and these are averaged over the subjects of a
class. The error is Welch's, with Student's t of the class with the fewest subjects, less one: a t-test on cluster means
(Ibragimov and Müller 2016, Rev Econ Stat 98:83). `python -m benchmarks.coverage` measures what the intervals hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from job.contracts.tables import FloatArray, IntArray
from job.evaluation.blocks import Block

METRICS = ("balanced_accuracy", "sensitivity", "specificity", "auroc")
"""Figures that do not depend on how many subjects or cells of each class a test set holds."""
FEWEST_FOR_A_FIGURE, FEWEST_FOR_A_DIFFERENCE = 3, 4
DIGITS = 6
"""Of figures over subjects and their ends in the results: the last digits would be the machine's."""
_NOTHING = 1e-9  # rounding leaves an error of about 1e-16 where all subjects have the same figure

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SubjectMean:
    """A figure averaged over subjects; arrays have the shape (subjects,)."""

    value: float
    each: FloatArray  # every subject's own figure, NaN of subjects without a cell that counts
    deviation: FloatArray  # what each subject adds to the error: the squares sum to the variance of `value`
    fewest: int  # number of subjects of the class with the fewest

    @property
    def error(self) -> float:
        """Standard error of `value`."""
        return float(np.sqrt((self.deviation**2).sum()))

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of `value`, by Student's t."""
        return float(stats.t.ppf(0.975, self.fewest - 1)) * self.error

    def __sub__(self, other: SubjectMean) -> SubjectMean:
        """The paired difference: what both models find easy or hard in a subject cancels."""
        return SubjectMean(
            self.value - other.value, self.each - other.each, self.deviation - other.deviation, self.fewest
        )


class Difference(NamedTuple):
    """A paired difference with its 95 % interval and two-sided p-value; NaN where there is neither."""

    value: float
    low: float
    high: float
    p: float
    positive: int  # in how many subjects the difference is positive
    negative: int
    subjects: int  # how many take part


def figures(block: Block) -> dict[str, SubjectMean]:
    """Every metric of `METRICS` for one model. With more than two classes they are macro averages over the classes."""
    cells, predicted = block.cells, block.predicted
    subject, count = cells.subject, len(cells.names)
    classes = [cells.truth == c for c in range(len(cells.dataset.classes))]
    recalls = [_over_subjects(block.correct, one_class, subject, count) for one_class in classes]
    reported = cells.dataset.reported
    return {
        "balanced_accuracy": average(recalls),
        "sensitivity": average([recalls[c] for c in reported]),
        "specificity": average([_over_subjects(predicted != c, ~classes[c], subject, count) for c in reported]),
        "auroc": average([auroc(block.probabilities[:, c], classes[c], subject, count) for c in reported]),
    }


def average(parts: Sequence[SubjectMean]) -> SubjectMean:
    """The mean of several figures of the same subjects, such as the recalls of two classes or one figure of all folds.

    A subject that counts in several parts adds up in `deviation`, so that it stays one subject: with cells of every
    class in every subject, this is the one-sample t-test of the subjects' own means.
    """
    each = np.array([part.each for part in parts])
    held = ~np.isnan(each)
    with np.errstate(invalid="ignore"):
        means = np.where(held, each, 0).sum(axis=0) / held.sum(axis=0)
    return SubjectMean(
        float(np.mean([part.value for part in parts])),
        means,
        np.mean([part.deviation for part in parts], axis=0),
        min(part.fewest for part in parts),
    )


def auroc(score: FloatArray, positive: Mask, subject: IntArray, count: int) -> SubjectMean:
    """The chance that a cell of one positive subject scores higher than a cell of one negative subject; ties are half.

    Obuchowski 1997, Biometrics 53:567, with every subject counting once. A positive subject's own figure is its cells'
    mean chance to win, a negative subject's the mean chance of the others to win against its cells. Of each cell come
    its score, whether it is of the class, and the number of its subject, of `count` subjects.
    """
    chance = np.empty(len(score))
    for side, sign in ((positive, 1), (~positive, -1)):
        others = np.flatnonzero(~side)
        if not len(others):
            chance[side] = np.nan
            continue
        ranked = others[np.argsort(sign * score[others], kind="stable")]
        cells = np.bincount(subject[ranked], minlength=count)
        # Of the other side's subjects each weighs the same, whatever its number of cells.
        below = np.append(0, np.cumsum(1 / cells[subject[ranked]])) / np.count_nonzero(cells)
        left, right = (np.searchsorted(sign * score[ranked], sign * score[side], end) for end in ("left", "right"))
        chance[side] = (below[left] + below[right]) / 2
    wins, losses = (_over_subjects(chance, side, subject, count) for side in (positive, ~positive))
    both = average([wins, losses])
    return SubjectMean(wins.value, both.each, wins.deviation + losses.deviation, both.fewest)


def interval(figure: SubjectMean) -> tuple[float, float] | str:
    """The 95 % interval of a rate, made on the logit scale; or the reason why there is none.

    Where every subject of one class is wholly correct or wholly wrong, these are independent trials and the interval is
    Clopper and Pearson's (1934), over subjects.
    """
    if figure.fewest < FEWEST_FOR_A_FIGURE:
        return f"an interval needs {FEWEST_FOR_A_FIGURE} subjects of each class, and of one there are {figure.fewest}"
    each = figure.each[~np.isnan(figure.each)]
    if len(each) == figure.fewest and np.isin(each, (0, 1)).all():
        return exact(int(each.sum()), len(each))
    if figure.error < _NOTHING:
        return "every subject has the same figure, so nothing tells how much another would differ"
    half = figure.half_width / (figure.value * (1 - figure.value))
    low, high = special.expit(special.logit(figure.value) + np.array([-half, half]))
    return float(low), float(high)


def entry(figure: SubjectMean) -> dict[str, float | None]:
    """A figure as `value, low, high` of the results; None where there is none."""
    ends = "" if np.isnan(figure.value) else interval(figure)
    low, high = (None, None) if isinstance(ends, str) else (round(end, DIGITS) for end in ends)
    return {"value": None if np.isnan(figure.value) else round(figure.value, DIGITS), "low": low, "high": high}


def predictive_value(hit: SubjectMean, miss: SubjectMean, share: float) -> dict[str, float | None]:
    """PPV or NPV where a share of the cells is of the class, with its 95 % interval, as `value, low, high`.

    `hit` is the recall of the class (sensitivity for PPV, specificity for NPV), `miss` that of the other one. By Bayes'
    rule the odds to be right are share / (1 - share) x hit / (1 - miss). The interval is made on the logit scale
    (Mercaldo, Lau and Zhou 2007, Stat Med 26:2170), over subjects. None where nothing is predicted to be of the class,
    or no interval can be made.
    """
    right, wrong = hit.value * share, (1 - miss.value) * (1 - share)
    if np.isnan(right + wrong) or right + wrong <= 0:
        return {"value": None, "low": None, "high": None}
    value, low, high = right / (right + wrong), None, None
    if 0 < value < 1:
        log_odds = SubjectMean(
            float(special.logit(value)),
            hit.each,
            hit.deviation / hit.value + miss.deviation / (1 - miss.value),
            min(hit.fewest, miss.fewest),
        )
        if log_odds.fewest >= FEWEST_FOR_A_FIGURE and log_odds.error > _NOTHING:
            ends = (log_odds.value - log_odds.half_width, log_odds.value + log_odds.half_width)
            low, high = (round(float(special.expit(end)), DIGITS) for end in ends)
    return {"value": round(value, DIGITS), "low": low, "high": high}


def difference(one: SubjectMean, other: SubjectMean) -> Difference:
    """The paired difference of two models on the same cells, `one` less `other`; its interval ends at -1 and 1."""
    paired = one - other
    half = p = np.nan
    if paired.fewest >= FEWEST_FOR_A_DIFFERENCE and paired.error > _NOTHING:
        half = paired.half_width
        p = float(2 * stats.t.sf(abs(paired.value) / paired.error, paired.fewest - 1))
    low, high = np.clip([paired.value - half, paired.value + half], -1, 1).tolist()
    counts = [(paired.each > _NOTHING).sum(), (paired.each < -_NOTHING).sum(), (~np.isnan(paired.each)).sum()]
    return Difference(paired.value, low, high, p, *map(int, counts))


def exact(successes: int, trials: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share of independent trials."""
    ends = stats.binomtest(successes, trials).proportion_ci()
    return float(ends.low), float(ends.high)


def _over_subjects(values: npt.NDArray[np.generic], among: Mask, subject: IntArray, count: int) -> SubjectMean:
    """The mean of `values` over the cells of each subject in `among`, averaged over the subjects that have any."""
    cells = np.bincount(subject[among], minlength=count)
    with np.errstate(invalid="ignore"):
        each = np.bincount(subject[among], weights=values[among].astype(np.float64), minlength=count) / cells
    subjects = int(np.count_nonzero(cells))
    if not subjects:
        return SubjectMean(np.nan, each, np.zeros(count), 0)
    mean = each[cells > 0].mean()
    deviation = np.where(cells > 0, each - mean, 0) / np.sqrt(subjects * max(subjects - 1, 1))
    return SubjectMean(float(mean), each, deviation, subjects)
