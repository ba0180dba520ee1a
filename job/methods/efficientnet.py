"""The report's first method: one pretrained EfficientNet per fold, all layers trained on labelled images."""

from job.training.fit import Trainer
from job.training.history import Trained
from job.training.task import Task


def train(task: Task) -> Trained:
    """Train one network on the fold's labelled images."""
    return Trained([Trainer(task, "base", [task.labelled()]).fit(task.fresh_network("base"))])
