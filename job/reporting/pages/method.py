"""Method and limits: what was done, in words; how the metrics are defined; what the figures cannot say."""

from __future__ import annotations

from job.reporting import text
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page


def page(inputs: ReportInputs) -> Page:
    """Never left out."""
    area = inputs.area()
    return Page(
        slug="method",
        title="Method & limits",
        facts={
            "params": inputs.params,
            "metrics": text.METRICS.values(),
            "positive": inputs.evaluation["positive"],
            "example": inputs.evaluation["positive"] if len(inputs.classes) == 2 else inputs.classes[-1],
            "classes": inputs.classes,
            "voters": max((len(inputs.models(kind="fold", method=m)) for m in inputs.methods), default=0),
            "self_training": bool(inputs.evaluation["self_training"]),
            "area_auroc": area["metrics"]["auroc"] if area else None,
            "fold_by": inputs.params.split.fold_by,
        },
    )
