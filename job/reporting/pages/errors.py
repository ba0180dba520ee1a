"""Errors: the cells that were missed, the closest calls, where the folds looked, and whose cells they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from job.reporting import cells, figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import Gallery, ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table

# Rows of a strip plot that a figure's height has room for.
_ROWS = {"small": 12, "medium": 18, "large": 30}


def page(inputs: ReportInputs) -> Page | None:
    """Left out when no method has a majority vote."""
    voting = [method for method in inputs.methods if inputs.majority(method)]
    if not voting:
        return None
    files: dict[str, bytes] = {}
    calls = {method: _calls(inputs, method) for method in voting}
    galleries = []
    if inputs.gallery:
        chosen = inputs.gallery.cells
        for method in voting:
            own = chosen[chosen["method"] == method]
            wrong = own[own["group"] == "error"]
            # The positive class first: what is missed matters more than a false alarm.
            order = sorted(inputs.classes, key=lambda name: name != inputs.evaluation["positive"])
            parts = [*(wrong[wrong["label"] == name] for name in order), own[own["group"] == "uncertain"]]
            groups = [_group(inputs, inputs.gallery, calls[method], part, files) for part in parts if len(part)]
            galleries.append((text.method_name(method), text.slug(method), groups))
    # Without patients every cell would be of the same one, who has no name.
    known = inputs.prepared.get("patients_known", True)
    strips = {
        method: _strip(inputs, method, own)
        for method, table in calls.items()
        if known and _has_patients(own := table[table["patient"] != ""])
    }
    return Page(
        slug="errors",
        title="Errors",
        facts={
            "galleries": galleries,
            "strips": list(strips),
            "divided": [
                (text.method_name(method), differ, len(table))
                for method, table in calls.items()
                if (differ := int((table["called"] != table["mean_called"]).sum()))
            ],
            "pictures": bool(inputs.gallery and inputs.gallery.pixels is not None),
            "maps": inputs.gallery.maps.shape[1] if inputs.gallery else 0,
            "size": inputs.prepared["size"],
        },
        tables={"counts": _counts(inputs, calls, patients_known=known), "cells": _every_cell(calls)},
        figures={f"strip-{method}": figure for method, figure in strips.items()},
        files=files,
    )


def _calls(inputs: ReportInputs, method: str) -> pd.DataFrame:
    """One row per test image: patient, label, called by the majority and by the mean, votes, mean probabilities."""
    tested = inputs.predictions[inputs.predictions["role"] == "test"]
    votes = tested[tested["model"] == f"{method}/majority"].set_index("image")
    mean = tested[tested["model"] == f"{method}/mean"].set_index("image").reindex(votes.index)
    columns = [f"p_{name}" for name in inputs.classes]
    voters = len(inputs.models(kind="fold", method=method))
    # A majority row's p_ columns are shares of votes.
    shares = votes[columns].to_numpy()
    called = [inputs.classes.index(name) for name in votes["predicted"]]
    truth = [inputs.classes.index(name) for name in votes["label"]]
    probability = mean[columns].to_numpy()
    every = np.arange(len(votes))
    return votes[["patient", "label"]].assign(
        called=votes["predicted"],
        mean_called=mean["predicted"],
        right=votes["predicted"] == votes["label"],
        votes=(shares[every, called] * voters).round().astype(int),
        voters=voters,
        p_called=probability[every, called],
        p_truth=probability[every, truth],
    )


def _group(
    inputs: ReportInputs, gallery: Gallery, calls: pd.DataFrame, chosen: pd.DataFrame, files: dict[str, bytes]
) -> dict[str, Any]:
    """One group of the gallery with its cards; pictures go into `files`."""
    kind, label, of = chosen["group"].iloc[0], chosen["label"].iloc[0], int(chosen["of"].iloc[0])
    total = int((calls["label"] == label).sum())
    cards = []
    for position, image, row in zip(chosen.index, chosen["image"], chosen["row"], strict=True):
        card = {"image": image, "cell": "", "map": "", **calls.loc[image].to_dict()}
        if gallery.pixels is not None:
            card["cell"], card["map"] = f"cells/{row}.webp", f"cells/{position}-map.webp"
            files[card["cell"]] = cells.thumbnail(gallery.pixels[row])
            files[card["map"]] = cells.overlay(gallery.pixels[row], gallery.maps[position])
        cards.append(card)
    if kind == "uncertain":
        title = "Closest calls"
    elif label == inputs.evaluation["positive"]:
        title = f"Missed {text.name(label)} cells: {text.count(of)} of {text.count(total)}"
    elif inputs.evaluation["positive"] and len(inputs.classes) == 2:
        title = f"False alarms: {text.count(of)} of {text.counted(total, f'{text.name(label)} cell')}"
    else:
        title = f"{text.name(label)} cells called another class: {text.count(of)} of {text.count(total)}"
    return {"kind": kind, "title": title, "cards": cards, "of": of}


def _counts(inputs: ReportInputs, calls: dict[str, pd.DataFrame], *, patients_known: bool) -> Table:
    columns = [
        Column("method", "Method", "name"), Column("class", "Class", "name"), Column("images", "Test images", "count"),
        Column("wrong", "Called wrong", "count"), Column("share", "Called wrong, %", "percent"),
        Column("unanimous", "Wrong and unanimous", "count"),
        *([Column("patients", "Patients with an error", "count")] if patients_known else []),
    ]  # fmt: skip
    rows = []
    for method, table in calls.items():
        for name in inputs.classes:
            own = table[table["label"] == name]
            wrong = own[~own["right"]]
            share = len(wrong) / len(own) if len(own) else None
            unanimous = int((wrong["votes"] == wrong["voters"]).sum())
            patients = [wrong.loc[wrong["patient"] != "", "patient"].nunique()] if patients_known else []
            rows.append([text.method_name(method), name, len(own), len(wrong), share, unanimous, *patients])
    return Table("errors-by-class", "Errors of each majority vote on the test set.", columns, rows)


def _every_cell(calls: dict[str, pd.DataFrame]) -> Table:
    columns = [Column(key, key) for key in ("method", "image", "patient", "label", "called", "votes", "voters")]
    columns += [Column("p_called", "p_called", "ratio"), Column("p_truth", "p_truth", "ratio")]
    rows = [
        [method, image, *(row[column.key] for column in columns[2:])]
        for method, table in calls.items()
        for image, row in zip(table.index, table.to_dict("records"), strict=True)
    ]
    return Table("test-cells", "Every test cell.", columns, rows)


def _has_patients(table: pd.DataFrame) -> bool:
    return table["patient"].nunique() < len(table)


def _strip(inputs: ReportInputs, method: str, calls: pd.DataFrame) -> Figure:
    """Every test cell by patient: the probability that the folds gave to its true class."""
    by_patient = calls.groupby(["label", "patient"], sort=False)
    patients = by_patient.agg(cells=("right", "size"), right=("right", "sum"), mean=("p_truth", "mean")).reset_index()
    patients["share"] = patients["right"] / patients["cells"]
    patients["class"] = patients["label"].map(inputs.classes.index)
    patients = patients.sort_values(["class", "share", "patient"], ascending=[False, True, True], ignore_index=True)
    position = {(row.label, row.patient): i for i, row in enumerate(patients.itertuples())}
    y = np.array([position[key] for key in zip(calls["label"], calls["patient"], strict=True)], dtype=float)
    traces = []
    for index, (name, own) in enumerate((("Called right", calls["right"]), ("Called wrong", ~calls["right"]))):
        marker = {"symbol": ("circle", "x")[index], "size": (7, 8)[index], "opacity": 0.75}
        traces.append(figures.points(
            name, figures.percents(calls.loc[own, "p_truth"]), (y[own] + _spread(own.to_numpy(), y)).round(3).tolist(),
            index, marker=marker, hovertemplate="%{x:.1f} %<extra>" + name + "</extra>",
        ))  # fmt: skip
    worst = patients[patients["share"] == patients["share"].min()]
    names = [f"{text.name(str(patient))} ({text.name(str(label))})" for label, patient in position]
    shown = [text.short(name, 28) for name in names]
    axis = figures.axis(
        "", tickvals=list(range(len(names))), ticktext=[figures.label(n) for n in shown],
        range=[len(names) - 0.4, -0.6],
    )  # fmt: skip
    columns = [
        Column("patient", "Patient", "name"), Column("class", "Class", "name"), Column("cells", "Cells", "count"),
        Column("right", "Called right", "count"), Column("share", "Called right, %", "percent"),
        Column("mean", "Mean probability of the true class, %", "percent"),
    ]  # fmt: skip
    two = len(inputs.classes) == 2
    turn = "where the mean probability changes its call" if two else "above which the mean probability calls it right"
    rows = [[r.patient, r.label, r.cells, r.right, r.share, r.mean] for r in patients.itertuples()]
    title = (
        f"{text.method_name(method)}: from {text.percent(patients['share'].min())} of the cells called right "
        f"({_who(worst, patients)}) to {text.percent(patients['share'].max())}"
    )
    return Figure(
        title=title,
        caption="Every test cell, a row per patient, worst first within a class: the mean probability that the folds "
        f"gave to the cell's true class. A cross is a cell that the majority calls wrong. Dotted: 50 %, {turn}. "
        "Points are spread up and down to overlap less.",
        spec=figures.spec(
            traces, figures.axis("Probability of the true class (%)", range=[-2, 102]), axis,
            shapes=[figures.vertical(50)],
        ),
        table=Table(f"patients-{text.slug(method)}", "Test cells by patient.", columns, rows),
        height=next((height for height, rows in _ROWS.items() if len(names) <= rows), "tall"),
    )  # fmt: skip


def _who(worst: pd.DataFrame, patients: pd.DataFrame) -> str:
    """The worst rows of a strip: a patient by name, several by their number."""
    names = worst["patient"].unique()
    if len(names) > 1:
        return text.counted(len(names), "patient")
    patient = names[0]
    # A patient with cells of two classes has two rows, and the share is that of one of them.
    both = len(worst) == 1 and (patients["patient"] == patient).sum() > 1
    # With pseudonyms a name says already that it is a patient's.
    name = text.name(str(patient)).removeprefix("Patient ")
    return f"patient {name}" + (f", {text.name(str(worst['label'].iloc[0]))} cells" if both else "")


def _spread(own: Any, y: Any) -> Any:
    """Offsets within a row, by the cell's place among those of its patient; the same in every run."""
    place = pd.Series(y).groupby(y).cumcount().to_numpy()
    return ((place * 0.618034) % 1 - 0.5)[own] * 0.56
