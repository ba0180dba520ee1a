"""Decisions: what the probabilities are good for: thresholds, calibration, and cells left to a pathologist."""

from __future__ import annotations

from typing import Any

from job.reporting import figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table

POINTS = {
    "half": "One half", "sensitivity": "Required sensitivity", "youden": "Youden's index", "cost": "Cost-weighted",
}  # fmt: skip
_GRID = [i / 20 for i in range(1, 20)]


def page(inputs: ReportInputs) -> Page | None:
    """Left out where the evaluation holds no decisions."""
    if not inputs.evaluation.get("calibration"):
        return None
    found = {}
    tables = {"calibration": _calibration_table(inputs), "abstention": _abstention_table(inputs)}
    explorers = []
    for entry in inputs.evaluation["operating_points"]:
        method = entry["method"]
        scores = _scores(inputs, entry["model"])
        explorers.append({
            "method": method, "name": text.method_name(method), "slug": text.slug(method), "scores": scores,
            "points": [
                {"name": POINTS.get(p["name"], p["name"]), "threshold": p["threshold"]}
                for p in entry["points"] if p["threshold"] is not None
            ],
            "start": {**_counts(scores, 0.5), "threshold": 0.5},
        })  # fmt: skip
        tables[f"points-{method}"] = _points(entry)
        found[f"thresholds-{method}"] = _by_threshold(method, scores, text.name(inputs.evaluation["positive"]))
    if explorers:
        found["net-benefit"] = _net_benefit(inputs)
    found |= {f"reliability-{entry['method']}": _reliability(entry) for entry in inputs.evaluation["calibration"]}
    found["risk"] = _risk(inputs)
    if persons := _persons(inputs):
        tables["persons"] = persons
    return Page(
        slug="decisions", title="Decisions", tables=tables, figures=found,
        facts={
            "explorers": explorers, "positive": inputs.evaluation["positive"],
            "negative": next((name for name in inputs.classes if name != inputs.evaluation["positive"]), ""),
            "calibrated": [(entry["method"], entry["temperature"]) for entry in inputs.evaluation["calibration"]],
            "asked": inputs.params.evaluation,
            # The evidence of other people's predictions has no split.
            "single_cells": _single_cells(inputs),
            "colder": [
                text.method_name(entry["method"]) for entry in inputs.evaluation["calibration"]
                if entry["test"]["after"]["metrics"]["ece"] > entry["test"]["before"]["metrics"]["ece"]
            ],
            "shares_people": bool(inputs.split) and inputs.params.split.fold_by == "image",
        },
    )  # fmt: skip


def _scores(inputs: ReportInputs, model: str) -> dict[str, list[float]]:
    """Probability of the positive class of every test image, by truth, lowest first."""
    positive = inputs.evaluation["positive"]
    frame = inputs.predictions
    rows = frame[(frame["model"] == model) & (frame["role"] == "test")]
    truth = rows["label"] == positive
    return {
        "positive": sorted(rows.loc[truth, f"p_{positive}"].tolist()),
        "negative": sorted(rows.loc[~truth, f"p_{positive}"].tolist()),
    }


def _share_positive(inputs: ReportInputs) -> float | None:
    """Of the test images."""
    positive = inputs.evaluation["positive"]
    counts = [sum(row) for row in inputs.evaluation["models"][0]["confusion"]]
    return counts[inputs.classes.index(positive)] / sum(counts) if sum(counts) else None


def _single_cells(inputs: ReportInputs) -> tuple[int, int] | None:
    """Of the persons in the test set, how many have so few cells that one of them reaches the share; None if nobody."""
    entries = [entry for entry in inputs.evaluation.get("patients", ()) if entry["role"] == "test"]
    people = entries[0]["subjects"] if entries else []
    few = sum(1 / person["images"] >= inputs.evaluation["evidence"]["blast_share"] for person in people)
    return (few, len(people)) if few else None


def _counts(scores: dict[str, list[float]], threshold: float) -> dict[str, Any]:
    """What `assets/report.js` counts for the explorer: a cell is called positive from the threshold on."""
    tp, fp = (sum(score >= threshold for score in scores[part]) for part in ("positive", "negative"))
    fn, tn = len(scores["positive"]) - tp, len(scores["negative"]) - fp
    shares = {"sensitivity": (tp, fn), "specificity": (tn, fp), "ppv": (tp, fp), "npv": (tn, fn)}
    rates = {name: part / (part + rest) if part + rest else None for name, (part, rest) in shares.items()}
    return {"TP": tp, "FN": fn, "FP": fp, "TN": tn, **rates}


def _points(entry: dict[str, Any]) -> Table:
    test = "Test set, where it is tried"
    columns = [
        Column("point", "Threshold by", "name"), Column("threshold", "Threshold", "ratio"),
        Column("validation_sensitivity", "Sensitivity, %", "percent", "Validation, where it is chosen"),
        Column("validation_specificity", "Specificity, %", "percent", "Validation, where it is chosen"),
        Column("FN", "Missed", "count", test), Column("FP", "False alarms", "count", test),
    ]  # fmt: skip
    for metric in ("sensitivity", "specificity"):
        columns += [
            Column(metric, f"{text.METRICS[metric].label}, %", "percent", test),
            Column(f"{metric}_low", "from", "percent", test), Column(f"{metric}_high", "to", "percent", test),
        ]  # fmt: skip
    shares = [at["prevalence"] for at in next((p["at_prevalences"] for p in entry["points"] if p["threshold"]), [])]
    for share in shares:
        group = f"If {100 * share:g} % of the cells were positive"
        columns += [
            Column(f"ppv_{share}", "PPV, %", "percent", group), Column(f"npv_{share}", "NPV, %", "percent", group),
        ]  # fmt: skip
    rows: list[list[Any]] = []
    for point in entry["points"]:
        name = POINTS.get(point["name"], point["name"])
        if point["threshold"] is None:
            rows.append([f"{name}: {point['reason']}", *[None] * (len(columns) - 1)])
            continue
        own, reached, ends = point["validation"], point["test"], point["intervals"]
        row = [name, point["threshold"], own["sensitivity"], own["specificity"], reached["FN"], reached["FP"]]
        for metric in ("sensitivity", "specificity"):
            row += [reached[metric], *(ends[metric] or (None, None))]
        row += [value for at in point["at_prevalences"] for value in (at["ppv"], at["npv"])]
        rows.append(row)
    method = entry["method"]
    return Table(f"thresholds-{text.slug(method)}", f"{text.method_name(method)}: operating points.", columns, rows)


def _by_threshold(method: str, scores: dict[str, list[float]], positive: str) -> Figure:
    counts = [_counts(scores, t) for t in _GRID]
    traces = []
    for position, (metric, dash) in enumerate((("sensitivity", "solid"), ("specificity", "dash"))):
        values = figures.percents(c[metric] for c in counts)
        name = text.METRICS[metric].label
        traces.append(figures.line(name, _GRID, values, position, line={"dash": dash, "width": 3}))
    columns = [
        Column("threshold", "Threshold", "ratio"), *(Column(k, k, "count") for k in ("TP", "FN", "FP", "TN")),
        Column("sensitivity", "Sensitivity, %", "percent"), Column("specificity", "Specificity, %", "percent"),
        Column("ppv", "PPV, %", "percent"), Column("npv", "NPV, %", "percent"),
    ]  # fmt: skip
    half = _counts(scores, 0.5)
    return Figure(
        title=f"{text.method_name(method)}: calibrated mean at one half, {half['FN']} of {len(scores['positive'])} "
        f"{positive} cells are missed and {half['FP']} of {len(scores['negative'])} others give a false alarm",
        caption="Sensitivity and specificity on the test set by the threshold on the calibrated mean probability. "
        "Which of them to give up is not a question of statistics; choosing on these images would be optimistic.",
        spec=figures.spec(
            traces, figures.axis(f"Called {figures.label(positive)} from this probability on", range=[0, 1]),
            figures.axis("Share of the class (%)", range=[-3, 103]),
        ),
        table=Table(
            f"by-threshold-{text.slug(method)}", "The test set by threshold.", columns,
            [[t, *(c[column.key] for column in columns[1:])] for t, c in zip(_GRID, counts, strict=True)],
        ),
    )  # fmt: skip


def _net_benefit(inputs: ReportInputs) -> Figure:
    traces, rows = [], []
    for position, entry in enumerate(inputs.evaluation["operating_points"]):
        curve = entry["decision_curve"]
        name = text.method_name(entry["method"])
        xs = [point["threshold"] for point in curve]
        traces.append(figures.line(name, xs, [round(p["model"], 5) for p in curve], position))
        rows += [[name, p["threshold"], p["TP"], p["FP"], p["model"], p["all"]] for p in curve]
    every = figures.line("Calling every cell positive", xs, [round(p["all"], 5) for p in curve], 4)
    every |= {"mode": "lines"}
    every["line"] |= {"color": figures.MUTED, "dash": "dot"}
    best = max(row[4] for row in rows)
    useful = []
    for entry in inputs.evaluation["operating_points"]:
        curve = entry["decision_curve"]
        better = sum(p["model"] > max(p["all"], 0) for p in curve)
        worse = sum(p["model"] < 0 for p in curve)
        useful.append(
            f"{text.method_name(entry['method'])} at {better} of {text.counted(len(curve), 'threshold')}"
            + (f" (worse than none at {worse})" if worse else "")
        )
    share = text.percent(_share_positive(inputs))
    columns = [
        Column("method", "Method", "name"), Column("threshold", "Threshold", "ratio"), Column("TP", "TP", "count"),
        Column("FP", "FP", "count"), Column("net_benefit", "Net benefit", "ratio"),
        Column("all", "Calling every cell positive", "ratio"),
    ]  # fmt: skip
    return Figure(
        title=f"Better than calling every or no cell positive: {text.listed(useful)}",
        caption="Decision curve on the test set (Vickers and Elkin 2006): true positives less the false ones, weighted "
        f"by the odds of the threshold, for each image. Zero is calling no cell positive. {share} of these cells are "
        "positive; another share moves every curve. The dotted line goes on below the axis.",
        spec=figures.spec(
            [*traces, every], figures.axis("Probability from which a cell is called positive", range=[0, 1]),
            figures.axis("Net benefit (per image)", range=[-0.1, round(best + 0.08, 2)]),
        ),
        table=Table("decision-curve", "Decision curve.", columns, rows),
    )  # fmt: skip


def _reliability(entry: dict[str, Any]) -> Figure:
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


def _calibration_table(inputs: ReportInputs) -> Table:
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


def _risk(inputs: ReportInputs) -> Figure:
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


def _abstention_table(inputs: ReportInputs) -> Table:
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


def _persons(inputs: ReportInputs) -> Table | None:
    entries = [e for e in inputs.evaluation.get("patients", ()) if e["role"] == "test" and "rule" in e]
    names = {f"{method}/majority": text.method_name(method) for method in inputs.methods}
    names["baseline/area"] = text.baseline_name("baseline/area")
    columns = [Column("model", "Model", "name"), Column("auroc", "AUROC of persons, by mean score", "ratio")]
    for metric in ("sensitivity", "specificity"):
        group = f"{text.METRICS[metric].label} over persons"
        columns += [
            Column(f"{metric}_right", "Right", "count", group), Column(f"{metric}_of", "of", "count", group),
            Column(metric, "%", "percent", group), Column(f"{metric}_low", "from", "percent", group),
            Column(f"{metric}_high", "to", "percent", group),
        ]  # fmt: skip
    rows = [
        [names[e["model"]], e["auroc"], *(e["rule"][metric][key] for metric in ("sensitivity", "specificity")
         for key in ("right", "of", "value", "low", "high"))]
        for e in entries if e["model"] in names
    ]  # fmt: skip
    return Table("persons", "Persons called by their share of positive cells.", columns, rows) if rows else None
