"""Every block of a run of the pipeline: folds, teachers and students and votes, read from their files; and baselines.

Baselines say what knowing nothing, or only the size of a cell, is worth on the test images.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from job.contracts import paths
from job.contracts.predictions import in_order, read_fold
from job.contracts.split import Split
from job.contracts.tables import FloatArray, IntArray, class_indices, integers, probabilities, read_table
from job.errors import UserError
from job.evaluation import votes
from job.evaluation.blocks import Block, Calibrated, Truth
from job.files import read_json

ACROSS = "across"
ITERATED = ("test", "validation", "masked")  # roles in which every teacher and student is scored


def blocks_of_run(
    methods: Sequence[str], folds: Sequence[int], split: Split, index: pd.DataFrame, truth: Truth
) -> tuple[list[Block], list[Calibrated]]:
    """Read predictions/ and ensembles/, let the folds of the methods vote together, and add the baselines.

    A method whose vote predicts one class for every test image has collapsed: its folds leave the joint vote.
    """
    blocks: list[Block] = []
    fitted = []
    joined = {}
    for method in methods:
        for fold in folds:
            table = read_fold(paths.predictions(method, fold), fold, split, truth.dataset)
            blocks += _fold(method, fold, table, truth)
        voters = [block for block in blocks if block.kind == "fold" and block.method == method]
        ensemble = _ensemble(method, split, folds, truth)
        temperature = read_json(paths.ensemble(method) / "ensemble.json")["temperature"]
        calibrated, majority = ensemble["calibrated"], ensemble["majority"]
        logits = votes.calibrated(np.stack([block.probabilities for block in voters]), np.ones(len(voters)))
        mean = replace(calibrated, probabilities=logits.probabilities, predicted=logits.predicted)
        fitted.append(Calibrated(method, temperature, ensemble[votes.OUT_OF_FOLD], mean, calibrated, majority))
        blocks += ensemble.values()
        if len(np.unique(ensemble["majority"].predicted)) > 1:
            joined[method] = temperature
    if len(joined) > 1:
        blocks += _across([block for block in blocks if block.kind == "fold" and block.method in joined], joined)
    return blocks + _baselines(split, index, truth), fitted


def _fold(method: str, fold: int, table: pd.DataFrame, truth: Truth) -> list[Block]:
    """The fold's model on the test images and, for self-training, every iteration in the roles `ITERATED`."""
    last = int(table["iteration"].max())
    iterations = range(last + 1) if last > 0 else ()
    entries = [("fold", last, "test"), *(("iteration", number, role) for number in iterations for role in ITERATED)]
    blocks = []
    for kind, iteration, role in entries:
        rows = table[(table["role"] == role) & (table["iteration"] == iteration)]
        if rows.empty:
            continue
        name = f"{method}/fold-{fold}" + (f"/iteration-{iteration}" if kind == "iteration" else "")
        keys = {"method": method, "fold": fold, "iteration": iteration}
        cells, values = truth.cells(rows["image"].tolist()), rows[truth.dataset.probability_columns].to_numpy()
        blocks.append(Block.most_probable(cells, values, model=name, kind=kind, role=role, **keys))
    return blocks


def _ensemble(method: str, split: Split, folds: Sequence[int], truth: Truth) -> dict[str, Block]:
    """By rule the vote on the test images, and the pooled validation predictions."""
    path, dataset = paths.ensemble(method) / "predictions.csv", truth.dataset
    columns = ["image", "role", "rule", *dataset.probability_columns, *dataset.vote_columns, "predicted", "tie"]
    table = read_table(path, columns)
    for column in dataset.vote_columns:
        table[column] = integers(path, table, column)
    table[dataset.probability_columns] = probabilities(path, table, dataset.probability_columns)
    table["position"] = class_indices(path, table, "predicted", dataset.classes)
    validated = [image for fold in folds for image in split.images("validation", fold)]
    tested = split.images("test")
    blocks = {}
    for rule in (*votes.RULES, votes.OUT_OF_FOLD):
        voted = rule != votes.OUT_OF_FOLD
        role, expected = ("test", tested) if voted else ("validation", validated)
        rows = in_order(path, table[(table["rule"] == rule) & (table["role"] == role)], expected, f"{role} image")
        blocks[rule] = Block(
            model=f"{method}/{rule}",
            method=method,
            kind="ensemble" if voted else votes.OUT_OF_FOLD,
            rule=rule if voted else None,
            role=role,
            cells=truth.cells(expected),
            probabilities=rows[dataset.probability_columns].to_numpy(),
            predicted=rows["position"].to_numpy(),
            votes=rows[dataset.vote_columns].to_numpy() if voted else None,
            ties=int((rows["tie"] == "True").sum()) if voted else None,
        )
    return blocks


def _across(voters: list[Block], temperatures: dict[str, float]) -> list[Block]:
    """The folds of several methods as voters of one ensemble."""
    stacked = np.stack([voter.probabilities for voter in voters])
    each = np.array([temperatures[str(voter.method)] for voter in voters])
    return [
        Block(
            model=f"{ACROSS}/{rule}",
            kind="ensemble",
            rule=rule,
            role="test",
            cells=voters[0].cells,
            probabilities=verdict.probabilities,
            predicted=verdict.predicted,
            votes=verdict.votes,
            ties=int(verdict.tie.sum()),
        )
        for rule, verdict in votes.verdicts(stacked, each).items()
    ]


def _baselines(split: Split, index: pd.DataFrame, truth: Truth) -> list[Block]:
    train, tested, dataset = split.train(), split.images("test"), truth.dataset
    labels = class_indices(split.path, train, "label", dataset.classes)
    train_area, test_area = (log_area(index.loc[images]) for images in (train["image"], tested))
    scores = {"area": area_model(train_area, labels, test_area)}
    for name, row in zip(dataset.classes, np.eye(len(dataset.classes)), strict=True):
        scores[f"always_{name}"] = np.tile(row, (len(tested), 1))
    return [
        Block.most_probable(truth.cells(tested), values, model=f"baseline/{name}", kind="baseline", role="test")
        for name, values in scores.items()
    ]


def read_index(split: Split) -> pd.DataFrame:
    """Read data/prepared/index.csv, indexed by image, with `box_w` and `box_h` as numbers."""
    table = read_table(paths.INDEX, ["image", "patient", "box_w", "box_h"])
    for column in ("box_w", "box_h"):
        table[column] = integers(paths.INDEX, table, column)
    index = table.set_index("image")
    unknown = split.table.loc[~split.table["image"].isin(index.index), "image"]
    if len(unknown):
        raise UserError(f"{split.path}: {unknown.iloc[0]} is not in {paths.INDEX}: run `dvc repro`")
    return index


def log_area(index: pd.DataFrame) -> FloatArray:
    """Logarithm of the area of each cell's box in square pixels of the file, (rows,); an empty box counts as one."""
    return np.asarray(np.log((index["box_w"] * index["box_h"]).clip(lower=1)), np.float64)


def area_model(train_area: FloatArray, train_label: IntArray, test_area: FloatArray) -> FloatArray:
    """Probabilities, (test images, classes), by logistic regression on the standardised `log_area` of the cell's box.

    It is scikit-learn's (L2, C = 1). Classes are weighted so that each counts the same in total, as nothing is known of
    their shares among new patients; a UserError says that the training images hold one class only.
    """
    if len(np.unique(train_label)) < 2:
        raise UserError("data/split.csv: the training images hold one class only, choose other patients in split.test")
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    model.fit(train_area[:, None], train_label)
    return np.asarray(model.predict_proba(test_area[:, None]), dtype=np.float64)
