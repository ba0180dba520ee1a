"""The networks by name: two families, a fresh classification layer, weights from where the parameters say."""

from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from job.models import efficientnet, weights
from job.models.recomputation import recompute_activations

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LITE_MEAN = (127 / 255,) * 3
LITE_STD = (128 / 255,) * 3


def normalisation(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pixels scaled to 0 … 1, that a backbone's weights expect."""
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
        torch.manual_seed(seed)
        network: nn.Module
        if backbone.startswith("torchvision/"):
            # Imported where it is used: torchvision takes 160 MiB of every process.
            from job.models import torchvision_family  # noqa: PLC0415

            network, head = torchvision_family.build(
                backbone, classes=classes, dropout=dropout, stochastic_depth=stochastic_depth
            )
        else:
            head = efficientnet.HEAD
            network = efficientnet.build(
                backbone, classes=classes, size=size, dropout=dropout, stochastic_depth=stochastic_depth
            )
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
