"""Noisy Student as the report describes it (after Xie et al. 2020, arXiv:1911.04252).

A teacher learns from the labelled half; then, `iterations` times, the last model labels the masked half and a fresh
pretrained student learns from those pseudo-labels alone and becomes the next teacher.
"""

import torch
from torch import nn

from job.params import Params
from job.training.batches import Rows
from job.training.fit import Fitted, fit
from job.training.fold import Fold
from job.training.inference import predict_logits, probabilities
from job.training.task import PseudoLabels, Task, Trained


def labels(params: Params) -> str:  # noqa: ARG001 - every method answers the same question
    """The labelled half: the rest of the fold arrives without labels."""
    return "half"


def sizes(fold: Fold, params: Params) -> list[int]:
    """The teacher on the labelled half, each student on the masked half."""
    return [len(fold.train.rows)] + params.noisy_student.iterations * [len(fold.masked)]


def train(task: Task) -> Trained:
    """Train the teacher and its students."""
    network = task.fresh_network("teacher")
    targets = torch.from_numpy(task.fold.train.classes)
    models = [_fit(task, network, "teacher", task.fold.train.rows, targets)]
    pseudo_labels: dict[int, PseudoLabels] = {}
    for iteration in range(1, task.params.noisy_student.iterations + 1):
        network.load_state_dict(models[-1].state)
        pseudo = label(task, network)
        pseudo_labels[iteration] = pseudo
        network = task.fresh_network("student", iteration)
        models.append(_fit(task, network, f"student-{iteration}", pseudo.rows, _targets(task, pseudo)))
    return Trained(models, pseudo_labels)


def label(task: Task, teacher: nn.Module) -> PseudoLabels:
    """The teacher's opinion of the masked images, in evaluation mode: no noise, and each answer beside its own row."""
    return PseudoLabels(task.fold.masked, probabilities(predict_logits(teacher, task.bench, task.fold.masked)))


def _targets(task: Task, pseudo: PseudoLabels) -> torch.Tensor:
    soft = torch.from_numpy(pseudo.probabilities)
    return soft if task.params.noisy_student.labels == "soft" else soft.argmax(1)


def _fit(task: Task, network: nn.Module, name: str, rows: Rows, targets: torch.Tensor) -> Fitted:
    return fit(
        network,
        task.bench,
        name=name,
        rows=rows,
        targets=targets,
        validation=task.fold.validation,
        params=task.params.train,
        seed=task.seed("fit", name),
        progress=task.progress,
        restart=task.restart,
    )
