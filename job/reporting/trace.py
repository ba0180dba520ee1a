"""The trace of one method's self-training: its pseudo-labels and its teachers and students, by fold and iteration."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from job.reporting import text
from job.reporting.inputs import Model, ReportInputs

Values = dict[tuple[int, int], float]
"""A figure by fold and iteration."""


@dataclass(frozen=True)
class Trace:
    """`entries` are those of `self_training` in `evaluation.json`, `models` those of kind iteration."""

    method: str
    classes: list[str]
    positive: str | None
    entries: list[dict[str, Any]]
    models: list[Model]

    @property
    def folds(self) -> list[int]:
        """Folds that were traced."""
        return sorted({entry["fold"] for entry in self.entries})

    @property
    def rounds(self) -> list[int]:
        """Iterations that learned from pseudo-labels: the students."""
        return sorted({entry["iteration"] for entry in self.entries})

    @property
    def filtered(self) -> bool:
        """Whether students learned from some pseudo-labels more than from others."""
        return any(entry["balance"]["kept"] != entry["balance"]["labels"] for entry in self.entries)

    def name(self, iteration: int) -> str:
        """A model in prose: an only student has no number."""
        return "Student" if self.rounds == [iteration] else text.iteration_name(iteration)

    def of(self, key: str) -> Values:
        """One share of the pseudo-labels, where it is known."""
        return {(e["fold"], e["iteration"]): e[key] for e in self.entries if e[key] is not None}

    def scores(self, metric: str, role: str = "test") -> Values:
        """One metric of teachers and students, where it is defined."""
        return {
            (model["fold"], model["iteration"]): value
            for model in self.models
            if model["role"] == role and (value := model["metrics"][metric]) is not None
        }

    def counts(self, key: str, iteration: int) -> list[int]:
        """Pseudo-labels (or truths) by class, all folds together; a key of `balance`."""
        counts = [e["balance"][key] for e in self.entries if e["iteration"] == iteration and e["balance"][key]]
        return [sum(column) for column in zip(*counts, strict=True)]

    def gains(self) -> dict[int, float]:
        """Balanced accuracy on the test set by fold: the last student's less the teacher's."""
        scores, last = self.scores("balanced_accuracy"), self.rounds[-1]
        return {k: scores[k, last] - scores[k, 0] for k in self.folds if {(k, 0), (k, last)} <= set(scores)}


def traces(inputs: ReportInputs) -> list[Trace]:
    """One for every method that trained itself, in the order of the methods."""
    every = []
    for method in inputs.methods:
        entries = [entry for entry in inputs.evaluation["self_training"] if entry["method"] == method]
        models = [m for m in inputs.evaluation["models"] if m["kind"] == "iteration" and m["method"] == method]
        if entries:
            every.append(Trace(method, inputs.classes, inputs.evaluation["positive"], entries, models))
    return every


def means(values: Values) -> list[float]:
    """Mean of folds by iteration, in order."""
    return [fmean(v for (_, i), v in values.items() if i == k) for k in sorted({i for _, i in values})]


def explanation(trace: Trace) -> list[str]:
    """What the numbers say about confirmation bias."""
    correct, balanced = means(trace.of("correct")), means(trace.scores("balanced_accuracy"))
    sentences = [] if trace.filtered else ["No pseudo-label was left out or used more than once an epoch."]
    if trace.positive is not None:
        sentences.append(_share_positive(trace))
    if len(correct) > 1 and len(balanced) > 1:
        sentences.append(_reading(correct[-1] - correct[0], balanced[-1] - balanced[0]))
    return sentences


def _reading(labels: float, accuracy: float) -> str:
    if labels < 0 and accuracy < 0:
        return (
            "Fewer labels are correct at the end, and the last students are worse than their teachers. That is what "
            "confirmation bias looks like; the numbers show both happening together, and do not show the cause."
        )
    if labels >= 0 and accuracy >= 0:
        return "Neither got worse over the rounds: these numbers show no confirmation bias."
    return "One got worse and the other did not: these numbers do not decide whether there was confirmation bias."


def _share_positive(trace: Trace) -> str:
    """Counted over all folds together, because folds differ in images."""
    position, label = trace.classes.index(str(trace.positive)), text.name(str(trace.positive))
    counts = [trace.counts("labels", iteration) for iteration in trace.rounds]
    shares = text.listed([text.percent(count[position] / sum(count)) for count in counts])
    which = f", student {trace.rounds[0]} to {trace.rounds[-1]}" if len(counts) > 1 else ""
    return f"Share of {label} among the labels{which}, all folds together: {shares}{_truth(trace, label)}."


def _truth(trace: Trace, label: str) -> str:
    """How many of the images are positive in truth, where every one of them has a truth."""
    first = [entry for entry in trace.entries if entry["iteration"] == trace.rounds[0]]
    counts = trace.counts("truth", trace.rounds[0])
    if not counts or sum(counts) < sum(entry["images"] for entry in first):
        return ""
    share = counts[trace.classes.index(str(trace.positive))] / sum(counts)
    return f"; in truth {text.percent(share)} of these images are {label}"
