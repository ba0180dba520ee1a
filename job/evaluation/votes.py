"""How several models become one: the rules by which voters decide, and a method's folds brought together by them.

Everywhere `probabilities` has the shape (voters, images, classes). Ties are broken by the mean probability, in every
rule, and flagged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.contracts.dataset import Dataset
from job.contracts.split import Split
from job.contracts.tables import FloatArray, IntArray, class_indices
from job.temperature import fit_temperature, logits, tempered

RULES = ("majority", "mean", "calibrated")
"""The published report's first."""
OUT_OF_FOLD = "out_of_fold"
VOTED = ("test", "unlabelled")
"""Roles of images that every fold's model predicts."""


@dataclass(frozen=True)
class Verdict:
    """What an ensemble predicts for each image."""

    probabilities: FloatArray  # the mean, or the calibrated one, shape (images, classes), rows summing to one
    votes: IntArray  # how many voters predicted each class, shape (images, classes)
    predicted: IntArray  # number of the chosen class, shape (images,)
    tie: npt.NDArray[np.bool_]  # whether the rule's highest value was reached by several classes, shape (images,)


def verdicts(probabilities: FloatArray, temperatures: FloatArray) -> dict[str, Verdict]:
    """What every rule of `RULES` predicts; `temperatures` are those of `calibrated`."""
    return {
        "majority": majority(probabilities),
        "mean": mean(probabilities),
        "calibrated": calibrated(probabilities, temperatures),
    }


def majority(probabilities: FloatArray) -> Verdict:
    """Majority vote (plurality where there are more than two classes).

    Each voter votes for its most probable class (the first in class order when two are equal). The class with most
    votes wins. The probabilities are the mean over the voters: shares of five votes would rank images in six steps.
    """
    return _verdict(probabilities, _mean(probabilities), count_votes(probabilities))


def mean(probabilities: FloatArray) -> Verdict:
    """Mean probability: the class with the highest mean over the voters wins."""
    average = _mean(probabilities)
    return _verdict(probabilities, average, average)


def calibrated(probabilities: FloatArray, temperatures: FloatArray) -> Verdict:
    """Mean of the voters' logits, each divided by its temperature; the class with the highest probability wins.

    Where voters differ, a mean of probabilities is much less sure than each of them (Rahaman and Thiery 2021,
    arXiv:2007.08792), a mean of logits a little less. `temperatures` are fitted on validation images, shape (voters,).
    """
    average = np.asarray(tempered(_mean(logits(probabilities) / temperatures[:, None, None]), 1), np.float64)
    return _verdict(probabilities, average, average)


def count_votes(probabilities: FloatArray) -> IntArray:
    """Votes per class, shape (images, classes)."""
    votes = probabilities.argmax(axis=2)
    return np.asarray((votes[:, :, None] == np.arange(probabilities.shape[2])).sum(axis=0), dtype=np.int64)


def _verdict(probabilities: FloatArray, average: FloatArray, decisive: npt.NDArray[Any]) -> Verdict:
    """The class with the highest of `decisive` (images, classes) wins.

    Among tied classes the one with the highest mean probability, and the first in class order if even these are equal.
    """
    leading = decisive == decisive.max(axis=1, keepdims=True)
    predicted = np.where(leading, _mean(probabilities), -1.0).argmax(axis=1)
    return Verdict(average, count_votes(probabilities), predicted, leading.sum(axis=1) > 1)


def _mean(values: FloatArray) -> FloatArray:
    # Sorted first: the last bit of a sum depends on its order, and a verdict must not depend on the voters' order.
    return np.asarray(np.sort(values, axis=0).sum(axis=0) / len(values))


def temperature(folds: Mapping[int, pd.DataFrame], split: Split, dataset: Dataset) -> float:
    """The temperature of a method, fitted on its folds' validation predictions.

    Only test images have predictions of several folds that did not train on them. So this is the temperature of one
    fold's logits; their mean over the folds scatters less and comes out less sure than it could be. The key `slope` of
    results/evaluation.json says by how much.
    """
    pooled = _pooled(folds)
    labels = split.train().set_index("image").loc[pooled["image"]].reset_index()
    truth = class_indices(split.path, labels, "label", dataset.classes)
    return fit_temperature(logits(pooled[dataset.probability_columns].to_numpy()), truth)


def pool(folds: Mapping[int, pd.DataFrame], fitted: float, dataset: Dataset) -> pd.DataFrame:
    """Votes and mean probabilities of a method's folds, and its pooled validation predictions.

    From the tables of `contracts.predictions.read_fold` by fold number, all of one split, and the method's `fitted`
    temperature to `image, role, rule, p_<CLASS>…, votes_<CLASS>…, predicted, tie`: every rule of `RULES` for test and
    unlabelled images; rule `out_of_fold` for validation images (each is predicted by the one model that did not train
    on it).
    """
    parts = []
    for role in VOTED:
        rows = [_final(table, role) for _, table in sorted(folds.items())]
        stacked = np.stack([part[dataset.probability_columns].to_numpy() for part in rows])
        for rule, verdict in verdicts(stacked, np.full(len(stacked), fitted)).items():
            parts.append(_verdict_table(rows[0]["image"], role, rule, verdict, dataset))
    validation = _pooled(folds)
    alone = mean(validation[dataset.probability_columns].to_numpy()[None])
    parts.append(_verdict_table(validation["image"], "validation", OUT_OF_FOLD, alone, dataset))
    return pd.concat(parts, ignore_index=True)


def _pooled(folds: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Validation predictions of all folds, whose images a split divides among them."""
    return pd.concat([_final(table, "validation") for _, table in sorted(folds.items())], ignore_index=True)


def _final(table: pd.DataFrame, role: str) -> pd.DataFrame:
    """The rows of one role of a fold's model, which is its highest iteration."""
    rows: pd.DataFrame = table[(table["iteration"] == table["iteration"].max()) & (table["role"] == role)]
    return rows


def _verdict_table(images: pd.Series[str], role: str, rule: str, verdict: Verdict, dataset: Dataset) -> pd.DataFrame:
    table = pd.DataFrame({"image": images.to_numpy(), "role": role, "rule": rule})
    table[dataset.probability_columns] = verdict.probabilities
    table[dataset.vote_columns] = verdict.votes
    table["predicted"] = np.array(dataset.classes, dtype=object)[verdict.predicted]
    table["tie"] = verdict.tie
    return table
