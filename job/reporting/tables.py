"""Tables: shown in a page and written as CSV from the same values."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from job.reporting import text


@dataclass(frozen=True)
class Column:
    """One column: `key` heads it in the CSV file, `label` on the page, `group` is a heading above several columns.

    `kind` is a cell kind of `job.reporting.text.cell`.
    """

    key: str
    label: str
    kind: str = "text"
    group: str = ""

    @property
    def numeric(self) -> bool:
        """Whether the cells are numbers, set flush right."""
        return self.kind not in {"text", "name"}


class Group(NamedTuple):
    """A heading above neighbouring columns."""

    label: str
    span: int


@dataclass(frozen=True)
class Table:
    """Rows of raw values (shares in 0 to 1) under columns; the first column names the row.

    `marks` gives each row a CSS class (empty: none); `file` is the stem of the CSV file.
    """

    file: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    marks: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), f"{self.file}: a row has another length"

    @property
    def groups(self) -> list[Group]:
        """Headings above the columns; empty when no column has one."""
        if not any(column.group for column in self.columns):
            return []
        return [Group(label, len(list(columns))) for label, columns in groupby(self.columns, lambda c: c.group)]

    def mark(self, row: int) -> str:
        """The CSS class of a row."""
        return self.marks[row] if self.marks else ""

    def csv(self) -> str:
        """The raw values, with round-trip digits."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.key for column in self.columns])
        writer.writerows([[_guarded(value) for value in row] for row in self.rows])
        return out.getvalue()


def metric_columns(metrics: Sequence[str], group: str = "", prefix: str = "") -> list[Column]:
    """One column per metric, with the unit in its label."""
    columns = []
    for metric in metrics:
        label, kind, _ = text.METRICS[metric]
        columns.append(Column(prefix + metric, f"{label}, %" if kind == "percent" else label, kind, group))
    return columns


def _guarded(value: Any) -> Any:
    # A spreadsheet runs a text that starts with one of these as a formula; a leading apostrophe makes it text again.
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value
