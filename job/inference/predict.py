"""Networks in evaluation mode: from rows of the pixel store to probabilities, and to features before the last layer.

In full precision, however the networks were trained: in bf16 a tenth of a logit is lost, and 3 to 6 % of calls change
with it, while the exported network and a CPU compute in full precision anyway.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from job.contracts.split import Rows
from job.inference.pixels import Context, in_batches, views

EVALUATION_BATCH = 64


@torch.inference_mode()
def predict_logits(
    network: nn.Module, context: Context, rows: Rows, batch_size: int = EVALUATION_BATCH
) -> torch.Tensor:
    """Outputs of the classification layer in evaluation mode, in the order of `rows`: (N, C) float32 on the CPU."""
    network.eval()
    return torch.cat([network(context.images(batch)).float() for batch in in_batches(rows, batch_size)]).cpu()


@torch.inference_mode()
def predict(network: nn.Module, context: Context, rows: Rows, batch_size: int, *, tta: bool) -> npt.NDArray[np.float32]:
    """Class probabilities in evaluation mode, in the order of `rows`: (N, C).

    With `tta` the mean of the probabilities over the eight dihedral views of each image: a cell has no up or down.
    """
    if not tta:
        return probabilities(predict_logits(network, context, rows, batch_size))
    network.eval()
    parts = []
    for batch in in_batches(rows, batch_size):
        each = [network(view).double().softmax(1) for view in views(context.images(batch))]
        parts.append(torch.stack(each).mean(0).float().cpu())
    return torch.cat(parts).numpy()


def probabilities(logits: torch.Tensor) -> npt.NDArray[np.float32]:
    """Softmax in double precision, given back as float32: (N, C)."""
    return logits.double().softmax(1).float().numpy()


def classifier(network: nn.Module) -> nn.Linear:
    """The last linear layer, which maps pooled features to logits."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def with_features(network: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of normalised images, (B, classes), and the features that they come from, (B, D)."""
    kept: list[torch.Tensor] = []
    handle = classifier(network).register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0]))
    try:
        return network(images), kept[0]
    finally:
        handle.remove()


@torch.inference_mode()
def features_of(
    network: nn.Module,
    context: Context,
    rows: Rows,
    change: Callable[[int], Callable[[torch.Tensor], torch.Tensor] | None] = lambda _: None,
) -> npt.NDArray[np.float64]:
    """Features of these images, (N,) rows, in evaluation mode: (N, D). `change` gives the augmentation of a batch."""
    network.eval()
    parts = [
        with_features(network, context.images(batch, change(number)))[1].double().cpu()
        for number, batch in enumerate(in_batches(rows, EVALUATION_BATCH))
    ]
    return torch.cat(parts).numpy()


class Distance(nn.Module):
    """Distance of features, (B, D), from those of training images, as multiples of the largest usual one: (B,).

    It is that of Mahalanobis under probabilistic principal components (Tipping & Bishop 1999): a variance for each of
    the first axes, and one for all directions that are left. Networks see far pictures far away (Lee et al. 2018).
    """

    mean: torch.Tensor
    axes: torch.Tensor
    variance: torch.Tensor
    noise: torch.Tensor
    usual: torch.Tensor

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        """From `mean` (D,), `axes` (D, K), `variance` (K,), `noise` and `usual`, of `training.record.likeness`."""
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The distance of each image."""
        centred = inputs.float() - self.mean
        along = centred @ self.axes
        beside = (centred.square().sum(1) - along.square().sum(1)).clamp_min(0)
        return ((along.square() / self.variance).sum(1) + beside / self.noise).sqrt() / self.usual
