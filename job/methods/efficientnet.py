"""The report's first method: one pretrained EfficientNet per fold, all layers trained on labelled images."""

from job.methods.task import Task
from job.params import Params
from job.training.history import Trained


def labels(params: Params) -> str:
    """All training labels, or the labelled half that Noisy Student also has."""
    return params.efficientnet.labels


def train(task: Task) -> Trained:
    """Train one network on the fold's labelled images."""
    return Trained([task.fit(task.fresh_network("base"), "base", [task.labelled()])])
