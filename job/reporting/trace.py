"""The trace of one method's self-training: its pseudo-labels and its teachers and students, by iteration."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from job.reporting.inputs import Model, ReportInputs


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

    def labels(self, key: str) -> list[float]:
        """A share of the pseudo-labels by iteration: the mean of the folds that know it."""
        return _means((entry["iteration"], entry[key]) for entry in self.entries)

    def scores(self, metric: str) -> list[float]:
        """A metric of teacher and students on the test images: the mean of the folds that define it."""
        return _means((m["iteration"], m["metrics"][metric]) for m in self.models if m["role"] == "test")


def traces(inputs: ReportInputs) -> list[Trace]:
    """One for every method that trained itself, in the order of the methods."""
    every = []
    for method in inputs.methods:
        entries = [entry for entry in inputs.evaluation["self_training"] if entry["method"] == method]
        models = [m for m in inputs.evaluation["models"] if m["kind"] == "iteration" and m["method"] == method]
        if entries:
            every.append(Trace(method, inputs.classes, inputs.evaluation["positive"], entries, models))
    return every


def _means(values: Iterable[tuple[int, float | None]]) -> list[float]:
    known = pd.DataFrame(values, columns=["iteration", "value"]).dropna()
    return [float(mean) for mean in known.groupby("iteration")["value"].mean()]
