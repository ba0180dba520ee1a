"""95 % intervals of figures whose images come in subjects: three methods, one of which is printed.

Cells of one person are not independent, so subjects are resampled or left out, never images. With a handful of subjects
the bootstrap's percentile and BCa intervals are too narrow; `python -m benchmarks.coverage` measures how much.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from job.contracts.dataset import Dataset
from job.contracts.tables import FloatArray, IntArray
from job.evaluation import replicates
from job.evaluation.metrics import METRICS

LEVEL = 0.95
# With two subjects in a class the interval still covers, but says no more than "between 0 and 1".
FEWEST = 3
_TAILS = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
# A figure that many resamples leave undefined has no bootstrap distribution worth the name.
_LEAST_DEFINED = 0.95
_SMALL_PART = 0.1
_OTHER_SCALES = {"mcc": "correlation", "cohen_kappa": "correlation", "log_loss": "positive"}
SCALES = [_OTHER_SCALES.get(name, "unit") for name in METRICS]
DIFFERENCES = ["difference"] * len(METRICS)
_NOTHING = 1e-6  # a difference that may be rounding error: ranks are summed in 32 bits


@dataclass(frozen=True)
class Replicates:
    """A figure, or several side by side, with its replicates.

    Attributes:
        estimate: the figures on all images, shape (figures,).
        resampled: under each bootstrap resample, shape (resamples, figures).
        left_out: without each subject, shape (subjects, figures).
        stratum: class of each subject, shape (subjects,).
        images: number of images of each subject, shape (subjects,).
    """

    estimate: FloatArray
    resampled: FloatArray
    left_out: FloatArray
    stratum: IntArray
    images: IntArray

    def __sub__(self, other: "Replicates") -> "Replicates":
        """The paired differences: both were replicated under the same weights of the same subjects."""
        return Replicates(
            self.estimate - other.estimate,
            self.resampled - other.resampled,
            self.left_out - other.left_out,
            self.stratum,
            self.images,
        )


def replicate(
    models: list[replicates.Scored],
    subjects: replicates.Subjects,
    dataset: Dataset,
    resamples: int,
    generator: np.random.Generator,
) -> list[Replicates]:
    """Every metric of `METRICS` of each model, on all images, under one and the same bootstrap, and by jackknife."""
    count = len(subjects.names)
    left_out = replicates.leave_one_out(subjects)
    weights = np.concatenate(
        [np.ones((1, count), dtype=np.uint8), left_out, replicates.draw(subjects, resamples, generator)]
    )
    images = np.bincount(subjects.code, minlength=count)
    return [
        Replicates(own[0], own[1 + count :], own[1 : 1 + count], subjects.stratum, images)
        for own in replicates.figures_of_all(weights, models, subjects, dataset)
    ]


def percentile(found: Replicates) -> FloatArray:
    """Percentile intervals, shape (2, figures), of the resamples in which a figure is defined; NaN without any."""
    return _quantiles(found.resampled, np.repeat(_TAILS[:, None], len(found.estimate), axis=1))


def bca(found: Replicates) -> FloatArray:
    """Bias-corrected and accelerated intervals, shape (2, figures).

    Efron 1987, J Am Stat Assoc 82:171; the acceleration of several samples from the influence of each subject on the
    figure, as Davison and Hinkley 1997, equation 5.25. NaN where every resample lies on one side of the estimate.
    """
    influence = np.empty_like(found.left_out)
    for s in np.unique(found.stratum):
        own = found.left_out[found.stratum == s]
        influence[found.stratum == s] = (len(own) - 1) / len(own) * (own.mean(axis=0) - own)
    with np.errstate(divide="ignore", invalid="ignore"):
        acceleration = (influence**3).sum(axis=0) / (6 * (influence**2).sum(axis=0) ** 1.5)
        # Resamples equal to the estimate count one half: figures of few subjects repeat.
        below = (found.resampled < found.estimate) + (found.resampled == found.estimate) / 2
        bias = stats.norm.ppf(np.where(np.isnan(found.resampled), np.nan, below).mean(axis=0))
        shifted = bias + stats.norm.ppf(_TAILS)[:, None]
        tails = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
    return _quantiles(found.resampled, tails)


def jackknife_t(found: Replicates, scales: list[str]) -> FloatArray:
    """Intervals from Student's t and the jackknife over subjects, shape (2, figures).

    The variance is the sum over classes of the delete-one-subject jackknife's (Efron and Stein 1981, Ann Stat 9:586).
    Its degrees of freedom are those of the class with the fewest subjects among those that matter (a tenth of the
    variance or more), counted by Kish's effective number, less one: four subjects of unequal size are worth fewer than
    four. Satterthwaite's degrees of freedom, the usual choice, trust a variance made of four subjects too much: with
    them accuracy was covered in 92.8 % of simulations only. The interval is made on a scale without bounds and carried
    back (delta method), so that no rate leaves [0, 1]. NaN where no subject makes a difference, or where a class that
    makes one has fewer than `FEWEST` subjects.

    Args:
        found: estimate and leave-one-out figures.
        scales: for each figure `unit` (a rate), `correlation` (-1 to 1), `positive` or `difference`.
    """
    parts, degrees, few = [], [], np.zeros(len(scales), dtype=bool)
    for s in np.unique(found.stratum):
        own, images = found.left_out[found.stratum == s], found.images[found.stratum == s]
        parts.append((len(own) - 1) / len(own) * ((own - own.mean(axis=0)) ** 2).sum(axis=0))
        # Asked of what a class could change, not of the variance it shows: two subjects who happen to be alike show
        # none, and to print only then would select the samples whose variance is underestimated.
        few |= (np.abs(own - found.estimate) > _NOTHING).any(axis=0) & (len(own) < FEWEST)
        degrees.append(images.sum() ** 2 / (images**2).sum() - 1)
    variance = np.array(parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = variance.sum(axis=0)
        matters = variance >= _SMALL_PART * total
        freedom = np.where(matters, np.array(degrees)[:, None], np.inf).min(axis=0)
        half = stats.t.ppf(_TAILS[1], freedom) * np.sqrt(total)
        ends = np.empty((2, len(scales)))
        for i, scale in enumerate(scales):
            ends[:, i] = _carried(found.estimate[i], np.array([-half[i], half[i]]), scale)
    ends[:, ~(total > _NOTHING**2) | few] = np.nan
    return ends


def _carried(estimate: float, half: FloatArray, scale: str) -> FloatArray:
    if scale == "difference":
        return estimate + half
    if scale == "positive":
        return np.asarray(np.exp(np.log(estimate) + half / estimate))
    if scale == "correlation":
        return np.asarray(np.tanh(np.arctanh(estimate) + half / (1 - estimate**2)))
    logit = np.log(estimate / (1 - estimate))
    return np.asarray(1 / (1 + np.exp(-(logit + half / (estimate * (1 - estimate))))))


def exact(successes: int, trials: int) -> tuple[float, float]:
    """Clopper and Pearson's interval (1934) of a share of independent trials, such as cells of one person."""
    low = stats.beta.ppf(_TAILS[0], successes, trials - successes + 1) if successes else 0.0
    high = stats.beta.ppf(_TAILS[1], successes + 1, trials - successes) if successes < trials else 1.0
    return float(low), float(high)


def _quantiles(resampled: FloatArray, tails: FloatArray) -> FloatArray:
    """Quantiles of each column at its own two tails, shape (2, figures); linear between order statistics."""
    ordered = np.sort(resampled, axis=0)
    defined = np.count_nonzero(~np.isnan(ordered), axis=0)
    enough = (defined >= _LEAST_DEFINED * len(ordered)) & (defined > 0) & np.isfinite(tails).all(axis=0)
    position = np.where(enough, tails, 0.0) * np.maximum(defined - 1, 0)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(defined - 1, 0))
    low, high = (np.take_along_axis(ordered, at, axis=0) for at in (below, above))
    return np.where(enough, low + (high - low) * (position - below), np.nan)
