"""What the passes of `chunked` are made of: tensors used again, activations, batch norm, squeeze and excitation.

Images are (N, H, W, C) here, the memory order of channels_last: batch norm is one multiplication and addition along the
last dimension.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional

aten = torch.ops.aten
Tensor = torch.Tensor


class Scratch:
    """Tensors that one chunk after the other uses again: what is written lies where the cache still is."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._held: dict[str, Tensor] = {}

    def __call__(self, name: str, shape: torch.Size) -> Tensor:
        """The tensor of this name, of any content. The first call decides its size; later ones ask for no more."""
        if name not in self._held:
            self._held[name] = self._like.new_empty(shape.numel())
        return self._held[name][: shape.numel()].view(shape)


class Activation(NamedTuple):
    """An activation and what its gradient needs.

    Attributes:
        of: of a tensor, which it overwrites.
        with_slope: of a tensor, which it may overwrite, beside what `back` needs of it.
        back: gradient of the output and that need to the gradient of the input, into the third tensor.
    """

    of: Callable[[Tensor], Tensor]
    with_slope: Callable[[Tensor, Scratch], tuple[Tensor, Tensor]]
    back: Callable[[Tensor, Tensor, Tensor], Tensor]


def _silu_with_slope(y: Tensor, scratch: Scratch) -> tuple[Tensor, Tensor]:
    # The exponential is what costs: one sigmoid serves both.
    sigmoid = torch.sigmoid(y, out=scratch("sigmoid", y.shape))
    a = torch.mul(y, sigmoid, out=scratch("activated", y.shape))
    return a, torch.addcmul(sigmoid, a, sigmoid, value=-1, out=y).add_(a)


SILU = Activation(
    lambda y: functional.silu(y, inplace=True),
    _silu_with_slope,
    lambda gradient, slope, out: torch.mul(gradient, slope, out=out),
)
RELU6 = Activation(
    lambda y: y.clamp_(0, 6),
    lambda y, scratch: (torch.clamp(y, 0, 6, out=scratch("activated", y.shape)), y),
    lambda gradient, y, out: aten.hardtanh_backward.grad_input(gradient, y, 0, 6, grad_input=out),
)


class Shape(NamedTuple):
    """What a block does beside its weights.

    `padding` of the depthwise convolution is left, right, top, bottom.
    """

    stride: int
    padding: tuple[int, int, int, int]
    eps: float
    activation: Activation


class Weights(NamedTuple):
    """Of a block; `expand` with its norm is missing in the first, squeeze and excitation in the Lite networks."""

    expand: Tensor | None
    scale0: Tensor | None
    shift0: Tensor | None
    depthwise: Tensor
    scale1: Tensor
    shift1: Tensor
    reduce: Tensor | None
    reduce_bias: Tensor | None
    widen: Tensor | None
    widen_bias: Tensor | None
    project: Tensor

    @property
    def norm0(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of the norm after the expansion."""
        assert self.scale0 is not None
        assert self.shift0 is not None
        return self.scale0, self.shift0

    @property
    def norm1(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of the norm after the depthwise convolution."""
        return self.scale1, self.shift1

    @property
    def gate(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights and biases of squeeze and excitation, of a network that has it."""
        assert self.reduce is not None
        assert self.reduce_bias is not None
        assert self.widen is not None
        assert self.widen_bias is not None
        return self.reduce, self.reduce_bias, self.widen, self.widen_bias


class Norm(NamedTuple):
    """Batch norm of one batch: `x * scale + shift`."""

    mean: Tensor
    variance: Tensor
    inverse: Tensor
    scale: Tensor
    shift: Tensor

    def __call__(self, x: Tensor, scratch: Scratch) -> Tensor:
        """The normed values of a chunk (N, H, W, C)."""
        return torch.addcmul(self.shift, x, self.scale, out=scratch("normed", x.shape))

    def back(
        self, weight_gradient: Tensor, bias_gradient: Tensor, count: int
    ) -> Callable[[Tensor, Tensor, Scratch], Tensor]:
        """From a chunk's gradient after the norm and its values before it to the gradient before it.

        Args:
            weight_gradient: sum over the batch of gradient times normalised value.
            bias_gradient: sum over the batch of the gradient.
            count: values per channel in the batch.
        """
        slope = -self.scale * self.inverse * weight_gradient / count
        constant = -self.scale * bias_gradient / count - slope * self.mean
        return lambda gradient, x, scratch: torch.addcmul(constant, x, slope, out=scratch("before", x.shape)).addcmul_(
            gradient, self.scale
        )


class Statistics:
    """Mean and variance of a batch from those of its chunks (Chan et al. 1979)."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Tensor, int]] = []

    def add(self, x: Tensor) -> None:
        """Take in a chunk (N, H, W, C)."""
        mean, variance = aten.batch_norm_update_stats(first(x), None, None, 0.0)
        self._parts.append((mean, variance, x.numel() // x.shape[-1]))

    def norm(self, weights: tuple[Tensor, Tensor], eps: float) -> Norm:
        """Of all chunks that were added, with this scale and shift."""
        means = torch.stack([mean for mean, _, _ in self._parts])
        variances = torch.stack([variance for _, variance, _ in self._parts])
        share = torch.tensor([count for _, _, count in self._parts], dtype=means.dtype).view(-1, 1)
        share /= share.sum()
        mean = (means * share).sum(0)
        variance = ((variances + (means - mean).square()) * share).sum(0)
        inverse = torch.rsqrt(variance + eps)
        scale = weights[0] * inverse
        return Norm(mean, variance, inverse, scale, weights[1] - mean * scale)


class Gate:
    """Squeeze and excitation: a factor for every image and channel, from the channels' means."""

    def __init__(self, a: Tensor, weights: Weights) -> None:
        reduce, reduce_bias, widen, widen_bias = weights.gate
        self._pixels = a.shape[1] * a.shape[2]
        self._reduce, self._widen = reduce.flatten(1), widen.flatten(1)
        self._means = a.mean((1, 2))
        self._squeezed = torch.addmm(reduce_bias, self._means, self._reduce.t())
        self._activated = functional.silu(self._squeezed)
        self._factors = torch.sigmoid(torch.addmm(widen_bias, self._activated, self._widen.t()))

    @property
    def value(self) -> Tensor:
        """(N, 1, 1, C)."""
        return self._factors[:, None, None]

    def back(self, a: Tensor, gradient: Tensor, sums: list[Tensor], scratch: Scratch) -> Tensor:
        """The gradient of `a` from that of `a * value`; the weights' gradients are added to `sums`."""
        product = torch.mul(gradient, a, out=scratch("sigmoid", a.shape))
        wide = product.sum((1, 2)) * self._factors * (1 - self._factors)
        narrow = aten.silu_backward(wide @ self._widen, self._squeezed)
        sums[0].addmm_(narrow.t(), self._means)
        sums[1].add_(narrow.sum(0))
        sums[2].addmm_(wide.t(), self._activated)
        sums[3].add_(wide.sum(0))
        means = (narrow @ self._reduce) / self._pixels
        return torch.addcmul(means[:, None, None], gradient, self.value, out=gradient)


def rows(x: Tensor) -> Tensor:
    """(…, C) as rows of channels: a view."""
    return x.reshape(-1, x.shape[-1])


def last(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H, W, C): a view."""
    return x.permute(0, 2, 3, 1)


def first(x: Tensor) -> Tensor:
    """(N, H, W, C) to (N, C, H, W): a view."""
    return x.permute(0, 3, 1, 2)
