"""The report's first method: one pretrained EfficientNet per fold, all layers trained on labelled images."""

from job.params import Params
from job.training.fit import Trainer
from job.training.history import Trained
from job.training.task import Task


def labels(params: Params) -> str:
    """All training labels, or the labelled half that Noisy Student also has."""
    return params.efficientnet.labels


def train(task: Task) -> Trained:
    """Train one network on the fold's labelled images."""
    return Trained([Trainer(task, "base", [task.labelled()]).fit(task.fresh_network("base"))])
