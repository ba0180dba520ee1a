"""How a training ends before its time: asked by a signal, with its state saved, or for want of memory."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from job.errors import StoppedError, UserError


class Stop:
    """Remembers the signal that asked the process to end; a training asks between two batches."""

    def __init__(self, remedy: str) -> None:
        """Take SIGTERM and Ctrl-C from now on; a second Ctrl-C ends the process at once.

        Args:
            remedy: ends the message: how to go on.
        """
        self._remedy = remedy
        self._number = 0
        signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGINT, self._note)

    def check(self) -> None:
        """Raise `StoppedError` after a signal."""
        if self._number:
            raise StoppedError(self._number, self._remedy)

    def _note(self, number: int, _frame: object) -> None:
        # Ctrl-C reaches every process of the terminal, and the end of the parent brings a SIGTERM on top of it.
        if number == signal.SIGINT == self._number:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self._number = self._number or number


@contextmanager
def memory_explained() -> Iterator[None]:
    """Run a block; where memory runs out, a `UserError` with what to change replaces the error of torch or Python."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch has a class for the memory of a GPU, and for that of the machine a RuntimeError of this text.
        if not (isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
            raise
        raise UserError(
            "out of memory: lower train.batch_size or data.pixels, take a smaller model.backbone, run fewer folds at "
            "a time (JOBS=1), or, on a CPU, use machine.keep_memory=false"
        ) from None
