"""Overview: what this is, how good it is and whether to trust it; all models; what was run."""

from collections.abc import Sequence
from typing import Any

from job.params import Train
from job.reporting import figures, published, text
from job.reporting.figures import Figure, Page
from job.reporting.inputs import Model, ReportInputs, per_patient
from job.reporting.tables import Table, columns, interval_columns, metric_columns
from job.reporting.trace import traces

SHOWN = ("accuracy", "sensitivity", "specificity", "ppv", "f1", "balanced_accuracy", "auroc")


def page(inputs: ReportInputs) -> Page:
    """The first page; never left out."""
    models = [(text.method_name(method), inputs.majority(method)) for method in inputs.methods]
    intervals = intervals_table(inputs, [*models, (text.baseline_name("baseline/area"), inputs.area())])
    return Page(
        slug="index",
        title="Overview",
        facts={
            "inputs": inputs,
            "tested": inputs.models(kind="fold")[0],
            "results": [
                result(
                    inputs, text.method_name(method), inputs.majority(method), inputs.models(kind="fold", method=method)
                )
                for method in inputs.methods
            ],
            "against_size": inputs.verdicts(
                "{}/majority",
                "baseline/area",
                "{} uses more than cell size",
                "{} is worse than cell size alone",
                "Not shown that {} uses more than cell size",
            )
            if inputs.sizes_known
            else [(False, "Cells are not compared with their size: most pictures have no black around them.")],
            "published": published.TEST_IMAGES,
        },
        tables={"models": models_table(inputs), "run": _what_was_run(inputs)},
        figures={"forest": forest(inputs, intervals)},
    )


def result(inputs: ReportInputs, name: str, vote: Model, models: Sequence[Model] = ()) -> dict[str, Any]:
    """The headline of a vote of `models`, or of one model.

    Balanced accuracy, per patient where there is an interval and otherwise per cell; cells recognised by class; and the
    one class that it predicts, if so.
    """
    only = inputs.outcome(vote)
    recalls = [
        {"label": name, "correct": row[n], "of": sum(row), "share": row[n] / sum(row) if sum(row) else None}
        for n, (name, row) in enumerate(zip(inputs.classes, vote["confusion"], strict=True))
    ]
    # The positive class first: what is missed matters more than a false alarm.
    recalls.sort(key=lambda recall: recall["label"] != inputs.evaluation["positive"])
    value, *ends = per_patient(vote, "balanced_accuracy")
    per_cell = vote["metrics"]["balanced_accuracy"]
    return {
        "name": name,
        "share": per_cell if None in ends else value,
        "interval": [] if None in ends else ends,
        "per_cell": per_cell,
        "models": len(models),
        "alike": sum(inputs.outcome(model) == only for model in models),
        "recalls": recalls,
        "missed": sorted(_missed(inputs, vote["model"]), key=lambda row: row["label"] != inputs.evaluation["positive"]),
        "only": None if only is None else inputs.classes[only],
    }


def _missed(inputs: ReportInputs, model: str) -> list[dict[str, Any]]:
    """By class the test patients with more wrong cells than right ones; nothing where no patient is known."""
    judged = [e["subjects"] for e in inputs.evaluation["patients"] if (e["model"], e["role"]) == (model, "test")]
    found = []
    for n, name in enumerate(inputs.classes):
        of = [row for rows in judged for row in rows if row["truth"][n]]
        found.append({"label": name, "wrong": sum(row["accuracy"] < 0.5 for row in of), "of": len(of)})
    return found if all(row["of"] for row in found) else []


def models_table(inputs: ReportInputs) -> Table:
    """The models of all methods and their votes, then the baselines, beside the published figures."""
    images = text.counted(inputs.models(kind="fold")[0]["images"], "test image")
    theirs = f"{published.HEADING}, {sum(published.TEST_IMAGES.values()):,} test images: another test set"
    heads = columns("name", model="Model")
    heads += metric_columns(SHOWN, f"This run: {text.name(inputs.evaluation['name'])}, {images}")
    heads += metric_columns(published.METRICS, theirs, prefix="published_")
    rows: list[list[Any]] = []
    marks = []
    for entry in inputs.evaluation["table3"]:
        metrics = [entry["metrics"].get(metric) for metric in SHOWN]
        rows.append([entry["name"], *metrics, *published.rates(entry["method"], entry["kind"])])
        marks.append("strong" if entry["kind"] == "ensemble" else "")
    for model in inputs.models(kind="baseline"):
        metrics = [model["metrics"].get(metric) for metric in SHOWN]
        rows.append([text.baseline_name(model["model"]), *metrics, *[None] * len(published.METRICS)])
        marks.append("baseline")
    return Table("models", "The models on the test set, with baselines.", heads, rows, marks)


def intervals_table(inputs: ReportInputs, models: Sequence[tuple[str, Model | None]]) -> Table:
    """Figures per patient with 95 % intervals, of models by their names; without those that are None."""
    rates = ["sensitivity", "specificity"] if inputs.evaluation["positive"] is not None else []
    metrics = ["balanced_accuracy", *rates, "auroc"]
    heads = columns("name", name="Model") + columns("count", subjects=f"{inputs.unit.capitalize()}s")
    for column in metric_columns(metrics):
        heads += interval_columns(column.kind, column.label, f"by_subject.{column.key}")
    rows = [{**model, "name": name} for name, model in models if model]
    return Table.of("per-patient", f"Figures per {inputs.unit} with 95 % intervals.", heads, rows)


def forest(inputs: ReportInputs, table: Table) -> Figure:
    """Balanced accuracy per patient of each row of the table, with its interval."""
    names, shares = table.values("name"), table.values("by_subject.balanced_accuracy.value")
    ends = [table.percents(f"by_subject.balanced_accuracy.{end}") for end in ("value", "low", "high")]
    dots = [
        figures.intervals(name, [[end[n]] for end in ends], [n], figures.look(name, n)) for n, name in enumerate(names)
    ]
    chance = 100 / len(inputs.classes)
    x = figures.axis("Balanced accuracy (%)", range=[0, 102])
    reached = [f"{name} {text.percent(share)}" for name, share in zip(names, shares, strict=True)]
    return Figure(
        title=f"Balanced accuracy per {inputs.unit}: {text.listed(reached)}",
        caption=f"Dotted: guessing, {chance:.3g} %.",
        plot=figures.plot(dots, x, figures.rows_axis(names), shapes=[figures.vertical(chance)], showlegend=False),
        table=table,
        height=8 + 3 * len(names),
    )


def _what_was_run(inputs: ReportInputs) -> Table:
    """The settings of this run beside those of the published report."""
    params, prepared = inputs.params, inputs.prepared
    model, train = params.model, params.train
    folds = text.listed([str(fold) for fold in inputs.evaluation["folds"]])
    crop = f"from a crop of {params.data.crop}" if params.data.crop else "whole"
    run = {
        "Data": text.name(inputs.evaluation["name"]),
        "Images": f"{text.count(prepared['images'])} of {prepared['size']} × {prepared['size']} pixels, {crop}",
        "Methods": text.listed([text.method_name(method) for method in inputs.methods]),
        "Folds": f"{folds} of {params.split.folds}, stratified by class, divided by {params.split.fold_by}",
        "Network": f"{model.backbone}, {text.weights_name(model.weights)}, dropout {model.dropout:g}",
        "Training": f"{text.counted(train.epochs, 'epoch')} per model, {text.OPTIMISERS[train.optimiser]}, "
        f"batch {train.batch_size}",
        "Learning rate": f"{train.learning_rate:g}{_decay(train)}",
        "Batch norm": {"running": "running averages", "recomputed": "recomputed after training"}[train.batch_norm],
    }
    students = {text.method_name(t.method): text.counted(len(t.rounds), "student") for t in traces(inputs)}
    if students:
        run["Self-training"] = "; ".join(f"{m}, one teacher and {number} per fold" for m, number in students.items())
    heads = columns("name", setting="Setting", run="This run", published="Published report")
    return Table("run", "What was run.", heads, [[key, ours, published.SETTINGS[key]] for key, ours in run.items()])


def _decay(train: Train) -> str:
    if train.schedule != "step":
        return ", down to 0 along a cosine"
    never = ", not reached" if train.lr_step >= train.epochs else ""
    return f" × {train.lr_gamma:g} every {text.counted(train.lr_step, 'epoch')}{never}"
