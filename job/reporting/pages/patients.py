"""Patients: each test patient by itself, and every cell of each."""

from itertools import compress
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from job.reporting import cells, figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.tables import Table, columns


def _judged(inputs: ReportInputs) -> list[dict[str, Any]]:
    """What is known of the test patients, by model: of the votes, or somebody else's models, that tell cells apart."""
    models = [f"{method}/majority" for method in inputs.telling] if inputs.methods else inputs.telling
    return [e for e in inputs.evaluation["patients"] if e["role"] == "test" and e["model"] in models]


def tables(inputs: ReportInputs) -> dict[str, Table]:
    """Each patient; nothing where no subject was judged by itself."""
    positive = inputs.evaluation["positive"]
    heads = columns("name", model="Model", subject="Patient", classes="Truth")
    heads += columns("count", images="Cells", correct="Correct") + columns("percent", accuracy="Correct, %")
    if positive is not None:
        group = f"Predicted {text.name(positive)}"
        heads += columns("count", group, **{f"predicted.{inputs.classes.index(positive)}": "Cells"})
        heads += columns("percent", group, share_positive="%", low="from", high="to")
    rows = [
        row | {"model": text.model_name(entry["model"]), "classes": " + ".join(compress(inputs.classes, row["truth"])),
               "subject": ", ".join(row["patients"]) or row["subject"]}
        for entry in _judged(inputs)
        for row in entry["subjects"]
    ]  # fmt: skip
    table = Table.of("patients-accuracy", "Test patients, the least accurate first.", heads, rows)
    return {"patients": table} if rows else {}


def cells_table(inputs: ReportInputs, method: str) -> Table:
    """Every test cell of a method, by patient, the worst patient first within a class."""
    frame = inputs.cells_of(method).reset_index()
    frame["share"] = frame.groupby(["label", "patient"], sort=False)["correct"].transform("mean")
    frame["class"] = frame["label"].map(inputs.classes.index)
    frame = frame.sort_values(["class", "share", "patient", "p_positive"], ascending=[False, True, True, False])
    positive = inputs.evaluation["positive"]
    score = f"Probability of {'the true class' if positive is None else text.name(positive)}"
    heads = columns("name", patient="Patient", label="Truth", image="Image", predicted="Predicted")
    heads += columns("count", votes="Votes", voters="of") + columns("percent", p_positive=f"{score}, %")
    heads += columns("text", correct="Correct")
    rows = frame[[column.key for column in heads]].to_numpy(dtype=object).tolist()
    return Table(f"cells-{inputs.slug(method)}", "Every test cell.", heads, rows)


def strips(inputs: ReportInputs) -> dict[str, Figure]:
    """Every test cell in the row of its patient, by method; nothing where the patients are unknown."""
    if not inputs.prepared.get("patients_known", True):
        return {}
    drawn = {}
    for method in inputs.telling:
        table = cells_table(inputs, method)
        known = [patient for patient in table.values("patient") if patient]
        # Where every cell is of another patient there is nothing to see.
        if len(set(known)) < len(known):
            drawn[f"strip-{inputs.slug(method)}"] = _strip(inputs, method, table)
    return drawn


def _strip(inputs: ReportInputs, method: str, table: Table) -> Figure:
    """A row per patient: a dot per cell, open where the prediction is wrong.

    The pages' script reads `customdata`: whether the cell is positive, its file, and its pictures.
    """
    frame = pd.DataFrame(table.rows, columns=[column.key for column in table.columns])
    frame = frame[frame["patient"] != ""].reset_index(drop=True)
    pairs = list(zip(frame["label"], frame["patient"], strict=True))
    position = {pair: n for n, pair in enumerate(dict.fromkeys(pairs))}
    # Within a row cells are spread by their place among those of the patient; the same in every run.
    rows = np.array([position[pair] for pair in pairs])
    place = pd.Series(rows).groupby(rows).cumcount().to_numpy()
    y = rows + ((place * 0.618034) % 1 - 0.5) * 0.56
    votes = [f"{n} of {of} votes for " if of else "" for n, of in zip(frame["votes"], frame["voters"], strict=True)]
    hover = [figures.label(n + text.name(predicted)) for n, predicted in zip(votes, frame["predicted"], strict=True)]
    positive, pictures = inputs.evaluation["positive"], (cells.addresses(inputs), cells.maps(inputs, method))
    named = [
        [int(label == positive), PurePath(image).name, *(files[image] for files in pictures if image in files)]
        for label, image in zip(frame["label"], frame["image"], strict=True)
    ]
    x, correct = (100 * frame["p_positive"]).astype(float).round(5).to_numpy(), frame["correct"].to_numpy(bool)
    models = [model["model"] for model in inputs.models()]
    style, traces = figures.look(method, models.index(method) if method in models else 0), []
    for name, part in (("Correct", correct), ("Wrong", ~correct)):
        of = {"text": [hover[n] for n in np.flatnonzero(part)], "customdata": [named[n] for n in np.flatnonzero(part)]}
        dots = figures.points(name, x[part].tolist(), y[part].round(2).tolist(), style, filled=name == "Correct")
        traces.append(dots.update(hoverinfo="x+text", **of))
    axis = figures.axis(figures.label(table.columns[6].label), range=[-2, 102], hoverformat=".1f")
    names = [text.short(f"{text.name(patient)} ({text.name(label)})", 28) for label, patient in position]
    means = frame.groupby(["label", "patient"])["correct"].mean()
    span = f"{text.percent(means.min())} to {text.percent(means.max())}"
    return Figure(
        title=f"{text.method_name(method)}: {span} of a patient’s cells correct",
        plot=figures.plot(
            traces, axis, figures.rows_axis(names), shapes=[figures.vertical(50)] if len(inputs.classes) == 2 else []
        ),
        table=table,
        height=8 + 1.5 * len(names),
    )
