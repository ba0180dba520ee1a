"""Experiments: what was tried with `dvc exp`, beside this report's own run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from job.reporting import text
from job.reporting.page import Page
from job.reporting.tables import Column, Table

# Of each method, as `results/summary.json` nests them.
HEADLINES = (
    ("majority", "balanced_accuracy"),
    ("majority", "sensitivity"),
    ("majority", "specificity"),
    ("mean", "auroc"),
)


@dataclass(frozen=True)
class Experiment:
    """One run: `name` is None for this report's own, `parent` the commit it started from, `date` in UTC or None.

    `parameters` holds every value by its dotted name, `changed` the names that differ from the parent's, `metrics` what
    `results/summary.json` holds, empty for a run that did not end.
    """

    name: str | None
    parent: str
    date: str | None
    parameters: dict[str, Any]
    changed: list[str]
    metrics: dict[str, Any]


def page(experiments: Sequence[Experiment]) -> Page:
    """The page; with no experiments it says how to make one."""
    return Page(
        slug="experiments", title="Experiments", facts={"experiments": len(experiments) - 1},
        tables={"experiments": _table(experiments)},
    )  # fmt: skip


def _table(experiments: Sequence[Experiment]) -> Table:
    methods = [name for name in dict.fromkeys(key for one in experiments for key in one.metrics) if name != "baseline"]
    columns = [
        Column("experiment", "Experiment", "name"), Column("data", "Data", "name"),
        Column("changed", "Changed parameters", "name"),
    ]  # fmt: skip
    for method in methods:
        for _, metric in HEADLINES:
            label, kind, _ = text.METRICS[metric]
            label = f"{label}, %" if kind == "percent" else label
            columns.append(Column(f"{method}_{metric}", label, kind, text.method_name(method)))
    columns += [Column("date", "When (UTC)"), Column("parent", "From commit")]
    rows = []
    for one in experiments:
        values = [
            one.metrics.get(method, {}).get(rule, {}).get(metric) for method in methods for rule, metric in HEADLINES
        ]
        name = "This report" if one.name is None else one.name
        changed = ", ".join(f"{key}={_shown(key, one.parameters[key])}" for key in one.changed) or "none"
        data = _shown("data.root", one.parameters.get("data.root", ""))
        rows.append([name, data, changed, *values, one.date, one.parent or None])
    marks = ["strong" if one.name is None else "" for one in experiments]
    return Table("experiments", "Experiments of this repository.", columns, rows, marks)


def _shown(key: str, value: object) -> str:
    # Where the images lie tells of one person's machine; the folder's own name tells which images.
    return PurePath(str(value)).name if key == "data.root" else str(value)
