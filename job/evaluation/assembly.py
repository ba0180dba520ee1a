"""The evidence about a set of models, in the form in which results/evaluation.json holds it.

Keys beside those that the stage `evaluate` adds (methods, folds, tables 1 to 3) and those that say
what the predictions are about (names, classes):

- `models`: `model, method, kind, rule, fold, iteration, role, images, subjects, ties, confusion`; `metrics` by name,
  every cell counting once, None where `undefined` gives the reason; `by_subject`, every subject counting once, with
  `value, low, high` of each of `intervals.METRICS`, and the reason in `no_interval` where low and high are None. Kinds:
  fold, iteration (a teacher or student), ensemble, out_of_fold, baseline.
- `self_training`: per method, fold and iteration what `self_training.trace` returns of its pseudo-labels.
- `evidence`: `warnings` that belong beside every figure.
- `image_level`: one model's intervals over `subjects` beside the mistaken ones over `images`.
- `patients`: per vote what `patients.assess` returns.
- `calibration`, `operating_points`, `abstention`: per method what `decisions` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from job.contracts import paths
from job.contracts.methods import method_name
from job.contracts.split import Split
from job.contracts.tables import read_table
from job.evaluation import comparisons, decisions, intervals, metrics, patients
from job.evaluation.blocks import KEYS, Block, Calibrated, Cells, Truth
from job.params import Evaluation

HISTORY = ["model", "epoch", "learning_rate", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
NO_PATIENTS = (
    "The patients are not known, so every image counts as a subject of its own. Cells of one person are alike: the "
    "intervals are too narrow, by a factor that cannot be told."
)


def assess(
    blocks: list[Block], fitted: list[Calibrated], pairs: comparisons.Pairs, settings: Evaluation
) -> tuple[dict[str, Any], pd.DataFrame]:
    """All evidence about the models of `blocks`: keys of results/evaluation.json, and what is in differences.csv.

    All `blocks` of test cells hold the same ones. Calibration, operating points and abstention are about the `fitted`.
    """
    dataset = blocks[0].cells.dataset
    figures = {(block.model, block.role): intervals.figures(block) for block in blocks}
    shown = {"ensemble", "out_of_fold"} if dataset.patients_known else set()
    persons = [block for block in blocks if block.kind in shown or (shown and block.model == "baseline/area")]
    sections = {
        "name": dataset.name,
        "synthetic": dataset.synthetic,
        "classes": list(dataset.classes),
        "positive": dataset.positive,
        "models": [_entry(block, figures[block.model, block.role]) for block in blocks],
        "evidence": {"warnings": [] if dataset.patients_known else [NO_PATIENTS]},
        "image_level": _image_level(persons),
        "patients": [patients.assess(block) for block in persons],
        "calibration": [decisions.calibrate(method) for method in fitted],
        "operating_points": [
            decisions.operating_points(method, settings) for method in fitted if len(dataset.reported) == 1
        ],
        "abstention": [decisions.abstain(method, settings.error) for method in fitted],
    }
    return sections, comparisons.differences(pairs, comparisons.with_means(blocks, figures))


def _entry(block: Block, figures: dict[str, intervals.SubjectMean]) -> dict[str, Any]:
    cells = block.cells
    scores = metrics.score(cells.truth, block.predicted, block.probabilities, cells.dataset)
    by_subject, no_interval = {}, {}
    for name, figure in figures.items():
        if name in scores.undefined:
            by_subject[name] = dict.fromkeys(("value", "low", "high"))
            no_interval[name] = f"the figure is undefined: {scores.undefined[name]}"
            continue
        by_subject[name] = intervals.entry(figure)
        ends = intervals.interval(figure)
        if isinstance(ends, str):
            no_interval[name] = ends
    return {
        **{key: getattr(block, key) for key in KEYS},
        "images": len(cells),
        "subjects": len(cells.names),
        "ties": block.ties,
        "confusion": scores.confusion,
        "metrics": scores.metrics,
        "undefined": scores.undefined,
        "by_subject": by_subject,
        "no_interval": no_interval,
    }


def _image_level(persons: list[Block]) -> dict[str, Any] | None:
    """Intervals over subjects beside those of the usual mistake, which takes every cell for a person.

    Of one model only, the first vote, to say how wrong it is; None where subjects are images anyway.
    """
    block = next((block for block in persons if block.kind == "ensemble" and block.role == "test"), None)
    if block is None:
        return None
    table = block.cells.table
    alone = Cells.of(table.assign(subject=table["image"]), block.cells.dataset)
    mistaken = intervals.figures(replace(block, cells=alone))
    return {
        "model": block.model,
        "metrics": {
            name: {"subjects": intervals.entry(figure), "images": intervals.entry(mistaken[name])}
            for name, figure in intervals.figures(block).items()
            if not np.isnan(figure.value)
        },
    }


def distribution(split: Split, patients: pd.Series[str], truth: Truth) -> list[dict[str, Any]]:
    """Patients, subjects and images of each role and class, and of the unlabelled images (Table 1).

    `patients` holds the patient of every image, indexed by image, and "" where nobody knows; their number is then None.
    """
    table = split.table.assign(patient=patients.loc[split.table["image"]].to_numpy())
    table["label"] = truth.labels(table["image"].tolist()).to_numpy()
    keys = [(role, label) for role in ("train", "test", "left_out") for label in truth.dataset.classes]
    groups: list[tuple[str, str | None, pd.DataFrame]] = [
        (role, label, table[(table["role"] == role) & (table["label"] == label)]) for role, label in keys
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
        if len(rows) or role != "left_out"
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
        for metric in metrics.METRICS:
            values = [fold[metric] for fold in folds]
            defined = None not in values
            table[method][metric] = {
                "folds": values,
                "mean": float(np.mean(values)) if defined else None,
                "variance": float(np.var(values, ddof=1)) if defined and len(values) > 1 else None,
            }
    return table


def side_by_side(
    models: list[dict[str, Any]], table2: dict[str, dict[str, dict[str, Any]]], methods: Sequence[str]
) -> list[dict[str, Any]]:
    """The mean of the folds and the majority vote of each method on the test set (Table 3)."""
    means = {method: {metric: row["mean"] for metric, row in table2[method].items()} for method in methods}
    voted = {m["method"]: m["metrics"] for m in models if m["kind"] == "ensemble" and m["rule"] == "majority"}
    kinds = (("folds", "models (mean of folds)", means), ("ensemble", "ensemble (majority vote)", voted))
    return [
        {"name": f"{method_name(method)} {words}", "method": method, "kind": kind, "metrics": figures[method]}
        for kind, words, figures in kinds
        for method in methods
    ]


def headlines(models: list[dict[str, Any]], methods: Sequence[str]) -> dict[str, Any]:
    """The few figures of results/summary.json, all on the test set; an undefined one is left out."""
    figures = {model["model"]: model["metrics"] for model in models}
    voted = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1")
    headline = {method: {"majority": voted, "mean": ("auroc",)} for method in methods}
    headline["baseline"] = {"area": ("auroc", "balanced_accuracy")}
    return {
        group: {
            name: {key: value for key in keys if (value := figures[f"{group}/{name}"][key]) is not None}
            for name, keys in names.items()
        }
        for group, names in headline.items()
    }


def history(methods: Sequence[str], folds: Sequence[int]) -> pd.DataFrame:
    """The curves of every run, every digit as the run wrote it."""
    runs = {(method, str(fold)): paths.run(method, fold) / "history.csv" for method in methods for fold in folds}
    tables = {key: read_table(path, HISTORY)[HISTORY] for key, path in runs.items()}
    return pd.concat(tables, names=["method", "fold"]).reset_index(["method", "fold"])
