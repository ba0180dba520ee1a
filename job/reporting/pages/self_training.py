"""Self-training: the student against three others, then teachers, students and pseudo-labels, method by method."""

from collections.abc import Iterator
from itertools import product
from statistics import fmean
from typing import Any

from job.reporting import figures, text
from job.reporting.figures import Figure, Page
from job.reporting.inputs import ReportInputs
from job.reporting.pages.performance import difference_columns
from job.reporting.tables import Table, columns
from job.reporting.trace import Trace, traces

_UNLABELLED = {
    "masked_half": "the rest, whose labels are masked",
    "pool": "images that never had a label",
    "both": "the rest, whose labels are masked, and images that never had one",
}
_ROLES = {"test": "Test", "validation": "Validation", "masked": "Masked"}


def page(inputs: ReportInputs) -> Page | None:
    """Left out when no method trained itself."""
    trained = traces(inputs)
    if not trained:
        return None
    drawn = {"gain": _gain(inputs, trained)}
    drawn |= {f"{text.slug(trace.method)}-turns": _turns(trace) for trace in trained}
    answers = inputs.verdicts(
        "{}/folds",
        "{}/teachers",
        "Yes: the students of {} are better than their teachers",
        "No: the students of {} are worse than their teachers",
        "Not shown that the students of {} differ from their teachers",
    )
    facts = {
        "answers": answers,
        "traces": {text.slug(trace.method): trace for trace in trained},
        "params": inputs.params,
        "unlabelled": _UNLABELLED[inputs.params.split.unlabelled],
    }
    return Page(slug="self-training", title="Self-training", facts=facts, figures=drawn)


def _gain(inputs: ReportInputs, trained: list[Trace]) -> Figure:
    """The declared differences of every student in balanced accuracy per patient; those that are missing, in words."""
    heads = [*columns("method", method="Student"), *columns("text", other="minus")]
    heads += difference_columns(inputs.unit)
    heads += columns("text", note="Compared")
    rows = [
        {**(row or {}), "method": trace.method, "other": other, "note": note}
        for trace in trained
        for other, note, row in _others(inputs, trace.method)
    ]
    table = Table.of("self-training-gain", f"Last students against others, per {inputs.unit}.", heads, rows)
    others, dots, findings = list(table.by("other")), [], []
    for n, (method, group) in enumerate(table.by("method").items()):
        rows_of = [row + 0.2 * (n - (len(trained) - 1) / 2) for row in range(len(others))]
        name, ends = text.method_name(method), [group.percents(key) for key in ("difference", "low", "high")]
        dots.append(figures.intervals(name, ends, rows_of, figures.look(method)))
        known = zip(group.values("other"), group.values("difference"), strict=True)
        found = [f"{text.points(share)} points against {other.lower()}" for other, share in known if share is not None]
        findings += [f"{name}: {text.listed(found)}"] if found else []
    unknown = [n for n, group in enumerate(table.by("other").values()) if set(group.values("difference")) == {None}]
    words = {"x": 0.5, "xref": "paper", "text": "not compared", "showarrow": False}
    return Figure(
        title="; ".join(findings) or "No student was compared",
        plot=figures.plot(
            dots,
            figures.axis("Difference (points)"),
            figures.rows_axis(others),
            shapes=[figures.vertical(0)],
            annotations=[{"y": n, **words, "bgcolor": figures.SURFACE} for n in unknown],
            showlegend=len(trained) > 1,
        ),
        table=table,
        height=8 + 3 * len(others),
        opened=True,
    )


def _others(inputs: ReportInputs, method: str) -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """What a student is held against: its name, what is compared or why nothing is, and the comparison or None."""

    def compared(ours: str, other: str) -> dict[str, Any] | None:
        if rows := inputs.compared(ours, other):
            return rows[0]
        if not (rows := inputs.compared(other, ours)):
            return None
        # Votes are declared in the order of the methods: here the other one comes second.
        found = rows[0]
        turned = {"low": found["high"], "high": found["low"], "difference": found["difference"]}
        turned = {key: None if value is None else -value for key, value in turned.items()}
        return {**found, **turned, "positive": found["negative"], "negative": found["positive"]}

    means = "means of the folds"
    yield "Its teacher", means, compared(f"{method}/folds", f"{method}/teachers")
    labels = inputs.params.efficientnet.labels if "efficientnet" in inputs.methods else ""
    absent = f"not in this run: {f'EfficientNet had {labels} labels' if labels else 'EfficientNet was not trained'}"
    same, every = "Same labels alone", "All labels"
    yield same, *((means, compared(f"{method}/folds", "efficientnet/folds")) if labels == "half" else (absent, None))
    votes = ("votes of the folds", compared(f"{method}/majority", "efficientnet/majority"))
    yield every, *(votes if labels == "all" else (absent, None))


def _turns(trace: Trace) -> Figure:
    """Balanced accuracy from teacher to last student, above the pseudo-labels that each student learned from."""
    classes = [trace.positive] if trace.positive is not None else trace.classes
    shares = {f"shares.{trace.classes.index(label)}": f"{text.name(label)}, %" for label in classes}
    truths = {f"truths.{trace.classes.index(label)}": f"{text.name(label)} in truth, %" for label in classes}
    heads = columns("name", fold="Fold", model="Model") + columns("percent", "Balanced accuracy, %", **_ROLES)
    group = "Pseudo-labels that it learned from"
    heads += columns("count", group, images="Images")
    heads += columns("percent", group, correct="Correct, %", kept="Kept, %", correct_kept="Correct, of kept, %")
    heads += columns("percent", group, **shares, **truths, **{"confidence.mean": "Mean confidence, %"})
    heads += columns("percent", group, agreement="Same as before, %")
    scores = {(m["fold"], m["iteration"], m["role"]): m["metrics"]["balanced_accuracy"] for m in trace.models}
    labels = {(entry["fold"], entry["iteration"]): entry for entry in trace.entries}
    rows = []
    for fold, turn in product(sorted({fold for fold, _ in labels}), (0, *trace.rounds)):
        entry = labels.get((fold, turn), {})
        own = {"shares": _shares(entry, "labels"), "truths": _shares(entry, "truth")}
        reached = {role: scores.get((fold, turn, role)) for role in _ROLES}
        rows.append({**entry, **reached, **own, "fold": fold, "model": trace.name(turn)})
    file = f"self-training-{text.slug(trace.method)}"
    table = Table.of(file, "Teachers, students and pseudo-labels of every fold.", heads, rows)
    style, plot = figures.look(trace.method), figures.panels("", "Balanced accuracy (%)", "Share of the labels (%)")
    above = _by_model(table, "test", style, "Test")
    above += _by_model(table, "validation", figures.GREY, "Validation", folds=False)
    below = _by_model(table, "correct", style, "Labels: correct")
    if trace.filtered:
        below += _by_model(table, "kept", figures.GREY, "Labels: kept", folds=False)
    if trace.positive is not None:
        ink = figures.Look(figures.INK, "diamond", "dot")
        below += _by_model(table, next(iter(shares)), ink, f"Labels: {text.name(trace.positive)}", folds=False)
    for row, lines in enumerate((above, below), start=1):
        plot.add_traces(lines, row, 1)
    return Figure(title=f"{_change(trace)}{_correct(trace)}", plot=plot, table=table, height=34)


def _shares(entry: dict[str, Any], key: str) -> list[float] | None:
    """Shares of the classes among the labels or truths of one fold; None where some are unknown."""
    counts = entry["balance"][key] if entry else None
    return [n / entry["images"] for n in counts] if counts and sum(counts) == entry["images"] else None


def _change(trace: Trace) -> str:
    """Where the last students end, in words; nothing where the metric is undefined."""
    scores = trace.scores("balanced_accuracy")
    if not scores:
        return ""
    change = 100 * (scores[-1] - scores[0])
    where = f"{abs(change):.1f} points {'above' if change > 0 else 'below'}" if round(abs(change), 1) else "level with"
    return f"{trace.name(trace.rounds[-1])} ends {where} the teacher, per cell. "


def _correct(trace: Trace) -> str:
    """How many of the labels of each round were correct, in words."""
    correct = [text.percent(share) for share in trace.labels("correct")]
    of = f"{len(trace.rounds)} rounds of pseudo-labels" if len(correct) > 1 else "the pseudo-labels"
    return f"Correct among {of}: {text.listed(correct)}" if correct else "Nobody knows how many labels are correct"


def _by_model(table: Table, key: str, style: figures.Look, name: str, *, folds: bool = True) -> list[Any]:
    """Lines from teacher to last student: thin for folds, thick for their mean."""
    known = {model: [v for v in rows.values(key) if v is not None] for model, rows in table.by("model").items()}
    means = {model: 100 * fmean(values) for model, values in known.items() if values}
    lines = [
        figures.line(f"Fold {fold}", rows.values("model"), rows.percents(key), style, 1, showlegend=False)
        for fold, rows in (table.by("fold").items() if folds and means else ())
    ]
    bold = figures.line(name, list(means), list(means.values()), style, mode="lines+markers")
    return [*lines, bold] if means else []
