"""Class activation maps, by captum: which parts of an image speak for a class."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import LayerGradCam

from job.contracts.split import Rows
from job.files import read_json
from job.inference import runs
from job.inference.pixels import Context, PixelStore, in_batches


def grad_cam(network: torch.nn.Module, pixels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017) of the features before global pooling, for one class per image, (B,).

    From normalised images, (B, 3, S, S), and a network of any family in evaluation mode to maps (B, h, w), with h and w
    those of the features. The highest value of each is 1; a map is all zero where nothing speaks for the class.
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


def maps_of_run(
    folder: Path, store: PixelStore, rows: Rows, classes: npt.NDArray[np.int64], batch_size: int, device: torch.device
) -> torch.Tensor:
    """Maps of a run's final network for images, (N,) rows, and class numbers, (N,): as of `grad_cam`, on the CPU."""
    facts = read_json(folder / runs.FACTS)
    context = Context(store, runs.normalise(facts, device), device)
    network = runs.load_network(facts, folder / runs.WEIGHTS, device)
    parts = []
    for part in in_batches(np.arange(len(rows)), batch_size):
        targets = torch.from_numpy(classes[part]).to(device)
        parts.append(grad_cam(network, context.images(rows[part]), targets).cpu())
    return torch.cat(parts)


def as_bytes(maps: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Scale maps, (N, h, w), so that the highest value of each is 255; a map of zeros stays as it is."""
    highest = maps.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
    scaled: npt.NDArray[np.uint8] = (255 * maps / highest).round().to(torch.uint8).numpy()
    return scaled
