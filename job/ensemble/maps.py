"""Where an ensemble looked on new cells: a picture per image."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from job.data import tree
from job.data.images import Pixels
from job.ensemble.networks import TorchEnsemble
from job.inference.activation import as_bytes, grad_cam
from job.reporting.cells import overlay

_STEM = 60  # characters of an image's name that a picture keeps: with four bytes each a file name has room for them


class Maps:
    """Draws each image in grey under the activation map of its predicted class, the stronger the warmer, as WebP."""

    def __init__(self, ensemble: TorchEnsemble, folder: Path) -> None:
        self.ensemble = ensemble
        self.folder = folder
        self.drawn = 0
        for member in ensemble.members:
            # No gradient before the features is asked for, and keeping what it would need takes most of the memory.
            member.network.requires_grad_(requires_grad=False)

    def __call__(self, files: list[Path], pixels: Pixels, predicted: npt.NDArray[np.intp]) -> list[str]:
        """Draw these images, (B, S, S, 3), for these class numbers, (B,), and return the pictures' file names.

        Pictures are counted, because images of several folders may have one name.
        """
        names = []
        for file, image, activation in zip(files, pixels, self._activation(pixels, predicted), strict=True):
            self.drawn += 1
            names.append(f"{self.drawn:06d}-{tree.shown(file.stem)[:_STEM]}.webp")
            (self.folder / names[-1]).write_bytes(overlay(image, activation))
        return names

    def _activation(self, pixels: Pixels, predicted: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        """Mean of the members' maps: (B, h, w), the highest value of each 255; 0 where nothing speaks for the class."""
        device = self.ensemble.device
        batch = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
        classes = torch.from_numpy(predicted).to(device)
        maps = self.ensemble.each(lambda member: grad_cam(member.network, member.normalise(batch), classes).cpu())
        return as_bytes(torch.stack(maps).mean(dim=0))
