"""Scores: the page of anybody's predictions: every metric of every model, curves and patients."""

from typing import Any

from job.reporting import text
from job.reporting.figures import Page
from job.reporting.inputs import ReportInputs, per_patient
from job.reporting.pages import curves, patients, performance
from job.reporting.tables import Table, columns


def page(inputs: ReportInputs) -> Page:
    """The first page of scored predictions."""
    models = [model for model in inputs.evaluation["models"] if model["role"] == "test"]
    heads = columns("name", model="Model", metric="Metric") + columns("ratio", value="Per cell")
    heads += columns("ratio", "Per patient, with 95 % interval", patient="Value", low="from", high="to")
    heads += columns("text", note="Note")
    rows: list[list[Any]] = []
    for model in models:
        for metric, value in model["metrics"].items():
            note = model["undefined"].get(metric) or model["no_interval"].get(metric, "")
            rows.append([model["model"], text.METRICS[metric].label, value, *per_patient(model, metric), note])
    table = Table("scores", "Test images.", heads, rows)
    tables = {"scores": table, **patients.tables(inputs), **performance.differences(inputs)}
    facts = {"first": models[0], "positive": inputs.evaluation["positive"], "strips": [], "collapsed": []}
    facts |= {"warnings": inputs.evaluation["evidence"]["warnings"], "ranked": patients.ranked(inputs)}
    return Page(slug="scores", title="Scores", facts=facts, tables=tables, figures=curves.roc(inputs))
