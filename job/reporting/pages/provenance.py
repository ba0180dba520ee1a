"""Provenance: the parameters of the run."""

from __future__ import annotations

from pathlib import PurePath

from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table


def page(inputs: ReportInputs) -> Page:
    """Never left out."""
    return Page(slug="provenance", title="Provenance", tables={"parameters": _parameters(inputs)})


def _parameters(inputs: ReportInputs) -> Table:
    rows: list[tuple[str, str]] = []
    for section, values in inputs.params.model_dump().items():
        if section == "demo" and not inputs.synthetic:
            continue
        if isinstance(values, dict):
            rows += [(f"{section}.{key}", _shown(f"{section}.{key}", value)) for key, value in values.items()]
        else:
            rows.append((section, ", ".join(map(str, values))))
    return Table(
        "parameters", "Parameters.", [Column("parameter", "Parameter"), Column("value", "Value", "name")], rows
    )


def _shown(key: str, value: object) -> str:
    # Where things lie tells of one person's machine; their own names tell which they are.
    return PurePath(str(value)).name if key in {"data.root", "model.weights"} else str(value)
