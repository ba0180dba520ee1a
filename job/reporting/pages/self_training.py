"""Self-training: what the pseudo-labels were worth, and the test metrics from teacher to last student."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from job.reporting import figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table, metric_columns

TRACED = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auroc")


def page(inputs: ReportInputs) -> Page | None:
    """Left out when no method trained itself."""
    if not inputs.evaluation["self_training"]:
        return None
    found = {"pseudo_labels": _pseudo_labels(inputs)}
    tables = {"pseudo_labels": _pseudo_label_table(inputs)}
    traced = inputs.models(kind="iteration")
    if any(model["metrics"]["balanced_accuracy"] is not None for model in traced):
        found["trace"] = _trace(inputs)
        tables["trace"] = _trace_table(inputs)
    return Page(slug="self-training", title="Self-training", tables=tables, figures=found, facts={
        "iterations": inputs.params.noisy_student.iterations, "labels": inputs.params.noisy_student.labels,
        "labelled_share": inputs.params.split.labelled_share, "explanation": explanation(inputs),
    })  # fmt: skip


def explanation(inputs: ReportInputs) -> list[str]:
    """What the numbers say about confirmation bias: means of folds, by round."""
    entries = inputs.evaluation["self_training"]
    right = _means({(row["fold"], row["iteration"]): row["right"] for row in entries})
    sentences = [f"Right pseudo-labels, by round: {text.listed([text.percent(share) for share in right])}."]
    if inputs.evaluation["positive"] is not None:
        called = _means({(row["fold"], row["iteration"]): row["share_positive"] for row in entries})
        name = text.name(inputs.evaluation["positive"])
        shares = text.listed([text.percent(share) for share in called])
        sentences.append(f"Labels {name}, by round: {shares}{_truth(inputs)}.")
    balanced = _means(values := _balanced(inputs))
    if len(balanced) > 1:
        first, last, _ = _change(values)
        sentences.append(
            f"Balanced accuracy on the test set: {text.percent(balanced[0])} for the {first.lower()}, "
            f"{text.percent(balanced[-1])} for {last.lower()}."
        )
    if len(right) > 1 and len(balanced) > 1:
        sentences.append(_reading(right[-1] - right[0], balanced[-1] - balanced[0]))
    return sentences


def _reading(labels: float, accuracy: float) -> str:
    if labels < 0 and accuracy < 0:
        return (
            "Fewer labels are right at the end, and the last students are worse than their teachers. That is what "
            "confirmation bias looks like; the numbers show both happening together, and do not show the cause."
        )
    if labels >= 0 and accuracy >= 0:
        return "Neither got worse over the rounds: these numbers show no confirmation bias."
    return "One got worse and the other did not: these numbers do not decide whether there was confirmation bias."


def _truth(inputs: ReportInputs) -> str:
    """How many of the masked images are positive in truth, from the teachers' confusion matrices."""
    teachers = [model for model in inputs.models(kind="iteration", role="masked") if model["iteration"] == 0]
    counts = [[sum(row) for row in model["confusion"]] for model in teachers]
    total = sum(map(sum, counts))
    if not total:
        return ""
    positive = inputs.classes.index(inputs.evaluation["positive"])
    return f"; in truth {text.percent(sum(count[positive] for count in counts) / total)} of these images are"


def _balanced(inputs: ReportInputs) -> dict[tuple[int, int], float]:
    values = {(m["fold"], m["iteration"]): m["metrics"]["balanced_accuracy"] for m in inputs.models(kind="iteration")}
    return {key: value for key, value in values.items() if value is not None}


def _means(values: dict[tuple[int, int], float]) -> list[float]:
    """Mean of folds by iteration, in order."""
    return [fmean(v for (_, i), v in values.items() if i == k) for k in sorted({i for _, i in values})]


def _trace_table(inputs: ReportInputs) -> Table:
    columns = [Column("model", "Model"), *metric_columns(TRACED, "Mean of folds on the test set")]
    models = inputs.models(kind="iteration")
    rows = []
    for iteration in sorted({model["iteration"] for model in models}):
        own = [model["metrics"] for model in models if model["iteration"] == iteration]
        rows.append([text.iteration_name(iteration), *(_mean([m.get(metric) for m in own]) for metric in TRACED)])
    return Table("self-training-means", "Teacher and students on the test set, mean of folds.", columns, rows)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _trace(inputs: ReportInputs) -> Figure:
    values = _balanced(inputs)
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
    means = _means(values)
    return Figure(
        title=f"{text.percent(means[0])} of the first student's pseudo-labels are right"
        + (f", {text.percent(means[-1])} of the last one's" if len(means) > 1 else ""),
        caption="Share of masked images whose pseudo-label equals the truth, by the student that learned from them. "
        "The truth was looked up afterwards: no model saw it. The thick line is the mean of folds.",
        spec=_by_iteration(values, "Pseudo-labels that are right (%)"),
        table=_values_table("pseudo-labels-right", "Share of right pseudo-labels by fold.", "share", values),
    )


def _pseudo_label_table(inputs: ReportInputs) -> Table:
    positive = inputs.evaluation["positive"]
    columns = [
        Column("fold", "Fold"), Column("student", "Labels for"), Column("images", "Images", "count"),
        Column("right", "Right, %", "percent"),
        *([] if positive is None else [Column("share_positive", f"Called {text.name(positive)}, %", "percent")]),
        Column("agreement", "Same as the round before, %", "percent"),
    ]  # fmt: skip
    rows = [
        [
            row["fold"],
            text.iteration_name(row["iteration"]),
            row["images"],
            row["right"],
            *([] if positive is None else [row["share_positive"]]),
            row["agreement"],
        ]
        for row in inputs.evaluation["self_training"]
    ]
    return Table("pseudo-labels", "Pseudo-labels of every fold and round.", columns, rows)


def _change(values: dict[tuple[int, int], float]) -> tuple[str, str, float]:
    iterations = sorted({iteration for _, iteration in values})
    means = _means(values)
    return text.iteration_name(iterations[0]), text.iteration_name(iterations[-1]), 100 * (means[-1] - means[0])


def _by_iteration(values: dict[tuple[int, int], float], unit: str) -> dict[str, Any]:
    iterations = sorted({iteration for _, iteration in values})
    names = [text.iteration_name(iteration) for iteration in iterations]
    traces = []
    for position, fold in enumerate(sorted({fold for fold, _ in values})):
        ys = figures.percents(values.get((fold, i)) for i in iterations)
        dash = ("dot", "dash", "dashdot", "longdash", "longdashdot")[position % 5]
        trace = figures.line(f"Fold {fold}", names, ys, position, line={"width": 1.5, "dash": dash}, opacity=0.8)
        traces.append(trace)
    mean = figures.percents(_means(values))
    bold = figures.line("Mean of folds", names, mean, 0, line={"width": 4, "color": figures.INK})
    bold["marker"] = {"color": figures.INK, "symbol": "circle", "size": 9}
    return figures.spec([*traces, bold], figures.axis(""), figures.axis(unit))


def _values_table(file: str, caption: str, key: str, values: dict[tuple[int, int], float]) -> Table:
    columns = [Column("fold", "Fold"), Column("model", "Model"), Column(key, "Value, %", "percent")]
    rows = [[fold, text.iteration_name(iteration), value] for (fold, iteration), value in values.items()]
    return Table(file, caption, columns, rows)
