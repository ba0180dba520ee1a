"""Figures over subjects: the t-tests that they reduce to, and when there is no interval."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from job.contracts.dataset import Dataset
from job.evaluation import comparisons, intervals
from job.evaluation.blocks import Block, Cells
from tests.evaluation.recompute import interval as recomputed
from tests.evaluation.recompute import samples

TWO = Dataset("two", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
THREE = Dataset("three", synthetic=True, classes=("a", "b", "c"), positive=None)


def block(subjects, labels, dataset=TWO, seed=0, spread=1.0):
    """Cells of these subjects and labels with drawn probabilities."""
    table = pd.DataFrame({"image": range(len(labels)), "subject": subjects, "label": labels}).assign(row="", patient="")
    cells = Cells.of(table, dataset)
    draw = np.random.default_rng(seed)
    logits = spread * np.eye(len(dataset.classes))[cells.truth] + draw.normal(0, 1, (len(labels), len(dataset.classes)))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Block(model="m", kind="fold", role="test", cells=cells, probabilities=p, predicted=p.argmax(axis=1))


def pure(sizes, **more):
    """Subjects whose cells are of one class, with these numbers of cells by class."""
    rows = [(f"{name}{i}", name) for name, own in sizes.items() for i, n in enumerate(own) for _ in range(n)]
    return block(*zip(*rows, strict=True), **more)


def mixed(people=8, cells=6, **more):
    """Subjects with cells of both classes."""
    rows = [(f"P{i}", name) for i in range(people) for name in ("HEM", "ALL") for _ in range(cells)]
    return block(*zip(*rows, strict=True), **more)


def shares(one, label):
    rows = one.cells.table.assign(correct=one.correct)
    return rows[rows["label"] == label].groupby("subject")["correct"].mean().to_numpy()


SIZES = {"HEM": [400, 5, 30, 60], "ALL": [7, 9, 30, 12, 100, 41, 8]}


def test_balanced_accuracy_of_pure_subjects_is_welch_with_the_fewest_subjects_less_one():
    one = pure(SIZES)
    figure = intervals.figures(one)["balanced_accuracy"]
    hem, ill = shares(one, "HEM"), shares(one, "ALL")
    assert figure.value == pytest.approx((hem.mean() + ill.mean()) / 2)
    # The error of a difference of means is that of their sum.
    welch = stats.ttest_ind(hem, -ill, equal_var=False)
    assert figure.error == pytest.approx((hem.mean() + ill.mean()) / welch.statistic / 2)
    low, high = intervals.interval(figure)
    logit = np.log(figure.value / (1 - figure.value))
    half = stats.t.ppf(0.975, 3) * figure.error / (figure.value * (1 - figure.value))
    assert (low, high) == pytest.approx(tuple(1 / (1 + np.exp(-logit - np.array([-half, half])))))


def test_subjects_with_cells_of_every_class_give_the_one_sample_t_test():
    one, two = mixed(seed=1), mixed(seed=2, spread=0.4)
    own = [(shares(m, "HEM") + shares(m, "ALL")) / 2 for m in (one, two)]
    found = intervals.difference(*(intervals.figures(m)["balanced_accuracy"] for m in (one, two)))
    test = stats.ttest_rel(*own)
    ends = test.confidence_interval()
    assert (found.low, found.high, found.p) == pytest.approx((ends.low, ends.high, test.pvalue))
    assert (found.positive, found.negative, found.subjects) == ((own[0] > own[1]).sum(), (own[0] < own[1]).sum(), 8)


@pytest.mark.parametrize("one", [
    pure(SIZES), mixed(people=5), pure({"a": [3, 9, 40, 5], "b": [8, 8, 9], "c": [2, 60, 7, 5, 5]}, dataset=THREE),
    block([*"xxyyzzvvwu"] * 9, [*"abacababcc"] * 9, dataset=THREE),
], ids=["pure", "mixed", "three classes", "three classes, mixed"])  # fmt: skip
def test_every_figure_is_that_of_loops_over_pairs_of_subjects(one):
    dataset = one.cells.dataset
    names = np.array(dataset.classes)
    rows = pd.DataFrame(one.probabilities.round(1), columns=dataset.probability_columns)  # equal scores are there too
    rows = rows.assign(subject=one.cells.table["subject"], label=names[one.cells.truth], predicted=names[one.predicted])
    rounded = Block(**vars(one) | {"probabilities": one.probabilities.round(1)})
    for name, parts in samples(rows, list(dataset.classes), dataset.positive).items():
        value, ends = recomputed(parts, auroc=name == "auroc")
        figure = intervals.figures(rounded)[name]
        assert figure.value == pytest.approx(value), name
        assert intervals.interval(figure) == pytest.approx(ends), name


def test_one_subject_with_nearly_all_cells_counts_once():
    """3 subjects of 7, 9 and 1,074 cells once gave an interval of 10^41 points."""
    one = pure({"HEM": [30, 30, 30], "ALL": [7, 9, 1074]})
    assert intervals.figures(one)["sensitivity"].value == pytest.approx(shares(one, "ALL").mean())
    other = pure({"HEM": [30, 30, 30], "ALL": [7, 9, 1074]}, seed=9)
    found = intervals.difference(*(intervals.figures(m)["balanced_accuracy"] for m in (one, other)))
    assert np.isnan(found.low), "three subjects are too few for a difference"
    low, high = intervals.interval(intervals.figures(one)["balanced_accuracy"])
    assert 0 < low < high < 1


def test_wholly_correct_or_wrong_subjects_are_independent_trials():
    one = pure({"HEM": [5, 5, 5, 5], "ALL": [4] * 11})
    correct = Block(**vars(one) | {"predicted": one.cells.truth})
    ends = intervals.interval(intervals.figures(correct)["sensitivity"])
    assert ends == pytest.approx((0.7151, 1), abs=1e-4)
    assert "same figure" in intervals.interval(intervals.figures(correct)["balanced_accuracy"])
    some = np.where(one.cells.subject == one.cells.subject[-1], 1 - one.cells.truth, one.cells.truth)
    found = intervals.interval(intervals.figures(Block(**vars(one) | {"predicted": some}))["sensitivity"])
    assert found == pytest.approx(tuple(stats.binomtest(10, 11).proportion_ci()))


def test_too_few_subjects_leave_the_figure_and_a_reason():
    one = pure({"HEM": [9, 9], "ALL": [9] * 6})
    figures = intervals.figures(one)
    assert "needs 3 subjects of each class, and of one there are 2" in intervals.interval(figures["specificity"])
    assert isinstance(intervals.interval(figures["sensitivity"]), tuple)
    assert intervals.entry(figures["specificity"])["low"] is None
    assert intervals.entry(figures["specificity"])["value"] == pytest.approx(shares(one, "HEM").mean(), abs=1e-6)
    three = pure({"HEM": [9, 9, 9], "ALL": [9] * 6}), pure({"HEM": [9, 9, 9], "ALL": [9] * 6}, seed=4)
    found = intervals.difference(*(intervals.figures(m)["balanced_accuracy"] for m in three))
    assert np.isnan([found.low, found.high, found.p]).all()
    assert found.subjects == 9
    assert np.isfinite(found.value)


def test_a_class_without_cells_leaves_no_figure():
    figures = intervals.figures(pure({"HEM": [], "ALL": [3] * 6}))
    assert np.isnan(figures["specificity"].value)
    assert intervals.entry(figures["auroc"]) == {"value": None, "low": None, "high": None}


def test_equal_models_have_a_difference_of_zero_and_no_interval():
    one = pure(SIZES)
    found = intervals.difference(*[intervals.figures(one)["auroc"]] * 2)
    assert (found.value, found.positive) == (0, 0)
    assert np.isnan([found.low, found.high, found.p]).all()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), sizes=st.lists(st.integers(1, 40), min_size=6, max_size=12))
def test_intervals_stay_on_their_scale_and_hold_their_figure(seed, sizes):
    models = [pure({"HEM": sizes[::2], "ALL": sizes[1::2]}, seed=seed + i, spread=2 * i) for i in (0, 1)]
    figures = [intervals.figures(model) for model in models]
    for figure in figures[0].values():
        ends = intervals.interval(figure)
        if not isinstance(ends, str):
            assert 0 <= ends[0] <= figure.value <= ends[1] <= 1
    for name in intervals.METRICS:
        found, back = (intervals.difference(one[name], two[name]) for one, two in (figures, figures[::-1]))
        assert back.value == pytest.approx(-found.value)
        if not np.isnan(found.low):
            assert -1 <= found.low <= found.value <= found.high <= 1


def test_holm_is_the_step_down_adjustment():
    p = np.array([0.04, np.nan, 0.01, 0.03, 0.5])
    np.testing.assert_allclose(comparisons.holm(p), [0.09, np.nan, 0.04, 0.09, 0.5])
    assert comparisons.holm(np.array([0.9, 0.8])).tolist() == [1, 1]
    assert np.isnan(comparisons.holm(np.array([np.nan]))).all()


def test_only_declared_pairs_are_compared():
    pairs = comparisons.declared(["efficientnet", "noisy_student"], ["noisy_student"], same_labels=True)
    assert pairs == [
        ("efficientnet/majority", "baseline/area"), ("noisy_student/majority", "baseline/area"),
        ("noisy_student/majority", "efficientnet/majority"),
        ("efficientnet/majority", "efficientnet/folds"), ("noisy_student/majority", "noisy_student/folds"),
        ("noisy_student/folds", "noisy_student/teachers"), ("noisy_student/folds", "efficientnet/folds"),
    ]  # fmt: skip
    assert comparisons.declared(["linear_probe"], [], same_labels=True)[1:] == [
        ("linear_probe/majority", "linear_probe/folds")
    ]


def test_predictive_values_follow_from_the_rates_and_the_stated_share():
    hit, miss = (intervals.SubjectMean(0.8, np.full(4, 0.8), np.full(4, 0.02), 4) for _ in range(2))
    assert intervals.predictive_value(hit, miss, 0.5)["value"] == pytest.approx(0.8)
    # One positive in ten: 0.08 true alarms beside 0.18 false ones.
    rare = intervals.predictive_value(hit, miss, 0.1)
    assert rare["value"] == pytest.approx(0.08 / 0.26, abs=1e-6)
    assert 0 < rare["low"] < rare["value"] < rare["high"] < 1
    nobody = replace(hit, value=np.nan)
    never = intervals.predictive_value(replace(hit, value=0.0), replace(miss, value=1.0), 0.1)
    assert intervals.predictive_value(nobody, miss, 0.1)["value"] is never["value"] is None
    assert intervals.predictive_value(hit, replace(miss, value=1.0), 0.1) == {"value": 1, "low": None, "high": None}
    assert intervals.predictive_value(hit, replace(miss, fewest=2), 0.1)["low"] is None
