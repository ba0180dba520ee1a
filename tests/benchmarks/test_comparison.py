from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from benchmarks.comparison import Comparison, Difference
from job.contracts.dataset import Dataset
from job.errors import UserError

DATASET = Dataset("two", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
SUBJECTS, CELLS = 30, 8


def drawn(skill: float, seed: int, *, order: int = 0) -> pd.DataFrame:
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


def recall(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Each subject's share of correct cells, by class."""
    correct = (table["label"] == table["predicted"]).groupby([table["label"], table["subject"]]).mean()
    return {name: correct[name] for name in ("HEM", "ALL")}


def compare(one: list[pd.DataFrame], two: list[pd.DataFrame], metric: str = "auroc") -> Difference:
    return Comparison({"one": one, "two": two}, DATASET).differences([("one", "two")], metric)["one", "two"]


def test_figures_are_means_over_the_seeds():
    tables = [drawn(0.5, seed) for seed in (1, 2, 3)]
    found = Comparison({"one": tables}, DATASET)
    # Subjects of equal size: every subject counting once is every cell counting once.
    assert found.figure("one", "auroc")["value"] == pytest.approx(np.mean([auroc(t) for t in tables]), abs=1e-6)
    balanced = np.mean([balanced_accuracy_score(table["label"], table["predicted"]) for table in tables])
    assert found.figure("one", "balanced_accuracy")["value"] == pytest.approx(balanced, abs=1e-6)
    assert (found.images, found.subjects) == (SUBJECTS * CELLS, SUBJECTS)


def test_scores_of_two_networks_are_not_compared():
    """Each has its own half of the subjects; one is surer of ALL throughout, which changes no order in its half."""
    table, other = drawn(0.5, 1), drawn(0.8, 2)
    table["network"] = other["network"] = np.where(table["subject"].str[1:].astype(int) < SUBJECTS // 2, "a", "b")
    shifted = table.copy()
    logit = np.log(table["p_ALL"] / table["p_HEM"]) + 3 * (table["network"] == "a")
    shifted["p_ALL"] = 1 / (1 + np.exp(-logit))
    shifted["p_HEM"] = 1 - shifted["p_ALL"]
    assert auroc(shifted) < auroc(table) - 0.05
    plain, moved = (Comparison({"one": [one], "two": [other]}, DATASET) for one in (table, shifted))
    assert moved.figure("one", "auroc") == plain.figure("one", "auroc")
    assert moved.differences([("one", "two")], "auroc") == plain.differences([("one", "two")], "auroc")
    own = [auroc(part) for _, part in table.groupby("network")]
    assert plain.figure("one", "auroc")["value"] == pytest.approx(np.mean(own), abs=1e-6)


def test_a_network_with_few_subjects_makes_the_interval_wide():
    """Degrees of freedom are Satterthwaite's (1946), of the networks' variances."""
    one, two = drawn(0.6, 1), drawn(0.5, 4)
    one["network"] = two["network"] = np.where(one["subject"].str[1:].astype(int) < 8, "few", "many")
    variances = []
    for network, smaller_class in (("few", 4), ("many", 11)):
        alone = compare([one[one["network"] == network]], [two[two["network"] == network]])
        variances.append(((alone.high - alone.low) / 2 / stats.t.ppf(0.975, smaller_class - 1) / 2) ** 2)
    found = compare([one], [two])
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 3 + variances[1] ** 2 / 10)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.value) / np.sqrt(sum(variances)), freedom))


def test_of_one_subject_of_a_class_nothing_is_known():
    one, two = drawn(0.6, 1), drawn(0.5, 4)
    subject = one["subject"].str[1:].astype(int)
    network = np.where((subject % 2 == 1) & (subject < 20), "one", "many")
    one["network"] = two["network"] = np.where(subject == 0, "one", network)  # one healthy subject, ten with ALL
    found = Comparison({"one": [one], "two": [two]}, DATASET)
    assert found.figure("one", "auroc")["low"] is None
    assert np.isnan(found.differences([("one", "two")], "auroc")["one", "two"].p)


def test_differences_are_paired_by_seed_whatever_the_order_of_the_rows():
    one, two = [drawn(1.0, seed, order=seed) for seed in (1, 2)], [drawn(0.5, seed) for seed in (11, 12)]
    found = compare(one, two)
    by_seed = [auroc(a) - auroc(b) for a, b in zip(one, two, strict=True)]
    assert found.by_seed == pytest.approx(by_seed)
    assert found.value == pytest.approx(np.mean(by_seed))


def test_of_one_seed_the_error_is_of_subjects_alone():
    one, two = drawn(0.6, 1), drawn(0.5, 4)
    found = compare([one], [two], "balanced_accuracy")
    hem, ill = (recall(one)[name] - recall(two)[name] for name in ("HEM", "ALL"))
    error = np.sqrt(hem.var() / len(hem) + ill.var() / len(ill)) / 2
    low, high = stats.t(len(hem) - 1, (hem.mean() + ill.mean()) / 2, error).interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_variances_of_subjects_and_of_seeds_add_up():
    one, two = [drawn(0.6, seed) for seed in (1, 2, 3)], [drawn(0.5, seed) for seed in (4, 5, 6)]
    found = compare(one, two, "balanced_accuracy")
    means = [
        pd.concat([recall(a)[name] - recall(b)[name] for a, b in zip(one, two, strict=True)], axis=1).mean(axis=1)
        for name in ("HEM", "ALL")
    ]
    of_subjects = sum(own.var() / len(own) for own in means) / 4
    of_seeds = np.var(found.by_seed, ddof=1) / 3
    freedom = (of_subjects + of_seeds) ** 2 / (of_subjects**2 / 14 + of_seeds**2 / 2)
    p = 2 * stats.t.sf(abs(found.value) / np.sqrt(of_subjects + of_seeds), freedom)
    assert found.p == found.p_holm == pytest.approx(p)


def test_seeds_are_no_further_subjects():
    """The same networks three times over tell nothing new: the interval of the figure stays as wide."""
    once, thrice = (Comparison({"one": [drawn(0.6, 1)] * n}, DATASET).figure("one", "auroc") for n in (1, 3))
    assert once == pytest.approx(thrice)


def test_verdicts_are_adjusted_for_the_number_of_differences():
    models = {"base": [drawn(0.6, 1), drawn(0.6, 2)], "better": [drawn(2.5, 7), drawn(2.5, 8)]}
    models |= {f"same-{n}": [drawn(0.6, 30 + n), drawn(0.6, 40 + n)] for n in range(6)}
    pairs = [(name, "base") for name in models if name != "base"]
    found = Comparison(models, DATASET).differences(pairs, "auroc")
    assert found["better", "base"].verdict == "better"
    assert compare(models["base"], models["better"]).verdict == "worse"
    assert all(one.p_holm >= one.p for one in found.values())
    assert {found[f"same-{n}", "base"].verdict for n in range(6)} == {"not told apart"}
    near = replace(found["better", "base"], p=0.02, p_holm=0.06)
    assert near.verdict == "not told apart"


def test_runs_with_other_test_images_are_refused():
    with pytest.raises(UserError, match="different images"):
        Comparison({"one": [drawn(0.6, 1)], "two": [drawn(0.6, 2).iloc[1:]]}, DATASET)
