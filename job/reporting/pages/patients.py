"""Patients: each test patient by itself, and every cell of each."""

from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from job.reporting import figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.tables import Table, columns


def tables(inputs: ReportInputs) -> dict[str, Table]:
    """How patients differ and each of them; nothing where no subject was judged by itself."""
    tested = [entry for entry in inputs.evaluation["patients"] if entry["role"] == "test"]
    collapsed = [f"{method}/majority" for method in inputs.voting if method not in inputs.telling]
    votes = [e for e in tested if e["model"].endswith("/majority") and e["model"] not in collapsed]
    shown = votes or tested
    return {"spread": _spread(shown), "patients": _patients(shown, inputs)} if shown else {}


def ranked(inputs: ReportInputs) -> list[str]:
    """In how many pairs of a positive and a negative patient the positive one has the higher mean score, in words."""
    return [
        f"{text.model_name(entry['model'])}: in {entry['auroc'] * entry['pairs']:g} of "
        f"{text.counted(entry['pairs'], 'pair')} of a positive and a negative patient the positive one has the higher "
        "mean score (a tie counts half)."
        for entry in inputs.evaluation["patients"]
        if entry["role"] == "test" and entry.get("auroc") is not None
        if entry["model"].endswith("/majority") or not inputs.methods
    ]


def _patients(entries: list[dict[str, Any]], inputs: ReportInputs) -> Table:
    positive = inputs.evaluation["positive"]
    heads = columns("name", model="Model", subject="Patient", classes="Truth")
    heads += columns("count", images="Cells", correct="Correct") + columns("percent", accuracy="Correct, %")
    if positive is not None:
        group = f"Predicted {text.name(positive)}"
        heads += columns("count", group, **{f"predicted.{inputs.classes.index(positive)}": "Cells"})
        heads += columns("percent", group, share_positive="%", low="from", high="to")
    rows = [
        row | {"model": text.model_name(entry["model"]), "classes": " + ".join(compress(inputs.classes, row["truth"]))}
        for entry in entries
        for row in entry["subjects"]
    ]
    return Table.of("patients-accuracy", "Test patients, the least accurate first.", heads, rows)


def _spread(entries: list[dict[str, Any]]) -> Table:
    parts = {part: part.capitalize() for part in ("lowest", "q1", "median", "q3", "highest")}
    heads = columns("name", model="Model", label="Class") + columns("count", subjects="Patients")
    heads += columns("percent", "Accuracy of a patient, %", **parts)
    rows = [
        {"model": text.model_name(entry["model"]), "label": label, **spread}
        for entry in entries
        for label, spread in entry["accuracy"].items()
    ]
    return Table.of("patients-spread", "How patients differ.", heads, rows)


def cells_table(inputs: ReportInputs, method: str) -> Table:
    """Every test cell of a method, by patient, the worst patient first within a class."""
    cells = inputs.cells_of(method).reset_index()
    cells["share"] = cells.groupby(["label", "patient"], sort=False)["correct"].transform("mean")
    cells["class"] = cells["label"].map(inputs.classes.index)
    cells = cells.sort_values(["class", "share", "patient", "p_positive"], ascending=[False, True, True, False])
    positive = inputs.evaluation["positive"]
    score = f"Probability of {'the true class' if positive is None else text.name(positive)}"
    heads = columns("name", patient="Patient", label="Truth", image="Image", predicted="Predicted")
    heads += columns("count", votes="Votes", voters="of") + columns("percent", p_positive=f"{score}, %")
    heads += columns("text", correct="Correct")
    rows = cells[[column.key for column in heads]].to_numpy(dtype=object).tolist()
    return Table(f"cells-{inputs.slug(method)}", "Every test cell.", heads, rows)


def strips(inputs: ReportInputs) -> dict[str, Figure]:
    """Every test cell in the row of its patient, by method; nothing where the patients are unknown."""
    if not inputs.prepared.get("patients_known", True):
        return {}
    drawn = {}
    for method in inputs.telling:
        cells = cells_table(inputs, method)
        cells = replace(cells, rows=[row for row in cells.rows if row[0]])
        # Where every cell is of another patient there is nothing to see.
        if len(set(cells.values("patient"))) < len(cells.rows):
            style = figures.look(
                method, [m["model"] for m in inputs.models()].index(method) if not inputs.methods else 0
            )
            drawn[f"strip-{inputs.slug(method)}"] = _strip(text.method_name(method), cells, style)
    return drawn


def _strip(method: str, table: Table, style: figures.Look) -> Figure:
    """A row per patient: a dot per cell, open where the vote is wrong."""
    pairs = list(zip(table.values("label"), table.values("patient"), strict=True))
    position = {pair: n for n, pair in enumerate(dict.fromkeys(pairs))}
    # Within a row cells are spread by their place among those of the patient; the same in every run.
    rows = np.array([position[pair] for pair in pairs])
    place = pd.Series(rows).groupby(rows).cumcount().to_numpy()
    y = rows + ((place * 0.618034) % 1 - 0.5) * 0.56
    hover = [
        figures.label(
            f"{text.name(row[2])}: {f'{row[4]} of {row[5]} votes for' if row[5] else 'predicted'} {text.name(row[3])}"
        )
        for row in table.rows
    ]
    correct, x = np.array(table.values("correct"), bool), np.array(table.percents("p_positive"))
    traces = []
    for name, part in (("Correct", correct), ("Wrong", ~correct)):
        at, texts = (x[part].tolist(), y[part].round(3).tolist()), [hover[n] for n in np.flatnonzero(part)]
        dots = figures.points(name, *at, style, filled=name == "Correct", hoverinfo="x+text", text=texts)
        traces.append(dots)
    axis = figures.axis(figures.label(table.columns[6].label), range=[-2, 102])
    names = [text.short(f"{text.name(patient)} ({text.name(label)})", 28) for label, patient in position]
    shares = [table.where(label=label, patient=patient).values("correct") for label, patient in position]
    means = [sum(correct) / len(correct) for correct in shares]
    return Figure(
        title=f"{method}: {text.percent(min(means))} to {text.percent(max(means))} of a patient’s cells correct",
        plot=figures.plot(traces, axis, figures.rows_axis(names), shapes=[figures.vertical(50)]),
        table=table,
        height=8 + 1.5 * len(names),
    )
