"""What a method's probabilities are good for: calibration, operating points and abstention.

Everything is chosen on the pooled validation predictions, each cell predicted by the one model that did not train on
it, at their temperature, and tried on the test cells with the folds' logits averaged, at the same temperature. A cell
that reaches a threshold counts.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as sk

from job.contracts.tables import FloatArray
from job.evaluation import intervals, metrics
from job.evaluation.blocks import Block, Calibrated
from job.params import Evaluation
from job.temperature import COLDEST, HOTTEST, fit_temperature, logits

BoolArray = npt.NDArray[np.bool_]
CALIBRATION_METRICS = ("ece", "brier", "log_loss")
POINTS = 50
FEWEST = 10
"""Cells at which a risk-coverage curve ends: an error among fewer is no figure."""


def calibrate(method: Calibrated) -> dict[str, Any]:
    """One entry of `calibration`: before and after the temperature, on validation (where it was fitted) and test."""
    return {
        "method": method.name,
        "temperature": method.temperature,
        "at_bound": not COLDEST * 1.01 < method.temperature < HOTTEST / 1.01,
        "validation": {"before": _calibration(method.validation), "after": _calibration(method.validated)},
        "test": {"before": _calibration(method.mean), "after": _calibration(method.calibrated)},
    }


def _calibration(block: Block) -> dict[str, Any]:
    """How well a model's probabilities fit.

    `slope` is what its logits would have to be multiplied by on these very cells: above 1 they are too timid, below 1
    too sure. `ece_if_calibrated` is the ECE that perfect probabilities would have on as many cells.
    """
    cells = block.cells
    scores = metrics.score(cells.truth, block.predicted, block.probabilities, cells.dataset).metrics
    return {
        "metrics": {name: scores[name] for name in CALIBRATION_METRICS},
        "ece_if_calibrated": metrics.error_if_calibrated(block.confidence),
        "slope": round(1 / fit_temperature(logits(block.probabilities), cells.truth), 4),
        "reliability": {
            cells.dataset.classes[c]: metrics.reliability(block.probabilities[:, c], cells.truth == c)
            for c in cells.dataset.reported
        },
    }


def operating_points(method: Calibrated, settings: Evaluation) -> dict[str, Any]:
    """One entry of `operating_points`, which are of two classes: thresholds, and the decision curve."""
    chosen_on, tried_on = method.validated, method.calibrated
    (positive,) = tried_on.cells.dataset.reported
    score, truth = chosen_on.probabilities[:, positive], chosen_on.cells.truth == positive
    test_score, test_truth = tried_on.probabilities[:, positive], tried_on.cells.truth == positive
    points = []
    for name, threshold, reason in choose(score, truth, settings.sensitivity, settings.miss_cost):
        point: dict[str, Any] = {"name": name, "threshold": None if reason else threshold, "reason": reason}
        if reason is None:
            predicted = np.where(test_score >= threshold, positive, 1 - positive)
            figures = intervals.figures(replace(tried_on, predicted=predicted))
            hits, cleared = figures["sensitivity"], figures["specificity"]
            point |= {
                "validation": counts(score, truth, threshold),
                "test": counts(test_score, test_truth, threshold),
                "by_subject": {"sensitivity": intervals.entry(hits), "specificity": intervals.entry(cleared)},
                "at_prevalences": [
                    {
                        "prevalence": share,
                        "ppv": intervals.predictive_value(hits, cleared, share),
                        "npv": intervals.predictive_value(cleared, hits, 1 - share),
                    }
                    for share in settings.prevalences
                ],
            }
        points.append(point)
    return {
        "method": method.name,
        "model": tried_on.model,
        "points": points,
        "decision_curve": decision_curve(test_score, test_truth, float(truth.mean())),
    }


def abstain(method: Calibrated, error: float) -> dict[str, Any]:
    """One entry of `abstention`: refusing the least sure cells, and those on which the voters disagree.

    Voters can agree on test cells only, as each validation cell has one voter: those levels are shown, and none of
    them is chosen.
    """
    # The most probable class is what is predicted here, on both sides, whatever other rule a file's predictions follow.
    chosen_on, tried_on = (
        replace(block, predicted=block.probabilities.argmax(axis=1)) for block in (method.validated, method.calibrated)
    )
    least = least_confidence(chosen_on.confidence, chosen_on.correct, error)
    agreement = []
    if method.majority is not None and method.majority.votes is not None:
        votes = method.majority.votes
        agreement = risk_coverage(votes.max(axis=1) / votes.sum(axis=1), method.majority.correct)
    return {
        "method": method.name,
        "model": tried_on.model,
        "confidence": risk_coverage(tried_on.confidence, tried_on.correct),
        "agreement": agreement,
        "chosen": None
        if least is None
        else {
            role: kept_above(block.confidence, block.correct, least)
            for role, block in (("validation", chosen_on), ("test", tried_on))
        },
    }


def between(levels: FloatArray) -> FloatArray:
    """For scores in falling order the threshold that each is the last to reach: midway to the next, the last's to 0.

    A threshold that is itself a score would decide that cell by the last bit of a float.
    """
    return np.asarray((levels + np.append(levels[1:], 0)) / 2)


def choose(
    score: FloatArray, positive: BoolArray, sensitivity: float, miss_cost: float
) -> list[tuple[str, float, str | None]]:
    """The operating points: name, threshold, and why there is none.

    `half` is 0.5; `sensitivity` the highest threshold that reaches the required sensitivity; `youden` maximises
    sensitivity + specificity (Youden 1950); `cost` minimises false alarms + `miss_cost` x misses. Of equal ones the
    highest threshold is taken. Of validation cells come the score, which is the probability of the positive class, and
    whether they are positive, both of shape (cells,).
    """
    if positive.all() or not positive.any():
        reason = "the validation images are all of one class"
        return [("half", 0.5, None), *((name, 0.5, reason) for name in ("sensitivity", "youden", "cost"))]
    tn, fp, fn, tp, levels = sk.confusion_matrix_at_thresholds(positive, score)
    threshold = between(levels)
    reached = int(np.argmax(tp / (tp + fn) >= sensitivity))
    youden = int(np.argmax(tp / (tp + fn) + tn / (tn + fp)))
    cost = int(np.argmin(fp + miss_cost * fn))
    chosen = {"sensitivity": reached, "youden": youden, "cost": cost}
    return [("half", 0.5, None), *((name, float(threshold[at]), None) for name, at in chosen.items())]


def counts(score: FloatArray, positive: BoolArray, threshold: float) -> dict[str, Any]:
    """TP, FN, FP and TN at a threshold, with sensitivity and specificity; None of nothing."""
    tn, fp, fn, tp = sk.confusion_matrix(positive, score >= threshold, labels=[False, True]).ravel().tolist()
    rates = {"sensitivity": (tp, fn), "specificity": (tn, fp)}
    shares = {name: hit / (hit + miss) if hit + miss else None for name, (hit, miss) in rates.items()}
    return {"TP": tp, "FN": fn, "FP": fp, "TN": tn, **shares}


def decision_curve(score: FloatArray, positive: BoolArray, share: float) -> list[dict[str, Any]]:
    """Net benefit per cell of following the model, and of taking every cell for positive; of taking none it is 0.

    Vickers and Elkin 2006, Med Decis Making 26:565, with the share of positive cells as a parameter (Rousson and
    Zumbrunn 2011): sensitivity x share - (1 - specificity) x (1 - share) x t / (1 - t), where t is the probability from
    which on one would act. The share is that of the cells on which the probabilities were calibrated: with another one
    they would be others. There is an entry per threshold from 0.05 to 0.95, and none where the cells are all of one
    class.
    """
    rows = []
    for percent in range(5, 100, 5) if 0 < positive.sum() < len(positive) else ():
        t = percent / 100
        reached = counts(score, positive, t)
        rates = {name: reached[name] for name in ("sensitivity", "specificity")}
        harm = (1 - share) * t / (1 - t)
        benefit = rates["sensitivity"] * share - (1 - rates["specificity"]) * harm
        rows.append({"threshold": t, "prevalence": share, **rates, "model": benefit, "all": share - harm})
    return rows


def risk_coverage(confidence: FloatArray, correct: BoolArray) -> list[dict[str, Any]]:
    """Errors among the cells of which a model is surest, for a falling demand (El-Yaniv and Wiener 2010).

    Confidence is such as the highest probability, or the share of voters who agree. Cells of equal confidence are kept
    or refused together. There are at most 51 points as of `kept_above`, each of at least `FEWEST` cells, or of all.
    """
    levels, kept, _ = _levels(confidence, correct)
    first = int(np.argmax(kept >= min(FEWEST, len(correct))))
    shown = np.unique(np.linspace(first, len(levels) - 1, min(len(levels) - first, POINTS + 1)).round().astype(int))
    return [kept_above(confidence, correct, float(levels[i])) for i in shown]


def least_confidence(confidence: FloatArray, correct: BoolArray, error: float) -> float | None:
    """The least confidence at which the kept cells' error is at most `error`, with as many kept as possible.

    None where no demand is high enough. Choose it on validation cells.
    """
    levels, kept, errors = _levels(confidence, correct)
    reached = np.flatnonzero(errors / kept <= error)
    return float(between(levels)[reached[-1]]) if reached.size else None


def kept_above(confidence: FloatArray, correct: BoolArray, threshold: float) -> dict[str, Any]:
    """What a least `confidence` keeps: cells kept, refused (left to a pathologist), and errors among the kept."""
    keep = confidence >= threshold
    kept, errors, cells = int(keep.sum()), int((~correct[keep]).sum()), len(correct)
    return {
        "confidence": threshold,
        "kept": kept,
        "coverage": kept / cells,
        "refused": cells - kept,
        "share_refused": 1 - kept / cells,
        "errors": errors,
        "error": errors / kept if kept else None,
    }


def _levels(confidence: FloatArray, correct: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distinct confidences, highest first; cells and errors at or above each."""
    _, errors, _, hits, levels = sk.confusion_matrix_at_thresholds(correct, confidence)
    return levels, hits + errors, errors
