"""Less memory in training for more time: activations are computed again in the backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_activations(network: nn.Module) -> None:
    """Let every block of a network keep its input alone, and compute the rest again in the backward pass.

    This is gradient checkpointing (Chen et al. 2016, arXiv:1604.06174) by `torch.utils.checkpoint`. It changes nothing
    about the result: dropout and stochastic depth draw the same numbers again, and running statistics of batch norm
    move once.
    """
    for block in _blocks(network):
        # On the instance, so that names in `state_dict` stay; a deep copy computes with its own weights.
        block.forward = partial(_forward, block)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The building blocks of a network, such as `MBConvBlock` or `BasicBlock`.

    They are the composed modules of which its stages, sequences of modules, consist. A convolution is none of them,
    though in efficientnet-pytorch it contains its padding.
    """
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _blocks(child)
        elif any(True for _ in child.children()) and not isinstance(child, nn.Conv2d):
            yield child


def _forward(block: nn.Module, *inputs: Any, **options: Any) -> Any:
    return checkpoint(
        partial(type(block).forward, block),
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), buffers_kept(block)),  # of the forward pass, and of its repetition
        **options,
    )


@contextmanager
def buffers_kept(network: nn.Module) -> Iterator[None]:
    """Let a network change copies of its buffers: the running statistics and counters of batch norm."""
    buffers = [
        (module, name, buffer) for module in network.modules() for name, buffer in module.named_buffers(recurse=False)
    ]
    for module, name, buffer in buffers:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
