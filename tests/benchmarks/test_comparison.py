import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from benchmarks.comparison import Comparison
from job.contracts.dataset import Dataset
from job.errors import UserError
from job.evaluation import intervals
from job.evaluation.metrics import METRICS

DATASET = Dataset("two", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
SUBJECTS, CELLS = 30, 8


def said(skill: float, seed: int, *, order: int = 0) -> pd.DataFrame:
    """Predictions of the same images by another model: a larger skill separates the classes further."""
    code = np.repeat(np.arange(SUBJECTS), CELLS)
    truth = code % 2
    p = 1 / (1 + np.exp(-(skill * (2 * truth - 1) + np.random.default_rng(seed).normal(0, 1, len(code)))))
    table = pd.DataFrame({
        "image": [f"{number:03}" for number in range(len(code))],
        "subject": [f"s{number}" for number in code],
        "label": np.where(truth == 1, "ALL", "HEM"),
        "predicted": np.where(p > 0.5, "ALL", "HEM"),
        "p_HEM": 1 - p,
        "p_ALL": p,
    })  # fmt: skip
    return table.sample(frac=1, random_state=order) if order else table


def auroc(table: pd.DataFrame) -> float:
    return roc_auc_score(table["label"] == "ALL", table["p_ALL"])


def test_figures_are_means_over_the_seeds():
    tables = [said(0.5, seed) for seed in (1, 2, 3)]
    found = Comparison({"one": tables}, DATASET)
    assert found.figure("one", "auroc").estimate == pytest.approx(np.mean([auroc(table) for table in tables]))
    balanced = [balanced_accuracy_score(table["label"], table["predicted"]) for table in tables]
    assert found.figure("one", "balanced_accuracy").estimate == pytest.approx(np.mean(balanced))
    assert (found.images, found.subjects) == (SUBJECTS * CELLS, SUBJECTS)


def test_differences_are_paired_by_seed_whatever_the_order_of_the_rows():
    one, two = [said(1.0, seed, order=seed) for seed in (1, 2)], [said(0.5, seed) for seed in (11, 12)]
    found = Comparison({"one": one, "two": two}, DATASET).difference("one", "two", "auroc")
    by_seed = [auroc(a) - auroc(b) for a, b in zip(one, two, strict=True)]
    assert found.by_seed == pytest.approx(by_seed)
    assert found.interval.estimate == pytest.approx(np.mean(by_seed))
    assert found.verdict == "better"


def test_the_interval_is_the_jackknife_of_the_mean_over_seeds():
    """Leaving one subject out, for every seed at once, worked out the long way."""
    one, two = [said(0.6, seed) for seed in (1, 2, 3)], [said(0.5, seed) for seed in (4, 5, 6)]
    found = Comparison({"one": one, "two": two}, DATASET).difference("one", "two", "auroc").interval

    def without(name: str) -> float:
        return np.mean([
            auroc(a[a["subject"] != name]) - auroc(b[b["subject"] != name]) for a, b in zip(one, two, strict=True)
        ])  # fmt: skip

    names = sorted(set(one[0]["subject"]), key=lambda name: int(name[1:]))
    left_out = np.tile(np.array([without(name) for name in names])[:, None], len(METRICS))
    estimate = np.full(len(METRICS), np.mean([auroc(a) - auroc(b) for a, b in zip(one, two, strict=True)]))
    stratum = np.arange(SUBJECTS) % 2
    long_way = intervals.Replicates(estimate, left_out[:1], left_out, stratum, np.full(SUBJECTS, CELLS))
    low, high = intervals.jackknife_t(long_way, intervals.DIFFERENCES)[:, 0]
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_seeds_are_no_further_subjects():
    """The same networks three times over tell nothing new: the interval stays as wide."""
    once = Comparison({"one": [said(0.6, 1)], "two": [said(0.5, 2)]}, DATASET)
    thrice = Comparison({"one": [said(0.6, 1)] * 3, "two": [said(0.5, 2)] * 3}, DATASET)
    one, three = (found.difference("one", "two", "auroc").interval for found in (once, thrice))
    assert (one.low, one.high) == pytest.approx((three.low, three.high))


def test_equal_models_are_not_told_apart():
    tables = [said(0.6, 1), said(0.6, 2)]
    found = Comparison({"one": tables, "two": [said(0.6, 3), said(0.6, 4)]}, DATASET).difference("one", "two", "auroc")
    assert found.verdict == "not told apart"
    worse = Comparison({"one": [said(0.2, 1)], "two": [said(1.5, 2)]}, DATASET).difference("one", "two", "auroc")
    assert worse.verdict == "worse"


def test_runs_with_other_test_images_are_refused():
    with pytest.raises(UserError, match="different images"):
        Comparison({"one": [said(0.6, 1)], "two": [said(0.6, 2).iloc[1:]]}, DATASET)
