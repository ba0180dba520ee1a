"""Ensemble: how the folds voted, and how often they were right when they agreed."""

from __future__ import annotations

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
            "models": models_table(inputs),
            "rules": _rules(inputs),
            "votes": _votes_table(counts),
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
    traces = []
    for position, (method, votes) in enumerate(counts.items()):
        traces.append(figures.bars(
            text.method_name(method), [vote for vote, _, _ in votes], figures.percents(r / n for _, n, r in votes),
            position, text=[f"{r}/{n}" for _, n, r in votes], textposition="outside", textangle=0, cliponaxis=False,
            constraintext="none",
            hovertemplate="%{y:.1f} % right, %{text}<extra></extra>",
        ))  # fmt: skip
    method, votes = next(iter(counts.items()))
    shares = [text.percent(right / images) for _, images, right in votes]
    title = f"{text.method_name(method)}: the majority is right for {shares[0]} of the images at {votes[0][0]}"
    if len(votes) > 1:
        title += f", for {shares[-1]} at {votes[-1][0]}"
    y = figures.axis("Majority right (%)", range=[0, 112], tickvals=[0, 25, 50, 75, 100])
    return Figure(
        title=title,
        caption="Share of test images that the majority gets right, by how the folds' votes divide. Above the bars: "
        "images right of all images with that division.",
        spec=figures.spec(traces, figures.axis("Votes for and against the majority", type="category"), y, bargap=0.3),
        table=_votes_table(counts),
    )


def _rules(inputs: ReportInputs) -> Table:
    columns = [Column("method", "Method", "name"), Column("rule", "Rule"), *metric_columns(COMPARED)]
    rows: list[list[Any]] = [
        [
            text.method_name(model["model"].partition("/")[0]),
            text.RULES[model["rule"]],
            *(model["metrics"].get(metric) for metric in COMPARED),
            model["ties"],
        ]
        for model in inputs.models(kind="ensemble")
    ]
    columns.append(Column("ties", "Ties", "count"))
    return Table("vote-rules", "Every rule by which the folds can decide, on the test images.", columns, rows)


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
