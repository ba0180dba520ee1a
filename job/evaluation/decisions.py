"""What a method's probabilities are good for: calibration, operating points and abstention.

Everything is chosen on the pooled validation predictions, each cell predicted by the one model that did not train on
it, at their temperature, and tried on the test cells with the folds' logits averaged, at the same temperature.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from job.evaluation import intervals, metrics, thresholds
from job.evaluation.blocks import Block, Calibrated
from job.params import Evaluation
from job.temperature import COLDEST, HOTTEST, fit_temperature, logits

CALIBRATION_METRICS = ("ece", "brier", "log_loss")


def sections(fitted: list[Calibrated], settings: Evaluation) -> dict[str, list[dict[str, Any]]]:
    """The sections `calibration`, `operating_points` (of two classes) and `abstention` of results/evaluation.json."""
    return {
        "calibration": [calibrate(method) for method in fitted],
        "operating_points": [
            operating_points(method, settings) for method in fitted if len(method.mean.cells.dataset.reported) == 1
        ],
        "abstention": [abstain(method, settings.error) for method in fitted],
    }


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
            cells.dataset.classes[c]: metrics.reliability(
                block.probabilities[:, c], cells.truth == c, metrics.RELIABILITY_BINS
            )
            for c in cells.dataset.reported
        },
    }


def operating_points(method: Calibrated, settings: Evaluation) -> dict[str, Any]:
    """One entry of `operating_points`: thresholds chosen on validation and tried on test, and the decision curve."""
    chosen_on, tried_on = method.validated, method.calibrated
    (positive,) = tried_on.cells.dataset.reported
    score, truth = chosen_on.probabilities[:, positive], chosen_on.cells.truth == positive
    test_score, test_truth = tried_on.probabilities[:, positive], tried_on.cells.truth == positive
    points = []
    for name, threshold, reason in thresholds.choose(score, truth, settings.sensitivity, settings.miss_cost):
        point: dict[str, Any] = {"name": name, "threshold": None if reason else threshold, "reason": reason}
        if reason is None:
            predicted = np.where(test_score >= threshold, positive, 1 - positive)
            figures = intervals.figures(replace(tried_on, predicted=predicted))
            hits, cleared = figures["sensitivity"], figures["specificity"]
            point |= {
                "validation": thresholds.counts(score, truth, threshold),
                "test": thresholds.counts(test_score, test_truth, threshold),
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
        "decision_curve": thresholds.decision_curve(test_score, test_truth, settings.prevalences),
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
    least = thresholds.least_confidence(chosen_on.confidence, chosen_on.correct, error)
    agreement = []
    if method.majority is not None and method.majority.votes is not None:
        votes = method.majority.votes
        agreement = thresholds.risk_coverage(votes.max(axis=1) / votes.sum(axis=1), method.majority.correct)
    return {
        "method": method.name,
        "model": tried_on.model,
        "confidence": thresholds.risk_coverage(tried_on.confidence, tried_on.correct),
        "agreement": agreement,
        "chosen": None
        if least is None
        else {
            role: thresholds.kept_above(block.confidence, block.correct, least)
            for role, block in (("validation", chosen_on), ("test", tried_on))
        },
    }
