"""Every figure of results/, computed again from results/predictions.csv with pandas, scipy and scikit-learn.

Nothing of job/ is imported: this is what a reader with the files could write.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn.metrics as sk
from scipy import optimize, stats

BY_SUBJECT = ("balanced_accuracy", "sensitivity", "specificity", "auroc")
TEXT = ["model", "role", "patient", "subject", "label", "predicted", "image"]


def assert_recomputes(evaluation: Path, predictions: Path) -> int:
    """Assert that all evidence follows from the predictions; how many figures of single models were compared."""
    report = json.loads(evaluation.read_text(encoding="utf-8"))
    table = pd.read_csv(predictions, keep_default_na=False, dtype=dict.fromkeys(TEXT, str), low_memory=False)
    groups = dict(list(table.groupby(["model", "role"], sort=False)))
    assert set(groups) == {(model["model"], model["role"]) for model in report["models"]}
    compared = 0
    for model in report["models"]:
        where = f"{model['model']} on {model['role']}"
        rows = groups[model["model"], model["role"]]
        assert not rows["image"].duplicated().any(), where
        assert model["images"] == len(rows), where
        assert model["subjects"] == rows["subject"].nunique(), where
        confusion = sk.confusion_matrix(rows["label"], rows["predicted"], labels=report["classes"])
        assert model["confusion"] == confusion.tolist(), where
        figures = recompute(rows, report["classes"], report["positive"])
        assert set(model["metrics"]) == set(figures), where
        assert set(model["undefined"]) == {name for name, value in model["metrics"].items() if value is None}, where
        for name, value in model["metrics"].items():
            if value is not None:
                np.testing.assert_allclose(value, figures[name](), rtol=1e-9, atol=1e-12, err_msg=f"{where}: {name}")
                compared += 1
        compared += _check_by_subject(model, rows, report, where)
    _check_tables(report)
    _check_differences(report, groups, evaluation.with_name("differences.csv"))
    _check_patients(report, groups)
    _check_decisions(report, groups)
    return compared


def recompute(rows: pd.DataFrame, classes: list[str], positive: str | None):
    """Functions that compute each figure, every cell counting once, from rows of results/predictions.csv."""
    truth, predicted = rows["label"], rows["predicted"]
    # scikit-learn takes probability columns in alphabetical order of the class names.
    p = rows[[f"p_{name}" for name in sorted(classes)]].to_numpy()
    names = reported(classes, positive)

    def against_rest(metric, *, inverted=False):
        def over_classes():
            return np.mean([metric((truth == name) != inverted, (predicted == name) != inverted) for name in names])

        return over_classes

    def ranking(metric):
        return lambda: np.mean([metric(truth == name, rows[f"p_{name}"]) for name in names])

    return {
        "accuracy": lambda: sk.accuracy_score(truth, predicted),
        "sensitivity": against_rest(sk.recall_score),
        "specificity": against_rest(sk.recall_score, inverted=True),
        "ppv": against_rest(sk.precision_score),
        "npv": against_rest(sk.precision_score, inverted=True),
        "f1": against_rest(sk.f1_score),
        "weighted_f1": lambda: sk.f1_score(truth, predicted, average="weighted"),
        "macro_f1": lambda: sk.f1_score(truth, predicted, average="macro"),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(truth, predicted),
        "mcc": lambda: sk.matthews_corrcoef(truth, predicted),
        "cohen_kappa": lambda: sk.cohen_kappa_score(truth, predicted),
        "auroc": ranking(sk.roc_auc_score),
        "auprc": ranking(sk.average_precision_score),
        "brier": lambda: ((p - np.array([truth == name for name in sorted(classes)]).T) ** 2).sum(axis=1).mean() / 2,
        "log_loss": lambda: sk.log_loss(truth, p, labels=sorted(classes)),
        "ece": lambda: ece(rows),
    }


def reported(classes, positive):
    return [positive] if len(classes) == 2 else classes


def ece(rows):
    """Guo et al. 2017, bin by bin, of the class that is predicted."""
    sure = np.array([row[f"p_{row['predicted']}"] for row in rows.to_dict("records")])
    correct = (rows["label"] == rows["predicted"]).to_numpy()
    bins = [(sure > k / 15) & (sure <= (k + 1) / 15) for k in range(15)]
    return sum(b.sum() * abs(sure[b].mean() - correct[b].mean()) for b in bins if b.any()) / len(rows)


# Figures in which every subject counts once. A figure is a weighted sum of samples: [(weight, {subject: value})], and
# what it is a mean of, so that samples of different subjects add their variances and those of the same add up first.


def samples(rows, classes, positive):
    """By metric the samples that it is made of."""
    names = reported(classes, positive)
    recall = {
        name: _means(rows[rows["label"] == name], lambda own: own["predicted"] == own["label"]) for name in classes
    }
    cleared = [
        _means(rows[rows["label"] != name], lambda own, name=name: own["predicted"] != name) for name in names
    ]  # fmt: skip
    ranked = [_chances(rows, name) for name in names]
    return {
        "balanced_accuracy": [(1 / len(classes), recall[name]) for name in classes],
        "sensitivity": [(1 / len(names), recall[name]) for name in names],
        "specificity": [(1 / len(names), one) for one in cleared],
        # Both sides of an AUROC have its value as their mean: a half of either for the value, the whole of both errors.
        "auroc": [(1 / len(names) / 2, side) for pair in ranked for side in pair],
    }


def _means(rows, judge):
    return {} if rows.empty else judge(rows).groupby(rows["subject"]).mean().to_dict()


def _chances(rows, name):
    """Pair by pair of subjects the chance of one's cell to score above the other's; then each subject's mean."""
    sides = [
        {subject: own[f"p_{name}"].to_numpy() for subject, own in rows[which].groupby("subject")}
        for which in (rows["label"] == name, rows["label"] != name)
    ]
    won = pd.DataFrame({
        other: {
            one: np.mean((a[:, None] > b) + (a[:, None] == b) / 2) for one, a in sides[0].items()
        } for other, b in sides[1].items()
    })  # fmt: skip
    return won.mean(axis=1).to_dict(), won.mean(axis=0).to_dict()


def value_and_error(parts, *, auroc=False):
    """Value, standard error, the fewest subjects of a sample, and every subject's own figure."""
    value = sum(weight * np.mean(list(sample.values())) for weight, sample in parts)
    deviation, own = {}, {}
    for weight, sample in parts:
        mean, n = np.mean(list(sample.values())), len(sample)
        for subject, one in sample.items():
            scale = weight * (2 if auroc else 1) / np.sqrt(n * (n - 1)) if n > 1 else 0
            deviation[subject] = deviation.get(subject, 0) + scale * (one - mean)
            own.setdefault(subject, []).append(one)
    error = np.sqrt(sum(one**2 for one in deviation.values()))
    return value, error, min(len(sample) for _, sample in parts), {name: np.mean(one) for name, one in own.items()}


def interval(parts, *, auroc=False):
    value, error, fewest, own = value_and_error(parts, auroc=auroc)
    if fewest < 3:
        return value, None
    if len(own) == fewest and set(own.values()) <= {0, 1}:
        ends = stats.binomtest(round(sum(own.values())), len(own)).proportion_ci()
        return value, (ends.low, ends.high)
    if error < 1e-9:
        return value, None
    ends = stats.t(fewest - 1, np.log(value / (1 - value)), error / (value * (1 - value))).interval(0.95)
    return value, tuple(1 / (1 + np.exp(-np.array(ends))))


def _check_by_subject(model, rows, report, where):
    assert tuple(model["by_subject"]) == BY_SUBJECT, where
    made = samples(rows, report["classes"], report["positive"])
    for metric, entry in model["by_subject"].items():
        assert (entry["low"] is None) == (entry["high"] is None) == (metric in model["no_interval"]), where
        if metric in model["undefined"]:
            assert entry["value"] is None, where
            continue
        _same(entry, interval(made[metric], auroc=metric == "auroc"), f"{where}: {metric} by subject")
    return len(BY_SUBJECT)


def _same(entry, computed, where):
    value, ends = computed
    np.testing.assert_allclose(entry["value"], value, atol=1e-6, err_msg=where)
    if ends is None:
        assert entry["low"] is None, where
    else:
        np.testing.assert_allclose([entry["low"], entry["high"]], ends, atol=2e-6, err_msg=where)


def _mean_of(groups, names, report):
    """Samples of several models of the same subjects, averaged."""
    all_samples = [samples(groups[name, "test"], report["classes"], report["positive"]) for name in names]
    return {
        metric: [
            (parts[0][k][0], {s: np.mean([part[k][1][s] for part in parts]) for s in parts[0][k][1]})
            for k in range(len(parts[0]))
        ]
        for metric in BY_SUBJECT
        for parts in [[one[metric] for one in all_samples]]
    }


def _check_differences(report, groups, path):
    table = pd.read_csv(path, dtype={"model": str, "other": str})
    cache = {}

    def of(name):
        if name not in cache:
            method, _, rest = name.partition("/")
            kinds = {"folds": ("fold", None), "teachers": ("iteration", 0)}
            members = [
                m["model"] for m in report["models"]
                if rest in kinds and m["role"] == "test" and m["method"] == method and m["kind"] == kinds[rest][0]
                and kinds[rest][1] in (None, m["iteration"])
            ] or [name]  # fmt: skip
            cache[name] = _mean_of(groups, members, report)
        return cache[name]

    p = []
    for row in table.itertuples():
        where, auroc = f"{row.model} less {row.other}: {row.metric}", row.metric == "auroc"
        paired = [
            (weight, {s: one[s] - other[s] for s in one})
            for (weight, one), (_, other) in zip(of(row.model)[row.metric], of(row.other)[row.metric], strict=True)
        ]
        value, error, fewest, own = value_and_error(paired, auroc=auroc)
        np.testing.assert_allclose(row.difference, value, rtol=1e-5, atol=1e-9, err_msg=where)
        assert row.subjects == len(own), where
        assert row.positive == sum(one > 1e-9 for one in own.values()), where
        assert row.negative == sum(one < -1e-9 for one in own.values()), where
        if fewest < 4 or error < 1e-9:
            assert np.isnan([row.low, row.high, row.p]).all(), where
            p.append(np.nan)
            continue
        t = stats.t(fewest - 1, value, error)
        ends = np.clip(t.interval(0.95), -1, 1)
        np.testing.assert_allclose([row.low, row.high], ends, rtol=1e-5, atol=1e-9, err_msg=where)
        p.append(2 * stats.t.sf(abs(value) / error, fewest - 1))
        np.testing.assert_allclose(row.p, p[-1], rtol=1e-5, err_msg=where)
    ordered = sorted((one, i) for i, one in enumerate(p) if not np.isnan(one))
    worst = 0
    for rank, (one, i) in enumerate(ordered):
        worst = max(worst, min(1, one * (len(ordered) - rank)))
        np.testing.assert_allclose(table["p_holm"][i], worst, rtol=1e-5)


def _check_patients(report, groups):
    for entry in report["patients"]:
        rows = groups[entry["model"], entry["role"]]
        assert [r["accuracy"] for r in entry["subjects"]] == sorted(r["accuracy"] for r in entry["subjects"])
        assert {r["subject"] for r in entry["subjects"]} == set(rows["subject"])
        for row in entry["subjects"]:
            own = rows[rows["subject"] == row["subject"]]
            assert (row["images"], row["correct"]) == (len(own), (own["label"] == own["predicted"]).sum())
            for key, column in (("truth", "label"), ("predicted", "predicted")):
                assert row[key] == [(own[column] == name).sum() for name in report["classes"]]
            if report["positive"]:
                share = (own["predicted"] == report["positive"]).sum()
                ends = stats.binomtest(share, len(own)).proportion_ci()
                found = [row[key] for key in ("share_positive", "low", "high")]
                np.testing.assert_allclose(found, (share / len(own), ends.low, ends.high), atol=1e-12)


def _temper(p, temperature):
    powers = np.maximum(p, 1e-12) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def _best_temperature(p, truth):
    def loss(log):
        return -np.log(np.maximum(_temper(p, np.exp(log))[np.arange(len(p)), truth], 1e-300)).mean()

    grid = np.linspace(np.log(0.05), np.log(20), 200)
    at = int(np.argmin([loss(one) for one in grid]))
    ends = grid[max(at - 1, 0)], grid[min(at + 1, 199)]
    return np.exp(optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-8}).x)


def _check_decisions(report, groups):
    classes = report["classes"]
    columns = [f"p_{name}" for name in classes]
    for entry in report["calibration"]:
        method = entry["method"]
        validation = groups.get((f"{method}/out_of_fold", "validation"), groups.get((method, "validation")))
        truth = validation["label"].map(classes.index).to_numpy()
        p = validation[columns].to_numpy()
        np.testing.assert_allclose(entry["temperature"], _best_temperature(p, truth), rtol=1e-4)
        calibrated = groups[f"{method}/calibrated", "test"]
        folds = [own for (name, role), own in groups.items() if name.startswith(f"{method}/fold-")
                 and "iteration" not in name and role == "test"]  # fmt: skip
        if folds:
            powers = np.exp(np.mean([np.log(np.maximum(own[columns].to_numpy(), 1e-12)) for own in folds], axis=0))
            np.testing.assert_allclose(calibrated[columns], _temper(powers, entry["temperature"]), atol=1e-9)
            untempered = calibrated.copy()
            untempered[columns] = _temper(powers, 1)
            votes = sum(
                (own[columns].to_numpy().argmax(1)[:, None] == np.arange(len(classes))).astype(int) for own in folds
            )
            majority = groups[f"{method}/majority", "test"]
            assert (majority[[f"votes_{name}" for name in classes]].to_numpy(dtype=float) == votes).all()
            means = np.mean([own[columns].to_numpy() for own in folds], axis=0)
            np.testing.assert_allclose(majority[columns], means, atol=1e-12)
            winner = (votes + means / 10).argmax(axis=1)
            assert majority["predicted"].tolist() == [classes[w] for w in winner]
        after = validation.copy()
        after[columns] = _temper(p, entry["temperature"])
        after["predicted"] = [classes[c] for c in after[columns].to_numpy().argmax(axis=1)]
        before = untempered if folds else groups[method, "test"]
        parts = {("validation", "before"): validation, ("validation", "after"): after,
                 ("test", "before"): before, ("test", "after"): calibrated}  # fmt: skip
        for (role, when), rows in parts.items():
            _check_calibration(entry[role][when], rows, report)
        for point in next((e["points"] for e in report["operating_points"] if e["method"] == method), []):
            _check_point(point, after, calibrated, report)
        for curve in (e["decision_curve"] for e in report["operating_points"] if e["method"] == method):
            _check_net_benefit(curve, after, calibrated, report["positive"])
        _check_abstention(next(e for e in report["abstention"] if e["method"] == method), after, calibrated, columns)


def _check_calibration(entry, rows, report):
    columns = [f"p_{name}" for name in report["classes"]]
    figures = recompute(rows, report["classes"], report["positive"])
    for name, value in entry["metrics"].items():
        if value is not None:
            np.testing.assert_allclose(value, figures[name](), rtol=1e-5, atol=1e-9)
    truth = rows["label"].map(report["classes"].index).to_numpy()
    np.testing.assert_allclose(entry["slope"], 1 / _best_temperature(rows[columns].to_numpy(), truth), rtol=1e-3)
    draw = np.random.default_rng(1)
    sure = np.array([row[f"p_{row['predicted']}"] for row in rows.to_dict("records")])
    bins = np.ceil(sure * 15)
    drawn = [
        sum(abs((sure - hit)[bins == k].sum()) for k in np.unique(bins)) / len(sure)
        for hit in draw.random((400, len(sure))) < sure
    ]
    np.testing.assert_allclose(entry["ece_if_calibrated"]["mean"], np.mean(drawn), rtol=0.1, atol=1e-6)
    np.testing.assert_allclose(entry["ece_if_calibrated"]["high"], np.quantile(drawn, 0.95), rtol=0.2, atol=1e-6)
    for name, bins in entry["reliability"].items():
        for one in bins:
            p = rows[f"p_{name}"]
            inside = (p > one["low"]) & (p <= one["high"]) | ((p == 0) & (one["low"] == 0))
            assert one["images"] == inside.sum()
            assert one["happened"] == (rows.loc[inside, "label"] == name).sum()
            if inside.any():
                np.testing.assert_allclose(one["mean_probability"], p[inside].mean())


def _check_point(point, validation, test, report):
    """The thresholds by trying all that lie between two neighbouring scores."""
    if point["threshold"] is None:
        assert validation["label"].nunique() == 1
        return
    score, ill = validation[f"p_{report['positive']}"], validation["label"] == report["positive"]
    levels = sorted({0.0, *score})
    tried = sorted(((a + b) / 2 for a, b in pairwise(levels)), reverse=True)
    rates = [((score >= t)[ill].mean(), (score < t)[~ill].mean(), t) for t in tried] if point["name"] != "half" else []
    counts = ill.sum(), (~ill).sum()
    best = {
        "half": lambda: 0.5,
        "sensitivity": lambda: next(t for sensitivity, _, t in rates if sensitivity >= 0.95),
        "youden": lambda: max(rates, key=lambda rate: (round(rate[0] + rate[1], 9), rate[2]))[2],
        "cost": lambda: min(
            rates, key=lambda rate: (round((1 - rate[1]) * counts[1] + 5 * (1 - rate[0]) * counts[0], 6), -rate[2])
        )[2],
    }[point["name"]]()
    np.testing.assert_allclose(point["threshold"], best, rtol=1e-6)
    for role, rows in (("validation", validation), ("test", test)):
        called, truth = rows[f"p_{report['positive']}"] >= point["threshold"], rows["label"] == report["positive"]
        expected = [(called & truth).sum(), (~called & truth).sum(), (called & ~truth).sum(), (~called & ~truth).sum()]
        assert [point[role][name] for name in ("TP", "FN", "FP", "TN")] == expected
    other = next(name for name in report["classes"] if name != report["positive"])
    made = samples(test.assign(predicted=np.where(called, report["positive"], other)), report["classes"],
                   report["positive"])  # fmt: skip
    for rate, entry in point["by_subject"].items():
        if entry["value"] is not None:
            _same(entry, interval(made[rate]), rate)
    for row in point["at_prevalences"]:
        share = row["prevalence"]
        hits, cleared = (made[rate][0][1] for rate in ("sensitivity", "specificity"))
        for name, own, others, part in (("ppv", hits, cleared, share), ("npv", cleared, hits, 1 - share)):
            if not hits or not cleared or (np.mean([*own.values()]) == 0 and np.mean([*others.values()]) == 1):
                assert row[name]["value"] is None
            else:
                _same(row[name], _predictive_value(own, others, part), name)


def _predictive_value(hit, miss, share):
    """Bayes' rule for a million cells; the error by the delta method, subject by subject."""
    mean_hit, mean_miss = (np.mean(list(one.values())) for one in (hit, miss))
    good, bad = 1e6 * share * mean_hit, 1e6 * (1 - share) * (1 - mean_miss)
    fewest = min(len(hit), len(miss))
    if not good or not bad or fewest < 3:
        return good / (good + bad), None
    moves = pd.Series(0.0, index=sorted({*hit, *miss}))
    for sample, mean, slope in ((hit, mean_hit, 1 / mean_hit), (miss, mean_miss, 1 / (1 - mean_miss))):
        for subject, value in sample.items():
            moves[subject] += slope * (value - mean) / np.sqrt(len(sample) * (len(sample) - 1))
    error = np.sqrt((moves**2).sum())
    if error < 1e-9:
        return good / (good + bad), None
    ends = stats.t(fewest - 1, np.log(good / bad), error).interval(0.95)
    return good / (good + bad), tuple(1 / (1 + np.exp(-np.array(ends))))


def _check_net_benefit(curve, validation, rows, positive):
    truth = rows["label"] == positive
    for row in curve:
        called = rows[f"p_{positive}"] >= row["threshold"]
        share, odds = (validation["label"] == positive).mean(), row["threshold"] / (1 - row["threshold"])
        np.testing.assert_allclose(row["prevalence"], share)
        expected = share * called[truth].mean() - (1 - share) * called[~truth].mean() * odds
        np.testing.assert_allclose(row["model"], expected, atol=1e-12)
        np.testing.assert_allclose(row["all"], share - (1 - share) * odds, atol=1e-12)


def _check_abstention(entry, validation, test, columns):
    def sure_and_correct(rows):
        names = np.array([column.removeprefix("p_") for column in columns])
        return rows[columns].max(axis=1).to_numpy(), names[rows[columns].to_numpy().argmax(1)] == rows[
            "label"
        ].to_numpy()

    sure, correct = sure_and_correct(validation)
    levels = np.array(sorted(set(sure)))
    allowed = [level for level in levels if (~correct[sure >= level]).mean() <= 0.05]
    if not allowed:
        assert entry["chosen"] is None
    else:
        below = levels[levels < allowed[0]].max(initial=0)
        np.testing.assert_allclose(entry["chosen"]["test"]["confidence"], (allowed[0] + below) / 2, rtol=1e-6)
        for role, rows in (("validation", validation), ("test", test)):
            sure, correct = sure_and_correct(rows)
            kept = sure >= entry["chosen"][role]["confidence"]
            assert (entry["chosen"][role]["kept"], entry["chosen"][role]["errors"]) == (
                kept.sum(), (~correct[kept]).sum()
            )  # fmt: skip
    sure, correct = sure_and_correct(test)
    for point in entry["confidence"]:
        kept = sure >= point["confidence"]
        assert (point["kept"], point["errors"]) == (kept.sum(), (~correct[kept]).sum())
        assert point["kept"] >= min(10, len(test))


def _check_tables(report) -> None:
    for method, rows in report.get("table2", {}).items():
        folds = [m for m in report["models"] if m["method"] == method and m["kind"] == "fold" and m["role"] == "test"]
        assert [m["fold"] for m in folds] == report["folds"]
        for metric, row in rows.items():
            values = pd.Series([m["metrics"][metric] for m in folds], dtype=float)
            assert row["folds"] == [m["metrics"][metric] for m in folds]
            for name, value in (("mean", values.mean(skipna=False)), ("variance", values.var(skipna=False))):
                if row[name] is None:
                    assert np.isnan(value)
                else:
                    np.testing.assert_allclose(row[name], value, rtol=1e-9, atol=1e-15)
    models = {m["model"]: m for m in report["models"]}
    for row in report.get("table3", []):
        expected = (
            models[f"{row['method']}/majority"]["metrics"]
            if row["kind"] == "ensemble"
            else {metric: values["mean"] for metric, values in report["table2"][row["method"]].items()}
        )
        assert row["metrics"] == expected
