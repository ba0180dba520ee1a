"""Noisy Student (Xie et al. 2020, arXiv:1911.04252), as the report describes it or as it was meant.

A teacher learns from the labelled half; then, `iterations` times, the last model predicts the images without labels
(the masked half, or what `split.unlabelled` names), and a new pretrained student learns from those pseudo-labels and
becomes the next teacher. The section `noisy_student` sets what a student learns from: in the report hard pseudo-labels
alone, without augmentation; in the paper soft ones beside the labelled images, all of them augmented.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from job.errors import UserError
from job.inference.predict import predict_logits, probabilities
from job.temperature import fit_temperature, tempered
from job.training.batch import Source
from job.training.fit import Trainer, tune
from job.training.history import PseudoLabels, Trained
from job.training.task import Task


def train(task: Task) -> Trained:
    """Train the teacher and its students."""
    teacher, network = task, task.fresh_network("teacher")
    settings, backbone = task.params.noisy_student, task.params.model.backbone
    student = task.changed(
        "model",
        backbone=backbone if settings.backbone == "same" else settings.backbone,
        dropout=settings.dropout,
        stochastic_depth=settings.stochastic_depth,
    )
    if settings.backbone != "same":
        student.fresh_network("student", 1)  # one that cannot be built shall stop here, and not after the teacher
    models = [Trainer(task, "teacher", [task.labelled()]).fit(network)]
    pseudo_labels: dict[int, PseudoLabels] = {}
    for iteration in range(1, settings.iterations + 1):
        network.load_state_dict(models[-1].state)
        pseudo_labels[iteration], source = label(teacher, network)
        teacher, network = student, student.fresh_network("student", iteration)
        sources, name = [source], f"student-{iteration}"
        if settings.train_on == "labelled+pseudo":
            sources.append(replace(student.labelled(), augment=settings.augment))
        fitted = Trainer(student, name, sources).fit(network)
        # The bias of pseudo-labels is unlearned on true labels.
        models.append(tune(student, network, f"{name}-tuned", fitted, settings.finetune_epochs))
    return Trained(models, pseudo_labels, (backbone, *[student.params.model.backbone] * settings.iterations))


def label(task: Task, teacher: nn.Module) -> tuple[PseudoLabels, Source]:
    """Predict the images without labels, in evaluation mode, and choose what a student learns from."""
    settings, rows = task.params.noisy_student, task.fold.unlabelled
    # Every process gets the same logits: what each decided by itself could differ in the last bit, and so in the steps.
    predict = partial(predict_logits, teacher, task.context)
    logits = task.world.gather(predict, rows)
    calibrated = probabilities(logits)
    if settings.confidence > 0:
        # A threshold on confidence is meaningful for a calibrated teacher only.
        validation = task.world.gather(predict, task.fold.validation.rows).double().numpy()
        temperature = fit_temperature(validation, task.fold.validation.classes)
        calibrated = tempered(logits.double().numpy(), temperature).astype(np.float32)
    kept = select(calibrated, confidence=settings.confidence, balance=settings.balance)
    times = np.bincount(kept, minlength=len(rows))
    together = settings.train_on == "labelled+pseudo"
    source = Source(
        rows[kept],
        targets(logits, labels=settings.labels, temperature=settings.temperature)[kept],
        task.params.train.batch_size * (settings.batch_ratio if together else 1),
        augment=settings.augment,
        weight=settings.loss_weight if together else 1.0,
    )
    return PseudoLabels(rows, probabilities(logits), calibrated.max(1), times), source


def select(probabilities: npt.NDArray[np.floating], *, confidence: float, balance: bool) -> npt.NDArray[np.int64]:
    """Positions of the images that a student learns from, in ascending order; a position may occur more than once.

    Of the teacher's `probabilities`, (N, C), those count whose highest is at least `confidence`; a UserError says that
    there are none. With `balance` equally many images of every predicted class are taken: the most confident ones of a
    common class, and those of a scarce class repeated, as in the source code of Noisy Student. The number of images
    does not change.
    """
    best, predicted = probabilities.max(1), probabilities.argmax(1)
    kept = np.flatnonzero(best >= confidence)
    if len(kept) < 2:  # batch norm needs two images
        raise UserError(
            f"noisy_student.confidence={confidence} leaves {len(kept)} of {len(best)} pseudo-labels, of which the most "
            f"confident has {best.max():.3f}; lower it"
        )
    if not balance:
        return kept
    present = np.unique(predicted[kept])
    parts = []
    for number, part in zip(present, np.array_split(kept, len(present)), strict=True):
        members = kept[predicted[kept] == number]
        ranked = members[np.argsort(-best[members], kind="stable")]
        parts.append(np.resize(ranked, len(part)))
    return np.sort(np.concatenate(parts))


def targets(logits: torch.Tensor, *, labels: str, temperature: float) -> torch.Tensor:
    """Targets of a student: the predicted class (N,) int64 when `hard`, the probabilities (N, C) float32 when `soft`.

    The logits are those of the teacher, (N, C). A temperature below 1 sharpens soft labels, one above 1 flattens them.
    """
    return logits.argmax(1) if labels == "hard" else (logits.double() / temperature).softmax(1).float()
