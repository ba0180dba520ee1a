"""Strict reading of tables between the stages: what is wrong is named with its file, line and column."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.errors import UserError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

REMEDY = "run `dvc repro` to make it again"
SUM_TOLERANCE = 1e-4
FIRST_LINE = 2  # line 1 of a file is its header


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file with every value as text; other columns than `columns` are kept too.

    Text, because a patient may be called "NA" or "007": pandas' guesses would change both.

    Raises:
        UserError: the file cannot be read, is not UTF-8 or not CSV, lacks a column or has one twice, or a line has
            another number of values. Blank lines at the end are none.
    """
    lines = _lines(path)
    header, rows = (lines[0], lines[1:]) if lines else ([], [])
    for column in columns:
        if column not in header:
            raise UserError(f"{path}: column {column!r} is missing: {REMEDY}")
    if twice := [column for column in header if header.count(column) > 1]:
        raise UserError(f"{path}: column {twice[0]!r} occurs twice: {REMEDY}")
    for number, row in enumerate(rows, start=FIRST_LINE):
        if len(row) != len(header):
            raise UserError(f"{path}: line {number} has {len(row)} values, not {len(header)}: {REMEDY}")
    return pd.DataFrame(rows, columns=header, dtype="str")


def _lines(path: Path) -> list[list[str]]:
    lines: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            # Not strict, a quote that nobody closes would take the rest of the file for one value.
            lines.extend(csv.reader(handle, strict=True))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {REMEDY}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {REMEDY}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: {REMEDY}") from None
    except csv.Error as error:
        raise UserError(f"{path}: line {len(lines) + 1} is no CSV ({error}): {REMEDY}") from None
    while lines and not lines[-1]:
        lines.pop()
    return lines


def integers(path: Path, table: pd.DataFrame, column: str) -> IntArray:
    """A text column as whole numbers.

    Raises:
        UserError: a value is not a whole number.
    """
    return np.array(
        [_number(path, column, i, text, int) for i, text in zip(table.index, table[column], strict=True)],
        dtype=np.int64,
    )


def floats(path: Path, table: pd.DataFrame, column: str) -> FloatArray:
    """A text column as numbers, every digit kept.

    Raises:
        UserError: a value is not a number.
    """
    return np.array(
        [_number(path, column, i, text, float) for i, text in zip(table.index, table[column], strict=True)],
        dtype=np.float64,
    )


def _number(path: Path, column: str, position: Any, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        where = f"line {position + FIRST_LINE}, column {column!r}"
        raise UserError(f"{path}: {where}: {text!r} is not a number: {REMEDY}") from None


def probabilities(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> FloatArray:
    """The columns of the classes' probabilities, shape (rows, classes), each row divided by its sum.

    The files hold float32 values, whose rows sum to one within about 1e-7 only; scikit-learn's log loss expects the
    precision of float64.

    Raises:
        UserError: a value is not a number in [0, 1], or a row's sum is further than 1e-4 from one.
    """
    values = np.stack([floats(path, table, column) for column in columns], axis=1)
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        row, c = np.argwhere(outside)[0]
        where = f"line {table.index[row] + FIRST_LINE}, column {columns[c]!r}"
        raise UserError(f"{path}: {where}: {values[row, c]} is not a probability between 0 and 1: {REMEDY}")
    total = values.sum(axis=1, keepdims=True)
    off = np.flatnonzero(np.abs(total[:, 0] - 1) > SUM_TOLERANCE)
    if off.size:
        line = table.index[off[0]] + FIRST_LINE
        raise UserError(f"{path}: line {line}: the probabilities sum to {total[off[0], 0]:.6f}, not 1: {REMEDY}")
    return np.asarray(values / total)


def class_indices(path: Path, table: pd.DataFrame, column: str, classes: Sequence[str]) -> IntArray:
    """A column of class names as class numbers, their positions in `classes`.

    Raises:
        UserError: a value is not one of the classes.
    """
    position = {name: i for i, name in enumerate(classes)}
    for line, label in zip(table.index, table[column], strict=True):
        if label not in position:
            where = f"line {line + FIRST_LINE}, column {column!r}"
            raise UserError(f"{path}: {where}: {label!r} is not one of {', '.join(classes)}: {REMEDY}")
    return np.array([position[label] for label in table[column]], dtype=np.int64)


def check_unique(path: Path, table: pd.DataFrame, column: str = "image") -> None:
    """Refuse a table that names an image twice.

    Raises:
        UserError: naming the second line of the first repeated image.
    """
    repeated = np.flatnonzero(table[column].duplicated())
    if repeated.size:
        where = f"line {table.index[repeated[0]] + FIRST_LINE}, column {column!r}"
        raise UserError(f"{path}: {where}: {table[column].iloc[repeated[0]]!r} occurs twice: {REMEDY}")
