import math

import numpy as np
import pytest

from job.contracts.dataset import Dataset
from job.evaluation.metrics import score
from job.reporting import published

DATASET = Dataset("C-NMC 2019", synthetic=False, classes=("HEM", "ALL"), positive="ALL")
PRINTED = dict(zip(published.METRICS, published.TABLE_3["noisy_student", "ensemble"], strict=True))
COUNTS = {"TP": 1760, "FN": 76, "FP": 143, "TN": 435}
"""Images of the test set by the published Noisy Student ensemble; ALL is positive."""


@pytest.fixture
def scores():
    """The published Noisy Student ensemble, cell by cell, from its counts."""
    cells = [(1, 1, COUNTS["TP"]), (1, 0, COUNTS["FN"]), (0, 1, COUNTS["FP"]), (0, 0, COUNTS["TN"])]
    truth = np.concatenate([np.full(n, t) for t, _, n in cells])
    predicted = np.concatenate([np.full(n, p) for _, p, n in cells])
    return score(truth, predicted, np.eye(2)[predicted], DATASET)


def test_standard_definitions_reproduce_the_published_rates_to_the_printed_digits(scores):
    assert scores.confusion == [[435, 143], [76, 1760]]
    for name, value in PRINTED.items():
        assert round(100 * scores.metrics[name], 2) == value, name


def test_the_formulas_as_the_report_prints_them_contradict_its_own_table():
    tp, fn, fp, tn = (COUNTS[name] for name in ("TP", "FN", "FP", "TN"))
    as_printed = {"sensitivity": tp / (tp + fp), "specificity": tn / (tn + fn), "ppv": tp / (tp + fn)}
    for name, value in as_printed.items():
        assert abs(100 * value - PRINTED[name]) > 3, name


def test_the_counts_are_of_the_published_test_set():
    assert {"ALL": COUNTS["TP"] + COUNTS["FN"], "HEM": COUNTS["FP"] + COUNTS["TN"]} == published.TEST_IMAGES
    assert {label: published.TABLE_1["test", label]["images"] for label in ("ALL", "HEM")} == published.TEST_IMAGES
    assert sum(row["images"] for row in published.TABLE_1.values()) == 12528
    assert sum(row["patients"] for row in published.TABLE_1.values()) == 101


def test_the_published_ensemble_is_the_other_one_by_balanced_accuracy(scores):
    # 0.856, 0.907 and 0.743 were worked out from the counts by hand (reference notes).
    assert scores.metrics["balanced_accuracy"] == pytest.approx(0.856, abs=5e-4)
    assert scores.metrics["weighted_f1"] == pytest.approx(0.907, abs=5e-4)
    assert scores.metrics["mcc"] == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("method", published.TABLE_2)
@pytest.mark.parametrize("metric", published.METRICS)
def test_the_published_variance_is_the_sample_variance(method, metric):
    folds, mean, variance = published.TABLE_2[method][metric]
    assert len(folds) == 5
    assert round(np.var(folds, ddof=1), 2) == variance
    assert round(np.var(folds), 2) != variance or variance < 0.1
    # Means were printed from figures with more digits, or cut: up to 0.04 away from the mean of the printed folds.
    assert math.isclose(np.mean(folds), mean, abs_tol=0.04)


def test_mean_rows_of_table_3_are_the_means_of_table_2():
    for method, rows in published.TABLE_2.items():
        assert published.TABLE_3[method, "folds"] == tuple(rows[metric][1] for metric in published.METRICS)


def rates_as_printed():
    for rows in published.TABLE_2.values():
        for fold in range(5):
            yield {metric: rows[metric][0][fold] for metric in published.METRICS}
    for row in published.TABLE_3.values():
        yield dict(zip(published.METRICS, row, strict=True))


@pytest.mark.parametrize("rates", list(rates_as_printed()))
def test_each_printed_row_agrees_with_itself(rates):
    """F1 and accuracy follow from the other rates and the sizes of the classes, so a slip in copying shows."""
    sensitivity, specificity, ppv = rates["sensitivity"], rates["specificity"], rates["ppv"]
    counts = published.TEST_IMAGES
    accuracy = (sensitivity * counts["ALL"] + specificity * counts["HEM"]) / sum(counts.values())
    assert rates["accuracy"] == pytest.approx(accuracy, abs=0.03)
    assert rates["f1"] == pytest.approx(2 * ppv * sensitivity / (ppv + sensitivity), abs=0.03)
    false_positives = (100 - specificity) * counts["HEM"]
    true_positives = sensitivity * counts["ALL"]
    assert ppv == pytest.approx(100 * true_positives / (true_positives + false_positives), abs=0.03)
