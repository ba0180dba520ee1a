"""What a method's probabilities are good for: calibration, operating points and abstention.

Everything is chosen on the pooled validation predictions, each image judged by the one model that did not train on it,
and tried on the test images with the mean of the folds' probabilities, brought to the same temperature. A mean of
several models is less extreme than one of them, so a threshold moves a little between the two.
"""

from typing import Any

import numpy as np
import pandas as pd

from job.contracts.dataset import Dataset
from job.contracts.tables import FloatArray, IntArray
from job.evaluation import abstention, calibration, evidence, metrics, thresholds
from job.evaluation.replicates import Scored
from job.evaluation.scored import Block, scored
from job.params import Evaluation

CALIBRATION_METRICS = ("ece", "brier", "log_loss")


def calibrate(
    method: str, validation: Block, mean: Block, calibrated: Block, temperature: float, truth: pd.DataFrame,
    dataset: Dataset,
) -> dict[str, Any]:  # fmt: skip
    """One entry of `calibration`: before and after the temperature, on validation (where it was fitted) and test."""
    own = scored(validation, truth)
    after = calibration.tempered(own.probabilities, temperature)
    tested = scored(mean, truth), scored(calibrated, truth)
    stages = {
        "validation": (own, Scored(own.truth, after.argmax(axis=1), after)),
        "test": tested,
    }
    return {
        "method": method,
        "temperature": temperature,
        "fitted_on": "validation images, out of fold",
        "at_bound": not calibration.COLDEST * 1.01 < temperature < calibration.HOTTEST / 1.01,
    } | {
        role: {
            name: {"metrics": _errors(model, dataset), "reliability": _reliability(model, dataset)}
            for name, model in zip(("before", "after"), pair, strict=True)
        }
        for role, pair in stages.items()
    }


def _errors(model: Scored, dataset: Dataset) -> dict[str, float | None]:
    found = metrics.score(model.truth, model.predicted, model.probabilities, dataset).metrics
    return {name: found[name] for name in CALIBRATION_METRICS}


def _reliability(model: Scored, dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    """The curve of the positive class, or of each class against the rest, in ten bins with their counts."""
    return {
        dataset.classes[c]: calibration.reliability(
            model.probabilities[:, c], model.truth == c, calibration.RELIABILITY_BINS
        )
        for c in dataset.reported
    }


def operating_points(
    method: str, validation: Block, calibrated: Block, temperature: float, truth: pd.DataFrame, dataset: Dataset,
    settings: Evaluation,
) -> dict[str, Any]:  # fmt: skip
    """One entry of `operating_points`: thresholds chosen on validation and tried on test, and the decision curve."""
    (positive,) = dataset.reported
    own, tested = scored(validation, truth), scored(calibrated, truth)
    score = calibration.tempered(own.probabilities, temperature)[:, positive]
    subjects = evidence.subjects_of(calibrated.images, truth, dataset)
    test_score, test_truth = tested.probabilities[:, positive], tested.truth == positive
    points = []
    for name, threshold, reason in thresholds.choose(
        score, own.truth == positive, settings.sensitivity, settings.miss_cost
    ):
        point: dict[str, Any] = {"name": name, "threshold": None if reason else threshold, "reason": reason}
        if reason is None:
            reached = thresholds.counts(test_score, test_truth, threshold)
            calls = _calls(test_score, threshold, positive)
            point |= {
                "validation": thresholds.counts(score, own.truth == positive, threshold),
                "test": reached,
                "intervals": evidence.interval_of_calls(
                    Scored(tested.truth, calls, tested.probabilities), subjects, dataset
                ),
                "at_prevalences": thresholds.at_prevalences(
                    reached["sensitivity"], reached["specificity"], settings.prevalences
                ),
            }
        points.append(point)
    return {
        "method": method,
        "model": calibrated.model,
        "required_sensitivity": settings.sensitivity,
        "miss_cost": settings.miss_cost,
        "points": points,
        "decision_curve": thresholds.decision_curve(test_score, test_truth),
    }


def _calls(score: FloatArray, threshold: float, positive: int) -> IntArray:
    return np.where(score >= threshold, positive, 1 - positive)


def abstain(
    method: str, validation: Block, majority: Block | None, calibrated: Block, temperature: float, truth: pd.DataFrame,
    settings: Evaluation,
) -> dict[str, Any]:  # fmt: skip
    """One entry of `abstention`: refusing the least sure cells, and those on which the voters disagree.

    How far voters agree is known of test images only, as each validation image has one voter: those levels are shown,
    and none of them is chosen; `majority` is None where there are no voters.
    """
    own, tested = scored(validation, truth), scored(calibrated, truth)
    # The most probable class is what is called here, on both sides, whatever rule the model has for its calls.
    tempered = calibration.tempered(own.probabilities, temperature)
    sure, test_sure = tempered.max(axis=1), tested.probabilities.max(axis=1)
    own_right, right = tempered.argmax(axis=1) == own.truth, tested.probabilities.argmax(axis=1) == tested.truth
    least = abstention.choose(sure, own_right, settings.error)
    return {
        "method": method,
        "model": calibrated.model,
        "wanted_error": settings.error,
        "confidence": abstention.risk_coverage(test_sure, right),
        "agreement": None if majority is None else _agreement(scored(majority, truth)),
        "chosen": None
        if least is None
        else {
            "validation": abstention.kept_above(sure, own_right, least),
            "test": abstention.kept_above(test_sure, right, least),
        },
    }


def _agreement(voted: Scored) -> dict[str, Any]:
    return abstention.risk_coverage(voted.probabilities.max(axis=1), voted.predicted == voted.truth)
