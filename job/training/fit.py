"""One network learning: epochs of steps over its sources of images, and the checkpoint that validates best."""

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from job.errors import StoppedError, UserError
from job.params import Train
from job.seeds import derive, generator
from job.training import optimise
from job.training.bench import Bench
from job.training.course import Course
from job.training.fold import Labelled
from job.training.history import Epoch, Fitted, Progress
from job.training.inference import evaluate, predict_logits, recompute_batch_norm
from job.training.restart import Restart
from job.training.runtime import noise_state, seeded, set_noise_state
from job.training.source import Source, Step, images, steps


def fit(
    network: nn.Module,
    bench: Bench,
    *,
    name: str,
    sources: Sequence[Source],
    validation: Labelled,
    params: Train,
    seed: int,
    progress: Progress,
    restart: Restart,
) -> Fitted:
    """Train and keep the weights with the best validation accuracy.

    Among equal accuracies the lower validation loss decides, then the earlier epoch. A model that was stopped goes on
    at the batch where its last state was saved, and ends with the same bytes; one that was finished is not trained
    again.

    Args:
        network: starts as given; on the bench's device.
        bench: pixels and device.
        name: of the model, for the history and its saved state.
        sources: training images. A step takes a batch of each; an epoch is one pass over the first.
        validation: images that choose the checkpoint.
        params: section `train`.
        seed: of batch order, noise, dropout and stochastic depth; each epoch derives its own.
        progress: told of every batch and every epoch.
        restart: where states are saved and found.

    Raises:
        UserError: the loss is not a finite number.
        StoppedError: the process was asked to end; the state is saved.
    """
    if finished := restart.load(f"{name}-finished"):
        history = [Epoch(**epoch) for epoch in finished["history"]]
        progress.resumed(name, len(history), len(history) * _images(steps(sources, 1, seed)))
        return Fitted(finished["state"], history[finished["best"] - 1], history)
    sources = [source.to(bench.device) for source in sources]
    every_row = np.concatenate([source.rows for source in sources])
    course = Course.start(network, bench, params)
    if saved := restart.load(name):
        course.restore(saved)
        plan = steps(sources, course.epoch, seed)
        done = len(course.history) * _images(plan) + _images(plan[: len(course.losses)])
        progress.resumed(name, len(course.history), done)
    try:
        while course.epoch <= params.epochs and not course.stalled(params.patience):
            rate = params.learning_rate * optimise.factor(course.epoch - 1, params)
            for group in course.optimiser.param_groups:
                group["lr"] = rate
            loss, accuracy = _train_one_epoch(course, bench, name, sources, params, seed, progress, restart)
            current = course.evaluated
            if params.batch_norm == "recomputed":
                recompute_batch_norm(current, bench, generator(seed, "batch norm", course.epoch).permutation(every_row))
            validation_loss, validation_accuracy = evaluate(current, bench, validation)
            if not math.isfinite(validation_loss):
                wrong = ~torch.isfinite(predict_logits(current, bench, validation.rows)).all(1).numpy()
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
    fitted = Fitted(course.best_state, course.history[course.best - 1], course.history)
    lines = [asdict(epoch) for epoch in fitted.history]
    restart.save(f"{name}-finished", {"state": fitted.state, "best": course.best, "history": lines})
    restart.forget(name)
    return fitted


def _diverged(loss: float, where: str, images: Sequence[object]) -> UserError:
    named = ", ".join(map(str, images[:15])) + (f" and {len(images) - 15} more" if len(images) > 15 else "")
    return UserError(
        f"the loss became {loss} {where} ({named}): lower train.learning_rate, or use train.precision=fp32"
    )


def _images(plan: Sequence[Step]) -> int:
    return sum(images(step) for step in plan)


def _train_one_epoch(
    course: Course,
    bench: Bench,
    name: str,
    sources: Sequence[Source],
    params: Train,
    seed: int,
    progress: Progress,
    restart: Restart,
) -> tuple[float, float]:
    """Mean loss and accuracy over the epoch, each image as it was seen in training."""
    plan = steps(sources, course.epoch, seed)
    course.network.train()
    with seeded(derive(seed, "noise", course.epoch), bench.device):
        if course.noise:
            set_noise_state(course.noise, bench.device)
        try:
            for number, step in enumerate(plan[len(course.losses) :], start=len(course.losses)):
                _step(course, bench, sources, step, params.magnitude, derive(seed, "augment", course.epoch, number))
                progress.images(images(step))
                if restart.due():
                    course.noise = noise_state(bench.device)
                    restart.save(name, course.capture())
        finally:
            course.noise = noise_state(bench.device)
    losses = torch.stack(course.losses).double().cpu()
    if not torch.isfinite(losses).all():
        number = int((~torch.isfinite(losses)).nonzero()[0])
        rows = np.concatenate([source.rows[batch] for source, batch in zip(sources, plan[number], strict=True)])
        where = f"in epoch {course.epoch}, step {number + 1} of {len(plan)}"
        raise _diverged(losses[number].item(), where, bench.names(rows))
    weights = torch.tensor([len(step[0]) for step in plan], dtype=torch.float64)
    return float((losses * weights).sum() / weights.sum()), int(torch.stack(course.right).sum()) / _images(plan)


def _step(course: Course, bench: Bench, sources: Sequence[Source], step: Step, magnitude: int, seed: int) -> None:
    """One batch of every source through the network together, so that batch norm sees them together."""
    batches = [
        bench.images(source.rows[batch], source.noise, magnitude, derive(seed, number))
        for number, (source, batch) in enumerate(zip(sources, step, strict=True))
    ]
    with bench.autocast():
        logits = course.network(batches[0] if len(batches) == 1 else torch.cat(batches)).float()
    losses, right = [], []
    parts = logits.split([len(batch) for batch in step])
    for source, batch, part in zip(sources, step, parts, strict=True):
        target = source.targets[torch.from_numpy(batch).to(bench.device)]
        loss = functional.cross_entropy(part, target, weight=source.class_weights, label_smoothing=source.smoothing)
        losses.append(source.weight * loss)
        hard = target if target.ndim == 1 else target.argmax(1)
        right.append((part.detach().argmax(1) == hard).sum())
    loss = torch.stack(losses).sum()
    course.optimiser.zero_grad(set_to_none=True)
    course.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    course.scaler.step(course.optimiser)
    course.scaler.update()
    if course.average is not None:
        course.average.update_parameters(course.network)
    course.losses.append(loss.detach())
    course.right.append(torch.stack(right).sum())
