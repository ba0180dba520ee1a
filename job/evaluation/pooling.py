"""A method's folds brought together: the folds vote, and their validation predictions are pooled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from job.contracts.dataset import Dataset
from job.contracts.split import Split
from job.contracts.tables import REMEDY, class_indices
from job.errors import UserError
from job.evaluation import votes
from job.temperature import fit_temperature, logits

VOTED = ("test", "unlabelled")
OUT_OF_FOLD = "out_of_fold"


def out_of_fold(folds: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Validation predictions of all folds, each image predicted by the one model that did not train on it.

    Raises:
        UserError: an image is validated by two folds.
    """
    pooled = pd.concat([_final(table, "validation") for _, table in sorted(folds.items())], ignore_index=True)
    if pooled["image"].duplicated().any():
        image = pooled.loc[pooled["image"].duplicated(), "image"].iloc[0]
        raise UserError(f"{image} is a validation image of two folds: {REMEDY}")
    return pooled


def temperature(folds: Mapping[int, pd.DataFrame], split: Split, dataset: Dataset) -> float:
    """The temperature of a method, fitted on `out_of_fold`.

    Only test images have predictions of several folds that did not train on them. So this is the temperature of one
    fold's logits; their mean over the folds scatters less and comes out less sure than it could be. The key `slope` of
    results/evaluation.json says by how much.
    """
    pooled = out_of_fold(folds)
    labels = split.train().set_index("image").loc[pooled["image"]].reset_index()
    truth = class_indices(split.path, labels, "label", dataset.classes)
    return fit_temperature(logits(pooled[dataset.probability_columns].to_numpy()), truth)


def pool(folds: Mapping[int, pd.DataFrame], fitted: float, dataset: Dataset) -> pd.DataFrame:
    """Votes and mean probabilities of a method's folds, and its pooled validation predictions.

    Args:
        folds: tables of `contracts.predictions.read_fold` by fold number, all of one split.
        fitted: the method's `temperature`.
        dataset: the classes.

    Returns:
        `image, role, rule, p_<CLASS>…, votes_<CLASS>…, predicted, tie`. Every rule of `votes.RULES` for test and
        unlabelled images (every fold's model votes); rule `out_of_fold` for validation images (each is predicted by the
        one model that did not train on it).
    """
    parts = []
    for role in VOTED:
        rows = [_final(table, role) for _, table in sorted(folds.items())]
        stacked = np.stack([part[dataset.probability_columns].to_numpy() for part in rows])
        for rule, verdict in votes.verdicts(stacked, np.full(len(stacked), fitted)).items():
            parts.append(_verdict_table(rows[0]["image"], role, rule, verdict, dataset))
    validation = out_of_fold(folds)
    alone = votes.mean(validation[dataset.probability_columns].to_numpy()[None])
    parts.append(_verdict_table(validation["image"], "validation", OUT_OF_FOLD, alone, dataset))
    return pd.concat(parts, ignore_index=True)


def _final(table: pd.DataFrame, role: str) -> pd.DataFrame:
    """The rows of one role of a fold's model, which is its highest iteration."""
    rows: pd.DataFrame = table[(table["iteration"] == table["iteration"].max()) & (table["role"] == role)]
    return rows


def _verdict_table(
    images: pd.Series[str], role: str, rule: str, verdict: votes.Verdict, dataset: Dataset
) -> pd.DataFrame:
    table = pd.DataFrame({"image": images.to_numpy(), "role": role, "rule": rule})
    table[dataset.probability_columns] = verdict.probabilities
    table[dataset.vote_columns] = verdict.votes
    table["predicted"] = np.array(dataset.classes, dtype=object)[verdict.predicted]
    table["tie"] = verdict.tie
    return table
