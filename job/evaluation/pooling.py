"""A method's folds brought together: the folds vote, and their validation predictions are pooled."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from job.contracts.dataset import Dataset
from job.contracts.split import Split
from job.contracts.tables import REMEDY, FloatArray
from job.errors import UserError
from job.evaluation import calibration, votes

VOTED = ("test", "unlabelled")
# The published report's first. `calibrated` is the mean of probabilities brought to the temperature of the method.
RULES = ("majority", "mean", "median", "rank_mean", "weighted", "calibrated")
RANKS = ("rank_mean",)  # rules whose scores are no probabilities


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
        folds: tables of `contracts.predictions.read_fold` by fold number, all of one split.
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
