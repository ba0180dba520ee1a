"""Stage `evaluate`: the only one that reads the truth of test and masked images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from job import files, params
from job.contracts import paths
from job.contracts.dataset import Dataset, read_dataset
from job.contracts.predictions import read_fold
from job.contracts.split import Split, read_split
from job.contracts.tables import REMEDY, check_unique, class_indices, integers, read_table
from job.errors import UserError
from job.evaluation import assembly, baselines, pooling, published, scored, self_training, tables

HISTORY = ["model", "epoch", "learning_rate", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]


def run() -> str:
    """Write results/{predictions.csv, differences.csv, evaluation.json, summary.json, history.csv}.

    Raises:
        UserError: a file is missing, wrong, or belongs to another split.
    """
    settings = params.load()
    methods, folds = settings.methods, sorted(settings.folds)
    dataset = read_dataset(paths.SUMMARY)
    split = read_split(paths.SPLIT, dataset.classes)
    truth = scored.read_truth(paths.TRUTH, split, dataset)
    index = _read_index(split)

    blocks = []
    ensembles: dict[str, _Ensemble] = {method: _read_ensemble(method) for method in methods}
    for method in methods:
        for fold in folds:
            table = read_fold(paths.predictions(method, fold), fold, split, dataset)
            blocks += scored.fold_blocks(method, fold, table, dataset)
        path = paths.ensemble(method) / "predictions.csv"
        blocks += scored.ensemble_blocks(method, path, split, folds, dataset)
    if len(methods) > 1:
        blocks += _across(blocks, ensembles)
    blocks += _baselines(split, index, dataset)
    history = _history(methods, folds)
    pseudo_labels = [
        {"method": method, **entry}
        for method in methods
        for fold in folds
        for entry in self_training.trace(paths.run(method, fold), fold, split, truth, dataset)
    ]

    fitted = [_fitted(method, ensemble, blocks) for method, ensemble in ensembles.items()]
    found = assembly.assess(blocks, fitted, truth, dataset, settings.evaluation)
    models = found.models
    table2 = tables.folds_on_test(models, methods)
    predictions = scored.predictions_table(blocks, truth, dataset)
    files.write_text(paths.RESULT_PREDICTIONS, predictions.to_csv(index=False, lineterminator="\n"))
    files.write_text(paths.DIFFERENCES, found.differences.to_csv(index=False, lineterminator="\n"))
    files.write_text(paths.HISTORY, history.to_csv(index=False, lineterminator="\n"))
    files.write_json(paths.HEADLINES, tables.headlines(models, methods))
    files.write_json(paths.EVALUATION, {
        "schema": 1,
        "name": dataset.name,
        "synthetic": dataset.synthetic,
        "classes": list(dataset.classes),
        "positive": dataset.positive,
        "methods": methods,
        "folds": folds,
        "distribution": tables.distribution(split, index["patient"], truth, dataset),
        "models": models,
        "table2": table2,
        "table3": tables.side_by_side(models, table2, methods),
        "self_training": pseudo_labels,
        "published": published.as_json(),
        **found.sections,
    })  # fmt: skip
    return f"{len(models)} sets of predictions scored, {len(predictions)} predictions and {len(history)} epochs written"


class _Ensemble(NamedTuple):
    """What was fitted on a method's validation images: the temperature, and the weight of each fold's vote."""

    temperature: float
    weights: list[float]


def _read_ensemble(method: str) -> _Ensemble:
    path = paths.ensemble(method) / "ensemble.json"
    found = files.read_json(path)
    try:
        return _Ensemble(found["temperature"], [member["weight"] for member in found["members"]])
    except KeyError as error:
        raise UserError(f"{path}: key {error} is missing: {REMEDY}") from None


def _fitted(method: str, ensemble: _Ensemble, blocks: list[scored.Block]) -> assembly.Fitted:
    named = {block.model: block for block in blocks if block.kind in {"ensemble", "out_of_fold"}}
    return assembly.Fitted(
        method,
        ensemble.temperature,
        *(named[f"{method}/{rule}"] for rule in ("out_of_fold", "mean", "calibrated", "majority")),
    )


def _across(blocks: list[scored.Block], ensembles: dict[str, _Ensemble]) -> list[scored.Block]:
    """The folds of all methods as voters of one ensemble."""
    voters = [block for block in blocks if block.kind == "fold"]
    weights = [weight for ensemble in ensembles.values() for weight in ensemble.weights]
    temperatures = [ensembles[voter.method].temperature for voter in voters if voter.method]
    stacked = np.stack([voter.probabilities for voter in voters])
    verdicts = pooling.verdicts(stacked, np.array(weights), np.array(temperatures))
    return scored.across_blocks(voters[0].images, verdicts)


def _read_index(split: Split) -> pd.DataFrame:
    table = read_table(paths.INDEX, ["image", "patient", "box_w", "box_h"])
    check_unique(paths.INDEX, table)
    for column in ("box_w", "box_h"):
        table[column] = integers(paths.INDEX, table, column)
    index = table.set_index("image")
    unknown = split.table.loc[~split.table["image"].isin(index.index), "image"]
    if len(unknown):
        raise UserError(f"{split.path}: {unknown.iloc[0]} is not in {paths.INDEX}: run `dvc repro`")
    return index


def _baselines(split: Split, index: pd.DataFrame, dataset: Dataset) -> list[scored.Block]:
    train = split.train()
    labels = class_indices(split.path, train, "label", dataset.classes)
    tested = split.table.loc[split.table["role"] == "test", "image"].tolist()
    train_area, test_area = (baselines.log_area(index.loc[images]) for images in (train["image"], tested))
    blocks = [scored.baseline_block("area", tested, baselines.area(train_area, labels, test_area))]
    for position, name in enumerate(dataset.classes):
        constant = baselines.always(position, len(tested), len(dataset.classes))
        blocks.append(scored.baseline_block(f"always_{name}", tested, constant))
    return blocks


def _history(methods: Sequence[str], folds: list[int]) -> pd.DataFrame:
    """The curves of every run, every digit as the run wrote it."""
    parts = []
    for method in methods:
        for fold in folds:
            table = read_table(paths.run(method, fold) / "history.csv", HISTORY)[HISTORY]
            table.insert(0, "method", method)
            table.insert(1, "fold", str(fold))
            parts.append(table)
    return pd.concat(parts, ignore_index=True)
