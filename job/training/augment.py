"""Random changes of training images, the same in meaning for every method.

Everything runs on the device and on whole batches, and draws anew for every image. The size of a cell tells the classes
apart, so no policy changes the scale. What lies outside a cell is black and stays black, but under RandAugment.
"""

import math

import torch
from torch.nn import functional

from job.contracts.dataset import BACKGROUND
from job.inference.pixels import VIEWS, sent

SHIFT = 0.05
"""Largest translation of the policy `cells`, as a share of the image's side."""

COLOUR = 0.1
"""Largest relative change of brightness and of each stain in the policy `cells`."""

# Optical density of methylene blue and of eosin per channel (red, green, blue) in Giemsa-type stains: the values of
# G. Landini in the colour deconvolution of ImageJ. The third axis, what neither stain explains, is at right angles to
# both.
_BLUE = torch.tensor([0.834750233, 0.513556283, 0.196330403])
_EOSIN = torch.tensor([0.092789, 0.954111, 0.283111])
_STAINS = functional.normalize(torch.stack([_BLUE, _EOSIN, torch.linalg.cross(_BLUE, _EOSIN)]), dim=1)
_UNMIX = torch.linalg.inv(_STAINS)


def augmented(pixels: torch.Tensor, policy: str, *, magnitude: int, seed: int) -> torch.Tensor:
    """Change every image at random, as a policy says; the order of the images stays.

    From (B, 3, S, S) uint8 to uint8 or float32 in the same range 0 … 255. The policies are `none`; `dihedral`: flips
    and quarter turns, no pixel changes its value; `cells`: mirror image, rotation by any angle, translation by up to
    `SHIFT`, brightness and strength of each stain changed by up to `COLOUR`; `randaugment`: two random operations of
    RandAugment (Cubuk et al. 2020, arXiv:1909.13719; torchvision's, which has no zoom) of a magnitude from 0 to 30,
    after the dihedral flips and turns. The same seed gives the same changes on every device.
    """
    if policy == "none":
        return pixels
    rng = torch.Generator().manual_seed(seed)
    if policy == "cells":
        return _cells(pixels, rng)
    turned = _view(pixels, sent(torch.randint(VIEWS, (len(pixels),), generator=rng), pixels.device))
    return turned if policy == "dihedral" else _randaugment(turned, rng, magnitude)


def _view(pixels: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """View `number[i]`, 0 … 7, of image i: its bits stand for mirrored, upside down, transposed."""
    bits = number.view(-1, 1, 1, 1)
    pixels = torch.where((bits & 1).bool(), pixels.flip(-1), pixels)
    pixels = torch.where((bits & 2).bool(), pixels.flip(-2), pixels)
    return torch.where((bits & 4).bool(), pixels.transpose(-1, -2), pixels)


def _cells(pixels: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    draws = torch.rand(len(pixels), 8, generator=rng)
    mirror, angle, shift, brightness, stain = torch.split(sent(draws, pixels.device), [1, 1, 2, 1, 3], dim=1)
    return _recolour(_move(pixels.float(), mirror, angle, shift), brightness, stain)


def _move(pixels: torch.Tensor, mirror: torch.Tensor, angle: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Mirror or not, rotate about the centre, translate; the draws are uniform in 0 … 1, (B, 1), of `shift` (B, 2)."""
    cos, sin = torch.cos(2 * math.pi * angle), torch.sin(2 * math.pi * angle)
    sign = torch.where(mirror < 0.5, 1.0, -1.0)
    # The grid's coordinates run from -1 to 1 over the side.
    offset = (2 * shift - 1) * 2 * SHIFT
    rows = [torch.cat([sign * cos, -sin, offset[:, :1]], 1), torch.cat([sign * sin, cos, offset[:, 1:]], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _recolour(pixels: torch.Tensor, brightness: torch.Tensor, stain: torch.Tensor) -> torch.Tensor:
    """Change the amount of each stain in optical density, where stains add up (Tellez et al. 2018), then brightness."""
    density = -torch.log((pixels + 1) / 256)
    factors = torch.diag_embed(1 + (2 * stain - 1) * COLOUR)
    # Row vectors: densities to amounts of stain, scaled, and back.
    change = sent(_UNMIX, pixels.device) @ factors @ sent(_STAINS, pixels.device)
    density = torch.einsum("bchw,bcd->bdhw", density, change)
    light = (1 + (2 * brightness - 1) * COLOUR).view(-1, 1, 1, 1)
    coloured = ((256 * torch.exp(-density) - 1) * light).clamp(0, 255)
    return torch.where(pixels.amax(1, keepdim=True) > BACKGROUND, coloured, pixels)


def _randaugment(pixels: torch.Tensor, rng: torch.Generator, magnitude: int) -> torch.Tensor:
    # Imported where it is used: torchvision takes 160 MiB of every process.
    from torchvision.transforms import InterpolationMode, v2  # noqa: PLC0415

    # torchvision draws once for a whole batch and from the global generator: one image at a time, and seeded.
    transform = v2.RandAugment(num_ops=2, magnitude=magnitude, interpolation=InterpolationMode.BILINEAR, fill=0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=rng)))
        return torch.stack([transform(image) for image in pixels])
