"""Ensemble: how the folds voted, and how often they were right when they agreed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from job.reporting import figures, text
from job.reporting.figures import Figure
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.pages.overview import models_table
from job.reporting.tables import Column, Table, metric_columns

COMPARED = ("accuracy", "sensitivity", "specificity", "ppv", "f1", "balanced_accuracy", "auroc", "brier")


def page(inputs: ReportInputs) -> Page | None:
    """Left out when no method has a majority vote."""
    voting = [method for method in inputs.methods if inputs.majority(method)]
    if not voting:
        return None
    counts = {method: _agreement(inputs, method) for method in voting}
    ties = [
        (text.method_name(method), model["ties"], _voters(inputs, method))
        for method in voting
        if (model := inputs.majority(method))
    ]
    return Page(
        slug="ensemble",
        title="Ensemble",
        facts={"ties": ties},
        tables={
            # Another name, as the whole report holds both.
            "models": replace(models_table(inputs), caption="Table 3 again: the vote beside its members."),
            "rules": _rules(inputs),
            "corrections": _corrections(inputs),
        },
        figures={"votes": _votes_figure(counts)},
    )


def _voters(inputs: ReportInputs, method: str) -> int:
    return len(inputs.models(kind="fold", method=method))


def _agreement(inputs: ReportInputs, method: str) -> list[tuple[str, int, int]]:
    """Vote by vote count: (`4:1` or `4 of 5`, test images, images the majority gets right), unanimous first."""
    voters = _voters(inputs, method)
    table = inputs.predictions
    rows = table[(table["model"] == f"{method}/majority") & (table["role"] == "test")]
    # A majority row's p_ columns are shares of votes.
    winning = (rows[[f"p_{name}" for name in inputs.classes]].max(axis=1) * voters).round().astype(int)
    right = rows["predicted"] == rows["label"]
    two = len(inputs.classes) == 2
    return [
        (f"{n}:{voters - n}" if two else f"{n} of {voters}", int((winning == n).sum()), int(right[winning == n].sum()))
        for n in range(voters, 0, -1)
        if (winning == n).any()
    ]


def _votes_table(counts: dict[str, list[tuple[str, int, int]]]) -> Table:
    columns = [
        Column("method", "Method", "name"), Column("votes", "Votes"), Column("images", "Test images", "count"),
        Column("share", "Share of images, %", "percent"), Column("right", "Majority right", "count"),
        Column("share_right", "Majority right, %", "percent"),
    ]  # fmt: skip
    rows = []
    for method, votes in counts.items():
        total = sum(images for _, images, _ in votes)
        rows += [[text.method_name(method), vote, n, n / total, right, right / n] for vote, n, right in votes]
    return Table("votes", "How the folds voted on the test images.", columns, rows)


def _votes_figure(counts: dict[str, list[tuple[str, int, int]]]) -> Figure:
    # Every method has every division, so that unanimous ones come first whoever lacks one.
    names = sorted({vote for votes in counts.values() for vote, _, _ in votes}, key=_winning, reverse=True)
    traces = []
    for position, (method, own) in enumerate(counts.items()):
        by_name = {vote: (right, images) for vote, images, right in own}
        found = [by_name.get(name) for name in names]
        traces.append(figures.bars(
            text.method_name(method), figures.percents(pair and pair[0] / pair[1] for pair in found), names,
            position, orientation="h", text=["{}/{}".format(*pair) if pair else "" for pair in found],
            textposition="outside", textangle=0, cliponaxis=False, constraintext="none",
            hovertemplate="%{x:.1f} % right, %{text}<extra></extra>",
        ))  # fmt: skip
    method, votes = next(iter(counts.items()))
    (vote, images, right), *others = votes
    title = (
        f"{text.method_name(method)}: right on {text.count(right)} of {text.counted(images, 'image')} at {_votes(vote)}"
    )
    if others:
        vote, images, right = others[-1]
        title += f", on {text.count(right)} of {text.count(images)} at {_votes(vote)}"
    # Beside the longest bar there is room for its counts on a phone.
    x = figures.axis("Majority right (%)", range=[0, 130], tickvals=[0, 25, 50, 75, 100])
    y = figures.axis("Votes for and against the majority", type="category", autorange="reversed",
                     gridcolor=figures.SURFACE)  # fmt: skip
    return Figure(
        title=title,
        caption="Share of test images that the majority gets right, by how the folds' votes divide. Beside the bars: "
        "images right of all images with that division.",
        spec=figures.spec(traces, x, y, bargap=0.3),
        table=_votes_table(counts),
        height="medium" if len(names) * len(counts) <= 8 else "large" if len(names) * len(counts) <= 14 else "tall",
    )


def _winning(vote: str) -> int:
    """Votes for the winner in `4:1` or `4 of 5`."""
    return int(vote.replace(":", " ").split()[0])


def _votes(vote: str) -> str:
    return vote if ":" in vote else f"{vote} votes"


def _rules(inputs: ReportInputs) -> Table:
    columns = [Column("method", "Voters", "name"), Column("rule", "Rule"), *metric_columns(COMPARED)]
    rows: list[list[Any]] = []
    marks = []
    for model in inputs.models(kind="ensemble"):
        method = model["model"].rsplit("/", 1)[0]
        name = text.method_name(method)
        rule = text.RULES.get(model["rule"], model["rule"])
        marks.append("repeat" if rows and rows[-1][0] == name else "first")
        rows.append([name, rule, *(model["metrics"].get(metric) for metric in COMPARED), model["ties"]])
    columns.append(Column("ties", "Ties", "count"))
    return Table("vote-rules", "The rules of the vote side by side.", columns, rows, marks)


def _corrections(inputs: ReportInputs) -> Table:
    """What the vote mends and spoils of each of its members' calls."""
    columns = [
        Column("method", "Method", "name"), Column("member", "Member"), Column("right", "Right", "count"),
        Column("corrected", "Wrong, and corrected by the vote", "count"),
        Column("spoiled", "Right, and outvoted", "count"), Column("both_wrong", "Wrong, as is the vote", "count"),
    ]  # fmt: skip
    frame = inputs.predictions[inputs.predictions["role"] == "test"]
    rows: list[list[Any]] = []
    for method in inputs.methods:
        right = {
            model: own.set_index("image")["predicted"].eq(own.set_index("image")["label"])
            for model, own in frame[frame["method"] == method].groupby("model", sort=False)
        }
        vote = right.get(f"{method}/majority")
        if vote is None:
            continue
        for model in inputs.models(kind="fold", method=method):
            own = right[model["model"]].reindex(vote.index)
            counts = [own.sum(), (~own & vote).sum(), (own & ~vote).sum(), (~own & ~vote).sum()]
            rows.append([text.method_name(method), f"Fold {model['fold']}", *map(int, counts)])
    return Table("corrections", "Who corrects whom, in test images.", columns, rows)
