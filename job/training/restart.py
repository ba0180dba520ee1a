"""How a training ends before its time, and the saved states from which it goes on.

States are kept outside the outputs, and checked before they are used. Those of a fold are in `.state/METHOD-K/DIGEST/`.
The digest is that of everything the result depends on, so that a state of other parameters, data or code is never used.
Each file is a SHA-256 followed by what `torch.save` wrote; the state before it is kept beside it, in case the newer one
is damaged.
"""

import hashlib
import io
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from job.errors import StoppedError
from job.files import locked, replacing
from job.training.parallel import ALONE, World

_DIGEST_BYTES = hashlib.sha256().digest_size
_WAIT_SECONDS = 120.0


class Stop:
    """Remembers the signal that asked the process to end; a training asks between two batches."""

    def __init__(self, remedy: str) -> None:
        """Take SIGTERM, Ctrl-C (a second one ends at once) and a closed terminal; `remedy` ends the message."""
        self._remedy = remedy
        self._number = 0
        for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(signal_number) != signal.SIG_IGN:  # as `nohup` leaves SIGHUP
                signal.signal(signal_number, self._note)

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


class Restart:
    """The saved states of one fold, by the name of their model.

    Of several processes number 0 saves and loads, and the others receive what it loads.
    """

    def __init__(self, folder: Path, every_seconds: float, world: World = ALONE) -> None:
        self.folder = folder
        self._every = every_seconds
        self._world = world
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save again."""
        return self._world.rank == 0 and time.monotonic() - self._saved_at >= self._every

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write a state of tensors, numbers, text, lists and dictionaries; the state before it is kept as well."""
        if self._world.rank > 0:
            return
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
        newer, older = self._generations(name)
        with replacing(newer) as temporary:
            with temporary.open("wb") as handle:
                handle.write(hashlib.sha256(content).digest())
                handle.write(content)
                os.fsync(handle.fileno())
            if newer.exists():
                newer.replace(older)
        self._saved_at = time.monotonic()

    def load(self, name: str) -> dict[str, Any] | None:
        """The newest undamaged state of this name, on the CPU, or None."""
        state: dict[str, Any] | None = self._world.share(self._newest(name) if self._world.rank == 0 else None)
        return state

    def _newest(self, name: str) -> dict[str, Any] | None:
        for path in filter(Path.exists, self._generations(name)):
            stored = path.read_bytes()
            digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
            if hashlib.sha256(content).digest() == digest:
                state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
                return state
            sys.stderr.write(f"{path} is damaged: going on from what was saved before it\n")
        return None

    def drop_older(self, name: str) -> None:
        """Remove the state before the newest one."""
        if self._world.rank == 0:
            self._generations(name)[1].unlink(missing_ok=True)

    def _generations(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.state", self.folder / f"{name}.older.state"


@contextmanager
def opened(folder: Path, digest: str, every_seconds: float, world: World = ALONE) -> Iterator[Restart]:
    """Open the states of one fold for this process alone; they are removed when the block ends without an error.

    `digest` is that of everything that the result depends on. Of several processes number 0 opens the states for all.
    A trainer whose parent was killed needs a batch's time to save its state and end: that is waited for. A UserError
    says that another process trains this fold and does not end within two minutes.
    """
    states = Restart(folder / digest, every_seconds, world)
    if world.rank > 0:
        yield states
        return
    with locked(folder.with_name(f"{folder.name}.lock"), _WAIT_SECONDS, "trains this fold"):
        for leftover in folder.glob("*/.*.tmp"):
            leftover.unlink()
        yield states
        shutil.rmtree(folder, ignore_errors=True)
