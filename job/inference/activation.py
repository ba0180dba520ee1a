"""Where a network looked: class activation maps, by captum."""

import torch
from captum.attr import LayerGradCam


def grad_cam(network: torch.nn.Module, pixels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017) of the features before global pooling, for one class per image.

    Args:
        network: of any family, in evaluation mode.
        pixels: normalised images, (B, 3, S, S).
        classes: the class number explained for each image, (B,).

    Returns:
        Maps scaled so that the highest value of each is 1, (B, h, w) with h and w those of the features; a map is all
        zero where nothing speaks for the class.
    """
    # The input of the pooling is taken: the activation before it works in place and would change a kept output. Only
    # torchvision's MobileNetV2 pools without a layer of its own.
    parts = dict(network.named_children())
    pooling = parts.get("_avg_pooling") or parts.get("avgpool")
    maps: torch.Tensor = LayerGradCam(network, pooling or parts["features"]).attribute(
        pixels, target=classes, attribute_to_layer_input=pooling is not None, relu_attributions=True
    )
    maps = maps.detach().squeeze(1)
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
