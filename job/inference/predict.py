"""Networks in evaluation mode: from rows of the pixel store to probabilities.

In full precision, however the networks were trained: in bf16 a tenth of a logit is lost, and 3 to 6 % of calls change
with it, while the exported network and a CPU compute in full precision anyway.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from job.contracts.split import Rows
from job.inference.context import Context
from job.inference.pixels import in_batches, views

EVALUATION_BATCH = 64


@torch.inference_mode()
def predict_logits(
    network: nn.Module, context: Context, rows: Rows, batch_size: int = EVALUATION_BATCH
) -> torch.Tensor:
    """Outputs of the classification layer in evaluation mode, in the order of `rows`: (N, C) float32 on the CPU."""
    network.eval()
    return torch.cat([network(context.images(batch)).float() for batch in in_batches(rows, batch_size)]).cpu()


@torch.inference_mode()
def predict(
    network: nn.Module, context: Context, rows: Rows, batch_size: int, *, tta: bool
) -> np.ndarray[Any, np.dtype[np.float32]]:
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


def probabilities(logits: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Softmax in double precision, given back as float32: (N, C)."""
    return logits.double().softmax(1).float().numpy()
