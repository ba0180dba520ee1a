"""Data: what was found, who is in which part, copies, refused files, and what shows that the test set is apart."""

from itertools import product
from pathlib import Path

from PIL import Image

from job.reporting import cells, figures, published, text
from job.reporting.figures import Figure, Page
from job.reporting.inputs import ReportInputs
from job.reporting.tables import Table, columns

PARTS = {"train": "Training", "test": "Test", "left_out": "Left out", "unlabelled": "Unlabelled"}


def page(inputs: ReportInputs) -> Page:
    """The evidence about the data; never left out."""
    folds = inputs.split["folds"]
    shared, validation = (
        sum(fold[key] for fold in folds) for key in ("validation_images_with_training_subject", "validation")
    )
    pictures = {f"images/cells-{number}.png": path for number, path in enumerate(inputs.cells, start=1)}
    files = {file: path.read_bytes() for file, path in pictures.items()}
    if inputs.gallery and inputs.gallery.pixels is not None:
        for number, link in enumerate(inputs.prepared["near_copies"]["links"]):
            for side, row in enumerate(link["rows"]):
                files[f"cells/pair-{number}-{side}.webp"] = cells.thumbnail(inputs.gallery.pixels[row], cells.LARGE)
    return Page(
        slug="data",
        title="Data",
        facts={
            "inputs": inputs,
            "pictures": [(file, *_size(path)) for file, path in pictures.items()],
            "pairs": len(files) > len(pictures),
            "leak": shared / validation if validation else None,
        },
        tables={"distribution": distribution_table(inputs), **_found(inputs)},
        figures={"patients": _patients_figure(inputs)} if inputs.split["patients"] else {},
        files=files,
    )


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def distribution_table(inputs: ReportInputs) -> Table:
    """Patients, subjects and images by role and class, beside the published counts."""
    heads = columns("text", part="Part") + columns("name", label="Class")
    heads += columns("count", "This run", patients="Patients", subjects="Subjects", images="Images")
    heads += columns("count", published.HEADING, published_patients="Patients", published_images="Images")
    rows = []
    for row in inputs.evaluation["distribution"]:
        theirs = published.TABLE_1.get((row["role"], row["label"]), {})
        # No label is unknown, not empty: an empty class name is a name.
        label = "unknown" if row["label"] is None else row["label"]
        # Nobody knows whose the images are that came without a patient: each would count as a patient.
        nobody = row["role"] == "unlabelled" and not row["patients"]
        ours = [row["patients"], None if nobody else row["subjects"], row["images"]]
        rows.append([PARTS[row["role"]], label, *ours, theirs.get("patients"), theirs.get("images")])
    return Table("distribution", "Patients, subjects and images by part and class.", heads, rows)


def _patients_figure(inputs: ReportInputs) -> Figure:
    """Images per patient, by class and part: how uneven the patients are."""
    folds = {f"folds.{n}": f"Fold {fold['fold']}" for n, fold in enumerate(inputs.split["folds"])}
    heads = columns("name", patient="Patient", subject="Subject", label="Class", part="Part")
    heads += columns("count", images="Images") + columns("count", "Images that validate", **folds)
    rows = [
        row | {"part": PARTS[row["role"]], "folds": row["folds"] if row["role"] == "train" else [None] * len(folds)}
        for row in sorted(inputs.split["patients"], key=lambda row: -row["images"])
    ]
    table = Table.of("patients", "Labelled images of every patient, and the folds in which they validate.", heads, rows)
    traces, colours = [], ("var(--series-3)", "var(--series-6)", "var(--series-1)")
    for label, (part, colour) in product(inputs.classes, zip(PARTS.values(), colours, strict=False)):
        # Parts differ by colour, classes by fill: the positive class, or the first one, is solid.
        filled = label == (inputs.evaluation["positive"] or inputs.classes[0])
        group = table.where(label=label, part=part)
        names = [figures.label(f"{patient}, {text.name(label)}") for patient in group.values("patient")]
        style, name = figures.GREY._replace(colour=colour), f"{text.name(label)}, {part.lower()}"
        traces.append(figures.bars(name, names, group.values("images"), style, filled=filled))
    x = figures.axis("Patients, by number of images", showticklabels=False, showgrid=False)
    counts = table.values("images")
    most = counts[: max(1, len(counts) // 10)]
    return Figure(
        title=f"{len(most)} of {text.counted(len(counts), 'patient')} "
        f"{'has' if len(most) == 1 else 'have'} {text.percent(sum(most) / sum(counts))} of the images",
        caption=f"Labelled images of each patient: {text.count(counts[-1])} to {text.count(counts[0])}.",
        plot=figures.plot(traces, x, figures.axis("Images (number)"), bargap=0.15, barmode="stack"),
        table=table,
    )


def _found(inputs: ReportInputs) -> dict[str, Table]:
    """Sizes of cells; where there are, folders of C-NMC, refused files by reason, and the first of them."""
    labels = {"median": "Median", "p90": "90 % under", "p99": "99 % under", "largest": "Largest"}
    sides = columns("name", label="Class") + columns("count", images="Images")
    sides += columns("count", "Longest side of the cell, pixels", **labels)
    by_class = sorted(inputs.prepared["cell_side"], key=lambda row: [*inputs.classes, None].index(row["label"]))
    by_class = [row | {"label": "unknown" if row["label"] is None else row["label"]} for row in by_class]
    first, rejected = inputs.prepared["refusals"], inputs.prepared["rejected"]
    caption = f"The first {len(first)} of them." if len(first) < rejected else "All of them."
    folders = columns("name", folder="Folder") + columns("count", found="Found", published="Published")
    reasons = columns("name", reason="Reason") + columns("count", files="Files")
    refused = columns("name", file="File", reason="Reason")
    tables = {
        "cells": Table.of("cell-sizes", "Sizes of the cells.", sides, by_class),
        "folders": Table.of("folders", "Images in each folder of C-NMC 2019.", folders, inputs.prepared["folders"]),
        "reasons": Table.of("refused-by-reason", "Refused files by reason.", reasons, inputs.prepared["reasons"]),
        "refused": Table.of("refused", caption, refused, first),
    }
    return {name: table for name, table in tables.items() if table.rows}
