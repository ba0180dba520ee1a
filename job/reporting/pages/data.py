"""Data: what was found, who is in which part, copies, refused files, and what shows that the test set is apart."""

from __future__ import annotations

from typing import Any

from PIL import Image

from job.reporting import data_tables, figures, published, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table

ROLES = data_tables.PARTS


def page(inputs: ReportInputs) -> Page:
    """The evidence about the data; never left out."""
    copies = inputs.prepared["copies"]
    folders = data_tables.folders_table(inputs)
    tables = {
        "distribution": distribution_table(inputs),
        "folds": _folds_table(inputs),
        "target": _target_table(inputs),
        "cells": data_tables.cells_table(inputs),
        "files": data_tables.files_table(inputs),
        **({"folders": folders} if folders else {}),
        **data_tables.refusals(inputs),
    }
    shown = {"distribution": _distribution_figure(inputs)}
    if inputs.split["patients"]:
        shown["patients"] = data_tables.patients_figure(inputs)
        shown["patient-folds"] = data_tables.folds_figure(inputs)
    return Page(
        slug="data",
        title="Data",
        facts={
            "prepared": inputs.prepared,
            "disjoint": inputs.split["disjoint"],
            "copies": copies,
            "sheets": _sheets(inputs),
            "unlabelled_of": inputs.split["unlabelled"],
            "leak": _leak(inputs),
            "fold_by": inputs.params.split.fold_by,
            "target": _target_in_words(inputs),
            "unlabelled": sum(
                row["images"] for row in inputs.evaluation["distribution"] if row["role"] == "unlabelled"
            ),
        },
        tables=tables,
        figures=shown,
        files={f"images/cells-{number + 1}.png": path.read_bytes() for number, path in enumerate(inputs.cells)},
    )


def _sheets(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The strip of cells of each class: its picture in the site, and the picture's size in pixels."""
    sheets = []
    for number, (name, path) in enumerate(zip(inputs.classes, inputs.cells, strict=False)):
        with Image.open(path) as picture:
            width, height = picture.size
        sheets.append({"label": name, "file": f"images/cells-{number + 1}.png", "width": width, "height": height})
    return sheets


def distribution_table(inputs: ReportInputs) -> Table:
    """Table 1: patients, subjects and images by role and class, beside the published counts."""
    columns = [
        Column("part", "Part"), Column("class", "Class", "name"),
        *(Column(unit, unit.capitalize(), "count", "This run") for unit in ("patients", "subjects", "images")),
        *(Column(f"published_{u}", u.capitalize(), "count", published.HEADING) for u in ("patients", "images")),
    ]  # fmt: skip
    rows = []
    for row in inputs.evaluation["distribution"]:
        theirs = published.table1(inputs, row["role"], row["label"])
        # No label is unknown, not empty: an empty class name is a name.
        label = "unknown" if row["label"] is None else row["label"]
        # Nobody knows whose the images are that came without a patient: each would count as a person.
        nobody = row["role"] == "unlabelled" and not row["patients"]
        ours = [row["patients"], None if nobody else row["subjects"], row["images"]]
        rows.append([ROLES[row["role"]], label, *ours, theirs.get("patients"), theirs.get("images")])
    return Table("table-1-distribution", "Table 1. Patients, subjects and images by part and class.", columns, rows)


def _target_table(inputs: ReportInputs) -> Table:
    units = ("patients", "images")
    columns = [
        Column("class", "Class", "name"),
        *(Column(f"{what}_{unit}", f"{unit.capitalize()} {what}", "count") for unit in units
          for what in ("wanted", "reached")),
        Column("of", "Labelled images in all", "count"),
    ]  # fmt: skip
    rows: list[list[Any]] = []
    for name in inputs.classes:
        entry = inputs.split["target"][name]
        wanted = entry["wanted"] or dict.fromkeys(units)
        pairs = [value for unit in units for value in (wanted[unit], entry["reached"][unit])]
        rows.append([name, *pairs, entry["of"]])
    return Table("test-target", "Test set: what the split wanted and what it reached.", columns, rows)


def _target_in_words(inputs: ReportInputs) -> str:
    targets = {name: inputs.split["target"][name] for name in inputs.classes}
    if not any(entry["wanted"] for entry in targets.values()):
        return f"With split.test = {inputs.split['test']} no number of patients or images was wanted in advance."
    missed = [
        f"{text.name(name)} has {text.counted(abs(distance), unit)} {'more' if distance > 0 else 'fewer'} than wanted"
        for name, entry in targets.items()
        if entry["wanted"]
        for unit in ("patient", "image")
        if (distance := entry["reached"][f"{unit}s"] - entry["wanted"][f"{unit}s"])
    ]
    if not missed:
        return "Every number that was wanted is reached exactly."
    return f"{text.listed(missed)}: no set of whole subjects comes nearer, patients counting first."


def _leak(inputs: ReportInputs) -> float | None:
    folds = inputs.split["folds"]
    validation = sum(fold["validation"] for fold in folds)
    shared = sum(fold["validation_images_with_training_subject"] for fold in folds)
    return shared / validation if validation else None


def _folds_table(inputs: ReportInputs) -> Table:
    columns = [
        Column("fold", "Fold"), Column("train", "Training images", "count"),
        Column("validation", "Validation images", "count"),
        Column("shared", "whose subject also trains", "count"),
        Column("share", "Share, %", "percent"),
    ]  # fmt: skip
    rows: list[list[Any]] = []
    for fold in inputs.split["folds"]:
        shared, of = fold["validation_images_with_training_subject"], fold["validation"]
        rows.append([fold["fold"], fold["train"], of, shared, shared / of if of else None])
    return Table("folds", "Training and validation images of each fold.", columns, rows)


def _distribution_figure(inputs: ReportInputs) -> Figure:
    labelled = [row for row in inputs.evaluation["distribution"] if row["label"] is not None]
    roles = list(dict.fromkeys(row["role"] for row in labelled))
    traces = []
    rows: list[list[Any]] = []
    for position, name in enumerate(inputs.classes):
        images = [sum(r["images"] for r in labelled if r["role"] == role and r["label"] == name) for role in roles]
        traces.append(figures.bars(
            text.name(name), images, [ROLES[role] for role in roles], position, orientation="h",
            text=[text.count(n) for n in images], textposition="outside", cliponaxis=False, hoverinfo="skip",
        ))  # fmt: skip
        rows += [[ROLES[role], name, n] for role, n in zip(roles, images, strict=True)]
    test = [row for row in labelled if row["role"] == "test"]
    parts = [f"{text.count(row['images'])} {text.name(row['label'])}" for row in test]
    columns = [Column("part", "Part"), Column("class", "Class", "name"), Column("images", "Images", "count")]
    title = f"{text.count(sum(row['images'] for row in test))} test images: {text.listed(parts)}"
    y = figures.axis("", autorange="reversed", gridcolor=figures.SURFACE)
    return Figure(
        title=title,
        caption="Labelled images of each part by class.",
        spec=figures.spec(traces, figures.axis("Images (number)"), y, bargap=0.35),
        table=Table("images-by-part", "Labelled images by part and class.", columns, rows),
        height="small",
    )
