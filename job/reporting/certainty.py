"""How sure the models are, and what that is worth: calibration, and cells left to a pathologist."""

from __future__ import annotations

from typing import Any

from job.reporting import figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.tables import Column, Table


def reliability(entry: dict[str, Any]) -> Figure:
    """Of one entry of `calibration`: what was said beside what came, before and after the temperature."""
    name = text.method_name(entry["method"])
    before, after = entry["test"]["before"], entry["test"]["after"]
    parts = [("Before", before), ("After", after)] if len(after["reliability"]) == 1 else [("After", after)]
    diagonal = figures.line("Perfect", [0, 100], [0, 100], 0, line={"color": figures.MUTED, "dash": "dot", "width": 1})
    diagonal["mode"] = "lines"
    traces, rows = [diagonal], []
    for when, part in parts:
        for label, bins in part["reliability"].items():
            held = [b for b in bins if b["images"]]
            which = when if len(parts) == 2 else text.name(label)
            traces.append(figures.line(
                which, figures.percents(b["mean_probability"] for b in held),
                figures.percents(b["share"] for b in held), len(traces) - 1,
                line={"dash": "dash" if when == "Before" else "solid"},
            ))  # fmt: skip
            rows += [[when, label, b["low"], b["high"], b["images"], b["mean_probability"], b["share"]] for b in bins]
    columns = [
        Column("when", "Temperature"), Column("class", "Class", "name"), Column("low", "From", "ratio"),
        Column("high", "To", "ratio"), Column("images", "Images", "count"),
        Column("mean_probability", "Mean probability, %", "percent"), Column("share", "Of that class, %", "percent"),
    ]  # fmt: skip
    of = text.name(next(iter(after["reliability"]))) if len(parts) == 2 else "a class"
    count = len(next(iter(after["reliability"].values())))
    errors = [text.cell(part["metrics"]["ece"], "ratio") for part in (before, after)]
    return Figure(
        title=f"{name}: calibration error {errors[0]} before the temperature, {errors[1]} after, on the test set",
        caption=f"Among test cells with about the same probability of {of}, the share that is so in truth "
        f"({count} bins); on the dotted line a probability is what it says. Bins with few images jump: their counts "
        "are in the table. The error in the title is another one: of the class that is called, in 15 bins.",
        spec=figures.spec(
            traces, figures.axis(f"Probability of {figures.label(of)} (%)", range=[-2, 102]),
            figures.axis("So in truth (%)", range=[-4, 104]),
        ),
        table=Table(f"reliability-{text.slug(entry['method'])}", "Reliability on the test set.", columns, rows),
    )  # fmt: skip


def calibration_table(inputs: ReportInputs) -> Table:
    """Temperature of each method, and its calibration error, Brier score and log loss before and after."""
    names = ("ece", "brier", "log_loss")
    columns = [Column("method", "Method", "name"), Column("temperature", "Temperature", "ratio")]
    for role, title in (("validation", "Validation, where it is fitted"), ("test", "Test set")):
        for name in names:
            label = text.METRICS[name].label
            columns += [
                Column(f"{role}_{when}_{name}", f"{label} {when}", "ratio", title) for when in ("before", "after")
            ]
    rows = [
        [text.method_name(entry["method"]), entry["temperature"],
         *(entry[role][when]["metrics"][name] for role in ("validation", "test") for name in names
           for when in ("before", "after"))]
        for entry in inputs.evaluation["calibration"]
    ]  # fmt: skip
    return Table("calibration", "Calibration before and after the temperature.", columns, rows)


def risk(inputs: ReportInputs) -> Figure:
    """Errors among the cells that are still called, by the share that is refused."""
    traces, rows = [], []
    for position, entry in enumerate(inputs.evaluation["abstention"]):
        name = text.method_name(entry["method"])
        for by, words in (("confidence", "by confidence"), ("agreement", "by agreement")):
            if entry[by] is None:
                continue
            curve = entry[by]["curve"]
            xs = figures.percents(1 - point["coverage"] for point in curve)
            ys = figures.percents(point["error"] for point in curve)
            if by == "confidence":
                dash = figures.DASHES[position % len(figures.DASHES)]
                trace = figures.line(f"{name}, {words}", xs, ys, position, line={"dash": dash}, mode="lines")
            else:  # few levels, and nothing between them
                trace = figures.points(f"{name}, {words}", xs, ys, position)
            traces.append(trace)
            rows += [[name, words, p["confidence"], p["kept"], p["coverage"], p["errors"], p["error"]] for p in curve]
    columns = [
        Column("method", "Method", "name"), Column("by", "Refused"), Column("least", "Least kept", "ratio"),
        Column("kept", "Cells kept", "count"), Column("coverage", "Kept, %", "percent"),
        Column("errors", "Errors among them", "count"), Column("error", "Error, %", "percent"),
    ]  # fmt: skip
    first = inputs.evaluation["abstention"][0]
    whole = first["confidence"]["curve"][-1]
    return Figure(
        title=f"{text.method_name(first['method'])}: {text.percent(whole['error'])} errors with every cell called; "
        + _at_the_chosen(first["chosen"]),
        caption="Errors among the test cells that are still called, by the share left to a pathologist: the least sure "
        "first (lines), or those on which the voters disagree (markers).",
        spec=figures.spec(
            traces, figures.axis("Cells left to a pathologist (%)", range=[-2, 102]),
            figures.axis("Errors among the rest (%)"),
        ),
        table=Table("risk-coverage", "Errors by the share of cells refused.", columns, rows),
    )  # fmt: skip


def _at_the_chosen(chosen: dict[str, Any] | None) -> str:
    """What the confidence that validation chose does on the test set: never the best level of the test set itself."""
    if chosen is None:
        return "no confidence was chosen on validation"
    at = chosen["test"]
    left = f"at the confidence chosen on validation {text.percent(at['share_refused'])} are left to a pathologist"
    if not at["kept"]:
        return f"{left}, and none is called"
    verb = "is" if at["errors"] == 1 else "are"
    return f"{left}, and {text.count(at['errors'])} of {text.count(at['kept'])} {verb} wrong"


def abstention_table(inputs: ReportInputs) -> Table:
    """Cells left to a pathologist at the confidence that validation chose, and errors among the rest."""
    columns = [Column("method", "Method", "name"), Column("least", "Least confidence kept", "ratio")]
    for role, title in (("validation", "Validation, where it is chosen"), ("test", "Test set, where it is tried")):
        columns += [
            Column(f"{role}_refused", "Left to a pathologist", "count", title),
            Column(f"{role}_share_refused", "Share, %", "percent", title),
            Column(f"{role}_errors", "Errors among the rest", "count", title),
            Column(f"{role}_error", "Error, %", "percent", title),
        ]  # fmt: skip
    rows = []
    for entry in inputs.evaluation["abstention"]:
        chosen = entry["chosen"]
        values = (
            [chosen["test"]["confidence"], *(chosen[role][key] for role in ("validation", "test")
             for key in ("refused", "share_refused", "errors", "error"))]
            if chosen else [None] * (len(columns) - 1)
        )  # fmt: skip
        rows.append([text.method_name(entry["method"]), *values])
    return Table("abstention", "How many cells are left to a pathologist.", columns, rows)
