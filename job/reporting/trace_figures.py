"""Figures of the trace of self-training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from job.reporting import figures, text
from job.reporting.figures import Figure
from job.reporting.tables import Column, Table
from job.reporting.trace import Trace, Values, means
from job.reporting.trace_tables import table


def of_method(trace: Trace) -> dict[str, Figure]:
    """The figures of one method by name; those without numbers are left out."""
    first, last = trace.rounds[0], trace.rounds[-1]
    made = {
        "trace": _models(trace) if trace.scores("balanced_accuracy") else None,
        "right": _right(trace) if trace.of("right") else None,
        "kept": _kept(trace) if trace.filtered else None,
        "balance": _balance(trace),
        "first": _confidence(trace, first) if first != last else None,
        "last": _confidence(trace, last),
        "agreement": _agreement(trace) if trace.of("agreement") else None,
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def _models(trace: Trace) -> Figure:
    tested, validated = trace.scores("balanced_accuracy"), trace.scores("balanced_accuracy", "validation")
    names = [trace.name(i) for i in sorted({i for _, i in tested})]
    change = 100 * (means(tested)[-1] - means(tested)[0])
    ends = f"from {names[0].lower()} to {names[-1].lower()}"
    verb = "rises" if change > 0 else "falls"
    spec = _by_iteration(trace, tested, "Balanced accuracy (%)")
    if validated:
        shown = [trace.name(i) for i in sorted({i for _, i in validated})]
        # No colour, marker or width of a fold: Fold 2 is dashed too.
        dashed = figures.line("Mean of folds, validation", shown, figures.percents(means(validated)), 1,
                              line={"width": 4, "dash": "dash", "color": figures.MUTED})  # fmt: skip
        dashed["marker"] = {"color": figures.MUTED, "symbol": "x", "size": 9}
        spec["data"].append(dashed)
    columns = [Column("fold", "Fold"), Column("model", "Model"), Column("test", "Test, %", "percent"),
               Column("validation", "Validation, %", "percent")]  # fmt: skip
    rows = [[k, trace.name(i), tested.get((k, i)), validated.get((k, i))] for k, i in sorted({*tested, *validated})]
    return Figure(
        title=f"Balanced accuracy {verb} by {abs(change):.1f} points {ends}"
        if round(abs(change), 1)
        else f"Balanced accuracy does not change {ends}",
        caption="Balanced accuracy on the test set of each fold’s teacher and students; the thick line is the mean of "
        "folds, of which the title speaks. Grey, dashed: the mean on validation images, on which the epoch was chosen.",
        spec=spec,
        table=table(trace, "self-training-trace", "Balanced accuracy by fold and iteration.", columns, rows),
    )


def _right(trace: Trace) -> Figure:
    shares = means(trace.of("right"))
    spec, height = _by_iteration(trace, trace.of("right"), "Pseudo-labels that are right (%)"), "medium"
    if len(shares) > 1:
        title = f"{text.percent(shares[0])} of the first student’s pseudo-labels are right, "
        title += f"{text.percent(shares[-1])} of the last one’s"
    else:
        title, height = f"{text.percent(shares[0])} of the pseudo-labels are right", "small"
        by_fold = {f"Fold {fold}": share for (fold, _), share in trace.of("right").items()}
        bars = figures.bars("Right", list(by_fold), figures.percents(by_fold.values()), 0,
                            hovertemplate="%{x}: %{y:.1f} %<extra></extra>")  # fmt: skip
        spec = figures.spec([bars], figures.axis(""), figures.axis("Pseudo-labels that are right (%)", range=[0, 100]))
    return Figure(
        title=title,
        caption="Share of images with a hidden label whose pseudo-label equals the truth, by the student that learned "
        "from them. The truth was looked up afterwards: it was hidden from the teacher and the students of the fold."
        + (" The thick line is the mean of folds." if len(shares) > 1 else " The title gives the mean of folds."),
        spec=spec,
        height=height,
        table=_values(trace, "pseudo-labels-right", "Share of right pseudo-labels by fold.", trace.of("right")),
    )


def _kept(trace: Trace) -> Figure:
    names = [trace.name(i) for i in trace.rounds]
    series = {
        "Kept": trace.of("kept"),
        "Right, of all": trace.of("right"),
        "Right, of those kept": trace.of("right_kept"),
    }
    bars = [
        figures.bars(name, names, figures.percents(means(values)), n, hovertemplate="%{y:.1f} %<extra>%{x}</extra>")
        for n, (name, values) in enumerate(series.items())
        if values
    ]
    kept, gain = means(series["Kept"])[-1], means(series["Right, of those kept"])
    of_all = means(series["Right, of all"])
    student = "The last student" if len(names) > 1 else "The student"
    title = f"{student} learns from {text.percent(kept)} of the images"
    if gain and of_all:
        title += f"; {text.percent(gain[-1])} of those labels are right, {text.percent(of_all[-1])} of all"
    columns = [
        Column("fold", "Fold"), Column("student", "Labels for"), Column("kept", "Kept, %", "percent"),
        Column("right", "Right, of all, %", "percent"), Column("right_kept", "Right, of kept, %", "percent"),
    ]  # fmt: skip
    rows = [[e["fold"], trace.name(e["iteration"]), e["kept"], e["right"], e["right_kept"]] for e in trace.entries]
    return Figure(
        title=title,
        caption="Mean of folds. Kept: images that an epoch of the student has at least once. A label counts as often "
        "as an epoch has its image.",
        spec=figures.spec(bars, figures.axis("Labels for"), figures.axis("Share (%)", range=[0, 100]), barmode="group"),
        table=table(trace, "pseudo-labels-kept", "What the filter kept, by fold.", columns, rows),
        height="small",
    )


def _balance(trace: Trace) -> Figure:
    """Share of each class in the truth and in what each student was told, all folds together."""
    truth, last = trace.counts("truth", trace.rounds[0]), trace.rounds[-1]
    groups = {"Truth": truth} if truth else {}
    groups |= {f"Labels for {_lower(trace.name(i))}": trace.counts("labels", i) for i in trace.rounds}
    if trace.filtered:
        groups |= {f"Kept for {_lower(trace.name(i))}": trace.counts("kept", i) for i in trace.rounds}
    shares = {name: [count / sum(counts) for count in counts] for name, counts in groups.items() if sum(counts)}
    bars = [
        figures.bars(text.name(label), list(shares), figures.percents(row[c] for row in shares.values()), c,
                     hovertemplate="%{x}: %{y:.1f} %<extra>%{fullData.name}</extra>")
        for c, label in enumerate(trace.classes)
    ]  # fmt: skip
    told = shares[f"Labels for {_lower(trace.name(last))}"]
    before = shares.get("Truth", shares[next(iter(shares))])
    c = max(range(len(told)), key=lambda n: abs(told[n] - before[n]))
    title = f"{text.name(trace.classes[c])}: {text.percent(told[c])} of the labels for {_lower(trace.name(last))}"
    if truth:
        # Some images may never have had a label.
        every = sum(truth) == sum(trace.counts("labels", last))
        of = "the same images in truth" if every else "those images whose truth is known"
        title += f", {text.percent(before[c])} of {of}"
    columns = [Column("labels", "Of"), Column("class", "Class", "name"), Column("count", "Labels", "count"),
               Column("share", "Share, %", "percent")]  # fmt: skip
    rows = [
        [group, label, groups[group][n], shares[group][n]] for group in shares for n, label in enumerate(trace.classes)
    ]
    return Figure(
        title=title,
        caption="Share of each class, all folds together."
        + (" Truth: labels that were hidden from the fold." if truth else ""),
        spec=figures.spec(bars, figures.axis(""), figures.axis("Share (%)", range=[0, 100]), barmode="group"),
        table=table(trace, "pseudo-labels-balance", "Pseudo-labels by class.", columns, rows),
        height="small",
    )


def _confidence(trace: Trace, iteration: int) -> Figure:
    """Labels by confidence, right and wrong apart."""
    edges = trace.entries[0]["confidence"]["edges"]
    names = [f"{100 * a:.0f}–{100 * b:.0f}" for a, b in pairwise(edges)]
    found = {key: trace.bins(key, iteration) for key in ("right", "wrong", "unknown")}
    words = {"right": "Right", "wrong": "Wrong", "unknown": "Truth unknown"}
    bars = [
        figures.bars(words[key], names, counts, {"right": 0, "wrong": 1, "unknown": 4}[key],
                     hovertemplate="%{x} %: %{y} labels<extra>%{fullData.name}</extra>")
        for key, counts in found.items()
        if any(counts)
    ]  # fmt: skip
    top = max(n for n in range(len(names)) if any(counts[n] for counts in found.values()))
    # One height for both charts: they stand side by side.
    highest = max(sum(n) for i in trace.rounds for n in zip(*(trace.bins(key, i) for key in words), strict=True))
    y = figures.axis("Pseudo-labels", range=[0, round(1.05 * highest, 1)])
    right, wrong, unknown = (found[key][top] for key in ("right", "wrong", "unknown"))
    student, bin_name = _lower(trace.name(iteration)), f"{names[top].replace('–', ' to ')}{text.PERCENT}"
    if right + wrong:
        title = f"Of the surest labels for {student} ({bin_name}), {text.percent(wrong / (right + wrong))} are wrong"
    else:
        every = sum(map(sum, found.values()))
        title = f"{text.percent(unknown / every)} of the labels for {student} are {bin_name} sure"
    columns = [Column("fold", "Fold"), Column("confidence", "Confidence, %"),
               *(Column(key, words[key], "count") for key in words)]  # fmt: skip
    rows = [
        [e["fold"], name, *(e["confidence"][key][n] for key in words)]
        for e in trace.entries
        if e["iteration"] == iteration
        for n, name in enumerate(names)
    ]
    caption = (
        "How sure the teacher was of its labels, all folds together. A label on an edge counts with the bin above it."
    )
    return Figure(
        title=title,
        caption=caption if len(trace.rounds) == 1 else f"Labels for {student}. {caption}",
        spec=figures.spec(bars, figures.axis("Confidence (%)"), y, barmode="stack"),
        table=table(trace, f"pseudo-labels-confidence-{iteration}", "Labels by confidence and fold.", columns, rows),
        height="small",
    )


def _agreement(trace: Trace) -> Figure:
    values = trace.of("agreement")
    return Figure(
        title=f"{text.percent(means(values)[-1])} of the last labels are those of the round before" + _one_class(trace),
        caption="Share of images that two teachers in a row call alike. The thick line is the mean of folds.",
        spec=_by_iteration(trace, values, "Same label as before (%)"),
        table=_values(trace, "pseudo-labels-agreement", "Agreement with the round before.", values),
        height="small",
    )


def _one_class(trace: Trace) -> str:
    """The folds whose last labels cannot differ from those before, because all of both say one class."""
    *_, before, last = trace.rounds
    folds: dict[str, list[str]] = {}
    for fold in trace.folds:
        told = {e["iteration"]: e["balance"]["labels"] for e in trace.entries if e["fold"] == fold}
        said = {trace.classes[n] for i in (before, last) for n, count in enumerate(told.get(i, [])) if count}
        if len(said) == 1 and trace.of("agreement").get((fold, last)) == 1:
            folds.setdefault(said.pop(), []).append(str(fold))
    parts = [
        f"fold{'s' * (len(own) > 1)} {text.listed(own)}: {text.percent(1)}, as every label is {text.name(label)}"
        for label, own in folds.items()
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def gains(found: Sequence[Trace]) -> Figure | None:
    """What self-training gave, method by method; None where no metric is defined."""
    shown = [(text.method_name(trace.method), trace.gains()) for trace in found if trace.gains()]
    if not shown:
        return None
    values = [[100 * gain for gain in own.values()] for _, own in shown]
    dots = [
        figures.points(f"{name}, folds", own, [n] * len(own), n, marker={"color": "rgba(0,0,0,0)"},
                       hovertemplate="%{x:.1f} points<extra></extra>")
        for n, ((name, _), own) in enumerate(zip(shown, values, strict=True))
    ]  # fmt: skip
    filled = {"color": figures.INK, "line": {"color": figures.INK, "width": 2}, "size": 13}
    dots.append(figures.points("Mean of folds", [fmean(own) for own in values], list(range(len(shown))), 2,
                               marker=filled, hovertemplate="%{x:.1f} points<extra></extra>"))  # fmt: skip
    y = figures.axis("", tickvals=list(range(len(shown))), ticktext=[figures.label(name) for name, _ in shown],
                     range=[len(shown) - 0.5, -0.5])  # fmt: skip
    ends = [f"{text.signed(fmean(own))} ({name})"
            for (name, _), own in zip(shown, values, strict=True)]  # fmt: skip
    columns = [Column("method", "Method", "name"), Column("fold", "Fold"), Column("gain", "Gain, points", "percent")]
    rows = [[name, fold, gain] for name, own in shown for fold, gain in own.items()]
    return Figure(
        title=f"Last student against teacher, in points of balanced accuracy: {text.listed(ends)}",
        caption="One open marker per fold, the filled one is their mean. Above zero the last student is better than "
        "the teacher of its fold on the test set. Folds share the test images, so they are not independent.",
        spec=figures.spec(dots, figures.axis("Gain in balanced accuracy (points)"), y, shapes=[figures.vertical(0)]),
        table=Table("self-training-gains", "Gain over the teacher by method and fold.", columns, rows),
        height="small",
    )


def _lower(name: str) -> str:
    return "the student" if name == "Student" else name.lower()


def _by_iteration(trace: Trace, values: Values, unit: str) -> dict[str, Any]:
    iterations = sorted({iteration for _, iteration in values})
    names = [trace.name(iteration) for iteration in iterations]
    lines = []
    for position, fold in enumerate(sorted({fold for fold, _ in values})):
        ys = figures.percents(values.get((fold, i)) for i in iterations)
        dash = figures.DASHES[1 + position % 5]
        line = figures.line(f"Fold {fold}", names, ys, position, line={"width": 1.5, "dash": dash}, opacity=0.8)
        lines.append(line)
    bold = figures.line("Mean of folds", names, figures.percents(means(values)), 0,
                        line={"width": 4, "color": figures.INK})  # fmt: skip
    bold["marker"] = {"color": figures.INK, "symbol": "circle", "size": 9}
    return figures.spec([*lines, bold], figures.axis(""), figures.axis(unit))


def _values(trace: Trace, file: str, caption: str, values: Values) -> Table:
    columns = [Column("fold", "Fold"), Column("model", "Model"), Column("share", "Share, %", "percent")]
    rows = [[fold, trace.name(iteration), value] for (fold, iteration), value in values.items()]
    return table(trace, file, caption, columns, rows)
