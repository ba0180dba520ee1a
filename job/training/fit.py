"""The training loop: epochs of steps over sources of images, validation, and the checkpoint that validates best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from job.contracts.split import Labelled, Rows
from job.errors import StoppedError, UserError
from job.inference.pixels import Context
from job.inference.predict import EVALUATION_BATCH, predict_logits
from job.seeds import derive, generator
from job.training.batch import Batch, Loss, Source, Step, count_images, steps, supervised
from job.training.history import Epoch, Fitted
from job.training.parallel import ALONE, World
from job.training.state import TrainState, rng_state, seeded
from job.training.task import Task

STATISTICS_IMAGES = 4096


@dataclass(frozen=True)
class Trainer:
    """How one model of a fold is trained, as in `Trainer(task, "base", [task.labelled()]).fit(network)`."""

    task: Task  # the fold, with its validation images and the section `train`
    name: str  # of the model, in its history and for its saved state
    sources: Sequence[Source]  # training images: a step takes a batch of each, an epoch is one pass over the first
    loss: Loss = supervised  # what a step minimises

    def fit(self, network: nn.Module, beside: Mapping[str, TrainState] | None = None) -> Fitted:
        """Train a network and keep the weights with the best validation accuracy.

        Among equal accuracies the lower validation loss decides, then the earlier epoch. A training that was stopped
        goes on at the batch where its last state was saved, and ends with the same bytes; a finished one is not done
        again. The network is on the context's device, and starts with the weights that it has.

        `beside` are the states, by name, of further networks that learn in the loss. Their epochs are validated and
        their states are saved with this one's; training goes on while one of the networks still gets better.

        A UserError says that the loss is not finite, a StoppedError that the process was asked to end; the state is
        saved then.
        """
        task, settings = self.task, self.task.params.train
        state = TrainState.start(network, task.context.device, settings, task.world)
        states = {self.name: state, **(beside or {})}
        task.progress.model(self.name, settings.epochs * count_images(self._plan(1)))
        if saved := task.restart.load(self.name):
            for name, each in states.items():
                each.restore(saved[name])
            plan = self._plan(state.epoch)
            images = len(state.history) * count_images(plan) + count_images(plan[: len(state.figures)])
            task.progress.resumed(self.name, len(state.history), images)
        else:
            task.progress.begun()
        try:
            while state.epoch <= settings.epochs and not all(
                0 < settings.patience <= len(each.history) - each.best for each in states.values()
            ):
                self._train_epoch(states)
                if task.restart.due():
                    self._save(states)
        except StoppedError:
            # Several processes do not stop at the same batch: theirs is the state of the last epoch's end.
            if task.world.size == 1:
                self._save(states)
            raise
        self._save(states, finished=True)
        task.restart.drop_older(self.name)
        return state.fitted()

    @property
    def _seed(self) -> int:
        """Of batch order, augmentation, dropout and stochastic depth; each epoch derives its own."""
        return self.task.seed("fit", self.name)

    def _plan(self, epoch: int) -> list[Step]:
        return steps(self.sources, epoch, self._seed, self.task.world.size)

    def _save(self, states: Mapping[str, TrainState], *, finished: bool = False) -> None:
        self.task.restart.save(self.name, {name: state.capture(finished=finished) for name, state in states.items()})

    def _train_epoch(self, states: Mapping[str, TrainState]) -> None:
        """Take the steps of an epoch, or the rest of them, and validate every network."""
        task, state = self.task, states[self.name]
        context, settings, world = task.context, task.params.train, task.world
        plan = self._plan(state.epoch)
        for each in states.values():
            each.set_rate(settings)
            each.network.train()
        with seeded(derive(self._seed, "noise", state.epoch, *world.purpose), context.device, state.rng_state):
            try:
                for number, step in enumerate(plan[len(state.figures) :], start=len(state.figures)):
                    seed = derive(self._seed, "augment", state.epoch, number, *world.purpose)
                    batch = Batch(context, self.sources, step, settings.magnitude, seed, world)
                    state.learn(*self.loss(state, batch))
                    task.progress.images(count_images([step]))
                    if world.size == 1 and task.restart.due():
                        state.rng_state = rng_state(context.device)
                        self._save(states)
            finally:
                state.rng_state = rng_state(context.device)
        # A stop during validation must find every network in the same epoch: all are validated before one ends its own.
        epochs = [self._validate(name, each, plan) for name, each in states.items()]
        for each, epoch in zip(states.values(), epochs, strict=True):
            each.end_epoch(epoch)
            task.progress.epoch(epoch)

    def _validate(self, name: str, state: TrainState, plan: Sequence[Step]) -> Epoch:
        """Work out the figures of an epoch whose steps are done."""
        context, world, images = self.task.context, self.task.world, self.task.fold.validation
        losses, correct, counts = world.sum(torch.stack(state.figures)).cpu().T
        if not torch.isfinite(losses).all():
            number = int((~torch.isfinite(losses)).nonzero()[0])
            where = f"in epoch {state.epoch}, step {number + 1} of {len(plan)}"
            parts = [source.rows[part] for source, part in zip(self.sources, plan[number], strict=True)]
            raise self._diverged(losses[number].item(), where, np.concatenate(parts))
        network = state.evaluated
        if self.task.params.train.batch_norm == "recomputed":
            order = generator(self._seed, "batch norm", state.epoch)
            rows = np.concatenate([source.rows for source in self.sources])
            recompute_batch_norm(network, context, order.permutation(rows), world)
        validation_loss, validation_accuracy = evaluate(network, context, images, world)
        if not math.isfinite(validation_loss):
            infinite = ~torch.isfinite(predict_logits(network, context, images.rows)).all(1).numpy()
            where = f"after epoch {state.epoch}, on validation images"
            raise self._diverged(validation_loss, where, images.rows[infinite])
        loss, accuracy = float((losses * counts).sum() / counts.sum()), float(correct.sum() / counts.sum())
        rate = state.optimiser.param_groups[0]["lr"]
        return Epoch(name, state.epoch, rate, loss, accuracy, validation_loss, validation_accuracy)

    def _diverged(self, loss: float, where: str, rows: Rows) -> UserError:
        names = self.task.names(rows)
        text = ", ".join(map(str, names[:15])) + (f" and {len(names) - 15} more" if len(names) > 15 else "")
        return UserError(
            f"the loss became {loss} {where} ({text}): lower train.learning_rate, or use train.precision=fp32"
        )


def tune(task: Task, network: nn.Module, name: str, fitted: Fitted, epochs: int) -> Fitted:
    """Train a model for some further epochs on the labelled images alone; the better of the two, histories joined.

    There is no augmentation or warm-up then, and the learning rate starts at `lr_gamma` times that of the training.
    """
    if epochs == 0:
        return fitted
    rate = task.params.train.learning_rate * task.params.train.lr_gamma
    task = task.changed("train", epochs=epochs, learning_rate=rate, warmup_epochs=0, schedule="step", augment="none")
    network.load_state_dict(fitted.state)
    tuned = Trainer(task, name, [task.labelled()]).fit(network)
    better = max(fitted, tuned, key=lambda model: model.best.score)
    return replace(better, history=fitted.history + tuned.history)


@torch.inference_mode()
def evaluate(network: nn.Module, context: Context, images: Labelled, world: World = ALONE) -> tuple[float, float]:
    """Mean cross-entropy and accuracy on these images, in evaluation mode."""
    logits = world.gather(partial(predict_logits, network, context), images.rows)
    classes = torch.from_numpy(images.classes)
    loss = functional.cross_entropy(logits.double(), classes)
    return float(loss), float((logits.argmax(1) == classes).double().mean())


@torch.inference_mode()
def recompute_batch_norm(network: nn.Module, context: Context, rows: Rows, world: World = ALONE) -> None:
    """Replace the running statistics of batch norm by averages over these images.

    The running averages of efficientnet-pytorch move by 1 % a step: after a short training they are still ImageNet's.
    Averaging over the training images under fixed weights is the repair of Wu & Johnson 2021 ("Rethinking Batch in
    BatchNorm", section 3). All else is in evaluation mode, so dropout does not disturb the statistics.

    The images are to be in random order: the variance of a batch of one class would miss what lies between classes. The
    first `STATISTICS_IMAGES` are used: according to the paper 10^3 to 10^4 suffice.
    """
    rows = rows[:STATISTICS_IMAGES]
    norms = train_batch_norm_alone(network)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
    # Batches of equal size, because every batch counts the same in the average.
    for batch in np.array_split(rows, -(-len(rows) // EVALUATION_BATCH)):
        # Of several processes each takes a share, and `nn.SyncBatchNorm` sees the whole batch, as in training.
        network(context.images(batch[world.rank :: world.size]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def train_batch_norm_alone(network: nn.Module) -> list[nn.BatchNorm2d | nn.SyncBatchNorm]:
    """Put a network in evaluation mode, without dropout, but its batch norms in training mode; returns those."""
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm)]
    for norm in norms:
        norm.train()
    return norms
