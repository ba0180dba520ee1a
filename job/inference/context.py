"""What every computation on a fold needs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from job.contracts.split import Rows
from job.inference.augment import augment
from job.inference.pixels import Normalise, PixelStore
from job.inference.world import ALONE, World


def _go_on() -> None:
    """Nobody asks to stop."""


@dataclass(frozen=True)
class Context:
    """Pixels, their normalisation, the device, and how exact its arithmetic is.

    Attributes:
        store: the prepared images.
        normalise: to the mean and deviation that the weights expect.
        device: of networks and batches.
        precision: `fp32`, or `bf16` or `fp16` for the operations that autocast runs in half precision.
        names: images of rows, for messages.
        world: which process this is of those that train the fold.
        check: raises where training is asked to stop; called before every batch.
    """

    store: PixelStore
    normalise: Normalise
    device: torch.device
    precision: str = "fp32"
    names: Callable[[Rows], Sequence[object]] = list
    world: World = ALONE
    check: Callable[[], None] = _go_on

    def images(self, rows: Rows, noise: str = "none", magnitude: int = 0, seed: int = 0) -> torch.Tensor:
        """Normalised images of these rows, (B, 3, S, S) float32 on the device; with noise as `augment` makes it."""
        self.check()
        pixels = self.store.gather(rows, self.device)
        return self.normalise(augment(pixels, noise, magnitude=magnitude, seed=seed))

    def autocast(self) -> AbstractContextManager[None]:
        """A context in which networks compute at the bench's precision (https://docs.pytorch.org/docs/stable/amp.html)."""
        return autocast(self.device, self.precision)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """A context in which networks on the device compute at `fp32`, `bf16` or `fp16`."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.float16 if precision == "fp16" else torch.bfloat16)
