"""The report's first method: one pretrained EfficientNet per fold, all layers trained on labelled images."""

from job.contracts.split import Fold
from job.methods.task import Task
from job.params import Params
from job.training.fit import fit
from job.training.history import Trained
from job.training.source import Source


def labels(params: Params) -> str:
    """All training labels, or the labelled half that Noisy Student also has."""
    return params.efficientnet.labels


def images(fold: Fold, params: Params) -> int:
    """Every image with a label, in every epoch."""
    return params.train.epochs * len(fold.train.rows)


def train(task: Task) -> Trained:
    """Train one network on the fold's labelled images."""
    fitted = fit(
        task.fresh_network("base"),
        task.bench,
        name="base",
        sources=[Source.labelled(task.fold.train, len(task.classes), task.params.train)],
        validation=task.fold.validation,
        params=task.params.train,
        seed=task.seed("fit", "base"),
        progress=task.progress,
        restart=task.restart,
    )
    return Trained([fitted])
