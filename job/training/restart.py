"""What a training needs to go on after it was stopped: kept outside the outputs, and never trusted unseen.

The state of a fold is a folder `.state/METHOD-K/` with a folder per digest of all that the result depends on, so that a
state of other parameters, data or code is never found. Every file is a SHA-256 followed by what `torch.save` wrote; the
one before it is kept beside it, for the case that the newer one is damaged.
"""

import fcntl
import hashlib
import io
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import distributed

from job.errors import UserError
from job.files import replacing

_DIGEST_BYTES = hashlib.sha256().digest_size
_WAIT_SECONDS = 120.0


class Restart:
    """The saved states of one fold, by the name of the model that they belong to."""

    def __init__(self, folder: Path, every_seconds: float) -> None:
        self.folder = folder
        self._every = every_seconds
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._saved_at >= self._every

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write a state of tensors, numbers, text, lists and dictionaries; the one before it becomes the reserve."""
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
        for path in self._generations(name):
            if not path.exists():
                continue
            content = path.read_bytes()
            if hashlib.sha256(content[_DIGEST_BYTES:]).digest() == content[:_DIGEST_BYTES]:
                state: dict[str, Any] = torch.load(
                    io.BytesIO(content[_DIGEST_BYTES:]), map_location="cpu", weights_only=True
                )
                return state
            sys.stderr.write(f"{path} is damaged: going on from what was saved before it\n")
        return None

    def forget(self, name: str) -> None:
        """Remove the states of this name."""
        for path in self._generations(name):
            path.unlink(missing_ok=True)

    def _generations(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.state", self.folder / f"{name}.older.state"


class Follower(Restart):
    """The states as a process sees them that follows another one, which keeps them for both."""

    def __init__(self) -> None:
        super().__init__(Path(), 0)

    def due(self) -> bool:
        """Never: the leader saves."""
        return False

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Nothing to do."""

    def load(self, name: str) -> dict[str, Any] | None:  # noqa: ARG002 - the leader names it
        """What the leader has loaded."""
        return _shared(None)

    def forget(self, name: str) -> None:
        """Nothing to do."""


class Leader(Restart):
    """The states of a fold that several processes train; what is loaded is told to all."""

    def load(self, name: str) -> dict[str, Any] | None:
        """The newest undamaged state of this name."""
        return _shared(super().load(name))


def _shared(state: dict[str, Any] | None) -> dict[str, Any] | None:
    parts = [state]
    distributed.broadcast_object_list(parts)
    return parts[0]


@contextmanager
def opened(folder: Path, digest: str, every_seconds: float, kind: type[Restart] = Restart) -> Iterator[Restart]:
    """The states of one fold for this process alone; gone when the block ends without an error.

    Args:
        folder: of the fold.
        digest: of everything that the result depends on.
        every_seconds: time between two states.
        kind: `Leader` where several processes train the fold.

    Raises:
        UserError: another process trains this fold and does not end.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        for leftover in folder.glob("*/.*.tmp"):
            leftover.unlink()
        yield kind(folder / digest, every_seconds)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file, which names its holder and disappears when the block ends without an error."""
    with _acquired(path) as handle:
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
        path.unlink()


def _acquired(path: Path) -> IO[str]:
    # A trainer whose parent was killed needs a batch's time to save and end: wait for it.
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        handle = path.open("a+", encoding="utf-8")
        if _lock(handle, path):
            return handle
        handle.seek(0)
        holder = handle.read()
        handle.close()
        if time.monotonic() > deadline:
            raise UserError(
                f"process {holder} trains this fold already ({path} is locked): wait until it ends, or end it; what it "
                "has learned is kept and used by the next run"
            )
        time.sleep(0.2)


def _lock(handle: IO[str], path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # The holder before us may have removed the file that we have opened; then another one counts.
    return path.exists() and os.path.samestat(os.fstat(handle.fileno()), path.stat())
