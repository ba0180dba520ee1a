"""Performance: ROC and precision-recall, folds and their votes, declared comparisons, patients, learning curves."""

from typing import Any

from job.reporting import figures, published, text
from job.reporting.figures import Figure, Page
from job.reporting.inputs import ReportInputs
from job.reporting.pages import curves, patients
from job.reporting.tables import Column, Table, columns, interval_columns, metric_columns
from job.reporting.trace import traces

_FOLDS = ("accuracy", "sensitivity", "specificity", "ppv", "f1", "balanced_accuracy")
_RULES = ("balanced_accuracy", "sensitivity", "specificity", "auroc", "auprc", "brier")


def page(inputs: ReportInputs) -> Page:
    """How well the models do; never left out."""
    tables = {**patients.tables(inputs), **differences(inputs)}
    if inputs.telling:
        tables["rules"] = _rules(inputs)
    # A linear probe has one epoch, and no curve.
    epochs = inputs.history.groupby("method")["epoch"].max()
    learned = [method for method in inputs.methods if epochs.get(method, 0) > 1]
    drawn = {"folds": _folds_figure(inputs), **curves.roc(inputs), **patients.strips(inputs)}
    drawn |= {f"curves-{text.slug(method)}": curves.learning(inputs, method) for method in learned}
    facts = {
        "inputs": inputs,
        "curves": {f"curves-{text.slug(method)}": method for method in learned},
        "students": [trace.method for trace in traces(inputs)],
        "explorers": curves.explorers(inputs),
    }
    return Page(slug="performance", title="Performance", facts=facts, tables=tables, figures=drawn)


def folds_table(inputs: ReportInputs) -> Table:
    """Metrics on the test set of each fold, mean, variance (squared percentage points) and vote."""
    folds = {f"fold_{fold}": f"Fold {fold}" for fold in inputs.evaluation["folds"]}
    heads = [
        *columns("name", method="Method", metric="Metric, %"),
        *columns("percent", "This run", **folds, mean="Mean"),
        *columns("points", "This run", variance="Variance, pp²"),
        *columns("percent", "This run", vote="Vote"),
        *columns("percent", published.HEADING, published_mean="Mean"),
        *columns("points", published.HEADING, published_variance="Variance, pp²"),
    ]
    rows: list[list[Any]] = []
    for method, metrics in inputs.evaluation["table2"].items():
        vote = inputs.majority(method)
        for metric in [name for name in _FOLDS if name in metrics]:
            ours = metrics[metric]
            ends = [
                ours["mean"],
                ours["variance"],
                vote["metrics"].get(metric),
                *published.mean_and_variance(method, metric),
            ]
            rows.append([text.method_name(method), text.METRICS[metric].label, *ours["folds"], *ends])
    return Table("folds", "Each fold’s model and their vote on the test set.", heads, rows)


def _folds_figure(inputs: ReportInputs) -> Figure:
    """A row per metric, and in it for each method its folds above their vote."""
    table = folds_table(inputs)
    shown = [column for column in table.columns if column.key.startswith("fold_") or column.key == "vote"]
    names, methods = list(table.by("metric")), table.by("method")
    traces, spreads = [], []
    for method, group in methods.items():
        for n, column in enumerate(shown):
            filled = column.key == "vote"
            x, y = group.percents(column.key), [names.index(name) for name in group.values("metric")]
            series = f"{method}, {'vote' if filled else 'folds'}"
            dots = figures.points(series, x, y, figures.look(method), filled=filled, text=[column.label] * len(y))
            place = {"offsetgroup": f"{method} {column.key}", "orientation": "h", "hoverinfo": "x+text+name"}
            traces.append(dots.update(legendgroup=series, showlegend=filled or n == 0, **place))
        for metric, rows in group.by("metric").items():
            values = [v for column in shown[:-1] if (v := rows.values(column.key)[0]) is not None]
            name = metric if metric in {"PPV", "F1"} else metric.lower()
            spreads.append((max(values, default=0) - min(values, default=0), f"{name} of {method}"))
    widest, where = max(spreads)
    drawn = [value for trace in traces for value in trace.x if value is not None]
    seen = [min(drawn, default=0) - 2, max(drawn, default=100) + 2]
    axes = figures.axis("Value on the test set (%)", range=seen), figures.rows_axis(names)
    return Figure(
        title=f"The folds differ by up to {100 * widest:.1f} points ({where})",
        plot=figures.plot(traces, *axes, scattermode="group", scattergap=0.2),
        table=table,
        height=8 + 1.7 * len(names) * len(methods),
        opened=True,
    )


def _rules(inputs: ReportInputs) -> Table:
    """The votes by rule on the test images, and the folds together on their validation images."""
    heads = columns("method", method="Voters") + columns("name", rule="Rule")
    heads += metric_columns(_RULES, prefix="metrics.") + columns("count", ties="Ties")
    heads += interval_columns("ratio", f"AUROC per {inputs.unit}, 95 % interval", "by_subject.auroc")
    rows = [
        model | {"method": model["method"] or "across", "rule": text.RULES[model["rule"] or model["kind"]]}
        for model in inputs.models(kind="ensemble") + inputs.models(kind="out_of_fold", role="validation")
        if model["method"] in (None, *inputs.telling)
    ]
    return Table.of("vote-rules", "Rules of the vote on the test set, and validation images out of fold.", heads, rows)


def difference_columns(unit: str) -> list[Column]:
    """What is told of a paired difference of two models, in which a `unit` counts once."""
    return [
        *columns("percent", "Points, with 95 % interval", difference="Difference", low="from", high="to"),
        *columns("p", p="p", p_holm="p, Holm"),
        *columns("count", f"{unit.capitalize()}s", positive="Better in", negative="worse in", subjects="of"),
    ]


def differences(inputs: ReportInputs) -> dict[str, Table]:
    """The declared comparisons; nothing without any."""
    heads = [*columns("name", model="Model", other="minus", metric=f"Per {inputs.unit}")]
    heads += difference_columns(inputs.unit)
    rows = [
        row | {key: text.model_name(row[key]) for key in ("model", "other")}
        | {"metric": text.METRICS[row["metric"]].label}
        for row in inputs.comparisons
    ]  # fmt: skip
    table = Table.of("differences", f"Declared comparisons, every {inputs.unit} counting once.", heads, rows)
    return {"differences": table} if rows else {}
