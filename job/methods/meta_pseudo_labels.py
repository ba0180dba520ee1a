"""Meta Pseudo Labels (Pham et al. 2021, arXiv:2003.10580): a teacher that learns from how its student does.

Teacher and student train side by side. In every step the teacher draws pseudo-labels for noisy masked images, the
student takes one step on them, and the change of the student's loss on labelled images tells the teacher whether those
labels were good. Besides, the teacher learns from the labelled images, and to say of a noisy image what it says of the
plain one. At the end the student is tuned on the labelled images.

The teacher minimises the student's loss on labelled images after the student's step,

    R(T) = E[ L(S') ],   S' = the student after a step on (images, labels),   labels ~ T(images).

The labels are drawn, so the derivative is that of a likelihood ratio. A constant may be subtracted from L(S') without
changing it, and the student's loss before the step is one that does not depend on the labels:

    dR/dT = E[ (L(S') - L(S)) d log p(labels) ] = E[ (L(S) - L(S')) dCE(T(images), labels) ].

So the teacher's loss is *feedback x cross-entropy of its own labels, summed over the batch*, with
feedback = loss before - loss after: labels that helped become likelier. This is exact for any step of the student; the
dot product of gradients in the paper (derived in its appendix A) is the first order of the same difference. A test
compares it with exact differentiation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from job.contracts.split import Fold
from job.errors import StoppedError, UserError
from job.inference.predict import predict_logits, probabilities
from job.inference.runtime import noise_state, seeded, set_noise_state
from job.methods.task import Task
from job.params import Params
from job.seeds import derive
from job.training import optimise
from job.training.fit import finish_epoch, fit
from job.training.history import Fitted, PseudoLabels, Trained
from job.training.source import Source, Step, steps
from job.training.state import TrainState

_STATE = "pair"


def labels(params: Params) -> str:  # noqa: ARG001 - every method answers the same question
    """The labelled half: the rest of the fold arrives without labels."""
    return "half"


def images(fold: Fold, params: Params) -> int:
    """The student on the masked half, then on the labelled half. The teacher sees the same batches."""
    tuning = params.meta_pseudo_labels.finetune_epochs * len(fold.train.rows)
    return params.train.epochs * len(fold.unlabelled) + tuning


def train(task: Task) -> Trained:
    """Train teacher and student, and tune the student.

    Raises:
        UserError: `train.devices` is more than 1.
    """
    if task.bench.world.size > 1:
        raise UserError("meta_pseudo_labels trains a fold on one device: set train.devices=1, and use GPUs by folds")
    pair = _Pair.start(task)
    if saved := task.restart.load(_STATE):
        pair.restore(saved)
        done = (
            len(pair.student.history) * len(task.fold.unlabelled)
            + len(pair.student.losses) * pair.unlabelled.batch_size
        )
        task.progress.resumed("student", len(pair.student.history), done)
    params = task.params.train
    try:
        while pair.student.epoch <= params.epochs and not pair.student.stalled(params.patience):
            _one_epoch(task, pair)
            if task.restart.due():
                task.restart.save(_STATE, pair.capture())
    except StoppedError:
        task.restart.save(_STATE, pair.capture())
        raise
    task.restart.save(_STATE, pair.capture())
    teacher, student = pair.teacher.fitted(), pair.student.fitted()
    return Trained([teacher, _tuned(task, pair, student)], {1: _last_word(task, pair.teacher.evaluated, teacher)})


@dataclass
class _Pair:
    """Teacher and student under way, and what they learn from. An epoch ends with the student's validation."""

    teacher: TrainState
    student: TrainState
    labelled: Source
    unlabelled: Source

    @classmethod
    def start(cls, task: Task) -> "_Pair":
        params = task.params.train
        teacher, student = (
            TrainState.start(task.fresh_network(name), task.bench, params) for name in ("teacher", "student")
        )
        labelled = Source.labelled(task.fold.train, len(task.classes), params).to(task.bench.device)
        nothing = torch.zeros(len(task.fold.unlabelled), dtype=torch.int64)
        masked = Source(task.fold.unlabelled, nothing, params.batch_size, noise=task.params.meta_pseudo_labels.augment)
        return cls(teacher, student, labelled, masked)

    def capture(self) -> dict[str, Any]:
        return {"teacher": self.teacher.capture(), "student": self.student.capture()}

    def restore(self, saved: dict[str, Any]) -> None:
        self.teacher.restore(saved["teacher"])
        self.student.restore(saved["student"])


def _one_epoch(task: Task, pair: _Pair) -> None:
    """One pass over the masked images, or what is left of it, and the validation of both."""
    epoch, params, bench = pair.student.epoch, task.params.train, task.bench
    seed = task.seed("pair")
    plan = steps([pair.unlabelled, pair.labelled], epoch, seed)
    rates = [course.set_rate(params) for course in (pair.teacher, pair.student)]
    with seeded(derive(seed, "noise", epoch), bench.device):
        if pair.student.noise:
            set_noise_state(pair.student.noise, bench.device)
        try:
            for number, step in enumerate(plan[len(pair.student.losses) :], start=len(pair.student.losses)):
                _step(task, pair, step, derive(seed, "step", epoch, number))
                task.progress.images(len(step[0]))
                if task.restart.due():
                    pair.student.noise = noise_state(bench.device)
                    task.restart.save(_STATE, pair.capture())
        finally:
            pair.student.noise = noise_state(bench.device)
    every_row = np.concatenate([pair.labelled.rows, pair.unlabelled.rows])
    halves = (("teacher", pair.teacher, 1, pair.labelled), ("student", pair.student, 0, pair.unlabelled))
    for (name, course, position, source), rate in zip(halves, rates, strict=True):
        # The teacher may have ended this epoch before the process was stopped.
        if course.epoch == epoch:
            seen = [source.rows[step[position]] for step in plan]
            ended = finish_epoch(course, bench, name, rate, seen, every_row, task.fold.validation, params, seed)
            task.progress.epoch(ended)


def _step(task: Task, pair: _Pair, step: Step, seed: int) -> None:
    """The student learns from the teacher's labels, and the teacher from what became of the student."""
    bench, settings, magnitude = task.bench, task.params.meta_pseudo_labels, task.params.train.magnitude
    masked, known = pair.unlabelled.rows[step[0]], pair.labelled.rows[step[1]]
    truth = pair.labelled.targets[torch.from_numpy(step[1]).to(bench.device)]
    plain = bench.images(masked)
    noisy = bench.images(masked, pair.unlabelled.noise, magnitude, derive(seed, "masked"))
    labelled = bench.images(known, pair.labelled.noise, magnitude, derive(seed, "labelled"))

    teacher, student = pair.teacher.network.train(), pair.student.network.train()
    with bench.autocast():
        logits = teacher(torch.cat([labelled, plain, noisy])).float()
    on_labelled, on_plain, on_noisy = logits.split([len(labelled), len(plain), len(noisy)])
    drawn = draw(on_noisy, torch.Generator().manual_seed(derive(seed, "draw")))

    before = _quiet_loss(student, labelled, truth)
    with bench.autocast():
        answers = student(noisy).float()
    pair.student.learn(functional.cross_entropy(answers, drawn), (answers.argmax(1) == drawn).sum())
    feedback = before - _quiet_loss(student, labelled, truth)

    ramp = min(1.0, pair.teacher.epoch / settings.ramp_epochs)
    supervised = functional.cross_entropy(
        on_labelled, truth, weight=pair.labelled.class_weights, label_smoothing=pair.labelled.smoothing
    )
    consistency = consistency_loss(on_plain, on_noisy, confidence=settings.confidence)
    loss = supervised + ramp * settings.consistency * consistency + teacher_loss(on_noisy, drawn, feedback)
    pair.teacher.learn(loss, (on_labelled.argmax(1) == truth).sum())


def draw(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One class for every image, drawn from the teacher's probabilities: (N, C) to (N,) int64 on the same device.

    Args:
        logits: of the teacher.
        generator: on the CPU, so that every device draws alike.
    """
    return torch.multinomial(logits.detach().cpu().softmax(1), 1, generator=generator).squeeze(1).to(logits.device)


def teacher_loss(logits: torch.Tensor, drawn: torch.Tensor, feedback: torch.Tensor) -> torch.Tensor:
    """The loss whose gradient is an unbiased estimate of dR/dT: scalar.

    Args:
        logits: of the teacher for the images that the student stepped on, (N, C).
        drawn: the classes that were drawn for them, (N,).
        feedback: the student's loss on labelled images before its step minus that after it.
    """
    return feedback.detach() * functional.cross_entropy(logits, drawn, reduction="sum")


@contextmanager
def quiet(network: nn.Module) -> Iterator[None]:
    """Without dropout and stochastic depth, with the statistics of the batch, and leaving no trace in batch norm.

    Two losses whose difference counts must not differ by the draws of dropout; and after few steps the running
    statistics of batch norm describe another network than the one that is training.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    tracked = [norm.track_running_stats for norm in norms]
    training = network.training
    network.eval()
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, value in zip(norms, tracked, strict=True):
            norm.track_running_stats = value
        network.train(training)


def consistency_loss(weak: torch.Tensor, strong: torch.Tensor, *, confidence: float) -> torch.Tensor:
    """What the teacher says of a noisy image should be what it says of the plain one: mean cross-entropy, scalar.

    The unsupervised term of UDA (Xie et al. 2019, arXiv:1904.12848): soft labels from the plain view, no gradient
    through them, and only images of which the teacher is sure; the others count as 0 in the mean.

    Args:
        weak: logits for the plain images, (N, C).
        strong: logits for their noisy versions, (N, C).
        confidence: least probability of the answer to a plain image.
    """
    target = weak.detach().softmax(1)
    sure = (target.amax(1) >= confidence).to(strong.dtype)
    return (functional.cross_entropy(strong, target, reduction="none") * sure).mean()


def _quiet_loss(network: nn.Module, batch: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    # In full precision whatever the bench's: the difference of two such losses is small.
    with torch.no_grad(), quiet(network):
        return functional.cross_entropy(network(batch), truth)


def _tuned(task: Task, pair: _Pair, student: Fitted) -> Fitted:
    """The student after some epochs on the labelled images alone, without noise, at the rate of the next decay."""
    params, settings = task.params.train, task.params.meta_pseudo_labels
    if settings.finetune_epochs == 0:
        return student
    network = pair.student.evaluated
    network.load_state_dict(student.state)
    tuned = fit(
        network,
        task.bench,
        name="student-tuned",
        sources=[replace(pair.labelled, noise="none")],
        validation=task.fold.validation,
        params=optimise.tuning(params, settings.finetune_epochs),
        seed=task.seed("fit", "student-tuned"),
        progress=task.progress,
        restart=task.restart,
    )
    return student.then(tuned)


def _last_word(task: Task, network: nn.Module, teacher: Fitted) -> PseudoLabels:
    """What the teacher says in the end: the labels change with every step, these are where they led."""
    network.load_state_dict(teacher.state)
    said = probabilities(predict_logits(network, task.bench, task.fold.unlabelled))
    return PseudoLabels(task.fold.unlabelled, said, said.max(1), np.ones(len(said), dtype=np.int64))
