"""Noisy Student (Xie et al. 2020, arXiv:1911.04252), as the report describes it or as it was meant.

A teacher learns from the labelled half; then, `iterations` times, the last model labels the images without labels (the
masked half, or what `split.unlabelled` names) without noise, and a fresh pretrained student learns from those
pseudo-labels and becomes the next teacher. The section `noisy_student` says what a student learns from: in the report
hard pseudo-labels alone and no noise; in the paper soft ones beside the labelled images, with noise on all of them.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

from job.contracts.split import Fold
from job.errors import UserError
from job.inference.predict import predict_logits, probabilities
from job.methods.task import Task
from job.params import Params, Train
from job.training import optimise
from job.training.fit import fit
from job.training.history import Fitted, PseudoLabels, Trained
from job.training.source import Source

Floats = npt.NDArray[np.float64]

_TEMPERATURES = (0.05, 20.0)


def labels(params: Params) -> str:  # noqa: ARG001 - every method answers the same question
    """The labelled half: the rest of the fold arrives without labels."""
    return "half"


def images(fold: Fold, params: Params) -> int:
    """The teacher on the labelled half, each student on the images without labels and on what goes with them."""
    settings = params.noisy_student
    student = len(fold.unlabelled)
    if settings.train_on == "labelled+pseudo":
        student += -(-len(fold.unlabelled) // settings.batch_ratio)
    tuning = settings.finetune_epochs * len(fold.train.rows)
    return params.train.epochs * (len(fold.train.rows) + settings.iterations * student) + settings.iterations * tuning


def train(task: Task) -> Trained:
    """Train the teacher and its students."""
    teacher, network = task, task.fresh_network("teacher")
    learner = _student(task)
    models = [_fit(task, network, "teacher", [_labelled(task)])]
    pseudo_labels: dict[int, PseudoLabels] = {}
    for iteration in range(1, task.params.noisy_student.iterations + 1):
        network.load_state_dict(models[-1].state)
        pseudo_labels[iteration], source = label(teacher, network)
        teacher, network = learner, learner.fresh_network("student", iteration)
        models.append(_learn(learner, network, f"student-{iteration}", source))
    students = [learner.params.model.backbone] * len(pseudo_labels)
    return Trained(models, pseudo_labels, (task.params.model.backbone, *students))


def label(task: Task, teacher: nn.Module) -> tuple[PseudoLabels, Source]:
    """The teacher's opinion of the images without labels, and what a student learns from of it.

    In evaluation mode: no noise, and each answer beside its own row.

    Raises:
        UserError: no answer is as confident as `noisy_student.confidence`.
    """
    settings, rows = task.params.noisy_student, task.fold.unlabelled
    logits = predict_logits(teacher, task.bench, rows)
    scale = 1.0
    if settings.confidence > 0:
        # A threshold on confidence means what it says only of a calibrated teacher.
        validation = predict_logits(teacher, task.bench, task.fold.validation.rows).double().numpy()
        scale = calibrate(validation, task.fold.validation.classes)
    calibrated = probabilities(logits / scale)
    kept = select(calibrated, confidence=settings.confidence, balance=settings.balance)
    said = PseudoLabels(rows, probabilities(logits), calibrated.max(1), np.bincount(kept, minlength=len(rows)))
    together = settings.train_on == "labelled+pseudo"
    source = Source(
        rows[kept],
        targets(logits, labels=settings.labels, temperature=settings.temperature)[kept],
        task.params.train.batch_size * (settings.batch_ratio if together else 1),
        noise=settings.augment,
        weight=settings.loss_weight if together else 1.0,
    )
    return said, source


def calibrate(logits: Floats, classes: npt.NDArray[np.int64]) -> float:
    """The temperature that makes a network's probabilities fit what it got right: temperature scaling.

    Guo et al. 2017 (arXiv:1706.04599): the least cross-entropy of `softmax(logits / T)` on images that the network did
    not learn from. Bounded, because a network that is right every time would ask for a temperature of nothing.

    Args:
        logits: (N, C).
        classes: (N,) class numbers.
    """

    def loss(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(classes)), classes].mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def select(probabilities: npt.NDArray[np.floating], *, confidence: float, balance: bool) -> npt.NDArray[np.int64]:
    """Positions of the images that a student learns from, in ascending order; a position may be there more than once.

    Args:
        probabilities: of the teacher, (N, C).
        confidence: least probability of the answer; a threshold on two classes means something from 0.7 on.
        balance: as many images of every answered class: the most confident of a common class, those of a scarce class
            repeated, as in the source of Noisy Student. The number of images stays that of the filter.

    Raises:
        UserError: no answer is as confident as that.
    """
    best, answers = probabilities.max(1), probabilities.argmax(1)
    kept = np.flatnonzero(best >= confidence)
    if len(kept) == 0:
        raise UserError(
            f"noisy_student.confidence={confidence}: the most confident pseudo-label has {best.max():.3f}; lower it"
        )
    if not balance:
        return kept
    present = np.unique(answers[kept])
    parts = []
    for number, part in zip(present, np.array_split(kept, len(present)), strict=True):
        members = kept[answers[kept] == number]
        ranked = members[np.argsort(-best[members], kind="stable")]
        parts.append(np.resize(ranked, len(part)))
    return np.sort(np.concatenate(parts))


def targets(logits: torch.Tensor, *, labels: str, temperature: float) -> torch.Tensor:
    """What a student is asked to say: the answer (N,) int64 when `hard`, the probabilities (N, C) when `soft`.

    Args:
        logits: of the teacher, (N, C).
        labels: `hard` or `soft`.
        temperature: of soft labels; below 1 sharpens them, above 1 flattens them.
    """
    return logits.argmax(1) if labels == "hard" else (logits.double() / temperature).softmax(1).float()


def _student(task: Task) -> Task:
    """The same fold for a student: its own network, equal or larger, with its own noise inside."""
    settings, model = task.params.noisy_student, task.params.model
    changes = {
        "backbone": model.backbone if settings.backbone == "same" else settings.backbone,
        "dropout": settings.dropout,
        "stochastic_depth": settings.stochastic_depth,
    }
    return task.with_model(model.model_copy(update=changes))


def _learn(task: Task, network: nn.Module, name: str, source: Source) -> Fitted:
    settings, params = task.params.noisy_student, task.params.train
    sources = [source]
    if settings.train_on == "labelled+pseudo":
        sources.append(replace(_labelled(task), noise=settings.augment))
    fitted = _fit(task, network, name, sources)
    if settings.finetune_epochs == 0:
        return fitted
    # The bias of pseudo-labels is unlearned on true labels, without noise, at the rate of the next decay.
    tuning = optimise.tuning(params, settings.finetune_epochs)
    network.load_state_dict(fitted.state)
    return fitted.then(_fit(task, network, f"{name}-tuned", [replace(_labelled(task), noise="none")], tuning))


def _labelled(task: Task) -> Source:
    return Source.labelled(task.fold.train, len(task.classes), task.params.train)


def _fit(task: Task, network: nn.Module, name: str, sources: list[Source], params: Train | None = None) -> Fitted:
    return fit(
        network,
        task.bench,
        name=name,
        sources=sources,
        validation=task.fold.validation,
        params=params or task.params.train,
        seed=task.seed("fit", name),
        progress=task.progress,
        restart=task.restart,
    )
