"""EfficientNets of efficientnet-pytorch, with two changes that save time and leave the results as they are."""

from efficientnet_pytorch import EfficientNet, utils
from torch import nn


def build(backbone: str, classes: int, size: int, dropout: float, stochastic_depth: float) -> tuple[EfficientNet, str]:
    """`efficientnet-b0` … `efficientnet-b7` (Tan & Le 2019) or `efficientnet-lite0` … `efficientnet-lite2`.

    Returned with the name of its classification layer. The Lite networks have ReLU6 in place of Swish and no
    squeeze-and-excitation. Swish is `nn.SiLU` here: that of efficientnet-pytorch is an autograd function in Python,
    which takes a quarter of the time of a step.
    """
    lite = backbone.startswith("efficientnet-lite")
    width, depth, _, _ = utils.efficientnet_params(backbone.replace("lite", "b"))
    blocks, options = utils.efficientnet(width, depth, size, dropout, stochastic_depth, classes)
    network = EfficientNet(*(_lite(blocks, options) if lite else (blocks, options)))
    for module in (network, *network._blocks):
        module._swish = nn.ReLU6(inplace=True) if lite else nn.SiLU()
    for conv in network.modules():
        # The "same" padding of stride 1 is symmetric: convolutions can add it themselves. The library's way copies
        # every image first, which takes 3 to 7 % of a step on a CPU.
        if isinstance(conv, nn.Conv2d) and tuple(conv.stride) == (1, 1):
            conv.padding = tuple(side // 2 for side in conv.kernel_size)
            conv.static_padding = nn.Identity()
    return network, "_fc"


def _lite(
    blocks: list[utils.BlockArgs], options: utils.GlobalParams
) -> tuple[list[utils.BlockArgs], utils.GlobalParams]:
    """Blocks and options of a Lite network from those of the EfficientNet with the same number.

    Stem, head and the number of blocks in the first and the last stage stay those of Lite0, however wide and deep the
    network is (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
    """
    last = len(blocks) - 1
    blocks = [
        block._replace(
            se_ratio=None,
            input_filters=utils.round_filters(block.input_filters, options),
            output_filters=utils.round_filters(block.output_filters, options),
            num_repeat=block.num_repeat if number in (0, last) else utils.round_repeats(block.num_repeat, options),
        )
        for number, block in enumerate(blocks)
    ]
    return blocks, options._replace(width_coefficient=1.0, depth_coefficient=1.0)
