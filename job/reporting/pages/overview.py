"""Overview: the verdict, the models beside the baselines and the published figures, and what was run."""

from __future__ import annotations

from typing import Any

from job.params import Train
from job.reporting import figures, published, text
from job.reporting.figures import Figure
from job.reporting.inputs import Model, ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table, metric_columns
from job.reporting.trace import Trace, traces

OWN = ("accuracy", "sensitivity", "specificity", "ppv", "f1", "balanced_accuracy", "auroc")


def page(inputs: ReportInputs) -> Page:
    """The first page; never left out."""
    return Page(
        slug="index",
        title="Overview",
        facts={
            "verdict": verdict(inputs),
            "collapsed": collapsed(inputs),
            "against_size": against_size(inputs),
            "published_note": published.note(inputs),
        },
        tables={
            "models": models_table(inputs), "run": _what_was_run(inputs),
            **({"intervals": table} if (table := _intervals(inputs)) else {}),
        },
        figures={"comparison": _comparison(inputs)},
    )  # fmt: skip


def verdict(inputs: ReportInputs) -> str:
    """What came out, in one sentence with its numbers."""
    votes = [(method, model) for method in inputs.methods if (model := inputs.majority(method))]
    if not votes:
        return "No ensemble was evaluated, so there is no verdict yet."
    first = votes[0][1]
    kind = "synthetic test images" if inputs.synthetic else "test images"
    clauses = [
        f"{'the majority vote' if i == 0 else 'that'} of {_voters(inputs, method)} {_recalls(inputs, model)}"
        for i, (method, model) in enumerate(votes)
    ]
    sentence = (
        f"On {text.count(first['images'])} {kind} of {text.counted(first['subjects'], 'subject')} "
        f"that no model was trained on, {text.listed(clauses)}"
    )
    area = inputs.area()
    if area is not None:
        sentence += f"; cell size alone reaches {text.percent(area['metrics']['balanced_accuracy'])} balanced accuracy"
    return sentence + "."


def collapsed(inputs: ReportInputs) -> list[str]:
    """One sentence for each ensemble that calls every test image the same class."""
    sentences = []
    for method in inputs.methods:
        vote = inputs.majority(method)
        name = _only_call(inputs, vote) if vote else None
        if name is None:
            continue
        models = inputs.models(kind="fold", method=method)
        alike = sum(_only_call(inputs, model) == name for model in models)
        sentences.append(
            f"The {text.method_name(method)} ensemble calls every test cell {text.name(name)}. {alike} of its "
            f"{text.counted(len(models), 'model')} {'does' if alike == 1 else 'do'} the same. Its calls are those of "
            f"the baseline ‘{text.baseline_name(f'baseline/always_{name}')}’: they tell no cell from another."
        )
    return sentences


def against_size(inputs: ReportInputs) -> list[str]:
    """For each ensemble, in a sentence, whether it is shown to use more than the size of the cells."""
    sentences = []
    area = inputs.area()
    for method in inputs.methods:
        vote = inputs.majority(method)
        if vote is None or area is None:
            continue
        found = inputs.difference(vote["model"], area["model"], "balanced_accuracy")
        low, high = found["low"], found["high"]
        if low is None or high is None:
            verdict = "too few subjects, or too equal ones, for an interval, so nothing is shown"
        else:
            ends = f"95 % interval over subjects {_points(low)} to {_points(high)}"
            verdict = f"{ends}: " + (
                "it uses more than size" if low > 0 else "worse than size alone" if high < 0
                else "this run does not show that it uses more than size"
            )  # fmt: skip
        sentences.append(
            f"{text.method_name(method)} less cell size: {_points(found['difference'])} points of balanced accuracy; "
            f"{verdict}."
        )
    return sentences


def _points(share: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return "an undefined number of" if share is None else text.signed(100 * share)


def _only_call(inputs: ReportInputs, model: Model) -> str | None:
    """The class that a model calls every image, if there is just one."""
    calls = [sum(column) for column in zip(*model["confusion"], strict=True)]
    called = [name for name, count in zip(inputs.classes, calls, strict=True) if count]
    return called[0] if len(called) == 1 else None


def _voters(inputs: ReportInputs, method: str) -> str:
    folds = len(inputs.models(kind="fold", method=method))
    return text.counted(folds, f"{text.method_name(method)} model")


def _recalls(inputs: ReportInputs, model: Model) -> str:
    pairs = list(zip(inputs.classes, model["confusion"], strict=True))
    # The positive class first: what is missed matters more than a false alarm.
    pairs.sort(key=lambda pair: pair[0] != inputs.evaluation["positive"])
    parts = []
    for name, row in pairs:
        recall = row[inputs.classes.index(name)] / sum(row) if sum(row) else None
        parts.append(f"{text.percent(recall)} of the {text.name(name)} cells")
    balanced = text.percent(model["metrics"]["balanced_accuracy"])
    return f"recognises {text.listed(parts)} (balanced accuracy {balanced})"


def models_table(inputs: ReportInputs) -> Table:
    """Table 3: the models of both methods and their votes, then the baselines, beside the published figures."""
    first = inputs.models(kind="baseline") + inputs.models(kind="fold")
    images = f", {text.counted(first[0]['images'], 'test image')}" if first else ""
    columns = [
        Column("model", "Model", "name"),
        *metric_columns(OWN, f"This run: {text.name(inputs.evaluation['name'])}{images}"),
        *metric_columns(published.METRICS, published.heading(inputs), prefix="published_"),
    ]
    blank = [None] * len(published.METRICS)
    rows: list[list[Any]] = []
    marks = []
    for entry in inputs.evaluation["table3"]:
        theirs = published.table3(inputs, entry["method"], entry["kind"])
        rows.append([
            entry["name"], *(entry["metrics"].get(metric) for metric in OWN),
            *(theirs.get(metric) for metric in published.METRICS),
        ])  # fmt: skip
        marks.append("strong" if entry["kind"] == "ensemble" else "")
    for model in inputs.models(kind="baseline"):
        name = text.baseline_name(model["model"])
        rows.append([name, *(model["metrics"].get(metric) for metric in OWN), *blank])
        marks.append("baseline")
    return Table("table-3-models", "Table 3. The models on the test set, with baselines.", columns, rows, marks)


INTERVALS = ("balanced_accuracy", "sensitivity", "specificity", "auroc")


def _intervals(inputs: ReportInputs) -> Table | None:
    """95 % intervals over subjects of the votes and the size baseline; None where there are none."""
    columns = [Column("model", "Model", "name"), Column("subjects", "Subjects", "count")]
    for metric in INTERVALS:
        label, kind, _ = text.METRICS[metric]
        group = f"{label}, %" if kind == "percent" else label
        columns += [Column(metric, "Value", kind, group), Column(f"{metric}_low", "from", kind, group),
                    Column(f"{metric}_high", "to", kind, group)]  # fmt: skip
    shown = [
        (f"{text.method_name(method)}, majority vote", vote)
        for method in inputs.methods
        if (vote := inputs.majority(method))
    ]
    if area := inputs.area():
        shown.append((text.baseline_name(area["model"]), area))
    rows = []
    for name, model in shown:
        row: list[Any] = [name, model["subjects"]]
        for metric in INTERVALS:
            ends = (model.get("intervals") or {}).get(metric, {})
            row += [model["metrics"][metric], ends.get("low"), ends.get("high")]
        rows.append(row)
    known = any(value is not None for row in rows for value in row[3::3])
    return Table("intervals", "95 % intervals over subjects.", columns, rows) if known else None


def _comparison(inputs: ReportInputs) -> Figure:
    metric = "balanced_accuracy"
    names: list[str] = []
    rows: list[list[Any]] = []
    folds: list[tuple[float, float | None]] = []
    votes: list[tuple[float, float | None]] = []
    baselines: list[tuple[float, float | None]] = []
    for method in inputs.methods:
        members = inputs.models(kind="fold", method=method)
        for place, model in zip(figures.spread(len(members)), members, strict=True):
            folds.append((len(names) + place, model["metrics"][metric]))
            rows.append([text.method_name(method), f"fold {model['fold']}", model["metrics"][metric]])
        vote = inputs.majority(method)
        if vote:
            votes.append((len(names) + figures.BELOW, vote["metrics"][metric]))
            rows.append([text.method_name(method), "majority vote", vote["metrics"][metric]])
        names.append(text.method_name(method))
    for model in inputs.models(kind="baseline"):
        baselines.append((len(names), model["metrics"][metric]))
        names.append(text.baseline_name(model["model"]))
        rows.append([names[-1], "baseline", model["metrics"][metric]])
    hover = {"hovertemplate": "%{x:.1f} %<extra>%{fullData.name}</extra>"}
    traces = [
        figures.points(name, figures.percents(x for _, x in found), [y for y, _ in found], position, **hover, **options)
        for name, found, position, options in (
            ("One fold's model", folds, 0, {"marker": {"color": "rgba(0,0,0,0)"}}),
            ("Majority vote of the folds", votes, 2, {"marker": {"size": 9}}),
            ("Baseline", baselines, 1, {}),
        )
        if found
    ]
    reached = [f"{text.percent(row[2])} ({row[0]})" for row in rows if row[1] == "majority vote"]
    area = inputs.area()
    size = f"; cell size alone, {text.percent(area['metrics'][metric])}" if area else ""
    columns = [Column("model", "Model", "name"), Column("what", "Which", "name"), *metric_columns([metric])]
    y = figures.axis(
        "", tickvals=list(range(len(names))), ticktext=[figures.label(n) for n in names],
        range=[len(names) - 0.4, -0.6],
    )  # fmt: skip
    chance = 1 / len(inputs.classes)
    known = [chance, *(row[2] for row in rows if row[2] is not None)]
    x = figures.axis("Balanced accuracy (%)", range=[round(100 * min(known) - 2, 1), round(100 * max(known) + 2, 1)])
    return Figure(
        title=f"Balanced accuracy: the majority vote reaches {text.listed(reached)}{size}"
        if reached
        else "Balanced accuracy: no majority vote was evaluated",
        caption="Balanced accuracy on the test set: the folds above, the vote below. Dotted: chance, "
        f"{100 * chance:.3g} %, whatever the mix of classes. The spread of the folds shows training differences only: "
        "all of them are scored on the same images.",
        spec=figures.spec(traces, x, y, shapes=[figures.vertical(100 * chance)]),
        table=Table("balanced-accuracy", "Balanced accuracy of every model.", columns, rows),
        height="small" if len(names) <= 5 else "medium" if len(names) <= 7 else "large",
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
    if teaching := [_self_training(trace) for trace in traces(inputs)]:
        run["Self-training"] = "; ".join(teaching)
    columns = [Column("setting", "Setting"), Column("run", "This run", "name")]
    columns.append(Column("published", "Published report", "name"))
    return Table("run", "What was run.", columns, [[key, own, published.SETTINGS[key]] for key, own in run.items()])


def _decay(train: Train) -> str:
    if train.schedule != "step":
        return ", down to 0 along a cosine"
    never = ", not reached" if train.lr_step >= train.epochs else ""
    return f" × {train.lr_gamma:g} every {text.counted(train.lr_step, 'epoch')}{never}"


def _self_training(trace: Trace) -> str:
    return f"{text.method_name(trace.method)}, one teacher and {text.counted(len(trace.rounds), 'student')} per fold"
