"""Patients: each subject by itself, how they differ, and why intervals are over subjects."""

from __future__ import annotations

from typing import Any

from job.reporting import text
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table


def page(inputs: ReportInputs) -> Page | None:
    """Left out where no subject was judged by itself, as where every image is its own."""
    found = inputs.evaluation
    tested = [entry for entry in found["patients"] if entry["role"] == "test"]
    shown = [entry for entry in tested if entry["model"].endswith("/majority")] or tested
    if not shown:
        return None
    tables = {"spread": _spread(shown), "patients": _patients(shown, inputs)}
    if found["image_level"]:
        tables["image_level"] = _image_level(found["image_level"])
    return Page(
        slug="patients",
        title="Patients",
        tables=tables,
        facts={
            "warnings": found["evidence"]["warnings"],
            "blast_share": found["evidence"]["blast_share"],
            "positive": found["positive"],
            "image_level": text.model_name(found["image_level"]["model"]) if found["image_level"] else None,
        },
    )


def _patients(entries: list[dict[str, Any]], inputs: ReportInputs) -> Table:
    columns = [
        Column("model", "Model", "name"), Column("subject", "Subject", "name"), Column("truth", "Truth", "name"),
        Column("images", "Cells seen", "count"), Column("right", "Right", "count"),
        Column("accuracy", "Right, %", "percent"),
    ]  # fmt: skip
    two = inputs.evaluation["positive"] is not None
    if two:
        name = text.name(inputs.evaluation["positive"])
        columns += [
            Column("called", f"Called {name}", "count"), Column("share", f"Called {name}, %", "percent"),
            Column("low", "from", "percent", "95 %"), Column("high", "to", "percent", "95 %"),
            Column("call", "By the rule"),
        ]  # fmt: skip
    rows, marks = [], []
    for entry in entries:
        for row in entry["subjects"]:
            marks.append("first" if row is entry["subjects"][0] else "repeat")
            held = [name for name, count in zip(inputs.classes, row["truth"], strict=True) if count]
            cells = [
                text.model_name(entry["model"]), row["subject"], " + ".join(held), row["images"], row["right"],
                row["accuracy"],
            ]  # fmt: skip
            if two:
                right = row["called_positive"] == row["positive"]
                cells += [
                    row["called"][inputs.classes.index(inputs.evaluation["positive"])], row["share_positive"],
                    row["low"], row["high"], "right" if right else "wrong",
                ]  # fmt: skip
            rows.append(cells)
    return Table("patients", "Test subjects, the least accurate first.", columns, rows, marks)


def _spread(entries: list[dict[str, Any]]) -> Table:
    parts = ("lowest", "q1", "median", "q3", "highest")
    columns = [
        Column("model", "Model", "name"), Column("subjects", "Subjects", "count"),
        *(Column(part, part.capitalize(), "percent", "Accuracy of a subject, %") for part in parts),
        *(
            Column(f"{rate}_{key}", label, kind, f"Persons by the rule: {rate}")
            for rate in ("sensitivity", "specificity")
            for key, label, kind in (("right", "right", "count"), ("of", "of", "count"), ("low", "from, %", "percent"),
                                     ("high", "to, %", "percent"))
        ),
        Column("auroc", "AUROC of persons, by mean score", "ratio"),
    ]  # fmt: skip
    rows = []
    for entry in entries:
        rule = entry.get("rule", {})
        shares = [rule.get(rate, {}).get(key) for rate in ("sensitivity", "specificity")
                  for key in ("right", "of", "low", "high")]  # fmt: skip
        rows.append([
            text.model_name(entry["model"]), len(entry["subjects"]), *(entry["accuracy"][part] for part in parts),
            *shares, entry.get("auroc"),
        ])  # fmt: skip
    return Table("patients-spread", "How subjects differ, and what the rule says of persons.", columns, rows)


def _image_level(found: dict[str, Any]) -> Table:
    columns = [
        Column("metric", "Metric"), Column("value", "Value", "ratio"),
        Column("low", "from", "ratio", "Over subjects"), Column("high", "to", "ratio", "Over subjects"),
        Column("images_low", "from", "ratio", "As if images were independent: wrong"),
        Column("images_high", "to", "ratio", "As if images were independent: wrong"),
    ]  # fmt: skip
    rows = [
        [text.METRICS[name].label, entry["value"], *entry["subjects"], *entry["images"]]
        for name, entry in found["metrics"].items()
    ]
    return Table("image-level", "Intervals over subjects and over images.", columns, rows)
