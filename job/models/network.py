"""The networks by name: two families, a fresh classification layer, weights from where the parameters say.

Also what changes their arithmetic and not their results: norms folded into convolutions, activations computed twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.checkpoint import checkpoint

from job.models import efficientnet, weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LITE_MEAN = (127 / 255,) * 3
LITE_STD = (128 / 255,) * 3


def normalisation(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pixels scaled to 0 … 1, that a backbone's weights expect."""
    if backbone == "torchvision/efficientnet_v2_l":
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    return (LITE_MEAN, LITE_STD) if backbone.startswith("efficientnet-lite") else (IMAGENET_MEAN, IMAGENET_STD)


def build(
    backbone: str,
    *,
    classes: int,
    size: int,
    dropout: float,
    stochastic_depth: float,
    seed: int,
    pretrained: str = "none",
    sha256: str = "",
    recompute: bool = False,
) -> nn.Module:
    """A network with a fresh classification layer.

    Args:
        backbone: a name that `job.params.Backbone` lists: `efficientnet-…` of efficientnet-pytorch, `torchvision/…`.
        classes: outputs of the classification layer.
        size: side of the images in pixels; decides the "same" padding of convolutions in efficientnet-pytorch.
        dropout: probability before the classification layer.
        stochastic_depth: probability of skipping the last block in training, rising linearly from 0 at the first; only
            EfficientNets and ConvNeXts have it.
        seed: of the random weights.
        pretrained: `imagenet`, `none`, or the path of a weights file: of all layers but the classification layer.
        sha256: of that file.
        recompute: compute activations again in the backward pass, see `recompute_activations`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if backbone.startswith("torchvision/"):
            network, head = _torchvision(backbone, classes, dropout, stochastic_depth)
        else:
            network, head = efficientnet.build(backbone, classes, size, dropout, stochastic_depth)
    if pretrained == "imagenet":
        weights.load_features(network, weights.imagenet(backbone), head, backbone)
    elif pretrained != "none":
        weights.load_features(network, weights.of_file(Path(pretrained), sha256), head, pretrained)
    if recompute:
        recompute_activations(network)
    return network.to(memory_format=torch.channels_last)


def fuse_batch_norm(network: nn.Module) -> nn.Module:
    """Multiply the batch norms of a network in evaluation mode into its convolutions, in place.

    In evaluation mode batch norm is a factor and a shift per channel. In every backbone of `job.params.Backbone` a
    batch norm that is registered directly after a convolution takes that convolution's output; a test compares outputs.
    The product is taken in double precision, which halves the error where a channel hardly varies; the outputs of the
    network, which is returned, differ by rounding alone.
    """
    for module in list(network.modules()):
        for (name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                dtype = conv.weight.dtype
                setattr(module, name, fuse_conv_bn_eval(conv.double(), norm.double()).to(dtype))
                setattr(module, norm_name, nn.Identity())
    return network


def _torchvision(backbone: str, classes: int, dropout: float, stochastic_depth: float) -> tuple[nn.Module, str]:
    """A network such as `torchvision/resnet50` with our classification layer, and the name of that layer.

    The layer is the network's last linear one, on the pooled features; dropout comes before it.
    """
    # Imported where it is used: torchvision takes 160 MiB of every process.
    from torchvision.models import get_model  # noqa: PLC0415

    name = backbone.removeprefix("torchvision/")
    skips = {"stochastic_depth_prob": stochastic_depth} if name.startswith(("efficientnet", "convnext")) else {}
    network: nn.Module = get_model(name, weights=None, **skips)
    head, last = [pair for pair in network.named_modules() if isinstance(pair[1], nn.Linear)][-1]
    parent = network.get_submodule(head.rpartition(".")[0])
    layer = nn.Linear(last.in_features, classes)
    dropouts = [module for module in parent.children() if isinstance(module, nn.Dropout)]
    for module in dropouts:
        module.p = dropout
    setattr(parent, head.rpartition(".")[2], layer if dropouts else nn.Sequential(nn.Dropout(dropout), layer))
    for activation in network.modules():
        if isinstance(activation, nn.SiLU):
            activation.inplace = False  # while gradients are recorded, torch would copy the input of one in place first
    return network, head


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
