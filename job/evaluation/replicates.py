"""Every metric of a model under many weightings of the subjects at once: what a bootstrap and a jackknife are made of.

A resample of subjects is a row of weights, how often each subject was drawn; leaving one out is a row of ones with one
zero. All metrics but those of ranking follow from sums per subject, so a resample costs one product of small matrices.
AUROC and average precision follow from running sums along the images in order of their score.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from job.contracts.dataset import Dataset
from job.contracts.tables import FloatArray, IntArray
from job.evaluation import calibration
from job.evaluation.metrics import METRICS

# Resamples that are worked on together: 100 x 2,500 images x 4 bytes stay in a core's cache.
_TOGETHER = 100
# Up to this many subjects, products of small matrices are faster than running sums over the images.
_FEW = 128
# Weights that are made wide at once: where every image is a subject of its own, all of them would fill the memory.
_ELEMENTS = 4_000_000

# How often each subject counts; a byte is enough, as among n subjects nobody is drawn 256 times.
Weights = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scored:
    """One model's calls beside the truth.

    Attributes:
        truth: positions of the true classes, shape (images,).
        predicted: positions of the predicted classes, shape (images,).
        probabilities: shape (images, classes), rows summing to one.
        is_probability: False where they are scores that only rank.
    """

    truth: IntArray
    predicted: IntArray
    probabilities: FloatArray
    is_probability: bool = True


@dataclass(frozen=True)
class Subjects:
    """Who the images of one set belong to.

    Attributes:
        names: the subjects, sorted, shape (subjects,).
        code: position of each image's subject in `names`, shape (images,).
        stratum: class that most of a subject's images have (the first in class order when equal), shape (subjects,).
    """

    names: list[str]
    code: IntArray
    stratum: IntArray

    @classmethod
    def of(cls, subject: list[str], truth: IntArray, classes: int) -> "Subjects":
        """Group images by the names of their subjects; `truth` holds the positions of their classes."""
        names, code = np.unique(np.array(subject, dtype=object), return_inverse=True)
        held = np.zeros((len(names), classes), dtype=np.int64)
        np.add.at(held, (code, truth), 1)
        return cls(names.tolist(), code, held.argmax(axis=1))

    def per_class(self, classes: int) -> IntArray:
        """Number of subjects in each stratum, shape (classes,)."""
        return np.bincount(self.stratum, minlength=classes)


def draw(subjects: Subjects, resamples: int, generator: np.random.Generator) -> Weights:
    """Weights of a bootstrap over subjects, stratified by class, shape (resamples, subjects).

    Each class keeps its number of subjects; whole subjects are drawn with replacement, with all their images (cluster
    bootstrap; Field and Welsh 2007, J R Stat Soc B 69:369).
    """
    weights = np.empty((resamples, len(subjects.names)), dtype=np.uint8)
    for stratum in np.unique(subjects.stratum):
        members = np.flatnonzero(subjects.stratum == stratum)
        weights[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return weights


def leave_one_out(subjects: Subjects) -> Weights:
    """Weights of a jackknife over subjects, shape (subjects, subjects)."""
    return 1 - np.eye(len(subjects.names), dtype=np.uint8)


def figures(weights: Weights, model: Scored, subjects: Subjects, dataset: Dataset) -> FloatArray:
    """Every metric of `METRICS` under each weighting, shape (weightings, metrics); NaN where it has no value.

    Args:
        weights: how often each subject counts, shape (weightings, subjects).
        model: truth, calls and probabilities of the images.
        subjects: whose the images are.
        dataset: the classes.
    """
    rows = max(_TOGETHER, _ELEMENTS // len(subjects.names))
    parts = np.split(weights, range(rows, len(weights), rows))
    return np.concatenate([_figures(part.astype(np.float64), model, subjects, dataset) for part in parts])


def _figures(weights: FloatArray, model: Scored, subjects: Subjects, dataset: Dataset) -> FloatArray:
    count = len(dataset.classes)
    confusion = np.zeros((len(subjects.names), count * count))
    np.add.at(confusion, (subjects.code, model.truth * count + model.predicted), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = label_figures((weights @ confusion).reshape(-1, count, count), dataset)
        if model.is_probability:
            found |= _probability_figures(weights, model, subjects)
        found |= _ranking_figures(weights, model, subjects, dataset)
    missing = np.full(len(weights), np.nan)
    return np.stack([found.get(name, missing) for name in METRICS], axis=1)


def figures_of_all(weights: Weights, models: list[Scored], subjects: Subjects, dataset: Dataset) -> FloatArray:
    """`figures` of several models of the same images, shape (models, weightings, metrics), over the cores."""
    with threadpool_limits(1), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return np.stack(list(pool.map(lambda model: figures(weights, model, subjects, dataset), models)))


def label_figures(confusion: FloatArray, dataset: Dataset) -> dict[str, FloatArray]:
    """Metrics of calls from confusion matrices of shape (weightings, truth, predicted)."""
    hit = np.einsum("bcc->bc", confusion)
    actual, called = confusion.sum(axis=2), confusion.sum(axis=1)
    images = actual.sum(axis=1)
    rejected = images[:, None] - actual - called + hit
    recall = hit / actual
    f1 = 2 * hit / (actual + called)
    correct, chance = hit.sum(axis=1), (actual * called).sum(axis=1)

    def reported(values: FloatArray) -> FloatArray:
        return np.asarray(values[:, dataset.reported].mean(axis=1))

    return {
        "accuracy": correct / images,
        "sensitivity": reported(recall),
        "specificity": reported(rejected / (images[:, None] - actual)),
        "ppv": reported(hit / called),
        "npv": reported(rejected / (images[:, None] - called)),
        "f1": reported(f1),
        "weighted_f1": (actual * np.nan_to_num(f1)).sum(axis=1) / images,
        "macro_f1": f1.mean(axis=1),
        "balanced_accuracy": recall.mean(axis=1),
        "mcc": (correct * images - chance)
        / np.sqrt((images**2 - (called**2).sum(axis=1)) * (images**2 - (actual**2).sum(axis=1))),
        "cohen_kappa": (correct * images - chance) / (images**2 - chance),
    }


def _probability_figures(weights: FloatArray, model: Scored, subjects: Subjects) -> dict[str, FloatArray]:
    def totals(values: FloatArray) -> FloatArray:
        """Weighted sums over images of per-image values, shape (weightings,)."""
        return np.asarray(weights @ np.bincount(subjects.code, weights=values, minlength=len(subjects.names)))

    images = totals(np.ones(len(model.truth)))
    onehot = np.eye(model.probabilities.shape[1])[model.truth]
    squares = ((model.probabilities - onehot) ** 2).sum(axis=1)
    # For two classes the published Brier score is that of one class's probability: half of the sum over both.
    brier = totals(squares) / (2 if onehot.shape[1] == 2 else 1)
    confidence = model.probabilities[np.arange(len(model.truth)), model.predicted]
    right = model.predicted == model.truth
    bins = calibration.bin_of(confidence, calibration.ECE_BINS)
    gap = np.zeros((len(subjects.names), calibration.ECE_BINS))
    np.add.at(gap, (subjects.code, bins), confidence - right)
    found = {"brier": brier / images, "ece": np.abs(weights @ gap).sum(axis=1) / images}
    true = model.probabilities[np.arange(len(model.truth)), model.truth]
    if (true > 0).all():
        found["log_loss"] = totals(-np.log(true)) / images
    return found


def _ranking_figures(weights: FloatArray, model: Scored, subjects: Subjects, dataset: Dataset) -> dict[str, FloatArray]:
    both = [
        _ranking(weights, subjects.code, model.truth == c, model.probabilities[:, c])
        for c in dataset.reported
        if np.ptp(model.probabilities[:, c]) > 0
    ]
    if len(both) < len(dataset.reported):
        return {}
    auroc, auprc = np.mean(both, axis=0)
    return {"auroc": auroc, "auprc": auprc}


def _ranking(weights: FloatArray, code: IntArray, positive: npt.NDArray[np.bool_], score: FloatArray) -> FloatArray:
    """AUROC (ties count one half) and average precision under each weighting, shape (2, weightings)."""
    order = np.argsort(-score, kind="stable")
    code, positive = code[order], positive[order]
    starts = np.flatnonzero(np.diff(score[order], prepend=np.inf))
    ends = np.append(starts[1:], len(order))
    # Thresholds at which nothing positive is added change neither sum.
    holds = np.add.reduceat(positive, starts, dtype=np.int64) > 0
    thresholds = _Thresholds(code, positive, starts[holds], ends[holds])
    sums = _sums_of_few if weights.shape[1] <= _FEW else _sums_of_many
    won, precision, true, false = sums(weights, thresholds)
    return np.stack([won / (true * false), np.where(false > 0, precision / true, np.nan)])


@dataclass(frozen=True)
class _Thresholds:
    """Images in falling order of their score; a threshold takes in the images from `starts` to `ends` at once."""

    code: IntArray
    positive: npt.NDArray[np.bool_]
    starts: IntArray
    ends: IntArray


def _sums_of_few(weights: FloatArray, at: _Thresholds) -> tuple[FloatArray, ...]:
    """Pairs won, summed precision, positives and negatives: few subjects, so counts per subject and threshold fit."""
    counts = np.zeros((2, weights.shape[1], len(at.code) + 1), dtype=np.float32)
    counts[at.positive.astype(int), at.code, np.arange(1, len(at.code) + 1)] = 1
    negatives, positives = np.cumsum(counts, axis=2, dtype=np.float32)
    hits, gained = positives[:, at.ends], positives[:, at.ends] - positives[:, at.starts]
    called = hits + negatives[:, at.ends]
    # Negatives not yet called; those of the same score count one half.
    below = negatives[:, -1:] - (negatives[:, at.starts] + negatives[:, at.ends]) / 2
    pairs = gained.astype(np.float64) @ below.T.astype(np.float64)
    won = np.einsum("bs,bs->b", weights @ pairs, weights)
    precision = np.empty(len(weights))
    for begin in range(0, len(weights), _TOGETHER):
        own = weights[begin : begin + _TOGETHER].astype(np.float32)
        reached = own @ hits
        reached /= np.maximum(own @ called, 1)
        precision[begin : begin + _TOGETHER] = np.einsum("bt,bt->b", own @ gained, reached)
    return won, precision, weights @ positives[:, -1], weights @ negatives[:, -1]


def _sums_of_many(weights: FloatArray, at: _Thresholds) -> tuple[FloatArray, ...]:
    """The same by running sums over the images: its cost does not grow with the number of subjects."""
    found = np.empty((4, len(weights)))
    before = np.append(0, np.cumsum(at.positive))
    first, last, hit_code = before[at.starts], before[at.ends], at.code[at.positive]
    for begin in range(0, len(weights), _TOGETHER):
        own = weights[begin : begin + _TOGETHER].astype(np.float32)
        called, hits = _running_sum(own[:, at.code]), _running_sum(own[:, hit_code])
        gained = hits[:, last] - hits[:, first]
        false = (called[:, at.starts] - hits[:, first] + called[:, at.ends] - hits[:, last]) / 2
        true, rest = hits[:, -1], called[:, -1] - hits[:, -1]
        below = (rest[:, None] - false).astype(np.float64)
        won = np.einsum("bt,bt->b", gained.astype(np.float64), below)
        precision = np.einsum("bt,bt->b", gained, hits[:, last] / np.maximum(called[:, at.ends], 1))
        found[:, begin : begin + _TOGETHER] = won, precision, true, rest
    return tuple(found)


def _running_sum(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sums along the second axis with a leading zero, shape (rows, columns + 1)."""
    sums = np.zeros((len(values), values.shape[1] + 1), dtype=np.float32)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
