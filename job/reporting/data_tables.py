"""Tables and figures about the images as they were found: patients, cells, files, refusals."""

from __future__ import annotations

from typing import Any

from job.reporting import figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.tables import Column, Table

PARTS = {"train": "Training", "test": "Test", "unlabelled": "Unlabelled"}


def patients_table(inputs: ReportInputs) -> Table:
    """Images of every patient: in all, and in each validation fold."""
    rows = inputs.split["patients"]
    folds = [fold["fold"] for fold in inputs.split["folds"]]
    columns = [
        Column("patient", "Patient", "name"), Column("subject", "Subject", "name"), Column("class", "Class", "name"),
        Column("part", "Part"), Column("images", "Images", "count"),
        *(Column(f"fold_{fold}", f"Fold {fold}", "count", "Images that validate") for fold in folds),
    ]  # fmt: skip
    return Table("patients", "Labelled images of every patient, and the folds in which they validate.", columns, [
        [row["patient"], row["subject"], row["label"], PARTS[row["role"]], row["images"],
         *(row["folds"] if row["role"] == "train" else [None] * len(folds))]
        for row in rows
    ])  # fmt: skip


def patients_figure(inputs: ReportInputs) -> Figure:
    """Images per patient, by class and part: how uneven the patients are."""
    rows = inputs.split["patients"]
    traces = []
    groups = [(label, role) for label in inputs.classes for role in ("train", "test")]
    for position, (label, role) in enumerate(groups):
        own = _by_images([row for row in rows if (row["label"], row["role"]) == (label, role)])
        names = [figures.label(f"{row['patient']}, {text.name(label)}") for row in own]
        traces.append(figures.bars(f"{text.name(label)}, {PARTS[role].lower()}", names, _images(own), position))
    counts = sorted(_images(rows))
    most, total = sum(counts[-max(1, len(counts) // 10) :]), sum(counts)
    return Figure(
        title=f"The tenth of the patients with most images has {text.percent(most / total)} of them",
        caption=f"Labelled images of each patient, by class and part: {text.count(counts[0])} to "
        f"{text.count(counts[-1])}. The patients' names are in the table.",
        spec=figures.spec(traces, _patient_axis(), figures.axis("Images (number)"), bargap=0.15, barmode="stack"),
        table=patients_table(inputs),
    )


def folds_figure(inputs: ReportInputs) -> Figure:
    """Training images of each patient, by the fold they validate."""
    rows = _by_images([row for row in inputs.split["patients"] if row["role"] == "train"])
    names = [figures.label(f"{row['patient']}, {text.name(row['label'])}") for row in rows]
    folds = [fold["fold"] for fold in inputs.split["folds"]]
    traces = [
        figures.bars(f"Fold {fold}", names, [row["folds"][position] for row in rows], position)
        for position, fold in enumerate(folds)
    ]
    several = sum(sum(count > 0 for count in row["folds"]) > 1 for row in rows)
    columns = [Column("patient", "Patient", "name"), Column("class", "Class", "name"),
               *(Column(f"fold_{fold}", f"Fold {fold}", "count") for fold in folds)]  # fmt: skip
    return Figure(
        title=f"{text.counted(several, 'training patient')} of {text.count(len(rows))} "
        f"{'stands' if several == 1 else 'stand'} in several folds",
        caption="Training images of each patient, by the fold in which they validate. A bar of several colours is a "
        "patient on both sides of each of these folds: some images validate while others train.",
        spec=figures.spec(traces, _patient_axis(), figures.axis("Images (number)"), bargap=0.15, barmode="stack"),
        table=Table("folds-by-patient", "Training images of each patient by fold.", columns, [
            [row["patient"], row["label"], *row["folds"]] for row in rows
        ]),
    )  # fmt: skip


def cells_table(inputs: ReportInputs) -> Table:
    """The longest side of the cells' boxes, by class."""
    columns = [
        Column("class", "Class", "name"), Column("images", "Images", "count"),
        *(Column(key, label, "count", "Longest side of the cell's box, pixels") for key, label in (
            ("median", "Median"), ("p90", "90 % under"), ("p99", "99 % under"), ("largest", "Largest"))),
    ]  # fmt: skip
    rows = [
        ["unknown" if row["label"] is None else row["label"], row["images"]]
        + [round(row[key]) for key in ("median", "p90", "p99", "largest")]
        for row in sorted(inputs.prepared["cell_side"], key=lambda row: [*inputs.classes, None].index(row["label"]))
    ]
    return Table("cell-sizes", "Sizes of the cells.", columns, rows)


def files_table(inputs: ReportInputs) -> Table:
    """Sizes and modes of the files."""
    columns = [Column("size", "Size, pixels"), Column("mode", "Mode", "name"), Column("images", "Images", "count")]
    rows = [
        ["others" if row["width"] is None else f"{row['width']} × {row['height']}", row["mode"], row["images"]]
        for row in inputs.prepared["sizes"]
    ]
    return Table("image-sizes", "Sizes and colour modes of the files.", columns, rows)


def folders_table(inputs: ReportInputs) -> Table | None:
    """Images found in each folder of C-NMC beside the published counts; None for other data."""
    columns = [Column("folder", "Folder", "name"), Column("found", "Found", "count"),
               Column("published", "Published", "count")]  # fmt: skip
    rows = [[row["folder"], row["found"], row["published"]] for row in inputs.prepared["folders"]]
    return Table("folders", "Images in each folder of C-NMC 2019.", columns, rows) if rows else None


def refusals(inputs: ReportInputs) -> dict[str, Table]:
    """Refused files by kind of reason, and the first of them; empty where none was refused."""
    if not inputs.prepared["rejected"]:
        return {}
    reasons = Table(
        "refused-by-reason", "Refused files by reason.",
        [Column("reason", "Reason", "name"), Column("files", "Files", "count")],
        [[row["reason"], row["files"]] for row in inputs.prepared["reasons"]],
    )  # fmt: skip
    shown = inputs.prepared["refusals"]
    if not shown:  # names are not told
        return {"reasons": reasons}
    caption = f"The first {len(shown)} of them." if len(shown) < inputs.prepared["rejected"] else "All of them."
    first = Table(
        "refused", caption, [Column("file", "File", "name"), Column("reason", "Reason", "name")],
        [[row["file"], row["reason"]] for row in shown],
    )  # fmt: skip
    return {"reasons": reasons, "refused": first}


def _by_images(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -row["images"])


def _images(rows: list[dict[str, Any]]) -> list[int]:
    return [row["images"] for row in rows]


def _patient_axis() -> dict[str, Any]:
    return figures.axis("Patients, by number of images", showticklabels=False, showgrid=False)
