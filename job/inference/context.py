"""What every computation with a network needs: pixels and device."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from job.contracts.split import Rows
from job.inference.pixels import Normalise, PixelStore


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
