"""Classification networks of torchvision as the second family of backbones."""

from torch import nn
from torchvision.models import get_model


def build(backbone: str, *, classes: int, dropout: float, stochastic_depth: float) -> tuple[nn.Module, str]:
    """A network such as `torchvision/resnet50` with our classification layer, and the name of that layer.

    The layer is the network's last linear one, on the pooled features; dropout comes before it.
    """
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
    return network, head
