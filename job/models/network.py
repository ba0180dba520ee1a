"""The networks: EfficientNets of efficientnet-pytorch, made quick on CPU and GPU without changing what they compute."""

from typing import Any

import torch
from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import efficientnet, efficientnet_params
from torch import nn
from torch.nn import functional

from job.models import weights

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
    pretrained: bool,
    seed: int,
) -> EfficientNet:
    """A network with a fresh classification layer.

    Args:
        backbone: `efficientnet-b0` … `efficientnet-b7` (Tan & Le 2019) or `efficientnet-lite0` (without
            squeeze-and-excitation, ReLU6 in place of Swish).
        classes: outputs of the classification layer.
        size: side of the images in pixels; decides the "same" padding of every convolution.
        dropout: probability before the classification layer.
        stochastic_depth: probability of skipping the last block in training, rising linearly from 0 at the first
            (`drop_connect_rate` of efficientnet-pytorch, whose default is 0.2).
        pretrained: ImageNet weights in all other layers; otherwise random ones.
        seed: of the random weights.

    Raises:
        UserError: the weights are not to be had.
    """
    lite = backbone.startswith("efficientnet-lite")
    width, depth, _, _ = efficientnet_params("efficientnet-b0" if lite else backbone)
    blocks, parameters = efficientnet(width, depth, size, dropout, stochastic_depth, classes)
    if lite:
        blocks = [block._replace(se_ratio=None) for block in blocks]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EfficientNet(blocks, parameters)
        _replace_activations(network, nn.ReLU6(inplace=True) if lite else nn.SiLU(inplace=True))
        _replace_convolutions(network)
    if pretrained:
        _load_features(network, weights.imagenet(backbone))
    return network.to(memory_format=torch.channels_last)


def _replace_activations(network: EfficientNet, activation: nn.Module) -> None:
    # efficientnet-pytorch's Swish is an autograd function in Python; torch's SiLU is the same function as one kernel.
    network._swish = activation
    for block in network._blocks:
        block._swish = activation


class Pointwise(nn.Conv2d):
    """A 1x1 convolution, on the CPU as the matrix product that it is.

    With one thread torch sends 1x1 convolutions to its slowest implementation; a matrix product over channels_last
    memory needs no copy and trains a sixth faster.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, D, H, W), channels_last in and out."""
        if x.device.type != "cpu":
            return super().forward(x)
        return functional.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def _replace_convolutions(network: EfficientNet) -> None:
    """Give every convolution the quickest form of the same arithmetic; the names of its weights stay."""
    for module in list(network.modules()):
        for name, conv in list(module.named_children()):
            if not isinstance(conv, nn.Conv2d):
                continue
            if conv.kernel_size == (1, 1):
                pointwise = Pointwise(conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None)
                pointwise.weight, pointwise.bias = conv.weight, conv.bias
                setattr(module, name, pointwise)
            elif tuple(conv.stride) == (1, 1):
                # With stride 1 "same" padding is symmetric: the convolution can add it without copying the image.
                conv.static_padding = nn.Identity()
                conv.padding = (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)


def _load_features(network: EfficientNet, state: weights.State) -> None:
    own: dict[str, Any] = network.state_dict()
    state = {name: value for name, value in state.items() if not name.startswith("_fc.")}
    missing = own.keys() - state.keys() - {"_fc.weight", "_fc.bias"}
    # Files written before torch 0.4.1 lack the batch counters of batch norm, which nothing here reads.
    missing = {name for name in missing if not name.endswith("num_batches_tracked")}
    if missing or state.keys() - own.keys():
        raise ValueError(
            f"weights do not fit the network: {sorted(missing)[:3]} {sorted(state.keys() - own.keys())[:3]}"
        )
    network.load_state_dict(own | state)
