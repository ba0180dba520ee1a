"""One network learning from one set of images: epochs of SGD, and the checkpoint that validates best."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from job.errors import UserError
from job.params import Train
from job.seeds import derive, generator
from job.training.batches import Normalise, PixelStore, Rows, in_batches
from job.training.fold import Labelled
from job.training.runtime import seeded

State = dict[str, torch.Tensor]
EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Bench:
    """What every computation on a fold needs: pixels, their normalisation, the device."""

    store: PixelStore
    normalise: Normalise
    device: torch.device

    def images(self, rows: Rows) -> torch.Tensor:
        """Normalised images of these rows, (B, 3, S, S) float32 on the device."""
        return self.normalise(self.store.gather(rows, self.device))


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
) -> Fitted:
    """Train with SGD and keep the weights with the best validation accuracy.

    Among equal accuracies the lower validation loss decides, then the earlier epoch.

    Args:
        network: starts as given; on the bench's device.
        bench: pixels and device.
        name: of the model, for the history.
        rows: training images.
        targets: their classes, (N,) int64, or class probabilities, (N, C) float32.
        validation: images that choose the checkpoint.
        params: section `train`.
        seed: of batch order, dropout and stochastic depth; each epoch derives its own.
        progress: told of every batch and every epoch.

    Raises:
        UserError: the loss is not a finite number.
    """
    targets = targets.to(bench.device)
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=params.learning_rate,
        momentum=params.momentum,
        weight_decay=params.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, params.lr_step, params.lr_gamma)
    history: list[Epoch] = []
    best = 0
    state: State = {}
    for number in range(1, params.epochs + 1):
        rate = float(schedule.get_last_lr()[0])
        loss, accuracy = _train_one_epoch(network, bench, optimiser, rows, targets, params, number, seed, progress)
        if params.batch_norm == "recomputed":
            recompute_batch_norm(network, bench, generator(seed, "batch norm", number).permutation(rows))
        schedule.step()
        validation_loss, validation_accuracy = evaluate(network, bench, validation)
        if not math.isfinite(validation_loss):
            raise _diverged(validation_loss, f"after epoch {number}, on the validation images")
        epoch = Epoch(name, number, rate, loss, accuracy, validation_loss, validation_accuracy)
        history.append(epoch)
        if not best or _score(epoch) > _score(history[best - 1]):
            best = number
            state = snapshot(network)
        progress.epoch(epoch)
    return Fitted(state, best, history)


def _diverged(loss: float, where: str) -> UserError:
    return UserError(f"the loss became {loss} {where}: lower train.learning_rate")


def snapshot(network: nn.Module) -> State:
    """A copy of the weights on the CPU, in the plain memory order that safetensors stores."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }


def _score(epoch: Epoch) -> tuple[float, float]:
    return epoch.validation_accuracy, -epoch.validation_loss


def _train_one_epoch(
    network: nn.Module,
    bench: Bench,
    optimiser: torch.optim.Optimizer,
    rows: Rows,
    targets: torch.Tensor,
    params: Train,
    epoch: int,
    seed: int,
    progress: Progress,
) -> tuple[float, float]:
    """Mean loss and accuracy over the epoch, each image as it was seen in training."""
    order = generator(seed, "order", epoch).permutation(len(rows))
    losses, right, sizes = [], [], []
    network.train()
    with seeded(derive(seed, "noise", epoch), bench.device):
        for batch in in_batches(order, params.batch_size):
            target = targets[torch.from_numpy(batch).to(bench.device)]
            logits = network(bench.images(rows[batch]))
            loss = functional.cross_entropy(logits, target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            # Left on the device: reading a number back would make a GPU wait at every step.
            losses.append(loss.detach())
            right.append((logits.detach().argmax(1) == _hard(target)).sum())
            sizes.append(len(batch))
            progress.images(len(batch))
    values = torch.stack(losses).double().cpu()
    if not torch.isfinite(values).all():
        step = int((~torch.isfinite(values)).nonzero()[0])
        raise _diverged(values[step].item(), f"in epoch {epoch}, step {step + 1} of {len(sizes)}")
    weights = torch.tensor(sizes, dtype=torch.float64)
    return float((values * weights).sum() / weights.sum()), int(torch.stack(right).sum()) / sum(sizes)


def _hard(target: torch.Tensor) -> torch.Tensor:
    return target if target.ndim == 1 else target.argmax(1)


@torch.inference_mode()
def evaluate(network: nn.Module, bench: Bench, images: Labelled) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in evaluation mode."""
    logits = predict_logits(network, bench, images.rows)
    classes = torch.from_numpy(images.classes)
    loss = functional.cross_entropy(logits.double(), classes)
    return float(loss), float((logits.argmax(1) == classes).double().mean())


@torch.inference_mode()
def predict_logits(network: nn.Module, bench: Bench, rows: Rows, batch_size: int = EVALUATION_BATCH) -> torch.Tensor:
    """Outputs of the classification layer in evaluation mode, in the order of `rows`: (N, C) float32 on the CPU."""
    network.eval()
    return torch.cat([network(bench.images(batch)) for batch in in_batches(rows, batch_size)]).cpu()


@torch.inference_mode()
def recompute_batch_norm(network: nn.Module, bench: Bench, rows: Rows) -> None:
    """Replace the running statistics of batch norm by averages over these images.

    The running averages of efficientnet-pytorch move by 1 % a step: after a short training they are still ImageNet's.
    Averaging over the training images under fixed weights is the repair of Wu & Johnson 2021 ("Rethinking Batch in
    BatchNorm", section 3). All else is in evaluation mode, so dropout does not disturb the statistics.

    Args:
        network: keeps its weights; its running means and variances change.
        bench: pixels and device.
        rows: the images in random order: the variance of a batch of one class would miss what lies between classes.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
    # Batches of equal size, because every batch counts the same in the average.
    for batch in np.array_split(rows, -(-len(rows) // EVALUATION_BATCH)):
        network(bench.images(batch))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def probabilities(logits: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Softmax in double precision, given back as float32: (N, C)."""
    return logits.double().softmax(1).float().numpy()
