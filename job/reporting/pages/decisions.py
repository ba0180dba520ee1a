"""Decisions: thresholds, cells left to a pathologist, and whether a probability means what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from job.reporting import figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Table, columns, repeats

POINTS = {
    "half": "One half", "sensitivity": "Required sensitivity", "youden": "Youden's index", "cost": "Cost-weighted",
}  # fmt: skip


def page(inputs: ReportInputs) -> Page | None:
    """Left out where the evaluation holds no decisions."""
    if not inputs.evaluation.get("calibration"):
        return None
    points = inputs.evaluation["operating_points"]
    tables = {f"points-{entry['method']}": _points(entry) for entry in points}
    tables |= {"calibration": _calibration(inputs), "abstention": _abstention(inputs)}
    drawn = {"thresholds": _thresholds(inputs)} if any(entry["decision_curve"] for entry in points) else {}
    drawn |= {"risk": _risk(inputs), "reliability": _reliability(inputs)}
    return Page(
        slug="decisions", title="Decisions", tables=tables, figures=drawn,
        facts={
            "explorers": [_explorer(inputs, e) for e in points if inputs.outcome(e["method"]) is None],
            "positive": inputs.evaluation["positive"],
            "negative": next((name for name in inputs.classes if name != inputs.evaluation["positive"]), ""),
            "asked": inputs.params.evaluation, "points": [entry["method"] for entry in points],
            "worse": [
                text.method_name(entry["method"]) for entry in inputs.evaluation["calibration"]
                if entry["test"]["after"]["metrics"]["log_loss"] > entry["test"]["before"]["metrics"]["log_loss"]
            ],
            "at_bound": [text.method_name(e["method"]) for e in inputs.evaluation["calibration"] if e["at_bound"]],
            # The evidence of other people's predictions has no split.
            "shares_people": bool(inputs.split) and inputs.split["fold_by"] == "image",
        },
    )  # fmt: skip


def _explorer(inputs: ReportInputs, entry: dict[str, Any]) -> dict[str, Any]:
    """What the threshold explorer starts with: probabilities of the positive class by truth, counts at one half."""
    positive, rows = inputs.evaluation["positive"], inputs.rows_of(entry["model"])
    truth = rows["label"] == positive
    points = [point for point in entry["points"] if point["threshold"] is not None]
    half = next(point for point in points if point["name"] == "half")
    return {
        "method": entry["method"], "name": text.method_name(entry["method"]), "slug": text.slug(entry["method"]),
        "scores": {
            part: sorted(rows.loc[mask, f"p_{positive}"].astype(float).tolist())
            for part, mask in (("positive", truth), ("negative", ~truth))
        },
        "points": [{"name": POINTS.get(p["name"], p["name"]), "threshold": p["threshold"]} for p in points],
        "start": {**half["test"], **_predictive(half["test"]), "threshold": half["threshold"]},
    }  # fmt: skip


def _predictive(counts: dict[str, Any]) -> dict[str, float | None]:
    """Positive and negative predictive value; None where nothing is predicted so."""
    pairs = {"ppv": ("TP", "FP"), "npv": ("TN", "FN")}
    sums = {name: counts[a] + counts[b] for name, (a, b) in pairs.items()}
    return {name: counts[pairs[name][0]] / total if total else None for name, total in sums.items()}


def _points(entry: dict[str, Any]) -> Table:
    chosen, tried = "Validation, where it is chosen", "Test set, where it is tried"
    rates = {"sensitivity": "Sensitivity, %", "specificity": "Specificity, %"}
    heads = columns("name", point="Threshold by") + columns("ratio", threshold="Threshold")
    heads += columns("percent", chosen, **{f"validation_{key}": label for key, label in rates.items()})
    heads += columns("count", tried, FN="Missed", FP="False alarms")
    for key, label in rates.items():
        ends = {f"{key}_low": "from", f"{key}_high": "to"}
        heads += columns("percent", f"{label[:-3]} per patient, %", **{key: "Value"}, **ends)
    for at in next((point["at_prevalences"] for point in entry["points"] if point["threshold"]), []):
        share = at["prevalence"]
        labels = {f"ppv_{share}": "PPV, %", f"npv_{share}": "NPV, %"}
        heads += columns("percent", f"If {100 * share:g} % of the cells were positive", **labels)
    rows: list[list[Any]] = []
    for point in entry["points"]:
        name = POINTS.get(point["name"], point["name"])
        if point["threshold"] is None:
            rows.append([f"{name}: {point['reason']}", *[None] * (len(heads) - 1)])
            continue
        validation, test = point["validation"], point["test"]
        row = [name, point["threshold"], *(validation[key] for key in rates), test["FN"], test["FP"]]
        row += [point["by_subject"][key][end] for key in rates for end in ("value", "low", "high")]
        rows.append(row + [at[key] for at in point["at_prevalences"] for key in ("ppv", "npv")])
    method = entry["method"]
    return Table(f"thresholds-{text.slug(method)}", f"{text.method_name(method)}: operating points.", heads, rows)


def _thresholds(inputs: ReportInputs) -> Figure:
    """Sensitivity, specificity and net benefit by threshold."""
    heads = columns("name", method="Method") + columns("percent", prevalence="Positive cells, %")
    heads += columns("ratio", threshold="Threshold")
    heads += columns("percent", sensitivity="Sensitivity, %", specificity="Specificity, %")
    heads += columns("ratio", "Net benefit", model="Of the method", all="Of predicting every cell positive")
    rows = [
        [text.method_name(entry["method"]), *(row[column.key] for column in heads[1:])]
        for entry in inputs.evaluation["operating_points"]
        for row in sorted(entry["decision_curve"], key=lambda row: (row["prevalence"], row["threshold"]))
    ]
    table = Table("decision-curve", "The test set by threshold.", heads, rows)
    shares = sorted(set(table.values("prevalence")))
    drawn = shares[len(shares) // 2]
    traces, useful = [], []
    for name, group in table.where(prevalence=drawn).by("method").items():
        style, at = figures.look(name), group.values("threshold")
        for metric, dash in (("sensitivity", "solid"), ("specificity", "dash")):
            curve = figures.line(f"{name}, {metric}", at, group.percents(metric), style._replace(dash=dash))
            traces.append((1, curve))
        benefit, every = group.values("model"), group.values("all")
        traces.append((2, figures.line(f"{name}, net benefit", at, benefit, style, showlegend=False)))
        better = sum(value > max(other, 0) for value, other in zip(benefit, every, strict=True))
        useful.append(f"{name} at {better} of {text.counted(len(at), 'threshold')}")
    traces.append((2, figures.line("every cell positive", at, every, figures.GREY, 1.5)))
    plot = figures.panels("Threshold", "Share of the class (%)", "Net benefit (per image)", traces)
    plot.update_layout(xaxis_range=[0, 1], yaxis_range=[-3, 103], yaxis2_range=[-drawn / 2, drawn * 1.1])
    return Figure(
        title=f"Better than predicting every or no cell positive: {text.listed(useful)}",
        caption=f"Net benefit as if {100 * drawn:g} % of the cells were positive; the table has other shares too.",
        plot=plot,
        table=table,
        height=36,
    )


def _risk(inputs: ReportInputs) -> Figure:
    """Errors among the cells that are still predicted, by the share that is left to a pathologist."""
    heads = columns("name", method="Method", by="Refused") + columns("ratio", least="Least kept")
    heads += columns("count", kept="Cells kept") + columns("percent", coverage="Kept, %")
    heads += columns("count", errors="Errors among them") + columns("percent", error="Error, %")
    rows = [
        [text.method_name(entry["method"]), f"by {by}", point["confidence"], point["kept"], point["coverage"],
         point["errors"], point["error"]]
        for entry in inputs.evaluation["abstention"] for by in ("confidence", "agreement") if entry[by]
        for point in entry[by]["curve"]
    ]  # fmt: skip
    table = Table("risk-coverage", "Errors by the share of cells left to a pathologist.", heads, rows)
    traces = []
    for method, by_method in table.by("method").items():
        for by, group in by_method.by("by").items():
            x = [100 - (share or 0) for share in group.percents("coverage")]
            draw = figures.line if by == "by confidence" else figures.points  # agreement has few levels
            traces.append(draw(f"{method}, {by}", x, group.percents("error"), figures.look(method)))
    first = inputs.evaluation["abstention"][0]
    whole = first["confidence"]["curve"][-1]
    return Figure(
        title=f"{text.method_name(first['method'])}: {text.percent(whole['error'])} errors with every cell predicted; "
        + _at_the_chosen(first["chosen"]),
        plot=figures.plot(
            traces, figures.axis("Cells left to a pathologist (%)", range=[-2, 102]),
            figures.axis("Errors among the rest (%)"),
        ),
        table=table,
    )  # fmt: skip


def _at_the_chosen(chosen: dict[str, Any] | None) -> str:
    """What the confidence that validation chose does on the test set: never the best level of the test set itself."""
    if chosen is None:
        return "no confidence was chosen on validation"
    at = chosen["test"]
    left = f"at the confidence chosen on validation {text.percent(at['share_refused'])} are left to a pathologist"
    if not at["kept"]:
        return f"{left}, and none is predicted"
    return f"{left}, and {text.count(at['errors'])} of the {text.count(at['kept'])} predicted are wrong"


def _abstention(inputs: ReportInputs) -> Table:
    """Cells left to a pathologist at the confidence that validation chose, and errors among the rest."""
    heads = columns("name", method="Method") + columns("ratio", least="Least confidence kept")
    keys = ("refused", "share_refused", "errors", "error")
    for role, title in (("validation", "Validation, where it is chosen"), ("test", "Test set, where it is tried")):
        refused, share, errors, error = (f"{role}_{key}" for key in keys)
        heads += columns("count", title, **{refused: "Left to a pathologist"})
        heads += columns("percent", title, **{share: "Share, %"})
        heads += columns("count", title, **{errors: "Errors among the rest"})
        heads += columns("percent", title, **{error: "Error, %"})
    rows = []
    for entry in inputs.evaluation["abstention"]:
        chosen, values = entry["chosen"], [None] * (len(heads) - 1)
        if chosen:
            values = [
                chosen["test"]["confidence"],
                *(chosen[role][key] for role in ("validation", "test") for key in keys),
            ]
        rows.append([text.method_name(entry["method"]), *values])
    return Table("abstention", "Cells left to a pathologist.", heads, rows)


def _calibration(inputs: ReportInputs) -> Table:
    """Temperature of each method; and log loss, Brier score, calibration error and slope before and after it."""
    parts = [(role, when) for role in ("validation", "test") for when in ("before", "after")]
    words = {
        "log_loss": "Log loss",
        "brier": "Brier score",
        "slope": "Slope",
        "ece": "ECE",
        "ece_high": "ECE, expected up to",
    }
    heads = columns("name", method="Method") + columns("ratio", temperature="Temperature")
    heads += columns("text", role="On", when="before or after") + columns("ratio", **words)
    rows = []
    for entry in inputs.evaluation["calibration"]:
        for role, when in parts:
            part = entry[role][when]
            metrics = [*(part["metrics"][key] for key in ("log_loss", "brier")), part["slope"], part["metrics"]["ece"]]
            where = [role.capitalize(), when, *metrics, part["ece_if_calibrated"]["high"]]
            rows.append([text.method_name(entry["method"]), entry["temperature"], *where])
    return Table("calibration", "Calibration before and after the temperature.", heads, rows, repeats(rows))


def _reliability(inputs: ReportInputs) -> Figure:
    """Predicted probability beside observed share, before and after the temperature."""
    heads = columns("name", method="Method", when="Temperature", label="Class") + columns(
        "ratio", low="From", high="To"
    )
    heads += columns("count", images="Images")
    heads += columns("percent", mean_probability="Mean probability, %", share="Of that class, %")
    rows = [
        [text.method_name(entry["method"]), when, label,
         *(part[key] for key in ("low", "high", "images", "mean_probability", "share"))]
        for entry in inputs.evaluation["calibration"] for when in ("before", "after")
        for label, bins in entry["test"][when]["reliability"].items() for part in bins
    ]  # fmt: skip
    table = Table("reliability", "Reliability on the test set.", heads, rows)
    two = len(set(table.values("label"))) == 1
    diagonal = figures.line("As it says", [0, 100], [0, 100], figures.GREY, 1, hoverinfo="skip")
    traces = [diagonal]
    for method, by_method in table.by("method").items():
        for when, by_when in by_method.by("when").items():
            for label, group in by_when.by("label").items() if two or when == "after" else ():
                held = replace(group, rows=[row for row in group.rows if row[5]])
                style = figures.look(method)._replace(dash="dot" if when == "before" else "solid")
                traces.append(figures.line(
                    f"{method}, {when if two else text.name(label)}", held.percents("mean_probability"),
                    held.percents("share"), style, 1.5 if when == "before" else 3, mode="lines+markers",
                ))  # fmt: skip
    loss = {when: [text.cell(entry["test"][when]["metrics"]["log_loss"], "ratio") for entry in
                   inputs.evaluation["calibration"]] for when in ("before", "after")}  # fmt: skip
    said = [f"{method} {before} before, {after} after" for method, before, after
            in zip(table.by("method"), loss["before"], loss["after"], strict=True)]  # fmt: skip
    of = text.name(table.values("label")[0]) if two else "a class"
    return Figure(
        title=f"Log loss on the test set without and with the temperature: {'; '.join(said)}",
        plot=figures.plot(
            traces, figures.axis(f"Probability of {figures.label(of)} (%)", range=[-2, 102]),
            figures.axis("Observed share (%)", range=[-4, 104]),
        ),
        table=table, height=32, square=True,
    )  # fmt: skip
