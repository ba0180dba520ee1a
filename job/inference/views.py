"""The views of an image whose predictions are averaged at test time."""

from collections.abc import Iterator

import torch

VIEWS = 8
"""Ways to lay a square on itself: four quarter turns, each also mirrored (the dihedral group)."""


def views(pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    """The eight dihedral views of every image: (B, C, S, S) each; the first is the image itself."""
    for turned in (pixels, pixels.transpose(-1, -2)):
        yield from (turned, turned.flip(-1), turned.flip(-2), turned.flip(-1, -2))
