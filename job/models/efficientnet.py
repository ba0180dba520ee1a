"""EfficientNets of efficientnet-pytorch, with two changes that save time and leave the results as they are."""

from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import (
    BlockArgs,
    GlobalParams,
    efficientnet,
    efficientnet_params,
    round_filters,
    round_repeats,
)
from torch import nn

HEAD = "_fc"


def build(backbone: str, *, classes: int, size: int, dropout: float, stochastic_depth: float) -> EfficientNet:
    """`efficientnet-b0` … `efficientnet-b7` (Tan & Le 2019) or `efficientnet-lite0` … `efficientnet-lite2`.

    The Lite networks have ReLU6 in place of Swish and no squeeze-and-excitation. Swish is `nn.SiLU` here: that of
    efficientnet-pytorch is an autograd function in Python, which takes a quarter of the time of a step.
    """
    lite = backbone.startswith("efficientnet-lite")
    width, depth, _, _ = efficientnet_params(backbone.replace("lite", "b"))
    blocks, options = efficientnet(width, depth, size, dropout, stochastic_depth, classes)
    network = EfficientNet(*(_lite(blocks, options) if lite else (blocks, options)))
    for module in (network, *network._blocks):
        module._swish = nn.ReLU6(inplace=True) if lite else nn.SiLU()
    _pad_in_convolutions(network)
    return network


def _lite(blocks: list[BlockArgs], options: GlobalParams) -> tuple[list[BlockArgs], GlobalParams]:
    """Blocks and options of a Lite network from those of the EfficientNet with the same number.

    Stem, head and the number of blocks in the first and the last stage stay those of Lite0, however wide and deep the
    network is (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
    """
    last = len(blocks) - 1
    blocks = [
        block._replace(
            se_ratio=None,
            input_filters=round_filters(block.input_filters, options),
            output_filters=round_filters(block.output_filters, options),
            num_repeat=block.num_repeat if number in (0, last) else round_repeats(block.num_repeat, options),
        )
        for number, block in enumerate(blocks)
    ]
    return blocks, options._replace(width_coefficient=1.0, depth_coefficient=1.0)


def _pad_in_convolutions(network: EfficientNet) -> None:
    """Let convolutions of stride 1 add their "same" padding themselves.

    The padding is symmetric there, and the library's way copies every image first: 3 to 7 % of a step on a CPU.
    """
    for conv in network.modules():
        if isinstance(conv, nn.Conv2d) and tuple(conv.stride) == (1, 1):
            conv.padding = tuple(side // 2 for side in conv.kernel_size)
            conv.static_padding = nn.Identity()
