"""From rows of the pixel store to the input of a network: one gather, one move, one pass of arithmetic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from job.contracts.split import Rows
from job.errors import UserError
from job.files import REMEDY, existing

VIEWS = 8
"""Ways to lay a square on itself: four quarter turns, each also mirrored (the dihedral group)."""


@dataclass(frozen=True)
class PixelStore:
    """Every prepared image, (N, S, S, 3) uint8, on disk until asked for; also on a GPU where it fits."""

    pixels: npt.NDArray[np.uint8]
    resident: torch.Tensor | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the array of `prepare`."""
        try:
            return cls(np.load(existing(path), mmap_mode="r"))
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}): {REMEDY}") from None

    @property
    def size(self) -> int:
        """Side of an image in pixels."""
        return int(self.pixels.shape[1])

    def near(self, device: torch.device) -> Self:
        """The same store with a copy on the GPU, where that takes at most half of its free memory."""
        if device.type != "cuda" or self.pixels.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
            return self
        resident = torch.empty(self.pixels.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(self.pixels), 256):
            part = np.array(self.pixels[start : start + 256])  # a copy in memory: torch refuses the read-only map
            resident[start : start + len(part)] = torch.from_numpy(part)
        return replace(self, resident=resident)

    def gather(self, rows: Rows, device: torch.device) -> torch.Tensor:
        """The images of these rows: (B, 3, S, S) uint8 in channels_last order, on the device."""
        if self.resident is not None:
            batch = self.resident[sent(torch.from_numpy(rows), device)]
        else:
            batch = sent(torch.from_numpy(self.pixels[rows]), device)
        # Rows are stored as (S, S, 3): as (3, S, S) in channels_last order this is the same memory, so nothing moves.
        return batch.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Normalise:
    """uint8 pixels to floats with the mean and deviation that the backbone's weights expect."""

    scale: torch.Tensor
    shift: torch.Tensor

    @classmethod
    def of(cls, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> Self:
        """(pixel / 255 - mean) / std, written as one multiplication and one addition per value."""
        m, s = (torch.tensor(channel, dtype=torch.float64).view(1, 3, 1, 1) for channel in (mean, std))
        return cls((1 / (255 * s)).float().to(device), (-m / s).float().to(device))

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) uint8 to float32, keeping the memory order."""
        return pixels.float().mul_(self.scale).add_(self.shift)


@dataclass(frozen=True)
class Context:
    """Pixels, their normalisation, and the device."""

    store: PixelStore  # the prepared images
    normalise: Normalise  # to the mean and deviation that the weights expect
    device: torch.device  # of networks and batches
    check: Callable[[], None] = lambda: None  # called before every batch; raises where the process is asked to stop

    def images(self, rows: Rows, change: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
        """Load and normalise the images of these rows, (B,): (B, 3, S, S) float32 on the device.

        `change`, an augmentation, is applied to the pixels, (B, 3, S, S) uint8, before they are normalised.
        """
        self.check()
        pixels = self.store.gather(rows, self.device)
        return self.normalise(pixels if change is None else change(pixels))


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """These values of the CPU on the device, without waiting for a GPU to finish what it was given before.

    So the next batch is gathered and on its way while the GPU is busy with this one. It needs memory that the system
    does not move (https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html); torch keeps it until the copy
    is done.
    """
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def views(pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    """The eight dihedral views of every image: (B, C, S, S) each; the first is the image itself."""
    for turned in (pixels, pixels.transpose(-1, -2)):
        yield from (turned, turned.flip(-1), turned.flip(-2), turned.flip(-1, -2))


def in_batches(rows: Rows, size: int, least: int = 2) -> Iterator[Rows]:
    """Consecutive batches. A last batch of fewer than `least` images joins the batch before.

    Batch norm cannot learn from one image, and each of several processes needs one.
    """
    starts = list(range(0, len(rows), size))
    if len(starts) > 1 and len(rows) - starts[-1] < least:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield rows[start:end]
