"""Forward and backward pass of an EfficientNet block over chunks of a batch: see `mbconv`.

Between the convolutions images are (N, H, W, C), the memory order of channels_last, so that a 1x1 convolution is a
matrix product.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from job.models.block_parts import Gate, Norm, Scratch, Shape, Statistics, Weights, first, last, rows
from job.models.depthwise import convolve, gradients_of

CHUNK_BYTES = 2 << 20
"""Most bytes of a chunk's widest tensor, at least one image: a few such tensors fit the cache of a processor."""

aten = torch.ops.aten
Tensor = torch.Tensor


def body(x: Tensor, shape: Shape, weights: Weights) -> tuple[Tensor, list[Tensor], list[Tensor], list[int]]:
    """A block up to its last batch norm, with statistics of the batch: differentiable once.

    Args:
        x: (B, C, H, W).
        shape: of the block.
        weights: of the block.

    Returns:
        (B, D, H', W') in channels_last order; means, biased variances and values per channel of the first one or two
        norms.
    """
    out, *statistics = _Body.apply(x.contiguous(memory_format=torch.channels_last), shape, *weights)
    counts = [x.numel() // x.shape[1]] if weights.expand is not None else []
    counts.append(out.numel() // out.shape[1])
    return out, statistics[: len(counts)], statistics[len(counts) :], counts


def folded_body(x: Tensor, shape: Shape, weights: Weights, shift: Tensor) -> Tensor:
    """A whole block whose norms are folded into its convolutions: `shift0`, `shift1` and `shift` are their biases."""
    x = last(x.contiguous(memory_format=torch.channels_last))
    project, parts = weights.project.flatten(1), []
    for chunk in _chunks(x, len(weights.depthwise)):
        y = x[chunk]
        if weights.expand is not None:
            y = shape.activation.of(functional.linear(y, weights.expand.flatten(1), weights.shift0))
        a = shape.activation.of(convolve(y, weights.depthwise, weights.shift1, shape))
        if weights.reduce is not None:
            a.mul_(Gate(a, weights).value)
        parts.append(functional.linear(a, project, shift))
    return first(torch.cat(parts))


class _Body(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        weights, x = Weights(*tensors), last(x)  # type: ignore[arg-type]
        chunks = _chunks(x, len(weights.depthwise))
        activation, scratch = shape.activation, Scratch(x)
        norms: list[Norm] = []
        wide = x
        if weights.expand is not None:
            wide, statistics = x.new_empty(*x.shape[:3], len(weights.expand)), Statistics()
            expand = weights.expand.flatten(1).t()
            for chunk in chunks:
                torch.mm(rows(x[chunk]), expand, out=rows(wide[chunk]))
                statistics.add(wide[chunk])
            norms.append(statistics.norm(weights.norm0, shape.eps))
        parts, statistics = [], Statistics()
        for chunk in chunks:
            y = activation.of(norms[0](wide[chunk], scratch)) if norms else wide[chunk]
            parts.append(convolve(y, weights.depthwise, None, shape))
            statistics.add(parts[-1])
        norms.append(statistics.norm(weights.norm1, shape.eps))
        out = x.new_empty(len(x), *parts[0].shape[1:3], len(weights.project))
        project = weights.project.flatten(1).t()
        for chunk, z in zip(chunks, parts, strict=True):
            a = activation.of(norms[-1](z, scratch))
            if weights.reduce is not None:
                a.mul_(Gate(a, weights).value)
            torch.mm(rows(a), project, out=rows(out[chunk]))
        ctx.save_for_backward(x, wide, *parts, *tensors, *(value for norm in norms for value in norm))
        ctx.shape, ctx.chunks = shape, chunks
        means, variances = [norm.mean for norm in norms], [norm.variance for norm in norms]
        ctx.mark_non_differentiable(*means, *variances)
        return first(out), *means, *variances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        shape, chunks, saved = ctx.shape, ctx.chunks, ctx.saved_tensors
        x, wide, *rest = saved
        parts, rest = rest[: len(chunks)], rest[len(chunks) :]
        weights = Weights(*rest[: len(Weights._fields)])
        rest = rest[len(Weights._fields) :]
        size = len(Norm._fields)
        norms = [Norm(*rest[i : i + size]) for i in range(0, len(rest), size)]
        found: dict[str, Tensor] = {
            name: torch.zeros_like(weight, memory_format=torch.contiguous_format)
            for name, weight in zip(Weights._fields, weights, strict=True)
            if weight is not None
        }
        gradients = _through_projection(
            last(gradient.contiguous(memory_format=torch.channels_last)),
            chunks,
            parts,
            norms[-1],
            weights,
            shape,
            found,
        )
        count = sum(z.numel() for z in parts) // parts[0].shape[-1]
        back = norms[-1].back(found["scale1"], found["shift1"], count)
        into = _through_depthwise(back, gradients, chunks, parts, wide, norms[0] if len(norms) > 1 else None, weights,
                                  shape, found)  # fmt: skip
        if weights.expand is not None:
            into = _through_expansion(into, chunks, wide, x, norms[0], weights, found)
        return first(into), None, *(found.get(name) for name in Weights._fields)


def _through_projection(
    gradient: Tensor,
    chunks: list[slice],
    parts: list[Tensor],
    norm: Norm,
    weights: Weights,
    shape: Shape,
    found: dict[str, Tensor],
) -> list[Tensor]:
    """The gradient of a chunk's second norm, for every chunk, from that of the block's output."""
    project = weights.project.flatten(1)
    gates = [found[name].flatten(1) if found[name].ndim == 4 else found[name] for name in Weights._fields[6:10]
             if name in found]  # fmt: skip
    gradients, scratch = [], Scratch(gradient)
    for chunk, z in zip(chunks, parts, strict=True):
        a, slope = shape.activation.with_slope(norm(z, scratch), scratch)
        after = rows(gradient[chunk])
        before = scratch("before", z.shape)
        torch.mm(after, project, out=rows(before))
        if weights.reduce is not None:
            gate = Gate(a, weights)
            before = gate.back(a, before, gates, scratch)
            a.mul_(gate.value)
        found["project"].flatten(1).addmm_(after.t(), rows(a))
        gradients.append(shape.activation.back(before, slope, torch.empty_like(before)))
        _sum_norm(gradients[-1], z, norm, weights.scale1, shape.eps, found, "1")
    return gradients


def _through_depthwise(
    back: Callable[[Tensor, Tensor, Scratch], Tensor],
    gradients: list[Tensor],
    chunks: list[slice],
    parts: list[Tensor],
    wide: Tensor,
    norm: Norm | None,
    weights: Weights,
    shape: Shape,
    found: dict[str, Tensor],
) -> Tensor:
    """The gradient of the first norm's output, or of the block's input where it does not widen: like `wide`."""
    into, scratch = torch.empty_like(wide), Scratch(wide)
    for number, chunk in enumerate(chunks):
        after = back(gradients[number], parts[number], scratch)
        gradients[number] = after.new_empty(0)
        y, slope = shape.activation.with_slope(norm(wide[chunk], scratch), scratch) if norm else (wide[chunk], None)
        before, weight = gradients_of(first(after), y, weights.depthwise, shape)
        found["depthwise"] += weight
        if norm is None:
            into[chunk] = before
        else:
            assert slope is not None
            shape.activation.back(before, slope, into[chunk])
            _sum_norm(into[chunk], wide[chunk], norm, weights.scale0, shape.eps, found, "0")
    return into


def _through_expansion(
    into: Tensor, chunks: list[slice], wide: Tensor, x: Tensor, norm: Norm, weights: Weights, found: dict[str, Tensor]
) -> Tensor:
    """The gradient of the block's input from that of the first norm's output."""
    assert weights.expand is not None
    back = norm.back(found["scale0"], found["shift0"], wide.numel() // wide.shape[-1])
    expand, result, scratch = weights.expand.flatten(1), torch.empty_like(x), Scratch(wide)
    for chunk in chunks:
        after = rows(back(into[chunk], wide[chunk], scratch))
        found["expand"].flatten(1).addmm_(after.t(), rows(x[chunk]))
        torch.mm(after, expand, out=rows(result[chunk]))
    return result


def _sum_norm(
    gradient: Tensor, x: Tensor, norm: Norm, weight: Tensor | None, eps: float, found: dict[str, Tensor], which: str
) -> None:
    """Add a chunk's share of the gradients of a norm's weight and bias."""
    _, scale, shift = aten.native_batch_norm_backward(
        first(gradient), first(x), weight, None, None, norm.mean, norm.inverse, train=True, eps=eps,
        output_mask=[False, True, True],
    )  # fmt: skip
    found[f"scale{which}"] += scale
    found[f"shift{which}"] += shift


def _chunks(x: Tensor, channels: int) -> list[slice]:
    """Equal parts of the batch, as many as the widest tensor of (H, W, channels) per image asks for."""
    images = max(1, CHUNK_BYTES // (x.shape[1] * x.shape[2] * channels * x.element_size()))
    size = -(-len(x) // -(-len(x) // images))
    return [slice(start, min(start + size, len(x))) for start in range(0, len(x), size)]
