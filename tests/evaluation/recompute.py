"""Every figure of results/evaluation.json, computed again from results/predictions.csv with scikit-learn.

Nothing of job/ is imported: this is what a reader with the two files could write.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn.metrics as sk


def assert_recomputes(evaluation: Path, predictions: Path) -> int:
    """Assert that each model's counts and figures, tables 2 and 3 follow from the predictions; how many."""
    report = json.loads(evaluation.read_text(encoding="utf-8"))
    text = ["patient", "subject", "label", "predicted", "image"]
    table = pd.read_csv(predictions, keep_default_na=False, dtype=dict.fromkeys(text, str))
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
        if model["rule"] == "rank_mean":
            assert {"brier", "log_loss", "ece"} <= set(model["undefined"]), where
        assert set(model["metrics"]) == set(figures), where
        assert set(model["undefined"]) == {name for name, value in model["metrics"].items() if value is None}, where
        for name, value in model["metrics"].items():
            if value is not None:
                np.testing.assert_allclose(value, figures[name](), rtol=1e-9, atol=1e-12, err_msg=f"{where}: {name}")
                compared += 1
    _check_tables(report)
    return compared


def recompute(rows: pd.DataFrame, classes: list[str], positive: str):
    """Functions that compute each figure from rows of results/predictions.csv."""
    truth, predicted = rows["label"], rows["predicted"]
    # scikit-learn takes probability columns in alphabetical order of the class names.
    p = rows[[f"p_{name}" for name in sorted(classes)]].to_numpy()
    names = [positive] if len(classes) == 2 else classes

    def against_rest(metric, *, inverted=False):
        def over_classes():
            return np.mean([metric((truth == name) != inverted, (predicted == name) != inverted) for name in names])

        return over_classes

    def ece():
        """Guo et al. 2017, bin by bin, of the class that is called."""
        sure = np.array([row[f"p_{row['predicted']}"] for row in rows.to_dict("records")])
        right = (truth == predicted).to_numpy()
        bins = [(sure > k / 15) & (sure <= (k + 1) / 15) for k in range(15)]
        return sum(b.sum() * abs(sure[b].mean() - right[b].mean()) for b in bins if b.any()) / len(rows)

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
        "brier": lambda: sk.brier_score_loss(truth, p, labels=sorted(classes)),
        "log_loss": lambda: sk.log_loss(truth, p, labels=sorted(classes)),
        "ece": ece,
    }


def _check_tables(report) -> None:
    for method, rows in report["table2"].items():
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
    for row in report["table3"]:
        expected = (
            models[f"{row['method']}/majority"]["metrics"]
            if row["kind"] == "ensemble"
            else {metric: values["mean"] for metric, values in report["table2"][row["method"]].items()}
        )
        assert row["metrics"] == expected
