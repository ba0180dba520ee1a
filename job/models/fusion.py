"""Networks for prediction alone: batch norm becomes part of the convolution before it."""

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fuse_batch_norm(network: nn.Module) -> nn.Module:
    """Multiply the batch norms of a network in evaluation mode into its convolutions, in place.

    In evaluation mode batch norm is a factor and a shift per channel. In every backbone of `job.params.Backbone` a
    batch norm that is registered directly after a convolution takes that convolution's output; a test compares outputs.

    Returns:
        The same network, whose outputs differ by rounding alone.
    """
    for module in list(network.modules()):
        for (name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return network
