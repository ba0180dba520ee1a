"""Curves: what a threshold trades (ROC, precision and recall), and how training went epoch by epoch."""

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from job.reporting import figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.tables import Column, Table, columns

Numbers = npt.NDArray[np.float64]


def explorers(inputs: ReportInputs) -> list[dict[str, Any]]:
    """What the threshold explorers start with: scores by truth, operating points, and the curves' figures at these.

    One of each method that tells cells apart, or of the first three of somebody else's models.
    """
    positive = inputs.evaluation["positive"]
    chosen = {entry["model"]: entry for entry in inputs.evaluation["operating_points"]}
    if inputs.methods:
        models = [(e["method"], model) for model, e in chosen.items() if e["method"] in inputs.telling]
    else:
        models = [(model, model) for _, model, _ in _series(inputs)[:3]] if positive else []
    found = []
    for name, model in models:
        rows = inputs.rows_of(model)
        truth, scores = rows["label"] == positive, rows[f"p_{positive}"].astype(float)
        if truth.all() or not truth.any():
            continue
        half: dict[str, Any] = {"name": "half", "threshold": 0.5}
        points = [
            {"name": text.POINTS[point["name"]], "threshold": at, **_at((scores >= at).to_numpy(), truth.to_numpy())}
            for point in chosen.get(model, {"points": [half]})["points"]
            if (at := point["threshold"]) is not None
        ]
        parts = {part: sorted(scores[mask].tolist()) for part, mask in (("positive", truth), ("negative", ~truth))}
        found.append({"name": text.method_name(name), "slug": inputs.slug(name), "scores": parts, "points": points})
    return found


def _at(alarms: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> dict[str, tuple[float, float | None]]:
    """Where a threshold lies on both curves, in per cent."""
    found = float(100 * alarms[truth].mean())
    precision = float(100 * truth[alarms].mean()) if alarms.any() else None
    return {"auroc": (float(100 * alarms[~truth].mean()), found), "auprc": (found, precision)}


def roc(inputs: ReportInputs) -> dict[str, Figure]:
    """ROC and precision-recall of folds, ensembles and size; nothing with more than two classes."""
    positive = inputs.evaluation["positive"]
    if positive is None:
        return {}
    labels = inputs.rows_of(_series(inputs)[0][1])["label"]
    positives, negatives = int((labels == positive).sum()), int((labels != positive).sum())
    if not positives or not negatives:
        return {}
    share = positives / len(labels)
    hits, alarms, correct = f"{text.name(positive)} cells found (%)", "False alarms (%)", "Alarms that are correct (%)"
    note = f"{text.percent(share)} of these cells are {text.name(positive)}; another share moves the curves."
    return {
        "roc": _figure(inputs, "auroc", (alarms, hits), _grid(negatives, 0), [0, 100], ""),
        "precision-recall": _figure(inputs, "auprc", (hits, correct), _grid(positives, 1), [100 * share] * 2, note),
    }


def _series(inputs: ReportInputs) -> list[tuple[str, str, bool]]:
    """Name, model and whether it is a single fold: size, folds, then ensembles, so that these are on top."""
    area = inputs.area()
    series = [(text.baseline_name(area["model"]), area["model"], False)] if area else []
    if not inputs.methods:  # somebody else's predictions
        return [(m["model"], m["model"], False) for m in inputs.evaluation["models"] if m["role"] == "test"]
    series += [(text.method_name(m["method"]), m["model"], True) for m in inputs.models(kind="fold")]
    means = [m for m in inputs.models(kind="ensemble", rule="mean") if m["method"]]
    return series + [(text.method_name(m["method"]), m["model"], False) for m in reversed(means)]


def _grid(images: int, start: int) -> Numbers:
    """Shares of a class at which a curve is read: every one there is, or hundredths."""
    steps = min(images, 100)
    return np.arange(start, steps + 1) / steps


def _sensitivity(truth: npt.NDArray[np.bool_], scores: Numbers, grid: Numbers) -> Numbers:
    """The largest sensitivity with at most these false-alarm rates."""
    false_alarms, sensitivity, _ = roc_curve(truth, scores, drop_intermediate=False)
    at: Numbers = sensitivity[np.searchsorted(false_alarms, grid + 1e-12, side="right") - 1]
    return at


def _precision(truth: npt.NDArray[np.bool_], scores: Numbers, grid: Numbers) -> Numbers:
    """The precision at the highest threshold that reaches these sensitivities."""
    precision, recall, _ = precision_recall_curve(truth, scores)
    at: Numbers = precision[len(recall) - 1 - np.searchsorted(recall[::-1], grid - 1e-12, side="left")]
    return at


def _figure(
    inputs: ReportInputs, area: str, axes: tuple[str, str], grid: Numbers, guessing: list[float], caption: str
) -> Figure:
    """A curve of every series, read at the places `grid`; `area` is the metric that sums it up."""
    positive, series = inputs.evaluation["positive"], _series(inputs)
    curve, shape = (_sensitivity, "hv") if area == "auroc" else (_precision, "linear")
    metrics = {m["model"]: m["metrics"][area] for m in inputs.evaluation["models"] if m["role"] == "test"}
    heads, values = [Column("at", axes[0], "percent")], [grid.tolist()]
    for name, model, fold in series:
        rows = inputs.rows_of(model)
        truth, scores = (rows["label"] == positive).to_numpy(), rows[f"p_{positive}"].to_numpy(float)
        values.append(curve(truth, scores, grid).tolist())
        heads.append(Column(model, model.rpartition("/")[2] if fold else "mean", "percent", name))
    table = Table(f"curve-{area}", f"{axes[1]} by {axes[0]}.", heads, list(zip(*values, strict=True)))
    traces = [figures.line("Guessing", [0, 100], guessing, figures.GREY, 1, showlegend=False, hoverinfo="skip")]
    for n, (name, model, fold) in enumerate(series):
        style, which = figures.look(name, n), f"{name}, {model.rpartition('/')[2]}" if fold else name
        stroke = {"shape": shape, "dash": "solid" if fold else style.dash}
        x, y = table.percents("at"), table.percents(model)
        drawn = figures.line(which, x, y, style, 1 if fold else 3, "lines", line=stroke)
        traces.append(drawn.update(showlegend=not fold, legendgroup=name))
    for n, explorer in enumerate(explorers(inputs)):
        style, options = figures.look(explorer["name"], n), {"showlegend": False, "legendgroup": explorer["name"]}
        across, up = zip(*(point[area] for point in explorer["points"]), strict=True)
        names = [f"{explorer['name']}: {point['name']}" for point in explorer["points"]]
        rings = figures.points("Operating points", across, up, style, filled=False, text=names, hoverinfo="text")
        # The explorer below moves it, told by `meta`.
        mark = figures.points("Threshold", across[:1], up[:1], style, meta=f"{area}-{explorer['slug']}")
        traces += [rings.update(marker={"symbol": "circle", "size": 13}, **options), mark.update(options)]
    areas = [f"{name} {text.cell(metrics[model], 'ratio')}" for name, model, fold in reversed(series) if not fold]
    return Figure(
        title=f"{text.METRICS[area].label}: {text.listed(areas)}",
        caption=caption,
        plot=figures.plot(traces, *(figures.axis(title, range=[-1, 101]) for title in axes)),
        table=table,
        height=30,
        square=True,
    )


def learning(inputs: ReportInputs, method: str) -> Figure:
    """Loss and accuracy by epoch (Figures 4 and 5), a column for each of the models that self-training trains."""
    heads = [
        *columns("text", fold="Fold", model="Model", epoch="Epoch"),
        *columns("ratio", "Loss", train_loss="Training", validation_loss="Validation"),
        *columns("percent", "Accuracy, %", train_accuracy="Training", validation_accuracy="Validation"),
    ]
    history = inputs.history[inputs.history["method"] == method][[column.key for column in heads]]
    table = Table(f"curves-{text.slug(method)}", "By epoch.", heads, history.to_numpy(dtype=object).tolist())
    models, always = dict(iter(history.groupby("model", sort=False))), _always(inputs, method)
    titles = [str(model).replace("-", " ") for model in models]
    plot = figures.panels("Epoch", "Loss (nats)", "Accuracy (%)", titles if len(titles) > 1 else [""])
    name, seen = text.method_name(method), [0.5, history["epoch"].max() + 0.5]
    looks = {"Training": figures.GREY._replace(dash="dash"), "Validation": figures.look(name)._replace(dash="solid")}
    quantities = (("loss", 1), ("accuracy", 100))
    for (part, style), (row, (quantity, scale)) in product(looks.items(), enumerate(quantities, start=1)):
        key = f"{'train' if part == 'Training' else 'validation'}_{quantity}"
        for column, rows in enumerate(models.values(), start=1):
            for fold, group in [*rows.groupby("fold"), (None, rows)]:
                mean = (scale * group.groupby("epoch")[key].mean()).round(5)
                which, width = (part, 3) if fold is None else (f"{part}, fold {fold}", 1)
                legend = fold is None and row == column == 1
                drawn = figures.line(which, mean.index, mean, style, width, showlegend=legend, legendgroup=part)
                plot.add_trace(drawn, row, column)
    for column in range(1, len(models) + 1):
        guide = figures.line("Always", seen, [100 * always[1]] * 2, figures.GREY, 1, showlegend=False, hoverinfo="skip")
        plot.add_trace(guide, 2, column)
    plot.update_yaxes(autorange=True)  # else Plotly finds no range for axes that match each other both ways
    plot.update_xaxes(range=seen, **({"dtick": 1} if seen[1] * len(models) < 17 else {}))
    means = list(models.values())[-1].groupby("epoch")["validation_accuracy"].mean()
    best, last = means.idxmax(), means.index.max()
    which = f"{name}, {titles[-1]}" if len(models) > 1 else name
    end = "the last" if best == last else f"the last is {last}, at {text.percent(means.iloc[-1])}"
    return Figure(
        title=f"{which}: validation accuracy is highest in epoch {best}, at {text.percent(means.max())} ({end})",
        caption=f"Dotted across: always predicting {text.name(always[0])}, {text.percent(always[1])}.",
        plot=plot,
        table=table,
        height=36,
    )


def _always(inputs: ReportInputs, method: str) -> tuple[str, float]:
    """The largest class of a method's validation images, and its share."""
    model = inputs.models(kind="out_of_fold", method=method, role="validation")[0]
    counts = [sum(row) for row in model["confusion"]]
    return inputs.classes[counts.index(max(counts))], max(counts) / sum(counts)
