import numpy as np
import pytest
import torch

from job.inference.activation import grad_cam
from job.models.network import build


@pytest.mark.parametrize(
    ("backbone", "features"),
    [
        ("efficientnet-lite0", lambda net, x: net.extract_features(x)),
        ("torchvision/efficientnet_b0", lambda net, x: net.features(x)),
        ("torchvision/mobilenet_v2", lambda net, x: net.features(x)),
    ],
)
def test_maps_are_those_of_the_paper(backbone, features):
    """Channels weighted by the mean gradient of the class's output, and what speaks for the class alone."""
    network = build(backbone, classes=3, size=64, dropout=0.0, stochastic_depth=0.0, seed=1).eval()
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([2, 0])
    maps = grad_cam(network, pixels, classes)
    activations = features(network, pixels).detach().requires_grad_()
    layer = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    # Global average pooling and one linear layer: the gradient is the layer's weight, the same everywhere.
    weights = layer.weight[classes] / activations.shape[2] / activations.shape[3]
    expected = torch.einsum("bc,bchw->bhw", weights, activations).relu().detach()
    expected /= expected.amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    assert np.allclose(maps, expected, atol=1e-4)
    assert maps.amax() == pytest.approx(1)
