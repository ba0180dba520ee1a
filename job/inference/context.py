"""What every computation with a network needs: pixels, device, precision."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from job.contracts.split import Rows
from job.inference.pixels import Normalise, PixelStore


@dataclass(frozen=True)
class Context:
    """Pixels, their normalisation, the device, and the precision of its arithmetic.

    Attributes:
        store: the prepared images.
        normalise: to the mean and deviation that the weights expect.
        device: of networks and batches.
        precision: `fp32`, or `bf16` or `fp16` for the operations that autocast runs in half precision.
        check: called before every batch; raises where the process is asked to stop.
    """

    store: PixelStore
    normalise: Normalise
    device: torch.device
    precision: str = "fp32"
    check: Callable[[], None] = lambda: None

    def images(self, rows: Rows, change: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
        """Load and normalise the images of these rows, (B,): (B, 3, S, S) float32 on the device.

        `change`, an augmentation, is applied to the pixels, (B, 3, S, S) uint8, before they are normalised.
        """
        self.check()
        pixels = self.store.gather(rows, self.device)
        return self.normalise(pixels if change is None else change(pixels))

    def autocast(self) -> AbstractContextManager[None]:
        """A block in which networks compute at `precision` (https://docs.pytorch.org/docs/stable/amp.html)."""
        return autocast(self.device, self.precision)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """A block in which networks on the device compute at `fp32`, `bf16` or `fp16`."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.float16 if precision == "fp16" else torch.bfloat16)
