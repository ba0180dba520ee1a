"""Networks in evaluation mode: predictions, their loss, and statistics of batch norm taken anew."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from job.contracts.split import Labelled, Rows
from job.inference.augment import views
from job.inference.context import Context
from job.inference.pixels import in_batches

EVALUATION_BATCH = 64


@torch.inference_mode()
def evaluate(network: nn.Module, bench: Context, images: Labelled) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in evaluation mode."""
    logits = predict_logits(network, bench, images.rows)
    classes = torch.from_numpy(images.classes)
    loss = functional.cross_entropy(logits.double(), classes)
    return float(loss), float((logits.argmax(1) == classes).double().mean())


@torch.inference_mode()
def predict_logits(network: nn.Module, bench: Context, rows: Rows, batch_size: int = EVALUATION_BATCH) -> torch.Tensor:
    """Outputs of the classification layer in evaluation mode, in the order of `rows`: (N, C) float32 on the CPU."""
    network.eval()
    with bench.autocast():
        return torch.cat([network(bench.images(batch)).float() for batch in in_batches(rows, batch_size)]).cpu()


@torch.inference_mode()
def predict(
    network: nn.Module, bench: Context, rows: Rows, batch_size: int, *, tta: bool
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Class probabilities in evaluation mode, in the order of `rows`: (N, C).

    With `tta` the mean of the probabilities over the eight dihedral views of each image: a cell has no up or down.
    """
    if not tta:
        return probabilities(predict_logits(network, bench, rows, batch_size))
    network.eval()
    parts = []
    with bench.autocast():
        for batch in in_batches(rows, batch_size):
            said = [network(view).double().softmax(1) for view in views(bench.images(batch))]
            parts.append(torch.stack(said).mean(0).float().cpu())
    return torch.cat(parts).numpy()


@torch.inference_mode()
def recompute_batch_norm(network: nn.Module, bench: Context, rows: Rows) -> None:
    """Replace the running statistics of batch norm by averages over these images.

    The running averages of efficientnet-pytorch move by 1 % a step: after a short training they are still ImageNet's.
    Averaging over the training images under fixed weights is the repair of Wu & Johnson 2021 ("Rethinking Batch in
    BatchNorm", section 3). All else is in evaluation mode, so dropout does not disturb the statistics.

    Args:
        network: keeps its weights; its running means and variances change.
        bench: pixels and device.
        rows: the images in random order: the variance of a batch of one class would miss what lies between classes.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
    # Batches of equal size, because every batch counts the same in the average.
    with bench.autocast():
        for batch in np.array_split(rows, -(-len(rows) // EVALUATION_BATCH)):
            # Of several processes each takes a share, and `nn.SyncBatchNorm` sees the whole batch, as in training.
            network(bench.images(batch[bench.world.rank :: bench.world.size]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def probabilities(logits: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Softmax in double precision, given back as float32: (N, C)."""
    return logits.double().softmax(1).float().numpy()
