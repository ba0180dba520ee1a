"""Self-training: what the pseudo-labels were worth, and the test metrics from teacher to last student."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from job.reporting import figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table, metric_columns

METHOD = "noisy_student"
TRACED = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auroc")


def page(inputs: ReportInputs) -> Page | None:
    """Left out when no method trained itself."""
    if not inputs.evaluation["self_training"]:
        return None
    found = {"pseudo_labels": _pseudo_labels(inputs)}
    tables = {"pseudo_labels": _pseudo_label_table(inputs)}
    traced = inputs.models(kind="iteration", method=METHOD)
    if any(model["metrics"]["balanced_accuracy"] is not None for model in traced):
        found["trace"] = _trace(inputs)
        tables["trace"] = _trace_table(inputs)
    return Page(slug="self-training", title="Self-training", tables=tables, figures=found, facts={
        "iterations": inputs.params.noisy_student.iterations, "labels": inputs.params.noisy_student.labels,
    })  # fmt: skip


def _trace_table(inputs: ReportInputs) -> Table:
    columns = [Column("model", "Model"), *metric_columns(TRACED, "Mean of folds on the test set")]
    models = inputs.models(kind="iteration", method=METHOD)
    rows = []
    for iteration in sorted({model["iteration"] for model in models}):
        own = [model["metrics"] for model in models if model["iteration"] == iteration]
        rows.append([text.iteration_name(iteration), *(_mean([m.get(metric) for m in own]) for metric in TRACED)])
    return Table("self-training-means", "Teacher and students on the test set, mean of folds.", columns, rows)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _trace(inputs: ReportInputs) -> Figure:
    models = inputs.models(kind="iteration", method=METHOD)
    values = {(m["fold"], m["iteration"]): m["metrics"]["balanced_accuracy"] for m in models}
    values = {key: value for key, value in values.items() if value is not None}
    first, last, change = _change(values)
    direction = "rises" if change > 0 else "falls"
    return Figure(
        title=f"Balanced accuracy {direction} by {abs(change):.1f} points from {first.lower()} to {last.lower()}"
        if round(abs(change), 1)
        else f"Balanced accuracy does not change from {first.lower()} to {last.lower()}",
        caption="Balanced accuracy on the test set of each fold's teacher and students. The thick line is the mean "
        "of folds, of which the title speaks.",
        spec=_by_iteration(values, "Balanced accuracy (%)"),
        table=_values_table(
            "self-training-trace", "Balanced accuracy by fold and iteration.", "balanced_accuracy", values
        ),
    )


def _pseudo_labels(inputs: ReportInputs) -> Figure:
    values = {(row["fold"], row["iteration"]): row["right"] for row in inputs.evaluation["self_training"]}
    means = [fmean(v for (_, i), v in values.items() if i == k) for k in sorted({i for _, i in values})]
    return Figure(
        title=f"{text.percent(means[0])} of the first student's pseudo-labels are right"
        + (f", {text.percent(means[-1])} of the last one's" if len(means) > 1 else ""),
        caption="Share of masked images whose pseudo-label equals the truth, by the student that learned from them. "
        "The truth was looked up afterwards: no model saw it. The thick line is the mean of folds.",
        spec=_by_iteration(values, "Pseudo-labels that are right (%)"),
        table=_values_table("pseudo-labels-right", "Share of right pseudo-labels by fold.", "share", values),
    )


def _pseudo_label_table(inputs: ReportInputs) -> Table:
    columns = [
        Column("fold", "Fold"), Column("student", "Labels for"), Column("images", "Images", "count"),
        Column("right", "Right, %", "percent"),
        Column("share_positive", f"Called {text.name(inputs.evaluation['positive'])}, %", "percent"),
        Column("agreement", "Same as the round before, %", "percent"),
    ]  # fmt: skip
    rows = [
        [
            row["fold"],
            text.iteration_name(row["iteration"]),
            row["images"],
            row["right"],
            row["share_positive"],
            row["agreement"],
        ]
        for row in inputs.evaluation["self_training"]
    ]
    return Table("pseudo-labels", "Pseudo-labels of every fold and round.", columns, rows)


def _change(values: dict[tuple[int, int], float]) -> tuple[str, str, float]:
    iterations = sorted({iteration for _, iteration in values})
    means = [fmean(value for (_, i), value in values.items() if i == k) for k in (iterations[0], iterations[-1])]
    return text.iteration_name(iterations[0]), text.iteration_name(iterations[-1]), 100 * (means[1] - means[0])


def _by_iteration(values: dict[tuple[int, int], float], unit: str) -> dict[str, Any]:
    iterations = sorted({iteration for _, iteration in values})
    names = [text.iteration_name(iteration) for iteration in iterations]
    traces = []
    for position, fold in enumerate(sorted({fold for fold, _ in values})):
        ys = figures.percents(values.get((fold, i)) for i in iterations)
        dash = ("dot", "dash", "dashdot", "longdash", "longdashdot")[position % 5]
        trace = figures.line(f"Fold {fold}", names, ys, position, line={"width": 1.5, "dash": dash}, opacity=0.8)
        traces.append(trace)
    mean = figures.percents(fmean(v for (_, i), v in values.items() if i == k) for k in iterations)
    bold = figures.line("Mean of folds", names, mean, 0, line={"width": 4, "color": figures.INK})
    bold["marker"] = {"color": figures.INK, "symbol": "circle", "size": 9}
    return figures.spec([*traces, bold], figures.axis(""), figures.axis(unit))


def _values_table(file: str, caption: str, key: str, values: dict[tuple[int, int], float]) -> Table:
    columns = [Column("fold", "Fold"), Column("model", "Model"), Column(key, "Value, %", "percent")]
    rows = [[fold, text.iteration_name(iteration), value] for (fold, iteration), value in values.items()]
    return Table(file, caption, columns, rows)
