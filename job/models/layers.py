"""Layers that compute what torch's own do, in less time or memory on a CPU; elsewhere they are torch's own."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Pointwise(nn.Conv2d):
    """A 1x1 convolution, on the CPU as the matrix product that it is.

    With one thread torch sends 1x1 convolutions to its slowest implementation; a matrix product over channels_last
    memory needs no copy and trains a sixth faster.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, D, H, W), channels_last in and out."""
        if x.device.type != "cpu":
            return super().forward(x)
        return functional.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class PointwiseSiLU(Pointwise):
    """A 1x1 convolution and SiLU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, D, H, W)."""
        return functional.silu(super().forward(x), inplace=True)


class NormSiLU(nn.BatchNorm2d):
    """Batch norm and SiLU.

    In training on a CPU the normalised values between the two are computed again in the backward pass instead of being
    kept: of three tensors per convolution two remain, which decides how large a batch fits. (The saving of in-place
    activated batch norm, Rota Bulò et al. 2018, arXiv:1712.02616, for an activation without an inverse.)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to the same shape."""
        if not (self.training and torch.is_grad_enabled() and x.device.type == "cpu"):
            return functional.silu(super().forward(x), inplace=True)
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        result: torch.Tensor = _NormSiLU.apply(
            x, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps
        )
        return result


class _NormSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        weight, bias, running_mean, running_var, momentum, eps = arguments
        y, mean, inverse_std = torch.native_batch_norm(
            x, weight, bias, running_mean, running_var, training=True, momentum=momentum, eps=eps
        )
        ctx.save_for_backward(x, weight, bias, mean, inverse_std)
        ctx.eps = eps
        return functional.silu(y, inplace=True)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, mean, inverse_std = ctx.saved_tensors
        scale = weight * inverse_std
        shift = bias - mean * scale
        y = torch.addcmul(shift.view(-1, 1, 1), x, scale.view(-1, 1, 1)).to(x.dtype)
        gradient = torch.ops.aten.silu_backward(gradients[0], y, grad_input=y)
        into = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, inverse_std, train=True, eps=ctx.eps, output_mask=[True] * 3
        )
        return (*into, None, None, None, None)
