import copy

import pytest
import torch
from torch.nn import functional

from job.models.network import build

BACKBONES = (
    "efficientnet-b0", "efficientnet-lite0", "torchvision/efficientnet_b0", "torchvision/mobilenet_v2",
    "torchvision/regnet_y_400mf", "torchvision/resnet18",
)  # fmt: skip
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 1, 0, 1])


def network(backbone, *, recompute):
    net = build(backbone, classes=2, size=64, dropout=0.5, stochastic_depth=0.5, seed=1, recompute=recompute)
    return net.train()


def learn(net, steps):
    """Train with SGD; the losses, and the bytes that the network keeps for the backward pass."""
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    torch.manual_seed(3)
    losses, kept = [], 0

    def count(tensor):
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    for _ in range(steps):
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = functional.cross_entropy(net(IMAGES), CLASSES)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, kept


@pytest.mark.parametrize("backbone", [*BACKBONES, pytest.param("torchvision/convnext_tiny", marks=pytest.mark.slow)])
def test_recomputed_activations_change_memory_alone(backbone):
    """To the bit: losses, weights, running statistics and their counters, with dropout and stochastic depth."""
    usual, sparing = (network(backbone, recompute=recompute) for recompute in (False, True))
    losses, kept = learn(usual, 3)
    fewer = learn(sparing, 3)
    assert fewer[0] == losses
    assert fewer[1] < kept / 2
    expected = usual.state_dict()
    for name, value in sparing.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_copy_computes_with_its_own_weights():
    """The average of weights over steps begins as a deep copy of the network."""
    net = network("efficientnet-b0", recompute=True).eval()
    expected = net(IMAGES)
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
    assert torch.equal(twin(IMAGES), expected)
    twin(IMAGES).sum().backward()
    assert all(weight.grad is not None for weight in twin.parameters())
