"""The depthwise convolution of an EfficientNet block and its gradients, on images (N, H, W, C)."""

import torch
from torch.nn import functional

from job.models.block_parts import Shape, first, last

aten = torch.ops.aten
Tensor = torch.Tensor


def convolve(y: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
    """(N, H, W, C) to (N, H', W', C) with weights (C, 1, k, k)."""
    image, padding = _padded(y, shape)
    return last(functional.conv2d(image, weight, bias, shape.stride, padding, groups=len(weight)))


def gradients_of(gradient: Tensor, y: Tensor, weight: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Gradients of the input (N, H, W, C) and of the weight (C, 1, k, k) of the depthwise convolution.

    oneDNN takes twenty times as long for the weights of a 5x5 kernel as for those of a 3x3 kernel: a wide kernel's
    gradient is put together from those of 3x3 kernels that look at shifted images.
    """
    size, stride, transposed = weight.shape[-1], shape.stride, False

    def gradients(image: Tensor, kernel: Tensor, padding: int, mask: list[bool]) -> tuple[Tensor, Tensor, None]:
        answer: tuple[Tensor, Tensor, None] = aten.convolution_backward(
            gradient, image, kernel, None, [stride] * 2, [padding] * 2, [1, 1], transposed, [0, 0], len(kernel), mask
        )
        return answer

    image, padding = _padded(y, shape)
    before, kernel, _ = gradients(image, weight, padding, [True, size == 3, False])
    left, right, top, bottom = shape.padding
    if not padding:
        before = before[:, :, top : image.shape[2] - bottom, left : image.shape[3] - right]
    if size > 3:
        image = functional.pad(first(y), shape.padding)
        kernel, part = torch.empty_like(weight), weight[:, :, :3, :3].contiguous()
        rows, columns = ((length - 1) * stride + 3 for length in gradient.shape[2:])
        for i in range(0, size - 2, 2):
            for j in range(0, size - 2, 2):
                _, tile, _ = gradients(image[:, :, i : i + rows, j : j + columns], part, 0, [False, True, False])
                kernel[:, :, i : i + 3, j : j + 3] = tile
    return last(before), kernel


def _padded(y: Tensor, shape: Shape) -> tuple[Tensor, int]:
    """(N, C, H, W) and what the convolution pads on every side; it cannot pad one side alone."""
    if len(set(shape.padding)) == 1:
        return first(y), shape.padding[0]
    return functional.pad(first(y), shape.padding), 0
