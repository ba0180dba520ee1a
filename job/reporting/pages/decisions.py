"""Decisions: thresholds, cells left to a pathologist, and whether a probability means what it says."""

from collections.abc import Sequence
from typing import Any

from job.reporting import figures, text
from job.reporting.figures import Figure, Page
from job.reporting.inputs import ReportInputs
from job.reporting.tables import Table, columns, interval_columns


def page(inputs: ReportInputs) -> Page | None:
    """Left out where the evaluation holds no decisions."""
    if not inputs.evaluation.get("calibration"):
        return None
    entries = inputs.evaluation["operating_points"]
    points = [
        point | {"method": entry["method"], "name": text.POINTS[point["name"]]}
        for entry in entries
        for point in entry["points"]
    ]
    tables = {"points": _points(points, inputs.unit), "predictive": _predictive(points)} if points else {}
    tables |= {"calibration": _calibration(inputs), "abstention": _abstention(inputs)}
    drawn = {"thresholds": _thresholds(inputs)} if any(entry["decision_curve"] for entry in entries) else {}
    drawn |= {"risk": _risk(inputs), "reliability": _reliability(inputs)}
    return Page(slug="decisions", title="Decisions", facts={"inputs": inputs}, tables=tables, figures=drawn)


def _points(points: list[dict[str, Any]], unit: str) -> Table:
    rates = {"sensitivity": "Sensitivity, %", "specificity": "Specificity, %"}
    heads = columns("method", method="Method") + columns("name", name="Threshold by")
    heads += columns("ratio", threshold="Threshold")
    chosen = {f"validation.{key}": label for key, label in rates.items()}
    heads += columns("percent", "Validation, where it is chosen", **chosen)
    heads += columns("count", "Test set, where it is tried", **{"test.FN": "Missed", "test.FP": "False alarms"})
    for key, label in rates.items():
        heads += interval_columns("percent", f"{label[:-3]} per {unit}, %", f"by_subject.{key}")
    rows = [point | {"name": ": ".join(filter(None, (point["name"], point["reason"])))} for point in points]
    return Table.of("thresholds", "Operating points.", heads, rows)


def _predictive(points: list[dict[str, Any]]) -> Table:
    """What a prediction is worth where other shares of cells are positive than the split made."""
    heads = columns("method", method="Method") + columns("name", name="Threshold by")
    heads += columns("percent", prevalence="Positive cells, %")
    for key in ("ppv", "npv"):
        heads += interval_columns("percent", f"{key.upper()} of a cell, %", key)
    rows = [point | at for point in points for at in point.get("at_prevalences", ())]
    return Table.of("predictive-values", "What a prediction is worth, by the share of positive cells.", heads, rows)


def _thresholds(inputs: ReportInputs) -> Figure:
    """Sensitivity, specificity and net benefit by threshold."""
    heads = columns("method", method="Method") + columns("percent", prevalence="Positive cells, %")
    heads += columns("ratio", threshold="Threshold")
    heads += columns("percent", sensitivity="Sensitivity, %", specificity="Specificity, %")
    heads += columns("ratio", "Net benefit", model="Of the method", all="Of predicting every cell positive")
    curves = [
        {"method": entry["method"], **row}
        for entry in inputs.evaluation["operating_points"]
        for row in entry["decision_curve"]
    ]
    table = Table.of("decision-curve", "The test set by threshold.", heads, curves)
    share = max(table.values("prevalence"))
    plot, useful = figures.panels("Threshold", "Share of the class (%)", "Net benefit (per image)"), []
    for n, (method, group) in enumerate(table.by("method").items()):
        name = text.method_name(method)
        style, at = figures.look(method, n), group.values("threshold")
        for metric, dash in (("sensitivity", "solid"), ("specificity", "dash")):
            curve = figures.line(f"{name}, {metric}", at, group.percents(metric), style._replace(dash=dash))
            plot.add_trace(curve, 1, 1)
        benefit, every = group.values("model"), group.values("all")
        plot.add_trace(figures.line(f"{name}, net benefit", at, benefit, style, showlegend=False), 2, 1)
        better = sum(value > max(other, 0) for value, other in zip(benefit, every, strict=True))
        useful.append(f"{name} at {better} of {text.counted(len(at), 'threshold')}")
    plot.add_trace(figures.line("every cell positive", at, every, figures.GREY, 1.5), 2, 1)
    plot.update_layout(xaxis_range=[0, 1], yaxis_range=[-3, 103], yaxis2_range=[-share / 2, share * 1.1])
    return Figure(
        title=f"Net benefit above that of every or no cell positive, on these cells: {text.listed(useful)}",
        caption=f"Net benefit where {100 * share:.0f} % of the cells are positive, as among validation images: with "
        "another share the probabilities would be others.",
        plot=plot,
        table=table,
        height=36,
    )


def _risk(inputs: ReportInputs) -> Figure:
    """Errors among the cells that are still predicted, by the share that is left to a pathologist."""
    heads = columns("method", method="Method") + columns("text", by="Refused by")
    heads += columns("ratio", confidence="Least kept") + columns("count", kept="Cells kept")
    heads += columns("percent", coverage="Kept, %") + columns("count", errors="Errors among them")
    heads += columns("percent", error="Error, %")
    curves = [
        {"method": entry["method"], "by": by, **point}
        for entry in inputs.evaluation["abstention"]
        for by in ("confidence", "agreement")
        for point in entry[by]
    ]
    table = Table.of("risk-coverage", "Errors by the share of cells left to a pathologist.", heads, curves)
    traces = []
    positions = list(table.by("method"))
    for (method, by), group in table.by("method", "by").items():
        name, x = text.method_name(method), [100 - (share or 0) for share in group.percents("coverage")]
        draw = figures.line if by == "confidence" else figures.points  # agreement has few levels
        traces.append(
            draw(f"{name}, by {by}", x, group.percents("error"), figures.look(method, positions.index(method)))
        )
    whole = [
        f"{text.method_name(entry['method'])} {text.percent(entry['confidence'][-1]['error'])}"
        for entry in inputs.evaluation["abstention"]
    ]
    x_axis = figures.axis("Cells left to a pathologist (%)", range=[-2, 102])
    return Figure(
        title=f"Errors with every cell predicted: {text.listed(whole)}",
        plot=figures.plot(traces, x_axis, figures.axis("Errors among the rest (%)")),
        table=table,
    )


def _abstention(inputs: ReportInputs) -> Table:
    """Cells left to a pathologist at the confidence that validation chose, and errors among the rest."""
    heads = columns("method", method="Method") + columns("ratio", **{"chosen.test.confidence": "Least confidence kept"})
    for role, title in (("validation", "Validation, where it is chosen"), ("test", "Test set, where it is tried")):
        of = f"chosen.{role}"
        heads += columns("count", title, **{f"{of}.refused": "Left to a pathologist"})
        heads += columns("percent", title, **{f"{of}.share_refused": "Share, %"})
        heads += columns("count", title, **{f"{of}.errors": "Errors among the rest"})
        heads += columns("percent", title, **{f"{of}.error": "Error, %"})
    return Table.of("abstention", "Cells left to a pathologist.", heads, inputs.evaluation["abstention"])


def _calibration(inputs: ReportInputs) -> Table:
    """Temperature of each method; and log loss, Brier score, calibration error and slope before and after it."""
    heads = columns("method", method="Method") + columns("ratio", temperature="Temperature")
    words = {"metrics.log_loss": "Log loss", "metrics.brier": "Brier score", "slope": "Slope", "metrics.ece": "ECE"}
    heads += columns("text", part="On") + columns("ratio", **words, **{"ece_if_calibrated.high": "ECE, expected up to"})
    parts = [
        {"method": e["method"], "temperature": e["temperature"], "part": f"{role}, {when}", **e[role][when]}
        for e in inputs.evaluation["calibration"]
        for role in ("validation", "test")
        for when in ("before", "after")
    ]
    return Table.of(
        "calibration", "Calibration before and after the temperature, on test of the folds’ mean logits.", heads, parts
    )


def _reliability(inputs: ReportInputs) -> Figure:
    """Predicted probability beside observed share, before and after the temperature."""
    bins = [
        {"method": entry["method"], "when": when, "label": label, **part}
        for entry in inputs.evaluation["calibration"]
        for when in ("before", "after")
        for label, parts in entry["test"][when]["reliability"].items()
        for part in parts
    ]
    losses = [
        f"{text.method_name(entry['method'])} {before} without, {after} with it"
        for entry in inputs.evaluation["calibration"]
        for at in [entry["test"]]
        for before, after in [[text.cell(at[when]["metrics"]["log_loss"], "ratio") for when in ("before", "after")]]
    ]
    return reliability(bins, f"Log loss on the test set and the temperature: {'; '.join(losses)}")


def reliability(bins: Sequence[dict[str, Any]], title: str) -> Figure:
    """A reliability curve of each method; `bins` have `method`, `label` and `when`: before, after, or neither."""
    heads = columns("method", method="Method") + columns("name", when="Temperature", label="Class")
    heads += columns("ratio", low="From", high="To") + columns("count", images="Images")
    heads += columns("percent", mean_probability="Mean probability, %", share="Of that class, %")
    table = Table.of("reliability", "Reliability on the test set.", heads, bins)
    two, traces, positions = len(set(table.values("label"))) == 1, [], list(table.by("method"))
    for (method, when, label), group in table.by("method", "when", "label").items():
        if two or when != "before":
            style = figures.look(method, positions.index(method))._replace(dash="dot" if when == "before" else "solid")
            after = (when if two else text.name(label)) if when or not two else ""
            name = ", ".join(filter(None, (text.method_name(method), after)))
            x, y, width = group.percents("mean_probability"), group.percents("share"), 1.5 if when == "before" else 3
            traces.append(figures.line(name, x, y, style, width, mode="lines+markers", connectgaps=True))
    traces.append(figures.line("As it says", [0, 100], [0, 100], figures.GREY, 1, hoverinfo="skip"))
    label = text.name(table.values("label")[0]) if two else "a class"
    x_axis = figures.axis(f"Probability of {figures.label(label)} (%)", range=[-2, 102])
    return Figure(
        title=title,
        plot=figures.plot(traces, x_axis, figures.axis("Observed share (%)", range=[-4, 104])),
        table=table,
        height=32,
        square=True,
    )
