"""The optimiser, its learning rate over the epochs, averaged weights."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from job.params import Train


def optimiser(network: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW (Loshchilov & Hutter 2019), over the weights that require gradients."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(weights, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=True)


def factor(epoch: int, settings: Train) -> float:
    """Share of `train.learning_rate` in an epoch, counted from 0.

    A linear rise over `warmup_epochs`, then steps (times `lr_gamma` every `lr_step` epochs) or half a cosine down to
    nothing after the last epoch (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts).
    """
    if epoch < settings.warmup_epochs:
        return (epoch + 1) / (settings.warmup_epochs + 1)
    after = epoch - settings.warmup_epochs
    if settings.schedule == "step":
        return float(settings.lr_gamma ** (after // settings.lr_step))
    return 0.5 * (1 + math.cos(math.pi * min(1.0, after / (settings.epochs - settings.warmup_epochs))))


def averaged(network: nn.Module, settings: Train) -> AveragedModel | None:
    """A running average of weights and batch-norm statistics, or None when `train.ema_decay` is 0.

    Exponential moving average with decay `train.ema_decay` per step (torch.optim.swa_utils); Noisy Student's source
    evaluates such an average (decay 0.9999 over hundreds of thousands of steps).
    """
    if not settings.ema_decay:
        return None
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True)  # type: ignore[no-untyped-call]
