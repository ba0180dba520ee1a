"""A method's folds brought together: every file checked against the split, then the folds vote.

A fold file is `image,role,fold,iteration,p_<CLASS>…`. Iteration 0 is the fold's network, or the teacher of
self-training; 1 and up are students. The highest iteration is the fold's model.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from job.errors import UserError
from job.evaluation import calibration, votes
from job.evaluation.reading import (
    FIRST_LINE,
    REMEDY,
    Dataset,
    FloatArray,
    check_unique,
    integers,
    probabilities,
    read_table,
)
from job.evaluation.split import Split

ROLES = ("validation", "masked", "test", "unlabelled")
VOTED = ("test", "unlabelled")
# The published report's first. `calibrated` is the mean of probabilities brought to the temperature of the method.
RULES = ("majority", "mean", "median", "rank_mean", "weighted", "calibrated")
RANKS = ("rank_mean",)  # rules whose scores are no probabilities


def read_fold(path: Path, fold: int, split: Split, dataset: Dataset) -> pd.DataFrame:
    """Read predictions/METHOD/fold-K.csv.

    Returns:
        `image, role, fold, iteration, p_<CLASS>…`, ordered by iteration, role and position in the split; probabilities
        are float64 and sum to one.

    Raises:
        UserError: values are wrong, an image is missing or occurs twice, or the file belongs to another fold or to
            another split.
    """
    table = read_table(path, ["image", "role", "fold", "iteration", *dataset.probability_columns])
    for column in ("fold", "iteration"):
        table[column] = integers(path, table, column)
    table[dataset.probability_columns] = probabilities(path, table, dataset)
    for column, wrong in (("role", ~table["role"].isin(ROLES)), ("fold", table["fold"] != fold)):
        if wrong.any():
            value, line = table.loc[wrong, column].iloc[0], table.index[wrong][0] + FIRST_LINE
            allowed = fold if column == "fold" else f"one of {', '.join(ROLES)}"
            raise UserError(f"{path}: line {line}, column {column!r}: {value} is not {allowed}: {REMEDY}")
    last = table["iteration"].max()
    parts = []
    for iteration in sorted(table["iteration"].unique()):
        for role in ROLES:
            rows = table[(table["iteration"] == iteration) & (table["role"] == role)]
            required = iteration == last and role != "masked"
            if len(rows) or required:
                parts.append(in_order(path, rows, split.images(role, fold), f"{role} image of fold {fold}"))
    if not parts:
        raise UserError(f"{path} holds no predictions: {REMEDY}")
    return pd.concat(parts, ignore_index=True)


def in_order(path: Path, rows: pd.DataFrame, expected: list[str], what: str) -> pd.DataFrame:
    """The rows in the order of `expected`, the images they must hold exactly once each.

    Raises:
        UserError: an image occurs twice, is missing, or is not expected.
    """
    check_unique(path, rows)
    found, wanted = set(rows["image"]), set(expected)
    for line, image in zip(rows.index + FIRST_LINE, rows["image"], strict=True):
        if image not in wanted:
            other = "so the file was made with another split"
            raise UserError(f"{path}: line {line}: {image} is not a {what} in data/split.csv, {other}: {REMEDY}")
    for image in expected:
        if image not in found:
            raise UserError(f"{path}: {image}, a {what} in data/split.csv, is missing: {REMEDY}")
    ordered: pd.DataFrame = rows.set_index("image").loc[expected].reset_index()
    return ordered


def model_of(fold: pd.DataFrame) -> pd.DataFrame:
    """The rows of a fold's model: those of its highest iteration."""
    last: pd.DataFrame = fold[fold["iteration"] == fold["iteration"].max()]
    return last


def skills(folds: Mapping[int, pd.DataFrame], split: Split, dataset: Dataset) -> FloatArray:
    """`votes.skill` of each fold's model on its own validation images, by fold number; shape (folds,)."""
    labels = split.train().set_index("image")["label"]
    position = {name: i for i, name in enumerate(dataset.classes)}
    found = []
    for _, table in sorted(folds.items()):
        rows = _rows(table, "validation")
        truth = np.array([position[label] for label in labels.loc[rows["image"]]], dtype=np.int64)
        found.append(votes.skill(rows[dataset.probability_columns].to_numpy(), truth))
    return np.array(found)


def out_of_fold(folds: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Validation predictions of all folds, each image judged by the one model that did not train on it.

    Raises:
        UserError: an image is validated by two folds.
    """
    pooled = pd.concat([_rows(table, "validation") for _, table in sorted(folds.items())], ignore_index=True)
    if pooled["image"].duplicated().any():
        image = pooled.loc[pooled["image"].duplicated(), "image"].iloc[0]
        raise UserError(f"{image} is a validation image of two folds: {REMEDY}")
    return pooled


def verdicts(stacked: FloatArray, skill: FloatArray, temperatures: FloatArray) -> dict[str, votes.Verdict]:
    """What every rule of `RULES` says.

    Args:
        stacked: probabilities, shape (voters, images, classes).
        skill: of each voter on validation images, shape (voters,).
        temperatures: of each voter, fitted on validation images, shape (voters,).
    """
    tempered = [calibration.tempered(own, t) for own, t in zip(stacked, temperatures, strict=True)]
    return {
        "majority": votes.majority(stacked),
        "mean": votes.mean(stacked),
        "median": votes.median(stacked),
        "rank_mean": votes.rank_mean(stacked),
        "weighted": votes.weighted(stacked, skill),
        "calibrated": votes.mean(np.stack(tempered)),
    }


def pool(folds: Mapping[int, pd.DataFrame], skill: FloatArray, temperature: float, dataset: Dataset) -> pd.DataFrame:
    """Votes and mean probabilities of a method's folds, and its pooled validation predictions.

    Args:
        folds: tables of `read_fold` by fold number, all of one split.
        skill: what `skills` returned.
        temperature: of the method, fitted on `out_of_fold`.
        dataset: the classes.

    Returns:
        `image, role, rule, p_<CLASS>…, votes_<CLASS>…, predicted, tie`. Every rule of `RULES` for test and unlabelled
        images (every fold's model votes); rule `out_of_fold` for validation images (each is judged by the one model
        that did not train on it).
    """
    parts = []
    for role in VOTED:
        rows = [_rows(table, role) for _, table in sorted(folds.items())]
        stacked = np.stack([part[dataset.probability_columns].to_numpy() for part in rows])
        for rule, verdict in verdicts(stacked, skill, np.full(len(stacked), temperature)).items():
            parts.append(_verdict_table(rows[0]["image"], role, rule, verdict, dataset))
    validation = out_of_fold(folds)
    alone = votes.mean(validation[dataset.probability_columns].to_numpy()[None])
    parts.append(_verdict_table(validation["image"], "validation", "out_of_fold", alone, dataset))
    return pd.concat(parts, ignore_index=True)


def _rows(table: pd.DataFrame, role: str) -> pd.DataFrame:
    model = model_of(table)
    return model[model["role"] == role]


def _verdict_table(
    images: "pd.Series[str]", role: str, rule: str, verdict: votes.Verdict, dataset: Dataset
) -> pd.DataFrame:
    table = pd.DataFrame({"image": images.to_numpy(), "role": role, "rule": rule})
    table[dataset.probability_columns] = verdict.probabilities
    table[dataset.vote_columns] = verdict.votes
    table["predicted"] = np.array(dataset.classes, dtype=object)[verdict.predicted]
    table["tie"] = verdict.tie
    return table
