import copy

import pytest
import torch
from torch import nn

from job.models.network import build, fuse_batch_norm

QUICK = (
    "efficientnet-b0", "efficientnet-lite0", "torchvision/efficientnet_b0", "torchvision/mobilenet_v2",
    "torchvision/mobilenet_v3_small", "torchvision/regnet_y_400mf", "torchvision/resnet18", "torchvision/resnet50",
)  # fmt: skip

OTHER_FAMILIES = (
    "efficientnet-lite2", "torchvision/convnext_tiny", "torchvision/efficientnet_v2_s", "torchvision/regnet_x_400mf",
    "torchvision/resnext50_32x4d", "torchvision/wide_resnet50_2",
)  # fmt: skip


def network_and_images(backbone):
    """A network in evaluation mode whose norms have statistics, factors and shifts of their own, and four images."""
    size = 75  # an odd side: "same" padding is one-sided in some layers and not in others
    network = build(backbone, classes=3, size=size, dropout=0.2, stochastic_depth=0.2, seed=1).train()
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, size, size, generator=rng)
    for norm in norms(network):
        norm.momentum = 1.0
        norm.weight.data = 0.5 + torch.rand(norm.weight.shape, generator=rng)
        norm.bias.data = 0.5 - torch.rand(norm.bias.shape, generator=rng)
    with torch.inference_mode():
        network(images)
    return network.eval(), images


def norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("backbone", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHER_FAMILIES)])
def test_norms_in_convolutions_predict_the_same(backbone):
    """In double precision: deep random networks magnify the last bits of single precision."""
    network, images = network_and_images(backbone)
    network, images = network.double(), images.double()
    fused = fuse_batch_norm(copy.deepcopy(network))
    with torch.inference_mode():
        assert torch.allclose(fused(images), network(images), rtol=1e-9, atol=1e-9)
    assert not norms(fused)
    assert bool(norms(network)) == ("convnext" not in backbone)


@pytest.mark.parametrize("backbone", ["efficientnet-b0", "efficientnet-lite0", "torchvision/resnet18"])
def test_probabilities_in_single_precision_differ_by_rounding(backbone):
    network, images = network_and_images(backbone)
    fused = fuse_batch_norm(copy.deepcopy(network))
    with torch.inference_mode():
        assert torch.allclose(fused(images).softmax(1), network(images).softmax(1), rtol=0, atol=1e-5)
