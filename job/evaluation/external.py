"""Predictions from anywhere: one CSV file, read as strictly as the pipeline's own.

Columns: `image`, `label` and `p_<CLASS>` for each class; with two classes one of them is enough. `patient` and
`subject` say whose the image is, `model` which model predicts (several may), `role` is `test` (taken where there is no
such column) or `validation`; rows of other roles are left out. `predicted` overrides the most probable class. Others
are ignored. A file may also have scikit-learn's `y_true` and `y_score`, the probability of the positive class.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from job.contracts.dataset import Dataset
from job.contracts.tables import REMEDY, FloatArray, class_indices, floats, probabilities, read_table, wrong_value
from job.errors import UserError
from job.evaluation.blocks import Block, Fitted, Truth
from job.temperature import fit_temperature, logits

ROLES = ("validation", "test")


def read(path: Path, *, synthetic: bool, positive: str | None = None) -> tuple[list[Block], list[Fitted]]:
    """Read and check a file of predictions; returned as `assembly.assess` takes them.

    A temperature is fitted, and thresholds are chosen, for every model that predicted validation and test images.
    `positive` names the positive one of two classes, where it is not the file's last.

    Raises:
        UserError: a column is missing or a value wrong, an image is repeated or missing, models predicted different
            test images, or an image or a subject is in both roles; the message names row and column.
    """
    try:
        return _read(path, synthetic=synthetic, positive=positive)
    except UserError as error:
        # The readers are those of the pipeline's own files, which DVC can make again.
        raise UserError(str(error).replace(REMEDY, "fix the file")) from None


def _read(path: Path, *, synthetic: bool, positive: str | None) -> tuple[list[Block], list[Fitted]]:
    table = read_table(path, [])
    if {"y_true", "y_score"} & set(table) and "label" not in table:
        table = _of_scores(path, read_table(path, ["y_true", "y_score"]), positive)
    else:
        table = read_table(path, ["image", "label"])
    for column, default in (("patient", ""), ("model", path.stem), ("role", "test")):
        if column not in table:
            table[column] = default
    table = table[table["role"].isin(ROLES)]
    if not (table["role"] == "test").any():
        raise UserError(f"{path}: column 'role': no row is of role 'test': fix the file")
    # Without a patient an image is a person of its own.
    subject = table["subject"] if "subject" in table else table["patient"]
    patients_known = bool((subject != "").all())
    table["subject"] = subject.where(subject != "", table["image"])
    dataset = _dataset(path, table, synthetic=synthetic, patients_known=patients_known)
    if positive is not None:
        if len(dataset.classes) != 2 or positive not in dataset.classes:
            raise UserError(
                f"--positive {positive}: {path} has the classes {', '.join(dataset.classes)}: name one of two"
            )
        dataset = replace(dataset, positive=positive)
    table[dataset.probability_columns] = _probabilities(path, table, dataset)
    class_indices(path, table, "label", dataset.classes)
    table["position"] = (
        class_indices(path, table, "predicted", dataset.classes)
        if "predicted" in table
        else table[dataset.probability_columns].to_numpy().argmax(axis=1)
    )
    _check(path, table)
    truth = Truth(table.drop_duplicates("image").assign(row=""), dataset)
    blocks = [
        _block(str(model), role, rows, truth)
        for role in ROLES
        for model, rows in table[table["role"] == role].groupby("model", sort=False)
    ]
    fitted = _fitted(blocks)
    return [*blocks, *(method.calibrated for method in fitted)], fitted


def _of_scores(path: Path, table: pd.DataFrame, positive: str | None) -> pd.DataFrame:
    """A table with scikit-learn's names: the score is of `positive`, else of ALL, else of the last label."""
    scores = floats(path, table, "y_score")
    wrong = table[~((scores >= 0) & (scores <= 1))]
    if len(wrong):
        problem = f"{wrong['y_score'].iloc[0]} is not a probability between 0 and 1"
        raise wrong_value(path, wrong, 0, "y_score", problem)
    labels = sorted(set(table["y_true"]))
    name = positive or ("ALL" if "ALL" in labels else ["", *labels][-1])
    if name not in labels or len(labels) > 2:
        there = f"column 'y_true' has the labels {', '.join(labels)}"
        raise UserError(f"{path}: {there}; a score is of two, and --positive names one of them: {REMEDY}")
    table = table.rename(columns={"y_true": "label", "y_score": f"p_{name}"})
    return table if "image" in table else table.assign(image=[f"row {n}" for n in range(1, len(table) + 1)])


def _dataset(path: Path, table: pd.DataFrame, *, synthetic: bool, patients_known: bool) -> Dataset:
    classes = [column.removeprefix("p_") for column in table.columns if column.startswith("p_")]
    if not classes:
        raise UserError(f"{path}: no column 'p_<CLASS>' holds probabilities: {REMEDY}")
    if len(classes) == 1:
        others = table[table["label"] != classes[0]]
        third = others[others["label"] != others["label"].iloc[0]] if len(others) else others
        if len(third):
            label = third["label"].iloc[0]
            raise wrong_value(path, third, 0, "label", f"{label!r} is a third class and has no column 'p_{label}'")
        classes = [others["label"].iloc[0] if len(others) else f"not {classes[0]}", classes[0]]
    positive = None
    if len(classes) == 2:
        positive = "ALL" if set(classes) == {"HEM", "ALL"} else classes[-1]
    return Dataset(path.stem, synthetic, tuple(classes), positive, patients_known)


def _probabilities(path: Path, table: pd.DataFrame, dataset: Dataset) -> FloatArray:
    other, column = dataset.probability_columns[0], dataset.probability_columns[-1]
    if other in table:
        return probabilities(path, table, dataset.probability_columns)
    both = table.assign(**{other: (1 - floats(path, table, column)).astype(str)})
    # In this order an error names the column that the file has.
    return probabilities(path, both, [column, other])[:, ::-1]


def _check(path: Path, table: pd.DataFrame) -> None:
    repeated = table[table.duplicated(["model", "role", "image"])]
    if len(repeated):
        image, model = repeated[["image", "model"]].iloc[0]
        raise wrong_value(path, repeated, 0, "image", f"{image!r} occurs twice for model {model!r}")
    first = table.drop_duplicates("image").set_index("image")
    for column in ("label", "patient", "subject", "role"):
        differs = table[table[column].to_numpy() != first.loc[table["image"], column].to_numpy()]
        if len(differs):
            raise wrong_value(path, differs, 0, column, f"{differs['image'].iloc[0]!r} has another {column} further up")
    # Of the validation images each model may have others: a fold's model predicts those that it did not learn from.
    groups = list(table[table["role"] == "test"].groupby("model", sort=False)["image"])
    for model, images in groups[1:]:
        name, reference = groups[0]
        for more, fewer, one, other in ((images, reference, model, name), (reference, images, name, model)):
            extra = table.loc[more.index[~more.isin(fewer)]]
            if len(extra):
                problem = f"{extra['image'].iloc[0]!r} is scored by {one!r} and not by {other!r}"
                raise wrong_value(path, extra, 0, "image", f"{problem}; models are compared on the same images")
    tested = table["role"] == "test"
    shared = table[tested & table["subject"].isin(table.loc[~tested, "subject"])]
    if len(shared):
        raise wrong_value(path, shared, 0, "subject", f"{shared['subject'].iloc[0]!r} has validation and test images")


def _block(model: str, role: str, rows: pd.DataFrame, truth: Truth) -> Block:
    rows = rows.sort_values("image")
    return Block(
        model=model,
        kind="ensemble" if role == "test" else "out_of_fold",
        role=role,
        cells=truth.cells(rows["image"].tolist()),
        probabilities=rows[truth.dataset.probability_columns].to_numpy(),
        predicted=rows["position"].to_numpy(np.int64),
    )


def _fitted(blocks: list[Block]) -> list[Fitted]:
    """A temperature for every model that predicted validation and test cells."""
    tested = {block.model: block for block in blocks if block.role == "test"}
    fitted = []
    for validation in blocks:
        if validation.role == "validation" and validation.model in tested:
            mean = tested[validation.model]
            temperature = fit_temperature(logits(validation.probabilities), validation.cells.truth)
            calibrated = replace(mean.at_temperature(temperature), model=f"{mean.model}/calibrated")
            fitted.append(Fitted(validation.model, temperature, validation, mean, calibrated))
    return fitted
