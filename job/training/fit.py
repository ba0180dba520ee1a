"""The training loop: epochs of steps over sources of images, and the checkpoint that validates best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from job.contracts.split import Labelled, Rows
from job.errors import StoppedError, UserError
from job.inference.context import Context
from job.inference.predict import predict_logits
from job.params import Train
from job.seeds import derive, generator
from job.training.batch import Batch, Loss, supervised
from job.training.history import Epoch, Fitted
from job.training.progress import Progress
from job.training.restart import Restart
from job.training.rng import rng_state, seeded
from job.training.source import Source, Step, count_images, rows_of, steps
from job.training.state import TrainState
from job.training.validation import evaluate, recompute_batch_norm
from job.training.world import ALONE, World


@dataclass(frozen=True)
class Trainer:
    """How one model of a fold is trained; `fit` does it.

    Attributes:
        name: of the model, in its history and for its saved state.
        sources: training images. A step takes a batch of each; an epoch is one pass over the first.
        validation: images that choose the checkpoint.
        settings: section `train`.
        seed: of batch order, augmentation, dropout and stochastic depth; each epoch derives its own.
        context: pixels and device.
        progress: is told of every batch and every epoch.
        restart: keeps the states from which a stopped training goes on.
        loss: what a step minimises.
        world: the processes that train the fold.
        names: images of rows, for messages.
    """

    name: str
    sources: Sequence[Source]
    validation: Labelled
    settings: Train
    seed: int
    context: Context
    progress: Progress
    restart: Restart
    loss: Loss = supervised
    world: World = ALONE
    names: Callable[[Rows], Sequence[object]] = field(default=list)

    def fit(self, network: nn.Module, beside: Mapping[str, TrainState] | None = None) -> Fitted:
        """Train a network and keep the weights with the best validation accuracy.

        Among equal accuracies the lower validation loss decides, then the earlier epoch. A training that was stopped
        goes on at the batch where its last state was saved, and ends with the same bytes; a finished one is not done
        again.

        Args:
            network: on the context's device; starts with the weights that it has.
            beside: states, by name, of further networks that learn in the loss. Their epochs are validated and their
                states are saved with this one's; training goes on while one of the networks still gets better.

        Raises:
            UserError: the loss is not a finite number.
            StoppedError: the process was asked to end; the state is saved.
        """
        state = TrainState.start(network, self.context, self.settings, self.world)
        states = {self.name: state, **(beside or {})}
        self.progress.model(self.name, self.settings.epochs * count_images(self._plan(1)))
        if saved := self.restart.load(self.name):
            for name, each in states.items():
                each.restore(saved[name])
            plan = self._plan(state.epoch)
            images = len(state.history) * count_images(plan) + count_images(plan[: len(state.losses)])
            self.progress.resumed(self.name, len(state.history), images)
        try:
            while state.epoch <= self.settings.epochs and not all(
                each.stalled(self.settings.patience) for each in states.values()
            ):
                self._train_epoch(states)
                if self.restart.due():
                    self._save(states)
        except StoppedError:
            # Several processes do not stop at the same batch: theirs is the state of the last epoch's end.
            if self.world.size == 1:
                self._save(states)
            raise
        self._save(states, finished=True)
        self.restart.drop_older(self.name)
        return state.fitted()

    def step(self, state: TrainState, number: int, step: Step) -> None:
        """Let the network learn from the images of step `number` of the present epoch, counted from 0."""
        seed = derive(self.seed, "augment", state.epoch, number, *self.world.purpose)
        batch = Batch(self.context, self.sources, step, self.settings.magnitude, seed, self.world)
        state.learn(*self.loss(state, batch))

    def _plan(self, epoch: int) -> list[Step]:
        return steps(self.sources, epoch, self.seed, self.world.size)

    def _save(self, states: Mapping[str, TrainState], *, finished: bool = False) -> None:
        self.restart.save(self.name, {name: state.capture(finished=finished) for name, state in states.items()})

    def _train_epoch(self, states: Mapping[str, TrainState]) -> None:
        """Take the steps of an epoch, or the rest of them, and validate every network."""
        state, device = states[self.name], self.context.device
        plan = self._plan(state.epoch)
        for each in states.values():
            each.set_rate(self.settings)
            each.network.train()
        with seeded(derive(self.seed, "noise", state.epoch, *self.world.purpose), device, state.rng_state):
            try:
                for number, step in enumerate(plan[len(state.losses) :], start=len(state.losses)):
                    self.step(state, number, step)
                    self.progress.images(count_images([step]))
                    if self.world.size == 1 and self.restart.due():
                        state.rng_state = rng_state(device)
                        self._save(states)
            finally:
                state.rng_state = rng_state(device)
        # A stop during validation must find every network in the same epoch: all are validated before one ends its own.
        epochs = [self._validate(name, each, plan) for name, each in states.items()]
        for each, epoch in zip(states.values(), epochs, strict=True):
            each.end_epoch(epoch)
            self.progress.epoch(epoch)

    def _validate(self, name: str, state: TrainState, plan: Sequence[Step]) -> Epoch:
        """Work out the figures of an epoch whose steps are done."""
        losses = self.world.sum(torch.stack(state.losses)).double().cpu()
        correct = self.world.sum(torch.stack(state.correct)).sum().cpu()
        counts = self.world.sum(torch.tensor(state.counts, dtype=torch.float64, device=self.context.device)).cpu()
        if not torch.isfinite(losses).all():
            number = int((~torch.isfinite(losses)).nonzero()[0])
            where = f"in epoch {state.epoch}, step {number + 1} of {len(plan)}"
            raise self._diverged(losses[number].item(), where, rows_of(self.sources, plan[number]))
        network = state.evaluated
        if self.settings.batch_norm == "recomputed":
            rows = np.concatenate([source.rows for source in self.sources])
            order = generator(self.seed, "batch norm", state.epoch)
            recompute_batch_norm(network, self.context, order.permutation(rows), self.world)
        validation_loss, validation_accuracy = evaluate(network, self.context, self.validation)
        if not math.isfinite(validation_loss):
            infinite = ~torch.isfinite(predict_logits(network, self.context, self.validation.rows)).all(1).numpy()
            where = f"after epoch {state.epoch}, on validation images"
            raise self._diverged(validation_loss, where, self.validation.rows[infinite])
        loss, accuracy = float((losses * counts).sum() / counts.sum()), float(correct / counts.sum())
        return Epoch(name, state.epoch, state.rate, loss, accuracy, validation_loss, validation_accuracy)

    def _diverged(self, loss: float, where: str, rows: Rows) -> UserError:
        names = self.names(rows)
        text = ", ".join(map(str, names[:15])) + (f" and {len(names) - 15} more" if len(names) > 15 else "")
        return UserError(
            f"the loss became {loss} {where} ({text}): lower train.learning_rate, or use train.precision=fp32"
        )
