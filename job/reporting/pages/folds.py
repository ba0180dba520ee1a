"""Folds: metrics of each fold with mean and variance, learning curves, confusion matrices."""

from __future__ import annotations

from typing import Any

import pandas as pd

from job.reporting import figures, published, text
from job.reporting.figures import Figure
from job.reporting.inputs import Model, ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table, metric_columns

SHOWN = ("accuracy", "sensitivity", "specificity", "ppv", "f1", "balanced_accuracy")


def page(inputs: ReportInputs) -> Page | None:
    """Left out when no fold was evaluated on the test set."""
    if not inputs.models(kind="fold"):
        return None
    curves = {
        f"{method}-{quantity}": _curve(inputs, method, quantity)
        for method in inputs.methods
        for quantity in ("loss", "accuracy")
        if not inputs.history[inputs.history["method"] == method].empty
    }
    return Page(
        slug="folds",
        title="Folds",
        facts={
            "methods": [(method, text.method_name(method)) for method in inputs.methods],
            "published_note": published.note(inputs),
            "fold_by": inputs.params.split.fold_by,
            "confusions": [
                (text.method_name(method), [_confusion(inputs, m) for m in _with_confusion(inputs, method)])
                for method in inputs.methods
            ],
        },
        tables={"table2": table2(inputs), "out_of_fold": _out_of_fold(inputs)},
        figures={"dots": _dots(inputs), **curves},
    )


def table2(inputs: ReportInputs) -> Table:
    """Table 2: metrics on the test set by fold, mean and variance (squared percentage points), beside the published."""
    folds = [int(fold) for fold in inputs.evaluation["folds"]]
    columns = [
        Column("method", "Method", "name"), Column("metric", "Metric, %"),
        *(Column(f"fold_{fold}", f"Fold {fold}", "percent", "This run") for fold in folds),
        Column("mean", "Mean", "percent", "This run"),
        Column("variance", "Variance, pp²", "points", "This run"),
        Column("published_mean", "Mean", "percent", published.HEADING),
        Column("published_variance", "Variance, pp²", "points", published.HEADING),
    ]  # fmt: skip
    rows: list[list[Any]] = []
    marks = []
    for method, metrics in inputs.evaluation["table2"].items():
        for i, metric in enumerate(m for m in SHOWN if m in metrics):
            ours, theirs = metrics[metric], published.table2(inputs, method, metric)
            rows.append([
                text.method_name(method), text.METRICS[metric].label, *ours["folds"], ours["mean"], ours["variance"],
                theirs.get("mean"), theirs.get("variance"),
            ])  # fmt: skip
            marks.append("repeat" if i else "first")
    return Table("table-2-folds", "Table 2. Metrics of each fold's model on the test set.", columns, rows, marks)


def _out_of_fold(inputs: ReportInputs) -> Table:
    metrics = ("accuracy", "balanced_accuracy", "auroc")
    columns = [
        Column("method", "Method", "name"), Column("images", "Images", "count"),
        *metric_columns(metrics, "Validation images, models pooled"),
        *metric_columns(metrics, "Test images, mean of folds", prefix="test_"),
    ]  # fmt: skip
    rows = []
    for method in inputs.methods:
        test: dict[str, float | None] = next(
            (e["metrics"] for e in inputs.evaluation["table3"] if e["method"] == method and e["kind"] == "folds"), {}
        )
        rows += [
            [text.method_name(method), model["images"], *(model["metrics"].get(metric) for metric in metrics),
             *(test.get(metric) for metric in metrics)]
            for model in inputs.models(kind="out_of_fold", method=method, role="validation")
        ]  # fmt: skip
    return Table("out-of-fold", "Validation against test.", columns, rows)


def _dots(inputs: ReportInputs) -> Figure:
    traces = []
    rows: list[list[Any]] = []
    spreads: dict[tuple[str, str], float] = {}
    for position, method in enumerate(inputs.methods):
        high = 0.9 / len(inputs.methods)
        offset = high * (position - (len(inputs.methods) - 1) / 2)
        name = text.method_name(method)
        dots: list[tuple[float, float, str]] = []
        votes: list[tuple[float, float]] = []
        vote = inputs.majority(method)
        for row, metric in enumerate(SHOWN):
            values = []
            members = inputs.models(kind="fold", method=method)
            for place, model in zip(figures.spread(len(members)), members, strict=True):
                value = model["metrics"].get(metric)
                rows.append([name, text.METRICS[metric].label, f"fold {model['fold']}", value])
                if value is not None:
                    values.append(100 * value)
                    dots.append((100 * value, row + offset + high * place, f"fold {model['fold']}"))
            if vote:
                value = vote["metrics"].get(metric)
                rows.append([name, text.METRICS[metric].label, "majority vote", value])
                if value is not None:
                    votes.append((100 * value, row + offset + high * figures.BELOW))
            if values:
                spreads[name, text.METRICS[metric].label] = max(values) - min(values)
        open_marker = {"color": "rgba(0,0,0,0)", "size": 8}
        traces.append(figures.points(
            f"{name}, folds", [d[0] for d in dots], [d[1] for d in dots], position, marker=open_marker,
            text=[d[2] for d in dots], hovertemplate="%{x:.1f} %, %{text}<extra>" + figures.label(name) + "</extra>",
        ))  # fmt: skip
        traces.append(figures.points(
            f"{name}, majority vote", [v[0] for v in votes], [v[1] for v in votes], position,
            marker={"size": 9},
            hovertemplate="%{x:.1f} %<extra>majority vote</extra>",
        ))  # fmt: skip
    columns = [Column("method", "Method", "name"), Column("metric", "Metric"), Column("model", "Model"),
               Column("value", "Value, %", "percent")]  # fmt: skip
    (who, metric), widest = max(spreads.items(), key=lambda item: item[1])
    ticks = [text.METRICS[m].label for m in SHOWN]
    y = figures.axis("", tickvals=list(range(len(ticks))), ticktext=ticks, range=[len(ticks) - 0.5, -0.5])
    return Figure(
        title=f"The folds differ by up to {widest:.1f} points ({metric.lower()} of {who})"
        if metric not in {"PPV", "F1"}
        else f"The folds differ by up to {widest:.1f} points ({metric} of {who})",
        caption="Metrics on the test set: one open marker per fold, a filled one for the majority vote of the folds; "
        "in each row of a method the folds above, the vote below.",
        spec=figures.spec(traces, figures.axis("Value on the test set (%)"), y),
        table=Table("folds-and-votes", "Metrics of folds and votes on the test set.", columns, rows),
        height="large" if len(inputs.methods) < 3 else "tall",
    )


def _curve(inputs: ReportInputs, method: str, quantity: str) -> Figure:
    """Figures 4 and 5: a quantity by epoch, train dashed, validation solid, thin lines for folds, bold for their mean.

    Self-training trains several models in a row; their epochs are laid end to end.
    """
    history = inputs.history[inputs.history["method"] == method].copy()
    models = list(dict.fromkeys(history["model"]))
    epochs = int(history["epoch"].max())
    history["step"] = history["model"].map({name: i * epochs for i, name in enumerate(models)}) + history["epoch"]
    scale = 100.0 if quantity == "accuracy" else 1.0
    unit = "Accuracy (%)" if quantity == "accuracy" else "Cross-entropy loss (nats)"
    traces = []
    for position, part in enumerate(("train", "validation")):
        column = f"{part}_{quantity}"
        dash = "dash" if part == "train" else "solid"
        for _, fold in history.groupby("fold"):
            traces.append(
                _curve_line(fold, models, column, scale, position, part, {"width": 1, "dash": dash}, opacity=0.5)
            )
        mean = history.groupby(["model", "epoch", "step"], sort=False)[column].mean().reset_index().sort_values("step")
        traces.append(_curve_line(mean, models, column, scale, position, part, {"width": 3, "dash": dash}, opacity=1))
    always = _always(inputs, method) if quantity == "accuracy" else None
    if always:
        ends = [0.5, epochs * len(models) + 0.5]
        line = figures.line(f"Always {text.name(always[0])} ({text.percent(always[1])})", ends,
                            figures.percents([always[1]] * 2), 2, line={"color": figures.MUTED, "dash": "dot"},
                            mode="lines", hoverinfo="skip")  # fmt: skip
        traces.append(line)
    last = history[history["model"] == models[-1]].groupby("epoch")[f"validation_{quantity}"].mean() * scale
    digits = ".1f" if quantity == "accuracy" else ".3f"
    course = _course(f"{last.iloc[0]:{digits}}", f"{last.iloc[-1]:{digits}}")
    sign = " %" if quantity == "accuracy" else ""
    which = f"{text.method_name(method)}{f', {_model_name(models[-1])}' if len(models) > 1 else ''}"
    borders = [figures.vertical(i * epochs + 0.5) for i in range(1, len(models))]
    names = [
        {"text": figures.label(_model_name(name)), "x": (i + 0.5) * epochs + 0.5, "y": 1, "yref": "paper", "xref": "x",
         "yanchor": "top", "showarrow": False, "font": {"color": figures.MUTED, "size": 12}}
        for i, name in enumerate(models) if len(models) > 1
    ]  # fmt: skip
    columns = [Column("fold", "Fold"), Column("model", "Model"), Column("epoch", "Epoch"),
               Column("train", "Training", "percent" if quantity == "accuracy" else "ratio"),
               Column("validation", "Validation", "percent" if quantity == "accuracy" else "ratio")]  # fmt: skip
    rows = (
        history[["fold", "model", "epoch", f"train_{quantity}", f"validation_{quantity}"]]
        .to_numpy(dtype=object)
        .tolist()
    )
    ticks: dict[str, Any] = {"dtick": 1} if epochs * len(models) <= 16 else {}
    if len(models) > 1:
        ticks = {"tickvals": [i * epochs + e for i in range(len(models)) for e in (1, epochs)],
                 "ticktext": [str(e) for _ in models for e in (1, epochs)]}  # fmt: skip
    return Figure(
        title=f"{which}: validation {quantity} {course}{sign}",
        caption="Dashed: training images. Solid: validation images. Thin lines are single folds, thick lines their "
        f"mean; the title speaks of the mean. {_taken(inputs, method, models)} The epoch that is kept need not be the "
        "last." + (" Dotted across: the share of the largest class of the validation images." if always else ""),
        spec=figures.spec(
            traces, figures.axis("Epoch", range=[0.5, epochs * len(models) + 0.5], **ticks), figures.axis(unit),
            shapes=borders, annotations=names,
        ),
        table=Table(f"curves-{text.slug(method)}-{quantity}", f"{unit} by epoch.", columns, rows),
    )  # fmt: skip


def _always(inputs: ReportInputs, method: str) -> tuple[str, float] | None:
    """The largest class of a method's validation images and its share: what calling all of them alike gets right."""
    model = next(iter(inputs.models(kind="out_of_fold", method=method, role="validation")), None)
    counts = [sum(row) for row in model["confusion"]] if model else []
    if not sum(counts):
        return None
    return inputs.classes[counts.index(max(counts))], max(counts) / sum(counts)


def _taken(inputs: ReportInputs, method: str, models: list[str]) -> str:
    """How the values of training images came about: unlike those of validation images in more than the images."""
    own = inputs.params.noisy_student
    noisy = method == "noisy_student"
    sentence = "Training values are taken during the epoch"
    if inputs.params.model.dropout or (noisy and own.dropout):
        sentence += ", with dropout on"
    if any(model.startswith("student") for model in models):
        beside = " and the labels beside them" if noisy and own.train_on == "labelled+pseudo" else ""
        sentence += f", and for students against their pseudo-labels{beside}"
    return f"{sentence}."


def _curve_line(
    table: pd.DataFrame, models: list[str], column: str, scale: float, position: int, part: str,
    style: dict[str, Any], opacity: float,
) -> figures.Trace:  # fmt: skip
    xs: list[Any] = []
    ys: list[Any] = []
    for model in models:  # a gap between models: their lines do not continue each other
        rows = table[table["model"] == model]
        xs += [*rows["step"].tolist(), None]
        ys += [*(rows[column] * scale).round(5).tolist(), None]
    single = opacity < 1
    trace = figures.line("Training" if part == "train" else "Validation", xs, ys, position, line=style, opacity=opacity)
    trace.update({"mode": "lines", "showlegend": not single, "legendgroup": part})
    trace["hovertemplate"] = (
        "%{y:.3~f}<extra>" + (f"Fold {table['fold'].iloc[0]}" if single else "Mean of folds") + "</extra>"
    )
    return trace


def _course(first: str, last: str) -> str:
    """The way between two printed values: what is printed alike did not move."""
    if first == last:
        return f"stays at {last}"
    return f"{'rises' if float(last) > float(first) else 'falls'} from {first} to {last}"


def _model_name(model: str) -> str:
    return model.replace("-", " ")


def _with_confusion(inputs: ReportInputs, method: str) -> list[Model]:
    vote = inputs.majority(method)
    return ([vote] if vote else []) + inputs.models(kind="fold", method=method)


def _confusion(inputs: ReportInputs, model: Model) -> dict[str, Any]:
    title = "Majority vote" if model["kind"] == "ensemble" else f"Fold {model['fold']}"
    rows = []
    for truth, counts in enumerate(model["confusion"]):
        total = sum(counts)
        cells = [
            {"count": n, "share": n / total if total else None, "right": truth == predicted}
            for predicted, n in enumerate(counts)
        ]
        rows.append({"name": inputs.classes[truth], "total": total, "cells": cells})
    return {"title": title, "classes": inputs.classes, "rows": rows}
