"""One network learning from one set of images: epochs of SGD, and the checkpoint that validates best."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from job.errors import StoppedError, UserError
from job.params import Train
from job.seeds import derive, generator
from job.training.batches import Rows, in_batches
from job.training.bench import Bench
from job.training.fold import Labelled
from job.training.inference import evaluate, predict_logits, recompute_batch_norm
from job.training.restart import Restart
from job.training.runtime import noise_state, seeded, set_noise_state

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Epoch:
    """One line of a history. Losses are cross-entropies in nats per image; `epoch` counts from 1."""

    model: str
    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


class Progress(Protocol):
    """Whoever wants to know how far training is."""

    def images(self, count: int) -> None:
        """So many more images were trained on."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended."""

    def resumed(self, model: str, epochs: int, images: int) -> None:
        """A model goes on after so many epochs and images, which an earlier process trained."""


@dataclass(frozen=True)
class Fitted:
    """A trained network: the weights of its best epoch, and how it got there."""

    state: State
    best_epoch: int
    history: list[Epoch]


def fit(
    network: nn.Module,
    bench: Bench,
    *,
    name: str,
    rows: Rows,
    targets: torch.Tensor,
    validation: Labelled,
    params: Train,
    seed: int,
    progress: Progress,
    restart: Restart,
) -> Fitted:
    """Train with SGD and keep the weights with the best validation accuracy.

    Among equal accuracies the lower validation loss decides, then the earlier epoch. A model that was stopped goes on
    at the batch where its last state was saved, and ends with the same bytes; one that was finished is not trained
    again.

    Args:
        network: starts as given; on the bench's device.
        bench: pixels and device.
        name: of the model, for the history and its saved state.
        rows: training images.
        targets: their classes, (N,) int64, or class probabilities, (N, C) float32.
        validation: images that choose the checkpoint.
        params: section `train`.
        seed: of batch order, dropout and stochastic depth; each epoch derives its own.
        progress: told of every batch and every epoch.
        restart: where states are saved and found.

    Raises:
        UserError: the loss is not a finite number.
        StoppedError: the process was asked to end; the state is saved.
    """
    if finished := restart.load(f"{name}-finished"):
        history = [Epoch(**epoch) for epoch in finished["history"]]
        progress.resumed(name, len(history), len(history) * len(rows))
        return Fitted(finished["state"], finished["best_epoch"], history)
    course = _Course.start(network, bench, params)
    if saved := restart.load(name):
        course.restore(saved)
        done = sum(len(batch) for batch in _batches(rows, params, course.epoch, seed)[: len(course.losses)])
        progress.resumed(name, len(course.history), len(course.history) * len(rows) + done)
    targets = targets.to(bench.device)
    try:
        while course.epoch <= params.epochs:
            rate = params.learning_rate * params.lr_gamma ** ((course.epoch - 1) // params.lr_step)
            for group in course.optimiser.param_groups:
                group["lr"] = rate
            loss, accuracy = _train_one_epoch(course, bench, name, rows, targets, params, seed, progress, restart)
            if params.batch_norm == "recomputed":
                recompute_batch_norm(network, bench, generator(seed, "batch norm", course.epoch).permutation(rows))
            validation_loss, validation_accuracy = evaluate(network, bench, validation)
            if not math.isfinite(validation_loss):
                wrong = ~torch.isfinite(predict_logits(network, bench, validation.rows)).all(1).numpy()
                where = f"after epoch {course.epoch}, on validation images"
                raise _diverged(validation_loss, where, bench.names(validation.rows[wrong]))
            epoch = Epoch(name, course.epoch, rate, loss, accuracy, validation_loss, validation_accuracy)
            course.end_epoch(epoch)
            progress.epoch(epoch)
            if restart.due():
                restart.save(name, course.capture())
    except StoppedError:
        restart.save(name, course.capture())
        raise
    fitted = Fitted(course.best_state, course.best, course.history)
    restart.save(
        f"{name}-finished",
        {"state": fitted.state, "best_epoch": fitted.best_epoch, "history": [asdict(e) for e in fitted.history]},
    )
    restart.forget(name)
    return fitted


@dataclass
class _Course:
    """A training under way: all that its next batch depends on.

    Attributes:
        network: as it is now.
        optimiser: with its momenta.
        scaler: of the loss, so that gradients in fp16 do not vanish; does nothing in other precisions.
        epoch: the one under way, from 1.
        losses: of the batches of this epoch that are done; left on the device, because reading a number back would make
            a GPU wait at every step.
        right: so many of their images were classified rightly.
        noise: states of the generators of dropout and stochastic depth, in the middle of an epoch.
        history: of the epochs before.
        best: number of the best of them, 0 before the first ended.
        best_state: its weights.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 1
    losses: list[torch.Tensor] = field(default_factory=list)
    right: list[torch.Tensor] = field(default_factory=list)
    noise: list[torch.Tensor] = field(default_factory=list)
    history: list[Epoch] = field(default_factory=list)
    best: int = 0
    best_state: State = field(default_factory=dict)

    @classmethod
    def start(cls, network: nn.Module, bench: Bench, params: Train) -> "_Course":
        optimiser = torch.optim.SGD(
            network.parameters(),
            lr=params.learning_rate,
            momentum=params.momentum,
            weight_decay=params.weight_decay,
            fused=True,
        )
        scaler = torch.amp.GradScaler(bench.device.type, enabled=bench.precision == "fp16")
        return cls(network, optimiser, scaler)

    def end_epoch(self, epoch: Epoch) -> None:
        self.history.append(epoch)
        if not self.best or _score(epoch) > _score(self.history[self.best - 1]):
            self.best = epoch.epoch
            self.best_state = snapshot(self.network)
        self.epoch += 1
        self.losses, self.right, self.noise = [], [], []

    def capture(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "optimiser", "scaler")}
        values = {name: getattr(self, name) for name in ("epoch", "losses", "right", "noise", "best", "best_state")}
        return parts | values | {"history": [asdict(epoch) for epoch in self.history]}

    def restore(self, saved: dict[str, Any]) -> None:
        for name in ("network", "optimiser", "scaler"):
            getattr(self, name).load_state_dict(saved[name])
        for name in ("epoch", "losses", "right", "noise", "best", "best_state"):
            setattr(self, name, saved[name])
        self.history = [Epoch(**epoch) for epoch in saved["history"]]


def snapshot(network: nn.Module) -> State:
    """A copy of the weights on the CPU, in the plain memory order that safetensors stores."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }


def _diverged(loss: float, where: str, images: Sequence[object]) -> UserError:
    named = ", ".join(map(str, images[:15])) + (f" and {len(images) - 15} more" if len(images) > 15 else "")
    return UserError(
        f"the loss became {loss} {where} ({named}): lower train.learning_rate, or use train.precision=fp32"
    )


def _score(epoch: Epoch) -> tuple[float, float]:
    return epoch.validation_accuracy, -epoch.validation_loss


def _batches(rows: Rows, params: Train, epoch: int, seed: int) -> list[Rows]:
    """Positions in `rows` of the images of each batch of an epoch."""
    return list(in_batches(generator(seed, "order", epoch).permutation(len(rows)), params.batch_size))


def _train_one_epoch(
    course: _Course,
    bench: Bench,
    name: str,
    rows: Rows,
    targets: torch.Tensor,
    params: Train,
    seed: int,
    progress: Progress,
    restart: Restart,
) -> tuple[float, float]:
    """Mean loss and accuracy over the epoch, each image as it was seen in training."""
    batches = _batches(rows, params, course.epoch, seed)
    course.network.train()
    with seeded(derive(seed, "noise", course.epoch), bench.device):
        if course.noise:
            set_noise_state(course.noise, bench.device)
        try:
            for batch in batches[len(course.losses) :]:
                _step(course, bench, rows[batch], targets[torch.from_numpy(batch).to(bench.device)])
                progress.images(len(batch))
                if restart.due():
                    course.noise = noise_state(bench.device)
                    restart.save(name, course.capture())
        finally:
            course.noise = noise_state(bench.device)
    losses = torch.stack(course.losses).double().cpu()
    if not torch.isfinite(losses).all():
        step = int((~torch.isfinite(losses)).nonzero()[0])
        raise _diverged(
            losses[step].item(),
            f"in epoch {course.epoch}, step {step + 1} of {len(batches)}",
            bench.names(rows[batches[step]]),
        )
    weights = torch.tensor([len(batch) for batch in batches], dtype=torch.float64)
    return float((losses * weights).sum() / weights.sum()), int(torch.stack(course.right).sum()) / len(rows)


def _step(course: _Course, bench: Bench, rows: Rows, target: torch.Tensor) -> None:
    images = bench.images(rows)
    with bench.autocast():
        logits = course.network(images).float()
    loss = functional.cross_entropy(logits, target)
    course.optimiser.zero_grad(set_to_none=True)
    course.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    course.scaler.step(course.optimiser)
    course.scaler.update()
    course.losses.append(loss.detach())
    hard = target if target.ndim == 1 else target.argmax(1)
    course.right.append((logits.detach().argmax(1) == hard).sum())
