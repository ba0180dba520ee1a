"""The block of an EfficientNet, a few images at a time, so that what lies between its layers stays in the cache.

A block widens its input, convolves every channel by itself, weighs the channels and narrows them again. Layer by layer
each step writes tensors of many times the cache's size and reads them back; on a CPU that traffic takes as long as the
arithmetic. Here a batch goes through the block in chunks. Only what batch norm must see as a whole, the outputs of the
first two convolutions, is kept; everything between is computed again in the backward pass (Chen et al. 2016,
arXiv:1604.06174, with batch norm as the border of a segment), which also halves the memory.

The arithmetic is the library's, in another order of sums; a test compares outputs, gradients and statistics. GPUs,
mixed precision, several processes, export, and gradients in evaluation mode take the library's own path.
"""

from typing import cast

import torch
from efficientnet_pytorch.model import MBConvBlock
from efficientnet_pytorch.utils import drop_connect
from torch import nn

from job.models import block_parts, chunked
from job.models.layers import NormSiLU


class Block(MBConvBlock):  # type: ignore[misc]
    """`MBConvBlock` of efficientnet-pytorch with its parts, names and results."""

    @classmethod
    def take_over(cls, block: MBConvBlock) -> None:
        """Let a block of the library compute this way."""
        block.__class__ = cls

    def forward(self, inputs: torch.Tensor, drop_connect_rate: float | None = None) -> torch.Tensor:
        """(B, C, H, W) to (B, D, H / stride, W / stride)."""
        if not self._is_chunked(inputs):
            plain: torch.Tensor = super().forward(inputs, drop_connect_rate)
            return plain
        x = self._with_batch_statistics(inputs) if self._bn1.training else self._with_running_statistics(inputs)
        if self.id_skip and self._block_args.stride == 1 and inputs.shape[1] == x.shape[1]:
            if drop_connect_rate:
                x = drop_connect(x, p=drop_connect_rate, training=self.training)
            x = x + inputs
        return x

    def _is_chunked(self, inputs: torch.Tensor) -> bool:
        return (
            inputs.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_exporting()
            and type(self._bn1) in (nn.BatchNorm2d, NormSiLU)
            and (self._bn1.training or not torch.is_grad_enabled())
        )

    def _with_batch_statistics(self, inputs: torch.Tensor) -> torch.Tensor:
        widened, means, variances, counts = chunked.body(inputs, self._shape(), self._weights())
        norms = [self._bn0, self._bn1] if self._widens else [self._bn1]
        for norm, mean, variance, count in zip(norms, means, variances, counts, strict=True):
            _remember(norm, mean, variance, count)
        normed: torch.Tensor = self._bn2(widened)
        return normed

    def _with_running_statistics(self, inputs: torch.Tensor) -> torch.Tensor:
        """Batch norm is a factor and a shift per channel: both go into the convolution before it."""
        weights = self._weights()
        expand, expand_shift = _folded(self._expand_conv.weight, self._bn0) if self._widens else (None, None)
        depthwise, depthwise_shift = _folded(weights.depthwise, self._bn1)
        project, project_shift = _folded(weights.project, self._bn2)
        folded = weights._replace(
            expand=expand, shift0=expand_shift, depthwise=depthwise, shift1=depthwise_shift, project=project
        )
        return chunked.folded_body(inputs, self._shape(), folded, project_shift)

    @property
    def _widens(self) -> bool:
        return bool(self._block_args.expand_ratio != 1)

    def _shape(self) -> block_parts.Shape:
        conv = self._depthwise_conv
        # "same" padding of an even image under stride 2 is one-sided: the library pads before such a convolution.
        static = conv.static_padding
        padding = tuple(static.padding) if isinstance(static, nn.ZeroPad2d) else (conv.padding[0],) * 4
        activation = block_parts.SILU if isinstance(self._bn1, NormSiLU) else block_parts.RELU6
        return block_parts.Shape(conv.stride[0], cast(tuple[int, int, int, int], padding), self._bn1.eps, activation)

    def _weights(self) -> block_parts.Weights:
        weights = block_parts.Weights(
            expand=None, scale0=None, shift0=None,
            depthwise=self._depthwise_conv.weight, scale1=self._bn1.weight, shift1=self._bn1.bias,
            reduce=None, reduce_bias=None, widen=None, widen_bias=None,
            project=self._project_conv.weight,
        )  # fmt: skip
        if self._widens:
            weights = weights._replace(expand=self._expand_conv.weight, scale0=self._bn0.weight, shift0=self._bn0.bias)
        if self.has_se:
            reduce, widen = self._se_reduce, self._se_expand
            weights = weights._replace(
                reduce=reduce.weight, reduce_bias=reduce.bias, widen=widen.weight, widen_bias=widen.bias
            )
        return weights


def _remember(norm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
    """Move the running statistics towards those of a batch, as `nn.BatchNorm2d` does."""
    if not norm.track_running_stats:
        return
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * (count / (count - 1)), share)


def _folded(weight: torch.Tensor, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale
