import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from job.evaluation import intervals
from job.evaluation.intervals import Replicates
from job.evaluation.metrics import METRICS


def of_means(values, resamples=20_000, stratum=None):
    """Replicates of the mean of equally large subjects, all of one class."""
    n = len(values)
    drawn = np.random.default_rng(5).choice(values, (resamples, n)).mean(axis=1)
    left_out = (values.sum() - values) / (n - 1)
    return Replicates(
        np.array([values.mean()]), drawn[:, None], left_out[:, None], np.zeros(n, int), np.full(n, 10)
    )  # fmt: skip


@pytest.fixture
def values():
    return np.random.default_rng(3).gamma(2.0, 0.1, 12)


def test_the_percentile_interval_is_that_of_the_resamples(values):
    found = of_means(values)
    expected = np.quantile(found.resampled[:, 0], [0.025, 0.975])
    np.testing.assert_allclose(intervals.percentile(found)[:, 0], expected)


def test_bca_is_scipys(values):
    found = intervals.bca(of_means(values, 200_000))[:, 0]
    done = stats.bootstrap((values,), np.mean, n_resamples=50_000, method="BCa", rng=np.random.default_rng(8))
    low, high = done.confidence_interval
    plain = np.quantile(of_means(values).resampled, [0.025, 0.975])
    assert abs(plain - [low, high]).max() > 0.01, "the correction must show for the comparison to mean something"
    np.testing.assert_allclose(found, [low, high], atol=0.003)


def test_resamples_without_a_value_are_passed_over_up_to_a_twentieth(values):
    found = of_means(values, 1000)
    found.resampled[:40] = np.nan
    expected = np.quantile(found.resampled[40:, 0], [0.025, 0.975])
    np.testing.assert_allclose(intervals.percentile(found)[:, 0], expected)
    found.resampled[:60] = np.nan
    assert np.isnan(intervals.percentile(found)).all()


def test_the_jackknife_of_a_mean_of_equal_subjects_is_students_interval(values):
    found = intervals.jackknife_t(of_means(values), ["difference"])[:, 0]
    low, high = stats.ttest_1samp(values, 0).confidence_interval()
    np.testing.assert_allclose(found, [low, high])


def test_rates_stay_within_bounds_and_others_on_their_scale(values):
    found = of_means(values / values.mean() * 0.9)
    low, high = intervals.jackknife_t(found, ["unit"])[:, 0]
    assert 0 < low < 0.9 < high < 1
    # The same half-width on the logit scale, to both sides.
    logit = np.log([low / (1 - low), 0.9 / 0.1, high / (1 - high)])
    assert np.diff(logit)[0] == pytest.approx(np.diff(logit)[1])
    low, high = intervals.jackknife_t(found, ["positive"])[:, 0]
    assert low * high == pytest.approx(0.81)


def test_two_classes_add_their_variances_and_count_the_smaller():
    left_out = np.array([0.6, 0.7, 0.8, 0.71, 0.69, 0.72, 0.68])[:, None]
    stratum = np.array([0, 0, 0, 1, 1, 1, 1])
    found = Replicates(np.array([0.7]), np.empty((0, 1)), left_out, stratum, np.full(7, 5))
    parts = [(n - 1) / n * ((own - own.mean()) ** 2).sum() for n, own in ((3, left_out[:3]), (4, left_out[3:]))]
    half = stats.t.ppf(0.975, 2) * np.sqrt(sum(parts))
    np.testing.assert_allclose(intervals.jackknife_t(found, ["difference"])[:, 0], [0.7 - half, 0.7 + half])


def test_subjects_of_unequal_size_count_as_fewer(values):
    found = of_means(values)
    one_large = Replicates(*list(vars(found).values())[:-1], images=np.append(np.full(11, 1), 100))
    equal, unequal = (np.ptp(intervals.jackknife_t(r, ["difference"])) for r in (found, one_large))
    assert unequal > 1.5 * equal


@pytest.mark.parametrize("subjects", [1, 2])
def test_a_class_of_too_few_subjects_that_matters_leaves_no_interval(subjects):
    left_out = np.linspace(0.6, 0.8, subjects + 5)[:, None]
    stratum = np.append(np.zeros(subjects, int), np.ones(5, int))
    found = Replicates(np.array([0.7]), np.empty((0, 1)), left_out, stratum, np.full(subjects + 5, 9))
    assert np.isnan(intervals.jackknife_t(found, ["unit"])).all()
    left_out[:subjects] = 0.6
    assert np.isnan(intervals.jackknife_t(found, ["unit"])).all(), "alike, yet they matter"
    left_out[:subjects] = 0.7
    assert not np.isnan(intervals.jackknife_t(found, ["unit"])).any()


def test_a_figure_that_no_subject_moves_has_no_interval():
    found = Replicates(np.ones(1), np.ones((50, 1)), np.ones((6, 1)), np.zeros(6, int), np.full(6, 9))
    assert np.isnan(intervals.jackknife_t(found, ["unit"])).all()
    assert np.isnan(intervals.jackknife_t(found, ["difference"])).all()


def test_paired_differences_cancel_what_both_share(values):
    one, two = of_means(values), of_means(values - 0.05)
    paired = one - two
    assert paired.estimate == pytest.approx(0.05)
    assert np.ptp(intervals.percentile(paired)) < 1e-12
    assert np.ptp(intervals.percentile(one)) > 0.05


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (3, 17), (160, 167)])
def test_exact_intervals_are_those_of_clopper_and_pearson(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(method="exact")
    assert intervals.exact(successes, trials) == pytest.approx((expected.low, expected.high))


def test_four_subjects_are_covered_by_the_jackknife_and_not_by_the_bootstrap():
    """A fifth of `python -m benchmarks.coverage`, whose table is in the README."""
    inside = coverage.covered("4/11", coverage.USUAL, simulations=200, resamples=200)
    share = {name: np.nanmean(rows[:, METRICS.index("specificity")]) for name, rows in inside.items()}
    assert share["images, percentile"] < 0.5
    assert share["subjects, percentile"] < 0.85
    assert share["subjects, jackknife t"] >= 0.93
