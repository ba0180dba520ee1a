"""Scores: the first page of anybody's predictions: how good, curves, confusion, patients, calibration, every metric."""

from typing import Any

from job.reporting import text
from job.reporting.figures import Page
from job.reporting.inputs import Model, ReportInputs, per_patient
from job.reporting.pages import curves, decisions, errors, overview, patients, performance
from job.reporting.tables import Table, columns


def page(inputs: ReportInputs) -> Page:
    """The first page of scored predictions."""
    models = inputs.models()
    intervals = overview.intervals_table(inputs, [(model["model"], model) for model in models])
    heads = columns("name", model="Model", metric="Metric") + columns("ratio", value="Per cell")
    heads += columns("ratio", f"Per {inputs.unit}, with 95 % interval", patient="Value", low="from", high="to")
    heads += columns("text", note="Note")
    rows: list[list[Any]] = []
    for model in models:
        for metric, value in model["metrics"].items():
            note = model["undefined"].get(metric) or model["no_interval"].get(metric, "")
            rows.append([model["model"], text.METRICS[metric].label, value, *per_patient(model, metric), note])
    cells = {model["model"]: inputs.cells_of(model["model"]) for model in models}
    tables = {"scores": Table("scores", "Every metric.", heads, rows), "confusion": errors.counts(inputs, cells)}
    tables |= {**patients.tables(inputs), **performance.differences(inputs)}
    drawn = {"forest": overview.forest(inputs, intervals), **curves.roc(inputs), **patients.strips(inputs)}
    if not inputs.evaluation["calibration"]:  # else the page Decisions has it, before and after
        losses = [f"{model['model']} {text.cell(model['metrics']['log_loss'], 'ratio')}" for model in models]
        drawn["reliability"] = decisions.reliability(inputs.evaluation["reliability"], f"Log loss: {'; '.join(losses)}")
    facts = {
        "inputs": inputs,
        "first": models[0],
        "results": [overview.result(inputs, model["model"], model) for model in models[:3]],
        "explorers": curves.explorers(inputs),
    }
    return Page("index", "Scores", facts, tables, drawn, template="scores")


def headline(model: Model, unit: str) -> str:
    """A model's figures in one line; `unit` is what counts once."""
    parts = []
    for metric in model["by_subject"]:
        value, *ends = (text.cell(end, text.METRICS[metric].kind) for end in per_patient(model, metric))
        sign = " %" if text.METRICS[metric].kind == "percent" and value != "–" else ""
        span = "" if "–" in ends else f" [{' to '.join(ends)}]"
        parts.append(f"{text.METRICS[metric].label} {value}{sign}{span}")
    return f"{model['model']}: {', '.join(parts)} (per {unit}; 95 % intervals in brackets)"
