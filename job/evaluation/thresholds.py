"""From which probability on a cell counts as positive: chosen on validation cells, then tried on test cells.

Two classes only. A cell is predicted positive when its probability is at least the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as sk

from job.contracts.tables import FloatArray

BoolArray = npt.NDArray[np.bool_]


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
    highest threshold is taken.

    Args:
        score: probability of the positive class of validation cells, shape (cells,).
        positive: whether they are, shape (cells,).
        sensitivity: the required share of positive cells that are predicted positive.
        miss_cost: how many false alarms one miss weighs as much as.
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
    return {
        "TP": tp,
        "FN": fn,
        "FP": fp,
        "TN": tn,
        "sensitivity": tp / (tp + fn) if tp + fn else None,
        "specificity": tn / (tn + fp) if tn + fp else None,
    }


def at_prevalence(
    sensitivity: float | None, specificity: float | None, share: float
) -> tuple[float | None, float | None]:
    """PPV and NPV where this share of cells is positive, by Bayes' rule; None where there is no such prediction."""
    if sensitivity is None or specificity is None:
        return None, None
    alarm = sensitivity * share + (1 - specificity) * (1 - share)
    clear = specificity * (1 - share) + (1 - sensitivity) * share
    return sensitivity * share / alarm if alarm else None, specificity * (1 - share) / clear if clear else None


def predictive_values(
    sensitivity: dict[str, float | None], specificity: dict[str, float | None], prevalences: Sequence[float]
) -> list[dict[str, float | None]]:
    """PPV and NPV at several prevalences, each with what the ends of both intervals make of it.

    Both values rise with sensitivity and with specificity, so that the lower ends of both give the lower end. The two
    are of different persons, so that the interval is a little wider than one of 95 %.

    Args:
        sensitivity: `value, low, high` over subjects, None where there is none.
        specificity: the same.
        prevalences: shares of positive cells.
    """
    rows = []
    for share in prevalences:
        row: dict[str, float | None] = {"prevalence": share}
        for key, end in (("value", ""), ("low", "_low"), ("high", "_high")):
            row[f"ppv{end}"], row[f"npv{end}"] = at_prevalence(sensitivity[key], specificity[key], share)
        rows.append(row)
    return rows


def decision_curve(score: FloatArray, positive: BoolArray, prevalences: Sequence[float]) -> list[dict[str, Any]]:
    """Net benefit per cell of following the model, and of taking every cell for positive; of taking none it is 0.

    Vickers and Elkin 2006, Med Decis Making 26:565, with the share of positive cells as a parameter (Rousson and
    Zumbrunn 2011): sensitivity x share - (1 - specificity) x (1 - share) x t / (1 - t), where t is the probability from
    which on one would act. The share among test cells is one that the split made.

    Returns:
        One entry per threshold from 0.05 to 0.95 and prevalence; none where the cells are all of one class.
    """
    rows = []
    for percent in range(5, 100, 5) if 0 < positive.sum() < len(positive) else ():
        t = percent / 100
        reached = counts(score, positive, t)
        for share in prevalences:
            harm = (1 - share) * t / (1 - t)
            rows.append(
                {
                    "threshold": t,
                    "prevalence": share,
                    "sensitivity": reached["sensitivity"],
                    "specificity": reached["specificity"],
                    "model": reached["sensitivity"] * share - (1 - reached["specificity"]) * harm,
                    "all": share - harm,
                }
            )
    return rows
