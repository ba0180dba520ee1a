import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from job.contracts.dataset import Dataset
from job.evaluation.metrics import METRICS, score
from tests.evaluation.recompute import recompute

TWO = Dataset("two", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
SWAPPED = Dataset("two", synthetic=True, classes=("HEM", "ALL"), positive="HEM")
THREE = Dataset("three", synthetic=True, classes=("a", "b", "c"), positive=None)
HIGHER_IS_BETTER = [name for name in METRICS if name not in {"brier", "log_loss", "ece"}]


def arrays(positive: list[float], truth: list[int]):
    p = np.array(positive, dtype=float)
    probabilities = np.stack([1 - p, p], axis=1)
    return np.array(truth), probabilities.argmax(axis=1), probabilities


cells = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.45, 0.6, 0.9, 1.0]), st.integers(0, 1)), min_size=1, max_size=12
)


@settings(deadline=None, max_examples=20)
@given(cells=cells)
def test_every_figure_is_in_bounds_or_null_with_a_reason(cells):
    scores = score(*arrays([p for p, _ in cells], [y for _, y in cells]), TWO)
    assert tuple(scores.metrics) == METRICS
    assert set(scores.undefined) == {name for name, value in scores.metrics.items() if value is None}
    assert all(scores.undefined.values())
    assert np.sum(scores.confusion) == len(cells)
    for name, value in scores.metrics.items():
        if value is not None:
            lowest, highest = -1 if name in {"mcc", "cohen_kappa"} else 0, np.inf if name == "log_loss" else 1 + 1e-12
            assert lowest <= value <= highest, name


@settings(deadline=None, max_examples=20)
@given(cells=cells, data=st.data())
def test_the_order_of_the_images_does_not_matter(cells, data):
    shuffled = data.draw(st.permutations(cells))
    one, other = (score(*arrays([p for p, _ in rows], [y for _, y in rows]), TWO) for rows in (cells, shuffled))
    assert one.confusion == other.confusion
    assert one.undefined == other.undefined
    for name in METRICS:
        assert one.metrics[name] == pytest.approx(other.metrics[name])


@settings(deadline=None, max_examples=20)
@given(cells=cells)
def test_exchanging_the_classes_exchanges_sensitivity_and_specificity(cells):
    values = arrays([p for p, _ in cells], [y for _, y in cells])
    one, other = score(*values, TWO).metrics, score(*values, SWAPPED).metrics
    exchanged = {"sensitivity": "specificity", "specificity": "sensitivity", "ppv": "npv", "npv": "ppv"}
    for name in METRICS:
        if name not in {"f1", "auprc"}:
            assert one[exchanged.get(name, name)] == pytest.approx(other[name]), name


@settings(deadline=None, max_examples=20)
@given(truth=st.lists(st.integers(0, 1), min_size=2, max_size=12))
def test_perfect_and_inverted_predictions(truth):
    assume(len(set(truth)) == 2)
    perfect = score(*arrays([0.9 if y else 0.1 for y in truth], truth), TWO)
    assert not perfect.undefined
    assert all(perfect.metrics[name] == pytest.approx(1) for name in HIGHER_IS_BETTER)
    assert perfect.metrics["brier"] == pytest.approx(0.01)
    assert perfect.metrics["ece"] == pytest.approx(0.1)
    assert perfect.metrics["log_loss"] == pytest.approx(-np.log(0.9))
    inverted = score(*arrays([0.1 if y else 0.9 for y in truth], truth), TWO)
    assert inverted.metrics["mcc"] == pytest.approx(-1)
    assert inverted.metrics["ece"] == pytest.approx(0.9)
    assert inverted.metrics["auroc"] == 0
    assert all(inverted.metrics[name] == 0 for name in ("accuracy", "sensitivity", "specificity", "ppv", "f1"))


@pytest.mark.parametrize("dataset", [TWO, SWAPPED, THREE], ids=["two", "positive first", "three"])
def test_figures_are_those_of_scikit_learn_by_class_name(dataset):
    draw = np.random.default_rng(5)
    count = len(dataset.classes)
    truth = draw.integers(0, count, 200)
    probabilities = draw.dirichlet(np.ones(count), 200) * 0.6 + 0.4 * np.eye(count)[truth]
    predicted = draw.permutation(truth)
    scores = score(truth, predicted, probabilities, dataset)
    names = np.array(dataset.classes)
    rows = pd.DataFrame(probabilities, columns=dataset.probability_columns)
    rows = rows.assign(label=names[truth], predicted=names[predicted])
    for name, compute in recompute(rows, list(dataset.classes), dataset.positive).items():
        assert scores.metrics[name] == pytest.approx(compute(), rel=1e-12), name
    if count == 3:
        assert scores.metrics["auroc"] == pytest.approx(sk.roc_auc_score(truth, probabilities, multi_class="ovr"))


def test_known_counts_give_the_textbook_rates():
    # TP 3, FN 1, FP 2, TN 4.
    truth = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    scores = score(*arrays([0.9, 0.8, 0.7, 0.2, 0.6, 0.6, 0.1, 0.1, 0.1, 0.1], truth), TWO)
    assert scores.confusion == [[4, 2], [1, 3]]
    expected = {"accuracy": 0.7, "sensitivity": 3 / 4, "specificity": 4 / 6, "ppv": 3 / 5, "npv": 4 / 5, "f1": 6 / 9}
    assert {name: scores.metrics[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("positive", "truth", "undefined"),
    [
        ([0.9, 0.2], [1, 1], {"specificity", "npv", "balanced_accuracy", "mcc", "auroc", "auprc"} - {"npv"}),
        ([0.1, 0.2], [1, 0], {"ppv", "mcc"}),
        ([0.9, 0.8], [1, 0], {"npv", "mcc"}),
        ([0.5, 0.5], [1, 0], {"ppv", "mcc", "auroc", "auprc"}),
        ([1.0, 0.0, 0.0], [1, 0, 1], {"log_loss"}),
        ([0.1, 0.2], [0, 0], {"sensitivity", "ppv", "f1", "macro_f1", "balanced_accuracy", "mcc", "cohen_kappa",
                              "auroc", "auprc"}),
    ],
    ids=["one class", "none positive", "all positive", "constant score", "impossible truth", "no ALL"],
)  # fmt: skip
def test_what_has_no_value_is_null_with_a_reason_and_never_a_warning(positive, truth, undefined):
    scores = score(*arrays(positive, truth), TWO)
    assert set(scores.undefined) == undefined
    assert all(scores.metrics[name] is None for name in undefined)


def test_the_brier_score_is_at_most_one_with_any_number_of_classes():
    for dataset in (TWO, THREE):
        count = len(dataset.classes)
        truth = np.arange(count)
        wrong = np.eye(count)[(truth + 1) % count]
        assert score(truth, wrong.argmax(axis=1), wrong, dataset).metrics["brier"] == 1


def test_the_calibration_error_of_a_case_by_hand():
    # Confidence 0.9 (two images, one correct) and 0.7 (one image, correct): (2 x 0.4 + 0.3) / 3.
    scores = score(*arrays([0.9, 0.1, 0.7], [1, 1, 1]), TWO)
    assert scores.metrics["ece"] == pytest.approx(1.1 / 3)


def test_the_calibration_error_is_of_the_class_that_is_predicted():
    """With a threshold of 0.4: a cell predicted positive at 0.4 is positive four times in ten, as it should be."""
    truth, _, probabilities = arrays([0.4] * 10, [1] * 4 + [0] * 6)
    for predicted in (0, 1):
        assert score(truth, np.full(10, predicted), probabilities, TWO).metrics["ece"] == pytest.approx(0)


def test_reasons_name_the_class():
    assert score(*arrays([0.1, 0.2], [1, 0]), TWO).undefined["ppv"] == "no image is predicted ALL"
    assert score(*arrays([0.1, 0.2], [0, 0]), TWO).undefined["auroc"] == "no image is ALL"
