"""A small part of `python -m benchmarks.coverage`, whose table is in the documents."""

import numpy as np

from benchmarks import coverage
from job.evaluation import intervals
from job.seeds import generator


def test_the_counts_are_those_of_the_data_set():
    assert (len(coverage.HEM), sum(coverage.HEM), len(coverage.ALL), sum(coverage.ALL)) == (37, 4037, 57, 8491)
    assert (sum(coverage.PRELIMINARY_HEM), sum(coverage.PRELIMINARY_ALL)) == (648, 1219)
    hem, ill = coverage.sizes("4/11", generator(1, "test"))
    assert (len(hem), len(ill)) == (4, 11)
    assert abs(hem.sum() / 578 - 1) <= 0.1
    assert abs(ill.sum() / 1836 - 1) <= 0.1


def test_the_true_figures_are_those_of_very_many_subjects():
    many = np.full(3000, 4), np.full(3000, 4)
    (block,) = coverage.simulate(many, [coverage.MEANS], 1.0, generator(2, "test"))
    known = coverage.truth(coverage.MEANS, 1.0)
    for name, figure in intervals.figures(block).items():
        assert abs(figure.value - known[name]) < 4 * figure.error, name


def test_four_subjects_are_covered_over_subjects_and_not_over_cells():
    runs = [coverage.one_test_set("4/11", 1.0, generator(3, "test", i)) for i in range(150)]
    held, width, alone, equal = (
        np.array([getattr(one, what)["balanced_accuracy"][k] for one in runs])
        for what, k in (("figure", 0), ("figure", 1), ("alone", 0), ("equal", 0))
    )
    assert held.mean() >= 0.93
    assert alone.mean() < 0.6
    assert equal.mean() >= 0.95
    assert np.median(width) < 0.5, "the jackknife's was 0.87 to 1.00"
    assert coverage.row("4/11", "auroc", [runs]).count("|") == 10
