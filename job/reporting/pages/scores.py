"""Scores: every metric of every model of a file of predictions, with its interval or why there is none."""

from __future__ import annotations

from job.reporting import text
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table


def page(inputs: ReportInputs) -> Page:
    """The first page of scored predictions."""
    models = [model for model in inputs.evaluation["models"] if model["role"] == "test"]
    columns = [
        Column("model", "Model", "name"), Column("metric", "Metric"), Column("value", "Value", "ratio"),
        Column("low", "from", "ratio", "95 %"), Column("high", "to", "ratio", "95 %"), Column("note", "Note"),
    ]  # fmt: skip
    rows = []
    for model in models:
        for metric, value in model["metrics"].items():
            ends = model["intervals"].get(metric, {})
            note = model["undefined"].get(metric) or model["no_interval"].get(metric, "")
            rows.append([model["model"], text.METRICS[metric].label, value, ends.get("low"), ends.get("high"), note])
    first = models[0]
    table = Table("scores", "Test images.", columns, rows)
    return Page(slug="scores", title="Scores", tables={"scores": table}, facts={
        "images": first["images"], "subjects": first["subjects"], "warnings": inputs.evaluation["evidence"]["warnings"],
        "positive": inputs.evaluation["positive"],
    })  # fmt: skip
