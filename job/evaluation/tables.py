"""The tables of the report: who is in which set, each fold on the test set, and the models side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from job.contracts.dataset import Dataset
from job.contracts.methods import DISPLAY_NAMES
from job.contracts.split import Split
from job.evaluation.metrics import METRICS


def distribution(
    split: Split, patients: "pd.Series[str]", truth: pd.DataFrame, dataset: Dataset
) -> list[dict[str, Any]]:
    """Patients, subjects and images of each role and class (Table 1).

    Args:
        split: the split.
        patients: patient of every image, indexed by image; empty where unknown.
        truth: label of every labelled image, indexed by image.
        dataset: the classes.

    Returns:
        One entry per role and class, and one for the unlabelled images; `patients` is None where a patient is unknown.
    """
    table = split.table.assign(patient=patients.loc[split.table["image"]].to_numpy())
    table["label"] = truth["label"].reindex(table["image"]).to_numpy()
    groups: list[tuple[str, str | None, pd.DataFrame]] = [
        (role, label, table[(table["role"] == role) & (table["label"] == label)])
        for role in ("train", "test")
        for label in dataset.classes
    ]
    groups.append(("unlabelled", None, table[table["role"] == "unlabelled"]))
    return [
        {
            "role": role,
            "label": label,
            "patients": None if (rows["patient"] == "").any() else int(rows["patient"].nunique()),
            "subjects": int(rows["subject"].nunique()),
            "images": len(rows),
        }
        for role, label, rows in groups
    ]


def folds_on_test(models: list[dict[str, Any]], methods: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Each method's folds on the test set with mean and variance (Table 2).

    The variance is the sample variance (divided by folds - 1), as in the published Table 2. Mean and variance are None
    where a fold's figure is undefined; the variance also where there is one fold.
    """
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for method in methods:
        folds = [m["metrics"] for m in models if m["method"] == method and m["kind"] == "fold" and m["role"] == "test"]
        table[method] = {}
        for metric in METRICS:
            values = [fold[metric] for fold in folds]
            known = None not in values
            table[method][metric] = {
                "folds": values,
                "mean": float(np.mean(values)) if known else None,
                "variance": float(np.var(values, ddof=1)) if known and len(values) > 1 else None,
            }
    return table


def side_by_side(
    models: list[dict[str, Any]], table2: dict[str, dict[str, dict[str, Any]]], methods: Sequence[str]
) -> list[dict[str, Any]]:
    """The mean of the folds and the majority vote of each method on the test set (Table 3)."""
    voted = {m["method"]: m["metrics"] for m in models if m["kind"] == "ensemble" and m["rule"] == "majority"}
    names = {method: DISPLAY_NAMES.get(method, method) for method in methods}
    folds = [
        {
            "name": f"{names[method]} models (mean of folds)",
            "method": method,
            "kind": "folds",
            "metrics": {metric: row["mean"] for metric, row in table2[method].items()},
        }
        for method in methods
    ]
    ensembles = [
        {
            "name": f"{names[method]} ensemble (majority vote)",
            "method": method,
            "kind": "ensemble",
            "metrics": voted[method],
        }
        for method in methods
    ]
    return folds + ensembles


def headlines(models: list[dict[str, Any]], methods: Sequence[str]) -> dict[str, Any]:
    """The few figures of results/summary.json, all on the test set; an undefined one is left out."""
    metrics = {model["model"]: model["metrics"] for model in models}
    voted = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1")
    wanted = {method: {"majority": voted, "mean": ("auroc",)} for method in methods}
    wanted["baseline"] = {"area": ("auroc", "balanced_accuracy")}
    return {
        group: {
            name: {key: value for key in keys if (value := metrics[f"{group}/{name}"][key]) is not None}
            for name, keys in names.items()
        }
        for group, names in wanted.items()
    }
