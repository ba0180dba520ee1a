"""Validation of a network in training, and the statistics of batch norm that it is validated with."""

from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from job.contracts.split import Labelled, Rows
from job.inference.context import Context
from job.inference.predict import EVALUATION_BATCH, predict_logits
from job.training.parallel import ALONE, World

STATISTICS_IMAGES = 4096


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
