"""The published figures that `evaluation.json` carries, as shares, for setting beside this run's."""

from __future__ import annotations

from typing import Any

from job.reporting.inputs import ReportInputs

SETTINGS = {
    "Data": "C-NMC 2019",
    "Images": "12,528 of 450 × 450 pixels, whole",
    "Methods": "EfficientNet and Noisy Student",
    "Folds": "1, 2, 3, 4 and 5 of 5, stratified by class, divided by image",
    "Network": "efficientnet-b0, ImageNet weights, dropout 0.5",
    "Training": "50 epochs per model, SGD, batch 15",
    "Learning rate": "0.001 × 0.1 every 7 epochs",
    "Batch norm": "running averages",
    "Self-training": "Noisy Student, one teacher and 3 students per fold",
}
"""What the published report ran, in the words of the overview's table."""

METRICS = ("accuracy", "sensitivity", "specificity", "ppv", "f1")
HEADING = "Published: C-NMC 2019"


def heading(inputs: ReportInputs) -> str:
    """Column heading that keeps the published figures apart from this run's."""
    images = sum(inputs.evaluation["published"]["test_images"].values())
    return f"{HEADING}, {images:,} test images: another test set"


def table1(inputs: ReportInputs, role: str, label: str | None) -> dict[str, int]:
    """Published `patients` and `images` of one role and class; empty where none were."""
    rows = inputs.evaluation["published"]["table1"]
    counts: dict[str, int] = next((row for row in rows if row["role"] == role and row["label"] == label), {})
    return counts


def table2(inputs: ReportInputs, method: str, metric: str) -> dict[str, float]:
    """Published mean (a share) and variance (of the share) over folds; empty where none were."""
    row: dict[str, Any] = inputs.evaluation["published"]["table2"].get(method, {}).get(metric, {})
    return {"mean": row["mean"] / 100, "variance": row["variance"] / 10_000} if row else {}


def table3(inputs: ReportInputs, method: str, kind: str) -> dict[str, float]:
    """Published metrics (shares) of one row of Table 3; empty where none were."""
    for row in inputs.evaluation["published"]["table3"]:
        if row["method"] == method and row["kind"] == kind:
            return {metric: value / 100 for metric, value in row["metrics"].items()}
    return {}
