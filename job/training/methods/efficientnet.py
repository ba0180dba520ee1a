"""The report's first method: one pretrained EfficientNet per fold, all layers trained on labelled images."""

import torch

from job.params import Params
from job.training.fit import fit
from job.training.fold import Fold
from job.training.task import Task, Trained


def labels(params: Params) -> str:
    """All training labels, or the labelled half that Noisy Student also has."""
    return params.efficientnet.labels


def sizes(fold: Fold, params: Params) -> list[int]:  # noqa: ARG001 - every method answers the same question
    """One model, on every image with a label."""
    return [len(fold.train.rows)]


def train(task: Task) -> Trained:
    """Train one network on the fold's labelled images."""
    fitted = fit(
        task.fresh_network("base"),
        task.bench,
        name="base",
        rows=task.fold.train.rows,
        targets=torch.from_numpy(task.fold.train.classes),
        validation=task.fold.validation,
        params=task.params.train,
        seed=task.seed("fit", "base"),
        progress=task.progress,
        restart=task.restart,
    )
    return Trained([fitted])
