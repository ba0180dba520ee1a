import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from job import temperature
from job.evaluation import decisions, metrics

SCORE = np.array([0.95, 0.9, 0.8, 0.6, 0.4, 0.85, 0.5, 0.3, 0.2, 0.1])
POSITIVE = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)


def chosen(**changes):
    points = decisions.choose(SCORE, POSITIVE, **({"sensitivity": 0.95, "miss_cost": 5} | changes))
    return {name: threshold for name, threshold, _ in points}


def test_the_operating_points_of_a_case_by_hand():
    # In falling order: + + - + + - + - - -, so all five positives are found at 0.4 with two false alarms.
    # Each threshold lies midway between the last score that reaches it and the next.
    assert chosen() == pytest.approx({"half": 0.5, "sensitivity": 0.35, "youden": 0.55, "cost": 0.35})
    assert chosen(sensitivity=0.6)["sensitivity"] == pytest.approx(0.7)
    assert chosen(miss_cost=0.1)["cost"] == pytest.approx(0.875)


def test_the_last_bit_of_a_score_does_not_move_a_cell_across_a_threshold():
    for t in chosen().values():
        for moved in (np.nextafter(SCORE, 0), np.nextafter(SCORE, 1)):
            assert t == 0.5 or decisions.counts(moved, POSITIVE, t) == decisions.counts(SCORE, POSITIVE, t)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 9999), wanted=st.floats(0.05, 1))
def test_a_required_sensitivity_is_reached_and_by_no_higher_threshold(seed, wanted):
    draw = np.random.default_rng(seed)
    positive = np.append([True, False], draw.random(20) < 0.4)
    score = draw.random(22).round(1)
    points = {name: t for name, t, _ in decisions.choose(score, positive, wanted, 5)}
    reached = decisions.counts(score, positive, points["sensitivity"])
    assert reached["sensitivity"] >= wanted
    above = score[score > points["sensitivity"]].min()
    assert decisions.counts(score, positive, np.nextafter(above, 2))["sensitivity"] < wanted
    fpr, tpr, _ = sk.roc_curve(positive, score)
    own = decisions.counts(score, positive, points["youden"])
    assert own["sensitivity"] + own["specificity"] - 1 == pytest.approx((tpr - fpr).max())


def test_one_class_on_validation_gives_a_reason_and_no_threshold():
    points = decisions.choose(SCORE, np.ones(10, dtype=bool), 0.9, 5)
    assert [reason for _, _, reason in points] == [None, *["the validation images are all of one class"] * 3]


def test_counts_at_a_threshold():
    found = decisions.counts(SCORE, POSITIVE, 0.6)
    assert (found["TP"], found["FN"], found["FP"], found["TN"]) == (4, 1, 1, 4)


def test_net_benefit_by_hand():
    rows = {
        (row["threshold"], share): row
        for share in (0.5, 0.05)
        for row in decisions.decision_curve(SCORE, POSITIVE, share)
    }
    assert rows[0.5, 0.5]["model"] == pytest.approx((4 - 2) / 10)  # 0.5 itself is predicted positive
    assert rows[0.2, 0.5]["model"] == pytest.approx((5 - 4 / 4) / 10)
    assert rows[0.2, 0.5]["all"] == pytest.approx(0.5 - 0.5 / 4)
    assert rows[0.5, 0.5]["all"] == 0
    assert rows[0.5, 0.05]["model"] == pytest.approx(0.8 * 0.05 - 0.4 * 0.95)
    assert decisions.decision_curve(SCORE, np.ones(10, dtype=bool), 0.5) == []


def test_risk_falls_where_the_sure_predictions_are_correct():
    confidence = np.array([0.9, 0.9, *[0.85] * 7, 0.8, 0.7, 0.6])
    correct = np.array([*[True] * 9, False, True, False])
    # The curve ends at ten cells.
    curve = decisions.risk_coverage(confidence, correct)
    assert [(p["confidence"], p["kept"], p["errors"]) for p in curve] == [
        (0.8, 10, 1), (0.7, 11, 1), (0.6, 12, 2),
    ]  # fmt: skip
    assert [p["kept"] for p in decisions.risk_coverage(confidence[-3:], correct[-3:])] == [3]


def test_as_many_as_possible_are_kept_for_a_wanted_error():
    confidence = np.array([0.9, 0.85, 0.8, 0.7, 0.6])
    correct = np.array([True, False, True, True, False])
    assert decisions.least_confidence(confidence, correct, 0.25) == pytest.approx(0.65)
    assert decisions.least_confidence(confidence, correct, 0.4) == pytest.approx(0.3)
    assert decisions.least_confidence(confidence, ~correct, 0.1) is None
    kept = decisions.kept_above(confidence, correct, 0.7)
    assert (kept["kept"], kept["errors"], kept["refused"]) == (4, 1, 1)
    assert kept["share_refused"] == pytest.approx(0.2)


def test_a_demand_that_nothing_meets_keeps_nothing():
    kept = decisions.kept_above(np.array([0.6]), np.array([True]), 0.99)
    assert (kept["kept"], kept["error"], kept["share_refused"]) == (0, None, 1)


def test_the_temperature_that_was_applied_is_fitted_again():
    draw = np.random.default_rng(1)
    logit = draw.normal(0, 2, 20_000)
    truth = (draw.random(20_000) < 1 / (1 + np.exp(-logit))).astype(int)
    p = 1 / (1 + np.exp(-logit))
    logits = temperature.logits(np.stack([1 - p, p], axis=1))
    overconfident = temperature.tempered(logits, 0.4)
    assert temperature.fit_temperature(logits / 0.4, truth) == pytest.approx(2.5, rel=0.05)
    fixed = temperature.tempered(temperature.logits(overconfident), 2.5)
    np.testing.assert_allclose(fixed[:, 1], p, atol=1e-3)
    errors = [metrics.expected_error(q.max(axis=1), q.argmax(axis=1) == truth) for q in (overconfident, fixed)]
    assert errors[0] > 0.08
    assert errors[1] < 0.015


def test_a_temperature_keeps_the_order_of_the_classes():
    p = np.random.default_rng(2).dirichlet(np.ones(3), 50)
    for value in (0.2, 1, 7):
        tempered = temperature.tempered(temperature.logits(p), value)
        np.testing.assert_array_equal(tempered.argsort(axis=1), p.argsort(axis=1))
        np.testing.assert_allclose(tempered.sum(axis=1), 1)
    np.testing.assert_allclose(temperature.tempered(temperature.logits(p), 1), p)


def test_perfect_predictions_are_as_cold_as_allowed_and_impossible_truths_finite():
    p = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert temperature.fit_temperature(temperature.logits(p), np.array([0, 1])) == pytest.approx(
        temperature.HOTTEST, rel=0.01
    )
    near = np.array([[0.4, 0.6], [0.6, 0.4]])
    assert temperature.fit_temperature(temperature.logits(near), np.array([1, 0])) == pytest.approx(
        temperature.COLDEST, rel=0.01
    )


def test_few_perfectly_calibrated_cells_have_an_error_above_zero():
    """104 cells: what the estimator reports of perfect probabilities is most of what it reports of any."""
    confidence = np.random.default_rng(3).uniform(0.5, 1, 104)
    few = metrics.error_if_calibrated(confidence)
    assert 0.06 < few["mean"] < 0.1
    assert few["mean"] < few["high"] < 0.16
    assert metrics.error_if_calibrated(np.repeat(confidence, 100))["mean"] < 0.01


def test_the_reliability_curve_counts_every_image_once_and_keeps_empty_bins():
    curve = metrics.reliability(np.array([0.0, 0.1, 0.15, 1.0]), np.array([False, True, False, True]))
    assert [row["images"] for row in curve] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert curve[0] == {
        "low": 0, "high": 0.1, "images": 2, "mean_probability": pytest.approx(0.05), "happened": 1, "share": 0.5,
    }  # fmt: skip
    assert curve[5]["share"] is None
