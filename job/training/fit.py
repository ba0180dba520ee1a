"""One network learning: epochs of steps over its sources of images, and the checkpoint that validates best."""

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from job.contracts.split import Labelled, Rows
from job.errors import StoppedError, UserError
from job.inference.context import Context
from job.inference.predict import evaluate, predict_logits, recompute_batch_norm
from job.inference.runtime import noise_state, seeded, set_noise_state
from job.params import Train
from job.seeds import derive, generator
from job.training.history import Epoch, Fitted, Progress
from job.training.restart import Restart
from job.training.source import Source, Step, images, rows_of, steps
from job.training.state import TrainState


def fit(
    network: nn.Module,
    bench: Context,
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
        progress.resumed(name, len(history), len(history) * _images(steps(sources, 1, seed, bench.world.size)))
        return Fitted(finished["state"], history[finished["best"] - 1], history)
    sources = [source.to(bench.device) for source in sources]
    every_row = np.concatenate([source.rows for source in sources])
    course = TrainState.start(network, bench, params)
    if saved := restart.load(name):
        course.restore(saved)
        plan = steps(sources, course.epoch, seed, bench.world.size)
        done = len(course.history) * _images(plan) + _images(plan[: len(course.losses)])
        progress.resumed(name, len(course.history), done)
    try:
        while course.epoch <= params.epochs and not course.stalled(params.patience):
            rate = course.set_rate(params)
            plan = steps(sources, course.epoch, seed, bench.world.size)
            _train_one_epoch(course, bench, name, sources, plan, params, seed, progress, restart)
            seen = [rows_of(sources, step) for step in plan]
            epoch = finish_epoch(course, bench, name, rate, seen, every_row, validation, params, seed)
            progress.epoch(epoch)
            if restart.due():
                restart.save(name, course.capture())
    except StoppedError:
        # Several processes do not stop at the same batch: theirs is the state of the last epoch's end.
        if bench.world.size == 1:
            restart.save(name, course.capture())
        raise
    fitted = course.fitted()
    lines = [asdict(epoch) for epoch in fitted.history]
    restart.save(f"{name}-finished", {"state": fitted.state, "best": course.best, "history": lines})
    restart.forget(name)
    return fitted


def finish_epoch(
    course: TrainState,
    bench: Context,
    name: str,
    rate: float,
    seen: Sequence[Rows],
    every_row: Rows,
    validation: Labelled,
    params: Train,
    seed: int,
) -> Epoch:
    """Validate what an epoch has made, and begin the next.

    Args:
        course: all steps of its epoch are done.
        bench: pixels and device.
        name: of the model.
        rate: the epoch's learning rate.
        seen: images of every step whose loss and answers the course has kept.
        every_row: all training images, for the statistics of batch norm.
        validation: images that choose the checkpoint.
        params: section `train`.
        seed: of the model.

    Raises:
        UserError: a loss is not a finite number.
    """
    losses = bench.world.sum(torch.stack(course.losses)).double().cpu()
    right = bench.world.sum(torch.stack(course.right)).sum().cpu()
    if not torch.isfinite(losses).all():
        number = int((~torch.isfinite(losses)).nonzero()[0])
        where = f"in epoch {course.epoch}, step {number + 1} of {len(seen)}"
        raise _diverged(losses[number].item(), where, bench.names(seen[number]))
    weights = torch.tensor([len(rows) for rows in seen], dtype=torch.float64)
    loss, accuracy = float((losses * weights).sum() / weights.sum()), float(right / weights.sum())
    network = course.evaluated
    if params.batch_norm == "recomputed":
        recompute_batch_norm(network, bench, generator(seed, "batch norm", course.epoch).permutation(every_row))
    validation_loss, validation_accuracy = evaluate(network, bench, validation)
    if not math.isfinite(validation_loss):
        wrong = ~torch.isfinite(predict_logits(network, bench, validation.rows)).all(1).numpy()
        where = f"after epoch {course.epoch}, on validation images"
        raise _diverged(validation_loss, where, bench.names(validation.rows[wrong]))
    epoch = Epoch(name, course.epoch, rate, loss, accuracy, validation_loss, validation_accuracy)
    course.end_epoch(epoch)
    return epoch


def _diverged(loss: float, where: str, images: Sequence[object]) -> UserError:
    named = ", ".join(map(str, images[:15])) + (f" and {len(images) - 15} more" if len(images) > 15 else "")
    return UserError(
        f"the loss became {loss} {where} ({named}): lower train.learning_rate, or use train.precision=fp32"
    )


def _images(plan: Sequence[Step]) -> int:
    return sum(images(step) for step in plan)


def _train_one_epoch(
    course: TrainState,
    bench: Context,
    name: str,
    sources: Sequence[Source],
    plan: Sequence[Step],
    params: Train,
    seed: int,
    progress: Progress,
    restart: Restart,
) -> None:
    """Take the steps of an epoch, or those that are left of it."""
    course.network.train()
    share = ("process", bench.world.rank) if bench.world.size > 1 else ()
    with seeded(derive(seed, "noise", course.epoch, *share), bench.device):
        if course.noise:
            set_noise_state(course.noise, bench.device)
        try:
            for number, step in enumerate(plan[len(course.losses) :], start=len(course.losses)):
                seeds = derive(seed, "augment", course.epoch, number, *share)
                _step(course, bench, sources, step, params.magnitude, seeds)
                progress.images(images(step))
                if bench.world.size == 1 and restart.due():
                    course.noise = noise_state(bench.device)
                    restart.save(name, course.capture())
        finally:
            course.noise = noise_state(bench.device)


def _step(course: TrainState, bench: Context, sources: Sequence[Source], step: Step, magnitude: int, seed: int) -> None:
    """One batch of every source through the network together, so that batch norm sees them together.

    Of every batch this process takes its share.
    """
    shares = [batch[bench.world.rank :: bench.world.size] for batch in step]
    batches = [
        bench.images(source.rows[share], source.noise, magnitude, derive(seed, number))
        for number, (source, share) in enumerate(zip(sources, shares, strict=True))
    ]
    with bench.autocast():
        logits = course.forward(batches[0] if len(batches) == 1 else torch.cat(batches)).float()
    losses, right = [], []
    parts = logits.split([len(share) for share in shares])
    for source, batch, share, part in zip(sources, step, shares, parts, strict=True):
        target = source.targets[torch.from_numpy(share).to(bench.device)]
        loss = functional.cross_entropy(part, target, weight=source.class_weights, label_smoothing=source.smoothing)
        if bench.world.size > 1:
            # The loss of a batch is the sum of what its shares contribute to its mean.
            loss = loss * (source.mass(share) / source.mass(batch))
        losses.append(source.weight * loss)
        hard = target if target.ndim == 1 else target.argmax(1)
        right.append((part.detach().argmax(1) == hard).sum())
    course.learn(torch.stack(losses).sum(), torch.stack(right).sum(), bench.world.size)
