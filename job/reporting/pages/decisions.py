"""Decisions: what probabilities are good for: thresholds and persons; how sure they are is `certainty`'s to say."""

from __future__ import annotations

from typing import Any

from job.reporting import certainty, figures, text
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
    tables = {"calibration": certainty.calibration_table(inputs), "abstention": certainty.abstention_table(inputs)}
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
    found |= {
        f"reliability-{entry['method']}": certainty.reliability(entry) for entry in inputs.evaluation["calibration"]
    }
    found["risk"] = certainty.risk(inputs)
    if persons := _persons(inputs):
        tables["persons"] = persons
    return Page(
        slug="decisions", title="Decisions", tables=tables, figures=found,
        facts={
            "explorers": explorers, "positive": inputs.evaluation["positive"],
            "negative": next((name for name in inputs.classes if name != inputs.evaluation["positive"]), ""),
            "calibrated": [(entry["method"], entry["temperature"]) for entry in inputs.evaluation["calibration"]],
            "asked": inputs.params.evaluation,
            "single_cells": _single_cells(inputs),
            "colder": [
                text.method_name(entry["method"]) for entry in inputs.evaluation["calibration"]
                if entry["test"]["after"]["metrics"]["ece"] > entry["test"]["before"]["metrics"]["ece"]
            ],
            # The evidence of other people's predictions has no split.
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
    scores = _scores(inputs, inputs.evaluation["operating_points"][0]["model"])
    share = text.percent(len(scores["positive"]) / sum(map(len, scores.values())))
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
