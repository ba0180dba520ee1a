"""Predictions beside the truth: one long table from which every figure can be computed again.

A block is the predictions of one model for one role. `results/predictions.csv` is all blocks one after another.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from job.contracts.dataset import Dataset
from job.contracts.predictions import in_order
from job.contracts.split import Split
from job.contracts.tables import REMEDY, FloatArray, IntArray, check_unique, class_indices, probabilities, read_table
from job.errors import UserError
from job.evaluation import metrics, pooling, votes
from job.evaluation.replicates import Scored

ACROSS = "across"
ITERATED = ("test", "validation", "masked")  # roles in which every teacher and student is scored


@dataclass(frozen=True, kw_only=True)
class Block:
    """One model's predictions for the images of one role.

    Attributes:
        model: name, such as `efficientnet/fold-1`; with `role`, what identifies the block.
        kind: fold, iteration, ensemble, out_of_fold or baseline.
        images: the images, in the order of the split.
        probabilities: shape (images, classes).
        predicted: positions of the predicted classes, shape (images,).
        is_probability: False where `probabilities` are scores that only rank.
        ties: images on which the ensemble's rule was undecided; None for a single model.
    """

    model: str
    kind: str
    role: str
    images: list[str]
    probabilities: FloatArray
    predicted: IntArray
    method: str | None = None
    rule: str | None = None
    fold: int | None = None
    iteration: int | None = None
    is_probability: bool = True
    ties: int | None = None


def read_truth(path: Path, split: Split, dataset: Dataset) -> pd.DataFrame:
    """Read data/truth.csv, indexed by image.

    Returns:
        `patient, subject, label, truth`, where truth is the position of the label in the class order.

    Raises:
        UserError: an image occurs twice or is missing, a label is unknown, or subject or training label differ from
            those of the split.
    """
    table = read_table(path, ["image", "patient", "subject", "label"])
    check_unique(path, table)
    table["truth"] = class_indices(path, table, "label", dataset.classes)
    truth = table.set_index("image")
    labelled = split.table[split.table["role"] != "unlabelled"]
    for image, role in zip(labelled["image"], labelled["role"], strict=True):
        if image not in truth.index:
            raise UserError(f"{path}: {image}, a {role} image of {split.path}, is missing: {REMEDY}")
    for column, rows in (("subject", labelled), ("label", split.train())):
        differs = rows[column].to_numpy() != truth.loc[rows["image"], column].to_numpy()
        if differs.any():
            image = rows["image"].to_numpy()[differs][0]
            raise UserError(f"{path}: {image} has another {column} than in {split.path}: {REMEDY}")
    return truth


def fold_blocks(method: str, fold: int, table: pd.DataFrame, dataset: Dataset) -> list[Block]:
    """The fold's model on the test images and, for self-training, every iteration in the roles `ITERATED`.

    Args:
        method: the method's name.
        fold: the fold's number.
        table: what `contracts.predictions.read_fold` returned.
        dataset: the classes.
    """
    last = int(table["iteration"].max())
    wanted = [("fold", last, "test")]
    if last > 0:
        wanted += [("iteration", iteration, role) for iteration in range(last + 1) for role in ITERATED]
    blocks = []
    for kind, iteration, role in wanted:
        rows = table[(table["role"] == role) & (table["iteration"] == iteration)]
        if rows.empty:
            continue
        values = rows[dataset.probability_columns].to_numpy()
        name = f"{method}/fold-{fold}" + (f"/iteration-{iteration}" if kind == "iteration" else "")
        blocks.append(
            Block(
                model=name,
                method=method,
                kind=kind,
                fold=fold,
                iteration=iteration,
                role=role,
                images=rows["image"].tolist(),
                probabilities=values,
                predicted=values.argmax(axis=1),
            )
        )
    return blocks


def ensemble_blocks(method: str, path: Path, split: Split, folds: list[int], dataset: Dataset) -> list[Block]:
    """What every rule says of the test images, and the pooled validation predictions.

    Raises:
        UserError: ensembles/METHOD/predictions.csv is wrong or belongs to another split.
    """
    table = read_table(path, ["image", "role", "rule", *dataset.probability_columns, "predicted", "tie"])
    table[dataset.probability_columns] = probabilities(path, table, dataset.probability_columns)
    table["position"] = class_indices(path, table, "predicted", dataset.classes)
    validated = [image for fold in folds for image in split.images("validation", fold)]
    tested = split.images("test", folds[0])
    blocks = []
    for rule, role, expected in (
        *((rule, "test", tested) for rule in pooling.RULES), ("out_of_fold", "validation", validated),
    ):  # fmt: skip
        rows = in_order(path, table[(table["rule"] == rule) & (table["role"] == role)], expected, f"{role} image")
        pooled = rule == "out_of_fold"
        blocks.append(
            Block(
                model=f"{method}/{rule}",
                method=method,
                kind="out_of_fold" if pooled else "ensemble",
                rule=None if pooled else rule,
                role=role,
                images=expected,
                probabilities=rows[dataset.probability_columns].to_numpy(),
                predicted=rows["position"].to_numpy(),
                is_probability=rule not in pooling.RANKS,
                ties=None if pooled else int((rows["tie"] == "True").sum()),
            )
        )
    return blocks


def across_blocks(images: list[str], verdicts: dict[str, votes.Verdict]) -> list[Block]:
    """What every rule says of the test images when the folds of all methods vote together."""
    return [
        Block(
            model=f"{ACROSS}/{rule}",
            kind="ensemble",
            rule=rule,
            role="test",
            images=images,
            probabilities=verdict.probabilities,
            predicted=verdict.predicted,
            is_probability=rule not in pooling.RANKS,
            ties=int(verdict.tie.sum()),
        )
        for rule, verdict in verdicts.items()
    ]


def scored(block: Block, truth: pd.DataFrame) -> Scored:
    """A block beside the truth."""
    known = truth.loc[block.images, "truth"].to_numpy()
    return Scored(known, block.predicted, block.probabilities, block.is_probability)


def baseline_block(name: str, images: list[str], values: FloatArray) -> Block:
    """A baseline on the test images; `values` has shape (images, classes)."""
    predicted = values.argmax(axis=1)
    return Block(
        model=f"baseline/{name}", kind="baseline", role="test", images=images, probabilities=values, predicted=predicted
    )


def predictions_table(blocks: list[Block], truth: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Every block as the rows of results/predictions.csv."""
    names = np.array(dataset.classes, dtype=object)
    parts = []
    for block in blocks:
        part = pd.DataFrame({"image": block.images})
        facts = {
            name: getattr(block, name) for name in ("model", "method", "kind", "rule", "fold", "iteration", "role")
        }
        for position, (name, value) in enumerate(facts.items()):
            part.insert(position, name, "" if value is None else str(value))
        known = truth.loc[block.images]
        part[["patient", "subject", "label"]] = known[["patient", "subject", "label"]].to_numpy()
        part[dataset.probability_columns] = block.probabilities
        part["predicted"] = names[block.predicted]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def model_entry(block: Block, truth: pd.DataFrame, dataset: Dataset) -> dict[str, Any]:
    """One entry of `models` in results/evaluation.json, without its intervals."""
    known = truth.loc[block.images]
    scores = metrics.score(
        known["truth"].to_numpy(),
        block.predicted,
        block.probabilities,
        dataset,
        is_probability=block.is_probability,
    )
    return {
        "model": block.model,
        "method": block.method,
        "kind": block.kind,
        "rule": block.rule,
        "fold": block.fold,
        "iteration": block.iteration,
        "role": block.role,
        "images": len(block.images),
        "subjects": int(known["subject"].nunique()),
        "ties": block.ties,
        "confusion": scores.confusion,
        "metrics": scores.metrics,
        "undefined": scores.undefined,
    }
