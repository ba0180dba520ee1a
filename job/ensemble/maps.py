"""Where an ensemble looked on new cells: a picture per image."""

from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from job.data import tree
from job.data.images import Pixels
from job.ensemble.networks import TorchEnsemble
from job.ensemble.scoring import Draw
from job.inference.activation import as_bytes, grad_cam
from job.reporting.cells import overlay

_STEM = 60  # characters of an image's name that a picture keeps: with four bytes each a file name has room for them


def drawer(ensemble: TorchEnsemble, folder: Path) -> Draw:
    """Draws each image in grey under the activation map of its predicted class, the stronger the warmer, as WebP.

    The map is the mean of the members' maps. Pictures are counted, because images of several folders may have one name.
    """
    numbers = count(1)
    for member in ensemble.members:
        # No gradient before the features is asked for, and keeping what it would need takes most of the memory.
        member.network.requires_grad_(requires_grad=False)

    def draw(files: list[Path], pixels: Pixels, predicted: npt.NDArray[np.intp]) -> list[str]:
        batch = torch.from_numpy(pixels).to(ensemble.device).permute(0, 3, 1, 2)
        classes = torch.from_numpy(predicted).to(ensemble.device)
        maps = ensemble.each(lambda member: grad_cam(member.network, member.normalise(batch), classes).cpu())
        names = []
        for file, image, activation in zip(files, pixels, as_bytes(torch.stack(maps).mean(dim=0)), strict=True):
            names.append(f"{next(numbers):06d}-{tree.shown(file.stem)[:_STEM]}.webp")
            (folder / names[-1]).write_bytes(overlay(image, activation))
        return names

    return draw
