"""Writing files so that a reader sees the old content or the new content, never a part of it."""

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from job.errors import UserError

REMEDY = "run `dvc repro`, which writes it, or fetch it with `dvc pull`"
"""What to do about a file of the pipeline that is missing or damaged."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place when the block ends without an error.

    The rename is atomic on POSIX file systems, and the content reaches the disk before it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, seconds: float, what: str) -> Iterator[None]:
    """Run a block that one process at a time may run; its number stands beside the lock file, and both go at the end.

    After so many seconds a UserError says `what` another process does, such as `trains this fold`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_suffix(".pid")  # not in the lock file, whose content is the lock where `flock` is missing
    try:
        lock = FileLock(path).acquire(timeout=seconds, poll_interval=0.2)
    except Timeout:
        number = holder.read_text(encoding="utf-8") if holder.is_file() else "unknown"
        raise UserError(
            f"process {number} {what} already ({path} is locked): wait until it ends, or end it; what it has done is "
            "kept and used by the next run"
        ) from None
    with lock:
        holder.write_text(str(os.getpid()), encoding="utf-8")
        yield
        for file in (holder, path):
            file.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it takes the place of `path` when the block ends without an error.

    Where the file system can exchange two folders in one step, `path` is the old or the new one at every instant. Where
    it cannot, two renames are needed (a folder cannot be renamed over a full one) and for an instant `path` may be
    absent; it is never half-written and never half-deleted, and the old one returns where the second rename fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{end}.tmp") for end in ("new", "old"))
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if not (path.exists() and _exchange(temporary, path)):
            if path.exists():
                path.replace(old)
            temporary.replace(path)
    finally:
        # Ctrl-C may fall between the renames; then the old folder is the only one.
        if old.exists() and not path.exists():
            old.replace(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step (renameat2 of Linux); False where that cannot be done."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here = -100  # AT_FDCWD: relative paths start in the current folder
    exchange = 2  # RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically. Not-a-number is refused: JSON has no such value."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def dvc_settings() -> Any:
    """The settings of DVC in this folder; a UserError where a file of them is damaged."""
    # Imported where it is used: few commands need it.
    from dvc.config import Config, ConfigError  # noqa: PLC0415

    try:
        return Config(".dvc")
    except ConfigError as error:
        raise UserError(f"the settings of DVC in .dvc/ cannot be read ({error}): mend or restore that file") from None


def check_cache() -> None:
    """Refuse to begin long work where DVC could not keep its result, in a read-only cache or in another user's."""
    if not Path(".dvc").is_dir():
        return
    cache = Path(dvc_settings()["cache"].get("dir") or ".dvc/cache")
    for folder in (cache, *cache.glob("runs/*"), *cache.glob("files/md5/*")):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(
                f"DVC could not keep the result: user {os.getuid()} cannot write to {folder}. Give that folder to this "
                "user, or name another cache with `dvc cache dir --local FOLDER`"
            )


def read_json(path: Path) -> Any:
    """Read a JSON file that an earlier stage wrote; a UserError where it is missing or is not JSON."""
    try:
        return json.loads(existing(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): {REMEDY}") from None


def existing(path: Path) -> Path:
    """The path itself, where an earlier stage has written it; a UserError where it has not run."""
    if not path.exists():
        raise UserError(f"{path} does not exist: {REMEDY}")
    return path


def sha256(path: Path) -> str:
    """The digest of a file's content, in hexadecimal digits."""
    with existing(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def awaits_fetch(folder: Path) -> bool:
    """Whether a folder is not here yet, but is, or lies in, what `dvc add` tracks: `dvc pull` brings it."""
    tracked = (path.with_name(f"{path.name}.dvc") for path in (folder, *folder.parents) if path.name)
    return not folder.exists() and any(file.is_file() for file in tracked)
