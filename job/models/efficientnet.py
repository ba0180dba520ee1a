"""EfficientNets of efficientnet-pytorch, made quick on CPU and GPU without changing what they compute."""

from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import efficientnet, efficientnet_params, round_filters, round_repeats
from torch import nn

from job.models.layers import NormSiLU, Pointwise, PointwiseSiLU
from job.models.mbconv import Block

HEAD = "_fc"


def build(backbone: str, *, classes: int, size: int, dropout: float, stochastic_depth: float) -> EfficientNet:
    """`efficientnet-b0` … `efficientnet-b7` (Tan & Le 2019) or `efficientnet-lite0` … `efficientnet-lite2`.

    The Lite networks have no squeeze-and-excitation and ReLU6 in place of Swish; stem, head and the number of blocks in
    the first and the last stage stay those of Lite0
    (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
    """
    if not backbone.startswith("efficientnet-lite"):
        width, depth, _, _ = efficientnet_params(backbone)
        network = EfficientNet(*efficientnet(width, depth, size, dropout, stochastic_depth, classes))
        _fuse_swish(network)
    else:
        width, depth, _, _ = efficientnet_params(backbone.replace("lite", "b"))
        blocks, scaled = efficientnet(width, depth, size, dropout, stochastic_depth, classes)
        last = len(blocks) - 1
        blocks = [
            block._replace(
                se_ratio=None,
                input_filters=round_filters(block.input_filters, scaled),
                output_filters=round_filters(block.output_filters, scaled),
                num_repeat=block.num_repeat if number in (0, last) else round_repeats(block.num_repeat, scaled),
            )
            for number, block in enumerate(blocks)
        ]
        network = EfficientNet(blocks, scaled._replace(width_coefficient=1.0, depth_coefficient=1.0))
        for module in (network, *network._blocks):
            module._swish = nn.ReLU6(inplace=True)
    _replace_convolutions(network)
    for block in network._blocks:
        Block.take_over(block)
    return network


def _fuse_swish(network: EfficientNet) -> None:
    """Swish inside the layer before it; as an autograd function in Python it takes a third of the time of a step."""
    for module in (network, *network._blocks):
        module._swish = nn.Identity()
        for name in ("_bn0", "_bn1"):  # the third, _bn2, has no activation
            if norm := getattr(module, name, None):
                fused = NormSiLU(norm.num_features, norm.eps, norm.momentum)
                setattr(module, name, fused)
        if reduce := getattr(module, "_se_reduce", None):
            fused_reduce = PointwiseSiLU(reduce.in_channels, reduce.out_channels, 1)
            fused_reduce.weight, fused_reduce.bias = reduce.weight, reduce.bias
            module._se_reduce = fused_reduce


def _replace_convolutions(network: EfficientNet) -> None:
    """Give every convolution the quickest form of the same arithmetic; the names of its weights stay."""
    for module in list(network.modules()):
        for name, conv in list(module.named_children()):
            if not isinstance(conv, nn.Conv2d) or isinstance(conv, Pointwise):
                continue
            if conv.kernel_size == (1, 1):
                pointwise = Pointwise(conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None)
                pointwise.weight, pointwise.bias = conv.weight, conv.bias
                setattr(module, name, pointwise)
            elif tuple(conv.stride) == (1, 1):
                # With stride 1 "same" padding is symmetric: the convolution can add it without copying the image.
                conv.static_padding = nn.Identity()
                conv.padding = (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)
