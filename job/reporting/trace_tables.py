"""Tables of the trace of self-training."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from job.reporting import text
from job.reporting.tables import Column, Table, metric_columns
from job.reporting.trace import Trace, means

TRACED = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auroc")
_ROLES = {"test": "Test images", "validation": "Validation images", "masked": "Masked images"}


def side_by_side(found: Sequence[Trace]) -> Table:
    """Methods below each other: means of folds of the last round."""
    columns = [
        Column("method", "Method", "name"), Column("students", "Students", "count"),
        Column("kept", "Kept, %", "percent", "Labels for the last student"),
        Column("right", "Right, %", "percent", "Labels for the last student"),
        Column("teacher", "Teacher", "percent", "Balanced accuracy on the test set, %"),
        Column("student", "Last student", "percent", "Balanced accuracy on the test set, %"),
        Column("gain", "Gain, points", "percent", "Balanced accuracy on the test set, %"),
    ]  # fmt: skip
    rows = []
    for trace in found:
        kept, right, balanced = (
            means(trace.of("kept")),
            means(trace.of("right")),
            means(trace.scores("balanced_accuracy")),
        )
        gains = trace.gains()
        rows.append([
            text.method_name(trace.method), len(trace.rounds), kept[-1], right[-1] if right else None,
            *((balanced[0], balanced[-1]) if balanced else (None, None)), fmean(gains.values()) if gains else None,
        ])  # fmt: skip
    return Table("self-training-methods", "Self-training of each method, means of folds.", columns, rows)


def models_table(trace: Trace) -> Table:
    """Teacher and students on test and validation images, mean of folds."""
    shown = [("test", metric) for metric in TRACED] + [("validation", metric) for metric in TRACED]
    columns = [
        Column("model", "Model"),
        *metric_columns(TRACED, "Test images"),
        *metric_columns(TRACED, "Validation images", prefix="validation_"),
    ]
    rows = []
    for iteration in sorted({model["iteration"] for model in trace.models}):
        found = [[v for (_, i), v in trace.scores(m, role).items() if i == iteration] for role, m in shown]
        rows.append([trace.name(iteration), *(fmean(values) if values else None for values in found)])
    return table(trace, "self-training-means", "Teacher and students, mean of folds.", columns, rows)


def folds_table(trace: Trace) -> Table:
    """Every teacher and student of every fold on every kind of images."""
    columns = [
        Column("fold", "Fold"), Column("model", "Model"), Column("role", "On"), Column("images", "Images", "count"),
        *metric_columns(TRACED),
    ]  # fmt: skip
    rows = [
        [m["fold"], trace.name(m["iteration"]), _ROLES[m["role"]], m["images"], *(m["metrics"][k] for k in TRACED)]
        for m in trace.models
    ]
    return table(trace, "self-training-models", "Teachers and students of every fold.", columns, rows)


def labels_table(trace: Trace) -> Table:
    """The pseudo-labels of every fold and round."""
    classes = [trace.positive] if trace.positive is not None else trace.classes
    columns = [
        Column("fold", "Fold"), Column("student", "Labels for"), Column("images", "Images", "count"),
        Column("right", "Right, %", "percent"),
        *([Column("kept", "Kept, %", "percent"), Column("right_kept", "Right, of kept, %", "percent")]
          if trace.filtered else []),
        *(Column(f"share_{n}", f"Called {text.name(label)}, %", "percent") for n, label in enumerate(classes)),
        Column("confidence", "Mean confidence, %", "percent"),
        Column("agreement", "Same as the round before, %", "percent"),
    ]  # fmt: skip
    rows = [
        [
            e["fold"], trace.name(e["iteration"]), e["images"], e["right"],
            *([e["kept"], e["right_kept"]] if trace.filtered else []),
            *(e["balance"]["labels"][trace.classes.index(label)] / e["images"] for label in classes),
            e["confidence"]["mean"], e["agreement"],
        ]
        for e in trace.entries
    ]  # fmt: skip
    return table(trace, "pseudo-labels", "Pseudo-labels of every fold and round.", columns, rows)


def table(trace: Trace, file: str, caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> Table:
    """A table of one method, whose name its file bears."""
    return Table(f"{file}-{text.slug(trace.method)}", caption, columns, rows)
