"""The trace of one method's self-training: its pseudo-labels and its teachers and students, by fold and iteration."""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

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
    def rounds(self) -> list[int]:
        """Iterations that learned from pseudo-labels: the students."""
        return sorted({entry["iteration"] for entry in self.entries})

    @property
    def filtered(self) -> bool:
        """Whether students learned from some pseudo-labels more than from others."""
        return any(entry["balance"]["kept"] != entry["balance"]["labels"] for entry in self.entries)

    def name(self, iteration: int) -> str:
        """A model in prose: 0 is the teacher that real labels trained; an only student has no number."""
        return "Teacher" if iteration == 0 else "Student" if self.rounds == [iteration] else f"Student {iteration}"

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

    def share_positive(self, key: str, iteration: int) -> float | None:
        """Share of the positive class among the labels or truths of an iteration; None where some are unknown.

        Counted over all folds together, because folds differ in images.
        """
        counts = self.counts(key, iteration)
        images: int = sum(entry["images"] for entry in self.entries if entry["iteration"] == iteration)
        if self.positive is None or sum(counts) < images:
            return None
        return counts[self.classes.index(self.positive)] / images

    def change(self, values: Values) -> float | None:
        """The last mean of folds less the first one; None where there are not two."""
        shares = means(values)
        return shares[-1] - shares[0] if len(shares) > 1 else None

    def gains(self) -> dict[int, float]:
        """Balanced accuracy on the test set by fold: the last student's less the teacher's."""
        scores, last = self.scores("balanced_accuracy"), self.rounds[-1]
        return {k: scores[k, last] - scores[k, 0] for k, i in scores if i == 0 and (k, last) in scores}


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
