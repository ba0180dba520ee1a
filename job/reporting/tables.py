"""Tables: shown in a page, written as CSV and drawn as figures from the same values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pandas as pd

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
        return self.kind not in {"text", "name", "method"}


@dataclass(frozen=True)
class Table:
    """Rows of raw values (shares in 0 to 1) under columns; the first column names the row.

    `styles` gives each row a CSS class (empty: none); `file` is the stem of the CSV file. A page shows the first
    `LIMIT` rows, the file has all.
    """

    file: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    styles: Sequence[str] = ()

    LIMIT = 150

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), f"{self.file}: a row has another length"

    @classmethod
    def of(cls, file: str, caption: str, columns: Sequence[Column], entries: Iterable[Any]) -> Table:
        """A table of parsed JSON: a row per entry, a column's key is the path to its value (`test.metrics.ece`)."""
        return cls(file, caption, columns, [[_reach(entry, column.key) for column in columns] for entry in entries])

    @property
    def marks(self) -> Sequence[str]:
        """The CSS class of each row: where methods or models have several rows, the first of each and its repeats."""
        first = [row[0] for row in self.rows]
        if self.styles or len(set(first)) == len(first) or self.columns[0].key not in {"method", "model"}:
            return self.styles
        return ["repeat" if n and first[n - 1] == name else "first" for n, name in enumerate(first)]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings above neighbouring columns, each with their number; empty when no column has one."""
        groups = [(label, len(list(columns))) for label, columns in groupby(self.columns, lambda c: c.group)]
        return groups if any(label for label, _ in groups) else []

    def values(self, key: str) -> list[Any]:
        """The values of one column."""
        position = [column.key for column in self.columns].index(key)
        return [row[position] for row in self.rows]

    def percents(self, key: str) -> list[float | None]:
        """The shares of one column as percentages; an undefined one stays a gap."""
        return [None if share is None else round(100 * share, 5) for share in self.values(key)]

    def where(self, **values: Any) -> Table:
        """The rows that hold these values, by the key of a column."""
        columns = {key: self.values(key) for key in values}
        rows = [row for n, row in enumerate(self.rows) if all(columns[key][n] == values[key] for key in values)]
        return replace(self, rows=rows, styles=())

    def by(self, *keys: str) -> dict[Any, Table]:
        """The rows of each value of a column, or of each tuple of values of several, in the order of appearance."""
        groups: dict[Any, list[Sequence[Any]]] = {}
        for value, row in zip(zip(*map(self.values, keys), strict=True), self.rows, strict=True):
            groups.setdefault(value if len(keys) > 1 else value[0], []).append(row)
        return {value: replace(self, rows=rows, styles=()) for value, rows in groups.items()}

    def csv(self) -> str:
        """The raw values, with round-trip digits."""
        rows = [[_guarded(value) for value in row] for row in self.rows]
        frame = pd.DataFrame(rows, columns=[column.key for column in self.columns], dtype=object)
        return str(frame.to_csv(index=False, lineterminator="\n"))


def columns(kind: str, group: str = "", /, **labels: str) -> list[Column]:
    """Columns of one kind under one heading: their labels by their keys."""
    return [Column(key, label, kind, group) for key, label in labels.items()]


def interval_columns(kind: str, group: str, path: str) -> list[Column]:
    """A value and the ends of its 95 % interval, found under `path`."""
    return columns(kind, group, **{f"{path}.value": "Value", f"{path}.low": "from", f"{path}.high": "to"})


def metric_columns(metrics: Iterable[str], group: str = "", prefix: str = "") -> list[Column]:
    """One column per metric, with the unit in its label."""
    entries = {metric: text.METRICS[metric] for metric in metrics}
    units = {metric: ", %" if entry.kind == "percent" else "" for metric, entry in entries.items()}
    return [Column(prefix + key, entry.label + units[key], entry.kind, group) for key, entry in entries.items()]


def _reach(entry: Any, path: str) -> Any:
    for part in path.split("."):
        entry = entry[int(part)] if isinstance(entry, list) else (entry or {}).get(part)
    return entry


def _guarded(value: Any) -> Any:
    # A spreadsheet runs a text that starts with one of these as a formula; a leading apostrophe makes it text again.
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value
