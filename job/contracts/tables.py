"""Reading CSV files of stages and of people; every message names the file, the line, the column and what to do."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job import files
from job.errors import UserError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

REMEDY = files.REMEDY
SUM_TOLERANCE = 1e-4
FIRST_LINE = 2  # line 1 of a file is its header


def read_table(path: Path, columns: Sequence[str], *, strip: bool = False) -> pd.DataFrame:
    """Read a file of another stage with every value as text; other columns than `columns` are kept too.

    Text, because a patient may be called "007": pandas' guesses would change it. `strip` takes spaces around names and
    values away, for files that people made. Blank lines at the end are none. A UserError says that the file cannot be
    read, is not UTF-8 or not CSV, lacks a column or has one twice, or that a line has another number of values.
    """
    header, rows = _read(path, columns, REMEDY, strip=strip)
    for number, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}: line {number} has {len(row)} values, not {len(header)}: {REMEDY}")
    return pd.DataFrame([row for _, row in rows], columns=header, dtype="str")


def read_rows(path: Path, columns: Sequence[str]) -> tuple[list[tuple[int, dict[str, str]]], list[tuple[int, str]]]:
    """Read a label file as spreadsheets write it: with a byte order mark, Windows' line ends, blank lines and spaces.

    Returned are the rows, each as its line number and its values by column without spaces around them; and the lines
    that are no rows, each with the reason. A UserError says why the file as a whole cannot be read, as `read_table`.
    """
    remedy = f"save it as CSV in UTF-8, separated by commas, with {','.join(columns)} in its first line"
    header, lines = _read(path, columns, remedy, strip=True)
    rows = [(number, dict(zip(header, values, strict=True))) for number, values in lines if len(values) == len(header)]
    reason = f"expected {len(header)} values, one per column"
    return rows, [(number, reason) for number, values in lines if len(values) not in (0, len(header))]


def _read(
    path: Path, columns: Sequence[str], remedy: str, *, strip: bool = False
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and the values of every row with the number of the line that it ends on."""
    rows: list[tuple[int, list[str]]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            # Not strict, a quote that nobody closes would take the rest of the file for one value.
            reader = csv.reader(handle, strict=True)
            rows.extend((reader.line_num, [value.strip() for value in row] if strip else row) for row in reader)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {remedy}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {remedy}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: {remedy}") from None
    except csv.Error as error:
        raise UserError(f"{path}: line {rows[-1][0] + 1 if rows else 1} is no CSV ({error}): {remedy}") from None
    while rows and not rows[-1][1]:
        rows.pop()
    header = rows.pop(0)[1] if rows else []
    _check_header(path, header, columns, remedy)
    return header, rows


def _check_header(path: Path, header: list[str], columns: Sequence[str], remedy: str) -> None:
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "'|'")):
        if len(header) == 1 and sign in header[0]:
            raise UserError(f"{path}: its columns are separated by {name}, not by commas: {remedy}")
    for column in columns:
        if column not in header:
            hints = [f" (there is {name!r})" for name in header if name.strip().casefold() == column.casefold()]
            raise UserError(f"{path}: column {column!r} is missing{''.join(hints[:1])}: {remedy}")
    for column in header:
        if header.count(column) > 1:
            raise UserError(f"{path}: column {column!r} occurs twice: {remedy}")


def refuse(path: Path, rows: pd.DataFrame, column: str, problem: str) -> None:
    """Raise a UserError about the first of these rows, if there is any; the message quotes its value in the column.

    `rows` are some of a table as `read_table` returned it, whose index counts the lines.
    """
    for line, value in zip(rows.index[:1], rows[column].tolist(), strict=False):
        raise wrong_value(path, line, column, f"{value!r} {problem}")


def wrong_value(path: Path, line: Any, column: str, problem: str) -> UserError:
    """The error for a value; `line` is its index in a table as `read_table` returned it."""
    return UserError(f"{path}: line {line + FIRST_LINE}, column {column!r}: {problem}: {REMEDY}")


def integers(path: Path, table: pd.DataFrame, column: str) -> IntArray:
    """A text column as whole numbers; a UserError names the first value that is none."""
    return np.array(_numbers(path, table, column, int), dtype=np.int64)


def floats(path: Path, table: pd.DataFrame, column: str) -> FloatArray:
    """A text column as numbers, every digit kept; a UserError names the first value that is none."""
    return np.array(_numbers(path, table, column, float), dtype=np.float64)


def _numbers(path: Path, table: pd.DataFrame, column: str, kind: type[int | float]) -> list[float]:
    numbers: list[float] = []
    for line, text in table[column].items():
        try:
            numbers.append(kind(text))
        except ValueError:
            hint = "; decimals are written with a point" if "," in text else ""
            raise wrong_value(path, line, column, f"{text!r} is not a number{hint}") from None
    return numbers


def probabilities(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> FloatArray:
    """The columns of the classes' probabilities, shape (rows, classes), each row divided by its sum.

    The files hold float32 values, whose rows sum to one within about 1e-7 only; scikit-learn's log loss expects the
    precision of float64. A UserError names a value that is not a number in [0, 1], or a sum further than 1e-4 from one.
    """
    values = np.stack([floats(path, table, column) for column in columns], axis=1)
    for row, c in np.argwhere(~((values >= 0) & (values <= 1)))[:1]:
        problem = f"{values[row, c]} is not a probability between 0 and 1"
        raise wrong_value(path, table.index[row], columns[c], problem)
    total = values.sum(axis=1, keepdims=True)
    off = np.flatnonzero(np.abs(total[:, 0] - 1) > SUM_TOLERANCE)
    if off.size:
        line = f"line {table.index[off[0]] + FIRST_LINE}"
        problem = f"the probabilities sum to {total[off[0], 0]:.6f}, not 1"
        raise UserError(f"{path}: {line}: {problem}: {REMEDY} (columns {', '.join(columns)})")
    return np.asarray(values / total)


def class_indices(path: Path, table: pd.DataFrame, column: str, classes: Sequence[str]) -> IntArray:
    """A column of class names as class numbers, their positions in `classes`; a UserError names any other value."""
    check_one_of(path, table, column, classes)
    return np.array([classes.index(label) for label in table[column]], dtype=np.int64)


def check_one_of(path: Path, table: pd.DataFrame, column: str, allowed: Sequence[Any]) -> None:
    """Refuse a table with another value in a column than those allowed: a UserError names the first and the allowed."""
    rule = f"is not {'one of ' if len(allowed) > 1 else ''}{', '.join(map(str, allowed))}"
    refuse(path, table[~table[column].isin(allowed)], column, rule)


def check_unique(path: Path, table: pd.DataFrame) -> None:
    """Refuse a table that names an image twice: a UserError names the second line of the first repeated image."""
    refuse(path, table[table["image"].duplicated()], "image", "occurs twice")
