"""Predictions from anywhere: one CSV file, read as strictly as the pipeline's own.

Columns: `image`, `label` and `p_<CLASS>` for each class; with two classes one of them is enough. `patient` and
`subject` say whose the image is, `model` which model predicts (several may), `role` is `test` (taken where there is no
such column) or `validation`; rows of the other roles of this pipeline are left out. `predicted` overrides the most
probable class. Others are ignored. A file may also have scikit-learn's `y_true` and `y_score`, the probability of the
positive class.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from job.contracts import predictions, tables
from job.contracts.dataset import Dataset
from job.contracts.names import filled, is_gap, misnamed, one_person, positive_class, spelling
from job.contracts.tables import REMEDY, FloatArray, refuse, wrong_value
from job.errors import UserError
from job.evaluation.blocks import Block, Calibrated, Truth
from job.temperature import fit_temperature, logits

ROLES = ("validation", "test")
NAMES = ("image", "label", "patient", "subject", "model", "role", "predicted")


def read(
    path: Path, *, synthetic: bool, positive: str | None = None
) -> tuple[list[Block], list[Calibrated], list[str]]:
    """Read and check a file of predictions; returned as `assembly.assess` takes them, with warnings.

    A temperature is fitted, and thresholds are chosen, for every model that predicted validation and test images.
    `positive` is the positive class where somebody names it.

    A UserError, which names row and column, says that a column is missing or a value wrong, that an image is repeated
    or missing, that models predicted different test images, that an image or a subject is in both roles, or that nobody
    can tell which of two classes is positive.
    """
    try:
        return _read(path, synthetic=synthetic, positive=positive)
    except UserError as error:
        # The readers are those of the pipeline's own files, which DVC can make again.
        raise UserError(str(error).replace(REMEDY, "fix the file")) from None


def _read(path: Path, *, synthetic: bool, positive: str | None) -> tuple[list[Block], list[Calibrated], list[str]]:
    table = _table(path, positive)
    for column, default in (("patient", ""), ("model", path.stem), ("role", "test")):
        if column not in table:
            table[column] = default
    table["role"] = table["role"].str.casefold()
    tables.check_one_of(path, table, "role", (*predictions.ROLES, "train"))
    warnings = []
    if left_out := int((~table["role"].isin(ROLES)).sum()):
        warnings.append(f"{left_out:,} of {len(table):,} rows are of other roles than test and validation: left out.")
    table = table[table["role"].isin((*ROLES, "train"))]
    if not (table["role"] == "test").any():
        raise UserError(f"{path}: column 'role': no row is of role 'test': {REMEDY}")
    warnings += _persons(table)
    learned = table["role"] == "train"
    tested_too = (table["role"] == "test") & table["subject"].isin(table.loc[learned, "subject"])
    refuse(path, table[tested_too], "subject", "has training and test images")
    table = table[~learned]
    for column in ("image", "label", "model"):
        empty = table[column].map(is_gap) if column == "label" else table[column] == ""
        for line, text in table.loc[empty, column].items():
            raise wrong_value(path, line, column, f"{text!r} stands for a missing value" if text else "empty")
    dataset = _dataset(path, table, synthetic=synthetic, positive=positive)
    table[dataset.probability_columns] = _probabilities(path, table, dataset)
    tables.class_indices(path, table, "label", dataset.classes)
    table["position"] = (
        tables.class_indices(path, table, "predicted", dataset.classes)
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
    # A table that `score` wrote has them already.
    calibrated = [one.calibrated for one in fitted if one.calibrated.model not in {block.model for block in blocks}]
    return [*blocks, *calibrated], fitted, warnings


def _persons(table: pd.DataFrame) -> list[str]:
    """Fill in the column `subject`, one name for each person; sentences on who was merged, and on who is not known.

    An image without a patient is a person of its own.
    """
    warnings = []
    for column in {"patient", "subject"}.intersection(table):
        known = table[column].map(filled)
        same, sentences = one_person(known)
        table[column] = known.replace(same)
        warnings += [sentence for sentence in sentences if sentence not in warnings]
    subject = table["subject"] if "subject" in table else table["patient"]
    nobody = int(table.loc[subject == "", "image"].nunique())
    if nobody and (subject != "").any():
        warnings.append(
            f"{nobody:,} of {table['image'].nunique():,} images have no patient: each counts as a person of its own, "
            "so that intervals may be too narrow."
        )
    table["subject"] = subject.where(subject != "", table["image"])
    return warnings


def _table(path: Path, positive: str | None) -> pd.DataFrame:
    """The rows of the file, which has at least one, with `image` and `label`."""
    columns = tables.read_table(path, [], strip=True).columns
    scores = bool({"y_true", "y_score"} & set(columns)) and "label" not in columns
    table = tables.read_table(path, ["y_true", "y_score"] if scores else ["image", "label"], strip=True)
    if table.empty:
        raise UserError(f"{path} has no rows below its header: {REMEDY}")
    if scores:
        table = _of_scores(path, table, positive)
    if other := misnamed(list(table.columns), NAMES):
        raise UserError(f"{path}: column {other[0]!r} is not read: call it {other[1]!r}, or {REMEDY}")
    return table


def _of_scores(path: Path, table: pd.DataFrame, positive: str | None) -> pd.DataFrame:
    """A table with scikit-learn's names as one with ours; the score is that of the positive class."""
    scores = tables.floats(path, table, "y_score")
    for line, text in table.loc[~((scores >= 0) & (scores <= 1)), "y_score"].items():
        raise wrong_value(path, line, "y_score", f"{text} is not a probability between 0 and 1")
    labels = sorted({label for label in table["y_true"] if not is_gap(label)})
    if len(labels) != 2:
        raise UserError(f"{path}: column 'y_true' has the labels {', '.join(labels)}; a score is of two: {REMEDY}")
    name = positive_class(labels, positive or "", "--positive ")
    table = table.rename(columns={"y_true": "label", "y_score": f"p_{name}"})
    return table if "image" in table else table.assign(image=[f"row {n}" for n in range(1, len(table) + 1)])


def _dataset(path: Path, table: pd.DataFrame, *, synthetic: bool, positive: str | None) -> Dataset:
    classes = [column.removeprefix("p_") for column in table.columns if column.startswith("p_")]
    if not classes:
        raise UserError(f"{path}: no column 'p_<CLASS>' holds probabilities: {REMEDY}")
    if gap := next(filter(is_gap, classes), None):
        raise UserError(f"{path}: column 'p_{gap}': {gap!r} stands for a missing value, not for a class: {REMEDY}")
    for name in classes:
        other = table["label"].map(lambda label, name=name: label != name and spelling(label) == spelling(name))
        refuse(path, table[other], "label", f"is {name!r} in another spelling: spell one class one way")
    found = sorted(set(table["label"]))
    if len(found) > 1 and not set(found) & set(classes):
        columns = ", ".join(f"p_{name}" for name in classes)
        raise UserError(f"{path}: no label is one of the columns' classes: {', '.join(found[:5])}, {columns}: {REMEDY}")
    if len(classes) == 1:
        others = table.loc[table["label"] != classes[0], "label"]
        other_class = others.iloc[0] if len(others) else f"not {classes[0]}"
        for line, label in others[others != other_class].items():
            raise wrong_value(path, line, "label", f"{label!r} is a third class and has no column 'p_{label}'")
        classes = [other_class, classes[0]]
    # A subject that nobody knows has the name of an image.
    known = bool((table["patient"] != "").any() or not table["subject"].isin(table["image"]).all())
    return Dataset(path.stem, synthetic, tuple(classes), positive_class(classes, positive, "--positive "), known)


def _probabilities(path: Path, table: pd.DataFrame, dataset: Dataset) -> FloatArray:
    other, column = dataset.probability_columns[0], dataset.probability_columns[-1]
    if other in table:
        return tables.probabilities(path, table, dataset.probability_columns)
    both = table.assign(**{other: (1 - tables.floats(path, table, column)).astype(str)})
    # In this order an error names the column that the file has.
    return tables.probabilities(path, both, [column, other])[:, ::-1]


def _check(path: Path, table: pd.DataFrame) -> None:
    repeated = table[table.duplicated(["model", "role", "image"])]
    for model in repeated["model"]:
        refuse(path, repeated, "image", f"occurs twice for model {model!r}")
    first = table.drop_duplicates("image").set_index("image")
    for column in ("label", "patient", "subject", "role"):
        differs = table[column].to_numpy() != first.loc[table["image"], column].to_numpy()
        for line, image in table.loc[differs, "image"].items():
            raise wrong_value(path, line, column, f"{image!r} has another {column} further up")
    # Of the validation images each model may have others: a fold's model predicts those that it did not learn from.
    groups = list(table[table["role"] == "test"].groupby("model", sort=False)["image"])
    for model, images in groups[1:]:
        name, reference = groups[0]
        for more, fewer, one, other in ((images, reference, model, name), (reference, images, name, model)):
            problem = f"is scored by {one!r} and not by {other!r}; models are compared on the same images"
            refuse(path, table.loc[more.index[~more.isin(fewer)]], "image", problem)
    tested = table["role"] == "test"
    shared = table[tested & table["subject"].isin(table.loc[~tested, "subject"])]
    refuse(path, shared, "subject", "has validation and test images")


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


def _fitted(blocks: list[Block]) -> list[Calibrated]:
    """A temperature for every model that predicted validation and test cells."""
    tested = {block.model: block for block in blocks if block.role == "test"}
    fitted = []
    for validation in blocks:
        if validation.role == "validation" and validation.model in tested:
            mean = tested[validation.model]
            temperature = fit_temperature(logits(validation.probabilities), validation.cells.truth)
            calibrated = replace(mean.at_temperature(temperature), model=f"{mean.model}/calibrated")
            fitted.append(Calibrated(validation.model, temperature, validation, mean, calibrated))
    return fitted
